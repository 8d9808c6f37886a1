/* SPDX-License-Identifier: ISC */
/* Plans, tenants and domains alike; see subject.h. */
#include "ctl/subject.h"

#include "ctl/database.h"
#include "ctl/output.h"
#include "ctl/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* -------------------------------------------------------------- add, set, del */

/* Runs a statement of (name, settings).  *done_out: it gave a row. */
static int change(struct ctl *ctl, const struct subject *subject, const char *sql, bool *done_out)
{
	int status = EX_OK;
	char *json = settings_json(
		ctl, ctl->arguments + 1, ctl->argument_count - 1, subject->takes, &status);
	const char *values[] = {ctl->arguments[0], json};
	PGresult *rows;

	if (json == NULL)
		return status;
	rows = database_ask(ctl, sql, 2, values, &status);
	*done_out = rows != NULL && PQntuples(rows) > 0;
	PQclear(rows);
	free(json);
	return status;
}

static int absent(const struct ctl *ctl, const struct subject *subject)
{
	char message[512], hint[128];

	(void)snprintf(message, sizeof(message), "there is no %s \"%s\"", subject->noun,
		ctl->arguments[0]);
	(void)snprintf(
		hint, sizeof(hint), "posternctl %s list shows what there is.", subject->noun);
	output_error(ctl->json, EX_DATAERR, message, hint);
	return EX_DATAERR;
}

int subject_add(struct ctl *ctl, const struct subject *subject)
{
	bool done = false;
	int status = change(ctl, subject, subject->add, &done);
	char message[512], hint[128];

	if (status != EX_OK)
		return status;
	if (done) {
		output_changed(ctl->json, subject->noun, ctl->arguments[0], "added");
		return EX_OK;
	}
	(void)snprintf(message, sizeof(message), "there is a %s \"%s\" already", subject->noun,
		ctl->arguments[0]);
	(void)snprintf(hint, sizeof(hint), "posternctl %s set changes it.", subject->noun);
	output_error(ctl->json, EX_CANTCREAT, message, hint);
	return EX_CANTCREAT;
}

int subject_set(struct ctl *ctl, const struct subject *subject)
{
	bool done = false;
	int status = change(ctl, subject, subject->set, &done);

	if (status != EX_OK)
		return status;
	if (!done)
		return absent(ctl, subject);
	output_changed(ctl->json, subject->noun, ctl->arguments[0], "changed");
	return EX_OK;
}

int subject_del(struct ctl *ctl, const struct subject *subject)
{
	const char *values[] = {ctl->arguments[0]};
	int status = EX_OK;
	PGresult *rows = database_ask(ctl, subject->del, 1, values, &status);
	bool done = rows != NULL && PQntuples(rows) > 0;

	PQclear(rows);
	if (status != EX_OK)
		return status;
	if (!done)
		return absent(ctl, subject);
	output_changed(ctl->json, subject->noun, ctl->arguments[0], "deleted");
	return EX_OK;
}

/* ----------------------------------------------------------------- list, show */

int subject_list(struct ctl *ctl, const struct subject *subject)
{
	const char *values[] = {NULL};
	int status = EX_OK;
	PGresult *rows = database_ask(
		ctl, ctl->json ? subject->list : subject->list_plain, 1, values, &status);

	if (rows == NULL)
		return status;
	output_rows(ctl->json, rows);
	PQclear(rows);
	return EX_OK;
}

/* The key, padded. */
static void show_key(const char *key, size_t len)
{
	(void)printf("%-24.*s", (int)len, key);
}

/* One thing a line: what the row says, then the settings, which are words KEY=VALUE. */
static void show_plain(const PGresult *rows)
{
	int last = PQnfields(rows) - 1;
	const char *word = PQgetvalue(rows, 0, last);

	for (int column = 0; column < last; column++) {
		show_key(PQfname(rows, column), strlen(PQfname(rows, column)));
		output_field(stdout, rows, 0, column);
		(void)fputc('\n', stdout);
	}
	while (*word != '\0') {
		size_t key = strcspn(word, "="), all = strcspn(word, " ");

		show_key(word, key);
		(void)printf("%.*s\n", (int)(all - key - 1), word + key + 1);
		word += all + strspn(word + all, " ");
	}
}

int subject_show(struct ctl *ctl, const struct subject *subject)
{
	const char *values[] = {ctl->arguments[0]};
	int status = EX_OK;
	PGresult *rows = database_ask(
		ctl, ctl->json ? subject->list : subject->list_plain, 1, values, &status);

	if (rows == NULL)
		return status;
	if (PQntuples(rows) == 0) {
		status = absent(ctl, subject);
	} else if (ctl->json) {
		output_json_row(stdout, rows, 0);
		(void)fputc('\n', stdout);
	} else {
		show_plain(rows);
	}
	PQclear(rows);
	return status;
}
