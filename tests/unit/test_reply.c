/* SPDX-License-Identifier: ISC */
/*
 * Replies of a server: each case is fed whole, split at every octet, and octet by octet, and must
 * come to the same end each time.
 */
#include "common/smtp_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct text {
	const char *bytes;
	size_t len;
};
#define TEXT(literal)                          \
	{                                      \
		(literal), sizeof(literal) - 1 \
	}

static const struct {
	const char *name;
	struct text input;
	enum smtp_reply_status status;
	const char *why; /* BAD */
	unsigned code;   /* the rest: DONE */
	size_t lines, left;
	const char *enhanced; /* "" for none */
	const char *first;    /* text of the first line */
	const char *out;      /* formatted for a client without SMTPUTF8 */
} cases[] = {
	{"one line", TEXT("250 2.0.0 Ok: queued as 4F1\r\n"), SMTP_REPLY_DONE, "", 250, 1, 0,
		"2.0.0", "Ok: queued as 4F1", "250 2.0.0 Ok: queued as 4F1\r\n"},
	{"no enhanced code", TEXT("250 Ok\r\n"), SMTP_REPLY_DONE, "", 250, 1, 0, "", "Ok",
		"250 2.0.0 Ok\r\n"},
	{"bare code", TEXT("250\r\n"), SMTP_REPLY_DONE, "", 250, 1, 0, "", "", "250 2.0.0\r\n"},
	{"code and space", TEXT("250 \r\n"), SMTP_REPLY_DONE, "", 250, 1, 0, "", "",
		"250 2.0.0\r\n"},
	{"enhanced code alone", TEXT("250 2.1.5\r\n"), SMTP_REPLY_DONE, "", 250, 1, 0, "2.1.5", "",
		"250 2.1.5\r\n"},
	{"354 has no enhanced code", TEXT("354 3.0.0 go\r\n"), SMTP_REPLY_DONE, "", 354, 1, 0, "",
		"3.0.0 go", "354 3.0.0 go\r\n"},
	{"two lines of 354", TEXT("354-a\r\n354 b\r\n"), SMTP_REPLY_DONE, "", 354, 2, 0, "", "a",
		"354-a\r\n354 b\r\n"},
	{"three lines", TEXT("550-5.1.1 No\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n"),
		SMTP_REPLY_DONE, "", 550, 3, 0, "5.1.1", "No",
		"550-5.1.1 No\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n"},
	{"enhanced code on the last line only", TEXT("550-No\r\n550 5.1.1 user\r\n"),
		SMTP_REPLY_DONE, "", 550, 2, 0, "5.1.1", "No",
		"550-5.1.1 No\r\n550 5.1.1 user\r\n"},
	{"bare code ends many lines", TEXT("250-a\r\n250\r\n"), SMTP_REPLY_DONE, "", 250, 2, 0, "",
		"a", "250-2.0.0 a\r\n250 2.0.0\r\n"},
	{"empty continuation", TEXT("250-\r\n250 b\r\n"), SMTP_REPLY_DONE, "", 250, 2, 0, "", "",
		"250-2.0.0\r\n250 2.0.0 b\r\n"},
	{"enhanced class differs", TEXT("550 4.1.1 odd\r\n"), SMTP_REPLY_DONE, "", 550, 1, 0, "",
		"4.1.1 odd", "550 5.0.0 4.1.1 odd\r\n"},
	{"enhanced code with leading zero", TEXT("250 2.01.0 x\r\n"), SMTP_REPLY_DONE, "", 250, 1,
		0, "", "2.01.0 x", "250 2.0.0 2.01.0 x\r\n"},
	{"a version is no enhanced code", TEXT("250 2.0.0-rc1 x\r\n"), SMTP_REPLY_DONE, "", 250, 1,
		0, "", "2.0.0-rc1 x", "250 2.0.0 2.0.0-rc1 x\r\n"},
	{"four digits are no enhanced code", TEXT("250 2.0.1000 x\r\n"), SMTP_REPLY_DONE, "", 250,
		1, 0, "", "2.0.1000 x", "250 2.0.0 2.0.1000 x\r\n"},
	{"three digits are", TEXT("450 4.7.999 x\r\n"), SMTP_REPLY_DONE, "", 450, 1, 0, "4.7.999",
		"x", "450 4.7.999 x\r\n"},
	{"two parts are no enhanced code", TEXT("250 2.0 x\r\n"), SMTP_REPLY_DONE, "", 250, 1, 0,
		"", "2.0 x", "250 2.0.0 2.0 x\r\n"},
	{"unknown 259 keeps its class", TEXT("259 x\r\n"), SMTP_REPLY_DONE, "", 259, 1, 0, "", "x",
		"259 2.0.0 x\r\n"},
	{"unknown 499 keeps its class", TEXT("499 x\r\n"), SMTP_REPLY_DONE, "", 499, 1, 0, "", "x",
		"499 4.0.0 x\r\n"},
	{"a default fits the code", TEXT("553 x\r\n"), SMTP_REPLY_DONE, "", 553, 1, 0, "", "x",
		"553 5.1.3 x\r\n"},
	{"control octets",
		TEXT("250 a\tb\x01\x7f"
		     "c\x1b[2J\r\n"),
		SMTP_REPLY_DONE, "", 250, 1, 0, "",
		"a\tb\x01\x7f"
		"c\x1b[2J",
		"250 2.0.0 a b??c?[2J\r\n"},
	{"8-bit text", TEXT("550 n\xc3\xb6\r\n"), SMTP_REPLY_DONE, "", 550, 1, 0, "", "n\xc3\xb6",
		"550 5.0.0 n??\r\n"},
	{"pipelined replies part", TEXT("250 a\r\n550 b\r\n"), SMTP_REPLY_DONE, "", 250, 1, 7, "",
		"a", "250 2.0.0 a\r\n"},
	{"leftover octet", TEXT("250 a\r\nx"), SMTP_REPLY_DONE, "", 250, 1, 1, "", "a",
		"250 2.0.0 a\r\n"},

	{"nothing", TEXT(""), SMTP_REPLY_MORE, "", 0, 0, 0, "", NULL, NULL},
	{"no line end", TEXT("250 ok"), SMTP_REPLY_MORE, "", 0, 0, 0, "", NULL, NULL},
	{"CR only", TEXT("250 ok\r"), SMTP_REPLY_MORE, "", 0, 0, 0, "", NULL, NULL},
	{"continuation only", TEXT("250-ok\r\n"), SMTP_REPLY_MORE, "", 0, 1, 0, "", NULL, NULL},

	{"empty line", TEXT("\r\n"), SMTP_REPLY_BAD, "short line", 0, 0, 0, "", NULL, NULL},
	{"one digit", TEXT("2\r\n"), SMTP_REPLY_BAD, "short line", 0, 0, 0, "", NULL, NULL},
	{"two digits", TEXT("25\r\n"), SMTP_REPLY_BAD, "short line", 0, 0, 0, "", NULL, NULL},
	{"short second line", TEXT("250-a\r\n25\r\n"), SMTP_REPLY_BAD, "short line", 0, 0, 0, "",
		NULL, NULL},
	{"letter in the code", TEXT("2x0 a\r\n"), SMTP_REPLY_BAD, "no reply code", 0, 0, 0, "",
		NULL, NULL},
	{"first digit 1", TEXT("150 a\r\n"), SMTP_REPLY_BAD, "no reply code", 0, 0, 0, "", NULL,
		NULL},
	{"first digit 6", TEXT("650 a\r\n"), SMTP_REPLY_BAD, "no reply code", 0, 0, 0, "", NULL,
		NULL},
	{"first digit 9", TEXT("999\r\n"), SMTP_REPLY_BAD, "no reply code", 0, 0, 0, "", NULL,
		NULL},
	{"space before the code", TEXT(" 250 a\r\n"), SMTP_REPLY_BAD, "no reply code", 0, 0, 0, "",
		NULL, NULL},
	{"minus before the code", TEXT("-250 a\r\n"), SMTP_REPLY_BAD, "no reply code", 0, 0, 0, "",
		NULL, NULL},
	{"another protocol", TEXT("SSH-2.0-x\r\n"), SMTP_REPLY_BAD, "no reply code", 0, 0, 0, "",
		NULL, NULL},
	{"four digits", TEXT("2500 a\r\n"), SMTP_REPLY_BAD, "no separator after the code", 0, 0, 0,
		"", NULL, NULL},
	{"underscore", TEXT("250_a\r\n"), SMTP_REPLY_BAD, "no separator after the code", 0, 0, 0,
		"", NULL, NULL},
	{"tab", TEXT("250\ta\r\n"), SMTP_REPLY_BAD, "no separator after the code", 0, 0, 0, "",
		NULL, NULL},
	{"NUL after the code", TEXT("250\0\r\n"), SMTP_REPLY_BAD, "NUL", 0, 0, 0, "", NULL, NULL},
	{"NUL in the text", TEXT("250 a\0b\r\n"), SMTP_REPLY_BAD, "NUL", 0, 0, 0, "", NULL, NULL},
	{"bare LF", TEXT("250 a\n"), SMTP_REPLY_BAD, "bare LF", 0, 0, 0, "", NULL, NULL},
	{"bare LF after bare code", TEXT("250\n"), SMTP_REPLY_BAD, "bare LF", 0, 0, 0, "", NULL,
		NULL},
	{"bare CR", TEXT("250 a\rb\r\n"), SMTP_REPLY_BAD, "bare CR", 0, 0, 0, "", NULL, NULL},
	{"CR CR LF", TEXT("250 a\r\r\n"), SMTP_REPLY_BAD, "bare CR", 0, 0, 0, "", NULL, NULL},
	{"CR at the start", TEXT("\r250 a\r\n"), SMTP_REPLY_BAD, "bare CR", 0, 0, 0, "", NULL,
		NULL},
	{"class changes", TEXT("250-a\r\n550 b\r\n"), SMTP_REPLY_BAD, "code changes between lines",
		0, 0, 0, "", NULL, NULL},
	{"last digit changes", TEXT("250-a\r\n251 b\r\n"), SMTP_REPLY_BAD,
		"code changes between lines", 0, 0, 0, "", NULL, NULL},
};

