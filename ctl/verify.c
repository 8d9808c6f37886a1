/* SPDX-License-Identifier: ISC */
/*
 * posternctl db verify: one verdict a line on what Postern needs of its database.
 *
 * Changes nothing.  The questions to the catalogs are in verify_checks.c; here are those that need
 * more than SQL (the migration files, this machine's clock, the contract), and what is printed.
 */
#include "ctl/verify.h"

#include "ctl/contract.h"
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/migrations.h"
#include "ctl/output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { PROBLEM_MAX = 1024 };
static const double clock_slack_s = 2.0;

struct verify {
	struct ctl *ctl;
	char *contract; /* as JSON, the parameter of the questions */
	bool printed, wrong;
};

/* verdict: ok, note or wrong; todo may be "". */
static void say(struct verify *verify, const char *name, const char *verdict, const char *text,
	const char *todo)
{
	if (verify->ctl->json) {
		(void)fputs(verify->printed ? ",\n {\"check\":" : "{\"check\":", stdout);
		output_json_string(stdout, name);
		(void)printf(",\"verdict\":\"%s\",\"text\":", verdict);
		output_json_string(stdout, text);
		(void)fputs(",\"todo\":", stdout);
		output_json_string(stdout, todo);
		(void)fputc('}', stdout);
	} else {
		(void)printf("%-5s  %-11s ", verdict, name);
		output_plain(stdout, text);
		if (todo[0] != '\0') {
			(void)printf("\n%20s", "");
			output_plain(stdout, todo);
		}
		(void)fputc('\n', stdout);
	}
	verify->printed = true;
	if (strcmp(verdict, "wrong") == 0)
		verify->wrong = true;
}

/* A question that the database cannot answer is an answer, too.  Returns rows, or NULL. */
static PGresult *ask(struct verify *verify, const char *name, const char *sql, int count)
{
	const char *values[] = {verify->contract};
	PGresult *rows =
		PQexecParams(verify->ctl->connection, sql, count, NULL, values, NULL, NULL, 0);
	const char *text = PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY);

	if (PQresultStatus(rows) == PGRES_TUPLES_OK)
		return rows;
	say(verify, name, "wrong", text == NULL ? "the connection was lost" : text,
		"This could not be looked at: see what else is wrong first.");
	PQclear(rows);
	return NULL;
}

/* false: the rest makes no sense. */
static bool run_check(struct verify *verify, const struct verify_check *check)
{
	PGresult *rows = ask(verify, check->name, check->sql, 1);
	bool go_on = rows != NULL || !check->last;
	int found = rows == NULL ? 0 : PQntuples(rows);

	for (int i = 0; i < found; i++)
		say(verify, check->name, check->note ? "note" : "wrong", PQgetvalue(rows, i, 0),
			PQgetvalue(rows, i, 1));
	if (rows != NULL && found == 0)
		say(verify, check->name, "ok", check->fine, "");
	PQclear(rows);
	return go_on && (found == 0 || !check->last);
}

/* ------------------------------------------------------------------ migrations */

/* One file: is it what was applied?  row: of schema_versions(), of which there may be fewer. */
static bool file_applied(
	struct verify *verify, const struct migration *file, const PGresult *rows, int row)
{
	char problem[PROBLEM_MAX];

	if (row >= PQntuples(rows)) {
		(void)snprintf(problem, sizeof(problem), "%s was not applied", file->name);
		say(verify, "migrations", "wrong", problem, "Run posternctl db migrate.");
		return false;
	}
	if (strcmp(PQgetvalue(rows, row, 2), file->checksum) == 0)
		return true;
	(void)snprintf(problem, sizeof(problem), "%s is not what was applied as %s", file->name,
		PQgetvalue(rows, row, 1));
	say(verify, "migrations", "wrong", problem,
		"The file was changed since, or is of another release: see which, with --sql.");
	return false;
}

