/* SPDX-License-Identifier: ISC */
/*
 * BDAT: its arguments (conformance 95, threats.md A17), what becomes of a message in chunks however
 * they are cut (A15, A16, A21), and the sizes of the pieces that a backend gets.
 */
#include "proxy/chunk.h"
#include "proxy/command.h"

#include "tests/unit/body_reference.h"
#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* ---------------------------------------------------------------- arguments */

static const struct {
	const char *args;
	bool valid, last;
	uint64_t size;
} bdat_rows[] = {
	{"0", true, false, 0},
	{"0 LAST", true, true, 0},
	{"86 last", true, true, 86},
	{"100000 LaSt", true, true, 100000},
	{"007", true, false, 7},
	{"9223372036854775807", true, false, UINT64_C(9223372036854775807)},
	{"9223372036854775808", true, false, UINT64_C(9223372036854775808)},
	{"00000000000000000000009223372036854775808 LAST", true, true,
		UINT64_C(9223372036854775808)},
	{"9223372036854775809", false, false, 0},
	{"18446744073709551615", false, false, 0},
	{"18446744073709551616", false, false, 0},
	{"18446744073709551621 LAST", false, false, 0},
	{"99999999999999999999 LAST", false, false, 0},
	{"99999999999999999999999999999999999999999", false, false, 0},
	{"", false, false, 0},
	{"-1", false, false, 0},
	{"+1", false, false, 0},
	{"0x10", false, false, 0},
	{"1e3", false, false, 0},
	{"1.0", false, false, 0},
	{"1,000", false, false, 0},
	{"LAST", false, false, 0},
	{"LAST 5", false, false, 0},
	{"5LAST", false, false, 0},
	{"5 LASTX", false, false, 0},
	{"5 LAST X", false, false, 0},
	{"5 LAST LAST", false, false, 0},
	{"5 LAS", false, false, 0},
	{"5 ", false, false, 0},
	{"5  LAST", false, false, 0},
	{"5\tLAST", false, false, 0},
	{"5 5", false, false, 0},
	{"\xd9\xa3", false, false, 0},
};

static void test_arguments(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bdat_rows); i++) {
		size_t len = strlen(bdat_rows[i].args);
		char *args = parse_exact(bdat_rows[i].args, len);
		struct bdat_arguments got;

		if (command_parse_bdat(args, len, &got) != bdat_rows[i].valid)
			fail_msg("\"%s\": want %d", bdat_rows[i].args, bdat_rows[i].valid);
		if (bdat_rows[i].valid) {
			assert_int_equal(got.size, bdat_rows[i].size);
			assert_int_equal(got.last, bdat_rows[i].last);
		}
		free(args);
	}
	struct bdat_arguments got;
	assert_false(command_parse_bdat("5\0LAST", 6, &got));
}

/* ------------------------------------------------------------------ octets */

struct run {
	const char *name;
	enum body_mode mode;
	struct body_reference want;
	struct body body;
	struct evbuffer *out;
};

static void run_begin(void *context)
{
	struct run *run = context;

	evbuffer_drain(run->out, evbuffer_get_length(run->out));
	body_init(&run->body, run->mode);
}

static void run_feed(void *context, const char *bytes, size_t len)
{
	struct run *run = context;
	size_t consumed;

	assert_int_equal(body_feed(&run->body, bytes, len, &consumed, run->out), BODY_MORE);
	assert_int_equal(consumed, len);
}

static void run_end(void *context, const char *how)
{
	struct run *run = context;
	char got_text[400], want_text[400];

	body_finish(&run->body, run->out);
	size_t len = evbuffer_get_length(run->out);
	const char *got = (const char *)evbuffer_pullup(run->out, -1);
	if (run->body.saw_bare != run->want.saw_bare || run->body.saw_nul != run->want.saw_nul ||
		run->body.bytes_in != run->want.bytes_in || run->body.failed)
		fail_msg("%s, %s: got bare %d nul %d bytes %zu, want %d %d %zu", run->name, how,
			run->body.saw_bare, run->body.saw_nul, (size_t)run->body.bytes_in,
			run->want.saw_bare, run->want.saw_nul, (size_t)run->want.bytes_in);
	if (run->want.saw_nul) /* never sent, and its last line is not completed */
		return;
	if (len != run->want.out_len || (len > 0 && memcmp(got, run->want.out, len) != 0))
		fail_msg("%s, %s: got \"%s\", want \"%s\"", run->name, how,
			parse_show(got, len, got_text, sizeof(got_text)),
			parse_show(run->want.out, run->want.out_len, want_text, sizeof(want_text)));
	if (run->mode == BODY_CHUNKS_TO_DATA)
		assert_true(body_reference_safe(got, len));
}

static void check(const char *name, enum body_mode mode, const char *bytes, size_t len)
{
	struct run run = {.name = name, .mode = mode, .out = evbuffer_new()};
	struct parse_case parse = {&run, run_begin, run_feed, run_end};

	assert_non_null(run.out);
	run.want = body_reference_chunks(bytes, len, mode);
	parse_every_way(&parse, bytes, len);
	evbuffer_free(run.out);
	free(run.want.out);
}

