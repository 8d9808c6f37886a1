/* SPDX-License-Identifier: ISC */
/* posternctl limits advise: what an account is used to, and what its limits could be. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <stdio.h>
#include <sysexits.h>

/* max null: unlimited */
#define ADVICE                                                                                     \
	"SELECT name AS limit, periods, p50, p99, max AS most, pg_catalog.to_char(max_at AT TIME " \
	"ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS most_at, outlier, "                      \
	"CASE WHEN meter_limit <> -1 THEN meter_limit END AS max, source, advised "                \
	"FROM postern.limits_advise($1)"

enum column { NAME, PERIODS, MOST = 4, MOST_AT, OUTLIER, ADVISED = 9 };

static void print_advice(const char *login, const PGresult *rows)
{
	output_table(stdout, rows, true);
	if (PQgetvalue(rows, 0, PERIODS)[0] == '0') {
		(void)fputs("\nNothing was sent in the last 30 days: there is nothing to go by.\n",
			stdout);
		return;
	}
	for (int row = 0; row < PQntuples(rows); row++) {
		if (PQgetvalue(rows, row, OUTLIER)[0] == 't')
			(void)printf("\n%s: %s at %s is far above the rest, and was left out: look "
				     "what it was "
				     "(posternctl log).\n",
				PQgetvalue(rows, row, NAME), PQgetvalue(rows, row, MOST),
				PQgetvalue(rows, row, MOST_AT));
	}
	(void)fputs("\nposternctl limits set ", stdout);
	output_plain(stdout, login);
	for (int row = 0; row < PQntuples(rows); row++)
		(void)printf(" %s=%s", PQgetvalue(rows, row, NAME), PQgetvalue(rows, row, ADVISED));
	(void)fputc('\n', stdout);
}

int ctl_limits_advise(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	int status = login_argument(ctl, login);

	if (status != EX_OK)
		return status;
	const char *values[] = {login};
	PGresult *rows = database_ask(ctl, ADVICE, 1, values, &status);
	if (rows == NULL)
		return status;
	if (ctl->json)
		output_rows(true, rows);
	else
		print_advice(login, rows);
	PQclear(rows);
	return EX_OK;
}
