/* SPDX-License-Identifier: ISC */
/* The door's bookkeeping: limits a prefix, the line of strangers, and that nothing is left over. */
#include "proxy/door.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

static const struct config_limits_set limits = {
	.connections_per_prefix = 3,
	.unauthenticated_per_prefix = 2,
	.unauthenticated = 4,
	.prefix_v4 = 24,
	.prefix_v6 = 48,
};

static struct address at(const char *text)
{
	struct address address;

	assert_true(address_parse(text, 1, &address));
	return address;
}

static struct door *open_door(void)
{
	struct door *door = door_new(&limits);

	assert_non_null(door);
	return door;
}

static void test_prefixes_decide_not_addresses(void **state)
{
	static const struct {
		const char *first, *second;
		bool same;
	} cases[] = {
		{"192.0.2.1", "192.0.2.200", true}, {"192.0.2.1", "192.0.3.1", false},
		{"2001:db8:1:2::1", "2001:db8:1:ffff::9", true},
		{"2001:db8:1::1", "2001:db8:2::1", false},
		{"::ffff:192.0.2.1", "192.0.2.9",
			false}, /* parsed as IPv6: accept() maps it first */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct door *door = open_door();
		struct address first = at(cases[i].first), second = at(cases[i].second);
		struct door_place places[2] = {0};
		for (size_t j = 0; j < 2; j++)
			assert_true(door_enter(door, &first, &places[j]));
		assert_int_equal(door_ask(door, &first), DOOR_STRANGERS);
		assert_int_equal(
			door_ask(door, &second), cases[i].same ? DOOR_STRANGERS : DOOR_OPEN);
		for (size_t j = 0; j < 2; j++)
			door_leave(door, &first, &places[j]);
		assert_int_equal(door_ask(door, &first), DOOR_OPEN);
		door_free(&door);
	}
}

static void test_a_login_frees_a_strangers_place_but_not_a_connections(void **state)
{
	struct door *door = open_door();
	struct address client = at("192.0.2.1");
	struct door_place places[3] = {0};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(door_ask(door, &client), DOOR_OPEN);
		assert_true(door_enter(door, &client, &places[i]));
		door_welcome(door, &client, &places[i]);
	}
	assert_int_equal(door_strangers(door), 0);
	assert_int_equal(door_ask(door, &client), DOOR_CONNECTIONS);
	door_leave(door, &client, &places[1]);
	assert_int_equal(door_ask(door, &client), DOOR_OPEN);
	door_leave(door, &client, &places[1]); /* twice is once */
	door_leave(door, &client, &places[0]);
	door_leave(door, &client, &places[2]);
	door_free(&door);
}

static void test_the_oldest_stranger_stands_first(void **state)
{
	struct door *door = open_door();
	struct door_place places[6] = {0};
	struct address clients[6];
	static const char *const texts[] = {
		"192.0.2.1", "198.51.100.1", "203.0.113.1", "10.0.0.1", "10.0.1.1", "2001:db8::1"};

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		clients[i] = at(texts[i]);
		assert_true(door_enter(door, &clients[i], &places[i]));
		assert_int_equal(door_crowded(door), i + 1 > limits.unauthenticated);
	}
	assert_ptr_equal(door_oldest(door), &places[0]);
	door_welcome(door, &clients[0], &places[0]); /* a customer is in nobody's way */
	assert_ptr_equal(door_oldest(door), &places[1]);
	assert_ptr_equal(door_next(&places[1]), &places[2]);
	door_leave(door, &clients[2], &places[2]);
	assert_ptr_equal(door_next(&places[1]), &places[3]);
	assert_false(door_crowded(door));
	for (size_t i = 0; i < 6; i++)
		door_leave(door, &clients[i], &places[i]);
	assert_int_equal(door_strangers(door), 0);
	assert_null(door_oldest(door));
	door_free(&door);
}

static void test_a_place_that_never_entered_leaves_in_peace(void **state)
{
	struct door *door = open_door();
	struct address client = at("192.0.2.1");
	struct door_place place = {0};

	(void)state;
	door_leave(door, &client, &place);
	assert_int_equal(door_strangers(door), 0);
	assert_int_equal(door_ask(door, &client), DOOR_OPEN);
	door_free(&door);
	door_free(&door);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes_decide_not_addresses),
		cmocka_unit_test(test_a_login_frees_a_strangers_place_but_not_a_connections),
		cmocka_unit_test(test_the_oldest_stranger_stands_first),
		cmocka_unit_test(test_a_place_that_never_entered_leaves_in_peace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
