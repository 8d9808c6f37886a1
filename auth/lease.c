/* SPDX-License-Identifier: ISC */
/*
 * Leases of hot senders; see lease.h.
 *
 * A chain is found by a keyed hash of its parts; one whose hash another chain has is not watched.
 * The oldest chains go when there are too many, and all without a take for a while.
 */
#include "auth/lease.h"

#include "auth/lease_return.h"
#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { RATE_SLOTS = 4, RATE_SLOT_MS = LEASE_WINDOW_MS / RATE_SLOTS, NUMBER_MAX = 24 };

struct amounts {
	uint64_t messages, recipients, bytes;
};

struct lease {
	uint64_t number; /* here; 0: there is none */
	uint64_t id;     /* the database's */
	uint64_t seq, expires_ms, spent_ms;
	struct amounts left;
	uint8_t receipt_len;
	char receipt[QUERY_RECEIPT_MAX + 1];
};

struct chain {
	TAILQ_ENTRY(chain) age; /* the longest without a take first */
	uint64_t hash, account, credential;
	struct amounts taken[RATE_SLOTS];
	uint64_t slot; /* the last one that was counted in */
	uint64_t taken_ms, paused_until_ms;
	struct lease lease;
	struct asked *asked; /* NULL: nothing is asked for */
	char domain[];
};

struct asked { /* a call, with the take that needs it */
	struct leases *leases;
	struct chain *chain; /* NULL: gone, or it wants no lease any more */
	struct take_wanted wanted;
	uint64_t seq, sent_ms;
	char domain[];
};

struct leases {
	struct lease_settings settings;
	uint8_t key[crypto_shorthash_KEYBYTES];
	struct idmap *chains;    /* by hash */
	struct idmap *spendable; /* chains by the number of their lease */
	TAILQ_HEAD(, chain) age;
	struct lease_returns *returns;
	uint64_t last_number;
	size_t asked_count;
	bool trusted;
};

static void returns_wake(uint64_t in_ms, void *arg)
{
	struct leases *leases = arg;

	leases->settings.wake(in_ms, leases->settings.arg);
}

static void on_returned(uint64_t account, uint64_t credential, void *arg)
{
	struct leases *leases = arg;

	leases->settings.returned(account, credential, leases->settings.arg);
}

struct leases *leases_new(const struct lease_settings *settings)
{
	struct leases *leases = calloc(1, sizeof *leases);

	if (leases == NULL)
		return NULL;
	leases->settings = *settings;
	crypto_shorthash_keygen(leases->key);
	TAILQ_INIT(&leases->age);
	leases->chains = idmap_new();
	leases->spendable = idmap_new();
	leases->returns = lease_returns_new(settings->lanes, returns_wake, on_returned, leases);
	if (leases->chains == NULL || leases->spendable == NULL || leases->returns == NULL)
		leases_destroy(&leases);
	return leases;
}

static void drop_chain(struct leases *leases, struct chain *chain)
{
	require(chain->lease.number == 0);
	if (chain->asked != NULL)
		chain->asked->chain = NULL;
	TAILQ_REMOVE(&leases->age, chain, age);
	idmap_take(leases->chains, chain->hash);
	free(chain);
}

void leases_destroy(struct leases **pointer)
{
	struct leases *leases = *pointer;

	if (leases == NULL)
		return;
	*pointer = NULL;
	require(leases->asked_count == 0);
	while (!TAILQ_EMPTY(&leases->age)) {
		struct chain *chain = TAILQ_FIRST(&leases->age);
		chain->lease.number = 0; /* it runs out by itself */
		drop_chain(leases, chain);
	}
	idmap_destroy(&leases->chains);
	idmap_destroy(&leases->spendable);
	lease_returns_destroy(&leases->returns);
	free(leases);
}

size_t leases_count(const struct leases *leases)
{
	return idmap_count(leases->spendable);
}

bool leases_idle(const struct leases *leases)
{
	return leases->asked_count == 0 && leases_count(leases) == 0 &&
	       lease_returns_idle(leases->returns);
}

