/* SPDX-License-Identifier: ISC */
/* The way of a take and of its give-back: a lease, a call, or a plan's grace; and another server.
 */
#include "auth/quota.h"

#include "common/log.h"
#include "tests/unit/database_fixture.h"

#include <fcntl.h>
#include <sodium.h>

enum { NOW = 100000, ACCOUNT = 7 };

static struct {
	size_t count;
	enum quota_answer answer;
	struct take_grant grant;
} taken;
static struct {
	size_t count;
	enum transaction_returned how;
	uint64_t token;
} returned;
static struct quota *quota;

static void wake(uint64_t in_ms, void *arg)
{
	(void)in_ms;
	(void)arg;
}

static void on_taken(const struct quota_result *result, void *arg)
{
	(void)arg;
	taken.count++;
	taken.answer = result->answer;
	taken.grant = result->grant;
}

static void on_returned(enum transaction_returned how, void *arg, uint64_t token)
{
	(void)arg;
	returned.count++;
	returned.how = how;
	returned.token = token;
}

static void on_freed(uint64_t account, uint64_t credential, void *arg)
{
	(void)arg;
	assert_int_equal(account, ACCOUNT);
	assert_int_equal(credential, 0);
}

static int setup(void **state)
{
	const struct quota_settings settings = {
		.lanes = {{ask, NULL}, {ask, NULL}},
		.node = 77,
		.seq = 500,
		.wake = wake,
		.taken = on_taken,
		.returned = on_returned,
		.freed = on_freed,
	};

	(void)state;
	memset(&taken, 0, sizeof taken);
	memset(&returned, 0, sizeof returned);
	quota = quota_new(&settings);
	assert_non_null(quota);
	quota_lane(quota, 0, true);
	quota_lane(quota, 1, true);
	quota_trust(quota, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < db.count; i++) {
		if (!db.calls[i].answered)
			answer(i, DATABASE_UNKNOWN, NULL);
	}
	quota_destroy(&quota);
	forget_calls();
	return 0;
}

static void lanes(bool ready)
{
	quota_lane(quota, 0, ready);
	quota_lane(quota, 1, ready);
	db.away = !ready;
}

static struct take_wanted wanted_of(uint64_t token)
{
	return (struct take_wanted){.token = token,
		.account = ACCOUNT,
		.messages = 1,
		.recipients = 2,
		.bytes = 100,
		.domain = "example.org",
		.meters = {.leasable = true,
			.grace_messages = 2,
			.grace_recipients = -1,
			.grace_bytes = -1}};
}

static void take(uint64_t token)
{
	const struct take_wanted wanted = wanted_of(token);

	assert_true(quota_take(quota, &wanted, NOW));
	quota_tick(quota, NOW);
}

static void grant(uint64_t token)
{
	const struct said said = {0, NULL, 0, 0, 0, "receipt", NULL};

	take(token);
	answer(db.count - 1, DATABASE_ROWS, takes_rows(&said, 1));
	assert_int_equal(taken.answer, QUOTA_GRANTED);
}

static enum transaction_start give_back(uint64_t token, struct take *take)
{
	*take = (struct take){.token = token, .account = ACCOUNT, .grants = {taken.grant}};
	return quota_give_back(quota, take, NOW);
}

static void test_every_answer(void **state)
{
	static const enum quota_answer want[] = {
		QUOTA_GRANTED, QUOTA_REFUSED, QUOTA_NEVER, QUOTA_REVOKED, QUOTA_REJECTED};

	(void)state;
	for (int i = 0; i < 5; i++) {
		const struct said said = {i, "messages per hour", 5, 5, 9, "receipt", NULL};
		take((uint64_t)i);
		answer(db.count - 1, DATABASE_ROWS, takes_rows(&said, 1));
		assert_int_equal(taken.answer, want[i]);
		assert_int_equal(taken.grant.receipt_len, i == 0 ? 7 : 0);
	}
}

static void test_a_broken_proxys_amounts_are_not_asked(void **state)
{
	static const struct {
		uint32_t messages, recipients;
		uint64_t bytes;
	} amounts[] = {{0, 1, 1}, {1, 0, 1}, {0, 0, 0}, {QUOTA_MESSAGES_MAX + 1, 1, 1},
		{1, QUOTA_RECIPIENTS_MAX + 1, 1}, {UINT32_MAX, UINT32_MAX, 1},
		{1, 1, QUOTA_BYTES_MAX + 1}};

	(void)state;
	for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
		struct take_wanted wanted = wanted_of(1);
		wanted.messages = amounts[i].messages;
		wanted.recipients = amounts[i].recipients;
		wanted.bytes = amounts[i].bytes;
		assert_false(quota_take(quota, &wanted, NOW));
	}
	quota_tick(quota, NOW);
	assert_int_equal(db.count, 0);
}

