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
	size_t started, kept;
	uint64_t token;
	struct take last;
	bool refuses, at_once;
} returns;

static struct transactions *t;

static enum transaction_start give_back(struct take *take, void *arg)
{
	(void)arg;
	if (returns.refuses)
		return TRANSACTION_NOT_NOW;
	returns.started++;
	returns.token = take->token;
	returns.last = *take;
	return returns.at_once ? TRANSACTION_AT_ONCE : TRANSACTION_STARTED;
}

static void keep(const struct take *take, void *arg)
{
	(void)arg;
	returns.kept++;
	returns.last = *take;
}

static int setup(void **state)
{
	(void)state;
	memset(&returns, 0, sizeof returns);
	t = transactions_new(EXPIRE_MS, give_back, keep, NULL);
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

static const struct take_grant granted = {
	.messages = 1, .recipients = 4, .seq = 12, .receipt_len = 7, .receipt = "receipt"};

static enum transaction_next grant(uint64_t token, uint64_t now)
{
	struct take take;
	enum transaction_next next;

	assert_true(transactions_granted(t, token, &granted, now, &take, &next));
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
		assert_int_equal(returns.kept, i + 1);
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
	assert_string_equal(returns.last.grants[0].receipt, "receipt");
	assert_int_equal(returns.last.grants[1].receipt_len, 0);
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
	assert_false(transactions_granted(t, 99, &granted, 0, &take, &next));
	assert_false(transactions_refused(t, 99, &take, &next));
	assert_false(transactions_returned(t, 99, TRANSACTION_RETURNED, &take, &next));
	uint64_t token = open_take(ID);
	assert_false(transactions_granted(t, token, &granted, 0, &take, &next)); /* a second time */
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

static void test_a_give_back_that_needs_no_database(void **state)
{
	(void)state;
	returns.at_once = true;
	open_take(ID);
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_DONE);
	assert_int_equal(transactions_count(t), 0);
	uint64_t token = begin(ID, 0); /* the outcome comes first */
	assert_int_equal(outcome(IPC_OUTCOME_ABORTED), TRANSACTION_WAIT);
	assert_int_equal(grant(token, 1), TRANSACTION_DONE);
	open_take(ID);
	transactions_detach(t, PROXY, 1000);
	transactions_sweep(t, 1000 + TRANSACTION_GRACE_MS);
	assert_int_equal(transactions_count(t), 0);
	assert_int_equal(returns.started, 3);
	assert_int_equal(returns.kept, 0);
}

/* ------------------------------------------------------------------ more octets */
static const struct take_grant octets = {
	.bytes = 9000, .seq = 13, .receipt_len = 4, .receipt = "more"};

static uint64_t ask_more(void)
{
	struct take take;

	assert_true(transactions_more(t, PROXY, ID, SESSION, 5, &take));
	assert_int_equal(take.id, ID);
	assert_int_equal(take.peer, 5);
	return take.token;
}

static void test_more_octets_are_given_back_with_the_rest(void **state)
{
	struct take take;
	enum transaction_next next;

	(void)state;
	open_take(ID);
	uint64_t token = ask_more();
	assert_false(transactions_intend(t, PROXY, ID, SESSION)); /* not granted */
	assert_true(transactions_granted(t, token, &octets, 0, &take, &next));
	assert_int_equal(next, TRANSACTION_NOTHING);
	assert_true(transactions_intend(t, PROXY, ID, SESSION));
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_string_equal(returns.last.grants[0].receipt, "receipt");
	assert_string_equal(returns.last.grants[1].receipt, "more");
	assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_DONE);
}

static void test_more_octets_refused_leave_the_take_open(void **state)
{
	struct take take;
	enum transaction_next next;

	(void)state;
	open_take(ID);
	uint64_t token = ask_more();
	assert_true(transactions_refused(t, token, &take, &next));
	assert_int_equal(next, TRANSACTION_NOTHING);
	assert_int_equal(transactions_count(t), 1);
	assert_int_equal(outcome(IPC_OUTCOME_ABORTED), TRANSACTION_WAIT);
	assert_int_equal(returns.last.grants[1].receipt_len, 0);
	assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_DONE);
}

