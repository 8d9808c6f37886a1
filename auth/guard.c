/* SPDX-License-Identifier: ISC */
/*
 * The rules; see guard.h and docs/guard.md.
 *
 * A log-in is a stranger's unless its account has logged in from its network before.  A stranger is
 * judged by three counts (the pair's, the account's over all strangers, the network's), one who is
 * known by the pair's alone.
 */
#include "auth/guard_state.h"

#include "common/counters.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum {
	MILLI = 1000,
	KNOWN_MAX = 256 * 1024,
	COUNTED_MAX = 64 * 1024,    /* of each other table */
	HELD_BEFORE_BLOCK = 20,     /* attempts of a network that were held, one in 30 s forgiven */
	STRIKES_MAX = 16,           /* doublings that are remembered */
	WELCOME_WORTH = 10 * MILLI, /* of a network's record, in the table's eyes */
	CROWD_LOGINS = 200,         /* in an hour: fewer say nothing */
	CROWD_ACCOUNTS = 8,         /* one customer's bulk sender is no crowd */
	HOUR_MS = 60 * 60 * 1000,
	KNOWN_STEP_MS = HOUR_MS, /* a log-in is remembered that coarsely */
};

/* Who asks: everything that is derived of login and client once. */
struct question {
	struct network network;
	bool trusted, known;
	uint8_t pair[GUARD_KEY_BYTES], net[GUARD_KEY_BYTES], account[GUARD_KEY_BYTES];
};

/* ------------------------------------------------------------------- tables */
static uint64_t worth_known(const void *record, uint64_t now_ms, void *arg)
{
	const struct known *known = record;

	(void)arg;
	return known->until_ms > now_ms ? known->until_ms - now_ms : 0;
}

static uint64_t worth_tally(const void *record, uint64_t now_ms, void *arg)
{
	const struct guard *guard = arg;

	return bucket_read(
		&((const struct tally *)record)->wrong, guard->config->forgive_ms, now_ms);
}

static uint64_t worth_net(const void *record, uint64_t now_ms, void *arg)
{
	const struct guard *guard = arg;
	const struct net *net = record;

	return (uint64_t)bucket_read(&net->wrong, guard->config->forgive_ms, now_ms) +
	       bucket_read(&net->strikes, GUARD_STRIKE_FORGIVE_MS, now_ms) * (uint64_t)MILLI +
	       (net->welcome_until_ms > now_ms ? WELCOME_WORTH : 0);
}

struct guard_table *guard_table_of(const struct guard *guard, enum guard_kind kind)
{
	switch (kind) {
	case GUARD_KIND_KNOWN:
		return guard->known;
	case GUARD_KIND_PAIR:
		return guard->pairs;
	case GUARD_KIND_NETWORK:
		return guard->networks;
	case GUARD_KIND_ACCOUNT:
		return guard->accounts;
	}
	return NULL;
}

static bool open_tables(struct guard *guard, const struct guard_capacity *capacity)
{
	bool standard = capacity->known == 0;

	guard->known = guard_table_new(
		standard ? KNOWN_MAX : capacity->known, sizeof(struct known), worth_known, guard);
	guard->pairs = guard_table_new(
		standard ? COUNTED_MAX : capacity->pairs, sizeof(struct tally), worth_tally, guard);
	guard->networks = guard_table_new(
		standard ? COUNTED_MAX : capacity->networks, sizeof(struct net), worth_net, guard);
	guard->accounts = guard_table_new(standard ? COUNTED_MAX : capacity->accounts,
		sizeof(struct tally), worth_tally, guard);
	return guard->known != NULL && guard->pairs != NULL && guard->networks != NULL &&
	       guard->accounts != NULL;
}

struct guard *guard_new(const struct guard_settings *settings)
{
	struct guard *guard = calloc(1, sizeof *guard);

	if (guard == NULL)
		return NULL;
	guard->config = settings->config;
	guard->settings = *settings;
	crypto_generichash_keygen(guard->tag_key);
	randombytes_buf(guard->seed, sizeof guard->seed);
	guard->blocks = network_set_new(GUARD_BLOCKS_MAX);
	if (guard->blocks == NULL || !open_tables(guard, &settings->capacity))
		guard_destroy(&guard);
	return guard;
}

void guard_destroy(struct guard **pointer)
{
	struct guard *guard = *pointer;

	if (guard == NULL)
		return;
	*pointer = NULL;
	guard_table_destroy(&guard->known);
	guard_table_destroy(&guard->pairs);
	guard_table_destroy(&guard->networks);
	guard_table_destroy(&guard->accounts);
	network_set_destroy(&guard->blocks);
	sodium_memzero(guard, sizeof *guard);
	free(guard);
}

