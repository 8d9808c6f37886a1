/* SPDX-License-Identifier: ISC */
/*
 * A database that is the test's own, for what asks by a database_ask: it notes each call, and the
 * test answers it when it likes, with rows that it made.
 */
#ifndef TESTS_UNIT_DATABASE_FIXTURE_H
#define TESTS_UNIT_DATABASE_FIXTURE_H

#include "auth/database.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CALLS_MAX = 4096, BOOL = 16, INT8 = 20, INT4 = 23, TEXT = 25, IDS = 1016 };

struct call {
	enum query query;
	struct database *database;
	char *values[QUERY_PARAMETERS_MAX];
	database_done *done;
	void *arg;
	uint64_t token;
	bool answered;
};

static struct {
	struct call calls[CALLS_MAX];
	size_t count;
	bool away; /* nothing is taken */
} db;

static inline bool ask(struct database *database, enum query query, const char *const *values,
	database_done *done, void *arg, uint64_t token)
{
	if (db.away)
		return false;
	assert_true(db.count < CALLS_MAX);
	struct call *call = &db.calls[db.count++];
	*call = (struct call){query, database, {NULL}, done, arg, token, false};
	for (int i = 0; i < query_info[query].parameters; i++)
		call->values[i] = strdup(values[i]);
	return true;
}

static inline void forget_calls(void)
{
	for (size_t i = 0; i < db.count; i++) {
		for (size_t k = 0; k < QUERY_PARAMETERS_MAX; k++)
			free(db.calls[i].values[k]);
	}
	memset(&db, 0, sizeof db);
}

/* --------------------------------------------------------------------- rows */
static inline PGresult *rows_of(int columns, const Oid *types)
{
	static char name[] = "c";
	PGresAttDesc attributes[16];
	PGresult *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

	memset(attributes, 0, sizeof attributes);
	for (int i = 0; i < columns; i++) {
		attributes[i].name = name;
		attributes[i].format = 1;
		attributes[i].typid = types[i];
	}
	assert_int_equal(PQsetResultAttrs(rows, columns, attributes), 1);
	return rows;
}

static inline void put_number(PGresult *rows, int row, int column, int64_t number)
{
	int width = PQftype(rows, column) == INT8 ? 8 : PQftype(rows, column) == INT4 ? 4 : 1;
	char bytes[8];

	for (int i = 0; i < width; i++)
		bytes[i] = (char)((uint64_t)number >> (8 * (width - 1 - i)));
	assert_int_equal(PQsetvalue(rows, row, column, bytes, width), 1);
}

static inline void put_text(PGresult *rows, int row, int column, const char *text)
{
	char bytes[512];

	snprintf(bytes, sizeof bytes, "%s", text);
	assert_int_equal(PQsetvalue(rows, row, column, bytes, (int)strlen(bytes)), 1);
}

/* What takes() returns: one row an element. */
struct said {
	int result;
	const char *meter;
	int64_t limit, used, reset_s;
	const char *receipt, *warned;
};

static inline PGresult *takes_rows(const struct said *said, size_t count)
{
	static const Oid types[] = {INT4, INT4, TEXT, INT8, INT8, INT8, TEXT, TEXT};
	PGresult *rows = rows_of(8, types);

	for (int i = 0; i < (int)count; i++) {
		put_number(rows, i, 0, i + 1);
		put_number(rows, i, 1, said[i].result);
		put_text(rows, i, 2, said[i].meter == NULL ? "" : said[i].meter);
		put_number(rows, i, 3, said[i].limit);
		put_number(rows, i, 4, said[i].used);
		put_number(rows, i, 5, said[i].reset_s);
		put_text(rows, i, 6, said[i].receipt == NULL ? "" : said[i].receipt);
		put_text(rows, i, 7, said[i].warned == NULL ? "" : said[i].warned);
	}
	return rows;
}

static inline PGresult *returned_rows(size_t count)
{
	static const Oid types[] = {INT4, BOOL};
	PGresult *rows = rows_of(2, types);

	for (int i = 0; i < (int)count; i++) {
		put_number(rows, i, 0, i + 1);
		put_number(rows, i, 1, 1);
	}
	return rows;
}

static inline PGresult *count_rows(int64_t count)
{
	static const Oid types[] = {INT8};
	PGresult *rows = rows_of(1, types);

	put_number(rows, 0, 0, count);
	return rows;
}

/* ------------------------------------------------------------------ answers */
/* Takes rows, which are NULL unless DATABASE_ROWS. */
static inline void answer(size_t number, enum database_result result, PGresult *rows)
{
	struct call *call = &db.calls[number];

	assert_true(number < db.count);
	assert_false(call->answered);
	call->answered = true;
	call->done(result, rows, call->arg, call->token);
	PQclear(rows);
}

#endif