static void check_migrations(struct verify *verify)
{
	struct migrations set;
	PGresult *rows = NULL;
	bool fine = true;

	if (migrations_load(verify->ctl, &set) != EX_OK)
		say(verify, "migrations", "wrong", "the migration files were not found",
			"Name their directory with --sql or POSTERN_SQL.");
	else
		rows = ask(verify, "migrations",
			"SELECT version, name, checksum FROM postern.schema_versions() "
			"ORDER BY version",
			0);
	for (size_t i = 0; rows != NULL && i < set.count; i++)
		fine = file_applied(verify, &set.files[i], rows, (int)i) && fine;
	if (rows != NULL && (size_t)PQntuples(rows) > set.count)
		say(verify, "migrations", "note", "the schema is newer than this posternctl", "");
	else if (rows != NULL && fine)
		say(verify, "migrations", "ok", "all migrations of this release were applied", "");
	PQclear(rows);
	migrations_free(&set);
}

/* -------------------------------------------------------- the contract, the clock */

static void check_contract(struct verify *verify)
{
	PGresult *rows = ask(verify, "contract", "SELECT postern.contract()", 0);
	char text[PROBLEM_MAX];

	if (rows == NULL)
		return;
	int version = (int)strtol(PQgetvalue(rows, 0, 0), NULL, 10);

	PQclear(rows);
	if (version == CONTRACT_VERSION) {
		(void)snprintf(text, sizeof(text), "version %d, as of this release", version);
		say(verify, "contract", "ok", text, "");
		return;
	}
	(void)snprintf(text, sizeof(text), "the schema speaks version %d, this release %d", version,
		CONTRACT_VERSION);
	say(verify, "contract", "wrong", text,
		version < CONTRACT_VERSION ? "Run posternctl db migrate."
					   : "Upgrade this release.");
}

static double now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The meters go by the database's clock, the log and the expiry of credentials by this machine's.
 */
static void check_clock(struct verify *verify)
{
	double before = now_s();
	PGresult *rows = ask(verify, "clock",
		"SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())", 0);
	double after = now_s(), ahead;
	char text[PROBLEM_MAX];

	if (rows == NULL)
		return;
	ahead = strtod(PQgetvalue(rows, 0, 0), NULL) - (before + after) / 2;
	PQclear(rows);
	if (fabs(ahead) <= clock_slack_s + (after - before) / 2) {
		say(verify, "clock", "ok", "the server's clock and this machine's agree", "");
		return;
	}
	(void)snprintf(text, sizeof(text), "the server's clock is %.0f s %s this machine's",
		fabs(ahead), ahead > 0 ? "ahead of" : "behind");
	say(verify, "clock", "wrong", text, "Keep both by NTP.");
}

/* [[1,"contract()","integer"],...]; NULL: out of memory. */
static char *contract_json(void)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (to == NULL)
		return NULL;
	for (size_t i = 0; i < contract_function_count; i++) {
		(void)fprintf(to, "%c[%d,", i == 0 ? '[' : ',', (int)contract_functions[i].caller);
		output_json_string(to, contract_functions[i].signature);
		(void)fputc(',', to);
		output_json_string(to, contract_functions[i].result);
		(void)fputc(']', to);
	}
	(void)fputc(']', to);
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

int ctl_db_verify(struct ctl *ctl)
{
	struct verify verify = {.ctl = ctl, .contract = contract_json()};
	bool go_on = true;

	if (verify.contract == NULL) {
		output_error(ctl->json, EX_OSERR, "out of memory", "");
		return EX_OSERR;
	}
	if (ctl->json)
		(void)fputc('[', stdout);
	for (size_t i = 0; go_on && i < verify_check_count; i++)
		go_on = run_check(&verify, &verify_checks[i]);
	if (go_on) {
		check_migrations(&verify);
		check_contract(&verify);
		check_clock(&verify);
	}
	if (ctl->json)
		(void)fputs("]\n", stdout);
	free(verify.contract);
	return verify.wrong ? EX_CONFIG : EX_OK;
}