/* --------------------------------------------------------------------- keys */

/* The kind and what is of fixed size first: no two inputs share a concatenation. */
static void derive(const struct guard *guard, enum guard_kind kind, const struct network *network,
	const uint8_t *login, size_t login_len, uint8_t key_out[GUARD_KEY_BYTES])
{
	crypto_generichash_state state;
	const uint8_t kind_byte = (uint8_t)kind;

	crypto_generichash_init(&state, guard->seed, sizeof guard->seed, GUARD_KEY_BYTES);
	crypto_generichash_update(&state, &kind_byte, 1);
	if (network != NULL)
		crypto_generichash_update(&state, (const uint8_t *)network, sizeof *network);
	if (login_len > 0)
		crypto_generichash_update(&state, login, login_len);
	crypto_generichash_final(&state, key_out, GUARD_KEY_BYTES);
}

void guard_network_key(const struct guard *guard, const struct network *network,
	uint8_t key_out[GUARD_RECORD_KEY_BYTES])
{
	derive(guard, GUARD_KIND_NETWORK, network, NULL, 0, key_out);
}

void guard_tag(const struct guard *guard, const uint8_t *login, size_t login_len,
	const uint8_t *secret, size_t secret_len, uint8_t tag_out[GUARD_TAG_BYTES])
{
	crypto_generichash_state state;
	const uint64_t len = login_len;
	uint8_t digest[crypto_generichash_BYTES_MIN];

	crypto_generichash_init(&state, guard->tag_key, sizeof guard->tag_key, sizeof digest);
	crypto_generichash_update(&state, (const uint8_t *)&len, sizeof len);
	if (login_len > 0)
		crypto_generichash_update(&state, login, login_len);
	if (secret_len > 0)
		crypto_generichash_update(&state, secret, secret_len);
	crypto_generichash_final(&state, digest, sizeof digest);
	memcpy(tag_out, digest, GUARD_TAG_BYTES);
	sodium_memzero(&state, sizeof state);
	sodium_memzero(digest, sizeof digest);
}

static bool is_trusted(const struct guard *guard, const struct address_key *client)
{
	return network_list_has(&guard->config->trusted, client);
}

static bool is_known(struct guard *guard, const uint8_t pair[GUARD_KEY_BYTES], uint64_t now_ms)
{
	const struct known *known = guard_table_get(guard->known, pair);

	return known != NULL && known->until_ms > now_ms;
}

static struct question identify(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms)
{
	struct question q = {.trusted = is_trusted(guard, client)};

	q.network = network_of(client, guard->config->prefix_v4, guard->config->prefix_v6);
	derive(guard, GUARD_KIND_PAIR, &q.network, login, login_len, q.pair);
	derive(guard, GUARD_KIND_NETWORK, &q.network, NULL, 0, q.net);
	derive(guard, GUARD_KIND_ACCOUNT, NULL, login, login_len, q.account);
	q.known = is_known(guard, q.pair, now_ms);
	return q;
}

bool guard_knows(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms)
{
	struct network network =
		network_of(client, guard->config->prefix_v4, guard->config->prefix_v6);
	uint8_t pair[GUARD_KEY_BYTES];

	derive(guard, GUARD_KIND_PAIR, &network, login, login_len, pair);
	return is_known(guard, pair, now_ms);
}

/* ----------------------------------------------------------------- judgment */

/* Whether one more would pass the limit. */
static bool is_full(uint32_t milli, unsigned limit)
{
	return milli > (limit - 1) * MILLI;
}

/* A stranger's pair: two mistakes are free. */
static uint64_t delay_of_pair(uint32_t milli)
{
	static const uint16_t delays_ms[] = {0, 0, 1000, 2000, 4000};
	size_t whole = (milli + MILLI / 2) / MILLI;

	return whole < sizeof delays_ms / sizeof *delays_ms ? delays_ms[whole] : GUARD_DELAY_MAX_MS;
}

