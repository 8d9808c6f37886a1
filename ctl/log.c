/* SPDX-License-Identifier: ISC */
/* posternctl log: who sent what, and what was refused, the newest first. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <stdio.h>
#include <sysexits.h>

enum { LOG_ROWS = 100, LOG_ROWS_MAX = 100000 };

#define LOG_FROM                                                              \
	" FROM postern.usage_log($1, NULL, $2, $3, $4, $5::pg_catalog.inet, " \
	"$6::timestamptz, $7::timestamptz, $8::int)"
#define LOG_TIME "pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at"
#define LOG_JSON                                                                              \
	"SELECT " LOG_TIME ", state, tid AS id, name AS login, account AS account_id, "       \
	"credential, from_address AS \"from\", recipients, bytes, client_address AS client, " \
	"backend, queue AS queue_id, rule, code, meter, meter_limit AS limit, used" LOG_FROM
#define LOG_PLAIN                                                                             \
	"SELECT " LOG_TIME ", state, tid AS id, coalesce(name, account::text) AS login, "     \
	"CASE from_address WHEN '' THEN '<>' ELSE from_address END AS \"from\", recipients, " \
	"bytes, client_address AS client, CASE WHEN state = 'refused' THEN code || ' ' || "   \
	"coalesce(meter, rule) ELSE queue END AS detail" LOG_FROM

int ctl_log(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX] = "", page[24];
	const char *values[] = {NULL, ctl->from, ctl->queue_id, ctl->transaction, ctl->client,
		ctl->since, ctl->until, page};
	int status = EX_OK;

	if (ctl->limit > LOG_ROWS_MAX) {
		output_error(ctl->json, EX_USAGE, "at most 100000 rows at a time",
			"--until the time of the last one shows those before it.");
		return EX_USAGE;
	}
	if (ctl->argument_count == 1) {
		status = login_argument(ctl, login);
		values[0] = login;
	}
	if (status != EX_OK)
		return status;
	(void)snprintf(
		page, sizeof(page), "%lu", ctl->limit == 0 ? (unsigned long)LOG_ROWS : ctl->limit);
	PGresult *rows = database_ask(ctl, ctl->json ? LOG_JSON : LOG_PLAIN, 8, values, &status);
	if (rows == NULL)
		return status;
	output_rows(ctl->json, rows);
	PQclear(rows);
	return EX_OK;
}
