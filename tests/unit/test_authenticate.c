/* SPDX-License-Identifier: ISC */
/*
 * Log-ins against a played database and a played hash process: every refusal does the same work and
 * gives the same bytes, trouble is never a refusal, and no secret outlives its log-in.
 *
 * Long: cases over one fixture, read by name.
 */
#include "auth/authenticate.h"
#include "auth/guard.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/secret.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MEMORY = 8 << 20, PASSES = 2, BUDGET = 32 << 20, SLOTS = 8, PEER = 5, TURNS = 8 };

#define SALT "AAECAwQFBgcICQoLDA0ODw"
#define TAG "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define HASH "$argon2id$v=19$m=16384,t=3,p=1$" SALT "$" TAG
#define WEAK_HASH "$argon2id$v=19$m=8192,t=1,p=1$" SALT "$" TAG
#define HUGE_HASH "$argon2id$v=19$m=65536,t=2,p=1$" SALT "$" TAG

static struct event_base *base;
static struct row_cache *accounts;
static struct login_cache *verified;
static struct hash_pool *pool;
static struct authenticate *a;

static struct { /* the hash process */
	struct channel *channel;
	size_t asked;
	uint64_t id;
	struct ipc_hash_request request;
} hasher;

static struct { /* the database */
	size_t asked;
	uint64_t ticket;
} lookups;

static struct {
	size_t count;
	uint64_t session;
	struct ipc_auth_verdict verdict;
} told;

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	(void)channel;
	(void)arg;
	assert_int_equal(type, IPC_HASH_REQUEST);
	hasher.asked++;
	hasher.id = id;
	memcpy(&hasher.request, payload, sizeof hasher.request);
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	(void)channel;
	(void)reason;
	(void)arg;
}

static bool look_up(void *arg, uint64_t ticket, const uint8_t *login, size_t len)
{
	(void)arg;
	(void)login;
	(void)len;
	lookups.asked++;
	lookups.ticket = ticket;
	return true;
}

static struct { /* what better hashes came of it */
	size_t count;
	uint64_t token, account, version;
	char old[IPC_PHC_MAX + 1], new[IPC_PHC_MAX + 1];
	bool away;
} stored;

static bool on_store(void *arg, uint64_t token, const struct rehash_wanted *wanted, const char *new)
{
	(void)arg;
	stored.count++;
	stored.token = token;
	stored.account = wanted->account;
	stored.version = wanted->version;
	snprintf(stored.old, sizeof stored.old, "%.*s", (int)wanted->old_len, wanted->old);
	snprintf(stored.new, sizeof stored.new, "%s", new);
	return !stored.away;
}

static void on_done(
	uint64_t peer, uint64_t session, const struct ipc_auth_verdict *verdict, void *arg)
{
	(void)arg;
	assert_int_equal(peer, PEER);
	told.count++;
	told.session = session;
	told.verdict = *verdict;
}

static void on_hashed(const struct hash_pool_result *result, void *arg, uint64_t token)
{
	(void)arg;
	authenticate_hashed(result, a, token);
}

