/* SPDX-License-Identifier: ISC */
/*
 * PROXY headers, whole, split at each octet, and octet by octet: threats.md F06.  A verdict is
 * written as "D46 192.0.2.1:51234" (done, its length, the client), "D15 -" (done, no client told),
 * "M" (more), or "B" and what is wrong.  Whatever follows a verdict changes nothing.
 */
#include "proxy/proxy_protocol.h"

#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

enum { BUFFER_MAX = PROXY_HEADER_MAX + 64 };

struct run {
	const char *name, *want;
	size_t waiting;
	char buffer[BUFFER_MAX];
	char got[200];
};

static void run_begin(void *context)
{
	struct run *run = context;

	run->waiting = 0;
	snprintf(run->got, sizeof run->got, "M");
}

static void note(
	const struct proxy_header *header, enum proxy_status status, char *out, size_t room)
{
	char client[ADDRESS_TEXT_MAX];

	switch (status) {
	case PROXY_DONE:
		assert_null(header->problem);
		address_format(&header->client, client);
		snprintf(out, room, "D%zu %s", header->len, client[0] != '\0' ? client : "-");
		break;
	case PROXY_MORE:
		assert_null(header->problem);
		snprintf(out, room, "M");
		break;
	case PROXY_BAD:
		assert_int_equal(header->client.len, 0);
		snprintf(out, room, "B%s", header->problem);
		break;
	}
}

static void run_feed(void *context, const char *bytes, size_t len)
{
	struct run *run = context;
	struct proxy_header header;
	char got[sizeof run->got];

	assert_true(len <= BUFFER_MAX - run->waiting);
	memcpy(run->buffer + run->waiting, bytes, len);
	run->waiting += len;
	char *copy = parse_exact(run->buffer, run->waiting);
	enum proxy_status status = proxy_protocol_parse((uint8_t *)copy, run->waiting, &header);
	free(copy);
	note(&header, status, got, sizeof got);
	if (status == PROXY_DONE)
		assert_true(header.len <= run->waiting);
	if (run->got[0] == 'M')
		memcpy(run->got, got, sizeof got);
	else if (run->got[0] != got[0] || (got[0] == 'D' && strcmp(run->got, got) != 0))
		fail_msg("%s: %s after %zu octets, %s before", run->name, got, run->waiting,
			run->got);
}

static void run_end(void *context, const char *how)
{
	struct run *run = context;

	if (strcmp(run->got, run->want) != 0)
		fail_msg("%s, %s: got %s, want %s", run->name, how, run->got, run->want);
}

static void check(const char *name, const char *bytes, size_t len, const char *want)
{
	struct run run = {.name = name, .want = want};
	struct parse_case parse = {&run, run_begin, run_feed, run_end};

	parse_every_way(&parse, bytes, len);
}

#define IN(text) text, sizeof(text) - 1
#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define IPV4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\xc8\x22\x01\xd1" /* 192.0.2.1:51234 */
#define IPV6_HALF(last) "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0" last
#define IPV6 IPV6_HALF("\x01") IPV6_HALF("\x02") "\xc8\x22\x01\xd1"
#define MAPPED_HALF(address) "\0\0\0\0\0\0\0\0\0\0\xff\xff" address
#define MAPPED MAPPED_HALF("\xc0\x00\x02\x01") MAPPED_HALF("\xc6\x33\x64\x02") "\xc8\x22\x01\xd1"
/* CRC32C, from another implementation. */
#define SUM_ALONE "\x42\x8a\x64\x0c"
#define SUM_BETWEEN "\x87\x71\x36\x34"
#define SUM_FIRST "\x5a\x82\x74\xa7"
#define TEN(text) text text text text text text text text text text

#define NO_FIELDS "Bnot the five fields of version 1"
#define NO_ADDRESS "Bno address, or no port"
#define NO_END "Bno end of its line"
#define NO_PROTOCOL "Ba protocol that version 1 does not know"
#define NO_FAMILY "Ba family or transport that does not exist"
#define NO_COMMAND "Ba version or command that does not exist"
#define TOO_SHORT "Btoo short for its addresses"
#define BEYOND "Ba TLV beyond the header's end"
#define NO_HEADER "Bno header"

struct row {
	const char *name, *in;
	size_t len;
	const char *want;
};

