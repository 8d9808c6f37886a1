/* SPDX-License-Identifier: ISC */
/*
 * posternctl tenant ... and account tenant: accounts that share limits, and tenants that do with
 * those of the tenant above.
 */
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"
#include "ctl/settings.h"
#include "ctl/subject.h"

#include <string.h>
#include <sysexits.h>

static const struct subject tenant = {
	.noun = "tenant",
	.takes = SETTINGS_INHERIT | SETTINGS_PLAN | SETTINGS_TENANT,
	.list = "SELECT name AS tenant, parent, plan, enabled, accounts, settings "
		"FROM postern.tenant_list() "
		"WHERE name = $1 OR $1 IS NULL",
	.list_plain = "SELECT name AS tenant, parent, plan, enabled, accounts, " SUBJECT_SETTINGS
		      " FROM postern.tenant_list() WHERE name = $1 OR $1 IS NULL",
	.add = "SELECT postern.tenant_set($1, $2::pg_catalog.jsonb) "
	       "WHERE NOT EXISTS (SELECT FROM postern.tenant_list() WHERE name = $1)",
	.set = "SELECT postern.tenant_set($1, $2::pg_catalog.jsonb) FROM postern.tenant_list() "
	       "WHERE name = $1",
	.del = "SELECT postern.tenant_del($1)",
};

int ctl_tenant_add(struct ctl *ctl)
{
	return subject_add(ctl, &tenant);
}

int ctl_tenant_set(struct ctl *ctl)
{
	return subject_set(ctl, &tenant);
}

int ctl_tenant_list(struct ctl *ctl)
{
	return subject_list(ctl, &tenant);
}

int ctl_tenant_show(struct ctl *ctl)
{
	return subject_show(ctl, &tenant);
}

int ctl_tenant_del(struct ctl *ctl)
{
	return subject_del(ctl, &tenant);
}

int ctl_account_tenant(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	const char *name = ctl->arguments[1];
	const char *values[] = {login, strcmp(name, "none") == 0 ? NULL : name};
	int status = login_argument(ctl, login);

	if (status != EX_OK)
		return status;
	PGresult *set =
		database_ask(ctl, "SELECT postern.account_set_tenant($1, $2)", 2, values, &status);

	if (set == NULL)
		return status;
	output_done(ctl->json, login, "changed", "tenant", name);
	PQclear(set);
	return EX_OK;
}