static void check_end(size_t i, const struct smtp_reply *reply, size_t consumed)
{
	const char *text;
	size_t len;

	if (strcmp(smtp_reply_why(reply), cases[i].why) != 0)
		fail_msg("%s: why: got '%s', want '%s'", cases[i].name, smtp_reply_why(reply),
			cases[i].why);
	if (cases[i].status == SMTP_REPLY_MORE && reply->line_count != cases[i].lines)
		fail_msg("%s: lines: got %zu, want %zu", cases[i].name, reply->line_count,
			cases[i].lines);
	if (cases[i].status != SMTP_REPLY_DONE)
		return;
	if (reply->code != cases[i].code || reply->line_count != cases[i].lines ||
		smtp_reply_class(reply) != cases[i].code / 100)
		fail_msg("%s: got %u in %zu lines, want %u in %zu", cases[i].name, reply->code,
			reply->line_count, cases[i].code, cases[i].lines);
	if (consumed + cases[i].left != cases[i].input.len)
		fail_msg("%s: consumed %zu of %zu, want %zu left", cases[i].name, consumed,
			cases[i].input.len, cases[i].left);
	char enhanced[16] = "";
	if (reply->has_enhanced)
		snprintf(enhanced, sizeof enhanced, "%u.%u.%u", reply->class_, reply->subject,
			reply->detail);
	assert_string_equal(enhanced, cases[i].enhanced);
	assert_true(smtp_reply_line(reply, 0, &text, &len));
	if (len != strlen(cases[i].first) || memcmp(text, cases[i].first, len) != 0)
		fail_msg(
			"%s: got '%.*s', want '%s'", cases[i].name, (int)len, text, cases[i].first);
	assert_false(smtp_reply_line(reply, cases[i].lines, &text, &len));
	char out[2048];
	len = smtp_reply_format(reply, false, out, sizeof out);
	if (len != strlen(cases[i].out) || memcmp(out, cases[i].out, len) != 0)
		fail_msg("%s: formatted: got '%.*s', want '%s'", cases[i].name, (int)len, out,
			cases[i].out);
	assert_int_equal(smtp_reply_format(reply, false, NULL, 0), len);
}

