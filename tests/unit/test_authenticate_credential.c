/* SPDX-License-Identifier: ISC */
/*
 * A log-in with a generated secret, with both rows brought by hand: no hash process is asked, both
 * look-ups are made whoever it is, nothing that is only remembered refuses, and every refusal is
 * the same.
 */
#include "auth/authenticate.h"
#include "auth/guard.h"

#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "common/secret.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "abcdefgh2345"
#define SECRET "pst_" ID "_abcdefghijklmnopqrstuvwxyz234567"
#define WRONG "pst_" ID "_abcdefghijklmnopqrstuvwxyz234566"
#define NONE "pst_aaaaaaaaaaaa_abcdefghijklmnopqrstuvwxyz234567"

enum { ACCOUNT = 42, NEIGHBOUR = 43, PATIENCE_MS = 5000 };

static const uint8_t peppers[1][PEPPER_BYTES] = {{9, 8, 7}};
static const struct address_key here = {{[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 7}};

static struct event_base *base;
static struct row_cache *accounts;
static struct row_cache *credentials;
static struct credential_keys *keys;
static struct credential_uses *uses;
static struct login_cache *verified;
static struct hash_pool *pool;
static struct guard *guard;
static struct config_guard guarding;
static struct authenticate *a;

static struct { /* the database */
	size_t accounts, credentials;
	uint64_t ticket, number;
	uint64_t credential_ticket;
} asked;

static struct {
	size_t count;
	struct ipc_auth_verdict verdict;
} told;

static bool look_up(void *arg, uint64_t ticket, const uint8_t *login, size_t len)
{
	(void)arg;
	(void)login;
	(void)len;
	asked.accounts++;
	asked.ticket = ticket;
	return true;
}

static bool ask(void *arg, uint64_t ticket, const uint8_t *key, size_t key_len)
{
	(void)arg;
	asked.credentials++;
	asked.number = credential_cache_key(key, key_len);
	asked.credential_ticket = ticket;
	return true;
}

static bool write_uses(const struct credential_use_batch *batch, void *arg)
{
	(void)batch;
	(void)arg;
	return false;
}

static void on_done(
	uint64_t peer, uint64_t session, const struct ipc_auth_verdict *verdict, void *arg)
{
	(void)peer;
	(void)session;
	(void)arg;
	told.count++;
	told.verdict = *verdict;
}

static void on_hashed(const struct hash_pool_result *result, void *arg, uint64_t token)
{
	(void)result;
	(void)arg;
	(void)token;
	fail_msg("a hash was computed");
}

static void wait_for_verdict(size_t count)
{
	uint64_t end = clock_monotonic_ms() + PATIENCE_MS;

	while (told.count < count && clock_monotonic_ms() < end) {
		const struct timeval step = {0, 1000};
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
	assert_int_equal(told.count, count);
}

static uint64_t start(const char *login, const char *secret)
{
	struct ipc_auth_request request = {.mechanism = IPC_MECHANISM_PLAIN,
		.client = here,
		.login_len = (uint16_t)strlen(login),
		.secret_len = (uint16_t)strlen(secret),
		.helo_len = 4,
		.helo = "helo"};

	memcpy(request.login, login, request.login_len);
	memcpy(request.secret, secret, request.secret_len);
	return authenticate_start(a, 0, 1, 77, &request, clock_monotonic_ms());
}

static void bring_account(bool enabled)
{
	struct account *account = account_new(0);

	assert_non_null(account);
	account->id = ACCOUNT;
	account->version = 5;
	account->enabled = enabled;
	account->recipients = 100;
	account_cache_answer(accounts, asked.ticket, ROW_KNOWN, account, clock_monotonic_ms());
}

/* As it is stored for SECRET; NULL edit leaves it so. */
static void bring_credential(void (*edit)(struct credential *))
{
	struct credential *row = credential_new(0);

	assert_non_null(row);
	row->number = asked.number;
	row->account = ACCOUNT;
	row->enabled = true;
	credential_key_id(peppers[0], row->key_id);
	credential_hash(peppers[0], (const uint8_t *)SECRET, row->hash);
	if (edit != NULL)
		edit(row);
	credential_cache_answer(
		credentials, asked.credential_ticket, ROW_KNOWN, row, clock_monotonic_ms());
}

static int setup(void **state)
{
	const struct row_cache_settings cache = {
		.kind = &account_rows, .entries_max = 100, .bytes_max = 1 << 20, .lookup = look_up};
	const struct row_cache_settings rows = {
		.kind = &credential_rows, .entries_max = 100, .bytes_max = 1 << 20, .lookup = ask};
	const struct hash_pool_settings hashes = {.queue = 4, .owners = 1, .done = on_hashed};
	const struct guard_settings guards = {.config = &guarding};

	(void)state;
	memset(&asked, 0, sizeof asked);
	memset(&told, 0, sizeof told);
	base = event_base_new();
	accounts = row_cache_new(&cache);
	credentials = row_cache_new(&rows);
	keys = credential_keys_new(peppers, 1);
	uses = credential_uses_new(write_uses, NULL);
	verified = login_cache_new(10, 60000);
	pool = hash_pool_new(base, &hashes);
	guard = guard_new(&guards);
	const struct authenticate_settings settings = {.accounts = accounts,
		.verified = verified,
		.pool = pool,
		.guard = guard,
		.credentials = credentials,
		.keys = keys,
		.uses = uses,
		.cost = {8 << 20, 1},
		.hash_budget = 64 << 20,
		.done = on_done};
	a = authenticate_new(base, &settings);
	return a == NULL;
}

static int teardown(void **state)
{
	(void)state;
	authenticate_destroy(&a);
	hash_pool_destroy(&pool);
	row_cache_destroy(&accounts);
	row_cache_destroy(&credentials);
	credential_uses_destroy(&uses);
	credential_keys_destroy(&keys);
	login_cache_destroy(&verified);
	guard_destroy(&guard);
	event_base_free(base);
	return secret_in_use() != 0;
}

static void test_both_are_asked_before_either_answer(void **state)
{
	(void)state;
	assert_int_not_equal(start("Alice", SECRET), 0);
	assert_int_equal(asked.accounts, 1);
	assert_int_equal(asked.credentials, 1);
	bring_account(true);
	assert_int_equal(told.count, 0);
	bring_credential(NULL);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_int_equal(told.verdict.account, ACCOUNT);
	assert_int_equal(told.verdict.credential, asked.number);
	assert_int_equal(told.verdict.version, 5);
	assert_int_equal(told.verdict.recipients, 100);
	assert_int_equal(credential_uses_count(uses), 1);
	assert_int_equal(secret_in_use(), 0);
	/* Again, and in the other order. */
	assert_int_equal(start("alice", SECRET), 0);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_int_equal(asked.accounts + asked.credentials, 2);
	row_cache_changed_all(accounts);
	row_cache_changed_all(credentials);
	start("alice", SECRET);
	bring_credential(NULL);
	assert_int_equal(told.count, 2);
	bring_account(true);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
}

static void set_revoked(struct credential *row)
{
	row->enabled = false;
}

static void set_expired(struct credential *row)
{
	row->expires_s = 1;
}

static void set_foreign(struct credential *row)
{
	row->account = NEIGHBOUR;
}

static void set_elsewhere(struct credential *row)
{
	row->network_count = 1;
	assert_true(network_parse("198.51.100.0/24", &row->networks[0]));
}

static void set_no_key(struct credential *row)
{
	row->key_id[0] = row->key_id[0] == '0' ? '1' : '0';
}

static const struct {
	const char *name, *secret;
	bool account, enabled, credential;
	void (*edit)(struct credential *);
} refusals[] = {
	{"wrong", WRONG, true, true, true, NULL},
	{"unknown credential", SECRET, true, true, false, NULL},
	{"unknown login", SECRET, false, true, true, NULL},
	{"neither", SECRET, false, true, false, NULL},
	{"disabled", SECRET, true, false, true, NULL},
	{"revoked", SECRET, true, true, true, set_revoked},
	{"expired", SECRET, true, true, true, set_expired},
	{"another account's", SECRET, true, true, true, set_foreign},
	{"elsewhere", SECRET, true, true, true, set_elsewhere},
	{"no key", SECRET, true, true, true, set_no_key},
};

static void bring(size_t i)
{
	if (refusals[i].account)
		bring_account(refusals[i].enabled);
	else
		account_cache_answer(
			accounts, asked.ticket, ROW_UNKNOWN, NULL, clock_monotonic_ms());
	if (refusals[i].credential)
		bring_credential(refusals[i].edit);
	else
		credential_cache_answer(credentials, asked.credential_ticket, ROW_UNKNOWN, NULL,
			clock_monotonic_ms());
}

static void test_every_refusal_is_the_same_after_the_same_questions(void **state)
{
	struct ipc_auth_verdict refusal;

	(void)state;
	memset(&refusal, 0, sizeof refusal);
	refusal.result = IPC_AUTH_REFUSED;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		assert_int_equal(setup(NULL), 0);
		start("alice", refusals[i].secret);
		bring(i);
		/* Both are confirmed: who knows what was remembered. */
		if (asked.accounts != 2 || asked.credentials != 2)
			fail_msg("%s: asked %zu and %zu times", refusals[i].name, asked.accounts,
				asked.credentials);
		bring(i);
		wait_for_verdict(1);
		if (memcmp(&told.verdict, &refusal, sizeof refusal) != 0)
			fail_msg("%s: another verdict", refusals[i].name);
		assert_int_equal(credential_uses_count(uses), 0);
		assert_int_equal(teardown(NULL), 0);
	}
}

static void test_what_changed_meanwhile_lets_in(void **state)
{
	(void)state;
	start("alice", SECRET);
	bring_account(true);
	bring_credential(set_elsewhere);
	assert_int_equal(told.count, 0);
	bring_account(true);
	bring_credential(NULL);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
}

/* An estimate of the look-up that an unknown name waits for stands in for it. */
static void test_a_refusal_from_memory_takes_no_less_time(void **state)
{
	uint64_t begun_ms = clock_monotonic_ms();

	(void)state;
	start("alice", SECRET);
	while (clock_monotonic_ms() < begun_ms + 300)
		continue;
	bring_account(true);
	bring_credential(NULL);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	uint64_t asked_ms = clock_monotonic_ms();
	start("alice", WRONG);
	assert_int_equal(asked.accounts, 2);
	bring_account(true);
	bring_credential(NULL);
	assert_int_equal(told.count, 1);
	wait_for_verdict(2);
	assert_int_equal(told.verdict.result, IPC_AUTH_REFUSED);
	assert_true(clock_monotonic_ms() - asked_ms >= 100); /* of 300, and a quick one since */
}

static void test_trouble_is_never_a_refusal(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		start("alice", i == 0 ? SECRET : WRONG);
		credential_cache_answer(credentials, asked.credential_ticket, ROW_UNAVAILABLE, NULL,
			clock_monotonic_ms());
		assert_int_equal(told.count, i);
		account_cache_answer(
			accounts, asked.ticket, ROW_UNKNOWN, NULL, clock_monotonic_ms());
		assert_int_equal(told.count, i + 1);
		assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
		row_cache_changed_all(accounts);
	}
}

