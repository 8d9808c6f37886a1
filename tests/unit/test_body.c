/* SPDX-License-Identifier: ISC */
/*
 * The end of data and the line ends of DATA: threats.md A01-A10, every input arriving in every way,
 * against the reference; then all short inputs there are over the octets that matter.
 */
#include "proxy/body.h"

#include "tests/unit/body_reference.h"
#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

struct run {
	const char *name;
	struct body_reference want;
	struct body body;
	struct evbuffer *out;
	size_t consumed;
	bool ended, discard;
};

static void run_begin(void *context)
{
	struct run *run = context;

	evbuffer_drain(run->out, evbuffer_get_length(run->out));
	body_init(&run->body, BODY_DATA);
	run->consumed = 0;
	run->ended = false;
}

static void run_feed(void *context, const char *bytes, size_t len)
{
	struct run *run = context;
	size_t consumed;

	if (run->ended)
		return;
	run->ended = body_feed(&run->body, bytes, len, &consumed, run->discard ? NULL : run->out) ==
		     BODY_END;
	if (!run->ended)
		assert_int_equal(consumed, len);
	run->consumed += consumed;
	assert_true(run->body.bytes_in <= run->want.bytes_in);
}

static void run_end(void *context, const char *how)
{
	struct run *run = context;
	size_t len = evbuffer_get_length(run->out);
	const char *got = (const char *)evbuffer_pullup(run->out, -1);
	char got_text[400], want_text[400];

	if (run->ended != run->want.ended || run->consumed != run->want.consumed)
		fail_msg("%s, %s: got end %d after %zu, want %d after %zu", run->name, how,
			run->ended, run->consumed, run->want.ended, run->want.consumed);
	if (run->body.saw_bare != run->want.saw_bare || run->body.saw_nul != run->want.saw_nul ||
		run->body.bytes_in != run->want.bytes_in || run->body.failed)
		fail_msg("%s, %s: got bare %d nul %d bytes %zu, want %d %d %zu", run->name, how,
			run->body.saw_bare, run->body.saw_nul, (size_t)run->body.bytes_in,
			run->want.saw_bare, run->want.saw_nul, (size_t)run->want.bytes_in);
	if (run->discard) {
		assert_int_equal(len, 0);
		return;
	}
	if (len != run->want.out_len || (len > 0 && memcmp(got, run->want.out, len) != 0))
		fail_msg("%s, %s: got \"%s\", want \"%s\"", run->name, how,
			parse_show(got, len, got_text, sizeof(got_text)),
			parse_show(run->want.out, run->want.out_len, want_text, sizeof(want_text)));
	assert_true(run->want.saw_nul || body_reference_safe(got, len));
}

/* Every way, written and discarded. */
static void check(const char *name, const char *bytes, size_t len)
{
	struct run run = {.name = name, .out = evbuffer_new()};
	struct parse_case parse = {&run, run_begin, run_feed, run_end};

	assert_non_null(run.out);
	run.want = body_reference(bytes, len);
	assert_true(run.want.ended);
	parse_every_way(&parse, bytes, len);
	run.discard = true;
	parse_every_way(&parse, bytes, len);
	evbuffer_free(run.out);
	free(run.want.out);
}

struct row {
	const char *name;
	const char *in;
	size_t len;
	const char *out; /* NULL: what the reference says */
	size_t consumed; /* 0: all */
};

#define IN(text) text, sizeof(text) - 1
#define FORGED "MAIL FROM:<ceo@victim.example>\r\n"

