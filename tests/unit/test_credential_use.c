/* SPDX-License-Identifier: ISC */
/* Uses of credentials: the first soon, later ones coarsely, in batches that PostgreSQL can read. */
#include "auth/credential_use.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1000000, WALL = 1800000000, ONE = 11, TWO = 22 };

static const struct address_key here = {{[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 7}};

static struct {
	size_t count;
	bool refuses;
	char credentials[2048], seconds[2048], addresses[4096], clients[32768];
} written;

static struct credential_uses *uses;

static bool write_batch(const struct credential_use_batch *batch, void *arg)
{
	(void)arg;
	if (written.refuses)
		return false;
	written.count++;
	snprintf(written.credentials, sizeof written.credentials, "%s", batch->credentials);
	snprintf(written.seconds, sizeof written.seconds, "%s", batch->seconds);
	snprintf(written.addresses, sizeof written.addresses, "%s", batch->addresses);
	snprintf(written.clients, sizeof written.clients, "%s", batch->clients);
	return true;
}

static void note(uint64_t number, const char *name, uint64_t now_ms)
{
	credential_uses_note(uses, number, &here, (const uint8_t *)name, strlen(name), now_ms,
		WALL + (now_ms - NOW) / 1000);
}

static int setup(void **state)
{
	(void)state;
	memset(&written, 0, sizeof written);
	uses = credential_uses_new(write_batch, NULL);
	return uses == NULL;
}

static int teardown(void **state)
{
	(void)state;
	credential_uses_destroy(&uses);
	return uses != NULL;
}

static void test_the_first_use_is_written_at_the_next_tick(void **state)
{
	(void)state;
	credential_uses_tick(uses, NOW);
	assert_int_equal(written.count, 0);
	note(ONE, "first", NOW);
	note(TWO, "two", NOW);
	note(ONE, "last", NOW + 5000);
	credential_uses_tick(uses, NOW + 5000);
	assert_int_equal(written.count, 1);
	assert_string_equal(written.credentials, "{11,22}");
	assert_string_equal(written.seconds, "{1800000005,1800000000}");
	assert_string_equal(written.addresses, "{\"192.0.2.7\",\"192.0.2.7\"}");
	assert_string_equal(written.clients, "{\"last\",\"two\"}");
}

static void test_later_ones_are_written_once_in_a_while(void **state)
{
	(void)state;
	note(ONE, "a", NOW);
	credential_uses_tick(uses, NOW);
	credential_uses_written(uses);
	note(ONE, "b", NOW + 1);
	note(ONE, "c", NOW + 2000);
	credential_uses_tick(uses, NOW + CREDENTIAL_USE_MS - 1);
	assert_int_equal(written.count, 1);
	credential_uses_tick(uses, NOW + CREDENTIAL_USE_MS);
	assert_int_equal(written.count, 2);
	assert_string_equal(written.clients, "{\"c\"}");
	credential_uses_written(uses);
	/* Nothing new: nothing is written. */
	credential_uses_tick(uses, NOW + 10 * CREDENTIAL_USE_MS);
	assert_int_equal(written.count, 2);
	note(ONE, "d", NOW + 10 * CREDENTIAL_USE_MS);
	credential_uses_tick(uses, NOW + 10 * CREDENTIAL_USE_MS);
	assert_int_equal(written.count, 3);
}

static void test_one_write_at_a_time(void **state)
{
	(void)state;
	note(ONE, "a", NOW);
	credential_uses_tick(uses, NOW);
	note(TWO, "b", NOW);
	credential_uses_tick(uses, NOW + 1000);
	assert_int_equal(written.count, 1);
	credential_uses_written(uses);
	credential_uses_tick(uses, NOW + 2000);
	assert_int_equal(written.count, 2);
	credential_uses_written(uses);
	written.refuses = true;
	note(3, "c", NOW);
	credential_uses_tick(uses, NOW);
	written.refuses = false;
	note(4, "d", NOW);
	credential_uses_tick(uses, NOW + 1);
	assert_string_equal(written.credentials, "{4}");
}

static void test_a_batch_has_an_end_and_the_rest_follows(void **state)
{
	(void)state;
	for (uint64_t number = 1; number <= CREDENTIAL_USE_BATCH_MAX + 1; number++)
		note(number, "x", NOW);
	credential_uses_tick(uses, NOW);
	assert_null(strstr(written.credentials, ",65"));
	credential_uses_written(uses);
	credential_uses_tick(uses, NOW);
	assert_string_equal(written.credentials, "{65}");
}

/* The client's own words stay one element of an array, and plain. */
static void test_every_octet_of_a_name(void **state)
{
	(void)state;
	for (unsigned octet = 1; octet <= UINT8_MAX; octet++) {
		const char name[] = {'a', (char)octet, 'b', '\0'};
		char want[16];
		bool plain = octet >= 0x20 && octet < 0x7f;
		bool quoted = octet == '"' || octet == '\\';
		snprintf(want, sizeof want, "{\"a%s%cb\"}", quoted ? "\\" : "",
			plain ? (char)octet : '?');
		note(octet, name, NOW);
		credential_uses_tick(uses, NOW);
		credential_uses_written(uses);
		assert_string_equal(written.clients, want);
	}
}

static void test_the_number_of_entries_is_bounded(void **state)
{
	(void)state;
	for (uint64_t number = 1; number <= CREDENTIAL_USE_ENTRIES_MAX + 100; number++)
		note(number, "", NOW);
	assert_int_equal(credential_uses_count(uses), CREDENTIAL_USE_ENTRIES_MAX);
	/* Those that were written make room. */
	credential_uses_tick(uses, NOW);
	credential_uses_written(uses);
	note(1000000, "new", NOW);
	assert_int_equal(credential_uses_count(uses), CREDENTIAL_USE_ENTRIES_MAX);
	for (size_t i = 0; i <= CREDENTIAL_USE_ENTRIES_MAX / CREDENTIAL_USE_BATCH_MAX; i++) {
		credential_uses_tick(uses, NOW);
		credential_uses_written(uses);
	}
	assert_non_null(strstr(written.credentials, "1000000"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_the_first_use_is_written_at_the_next_tick, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_later_ones_are_written_once_in_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_write_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_batch_has_an_end_and_the_rest_follows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_octet_of_a_name, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_number_of_entries_is_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
