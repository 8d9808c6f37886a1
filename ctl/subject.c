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

/*
 * The settings in $1 as KEY=VALUE takes them, in the order of the limits: octets with a unit where
 * that leaves no rest.  "many" joins them into one text, for a list.
 */
#define EACH_SETTING                                                                           \
	" FROM (SELECT key, key AS kind, value FROM pg_catalog.jsonb_each_text("               \
	"$1::pg_catalog.jsonb - 'grace') UNION ALL SELECT 'grace.' || key, key, value "        \
	"FROM pg_catalog.jsonb_each_text(CASE pg_catalog.jsonb_typeof("                        \
	"$1::pg_catalog.jsonb -> 'grace') WHEN 'object' THEN $1::pg_catalog.jsonb -> 'grace' " \
	"END)) e LEFT JOIN postern.limit_kinds() k ON k.name = e.kind "                        \
	"CROSS JOIN LATERAL (SELECT CASE WHEN k.unit IS DISTINCT FROM 'bytes' "                \
	"OR e.value !~ '^[1-9][0-9]{0,17}$' THEN e.value "                                     \
	"WHEN e.value::int8 % 1073741824 = 0 THEN e.value::int8 / 1073741824 || 'GiB' "        \
	"WHEN e.value::int8 % 1048576 = 0 THEN e.value::int8 / 1048576 || 'MiB' "              \
	"WHEN e.value::int8 % 1024 = 0 THEN e.value::int8 / 1024 || 'KiB' "                    \
	"ELSE e.value END AS amount) a "                                                       \
	"WHERE e.value IS NOT NULL"
#define SETTING_ORDER " ORDER BY e.key <> e.kind, k.number NULLS FIRST, e.key"

static int no_memory(const struct ctl *ctl)
{
	output_error(ctl->json, EX_OSERR, "out of memory", "");
	return EX_OSERR;
}

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

/* The settings of a row in one text, for free().  NULL, with *status_out: it failed. */
static char *settings_text(struct ctl *ctl, const char *settings, int *status_out)
{
	const char *values[] = {settings};
	PGresult *rows = database_ask(ctl,
		"SELECT pg_catalog.string_agg(e.key || '=' || a.amount, ' '" SETTING_ORDER
		")" EACH_SETTING,
		1, values, status_out);
	char *text;

	if (rows == NULL)
		return NULL;
	text = strdup(PQgetvalue(rows, 0, 0));
	PQclear(rows);
	if (text == NULL)
		*status_out = no_memory(ctl);
	return text;
}

/* For people: the settings as they are set, in place of the object. */
static int list_plain(struct ctl *ctl, PGresult *rows)
{
	int last = PQnfields(rows) - 1, status = EX_OK;

	for (int row = 0; status == EX_OK && row < PQntuples(rows); row++) {
		char *text = settings_text(ctl, PQgetvalue(rows, row, last), &status);

		if (text != NULL && PQsetvalue(rows, row, last, text, (int)strlen(text)) == 0)
			status = no_memory(ctl);
		free(text);
	}
	if (status == EX_OK)
		output_rows(false, rows);
	return status;
}

int subject_list(struct ctl *ctl, const struct subject *subject)
{
	const char *values[] = {NULL};
	int status = EX_OK;
	PGresult *rows = database_ask(ctl, subject->list, 1, values, &status);

	if (rows == NULL)
		return status;
	if (ctl->json)
		output_rows(true, rows);
	else
		status = list_plain(ctl, rows);
	PQclear(rows);
	return status;
}

/* One thing a line: what the row says, then the settings. */
static int show_plain(struct ctl *ctl, const PGresult *rows)
{
	int last = PQnfields(rows) - 1, status = EX_OK;
	const char *values[] = {PQgetvalue(rows, 0, last)};
	PGresult *settings = database_ask(
		ctl, "SELECT e.key, a.amount" EACH_SETTING SETTING_ORDER, 1, values, &status);

	if (settings == NULL)
		return status;
	for (int column = 0; column < last; column++) {
		(void)printf("%-24s", PQfname(rows, column));
		output_field(stdout, rows, 0, column);
		(void)fputc('\n', stdout);
	}
	for (int row = 0; row < PQntuples(settings); row++) {
		(void)printf("%-24s", PQgetvalue(settings, row, 0));
		output_plain(stdout, PQgetvalue(settings, row, 1));
		(void)fputc('\n', stdout);
	}
	PQclear(settings);
	return EX_OK;
}

int subject_show(struct ctl *ctl, const struct subject *subject)
{
	const char *values[] = {ctl->arguments[0]};
	int status = EX_OK;
	PGresult *rows = database_ask(ctl, subject->list, 1, values, &status);

	if (rows == NULL)
		return status;
	if (PQntuples(rows) == 0) {
		status = absent(ctl, subject);
	} else if (ctl->json) {
		output_json_row(stdout, rows, 0);
		(void)fputc('\n', stdout);
	} else {
		status = show_plain(ctl, rows);
	}
	PQclear(rows);
	return status;
}
