/* SPDX-License-Identifier: ISC */
/*
 * The pool with hash processes played by the test over socketpairs: one hash at a time each, the
 * queue's bound, turns, new hashes behind all log-ins, cancelling, deadlines, crashes; and the
 * memory budget.
 */
#include "auth/hash_pool.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/counters.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PLAYERS = 3, TOLD_MAX = 64, QUEUE = 6, OWNERS = 2 };

/* A hash process: what it was asked. */
static struct player {
	struct channel *channel;
	size_t asked;
	uint64_t id;
	struct ipc_hash_request request;
	bool closed;
} players[PLAYERS];

static struct {
	size_t count;
	uint64_t token[TOLD_MAX];
	enum ipc_hash_outcome outcome[TOLD_MAX];
} told;

static struct event_base *base;
static struct hash_pool *pool;
static struct secret *secret;

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	struct player *player = arg;

	(void)channel;
	assert_int_equal(type, IPC_HASH_REQUEST);
	player->asked++;
	player->id = id;
	memcpy(&player->request, payload, sizeof player->request);
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	(void)channel;
	(void)reason;
	((struct player *)arg)->closed = true;
}

static const struct channel_events player_events = {.on_frame = on_frame, .on_close = on_close};

static void on_done(const struct hash_pool_result *result, void *arg, uint64_t token)
{
	(void)arg;
	told.token[told.count] = token;
	told.outcome[told.count++] = result->outcome;
}

/* Lets all that is ready happen. */
static void turn(void)
{
	for (int i = 0; i < 6; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void attach(unsigned index)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	channel_close(&players[index].channel);
	memset(&players[index], 0, sizeof players[index]);
	players[index].channel = channel_open(base, pair[1], &player_events, &players[index]);
	assert_non_null(players[index].channel);
	hash_pool_attach(pool, index, pair[0]);
	turn();
}

static bool submit_until(unsigned owner, uint64_t token, uint64_t deadline)
{
	const struct hash_job job = {.owner = owner,
		.token = token,
		.deadline_ms = deadline,
		.phc = "$phc",
		.phc_len = 4,
		.secret = secret};

	return hash_pool_submit(pool, &job, 0);
}

static bool submit(unsigned owner, uint64_t token)
{
	return submit_until(owner, token, UINT64_MAX);
}

static void answer_with(struct player *player, uint64_t id, enum ipc_hash_outcome outcome)
{
	struct ipc_hash_result result = {.outcome = (uint8_t)outcome};

	if (outcome == IPC_HASH_MADE) {
		result.phc_len = 4;
		memcpy(result.phc, "$new", 4);
	}
	assert_true(channel_send(player->channel, IPC_HASH_RESULT, id, &result, sizeof result));
	turn();
}

static void answer(struct player *player, enum ipc_hash_outcome outcome)
{
	answer_with(player, player->id, outcome);
}

static int setup(void **state)
{
	const struct hash_pool_settings settings = {
		.queue = QUEUE, .owners = OWNERS, .done = on_done};

	(void)state;
	memset(players, 0, sizeof players);
	memset(&told, 0, sizeof told);
	base = event_base_new();
	pool = base == NULL ? NULL : hash_pool_new(base, &settings);
	secret = secret_take();
	if (pool == NULL || secret == NULL)
		return 1;
	memcpy(secret->bytes, "secret", 6);
	secret->len = 6;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hash_pool_destroy(&pool);
	for (size_t i = 0; i < PLAYERS; i++)
		channel_close(&players[i].channel);
	secret_release(&secret);
	event_base_free(base);
	return 0;
}

static void test_one_hash_at_a_time_each(void **state)
{
	(void)state;
	attach(0);
	attach(1);
	for (uint64_t token = 1; token <= 4; token++)
		assert_true(submit(0, token));
	turn();
	assert_int_equal(players[0].asked, 1);
	assert_int_equal(players[1].asked, 1);
	assert_int_equal(players[0].request.secret_len, 6);
	assert_memory_equal(players[0].request.secret, "secret", 6);
	assert_memory_equal(players[0].request.phc, "$phc", 4);
	assert_int_equal(hash_pool_waiting(pool), 2);
	answer(&players[1], IPC_HASH_MATCH);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.token[0], 2);
	assert_int_equal(told.outcome[0], IPC_HASH_MATCH);
	assert_int_equal(players[1].asked, 2);
	answer(&players[0], IPC_HASH_MISMATCH);
	assert_int_equal(told.outcome[1], IPC_HASH_MISMATCH);
	assert_int_equal(players[0].asked, 2);
	assert_int_equal(hash_pool_waiting(pool), 0);
}

static void test_without_a_process_jobs_wait(void **state)
{
	(void)state;
	assert_true(submit(0, 1));
	turn();
	assert_int_equal(told.count, 0);
	attach(0);
	answer(&players[0], IPC_HASH_MATCH);
	assert_int_equal(told.count, 1);
}

