/* SPDX-License-Identifier: ISC */
/*
 * Comma-separated values: in whatever pieces the octets arrive the same records come out, within
 * their bounds, and a record written anew reads as itself.  The first octet is the size of a piece.
 */
#include "ctl/csv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

enum { INPUT_MAX = 8192, NOTES_MAX = 4 * INPUT_MAX };

struct notes {
	size_t len;
	char bytes[NOTES_MAX];
};

static void put(struct notes *notes, const char *bytes, size_t len)
{
	must(notes->len + len <= NOTES_MAX);
	memcpy(notes->bytes + notes->len, bytes, len);
	notes->len += len;
}

/* The record as CSV, every field in quotes. */
static void write_record(const struct csv *csv, struct notes *notes)
{
	must(csv->field_count >= 1 && csv->field_count <= CSV_FIELDS_MAX);
	for (size_t i = 0; i < csv->field_count; i++) {
		size_t len;
		const char *field = csv_field(csv, i, &len);

		must(strlen(field) == len);
		put(notes, i == 0 ? "\"" : ",\"", i == 0 ? 1 : 2);
		for (size_t at = 0; at < len; at++)
			put(notes, field[at] == '"' ? "\"\"" : field + at,
				field[at] == '"' ? 2 : 1);
		put(notes, "\"", 1);
	}
	put(notes, "\n", 1);
}

static void on_status(const struct csv *csv, enum csv_status status, struct notes *notes)
{
	must(csv->line >= 1);
	must((status == CSV_BAD) == (csv->problem != NULL));
	if (status == CSV_RECORD)
		write_record(csv, notes);
}

static void run(const char *bytes, size_t len, size_t piece, struct notes *notes)
{
	static struct csv csv;
	enum csv_status status;

	csv_init(&csv);
	notes->len = 0;
	for (size_t at = 0; at < len;) {
		size_t room = len - at < piece ? len - at : piece, consumed;
		char *copy = malloc(room);

		must(copy != NULL);
		memcpy(copy, bytes + at, room);
		status = csv_feed(&csv, copy, room, &consumed);
		must(consumed > 0 && consumed <= room && (status != CSV_MORE || consumed == room));
		free(copy);
		at += consumed;
		if (status != CSV_MORE)
			on_status(&csv, status, notes);
	}
	status = csv_end(&csv);
	if (status != CSV_MORE)
		on_status(&csv, status, notes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct notes whole, pieces, again;

	if (size < 2 || size > INPUT_MAX / 2)
		return 0;
	run((const char *)data + 1, size - 1, size, &whole);
	run((const char *)data + 1, size - 1, data[0] % 16 + 1u, &pieces);
	must(whole.len == pieces.len && memcmp(whole.bytes, pieces.bytes, whole.len) == 0);
	run(whole.bytes, whole.len, whole.len + 1, &again);
	must(whole.len == again.len && memcmp(whole.bytes, again.bytes, whole.len) == 0);
	return 0;
}