#define IN(text) text, sizeof(text) - 1
#define FORGED "MAIL FROM:<ceo@victim.example>\r\n"

static const struct {
	const char *name;
	const char *in;
	size_t len;
	const char *to_data, *to_bdat;
} rows[] = {
	{"A15 LF.LF", IN("a\n.\n" FORGED), "a\r\n..\r\n" FORGED, "a\r\n.\r\n" FORGED},
	{"A15 CRLF.CRLF is content", IN("a\r\n.\r\n" FORGED), "a\r\n..\r\n" FORGED,
		"a\r\n.\r\n" FORGED},
	{"A15 CRLF.LF", IN("a\r\n.\n" FORGED), "a\r\n..\r\n" FORGED, "a\r\n.\r\n" FORGED},
	{"A15 LF.CRLF", IN("a\n.\r\n" FORGED), "a\r\n..\r\n" FORGED, "a\r\n.\r\n" FORGED},
	{"A15 CR.CR", IN("a\r.\r" FORGED), "a . " FORGED, "a . " FORGED},
	{"A15 CRLF.CRCRLF", IN("a\r\n.\r\r\n" FORGED), "a\r\n..\r\n" FORGED, "a\r\n.\r\n" FORGED},
	{"A16 no line end", IN("abc"), "abc\r\n", "abc\r\n"},
	{"A16 a dot at the end", IN("abc\r\n."), "abc\r\n..\r\n", "abc\r\n.\r\n"},
	{"A16 CR at the end", IN("abc\r"), "abc\r\n", "abc\r\n"},
	{"A16 CRs at the end", IN("abc\r\r\r"), "abc\r\n", "abc\r\n"},
	{"A16 LF at the end", IN("abc\n"), "abc\r\n", "abc\r\n"},
	{"A16 empty", IN(""), "", ""},
	{"A16 one CR", IN("\r"), "\r\n", "\r\n"},
	{"A21 commands", IN("RSET\r\nMAIL FROM:<evil@x>\r\n.\r\n"),
		"RSET\r\nMAIL FROM:<evil@x>\r\n..\r\n", "RSET\r\nMAIL FROM:<evil@x>\r\n.\r\n"},
	{"dots", IN(".\r\n..\r\n.a\r\na.\r\n"), "..\r\n...\r\n..a\r\na.\r\n",
		".\r\n..\r\n.a\r\na.\r\n"},
	{"8-bit octets", IN("\x80\xff\r\n"), "\x80\xff\r\n", "\x80\xff\r\n"},
};

static void test_rows_every_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (int to_bdat = 0; to_bdat < 2; to_bdat++) {
			enum body_mode mode = to_bdat ? BODY_CHUNKS : BODY_CHUNKS_TO_DATA;
			const char *want = to_bdat ? rows[i].to_bdat : rows[i].to_data;
			struct body_reference ref =
				body_reference_chunks(rows[i].in, rows[i].len, mode);

			/* The reference itself, against what a person wrote down. */
			assert_int_equal(ref.out_len, strlen(want));
			assert_memory_equal(ref.out, want, ref.out_len);
			free(ref.out);
			check(rows[i].name, mode, rows[i].in, rows[i].len);
		}
		check(rows[i].name, BODY_BINARY, rows[i].in, rows[i].len);
	}
	check("NUL", BODY_CHUNKS_TO_DATA, "a\r\n\0b\r\n", 7);
	check("NUL", BODY_CHUNKS, "a\r\n\0b\r\n", 7);
	check("NUL", BODY_BINARY, "a\r\n\0\n\r.\r\n", 9);
}

static void test_all_short_inputs(void **state)
{
	static const char alphabet[] = {'\r', '\n', '.', 'x', '\0'};
	enum { LONGEST = 6, LETTERS = sizeof(alphabet) };
	struct run run = {.name = "short input", .out = evbuffer_new()};
	char bytes[LONGEST];

	(void)state;
	for (unsigned len = 0, count = 1; len <= LONGEST; len++, count *= LETTERS) {
		for (unsigned number = 0; number < 3 * count; number++) {
			unsigned rest = number / 3;

			run.mode = BODY_CHUNKS_TO_DATA + number % 3;
			for (unsigned i = 0; i < len; i++, rest /= LETTERS)
				bytes[i] = alphabet[rest % LETTERS];
			run.want = body_reference_chunks(bytes, len, run.mode);
			run_begin(&run);
			run_feed(&run, bytes, len);
			run_end(&run, "whole");
			run_begin(&run);
			for (unsigned i = 0; i < len; i++)
				run_feed(&run, bytes + i, 1);
			run_end(&run, "octet by octet");
			free(run.want.out);
		}
	}
	evbuffer_free(run.out);
}

static void test_run_of_crs_is_bounded(void **state)
{
	enum { MOST = BODY_HELD_MAX + 3 };
	char bytes[MOST + 4] = "a.";

	(void)state;
	for (size_t crs = BODY_HELD_MAX - 1; crs <= MOST; crs++) {
		memset(bytes + 2, '\r', crs);
		check("CRs at the end", BODY_CHUNKS_TO_DATA, bytes, crs + 2);
		check("CRs at the end", BODY_CHUNKS, bytes + 1, crs + 1);
		bytes[crs + 2] = '\n';
		check("CRs and LF", BODY_CHUNKS_TO_DATA, bytes + 1, crs + 2);
		check("CRs and LF", BODY_CHUNKS, bytes, crs + 3);
	}
}

