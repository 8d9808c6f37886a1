/* SPDX-License-Identifier: ISC */
/* Sessions held in the fleet: who begins one, who waits, and what the database is told. */
#include "auth/holds.h"

#include "common/log.h"
#include "tests/unit/database_fixture.h"

#include <fcntl.h>

enum { NOW = 1000000, ACCOUNT = 7, LIMIT = 3 };

static enum holds_answer answers[1000];
static size_t answered;
static struct holds *holds;

static void wake(uint64_t in_ms, void *arg)
{
	(void)in_ms;
	(void)arg;
}

static void done(enum holds_answer how, void *arg, uint64_t token)
{
	(void)arg;
	assert_int_equal(answers[token], 0); /* once */
	answers[token] = how;
	answered++;
}

static int setup(void **state)
{
	const struct take_lane lanes[TAKE_LANES] = {
		{ask, (struct database *)1}, {ask, (struct database *)2}};

	(void)state;
	memset(answers, 0, sizeof answers);
	answered = 0;
	holds = holds_new(lanes, 77, wake, done, NULL);
	return holds == NULL;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < db.count; i++) {
		if (!db.calls[i].answered)
			answer(i, DATABASE_UNKNOWN, NULL);
	}
	holds_destroy(&holds);
	forget_calls();
	return 0;
}

static PGresult *hold_rows(const bool *granted, size_t count)
{
	static const Oid types[] = {INT4, BOOL, INT8};
	PGresult *rows = rows_of(3, types);

	for (int i = 0; i < (int)count; i++) {
		put_number(rows, i, 0, i + 1);
		put_number(rows, i, 1, granted[i]);
		put_number(rows, i, 2, LIMIT);
	}
	return rows;
}

static void say(size_t call, bool granted)
{
	answer(call, DATABASE_ROWS, hold_rows(&granted, 1));
}

static void begin(uint64_t token, uint64_t now_ms)
{
	holds_ask(holds, ACCOUNT, LIMIT, token, now_ms);
}

/* So many sessions that the database holds. */
static void hold(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		begin(900 + i, NOW);
	holds_tick(holds, NOW);
	say(0, true);
	assert_int_equal(holds_count(holds, ACCOUNT), count);
}

static void test_without_a_limit_nobody_is_asked(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 10; i++) {
		holds_ask(holds, ACCOUNT, ACCOUNT_UNLIMITED, i, NOW);
		assert_int_equal(answers[i], HOLDS_GRANTED);
	}
	holds_tick(holds, NOW + HOLDS_RENEW_MS);
	assert_int_equal(db.count, 0);
	for (uint64_t i = 0; i < 10; i++)
		holds_end(holds, ACCOUNT);
	assert_int_equal(holds_accounts(holds), 0);
}

static void test_those_that_come_together_are_asked_for_together(void **state)
{
	(void)state;
	begin(1, NOW);
	begin(2, NOW);
	holds_tick(holds, NOW);
	assert_int_equal(db.count, 1);
	assert_string_equal(db.calls[0].values[1], "{7}");
	assert_string_equal(db.calls[0].values[2], "{2}");
	begin(3, NOW);
	holds_tick(holds, NOW); /* one call an account */
	assert_int_equal(db.count, 1);
	say(0, true);
	assert_int_equal(answered, 2);
	holds_tick(holds, NOW);
	assert_string_equal(db.calls[1].values[2], "{3}");
	say(1, false);
	assert_int_equal(answers[3], HOLDS_REFUSED);
	assert_int_equal(holds_count(holds, ACCOUNT), 2);
}

static void test_too_many_together_are_asked_for_one_by_one(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 4; i++)
		begin(i, NOW);
	holds_tick(holds, NOW);
	say(0, false);
	assert_int_equal(answered, 0);
	holds_tick(holds, NOW);
	assert_string_equal(db.calls[1].values[2], "{1}");
	say(1, true);
	assert_int_equal(answers[1], HOLDS_GRANTED);
	holds_tick(holds, NOW);
	assert_string_equal(db.calls[2].values[2], "{4}");
	say(2, false);
	holds_tick(holds, NOW);
	assert_string_equal(db.calls[3].values[2], "{2}");
	say(3, false);
	assert_int_equal(answered, 4); /* there is no room for any of them */
	assert_int_equal(holds_count(holds, ACCOUNT), 1);
}

static void test_an_end_is_told_and_makes_room_at_once(void **state)
{
	(void)state;
	hold(3);
	holds_end(holds, ACCOUNT);
	begin(1, NOW + 1); /* before it is told */
	assert_int_equal(answers[1], HOLDS_GRANTED);
	holds_end(holds, ACCOUNT);
	holds_tick(holds, NOW + 2);
	assert_string_equal(db.calls[1].values[2], "{2}");
	say(1, true);
	holds_end(holds, ACCOUNT);
	holds_end(holds, ACCOUNT);
	holds_tick(holds, NOW + 3);
	assert_string_equal(db.calls[2].values[2], "{0}");
	say(2, true);
	assert_int_equal(holds_accounts(holds), 0);
}

