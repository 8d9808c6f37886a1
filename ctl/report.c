/* SPDX-License-Identifier: ISC */
/* posternctl usage: what was sent, added up for bills.  The database adds; nothing is rounded. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* What tells the rows apart; a NULL: a name of somebody who is gone. */
static const struct grouping {
	const char *by, *keys;
	int key_count;
} groupings[] = {
	{"day", "name AS day", 1},
	{"month", "name AS month", 1},
	{"account", "name AS login, account AS account_id", 2},
	{"tenant", "name AS tenant", 1},
	{"credential", "name AS login, account AS account_id, credential, label", 4},
};

/* All rows, and behind them their sum. */
#define REPORT_FROM                                                                              \
	" FROM (SELECT 1 AS part, number, coalesce(period, name) AS name, account, credential, " \
	"label, messages, recipients, bytes, unknown, unknown_recipients, unknown_bytes FROM r " \
	"UNION ALL SELECT 2, 0, 'total', NULL, NULL, NULL, coalesce(sum(messages), 0)::int8, "   \
	"coalesce(sum(recipients), 0)::int8, coalesce(sum(bytes), 0)::int8, "                    \
	"coalesce(sum(unknown), 0)::int8, coalesce(sum(unknown_recipients), 0)::int8, "          \
	"coalesce(sum(unknown_bytes), 0)::int8 FROM r) u ORDER BY part, number"
#define REPORT_WITH                                                                            \
	"WITH r AS (SELECT * FROM postern.usage_report($1, $2::pg_catalog.date, "              \
	"$3::pg_catalog.date, $4, $5::int8, $6) WITH ORDINALITY AS t (period, account, name, " \
	"credential, label, messages, recipients, bytes, unknown, unknown_recipients, "        \
	"unknown_bytes, number)) SELECT "

static const struct grouping *grouping_of(const struct ctl *ctl)
{
	const char *by = ctl->by == NULL ? "day" : ctl->by;

	for (size_t i = 0; i < sizeof(groupings) / sizeof(groupings[0]); i++) {
		if (strcmp(groupings[i].by, by) == 0)
			return &groupings[i];
	}
	return NULL;
}

static PGresult *ask(
	struct ctl *ctl, const struct grouping *grouping, const char *login, int *status_out)
{
	char sql[2048];
	const char *values[] = {
		grouping->by, ctl->since, ctl->until, login, ctl->account_id, ctl->of_tenant};

	(void)snprintf(sql, sizeof(sql),
		REPORT_WITH "%s, messages, recipients, bytes, unknown%s" REPORT_FROM,
		grouping->keys, ctl->json || ctl->csv ? ", unknown_recipients, unknown_bytes" : "");
	return database_ask(ctl, sql, 6, values, status_out);
}

/* {"rows": [...], "total": {...}} */
static void print_json(const PGresult *rows, int keys)
{
	int total = PQntuples(rows) - 1;

	(void)fputs("{\"rows\":[", stdout);
	for (int row = 0; row < total; row++) {
		(void)fputs(row == 0 ? "" : ",\n ", stdout);
		output_json_row(stdout, rows, row);
	}
	(void)fputs("],\n\"total\":", stdout);
	for (int column = keys; column < PQnfields(rows); column++) {
		(void)fputc(column == keys ? '{' : ',', stdout);
		output_json_string(stdout, PQfname(rows, column));
		(void)fputc(':', stdout);
		output_json_field(stdout, rows, total, column);
	}
	(void)fputs("}}\n", stdout);
}

static int check(const struct ctl *ctl)
{
	if ((ctl->of_account != NULL) + (ctl->account_id != NULL) + (ctl->of_tenant != NULL) > 1) {
		output_error(ctl->json, EX_USAGE,
			"usage is told of an account by its login or by --id, or of a tenant",
			"Leave all but one of --account, --id and --tenant out.");
		return EX_USAGE;
	}
	if (ctl->csv && ctl->json) {
		output_error(ctl->json, EX_USAGE, "it is written as CSV or as JSON",
			"Leave --csv or --json out.");
		return EX_USAGE;
	}
	return EX_OK;
}

int ctl_usage(struct ctl *ctl)
{
	const struct grouping *grouping = grouping_of(ctl);
	char login[LOGIN_TEXT_MAX] = "";
	int status = check(ctl);

	if (status == EX_OK && ctl->of_account != NULL)
		status = login_text(ctl, ctl->of_account, login);
	if (status != EX_OK)
		return status;
	PGresult *rows = ask(ctl, grouping, login[0] == '\0' ? NULL : login, &status);
	if (rows == NULL)
		return status;
	if (ctl->json) {
		print_json(rows, grouping->key_count);
	} else if (ctl->csv) {
		for (int row = -1; row < PQntuples(rows) - 1; row++)
			output_csv_row(stdout, rows, row);
	} else {
		output_table(stdout, rows, true);
	}
	PQclear(rows);
	return EX_OK;
}
