/* SPDX-License-Identifier: ISC */
/*
 * Lines are cut at CRLF only, whatever pieces they come in: threats.md D01-D03.  The driver keeps a
 * buffer as the session does and writes down what it was given: "D:line|" done, "B:line|" bad,
 * "L|" too long (and skipped), then "M:rest" what waits.
 */
#include "proxy/line.h"

#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

enum { BUFFER_MAX = 4096 };

struct run {
	const char *name, *want;
	size_t limit;
	size_t waiting;
	char buffer[BUFFER_MAX];
	bool skipping;
	size_t got_len;
	char got[2 * BUFFER_MAX];
};

static void note(struct run *run, const char *kind, const char *bytes, size_t len)
{
	size_t kind_len = strlen(kind);

	assert_true(run->got_len + kind_len + len + 1 < sizeof(run->got));
	memcpy(run->got + run->got_len, kind, kind_len);
	memcpy(run->got + run->got_len + kind_len, bytes, len);
	run->got_len += kind_len + len;
	run->got[run->got_len++] = '|';
}

static void run_begin(void *context)
{
	struct run *run = context;

	run->waiting = run->got_len = 0;
	run->skipping = false;
}

static void drop(struct run *run, size_t count)
{
	assert_true(count <= run->waiting);
	run->waiting -= count;
	memmove(run->buffer, run->buffer + count, run->waiting);
}

/* True: there may be more in the buffer. */
static bool cut_one(struct run *run, const char *bytes)
{
	size_t len, consumed;

	switch (line_cut(bytes, run->waiting, run->limit, &len, &consumed)) {
	case LINE_DONE:
		note(run, "D:", bytes, len);
		break;
	case LINE_BAD:
		note(run, "B:", bytes, len);
		break;
	case LINE_TOO_LONG:
		note(run, "L", "", 0);
		run->skipping = true;
		break;
	case LINE_MORE:
		assert_int_equal(consumed, 0);
		assert_true(run->waiting <= run->limit + 1);
		return false;
	}
	assert_true(consumed > 0);
	drop(run, consumed);
	return true;
}

static bool skip_some(struct run *run, const char *bytes)
{
	int done;
	size_t count = line_skip(bytes, run->waiting, &done);

	assert_true(done || run->waiting - count <= 1); /* a CR at most is kept */
	drop(run, count);
	run->skipping = !done;
	return done != 0;
}

static void run_feed(void *context, const char *bytes, size_t len)
{
	struct run *run = context;
	bool more = true;

	assert_true(len <= BUFFER_MAX - run->waiting);
	memcpy(run->buffer + run->waiting, bytes, len);
	run->waiting += len;
	while (more && run->waiting > 0) {
		char *copy = parse_exact(run->buffer, run->waiting);

		more = run->skipping ? skip_some(run, copy) : cut_one(run, copy);
		free(copy);
	}
}

static void run_end(void *context, const char *how)
{
	struct run *run = context;
	char got[400];

	note(run, run->skipping ? "S:" : "M:", run->buffer, run->waiting);
	if (run->got_len != strlen(run->want) || memcmp(run->got, run->want, run->got_len) != 0)
		fail_msg("%s, %s: got %s, want %s", run->name, how,
			parse_show(run->got, run->got_len, got, sizeof(got)), run->want);
}

#define IN(text) text, sizeof(text) - 1

