/* SPDX-License-Identifier: ISC */
/*
 * The account cache; see account.h.
 *
 * One entry a login: what is known of it and since when, the ticket of the look-up in flight, and
 * who waits for it or for the one after.  Entries with a look-up in flight are never evicted; their
 * number is bounded by the database's queue.  The oldest use goes first.
 *
 * Entries are found by their account's id in buckets of a fixed number: an id may be known by
 * several logins, and nothing there can run out of memory.  Which of the changes lately told came
 * while a look-up was in flight is seen in a ring; one that a flight of great length outlived
 * counts as its own.
 */
#include "auth/account.h"

#include "common/idmap.h"
#include "common/log.h"

#define HASH_NONFATAL_OOM 1
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

enum { CHANGES_KEPT = 1024, BUCKETS = 1 << 14 };

struct waiter {
	STAILQ_ENTRY(waiter) link;
	account_done *done;
	void *arg;
	uint64_t token;
};

STAILQ_HEAD(waiters, waiter);

struct entry {
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) used; /* by last use */
	LIST_ENTRY(entry) same;  /* of its account's bucket; with an account */
	bool known;              /* account and what follows it say something */
	bool changed;            /* since it was looked up, or perhaps */
	bool pinned;             /* its waiters are being told */
	struct account *account; /* NULL with known: an unknown login */
	uint64_t asked_ms;       /* when its look-up began */
	uint64_t generation;     /* of the cache then */
	/* The look-up in flight: 0 is none; when it began. */
	uint64_t ticket, flight_ms, flight_generation, flight_changes;
	struct waiters waiters, later; /* for it; for the next one */
	size_t login_len;
	uint8_t login[];
};

struct account_cache {
	struct account_cache_settings settings;
	struct entry *entries;
	TAILQ_HEAD(, entry) used;
	struct idmap *tickets;
	uint64_t last_ticket;
	size_t bytes, waiting;
	bool fed;
	/* What was looked up under another one may have changed.  Never 0. */
	uint64_t generation;
	uint64_t changes;               /* how many were told */
	uint64_t changed[CHANGES_KEPT]; /* the last of them, by number */
	LIST_HEAD(, entry) buckets[BUCKETS];
};

struct account *account_new(size_t senders_bytes)
{
	struct account *account = calloc(1, sizeof *account + senders_bytes);

	if (account != NULL)
		account->senders.bytes = (uint8_t *)(account + 1);
	return account;
}

void account_destroy(struct account **account)
{
	if (*account == NULL)
		return;
	sodium_memzero((*account)->phc, sizeof(*account)->phc);
	free(*account);
	*account = NULL;
}

static size_t account_bytes(const struct account *account)
{
	return account == NULL ? 0 : sizeof *account + account->senders.bytes_used;
}

struct account_cache *account_cache_new(const struct account_cache_settings *settings)
{
	struct account_cache *cache = calloc(1, sizeof *cache);

	if (cache == NULL)
		return NULL;
	cache->settings = *settings;
	cache->generation = 1;
	TAILQ_INIT(&cache->used);
	cache->tickets = idmap_new();
	if (cache->tickets == NULL)
		account_cache_destroy(&cache);
	return cache;
}

static void forget(struct account_cache *cache, struct entry *entry)
{
	if (entry->account != NULL)
		LIST_REMOVE(entry, same);
	cache->bytes -= account_bytes(entry->account);
	account_destroy(&entry->account);
	entry->known = false;
}

static void entry_destroy(struct account_cache *cache, struct entry *entry)
{
	struct waiter *waiter;

	forget(cache, entry);
	if (entry->ticket != 0)
		idmap_take(cache->tickets, entry->ticket);
	STAILQ_CONCAT(&entry->waiters, &entry->later);
	for (; !STAILQ_EMPTY(&entry->waiters); free(waiter)) {
		waiter = STAILQ_FIRST(&entry->waiters);
		STAILQ_REMOVE_HEAD(&entry->waiters, link);
		cache->waiting--;
	}
	TAILQ_REMOVE(&cache->used, entry, used);
	HASH_DEL(cache->entries, entry);
	free(entry);
}

void account_cache_destroy(struct account_cache **pointer)
{
	struct account_cache *cache = *pointer;

	if (cache == NULL)
		return;
	*pointer = NULL;
	for (struct entry *entry = TAILQ_FIRST(&cache->used), *next; entry != NULL; entry = next) {
		next = TAILQ_NEXT(entry, used);
		entry_destroy(cache, entry);
	}
	idmap_destroy(&cache->tickets);
	free(cache);
}

