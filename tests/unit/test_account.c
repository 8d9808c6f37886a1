/* SPDX-License-Identifier: ISC */
/* The account cache: trust, one look-up a login, bounds, and callbacks that ask again. */
#include "auth/account.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TICKETS_MAX = 64 };

/* The database of these tests: remembers what was asked. */
static struct {
	size_t asked;
	uint64_t tickets[TICKETS_MAX];
	bool refuses;
} lookups;

/* Who waited: what came to each token. */
static struct {
	size_t count;
	uint64_t token[TICKETS_MAX];
	enum row_answer answer[TICKETS_MAX];
	uint64_t account[TICKETS_MAX];
} told;

static struct row_cache *cache;

static bool lookup(void *arg, uint64_t ticket, const uint8_t *login, size_t len)
{
	(void)arg;
	assert_true(len > 0 && login != NULL);
	if (lookups.refuses)
		return false;
	lookups.tickets[lookups.asked++] = ticket;
	return true;
}

static void done(enum row_answer answer, const struct account *account, void *arg, uint64_t token)
{
	(void)arg;
	assert_int_equal(answer == ROW_KNOWN, account != NULL);
	told.token[told.count] = token;
	told.answer[told.count] = answer;
	told.account[told.count++] = account == NULL ? 0 : account->id;
}

static void get(const char *login, bool fresh, uint64_t now, uint64_t token)
{
	account_cache_get(
		cache, (const uint8_t *)login, strlen(login), fresh, now, done, NULL, token);
}

static struct account *account(uint64_t id, size_t senders_bytes)
{
	struct account *made = account_new(senders_bytes);

	assert_non_null(made);
	made->id = id;
	made->senders.bytes_used = (uint16_t)senders_bytes;
	return made;
}

static void answer(size_t ticket, uint64_t id, uint64_t now)
{
	account_cache_answer(cache, lookups.tickets[ticket], id == 0 ? ROW_UNKNOWN : ROW_KNOWN,
		id == 0 ? NULL : account(id, 0), now);
}

static void open_cache(size_t entries, size_t bytes)
{
	const struct row_cache_settings settings = {.kind = &account_rows,
		.entries_max = entries,
		.bytes_max = bytes,
		.lookup = lookup};

	memset(&lookups, 0, sizeof lookups);
	memset(&told, 0, sizeof told);
	cache = row_cache_new(&settings);
	assert_non_null(cache);
}

static void test_one_lookup_for_all_who_wait(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	for (uint64_t token = 1; token <= 5; token++)
		get("alice", false, 0, token);
	get("bob", false, 0, 6);
	assert_int_equal(lookups.asked, 2);
	assert_int_equal(told.count, 0);
	answer(0, 77, 10);
	assert_int_equal(told.count, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(told.token[i], i + 1);
		assert_int_equal(told.account[i], 77);
	}
	row_cache_destroy(&cache); /* bob's waiter is let go unheard */
	assert_int_equal(told.count, 5);
}

static void test_known_is_trusted_ten_seconds_unknown_two(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	get("alice", false, 1000, 1);
	get("nobody", false, 1000, 2);
	answer(0, 77, 1500); /* it is as old as its question */
	answer(1, 0, 1500);
	assert_int_equal(told.answer[1], ROW_UNKNOWN);
	get("alice", false, 1000 + ROW_TRUST_MS - 1, 3);
	assert_int_equal(told.count, 3);
	get("nobody", false, 1000 + ROW_UNKNOWN_MS - 1, 4);
	assert_int_equal(told.count, 4);
	assert_int_equal(lookups.asked, 2);
	get("nobody", false, 1000 + ROW_UNKNOWN_MS, 5);
	get("alice", false, 1000 + ROW_TRUST_MS, 6);
	assert_int_equal(lookups.asked, 4);
	row_cache_destroy(&cache);
}

static void test_fresh_and_forget_ask_again(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	get("alice", false, 0, 1);
	answer(0, 77, 0);
	get("alice", true, 1, 2);
	assert_int_equal(lookups.asked, 2);
	answer(1, 78, 2);
	assert_int_equal(told.account[1], 78);
	row_cache_forget(cache, (const uint8_t *)"alice", 5);
	row_cache_forget(cache, (const uint8_t *)"nobody", 6);
	get("alice", false, 3, 3);
	assert_int_equal(lookups.asked, 3);
	row_cache_destroy(&cache);
}

