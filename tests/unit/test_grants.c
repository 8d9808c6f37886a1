/* SPDX-License-Identifier: ISC */
/* The grants of the last minute: charged anew when another server took over, and what came back
 * not. */
#include "auth/grants.h"

#include "common/log.h"
#include "tests/unit/database_fixture.h"

#include <fcntl.h>

enum { NOW = 100000, NODE = 77 };

static struct grants *grants;

static void wake(uint64_t in_ms, void *arg)
{
	(void)in_ms;
	(void)arg;
}

static int setup(void **state)
{
	const struct take_lane lanes[TAKE_LANES] = {{ask, NULL}, {ask, NULL}};

	(void)state;
	grants = grants_new(lanes, NODE, wake, NULL);
	return grants == NULL;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < db.count; i++) {
		if (!db.calls[i].answered)
			answer(i, DATABASE_UNKNOWN, NULL);
	}
	grants_destroy(&grants);
	forget_calls();
	return 0;
}

static void put(uint64_t key, uint64_t seq, uint64_t at_ms)
{
	const struct charge charge = {.seq = seq,
		.account = 7,
		.credential = 3,
		.messages = 1,
		.recipients = 2,
		.bytes = 100,
		.receipt = "receipt",
		.domain = "example.org"};

	grants_put(grants, key, &charge, at_ms);
}

static void test_nothing_is_charged_without_a_reason(void **state)
{
	(void)state;
	put(1, 10, NOW);
	grants_tick(grants, NOW + 1000);
	assert_int_equal(db.count, 0);
	assert_true(grants_idle(grants));
}

static void test_all_of_the_last_minute(void **state)
{
	(void)state;
	put(1, 10, NOW - GRANTS_MEMORY_MS);
	put(2, 11, NOW - GRANTS_MEMORY_MS + 1);
	put(3, 12, NOW);
	grants_tick(grants, NOW);
	assert_int_equal(grants_count(grants), 2);
	grants_reassert(grants);
	assert_false(grants_idle(grants));
	grants_tick(grants, NOW);
	static const char *const want[] = {"77", "{11,12}", "{\"receipt\",\"receipt\"}", "{7,7}",
		"{3,3}", "{\"example.org\",\"example.org\"}", "{1,1}", "{2,2}", "{100,100}"};
	assert_int_equal(db.calls[0].query, QUERY_CHARGES);
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_string_equal(db.calls[0].values[i], want[i]);
	answer(0, DATABASE_ROWS, count_rows(1));
	assert_true(grants_idle(grants));
	assert_int_equal(grants_count(grants), 0);
}

static void test_what_was_given_back_is_left_out(void **state)
{
	(void)state;
	put(1, 10, NOW);
	put(2, 10, NOW);
	put(3, 11, NOW);
	grants_less(grants, 1, 1, 2, 100);
	grants_less(grants, 3, 0, 1, 50);
	grants_less(grants, 9, 1, 1, 1); /* never heard of */
	grants_reassert(grants);
	grants_less(grants, 2, 1, 2, 100); /* the new server's */
	grants_tick(grants, NOW);
	assert_string_equal(db.calls[0].values[1], "{10,11}");
	assert_string_equal(db.calls[0].values[6], "{1,1}");
	assert_string_equal(db.calls[0].values[7], "{2,1}");
	assert_string_equal(db.calls[0].values[8], "{100,50}");
}

static void test_no_less_than_nothing(void **state)
{
	(void)state;
	put(1, 10, NOW);
	grants_less(grants, 1, 5, 5, 500);
	grants_less(grants, 1, 5, 5, 500);
	grants_reassert(grants);
	grants_tick(grants, NOW);
	assert_int_equal(db.count, 0);
	assert_true(grants_idle(grants));
}

static void test_a_lost_call_is_repeated_as_it_was(void **state)
{
	(void)state;
	put(1, 10, NOW);
	grants_reassert(grants);
	grants_tick(grants, NOW);
	answer(0, DATABASE_UNKNOWN, NULL);
	grants_tick(grants, NOW + GRANTS_RETRY_MS - 1);
	assert_int_equal(db.count, 1);
	db.away = true;
	grants_tick(grants, NOW + GRANTS_RETRY_MS);
	db.away = false;
	/* However long that lasts: they are older than a minute now. */
	grants_tick(grants, NOW + 10 * GRANTS_MEMORY_MS);
	assert_int_equal(db.count, 2);
	assert_string_equal(db.calls[1].values[1], "{10}");
	grants_reassert(grants); /* one more server */
	answer(1, DATABASE_ROWS, count_rows(1));
	assert_true(grants_idle(grants));
}

static void test_all_of_one_call_go_in_one(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 250; i++)
		put(i, i, NOW);
	for (uint64_t i = 0; i < 64; i++)
		put(1000 + i, 1000, NOW);
	put(2000, 2000, NOW);
	grants_reassert(grants);
	grants_tick(grants, NOW);
	assert_null(strstr(db.calls[0].values[1], "2000"));
	answer(0, DATABASE_ROWS, count_rows(314));
	grants_tick(grants, NOW);
	assert_string_equal(db.calls[1].values[1], "{2000}");
}

static void test_memory_is_bounded(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 400000; i++)
		put(1 + i, i, NOW);
	assert_in_range(grants_count(grants), 100000, GRANTS_BYTES_MAX / 100);
	grants_tick(grants, NOW + GRANTS_MEMORY_MS);
	assert_int_equal(grants_count(grants), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_is_charged_without_a_reason),
		TEST(test_all_of_the_last_minute),
		TEST(test_what_was_given_back_is_left_out),
		TEST(test_no_less_than_nothing),
		TEST(test_a_lost_call_is_repeated_as_it_was),
		TEST(test_all_of_one_call_go_in_one),
		TEST(test_memory_is_bounded),
	};

	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
