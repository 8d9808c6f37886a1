/* SPDX-License-Identifier: ISC */
/* Give-backs in one call: all receipts of a take together, each told once how it ended. */
#include "auth/return_batch.h"

#include "tests/unit/database_fixture.h"

enum { SEEN_MAX = 1000 };

static struct {
	uint64_t token;
	enum transaction_returned returned;
} seen[SEEN_MAX];
static size_t seen_count, woken;
static struct return_batch *batch;

static void wake(uint64_t in_ms, void *arg)
{
	(void)arg;
	assert_int_equal(in_ms, 0);
	woken++;
}

static void done(enum transaction_returned returned, void *arg, uint64_t token)
{
	(void)arg;
	assert_true(seen_count < SEEN_MAX);
	seen[seen_count].token = token;
	seen[seen_count++].returned = returned;
}

static int setup(void **state)
{
	const struct return_batch_settings settings = {
		.lanes = {{ask, (struct database *)1}, {ask, (struct database *)2}},
		.wake = wake,
		.done = done,
	};

	(void)state;
	seen_count = woken = 0;
	batch = return_batch_new(&settings);
	return batch == NULL;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < db.count; i++) {
		if (!db.calls[i].answered)
			answer(i, DATABASE_UNKNOWN, NULL);
	}
	return_batch_destroy(&batch);
	forget_calls();
	return 0;
}

static const struct take_grant first = {
	.messages = 1, .recipients = 2, .bytes = 500, .receipt_len = 5, .receipt = "first"};
static const struct take_grant octets = {.bytes = 900, .receipt_len = 4, .receipt = "more"};

static void add(uint64_t token)
{
	const struct take take = {.token = token, .grants = {first}};

	assert_true(return_batch_add(batch, &take));
}

static void test_what_is_sent(void **state)
{
	static const uint64_t hashes[] = {3, UINT64_MAX};
	struct take take = {.token = 1, .grants = {first, octets}};

	(void)state;
	assert_true(recipients_add(&take.whom, hashes, 2, 2));
	assert_true(return_batch_add(batch, &take));
	recipients_unref(&take.whom);
	add(2);
	assert_int_equal(db.count, 0);
	return_batch_tick(batch);
	static const char *const want[] = {"{\"first\",\"more\",\"first\"}", "{1,0,1}", "{2,0,2}",
		"{500,900,500}", "{2,0,0}", "{3,-1}"};
	assert_int_equal(db.calls[0].query, QUERY_TAKES_GIVE_BACK);
	assert_ptr_equal(db.calls[0].database, (void *)2);
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_string_equal(db.calls[0].values[i], want[i]);
	answer(0, DATABASE_ROWS, returned_rows(3));
	assert_int_equal(seen_count, 2);
	assert_int_equal(seen[0].token, 1);
	assert_int_equal(seen[1].returned, TRANSACTION_RETURNED);
}

static void test_only_what_has_a_receipt(void **state)
{
	const struct take take = {.token = 1, .grants = {{.messages = 1}, octets}};

	(void)state;
	assert_true(return_batch_add(batch, &take));
	return_batch_tick(batch);
	assert_string_equal(db.calls[0].values[0], "{\"more\"}");
}

static void test_how_a_call_ends(void **state)
{
	static const struct {
		enum database_result result;
		enum transaction_returned want;
	} ends[] = {{DATABASE_FAILED, TRANSACTION_NOT_RETURNED},
		{DATABASE_UNAVAILABLE, TRANSACTION_NOT_RETURNED},
		{DATABASE_UNKNOWN, TRANSACTION_UNCERTAIN}, {DATABASE_ROWS, TRANSACTION_UNCERTAIN}};

	(void)state;
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		add(i);
		return_batch_tick(batch);
		answer(i, ends[i].result,
			ends[i].result == DATABASE_ROWS ? returned_rows(2) : NULL);
		assert_int_equal(seen_count, i + 1);
		assert_int_equal(seen[i].returned, ends[i].want);
	}
	db.away = true;
	add(9);
	return_batch_tick(batch);
	assert_int_equal(seen[4].returned, TRANSACTION_NOT_RETURNED);
	assert_true(return_batch_idle(batch));
}

static void test_one_call_at_a_time(void **state)
{
	(void)state;
	add(1);
	return_batch_tick(batch);
	for (uint64_t i = 0; i < RETURN_BATCH_MAX + 3; i++)
		add(2 + i);
	assert_int_equal(woken, 1);
	return_batch_tick(batch);
	assert_int_equal(db.count, 1);
	answer(0, DATABASE_ROWS, returned_rows(1));
	assert_int_equal(woken, 2);
	return_batch_tick(batch);
	answer(1, DATABASE_ROWS, returned_rows(RETURN_BATCH_MAX));
	return_batch_tick(batch);
	answer(2, DATABASE_ROWS, returned_rows(3));
	assert_int_equal(seen_count, RETURN_BATCH_MAX + 4);
	assert_true(return_batch_idle(batch));
}

static void test_those_that_wait_are_bounded_and_freed(void **state)
{
	const struct take take = {.grants = {first}};

	(void)state;
	for (size_t i = 0; i < RETURN_WAITING_MAX; i++)
		add(i);
	assert_false(return_batch_add(batch, &take));
	assert_false(return_batch_idle(batch));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_sent),
		TEST(test_only_what_has_a_receipt),
		TEST(test_how_a_call_ends),
		TEST(test_one_call_at_a_time),
		TEST(test_those_that_wait_are_bounded_and_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