/* Feeds in two parts, each from memory of its own size, so that ASan sees a read past it. */
static void feed_split(size_t i, size_t at)
{
	struct smtp_reply reply;
	size_t consumed = 0, total = 0, len = cases[i].input.len;
	enum smtp_reply_status status = SMTP_REPLY_MORE;

	smtp_reply_init(&reply);
	for (int part = 0; part < 2 && status == SMTP_REPLY_MORE; part++) {
		size_t part_len = part == 0 ? at : len - at;
		char *copy = malloc(part_len + 1);
		assert_non_null(copy);
		char *bytes = copy + 1; /* odd on purpose */
		memcpy(bytes, cases[i].input.bytes + (part == 0 ? 0 : at), part_len);
		status = smtp_reply_feed(&reply, bytes, part_len, &consumed);
		total += consumed;
		if (status == SMTP_REPLY_MORE)
			assert_int_equal(consumed, part_len);
		free(copy);
	}
	if (status != cases[i].status)
		fail_msg("%s split at %zu: got %d, want %d", cases[i].name, at, (int)status,
			(int)cases[i].status);
	check_end(i, &reply, total);
	smtp_reply_free(&reply);
}

static void test_cases_whole_and_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (size_t at = 0; at <= cases[i].input.len; at++)
			feed_split(i, at);
	}
}

