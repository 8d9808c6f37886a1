/* SPDX-License-Identifier: ISC */
/*
 * posternctl account rename, delete and hashes: what happens to accounts beyond daily work.  What a
 * deletion erases is the database's to decide (account_delete() in sql/).
 */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <stdio.h>
#include <sysexits.h>

int ctl_account_rename(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX], becomes[LOGIN_TEXT_MAX];
	const char *values[] = {login, becomes};
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		status = login_text(ctl, ctl->arguments[1], becomes);
	if (status != EX_OK)
		return status;
	PGresult *renamed =
		database_ask(ctl, "SELECT postern.account_rename($1, $2)", 2, values, &status);

	if (renamed == NULL)
		return status;
	output_done(ctl->json, login, "renamed", "to", becomes);
	PQclear(renamed);
	return EX_OK;
}

int ctl_account_delete(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	const char *values[] = {login};
	int status = login_argument(ctl, login);

	if (status != EX_OK)
		return status;
	PGresult *deleted =
		database_ask(ctl, "SELECT postern.account_delete($1)", 1, values, &status);

	if (deleted == NULL)
		return status;
	output_done(ctl->json, login, "deleted", "id", PQgetvalue(deleted, 0, 0));
	PQclear(deleted);
	return EX_OK;
}

int ctl_account_hashes(struct ctl *ctl)
{
	int status = EX_OK;
	PGresult *rows = database_ask(ctl,
		ctl->json ? "SELECT scheme, cost, accounts FROM postern.account_hashes()"
			  : "SELECT coalesce(scheme, 'no password') AS scheme, cost, accounts "
			    "FROM postern.account_hashes()",
		0, NULL, &status);

	if (rows == NULL)
		return status;
	output_rows(ctl->json, rows);
	PQclear(rows);
	return EX_OK;
}
