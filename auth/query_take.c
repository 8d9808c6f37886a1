/* SPDX-License-Identifier: ISC */
/*
 * What the functions of the limits return; see query.h.
 *
 * Several elements are answered by a row each, told apart by number: a number that is missing, out
 * of range or there twice makes the whole of it no answer.
 */
#include "auth/query_cell.h"

#include <string.h>

enum { ELEMENTS_MAX = 256 };

/* Visits the rows by their number, the first column.  false: not 1 to count, each once. */
static bool read_numbers(const PGresult *rows, size_t count, size_t *row_of)
{
	bool seen[ELEMENTS_MAX] = {false};
	uint64_t number;

	if (count > ELEMENTS_MAX || PQntuples(rows) != (int)count)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!cell_natural(rows, (int)i, 0, 4, -1, &number) || number < 1 ||
			number > count || seen[number - 1])
			return false;
		seen[number - 1] = true;
		row_of[number - 1] = i;
	}
	return true;
}

/* NULL is an empty one. */
static bool read_label(const PGresult *rows, int row, int column, uint8_t *out, uint8_t *len_out)
{
	struct cell cell = cell_at(rows, row, column);

	if (cell.len > IPC_METER_NAME_MAX)
		return false;
	memcpy(out, cell.bytes, cell.len);
	*len_out = (uint8_t)cell.len;
	return true;
}

/* From the column of the result on: seven of them. */
static bool read_quota(const PGresult *rows, int row, int at, struct query_quota_row *out)
{
	uint64_t result;

	memset(out, 0, sizeof *out);
	if (!cell_natural(rows, row, at, 4, -1, &result) || result > QUERY_QUOTA_REJECTED ||
		!read_label(rows, row, at + 1, out->meter, &out->meter_len) ||
		!cell_natural(rows, row, at + 2, 8, 0, &out->limit) ||
		!cell_natural(rows, row, at + 3, 8, 0, &out->used) ||
		!cell_natural(rows, row, at + 4, 8, 0, &out->reset_s) ||
		!read_label(rows, row, at + 6, out->warned, &out->warned_len))
		return false;
	out->result = (enum query_quota)result;
	if (out->result != QUERY_QUOTA_GRANTED)
		return true;
	out->receipt_len = (uint8_t)cell_at(rows, row, at + 5).len;
	return cell_text(rows, row, at + 5, out->receipt, QUERY_RECEIPT_MAX);
}

bool query_parse_takes(const PGresult *rows, size_t count, struct query_quota_row *out)
{
	static const Oid types[] = {
		OID_INT4, OID_INT4, OID_TEXT, OID_INT8, OID_INT8, OID_INT8, OID_TEXT, OID_TEXT};
	size_t row_of[ELEMENTS_MAX];

	if (!cell_shape(rows, ELEMENTS_MAX, 8, types) || !read_numbers(rows, count, row_of))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!read_quota(rows, (int)row_of[i], 1, &out[i]))
			return false;
	}
	return true;
}

bool query_parse_returned(const PGresult *rows, size_t count)
{
	static const Oid types[] = {OID_INT4, OID_BOOL};
	size_t row_of[ELEMENTS_MAX];

	return cell_shape(rows, ELEMENTS_MAX, 2, types) && read_numbers(rows, count, row_of);
}

bool query_parse_holds(const PGresult *rows, size_t count, struct query_hold_row *out)
{
	static const Oid types[] = {OID_INT4, OID_BOOL, OID_INT8};
	size_t row_of[ELEMENTS_MAX];

	if (!cell_shape(rows, ELEMENTS_MAX, 3, types) || !read_numbers(rows, count, row_of))
		return false;
	for (size_t i = 0; i < count; i++) {
		int64_t limit;
		if (!cell_bool(rows, (int)row_of[i], 1, &out[i].granted) ||
			!cell_number(rows, (int)row_of[i], 2, 8, &limit) ||
			limit < ACCOUNT_UNLIMITED)
			return false;
		out[i].limit = limit == ACCOUNT_UNLIMITED ? UINT64_MAX : (uint64_t)limit;
	}
	return true;
}

bool query_parse_lease(const PGresult *rows, struct query_lease_row *out)
{
	static const Oid types[] = {OID_INT4, OID_TEXT, OID_INT8, OID_INT8, OID_INT8, OID_TEXT,
		OID_TEXT, OID_INT8, OID_INT8, OID_INT8, OID_INT8, OID_INT4};

	memset(out, 0, sizeof *out);
	return cell_shape(rows, 1, 12, types) && PQntuples(rows) == 1 &&
	       read_quota(rows, 0, 0, &out->quota) && cell_natural(rows, 0, 7, 8, 0, &out->lease) &&
	       cell_natural(rows, 0, 8, 8, 0, &out->messages) &&
	       cell_natural(rows, 0, 9, 8, 0, &out->recipients) &&
	       cell_natural(rows, 0, 10, 8, 0, &out->bytes) &&
	       cell_natural(rows, 0, 11, 4, 0, &out->ttl_s);
}

bool query_parse_count(const PGresult *rows, uint64_t *out)
{
	static const Oid types[] = {OID_INT8};

	return cell_shape(rows, 1, 1, types) && PQntuples(rows) == 1 &&
	       cell_natural(rows, 0, 0, 8, -1, out);
}
