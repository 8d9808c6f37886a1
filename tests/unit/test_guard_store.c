/* SPDX-License-Identifier: ISC */
/* Records and blocks in the database's forms: there and back, and what is refused. */
#include "auth/guard_store.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MINUTE_MS = 60 * 1000, NOW = 100 * MINUTE_MS };

static const struct config_guard config = {
	.enabled = true,
	.prefix_v4 = 32,
	.prefix_v6 = 64,
	.guesses = 5,
	.guesses_known = 20,
	.guesses_account = 50,
	.guesses_network = 50,
	.names_network = 20,
	.forgive_ms = 10 * MINUTE_MS,
	.block_ms = 10 * MINUTE_MS,
	.block_max_ms = 100 * MINUTE_MS,
	.remember_ms = 1000 * MINUTE_MS,
};
static const struct guard_settings settings = {.config = &config, .capacity = {16, 16, 16, 16}};
static const uint8_t seed[GUARD_SEED_BYTES] = {1, 2, 3};
static const uint8_t name[] = "alice";
static const struct address_key client = {.bytes = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};

static struct guard *guard, *other;

static int setup(void **state)
{
	(void)state;
	guard = guard_new(&settings);
	other = guard_new(&settings);
	if (guard == NULL || other == NULL)
		return 1;
	guard_seed(guard, seed);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guard_destroy(&guard);
	guard_destroy(&other);
	return 0;
}

static void put(uint8_t **at, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		(*at)[i] = (uint8_t)(value >> 8 * (width - 1 - i));
	*at += width;
}

/* As guard_load() writes it. */
static void write_record(
	uint8_t out[GUARD_STORE_RECORD_BYTES], const struct guard_record *record, uint64_t age_ms)
{
	uint8_t *at = out;

	put(&at, record->kind, 1);
	memcpy(at, record->key, sizeof record->key);
	at += sizeof record->key;
	put(&at, record->wrong, 4);
	put(&at, record->names, 4);
	put(&at, record->strikes, 4);
	put(&at, record->known_ms > age_ms ? record->known_ms - age_ms : 0, 8);
	put(&at, record->keep_ms, 8);
	put(&at, age_ms, 8);
	assert_ptr_equal(at, out + GUARD_STORE_RECORD_BYTES);
}

static void fail_once(struct guard *which, uint8_t tag)
{
	const uint8_t tags[GUARD_TAG_BYTES] = {[1] = tag};

	assert_int_equal(guard_ask(which, name, 5, &client, NOW).answer, GUARD_PASS);
	guard_failed(which, name, 5, &client, tags, NOW);
}

static size_t carry(uint64_t age_ms, uint64_t now_ms)
{
	struct guard_record records[16];
	uint8_t bytes[16 * GUARD_STORE_RECORD_BYTES];
	size_t count = guard_take_changed(guard, records, 16, NOW);

	for (size_t i = 0; i < count; i++)
		write_record(bytes + i * GUARD_STORE_RECORD_BYTES, &records[i], age_ms);
	assert_true(guard_store_load(
		other, seed, sizeof seed, bytes, count * GUARD_STORE_RECORD_BYTES, now_ms));
	return count;
}

static void test_another_node_goes_on_where_this_one_was(void **state)
{
	(void)state;
	for (uint8_t tag = 1; tag <= 5; tag++)
		fail_once(guard, tag);
	assert_int_equal(guard_ask(guard, name, 5, &client, NOW).answer, GUARD_HOLD);
	assert_int_equal(carry(0, NOW), 3); /* the pair, the network, the account */
	assert_int_equal(guard_ask(other, name, 5, &client, NOW).answer, GUARD_HOLD);
}

static void test_what_is_old_is_partly_forgotten(void **state)
{
	(void)state;
	for (uint8_t tag = 1; tag <= 5; tag++)
		fail_once(guard, tag);
	carry(3 * config.forgive_ms, NOW);
	assert_int_equal(guard_ask(other, name, 5, &client, NOW).answer, GUARD_PASS);
}

static void test_known_networks_stay_known(void **state)
{
	(void)state;
	assert_int_equal(guard_ask(guard, name, 5, &client, NOW).answer, GUARD_PASS);
	guard_succeeded(guard, name, 5, &client, NOW);
	carry(400 * MINUTE_MS, NOW);
	assert_true(guard_knows(other, name, 5, &client, NOW + 599 * MINUTE_MS));
	assert_false(guard_knows(other, name, 5, &client, NOW + 601 * MINUTE_MS));
}

