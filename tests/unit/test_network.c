/* SPDX-License-Identifier: ISC */
/* Networks as text, what they hold, and sets of them that end. */
#include "common/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

static struct address_key key_of(const char *text)
{
	struct address address;

	assert_true(address_parse(text, 0, &address));
	return address_prefix(&address, 32, 128);
}

static struct network net(const char *text)
{
	struct network network;

	assert_true(network_parse(text, &network));
	return network;
}

static void test_text_there_and_back(void **state)
{
	static const struct {
		const char *text, *printed;
	} cases[] = {
		{"192.0.2.0/24", "192.0.2.0/24"},
		{"192.0.2.7", "192.0.2.7"},
		{"192.0.2.7/32", "192.0.2.7"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"128.0.0.0/1", "128.0.0.0/1"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"2001:db8::1", "2001:db8::1"},
		{"2001:db8::1/128", "2001:db8::1"},
		{"::/0", "::/0"},
		{"2001:db8:0:8000::/49", "2001:db8:0:8000::/49"},
	};
	char text[NETWORK_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct network network = net(cases[i].text);
		assert_string_equal(network_format(&network, text), cases[i].printed);
	}
}

static void test_what_is_no_network(void **state)
{
	static const char *const cases[] = {"", "/", "/24", "192.0.2.0/", "192.0.2.0/33",
		"192.0.2.0/-1", "192.0.2.0/024", "192.0.2.0/24 ", " 192.0.2.0/24", "192.0.2.1/24",
		"192.0.2/24", "example.net", "192.0.2.1:25", "[2001:db8::]/32", "[2001:db8::1]",
		"2001:db8::/129", "2001:db8::1/64", "2001:db8::/6 4", "192.0.2.0/24/24",
		"192.0.2.0/4294967320",
		"1111111111111111111111111111111111111111111111111111111111111111111111111/1"};
	struct network network;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (network_parse(cases[i], &network))
			fail_msg("'%s' was read as a network", cases[i]);
	}
}

static void test_holds_what_its_bits_say(void **state)
{
	static const struct {
		const char *network, *address;
		bool has;
	} cases[] = {
		{"192.0.2.0/24", "192.0.2.255", true},
		{"192.0.2.0/24", "192.0.3.0", false},
		{"192.0.2.128/25", "192.0.2.127", false},
		{"192.0.2.128/25", "192.0.2.128", true},
		{"0.0.0.0/0", "203.0.113.1", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "2001:db8::1", true},
		{"2001:db8::/47", "2001:db8:1:ffff::", true},
		{"2001:db8::/47", "2001:db8:2::", false},
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.6", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct network network = net(cases[i].network);
		struct address_key key = key_of(cases[i].address);
		if (network_has(&network, &key) != cases[i].has)
			fail_msg("%s in %s: got %d", cases[i].address, cases[i].network,
				!cases[i].has);
	}
}

static void test_network_of_an_address(void **state)
{
	struct address_key v4 = key_of("192.0.2.77"), v6 = key_of("2001:db8:1:2:3::4");
	char text[NETWORK_TEXT_MAX];
	struct network network;

	(void)state;
	network = network_of(&v4, 24, 56);
	assert_string_equal(network_format(&network, text), "192.0.2.0/24");
	network = network_of(&v4, 32, 56);
	assert_string_equal(network_format(&network, text), "192.0.2.77");
	network = network_of(&v6, 24, 56);
	assert_string_equal(network_format(&network, text), "2001:db8:1::/56");
	network = network_of(&v6, 24, 64);
	assert_string_equal(network_format(&network, text), "2001:db8:1:2::/64");
}

static void test_a_set_ends_its_networks(void **state)
{
	struct network_set *set = network_set_new(3);
	struct network wide = net("192.0.2.0/24"), one = net("192.0.2.7"),
		       six = net("2001:db8::/32");
	struct network more = net("203.0.113.0/24");
	struct address_key inside = key_of("192.0.2.7"), beside = key_of("192.0.2.8");

	(void)state;
	assert_non_null(set);
	assert_true(network_set_add(set, &wide, 100));
	assert_true(network_set_add(set, &one, 200));
	assert_true(network_set_add(set, &six, 300));
	assert_false(network_set_add(set, &more, 300));
	assert_true(network_set_has(set, &inside, 99));
	assert_true(network_set_has(set, &beside, 99));
	assert_true(network_set_has(set, &inside, 100));
	assert_false(network_set_has(set, &beside, 100));
	assert_int_equal(network_set_count(set), 2);
	assert_true(network_set_add(set, &one, 400)); /* moves its end */
	assert_int_equal(network_set_count(set), 2);
	assert_true(network_set_has(set, &inside, 399));
	assert_false(network_set_has(set, &inside, 400));
	assert_true(network_set_add(set, &more, 500));
	network_set_clear(set);
	assert_int_equal(network_set_count(set), 0);
	struct address_key other = key_of("203.0.113.1");
	assert_false(network_set_has(set, &other, 0));
	network_set_destroy(&set);
	assert_null(set);
}

static void test_a_list_holds_what_any_of_it_does(void **state)
{
	struct network_list list = {.count = 0};
	struct address_key inside = key_of("192.0.2.9"), six = key_of("2001:db8::1"),
			   beside = key_of("192.0.3.9");

	(void)state;
	assert_false(network_list_has(&list, &inside));
	list.networks[list.count++] = net("192.0.2.0/24");
	list.networks[list.count++] = net("2001:db8::/32");
	assert_true(network_list_has(&list, &inside));
	assert_true(network_list_has(&list, &six));
	assert_false(network_list_has(&list, &beside));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_there_and_back),
		cmocka_unit_test(test_what_is_no_network),
		cmocka_unit_test(test_holds_what_its_bits_say),
		cmocka_unit_test(test_network_of_an_address),
		cmocka_unit_test(test_a_set_ends_its_networks),
		cmocka_unit_test(test_a_list_holds_what_any_of_it_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
