/* SPDX-License-Identifier: ISC */
/* The credential cache: trust, one look-up a number, changes that overtake it, bounds. */
#include "auth/credential_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 64, ONE = 11, TWO = 22, NOW = 1000000 };

/* The database of these tests: remembers what was asked. */
static struct {
	size_t asked;
	bool refuses;
	uint64_t ticket[MANY]; /* of the last one of a number */
} lookups;

/* Who waited: what came. */
static struct {
	size_t count;
	uint64_t token[MANY], number[MANY];
	enum row_answer answer[MANY];
	bool enabled[MANY];
} told;

static struct row_cache *cache;

static bool ask(void *arg, uint64_t ticket, const uint8_t *key, size_t key_len)
{
	uint64_t number = credential_cache_key(key, key_len);

	(void)arg;
	assert_int_not_equal(number, 0);
	if (lookups.refuses)
		return false;
	lookups.asked++;
	lookups.ticket[number % MANY] = ticket;
	return true;
}

static void done(
	enum row_answer answer, const struct credential *credential, void *arg, uint64_t token)
{
	(void)arg;
	assert_int_equal(answer == ROW_KNOWN, credential != NULL);
	told.token[told.count] = token;
	told.answer[told.count] = answer;
	told.number[told.count] = credential == NULL ? 0 : credential->number;
	told.enabled[told.count++] = credential != NULL && credential->enabled;
}

static void get(uint64_t number, bool fresh, uint64_t now_ms, uint64_t token)
{
	credential_cache_get(cache, number, fresh, now_ms, done, NULL, token);
}

static void bring(uint64_t number, bool enabled, uint64_t now_ms)
{
	struct credential *row = credential_new(0);

	assert_non_null(row);
	row->number = number;
	row->enabled = enabled;
	credential_cache_answer(cache, lookups.ticket[number % MANY], ROW_KNOWN, row, now_ms);
}

static int setup(void **state)
{
	const struct row_cache_settings settings = {
		.kind = &credential_rows, .entries_max = 4, .bytes_max = 1 << 20, .lookup = ask};

	(void)state;
	memset(&lookups, 0, sizeof lookups);
	memset(&told, 0, sizeof told);
	cache = row_cache_new(&settings);
	return cache == NULL;
}

static int teardown(void **state)
{
	(void)state;
	row_cache_destroy(&cache);
	return cache != NULL;
}

static void test_all_who_ask_share_one_look_up(void **state)
{
	(void)state;
	get(ONE, false, NOW, 1);
	get(ONE, false, NOW, 2);
	assert_int_equal(lookups.asked, 1);
	assert_int_equal(told.count, 0);
	bring(ONE, true, NOW + 5);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.token[0], 1);
	assert_int_equal(told.number[1], ONE);
	get(ONE, false, NOW + 6, 3);
	assert_int_equal(told.count, 3);
	assert_int_equal(lookups.asked, 1);
}

static void test_how_long_each_kind_is_trusted(void **state)
{
	static const struct {
		bool fed, known;
		uint64_t ms;
	} cases[] = {{false, true, ROW_TRUST_MS}, {true, true, ROW_FED_MS},
		{false, false, ROW_UNKNOWN_MS}, {true, false, ROW_UNKNOWN_MS}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint64_t number = 100 + i;
		row_cache_feed(cache, cases[i].fed);
		get(number, false, NOW, 1);
		/* Its age counts from the question. */
		if (cases[i].known)
			bring(number, true, NOW + 500);
		else
			credential_cache_answer(
				cache, lookups.ticket[number % MANY], ROW_UNKNOWN, NULL, NOW + 500);
		size_t asked = lookups.asked;
		get(number, false, NOW + cases[i].ms - 1, 2);
		assert_int_equal(lookups.asked, asked);
		get(number, false, NOW + cases[i].ms, 3);
		if (lookups.asked != asked + 1)
			fail_msg("case %zu: trusted for too long", i);
		credential_cache_answer(
			cache, lookups.ticket[number % MANY], ROW_UNAVAILABLE, NULL, NOW);
	}
}

static void test_a_change_is_seen_at_the_next_question(void **state)
{
	(void)state;
	row_cache_feed(cache, true);
	get(ONE, false, NOW, 1);
	bring(ONE, true, NOW);
	get(TWO, false, NOW, 2);
	bring(TWO, true, NOW);
	row_cache_changed(cache, ONE);
	get(TWO, false, NOW + 1, 3);
	assert_int_equal(told.count, 3);
	get(ONE, false, NOW + 1, 4);
	assert_int_equal(told.count, 3);
	bring(ONE, false, NOW + 2);
	assert_false(told.enabled[3]);
	row_cache_changed_all(cache);
	get(ONE, false, NOW + 3, 5);
	get(TWO, false, NOW + 3, 6);
	assert_int_equal(told.count, 4);
	assert_int_equal(lookups.asked, 5);
}

