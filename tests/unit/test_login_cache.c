/* SPDX-License-Identifier: ISC */
/* Verified log-ins: what is remembered, of whom, and for how long. */
#include "auth/login_cache.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { AGE_MS = 1000 };

static bool has(struct login_cache *cache, uint64_t account, uint64_t version, const char *secret,
	uint64_t now)
{
	return login_cache_has(
		cache, account, version, (const uint8_t *)secret, strlen(secret), now);
}

static void add(struct login_cache *cache, uint64_t account, uint64_t version, const char *secret,
	uint64_t now)
{
	login_cache_add(cache, account, version, (const uint8_t *)secret, strlen(secret), now);
}

static void test_bound_to_account_version_and_secret(void **state)
{
	struct login_cache *cache = login_cache_new(10, AGE_MS);

	(void)state;
	assert_false(has(cache, 1, 7, "secret", 0));
	add(cache, 1, 7, "secret", 0);
	assert_true(has(cache, 1, 7, "secret", 1));
	assert_false(has(cache, 2, 7, "secret", 1));
	assert_false(has(cache, 1, 8, "secret", 1));
	assert_false(has(cache, 1, 7, "Secret", 1));
	assert_false(has(cache, 1, 7, "secret ", 1));
	assert_false(has(cache, 1, 7, "", 1));
	login_cache_destroy(&cache);
	assert_null(cache);
}

static void test_age_counts_from_the_verification(void **state)
{
	struct login_cache *cache = login_cache_new(10, AGE_MS);

	(void)state;
	add(cache, 1, 1, "a", 100);
	assert_true(has(cache, 1, 1, "a", 100 + AGE_MS - 1));
	assert_false(has(cache, 1, 1, "a", 100 + AGE_MS));
	assert_int_equal(login_cache_count(cache), 0);
	add(cache, 1, 1, "a", 5000);
	add(cache, 1, 1, "a", 5500); /* verified again: one entry, the younger */
	assert_int_equal(login_cache_count(cache), 1);
	assert_true(has(cache, 1, 1, "a", 5000 + AGE_MS + 1));
	login_cache_destroy(&cache);
}

static void test_bounded_and_the_oldest_goes_first(void **state)
{
	struct login_cache *cache = login_cache_new(3, AGE_MS);

	(void)state;
	for (uint64_t i = 1; i <= 5; i++)
		add(cache, i, 1, "a", i);
	assert_int_equal(login_cache_count(cache), 3);
	assert_false(has(cache, 1, 1, "a", 6));
	assert_false(has(cache, 2, 1, "a", 6));
	for (uint64_t i = 3; i <= 5; i++)
		assert_true(has(cache, i, 1, "a", 6));
	login_cache_destroy(&cache);
}

static void test_without_entries_it_is_off(void **state)
{
	struct login_cache *cache = login_cache_new(0, AGE_MS);

	(void)state;
	add(cache, 1, 1, "a", 0);
	assert_false(has(cache, 1, 1, "a", 0));
	login_cache_destroy(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound_to_account_version_and_secret),
		cmocka_unit_test(test_age_counts_from_the_verification),
		cmocka_unit_test(test_bounded_and_the_oldest_goes_first),
		cmocka_unit_test(test_without_entries_it_is_off),
	};

	if (sodium_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
