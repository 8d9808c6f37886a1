/* SPDX-License-Identifier: ISC */
/* Numeric addresses: what is one and what is not, texts, prefixes. */
#include "common/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { NO_DEFAULT = -1 };

static const struct {
	const char *name, *text;
	int default_port;
	const char *want; /* NULL: refused */
} cases[] = {
	{"v4 and port", "192.0.2.1:25", NO_DEFAULT, "192.0.2.1:25"},
	{"v6 and port", "[2001:db8::1]:465", NO_DEFAULT, "[2001:db8::1]:465"},
	{"v4, default port", "192.0.2.1", 25, "192.0.2.1:25"},
	{"v6, default port", "2001:db8::1", 25, "[2001:db8::1]:25"},
	{"v6 in brackets, default port", "[2001:db8::1]", 25, "[2001:db8::1]:25"},
	{"default port 0", "192.0.2.1", 0, "192.0.2.1:0"},
	{"a port beats the default", "192.0.2.1:26", 25, "192.0.2.1:26"},
	{"largest port", "192.0.2.1:65535", NO_DEFAULT, "192.0.2.1:65535"},
	{"any v4", "0.0.0.0:465", NO_DEFAULT, "0.0.0.0:465"},
	{"any v6", "[::]:465", NO_DEFAULT, "[::]:465"},
	{"longest v6", "[2001:0db8:ffff:ffff:ffff:ffff:255.255.255.255]:65535", NO_DEFAULT,
		"[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"v6 that ends like a port is all address", "2001:db8::1:25", 26, "[2001:db8::1:25]:26"},
	{"no port", "192.0.2.1", NO_DEFAULT, NULL},
	{"v6, no port", "2001:db8::1", NO_DEFAULT, NULL},
	{"v6 in brackets, no port", "[2001:db8::1]", NO_DEFAULT, NULL},
	{"empty", "", 25, NULL},
	{"only a port", ":25", 25, NULL},
	{"empty port", "192.0.2.1:", 25, NULL},
	{"v6, empty port", "[::1]:", 25, NULL},
	{"port 0", "192.0.2.1:0", NO_DEFAULT, NULL},
	{"port with a leading zero", "192.0.2.1:025", NO_DEFAULT, NULL},
	{"port too large", "192.0.2.1:65536", NO_DEFAULT, NULL},
	{"port beyond an int", "192.0.2.1:99999999999999999999", NO_DEFAULT, NULL},
	{"negative port", "192.0.2.1:-1", NO_DEFAULT, NULL},
	{"signed port", "192.0.2.1:+25", NO_DEFAULT, NULL},
	{"space before the port", "192.0.2.1: 25", NO_DEFAULT, NULL},
	{"trailing space", "192.0.2.1:25 ", NO_DEFAULT, NULL},
	{"trailing letter", "192.0.2.1:25x", NO_DEFAULT, NULL},
	{"port by name", "192.0.2.1:smtp", NO_DEFAULT, NULL},
	{"name", "mail.example:25", NO_DEFAULT, NULL},
	{"name alone", "localhost", 25, NULL},
	{"three octets", "192.0.2:25", NO_DEFAULT, NULL},
	{"octal look", "192.0.2.010:25", NO_DEFAULT, NULL},
	{"hexadecimal", "0xc0000201:25", NO_DEFAULT, NULL},
	{"zone", "[fe80::1%eth0]:25", NO_DEFAULT, NULL},
	{"no closing bracket", "[::1", 25, NULL},
	{"text after the bracket", "[::1]x", 25, NULL},
	{"no opening bracket", "::1]:25", NO_DEFAULT, NULL},
	{"empty brackets", "[]:25", NO_DEFAULT, NULL},
	{"v4 in brackets with a port", "[192.0.2.1]:25", NO_DEFAULT, NULL},
	{"v4 in brackets", "[192.0.2.1]", 25, NULL},
	{"longer than any address",
		"[1111111111111111111111111111111111111111111111111111111111111111111111]:25",
		NO_DEFAULT, NULL},
};

static void test_parse_and_format(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[ADDRESS_TEXT_MAX];
		struct address address;
		bool ok = address_parse(cases[i].text, cases[i].default_port, &address);
		const char *got = ok ? address_format(&address, text) : "refused";
		const char *want = cases[i].want == NULL ? "refused" : cases[i].want;
		if (strcmp(got, want) != 0)
			fail_msg("%s: got %s, want %s", cases[i].name, got, want);
	}
}

static void parse(const char *text, struct address *out)
{
	if (!address_parse(text, 0, out))
		fail_msg("%s: got no address", text);
}

static void test_host_without_port_and_brackets(void **state)
{
	char text[ADDRESS_TEXT_MAX];
	struct address address;

	(void)state;
	parse("192.0.2.1:25", &address);
	assert_string_equal(address_format_host(&address, text), "192.0.2.1");
	assert_int_equal(address_port(&address), 25);
	parse("[2001:db8::1]:465", &address);
	assert_string_equal(address_format_host(&address, text), "2001:db8::1");
	assert_int_equal(address_port(&address), 465);
}