static void test_cases_octet_by_octet(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct smtp_reply reply;
		enum smtp_reply_status status = SMTP_REPLY_MORE;
		size_t total = 0;
		smtp_reply_init(&reply);
		while (total < cases[i].input.len && status == SMTP_REPLY_MORE) {
			size_t consumed;
			status =
				smtp_reply_feed(&reply, cases[i].input.bytes + total, 1, &consumed);
			assert_int_equal(consumed, 1);
			total++;
		}
		if (status != cases[i].status)
			fail_msg("%s: got %d, want %d", cases[i].name, (int)status,
				(int)cases[i].status);
		check_end(i, &reply, total);
		smtp_reply_free(&reply);
	}
}

static void test_done_and_bad_stay_until_reset(void **state)
{
	struct smtp_reply reply;
	size_t consumed;

	(void)state;
	smtp_reply_init(&reply);
	assert_false(smtp_reply_begun(&reply));
	assert_int_equal(
		smtp_reply_feed(&reply, "250 a\r\n421 b\r\n", 14, &consumed), SMTP_REPLY_DONE);
	assert_int_equal(consumed, 7);
	assert_true(smtp_reply_begun(&reply));
	assert_int_equal(smtp_reply_feed(&reply, "421 b\r\n", 7, &consumed), SMTP_REPLY_DONE);
	assert_int_equal(consumed, 0);
	assert_int_equal(reply.code, 250);
	smtp_reply_reset(&reply);
	assert_false(smtp_reply_begun(&reply));
	assert_int_equal(smtp_reply_feed(&reply, "421 b\r\n", 7, &consumed), SMTP_REPLY_DONE);
	assert_int_equal(reply.code, 421);
	smtp_reply_reset(&reply);
	assert_int_equal(smtp_reply_feed(&reply, "x", 1, &consumed), SMTP_REPLY_BAD);
	assert_int_equal(smtp_reply_feed(&reply, "250 a\r\n", 7, &consumed), SMTP_REPLY_BAD);
	assert_int_equal(consumed, 0);
	smtp_reply_free(&reply);
}

/* Feeds the same octet or line for ever; the parser must give up by itself. */
static size_t feed_endlessly(struct smtp_reply *reply, const char *head, const char *again)
{
	size_t consumed, total = strlen(head);
	enum smtp_reply_status status = smtp_reply_feed(reply, head, strlen(head), &consumed);

	while (status == SMTP_REPLY_MORE && total < 1024 * 1024) {
		status = smtp_reply_feed(reply, again, strlen(again), &consumed);
		total += consumed;
	}
	assert_int_equal(status, SMTP_REPLY_BAD);
	return total;
}

static void test_codes_of_other_commands_are_misplaced(void **state)
{
	static const struct {
		const char *bytes;
		bool misplaced;
	} rows[] = {{"250 Ok\r\n", false}, {"251 Will forward\r\n", false},
		{"252 Will try\r\n", false}, {"259 Odd\r\n", false}, {"421 Busy\r\n", false},
		{"550 No\r\n", false}, {"211 Status\r\n", true}, {"214 Help\r\n", true},
		{"220 Hello\r\n", true}, {"221 Bye\r\n", true}, {"235 Welcome\r\n", true},
		{"334 More\r\n", true}, {"354 Go\r\n", true}, {"399 Odd\r\n", true}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct smtp_reply reply;
		size_t consumed;
		smtp_reply_init(&reply);
		assert_int_equal(
			smtp_reply_feed(&reply, rows[i].bytes, strlen(rows[i].bytes), &consumed),
			SMTP_REPLY_DONE);
		assert_int_equal(smtp_reply_misplaced(&reply), rows[i].misplaced);
		smtp_reply_free(&reply);
	}
}

