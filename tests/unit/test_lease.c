/* SPDX-License-Identifier: ISC */
/* Leases: who gets one, how long it is spent, and what is left of it. */
#include "auth/lease.h"

#include "tests/unit/database_fixture.h"

#include <sodium.h>

enum { NOW = 100000, NODE = 77, TTL_S = 10 };

static struct {
	size_t count;
	enum take_end end;
	uint64_t lease, seq;
} told;
static struct {
	size_t granted, unspent, returned;
	struct lease_change last;
} changes;
static uint64_t seq;
static struct leases *leases;

static void wake(uint64_t in_ms, void *arg)
{
	(void)in_ms;
	(void)arg;
}

static void done(enum take_end end, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t of, uint64_t lease, void *arg)
{
	(void)arg;
	assert_int_equal(row != NULL, end == TAKE_DECIDED);
	assert_string_equal(wanted->domain, "example.org");
	told.count++;
	told.end = end;
	told.lease = lease;
	told.seq = of;
}

static void granted(const struct lease_change *lease, void *arg)
{
	(void)arg;
	changes.granted++;
	changes.last = *lease;
}

static void unspent(const struct lease_change *lease, void *arg)
{
	(void)arg;
	changes.unspent++;
	changes.last = *lease;
}

static void returned(uint64_t account, uint64_t credential, void *arg)
{
	(void)arg;
	assert_int_equal(account, 7);
	assert_int_equal(credential, 0);
	changes.returned++;
}

static int setup(void **state)
{
	const struct lease_settings settings = {
		.lanes = {{ask, (struct database *)1}, {ask, (struct database *)2}},
		.node = NODE,
		.seq = &seq,
		.wake = wake,
		.done = done,
		.granted = granted,
		.unspent = unspent,
		.returned = returned,
	};

	(void)state;
	memset(&told, 0, sizeof told);
	memset(&changes, 0, sizeof changes);
	seq = 0;
	leases = leases_new(&settings);
	assert_non_null(leases);
	leases_trust(leases, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < db.count; i++) {
		if (!db.calls[i].answered)
			answer(i, DATABASE_UNKNOWN, NULL);
	}
	leases_destroy(&leases);
	forget_calls();
	return 0;
}

static struct take_wanted wanted_of(uint64_t account)
{
	return (struct take_wanted){.account = account,
		.messages = 1,
		.recipients = 2,
		.bytes = 1000,
		.domain = "example.org",
		.meters = {.leasable = true}};
}

static struct take_grant grant;

static enum lease_answer take(uint64_t account, uint64_t now_ms)
{
	const struct take_wanted wanted = wanted_of(account);

	return leases_take(leases, &wanted, now_ms, &grant);
}

/* What lease_take() returns. */
static PGresult *lease_row(int result, int64_t id, int64_t messages, int64_t ttl_s)
{
	static const Oid types[] = {
		INT4, TEXT, INT8, INT8, INT8, TEXT, TEXT, INT8, INT8, INT8, INT8, INT4};
	PGresult *rows = rows_of(12, types);

	put_number(rows, 0, 0, result);
	put_text(rows, 0, 1, "");
	for (int column = 2; column <= 4; column++)
		put_number(rows, 0, column, 0);
	put_text(rows, 0, 5, result == 0 ? "receipt" : "");
	put_text(rows, 0, 6, "");
	put_number(rows, 0, 7, id);
	put_number(rows, 0, 8, messages);
	put_number(rows, 0, 9, 2 * messages);
	put_number(rows, 0, 10, 1000 * messages);
	put_number(rows, 0, 11, ttl_s);
	return rows;
}

/* Hot at NOW: ten messages in no time; the tenth asks. */
static void heat(uint64_t account, uint64_t now_ms)
{
	for (int i = 0; i < LEASE_RATE * LEASE_WINDOW_MS / 1000 - 1; i++)
		assert_int_equal(take(account, now_ms), LEASE_NONE);
	assert_int_equal(take(account, now_ms), LEASE_ASKED);
}

/* A lease of so many messages, the one that asked among them. */
static void lease(uint64_t now_ms, int64_t messages)
{
	heat(7, now_ms);
	answer(db.count - 1, DATABASE_ROWS, lease_row(0, 55, messages, TTL_S));
	assert_int_equal(leases_count(leases), 1);
}

static void test_only_a_hot_chain_asks(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 40; i++) /* four a second */
		assert_int_equal(take(7, NOW + 250 * i), LEASE_NONE);
	assert_int_equal(db.count, 0);
	heat(8, NOW);
	assert_int_equal(db.calls[0].query, QUERY_LEASE_TAKE);
	static const char *const want[] = {
		"77", "1", "8", "0", "example.org", "1", "2", "1000", "50", "100", "50000", "10"};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_string_equal(db.calls[0].values[i], want[i]);
	assert_int_equal(take(8, NOW), LEASE_NONE); /* one call at a time */
}

