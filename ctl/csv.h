/* SPDX-License-Identifier: ISC */
/*
 * Comma-separated values (RFC 4180), one record at a time out of pieces of any size.
 *
 * Records end with CRLF or LF, the last one with the end of the input as well; a UTF-8 byte order
 * mark at the beginning and empty lines are passed over.  A field in quotes may hold commas, line
 * ends and doubled quotes.  Nothing is guessed: a quote within a bare field, text behind a closing
 * quote, a carriage return alone or a NUL makes the record bad, and reading goes on behind the next
 * line end.  Pure: no file, no allocation.  Records may hold passwords: csv_wipe() when done.
 */
#ifndef CTL_CSV_H
#define CTL_CSV_H

#include <stdbool.h>
#include <stddef.h>

enum {
	CSV_FIELDS_MAX = 32,
	CSV_RECORD_MAX = 64 << 10, /* octets of all fields, with a NUL behind each */
};

enum csv_status {
	CSV_MORE = 1, /* no whole record yet; at the end: there is none left */
	CSV_RECORD,
	CSV_BAD, /* a record that is not one: problem says why */
};

enum csv_state {
	CSV_FIELD = 1, /* before the first octet of a field */
	CSV_BARE,
	CSV_QUOTED,
	CSV_QUOTE, /* a quote in a quoted field: doubled, or its end */
	CSV_RETURN,
	CSV_SKIP, /* bad: what is left of the line */
};

struct csv {
	unsigned long line; /* of a record or a bad one: where it begins, from 1 on */
	size_t field_count;
	const char *problem; /* of CSV_BAD: a constant */

	/* csv.c's own */
	enum csv_state state;
	bool complete; /* the record was given out: the next octet begins another */
	unsigned mark; /* octets of the byte order mark seen, or 3 */
	unsigned long line_now;
	size_t len;
	size_t ends[CSV_FIELDS_MAX];
	char bytes[CSV_RECORD_MAX];
};

void csv_init(struct csv *csv);

/*
 * Reads on, up to the end of one record.  *consumed_out octets were used: all of them with
 * CSV_MORE.  A record's fields are there until the next call.
 */
enum csv_status csv_feed(struct csv *csv, const char *bytes, size_t len, size_t *consumed_out)
	__attribute__((warn_unused_result));

/* The input ends here: the record that no line end closes, if there is one. */
enum csv_status csv_end(struct csv *csv) __attribute__((warn_unused_result));

/* A field of the record, from 0 on, with a NUL behind it.  A field holds no NUL. */
const char *csv_field(const struct csv *csv, size_t number, size_t *len_out);

void csv_wipe(struct csv *csv);

#endif
