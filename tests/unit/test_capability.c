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
	{"chunks and binary", "250-x\r\n250-chunking\r\n250 BINARYMIME\r\n",
		CAPABILITY_EHLO | CAPABILITY_CHUNKING | CAPABILITY_BINARYMIME, 0},
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

static const struct {
	const char *limits;
	uint32_t rcpt_max, mail_max, rcpt_domain_max;
} limit_cases[] = {
	{"LIMITS RCPTMAX=100", 100, 0, 0},
	{"limits rcptmax=7 MailMax=20 RcptDomainMax=3", 7, 20, 3},
	{"LIMITS MAILMAX=999999  RCPTMAX=1 ", 1, 999999, 0},
	{"LIMITS", 0, 0, 0},
	{"LIMITS ", 0, 0, 0},
	{"LIMITS RCPTMAX", 0, 0, 0},
	{"LIMITS RCPTMAX=", 0, 0, 0},
	{"LIMITS RCPTMAX=0", 0, 0, 0},
	{"LIMITS RCPTMAX=1000000", 0, 0, 0},
	{"LIMITS RCPTMAX=-1", 0, 0, 0},
	{"LIMITS RCPTMAX=1e3", 0, 0, 0},
	{"LIMITS RCPTMAX=5 RCPTMAX=4 RCPTMAX=6", 4, 0, 0},
	{"LIMITS RCPTMA=5 XRCPTMAX=4 RCPTMAXX=6 =1 ==", 0, 0, 0},
	{"LIMITS NEW=a RCPTMAX=9", 9, 0, 0},
	{"LIMIT RCPTMAX=5", 0, 0, 0},
	{"LIMITSX RCPTMAX=5", 0, 0, 0},
};

/* RFC 9422 3: conformance 112. */
static void test_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof limit_cases / sizeof *limit_cases; i++) {
		struct capability_set set = {.bits = 0};

		capability_add(&set, limit_cases[i].limits, strlen(limit_cases[i].limits));
		if (set.rcpt_max != limit_cases[i].rcpt_max ||
			set.mail_max != limit_cases[i].mail_max ||
			set.rcpt_domain_max != limit_cases[i].rcpt_domain_max)
			fail_msg("%s: got %u %u %u", limit_cases[i].limits, set.rcpt_max,
				set.mail_max, set.rcpt_domain_max);
		assert_int_equal(set.bits, 0);
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
	struct capability_set a = {.bits = CAPABILITY_SIZE, .mail_max = 5};
	struct capability_set b = {.bits = CAPABILITY_SIZE, .size = 70, .mail_max = 3};
	struct capability_set c = {.bits = CAPABILITY_SIZE};

	(void)state;
	capability_intersect(&a, &b);
	assert_int_equal(a.size, 70);
	assert_int_equal(a.mail_max, 3);
	capability_intersect(&a, &c);
	assert_int_equal(a.size, 70);
	assert_int_equal(a.mail_max, 3);
	assert_int_equal(a.rcpt_max, 0);
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
		{{.bits = 0}, "none"},
		{{.bits = CAPABILITY_EHLO}, "none"},
		{{.bits = CAPABILITY_SIZE}, "SIZE"},
		{{.bits = CAPABILITY_SIZE | CAPABILITY_DSN, .size = 77}, "DSN SIZE=77"},
		{{.mail_max = 7}, "MAILMAX=7"},
		{{.bits = UINT32_MAX,
			 .size = UINT64_MAX,
			 .rcpt_max = 999999,
			 .mail_max = 999999,
			 .rcpt_domain_max = 999999},
			"PIPELINING 8BITMIME SMTPUTF8 DSN SIZE=18446744073709551615 "
			"ENHANCEDSTATUSCODES CHUNKING BINARYMIME RCPTMAX=999999 MAILMAX=999999 "
			"RCPTDOMAINMAX=999999"},
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
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_intersection_keeps_what_all_have),
		cmocka_unit_test(test_no_limit_is_larger_than_any),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
