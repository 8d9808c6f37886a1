/* SPDX-License-Identifier: ISC */
/* The values of a result; see query_cell.h. */
#include "auth/query_cell.h"

#include <string.h>

bool cell_shape(const PGresult *rows, int rows_max, int columns, const Oid *types)
{
	if (PQnfields(rows) != columns || PQntuples(rows) > rows_max)
		return false;
	for (int i = 0; i < columns; i++) {
		if (PQftype(rows, i) != types[i] || PQfformat(rows, i) != 1)
			return false;
	}
	return true;
}

struct cell cell_at(const PGresult *rows, int row, int column)
{
	return (struct cell){
		.bytes = (const uint8_t *)PQgetvalue(rows, row, column),
		.len = (size_t)PQgetlength(rows, row, column),
		.null = PQgetisnull(rows, row, column) == 1,
	};
}

bool cell_integer(struct cell *cell, size_t width, int64_t *out)
{
	uint64_t value = 0;

	if (cell->len < width)
		return false;
	for (size_t i = 0; i < width; i++)
		value = value << 8 | cell->bytes[i];
	if (width == 4)
		*out = (int32_t)(uint32_t)value;
	else
		*out = (int64_t)value;
	cell->bytes += width;
	cell->len -= width;
	return true;
}

bool cell_number(const PGresult *rows, int row, int column, size_t width, int64_t *out)
{
	struct cell cell = cell_at(rows, row, column);

	return !cell.null && cell_integer(&cell, width, out) && cell.len == 0;
}

bool cell_natural(
	const PGresult *rows, int row, int column, size_t width, int64_t if_null, uint64_t *out)
{
	struct cell cell = cell_at(rows, row, column);
	int64_t value = if_null;

	if (!cell.null && (!cell_integer(&cell, width, &value) || cell.len != 0))
		return false;
	if (value < 0)
		return false;
	*out = (uint64_t)value;
	return true;
}

bool cell_bool(const PGresult *rows, int row, int column, bool *out)
{
	struct cell cell = cell_at(rows, row, column);

	if (cell.null || cell.len != 1 || cell.bytes[0] > 1)
		return false;
	*out = cell.bytes[0] == 1;
	return true;
}

bool cell_text(const PGresult *rows, int row, int column, char *out, size_t max)
{
	struct cell cell = cell_at(rows, row, column);

	if (cell.null || cell.len == 0 || cell.len > max || memchr(cell.bytes, 0, cell.len) != NULL)
		return false;
	memcpy(out, cell.bytes, cell.len);
	out[cell.len] = '\0';
	return true;
}

bool cell_bytes(const PGresult *rows, int row, int column, struct query_bytes *out)
{
	struct cell cell = cell_at(rows, row, column);

	*out = (struct query_bytes){cell.bytes, cell.len};
	return !cell.null;
}

bool cell_array(struct cell *cell, Oid of, int64_t max, int64_t *count_out)
{
	int64_t dimensions, has_null, type, lower;

	if (!cell_integer(cell, 4, &dimensions) || !cell_integer(cell, 4, &has_null) ||
		!cell_integer(cell, 4, &type) || type != of)
		return false;
	*count_out = 0;
	if (dimensions == 0)
		return true;
	return dimensions == 1 && cell_integer(cell, 4, count_out) &&
	       cell_integer(cell, 4, &lower) && *count_out >= 0 && *count_out <= max;
}