static void test_endless_line_is_refused(void **state)
{
	struct smtp_reply reply;

	(void)state;
	smtp_reply_init(&reply);
	assert_int_equal(feed_endlessly(&reply, "250-", "x"), SMTP_REPLY_LINE_MAX - 1);
	assert_string_equal(smtp_reply_why(&reply), "line too long");
	assert_true(reply.capacity <= SMTP_REPLY_BYTES_MAX);
	smtp_reply_free(&reply);
}

static void test_endless_continuation_is_refused(void **state)
{
	struct smtp_reply reply;
	char line[1025];

	(void)state;
	smtp_reply_init(&reply);
	assert_int_equal(feed_endlessly(&reply, "", "250-x\r\n"), 7 * SMTP_REPLY_LINES_MAX);
	assert_string_equal(smtp_reply_why(&reply), "too many lines");
	smtp_reply_reset(&reply);
	memset(line, 'x', sizeof line - 1);
	memcpy(line, "250-", 4);
	memcpy(line + 1022, "\r\n", 3);
	assert_int_equal(feed_endlessly(&reply, "", line), SMTP_REPLY_BYTES_MAX + 1);
	assert_string_equal(smtp_reply_why(&reply), "reply too long");
	smtp_reply_free(&reply);
}

static void test_hundred_lines_are_taken(void **state)
{
	struct smtp_reply reply;
	size_t consumed, len;
	const char *text;

	(void)state;
	smtp_reply_init(&reply);
	for (int i = 0; i < SMTP_REPLY_LINES_MAX - 1; i++)
		assert_int_equal(
			smtp_reply_feed(&reply, "250-KEY\r\n", 9, &consumed), SMTP_REPLY_MORE);
	assert_int_equal(smtp_reply_feed(&reply, "250 LAST\r\n", 10, &consumed), SMTP_REPLY_DONE);
	assert_int_equal(reply.line_count, SMTP_REPLY_LINES_MAX);
	assert_true(smtp_reply_line(&reply, SMTP_REPLY_LINES_MAX - 1, &text, &len));
	assert_int_equal(len, 4);
	assert_memory_equal(text, "LAST", 4);
	smtp_reply_free(&reply);
}

static void test_short_reply_allocates_nothing(void **state)
{
	struct smtp_reply reply;
	size_t consumed;

	(void)state;
	smtp_reply_init(&reply);
	assert_int_equal(
		smtp_reply_feed(&reply, "250 2.0.0 Ok\r\n", 14, &consumed), SMTP_REPLY_DONE);
	assert_null(reply.heap);
	smtp_reply_free(&reply);
}