static void test_no_address(void **state)
{
	static const struct address none;
	struct address other;
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	parse("192.0.2.1", &other);
	assert_string_equal(address_format(&none, text), "");
	assert_string_equal(address_format_host(&none, text), "");
	assert_int_equal(address_port(&none), 0);
	assert_false(address_is_loopback(&none));
	assert_true(address_equal(&none, &none));
	assert_false(address_equal(&none, &other));
	assert_false(address_equal(&other, &none));
	struct address_key key = address_prefix(&none, 32, 128), zero = {{0}};
	assert_memory_equal(&key, &zero, sizeof key);
}

static const struct {
	const char *name, *a, *b;
	bool equal;
} pairs[] = {
	{"the same", "192.0.2.1:25", "192.0.2.1:25", true},
	{"other port", "192.0.2.1:25", "192.0.2.1:26", false},
	{"other host", "192.0.2.1:25", "192.0.2.2:25", false},
	{"the same v6", "[2001:db8::1]:25", "[2001:DB8:0::1]:25", true},
	{"v6, last bit", "[2001:db8::1]:25", "[2001:db8::]:25", false},
	{"v4 and its mapped form", "192.0.2.1:25", "[::ffff:192.0.2.1]:25", false},
};

static void test_equal(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		struct address a, b;
		parse(pairs[i].a, &a);
		parse(pairs[i].b, &b);
		if (address_equal(&a, &b) != pairs[i].equal ||
			address_equal(&b, &a) != pairs[i].equal)
			fail_msg("%s: want %d", pairs[i].name, pairs[i].equal);
	}
}

static void test_loopback(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
	} rows[] = {{"127.0.0.1", true}, {"127.255.255.254", true}, {"128.0.0.1", false},
		{"126.0.0.1", false}, {"::1", true}, {"::2", false}, {"::", false},
		{"0.0.0.0", false}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct address address;
		parse(rows[i].text, &address);
		if (address_is_loopback(&address) != rows[i].loopback)
			fail_msg("%s: want %d", rows[i].text, rows[i].loopback);
	}
}

static const struct {
	const char *name, *address;
	unsigned v4_bits, v6_bits;
	const char *want; /* as IPv6 */
} prefixes[] = {
	{"whole v4", "192.0.2.129", 32, 64, "::ffff:192.0.2.129"},
	{"v4 /24", "192.0.2.129", 24, 64, "::ffff:192.0.2.0"},
	{"v4 /25", "192.0.2.129", 25, 64, "::ffff:192.0.2.128"},
	{"v4 /0", "192.0.2.129", 0, 64, "::ffff:0.0.0.0"},
	{"v6 /64", "2001:db8:1:2:3:4:5:6", 32, 64, "2001:db8:1:2::"},
	{"v6 /56", "2001:db8:1:2ff:3:4:5:6", 32, 56, "2001:db8:1:200::"},
	{"v6 /61", "2001:db8:1:ffff::", 32, 61, "2001:db8:1:fff8::"},
	{"whole v6", "2001:db8:1:2:3:4:5:6", 32, 128, "2001:db8:1:2:3:4:5:6"},
	{"v6 /0", "2001:db8:1:2:3:4:5:6", 32, 0, "::"},
};

static void test_prefix(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		char got[INET6_ADDRSTRLEN];
		struct address address;
		parse(prefixes[i].address, &address);
		struct address_key key =
			address_prefix(&address, prefixes[i].v4_bits, prefixes[i].v6_bits);
		inet_ntop(AF_INET6, key.bytes, got, sizeof got);
		if (strcmp(got, prefixes[i].want) != 0)
			fail_msg("%s: got %s, want %s", prefixes[i].name, got, prefixes[i].want);
	}
}

/* A dual-stack socket tells an IPv4 peer as ::ffff:a.b.c.d: limits must see one peer, not two. */
static void test_mapped_peer_is_v4(void **state)
{
	struct sockaddr_in6 peer = {.sin6_family = AF_INET6, .sin6_port = htons(4711)};
	struct address address, want;

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.1", &peer.sin6_addr), 1);
	assert_true(address_from_sockaddr((struct sockaddr *)&peer, sizeof peer, &address));
	parse("192.0.2.1:4711", &want);
	assert_true(address_equal(&address, &want));
	assert_int_equal(address.len, sizeof(struct sockaddr_in));
}

static void test_from_sockaddr(void **state)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(25)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
		.sin6_port = htons(26),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr local = {.sa_family = AF_UNIX};
	struct address out;
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	assert_true(address_from_sockaddr((struct sockaddr *)&v4, sizeof v4, &out));
	assert_string_equal(address_format(&out, text), "0.0.0.0:25");
	assert_true(address_from_sockaddr((struct sockaddr *)&v6, sizeof v6, &out));
	assert_string_equal(address_format(&out, text), "[::1]:26");
	assert_false(address_from_sockaddr((struct sockaddr *)&v4, sizeof v4 - 1, &out));
	assert_false(address_from_sockaddr((struct sockaddr *)&v6, sizeof v6 - 1, &out));
	assert_false(address_from_sockaddr(&local, sizeof local, &out));
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_and_format),
		cmocka_unit_test(test_host_without_port_and_brackets),
		cmocka_unit_test(test_no_address),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_mapped_peer_is_v4),
		cmocka_unit_test(test_from_sockaddr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