/* What is shared (a network, an account), and a budget that is large: by the part that is spent. */
static uint64_t delay_of_share(uint32_t milli, unsigned limit)
{
	uint64_t quarters = (uint64_t)milli * 4 / ((uint64_t)limit * MILLI);

	switch (quarters) {
	case 0:
		return 0;
	case 1:
		return 1000;
	case 2:
		return 2000;
	default:
		return 4000;
	}
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t pending(const struct bucket *bucket, uint64_t now_ms)
{
	return bucket_read(bucket, GUARD_PENDING_FORGIVE_MS, now_ms);
}

/* Adds the tally's part to the decision. */
static void judge_tally(const struct guard *guard, const struct tally *tally, bool pair,
	unsigned limit, uint64_t now_ms, struct guard_decision *decision)
{
	if (tally == NULL)
		return;
	uint32_t wrong = bucket_read(&tally->wrong, guard->config->forgive_ms, now_ms);
	if (is_full(wrong + pending(&tally->pending, now_ms), limit))
		decision->answer = GUARD_HOLD;
	decision->delay_ms = larger(
		decision->delay_ms, pair ? delay_of_pair(wrong) : delay_of_share(wrong, limit));
}

static void judge_net(const struct guard *guard, const struct net *net, uint64_t now_ms,
	struct guard_decision *decision)
{
	const struct config_guard *config = guard->config;

	if (net == NULL)
		return;
	uint32_t wrong = bucket_read(&net->wrong, config->forgive_ms, now_ms);
	uint32_t names = bucket_read(&net->names, config->forgive_ms, now_ms);
	if (is_full(wrong + pending(&net->pending, now_ms), config->guesses_network) ||
		is_full(names, config->names_network))
		decision->answer = GUARD_HOLD;
	decision->delay_ms =
		larger(decision->delay_ms, larger(delay_of_share(wrong, config->guesses_network),
						   delay_of_share(names, config->names_network)));
}

static struct guard_decision judge(struct guard *guard, const struct question *q, uint64_t now_ms)
{
	const struct config_guard *config = guard->config;
	const struct tally *pair = guard_table_get(guard->pairs, q->pair);
	struct guard_decision decision = {.answer = GUARD_PASS};

	if (q->known) {
		/* Many log-ins side by side are a customer's bulk sender: not counted as pending.
		 */
		uint32_t wrong =
			pair == NULL ? 0 : bucket_read(&pair->wrong, config->forgive_ms, now_ms);
		if (is_full(wrong, config->guesses_known))
			decision.answer = GUARD_HOLD;
		decision.delay_ms = delay_of_share(wrong, config->guesses_known);
		return decision;
	}
	judge_tally(guard, pair, true, config->guesses, now_ms, &decision);
	judge_tally(guard, guard_table_get(guard->accounts, q->account), false,
		config->guesses_account, now_ms, &decision);
	if (!q->trusted)
		judge_net(guard, guard_table_get(guard->networks, q->net), now_ms, &decision);
	return decision;
}

/* ------------------------------------------------------------------- blocks */
bool guard_blocks(struct guard *guard, const struct address_key *client, uint64_t now_ms)
{
	return network_set_has(guard->blocks, client, now_ms);
}

bool guard_block(struct guard *guard, const struct network *network, uint64_t until_ms)
{
	return network_set_add(guard->blocks, network, until_ms);
}

void guard_unblock_all(struct guard *guard)
{
	network_set_clear(guard->blocks);
}

size_t guard_block_count(const struct guard *guard)
{
	return network_set_count(guard->blocks);
}

static uint64_t next_block_ms(const struct guard *guard, const struct net *net, uint64_t now_ms)
{
	uint32_t strikes = bucket_read(&net->strikes, GUARD_STRIKE_FORGIVE_MS, now_ms);
	uint64_t for_ms = (uint64_t)guard->config->block_ms << ((strikes + MILLI / 2) / MILLI);

	return for_ms < guard->config->block_max_ms ? for_ms : guard->config->block_max_ms;
}

static void block(struct guard *guard, const struct network *network, struct net *net,
	const char *reason, uint64_t now_ms)
{
	uint64_t for_ms = next_block_ms(guard, net, now_ms);

	bucket_add(&net->strikes, MILLI, STRIKES_MAX, GUARD_STRIKE_FORGIVE_MS, now_ms);
	net->held = (struct bucket){0};
	guard_table_mark(guard->networks, net);
	if (!guard_block(guard, network, now_ms + for_ms))
		return;
	counter_add(COUNTER_GUARD_BLOCKS_MADE, 1);
	if (guard->settings.on_block != NULL)
		guard->settings.on_block(network, for_ms, reason, guard->settings.arg);
}

/*
 * A network that goes on after it was held is blocked: at the door it costs less.  Not one that an
 * account has logged in from: holding its strangers is enough, and the account's owner comes in.
 */
static void note_held(struct guard *guard, const struct question *q, uint64_t now_ms)
{
	const struct config_guard *config = guard->config;

	counter_add(COUNTER_GUARD_HELD, 1);
	if (q->trusted || q->known)
		return;
	struct net *net = guard_table_put(guard->networks, q->net, now_ms);
	bucket_add(&net->held, MILLI, HELD_BEFORE_BLOCK, GUARD_HELD_FORGIVE_MS, now_ms);
	uint32_t held = bucket_read(&net->held, GUARD_HELD_FORGIVE_MS, now_ms);
	uint32_t wrong = bucket_read(&net->wrong, config->forgive_ms, now_ms);
	uint32_t names = bucket_read(&net->names, config->forgive_ms, now_ms);
	bool guilty = is_full(wrong, config->guesses) || is_full(names, config->names_network);
	if (net->welcome_until_ms <= now_ms && guilty && is_full(held, HELD_BEFORE_BLOCK))
		block(guard, &q->network, net,
			is_full(names, config->names_network) ? "many names" : "wrong secrets",
			now_ms);
}

/* ----------------------------------------------------------------- attempts */
static void count_pending(struct guard *guard, const struct question *q, uint64_t now_ms)
{
	const struct config_guard *config = guard->config;
	struct tally *pair = guard_table_put(guard->pairs, q->pair, now_ms);
	struct tally *account = guard_table_put(guard->accounts, q->account, now_ms);

	bucket_add(&pair->pending, MILLI, config->guesses, GUARD_PENDING_FORGIVE_MS, now_ms);
	bucket_add(&account->pending, MILLI, config->guesses_account, GUARD_PENDING_FORGIVE_MS,
		now_ms);
	if (q->trusted)
		return;
	struct net *net = guard_table_put(guard->networks, q->net, now_ms);
	bucket_add(&net->pending, MILLI, config->guesses_network, GUARD_PENDING_FORGIVE_MS, now_ms);
}

/* Only what was counted is taken back: by the pair, whose account may be known by now. */
static void settle(struct guard *guard, const struct question *q, uint64_t now_ms)
{
	struct tally *pair = guard_table_get(guard->pairs, q->pair);

	if (pair == NULL || pending(&pair->pending, now_ms) == 0)
		return;
	bucket_take(&pair->pending, GUARD_PENDING_FORGIVE_MS, now_ms);
	struct tally *account = guard_table_get(guard->accounts, q->account);
	if (account != NULL)
		bucket_take(&account->pending, GUARD_PENDING_FORGIVE_MS, now_ms);
	struct net *net = q->trusted ? NULL : guard_table_get(guard->networks, q->net);
	if (net != NULL)
		bucket_take(&net->pending, GUARD_PENDING_FORGIVE_MS, now_ms);
}

struct guard_decision guard_ask(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms)
{
	struct guard_decision decision = {.answer = GUARD_PASS};

	if (guard_blocks(guard, client, now_ms)) {
		counter_add(COUNTER_GUARD_BLOCKED, 1);
		decision.answer = GUARD_BLOCKED;
		return decision;
	}
	if (!guard->config->enabled)
		return decision;
	struct question q = identify(guard, login, login_len, client, now_ms);
	decision = judge(guard, &q, now_ms);
	if (decision.answer == GUARD_HOLD) {
		decision.delay_ms = 0;
		note_held(guard, &q, now_ms);
		return decision;
	}
	counter_add(COUNTER_GUARD_DELAYED, decision.delay_ms > 0);
	if (!q.known)
		count_pending(guard, &q, now_ms);
	return decision;
}

void guard_abandoned(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms)
{
	if (!guard->config->enabled)
		return;
	struct question q = identify(guard, login, login_len, client, now_ms);
	settle(guard, &q, now_ms);
}

/* Whether the secret is a new one; remembers it. */
static bool is_new_secret(struct tally *tally, uint64_t tag)
{
	for (size_t i = 0; i < GUARD_RING_TAGS; i++) {
		if (tally->tags[i] == tag)
			return false;
	}
	tally->tags[tally->next_tag] = tag;
	tally->next_tag = (tally->next_tag + 1) % GUARD_RING_TAGS;
	return true;
}

static bool is_new_name(struct net *net, uint32_t name)
{
	for (size_t i = 0; i < GUARD_RING_NAMES; i++) {
		if (net->tried[i] == name)
			return false;
	}
	net->tried[net->next_name] = name;
	net->next_name = (net->next_name + 1) % GUARD_RING_NAMES;
	return true;
}

static void count_wrong(struct guard *guard, struct guard_table *table, struct tally *tally,
	unsigned limit, uint64_t now_ms)
{
	bucket_add(&tally->wrong, MILLI, limit, guard->config->forgive_ms, now_ms);
	guard_table_mark(table, tally);
}

static void count_net(struct guard *guard, const struct question *q, uint64_t now_ms)
{
	const struct config_guard *config = guard->config;
	struct net *net = guard_table_put(guard->networks, q->net, now_ms);
	uint32_t name;

	memcpy(&name, q->account, sizeof name);
	bucket_add(&net->wrong, MILLI, config->guesses_network, config->forgive_ms, now_ms);
	if (is_new_name(net, name | 1))
		bucket_add(&net->names, MILLI, config->names_network, config->forgive_ms, now_ms);
	guard_table_mark(guard->networks, net);
}

void guard_failed(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, const uint8_t tag[GUARD_TAG_BYTES], uint64_t now_ms)
{
	const struct config_guard *config = guard->config;
	uint64_t number;

	if (!config->enabled)
		return;
	struct question q = identify(guard, login, login_len, client, now_ms);
	settle(guard, &q, now_ms);
	memcpy(&number, tag, sizeof number);
	number |= 1; /* 0 is nobody's */
	struct tally *pair = guard_table_put(guard->pairs, q.pair, now_ms);
	if (!is_new_secret(pair, number))
		return;
	count_wrong(guard, guard->pairs, pair, q.known ? config->guesses_known : config->guesses,
		now_ms);
	if (q.known)
		return;
	/* A phone with an old password on its way through many networks is one secret, too. */
	struct tally *account = guard_table_put(guard->accounts, q.account, now_ms);
	if (is_new_secret(account, number))
		count_wrong(guard, guard->accounts, account, config->guesses_account, now_ms);
	if (!q.trusted)
		count_net(guard, &q, now_ms);
}

/* ---------------------------------------------------------------- successes */

/* Many accounts that log in from one place: remembered for guard_crowd(). */
static void count_crowd(
	struct guard *guard, const struct question *q, struct net *net, uint64_t now_ms)
{
	struct crowd *crowd = &guard->crowd;
	uint64_t hour = now_ms / HOUR_MS;

	if (crowd->hour != hour) {
		crowd->hour = hour;
		crowd->logins = 0;
	}
	crowd->logins++;
	if (net == NULL)
		return;
	if (net->hour != hour) {
		net->hour = hour;
		net->logins = 0;
		net->accounts = 0;
	}
	net->logins++;
	net->accounts |= UINT64_C(1) << (q->account[0] % 64);
	if (crowd->logins < CROWD_LOGINS || (uint64_t)net->logins * 2 <= crowd->logins ||
		__builtin_popcountll(net->accounts) < CROWD_ACCOUNTS ||
		now_ms < crowd->next_warning_ms)
		return;
	crowd->found = true;
	crowd->network = q->network;
	crowd->percent = (unsigned)(net->logins * UINT64_C(100) / crowd->logins);
	crowd->next_warning_ms = now_ms + HOUR_MS;
}

bool guard_crowd(struct guard *guard, struct network *network_out, unsigned *percent_out)
{
	if (!guard->crowd.found)
		return false;
	guard->crowd.found = false;
	*network_out = guard->crowd.network;
	*percent_out = guard->crowd.percent;
	return true;
}

/* Moves a date that is remembered coarsely; true when it moved. */
static bool extend(uint64_t *until_ms, uint64_t to_ms)
{
	if (*until_ms >= to_ms || to_ms - *until_ms < KNOWN_STEP_MS)
		return false;
	*until_ms = to_ms;
	return true;
}

void guard_succeeded(struct guard *guard, const uint8_t *login, size_t login_len,
	const struct address_key *client, uint64_t now_ms)
{
	if (!guard->config->enabled)
		return;
	struct question q = identify(guard, login, login_len, client, now_ms);
	uint64_t until_ms = now_ms + guard->config->remember_ms;
	struct net *net = NULL;

	settle(guard, &q, now_ms);
	struct known *known = guard_table_put(guard->known, q.pair, now_ms);
	if (extend(&known->until_ms, until_ms))
		guard_table_mark(guard->known, known);
	if (!q.trusted) {
		net = guard_table_put(guard->networks, q.net, now_ms);
		if (extend(&net->welcome_until_ms, until_ms))
			guard_table_mark(guard->networks, net);
	}
	count_crowd(guard, &q, net, now_ms);
	counter_set(COUNTER_GUARD_KNOWN, guard_table_count(guard->known));
}