static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(rows[i].name, rows[i].in, rows[i].len, rows[i].want);
}

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static void test_version_1(void **state)
{
	static const struct row rows[] = {
		{"TCP4", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\r\n"),
			"D45 192.0.2.1:51234"},
		{"TCP6", IN("PROXY TCP6 2001:db8::1 2001:db8::2 51234 465\r\n"),
			"D46 [2001:db8::1]:51234"},
		{"TCP6, mapped", IN("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 51234 465\r\n"),
			"D56 192.0.2.1:51234"},
		{"TCP6, in capitals", IN("PROXY TCP6 2001:DB8::A ::1 51234 465\r\n"),
			"D38 [2001:db8::a]:51234"},
		{"the least port", IN("PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n"),
			"D39 192.0.2.1:0"},
		{"the greatest port", IN("PROXY TCP4 192.0.2.1 198.51.100.2 65535 65535\r\n"),
			"D47 192.0.2.1:65535"},
		{"TLS behind it", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\r\n\x16\x03\x01"),
			"D45 192.0.2.1:51234"},
		{"another one behind it",
			IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\r\n"
			   "PROXY TCP4 203.0.113.9 198.51.100.2 51234 465\r\n"),
			"D45 192.0.2.1:51234"},
		{"UNKNOWN", IN("PROXY UNKNOWN\r\n"), "D15 -"},
		{"UNKNOWN with anything", IN("PROXY UNKNOWN 192.0.2.1 \0 \xff\r\n"), "D29 -"},
		{"UNKNOWN, the longest line",
			IN("PROXY UNKNOWN " TEN("123456789") "1"
							     "\r\n"),
			"D107 -"},
		{"UNKNOWN, an octet too long",
			IN("PROXY UNKNOWN " TEN("123456789") "12"
							     "\r\n"),
			NO_END},
		{"UNKNOWN, no end", IN("PROXY UNKNOWN " TEN("123456789") TEN("1")), NO_END},
	};

	(void)state;
	check_rows(rows, COUNT(rows));
}

