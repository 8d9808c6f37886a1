/* SPDX-License-Identifier: ISC */
/*
 * Lines: however the octets arrive, the same lines come out, all of them and nothing else.  The
 * first octet is the limit, the second the size of a piece.
 */
#include "proxy/line.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

struct run {
	const char *bytes;
	size_t at, end; /* waiting: [at, end) */
	size_t limit;
	bool skipping;
	char *notes;
	size_t notes_len;
};

static void note(struct run *run, char kind, const char *bytes, size_t len)
{
	run->notes[run->notes_len++] = kind;
	memcpy(run->notes + run->notes_len, bytes, len);
	run->notes_len += len;
}

static void check_line(enum line_status status, const char *line, size_t len, size_t limit)
{
	bool bad = false;

	must(len <= limit);
	for (size_t i = 0; i < len; i++)
		bad |= line[i] == '\r' || line[i] == '\n' || line[i] == '\0';
	must(bad == (status == LINE_BAD));
	must(memcmp(line + len, "\r\n", 2) == 0);
}

static bool cut_one(struct run *run, const char *copy)
{
	size_t waiting = run->end - run->at, len, consumed;
	enum line_status status = line_cut(copy, waiting, run->limit, &len, &consumed);

	switch (status) {
	case LINE_DONE:
	case LINE_BAD:
		must(consumed == len + 2 && consumed <= waiting);
		check_line(status, copy, len, run->limit);
		note(run, status == LINE_BAD ? 'B' : 'D', copy, len);
		break;
	case LINE_TOO_LONG:
		must(consumed > 0 && consumed <= waiting);
		note(run, 'L', "", 0);
		run->skipping = true;
		break;
	case LINE_MORE:
		must(waiting <= run->limit + 1);
		return false;
	}
	run->at += consumed;
	return true;
}

static bool skip_some(struct run *run, const char *copy)
{
	int done;
	size_t count = line_skip(copy, run->end - run->at, &done);

	must(count <= run->end - run->at);
	run->at += count;
	must(done || run->end - run->at <= 1);
	run->skipping = !done;
	return done != 0;
}

static void pump(struct run *run)
{
	bool more = true;

	while (more && run->at < run->end) {
		size_t len = run->end - run->at;
		char *copy = malloc(len);

		must(copy != NULL);
		memcpy(copy, run->bytes + run->at, len);
		more = run->skipping ? skip_some(run, copy) : cut_one(run, copy);
		free(copy);
	}
}

static void run_in(struct run *run, size_t len, size_t piece)
{
	run->notes = malloc(2 * len + 16);
	must(run->notes != NULL);
	while (run->end < len) {
		run->end += len - run->end < piece ? len - run->end : piece;
		pump(run);
	}
	note(run, run->skipping ? 'S' : 'M', run->bytes + run->at, run->end - run->at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run whole = {.end = 0}, pieces = {.end = 0};

	if (size < 2 || size > 4096)
		return 0;
	whole.bytes = pieces.bytes = (const char *)data + 2;
	whole.limit = pieces.limit = data[0] % 64 + 1u;
	run_in(&whole, size - 2, size);
	run_in(&pieces, size - 2, data[1] % 16 + 1u);
	must(whole.notes_len == pieces.notes_len);
	must(memcmp(whole.notes, pieces.notes, whole.notes_len) == 0);
	free(whole.notes);
	free(pieces.notes);
	return 0;
}