static void test_names_that_cannot_be_are_not_asked_for(void **state)
{
	(void)state;
	start("", SECRET);
	wait_for_verdict(1);
	assert_int_equal(told.verdict.result, IPC_AUTH_REFUSED);
	start("alice", NONE);
	wait_for_verdict(2);
	assert_int_equal(told.verdict.result, IPC_AUTH_REFUSED);
	assert_int_equal(asked.accounts + asked.credentials, 0);
}

static void test_a_client_that_left(void **state)
{
	(void)state;
	uint64_t token = start("alice", SECRET);
	authenticate_cancel(a, token);
	assert_int_equal(secret_in_use(), 0);
	bring_account(true);
	bring_credential(NULL);
	assert_int_equal(told.count, 0);
	assert_int_equal(authenticate_count(a), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_both_are_asked_before_either_answer, setup, teardown),
		cmocka_unit_test(test_every_refusal_is_the_same_after_the_same_questions),
		cmocka_unit_test_setup_teardown(
			test_what_changed_meanwhile_lets_in, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_refusal_from_memory_takes_no_less_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trouble_is_never_a_refusal, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_names_that_cannot_be_are_not_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_left, setup, teardown),
	};

	if (sodium_init() == -1 || !secret_slab_open(8))
		return 1;
	log_open("test", STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_ERROR);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	secret_slab_close();
	return failed;
}