static const struct account *peek(const char *login, uint64_t now)
{
	return account_cache_peek(cache, (const uint8_t *)login, strlen(login), now);
}

static void learn(const char *login, uint64_t id, uint64_t now)
{
	get(login, true, now, 1);
	answer(lookups.asked - 1, id, now);
}

static void test_told_of_changes_it_trusts_for_longer(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	learn("alice", 77, 0);
	learn("nobody", 0, 0);
	assert_non_null(peek("alice", ROW_TRUST_MS - 1));
	assert_null(peek("alice", ROW_TRUST_MS));
	row_cache_feed(cache, true);
	assert_int_equal(peek("alice", ROW_FED_MS - 1)->id, 77);
	assert_null(peek("alice", ROW_FED_MS));
	/* Who is unknown may be made at any time, and nobody here knows its id. */
	get("nobody", false, ROW_UNKNOWN_MS, 9);
	assert_int_equal(lookups.asked, 3);
	row_cache_feed(cache, false);
	assert_null(peek("alice", ROW_TRUST_MS));
	row_cache_feed(cache, true);
	assert_non_null(peek("alice", ROW_TRUST_MS));
	row_cache_destroy(&cache);
}

static void test_a_change_forgets_that_account_under_every_login(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	row_cache_feed(cache, true);
	learn("alice", 77, 0);
	learn("al", 77, 0);
	learn("bob", 77 + (1 << 14), 0); /* a neighbour in its bucket */
	row_cache_changed(cache, 77);
	row_cache_changed(cache, 4711);
	assert_null(peek("alice", 1));
	assert_null(peek("al", 1));
	assert_non_null(peek("bob", 1));
	learn("alice", 77, 2);
	assert_non_null(peek("alice", 3));
	row_cache_changed_all(cache);
	assert_null(peek("alice", 3));
	assert_null(peek("bob", 3));
	learn("bob", 78, 4);
	assert_int_equal(peek("bob", 5)->id, 78);
	row_cache_destroy(&cache);
}

/* The row in flight may be the one before: its reader gets it, and nobody after. */
static void test_a_change_during_a_look_up(void **state)
{
	(void)state;
	for (int all = 0; all <= 1; all++) {
		open_cache(10, 1 << 20);
		row_cache_feed(cache, true);
		learn("bob", 5, 0);
		get("alice", false, 0, 1);
		row_cache_changed(cache, 5);
		if (all)
			row_cache_changed_all(cache);
		else
			row_cache_changed(cache, 77);
		answer(1, 77, 1);
		assert_int_equal(told.account[1], 77);
		assert_null(peek("alice", 1));
		learn("alice", 77, 2);
		assert_non_null(peek("alice", 2));
		row_cache_destroy(&cache);
	}
}

static void test_forget_is_for_the_look_up_in_flight_too(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	get("alice", false, 0, 1);
	row_cache_forget(cache, (const uint8_t *)"alice", 5);
	answer(0, 77, 1);
	assert_int_equal(told.account[0], 77);
	assert_null(peek("alice", 1));
	row_cache_destroy(&cache);
}

static void test_a_look_up_that_more_changes_outlived_than_are_kept(void **state)
{
	(void)state;
	for (uint64_t changes = 1024; changes <= 1025; changes++) {
		open_cache(10, 1 << 20);
		row_cache_feed(cache, true);
		get("alice", false, 0, 1);
		for (uint64_t i = 0; i < changes; i++)
			row_cache_changed(cache, 1000 + i);
		answer(0, 77, 1);
		assert_int_equal(peek("alice", 1) != NULL, changes == 1024);
		row_cache_destroy(&cache);
	}
}

static void test_fresh_is_a_look_up_that_begins_later(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	get("alice", false, 0, 1);
	get("alice", true, 0, 2);
	get("alice", true, 0, 3);
	get("alice", false, 0, 4);
	assert_int_equal(lookups.asked, 1);
	answer(0, 77, 1);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.token[1], 4);
	assert_int_equal(lookups.asked, 2);
	answer(1, 78, 2);
	assert_int_equal(told.count, 4);
	assert_int_equal(told.token[2], 2);
	assert_int_equal(told.account[3], 78);
	/* The next one cannot be asked: that is no answer. */
	get("alice", true, 3, 5);
	get("alice", true, 3, 6);
	lookups.refuses = true;
	answer(2, 79, 4);
	assert_int_equal(told.account[4], 79);
	assert_int_equal(told.answer[5], ROW_UNAVAILABLE);
	get("alice", false, 5, 7);
	assert_int_equal(told.account[6], 79);
	lookups.refuses = false;
	get("alice", true, 6, 8);
	get("alice", true, 6, 9);
	row_cache_destroy(&cache); /* those of both kinds are let go */
}

