/* SPDX-License-Identifier: ISC */
/*
 * posternctl account import: a file of accounts into the database, in batches.  A batch is read,
 * asked about, hashed and stored; nothing else is kept, so that a run that was ended goes on where
 * it was: what is in the database is skipped, before its password costs a hash.
 *
 * Each row is stored as a whole or not at all.  A bad one is named by its line, and the rest goes
 * on.
 */
#include "ctl/csv.h"
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/hash_threads.h"
#include "ctl/import_row.h"
#include "ctl/output.h"
#include "ctl/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	BATCH_ROWS = 1000,      /* the audit still names each of so many */
	BATCH_SECRETS_EACH = 8, /* hashes a thread: some 0.7 s of work */
	BATCH_TEXT = 1 << 20,
	READ_BYTES = 64 << 10,
};

/* What holds passwords: one piece of guarded memory. */
struct guarded {
	struct csv csv;
	char input[READ_BYTES];
	char texts[BATCH_TEXT];
};

struct import {
	struct ctl *ctl;
	struct guarded *guarded;
	struct import_header header;
	bool has_header;
	struct import_row *rows;   /* BATCH_ROWS */
	struct import_row *logins; /* the same by login, for uthash */
	size_t count, texts_used, secrets, secrets_max;
	struct progress progress;
	uint64_t octets, octets_stored; /* read, and of rows that are done */
	unsigned long done, added, changed, unchanged, bad;
};

static void report(struct import *import, unsigned long line, const char *problem)
{
	import->bad++;
	progress_clear(&import->progress);
	if (import->ctl->json) {
		(void)fprintf(stderr, "{\"line\":%lu,\"error\":", line);
		output_json_string(stderr, problem);
		(void)fputs("}\n", stderr);
		return;
	}
	(void)fprintf(stderr, "line %lu: ", line);
	output_plain(stderr, problem);
	(void)fputc('\n', stderr);
}

/* ------------------------------------------------------------------- one batch */

/* The logins of rows with passwords as a JSON array, for free(). */
static char *secret_logins(const struct import *import)
{
	char *json = NULL;
	size_t len;
	FILE *to = open_memstream(&json, &len);
	const char *between = "[";

	if (to == NULL)
		return NULL;
	for (size_t i = 0; i < import->count; i++) {
		if (import->rows[i].secret == NULL)
			continue;
		(void)fputs(between, to);
		output_json_string(to, import->rows[i].login);
		between = ",";
	}
	(void)fputc(']', to);
	return fclose(to) == 0 ? json : NULL;
}

static int no_memory(const struct import *import)
{
	output_error(import->ctl->json, EX_OSERR, "out of memory", "");
	return EX_OSERR;
}

/* Which accounts exist already; their rows in the result stay for their hashes. */
static int ask_known(struct import *import, PGresult **known_out)
{
	char *json = secret_logins(import);
	const char *values[] = {json};
	int status = EX_OK;

	if (json == NULL)
		return no_memory(import);
	*known_out = database_ask(import->ctl,
		"SELECT login, password_hash FROM postern.account_known("
		"ARRAY(SELECT pg_catalog.jsonb_array_elements_text($1::pg_catalog.jsonb)))",
		1, values, &status);
	free(json);
	for (int i = 0; *known_out != NULL && i < PQntuples(*known_out); i++) {
		const char *login = PQgetvalue(*known_out, i, 0);
		struct import_row *row;

		HASH_FIND(hh, import->logins, login, strlen(login), row);
		if (row == NULL)
			continue;
		row->known = true;
		row->stored = PQgetisnull(*known_out, i, 1) ? NULL : PQgetvalue(*known_out, i, 1);
	}
	return status;
}

static void on_tick(void *context, size_t hashed)
{
	struct import *import = context;
	uint64_t waiting = import->octets - import->octets_stored;
	size_t jobs = import->secrets;

	progress_update(&import->progress,
		import->octets_stored + (jobs == 0 ? waiting : waiting * hashed / jobs),
		import->done + hashed);
}