static const struct row rows[] = {
	{"A01 LF.LF", IN("x\n.\n" FORGED ".\r\n"), "x\r\n..\r\n" FORGED, 0},
	{"A02 LF.CRLF", IN("x\n.\r\n" FORGED ".\r\n"), "x\r\n..\r\n" FORGED, 0},
	{"A03 CRLF.LF", IN("x\r\n.\n" FORGED ".\r\n"), "x\r\n..\r\n" FORGED, 0},
	{"A04 CRLF.CRCRLF", IN("x\r\n.\r\r\n" FORGED ".\r\n"), "x\r\n..\r\n" FORGED, 0},
	{"A04 CRCRLF.CRCRLF", IN("x\r\r\n.\r\r\n" FORGED ".\r\n"), "x\r\n..\r\n" FORGED, 0},
	{"A04 CRCRLF.CRLF ends", IN("x\r\r\n.\r\nRSET\r\n"), "x\r\n", 7},
	{"A05 CR.CR", IN("x\r.\ry\r\n.\r\n"), "x . y\r\n", 0},
	{"A05 CR.CRLF", IN("x\r.\r\n" FORGED ".\r\n"), "x .\r\n" FORGED, 0},
	{"A05 CRLF.CR", IN("x\r\n.\r" FORGED ".\r\n"), "x\r\n. " FORGED, 0},
	{"A05 LF.CR", IN("x\n.\r" FORGED ".\r\n"), "x\r\n.. " FORGED, 0},
	{"A05 CR.LF", IN("x\r.\n" FORGED ".\r\n"), "x .\r\n" FORGED, 0},
	{"A06 CRLF NUL . CRLF", IN("x\r\n\0.\r\n" FORGED ".\r\n"), "x\r\n", 0},
	{"A06 CRLF . NUL CRLF", IN("x\r\n.\0\r\n" FORGED ".\r\n"), "x\r\n.", 0},
	{"A06 CRLF . CR NUL LF", IN("x\r\n.\r\0\n" FORGED ".\r\n"), "x\r\n. ", 0},
	{"A06 NUL first", IN("\0x\r\n.\r\n"), "", 0},
	{"A06 two NULs", IN("a\0b\0c\r\n.\r\n"), "a", 0},
	{"A08 stuffed dot", IN("..\r\n.\r\n"), "..\r\n", 0},
	{"A08 stuffed line", IN("..x\r\n...\r\n....\r\n.\r\n"), "..x\r\n...\r\n....\r\n", 0},
	{"A08 first line begins with a dot", IN(".x\r\n.\r\n"), ".x\r\n", 0},
	{"A08 header begins with a dot", IN("A: b\r\n.C: d\r\n\r\n.\r\n"), "A: b\r\n.C: d\r\n\r\n",
		0},
	{"A08 dots within lines", IN("a.\r\nb.c\r\n .\r\n.\r\n"), "a.\r\nb.c\r\n .\r\n", 0},
	{"A09 empty body", IN(".\r\n"), "", 0},
	{"A09 one line", IN("x\r\n.\r\n"), "x\r\n", 0},
	{"A09 empty lines", IN("\r\n\r\n.\r\n"), "\r\n\r\n", 0},
	{"A11 commands after the end", IN("x\r\n.\r\nMAIL FROM:<>\r\n.\r\n"), "x\r\n", 6},
	{"LF first", IN("\n.\r\n.\r\n"), "\r\n..\r\n", 0},
	{"LF.LF first", IN(".\n.\r\n.\r\n"), "..\r\n..\r\n", 0},
	{"CR first", IN("\r.\r\n.\r\n"), " .\r\n", 0},
	{"CRLF first, then the end", IN("\r\n.\r\n"), "\r\n", 0},
	{"CRCRLF first", IN("\r\r\n.\r\n"), "\r\n", 0},
	{"LF after the true end's dot", IN("a\r\n.\n.\r\n.\r\n"), "a\r\n..\r\n..\r\n", 0},
	{"CRs in a row", IN("a\r\r\rb\r\n.\r\n"), "a   b\r\n", 0},
	{"CR before the end's CRLF", IN("a\r\r\r\n.\r\r\n.\r\n"), "a\r\n..\r\n", 0},
	{"stuffed by a client with bare LFs", IN("a\n..b\n\r\n.\r\n"), "a\r\n...b\r\n\r\n", 0},
	{"8-bit octets pass", IN("\x80\xff\xc3\xa9\r\n.\r\n"), "\x80\xff\xc3\xa9\r\n", 0},
	{"mailbox From_ line", IN("From a\r\nFrom b\r\n.\r\n"), "From a\r\nFrom b\r\n", 0},
};