static void turn(void)
{
	for (int i = 0; i < TURNS; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Until a verdict came, at most two seconds. */
static void wait_for_verdict(size_t count)
{
	uint64_t end = clock_monotonic_ms() + 2000;
	const struct timeval step = {0, 1000};

	while (told.count < count && clock_monotonic_ms() < end) {
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
	assert_int_equal(told.count, count);
}

static uint64_t start(uint64_t session, const char *login, const char *secret, bool authzid)
{
	struct ipc_auth_request request;

	memset(&request, 0, sizeof request);
	request.mechanism = IPC_MECHANISM_PLAIN;
	request.authzid_differs = authzid;
	request.login_len = (uint16_t)strlen(login);
	request.secret_len = (uint16_t)strlen(secret);
	memcpy(request.login, login, request.login_len);
	memcpy(request.secret, secret, request.secret_len);
	uint64_t token = authenticate_start(a, 0, PEER, session, &request, clock_monotonic_ms());
	turn();
	return token;
}

static void answer_account(const char *phc, bool enabled, uint64_t version)
{
	struct account *account = account_new(0);

	assert_non_null(account);
	account->id = 42;
	account->version = version;
	account->enabled = enabled;
	account->recipients = 100;
	account->from_policy = IPC_FROM_REWRITE;
	account->token_len = 5;
	memcpy(account->token, "k7wq3", 5);
	if (phc != NULL) {
		account->phc_len = (uint16_t)strlen(phc);
		memcpy(account->phc, phc, account->phc_len);
	}
	account_cache_answer(accounts, lookups.ticket, ROW_KNOWN, account, clock_monotonic_ms());
	turn();
}

static void answer_unknown(void)
{
	account_cache_answer(accounts, lookups.ticket, ROW_UNKNOWN, NULL, clock_monotonic_ms());
	turn();
}

static void answer_hash(enum ipc_hash_outcome outcome)
{
	const struct ipc_hash_result result = {.outcome = (uint8_t)outcome};

	assert_true(
		channel_send(hasher.channel, IPC_HASH_RESULT, hasher.id, &result, sizeof result));
	turn();
}

static struct config_guard guarding;
static struct guard *guard;

static uint64_t outage_trust_ms;

static int setup(void **state)
{
	static const struct channel_events events = {.on_frame = on_frame, .on_close = on_close};
	const struct row_cache_settings cache = {
		.kind = &account_rows, .entries_max = 100, .bytes_max = 1 << 20, .lookup = look_up};
	const struct hash_pool_settings hashes = {.queue = 4, .owners = 1, .done = on_hashed};
	int pair[2];

	(void)state;
	memset(&hasher, 0, sizeof hasher);
	memset(&lookups, 0, sizeof lookups);
	memset(&told, 0, sizeof told);
	base = event_base_new();
	accounts = row_cache_new(&cache);
	verified = login_cache_new(10, 60000);
	pool = hash_pool_new(base, &hashes);
	guarding = (struct config_guard){
		.enabled = true,
		.prefix_v4 = 32,
		.prefix_v6 = 64,
		.guesses = 5,
		.guesses_known = 20,
		.guesses_account = 50,
		.guesses_network = 50,
		.names_network = 20,
		.forgive_ms = 600000,
		.block_ms = 600000,
		.block_max_ms = 6000000,
		.remember_ms = 86400000,
	};
	const struct guard_settings guards = {.config = &guarding};
	guard = guard_new(&guards);
	memset(&stored, 0, sizeof stored);
	const struct authenticate_settings settings = {.accounts = accounts,
		.store = on_store,
		.verified = verified,
		.pool = pool,
		.guard = guard,
		.cost = {MEMORY, PASSES},
		.hash_budget = BUDGET,
		.outage_trust_ms = outage_trust_ms,
		.done = on_done};
	a = authenticate_new(base, &settings);
	if (a == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1)
		return 1;
	hasher.channel = channel_open(base, pair[1], &events, NULL);
	hash_pool_attach(pool, 0, pair[0]);
	turn();
	return hasher.channel == NULL;
}

static int teardown(void **state)
{
	(void)state;
	authenticate_destroy(&a);
	hash_pool_destroy(&pool);
	row_cache_destroy(&accounts);
	login_cache_destroy(&verified);
	guard_destroy(&guard);
	channel_close(&hasher.channel);
	event_base_free(base);
	return secret_in_use() != 0;
}

static void test_the_right_password(void **state)
{
	(void)state;
	assert_int_not_equal(start(1, "Alice@X.Test", "secret", false), 0);
	answer_account(HASH, true, 7);
	assert_int_equal(hasher.asked, 1);
	assert_memory_equal(hasher.request.phc, HASH, strlen(HASH));
	assert_memory_equal(hasher.request.secret, "secret", 6);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_int_equal(told.verdict.account, 42);
	assert_int_equal(told.verdict.version, 7);
	assert_int_equal(told.verdict.recipients, 100);
	assert_int_equal(told.verdict.from_policy, IPC_FROM_REWRITE);
	assert_int_equal(told.verdict.token_len, 5);
	assert_memory_equal(told.verdict.token, "k7wq3", 5);
	assert_int_equal(told.verdict.login_len, 12);
	assert_memory_equal(told.verdict.login, "alice@x.test", 12);
	assert_int_equal(secret_in_use(), 0);
}

static void test_the_same_password_again_needs_no_hash(void **state)
{
	(void)state;
	start(1, "alice", "secret", false);
	answer_account(HASH, true, 7);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(start(2, "alice", "secret", false), 0); /* decided at once */
	assert_int_equal(told.count, 2);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_int_equal(hasher.asked, 1);
	start(3, "alice", "another", false);
	assert_int_equal(hasher.asked, 2);
	answer_hash(IPC_HASH_MISMATCH);
	answer_account(HASH, true, 7);
	wait_for_verdict(3);
	assert_int_equal(told.verdict.result, IPC_AUTH_REFUSED);
	/* The row changed: what was verified of the old one is worth nothing. */
	row_cache_forget(accounts, (const uint8_t *)"alice", 5);
	start(4, "alice", "secret", false);
	answer_account(HASH, true, 8);
	assert_int_equal(hasher.asked, 3);
}

/* What is only remembered is no ground for a refusal. */
static void test_a_refusal_is_confirmed_by_the_database(void **state)
{
	(void)state;
	start(1, "alice", "old", false);
	answer_account(HASH, true, 7);
	answer_hash(IPC_HASH_MATCH);
	start(2, "alice", "new", false); /* the password has just been changed */
	answer_hash(IPC_HASH_MISMATCH);
	assert_int_equal(told.count, 1);
	answer_account(HASH, true, 8);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_int_equal(told.verdict.version, 8);
	start(3, "alice", "wrong", false);
	answer_hash(IPC_HASH_MISMATCH);
	account_cache_answer(accounts, lookups.ticket, ROW_UNAVAILABLE, NULL, clock_monotonic_ms());
	turn();
	assert_int_equal(told.count, 3);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
}

static void unknown(void)
{
	start(1, "nobody", "secret", false);
	answer_unknown();
}

static void not_a_login(void)
{
	start(1, "a\r\nb", "secret", false);
	assert_int_equal(lookups.asked, 0);
}

static void disabled(void)
{
	start(1, "alice", "secret", false);
	answer_account(HASH, false, 7);
}

static void no_password(void)
{
	start(1, "alice", "secret", false);
	answer_account(NULL, true, 7);
}

static void malformed(void)
{
	start(1, "alice", "secret", false);
	answer_account("$argon2id$v=19$m=4194304,t=4294967295,p=255$x$y", true, 7);
}

static void too_costly(void)
{
	start(1, "alice", "secret", false);
	answer_account(HUGE_HASH, true, 7);
}

static void foreign_authzid(void)
{
	start(1, "alice", "secret", true);
	answer_account(HASH, true, 7);
}

static void empty_password(void)
{
	start(1, "alice", "", false);
	answer_account(HASH, true, 7);
}

static const struct {
	const char *name;
	void (*play)(void);
} refusals[] = {
	{"unknown", unknown},
	{"not a login", not_a_login},
	{"disabled", disabled},
	{"no password", no_password},
	{"malformed hash", malformed},
	{"too costly a hash", too_costly},
	{"foreign authorization identity", foreign_authzid},
	{"empty password", empty_password},
};

/* The hash process even says "match": what is refused for another reason stays refused. */
static void test_every_refusal_is_a_dummy_hash_and_the_same_bytes(void **state)
{
	struct ipc_auth_verdict wrong;

	(void)state;
	start(1, "alice", "wrong", false);
	answer_account(HASH, true, 7);
	answer_hash(IPC_HASH_MISMATCH);
	wait_for_verdict(1);
	wrong = told.verdict;
	assert_int_equal(wrong.result, IPC_AUTH_REFUSED);
	assert_int_equal(wrong.token_len, 0); /* a stranger learns nothing of the account */
	assert_int_equal(wrong.from_policy, 0);
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		struct password_hash hash;
		teardown(NULL);
		assert_int_equal(setup(NULL), 0);
		refusals[i].play();
		if (hasher.asked != 1 || told.count != 0)
			fail_msg("%s: %zu hashes, %zu verdicts", refusals[i].name, hasher.asked,
				told.count);
		assert_int_equal(password_parse((const char *)hasher.request.phc,
					 hasher.request.phc_len, &hash),
			PASSWORD_PARSED);
		if (hash.cost.memory_bytes != MEMORY || hash.cost.passes != PASSES)
			fail_msg("%s: the dummy is of another cost", refusals[i].name);
		answer_hash(IPC_HASH_MATCH);
		wait_for_verdict(1);
		if (memcmp(&told.verdict, &wrong, sizeof wrong) != 0)
			fail_msg("%s: another verdict than a wrong password's", refusals[i].name);
		assert_int_equal(secret_in_use(), 0);
	}
}

static void test_a_refusal_takes_as_long_as_the_slowest(void **state)
{
	enum { SLOW_MS = 60 };
	const struct timeval slow = {0, SLOW_MS * 1000};

	(void)state;
	start(1, "alice", "secret", false);
	answer_account(HASH, true, 7);
	event_base_loopexit(base, &slow); /* the hash process works */
	event_base_dispatch(base);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(told.count, 1);
	start(2, "nobody", "secret", false);
	uint64_t asked = clock_monotonic_ms();
	answer_unknown();
	answer_hash(IPC_HASH_MISMATCH); /* at once: another, cheaper kind */
	assert_int_equal(told.count, 1);
	assert_int_equal(secret_in_use(), 0); /* not held while it waits */
	wait_for_verdict(2);
	assert_true(clock_monotonic_ms() - asked >= SLOW_MS - 2);
	assert_int_equal(told.verdict.result, IPC_AUTH_REFUSED);
	uint64_t token = start(3, "nobody", "secret", false);
	answer_hash(IPC_HASH_MISMATCH);
	assert_int_equal(authenticate_count(a), 1);
	authenticate_cancel(a, token); /* its client did not wait for it */
	assert_int_equal(authenticate_count(a), 0);
	event_base_loopexit(base, &slow);
	event_base_dispatch(base);
	assert_int_equal(told.count, 2);
}

static void test_trouble_is_never_a_refusal(void **state)
{
	(void)state;
	start(1, "alice", "secret", false);
	account_cache_answer(accounts, lookups.ticket, ROW_UNAVAILABLE, NULL, 0);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
	start(2, "alice", "secret", false);
	answer_account(HASH, true, 7);
	answer_hash(IPC_HASH_FAILED);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
	start(3, "alice", "secret", false);
	channel_close(&hasher.channel); /* the hash process died */
	turn();
	assert_int_equal(told.count, 3);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
	assert_int_equal(told.verdict.account, 0);
	start(4, "alice", "secret", false); /* nobody hashes: the deadline decides */
	hash_pool_tick(pool, clock_monotonic_ms() + AUTHENTICATE_DEADLINE_MS);
	assert_int_equal(told.count, 4);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
}

static void test_full_queue_and_full_slab(void **state)
{
	(void)state;
	guarding.enabled = false; /* so many at once are not for it to judge here */
	start(1, "alice", "secret", false);
	answer_account(HASH, true, 7); /* on the process */
	for (uint64_t session = 2; session <= 5; session++)
		start(session, "alice", "secret", false); /* in the queue */
	assert_int_equal(told.count, 0);
	assert_int_equal(start(6, "alice", "secret", false), 0);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.session, 6);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
	for (uint64_t session = 7; secret_in_use() < SLOTS; session++)
		start(session, "somebody.else", "secret", false);
	size_t before = told.count;
	assert_int_equal(start(99, "alice", "secret", false), 0);
	assert_int_equal(told.count, before + 1);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
}

static void test_a_client_that_left_at_each_stage(void **state)
{
	(void)state;
	uint64_t token = start(1, "alice", "secret", false);
	authenticate_cancel(a, token); /* while it is looked up */
	assert_int_equal(secret_in_use(), 0);
	answer_account(HASH, true, 7);
	assert_int_equal(hasher.asked, 0);
	token = start(2, "alice", "secret", false);
	assert_int_equal(hasher.asked, 1);
	uint64_t waiting = start(3, "alice", "secret", false);
	authenticate_cancel(a, waiting); /* in the queue */
	authenticate_cancel(a, token);   /* while it is hashed */
	assert_int_equal(secret_in_use(), 0);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(hasher.asked, 1);
	assert_int_equal(told.count, 0);
	assert_int_equal(authenticate_count(a), 0);
	assert_int_equal(login_cache_count(verified), 0); /* nothing learnt from the unheard */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static const struct address_key nowhere; /* where start() comes from */

/* Strangers guess at alice until the guard gives this answer, at least so much delayed. */
static void guess_until(enum guard_answer answer, uint64_t delay_ms)
{
	uint8_t tag[GUARD_TAG_BYTES] = {0};
	struct guard_decision decision;

	for (uint8_t n = 1; n < 50; n++) {
		decision = guard_ask(
			guard, (const uint8_t *)"alice", 5, &nowhere, clock_monotonic_ms());
		if (decision.answer == GUARD_PASS)
			guard_abandoned(
				guard, (const uint8_t *)"alice", 5, &nowhere, clock_monotonic_ms());
		if (decision.answer == answer && decision.delay_ms >= delay_ms)
			return;
		tag[0] = n;
		guard_ask(guard, (const uint8_t *)"alice", 5, &nowhere, clock_monotonic_ms());
		guard_failed(
			guard, (const uint8_t *)"alice", 5, &nowhere, tag, clock_monotonic_ms());
	}
	fail_msg("the guard never did that");
}

static bool alice_is_known(void)
{
	return guard_knows(guard, (const uint8_t *)"alice", 5, &nowhere, clock_monotonic_ms());
}

static void test_a_held_log_in_costs_nothing(void **state)
{
	(void)state;
	guess_until(GUARD_HOLD, 0);
	assert_int_equal(start(1, "Alice", "secret", false), 0);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.verdict.result, IPC_AUTH_HELD);
	assert_int_equal(told.verdict.account, 0);
	assert_int_equal(lookups.asked, 0);
	assert_int_equal(hasher.asked, 0);
	assert_int_equal(secret_in_use(), 0);
}

static void test_a_blocked_network_is_told_so(void **state)
{
	const struct network all = {.bits = 1};

	(void)state;
	assert_true(guard_block(guard, &all, clock_monotonic_ms() + 60000));
	assert_int_equal(start(1, "alice", "secret", false), 0);
	assert_int_equal(told.verdict.result, IPC_AUTH_BLOCKED);
	assert_int_equal(lookups.asked + hasher.asked, 0);
}

static void wait_for_lookup(void)
{
	uint64_t end = clock_monotonic_ms() + GUARD_DELAY_MAX_MS + 2000;
	const struct timeval step = {0, 10000};

	while (lookups.asked == 0 && clock_monotonic_ms() < end) {
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
	assert_int_equal(lookups.asked, 1);
}

static void test_a_slowed_log_in_begins_later(void **state)
{
	(void)state;
	guess_until(GUARD_PASS, 1);
	uint64_t began_ms = clock_monotonic_ms();
	assert_int_not_equal(start(1, "alice", "secret", false), 0);
	assert_int_equal(lookups.asked + hasher.asked + told.count, 0);
	assert_int_equal(secret_in_use(), 1);
	wait_for_lookup();
	assert_true(clock_monotonic_ms() > began_ms);
	answer_account(HASH, true, 7);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_true(alice_is_known());
}

static void test_a_slowed_client_that_leaves_is_forgotten(void **state)
{
	(void)state;
	guess_until(GUARD_PASS, 1);
	authenticate_cancel(a, start(1, "alice", "secret", false));
	assert_int_equal(authenticate_count(a), 0);
	assert_int_equal(secret_in_use(), 0);
	assert_int_equal(told.count, 0);
}

/* Those whom the guard slows down hold secrets: their number is bounded. */
static void test_only_so_many_are_slowed(void **state)
{
	uint64_t session = 0;

	(void)state;
	guess_until(GUARD_PASS, 1);
	for (; session < SLOTS && told.count == 0; session++)
		start(session + 1, "alice", "secret", false);
	/* Guesses side by side count before they are decided. */
	assert_true(told.count == 0 || told.verdict.result == IPC_AUTH_HELD);
	assert_int_equal(secret_in_use(), authenticate_count(a));
}

static void test_the_guard_hears_of_refusals_and_not_of_our_trouble(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 20; n++) {
		start(n, "alice", "secret", false);
		account_cache_answer(
			accounts, lookups.ticket, ROW_UNAVAILABLE, NULL, clock_monotonic_ms());
		turn();
		assert_int_equal(told.count, n);
		assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
	}
	assert_false(alice_is_known());
	/* The same wrong secret again and again is a telephone with an old password. */
	for (uint64_t n = 21; n <= 30; n++) {
		start(n, "alice", "old", false);
		answer_account(HASH, true, 7);
		if (n > 21) { /* the row is remembered: hashed first, then confirmed */
			answer_hash(IPC_HASH_MISMATCH);
			answer_account(HASH, true, 7);
		} else {
			answer_hash(IPC_HASH_MISMATCH);
		}
		wait_for_verdict(n);
		assert_int_equal(told.verdict.result, IPC_AUTH_REFUSED);
	}
}

/* A log-in that is proven against a weak hash; the pool is then asked for a better one. */
static void log_in_weakly(uint64_t session)
{
	size_t asked = hasher.asked;

	start(session, "alice", "secret", false);
	answer_account(WEAK_HASH, true, 7);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(told.session, session);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_int_equal(hasher.asked, asked + 2);
	assert_int_equal(hasher.request.phc_len, 0);
	assert_int_equal(hasher.request.memory_bytes, MEMORY);
	assert_int_equal(hasher.request.passes, PASSES);
	assert_int_equal(hasher.request.secret_len, 6);
	assert_memory_equal(hasher.request.secret, "secret", 6);
	assert_int_equal(secret_in_use(), 1);
}

static void answer_made(const char *phc)
{
	struct ipc_hash_result result = {
		.outcome = IPC_HASH_MADE, .phc_len = (uint16_t)strlen(phc)};

	memcpy(result.phc, phc, result.phc_len);
	assert_true(
		channel_send(hasher.channel, IPC_HASH_RESULT, hasher.id, &result, sizeof result));
	turn();
}

static void test_a_weak_hash_is_replaced_after_the_answer(void **state)
{
	(void)state;
	log_in_weakly(1);
	answer_made(HASH);
	assert_int_equal(secret_in_use(), 0);
	assert_int_equal(stored.count, 1);
	assert_int_equal(stored.account, 42);
	assert_int_equal(stored.version, 7);
	assert_string_equal(stored.old, WEAK_HASH);
	assert_string_equal(stored.new, HASH);
	authenticate_stored(a, stored.token, true);
	/* One that is strong enough stays. */
	row_cache_forget(accounts, (const uint8_t *)"alice", 5);
	start(2, "alice", "secret", false);
	answer_account(HASH, true, 8);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(stored.count, 1);
	assert_int_equal(secret_in_use(), 0);
}

static void test_what_nobody_stores_is_given_up(void **state)
{
	(void)state;
	stored.away = true;
	log_in_weakly(1);
	answer_made(HASH);
	assert_int_equal(stored.count, 1);
	row_cache_forget(accounts, (const uint8_t *)"alice", 5);
	size_t asked = hasher.asked;
	start(2, "alice", "secret", false);
	answer_account(WEAK_HASH, true, 8);
	answer_hash(IPC_HASH_MATCH);
	assert_int_equal(told.session, 2);
	assert_int_equal(hasher.asked, asked + 1);
	assert_int_equal(secret_in_use(), 0);
}

static void test_log_ins_go_before_better_hashes(void **state)
{
	(void)state;
	start(1, "alice", "secret", false);
	answer_account(WEAK_HASH, true, 7);
	start(2, "alice", "secret", false);
	answer_hash(IPC_HASH_MATCH); /* of 1; 2 waits, so that nothing better is even queued */
	assert_int_equal(told.session, 1);
	assert_memory_equal(hasher.request.phc, WEAK_HASH, strlen(WEAK_HASH));
	assert_int_equal(secret_in_use(), 1);
	answer_hash(IPC_HASH_MATCH); /* of 2: now nobody waits */
	assert_int_equal(told.session, 2);
	assert_int_equal(hasher.request.phc_len, 0);
	channel_close(&hasher.channel); /* the process dies over it: nobody misses it */
	turn();
	assert_int_equal(told.count, 2);
	assert_int_equal(secret_in_use(), 0);
}

static void database_away(void)
{
	account_cache_answer(accounts, lookups.ticket, ROW_UNAVAILABLE, NULL, clock_monotonic_ms());
	turn();
}

static int setup_outage(void **state)
{
	outage_trust_ms = 3600 * 1000;
	int failed = setup(state);
	outage_trust_ms = 0;
	return failed;
}

static void heard(enum row_answer answer, const struct account *account, void *arg, uint64_t token)
{
	(void)account;
	(void)arg;
	(void)token;
	assert_int_equal(answer, ROW_KNOWN);
}

/* Verified; and its row was looked up so long ago that it is remembered, but not trusted. */
static void log_in_long_ago(void)
{
	start(1, "alice", "secret", false);
	answer_account(HASH, true, 7);
	answer_hash(IPC_HASH_MATCH);
	account_cache_get(accounts, (const uint8_t *)"alice", 5, true,
		clock_monotonic_ms() - 2 * ROW_TRUST_MS, heard, NULL, 0);
	answer_account(HASH, true, 7);
}

static void test_an_outage_defers_all_by_default(void **state)
{
	(void)state;
	log_in_long_ago();
	start(2, "alice", "secret", false);
	database_away();
	assert_int_equal(told.session, 2);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
}

static void test_an_outage_lets_in_who_logged_in_lately(void **state)
{
	(void)state;
	log_in_long_ago();
	start(2, "alice", "secret", false);
	database_away();
	assert_int_equal(told.session, 2);
	assert_int_equal(told.verdict.result, IPC_AUTH_OK);
	assert_int_equal(told.verdict.account, 42);
	assert_int_equal(told.verdict.version, 7);
	/* Nothing that is only remembered refuses. */
	start(3, "alice", "wrong", false);
	database_away();
	assert_int_equal(told.session, 3);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
	start(4, "bob", "secret", false);
	database_away();
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
	/* What is known to have changed is worth nothing. */
	row_cache_changed(accounts, 42);
	start(5, "alice", "secret", false);
	database_away();
	assert_int_equal(told.session, 5);
	assert_int_equal(told.verdict.result, IPC_AUTH_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_right_password),
		TEST(test_the_same_password_again_needs_no_hash),
		TEST(test_a_refusal_is_confirmed_by_the_database),
		TEST(test_every_refusal_is_a_dummy_hash_and_the_same_bytes),
		TEST(test_a_refusal_takes_as_long_as_the_slowest),
		TEST(test_trouble_is_never_a_refusal),
		TEST(test_full_queue_and_full_slab),
		TEST(test_a_client_that_left_at_each_stage),
		TEST(test_a_held_log_in_costs_nothing),
		TEST(test_a_blocked_network_is_told_so),
		TEST(test_a_slowed_log_in_begins_later),
		cmocka_unit_test_setup_teardown(
			test_a_slowed_client_that_leaves_is_forgotten, setup, teardown),
		TEST(test_only_so_many_are_slowed),
		cmocka_unit_test_setup_teardown(
			test_the_guard_hears_of_refusals_and_not_of_our_trouble, setup, teardown),
		TEST(test_an_outage_defers_all_by_default),
		cmocka_unit_test_setup_teardown(
			test_an_outage_lets_in_who_logged_in_lately, setup_outage, teardown),
		TEST(test_a_weak_hash_is_replaced_after_the_answer),
		TEST(test_what_nobody_stores_is_given_up),
		TEST(test_log_ins_go_before_better_hashes),
	};

	if (sodium_init() == -1 || !secret_slab_open(SLOTS))
		return 1;
	log_open("test", STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_ERROR);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	secret_slab_close();
	return failed;
}