/* Fills jobs with the passwords to be hashed; their rows' numbers go to rows_out. */
static size_t fill_jobs(const struct import *import, struct hash_job *jobs, size_t *rows_out)
{
	size_t count = 0;

	for (size_t i = 0; i < import->count; i++) {
		const struct import_row *row = &import->rows[i];

		if (row->secret == NULL || (row->known && !import->ctl->update))
			continue;
		jobs[count].secret = (const uint8_t *)row->secret;
		jobs[count].secret_len = row->secret_len;
		jobs[count].stored = row->stored;
		rows_out[count++] = i;
	}
	return count;
}

static int hash_secrets(struct import *import)
{
	struct hash_job *jobs = calloc(import->secrets, sizeof(*jobs));
	size_t *numbers = calloc(import->secrets, sizeof(*numbers)), count;
	int status = EX_OK;

	if (jobs == NULL || numbers == NULL) {
		status = no_memory(import);
		goto out;
	}
	count = fill_jobs(import, jobs, numbers);
	import->secrets = count; /* from now on what the bar counts to */
	/* Through what an earlier run stored it goes in long strides. */
	import->secrets_max =
		count == 0 ? BATCH_ROWS : (size_t)import->ctl->jobs * BATCH_SECRETS_EACH;
	if (count == 0)
		goto out;
	if (!hash_threads_run(
		    jobs, count, import->ctl->jobs, &import->ctl->cost, on_tick, import)) {
		progress_clear(&import->progress);
		output_error(import->ctl->json, EX_OSERR, "not enough memory to hash passwords",
			"Choose fewer at a time with --jobs, or less with --memory; the rows "
			"before are done.");
		status = EX_OSERR;
		goto out;
	}
	for (size_t i = 0; i < count; i++)
		memcpy(import->rows[numbers[i]].made, jobs[i].phc, sizeof(jobs[i].phc));
out:
	free(jobs);
	free(numbers);
	return status;
}

/* Rows [first, first + count) as a JSON array, for free(). */
static char *rows_json(const struct import *import, size_t first, size_t count)
{
	const char *plan = import->ctl->plan_given ? import->ctl->plan : NULL;
	char *json = NULL;
	size_t len;
	FILE *to = open_memstream(&json, &len);

	if (to == NULL)
		return NULL;
	for (size_t i = first; i < first + count; i++) {
		(void)fputs(i == first ? "[" : ",", to);
		import_row_json(to, &import->rows[i], plan);
	}
	(void)fputc(']', to);
	return fclose(to) == 0 ? json : NULL;
}

static void count_results(struct import *import, const PGresult *rows, size_t first)
{
	for (int i = 0; i < PQntuples(rows); i++) {
		const char *result = PQgetvalue(rows, i, 1);

		if (strcmp(result, "bad") == 0)
			report(import, import->rows[first + (size_t)i].line,
				PQgetvalue(rows, i, 2));
		else if (strcmp(result, "added") == 0)
			import->added++;
		else if (strcmp(result, "changed") == 0)
			import->changed++;
		else
			import->unchanged++;
	}
}

static PGresult *ask_import(struct import *import, const char *json)
{
	const char *values[] = {json, import->ctl->update ? "true" : "false"};
	PGresult *result;

	if (import->ctl->dry_run)
		PQclear(PQexec(import->ctl->connection, "BEGIN"));
	result = PQexecParams(import->ctl->connection,
		"SELECT number, result, problem FROM postern.account_import("
		"$1::pg_catalog.jsonb, $2::boolean) ORDER BY number",
		2, NULL, values, NULL, NULL, 0);
	if (import->ctl->dry_run)
		PQclear(PQexec(import->ctl->connection, "ROLLBACK"));
	return result;
}

