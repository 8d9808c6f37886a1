/* SPDX-License-Identifier: ISC */
/* Takes in one call: who goes with whom and when, and that each is answered once, whatever comes.
 */
#include "auth/take_batch.h"

#include "tests/unit/database_fixture.h"

enum { NOW = 5000, NODE = 77, SEEN_MAX = 20000 };

static struct {
	uint64_t token, seq;
	enum take_end end;
	enum query_quota result;
	char receipt[64];
} seen[SEEN_MAX];
static size_t seen_count;
static uint64_t woken_ms, seq;
static struct take_batch *batch;

static void wake(uint64_t in_ms, void *arg)
{
	(void)arg;
	woken_ms = in_ms;
}

static void done(enum take_end end, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t of, void *arg)
{
	(void)arg;
	assert_true(seen_count < SEEN_MAX);
	assert_int_equal(row != NULL, end == TAKE_DECIDED);
	seen[seen_count].token = wanted->token;
	seen[seen_count].seq = of;
	seen[seen_count].end = end;
	if (row != NULL) {
		seen[seen_count].result = row->result;
		snprintf(seen[seen_count].receipt, sizeof seen->receipt, "%.60s", row->receipt);
	}
	seen_count++;
}

static int setup(void **state)
{
	const struct take_batch_settings settings = {
		.lanes = {{ask, (struct database *)1}, {ask, (struct database *)2}},
		.node = NODE,
		.seq = &seq,
		.wake = wake,
		.done = done,
	};

	(void)state;
	seen_count = 0;
	seq = 0;
	batch = take_batch_new(&settings);
	assert_non_null(batch);
	take_batch_lane(batch, 0, true);
	take_batch_lane(batch, 1, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < db.count; i++) {
		if (!db.calls[i].answered)
			answer(i, DATABASE_UNKNOWN, NULL);
	}
	take_batch_destroy(&batch);
	forget_calls();
	return 0;
}

static void add(uint64_t token, uint64_t now_ms)
{
	const struct take_wanted wanted = {.token = token,
		.account = 100 + token,
		.credential = token % 2,
		.messages = 1,
		.recipients = 3,
		.bytes = 1000,
		.domain = "example.org"};

	assert_true(take_batch_add(batch, &wanted, now_ms));
}

static void grant_all(size_t call, size_t count)
{
	struct said said[TAKE_BATCH_MAX] = {{0}};

	for (size_t i = 0; i < count; i++)
		said[i].receipt = "r";
	answer(call, DATABASE_ROWS, takes_rows(said, count));
}

static void test_the_first_goes_at_once_and_others_wait_for_company(void **state)
{
	(void)state;
	add(1, NOW);
	assert_int_equal(woken_ms, 0);
	assert_int_equal(db.count, 0); /* not from within */
	take_batch_tick(batch, NOW);
	assert_int_equal(db.count, 1);
	add(2, NOW);
	assert_int_equal(woken_ms, TAKE_GATHER_MS);
	add(3, NOW + 1);
	take_batch_tick(batch, NOW + TAKE_GATHER_MS - 1);
	assert_int_equal(db.count, 1);
	assert_int_equal(woken_ms, 1);
	take_batch_tick(batch, NOW + TAKE_GATHER_MS);
	assert_int_equal(db.count, 2);
	assert_ptr_not_equal(db.calls[0].database, db.calls[1].database);
	assert_string_equal(db.calls[1].values[2], "{102,103}");
}

static void test_what_is_sent(void **state)
{
	static const uint64_t hashes[] = {5, UINT64_MAX};
	struct recipients *whom = NULL;
	struct take_wanted wanted = {
		.token = 9, .account = 4, .credential = 6, .bytes = 8, .domain = "a\"b"};

	(void)state;
	assert_true(recipients_add(&whom, hashes, 2, 10));
	assert_true(take_batch_add(batch, &wanted, NOW));
	wanted.whom = whom;
	wanted.messages = 1;
	wanted.recipients = 2;
	wanted.domain = "";
	assert_true(take_batch_add(batch, &wanted, NOW));
	recipients_unref(&whom); /* it has its own */
	take_batch_tick(batch, NOW);
	static const char *const want[] = {"77", "1", "{4,4}", "{6,6}", "{\"a\\\"b\",\"\"}",
		"{0,1}", "{0,2}", "{8,8}", "{0,2}", "{5,-1}"};
	assert_int_equal(db.calls[0].query, QUERY_TAKES);
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_string_equal(db.calls[0].values[i], want[i]);
}

