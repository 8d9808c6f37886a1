/* SPDX-License-Identifier: ISC */
/* Takes: given back at most once, and only when the message was certainly not accepted. */
#include "auth/transaction.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { EXPIRE_MS = 3600 * 1000, PROXY = 3, ID = 1000, SESSION = 50, ACCOUNT = 7 };

static struct {
	size_t started;
	uint64_t token;
	struct take last;
	bool refuses;
} returns;

static struct transactions *t;

static bool give_back(const struct take *take, void *arg)
{
	(void)arg;
	if (returns.refuses)
		return false;
	returns.started++;
	returns.token = take->token;
	returns.last = *take;
	return true;
}

static int setup(void **state)
{
	(void)state;
	memset(&returns, 0, sizeof returns);
	t = transactions_new(EXPIRE_MS, give_back, NULL);
	return t == NULL;
}

static int teardown(void **state)
{
	(void)state;
	transactions_destroy(&t);
	return 0;
}

static uint64_t begin(uint64_t id, uint64_t now)
{
	struct take take = {.proxy = PROXY,
		.id = id,
		.session = SESSION,
		.account = ACCOUNT,
		.messages = 1,
		.recipients = 4};

	assert_true(transactions_begin(t, &take, now));
	return take.token;
}

static enum transaction_next grant(uint64_t token, uint64_t now)
{
	struct take take;
	enum transaction_next next;

	assert_true(transactions_granted(t, token, 123456, now, &take, &next));
	assert_int_equal(take.account, ACCOUNT);
	return next;
}

static uint64_t open_take(uint64_t id)
{
	uint64_t token = begin(id, 0);

	assert_int_equal(grant(token, 0), TRANSACTION_NOTHING);
	return token;
}

static enum transaction_next outcome(enum ipc_outcome_kind kind)
{
	return transactions_outcome(t, PROXY, ID, kind);
}

static enum transaction_next returned(uint64_t token, enum transaction_returned how)
{
	struct take take;
	enum transaction_next next;

	assert_true(transactions_returned(t, token, how, &take, &next));
	assert_int_equal(take.id, ID);
	return next;
}

static void test_accepted_and_unknown_stay_charged(void **state)
{
	static const enum ipc_outcome_kind kinds[] = {IPC_OUTCOME_ACCEPTED, IPC_OUTCOME_UNKNOWN};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		open_take(ID);
		assert_true(transactions_intend(t, PROXY, ID, SESSION));
		assert_int_equal(outcome(kinds[i]), TRANSACTION_DONE);
		assert_int_equal(transactions_count(t), 0);
		/* The proxy had not seen the answer, or lies: nothing changes. */
		assert_int_equal(outcome(kinds[i]), TRANSACTION_DONE);
		assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_DONE);
	}
	assert_int_equal(returns.started, 0);
}

static void test_refused_is_given_back_once(void **state)
{
	(void)state;
	uint64_t token = open_take(ID);
	assert_true(transactions_intend(t, PROXY, ID, SESSION));
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_int_equal(returns.started, 1);
	assert_int_equal(returns.last.taken_s, 123456);
	assert_int_equal(returns.last.recipients, 4);
	/* Repeats meanwhile start nothing. */
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_int_equal(outcome(IPC_OUTCOME_ABORTED), TRANSACTION_WAIT);
	assert_int_equal(outcome(IPC_OUTCOME_ACCEPTED), TRANSACTION_DONE);
	assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_DONE);
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_DONE);
	assert_int_equal(returns.started, 1);
	assert_int_equal(transactions_count(t), 0);
}

static void test_aborted_without_an_intent_is_given_back(void **state)
{
	(void)state;
	uint64_t token = open_take(ID);
	assert_int_equal(outcome(IPC_OUTCOME_ABORTED), TRANSACTION_WAIT);
	assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_DONE);
	assert_int_equal(returns.started, 1);
}

static void test_a_failed_give_back_is_tried_when_the_proxy_repeats(void **state)
{
	(void)state;
	uint64_t token = open_take(ID);
	returns.refuses = true; /* the database is away: not even sent */
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_LATER);
	returns.refuses = false;
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_int_equal(returned(token, TRANSACTION_NOT_RETURNED), TRANSACTION_LATER);
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_DONE);
	assert_int_equal(returns.started, 2);
}