static void test_what_is_remembered_for_an_outage(void **state)
{
	static const uint8_t alice[] = "alice", nobody[] = "nobody";

	(void)state;
	open_cache(10, 1 << 20);
	learn("alice", 77, 0);
	learn("nobody", 0, 0);
	assert_null(peek("alice", 59999));
	assert_int_equal(account_cache_remembered(cache, alice, 5, 60000, 59999)->id, 77);
	assert_null(account_cache_remembered(cache, alice, 5, 60000, 60000));
	assert_null(account_cache_remembered(cache, nobody, 6, 60000, 1));
	row_cache_changed(cache, 77);
	assert_null(account_cache_remembered(cache, alice, 5, 60000, 1));
	learn("alice", 77, 2);
	row_cache_changed_all(cache);
	assert_null(account_cache_remembered(cache, alice, 5, 60000, 3));
	row_cache_destroy(&cache);
}

static void test_an_outage_is_not_remembered(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	lookups.refuses = true;
	get("alice", false, 0, 1);
	assert_int_equal(told.answer[0], ROW_UNAVAILABLE);
	assert_int_equal(row_cache_count(cache), 0);
	lookups.refuses = false;
	get("alice", false, 0, 2);
	account_cache_answer(cache, lookups.tickets[0], ROW_UNAVAILABLE, NULL, 1);
	assert_int_equal(told.answer[1], ROW_UNAVAILABLE);
	assert_int_equal(row_cache_count(cache), 0);
	get("alice", false, 2, 3);
	assert_int_equal(lookups.asked, 2);
	row_cache_destroy(&cache);
}

static void test_an_outage_leaves_what_is_still_trusted(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	get("alice", false, 0, 1);
	answer(0, 77, 0);
	get("alice", true, 10, 2);
	account_cache_answer(cache, lookups.tickets[1], ROW_UNAVAILABLE, NULL, 20);
	assert_int_equal(told.answer[1], ROW_UNAVAILABLE);
	get("alice", false, 30, 3);
	assert_int_equal(told.account[2], 77);
	row_cache_destroy(&cache);
}

static void test_bounded_by_entries_and_bytes(void **state)
{
	char login[] = "user-x";

	(void)state;
	open_cache(4, 1 << 20);
	for (char c = 'a'; c < 'k'; c++) {
		login[5] = c;
		get(login, false, 0, 1);
		answer(lookups.asked - 1, 5, 0);
	}
	assert_int_equal(row_cache_count(cache), 4);
	get("user-j", false, 1, 1); /* the last is still there */
	assert_int_equal(lookups.asked, 10);
	get("user-a", false, 1, 1);
	assert_int_equal(lookups.asked, 11);
	row_cache_destroy(&cache);

	open_cache(100, 3 * (sizeof(struct account) + 1000));
	for (char c = 'a'; c < 'k'; c++) {
		login[5] = c;
		get(login, false, 0, 1);
		account_cache_answer(
			cache, lookups.tickets[lookups.asked - 1], ROW_KNOWN, account(1, 1000), 0);
	}
	assert_int_equal(row_cache_count(cache), 3);
	assert_int_equal(row_cache_bytes(cache), 3 * (sizeof(struct account) + 1000));
	row_cache_destroy(&cache);
}

static void done_asks_again(
	enum row_answer known, const struct account *row, void *arg, uint64_t token)
{
	done(known, row, arg, token);
	row_cache_forget(cache, (const uint8_t *)"alice", 5);
	account_cache_get(cache, (const uint8_t *)"alice", 5, true, 1, done, NULL, 100 + token);
	for (char c = 'a'; c < 'g'; c++) {
		const uint8_t other[] = {'o', (uint8_t)c};
		account_cache_get(cache, other, 2, false, 1, done, NULL, 200);
	}
	if (row != NULL)
		assert_int_equal(row->id, 77);
}

