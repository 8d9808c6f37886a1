/* SPDX-License-Identifier: ISC */
/* The table of replies: conformance 26, 37, 108 and 109, and the codes that design and RFCs give.
 */
#include "proxy/replies.h"

#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

static void check_line(const char *bytes, size_t len)
{
	assert_true(len >= 6 && len <= REPLY_MAX);
	assert_memory_equal(bytes + len - 2, "\r\n", 2);
	for (size_t i = 0; i < len - 2; i++)
		assert_true(bytes[i] >= ' ' && bytes[i] <= '~');
}

/* "C.S.D" after the code, its class the code's first digit (RFC 2034 4, 3463 2). */
static void check_enhanced(const char *bytes)
{
	unsigned class, subject, detail;
	int end = 0;

	assert_int_equal(sscanf(bytes + 4, "%1u.%3u.%3u %n", &class, &subject, &detail, &end), 3);
	assert_true(end > 0);
	assert_int_equal(class, bytes[0] - '0');
}

static void test_every_row_is_a_reply(void **state)
{
	(void)state;
	for (int id = 0; id < REPLY_COUNT; id++) {
		const char *bytes;
		size_t len = reply_text((enum reply_id)id, &bytes);
		char code[5], out[REPLY_MAX];

		check_line(bytes, len);
		assert_true(len <= REPLY_TEXT_MAX);
		snprintf(code, sizeof(code), "%03u ", reply_code((enum reply_id)id));
		assert_memory_equal(bytes, code, 4);
		if (bytes[0] == '3')
			assert_int_equal(id, REPLY_DATA_GO);
		else
			check_enhanced(bytes);
		assert_int_equal(reply_format((enum reply_id)id, out, sizeof(out)), len);
		assert_string_equal(out, bytes);
		assert_true(strlen(reply_name((enum reply_id)id)) > 0);
	}
}

/* The enhanced codes in use, from the IANA registry (RFC 5248): subject and detail. */
static void test_enhanced_codes_are_registered(void **state)
{
	static const char *const registered[] = {
		".0.0 ",
		".1.0 ",
		".1.3 ",
		".1.5 ",
		".1.7 ",
		".3.0 ",
		".3.1 ",
		".3.2 ",
		".3.4 ",
		".4.1 ",
		".4.2 ",
		".5.0 ",
		".5.1 ",
		".5.2 ",
		".5.3 ",
		".5.4 ",
		".5.6 ",
		".6.0 ",
		".6.1 ",
		".6.3 ",
		".6.7 ",
		".7.0 ",
		".7.1 ",
		".7.8 ",
		".7.11 ",
	};

	(void)state;
	for (int id = 0; id < REPLY_COUNT; id++) {
		const char *bytes;
		bool found = id == REPLY_DATA_GO;

		(void)reply_text((enum reply_id)id, &bytes);
		for (size_t i = 0; i < sizeof(registered) / sizeof(registered[0]); i++)
			found |= strncmp(bytes + 5, registered[i], strlen(registered[i])) == 0;
		if (!found)
			fail_msg("%s", bytes);
	}
}