static void test_the_queue_is_bounded_and_each_has_a_share(void **state)
{
	(void)state;
	for (uint64_t token = 1; token <= QUEUE; token++)
		assert_true(submit(0, token));
	assert_false(submit(0, 100));
	/* The other proxy's share is its own, whatever the first one does. */
	for (uint64_t token = 11; token <= 10 + QUEUE / OWNERS; token++)
		assert_true(submit(1, token));
	assert_false(submit(1, 200));
	assert_int_equal(hash_pool_waiting(pool), QUEUE + QUEUE / OWNERS);
}

static void test_proxies_are_served_in_turn(void **state)
{
	static const uint64_t want[] = {1, 11, 2, 12, 3};

	(void)state;
	for (uint64_t token = 1; token <= 3; token++)
		assert_true(submit(0, token));
	for (uint64_t token = 11; token <= 12; token++)
		assert_true(submit(1, token));
	attach(0);
	for (size_t i = 0; i < 5; i++)
		answer(&players[0], IPC_HASH_MISMATCH);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(told.token[i], want[i]);
}

static void test_cancelled_jobs_are_not_told(void **state)
{
	(void)state;
	attach(0);
	assert_true(submit(0, 1));
	assert_true(submit(0, 2));
	turn();
	hash_pool_cancel(pool, 2); /* waiting: never runs */
	hash_pool_cancel(pool, 1); /* running: the process stays busy */
	hash_pool_cancel(pool, 99);
	assert_true(submit(0, 3));
	turn();
	assert_int_equal(players[0].asked, 1);
	answer(&players[0], IPC_HASH_MATCH);
	assert_int_equal(told.count, 0);
	assert_int_equal(players[0].asked, 2);
	answer(&players[0], IPC_HASH_MATCH);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.token[0], 3);
}

static void test_a_crash_costs_its_job_only(void **state)
{
	(void)state;
	attach(0);
	attach(1);
	for (uint64_t token = 1; token <= 3; token++)
		assert_true(submit(0, token));
	turn();
	channel_close(&players[0].channel);
	turn();
	assert_int_equal(told.count, 1);
	assert_int_equal(told.token[0], 1);
	assert_int_equal(told.outcome[0], IPC_HASH_FAILED);
	answer(&players[1], IPC_HASH_MATCH);
	answer(&players[1], IPC_HASH_MATCH);
	assert_int_equal(told.count, 3);
	attach(0); /* the master started another */
	assert_true(submit(0, 4));
	turn();
	assert_int_equal(players[0].asked, 1);
}

static void test_a_new_channel_fails_the_job_of_the_old(void **state)
{
	(void)state;
	attach(0);
	assert_true(submit(0, 1));
	turn();
	attach(0);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.outcome[0], IPC_HASH_FAILED);
	assert_int_equal(players[0].asked, 0);
}

static void test_deadlines_of_waiting_and_running(void **state)
{
	(void)state;
	attach(0);
	assert_true(submit_until(0, 1, 1000));
	turn();
	assert_true(submit_until(0, 2, 3000));
	assert_true(submit_until(0, 3, 2000)); /* behind 2, but due before it */
	hash_pool_tick(pool, 999);
	assert_int_equal(told.count, 0);
	hash_pool_tick(pool, 2000);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.outcome[0], IPC_HASH_FAILED);
	assert_int_equal(told.token[0] + told.token[1], 3 + 1);
	turn();
	assert_int_equal(players[0].asked, 1); /* still busy with 1 */
	answer(&players[0], IPC_HASH_MATCH);
	assert_int_equal(told.count, 2);
	assert_int_equal(players[0].asked, 2);
	assert_false(submit_until(0, 9, 0)); /* late already */
}

static void test_a_process_that_hangs_loses_its_channel(void **state)
{
	(void)state;
	attach(0);
	assert_true(submit(0, 1));
	turn();
	hash_pool_tick(pool, UINT64_MAX / 2);
	turn();
	assert_int_equal(told.count, 1);
	assert_int_equal(told.outcome[0], IPC_HASH_FAILED);
	assert_true(players[0].closed);
}

static void test_an_answer_to_nothing_ends_the_channel(void **state)
{
	(void)state;
	attach(0);
	answer_with(&players[0], 1, IPC_HASH_MATCH);
	assert_true(players[0].closed);
	attach(1);
	assert_true(submit(0, 1));
	turn();
	answer_with(&players[1], players[1].id + 1, IPC_HASH_MATCH);
	assert_true(players[1].closed);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.outcome[0], IPC_HASH_FAILED); /* never a match */
	attach(2);
	const struct ipc_done done = {.ok = 1};
	assert_true(channel_send(players[2].channel, IPC_INTENT_DONE, 1, &done, sizeof done));
	turn();
	assert_true(players[2].closed);
}

static bool submit_as(enum hash_class class, uint64_t token)
{
	const struct hash_job job = {.class = class,
		.token = token,
		.deadline_ms = UINT64_MAX,
		.phc = "$phc",
		.phc_len = 4,
		.secret = secret};

	return hash_pool_submit(pool, &job, 0);
}

