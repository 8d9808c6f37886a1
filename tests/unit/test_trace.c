/* SPDX-License-Identifier: ISC */
/* The Received: line: conformance 36 and 51, threats.md F07 and F08. */
#include "proxy/trace.h"

#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

enum { WALL_S = 1795572865 }; /* Wed, 25 Nov 2026 02:14:25 +0000 */

static struct address client_of(const char *text)
{
	struct address address;

	assert_true(address_parse(text, -1, &address));
	return address;
}

static struct trace_info usual(void)
{
	return (struct trace_info){
		.hostname = "submit.example.net",
		.tls_version = "TLSv1.3",
		.tls_cipher = "TLS_AES_256_GCM_SHA384",
		.esmtp = true,
		.transaction = 0,
		.wall_ms = UINT64_C(1000) * WALL_S,
	};
}

/* What must hold whatever went in: one header, folded, short lines, nothing but it. */
static void check_form(const char *out, size_t len)
{
	size_t line = 0;
	unsigned depth = 0;

	assert_true(len > 12 && len < TRACE_MAX);
	assert_memory_equal(out, "Received: ", 10);
	for (size_t i = 0; i < len; i++, line++) {
		if (out[i] == '\r') {
			assert_true(i + 1 < len && out[i + 1] == '\n');
			assert_true(i + 2 == len || out[i + 2] == '\t');
			assert_true(line <= 998);
		} else if (out[i] == '\n') {
			assert_int_equal(out[i - 1], '\r');
			line = 0;
		} else {
			assert_true(out[i] == '\t' || (uint8_t)out[i] >= ' ');
			assert_int_not_equal(out[i], 0x7F);
		}
		if (out[i] == '(')
			depth++;
		if (out[i] == ')')
			assert_true(depth-- > 0);
		assert_true(depth <= 1);
	}
	assert_int_equal(depth, 0);
	assert_memory_equal(out + len - 2, "\r\n", 2);
}

static void expect(const struct trace_info *info, const char *want)
{
	char out[TRACE_MAX], shown[TRACE_MAX];
	size_t len = trace_received(info, out);

	check_form(out, len);
	if (len != strlen(want) || memcmp(out, want, len) != 0)
		fail_msg("got %s", parse_show(out, len, shown, sizeof(shown)));
}

#define TAIL ";\r\n\tWed, 25 Nov 2026 02:14:25 +0000\r\n"
#define TLS "\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)"

static void test_all_hidden(void **state)
{
	struct trace_info info = usual();

	(void)state;
	expect(&info,
		"Received: by submit.example.net" TLS "\r\n\twith ESMTPSA id 000000000000" TAIL);
}

static void test_all_shown(void **state)
{
	struct trace_info info = usual();
	struct address client = client_of("192.0.2.1:4711");

	(void)state;
	info.helo = "laptop.example";
	info.client = &client;
	info.login = "alice@example.test";
	info.recipient = "bob@example.org";
	expect(&info,
		"Received: from laptop.example ([192.0.2.1])\r\n\tby submit.example.net" TLS
		"\r\n\t(authenticated as alice@example.test)\r\n\twith ESMTPSA id 000000000000"
		"\r\n\tfor <bob@example.org>" TAIL);
	client = client_of("[2001:db8::1]:4711");
	info.helo = "[192.0.2.7]";
	info.login = info.recipient = NULL;
	expect(&info,
		"Received: from [192.0.2.7] ([IPv6:2001:db8::1])\r\n\tby submit.example.net" TLS
		"\r\n\twith ESMTPSA id 000000000000" TAIL);
	info.helo = NULL;
	expect(&info, "Received: from [IPv6:2001:db8::1]\r\n\tby submit.example.net" TLS
		      "\r\n\twith ESMTPSA id 000000000000" TAIL);
	info.client = NULL;
	info.helo = "laptop";
	expect(&info, "Received: from laptop\r\n\tby submit.example.net" TLS
		      "\r\n\twith ESMTPSA id 000000000000" TAIL);
}

