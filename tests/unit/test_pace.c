/* SPDX-License-Identifier: ISC */
/* How long the slowest kind of hash in use takes. */
#include "auth/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_the_slowest_kind_in_use_sets_the_pace(void **state)
{
	const struct password_cost big = {64 << 20, 2}, small = {19 << 20, 2}, tiny = {1, 1};
	struct pace pace = {0};

	(void)state;
	assert_int_equal(pace_slowest_us(&pace, 0), 0);
	for (int i = 0; i < 50; i++) {
		pace_hash(&pace, PASSWORD_ARGON2ID, &big, 80000, 1000);
		pace_hash(&pace, PASSWORD_ARGON2ID, &small, 20000, 2000);
	}
	assert_in_range(pace_slowest_us(&pace, 2000), 79000, 81000);
	/* The slow kind was not seen for ten minutes: nobody has it any more. */
	assert_in_range(pace_slowest_us(&pace, 1000 + PACE_MEMORY_MS), 19000, 21000);
	pace_hash(&pace, PASSWORD_ARGON2ID, &tiny, UINT64_MAX, 3000);
	assert_int_equal(pace_slowest_us(&pace, 3000), PACE_WALL_MAX_US);
	/* Any number of quick kinds push no slow one out; when it is out of use, they count. */
	for (unsigned kind = 0; kind < 3 * PACE_KINDS_MAX; kind++) {
		const struct password_cost other = {1 << 20, kind};
		pace_hash(&pace, PASSWORD_ARGON2ID, &other, 5000, 4000 + kind);
	}
	assert_int_equal(pace_slowest_us(&pace, 5000), PACE_WALL_MAX_US);
	assert_int_equal(
		pace_slowest_us(&pace, 3000 + PACE_MEMORY_MS), 5000 + PACE_DEVIATIONS * 5000 / 4);
}

/* Whatever exceeded the pace would show in the time of its own kind alone. */
static void test_hardly_a_hash_exceeds_the_pace(void **state)
{
	const struct password_cost cost = {64 << 20, 2};
	struct pace pace = {0};
	uint64_t number = 1;
	int beyond = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		number = number * 6364136223846793005u + 1442695040888963407u;
		uint64_t wall_us = 60000 + (number >> 33) % 40000;
		if (i >= 100 && wall_us > pace_slowest_us(&pace, 1000))
			beyond++;
		pace_hash(&pace, PASSWORD_ARGON2ID, &cost, wall_us, 1000);
	}
	assert_int_equal(beyond, 0);
	assert_in_range(pace_slowest_us(&pace, 1000), 100000, 160000);
}

static void test_schemes_of_the_same_numbers_are_kinds_of_their_own(void **state)
{
	const struct password_cost cost = {0, 12};
	struct pace pace = {0};

	(void)state;
	for (uint64_t at = 0; at < 50; at++) {
		pace_hash(&pace, PASSWORD_BCRYPT, &cost, 200000, at);
		pace_hash(&pace, PASSWORD_SSHA, &cost, 1, at);
	}
	assert_in_range(pace_slowest_us(&pace, 100), 199000, 201000);
}

static void test_the_dummy_is_in_use_from_the_first_log_in_on(void **state)
{
	const struct password_cost cost = {64 << 20, 2}, cheap = {0, 1};
	struct pace pace = {0};

	(void)state;
	pace_expect(&pace, &cost);
	assert_in_range(pace_slowest_us(&pace, 0), 40000, 160000);
	pace_hash(&pace, PASSWORD_ARGON2ID, &cost, 300000, 10); /* as it is here */
	assert_int_equal(pace_slowest_us(&pace, 10), 300000 + PACE_DEVIATIONS * 300000 / 4);
	for (uint64_t at = 0; at < 3 * PACE_KINDS_MAX; at++) {
		const struct password_cost other = {1 << 20, (unsigned)at};
		pace_hash(&pace, PASSWORD_ARGON2ID, &other, 5000, at + 11);
		pace_hash(&pace, PASSWORD_SSHA, &cheap, 1, at + 11);
	}
	assert_int_equal(pace_slowest_us(&pace, 100 * PACE_MEMORY_MS),
		300000 + PACE_DEVIATIONS * 300000 / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_slowest_kind_in_use_sets_the_pace),
		cmocka_unit_test(test_hardly_a_hash_exceeds_the_pace),
		cmocka_unit_test(test_schemes_of_the_same_numbers_are_kinds_of_their_own),
		cmocka_unit_test(test_the_dummy_is_in_use_from_the_first_log_in_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
