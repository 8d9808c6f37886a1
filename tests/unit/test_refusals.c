/* SPDX-License-Identifier: ISC */
/* Refusals for the books: batches that PostgreSQL can read, in bounded memory, losses counted. */
#include "auth/refusals.h"

#include "common/counters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
	size_t count;
	bool refuses;
	char texts[REFUSALS_COLUMNS][64 * 1024];
} written;

static struct counters page;
static struct refusals *refusals;

static bool write_batch(char *const texts[REFUSALS_COLUMNS], void *arg)
{
	(void)arg;
	if (written.refuses)
		return false;
	written.count++;
	for (size_t i = 0; i < REFUSALS_COLUMNS; i++)
		snprintf(written.texts[i], sizeof written.texts[i], "%s", texts[i]);
	return true;
}

static struct refusal refusal_of(uint64_t tid, const char *sender)
{
	struct refusal refusal = {
		.rule = REFUSAL_SENDER,
		.tid = tid,
		.sid = 7,
		.account = 11,
		.at_ms = 1800000000123,
		.code = 550,
		.has_sender = sender != NULL,
		.client = {{[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 7}},
	};

	if (sender != NULL) {
		refusal.sender_len = (uint16_t)strlen(sender);
		memcpy(refusal.sender, sender, strlen(sender));
	}
	return refusal;
}

static void note_many(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct refusal refusal = refusal_of(i + 1, "a@example.test");
		refusals_note(refusals, &refusal);
	}
}

static uint64_t dropped(void)
{
	return counter_read(&page, COUNTER_REFUSALS_DROPPED);
}

static int setup(void **state)
{
	(void)state;
	memset(&written, 0, sizeof written);
	memset(&page, 0, sizeof page);
	counters_own(&page);
	refusals = refusals_new(write_batch, NULL);
	return refusals == NULL;
}

static int teardown(void **state)
{
	(void)state;
	refusals_destroy(&refusals);
	return refusals != NULL;
}

static void test_a_refused_sender_and_a_meter_in_one_batch(void **state)
{
	struct refusal meter = refusal_of(2, NULL);
	const struct refusal sender = refusal_of(1, "mallory@example.test");

	(void)state;
	meter.rule = REFUSAL_METER;
	meter.code = 450;
	meter.credential = 99;
	meter.limit = 500;
	meter.used = 498;
	meter.used_known = true;
	meter.reset_s = 1800000060;
	meter.meter_len = (uint8_t)strlen("messages per hour");
	memcpy(meter.meter, "messages per hour", meter.meter_len);
	refusals_tick(refusals);
	assert_int_equal(written.count, 0);
	refusals_note(refusals, &sender);
	refusals_note(refusals, &meter);
	assert_int_equal(written.count, 0);
	refusals_tick(refusals);
	assert_int_equal(written.count, 1);
	assert_int_equal(refusals_count(refusals), 0);
	static const char *const want[REFUSALS_COLUMNS] = {
		[REFUSALS_TID] = "{1,2}",
		[REFUSALS_SID] = "{7,7}",
		[REFUSALS_AT] = "{1800000000123,1800000000123}",
		[REFUSALS_ACCOUNT] = "{11,11}",
		[REFUSALS_CREDENTIAL] = "{0,99}",
		[REFUSALS_SENDER] = "{\"mallory@example.test\",NULL}",
		[REFUSALS_CLIENT] = "{\"192.0.2.7\",\"192.0.2.7\"}",
		[REFUSALS_RULE] = "{sender,meter}",
		[REFUSALS_CODE] = "{550,450}",
		[REFUSALS_METER] = "{\"\",\"messages per hour\"}",
		[REFUSALS_LIMIT] = "{0,500}",
		[REFUSALS_USED] = "{NULL,498}",
		[REFUSALS_RESET] = "{0,1800000060}",
	};
	for (size_t i = 0; i < REFUSALS_COLUMNS; i++)
		assert_string_equal(written.texts[i], want[i]);
}