/* ------------------------------------------------------------------- chains */
static uint64_t hash_of(const struct leases *leases, const struct take_wanted *wanted)
{
	uint8_t text[2 * sizeof(uint64_t) + TAKE_DOMAIN_MAX];
	uint8_t hash[crypto_shorthash_BYTES];
	size_t len = strlen(wanted->domain);
	uint64_t value;

	require(len <= TAKE_DOMAIN_MAX);
	memcpy(text, &wanted->account, sizeof(uint64_t));
	memcpy(text + sizeof(uint64_t), &wanted->credential, sizeof(uint64_t));
	memcpy(text + 2 * sizeof(uint64_t), wanted->domain, len);
	crypto_shorthash(hash, text, 2 * sizeof(uint64_t) + len, leases->key);
	memcpy(&value, hash, sizeof value);
	return value;
}

static bool is_of(const struct chain *chain, const struct take_wanted *wanted)
{
	return chain->account == wanted->account && chain->credential == wanted->credential &&
	       strcmp(chain->domain, wanted->domain) == 0;
}

static void end_lease(struct leases *leases, struct chain *chain, uint64_t now_ms);

/* NULL: it is not watched. */
static struct chain *chain_of(
	struct leases *leases, const struct take_wanted *wanted, uint64_t now_ms)
{
	uint64_t hash = hash_of(leases, wanted);
	struct chain *chain = idmap_get(leases->chains, hash);
	size_t len = strlen(wanted->domain);

	if (chain != NULL)
		return is_of(chain, wanted) ? chain : NULL;
	if (idmap_count(leases->chains) >= LEASE_CHAINS_MAX) {
		end_lease(leases, TAILQ_FIRST(&leases->age), now_ms);
		drop_chain(leases, TAILQ_FIRST(&leases->age));
	}
	chain = calloc(1, sizeof *chain + len + 1);
	if (chain == NULL || !idmap_put(leases->chains, hash, chain)) {
		free(chain);
		return NULL;
	}
	chain->hash = hash;
	chain->account = wanted->account;
	chain->credential = wanted->credential;
	memcpy(chain->domain, wanted->domain, len + 1);
	TAILQ_INSERT_TAIL(&leases->age, chain, age);
	return chain;
}

static void count_take(struct leases *leases, struct chain *chain, const struct take_wanted *wanted,
	uint64_t now_ms)
{
	uint64_t slot = now_ms / RATE_SLOT_MS;
	struct amounts *amounts = &chain->taken[slot % RATE_SLOTS];

	for (uint64_t s = chain->slot; s < slot && s < chain->slot + RATE_SLOTS; s++)
		chain->taken[(s + 1) % RATE_SLOTS] = (struct amounts){0};
	chain->slot = slot;
	chain->taken_ms = now_ms;
	amounts->messages += wanted->messages;
	amounts->recipients += wanted->recipients;
	amounts->bytes += wanted->bytes;
	TAILQ_REMOVE(&leases->age, chain, age);
	TAILQ_INSERT_TAIL(&leases->age, chain, age);
}

/* Of the window, right after count_take(). */
static struct amounts rate_of(const struct chain *chain)
{
	struct amounts sum = {0};

	for (size_t i = 0; i < RATE_SLOTS; i++) {
		sum.messages += chain->taken[i].messages;
		sum.recipients += chain->taken[i].recipients;
		sum.bytes += chain->taken[i].bytes;
	}
	return sum;
}

/* ------------------------------------------------------------------ spending */
static void tell(const struct leases *leases, const struct chain *chain,
	void (*to)(const struct lease_change *, void *), const struct amounts *amounts)
{
	const struct lease *lease = &chain->lease;
	const struct lease_change change = {
		.number = lease->number,
		.seq = lease->seq,
		.account = chain->account,
		.credential = chain->credential,
		.domain = chain->domain,
		.receipt = lease->receipt,
		.messages = (uint32_t)amounts->messages,
		.recipients = (uint32_t)amounts->recipients,
		.bytes = amounts->bytes,
	};

	to(&change, leases->settings.arg);
}

static void give_back(struct leases *leases, uint64_t id, const struct take_wanted *of,
	const struct amounts *left, uint64_t expires_ms)
{
	const struct lease_rest rest = {
		.lease = id,
		.account = of->account,
		.credential = of->credential,
		.messages = left->messages,
		.recipients = left->recipients,
		.bytes = left->bytes,
		.expires_ms = expires_ms,
	};

	lease_returns_add(leases->returns, &rest);
}