/* The limit is 10 octets. */
static const struct {
	const char *name, *in;
	size_t len;
	const char *want;
} rows[] = {
	{"nothing", IN(""), "M:|"},
	{"one", IN("NOOP\r\n"), "D:NOOP|M:|"},
	{"empty line", IN("\r\n\r\n"), "D:|D:|M:|"},
	{"two and a half", IN("NOOP\r\nRSET\r\nQU"), "D:NOOP|D:RSET|M:QU|"},
	{"a CR waits", IN("NOOP\r"), "M:NOOP\r|"},
	{"of the longest length", IN("0123456789\r\n"), "D:0123456789|M:|"},
	{"of the longest length, CRLF to come", IN("0123456789\r"), "M:0123456789\r|"},
	{"of the longest length, nothing yet", IN("0123456789"), "M:0123456789|"},
	{"an octet too long", IN("0123456789a\r\nQUIT\r\n"), "L|D:QUIT|M:|"},
	{"too long by a CR", IN("0123456789\r\r\nQUIT\r\n"), "L|D:QUIT|M:|"},
	{"much too long", IN("0123456789abcdefghijklmnop\r\nQUIT\r\n"), "L|D:QUIT|M:|"},
	{"too long, no end", IN("0123456789abcdef"), "L|S:|"},
	{"too long, a CR at the end", IN("0123456789abcdef\r"), "L|S:\r|"},
	{"a bare LF does not end a long line", IN("0123456789ab\nQUIT\n\r\nNOOP\r\n"),
		"L|D:NOOP|M:|"},
	{"a bare CR does not end a long line", IN("0123456789ab\rQ\r\nNOOP\r\n"), "L|D:NOOP|M:|"},
	{"two long lines", IN("0123456789ab\r\n0123456789ab\r\n"), "L|L|M:|"},
	{"D03 bare LF", IN("NO\nRSET\r\nQUIT\r\n"), "B:NO\nRSET|D:QUIT|M:|"},
	{"D03 bare CR", IN("NO\rOP\r\nQUIT\r\n"), "B:NO\rOP|D:QUIT|M:|"},
	{"D03 LF only", IN("NOOP\n"), "M:NOOP\n|"},
	{"CR CR LF", IN("NOOP\r\r\n"), "B:NOOP\r|M:|"},
	{"LF CR LF", IN("\n\r\n"), "B:\n|M:|"},
	{"CR alone before CRLF", IN("\r\r\n"), "B:\r|M:|"},
};

static void test_lines_every_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct run run = {.name = rows[i].name, .want = rows[i].want, .limit = 10};
		struct parse_case parse = {&run, run_begin, run_feed, run_end};

		parse_every_way(&parse, rows[i].in, rows[i].len);
	}
}

static void test_nul_in_a_line_is_bad(void **state)
{
	size_t len, consumed;

	(void)state;
	assert_int_equal(line_cut("NO\0OP\r\n", 7, 512, &len, &consumed), LINE_BAD);
	assert_int_equal(len, 5);
	assert_int_equal(consumed, 7);
	assert_int_equal(line_cut("NO\0OP", 5, 512, &len, &consumed), LINE_MORE);
	/* 8-bit octets are the command parser's business. */
	assert_int_equal(line_cut("\x80\xff\r\n", 4, 512, &len, &consumed), LINE_DONE);
}

static void test_limits_of_the_session(void **state)
{
	char *line = malloc(LINE_AUTH_MAX + 3);
	size_t len, consumed;

	(void)state;
	assert_non_null(line);
	assert_true(LINE_COMMAND_MAX >= 2048 && LINE_AUTH_MAX >= 12288); /* conformance 25, C10 */
	memset(line, 'A', LINE_AUTH_MAX + 1);
	memcpy(line + LINE_AUTH_MAX, "\r\n", 2);
	assert_int_equal(
		line_cut(line, LINE_AUTH_MAX + 2, LINE_AUTH_MAX, &len, &consumed), LINE_DONE);
	assert_int_equal(len, LINE_AUTH_MAX);
	assert_int_equal(line_cut(line, LINE_AUTH_MAX + 2, LINE_AUTH_MAX - 1, &len, &consumed),
		LINE_TOO_LONG);
	assert_int_equal(
		line_cut(line, LINE_AUTH_MAX + 1, LINE_AUTH_MAX, &len, &consumed), LINE_MORE);
	free(line);
}

static void test_skip_keeps_only_a_last_cr(void **state)
{
	int done;

	(void)state;
	assert_int_equal(line_skip("", 0, &done), 0);
	assert_int_equal(done, 0);
	assert_int_equal(line_skip("abc", 3, &done), 3);
	assert_int_equal(done, 0);
	assert_int_equal(line_skip("\r", 1, &done), 0);
	assert_int_equal(done, 0);
	assert_int_equal(line_skip("ab\r\r", 4, &done), 3);
	assert_int_equal(done, 0);
	assert_int_equal(line_skip("\nab\r\ncd\r\n", 9, &done), 5);
	assert_int_equal(done, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_every_way),
		cmocka_unit_test(test_nul_in_a_line_is_bad),
		cmocka_unit_test(test_limits_of_the_session),
		cmocka_unit_test(test_skip_keeps_only_a_last_cr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