static void test_who_is_never_leased(void **state)
{
	static const uint64_t hash = 1;
	struct take_wanted wanted = wanted_of(7);

	(void)state;
	wanted.meters.leasable = false;
	for (int i = 0; i < 100; i++)
		assert_int_equal(leases_take(leases, &wanted, NOW, &grant), LEASE_NONE);
	wanted.meters.leasable = true;
	assert_true(recipients_add(&wanted.whom, &hash, 1, 1));
	for (int i = 0; i < 100; i++)
		assert_int_equal(leases_take(leases, &wanted, NOW, &grant), LEASE_NONE);
	recipients_unref(&wanted.whom);
	leases_trust(leases, false);
	for (int i = 0; i < 100; i++)
		assert_int_equal(take(8, NOW), LEASE_NONE);
	assert_int_equal(db.count, 0);
}

static void test_it_is_spent_to_the_last_and_no_further(void **state)
{
	(void)state;
	lease(NOW, 4);
	assert_int_equal(told.end, TAKE_DECIDED);
	assert_int_not_equal(told.lease, 0);
	assert_int_equal(changes.last.messages, 4);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take(7, NOW), LEASE_SPENT);
		assert_int_equal(grant.lease, told.lease);
		assert_int_equal(grant.recipients, 2);
		assert_string_equal(grant.receipt, "receipt");
	}
	assert_int_equal(take(7, NOW), LEASE_ASKED); /* the next one */
	answer(1, DATABASE_ROWS, lease_row(0, 56, 2, TTL_S));
	assert_int_equal(take(7, NOW), LEASE_SPENT);
	assert_int_equal(leases_count(leases), 1);
}

static void test_it_ends_to_the_millisecond_from_when_it_was_asked_for(void **state)
{
	(void)state;
	lease(NOW, 40); /* whenever the answer came */
	assert_int_equal(take(7, NOW + TTL_S * 1000 - 1), LEASE_SPENT);
	assert_int_equal(take(7, NOW + TTL_S * 1000), LEASE_NONE);
	leases_tick(leases, NOW + TTL_S * 1000);
	assert_int_equal(leases_count(leases), 0);
	assert_int_equal(changes.unspent, 0); /* it counts as used */
	assert_int_equal(db.count, 1);
}

static void test_what_is_left_goes_back_when_it_is_idle(void **state)
{
	(void)state;
	lease(NOW, 40);
	assert_int_equal(take(7, NOW + 100), LEASE_SPENT);
	leases_tick(leases, NOW + 100 + LEASE_IDLE_MS - 1);
	assert_int_equal(leases_count(leases), 1);
	leases_tick(leases, NOW + 100 + LEASE_IDLE_MS);
	assert_int_equal(leases_count(leases), 0);
	assert_int_equal(changes.unspent, 1);
	assert_int_equal(changes.last.messages, 38);
	assert_int_equal(db.calls[1].query, QUERY_LEASE_RETURN);
	static const char *const want[] = {"{55}", "{38}", "{76}", "{38000}"};
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(db.calls[1].values[i], want[i]);
	assert_false(leases_idle(leases));
	answer(1, DATABASE_ROWS, count_rows(1));
	assert_true(leases_idle(leases));
	assert_int_equal(changes.returned, 1);
}

static void test_a_return_is_repeated_until_it_is_answered_or_too_late(void **state)
{
	(void)state;
	lease(NOW, 40);
	leases_end_all(leases, NOW);
	leases_tick(leases, NOW);
	answer(1, DATABASE_UNKNOWN, NULL);
	leases_tick(leases, NOW + 499);
	assert_int_equal(db.count, 2);
	leases_tick(leases, NOW + 500);
	assert_int_equal(db.count, 3);
	assert_string_equal(db.calls[2].values[0], "{55}");
	answer(2, DATABASE_FAILED, NULL);
	db.away = true;
	leases_tick(leases, NOW + 5000);
	assert_false(leases_idle(leases));
	leases_tick(leases, NOW + TTL_S * 1000);
	assert_true(leases_idle(leases));
	assert_int_equal(changes.returned, 0);
}

static void test_just_before_its_end_it_is_given_back(void **state)
{
	(void)state;
	lease(NOW, 60);
	uint64_t at = NOW;
	for (; at < NOW + TTL_S * 1000 - LEASE_END_MS; at += 500) {
		assert_int_equal(take(7, at), LEASE_SPENT);
		leases_tick(leases, at);
		assert_int_equal(leases_count(leases), 1);
	}
	leases_tick(leases, NOW + TTL_S * 1000 - LEASE_END_MS);
	assert_int_equal(leases_count(leases), 0);
	assert_int_equal(changes.unspent, 1);
}