static void test_an_uncertain_give_back_is_never_repeated(void **state)
{
	(void)state;
	uint64_t token = open_take(ID);
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_int_equal(returned(token, TRANSACTION_UNCERTAIN), TRANSACTION_DONE);
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_DONE);
	assert_int_equal(returns.started, 1);
}

static void test_an_outcome_before_the_grant(void **state)
{
	struct take take;
	enum transaction_next next;

	(void)state;
	uint64_t token = begin(ID, 0);
	assert_int_equal(outcome(IPC_OUTCOME_ABORTED), TRANSACTION_WAIT);
	assert_int_equal(returns.started, 0);
	assert_int_equal(grant(token, 1), TRANSACTION_WAIT);
	assert_int_equal(returns.started, 1);
	assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_DONE);

	token = begin(ID, 0); /* refused: there is nothing to give back */
	assert_int_equal(outcome(IPC_OUTCOME_ABORTED), TRANSACTION_WAIT);
	assert_true(transactions_refused(t, token, &take, &next));
	assert_int_equal(next, TRANSACTION_DONE);
	assert_int_equal(returns.started, 1);
	assert_int_equal(transactions_count(t), 0);
}

static void test_outcome_without_a_take_changes_nothing(void **state)
{
	(void)state;
	open_take(ID);
	assert_int_equal(
		transactions_outcome(t, PROXY, ID + 1, IPC_OUTCOME_REFUSED), TRANSACTION_DONE);
	assert_int_equal(
		transactions_outcome(t, PROXY + 1, ID, IPC_OUTCOME_REFUSED), TRANSACTION_DONE);
	assert_int_equal(returns.started, 0);
	assert_int_equal(transactions_count(t), 1);
}

static void test_intent_is_idempotent_and_needs_an_open_take(void **state)
{
	(void)state;
	assert_false(transactions_intend(t, PROXY, ID, SESSION));
	uint64_t token = begin(ID, 0);
	assert_false(transactions_intend(t, PROXY, ID, SESSION)); /* not granted */
	grant(token, 0);
	assert_false(transactions_intend(t, PROXY, ID, SESSION + 1));
	assert_false(transactions_intend(t, PROXY + 1, ID, SESSION));
	assert_true(transactions_intend(t, PROXY, ID, SESSION));
	assert_true(transactions_intend(t, PROXY, ID, SESSION));
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_false(transactions_intend(t, PROXY, ID, SESSION)); /* being given back */
}

static void test_an_id_in_use_is_refused(void **state)
{
	struct take take = {.proxy = PROXY, .id = ID};

	(void)state;
	begin(ID, 0);
	assert_false(transactions_begin(t, &take, 0));
	take.proxy = PROXY + 1; /* another proxy's ids are another space */
	assert_true(transactions_begin(t, &take, 0));
}

static void test_answers_for_forgotten_tokens(void **state)
{
	struct take take;
	enum transaction_next next;

	(void)state;
	assert_false(transactions_granted(t, 99, 1, 0, &take, &next));
	assert_false(transactions_refused(t, 99, &take, &next));
	assert_false(transactions_returned(t, 99, TRANSACTION_RETURNED, &take, &next));
	uint64_t token = open_take(ID);
	assert_false(transactions_granted(t, token, 1, 0, &take, &next)); /* a second time */
	assert_false(transactions_returned(t, token, TRANSACTION_RETURNED, &take, &next));
}

static void test_a_lost_proxy_is_given_a_grace(void **state)
{
	(void)state;
	uint64_t token = open_take(ID);
	open_take(ID + 1);
	assert_true(transactions_intend(t, PROXY, ID + 1, SESSION));
	transactions_detach(t, PROXY, 1000);
	transactions_sweep(t, 1000 + TRANSACTION_GRACE_MS - 1);
	assert_int_equal(returns.started, 0);
	transactions_sweep(t, 1000 + TRANSACTION_GRACE_MS);
	assert_int_equal(returns.started, 1); /* the intended one may have been accepted */
	assert_int_equal(returns.token, token);
	assert_int_equal(transactions_count(t), 1);
	assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_NOTHING);
	assert_int_equal(transactions_count(t), 0);
}