static void test_renewals(void **state)
{
	(void)state;
	hold(2);
	holds_tick(holds, NOW + HOLDS_RENEW_MS - 1);
	assert_int_equal(db.count, 1);
	holds_tick(holds, NOW + HOLDS_RENEW_MS);
	assert_string_equal(db.calls[1].values[2], "{2}");
	say(1, true);
	holds_tick(holds, NOW + 2 * HOLDS_RENEW_MS - 1);
	assert_int_equal(db.count, 2);
	holds_tick(holds, NOW + 2 * HOLDS_RENEW_MS);
	assert_int_equal(db.count, 3);
}

static const enum database_result failures[] = {
	DATABASE_FAILED, DATABASE_UNAVAILABLE, DATABASE_UNKNOWN};

static void test_trouble_is_no_refusal(void **state)
{
	(void)state;
	hold(1);
	for (size_t i = 0; i < 3; i++) {
		uint64_t at = NOW + 10000 * (i + 1);
		begin(1 + i, at);
		holds_tick(holds, at);
		answer(db.count - 1, failures[i], NULL);
		assert_int_equal(answers[1 + i], HOLDS_UNAVAILABLE);
		assert_int_equal(holds_count(holds, ACCOUNT), 1);
		size_t calls = db.count;
		holds_tick(holds, at + HOLDS_RETRY_MS);
		/* Perhaps two are held: it is told that there is one. */
		assert_int_equal(db.count, failures[i] == DATABASE_UNAVAILABLE ? calls : calls + 1);
		if (db.count > calls) {
			assert_string_equal(db.calls[calls].values[2], "{1}");
			say(calls, true);
		}
	}
}

static void test_without_the_database_as_many_as_it_holds(void **state)
{
	(void)state;
	hold(2);
	db.away = true;
	holds_end(holds, ACCOUNT);
	holds_tick(holds, NOW + 1000);
	begin(1, NOW + HOLDS_TRUST_MS - 1);
	assert_int_equal(answers[1], HOLDS_GRANTED);
	begin(2, NOW + HOLDS_TRUST_MS - 1);
	holds_tick(holds, NOW + HOLDS_TRUST_MS - 1);
	assert_int_equal(answers[2], HOLDS_UNAVAILABLE);
	holds_end(holds, ACCOUNT);
	begin(3, NOW + HOLDS_TRUST_MS); /* others may have it by now */
	holds_tick(holds, NOW + HOLDS_TRUST_MS);
	assert_int_equal(answers[3], HOLDS_UNAVAILABLE);
}

static void test_sessions_that_are_there_are_counted_and_never_ended(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		assert_true(holds_add(holds, ACCOUNT));
	holds_tick(holds, NOW);
	assert_int_equal(db.count, 0); /* no limit is known */
	holds_limit(holds, ACCOUNT, LIMIT);
	holds_tick(holds, NOW);
	assert_string_equal(db.calls[0].values[2], "{5}");
	say(0, false);
	holds_tick(holds, NOW + HOLDS_RETRY_MS - 1);
	assert_int_equal(db.count, 1);
	holds_tick(holds, NOW + HOLDS_RETRY_MS);
	assert_int_equal(db.count, 2);
	say(1, false);
	assert_int_equal(holds_count(holds, ACCOUNT), 5);
	holds_limit(holds, ACCOUNT, ACCOUNT_UNLIMITED);
	holds_tick(holds, NOW + 10000);
	assert_true(db.count <= 3);
}

static void test_accounts_share_a_call(void **state)
{
	bool granted[HOLDS_BATCH_MAX];

	(void)state;
	for (uint64_t i = 0; i < HOLDS_BATCH_MAX + 6; i++)
		holds_ask(holds, 100 + i, LIMIT, i, NOW);
	holds_tick(holds, NOW);
	assert_int_equal(db.count, 2);
	for (size_t i = 0; i < HOLDS_BATCH_MAX; i++)
		granted[i] = i % 2 == 0;
	answer(0, DATABASE_ROWS, hold_rows(granted, HOLDS_BATCH_MAX));
	assert_int_equal(answers[0], HOLDS_GRANTED);
	assert_int_equal(answers[1], HOLDS_REFUSED);
	answer(1, DATABASE_ROWS, hold_rows(granted, 5)); /* one is missing */
	for (size_t i = HOLDS_BATCH_MAX; i < HOLDS_BATCH_MAX + 6; i++)
		assert_int_equal(answers[i], HOLDS_UNAVAILABLE);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_without_a_limit_nobody_is_asked),
		TEST(test_those_that_come_together_are_asked_for_together),
		TEST(test_too_many_together_are_asked_for_one_by_one),
		TEST(test_an_end_is_told_and_makes_room_at_once),
		TEST(test_renewals),
		TEST(test_trouble_is_no_refusal),
		TEST(test_without_the_database_as_many_as_it_holds),
		TEST(test_sessions_that_are_there_are_counted_and_never_ended),
		TEST(test_accounts_share_a_call),
	};

	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
