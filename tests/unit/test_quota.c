/* SPDX-License-Identifier: ISC */
/* What a refusal teaches of the next MAIL, and what it does not. */
#include "auth/pace.h"
#include "auth/quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ACCOUNT = 7, VERSION = 3, NOW_MS = 50000, WALL_S = 1000000 };

static const struct {
	const char *name, *meter;
	enum query_quota result;
	uint32_t recipients;
	uint64_t reset_s;
	bool remembered;
	uint64_t ms; /* for how long */
} cases[] = {
	{"messages", "messages per hour", QUERY_QUOTA_REFUSED, 1, WALL_S + 4, true, 4000},
	{"messages, many recipients", "messages per day", QUERY_QUOTA_REFUSED, 80, WALL_S + 4, true,
		4000},
	{"one recipient", "recipients per hour", QUERY_QUOTA_REFUSED, 1, WALL_S + 4, true, 4000},
	{"many recipients say nothing of one", "recipients per hour", QUERY_QUOTA_REFUSED, 2,
		WALL_S + 4, false, 0},
	{"no longer than ten seconds", "messages per hour", QUERY_QUOTA_REFUSED, 1, WALL_S + 3600,
		true, QUOTA_MEMORY_MS},
	{"due already", "messages per hour", QUERY_QUOTA_REFUSED, 1, WALL_S, false, 0},
	{"never fits", "messages per hour", QUERY_QUOTA_NEVER, 1, WALL_S + 4, false, 0},
	{"granted", "", QUERY_QUOTA_GRANTED, 1, WALL_S + 4, false, 0},
	{"absurd time", "messages per hour", QUERY_QUOTA_REFUSED, 1, UINT64_MAX, true,
		QUOTA_MEMORY_MS},
};

static struct query_quota_row row_of(enum query_quota result, const char *meter, uint64_t reset_s)
{
	struct query_quota_row row = {.result = result, .limit = 5, .reset_s = reset_s};

	row.meter_len = (uint8_t)strlen(meter);
	memcpy(row.meter, meter, row.meter_len);
	return row;
}

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct quota *quota = quota_new(NULL, NULL, NULL, NULL);
		const struct take take = {
			.account = ACCOUNT, .messages = 1, .recipients = cases[i].recipients};
		struct query_quota_row row = row_of(
					       cases[i].result, cases[i].meter, cases[i].reset_s),
				       got;
		quota_remember(quota, &take, VERSION, &row, NOW_MS, WALL_S);
		if (quota_known_empty(quota, ACCOUNT, 0, VERSION, NOW_MS, &got) !=
			cases[i].remembered)
			fail_msg("%s: got %d, want %d", cases[i].name, !cases[i].remembered,
				cases[i].remembered);
		if (cases[i].remembered) {
			assert_int_equal(got.limit, 5);
			assert_true(quota_known_empty(
				quota, ACCOUNT, 0, VERSION, NOW_MS + cases[i].ms - 1, &got));
			if (quota_known_empty(
				    quota, ACCOUNT, 0, VERSION, NOW_MS + cases[i].ms, &got))
				fail_msg("%s: remembered for too long", cases[i].name);
		}
		quota_destroy(&quota);
	}
}

static void test_a_credentials_own_meter_tells_of_its_sessions_only(void **state)
{
	enum { FIRST = 5, SECOND = 6 };
	struct quota *quota = quota_new(NULL, NULL, NULL, NULL);
	const struct take take = {
		.account = ACCOUNT, .credential = FIRST, .messages = 1, .recipients = 1};
	struct query_quota_row got, row = row_of(QUERY_QUOTA_REFUSED,
					    "messages per hour of this credential", WALL_S + 9);

	(void)state;
	quota_remember(quota, &take, VERSION, &row, NOW_MS, WALL_S);
	assert_true(quota_known_empty(quota, ACCOUNT, FIRST, VERSION, NOW_MS, &got));
	assert_int_equal(got.meter_len, strlen("messages per hour of this credential"));
	assert_false(quota_known_empty(quota, ACCOUNT, SECOND, VERSION, NOW_MS, &got));
	assert_false(quota_known_empty(quota, ACCOUNT, 0, VERSION, NOW_MS, &got));
	/* An account's id and a credential's number are not the same thing. */
	assert_false(quota_known_empty(quota, FIRST, 0, VERSION, NOW_MS, &got));
	quota_forget(quota, ACCOUNT, FIRST);
	assert_false(quota_known_empty(quota, ACCOUNT, FIRST, VERSION, NOW_MS, &got));
	quota_destroy(&quota);
}