static void test_a_receipt_goes_back_to_the_database(void **state)
{
	struct take take;

	(void)state;
	grant(1);
	assert_int_equal(give_back(1, &take), TRANSACTION_STARTED);
	quota_tick(quota, NOW);
	assert_int_equal(db.calls[1].query, QUERY_TAKES_GIVE_BACK);
	answer(1, DATABASE_ROWS, returned_rows(1));
	assert_int_equal(returned.how, TRANSACTION_RETURNED);
	assert_int_equal(returned.token, 1);
}

/* --------------------------------------------------------------------- grace */
static void test_grace_only_while_no_lane_stands(void **state)
{
	struct take take_of;

	(void)state;
	lanes(false);
	take(1);
	assert_int_equal(taken.answer, QUOTA_GRANTED);
	assert_int_not_equal(taken.grant.grace, 0);
	assert_int_equal(give_back(1, &take_of), TRANSACTION_AT_ONCE);
	take(2);
	take(3);
	assert_int_equal(taken.answer, QUOTA_GRANTED);
	take(4);
	assert_int_equal(taken.answer, QUOTA_UNAVAILABLE);
	quota_lane(quota, 1, true); /* it stands, and takes nothing */
	take(5);
	assert_int_equal(taken.answer, QUOTA_UNAVAILABLE);
	assert_int_equal(taken.count, 5);
}

static void test_no_grace_where_a_take_may_be_charged(void **state)
{
	static const enum database_result results[] = {DATABASE_UNKNOWN, DATABASE_FAILED};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		lanes(true);
		take(1 + i);
		lanes(false);
		answer(db.count - 1, results[i], NULL);
		assert_int_equal(taken.answer, QUOTA_UNAVAILABLE);
	}
	lanes(true);
	take(9);
	lanes(false);
	answer(db.count - 1, DATABASE_UNAVAILABLE, NULL); /* it was never sent */
	assert_int_equal(taken.answer, QUOTA_GRANTED);
}

static void test_grace_is_reported_when_its_message_is_kept(void **state)
{
	(void)state;
	lanes(false);
	take(1);
	const struct take kept = {.token = 1, .grants = {taken.grant}};
	lanes(true);
	quota_tick(quota, NOW);
	assert_int_equal(db.count, 0);
	assert_false(quota_idle(quota));
	quota_keep(quota, &kept);
	quota_tick(quota, NOW);
	assert_int_equal(db.calls[0].query, QUERY_CHARGES);
	answer(0, DATABASE_ROWS, count_rows(1));
	assert_true(quota_idle(quota));
}

/* -------------------------------------------------------------------- leases */
static PGresult *lease_row(int64_t messages)
{
	static const Oid types[] = {
		INT4, TEXT, INT8, INT8, INT8, TEXT, TEXT, INT8, INT8, INT8, INT8, INT4};
	PGresult *rows = rows_of(12, types);

	for (int column = 0; column < 12; column++) {
		if (types[column] == TEXT)
			put_text(rows, 0, column, column == 5 ? "leased" : "");
		else
			put_number(rows, 0, column, 0);
	}
	put_number(rows, 0, 7, 55);
	put_number(rows, 0, 8, messages);
	put_number(rows, 0, 9, 2 * messages);
	put_number(rows, 0, 10, 100 * messages);
	put_number(rows, 0, 11, 10);
	return rows;
}

static void lease(int64_t messages)
{
	for (uint64_t i = 0; db.count == 0 || db.calls[db.count - 1].query != QUERY_LEASE_TAKE;
		i++) {
		const struct take_wanted wanted = wanted_of(100 + i);
		if (db.count > 0 && !db.calls[db.count - 1].answered)
			answer(db.count - 1, DATABASE_FAILED, NULL);
		assert_true(i < 20);
		assert_true(quota_take(quota, &wanted, NOW));
		quota_tick(quota, NOW);
	}
	answer(db.count - 1, DATABASE_ROWS, lease_row(messages));
	assert_int_equal(taken.answer, QUOTA_GRANTED);
	assert_int_not_equal(taken.grant.lease, 0);
}

