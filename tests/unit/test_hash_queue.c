/* SPDX-License-Identifier: ISC */
/* Whose turn it is: classes, proxies, networks; the bounds; and a model of random use. */
#include "auth/hash_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 40, OWNERS = 4, ITEMS = 64 };

static struct item {
	struct hash_ticket ticket; /* first: a ticket is its item */
	enum hash_class class;
	unsigned owner, network;
} items[ITEMS];

static struct hash_queue *queue;

static int setup(void **state)
{
	(void)state;
	memset(items, 0, sizeof items);
	queue = hash_queue_new(SIZE, OWNERS);
	return queue == NULL;
}

static int teardown(void **state)
{
	(void)state;
	while (hash_queue_pop(queue) != NULL)
		;
	hash_queue_destroy(&queue);
	return 0;
}

static bool push(unsigned index, enum hash_class class, unsigned owner, unsigned network)
{
	struct address_key key = {.bytes = {[15] = (uint8_t)network}};

	items[index].class = class;
	items[index].owner = owner;
	items[index].network = network;
	return hash_queue_push(queue, &items[index].ticket, class, owner, &key);
}

static unsigned pop(void)
{
	struct hash_ticket *ticket = hash_queue_pop(queue);

	assert_non_null(ticket);
	assert_null(ticket->lane);
	return (unsigned)((struct item *)(void *)ticket - items);
}

static void test_an_empty_queue_gives_nothing(void **state)
{
	(void)state;
	assert_null(hash_queue_pop(queue));
	assert_true(push(0, HASH_CLASS_STRANGER, 0, 1));
	assert_int_equal(pop(), 0);
	assert_null(hash_queue_pop(queue));
}

static void test_networks_take_turns(void **state)
{
	static const unsigned want[] = {0, 3, 5, 1, 4, 2};

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_true(push(i, HASH_CLASS_STRANGER, 0, 1));
	for (unsigned i = 3; i < 5; i++)
		assert_true(push(i, HASH_CLASS_STRANGER, 0, 2));
	assert_true(push(5, HASH_CLASS_STRANGER, 0, 3));
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(pop(), want[i]);
}

static void test_proxies_take_turns_before_networks(void **state)
{
	static const unsigned want[] = {0, 2, 1, 3};

	(void)state;
	assert_true(push(0, HASH_CLASS_STRANGER, 0, 1));
	assert_true(push(1, HASH_CLASS_STRANGER, 0, 2));
	assert_true(push(2, HASH_CLASS_STRANGER, 1, 3));
	assert_true(push(3, HASH_CLASS_STRANGER, 1, 3));
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pop(), want[i]);
}

static void test_the_known_go_first_but_not_for_ever(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_true(push(i, HASH_CLASS_STRANGER, 0, 1));
	for (unsigned i = 2; i < 2 + 2 * HASH_QUEUE_KNOWN_RUN; i++)
		assert_true(push(i, HASH_CLASS_KNOWN, 0, 2));
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < HASH_QUEUE_KNOWN_RUN; i++)
			assert_int_equal(items[pop()].class, HASH_CLASS_KNOWN);
		assert_int_equal(pop(), round);
	}
}

/* A run counts only what strangers had to wait for. */
static void test_a_quiet_time_is_no_run(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * HASH_QUEUE_KNOWN_RUN; i++) {
		assert_true(push(0, HASH_CLASS_KNOWN, 0, 1));
		assert_int_equal(pop(), 0);
	}
	assert_true(push(1, HASH_CLASS_STRANGER, 0, 1));
	assert_true(push(0, HASH_CLASS_KNOWN, 0, 1));
	assert_int_equal(pop(), 0);
	assert_int_equal(pop(), 1);
}

static void test_strangers_leave_room_for_the_known(void **state)
{
	unsigned strangers = 0;

	(void)state;
	while (strangers < SIZE && push(strangers, HASH_CLASS_STRANGER, 0, strangers))
		strangers++;
	assert_int_equal(strangers, SIZE - SIZE / 4);
	for (unsigned i = 0; i < SIZE / 4; i++)
		assert_true(push(strangers + i, HASH_CLASS_KNOWN, 0, 1));
	assert_false(push(SIZE, HASH_CLASS_KNOWN, 0, 1));
	/* Another proxy's share is its own. */
	for (unsigned i = 0; i < SIZE / OWNERS; i++)
		assert_true(push(SIZE + i, HASH_CLASS_STRANGER, 1, 1));
	assert_false(push(SIZE + SIZE / OWNERS, HASH_CLASS_STRANGER, 1, 1));
	assert_int_equal(hash_queue_count(queue, HASH_CLASS_KNOWN), SIZE / 4);
}

static void test_what_is_removed_has_no_turn(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_true(push(i, HASH_CLASS_KNOWN, 0, 1));
	hash_queue_remove(queue, &items[1].ticket);
	assert_null(items[1].ticket.lane);
	assert_int_equal(pop(), 0);
	assert_int_equal(pop(), 2);
	assert_null(hash_queue_pop(queue));
}

static bool waits(unsigned index)
{
	return items[index].ticket.lane != NULL;
}

/* Of the same class, proxy and network the older one is first; nothing is lost or given twice. */
static void test_random_use(void **state)
{
	uint64_t pushed[ITEMS] = {0}, now = 0;
	unsigned seed = 20261125;

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		seed = seed * 1664525u + 1013904223u;
		unsigned index = (seed >> 8) % ITEMS;
		if ((seed >> 24) % 3 == 0 && !waits(index)) {
			if (push(index, (enum hash_class)((seed >> 16) % 2), (seed >> 17) % OWNERS,
				    (seed >> 20) % 5))
				pushed[index] = ++now;
		} else if ((seed >> 24) % 3 == 1 && waits(index)) {
			hash_queue_remove(queue, &items[index].ticket);
		} else {
			struct hash_ticket *ticket = hash_queue_pop(queue);
			if (ticket == NULL) {
				for (unsigned i = 0; i < ITEMS; i++)
					assert_false(waits(i));
				continue;
			}
			unsigned got = (unsigned)((struct item *)(void *)ticket - items);
			for (unsigned i = 0; i < ITEMS; i++)
				assert_false(waits(i) && items[i].class == items[got].class &&
					     items[i].owner == items[got].owner &&
					     items[i].network == items[got].network &&
					     pushed[i] < pushed[got]);
		}
	}
	while (hash_queue_pop(queue) != NULL)
		;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_empty_queue_gives_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_networks_take_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_proxies_take_turns_before_networks, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_known_go_first_but_not_for_ever, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_quiet_time_is_no_run, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_strangers_leave_room_for_the_known, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_removed_has_no_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_use, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
