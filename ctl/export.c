/* SPDX-License-Identifier: ISC */
/* posternctl account export: all accounts as CSV that import takes again, page by page. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum { PAGE_ROWS = 1000 };

static int export_page(struct ctl *ctl, char after[LOGIN_TEXT_MAX], unsigned long want, int *got)
{
	char page[16];
	const char *values[] = {after, page};
	int status = EX_OK;

	(void)snprintf(page, sizeof(page), "%lu", want);
	PGresult *rows = database_ask(ctl,
		"SELECT login, coalesce(hash, '') AS hash, plan, "
		"coalesce(nullif(pg_catalog.array_to_string(senders, ' '), ''), '-') AS senders, "
		"CASE WHEN enabled THEN 'yes' ELSE 'no' END AS enabled "
		"FROM postern.account_export($1, $2::int)",
		2, values, &status);

	if (rows == NULL)
		return status;
	*got = PQntuples(rows);
	for (int row = 0; row < *got; row++)
		output_csv_row(stdout, rows, row);
	if (*got > 0)
		(void)snprintf(after, LOGIN_TEXT_MAX, "%s", PQgetvalue(rows, *got - 1, 0));
	PQclear(rows);
	return EX_OK;
}

int ctl_account_export(struct ctl *ctl)
{
	char after[LOGIN_TEXT_MAX];
	unsigned long left = ctl->limit == 0 ? ULONG_MAX : ctl->limit;
	bool more = true;
	int status = login_text(ctl, ctl->after, after);

	if (status == EX_OK)
		(void)fputs("login,hash,plan,senders,enabled\r\n", stdout);
	while (status == EX_OK && more && left > 0 && ferror(stdout) == 0) {
		unsigned long want = left < PAGE_ROWS ? left : PAGE_ROWS;
		int got = 0;

		status = export_page(ctl, after, want, &got);
		left -= (unsigned long)got;
		more = (unsigned long)got == want;
	}
	return status;
}