static void test_threats_rows_every_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct body_reference want = body_reference(rows[i].in, rows[i].len);
		char text[400];

		/* The reference itself, against what a person wrote down. */
		if (want.out_len != strlen(rows[i].out) ||
			memcmp(want.out, rows[i].out, want.out_len) != 0)
			fail_msg("%s: the reference says \"%s\"", rows[i].name,
				parse_show(want.out, want.out_len, text, sizeof(text)));
		assert_int_equal(
			want.consumed, rows[i].consumed == 0 ? rows[i].len : rows[i].consumed);
		free(want.out);
		check(rows[i].name, rows[i].in, rows[i].len);
	}
}

/* Whole and octet by octet; the rows above cover the splits. */
static void check_quick(struct run *run, const char *bytes, size_t len)
{
	struct parse_case parse = {run, run_begin, run_feed, run_end};

	run->want = body_reference(bytes, len);
	run_begin(run);
	run_feed(run, bytes, len);
	run_end(run, "whole");
	run_begin(run);
	for (size_t i = 0; i < len; i++)
		parse.feed(run, bytes + i, 1);
	run_end(run, "octet by octet");
	free(run->want.out);
}

static void test_all_short_inputs(void **state)
{
	static const char alphabet[] = {'\r', '\n', '.', 'x', '\0'};
	enum { LONGEST = 7, LETTERS = sizeof(alphabet) };
	struct run run = {.name = "short input", .out = evbuffer_new()};
	char bytes[LONGEST + 5];

	(void)state;
	for (unsigned len = 0, count = 1; len <= LONGEST; len++, count *= LETTERS) {
		for (unsigned number = 0; number < count; number++) {
			unsigned rest = number;

			for (unsigned i = 0; i < len; i++, rest /= LETTERS)
				bytes[i] = alphabet[rest % LETTERS];
			memcpy(bytes + len, "\r\n.\r\n", 5);
			check_quick(&run, bytes, len + 5);
		}
	}
	evbuffer_free(run.out);
}

/* A10: a long line and a dot at every boundary that a buffer could have. */
static void test_long_line_is_never_cut(void **state)
{
	enum { LINE = 1 << 20 };
	char *bytes = malloc(LINE + 5);
	struct run run = {.name = "long line", .out = evbuffer_new()};

	(void)state;
	assert_non_null(bytes);
	memset(bytes, 'a', LINE);
	memcpy(bytes + LINE, "\r\n.\r\n", 5);
	for (size_t at = 4096; at < LINE; at += 4096)
		bytes[at] = '.';
	for (size_t chunk = 4096; chunk <= 65536; chunk *= 4) {
		run.want = body_reference(bytes, LINE + 5);
		run_begin(&run);
		for (size_t at = 0; at < LINE + 5; at += chunk)
			run_feed(&run, bytes + at, LINE + 5 - at < chunk ? LINE + 5 - at : chunk);
		run_end(&run, "in chunks");
		assert_int_equal(run.want.out_len, LINE + 2);
		free(run.want.out);
	}
	free(bytes);
	evbuffer_free(run.out);
}

/* A run of CRs costs a count, and beyond BODY_HELD_MAX gives spaces: nothing grows. */
static void test_run_of_crs_is_bounded(void **state)
{
	enum { MOST = BODY_HELD_MAX + 3 };
	char bytes[MOST + 20];

	(void)state;
	for (size_t crs = BODY_HELD_MAX - 1; crs <= MOST; crs++) {
		static const char *const before[] = {"", ".", "x", "x\n.", "x\r\n."};
		static const char *const after[] = {"\n.\r\n", "x\r\n.\r\n", ".\r\n.\r\n"};

		for (size_t b = 0; b < 5; b++) {
			for (size_t a = 0; a < 3; a++) {
				size_t len = strlen(before[b]);

				memcpy(bytes, before[b], len);
				memset(bytes + len, '\r', crs);
				memcpy(bytes + len + crs, after[a], strlen(after[a]));
				check("run of CRs", bytes, len + crs + strlen(after[a]));
			}
		}
	}
}