/* A buffer that takes no more is told. */
static void test_full_buffer_fails(void **state)
{
	struct evbuffer *out = evbuffer_new();
	struct body body;
	size_t consumed;

	(void)state;
	evbuffer_freeze(out, 0);
	for (unsigned mode = BODY_CHUNKS_TO_DATA; mode <= BODY_BINARY; mode++) {
		body_init(&body, (enum body_mode)mode);
		assert_int_equal(body_feed(&body, "abc", 3, &consumed, out), BODY_MORE);
		assert_true(body.failed);
		assert_int_equal(body.bytes_in, 3);
	}
	body_init(&body, BODY_CHUNKS);
	assert_int_equal(body_feed(&body, "abc", 3, &consumed, NULL), BODY_MORE);
	body_finish(&body, out);
	assert_true(body.failed);
	evbuffer_free(out);
}

/* ------------------------------------------------------------------- pieces */

static void add(struct chunk_queue *queue, size_t len)
{
	static const char octets[4096];

	for (size_t now; len > 0; len -= now) {
		now = len < sizeof(octets) ? len : sizeof(octets);
		assert_int_equal(evbuffer_add(queue->octets, octets, now), 0);
	}
}

static void test_pieces(void **state)
{
	enum { MOST = CHUNK_PIECE_MAX };
	static const struct {
		const char *name;
		size_t waiting;
		unsigned owed;
		bool pipelining, room, ending;
		size_t want;
	} cases[] = {
		{"nothing waits", 0, 0, true, true, false, 0},
		{"a little, and none is owed", 5, 0, false, true, false, 5},
		{"a little while one is owed", 5, 1, true, true, false, 0},
		{"a whole one while one is owed", MOST, 1, true, true, false, MOST},
		{"... without pipelining", MOST, 1, false, true, false, 0},
		{"... without room", MOST, 0, true, false, false, 0},
		{"more than a piece", MOST + 1, 0, false, true, false, MOST},
		{"the end keeps its piece", 5, 0, true, true, true, 0},
		{"the end keeps a whole one", MOST, 0, true, true, true, 0},
		{"the end sends what is more", MOST + 1, 1, true, true, true, MOST},
		{"... one after the other", MOST + 1, 1, false, true, true, 0},
		{"... and that, too", MOST + 1, 0, false, true, true, MOST},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct chunk_queue queue;

		assert_true(chunk_queue_open(&queue));
		add(&queue, cases[i].waiting);
		queue.owed = cases[i].owed;
		if (chunk_queue_next(&queue, cases[i].pipelining, cases[i].room, cases[i].ending) !=
			cases[i].want)
			fail_msg("%s: want %zu", cases[i].name, cases[i].want);
		assert_int_equal(chunk_queue_full(&queue), cases[i].waiting >= MOST);
		assert_int_equal(chunk_queue_ready_to_end(&queue),
			cases[i].owed == 0 && cases[i].waiting <= MOST);
		chunk_queue_close(&queue);
		assert_null(queue.octets);
		chunk_queue_close(&queue);
	}
}

/* However replies and octets come, everything goes, in pieces within the bound, and the queue too.
 */
static void test_pieces_add_up(void **state)
{
	uint32_t random = 4711;

	(void)state;
	for (unsigned round = 0; round < 400; round++) {
		bool pipelining = round % 2 == 0, ending = false;
		size_t total = 0, sent = 0, target = (random >> 8) % 500000;
		struct chunk_queue queue;

		assert_true(chunk_queue_open(&queue));
		while (!ending || !chunk_queue_ready_to_end(&queue)) {
			random = random * 1103515245u + 12345u;
			size_t now = (random >> 9) % 16384 + 1;
			if (!ending && !chunk_queue_full(&queue)) {
				add(&queue, now < target - total ? now : target - total);
				total += now < target - total ? now : target - total;
				ending = total == target;
			}
			if ((random >> 24) % 3 == 0 && queue.owed > 0)
				queue.owed--;
			size_t len = chunk_queue_next(
				&queue, pipelining, (random >> 26) % 4 != 0, ending);
			assert_true(len <= CHUNK_PIECE_MAX);
			assert_int_equal(evbuffer_drain(queue.octets, len), 0);
			sent += len;
			queue.owed += len > 0;
			assert_true(pipelining || queue.owed <= 1);
			assert_true(evbuffer_get_length(queue.octets) < CHUNK_PIECE_MAX + 16384);
		}
		assert_int_equal(sent + evbuffer_get_length(queue.octets), target);
		chunk_queue_close(&queue);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_rows_every_way),
		cmocka_unit_test(test_all_short_inputs),
		cmocka_unit_test(test_run_of_crs_is_bounded),
		cmocka_unit_test(test_full_buffer_fails),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_pieces_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