static void test_the_accounts_meter_tells_of_all_its_sessions(void **state)
{
	enum { CREDENTIAL = 5 };
	struct quota *quota = quota_new(NULL, NULL, NULL, NULL);
	const struct take take = {
		.account = ACCOUNT, .credential = CREDENTIAL, .messages = 1, .recipients = 1};
	struct query_quota_row got,
		row = row_of(QUERY_QUOTA_REFUSED, "messages per hour", WALL_S + 9);

	(void)state;
	quota_remember(quota, &take, VERSION, &row, NOW_MS, WALL_S);
	assert_true(quota_known_empty(quota, ACCOUNT, 0, VERSION, NOW_MS, &got));
	assert_true(quota_known_empty(quota, ACCOUNT, CREDENTIAL + 1, VERSION, NOW_MS, &got));
	quota_forget(quota, ACCOUNT, CREDENTIAL);
	assert_false(quota_known_empty(quota, ACCOUNT, 0, VERSION, NOW_MS, &got));
	quota_destroy(&quota);
}

static void test_another_version_or_account_is_not_meant(void **state)
{
	struct quota *quota = quota_new(NULL, NULL, NULL, NULL);
	const struct take take = {.account = ACCOUNT, .messages = 1, .recipients = 1};
	struct query_quota_row row = row_of(QUERY_QUOTA_REFUSED, "messages per hour", WALL_S + 9);

	(void)state;
	quota_remember(quota, &take, VERSION, &row, NOW_MS, WALL_S);
	assert_false(quota_known_empty(quota, ACCOUNT + 1, 0, VERSION, NOW_MS, &row));
	assert_true(quota_known_empty(quota, ACCOUNT, 0, VERSION, NOW_MS, &row));
	/* The operator raised the limit: the row has another version. */
	assert_false(quota_known_empty(quota, ACCOUNT, 0, VERSION + 1, NOW_MS, &row));
	quota_remember(quota, &take, VERSION, &row, NOW_MS, WALL_S);
	quota_forget(quota, ACCOUNT, 0);
	assert_false(quota_known_empty(quota, ACCOUNT, 0, VERSION, NOW_MS, &row));
	quota_destroy(&quota);
}

static void test_memory_is_bounded(void **state)
{
	struct quota *quota = quota_new(NULL, NULL, NULL, NULL);
	struct take take = {.messages = 1, .recipients = 1};
	struct query_quota_row row = row_of(QUERY_QUOTA_REFUSED, "messages per hour", WALL_S + 9);

	(void)state;
	for (uint64_t i = 1; i <= QUOTA_MEMORY_MAX + 10; i++) {
		take.account = i;
		quota_remember(quota, &take, VERSION, &row, NOW_MS, WALL_S);
	}
	assert_false(quota_known_empty(quota, 10, 0, VERSION, NOW_MS, &row));
	assert_true(quota_known_empty(quota, 11, 0, VERSION, NOW_MS, &row));
	assert_true(quota_known_empty(quota, QUOTA_MEMORY_MAX + 10, 0, VERSION, NOW_MS, &row));
	quota_destroy(&quota);
}

static void test_a_broken_proxys_amounts_are_not_asked(void **state)
{
	struct quota *quota = quota_new(NULL, NULL, NULL, NULL); /* a query would crash */
	static const uint32_t amounts[][2] = {{0, 1}, {1, 0}, {QUOTA_MESSAGES_MAX + 1, 1},
		{1, QUOTA_RECIPIENTS_MAX + 1}, {UINT32_MAX, UINT32_MAX}};

	(void)state;
	for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
		const struct take take = {
			.account = ACCOUNT, .messages = amounts[i][0], .recipients = amounts[i][1]};
		assert_false(quota_take(quota, &take));
	}
	quota_destroy(&quota);
}

