/* SPDX-License-Identifier: ISC */
/* Grace: no more than was declared, until what was granted is known to the database. */
#include "auth/grace.h"

#include "common/log.h"
#include "tests/unit/database_fixture.h"

#include <fcntl.h>

enum { NOW = 5000, NODE = 77, ACCOUNT = 7 };

static uint64_t seq;
static struct grace *grace;

static void wake(uint64_t in_ms, void *arg)
{
	(void)in_ms;
	(void)arg;
}

static int setup(void **state)
{
	const struct take_lane lanes[TAKE_LANES] = {{ask, NULL}, {ask, NULL}};

	(void)state;
	seq = 100;
	grace = grace_new(lanes, NODE, &seq, wake, NULL);
	return grace == NULL;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < db.count; i++) {
		if (!db.calls[i].answered)
			answer(i, DATABASE_UNKNOWN, NULL);
	}
	grace_destroy(&grace);
	forget_calls();
	return 0;
}

static struct take_wanted wanted_of(int64_t messages, int64_t recipients, int64_t bytes)
{
	return (struct take_wanted){.account = ACCOUNT,
		.credential = 3,
		.messages = 1,
		.recipients = 2,
		.bytes = 100,
		.domain = "example.org",
		.meters = {.grace_messages = messages,
			.grace_recipients = recipients,
			.grace_bytes = bytes}};
}

static const struct {
	const char *name;
	int64_t messages, recipients, bytes;
	int granted; /* of ten */
} cases[] = {
	{"nothing declared", 0, 0, 0, 0},
	{"no limit at all is no grace", -1, -1, -1, 0},
	{"messages", 3, -1, -1, 3},
	{"recipients", -1, 7, -1, 3},
	{"octets", -1, -1, 250, 2},
	{"all of them", 5, 5, 1000, 2},
	{"one limit without", 5, 0, -1, 0},
	{"another one without", 5, -1, 0, 0},
	{"more than enough", 100, 100, 10000, 10},
};

static void test_no_more_than_was_declared(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct take_wanted wanted =
			wanted_of(cases[i].messages, cases[i].recipients, cases[i].bytes);
		int granted = 0;
		wanted.account = 1000 + i;
		for (int k = 0; k < 10; k++)
			granted += grace_take(grace, &wanted) != 0;
		if (granted != cases[i].granted)
			fail_msg("%s: got %d, want %d", cases[i].name, granted, cases[i].granted);
		assert_int_equal(grace_declared(&wanted.meters), cases[i].granted > 0);
	}
}

static void test_a_refused_message_is_not_counted(void **state)
{
	const struct take_wanted wanted = wanted_of(1, -1, -1);

	(void)state;
	for (int i = 0; i < 5; i++) {
		uint64_t number = grace_take(grace, &wanted);
		assert_int_not_equal(number, 0);
		assert_int_equal(grace_take(grace, &wanted), 0);
		grace_drop(grace, number);
		grace_drop(grace, number); /* once */
		assert_true(grace_idle(grace));
	}
	grace_tick(grace, NOW);
	assert_int_equal(db.count, 0);
}

static void test_what_is_decided_is_reported_until_it_is_acknowledged(void **state)
{
	const struct take_wanted wanted = wanted_of(2, -1, -1);

	(void)state;
	uint64_t first = grace_take(grace, &wanted), second = grace_take(grace, &wanted);
	grace_tick(grace, NOW);
	assert_int_equal(db.count, 0); /* not decided */
	grace_keep(grace, first);
	db.away = true;
	grace_tick(grace, NOW);
	db.away = false;
	grace_tick(grace, NOW + GRACE_RETRY_MS - 1);
	assert_int_equal(db.count, 0);
	grace_tick(grace, NOW + GRACE_RETRY_MS);
	static const char *const want[] = {
		"77", "{101}", "{\"\"}", "{7}", "{3}", "{\"example.org\"}", "{1}", "{2}", "{100}"};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_string_equal(db.calls[0].values[i], want[i]);
	answer(0, DATABASE_UNKNOWN, NULL);
	grace_keep(grace, second);
	grace_tick(grace, NOW + 2 * GRACE_RETRY_MS);
	assert_string_equal(db.calls[1].values[1], "{101,102}"); /* the same numbers */
	assert_int_equal(grace_take(grace, &wanted), 0); /* the database may not know them */
	answer(1, DATABASE_ROWS, count_rows(2));
	assert_true(grace_idle(grace));
	assert_int_not_equal(grace_take(grace, &wanted), 0); /* another outage */
}

static void test_an_outage_that_comes_and_goes_gives_no_more(void **state)
{
	const struct take_wanted wanted = wanted_of(3, -1, -1);
	int granted = 0;

	(void)state;
	for (uint64_t i = 0; i < 10; i++) {
		uint64_t number = grace_take(grace, &wanted);
		granted += number != 0;
		grace_keep(grace, number);
		grace_tick(grace, NOW + 1000 * i);
		if (db.count > 0 && !db.calls[db.count - 1].answered)
			answer(db.count - 1, DATABASE_UNKNOWN, NULL);
	}
	assert_int_equal(granted, 3);
}

static void test_reports_are_cut(void **state)
{
	struct take_wanted wanted = wanted_of(1000, -1, -1);

	(void)state;
	for (int i = 0; i < GRACE_REPORT_MAX + 3; i++)
		grace_keep(grace, grace_take(grace, &wanted));
	grace_tick(grace, NOW);
	grace_tick(grace, NOW);
	assert_int_equal(db.count, 1); /* one at a time */
	answer(0, DATABASE_ROWS, count_rows(GRACE_REPORT_MAX));
	grace_tick(grace, NOW);
	assert_string_equal(db.calls[1].values[6], "{1,1,1}");
}

static void test_accounts_and_grants_are_bounded(void **state)
{
	struct take_wanted wanted = wanted_of(1000000, -1, -1);
	size_t granted = 0;

	(void)state;
	for (uint64_t i = 0; i < GRACE_ACCOUNTS_MAX; i++) {
		wanted.account = 1 + i;
		assert_int_not_equal(grace_take(grace, &wanted), 0);
	}
	wanted.account = 1 + GRACE_ACCOUNTS_MAX;
	assert_int_equal(grace_take(grace, &wanted), 0);
	wanted.account = 1;
	while (grace_take(grace, &wanted) != 0)
		granted++;
	assert_int_equal(granted, GRACE_GRANTS_MAX - GRACE_ACCOUNTS_MAX);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_more_than_was_declared),
		TEST(test_a_refused_message_is_not_counted),
		TEST(test_what_is_decided_is_reported_until_it_is_acknowledged),
		TEST(test_an_outage_that_comes_and_goes_gives_no_more),
		TEST(test_reports_are_cut),
		TEST(test_accounts_and_grants_are_bounded),
	};

	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