static void test_a_refused_message_goes_back_into_the_lease_while_it_lives(void **state)
{
	struct take_grant kept;

	(void)state;
	lease(NOW, 2);
	assert_int_equal(take(7, NOW), LEASE_SPENT);
	kept = grant;
	assert_true(leases_put_back(leases, &kept, NOW + 1));
	assert_int_equal(take(7, NOW + 1), LEASE_SPENT);
	assert_false(leases_put_back(leases, &kept, NOW + TTL_S * 1000));
	leases_end(leases, 8, NOW + 2);
	assert_int_equal(leases_count(leases), 1);
	leases_end(leases, 7, NOW + 2);
	assert_int_equal(leases_count(leases), 0);
	assert_false(leases_put_back(leases, &kept, NOW + 3));
}

static void test_a_change_ends_what_is_being_asked_for(void **state)
{
	(void)state;
	heat(7, NOW);
	leases_end(leases, 7, NOW);
	answer(0, DATABASE_ROWS, lease_row(0, 55, 40, TTL_S));
	assert_int_equal(told.end, TAKE_DECIDED); /* the take itself was granted */
	assert_int_equal(told.lease, 0);
	assert_int_equal(leases_count(leases), 0);
	leases_tick(leases, NOW);
	assert_string_equal(db.calls[1].values[1], "{39}");
}

static void test_without_the_word_of_changes_nothing_is_spent(void **state)
{
	(void)state;
	lease(NOW, 40);
	leases_trust(leases, false);
	assert_int_equal(take(7, NOW), LEASE_NONE);
	leases_trust(leases, true);
	assert_int_equal(take(7, NOW), LEASE_SPENT);
}

static void test_answers_without_a_lease(void **state)
{
	static const struct {
		enum database_result result;
		int said;
		enum take_end want;
	} ends[] = {{DATABASE_ROWS, 0, TAKE_DECIDED}, {DATABASE_ROWS, 1, TAKE_DECIDED},
		{DATABASE_ROWS, 3, TAKE_DECIDED}, {DATABASE_ROWS, 9, TAKE_FAILED},
		{DATABASE_FAILED, 0, TAKE_FAILED}, {DATABASE_UNKNOWN, 0, TAKE_FAILED},
		{DATABASE_UNAVAILABLE, 0, TAKE_AWAY}};

	(void)state;
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		uint64_t at = NOW + 10000 * i;
		leases_tick(leases, at);
		heat(7, at);
		answer(i, ends[i].result,
			ends[i].result == DATABASE_ROWS ? lease_row(ends[i].said, 0, 1, 0) : NULL);
		assert_int_equal(told.count, i + 1);
		assert_int_equal(told.end, ends[i].want);
		assert_int_equal(told.lease, 0);
		assert_int_equal(take(7, at + LEASE_PAUSE_MS - 1), LEASE_NONE);
		assert_int_equal(db.count, i + 1);
	}
	assert_int_equal(leases_count(leases), 0);
}

static void test_a_lease_of_less_than_was_needed_is_no_answer(void **state)
{
	(void)state;
	heat(7, NOW);
	answer(0, DATABASE_ROWS, lease_row(0, 55, 0, TTL_S));
	assert_int_equal(told.end, TAKE_FAILED);
	leases_tick(leases, NOW + 10000);
	heat(7, NOW + 10000);
	answer(1, DATABASE_ROWS, lease_row(0, 55, 10, 3600)); /* nor one for an hour */
	assert_int_equal(told.end, TAKE_FAILED);
	assert_int_equal(leases_count(leases), 0);
}

static void test_chains_are_bounded_and_forgotten(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < LEASE_CHAINS_MAX + (uint64_t)10; i++)
		assert_int_equal(take(1000 + i, NOW), LEASE_NONE);
	leases_tick(leases, NOW + LEASE_WINDOW_MS);
	assert_true(leases_idle(leases));
	lease(NOW + 5000, 10); /* and teardown frees it */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_only_a_hot_chain_asks),
		TEST(test_who_is_never_leased),
		TEST(test_it_is_spent_to_the_last_and_no_further),
		TEST(test_it_ends_to_the_millisecond_from_when_it_was_asked_for),
		TEST(test_what_is_left_goes_back_when_it_is_idle),
		TEST(test_a_return_is_repeated_until_it_is_answered_or_too_late),
		TEST(test_just_before_its_end_it_is_given_back),
		TEST(test_a_refused_message_goes_back_into_the_lease_while_it_lives),
		TEST(test_a_change_ends_what_is_being_asked_for),
		TEST(test_without_the_word_of_changes_nothing_is_spent),
		TEST(test_answers_without_a_lease),
		TEST(test_a_lease_of_less_than_was_needed_is_no_answer),
		TEST(test_chains_are_bounded_and_forgotten),
	};

	return sodium_init() == -1 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