static void test_an_outcome_before_more_octets(void **state)
{
	struct take take;
	enum transaction_next next;

	(void)state;
	for (int refused = 0; refused < 2; refused++) {
		open_take(ID);
		uint64_t token = ask_more();
		size_t started = returns.started;
		assert_int_equal(outcome(IPC_OUTCOME_ABORTED), TRANSACTION_WAIT);
		assert_int_equal(returns.started, started);
		if (refused == 1)
			assert_true(transactions_refused(t, token, &take, &next));
		else
			assert_true(transactions_granted(t, token, &octets, 0, &take, &next));
		assert_int_equal(next, TRANSACTION_WAIT);
		assert_int_equal(returns.last.grants[1].receipt_len, refused ? 0 : 4);
		assert_int_equal(returned(token, TRANSACTION_RETURNED), TRANSACTION_DONE);
	}
}

static void test_more_octets_are_asked_for_once_and_of_an_open_take(void **state)
{
	struct take take;
	enum transaction_next next;

	(void)state;
	assert_false(transactions_more(t, PROXY, ID, SESSION, 0, &take));
	uint64_t token = begin(ID, 0);
	assert_false(transactions_more(t, PROXY, ID, SESSION, 0, &take));
	grant(token, 0);
	assert_false(transactions_more(t, PROXY, ID, SESSION + 1, 0, &take));
	assert_false(transactions_more(t, PROXY + 1, ID, SESSION, 0, &take));
	ask_more();
	assert_false(transactions_more(t, PROXY, ID, SESSION, 0, &take));
	assert_true(transactions_refused(t, token, &take, &next));
	assert_false(transactions_more(t, PROXY, ID, SESSION, 0, &take));
	open_take(ID + 1);
	assert_true(transactions_intend(t, PROXY, ID + 1, SESSION));
	assert_false(transactions_more(t, PROXY, ID + 1, SESSION, 0, &take));
}

static void test_a_lost_proxys_more_octets_are_awaited(void **state)
{
	struct take take;
	enum transaction_next next;

	(void)state;
	open_take(ID);
	uint64_t token = ask_more();
	transactions_detach(t, PROXY, 1000);
	transactions_sweep(t, 1000 + TRANSACTION_GRACE_MS);
	assert_int_equal(returns.started, 0);
	assert_true(transactions_granted(t, token, &octets, 1001, &take, &next));
	transactions_sweep(t, 1000 + TRANSACTION_GRACE_MS);
	assert_int_equal(returns.started, 1);
	assert_int_equal(returns.last.grants[1].bytes, 9000);
}

static void test_recipients_go_with_the_take(void **state)
{
	static const uint64_t hashes[] = {1, 2};
	struct take take = {.proxy = PROXY, .id = ID, .session = SESSION, .account = ACCOUNT};

	(void)state;
	assert_true(recipients_add(&take.whom, hashes, 2, 2));
	struct recipients *mine = recipients_ref(take.whom);
	assert_true(transactions_begin(t, &take, 0));
	assert_int_equal(mine->references, 2);
	grant(take.token, 0);
	assert_int_equal(outcome(IPC_OUTCOME_REFUSED), TRANSACTION_WAIT);
	assert_ptr_equal(returns.last.whom, mine);
	assert_int_equal(returned(take.token, TRANSACTION_RETURNED), TRANSACTION_DONE);
	assert_int_equal(mine->references, 1);
	recipients_unref(&mine);
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
		TEST(test_a_give_back_that_needs_no_database),
		TEST(test_more_octets_are_given_back_with_the_rest),
		TEST(test_more_octets_refused_leave_the_take_open),
		TEST(test_an_outcome_before_more_octets),
		TEST(test_more_octets_are_asked_for_once_and_of_an_open_take),
		TEST(test_a_lost_proxys_more_octets_are_awaited),
		TEST(test_recipients_go_with_the_take),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
