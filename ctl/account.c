/* SPDX-License-Identifier: ISC */
/* posternctl account ...: what each verb asks of the database, and what it prints. */
#include "auth/credential.h"
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/limits.h"
#include "ctl/login.h"
#include "ctl/output.h"
#include "ctl/prompt.h"

#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum { PAGE_ROWS = 1000 };

/* Asks for a password and hashes it.  phc_out is "" with --no-password. */
static int new_hash(const struct ctl *ctl, char phc_out[PASSWORD_PHC_MAX + 1])
{
	uint8_t *secret = NULL;
	size_t len;
	bool made;
	int status;

	phc_out[0] = '\0';
	if (ctl->no_password)
		return EX_OK;
	status = prompt_password(ctl, true, &secret, &len);
	if (status != EX_OK)
		return status;
	if (credential_recognise(secret, len)) {
		prompt_wipe(&secret);
		output_error(ctl->json, EX_DATAERR,
			"the password has the form of a generated credential",
			"Choose one that does not begin with pst_.");
		return EX_DATAERR;
	}
	made = password_make(secret, len, &ctl->cost, phc_out);
	prompt_wipe(&secret);
	if (made)
		return EX_OK;
	output_error(ctl->json, EX_OSERR, "not enough memory to hash the password",
		"Free some, or choose less with --memory.");
	return EX_OSERR;
}

int ctl_account_add(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX], phc[PASSWORD_PHC_MAX + 1];
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		status = new_hash(ctl, phc);
	if (status != EX_OK)
		return status;
	const char *values[] = {login, phc[0] == '\0' ? NULL : phc, ctl->plan};
	PGresult *added =
		database_ask(ctl, "SELECT postern.account_add($1, $2, $3)", 3, values, &status);

	sodium_memzero(phc, sizeof(phc));
	if (added == NULL)
		return status;
	output_done(ctl->json, login, "added", NULL, NULL);
	PQclear(added);
	return EX_OK;
}

int ctl_account_passwd(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX], phc[PASSWORD_PHC_MAX + 1];
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		status = new_hash(ctl, phc);
	if (status != EX_OK)
		return status;
	const char *values[] = {login, phc[0] == '\0' ? NULL : phc};
	PGresult *set = database_ask(
		ctl, "SELECT postern.account_set_password($1, $2)", 2, values, &status);

	sodium_memzero(phc, sizeof(phc));
	if (set == NULL)
		return status;
	output_done(ctl->json, login, ctl->no_password ? "password removed" : "password changed",
		NULL, NULL);
	PQclear(set);
	return EX_OK;
}

static int set_enabled(struct ctl *ctl, bool enabled)
{
	char login[LOGIN_TEXT_MAX];
	int status = login_argument(ctl, login);

	if (status != EX_OK)
		return status;
	const char *values[] = {login, enabled ? "true" : "false"};
	PGresult *set =
		database_ask(ctl, "SELECT postern.account_set_enabled($1, $2)", 2, values, &status);

	if (set == NULL)
		return status;
	output_done(ctl->json, login, enabled ? "enabled" : "disabled", NULL, NULL);
	PQclear(set);
	return EX_OK;
}

int ctl_account_enable(struct ctl *ctl)
{
	return set_enabled(ctl, true);
}

int ctl_account_disable(struct ctl *ctl)
{
	return set_enabled(ctl, false);
}

/* ------------------------------------------------------------------------ list */

/* A table has no room for LIST_MORE. */
#define LIST_COLUMNS                                         \
	"login, enabled, has_password AS password, plan, "   \
	"pg_catalog.to_char(created_at AT TIME ZONE 'UTC', " \
	"'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS created_at, account_id"
#define LIST_MORE ", coalesce(from_policy, 'listener') AS from_policy, token"
#define LIST_FROM " FROM postern.account_list($1, $2::int)"

/* Prints the page after `after`, and sets it to the last login there. */
static int list_page(
	struct ctl *ctl, char after[LOGIN_TEXT_MAX], unsigned long want, bool first, int *got_out)
{
	char page[16];
	const char *values[] = {after, page};
	int status = EX_OK;

