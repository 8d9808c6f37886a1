/* SPDX-License-Identifier: ISC */
/* What a refusal teaches of the next MAIL, and what it does not. */
#include "auth/quota_memory.h"

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
	{"a plan that rejects", "messages per hour", QUERY_QUOTA_REJECTED, 1, WALL_S + 4, true,
		4000},
	{"of the tenant", "messages per day of the tenant acme", QUERY_QUOTA_REFUSED, 3, WALL_S + 4,
		true, 4000},
	{"the next one may be of another domain", "messages per day of the domain example.net",
		QUERY_QUOTA_REFUSED, 1, WALL_S + 4, false, 0},
	{"octets say nothing", "bytes per hour", QUERY_QUOTA_REFUSED, 1, WALL_S + 4, false, 0},
	{"new ones say nothing", "new recipients per hour", QUERY_QUOTA_REFUSED, 1, WALL_S + 4,
		false, 0},
	{"revoked", "", QUERY_QUOTA_REVOKED, 1, WALL_S + 4, false, 0},
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
		struct quota_memory *memory = quota_memory_new();
		struct query_quota_row row = row_of(
					       cases[i].result, cases[i].meter, cases[i].reset_s),
				       got;
		quota_memory_put(
			memory, ACCOUNT, 0, VERSION, cases[i].recipients, &row, NOW_MS, WALL_S);
		if (quota_memory_has(memory, ACCOUNT, 0, VERSION, NOW_MS, &got) !=
			cases[i].remembered)
			fail_msg("%s: got %d, want %d", cases[i].name, !cases[i].remembered,
				cases[i].remembered);
		if (cases[i].remembered) {
			assert_int_equal(got.limit, 5);
			assert_true(quota_memory_has(
				memory, ACCOUNT, 0, VERSION, NOW_MS + cases[i].ms - 1, &got));
			if (quota_memory_has(
				    memory, ACCOUNT, 0, VERSION, NOW_MS + cases[i].ms, &got))
				fail_msg("%s: remembered for too long", cases[i].name);
		}
		quota_memory_destroy(&memory);
	}
}

static void test_a_credentials_own_meter_tells_of_its_sessions_only(void **state)
{
	enum { FIRST = 5, SECOND = 6 };
	struct quota_memory *memory = quota_memory_new();
	struct query_quota_row got, row = row_of(QUERY_QUOTA_REFUSED,
					    "messages per hour of this credential", WALL_S + 9);

	(void)state;
	quota_memory_put(memory, ACCOUNT, FIRST, VERSION, 1, &row, NOW_MS, WALL_S);
	assert_true(quota_memory_has(memory, ACCOUNT, FIRST, VERSION, NOW_MS, &got));
	assert_int_equal(got.meter_len, strlen("messages per hour of this credential"));
	assert_false(quota_memory_has(memory, ACCOUNT, SECOND, VERSION, NOW_MS, &got));
	assert_false(quota_memory_has(memory, ACCOUNT, 0, VERSION, NOW_MS, &got));
	/* An account's id and a credential's number are not the same thing. */
	assert_false(quota_memory_has(memory, FIRST, 0, VERSION, NOW_MS, &got));
	quota_memory_forget(memory, ACCOUNT, FIRST);
	assert_false(quota_memory_has(memory, ACCOUNT, FIRST, VERSION, NOW_MS, &got));
	quota_memory_destroy(&memory);
}

static void test_the_accounts_meter_tells_of_all_its_sessions(void **state)
{
	enum { CREDENTIAL = 5 };
	struct quota_memory *memory = quota_memory_new();
	struct query_quota_row got,
		row = row_of(QUERY_QUOTA_REFUSED, "messages per hour", WALL_S + 9);

	(void)state;
	quota_memory_put(memory, ACCOUNT, CREDENTIAL, VERSION, 1, &row, NOW_MS, WALL_S);
	assert_true(quota_memory_has(memory, ACCOUNT, 0, VERSION, NOW_MS, &got));
	assert_true(quota_memory_has(memory, ACCOUNT, CREDENTIAL + 1, VERSION, NOW_MS, &got));
	quota_memory_forget(memory, ACCOUNT, CREDENTIAL);
	assert_false(quota_memory_has(memory, ACCOUNT, 0, VERSION, NOW_MS, &got));
	quota_memory_destroy(&memory);
}

static void test_another_version_or_account_is_not_meant(void **state)
{
	struct quota_memory *memory = quota_memory_new();
	struct query_quota_row row = row_of(QUERY_QUOTA_REFUSED, "messages per hour", WALL_S + 9);

	(void)state;
	quota_memory_put(memory, ACCOUNT, 0, VERSION, 1, &row, NOW_MS, WALL_S);
	assert_false(quota_memory_has(memory, ACCOUNT + 1, 0, VERSION, NOW_MS, &row));
	assert_true(quota_memory_has(memory, ACCOUNT, 0, VERSION, NOW_MS, &row));
	/* The operator raised the limit: the row has another version. */
	assert_false(quota_memory_has(memory, ACCOUNT, 0, VERSION + 1, NOW_MS, &row));
	quota_memory_put(memory, ACCOUNT, 0, VERSION, 1, &row, NOW_MS, WALL_S);
	quota_memory_forget(memory, ACCOUNT, 0);
	assert_false(quota_memory_has(memory, ACCOUNT, 0, VERSION, NOW_MS, &row));
	quota_memory_destroy(&memory);
}

static void test_memory_is_bounded(void **state)
{
	struct quota_memory *memory = quota_memory_new();
	struct query_quota_row row = row_of(QUERY_QUOTA_REFUSED, "messages per hour", WALL_S + 9);

	(void)state;
	for (uint64_t i = 1; i <= QUOTA_MEMORY_MAX + 10; i++) {
		quota_memory_put(memory, i, 0, VERSION, 1, &row, NOW_MS, WALL_S);
	}
	assert_false(quota_memory_has(memory, 10, 0, VERSION, NOW_MS, &row));
	assert_true(quota_memory_has(memory, 11, 0, VERSION, NOW_MS, &row));
	assert_true(quota_memory_has(memory, QUOTA_MEMORY_MAX + 10, 0, VERSION, NOW_MS, &row));
	quota_memory_destroy(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_a_credentials_own_meter_tells_of_its_sessions_only),
		cmocka_unit_test(test_the_accounts_meter_tells_of_all_its_sessions),
		cmocka_unit_test(test_another_version_or_account_is_not_meant),
		cmocka_unit_test(test_memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