static void test_a_lease_is_spent_at_once_and_refilled_by_what_is_refused(void **state)
{
	struct take take_of;

	(void)state;
	lease(20);
	size_t calls = db.count, count = taken.count;
	take(1);
	assert_int_equal(taken.count, count + 1);
	assert_int_equal(give_back(1, &take_of), TRANSACTION_AT_ONCE);
	assert_int_equal(take_of.grants[0].messages, 0);
	assert_int_equal(db.count, calls);
	take(2);
	quota_changed(quota, ACCOUNT, NOW); /* the lease lives no more */
	assert_int_equal(give_back(2, &take_of), TRANSACTION_STARTED);
	quota_tick(quota, NOW);
	assert_int_equal(db.calls[calls].query, QUERY_TAKES_GIVE_BACK);
	assert_string_equal(db.calls[calls].values[0], "{\"leased\"}");
	assert_int_equal(db.calls[calls + 1].query, QUERY_LEASE_RETURN);
	assert_string_equal(db.calls[calls + 1].values[1], "{18}");
}

static void test_a_lease_that_was_never_asked_is_a_take_like_others(void **state)
{
	const struct said said = {0, NULL, 0, 0, 0, "receipt", NULL};

	(void)state;
	for (uint64_t i = 0; db.count == 0 || db.calls[db.count - 1].query != QUERY_LEASE_TAKE;
		i++) {
		if (db.count > 0)
			answer(db.count - 1, DATABASE_FAILED, NULL);
		take(100 + i);
	}
	size_t calls = db.count, count = taken.count;
	answer(calls - 1, DATABASE_UNAVAILABLE, NULL);
	assert_int_equal(taken.count, count);
	quota_tick(quota, NOW);
	assert_int_equal(db.calls[calls].query, QUERY_TAKES);
	answer(calls, DATABASE_ROWS, takes_rows(&said, 1));
	assert_int_equal(taken.answer, QUOTA_GRANTED);
	assert_int_equal(taken.count, count + 1);
}

/* ------------------------------------------------------------- another server */
static void test_another_server_is_told_what_stands(void **state)
{
	struct take take_of;

	(void)state;
	grant(1);
	grant(2);
	assert_int_equal(give_back(2, &take_of), TRANSACTION_STARTED);
	quota_tick(quota, NOW);
	answer(db.count - 1, DATABASE_ROWS, returned_rows(1));
	quota_returned_one(quota, &take_of);
	quota_epoch(quota, NOW);
	quota_tick(quota, NOW);
	const struct call *call = &db.calls[db.count - 1];
	assert_int_equal(call->query, QUERY_CHARGES);
	assert_string_equal(call->values[1], "{501}");
	assert_string_equal(call->values[2], "{\"receipt\"}");
}

static void test_of_a_lease_only_what_was_spent(void **state)
{
	(void)state;
	lease(20);
	take(1);
	quota_epoch(quota, NOW);
	quota_tick(quota, NOW);
	const struct call *charge = NULL, *rest = NULL;
	for (size_t i = 0; i < db.count; i++) {
		charge = db.calls[i].query == QUERY_CHARGES ? &db.calls[i] : charge;
		rest = db.calls[i].query == QUERY_LEASE_RETURN ? &db.calls[i] : rest;
	}
	assert_non_null(charge);
	assert_non_null(rest);
	assert_string_equal(charge->values[2], "{\"leased\"}");
	assert_string_equal(charge->values[6], "{2}");
	assert_string_equal(rest->values[1], "{18}");
}

static void test_more_octets_from_a_lease(void **state)
{
	struct take_wanted wanted = wanted_of(1);

	(void)state;
	lease(20);
	wanted.messages = wanted.recipients = 0;
	wanted.bytes = 1900;
	size_t calls = db.count;
	assert_true(quota_take(quota, &wanted, NOW));
	assert_int_equal(taken.answer, QUOTA_GRANTED);
	assert_int_equal(taken.grant.bytes, 1900);
	assert_int_equal(taken.grant.messages, 0);
	assert_true(quota_take(quota, &wanted, NOW)); /* more than is left */
	quota_tick(quota, NOW);
	assert_int_equal(db.count, calls + 1);
	assert_int_equal(db.calls[calls].query, QUERY_TAKES);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_answer),
		TEST(test_a_broken_proxys_amounts_are_not_asked),
		TEST(test_a_receipt_goes_back_to_the_database),
		TEST(test_grace_only_while_no_lane_stands),
		TEST(test_no_grace_where_a_take_may_be_charged),
		TEST(test_grace_is_reported_when_its_message_is_kept),
		TEST(test_a_lease_is_spent_at_once_and_refilled_by_what_is_refused),
		TEST(test_a_lease_that_was_never_asked_is_a_take_like_others),
		TEST(test_another_server_is_told_what_stands),
		TEST(test_of_a_lease_only_what_was_spent),
		TEST(test_more_octets_from_a_lease),
	};

	log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT, LOG_ERROR);
	return sodium_init() == -1 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
