/* SPDX-License-Identifier: ISC */
/*
 * The values of a result in the binary format, each read checked: for query.c and the other files
 * that parse rows; nobody else includes it.
 *
 * What is read is another's word: a value of another type, length or range is no answer.
 */
#ifndef AUTH_QUERY_CELL_H
#define AUTH_QUERY_CELL_H

#include "auth/query.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* pg_type.dat; the server's headers are no part of libpq-dev. */
enum {
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_TEXT_ARRAY = 1009,
	OID_INT8_ARRAY = 1016,
};

/* A cursor over one value. */
struct cell {
	const uint8_t *bytes;
	size_t len;
	bool null;
};

/* So many columns of these types, and at most so many rows. */
bool cell_shape(const PGresult *rows, int rows_max, int columns, const Oid *types);

struct cell cell_at(const PGresult *rows, int row, int column);

/* Network order, two's complement; moves the cursor. */
bool cell_integer(struct cell *cell, size_t width, int64_t *out);

/* A whole column; NULL reads as if_null, a negative value is bad. */
bool cell_natural(
	const PGresult *rows, int row, int column, size_t width, int64_t if_null, uint64_t *out);
/* Likewise; what is negative is read as well. */
bool cell_number(const PGresult *rows, int row, int column, size_t width, int64_t *out);

bool cell_bool(const PGresult *rows, int row, int column, bool *out);

/* A text without NUL, 1 to max octets, ended by one. */
bool cell_text(const PGresult *rows, int row, int column, char *out, size_t max);

/* Whatever is there, as long as it is; false: NULL. */
bool cell_bytes(const PGresult *rows, int row, int column, struct query_bytes *out);

/* The head of a one-dimensional array; leaves the cursor at its first element. */
bool cell_array(struct cell *cell, Oid of, int64_t max, int64_t *count_out);

#endif