static const char *protocol_of(bool tls, bool esmtp, bool smtputf8)
{
	static char word[32];
	char out[TRACE_MAX];
	struct trace_info info = usual();
	size_t len;
	const char *with;

	info.tls_version = tls ? "TLSv1.2" : NULL;
	info.esmtp = esmtp;
	info.smtputf8 = smtputf8;
	len = trace_received(&info, out);
	check_form(out, len);
	out[len] = '\0';
	with = strstr(out, "with E");
	with = with == NULL ? strstr(out, "with S") : with;
	with = with == NULL ? strstr(out, "with U") : with;
	assert_non_null(with);
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(with + 5, " "), with + 5);
	return word;
}

static void test_protocol_names(void **state)
{
	(void)state;
	assert_string_equal(protocol_of(true, true, false), "ESMTPSA");
	assert_string_equal(protocol_of(false, true, false), "ESMTPA");
	assert_string_equal(protocol_of(true, true, true), "UTF8SMTPSA");
	assert_string_equal(protocol_of(false, true, true), "UTF8SMTPA");
	assert_string_equal(protocol_of(true, false, false), "SMTP");
}

/* F08: nothing foreign ends the line, opens a comment or a clause. */
static void test_foreign_text_stays_in_its_place(void **state)
{
	static const char *const evil[] = {
		"a\r\nX-Forged: 1",
		"a\n.\n",
		"a\rb",
		"a) (b",
		"((((",
		"a\\",
		"\\)",
		"a;b",
		"a\"b",
		"a\tb",
		"a\x7f",
		"\x1b[2J",
		"caf\xc3\xa9",
		"\xff\xfe",
		"<x>",
		"[",
		"]",
		"[]",
		"[a\r\nb]",
		"[x] (y",
		"a b c",
		",;:@",
		"",
	};
	struct address client = client_of("192.0.2.1:1");

	(void)state;
	for (size_t i = 0; i < sizeof(evil) / sizeof(evil[0]); i++) {
		for (int smtputf8 = 0; smtputf8 < 2; smtputf8++) {
			struct trace_info info = usual();
			char out[TRACE_MAX];
			size_t len;

			info.hostname = info.helo = info.login = evil[i];
			info.tls_version = info.tls_cipher = evil[i];
			info.client = &client;
			info.smtputf8 = smtputf8 != 0;
			len = trace_received(&info, out);
			check_form(out, len);
			for (size_t j = 0; j < len; j++)
				assert_true((uint8_t)out[j] < 0x80);
		}
	}
}

static void test_recipient_is_whole_or_left_out(void **state)
{
	static const struct {
		const char *recipient;
		bool smtputf8, shown;
	} rows[] = {
		{"bob@example.org", false, true},
		{"\"b b\"@example.org", false, true},
		{"b\xc3\xb6"
		 "b@example.org",
			true, true},
		{"b\xc3\xb6"
		 "b@example.org",
			false, false},
		{"b\r\nX: y@example.org", true, false},
		{"b\nb@example.org", false, false},
		{"b\x7f@example.org", false, false},
		{"", false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct trace_info info = usual();
		char out[TRACE_MAX], want[100];
		size_t len;

		info.recipient = rows[i].recipient;
		info.smtputf8 = rows[i].smtputf8;
		len = trace_received(&info, out);
		check_form(out, len);
		snprintf(want, sizeof(want), "\r\n\tfor <%s>;", rows[i].recipient);
		assert_int_equal(memmem(out, len, want, strlen(want)) != NULL, rows[i].shown);
		assert_int_equal(memmem(out, len, "for <", 5) != NULL, rows[i].shown);
	}
}

static void test_the_longest_of_everything_fits(void **state)
{
	char text[2001];
	struct address client = client_of("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
	struct trace_info info = usual();
	char out[TRACE_MAX];

	(void)state;
	memset(text, 'a', 2000);
	text[2000] = '\0';
	info.hostname = info.helo = info.login = info.tls_version = info.tls_cipher = text;
	info.client = &client;
	info.transaction = UINT64_MAX;
	info.smtputf8 = true;
	info.recipient = text + 2000 - 320;
	check_form(out, trace_received(&info, out));
	info.recipient = text + 2000 - 321;
	check_form(out, trace_received(&info, out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_hidden),
		cmocka_unit_test(test_all_shown),
		cmocka_unit_test(test_protocol_names),
		cmocka_unit_test(test_foreign_text_stays_in_its_place),
		cmocka_unit_test(test_recipient_is_whole_or_left_out),
		cmocka_unit_test(test_the_longest_of_everything_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
