/* SPDX-License-Identifier: ISC */
/*
 * posternctl db migrate: brings the schema to the newest version.
 *
 * Finds the numbered files, and runs each that is missing in one transaction with its row in
 * schema_version, under an advisory lock: two that migrate at once do not meet.  Never goes back.
 */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/migrations.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* "Postern" in hexadecimal; anything that migrates this schema takes the same lock. */
#define LOCK_SQL "SELECT pg_catalog.pg_advisory_xact_lock(x'506f737465726e'::bigint)"

static int run(struct ctl *ctl, const char *sql)
{
	int status = EX_OK;
	PGresult *result = database_ask(ctl, sql, 0, NULL, &status);

	PQclear(result);
	return result == NULL ? status : EX_OK;
}

static int begin(struct ctl *ctl)
{
	int status = run(ctl, "BEGIN");

	if (status == EX_OK)
		status = run(ctl, LOCK_SQL);
	if (status == EX_OK)
		status = run(ctl, "SET LOCAL lock_timeout = '10s'");
	return status;
}

/* How many have been applied; also looks whether those are the same files as ours. */
static int applied_count(
	struct ctl *ctl, const struct migrations *set, bool compare, size_t *count_out)
{
	int status = EX_OK;
	PGresult *rows =
		database_ask(ctl, "SELECT pg_catalog.to_regclass('postern.schema_version') IS NULL",
			0, NULL, &status);

	if (rows == NULL)
		return status;
	bool none = PQgetvalue(rows, 0, 0)[0] == 't';

	PQclear(rows);
	*count_out = 0;
	if (none)
		return EX_OK;
	rows = database_ask(ctl,
		"SELECT version, name, checksum FROM postern.schema_version ORDER BY version", 0,
		NULL, &status);
	if (rows == NULL)
		return status;
	*count_out = (size_t)PQntuples(rows);
	for (size_t i = 0; compare && i < *count_out && i < set->count; i++) {
		if (strcmp(PQgetvalue(rows, (int)i, 2), set->files[i].checksum) != 0)
			(void)fprintf(stderr,
				"posternctl: %s is not what was applied: it was changed since\n",
				set->files[i].name);
	}
	PQclear(rows);
	return EX_OK;
}

/* "0002_accounts.sql:17" from the server's position in characters. */
static void error_place(
	const struct migration *file, const PGresult *result, char *where, size_t room)
{
	const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
	unsigned long left = position == NULL ? 0 : strtoul(position, NULL, 10), line = 1;

	for (const char *at = file->sql; left > 1 && *at != '\0'; at++) {
		if ((*at & 0xC0) == 0x80)
			continue;
		line += *at == '\n';
		left--;
	}
	if (position == NULL)
		(void)snprintf(where, room, "%s", file->name);
	else
		(void)snprintf(where, room, "%s:%lu", file->name, line);
}

/* Inside a transaction: the file, then its row. */
static int apply(struct ctl *ctl, const struct migration *file, size_t version)
{
	char number[24], where[MIGRATION_NAME_MAX + 24];
	const char *values[] = {number, file->name, file->checksum};
	int status = EX_OK;
	PGresult *result = PQexec(ctl->connection, file->sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK &&
		PQresultStatus(result) != PGRES_TUPLES_OK) {
		error_place(file, result, where, sizeof(where));
		status = database_fail(ctl, result, where);
		PQclear(result);
		return status;
	}
	PQclear(result);
	(void)snprintf(number, sizeof(number), "%zu", version);
	result = database_ask(ctl,
		"INSERT INTO postern.schema_version (version, name, checksum) VALUES ($1, $2, $3)",
		3, values, &status);
	PQclear(result);
	return result == NULL ? status : run(ctl, "COMMIT");
}

static void print_applied(const struct ctl *ctl, const struct migration *file, bool first)
{
	if (ctl->json) {
		(void)fputs(first ? "" : ",", stdout);
		output_json_string(stdout, file->name);
	} else {
		(void)printf("applied %s\n", file->name);
	}
	(void)fflush(stdout);
}

static void print_end(const struct migrations *set, size_t version, bool none)
{
	if (version > set->count)
		(void)printf("the schema is at version %zu, newer than the %zu known here: nothing "
			     "to do\n",
			version, set->count);
	else
		(void)printf(
			"the schema is at version %zu%s\n", version, none ? ": nothing to do" : "");
}

/*
 * One transaction a turn, each looking anew at what is there: somebody else may migrate as well.
 * The file that fails is rolled back, those before it stay.
 */
static int migrate(struct ctl *ctl, const struct migrations *set, size_t *version)
{
	for (bool first = true;; first = false) {
		int status = begin(ctl);

		if (status == EX_OK)
			status = applied_count(ctl, set, first, version);
		if (status != EX_OK)
			return status;
		if (*version >= set->count) {
			if (!ctl->json)
				print_end(set, *version, first);
			return run(ctl, "COMMIT");
		}
		status = apply(ctl, &set->files[*version], *version + 1);
		if (status != EX_OK)
			return status;
		print_applied(ctl, &set->files[*version], first);
		++*version;
	}
}

int ctl_db_migrate(struct ctl *ctl)
{
	struct migrations set;
	size_t version = 0;
	int status = migrations_load(ctl, &set);

	if (status == EX_OK) {
		if (ctl->json)
			(void)fputs("{\"applied\":[", stdout);
		status = migrate(ctl, &set, &version);
		if (ctl->json)
			(void)printf("],\"version\":%zu}\n", version);
	}
	migrations_free(&set);
	return status;
}
