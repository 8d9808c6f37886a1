/* SPDX-License-Identifier: ISC */
/*
 * Comma-separated values: what is a record, what is not, and where reading goes on.  The driver
 * writes down what it was given: "1[a|b]" for a record that begins on line 1, "2!problem" for a bad
 * one.
 */
#include "ctl/csv.h"

#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

enum { GOT_MAX = 8192 };

struct run {
	const char *name, *want;
	struct csv csv;
	size_t got_len;
	char got[GOT_MAX];
};

static void put(struct run *run, const char *text, size_t len)
{
	assert_true(run->got_len + len < GOT_MAX);
	memcpy(run->got + run->got_len, text, len);
	run->got_len += len;
	run->got[run->got_len] = '\0';
}

static void note(struct run *run, enum csv_status status)
{
	char line[32];

	put(run, line, (size_t)snprintf(line, sizeof(line), "%lu", run->csv.line));
	if (status == CSV_BAD) {
		put(run, "!", 1);
		put(run, run->csv.problem, strlen(run->csv.problem));
		put(run, ";", 1);
		return;
	}
	for (size_t i = 0; i < run->csv.field_count; i++) {
		size_t len;
		const char *field = csv_field(&run->csv, i, &len);

		assert_int_equal(strlen(field), len);
		put(run, i == 0 ? "[" : "|", 1);
		put(run, field, len);
	}
	put(run, "]", 1);
}

static void run_begin(void *context)
{
	struct run *run = context;

	csv_init(&run->csv);
	run->got_len = 0;
	run->got[0] = '\0';
}

static void run_feed(void *context, const char *bytes, size_t len)
{
	struct run *run = context;
	size_t consumed = 0;

	for (size_t at = 0; at < len; at += consumed) {
		enum csv_status status = csv_feed(&run->csv, bytes + at, len - at, &consumed);

		assert_true(consumed > 0);
		if (status != CSV_MORE)
			note(run, status);
		else
			assert_int_equal(at + consumed, len);
	}
}

static void run_end(void *context, const char *how)
{
	struct run *run = context;
	enum csv_status status = csv_end(&run->csv);

	if (status != CSV_MORE)
		note(run, status);
	assert_int_equal(csv_end(&run->csv), CSV_MORE);
	if (strcmp(run->got, run->want) != 0)
		fail_msg("%s, %s: got %s, want %s", run->name, how, run->got, run->want);
}

static void check(const char *name, const char *bytes, size_t len, const char *want)
{
	static struct run run;
	const struct parse_case one = {&run, run_begin, run_feed, run_end};

	run.name = name;
	run.want = want;
	parse_every_way(&one, bytes, len);
	csv_wipe(&run.csv);
	assert_int_equal(run.csv.len, 0);
}

#define QUOTE_WITHIN "a quote within a field that does not begin with one"
#define BEHIND "there is something behind a closing quote"
#define RETURN "a carriage return without a line feed"
#define CASE(name, bytes, want)                       \
	{                                             \
		name, bytes, sizeof(bytes) - 1, want, \
	}

