/* SPDX-License-Identifier: ISC */
/* Turns at handshakes: how many a turn of the loop, in which order, and who leaves meanwhile. */
#include "proxy/handshake_line.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 2000 };

static struct event_base *base; /* one a process */
static struct handshake_place places[MANY];
static int order[MANY];
static int gone;

/* The line's own timer is left to run out, so that each test begins with a new turn. */
static int set_up(void **state)
{
	(void)state;
	event_base_loop(base, 0);
	memset(places, 0, sizeof places);
	gone = 0;
	return 0;
}

static void go(struct handshake_place *place)
{
	assert_false(place->waiting);
	assert_in_range(gone, 0, MANY - 1);
	order[gone++] = (int)(place - places);
}

static int ask(int from, int count)
{
	int now = 0;

	for (int i = from; i < from + count; i++)
		now += handshake_line_ask(base, &places[i], go);
	return now;
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_ONCE);
}

static void test_so_many_a_turn_and_the_others_in_the_order_they_came(void **state)
{
	(void)state;
	assert_int_equal(ask(0, 20), HANDSHAKE_STEPS_A_TURN);
	for (int i = 0; i < 20; i++)
		assert_int_equal(places[i].waiting, i >= HANDSHAKE_STEPS_A_TURN);
	turn();
	assert_int_equal(gone, HANDSHAKE_STEPS_A_TURN);
	turn();
	assert_int_equal(gone, 20 - HANDSHAKE_STEPS_A_TURN);
	for (int i = 0; i < gone; i++)
		assert_int_equal(order[i], HANDSHAKE_STEPS_A_TURN + i);
}

static void test_nobody_goes_before_those_who_wait(void **state)
{
	(void)state;
	assert_int_equal(ask(0, 17), 8);
	turn(); /* one waits, with no step left in this turn */
	assert_int_equal(ask(17, 1), 0);
	turn();
	assert_int_equal(gone, 10);
	assert_int_equal(order[8], 16);
	assert_int_equal(order[9], 17);
	assert_int_equal(ask(18, 8), 6); /* two of this turn's steps are taken */
}

/* A clock that stands still for 4 ms must not make one turn of the many that fit in. */
static void test_two_thousand_need_no_more_turns_than_they_fill(void **state)
{
	int turns = 0;

	(void)state;
	assert_int_equal(ask(0, MANY), HANDSHAKE_STEPS_A_TURN);
	while (gone < MANY - HANDSHAKE_STEPS_A_TURN && turns < MANY) {
		turn();
		turns++;
	}
	assert_int_equal(gone, MANY - HANDSHAKE_STEPS_A_TURN);
	assert_int_equal(turns, MANY / HANDSHAKE_STEPS_A_TURN - 1);
}

static void test_who_has_left_is_not_called(void **state)
{
	(void)state;
	assert_int_equal(ask(0, 12), 8);
	handshake_line_leave(&places[0]); /* does not wait */
	handshake_line_leave(&places[9]);
	handshake_line_leave(&places[11]);
	handshake_line_leave(&places[11]);
	turn();
	assert_int_equal(gone, 2);
	assert_int_equal(order[0], 8);
	assert_int_equal(order[1], 10);
}

/* One that is served ends another, and asks for the next step itself. */
static void go_and_end_others(struct handshake_place *place)
{
	go(place);
	handshake_line_leave(&places[11]);
	handshake_line_leave(&places[12]);
	(void)!handshake_line_ask(base, place, go);
}

static void test_one_that_is_served_may_end_others_and_come_again(void **state)
{
	(void)state;
	assert_int_equal(ask(0, 10), 8);
	assert_false(handshake_line_ask(base, &places[10], go_and_end_others));
	assert_int_equal(ask(11, 3), 0);
	turn();
	turn();
	const int want[] = {8, 9, 10, 13, 10};
	assert_int_equal(gone, (int)(sizeof want / sizeof want[0]));
	assert_memory_equal(order, want, sizeof want);
}

static void test_an_idle_line_keeps_no_loop_awake(void **state)
{
	(void)state;
	assert_int_equal(ask(0, 3), 3);
	turn();
	assert_int_equal(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			test_so_many_a_turn_and_the_others_in_the_order_they_came, set_up),
		cmocka_unit_test_setup(test_nobody_goes_before_those_who_wait, set_up),
		cmocka_unit_test_setup(test_two_thousand_need_no_more_turns_than_they_fill, set_up),
		cmocka_unit_test_setup(test_who_has_left_is_not_called, set_up),
		cmocka_unit_test_setup(
			test_one_that_is_served_may_end_others_and_come_again, set_up),
		cmocka_unit_test_setup(test_an_idle_line_keeps_no_loop_awake, set_up),
	};

	base = event_base_new();
	if (base == NULL)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	event_base_free(base);
	return failed;
}
