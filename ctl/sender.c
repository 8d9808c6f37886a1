/* SPDX-License-Identifier: ISC */
/* posternctl sender ...: what an account may write as sender. */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"

#include <stdio.h>
#include <sysexits.h>

/* Runs a function of (login, sender) that tells whether it changed anything. */
static int change_sender(
	struct ctl *ctl, const char *sql, char login[LOGIN_TEXT_MAX], bool *changed_out)
{
	int status = login_argument(ctl, login);
	const char *values[] = {login, ctl->arguments[1]};

	if (status != EX_OK)
		return status;
	PGresult *result = database_ask(ctl, sql, 2, values, &status);

	if (result == NULL)
		return status;
	*changed_out = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return EX_OK;
}

int ctl_sender_add(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	bool changed = false;
	int status = change_sender(ctl, "SELECT postern.sender_add($1, $2)", login, &changed);

	if (status == EX_OK)
		output_done(ctl->json, login, changed ? "added" : "unchanged", "sender",
			ctl->arguments[1]);
	return status;
}

/* A sender that was not there is an error: whoever takes one away wants to be sure it is gone. */
int ctl_sender_del(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	bool changed = false;
	int status = change_sender(ctl, "SELECT postern.sender_del($1, $2)", login, &changed);

	if (status != EX_OK)
		return status;
	if (!changed) {
		output_error(ctl->json, EX_DATAERR, "the account has no such sender",
			"posternctl account show lists what it has.");
		return EX_DATAERR;
	}
	output_done(ctl->json, login, "removed", "sender", ctl->arguments[1]);
	return EX_OK;
}
