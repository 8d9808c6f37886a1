/* SPDX-License-Identifier: ISC */
/* The door's bookkeeping: limits a prefix, the line of strangers, and that nothing is left over. */
#include "common/network.h"
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
		assert_int_equal(door_ask(door, &first, 0), DOOR_STRANGERS);
		assert_int_equal(
			door_ask(door, &second, 0), cases[i].same ? DOOR_STRANGERS : DOOR_OPEN);
		for (size_t j = 0; j < 2; j++)
			door_leave(door, &first, &places[j]);
		assert_int_equal(door_ask(door, &first, 0), DOOR_OPEN);
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
		assert_int_equal(door_ask(door, &client, 0), DOOR_OPEN);
		assert_true(door_enter(door, &client, &places[i]));
		door_welcome(door, &client, &places[i]);
	}
	assert_int_equal(door_strangers(door), 0);
	assert_int_equal(door_ask(door, &client, 0), DOOR_CONNECTIONS);
	door_leave(door, &client, &places[1]);
	assert_int_equal(door_ask(door, &client, 0), DOOR_OPEN);
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
	assert_int_equal(door_ask(door, &client, 0), DOOR_OPEN);
	door_free(&door);
	door_free(&door);
}

static void tell(struct door *door, enum ipc_block_step step, const char *network, uint64_t for_ms)
{
	struct ipc_block block = {.step = (uint8_t)step, .for_ms = for_ms};
	struct network parsed;

	if (network != NULL) {
		assert_true(network_parse(network, &parsed));
		block.network = parsed.key;
		block.bits = parsed.bits;
	}
	door_block(door, &block, 1000);
}

static void test_blocked_networks(void **state)
{
	const struct config_limits_set roomy = {.connections_per_prefix = 9,
		.unauthenticated_per_prefix = 9,
		.unauthenticated = 9,
		.prefix_v4 = 32,
		.prefix_v6 = 64};
	struct address bad, good, six;
	struct door *door = door_new(&roomy);

	(void)state;
	assert_non_null(door);
	assert_true(address_parse("192.0.2.77", 0, &bad));
	assert_true(address_parse("192.0.3.77", 0, &good));
	assert_true(address_parse("[2001:db8::1]", 0, &six));
	tell(door, IPC_BLOCK_NETWORK, "192.0.2.0/24", 500); /* of no list */
	tell(door, IPC_BLOCK_END, NULL, 0);
	assert_int_equal(door_ask(door, &bad, 1000), DOOR_OPEN);
	tell(door, IPC_BLOCK_BEGIN, NULL, 0);
	tell(door, IPC_BLOCK_NETWORK, "192.0.2.0/24", 500);
	tell(door, IPC_BLOCK_NETWORK, "2001:db8::/32", 900);
	assert_int_equal(door_ask(door, &bad, 1000), DOOR_OPEN); /* it is not whole yet */
	tell(door, IPC_BLOCK_END, NULL, 0);
	assert_int_equal(door_ask(door, &bad, 1499), DOOR_BLOCKED);
	assert_int_equal(door_ask(door, &six, 1899), DOOR_BLOCKED);
	assert_int_equal(door_ask(door, &good, 1499), DOOR_OPEN);
	assert_int_equal(door_ask(door, &bad, 1500), DOOR_OPEN); /* it has ended */
	tell(door, IPC_BLOCK_BEGIN, NULL, 0);
	assert_int_equal(door_ask(door, &six, 1500), DOOR_BLOCKED);
	tell(door, IPC_BLOCK_END, NULL, 0); /* nobody any more */
	assert_int_equal(door_ask(door, &six, 1500), DOOR_OPEN);
	door_free(&door);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes_decide_not_addresses),
		cmocka_unit_test(test_a_login_frees_a_strangers_place_but_not_a_connections),
		cmocka_unit_test(test_the_oldest_stranger_stands_first),
		cmocka_unit_test(test_a_place_that_never_entered_leaves_in_peace),
		cmocka_unit_test(test_blocked_networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
