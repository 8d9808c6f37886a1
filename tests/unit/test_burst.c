/* SPDX-License-Identifier: ISC */
/* Limits of a minute: in no 60 s more, wherever they begin. */
#include "auth/burst.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ACCOUNT = 7, NOW = 1000000 };

static struct burst *burst;
static struct burst_refusal refusal;

static int setup(void **state)
{
	(void)state;
	burst = burst_new();
	return burst == NULL;
}

static int teardown(void **state)
{
	(void)state;
	burst_destroy(&burst);
	return 0;
}

static enum burst_answer take(int64_t messages, int64_t recipients, uint32_t more, uint64_t now_ms)
{
	const struct account_meters meters = {
		.burst_messages = messages, .burst_recipients = recipients};

	return burst_take(burst, ACCOUNT, &meters, 1, more, now_ms, &refusal);
}

static void test_messages(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(take(3, -1, 100, NOW + 1000 * i), BURST_FITS);
	assert_int_equal(take(3, -1, 1, NOW + 3000), BURST_FULL);
	assert_string_equal(refusal.meter, "messages per minute");
	assert_int_equal(refusal.limit, 3);
	assert_int_equal(refusal.used, 3);
	/* To the millisecond when it says. */
	uint64_t frees = NOW + 3000 + refusal.in_ms;
	assert_in_range(frees, NOW + BURST_WINDOW_MS, NOW + BURST_WINDOW_MS + 2 * BURST_SLOT_MS);
	assert_int_equal(take(3, -1, 1, frees - 1), BURST_FULL);
	assert_int_equal(take(3, -1, 1, frees), BURST_FITS);
}

static void test_recipients(void **state)
{
	(void)state;
	assert_int_equal(take(-1, 10, 6, NOW), BURST_FITS);
	assert_int_equal(take(-1, 10, 5, NOW), BURST_FULL);
	assert_string_equal(refusal.meter, "recipients per minute");
	assert_int_equal(take(-1, 10, 4, NOW), BURST_FITS);
	assert_int_equal(take(-1, 10, 11, NOW), BURST_NEVER);
	assert_int_equal(take(0, -1, 1, NOW), BURST_NEVER);
}

static void test_unlimited_costs_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(take(-1, -1, 1, NOW), BURST_FITS);
	assert_int_equal(burst_count(burst), 0);
}

static void test_in_no_window_more(void **state)
{
	enum { STEPS = 3000, STEP_MS = 130, LIMIT = 17 };
	static uint64_t granted[STEPS];
	size_t count = 0, first = 0;

	(void)state;
	for (uint64_t i = 0; i < STEPS; i++) {
		if (take(LIMIT, -1, 1, NOW + i * STEP_MS) == BURST_FITS)
			granted[count++] = NOW + i * STEP_MS;
	}
	assert_true(count > 5 * LIMIT); /* of six minutes and a half */
	for (size_t last = 0; last < count; last++) {
		while (granted[last] - granted[first] >= BURST_WINDOW_MS)
			first++;
		assert_true(last - first + 1 <= LIMIT);
	}
}

static void test_what_is_given_back_can_be_had_again(void **state)
{
	(void)state;
	assert_int_equal(take(2, -1, 1, NOW), BURST_FITS);
	assert_int_equal(take(2, -1, 1, NOW + 30000), BURST_FITS);
	assert_int_equal(take(2, -1, 1, NOW + 30000), BURST_FULL);
	burst_give_back(burst, ACCOUNT, 1, 1, NOW);
	assert_int_equal(take(2, -1, 1, NOW + 30000), BURST_FITS);
	/* No more than there is, nor of what has left, nor of what never was. */
	burst_give_back(burst, ACCOUNT, 1, 1, NOW);
	burst_give_back(burst, ACCOUNT, 1, 1, NOW - BURST_WINDOW_MS);
	burst_give_back(burst, ACCOUNT, 1, 1, NOW + 90000);
	burst_give_back(burst, ACCOUNT + 1, 1, 1, NOW);
	burst_give_back(burst, ACCOUNT, 1, 1, 0);
	assert_int_equal(take(2, -1, 1, NOW + 30000), BURST_FULL);
}

static void test_accounts_are_bounded_and_forgotten(void **state)
{
	const struct account_meters meters = {.burst_messages = 1, .burst_recipients = -1};

	(void)state;
	for (uint64_t i = 0; i < BURST_ACCOUNTS_MAX; i++)
		assert_int_equal(
			burst_take(burst, 1000 + i, &meters, 1, 1, NOW, &refusal), BURST_FITS);
	/* None that counts is forgotten for another. */
	assert_int_equal(burst_take(burst, 1, &meters, 1, 1, NOW, &refusal), BURST_CROWDED);
	assert_int_equal(burst_take(burst, 1000, &meters, 1, 1, NOW, &refusal), BURST_FULL);
	uint64_t later = NOW + BURST_WINDOW_MS + BURST_SLOT_MS;
	assert_int_equal(burst_take(burst, 1, &meters, 1, 1, later, &refusal), BURST_FITS);
	assert_int_equal(burst_count(burst), 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_messages),
		TEST(test_recipients),
		TEST(test_unlimited_costs_nothing),
		TEST(test_in_no_window_more),
		TEST(test_what_is_given_back_can_be_had_again),
		TEST(test_accounts_are_bounded_and_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