/* What is left goes back; the chain may have another one. */
static void end_lease(struct leases *leases, struct chain *chain, uint64_t now_ms)
{
	const struct take_wanted of = {.account = chain->account, .credential = chain->credential};
	struct lease *lease = &chain->lease;

	if (lease->number == 0)
		return;
	idmap_take(leases->spendable, lease->number);
	if (now_ms < lease->expires_ms) {
		counter_add(COUNTER_LEASES_RETURNED, lease->left.messages);
		tell(leases, chain, leases->settings.unspent, &lease->left);
		give_back(leases, lease->id, &of, &lease->left, lease->expires_ms);
	}
	*lease = (struct lease){0};
	counter_set(COUNTER_LEASES, leases_count(leases));
}

static bool spend(struct leases *leases, struct chain *chain, const struct take_wanted *wanted,
	uint64_t now_ms, struct take_grant *grant_out)
{
	struct lease *lease = &chain->lease;

	if (lease->number == 0 || !leases->trusted || now_ms >= lease->expires_ms ||
		lease->left.messages < wanted->messages ||
		lease->left.recipients < wanted->recipients || lease->left.bytes < wanted->bytes)
		return false;
	lease->left.messages -= wanted->messages;
	lease->left.recipients -= wanted->recipients;
	lease->left.bytes -= wanted->bytes;
	lease->spent_ms = now_ms;
	*grant_out = (struct take_grant){
		.lease = lease->number,
		.seq = lease->seq,
		.messages = wanted->messages,
		.recipients = wanted->recipients,
		.bytes = wanted->bytes,
		.receipt_len = lease->receipt_len,
	};
	memcpy(grant_out->receipt, lease->receipt, sizeof grant_out->receipt);
	counter_add(COUNTER_LEASE_TAKES, wanted->messages);
	return true;
}

bool leases_put_back(struct leases *leases, const struct take_grant *grant, uint64_t now_ms)
{
	struct chain *chain = idmap_get(leases->spendable, grant->lease);

	if (chain == NULL || now_ms >= chain->lease.expires_ms)
		return false;
	chain->lease.left.messages += grant->messages;
	chain->lease.left.recipients += grant->recipients;
	chain->lease.left.bytes += grant->bytes;
	return true;
}

/* -------------------------------------------------------------------- asking */
static void pause_chain(struct chain *chain, uint64_t now_ms)
{
	chain->paused_until_ms = now_ms + LEASE_PAUSE_MS;
}

/* The take is granted, and more beside it.  The lease's number; 0: it is not spent here. */
static uint64_t begin_lease(struct leases *leases, struct asked *asked,
	const struct query_lease_row *row, uint64_t now_ms)
{
	const struct take_wanted *wanted = &asked->wanted;
	struct chain *chain = asked->chain;
	const struct amounts all = {row->messages, row->recipients, row->bytes};
	const struct amounts left = {row->messages - wanted->messages,
		row->recipients - wanted->recipients, row->bytes - wanted->bytes};

	if (chain == NULL) {
		give_back(leases, row->lease, wanted, &left, asked->sent_ms + row->ttl_s * 1000);
		return 0;
	}
	end_lease(leases, chain, now_ms);
	chain->lease = (struct lease){
		.number = ++leases->last_number,
		.id = row->lease,
		.seq = asked->seq,
		.expires_ms = asked->sent_ms + row->ttl_s * 1000,
		.spent_ms = now_ms,
		.left = left,
		.receipt_len = row->quota.receipt_len,
	};
	memcpy(chain->lease.receipt, row->quota.receipt, sizeof chain->lease.receipt);
	if (!idmap_put(leases->spendable, chain->lease.number, chain)) {
		chain->lease.number = 0; /* it runs out by itself */
		return 0;
	}
	counter_add(COUNTER_LEASES_GRANTED, 1);
	counter_set(COUNTER_LEASES, leases_count(leases));
	tell(leases, chain, leases->settings.granted, &all);
	return chain->lease.number;
}