static void test_a_proxy_that_comes_back_keeps_its_takes(void **state)
{
	const struct take again = {
		.proxy = PROXY, .id = ID, .session = SESSION, .account = ACCOUNT};
	struct take other = again;

	(void)state;
	open_take(ID);
	transactions_detach(t, PROXY, 1000);
	other.account++;
	transactions_attach(t, &other, true, 1001);
	other = again;
	other.session++;
	transactions_attach(t, &other, true, 1001);
	transactions_attach(t, &again, true, 1002);
	transactions_sweep(t, 1000 + TRANSACTION_GRACE_MS);
	assert_int_equal(returns.started, 0);
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
}

static void test_a_grant_that_the_proxy_never_saw_is_given_back(void **state)
{
	const struct take again = {
		.proxy = PROXY, .id = ID, .session = SESSION, .account = ACCOUNT};

	(void)state;
	uint64_t token = begin(ID, 0);
	transactions_detach(t, PROXY, 1000);
	transactions_attach(t, &again, false, 1001);
	assert_int_equal(grant(token, 1002), TRANSACTION_NOTHING);
	transactions_sweep(t, 1000 + TRANSACTION_GRACE_MS);
	assert_int_equal(returns.started, 1);
}

static void test_an_announced_take_goes_on_but_mints_no_refund(void **state)
{
	const struct take foreign = {
		.proxy = PROXY, .id = ID, .session = SESSION, .account = ACCOUNT, .messages = 1};

	(void)state;
	transactions_attach(t, &foreign, true, 0);
	assert_int_equal(transactions_count(t), 1);
	assert_true(transactions_intend(t, PROXY, ID, SESSION));
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_DONE);
	assert_int_equal(returns.started, 0);
	assert_int_equal(transactions_count(t), 0);
	transactions_attach(t, &foreign, true, 0);
	transactions_detach(t, PROXY, 0);
	transactions_sweep(t, TRANSACTION_GRACE_MS);
	assert_int_equal(returns.started, 0);
	assert_int_equal(transactions_count(t), 0);
}

static void test_a_detached_give_back_is_retried_and_then_left(void **state)
{
	(void)state;
	open_take(ID);
	transactions_detach(t, PROXY, 0);
	returns.refuses = true;
	transactions_sweep(t, TRANSACTION_GRACE_MS);
	transactions_sweep(t, TRANSACTION_GRACE_MS + 1000);
	assert_int_equal(transactions_count(t), 1);
	transactions_sweep(t, TRANSACTION_RETRY_MS);
	assert_int_equal(transactions_count(t), 0);
	assert_int_equal(returns.started, 0);
}

static void test_a_take_without_news_is_forgotten_and_stays_charged(void **state)
{
	(void)state;
	open_take(ID);
	transactions_sweep(t, EXPIRE_MS - 1);
	assert_int_equal(transactions_count(t), 1);
	transactions_sweep(t, EXPIRE_MS);
	assert_int_equal(transactions_count(t), 0);
	assert_int_equal(returns.started, 0);
}

static void test_open_takes_are_bounded(void **state)
{
	struct take take = {.proxy = PROXY};

	(void)state;
	for (uint64_t i = 0; i < TRANSACTION_OPEN_MAX; i++) {
		take.id = i + 1;
		assert_true(transactions_begin(t, &take, 0));
	}
	take.id = 0;
	assert_false(transactions_begin(t, &take, 0));
	transactions_attach(t, &take, true, 0);
	assert_int_equal(transactions_count(t), TRANSACTION_OPEN_MAX);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_accepted_and_unknown_stay_charged),
		TEST(test_refused_is_given_back_once),
		TEST(test_aborted_without_an_intent_is_given_back),
		TEST(test_a_failed_give_back_is_tried_when_the_proxy_repeats),
		TEST(test_an_uncertain_give_back_is_never_repeated),
		TEST(test_an_outcome_before_the_grant),
		TEST(test_outcome_without_a_take_changes_nothing),
		TEST(test_intent_is_idempotent_and_needs_an_open_take),
		TEST(test_an_id_in_use_is_refused),
		TEST(test_answers_for_forgotten_tokens),
		TEST(test_a_lost_proxy_is_given_a_grace),
		TEST(test_a_proxy_that_comes_back_keeps_its_takes),
		TEST(test_a_grant_that_the_proxy_never_saw_is_given_back),
		TEST(test_an_announced_take_goes_on_but_mints_no_refund),
		TEST(test_a_detached_give_back_is_retried_and_then_left),
		TEST(test_a_take_without_news_is_forgotten_and_stays_charged),
		TEST(test_open_takes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
