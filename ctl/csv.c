/* SPDX-License-Identifier: ISC */
/* RFC 4180, octet by octet; see csv.h. */
#include "ctl/csv.h"

#include <sodium.h>

static const char byte_order_mark[3] = {'\xEF', '\xBB', '\xBF'};

enum { MARK_DONE = sizeof(byte_order_mark) };

void csv_init(struct csv *csv)
{
	csv->line = csv->line_now = 1;
	csv->field_count = csv->len = 0;
	csv->problem = NULL;
	csv->state = CSV_FIELD;
	csv->complete = false;
	csv->mark = 0;
}

static void begin_record(struct csv *csv)
{
	csv->line = csv->line_now;
	csv->field_count = csv->len = 0;
	csv->problem = NULL;
	csv->state = CSV_FIELD;
	csv->complete = false;
}

static void bad(struct csv *csv, const char *problem)
{
	csv->problem = problem;
	csv->state = CSV_SKIP;
}

static void add(struct csv *csv, char octet)
{
	/* One octet stays free for the NUL behind the field. */
	if (csv->len + 1 >= CSV_RECORD_MAX)
		bad(csv, "the record is longer than 64 KiB: is a quote not closed?");
	else
		csv->bytes[csv->len++] = octet;
}

static void end_field(struct csv *csv)
{
	if (csv->field_count == CSV_FIELDS_MAX) {
		bad(csv, "more than 32 fields");
		return;
	}
	csv->ends[csv->field_count++] = csv->len;
	csv->state = CSV_FIELD;
	add(csv, '\0');
}

/* The record ends.  CSV_MORE: it was an empty line. */
static enum csv_status end_record(struct csv *csv)
{
	if (csv->state == CSV_SKIP) {
		csv->complete = true;
		return CSV_BAD;
	}
	if (csv->field_count == 1 && csv->ends[0] == 0) {
		begin_record(csv);
		return CSV_MORE;
	}
	csv->complete = true;
	return CSV_RECORD;
}

/* An octet outside of quotes, and not directly behind a return. */
static void on_open_octet(struct csv *csv, char octet)
{
	if (octet == ',') {
		end_field(csv);
	} else if (octet == '\r') {
		csv->state = CSV_RETURN;
	} else if (csv->state == CSV_QUOTE) {
		bad(csv, "there is something behind a closing quote");
	} else if (octet != '"') {
		csv->state = CSV_BARE;
		add(csv, octet);
	} else if (csv->state == CSV_FIELD) {
		csv->state = CSV_QUOTED;
	} else {
		bad(csv, "a quote within a field that does not begin with one");
	}
}

static void on_octet(struct csv *csv, char octet)
{
	switch (csv->state) {
	case CSV_FIELD:
	case CSV_BARE:
		on_open_octet(csv, octet);
		break;
	case CSV_QUOTED:
		if (octet == '"')
			csv->state = CSV_QUOTE;
		else
			add(csv, octet);
		break;
	case CSV_QUOTE:
		if (octet == '"') {
			csv->state = CSV_QUOTED;
			add(csv, '"');
		} else {
			on_open_octet(csv, octet);
		}
		break;
	case CSV_RETURN:
		bad(csv, "a carriage return without a line feed");
		break;
	case CSV_SKIP:
		break;
	}
}

static enum csv_status on_line_feed(struct csv *csv)
{
	csv->line_now++;
	if (csv->state == CSV_QUOTED) {
		add(csv, '\n');
		/* Too long just here: this line end is the one behind which reading goes on. */
		return csv->state == CSV_SKIP ? end_record(csv) : CSV_MORE;
	}
	if (csv->state != CSV_SKIP)
		end_field(csv);
	return end_record(csv);
}

/* Whether the octet belongs to the mark.  Only a whole one is passed over. */
static bool in_mark(struct csv *csv, char octet)
{
	if (csv->mark == MARK_DONE)
		return false;
	if (octet == byte_order_mark[csv->mark]) {
		csv->mark++;
		return true;
	}
	for (unsigned i = 0; i < csv->mark; i++)
		on_octet(csv, byte_order_mark[i]);
	csv->mark = MARK_DONE;
	return false;
}

enum csv_status csv_feed(struct csv *csv, const char *bytes, size_t len, size_t *consumed_out)
{
	if (csv->complete)
		begin_record(csv);
	for (size_t at = 0; at < len; at++) {
		enum csv_status status = CSV_MORE;

		if (in_mark(csv, bytes[at]))
			continue;
		if (bytes[at] == '\n')
			status = on_line_feed(csv);
		else if (bytes[at] == '\0' && csv->state != CSV_SKIP)
			bad(csv, "a NUL");
		else
			on_octet(csv, bytes[at]);
		if (status != CSV_MORE) {
			*consumed_out = at + 1;
			return status;
		}
	}
	*consumed_out = len;
	return CSV_MORE;
}

enum csv_status csv_end(struct csv *csv)
{
	if (csv->complete)
		begin_record(csv);
	if (csv->mark != MARK_DONE && csv->mark > 0) {
		for (unsigned i = 0; i < csv->mark; i++)
			on_octet(csv, byte_order_mark[i]);
	}
	csv->mark = MARK_DONE;
	if (csv->state == CSV_QUOTED)
		bad(csv, "a quote is not closed");
	else if (csv->state == CSV_RETURN)
		bad(csv, "a carriage return without a line feed");
	if (csv->state == CSV_FIELD && csv->field_count == 0)
		return CSV_MORE;
	if (csv->state != CSV_SKIP)
		end_field(csv);
	return end_record(csv);
}

const char *csv_field(const struct csv *csv, size_t number, size_t *len_out)
{
	size_t begin = number == 0 ? 0 : csv->ends[number - 1] + 1;

	*len_out = csv->ends[number] - begin;
	return csv->bytes + begin;
}

void csv_wipe(struct csv *csv)
{
	sodium_memzero(csv, sizeof(*csv));
}