/*
 * Stores rows [first, first + count).  What the function finds wrong with a row it tells; a row
 * that fails the whole call all the same (text that is not UTF-8, a constraint) is found by halves.
 */
static int store(struct import *import, size_t first, size_t count)
{
	char *json = rows_json(import, first, count);
	PGresult *result;
	const char *state;
	int status = EX_OK;

	if (json == NULL)
		return no_memory(import);
	result = ask_import(import, json);
	free(json);
	if (PQresultStatus(result) == PGRES_TUPLES_OK) {
		count_results(import, result, first);
		PQclear(result);
		return EX_OK;
	}
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (state == NULL || (strncmp(state, "22", 2) != 0 && strncmp(state, "23", 2) != 0)) {
		progress_clear(&import->progress);
		status = database_fail(import->ctl, result, "");
	} else if (count == 1) {
		report(import, import->rows[first].line,
			PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	} else {
		status = store(import, first, count / 2);
		if (status == EX_OK)
			status = store(import, first + count / 2, count - count / 2);
	}
	PQclear(result);
	return status;
}

/* Rows of accounts that exist and shall stay leave the batch. */
static void drop_known(struct import *import)
{
	size_t kept = 0;

	for (size_t i = 0; i < import->count; i++) {
		if (import->rows[i].known && !import->ctl->update)
			import->unchanged++;
		else
			import->rows[kept++] = import->rows[i];
	}
	import->count = kept;
}

static void empty(struct import *import)
{
	HASH_CLEAR(hh, import->logins);
	sodium_memzero(import->guarded->texts, import->texts_used);
	import->count = import->texts_used = import->secrets = 0;
	import->octets_stored = import->octets;
	import->done = import->added + import->changed + import->unchanged + import->bad;
	progress_update(&import->progress, import->octets, import->done);
}

static int flush_batch(struct import *import)
{
	PGresult *known = NULL;
	int status = EX_OK;

	if (import->secrets > 0 && !import->ctl->dry_run) {
		status = ask_known(import, &known);
		if (status == EX_OK)
			status = hash_secrets(import);
	}
	HASH_CLEAR(hh, import->logins); /* rows move */
	if (status == EX_OK) {
		drop_known(import);
		if (import->count > 0)
			status = store(import, 0, import->count);
	}
	PQclear(known);
	empty(import);
	return status;
}

/* --------------------------------------------------------------------- reading */

static bool full(const struct import *import)
{
	return import->count == BATCH_ROWS || import->secrets >= import->secrets_max ||
	       import->texts_used + IMPORT_TEXT_MAX > BATCH_TEXT;
}

static int take_header(struct import *import)
{
	char problem[IMPORT_PROBLEM_MAX];

	import->has_header = true;
	if (import_header_read(&import->header, &import->guarded->csv, problem))
		return EX_OK;
	output_error(import->ctl->json, EX_DATAERR, problem,
		"The first line names the columns: login, and any of password, hash, plan, senders "
		"and enabled.");
	return EX_DATAERR;
}

static int take_record(struct import *import)
{
	struct csv *csv = &import->guarded->csv;
	struct import_row *row, *other;
	const char *problem;
	size_t used;
	int status = EX_OK;

	if (!import->has_header)
		return take_header(import);
	row = &import->rows[import->count];
	problem = import_row_read(
		&import->header, csv, row, import->guarded->texts + import->texts_used, &used);
	if (problem != NULL) {
		sodium_memzero(import->guarded->texts + import->texts_used, used);
		report(import, csv->line, problem);
		return EX_OK;
	}
	HASH_FIND(hh, import->logins, row->login, strlen(row->login), other);
	if (other != NULL) { /* the second finds the first in the database, wherever it stands */
		sodium_memzero(import->guarded->texts + import->texts_used, used);
		status = flush_batch(import);
		return status == EX_OK ? take_record(import) : status;
	}
	HASH_ADD_KEYPTR(hh, import->logins, row->login, strlen(row->login), row);
	import->texts_used += used;
	import->count++;
	import->secrets += row->secret != NULL;
	return full(import) ? flush_batch(import) : EX_OK;
}

static int take_status(struct import *import, enum csv_status status)
{
	switch (status) {
	case CSV_MORE:
		return EX_OK;
	case CSV_RECORD:
		return take_record(import);
	case CSV_BAD:
		report(import, import->guarded->csv.line, import->guarded->csv.problem);
		return EX_OK;
	}
	return EX_SOFTWARE;
}

static int read_failed(struct import *import)
{
	char message[256];

	(void)snprintf(message, sizeof(message), "cannot read %s: %s", import->ctl->arguments[0],
		strerror(errno));
	progress_clear(&import->progress);
	output_error(import->ctl->json, EX_NOINPUT, message, "");
	return EX_NOINPUT;
}

static int read_all(struct import *import, int fd)
{
	char *input = import->guarded->input;
	int status = EX_OK;

	for (;;) {
		ssize_t got = read(fd, input, READ_BYTES);

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return read_failed(import);
		if (got == 0)
			break;
		for (size_t at = 0, used = 0; status == EX_OK && at < (size_t)got; at += used) {
			enum csv_status read = csv_feed(
				&import->guarded->csv, input + at, (size_t)got - at, &used);

			import->octets += used;
			status = take_status(import, read);
		}
		if (status != EX_OK)
			return status;
	}
	status = take_status(import, csv_end(&import->guarded->csv));
	if (status == EX_OK && !import->has_header) {
		output_error(import->ctl->json, EX_DATAERR, "the file is empty",
			"The first line names the columns, login among them.");
		return EX_DATAERR;
	}
	return status == EX_OK ? flush_batch(import) : status;
}

/* --------------------------------------------------------------------- command */

static int summary(const struct import *import)
{
	const struct ctl *ctl = import->ctl;

	if (ctl->json)
		(void)printf("{\"added\":%lu,\"changed\":%lu,\"unchanged\":%lu,\"bad\":%lu%s}\n",
			import->added, import->changed, import->unchanged, import->bad,
			ctl->dry_run ? ",\"dry_run\":true" : "");
	else
		(void)printf("%lu added, %lu changed, %lu unchanged, %lu bad%s\n", import->added,
			import->changed, import->unchanged, import->bad,
			ctl->dry_run ? " (dry run: nothing was changed)" : "");
	return import->bad == 0 ? EX_OK : EX_DATAERR;
}

static int open_input(struct import *import, int *fd_out)
{
	const char *path = import->ctl->arguments[0];
	struct stat about;

	*fd_out = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (*fd_out == -1 || fstat(*fd_out, &about) == -1)
		return read_failed(import);
	progress_begin(&import->progress, !import->ctl->json,
		S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0);
	return EX_OK;
}

int ctl_account_import(struct ctl *ctl)
{
	struct import import = {.ctl = ctl};
	int fd = -1, status;

	if (ctl->jobs == 0)
		ctl->jobs = hash_threads_cpus();
	import.secrets_max = (size_t)ctl->jobs * BATCH_SECRETS_EACH;
	import.guarded = sodium_malloc(sizeof(*import.guarded));
	import.rows = calloc(BATCH_ROWS, sizeof(*import.rows));
	if (import.guarded == NULL || import.rows == NULL) {
		status = no_memory(&import);
		goto out;
	}
	csv_init(&import.guarded->csv);
	status = open_input(&import, &fd);
	if (status == EX_OK)
		status = read_all(&import, fd);
	HASH_CLEAR(hh, import.logins);
	progress_clear(&import.progress);
	if (status == EX_OK)
		status = summary(&import);
out:
	if (fd > STDIN_FILENO)
		(void)close(fd);
	sodium_free(import.guarded);
	free(import.rows);
	return status;
}