static struct entry *find(const struct account_cache *cache, const uint8_t *login, size_t len)
{
	struct entry *entry;

	HASH_FIND(hh, cache->entries, login, len, entry);
	return entry;
}

/* Drops the longest unused entries until both bounds hold; those being looked up stay. */
static void evict(struct account_cache *cache, const struct entry *spare)
{
	struct entry *entry = TAILQ_FIRST(&cache->used);

	while (entry != NULL && (HASH_COUNT(cache->entries) > cache->settings.entries_max ||
					cache->bytes > cache->settings.bytes_max)) {
		struct entry *next = TAILQ_NEXT(entry, used);
		if (entry->ticket == 0 && !entry->pinned && entry != spare)
			entry_destroy(cache, entry);
		entry = next;
	}
}

static struct entry *entry_new(struct account_cache *cache, const uint8_t *login, size_t len)
{
	struct entry *entry = calloc(1, sizeof *entry + len);

	if (entry == NULL)
		return NULL;
	memcpy(entry->login, login, len);
	entry->login_len = len;
	STAILQ_INIT(&entry->waiters);
	STAILQ_INIT(&entry->later);
	HASH_ADD_KEYPTR(hh, cache->entries, entry->login, len, entry);
	if (entry->hh.tbl == NULL) { /* uthash was out of memory */
		free(entry);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&cache->used, entry, used);
	evict(cache, entry);
	return entry;
}

static bool start_lookup(struct account_cache *cache, struct entry *entry, uint64_t now_ms)
{
	uint64_t ticket = ++cache->last_ticket;

	if (!idmap_put(cache->tickets, ticket, entry))
		return false;
	if (!cache->settings.lookup(cache->settings.arg, ticket, entry->login, entry->login_len)) {
		idmap_take(cache->tickets, ticket);
		return false;
	}
	entry->ticket = ticket;
	entry->flight_ms = now_ms;
	entry->flight_generation = cache->generation;
	entry->flight_changes = cache->changes;
	return true;
}

/* Joins a look-up or starts it.  false: nobody will call done. */
static bool wait_for_lookup(struct account_cache *cache, struct entry *entry, bool fresh,
	uint64_t now_ms, account_done *done, void *arg, uint64_t token)
{
	bool later = fresh && entry->ticket != 0;

	if (cache->waiting >= ACCOUNT_WAITERS_MAX)
		return false;
	struct waiter *waiter = malloc(sizeof *waiter);
	if (waiter == NULL)
		return false;
	if (entry->ticket == 0 && !start_lookup(cache, entry, now_ms)) {
		free(waiter);
		return false;
	}
	*waiter = (struct waiter){.done = done, .arg = arg, .token = token};
	if (later)
		STAILQ_INSERT_TAIL(&entry->later, waiter, link);
	else
		STAILQ_INSERT_TAIL(&entry->waiters, waiter, link);
	cache->waiting++;
	return true;
}

static bool is_younger(const struct entry *entry, uint64_t age_ms, uint64_t now_ms)
{
	return now_ms - entry->asked_ms < age_ms;
}

/* What is known and may be told without a look-up. */
static bool is_trusted(
	const struct account_cache *cache, const struct entry *entry, uint64_t now_ms)
{
	if (!entry->known || entry->changed || entry->generation != cache->generation)
		return false;
	if (entry->account == NULL)
		return is_younger(entry, ACCOUNT_UNKNOWN_MS, now_ms);
	return is_younger(entry, cache->fed ? ACCOUNT_FED_MS : ACCOUNT_TRUST_MS, now_ms);
}

void account_cache_get(struct account_cache *cache, const uint8_t *login, size_t login_len,
	bool fresh, uint64_t now_ms, account_done *done, void *arg, uint64_t token)
{
	struct entry *entry = find(cache, login, login_len);

	require(login_len <= IPC_LOGIN_MAX);
	if (entry != NULL) {
		TAILQ_REMOVE(&cache->used, entry, used);
		TAILQ_INSERT_TAIL(&cache->used, entry, used);
	}
	if (entry != NULL && !fresh && is_trusted(cache, entry, now_ms)) {
		done(entry->account == NULL ? ACCOUNT_UNKNOWN : ACCOUNT_KNOWN, entry->account, arg,
			token);
		return;
	}
	if (entry == NULL)
		entry = entry_new(cache, login, login_len);
	if (entry == NULL || !wait_for_lookup(cache, entry, fresh, now_ms, done, arg, token)) {
		if (entry != NULL && !entry->known && entry->ticket == 0)
			entry_destroy(cache, entry);
		done(ACCOUNT_UNAVAILABLE, NULL, arg, token);
	}
}