static void test_codes_of_the_refusal_table(void **state)
{
	static const struct {
		enum reply_id id;
		const char *starts;
	} rows[] = {
		{REPLY_OK, "250 2.0.0 "},
		{REPLY_MAIL_OK, "250 2.1.0 "},
		{REPLY_RCPT_OK, "250 2.1.5 "},
		{REPLY_DATA_GO, "354 End data with <CR><LF>.<CR><LF>\r\n"},
		{REPLY_BYE, "221 2.0.0 "},
		{REPLY_AUTH_OK, "235 2.7.0 "},
		{REPLY_AUTH_FAILED, "535 5.7.8 "},
		{REPLY_AUTH_UNAVAILABLE, "454 4.7.0 "},
		{REPLY_AUTH_CANCELLED, "501 5.7.0 "},
		{REPLY_AUTH_BASE64, "501 5.5.2 "},
		{REPLY_AUTH_TOO_LONG, "500 5.5.6 "},
		{REPLY_AUTH_MECHANISM, "504 5.5.4 "},
		{REPLY_AUTH_AGAIN, "503 5.5.1 "},
		{REPLY_AUTH_CLEARTEXT, "538 5.7.11 "},
		{REPLY_AUTH_REQUIRED, "530 5.7.0 Authentication required\r\n"},
		{REPLY_TLS_REQUIRED, "530 5.7.0 Must issue a STARTTLS command first\r\n"},
		{REPLY_TLS_READY, "220 2.0.0 "},
		{REPLY_TLS_ACTIVE, "503 5.5.1 "},
		{REPLY_TLS_UNAVAILABLE, "454 4.7.0 "},
		{REPLY_LINE_TOO_LONG, "500 5.5.2 "},
		{REPLY_LINE_BAD, "500 5.5.2 "},
		{REPLY_UNKNOWN, "500 5.5.2 "},
		{REPLY_UNIMPLEMENTED, "502 5.5.1 "},
		{REPLY_ARGUMENTS, "501 5.5.4 "},
		{REPLY_ORDER_EHLO, "503 5.5.1 "},
		{REPLY_NO_VALID_RECIPIENTS, "554 5.5.1 "},
		{REPLY_SENDER_SYNTAX, "501 5.1.7 "},
		{REPLY_RECIPIENT_SYNTAX, "501 5.1.3 "},
		{REPLY_ADDRESS_UTF8, "553 5.6.7 "},
		{REPLY_PARAMETER_UNKNOWN, "555 5.5.4 "},
		{REPLY_PARAMETER_VALUE, "501 5.5.4 "},
		{REPLY_TOO_BIG, "552 5.3.4 "},
		{REPLY_TOO_MANY_RECIPIENTS, "452 4.5.3 "},
		{REPLY_SENDER_NOT_OWNED, "550 5.7.1 "},
		{REPLY_LIMIT, "450 4.7.1 "},
		{REPLY_LIMIT_NEVER, "550 5.7.1 "},
		{REPLY_POLICY_UNAVAILABLE, "451 4.3.0 "},
		{REPLY_BACKEND_UNREACHABLE, "451 4.4.1 "},
		{REPLY_BACKEND_LOST, "451 4.4.2 "},
		{REPLY_BODY_NUL, "550 5.6.0 "},
		{REPLY_BODY_LINE_ENDINGS, "550 5.5.2 "},
		{REPLY_BODY_CONVERSION, "554 5.6.3 "},
		{REPLY_BODY_BINARY, "554 5.6.1 "},
		{REPLY_CHUNK_OK, "250 2.0.0 "},
		{REPLY_ORDER_CHUNKS, "503 5.5.1 "},
		{REPLY_ORDER_CHUNK_FAILED, "503 5.5.1 "},
		{REPLY_ORDER_BINARY, "503 5.5.1 "},
		{REPLY_TOO_MANY_CHUNKS, "421 4.7.0 "},
		{REPLY_TOO_MANY_MESSAGES, "421 4.7.0 "},
		{REPLY_REVOKED, "421 4.7.0 "},
		{REPLY_TOO_MANY_CONNECTIONS, "421 4.7.0 "},
		{REPLY_SHUTTING_DOWN, "421 4.3.2 "},
		{REPLY_OVERLOAD, "421 4.3.2 "},
		{REPLY_TIMEOUT, "421 4.4.2 "},
		{REPLY_TOO_MANY_ERRORS, "421 4.7.0 "},
		{REPLY_SYNCHRONISATION, "554 5.5.0 "},
		{REPLY_FOREIGN_PROTOCOL, "421 4.7.0 "},
		{REPLY_VRFY, "252 2.1.5 "},
		{REPLY_HELP, "214 2.0.0 "},
		{REPLY_INTERNAL, "421 4.3.0 "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *bytes;

		(void)reply_text(rows[i].id, &bytes);
		if (strncmp(bytes, rows[i].starts, strlen(rows[i].starts)) != 0)
			fail_msg("got %s, want %s", bytes, rows[i].starts);
	}
}

static void test_with_id(void **state)
{
	char out[REPLY_MAX];
	size_t len = reply_format_with_id(REPLY_SENDER_NOT_OWNED, 1, out, sizeof(out));

	(void)state;
	assert_string_equal(out,
		"550 5.7.1 Not allowed to send from this address with this account "
		"(id 000000000001)\r\n");
	assert_int_equal(len, strlen(out));
	for (int id = 0; id < REPLY_COUNT; id++)
		check_line(
			out, reply_format_with_id((enum reply_id)id, UINT64_MAX, out, sizeof(out)));
}

static void test_octets(void **state)
{
	char out[REPLY_MAX];
	size_t len = reply_format_octets(REPLY_CHUNK_OK, 65536, out, sizeof(out));

	(void)state;
	assert_string_equal(out, "250 2.0.0 Chunk accepted: 65536 octets\r\n");
	assert_int_equal(len, strlen(out));
	check_line(out, reply_format_octets(REPLY_CHUNK_OK, UINT64_MAX, out, sizeof(out)));
}

static void test_limit(void **state)
{
	char out[REPLY_MAX];
	size_t len;

	(void)state;
	len = reply_format_limit(
		out, sizeof(out), IPC_POLICY_LIMIT, "messages per hour", 3, 1795576200, 1);
	assert_string_equal(out, "450 4.7.1 Limit reached: 3 messages per hour; it frees at "
				 "2026-11-25T03:10:00Z (id 000000000001)\r\n");
	assert_int_equal(len, strlen(out));
	len = reply_format_limit(
		out, sizeof(out), IPC_POLICY_LIMIT_NEVER, "recipients per hour", 3, 1795576200, 1);
	assert_string_equal(out,
		"550 5.7.1 More than the limit itself allows: 3 recipients per hour "
		"(id 000000000001)\r\n");
	assert_int_equal(len, strlen(out));
	(void)reply_format_limit(
		out, sizeof(out), IPC_POLICY_LIMIT_REJECT, "messages per hour", 3, 1795576200, 1);
	assert_string_equal(out,
		"550 5.7.1 Limit reached; not sent: 3 messages per hour; it frees at "
		"2026-11-25T03:10:00Z (id 000000000001)\r\n");
	(void)reply_format_limit(out, sizeof(out), IPC_POLICY_LIMIT, "messages per day", 0, 0, 1);
	assert_string_equal(
		out, "450 4.7.1 Limit reached: 0 messages per day (id 000000000001)\r\n");
}

/* The meter's name is data: it neither ends the line nor makes it long. */
static void test_limit_with_a_hostile_meter(void **state)
{
	char out[REPLY_MAX], name[1000];

	(void)state;
	(void)reply_format_limit(
		out, sizeof(out), IPC_POLICY_LIMIT, "a\r\n250 OK\r\n\x01\xc3\xa9%s", 1, 0, 1);
	assert_string_equal(out, "450 4.7.1 Limit reached: 1 a250 OK%s (id 000000000001)\r\n");
	memset(name, 'm', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	check_line(out, reply_format_limit(out, sizeof(out), IPC_POLICY_LIMIT, name, UINT64_MAX,
				1795576200, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row_is_a_reply),
		cmocka_unit_test(test_enhanced_codes_are_registered),
		cmocka_unit_test(test_codes_of_the_refusal_table),
		cmocka_unit_test(test_with_id),
		cmocka_unit_test(test_octets),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_limit_with_a_hostile_meter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
