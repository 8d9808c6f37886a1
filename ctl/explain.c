/* SPDX-License-Identifier: ISC */
/* posternctl explain: the rule behind a refusal, or what became of a message, in sentences. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define EXPLAIN_TIME(column)                                 \
	"pg_catalog.to_char(" column " AT TIME ZONE 'UTC', " \
	"'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS " column
/* limit_now null: unlimited, or no longer there */
#define EXPLANATION                                                                               \
	"SELECT " EXPLAIN_TIME("at") ", state, account AS account_id, name AS login, enabled, "   \
				     "credential, from_address AS \"from\", client_address AS "   \
				     "client, recipients, bytes, "                                \
				     "backend, queue_id, rule, code, meter, meter_limit AS "      \
				     "limit, used, " EXPLAIN_TIME(                                \
					     "frees_at") ", scope, source, CASE WHEN limit_now "  \
							 "<> -1 THEN limit_now END AS "           \
							 "limit_now, used_now, "                  \
							 "pg_catalog.array_to_string(senders, ' " \
							 "') AS senders, sender_count "           \
							 "FROM postern.refusal_explain($1)"

enum { SENDERS_SHOWN = 32 }; /* by refusal_explain() */

enum column {
	AT,
	STATE,
	ACCOUNT,
	LOGIN,
	ENABLED,
	CREDENTIAL,
	FROM,
	CLIENT,
	RECIPIENTS,
	BYTES,
	BACKEND,
	QUEUE_ID,
	RULE,
	CODE,
	METER,
	LIMIT,
	USED,
	FREES_AT,
	SCOPE,
	SOURCE,
	LIMIT_NOW,
	USED_NOW,
	SENDERS,
	SENDER_COUNT,
};

static const struct rule {
	const char *name, *text;
} rules[] = {
	{"sender", "the account may not send as the address of MAIL FROM"},
	{"from-header", "the account may not send as the address of the header From"},
	{"revoked", "the account, its credential or its tenant was disabled, blocked or changed "
		    "meanwhile; the session ended"},
	{"unavailable", "trouble of ours, the database was away for one: the node's log tells"},
	{"sessions", "the account had as many sessions as it may have"},
	{"burst", "too many in a minute on one node"},
	{"grace", "the database was away, and what may be sent without it was used up"},
};

static bool has(const PGresult *rows, int row, enum column column)
{
	return PQgetisnull(rows, row, (int)column) == 0;
}

static const char *text(const PGresult *rows, int row, enum column column)
{
	return has(rows, row, column) ? PQgetvalue(rows, row, (int)column) : "";
}

static void field(const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	(void)printf("  %-10s", name);
	output_plain(stdout, value);
	(void)fputc('\n', stdout);
}

static void print_who(const PGresult *rows, int row)
{
	char who[512];

	if (!has(rows, row, ACCOUNT))
		(void)snprintf(who, sizeof(who), "not logged in");
	else if (!has(rows, row, LOGIN))
		(void)snprintf(who, sizeof(who), "%s, deleted since", text(rows, row, ACCOUNT));
	else
		(void)snprintf(who, sizeof(who), "%s%s", text(rows, row, LOGIN),
			text(rows, row, ENABLED)[0] == 'f' ? ", disabled now" : "");
	field("account", who);
	field("credential", text(rows, row, CREDENTIAL));
	field("client", text(rows, row, CLIENT));
	if (has(rows, row, FROM))
		field("from", text(rows, row, FROM)[0] == '\0' ? "<>" : text(rows, row, FROM));
}

/* What it stands at today, and where that is from. */
static void print_limit_now(const PGresult *rows, int row)
{
	char now[512];

	if (!has(rows, row, SCOPE)) {
		field("today", "there is no such limit any more");
		return;
	}
	(void)snprintf(now, sizeof(now), "%s%s, %s used; from %s%s%s", text(rows, row, LIMIT_NOW),
		has(rows, row, LIMIT_NOW) ? "" : "unlimited",
		has(rows, row, USED_NOW) ? text(rows, row, USED_NOW) : "nothing",
		strcmp(text(rows, row, SOURCE), "own") == 0 ? "a limit of its own: "
							    : text(rows, row, SOURCE),
		strcmp(text(rows, row, SOURCE), "own") == 0 ? "" : ", of: ",
		text(rows, row, SCOPE));
	field("today", now);
}

static void print_meter(const PGresult *rows, int row)
{
	char why[512];

	(void)snprintf(why, sizeof(why), "the limit of %s %s%s%s%s", text(rows, row, LIMIT),
		text(rows, row, METER), has(rows, row, USED) ? ", of which " : "",
		text(rows, row, USED), has(rows, row, USED) ? " were used" : "");
	field("why", why);
	if (has(rows, row, FREES_AT))
		field("fits at", text(rows, row, FREES_AT));
	else if (text(rows, row, CODE)[0] == '5')
		field("fits at", "never: the message wants more than the limit itself");
	if (has(rows, row, LOGIN))
		print_limit_now(rows, row);
}

static void print_refusal(const PGresult *rows, int row)
{
	const char *rule = text(rows, row, RULE), *why = rule;

	if (strcmp(rule, "meter") == 0) {
		print_meter(rows, row);
		return;
	}
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (strcmp(rule, rules[i].name) == 0)
			why = rules[i].text;
	}
	field("why", why);
	if (!has(rows, row, SENDER_COUNT))
		return;
	field("may", has(rows, row, SENDERS) ? text(rows, row, SENDERS) : "send as nobody");
	if (strtoul(text(rows, row, SENDER_COUNT), NULL, 10) > SENDERS_SHOWN)
		field("", "and others: posternctl account show has them");
}

static void print_sent(const PGresult *rows, int row)
{
	field("recipients", text(rows, row, RECIPIENTS));
	field("bytes", text(rows, row, BYTES));
	field("backend", text(rows, row, BACKEND));
	field("queue id", text(rows, row, QUEUE_ID));
	if (strcmp(text(rows, row, STATE), "unknown") == 0)
		field("note", "the server behind was lost after the end of data: it may have "
			      "accepted it");
}

static void print_row(const PGresult *rows, int row)
{
	bool refused = strcmp(text(rows, row, STATE), "refused") == 0;

	(void)printf("%s%s: %s%s%s\n", row == 0 ? "" : "\n", text(rows, row, AT),
		text(rows, row, STATE), refused ? " with " : "", text(rows, row, CODE));
	print_who(rows, row);
	if (refused)
		print_refusal(rows, row);
	else
		print_sent(rows, row);
}

int ctl_explain(struct ctl *ctl)
{
	const char *values[] = {ctl->arguments[0]};
	int status = EX_OK;
	PGresult *rows = database_ask(ctl, EXPLANATION, 1, values, &status);

	if (rows == NULL)
		return status;
	if (PQntuples(rows) == 0) {
		output_error(ctl->json, EX_NOUSER, "the books know nothing of this id",
			"It takes seconds until they do, refusals are forgotten after some weeks, "
			"and a "
			"log-in that failed is in the node's log alone.");
		PQclear(rows);
		return EX_NOUSER;
	}
	if (ctl->json) {
		output_rows(true, rows);
	} else {
		for (int row = 0; row < PQntuples(rows); row++)
			print_row(rows, row);
	}
	PQclear(rows);
	return EX_OK;
}
