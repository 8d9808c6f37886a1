/* SPDX-License-Identifier: ISC */
/* posternctl plan ...: limits that many accounts share, and what happens beyond them. */
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"
#include "ctl/settings.h"
#include "ctl/subject.h"

#include <sysexits.h>

static const struct subject plan = {
	.noun = "plan",
	.takes = SETTINGS_RULES,
	.list = "SELECT name AS plan, accounts, settings FROM postern.plan_list() "
		"WHERE name = $1 OR $1 IS NULL",
	.list_plain = "SELECT name AS plan, accounts, " SUBJECT_SETTINGS
		      " FROM postern.plan_list() WHERE name = $1 OR $1 IS NULL",
	.add = "SELECT postern.plan_add($1, $2::pg_catalog.jsonb)",
	/* plan_set() alone would make one. */
	/* It takes grace as a whole, where here one limit of it may be named. */
	.set = "SELECT postern.plan_set($1, $2::pg_catalog.jsonb || "
	       "CASE WHEN $2::pg_catalog.jsonb ? 'grace' THEN pg_catalog.jsonb_build_object("
	       "'grace', settings -> 'grace' || ($2::pg_catalog.jsonb -> 'grace')) "
	       "ELSE '{}' END) FROM postern.plan_list() WHERE name = $1",
};

int ctl_plan_add(struct ctl *ctl)
{
	return subject_add(ctl, &plan);
}

int ctl_plan_set(struct ctl *ctl)
{
	return subject_set(ctl, &plan);
}

int ctl_plan_list(struct ctl *ctl)
{
	return subject_list(ctl, &plan);
}

int ctl_plan_show(struct ctl *ctl)
{
	return subject_show(ctl, &plan);
}

int ctl_account_plan(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	const char *values[] = {login, ctl->arguments[1]};
	int status = login_argument(ctl, login);

	if (status != EX_OK)
		return status;
	PGresult *set =
		database_ask(ctl, "SELECT postern.account_set_plan($1, $2)", 2, values, &status);

	if (set == NULL)
		return status;
	output_done(ctl->json, login, "changed", "plan", ctl->arguments[1]);
	PQclear(set);
	return EX_OK;
}