static void test_a_row_that_a_change_overtook_is_told_but_not_remembered(void **state)
{
	(void)state;
	row_cache_feed(cache, true);
	get(ONE, false, NOW, 1);
	row_cache_changed(cache, ONE);
	get(ONE, false, NOW, 2); /* asked after the change: wants the row after it */
	bring(ONE, true, NOW + 1);
	assert_int_equal(told.count, 1);
	assert_int_equal(lookups.asked, 2);
	bring(ONE, false, NOW + 2);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.token[1], 2);
	assert_false(told.enabled[1]);
	get(ONE, false, NOW + 3, 3);
	assert_int_equal(told.count, 3);
	assert_false(told.enabled[2]);
}

static void test_fresh_waits_for_a_look_up_that_begins_later(void **state)
{
	(void)state;
	get(ONE, false, NOW, 1);
	get(ONE, true, NOW, 2);
	bring(ONE, true, NOW + 1);
	assert_int_equal(told.count, 1);
	bring(ONE, false, NOW + 2);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.token[1], 2);
	get(ONE, true, NOW + 3, 3);
	assert_int_equal(told.count, 2);
	assert_int_equal(lookups.asked, 3);
}

static void test_an_outage_is_told_and_nothing_is_remembered_of_it(void **state)
{
	(void)state;
	lookups.refuses = true;
	get(ONE, false, NOW, 1);
	assert_int_equal(told.answer[0], ROW_UNAVAILABLE);
	assert_int_equal(row_cache_count(cache), 0);
	lookups.refuses = false;
	get(ONE, false, NOW, 2);
	credential_cache_answer(cache, lookups.ticket[ONE % MANY], ROW_UNAVAILABLE, NULL, NOW);
	assert_int_equal(told.answer[1], ROW_UNAVAILABLE);
	assert_int_equal(row_cache_count(cache), 0);
	/* What was known stays known. */
	get(ONE, false, NOW, 3);
	bring(ONE, true, NOW);
	get(ONE, true, NOW, 4);
	credential_cache_answer(cache, lookups.ticket[ONE % MANY], ROW_UNAVAILABLE, NULL, NOW);
	get(ONE, false, NOW + 1, 5);
	assert_int_equal(told.answer[4], ROW_KNOWN);
	/* Those who wait for a second look-up that cannot begin are told too. */
	get(TWO, false, NOW, 6);
	get(TWO, true, NOW, 7);
	lookups.refuses = true;
	bring(TWO, true, NOW);
	assert_int_equal(told.count, 7);
	assert_int_equal(told.answer[5], ROW_KNOWN);
	assert_int_equal(told.answer[6], ROW_UNAVAILABLE);
}

static void test_the_longest_unused_goes_first(void **state)
{
	(void)state;
	for (uint64_t number = 1; number <= 4; number++) {
		get(number, false, NOW, number);
		bring(number, true, NOW);
	}
	get(1, false, NOW, 5);
	get(99, false, NOW, 6); /* in flight: stays, whatever comes */
	assert_int_equal(row_cache_count(cache), 4);
	size_t asked = lookups.asked;
	get(1, false, NOW, 7);
	assert_int_equal(lookups.asked, asked);
	get(2, false, NOW, 8);
	assert_int_equal(lookups.asked, asked + 1);
	for (uint64_t number = 200; number < 210; number++)
		get(number, false, NOW, number);
	bring(99, true, NOW);
	assert_int_equal(told.number[told.count - 1], 99);
}

static void test_an_answer_that_nobody_asked_for(void **state)
{
	(void)state;
	bring(ONE, true, NOW);
	assert_int_equal(row_cache_count(cache), 0);
	get(ONE, false, NOW, 1);
	bring(ONE, true, NOW);
	bring(ONE, false, NOW);
	get(ONE, false, NOW, 2);
	assert_true(told.enabled[1]);
}

static void test_what_is_remembered_for_an_outage(void **state)
{
	(void)state;
	assert_null(credential_cache_remembered(cache, ONE, 60000, NOW));
	get(ONE, false, NOW, 1);
	assert_null(credential_cache_remembered(cache, ONE, 60000, NOW));
	bring(ONE, true, NOW + 5);
	assert_non_null(credential_cache_remembered(cache, ONE, 60000, NOW + 59999));
	assert_null(credential_cache_remembered(cache, ONE, 60000, NOW + 60000));
	assert_null(credential_cache_remembered(cache, TWO, 60000, NOW));
	row_cache_changed(cache, ONE);
	assert_null(credential_cache_remembered(cache, ONE, 60000, NOW + 6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_all_who_ask_share_one_look_up, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_how_long_each_kind_is_trusted, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_change_is_seen_at_the_next_question, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_row_that_a_change_overtook_is_told_but_not_remembered, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_fresh_waits_for_a_look_up_that_begins_later, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_an_outage_is_told_and_nothing_is_remembered_of_it, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_longest_unused_goes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_an_answer_that_nobody_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_is_remembered_for_an_outage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