/* Whether an account changed after a number of changes was told. */
static bool changed_since(const struct account_cache *cache, uint64_t account, uint64_t changes)
{
	if (cache->changes - changes > CHANGES_KEPT)
		return true;
	for (uint64_t i = changes; i < cache->changes; i++) {
		if (cache->changed[i % CHANGES_KEPT] == account)
			return true;
	}
	return false;
}

static size_t bucket_of(uint64_t account)
{
	/* Ids are drawn one after the other: they spread by themselves. */
	return account % BUCKETS;
}

static void remember(struct account_cache *cache, struct entry *entry, struct account *account)
{
	forget(cache, entry);
	entry->known = true;
	entry->account = account;
	entry->asked_ms = entry->flight_ms;
	entry->generation = entry->flight_generation;
	entry->changed =
		account != NULL && changed_since(cache, account->id, entry->flight_changes);
	if (account != NULL)
		LIST_INSERT_HEAD(&cache->buckets[bucket_of(account->id)], entry, same);
	cache->bytes += account_bytes(account);
}

static void tell(struct account_cache *cache, struct waiters *ready, enum account_answer answer,
	const struct account *account)
{
	struct waiter *waiter;

	for (; !STAILQ_EMPTY(ready); free(waiter)) {
		waiter = STAILQ_FIRST(ready);
		STAILQ_REMOVE_HEAD(ready, link);
		cache->waiting--;
		waiter->done(answer, account, waiter->arg, waiter->token);
	}
}

void account_cache_answer(struct account_cache *cache, uint64_t ticket, enum account_answer answer,
	struct account *account, uint64_t now_ms)
{
	struct entry *entry = idmap_take(cache->tickets, ticket);
	struct waiters ready = STAILQ_HEAD_INITIALIZER(ready);
	struct waiters lost = STAILQ_HEAD_INITIALIZER(lost);

	require((answer == ACCOUNT_KNOWN) == (account != NULL));
	if (entry == NULL) {
		account_destroy(&account);
		return;
	}
	entry->ticket = 0;
	STAILQ_CONCAT(&ready, &entry->waiters);
	STAILQ_CONCAT(&entry->waiters, &entry->later);
	if (answer != ACCOUNT_UNAVAILABLE)
		remember(cache, entry, account);
	if (!STAILQ_EMPTY(&entry->waiters) && !start_lookup(cache, entry, now_ms))
		STAILQ_CONCAT(&lost, &entry->waiters);
	/* A callback may ask again or forget; the entry and the account stay until all were told.
	 */
	entry->pinned = true;
	tell(cache, &ready, answer, account);
	tell(cache, &lost, ACCOUNT_UNAVAILABLE, NULL);
	entry->pinned = false;
	if (!entry->known && entry->ticket == 0)
		entry_destroy(cache, entry);
	evict(cache, NULL);
}

/* ------------------------------------------------------------- what is known */
const struct account *account_cache_peek(
	const struct account_cache *cache, const uint8_t *login, size_t login_len, uint64_t now_ms)
{
	const struct entry *entry = find(cache, login, login_len);

	return entry != NULL && is_trusted(cache, entry, now_ms) ? entry->account : NULL;
}

const struct account *account_cache_remembered(const struct account_cache *cache,
	const uint8_t *login, size_t login_len, uint64_t age_ms, uint64_t now_ms)
{
	const struct entry *entry = find(cache, login, login_len);

	if (entry == NULL || !entry->known || entry->changed ||
		entry->generation != cache->generation || !is_younger(entry, age_ms, now_ms))
		return NULL;
	return entry->account;
}

void account_cache_forget(struct account_cache *cache, const uint8_t *login, size_t login_len)
{
	struct entry *entry = find(cache, login, login_len);

	if (entry == NULL)
		return;
	entry->changed = true; /* the memory may be in use by a caller */
	entry->flight_generation = 0;
}

void account_cache_changed(struct account_cache *cache, uint64_t account)
{
	struct entry *entry;

	cache->changed[cache->changes++ % CHANGES_KEPT] = account;
	LIST_FOREACH (entry, &cache->buckets[bucket_of(account)], same) {
		if (entry->account->id == account)
			entry->changed = true;
	}
}

void account_cache_changed_all(struct account_cache *cache)
{
	cache->generation++;
}

void account_cache_feed(struct account_cache *cache, bool fed)
{
	cache->fed = fed;
}

size_t account_cache_count(const struct account_cache *cache)
{
	return HASH_COUNT(cache->entries);
}

size_t account_cache_bytes(const struct account_cache *cache)
{
	return cache->bytes;
}
