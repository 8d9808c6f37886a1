/* SPDX-License-Identifier: ISC */
/* posternctl audit: what was changed, by whom and when, the newest first. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum { PAGE_ROWS = 1000, NUMBER_MAX = 24 };

#define HISTORY_FROM                                                                  \
	" FROM postern.audit_list($1, $2::bigint, $3::timestamptz, $4::timestamptz, " \
	"$5::bigint, $6::int)"
#define HISTORY_TIME                                 \
	"pg_catalog.to_char(at AT TIME ZONE 'UTC', " \
	"'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at"
#define HISTORY_JSON                                                                       \
	"SELECT audit_id, " HISTORY_TIME ", role, actor, object, action, via, account AS " \
	"account_id, account_last, name AS login, before, after" HISTORY_FROM

/* "status enabled > disabled": a column for people; the table cuts nothing. */
#define HISTORY_PLAIN                                                                             \
	"SELECT audit_id, " HISTORY_TIME ", coalesce(actor || ' (' || role || ')', role) AS by, " \
	"coalesce(via, object || ' ' || action) AS what, "                                        \
	"coalesce(name, account::text || coalesce('-' || account_last, '')) AS account, ("        \
	"SELECT string_agg(key || ' ' || concat_ws(' > ', CASE WHEN before IS NOT NULL THEN "     \
	"coalesce(before ->> key, 'none') END, CASE WHEN after IS NOT NULL THEN "                 \
	"coalesce(after ->> key, 'none') END), ', ' ORDER BY key) "                               \
	"FROM jsonb_object_keys(coalesce(after, before)) AS key "                                 \
	"WHERE (before IS NULL OR after IS NULL OR before -> key IS DISTINCT FROM after -> key "  \
	"OR key IN ('password_hash', 'hash')) "                                                   \
	"AND coalesce(before ->> key, after ->> key) IS NOT NULL "                                \
	"AND key NOT IN ('account_id', 'created_at')) AS change" HISTORY_FROM

/* One page, behind the row `behind`, which becomes the last one printed. */
static int print_page(struct ctl *ctl, const char *login, char behind[NUMBER_MAX],
	unsigned long want, bool first, int *got_out)
{
	char page[NUMBER_MAX];
	const char *values[] = {login, ctl->account_id, ctl->since, ctl->until,
		behind[0] == '\0' ? NULL : behind, page};
	int status = EX_OK;

	(void)snprintf(page, sizeof(page), "%lu", want);
	PGresult *rows =
		database_ask(ctl, ctl->json ? HISTORY_JSON : HISTORY_PLAIN, 6, values, &status);

	if (rows == NULL)
		return status;
	*got_out = PQntuples(rows);
	output_page(ctl->json, rows, first);
	if (*got_out > 0)
		(void)snprintf(behind, NUMBER_MAX, "%s", PQgetvalue(rows, *got_out - 1, 0));
	PQclear(rows);
	return EX_OK;
}

int ctl_audit(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX] = "", behind[NUMBER_MAX] = "";
	unsigned long left = ctl->limit == 0 ? ULONG_MAX : ctl->limit;
	bool first = true, more = true;
	int status = ctl->argument_count == 0 ? EX_OK : login_argument(ctl, login);

	if (status == EX_OK && ctl->argument_count == 1 && ctl->account_id != NULL) {
		output_error(ctl->json, EX_USAGE, "an account is named by its login or by --id",
			"Leave one of them out.");
		return EX_USAGE;
	}
	if (status == EX_OK && ctl->json)
		(void)fputs("[", stdout);
	while (status == EX_OK && more && left > 0) {
		unsigned long want = left < PAGE_ROWS ? left : PAGE_ROWS;
		int got = 0;

		status =
			print_page(ctl, login[0] == '\0' ? NULL : login, behind, want, first, &got);
		left -= (unsigned long)got;
		more = (unsigned long)got == want;
		first = false;
	}
	if (status == EX_OK && ctl->json)
		(void)fputs("]\n", stdout);
	return status;
}
