/* SPDX-License-Identifier: ISC */
/*
 * The way into the books, with a database that answers as told: a batch is sent until it is known
 * to be there, always as it was, and nothing that a message holds can make the database refuse it.
 */
#include "auth/usage.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/database_fixture.h"
#include "tests/unit/spool_fixture.h"

#include <fcntl.h>
#include <sodium.h>

enum { MIB = 1024 * 1024, PATIENCE_MS = 10000, PROXY = 1 };

static char directory[64];
static struct event_base *base;
static struct event *ticks;
static struct spool_files files;
static struct spool *spool;
static struct usage *usage;
static size_t recorded;

static void on_batch(void *arg)
{
	(void)arg;
	usage_look(usage, clock_monotonic_ms());
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void start(void)
{
	const struct spool_settings settings = {
		.files = &files, .size_bytes = MIB, .expire_ms = 3600 * 1000, .on_batch = on_batch};
	char err[256];

	assert_true(spool_files_open(&files, directory, err, sizeof err));
	spool = spool_new(base, &settings, clock_monotonic_ms());
	assert_non_null(spool);
	const struct usage_settings uploads = {.spool = spool, .ask = ask};
	usage = usage_new(&uploads);
	assert_non_null(usage);
}

static void stop(void)
{
	spool_destroy(&spool);
	usage_destroy(&usage);
	spool_files_close(&files);
}

static int setup(void **state)
{
	static const struct timeval few = {0, 5000};

	(void)state;
	recorded = 0;
	snprintf(directory, sizeof directory, "%s/postern-usage-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	base = event_base_new();
	ticks = base == NULL ? NULL : event_new(base, -1, EV_PERSIST, on_tick, NULL);
	if (ticks == NULL || event_add(ticks, &few) == -1 || mkdtemp(directory) == NULL)
		return 1;
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stop();
	event_free(ticks);
	event_base_free(base);
	fixture_remove(directory);
	forget_calls();
	return 0;
}

#define wait_until(condition)                                             \
	do {                                                              \
		uint64_t end_ = clock_monotonic_ms() + PATIENCE_MS;       \
		while (!(condition)) {                                    \
			if (clock_monotonic_ms() > end_)                  \
				fail_msg("never came true: " #condition); \
			event_base_loop(base, EVLOOP_ONCE);               \
		}                                                         \
	} while (0)

static void on_done(bool good, void *arg, uint64_t token)
{
	(void)arg;
	(void)token;
	assert_true(good);
	recorded++;
}

static void send_one(uint64_t tid, const char *sender, const char *queue_id)
{
	struct spool_message message = {.tid = tid,
		.sid = 9,
		.account = UINT64_MAX,
		.proxy = PROXY,
		.recipients = UINT32_MAX,
		.bytes = 1000,
		.at_ms = 222,
		.client = {.bytes = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}},
		.sender_len = (uint16_t)strlen(sender)};
	const struct spool_end end = {.proxy = PROXY,
		.tid = tid,
		.kind = IPC_OUTCOME_ACCEPTED,
		.at_ms = 333,
		.queue_id_len = (uint8_t)strlen(queue_id),
		.queue_id = (const uint8_t *)queue_id};
	size_t before = recorded;

	memcpy(message.sender, sender, strlen(sender));
	assert_int_equal(spool_intent(spool, &message, 1, on_done, NULL, 0), SPOOL_WAITING);
	wait_until(recorded == before + 1);
	assert_int_equal(spool_outcome(spool, &end, on_done, NULL, 0), SPOOL_WAITING);
	wait_until(recorded == before + 2);
}

static PGresult *yes(bool value)
{
	static const Oid types[] = {BOOL};
	PGresult *rows = rows_of(1, types);

	put_number(rows, 0, 0, value);
	return rows;
}

static void check_value(size_t call, int value, const char *want)
{
	assert_int_equal(db.calls[call].query, QUERY_USAGE_PUT);
	assert_string_equal(db.calls[call].values[value], want);
}

static void check_same(size_t a, size_t b)
{
	for (int i = 0; i < query_info[QUERY_USAGE_PUT].parameters; i++)
		check_value(b, i, db.calls[a].values[i]);
}

static void test_a_batch_as_the_database_takes_it(void **state)
{
	(void)state;
	send_one(1, "a\"b\\@example.net", "Q{1},\"x\"");
	send_one(2, "", "");
	send_one(3, "\xff@example.net", "\x01");
	wait_until(db.count == 1);
	check_value(0, 1, "1");
	check_value(0, 2, "1");
	check_value(0, 3, "{1,2,3}");
	check_value(0, 5, "{9223372036854775807,9223372036854775807,9223372036854775807}");
	check_value(0, 7, "{\"a\\\"b\\\\@example.net\",\"\",\"?@example.net\"}");
	check_value(0, 8, "{2147483647,2147483647,2147483647}");
	check_value(0, 10, "{\"192.0.2.1\",\"192.0.2.1\",\"192.0.2.1\"}");
	check_value(0, 13, "{222,222,222}");
	check_value(0, 14, "{333,333,333}");
	check_value(0, 15, "{\"f\",\"f\",\"f\"}");
	assert_int_equal(spool_waiting(spool), 3);
	answer(0, DATABASE_ROWS, yes(true));
	wait_until(spool_waiting(spool) == 0);
	assert_int_equal(db.count, 1);
}

/* Whatever the answer was: the very same again, until there is a good one. */
static void test_a_batch_without_an_answer_is_sent_again_as_it_was(void **state)
{
	static const enum database_result results[] = {
		DATABASE_UNKNOWN, DATABASE_UNAVAILABLE, DATABASE_FAILED};

	(void)state;
	send_one(1, "a@example.net", "Q1");
	wait_until(db.count == 1);
	for (size_t i = 0; i < 3; i++) {
		answer(i, results[i], NULL);
		usage_look(usage, clock_monotonic_ms()); /* not at once */
		event_base_loop(base, EVLOOP_ONCE);
		assert_int_equal(db.count, i + 1);
		send_one(10 + i, "later@example.net", "Q2");
		usage_look(usage, clock_monotonic_ms() + USAGE_PAUSE_MAX_MS);
		/* Others may come first; theirs is another name. */
		wait_until(db.count == i + 2);
		if (strcmp(db.calls[i + 1].values[3], "{1}") == 0)
			check_same(0, i + 1);
		else
			assert_string_not_equal(db.calls[i + 1].values[2], "1");
	}
	assert_int_equal(spool_waiting(spool), 4);
}

static void test_known_already_is_as_good(void **state)
{
	(void)state;
	send_one(1, "a@example.net", "Q1");
	wait_until(db.count == 1);
	stop(); /* sent, and killed before the answer */
	start();
	usage_look(usage, clock_monotonic_ms());
	wait_until(db.count == 2);
	check_same(0, 1);
	answer(1, DATABASE_ROWS, yes(false));
	wait_until(spool_waiting(spool) == 0);
	stop();
	start();
	assert_int_equal(spool_waiting(spool), 0);
}

static void test_a_database_that_takes_no_queries(void **state)
{
	(void)state;
	db.away = true;
	send_one(1, "a@example.net", "Q1");
	spool_close_batch(spool);
	for (int i = 0; i < 5; i++)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(spool_waiting(spool), 1);
	db.away = false;
	usage_tick(usage, clock_monotonic_ms() + USAGE_PAUSE_MAX_MS);
	wait_until(db.count == 2); /* upkeep was due too */
	size_t put = db.calls[0].query == QUERY_USAGE_PUT ? 0 : 1;
	answer(1 - put, DATABASE_ROWS, yes(true));
	answer(put, DATABASE_ROWS, yes(true));
	wait_until(spool_waiting(spool) == 0);
}

static void test_upkeep_each_hour(void **state)
{
	(void)state;
	usage_tick(usage, 1000);
	usage_tick(usage, 2000);
	assert_int_equal(db.count, 1);
	assert_int_equal(db.calls[0].query, QUERY_USAGE_MAINTAIN);
	answer(0, DATABASE_FAILED, NULL);
	usage_tick(usage, 1000 + USAGE_MAINTAIN_MS - 1);
	assert_int_equal(db.count, 1);
	usage_tick(usage, 1000 + USAGE_MAINTAIN_MS);
	assert_int_equal(db.count, 2);
	answer(1, DATABASE_ROWS, yes(false));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_batch_as_the_database_takes_it),
		TEST(test_a_batch_without_an_answer_is_sent_again_as_it_was),
		TEST(test_known_already_is_as_good),
		TEST(test_a_database_that_takes_no_queries),
		TEST(test_upkeep_each_hour),
	};

	if (sodium_init() == -1)
		return 1;
	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
