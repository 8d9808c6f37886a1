/* SPDX-License-Identifier: ISC */
/* posternctl block: who may not come in for a time, networks and accounts alike. */
#include "ctl/database.h"
#include "ctl/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

static const char *target(const struct ctl *ctl)
{
	return ctl->arguments[0];
}

int ctl_block_add(struct ctl *ctl)
{
	char seconds[24];
	const char *values[] = {target(ctl), seconds, ctl->reason == NULL ? "" : ctl->reason};
	int status = EX_OK;

	(void)snprintf(seconds, sizeof(seconds), "%" PRIu64,
		ctl->for_s == 0 ? UINT64_C(3600) : ctl->for_s);
	PGresult *rows = database_ask(ctl,
		"SELECT pg_catalog.to_char(postern.block_add($1, $2::int8, $3) AT TIME ZONE 'UTC', "
		"'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
		3, values, &status);
	if (rows == NULL)
		return status;
	output_done(ctl->json, target(ctl), "blocked", "until", PQgetvalue(rows, 0, 0));
	PQclear(rows);
	return EX_OK;
}

int ctl_block_del(struct ctl *ctl)
{
	const char *values[] = {target(ctl)};
	int status = EX_OK;
	PGresult *rows = database_ask(ctl, "SELECT postern.block_del($1)", 1, values, &status);

	if (rows == NULL)
		return status;
	bool was = PQgetvalue(rows, 0, 0)[0] == 't';
	output_done(ctl->json, target(ctl), was ? "unblocked" : "unchanged", NULL, NULL);
	PQclear(rows);
	return EX_OK;
}

int ctl_block_list(struct ctl *ctl)
{
	int status = EX_OK;
	PGresult *rows = database_ask(ctl,
		"SELECT target, pg_catalog.to_char(until AT TIME ZONE 'UTC', "
		"'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS until, reason, created_by "
		"FROM postern.block_list(NULL, 10000)",
		0, NULL, &status);

	if (rows == NULL)
		return status;
	output_rows(ctl->json, rows);
	PQclear(rows);
	return EX_OK;
}