static void test_another_shape_is_refused(void **state)
{
	const struct guard_record record = {.kind = GUARD_KIND_PAIR};
	uint8_t bytes[2 * GUARD_STORE_RECORD_BYTES] = {0};

	(void)state;
	write_record(bytes, &record, 0);
	write_record(bytes + GUARD_STORE_RECORD_BYTES, &record, 0);
	assert_true(guard_store_load(guard, seed, sizeof seed, bytes, sizeof bytes, NOW));
	assert_true(guard_store_load(guard, seed, sizeof seed, bytes, 0, NOW));
	assert_false(guard_store_load(guard, seed, sizeof seed, bytes, sizeof bytes - 1, NOW));
	assert_false(guard_store_load(guard, seed, sizeof seed - 1, bytes, sizeof bytes, NOW));
	bytes[GUARD_STORE_RECORD_BYTES] = GUARD_KIND_ACCOUNT + 1;
	assert_false(guard_store_load(guard, seed, sizeof seed, bytes, sizeof bytes, NOW));
	bytes[GUARD_STORE_RECORD_BYTES] = 0;
	assert_false(guard_store_load(guard, seed, sizeof seed, bytes, sizeof bytes, NOW));
}

/* The largest numbers overflow nothing. */
static void test_absurd_numbers(void **state)
{
	uint8_t bytes[GUARD_STORE_RECORD_BYTES];

	(void)state;
	for (int kind = GUARD_KIND_KNOWN; kind <= GUARD_KIND_ACCOUNT; kind++) {
		memset(bytes, 0xff, sizeof bytes);
		bytes[0] = (uint8_t)kind;
		assert_true(guard_store_load(guard, seed, sizeof seed, bytes, sizeof bytes, NOW));
		memset(bytes + GUARD_STORE_RECORD_BYTES - 8, 0, 8);
		assert_true(guard_store_load(guard, seed, sizeof seed, bytes, sizeof bytes, NOW));
	}
	(void)guard_ask(guard, name, 5, &client, NOW);
}

static void test_the_text_of_records(void **state)
{
	const struct guard_record records[2] = {
		{.kind = GUARD_KIND_KNOWN, .key = {0xab, 1}, .known_ms = 5, .keep_ms = 6},
		{.kind = GUARD_KIND_NETWORK, .wrong = 1, .names = 2, .strikes = 3, .keep_ms = 4},
	};

	(void)state;
	char *text = guard_store_text(records, 2);
	assert_string_equal(text, "[[1,\"ab010000000000000000000000000000\",0,0,0,5,6],"
				  "[3,\"00000000000000000000000000000000\",1,2,3,0,4]]");
	free(text);
	text = guard_store_text(records, 0);
	assert_string_equal(text, "[]");
	free(text);
}

static struct {
	size_t count;
	char last[NETWORK_TEXT_MAX];
	uint64_t for_ms;
} taken;

static void take(const struct network *network, uint64_t for_ms, void *arg)
{
	(void)arg;
	taken.count++;
	taken.for_ms = for_ms;
	network_format(network, taken.last);
}

static bool read_list(const char *list)
{
	memset(&taken, 0, sizeof taken);
	return guard_store_blocks((const uint8_t *)list, strlen(list), 1000, take, NULL);
}

static void test_the_list_of_blocks(void **state)
{
	static const char *const bad[] = {"192.0.2.0/24", "192.0.2.0/24 ", " 1001", ",",
		"192.0.2.0/24 1001,", "192.0.2.0/24 10x1", "192.0.2.0/24 1001 1", "localhost 1001",
		"192.0.2.0/24 1001;198.51.100.0/24 1001", "192.0.2.0/24 1234567890123456",
		"192.0.2.0/24 -1", "192.0.2.0/33 1001"};

	(void)state;
	assert_true(read_list(""));
	assert_int_equal(taken.count, 0);
	assert_true(read_list("192.0.2.0/24 1001"));
	assert_string_equal(taken.last, "192.0.2.0/24");
	assert_int_equal(taken.for_ms, 1000);
	assert_true(read_list("192.0.2.0/24 1001,2001:db8::/32 2000,198.51.100.7/32 1000"));
	assert_int_equal(taken.count, 2); /* the last one has ended */
	assert_string_equal(taken.last, "2001:db8::/32");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (read_list(bad[i]))
			fail_msg("taken: %s", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_another_node_goes_on_where_this_one_was, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_is_old_is_partly_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_known_networks_stay_known, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_shape_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absurd_numbers, setup, teardown),
		cmocka_unit_test(test_the_text_of_records),
		cmocka_unit_test(test_the_list_of_blocks),
	};

	return sodium_init() == -1 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