static void test_a_callback_may_ask_forget_and_crowd_out(void **state)
{
	(void)state;
	open_cache(2, 1 << 20);
	for (uint64_t token = 1; token <= 2; token++)
		account_cache_get(
			cache, (const uint8_t *)"alice", 5, false, 0, done_asks_again, NULL, token);
	answer(0, 77, 0);
	assert_int_equal(told.count, 2);
	assert_int_equal(lookups.asked, 1 + 1 + 6); /* alice again once, the others once each */
	answer(1, 78, 2);
	assert_int_equal(told.count, 3);
	assert_int_equal(told.token[2], 101);
	answer(8, 79, 3); /* the second asked when the look-up of the first had begun */
	assert_int_equal(told.count, 4);
	assert_int_equal(told.account[3], 79);
	row_cache_destroy(&cache);
}

static void test_waiters_are_bounded(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	for (uint64_t token = 0; token < ROW_WAITERS_MAX; token++)
		get("alice", false, 0, token);
	assert_int_equal(told.count, 0);
	get("alice", false, 0, 9999);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.answer[0], ROW_UNAVAILABLE);
	row_cache_destroy(&cache);
}

static void test_a_late_answer_is_dropped(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	account_cache_answer(cache, 4711, ROW_KNOWN, account(1, 0), 0);
	assert_int_equal(row_cache_count(cache), 0);
	row_cache_destroy(&cache);
}

/* Asks for the same login again, from within the answer. */
static void done_and_again(
	enum row_answer answer, const struct account *account, void *arg, uint64_t token)
{
	done(answer, account, arg, token);
	get("alice", true, 20, token + 100);
}

static void test_who_asks_again_from_within_an_outage(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	account_cache_get(cache, (const uint8_t *)"alice", 5, false, 0, done_and_again, NULL, 1);
	get("alice", false, 0, 2);
	lookups.refuses = true;
	account_cache_answer(cache, lookups.tickets[0], ROW_UNAVAILABLE, NULL, 10);
	assert_int_equal(told.count, 3); /* 1, what it asked, and 2 */
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(told.answer[i], ROW_UNAVAILABLE);
	assert_int_equal(row_cache_count(cache), 0);
	row_cache_destroy(&cache);
}

/* A look-up that began before a change may bring the row before it. */
static void test_who_asks_after_a_change_waits_for_the_row_after_it(void **state)
{
	(void)state;
	open_cache(10, 1 << 20);
	row_cache_feed(cache, true);
	get("alice", false, 0, 1);
	row_cache_changed(cache, 77);
	get("alice", false, 1, 2);
	answer(0, 77, 2);
	assert_int_equal(told.count, 1);
	assert_int_equal(lookups.asked, 2);
	answer(1, 77, 3);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.token[1], 2);
	get("alice", false, 4, 3);
	assert_int_equal(told.count, 3);
	assert_int_equal(lookups.asked, 2);
	row_cache_destroy(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_lookup_for_all_who_wait),
		cmocka_unit_test(test_known_is_trusted_ten_seconds_unknown_two),
		cmocka_unit_test(test_fresh_and_forget_ask_again),
		cmocka_unit_test(test_told_of_changes_it_trusts_for_longer),
		cmocka_unit_test(test_a_change_forgets_that_account_under_every_login),
		cmocka_unit_test(test_a_change_during_a_look_up),
		cmocka_unit_test(test_forget_is_for_the_look_up_in_flight_too),
		cmocka_unit_test(test_a_look_up_that_more_changes_outlived_than_are_kept),
		cmocka_unit_test(test_fresh_is_a_look_up_that_begins_later),
		cmocka_unit_test(test_what_is_remembered_for_an_outage),
		cmocka_unit_test(test_an_outage_is_not_remembered),
		cmocka_unit_test(test_an_outage_leaves_what_is_still_trusted),
		cmocka_unit_test(test_bounded_by_entries_and_bytes),
		cmocka_unit_test(test_a_callback_may_ask_forget_and_crowd_out),
		cmocka_unit_test(test_waiters_are_bounded),
		cmocka_unit_test(test_a_late_answer_is_dropped),
		cmocka_unit_test(test_who_asks_again_from_within_an_outage),
		cmocka_unit_test(test_who_asks_after_a_change_waits_for_the_row_after_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