/* More than what was needed of everything, or exactly that. */
static bool is_sane(const struct asked *asked, const struct query_lease_row *row)
{
	const struct take_wanted *wanted = &asked->wanted;

	if (row->quota.result != QUERY_QUOTA_GRANTED || row->lease == 0)
		return true;
	return row->messages >= wanted->messages && row->recipients >= wanted->recipients &&
	       row->bytes >= wanted->bytes && row->messages <= INT32_MAX &&
	       row->recipients <= INT32_MAX && row->bytes <= INT64_MAX && row->ttl_s <= 30;
}

static enum take_end end_of(struct asked *asked, enum database_result result, const PGresult *rows,
	struct query_lease_row *row)
{
	switch (result) {
	case DATABASE_ROWS:
		if (query_parse_lease(rows, row) && is_sane(asked, row))
			return TAKE_DECIDED;
		log_message(LOG_ERROR, "query-bad", "lease_take returned another shape of row");
		return TAKE_FAILED;
	case DATABASE_UNAVAILABLE:
		return TAKE_AWAY;
	case DATABASE_FAILED:
	case DATABASE_UNKNOWN:
		return TAKE_FAILED;
	}
	return TAKE_FAILED;
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct asked *asked = arg;
	struct leases *leases = asked->leases;
	struct chain *chain = asked->chain;
	struct query_lease_row row;
	uint64_t number = 0;
	enum take_end end = end_of(asked, result, rows, &row);

	(void)token;
	leases->asked_count--;
	if (chain != NULL)
		chain->asked = NULL;
	if (end == TAKE_DECIDED && row.quota.result == QUERY_QUOTA_GRANTED && row.lease != 0)
		number = begin_lease(leases, asked, &row, asked->sent_ms);
	else if (chain != NULL)
		pause_chain(chain, asked->sent_ms);
	leases->settings.done(end, &asked->wanted, end == TAKE_DECIDED ? &row.quota : NULL,
		asked->seq, number, leases->settings.arg);
	recipients_unref(&asked->wanted.whom);
	free(asked);
}

/* For LEASE_TTL_S at the present rate; at least what is needed at once. */
static struct amounts want_of(const struct chain *chain, const struct take_wanted *wanted)
{
	struct amounts rate = rate_of(chain), want;

	want.messages = rate.messages * LEASE_TTL_S * 1000 / LEASE_WINDOW_MS;
	if (want.messages > LEASE_MESSAGES_MAX)
		want.messages = LEASE_MESSAGES_MAX;
	want.recipients = (rate.recipients * want.messages + rate.messages - 1) / rate.messages;
	want.bytes = (rate.bytes * want.messages + rate.messages - 1) / rate.messages;
	if (want.messages < wanted->messages)
		want.messages = wanted->messages;
	if (want.recipients < wanted->recipients)
		want.recipients = wanted->recipients;
	if (want.bytes < wanted->bytes)
		want.bytes = wanted->bytes;
	return want;
}

enum {
	NODE,
	SEQ,
	ACCOUNT,
	CREDENTIAL,
	DOMAIN,
	NEED_MESSAGES,
	NEED_RECIPIENTS,
	NEED_BYTES,
	WANT_MESSAGES,
	WANT_RECIPIENTS,
	WANT_BYTES,
	TTL,
	PARAMETERS
};

static bool send_asked(const struct leases *leases, struct asked *asked)
{
	const struct take_wanted *wanted = &asked->wanted;
	struct amounts want = want_of(asked->chain, wanted);
	const uint64_t numbers[PARAMETERS] = {leases->settings.node, asked->seq, wanted->account,
		wanted->credential, 0, wanted->messages, wanted->recipients, wanted->bytes,
		want.messages, want.recipients, want.bytes, LEASE_TTL_S};
	char texts[PARAMETERS][NUMBER_MAX];
	const char *values[PARAMETERS];

	for (size_t i = 0; i < PARAMETERS; i++) {
		snprintf(texts[i], sizeof texts[i], "%" PRIu64, numbers[i]);
		values[i] = texts[i];
	}
	values[DOMAIN] = wanted->domain;
	for (size_t i = 0; i < TAKE_LANES; i++) {
		const struct take_lane *to =
			&leases->settings.lanes[(asked->chain->hash + i) % TAKE_LANES];
		if (to->ask(to->database, QUERY_LEASE_TAKE, values, on_answer, asked, 0))
			return true;
	}
	return false;
}

