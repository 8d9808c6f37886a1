/* SPDX-License-Identifier: ISC */
/* EHLO replies as capability sets, and what several servers have in common. */
#include "common/capability.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *name, *ehlo;
	uint32_t bits;
	uint64_t size;
} cases[] = {
	{"postfix",
		"250-mail.example\r\n250-PIPELINING\r\n250-SIZE "
		"10240000\r\n250-VRFY\r\n250-ETRN\r\n"
		"250-XCLIENT NAME ADDR\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n"
		"250-SMTPUTF8\r\n250 CHUNKING\r\n",
		CAPABILITY_EHLO | CAPABILITY_PIPELINING | CAPABILITY_SIZE |
			CAPABILITY_ENHANCEDSTATUSCODES | CAPABILITY_8BITMIME | CAPABILITY_DSN |
			CAPABILITY_SMTPUTF8 | CAPABILITY_CHUNKING,
		10240000},
	{"none", "250 mail.example\r\n", CAPABILITY_EHLO, 0},
	{"the first line is a name", "250-DSN\r\n250 PIPELINING\r\n",
		CAPABILITY_EHLO | CAPABILITY_PIPELINING, 0},
	{"refused", "502-mail.example\r\n502 DSN\r\n", 0, 0},
	{"any case", "250-x\r\n250-pipelining\r\n250-Size 5\r\n250 8BitMime\r\n",
		CAPABILITY_EHLO | CAPABILITY_PIPELINING | CAPABILITY_SIZE | CAPABILITY_8BITMIME, 5},
	{"size without a value", "250-x\r\n250 SIZE\r\n", CAPABILITY_EHLO | CAPABILITY_SIZE, 0},
	{"size 0", "250-x\r\n250 SIZE 0\r\n", CAPABILITY_EHLO | CAPABILITY_SIZE, 0},
	{"size and trailing space", "250-x\r\n250 SIZE 77 \r\n", CAPABILITY_EHLO | CAPABILITY_SIZE,
		77},
	{"largest size", "250-x\r\n250 SIZE 18446744073709551615\r\n",
		CAPABILITY_EHLO | CAPABILITY_SIZE, UINT64_MAX},
	{"size past 64 bits", "250-x\r\n250 SIZE 18446744073709551616\r\n",
		CAPABILITY_EHLO | CAPABILITY_SIZE, 0},
	{"size of thirty digits", "250-x\r\n250 SIZE 999999999999999999999999999999\r\n",
		CAPABILITY_EHLO | CAPABILITY_SIZE, 0},
	{"negative size", "250-x\r\n250 SIZE -1\r\n", CAPABILITY_EHLO | CAPABILITY_SIZE, 0},
	{"size in words", "250-x\r\n250 SIZE 10M\r\n", CAPABILITY_EHLO | CAPABILITY_SIZE, 0},
	{"two sizes in one line", "250-x\r\n250 SIZE 10 20\r\n", CAPABILITY_EHLO | CAPABILITY_SIZE,
		0},
	{"two size lines", "250-x\r\n250-SIZE 30\r\n250 SIZE 20\r\n",
		CAPABILITY_EHLO | CAPABILITY_SIZE, 20},
	{"unknown keywords",
		"250-x\r\n250-AUTH PLAIN "
		"LOGIN\r\n250-STARTTLS\r\n250-X-DSN\r\n250-DSNX\r\n250-DS\r\n"
		"250-SIZE=5\r\n250- DSN\r\n250-\r\n250-\x01\r\n250 \xff\r\n",
		CAPABILITY_EHLO, 0},
};

static void parse(const char *bytes, struct capability_set *set)
{
	struct smtp_reply reply;
	size_t consumed;

	smtp_reply_init(&reply);
	assert_int_equal(smtp_reply_feed(&reply, bytes, strlen(bytes), &consumed), SMTP_REPLY_DONE);
	capability_parse(&reply, set);
	smtp_reply_free(&reply);
}

static void test_ehlo_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct capability_set set;
		parse(cases[i].ehlo, &set);
		if (set.bits != cases[i].bits || set.size != cases[i].size)
			fail_msg("%s: got %x and %llu, want %x and %llu", cases[i].name, set.bits,
				(unsigned long long)set.size, cases[i].bits,
				(unsigned long long)cases[i].size);
	}
}

static void test_intersection_keeps_what_all_have(void **state)
{
	struct capability_set a, b, c;

	(void)state;
	parse("250-a\r\n250-PIPELINING\r\n250-DSN\r\n250 SIZE 100\r\n", &a);
	parse("250-b\r\n250-8BITMIME\r\n250-DSN\r\n250 SIZE 50\r\n", &b);
	capability_intersect(&a, &b);
	assert_int_equal(a.bits, CAPABILITY_EHLO | CAPABILITY_DSN | CAPABILITY_SIZE);
	assert_int_equal(a.size, 50);
	parse("250-c\r\n250 DSN\r\n", &c);
	capability_intersect(&a, &c);
	assert_int_equal(a.bits, CAPABILITY_EHLO | CAPABILITY_DSN);
	assert_int_equal(a.size, 50);
}

static void test_no_limit_is_larger_than_any(void **state)
{
	struct capability_set a = {CAPABILITY_SIZE, 0}, b = {CAPABILITY_SIZE, 70};
	struct capability_set c = {CAPABILITY_SIZE, 0};

	(void)state;
	capability_intersect(&a, &b);
	assert_int_equal(a.size, 70);
	capability_intersect(&a, &c);
	assert_int_equal(a.size, 70);
	capability_intersect(&c, &c);
	assert_int_equal(c.size, 0);
	assert_int_equal(c.bits, CAPABILITY_SIZE);
}

static void test_format(void **state)
{
	static const struct {
		struct capability_set set;
		const char *text;
	} texts[] = {
		{{0, 0}, "none"},
		{{CAPABILITY_EHLO, 0}, "none"},
		{{CAPABILITY_SIZE, 0}, "SIZE"},
		{{CAPABILITY_SIZE | CAPABILITY_DSN, 77}, "DSN SIZE=77"},
		{{UINT32_MAX, UINT64_MAX}, "PIPELINING 8BITMIME SMTPUTF8 DSN "
					   "SIZE=18446744073709551615 ENHANCEDSTATUSCODES "
					   "CHUNKING"},
	};
	char text[CAPABILITY_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_string_equal(capability_format(&texts[i].set, text), texts[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ehlo_cases),
		cmocka_unit_test(test_intersection_keeps_what_all_have),
		cmocka_unit_test(test_no_limit_is_larger_than_any),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