static void test_what_the_database_would_not_take_does_not_cost_the_batch(void **state)
{
	static const struct {
		const char *sender, *want;
	} cases[] = {
		{"", "{\"\"}"},
		{"\"a b\\\"@example.test", "{\"\\\"a b\\\\\\\"@example.test\"}"},
		{"{a,NULL}", "{\"{a,NULL}\"}"},
		{"a\x01\x7f@b", "{\"a??@b\"}"},
		{"j\xc3\xb6rg@example.test", "{\"j\xc3\xb6rg@example.test\"}"},
		{"j\xf6rg@example.test", "{\"j?rg@example.test\"}"},
		{"a\xed\xa0\x80@b", "{\"a???@b\"}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct refusal refusal = refusal_of(1, cases[i].sender);
		refusals_note(refusals, &refusal);
		refusals_tick(refusals);
		assert_string_equal(written.texts[REFUSALS_SENDER], cases[i].want);
		refusals_written(refusals, true);
	}
	struct refusal nul = refusal_of(1, "a_b");
	nul.sender[1] = '\0';
	refusals_note(refusals, &nul);
	refusals_tick(refusals);
	assert_string_equal(written.texts[REFUSALS_SENDER], "{\"a?b\"}");
	assert_int_equal(dropped(), 0);
}

static void test_a_whole_batch_does_not_wait(void **state)
{
	(void)state;
	note_many(REFUSALS_BATCH_MAX - 1);
	assert_int_equal(written.count, 0);
	note_many(1);
	assert_int_equal(written.count, 1);
	assert_int_equal(refusals_count(refusals), 0);
}

static void test_one_write_at_a_time(void **state)
{
	(void)state;
	note_many(REFUSALS_BATCH_MAX + 3);
	refusals_tick(refusals);
	assert_int_equal(written.count, 1);
	refusals_written(refusals, true);
	refusals_tick(refusals);
	assert_int_equal(written.count, 2);
	assert_string_equal(written.texts[REFUSALS_TID], "{501,502,503}");
	refusals_written(refusals, true);
	refusals_tick(refusals);
	assert_int_equal(written.count, 2);
	assert_int_equal(dropped(), 0);
}

static void test_while_the_database_is_away_the_first_are_kept(void **state)
{
	(void)state;
	written.refuses = true;
	note_many(REFUSALS_MAX + 100);
	assert_int_equal(refusals_count(refusals), REFUSALS_MAX);
	assert_int_equal(dropped(), 100);
	refusals_tick(refusals);
	assert_int_equal(refusals_count(refusals), REFUSALS_MAX);
	written.refuses = false;
	for (size_t left = REFUSALS_MAX; left > 0; left = refusals_count(refusals)) {
		refusals_tick(refusals);
		assert_true(refusals_count(refusals) < left);
		if (left == REFUSALS_MAX)
			assert_memory_equal(written.texts[REFUSALS_TID], "{1,2,3,", 7);
		refusals_written(refusals, true);
	}
	assert_int_equal(dropped(), 100);
	/* The ring has turned: what comes now begins behind what was. */
	note_many(2);
	refusals_tick(refusals);
	assert_string_equal(written.texts[REFUSALS_TID], "{1,2}");
}

static void test_a_write_that_fails_is_counted_and_not_repeated(void **state)
{
	(void)state;
	note_many(5);
	refusals_tick(refusals);
	refusals_written(refusals, false);
	assert_int_equal(dropped(), 5);
	refusals_tick(refusals);
	assert_int_equal(written.count, 1);
}

static void test_every_rule_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int rule = REFUSAL_SENDER; rule <= REFUSAL_GRACE; rule++) {
		assert_true(strlen(refusal_rule_name((enum refusal_rule)rule)) > 0);
		for (int other = REFUSAL_SENDER; other < rule; other++)
			assert_string_not_equal(refusal_rule_name((enum refusal_rule)rule),
				refusal_rule_name((enum refusal_rule)other));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_a_refused_sender_and_a_meter_in_one_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_the_database_would_not_take_does_not_cost_the_batch, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_a_whole_batch_does_not_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_write_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_while_the_database_is_away_the_first_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_write_that_fails_is_counted_and_not_repeated, setup, teardown),
		cmocka_unit_test(test_every_rule_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