/* Every line of a formatted reply: code, separator, at most 512 octets, printable, CRLF. */
static void check_formatted(const char *out, size_t len, const char *codes)
{
	while (len > 0) {
		const char *end = memchr(out, '\n', len);
		assert_non_null(end);
		size_t line = (size_t)(end - out) + 1;
		assert_true(line <= SMTP_REPLY_OUT_LINE_MAX);
		assert_true(line > 5 && end[-1] == '\r');
		assert_memory_equal(out, codes, 3);
		assert_int_equal(out[3], line == len ? ' ' : '-');
		assert_memory_equal(out + 4, codes + 4, strlen(codes) - 4);
		for (size_t i = 0; i < line - 2; i++)
			assert_true((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
		out += line;
		len -= line;
	}
}

static void test_long_line_is_split_and_nothing_is_lost(void **state)
{
	struct smtp_reply reply;
	char line[SMTP_REPLY_LINE_MAX + 1];
	char *out = malloc(SMTP_REPLY_FORMAT_MAX);
	size_t consumed, len, letters = 0;

	(void)state;
	assert_non_null(out);
	memset(line, 'z', sizeof line);
	memcpy(line, "550 5.7.1 ", 10);
	memcpy(line + SMTP_REPLY_LINE_MAX - 2, "\r\n", 2);
	smtp_reply_init(&reply);
	assert_int_equal(
		smtp_reply_feed(&reply, line, SMTP_REPLY_LINE_MAX, &consumed), SMTP_REPLY_DONE);
	len = smtp_reply_format(&reply, false, out, SMTP_REPLY_FORMAT_MAX);
	check_formatted(out, len, "550 5.7.1 z");
	for (size_t i = 0; i < len; i++)
		letters += out[i] == 'z';
	assert_int_equal(letters, SMTP_REPLY_LINE_MAX - 12);
	smtp_reply_free(&reply);
	free(out);
}

static void test_largest_reply_fits_the_promised_room(void **state)
{
	struct smtp_reply reply;
	char line[656];
	size_t consumed;

	(void)state;
	memset(line, '\x01', sizeof line);
	memcpy(line, "250-", 4);
	memcpy(line + 653, "\r\n", 2);
	smtp_reply_init(&reply);
	for (int i = 0; i < SMTP_REPLY_LINES_MAX; i++) {
		line[3] = i == SMTP_REPLY_LINES_MAX - 1 ? ' ' : '-';
		assert_int_equal(smtp_reply_feed(&reply, line, 655, &consumed),
			i == SMTP_REPLY_LINES_MAX - 1 ? SMTP_REPLY_DONE : SMTP_REPLY_MORE);
	}
	assert_true(reply.octets > SMTP_REPLY_BYTES_MAX - 64);
	assert_true(smtp_reply_format(&reply, true, NULL, 0) <= SMTP_REPLY_FORMAT_MAX);
	smtp_reply_free(&reply);
}

static void test_utf8_is_split_between_characters(void **state)
{
	struct smtp_reply reply;
	char line[1300], out[2048];
	size_t consumed, at = 4, len;

	(void)state;
	memcpy(line, "550 ", 4);
	while (at < 1200) {
		memcpy(line + at, "\xe2\x82\xac", 3);
		at += 3;
	}
	memcpy(line + at, "\r\n", 2);
	smtp_reply_init(&reply);
	assert_int_equal(smtp_reply_feed(&reply, line, at + 2, &consumed), SMTP_REPLY_DONE);
	assert_true(reply.eight_bit);
	len = smtp_reply_format(&reply, true, out, sizeof out);
	check_formatted(out, len, "550 5.0.0 \xe2\x82\xac");
	for (size_t i = 0; i < len; i++)
		assert_true(out[i] != '?');
	smtp_reply_free(&reply);
}

static void test_only_valid_utf8_is_kept(void **state)
{
	static const struct {
		const char *in, *out;
	} texts[] = {
		{"n\xc3\xb6", "n\xc3\xb6"},
		{"\xf0\x9f\x93\xa7", "\xf0\x9f\x93\xa7"},
		{"\xc0\xaf", "??"},           /* overlong */
		{"\xe0\x80\xaf", "???"},      /* overlong */
		{"\xed\xa0\x80", "???"},      /* a surrogate */
		{"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
		{"\xf5\x80\x80\x80", "????"},
		{"\xc2\x85", "??"}, /* C1 */
		{"\xc3", "?"},      /* cut short */
		{"\xe2\x82", "??"},
		{"\x80", "?"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct smtp_reply reply;
		char in[64], out[64], want[64];
		size_t consumed;
		snprintf(in, sizeof in, "550 5.1.1 %s\r\n", texts[i].in);
		snprintf(want, sizeof want, "550 5.1.1 %s\r\n", texts[i].out);
		smtp_reply_init(&reply);
		assert_int_equal(
			smtp_reply_feed(&reply, in, strlen(in), &consumed), SMTP_REPLY_DONE);
		size_t len = smtp_reply_format(&reply, true, out, sizeof out);
		if (len != strlen(want) || memcmp(out, want, len) != 0)
			fail_msg("text %zu: got '%.*s', want '%s'", i, (int)len, out, want);
		smtp_reply_free(&reply);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases_whole_and_split),
		cmocka_unit_test(test_cases_octet_by_octet),
		cmocka_unit_test(test_done_and_bad_stay_until_reset),
		cmocka_unit_test(test_codes_of_other_commands_are_misplaced),
		cmocka_unit_test(test_endless_line_is_refused),
		cmocka_unit_test(test_endless_continuation_is_refused),
		cmocka_unit_test(test_hundred_lines_are_taken),
		cmocka_unit_test(test_short_reply_allocates_nothing),
		cmocka_unit_test(test_long_line_is_split_and_nothing_is_lost),
		cmocka_unit_test(test_largest_reply_fits_the_promised_room),
		cmocka_unit_test(test_utf8_is_split_between_characters),
		cmocka_unit_test(test_only_valid_utf8_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