static void test_version_1_unfinished(void **state)
{
	static const struct row rows[] = {
		{"nothing", IN(""), "M"},
		{"a letter", IN("P"), "M"},
		{"the word", IN("PROXY "), "M"},
		{"a CR waits", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\r"), "M"},
		{"106 octets",
			IN("PROXY UNKNOWN " TEN("123456789") "1"
							     "\r"),
			"M"},
	};

	(void)state;
	check_rows(rows, COUNT(rows));
}

static void test_version_1_bad(void **state)
{
	static const struct row rows[] = {
		{"another protocol", IN("GET / HTTP/1.1\r\n"), NO_HEADER},
		{"SMTP", IN("EHLO me\r\n"), NO_HEADER},
		{"TLS", IN("\x16\x03\x01\x02"), NO_HEADER},
		{"in small letters", IN("proxy TCP4 192.0.2.1 198.51.100.2 51234 465\r\n"),
			NO_HEADER},
		{"no space", IN("PROXYTCP4 192.0.2.1 198.51.100.2 51234 465\r\n"), NO_HEADER},
		{"a bare LF", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\nEHLO"),
			"Ba bare CR or LF"},
		{"a bare CR", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\rEHLO"),
			"Ba bare CR or LF"},
		{"CR CR LF", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\r\r\n"),
			"Ba bare CR or LF"},
		{"a CR in UNKNOWN", IN("PROXY UNKNOWN a\rb\r\n"), "Ba bare CR or LF"},
		{"no end", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 " TEN("465465465")), NO_END},
		{"a CR at octet 107",
			IN("PROXY UNKNOWN " TEN("123456789") "12"
							     "\r"),
			NO_END},
		{"nothing", IN("PROXY \r\n"), NO_FIELDS},
		{"UNKNOWN and more", IN("PROXY UNKNOWNS\r\n"), NO_FIELDS},
		{"four fields", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234\r\n"), NO_FIELDS},
		{"six fields", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465 1\r\n"), NO_FIELDS},
		{"a last space", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465 \r\n"), NO_FIELDS},
		{"two spaces", IN("PROXY TCP4  192.0.2.1 198.51.100.2 51234 465\r\n"), NO_FIELDS},
		{"two spaces, two ports", IN("PROXY TCP4 192.0.2.1 198.51.100.2  465\r\n"),
			NO_FIELDS},
		{"a tab", IN("PROXY TCP4\t192.0.2.1 198.51.100.2 51234 465\r\n"), NO_FIELDS},
		{"NUL", IN("PROXY TCP4 192.0.2.1\0 198.51.100.2 51234 465\r\n"), NO_FIELDS},
		{"NUL at the end", IN("PROXY TCP4 192.0.2.1 198.51.100.2 51234 465\0 1\r\n"),
			NO_FIELDS},
		{"UDP4", IN("PROXY UDP4 192.0.2.1 198.51.100.2 51234 465\r\n"), NO_PROTOCOL},
		{"tcp4", IN("PROXY tcp4 192.0.2.1 198.51.100.2 51234 465\r\n"), NO_PROTOCOL},
		{"TCP4 of IPv6", IN("PROXY TCP4 2001:db8::1 2001:db8::2 51234 465\r\n"),
			NO_ADDRESS},
		{"TCP6 of IPv4", IN("PROXY TCP6 192.0.2.1 198.51.100.2 51234 465\r\n"), NO_ADDRESS},
		{"half an address", IN("PROXY TCP4 192.0.2 198.51.100.2 51234 465\r\n"),
			NO_ADDRESS},
		{"no number", IN("PROXY TCP4 192.0.2.256 198.51.100.2 51234 465\r\n"), NO_ADDRESS},
		{"an octal number", IN("PROXY TCP4 192.0.02.1 198.51.100.2 51234 465\r\n"),
			NO_ADDRESS},
		{"a name", IN("PROXY TCP4 client 198.51.100.2 51234 465\r\n"), NO_ADDRESS},
		{"a zone", IN("PROXY TCP6 fe80::1%eth0 2001:db8::2 51234 465\r\n"), NO_ADDRESS},
		{"brackets", IN("PROXY TCP6 [2001:db8::1] 2001:db8::2 51234 465\r\n"), NO_ADDRESS},
		{"a bad destination", IN("PROXY TCP4 192.0.2.1 198.51.100 51234 465\r\n"),
			NO_ADDRESS},
		{"port 65536", IN("PROXY TCP4 192.0.2.1 198.51.100.2 65536 465\r\n"), NO_ADDRESS},
		{"port 100000", IN("PROXY TCP4 192.0.2.1 198.51.100.2 100000 465\r\n"), NO_ADDRESS},
		{"port 01", IN("PROXY TCP4 192.0.2.1 198.51.100.2 01 465\r\n"), NO_ADDRESS},
		{"port -1", IN("PROXY TCP4 192.0.2.1 198.51.100.2 -1 465\r\n"), NO_ADDRESS},
		{"port a", IN("PROXY TCP4 192.0.2.1 198.51.100.2 a 465\r\n"), NO_ADDRESS},
		{"a bad port there", IN("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n"),
			NO_ADDRESS},
	};

	(void)state;
	check_rows(rows, COUNT(rows));
}

static void test_version_2(void **state)
{
	static const struct row rows[] = {
		{"TCP4", IN(V2 "\x21\x11\0\x0c" IPV4), "D28 192.0.2.1:51234"},
		{"TCP6", IN(V2 "\x21\x21\0\x24" IPV6), "D52 [2001:db8::1]:51234"},
		{"TCP6, mapped", IN(V2 "\x21\x21\0\x24" MAPPED), "D52 192.0.2.1:51234"},
		{"TLS behind it", IN(V2 "\x21\x11\0\x0c" IPV4 "\x16\x03\x01"),
			"D28 192.0.2.1:51234"},
		{"another one behind it", IN(V2 "\x21\x11\0\x0c" IPV4 V2 "\x21\x21\0\x24" IPV6),
			"D28 192.0.2.1:51234"},
		{"LOCAL", IN(V2 "\x20\0\0\0"), "D16 -"},
		{"LOCAL with an address", IN(V2 "\x20\x11\0\x0c" IPV4), "D28 -"},
		{"LOCAL with anything",
			IN(V2 "\x20\xff\0\x03"
			      "\x01\xff\xff"),
			"D19 -"},
		{"unspecified", IN(V2 "\x21\0\0\0"), "D16 -"},
		{"unspecified with anything",
			IN(V2 "\x21\0\0\x03"
			      "\x01\xff\xff"),
			"D19 -"},
		{"UDP4", IN(V2 "\x21\x12\0\x0c" IPV4), "D28 -"},
		{"UDP6", IN(V2 "\x21\x22\0\x24" IPV6), "D52 -"},
	};

	(void)state;
	check_rows(rows, COUNT(rows));
}

static void test_version_2_bad(void **state)
{
	static const struct row rows[] = {
		{"another signature", IN("\r\n\r\n\0\r\nQUIT\r"), NO_HEADER},
		{"half of it", IN("\r\n\r\n\r\n"), NO_HEADER},
		{"version 1", IN(V2 "\x11"), NO_COMMAND},
		{"version 3", IN(V2 "\x31\x11\0\x0c" IPV4), NO_COMMAND},
		{"command 2", IN(V2 "\x22\x11\0\x0c" IPV4), NO_COMMAND},
		{"command 15", IN(V2 "\x2f"), NO_COMMAND},
		{"family 4", IN(V2 "\x21\x41\0\x0c" IPV4), NO_FAMILY},
		{"transport 3", IN(V2 "\x21\x13"), NO_FAMILY},
		{"IPv4 without a transport", IN(V2 "\x21\x10\0\x0c" IPV4), NO_FAMILY},
		{"a transport without a family", IN(V2 "\x21\x01\0\0"), NO_FAMILY},
		{"TCP4 and nothing", IN(V2 "\x21\x11\0\0"), TOO_SHORT},
		{"TCP4, an octet short", IN(V2 "\x21\x11\0\x0b" IPV4), TOO_SHORT},
		{"TCP6, an octet short", IN(V2 "\x21\x21\0\x23" IPV6), TOO_SHORT},
		{"TCP6 of IPv4's length", IN(V2 "\x21\x21\0\x0c" IPV4), TOO_SHORT},
		{"UDP4, an octet short", IN(V2 "\x21\x12\0\x0b" IPV4), TOO_SHORT},
		{"UNIX, an octet short", IN(V2 "\x21\x31\0\xd7"), TOO_SHORT},
		{"an octet too long", IN(V2 "\x21\x11\x0f\xf1" IPV4), "Btoo long"},
		{"LOCAL, an octet too long", IN(V2 "\x20\0\x0f\xf1"), "Btoo long"},
		{"65535", IN(V2 "\x21\x11\xff\xff" IPV4), "Btoo long"},
	};

	(void)state;
	check_rows(rows, COUNT(rows));
}

static void test_tlvs(void **state)
{
	static const struct row rows[] = {
		{"an empty one", IN(V2 "\x21\x11\0\x0f" IPV4 "\x04\0\0"), "D31 192.0.2.1:51234"},
		{"of an unknown type",
			IN(V2 "\x21\x11\0\x10" IPV4 "\xff\0\x01"
			      "a"),
			"D32 192.0.2.1:51234"},
		{"two",
			IN(V2 "\x21\x11\0\x14" IPV4 "\x01\0\x02"
			      "h2"
			      "\x04\0\0"),
			"D36 192.0.2.1:51234"},
		{"behind IPv6",
			IN(V2 "\x21\x21\0\x28" IPV6 "\x04\0\x01"
			      "a"),
			"D56 [2001:db8::1]:51234"},
		{"a type alone", IN(V2 "\x21\x11\0\x0d" IPV4 "\x04"), "Bhalf a TLV"},
		{"half a length", IN(V2 "\x21\x11\0\x0e" IPV4 "\x04\0"), "Bhalf a TLV"},
		{"half of the second",
			IN(V2 "\x21\x11\0\x11" IPV4 "\x04\0\0"
			      "\x04\0"),
			"Bhalf a TLV"},
		{"an octet beyond",
			IN(V2 "\x21\x11\0\x10" IPV4 "\x04\0\x02"
			      "a"),
			BEYOND},
		{"an octet beyond, and there",
			IN(V2 "\x21\x11\0\x10" IPV4 "\x04\0\x02"
			      "ab"),
			BEYOND},
		{"65535", IN(V2 "\x21\x11\0\x0f" IPV4 "\x04\xff\xff"), BEYOND},
		{"beyond, of UDP", IN(V2 "\x21\x12\0\x0f" IPV4 "\x04\xff\xff"), BEYOND},
	};

	(void)state;
	check_rows(rows, COUNT(rows));
}

static void test_checksum(void **state)
{
	static const struct row rows[] = {
		{"right", IN(V2 "\x21\x11\0\x13" IPV4 "\x03\0\x04" SUM_ALONE),
			"D35 192.0.2.1:51234"},
		{"right, between others",
			IN(V2 "\x21\x11\0\x1d" IPV4 "\x01\0\x04"
			      "smtp"
			      "\x03\0\x04" SUM_BETWEEN "\x04\0\0"),
			"D45 192.0.2.1:51234"},
		{"wrong",
			IN(V2 "\x21\x11\0\x13" IPV4 "\x03\0\x04"
			      "\0\0\0\0"),
			"Ba wrong checksum"},
		{"of another address",
			IN(V2 "\x21\x11\0\x13"
			      "\xc0\x00\x02\x02\xc6\x33\x64\x02\xc8\x22\x01\xd1"
			      "\x03\0\x04" SUM_ALONE),
			"Ba wrong checksum"},
		{"of three octets",
			IN(V2 "\x21\x11\0\x12" IPV4 "\x03\0\x03"
			      "\0\0\0"),
			"Ba wrong checksum"},
		{"empty", IN(V2 "\x21\x11\0\x0f" IPV4 "\x03\0\0"), "Ba wrong checksum"},
		{"two",
			IN(V2 "\x21\x11\0\x1a" IPV4 "\x03\0\x04" SUM_FIRST "\x03\0\x04"
			      "\0\0\0\0"),
			"Ba wrong checksum"},
		{"wrong, of LOCAL",
			IN(V2 "\x20\x11\0\x13" IPV4 "\x03\0\x04"
			      "\0\0\0\0"),
			"D35 -"},
	};

	(void)state;
	check_rows(rows, COUNT(rows));
}

/* A header of so many octets in all, filled by one TLV. */
static size_t make_long(
	char *out, uint8_t command, uint8_t family, size_t addresses_len, size_t len)
{
	size_t rest = len - 16, value_len = rest - addresses_len - 3;

	memset(out, 0, len);
	memcpy(out, V2, 12);
	out[12] = (char)command;
	out[13] = (char)family;
	out[14] = (char)(rest >> 8);
	out[15] = (char)(rest & 0xff);
	memcpy(out + 16, IPV4, 12);
	out[16 + addresses_len] = 4;
	out[16 + addresses_len + 1] = (char)(value_len >> 8);
	out[16 + addresses_len + 2] = (char)(value_len & 0xff);
	return len;
}

static void test_long_headers(void **state)
{
	char bytes[PROXY_HEADER_MAX + 3];
	struct proxy_header header;

	(void)state;
	check("2.2's 536", bytes, make_long(bytes, 0x21, 0x11, 12, 536), "D536 192.0.2.1:51234");
	check("UNIX", bytes, make_long(bytes, 0x21, 0x31, 216, 16 + 216 + 3), "D235 -");
	check("UNIX, datagrams", bytes, make_long(bytes, 0x21, 0x32, 216, 536), "D536 -");
	size_t len = make_long(bytes, 0x21, 0x11, 12, PROXY_HEADER_MAX);
	memcpy(bytes + len, "abc", 3);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(proxy_protocol_parse((uint8_t *)bytes, i, &header), PROXY_MORE);
	assert_int_equal(proxy_protocol_parse((uint8_t *)bytes, len, &header), PROXY_DONE);
	assert_int_equal(proxy_protocol_parse((uint8_t *)bytes, len + 3, &header), PROXY_DONE);
	assert_int_equal(header.len, PROXY_HEADER_MAX);
}

/* Every octet of the fixed part that is not as it must be is noticed when it comes. */
static void test_every_octet_of_a_signature_counts(void **state)
{
	static const char v1[] = "PROXY ", v2[] = V2;
	struct proxy_header header;
	uint8_t bytes[12];

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		memcpy(bytes, v2, 12);
		bytes[i] ^= 0x20;
		assert_int_equal(proxy_protocol_parse(bytes, i + 1, &header), PROXY_BAD);
		memcpy(bytes, v1, 6);
		if (i < 6)
			bytes[i] ^= 0x20;
		if (i < 6)
			assert_int_equal(proxy_protocol_parse(bytes, i + 1, &header), PROXY_BAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_version_1_unfinished),
		cmocka_unit_test(test_version_1_bad),
		cmocka_unit_test(test_version_2),
		cmocka_unit_test(test_version_2_bad),
		cmocka_unit_test(test_tlvs),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_long_headers),
		cmocka_unit_test(test_every_octet_of_a_signature_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