static void test_answers_by_number(void **state)
{
	static const struct said said[] = {{0, NULL, 0, 0, 0, "first", NULL},
		{1, "messages per hour", 5, 5, 9, NULL, NULL}, {0, NULL, 0, 0, 0, "third", NULL}};

	(void)state;
	for (uint64_t token = 1; token <= 3; token++)
		add(token, NOW);
	take_batch_tick(batch, NOW);
	answer(0, DATABASE_ROWS, takes_rows(said, 3));
	assert_int_equal(seen_count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(seen[i].token, i + 1);
		assert_int_equal(seen[i].end, TAKE_DECIDED);
		assert_int_equal(seen[i].result, said[i].result);
		assert_int_equal(seen[i].seq, 1);
	}
	assert_string_equal(seen[2].receipt, "third");
	assert_true(take_batch_idle(batch));
}

static void test_full_ones_do_not_wait(void **state)
{
	(void)state;
	add(1, NOW);
	take_batch_tick(batch, NOW);
	for (uint64_t i = 0; i < TAKE_BATCH_MAX + 5; i++)
		add(2 + i, NOW);
	take_batch_tick(batch, NOW);
	assert_int_equal(db.count, 2);
	take_batch_tick(batch, NOW + 100); /* both lanes have one */
	assert_int_equal(db.count, 2);
	assert_int_equal(woken_ms, TAKE_WAIT_MS - 100);
	woken_ms = 99;
	grant_all(1, TAKE_BATCH_MAX);
	assert_int_equal(woken_ms, 0);
	assert_int_equal(seen_count, TAKE_BATCH_MAX);
	take_batch_tick(batch, NOW + 100);
	assert_int_equal(db.count, 3);
	grant_all(2, 5);
	grant_all(0, 1);
	assert_int_equal(seen_count, TAKE_BATCH_MAX + 6);
	assert_int_equal(seq, 3);
}

static void test_a_lane_under_a_lock_holds_up_no_other(void **state)
{
	(void)state;
	add(1, NOW);
	take_batch_tick(batch, NOW);
	for (uint64_t i = 0; i < 10; i++) {
		add(2 + i, NOW + 10 * i);
		take_batch_tick(batch, NOW + 10 * i + TAKE_GATHER_MS);
		assert_ptr_equal(db.calls[1 + i].database, (void *)2);
		grant_all(1 + i, 1);
	}
	assert_int_equal(seen_count, 10);
}

static const struct {
	enum database_result result;
	enum take_end want, when_away;
} failures[] = {
	{DATABASE_FAILED, TAKE_FAILED, TAKE_FAILED},
	{DATABASE_UNKNOWN, TAKE_FAILED, TAKE_FAILED},
	{DATABASE_UNAVAILABLE, TAKE_FAILED, TAKE_AWAY},
};

static void test_a_failed_call_answers_all_and_is_not_repeated(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
		for (int away = 0; away < 2; away++) {
			size_t calls = db.count;
			seen_count = 0;
			take_batch_lane(batch, 0, true);
			add(1, NOW);
			add(2, NOW);
			take_batch_tick(batch, NOW);
			take_batch_lane(batch, 0, away == 0);
			take_batch_lane(batch, 1, away == 0);
			answer(calls, failures[i].result, NULL);
			assert_int_equal(seen_count, 2);
			for (size_t k = 0; k < 2; k++)
				assert_int_equal(seen[k].end,
					away ? failures[i].when_away : failures[i].want);
			take_batch_tick(batch, NOW + 1);
			assert_int_equal(db.count, calls + 1);
		}
	}
}

static void test_away_is_said_at_once(void **state)
{
	(void)state;
	db.away = true;
	take_batch_lane(batch, 0, false);
	take_batch_lane(batch, 1, false);
	add(1, NOW);
	take_batch_tick(batch, NOW);
	assert_int_equal(seen[0].end, TAKE_AWAY);
	take_batch_lane(batch, 1, true); /* it stands, and yet took nothing: out of memory */
	add(2, NOW);
	take_batch_tick(batch, NOW);
	assert_int_equal(seen[1].end, TAKE_FAILED);
}

static void test_the_lane_that_stands_is_used(void **state)
{
	(void)state;
	take_batch_lane(batch, 0, false);
	add(1, NOW);
	take_batch_tick(batch, NOW);
	assert_ptr_equal(db.calls[0].database, (void *)2);
	add(2, NOW);
	take_batch_tick(batch, NOW + TAKE_GATHER_MS);
	assert_int_equal(db.count, 1); /* the other one is away */
}