	(void)snprintf(page, sizeof(page), "%lu", want);
	PGresult *rows = database_ask(ctl,
		ctl->json ? "SELECT " LIST_COLUMNS LIST_MORE LIST_FROM
			  : "SELECT " LIST_COLUMNS LIST_FROM,
		2, values, &status);

	if (rows == NULL)
		return status;
	*got_out = PQntuples(rows);
	output_page(ctl->json, rows, first);
	if (*got_out > 0)
		(void)snprintf(after, LOGIN_TEXT_MAX, "%s", PQgetvalue(rows, *got_out - 1, 0));
	PQclear(rows);
	return EX_OK;
}

int ctl_account_list(struct ctl *ctl)
{
	char after[LOGIN_TEXT_MAX];
	unsigned long left = ctl->limit == 0 ? ULONG_MAX : ctl->limit;
	bool first = true, more = true;
	int status = login_text(ctl, ctl->after, after);

	if (status != EX_OK)
		return status;
	if (ctl->json)
		(void)fputs("[", stdout);
	while (status == EX_OK && more && left > 0) {
		unsigned long want = left < PAGE_ROWS ? left : PAGE_ROWS;
		int got = 0;

		status = list_page(ctl, after, want, first, &got);
		left -= (unsigned long)got;
		more = (unsigned long)got == want;
		first = false;
	}
	if (ctl->json)
		(void)fputs("]\n", stdout);
	return status;
}

/* ------------------------------------------------------------------------ show */

struct account_rows {
	PGresult *account, *senders, *limits;
};

#define SHOW_COLUMNS                                                                              \
	"account_id, account AS login, enabled, has_password AS password, plan, "                 \
	"pg_catalog.to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS " \
	"created_at, version, coalesce(from_policy, 'listener') AS from_policy, token, "          \
	"sender_count, tenant FROM postern.account_show($1)"

static void show_json(const struct ctl *ctl, const struct account_rows *rows)
{
	(void)fputc('{', stdout);
	for (int column = 0; column < PQnfields(rows->account); column++) {
		output_json_string(stdout, PQfname(rows->account, column));
		(void)fputc(':', stdout);
		output_json_field(stdout, rows->account, 0, column);
		(void)fputc(',', stdout);
	}
	(void)fputs("\"senders\":[", stdout);
	for (int row = 0; row < PQntuples(rows->senders); row++) {
		(void)fputs(row == 0 ? "" : ",", stdout);
		output_json_field(stdout, rows->senders, row, 0);
	}
	(void)fputs("],\"limits\":", stdout);
	limits_print(ctl, rows->limits);
	(void)fputs("}\n", stdout);
}

static void show_plain(const struct ctl *ctl, const struct account_rows *rows)
{
	for (int column = 0; column < PQnfields(rows->account); column++) {
		(void)printf("%-14s", PQfname(rows->account, column));
		output_field(stdout, rows->account, 0, column);
		(void)fputc('\n', stdout);
	}
	for (int row = 0; row < PQntuples(rows->senders); row++) {
		(void)printf("%-14s", row == 0 ? "senders" : "");
		output_plain(stdout, PQgetvalue(rows->senders, row, 0));
		(void)fputc('\n', stdout);
	}
	if (PQntuples(rows->limits) > 0)
		(void)fputc('\n', stdout);
	limits_print(ctl, rows->limits);
}

int ctl_account_show(struct ctl *ctl)
{
	struct account_rows rows = {NULL, NULL, NULL};
	char login[LOGIN_TEXT_MAX];
	const char *values[] = {login};
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		rows.account = database_ask(ctl, "SELECT " SHOW_COLUMNS, 1, values, &status);
	if (rows.account != NULL)
		rows.senders = database_ask(
			ctl, "SELECT sender FROM postern.sender_list($1)", 1, values, &status);
	if (rows.senders != NULL)
		rows.limits = limits_ask(ctl, login, NULL, &status);
	if (rows.limits != NULL) {
		if (ctl->json)
			show_json(ctl, &rows);
		else
			show_plain(ctl, &rows);
	}
	PQclear(rows.account);
	PQclear(rows.senders);
	PQclear(rows.limits);
	return status;
}