static void test_the_slowest_kind_in_use_sets_the_pace(void **state)
{
	const struct password_cost big = {64 << 20, 2}, small = {19 << 20, 2}, tiny = {1, 1};
	struct pace pace = {0};

	(void)state;
	assert_int_equal(pace_slowest_us(&pace, 0), 0);
	for (int i = 0; i < 50; i++) {
		pace_hash(&pace, PASSWORD_ARGON2ID, &big, 80000, 1000);
		pace_hash(&pace, PASSWORD_ARGON2ID, &small, 20000, 2000);
	}
	assert_in_range(pace_slowest_us(&pace, 2000), 79000, 81000);
	/* The slow kind was not seen for ten minutes: nobody has it any more. */
	assert_in_range(pace_slowest_us(&pace, 1000 + PACE_MEMORY_MS), 19000, 21000);
	pace_hash(&pace, PASSWORD_ARGON2ID, &tiny, UINT64_MAX, 3000);
	assert_int_equal(pace_slowest_us(&pace, 3000), PACE_WALL_MAX_US);
	/* Any number of quick kinds push no slow one out; when it is out of use, they count. */
	for (unsigned kind = 0; kind < 3 * PACE_KINDS_MAX; kind++) {
		const struct password_cost other = {1 << 20, kind};
		pace_hash(&pace, PASSWORD_ARGON2ID, &other, 5000, 4000 + kind);
	}
	assert_int_equal(pace_slowest_us(&pace, 5000), PACE_WALL_MAX_US);
	assert_int_equal(
		pace_slowest_us(&pace, 3000 + PACE_MEMORY_MS), 5000 + PACE_DEVIATIONS * 5000 / 4);
}

/* Whatever exceeded the pace would show in the time of its own kind alone. */
static void test_hardly_a_hash_exceeds_the_pace(void **state)
{
	const struct password_cost cost = {64 << 20, 2};
	struct pace pace = {0};
	uint64_t number = 1;
	int beyond = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		number = number * 6364136223846793005u + 1442695040888963407u;
		uint64_t wall_us = 60000 + (number >> 33) % 40000;
		if (i >= 100 && wall_us > pace_slowest_us(&pace, 1000))
			beyond++;
		pace_hash(&pace, PASSWORD_ARGON2ID, &cost, wall_us, 1000);
	}
	assert_int_equal(beyond, 0);
	assert_in_range(pace_slowest_us(&pace, 1000), 100000, 160000);
}

static void test_schemes_of_the_same_numbers_are_kinds_of_their_own(void **state)
{
	const struct password_cost cost = {0, 12};
	struct pace pace = {0};

	(void)state;
	for (uint64_t at = 0; at < 50; at++) {
		pace_hash(&pace, PASSWORD_BCRYPT, &cost, 200000, at);
		pace_hash(&pace, PASSWORD_SSHA, &cost, 1, at);
	}
	assert_in_range(pace_slowest_us(&pace, 100), 199000, 201000);
}

static void test_the_dummy_is_in_use_from_the_first_log_in_on(void **state)
{
	const struct password_cost cost = {64 << 20, 2}, cheap = {0, 1};
	struct pace pace = {0};

	(void)state;
	pace_expect(&pace, &cost);
	assert_in_range(pace_slowest_us(&pace, 0), 40000, 160000);
	pace_hash(&pace, PASSWORD_ARGON2ID, &cost, 300000, 10); /* as it is here */
	assert_int_equal(pace_slowest_us(&pace, 10), 300000 + PACE_DEVIATIONS * 300000 / 4);
	for (uint64_t at = 0; at < 3 * PACE_KINDS_MAX; at++) {
		const struct password_cost other = {1 << 20, (unsigned)at};
		pace_hash(&pace, PASSWORD_ARGON2ID, &other, 5000, at + 11);
		pace_hash(&pace, PASSWORD_SSHA, &cheap, 1, at + 11);
	}
	assert_int_equal(pace_slowest_us(&pace, 100 * PACE_MEMORY_MS),
		300000 + PACE_DEVIATIONS * 300000 / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_a_credentials_own_meter_tells_of_its_sessions_only),
		cmocka_unit_test(test_the_accounts_meter_tells_of_all_its_sessions),
		cmocka_unit_test(test_another_version_or_account_is_not_meant),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_a_broken_proxys_amounts_are_not_asked),
		cmocka_unit_test(test_the_slowest_kind_in_use_sets_the_pace),
		cmocka_unit_test(test_hardly_a_hash_exceeds_the_pace),
		cmocka_unit_test(test_schemes_of_the_same_numbers_are_kinds_of_their_own),
		cmocka_unit_test(test_the_dummy_is_in_use_from_the_first_log_in_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