static void test_who_waited_too_long_is_not_asked(void **state)
{
	(void)state;
	for (uint64_t token = 1; token <= 2; token++) {
		add(token, NOW);
		take_batch_tick(batch, NOW + TAKE_GATHER_MS);
	}
	add(3, NOW + 10);
	take_batch_tick(batch, NOW + 10 + TAKE_WAIT_MS - 1);
	assert_int_equal(seen_count, 0);
	take_batch_tick(batch, NOW + 10 + TAKE_WAIT_MS);
	assert_int_equal(seen_count, 1);
	assert_int_equal(seen[0].token, 3);
	assert_int_equal(seen[0].end, TAKE_FAILED);
	grant_all(0, 1);
	grant_all(1, 1);
	take_batch_tick(batch, NOW + 10 + TAKE_WAIT_MS);
	assert_int_equal(db.count, 2);
}

static void test_a_strange_answer_is_none(void **state)
{
	struct said said[3] = {{0, NULL, 0, 0, 0, "r", NULL}, {0, NULL, 0, 0, 0, "r", NULL},
		{0, NULL, 0, 0, 0, "r", NULL}};

	(void)state;
	for (int how = 0; how < 4; how++) {
		seen_count = 0;
		add(1, NOW);
		add(2, NOW);
		take_batch_tick(batch, NOW);
		PGresult *rows = takes_rows(said, how == 0 ? 1 : how == 1 ? 3 : 2);
		if (how == 2)
			put_number(rows, 1, 0, 1); /* twice the same */
		if (how == 3)
			put_text(rows, 1, 6, ""); /* granted, but what? */
		answer(db.count - 1, DATABASE_ROWS, rows);
		assert_int_equal(seen_count, 2);
		assert_int_equal(seen[0].end, TAKE_FAILED);
		assert_int_equal(seen[1].end, TAKE_FAILED);
	}
}

static void test_recipients_of_one_call_are_bounded(void **state)
{
	static uint64_t hashes[RECIPIENTS_MAX];
	struct take_wanted wanted = {.messages = 1, .recipients = RECIPIENTS_MAX, .domain = ""};

	(void)state;
	for (int i = 0; i < 5; i++) {
		struct recipients *whom = NULL;
		assert_true(recipients_add(&whom, hashes, RECIPIENTS_MAX, RECIPIENTS_MAX));
		wanted.whom = whom;
		assert_true(take_batch_add(batch, &wanted, NOW));
		recipients_unref(&whom);
	}
	take_batch_tick(batch, NOW);
	assert_string_equal(db.calls[0].values[8], "{10000,10000}");
	take_batch_tick(batch, NOW + TAKE_GATHER_MS);
	assert_string_equal(db.calls[1].values[8], "{10000,10000}");
}

static void test_those_that_wait_are_bounded_and_freed(void **state)
{
	static char domain[TAKE_DOMAIN_MAX + 2];
	struct take_wanted wanted = {.messages = 1, .recipients = 1, .domain = domain};

	(void)state;
	for (size_t i = 0; i < TAKE_WAITING_MAX; i++)
		assert_true(take_batch_add(batch, &wanted, NOW));
	assert_false(take_batch_add(batch, &wanted, NOW));
	assert_false(take_batch_idle(batch));
	take_batch_tick(batch, NOW + TAKE_WAIT_MS);
	assert_int_equal(seen_count, TAKE_WAITING_MAX);
	memset(domain, 'a', TAKE_DOMAIN_MAX + 1);
	assert_false(take_batch_add(batch, &wanted, NOW));
	domain[TAKE_DOMAIN_MAX] = '\0';
	assert_true(take_batch_add(batch, &wanted, NOW)); /* and teardown frees it */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_first_goes_at_once_and_others_wait_for_company),
		TEST(test_what_is_sent),
		TEST(test_answers_by_number),
		TEST(test_full_ones_do_not_wait),
		TEST(test_a_lane_under_a_lock_holds_up_no_other),
		TEST(test_a_failed_call_answers_all_and_is_not_repeated),
		TEST(test_away_is_said_at_once),
		TEST(test_the_lane_that_stands_is_used),
		TEST(test_who_waited_too_long_is_not_asked),
		TEST(test_a_strange_answer_is_none),
		TEST(test_recipients_of_one_call_are_bounded),
		TEST(test_those_that_wait_are_bounded_and_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
