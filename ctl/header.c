/* SPDX-License-Identifier: ISC */
/*
 * posternctl account from, token and whose: what is done about the header From of an account's
 * messages, and the token in their header that tells the abuse desk whose they are.
 */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

int ctl_account_from(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	const char *policy = ctl->arguments[1];
	int status = login_argument(ctl, login);

	if (status != EX_OK)
		return status;
	/* What the others are is the database's to say. */
	const char *values[] = {login, strcmp(policy, "listener") == 0 ? NULL : policy};
	PGresult *set = database_ask(
		ctl, "SELECT postern.account_set_from_policy($1, $2)", 2, values, &status);

	if (set == NULL)
		return status;
	output_done(ctl->json, login, "changed", "from", policy);
	PQclear(set);
	return EX_OK;
}

int ctl_account_token(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	const char *values[] = {login};
	int status = login_argument(ctl, login);

	if (status != EX_OK)
		return status;
	PGresult *token = database_ask(ctl,
		ctl->rotate ? "SELECT postern.account_rotate_token($1)"
			    : "SELECT token FROM postern.account_show($1)",
		1, values, &status);

	if (token == NULL)
		return status;
	output_done(ctl->json, login, ctl->rotate ? "changed" : "has", "token",
		PQgetvalue(token, 0, 0));
	PQclear(token);
	return EX_OK;
}

int ctl_account_whose(struct ctl *ctl)
{
	const char *values[] = {ctl->arguments[0]};
	int status = EX_OK;
	PGresult *account = database_ask(ctl,
		"SELECT login, enabled, account_id FROM postern.account_by_token($1)", 1, values,
		&status);

	if (account == NULL)
		return status;
	if (ctl->json) {
		output_json_row(stdout, account, 0);
		(void)fputc('\n', stdout);
	} else {
		output_table(stdout, account, true);
	}
	PQclear(account);
	return EX_OK;
}