/* The size that a limit is compared with never counts an end that is still undecided. */
static void test_bytes_in_never_counts_the_end(void **state)
{
	struct body body;
	size_t consumed;

	(void)state;
	body_init(&body, BODY_DATA);
	assert_int_equal(body_feed(&body, "abc\r\n.", 6, &consumed, NULL), BODY_MORE);
	assert_int_equal(body.bytes_in, 5);
	assert_int_equal(body_feed(&body, "\r", 1, &consumed, NULL), BODY_MORE);
	assert_int_equal(body.bytes_in, 5);
	assert_int_equal(body_feed(&body, "x", 1, &consumed, NULL), BODY_MORE);
	assert_int_equal(body.bytes_in, 8);
	assert_int_equal(body_feed(&body, "", 0, &consumed, NULL), BODY_MORE);
	assert_int_equal(consumed, 0);
	assert_int_equal(body_feed(&body, "\r\n.\r\nQUIT", 9, &consumed, NULL), BODY_END);
	assert_int_equal(consumed, 5);
	assert_int_equal(body.bytes_in, 10);
}

/* A message without bare line ends is passed octet for octet, however long its lines are. */
static void test_clean_message_is_unchanged(void **state)
{
	enum { SIZE = 200000 };
	char *bytes = malloc(SIZE + 3);
	struct run run = {.name = "clean", .out = evbuffer_new()};
	uint32_t random = 12345;
	size_t len = 0;

	(void)state;
	assert_non_null(bytes);
	while (len < SIZE - 2000) {
		size_t line = (random = random * 1103515245u + 12345u) >> 16 & 0x3ff;

		if ((random & 7) == 0)
			bytes[len++] = '.', bytes[len++] = '.';
		for (size_t i = 0; i < line; i++)
			bytes[len++] = (char)('!' + i % 90);
		bytes[len++] = '\r', bytes[len++] = '\n';
	}
	memcpy(bytes + len, ".\r\n", 3);
	run.want = body_reference(bytes, len + 3);
	assert_int_equal(run.want.out_len, len);
	assert_memory_equal(run.want.out, bytes, len);
	run_begin(&run);
	for (size_t at = 0, piece = 1; at < len + 3; at += piece, piece = piece * 7 % 10007 + 1)
		run_feed(&run, bytes + at, len + 3 - at < piece ? len + 3 - at : piece);
	run_end(&run, "in pieces");
	free(run.want.out);
	free(bytes);
	evbuffer_free(run.out);
}

/* A buffer that takes no more is told and not written to again; the end is found all the same. */
static void test_full_buffer_fails_but_ends(void **state)
{
	static const char *const messages[] = {"short\r\n.\r\n", "a\nb\n.\n\r\n.\r\n"};
	struct evbuffer *out = evbuffer_new();
	char large[3000];
	struct body body;
	size_t consumed;

	(void)state;
	assert_non_null(out);
	memset(large, 'a', sizeof(large));
	memcpy(large + sizeof(large) - 5, "\r\n.\r\n", 5);
	evbuffer_freeze(out, 0); /* evbuffer_add() fails from here on, as without memory */
	for (size_t i = 0; i < 3; i++) {
		const char *bytes = i < 2 ? messages[i] : large;
		size_t len = i < 2 ? strlen(messages[i]) : sizeof(large);

		body_init(&body, BODY_DATA);
		assert_int_equal(body_feed(&body, bytes, len, &consumed, out), BODY_END);
		assert_true(body.failed);
		assert_int_equal(consumed, len);
		assert_int_equal(body.bytes_in, len - 3);
	}
	body_init(&body, BODY_DATA);
	assert_int_equal(body_feed(&body, large, 1000, &consumed, out), BODY_MORE);
	assert_true(body.failed);
	evbuffer_unfreeze(out, 0);
	assert_int_equal(body_feed(&body, large + 1000, 2000, &consumed, out), BODY_END);
	assert_int_equal(evbuffer_get_length(out), 0);
	evbuffer_free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threats_rows_every_way),
		cmocka_unit_test(test_all_short_inputs),
		cmocka_unit_test(test_long_line_is_never_cut),
		cmocka_unit_test(test_run_of_crs_is_bounded),
		cmocka_unit_test(test_bytes_in_never_counts_the_end),
		cmocka_unit_test(test_clean_message_is_unchanged),
		cmocka_unit_test(test_full_buffer_fails_but_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
