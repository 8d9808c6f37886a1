/* SPDX-License-Identifier: ISC */
/* posternctl domain ...: limits of all who send as addresses of a domain. */
#include "ctl/settings.h"
#include "ctl/subject.h"

static const struct subject domain = {
	.noun = "domain",
	.takes = SETTINGS_INHERIT | SETTINGS_PLAN,
	.list = "SELECT name AS domain, plan, settings FROM postern.domain_list() "
		"WHERE name = pg_catalog.lower($1) OR $1 IS NULL",
	.list_plain =
		"SELECT name AS domain, plan, " SUBJECT_SETTINGS " FROM postern.domain_list() "
		"WHERE name = pg_catalog.lower($1) OR $1 IS NULL",
	.add = "SELECT postern.domain_set($1, $2::pg_catalog.jsonb) WHERE NOT EXISTS ("
	       "SELECT FROM postern.domain_list() WHERE name = pg_catalog.lower($1))",
	.set = "SELECT postern.domain_set($1, $2::pg_catalog.jsonb) FROM postern.domain_list() "
	       "WHERE name = pg_catalog.lower($1)",
	.del = "SELECT gone FROM postern.domain_del($1) AS gone WHERE gone",
};

int ctl_domain_add(struct ctl *ctl)
{
	return subject_add(ctl, &domain);
}

int ctl_domain_set(struct ctl *ctl)
{
	return subject_set(ctl, &domain);
}

int ctl_domain_list(struct ctl *ctl)
{
	return subject_list(ctl, &domain);
}

int ctl_domain_show(struct ctl *ctl)
{
	return subject_show(ctl, &domain);
}

int ctl_domain_del(struct ctl *ctl)
{
	return subject_del(ctl, &domain);
}