static const struct {
	const char *name, *bytes;
	size_t len;
	const char *want;
} cases[] = {
	CASE("nothing", "", ""),
	CASE("empty lines", "\n\r\n\n", ""),
	CASE("one field", "a", "1[a]"),
	CASE("line feeds", "a,b\nc,d\n", "1[a|b]2[c|d]"),
	CASE("CRLF", "a,b\r\nc,d\r\n", "1[a|b]2[c|d]"),
	CASE("no line end at the end", "a\nb,c", "1[a]2[b|c]"),
	CASE("empty fields", ",\n,,", "1[|]2[||]"),
	CASE("a trailing comma", "a,", "1[a|]"),
	CASE("spaces are kept", " a , b ", "1[ a | b ]"),
	CASE("quotes", "\"a\",\"b,c\"\r\n", "1[a|b,c]"),
	CASE("doubled quotes", "\"a\"\"b\",\"\"\"\"", "1[a\"b|\"]"),
	CASE("an empty quoted field", "\"\",a", "1[|a]"),
	CASE("an empty quoted field alone is an empty line", "\"\"\na", "2[a]"),
	CASE("line ends in quotes", "\"a\r\nb\",c\nd", "1[a\r\nb|c]3[d]"),
	CASE("a return in quotes", "\"a\rb\"", "1[a\rb]"),
	CASE("empty lines count", "\n\na\n\r\nb", "3[a]5[b]"),
	CASE("a mark",
		"\xEF\xBB\xBF"
		"a,b",
		"1[a|b]"),
	CASE("a mark and quotes", "\xEF\xBB\xBF\"a\"", "1[a]"),
	CASE("a mark alone", "\xEF\xBB\xBF", ""),
	CASE("half a mark is text", "\xEF\xBB,a", "1[\xEF\xBB|a]"),
	CASE("half a mark at the end", "\xEF\xBB", "1[\xEF\xBB]"),
	CASE("a mark later is text", "a\n\xEF\xBB\xBF", "1[a]2[\xEF\xBB\xBF]"),
	CASE("a quote within", "a\"b,c\nd", "1!" QUOTE_WITHIN ";2[d]"),
	CASE("a space before a quote", "a, \"b\"\nc", "1!" QUOTE_WITHIN ";2[c]"),
	CASE("text behind a quote", "\"a\"b\nc", "1!" BEHIND ";2[c]"),
	CASE("a space behind a quote", "\"a\" ,b\r\nc", "1!" BEHIND ";2[c]"),
	CASE("a return alone", "a\rb\nc", "1!" RETURN ";2[c]"),
	CASE("a return at the end", "a\r", "1!" RETURN ";"),
	CASE("two returns", "a\r\r\nb", "1!" RETURN ";2[b]"),
	CASE("a NUL", "a\0b\nc", "1!a NUL;2[c]"),
	CASE("a NUL in quotes", "\"a\0b\"\nc", "1!a NUL;2[c]"),
	CASE("a NUL in a bad line", "a\"\0\nc", "1!" QUOTE_WITHIN ";2[c]"),
	CASE("a NUL in the mark", "\xEF\0\nc", "1!a NUL;2[c]"),
	CASE("a quote not closed", "a\n\"b\nc", "1[a]2!a quote is not closed;"),
	CASE("a quote not closed alone", "\"", "1!a quote is not closed;"),
	CASE("bad at the end", "a\"", "1!" QUOTE_WITHIN ";"),
};

static void test_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(cases[i].name, cases[i].bytes, cases[i].len, cases[i].want);
}

static void test_at_most_32_fields(void **state)
{
	(void)state;
	check("32", ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,", 31, "1[|||||||||||||||||||||||||||||||]");
	check("33", ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\na", 34, "1!more than 32 fields;2[a]");
}

/* A record of len octets in quotes or not, then another; how it was taken. */
static enum csv_status long_record(size_t len, char first, char fill)
{
	static struct csv csv;
	static char bytes[2 * CSV_RECORD_MAX];
	size_t consumed, rest;

	assert_true(len + 3 < sizeof(bytes));
	memset(bytes, fill, len);
	bytes[0] = first;
	memcpy(bytes + len, "\nz\n", 3);
	csv_init(&csv);
	enum csv_status status = csv_feed(&csv, bytes, len + 3, &consumed);

	assert_int_equal(csv_feed(&csv, bytes + consumed, len + 3 - consumed, &rest), CSV_RECORD);
	assert_string_equal(csv_field(&csv, 0, &rest), "z");
	return status;
}

static void test_at_most_64_kib(void **state)
{
	(void)state;
	assert_int_equal(long_record(CSV_RECORD_MAX - 2, 'a', 'a'), CSV_RECORD);
	assert_int_equal(long_record(CSV_RECORD_MAX - 1, 'a', 'a'), CSV_BAD);
	assert_int_equal(long_record(CSV_RECORD_MAX + 1000, 'a', 'a'), CSV_BAD);
	assert_int_equal(long_record(CSV_RECORD_MAX, '"', 'a'), CSV_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_at_most_32_fields),
		cmocka_unit_test(test_at_most_64_kib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