static enum lease_answer ask(struct leases *leases, struct chain *chain,
	const struct take_wanted *wanted, uint64_t now_ms)
{
	size_t len = strlen(wanted->domain);
	struct asked *asked = calloc(1, sizeof *asked + len + 1);

	if (asked == NULL)
		return LEASE_NONE;
	asked->leases = leases;
	asked->chain = chain;
	asked->wanted = *wanted;
	memcpy(asked->domain, wanted->domain, len + 1);
	asked->wanted.domain = asked->domain;
	asked->sent_ms = now_ms;
	asked->seq = ++*leases->settings.seq;
	if (!send_asked(leases, asked)) {
		pause_chain(chain, now_ms);
		free(asked);
		return LEASE_NONE;
	}
	recipients_ref(asked->wanted.whom);
	chain->asked = asked;
	leases->asked_count++;
	return LEASE_ASKED;
}

/* A lease that one big message does not fit into is kept for the small ones. */
static bool wants_another(const struct leases *leases, const struct chain *chain, uint64_t now_ms)
{
	return leases->trusted && chain->asked == NULL && now_ms >= chain->paused_until_ms &&
	       rate_of(chain).messages * 1000 >= (uint64_t)LEASE_RATE * LEASE_WINDOW_MS &&
	       (chain->lease.number == 0 || chain->lease.left.messages < LEASE_MESSAGES_MAX / 4);
}

enum lease_answer leases_take(struct leases *leases, const struct take_wanted *wanted,
	uint64_t now_ms, struct take_grant *grant_out)
{
	struct chain *chain;

	if (!wanted->meters.leasable || wanted->whom != NULL)
		return LEASE_NONE;
	chain = chain_of(leases, wanted, now_ms);
	if (chain == NULL)
		return LEASE_NONE;
	count_take(leases, chain, wanted, now_ms);
	if (spend(leases, chain, wanted, now_ms, grant_out))
		return LEASE_SPENT;
	if (wanted->messages == 0 || !wants_another(leases, chain, now_ms))
		return LEASE_NONE;
	return ask(leases, chain, wanted, now_ms);
}

/* ---------------------------------------------------------------------- ends */
static void end_chain(struct leases *leases, struct chain *chain, uint64_t now_ms)
{
	end_lease(leases, chain, now_ms);
	if (chain->asked != NULL)
		chain->asked->chain = NULL; /* what it brings is given back */
	chain->asked = NULL;
}

void leases_end(struct leases *leases, uint64_t account, uint64_t now_ms)
{
	struct chain *chain;

	if (leases_count(leases) == 0 && leases->asked_count == 0)
		return;
	TAILQ_FOREACH (chain, &leases->age, age) {
		if (chain->account == account)
			end_chain(leases, chain, now_ms);
	}
}

void leases_end_all(struct leases *leases, uint64_t now_ms)
{
	struct chain *chain;

	TAILQ_FOREACH (chain, &leases->age, age)
		end_chain(leases, chain, now_ms);
}

void leases_trust(struct leases *leases, bool trusted)
{
	leases->trusted = trusted;
}

static bool is_over(const struct lease *lease, uint64_t now_ms)
{
	return lease->number != 0 && (now_ms + LEASE_END_MS >= lease->expires_ms ||
					     now_ms - lease->spent_ms >= LEASE_IDLE_MS);
}

void leases_tick(struct leases *leases, uint64_t now_ms)
{
	struct chain *chain = TAILQ_FIRST(&leases->age), *next;

	for (; chain != NULL; chain = next) {
		next = TAILQ_NEXT(chain, age);
		if (is_over(&chain->lease, now_ms))
			end_lease(leases, chain, now_ms);
		if (chain->lease.number == 0 && now_ms - chain->taken_ms >= LEASE_WINDOW_MS)
			drop_chain(leases, chain);
	}
	lease_returns_tick(leases->returns, now_ms);
}