static void test_the_known_go_first_and_both_queues_are_told(void **state)
{
	static const uint64_t want[] = {11, 12, 1, 2};
	static struct counters page;

	(void)state;
	memset(&page, 0, sizeof page);
	counters_own(&page);
	for (uint64_t token = 1; token <= 2; token++)
		assert_true(submit_as(HASH_CLASS_STRANGER, token));
	for (uint64_t token = 11; token <= 12; token++)
		assert_true(submit_as(HASH_CLASS_KNOWN, token));
	assert_int_equal(counter_read(&page, COUNTER_HASH_QUEUE), 2);
	assert_int_equal(counter_read(&page, COUNTER_HASH_QUEUE_KNOWN), 2);
	attach(0);
	for (size_t i = 0; i < 4; i++)
		answer(&players[0], IPC_HASH_MISMATCH);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(told.token[i], want[i]);
	assert_int_equal(counter_read(&page, COUNTER_HASH_QUEUE), 0);
	assert_int_equal(counter_read(&page, COUNTER_HASH_QUEUE_KNOWN), 0);
}

static bool make(uint64_t token)
{
	const struct hash_job job = {
		.token = token, .deadline_ms = UINT64_MAX, .cost = {8 << 20, 1}, .secret = secret};

	return hash_pool_submit(pool, &job, 0);
}

static void test_new_hashes_are_made_one_at_a_time_behind_all_log_ins(void **state)
{
	(void)state;
	attach(0);
	attach(1);
	for (uint64_t token = 1; token <= HASH_POOL_MAKES_MAX; token++)
		assert_true(make(token));
	assert_false(make(100));
	turn();
	assert_int_equal(players[0].asked + players[1].asked, 1); /* the other one is for log-ins */
	assert_int_equal(players[0].request.phc_len, 0);
	assert_int_equal(players[0].request.memory_bytes, 8 << 20);
	assert_true(submit(0, 11));
	assert_true(submit(0, 12));
	turn();
	assert_int_equal(players[1].asked, 1); /* 11; 12 waits */
	hash_pool_cancel(pool, 4);             /* there is a place */
	assert_false(make(101));               /* but a log-in waits */
	answer(&players[0], IPC_HASH_MADE);
	assert_int_equal(players[0].asked, 2);
	assert_int_equal(players[0].request.phc_len, 4); /* 12 before the second new hash */
	answer(&players[1], IPC_HASH_MATCH);
	assert_int_equal(players[1].request.phc_len, 0);
	assert_true(make(102));
}

static void test_only_log_ins_count_as_waiting(void **state)
{
	static struct counters page;

	(void)state;
	memset(&page, 0, sizeof page);
	counters_own(&page);
	assert_true(make(1)); /* no process is there yet */
	uint64_t begun_us = clock_monotonic_us();
	while (clock_monotonic_us() - begun_us < 2000)
		turn();
	attach(0);
	assert_int_equal(players[0].asked, 1);
	assert_int_equal(counter_read(&page, COUNTER_HASH_WAIT_US), 0);
	assert_true(submit(0, 2)); /* behind it */
	begun_us = clock_monotonic_us();
	while (clock_monotonic_us() - begun_us < 2000)
		turn();
	answer(&players[0], IPC_HASH_MADE);
	assert_int_equal(players[0].asked, 2);
	assert_true(counter_read(&page, COUNTER_HASH_WAIT_US) >= 2000);
}

static void test_the_memory_budget(void **state)
{
	struct config config = {
		.password = {.memory_bytes = 64 << 20, .memory_budget_bytes = 128 << 20}};
	char err[256] = "";

	(void)state;
	assert_true(hash_pool_budget_check(&config, 2, err, sizeof err));
	assert_false(hash_pool_budget_check(&config, 3, err, sizeof err));
	assert_non_null(strstr(err, "password.memory_budget"));
	assert_non_null(strstr(err, "192 MiB"));
	assert_false(hash_pool_budget_check(&config, 0, err, sizeof err));
	config.password.memory_bytes = UINT64_C(1) << 50;
	config.password.memory_budget_bytes = UINT64_MAX;
	assert_false(hash_pool_budget_check(&config, 1, err, sizeof err));
	assert_null(strstr(err, "password.memory_budget"));
	assert_false(hash_pool_budget_check(&config, UINT32_MAX, err, sizeof err));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_hash_at_a_time_each),
		TEST(test_without_a_process_jobs_wait),
		TEST(test_the_queue_is_bounded_and_each_has_a_share),
		TEST(test_proxies_are_served_in_turn),
		TEST(test_cancelled_jobs_are_not_told),
		TEST(test_a_crash_costs_its_job_only),
		TEST(test_a_new_channel_fails_the_job_of_the_old),
		TEST(test_deadlines_of_waiting_and_running),
		TEST(test_a_process_that_hangs_loses_its_channel),
		TEST(test_an_answer_to_nothing_ends_the_channel),
		TEST(test_the_known_go_first_and_both_queues_are_told),
		TEST(test_new_hashes_are_made_one_at_a_time_behind_all_log_ins),
		TEST(test_only_log_ins_count_as_waiting),
		cmocka_unit_test(test_the_memory_budget),
	};

	if (sodium_init() == -1 || !secret_slab_open(4))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	secret_slab_close();
	return failed;
}
