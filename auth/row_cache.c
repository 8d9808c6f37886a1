/* SPDX-License-Identifier: ISC */
/*
 * The cache of rows; see row_cache.h.
 *
 * One entry a key: what is known of it and since when, the ticket of the look-up in flight, and
 * who waits for it or for the one after.  Entries with a look-up in flight are never evicted; their
 * number is bounded by the database's queue.  The oldest use goes first.
 *
 * Entries are found by their row's id in buckets of a fixed number: an id may be known by several
 * keys, and nothing there can run out of memory.  Which of the changes lately told came
 * while a look-up was in flight is seen in a ring; one that a flight of great length outlived
 * counts as its own.
 */
#include "auth/row_cache.h"

#include "common/idmap.h"
#include "common/log.h"

#define HASH_NONFATAL_OOM 1
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

enum { CHANGES_KEPT = 1024, BUCKETS = 1 << 14 };

struct waiter {
	STAILQ_ENTRY(waiter) link;
	row_done *done;
	void *arg;
	uint64_t token;
};

STAILQ_HEAD(waiters, waiter);

struct entry {
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) used; /* by last use */
	LIST_ENTRY(entry) same;  /* of its row's bucket; with a row */
	bool known;              /* row and what follows it say something */
	bool changed;            /* since it was looked up, or perhaps */
	bool pinned;             /* its waiters are being told */
	void *row;               /* NULL with known: there is none */
	uint64_t asked_ms;       /* when its look-up began */
	uint64_t generation;     /* of the cache then */
	/* The look-up in flight: 0 is none; when it began. */
	uint64_t ticket, flight_ms, flight_generation, flight_changes;
	struct waiters waiters, later; /* for it; for the next one */
	size_t key_len;
	uint8_t key[];
};

struct row_cache {
	struct row_cache_settings settings;
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

static size_t row_bytes(const struct row_cache *cache, const void *row)
{
	return row == NULL ? 0 : cache->settings.kind->bytes(row);
}

struct row_cache *row_cache_new(const struct row_cache_settings *settings)
{
	struct row_cache *cache = calloc(1, sizeof *cache);

	if (cache == NULL)
		return NULL;
	cache->settings = *settings;
	cache->generation = 1;
	TAILQ_INIT(&cache->used);
	cache->tickets = idmap_new();
	if (cache->tickets == NULL)
		row_cache_destroy(&cache);
	return cache;
}

static void forget(struct row_cache *cache, struct entry *entry)
{
	if (entry->row != NULL)
		LIST_REMOVE(entry, same);
	cache->bytes -= row_bytes(cache, entry->row);
	if (entry->row != NULL)
		cache->settings.kind->destroy(entry->row);
	entry->row = NULL;
	entry->known = false;
}

static void entry_destroy(struct row_cache *cache, struct entry *entry)
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

void row_cache_destroy(struct row_cache **pointer)
{
	struct row_cache *cache = *pointer;

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

static struct entry *find(const struct row_cache *cache, const void *key, size_t len)
{
	struct entry *entry;

	HASH_FIND(hh, cache->entries, key, len, entry);
	return entry;
}

/* Drops the longest unused entries until both bounds hold; those being looked up stay. */
static void evict(struct row_cache *cache, const struct entry *spare)
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

static struct entry *entry_new(struct row_cache *cache, const void *key, size_t len)
{
	struct entry *entry = calloc(1, sizeof *entry + len);

	if (entry == NULL)
		return NULL;
	memcpy(entry->key, key, len);
	entry->key_len = len;
	STAILQ_INIT(&entry->waiters);
	STAILQ_INIT(&entry->later);
	HASH_ADD_KEYPTR(hh, cache->entries, entry->key, len, entry);
	if (entry->hh.tbl == NULL) { /* uthash was out of memory */
		free(entry);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&cache->used, entry, used);
	evict(cache, entry);
	return entry;
}

static bool start_lookup(struct row_cache *cache, struct entry *entry, uint64_t now_ms)
{
	uint64_t ticket = ++cache->last_ticket;

	if (!idmap_put(cache->tickets, ticket, entry))
		return false;
	if (!cache->settings.lookup(cache->settings.arg, ticket, entry->key, entry->key_len)) {
		idmap_take(cache->tickets, ticket);
		return false;
	}
	entry->ticket = ticket;
	entry->flight_ms = now_ms;
	entry->flight_generation = cache->generation;
	entry->flight_changes = cache->changes;
	return true;
}

/* Whether the look-up in flight may bring what was before a change that has been told: of which row
 * it is, only its answer says. */
static bool is_overtaken(const struct row_cache *cache, const struct entry *entry)
{
	return entry->flight_changes != cache->changes ||
	       entry->flight_generation != cache->generation;
}

/* Joins a look-up or starts it.  false: nobody will call done. */
static bool wait_for_lookup(struct row_cache *cache, struct entry *entry, bool fresh,
	uint64_t now_ms, row_done *done, void *arg, uint64_t token)
{
	bool later = entry->ticket != 0 && (fresh || is_overtaken(cache, entry));

	if (cache->waiting >= ROW_WAITERS_MAX)
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
static bool is_trusted(const struct row_cache *cache, const struct entry *entry, uint64_t now_ms)
{
	if (!entry->known || entry->changed || entry->generation != cache->generation)
		return false;
	if (entry->row == NULL)
		return is_younger(entry, ROW_UNKNOWN_MS, now_ms);
	return is_younger(entry, cache->fed ? ROW_FED_MS : ROW_TRUST_MS, now_ms);
}

void row_cache_get(struct row_cache *cache, const void *key, size_t key_len, bool fresh,
	uint64_t now_ms, row_done *done, void *arg, uint64_t token)
{
	struct entry *entry = find(cache, key, key_len);

	if (entry != NULL) {
		TAILQ_REMOVE(&cache->used, entry, used);
		TAILQ_INSERT_TAIL(&cache->used, entry, used);
	}
	if (entry != NULL && !fresh && is_trusted(cache, entry, now_ms)) {
		cache->settings.kind->tell(
			done, entry->row == NULL ? ROW_UNKNOWN : ROW_KNOWN, entry->row, arg, token);
		return;
	}
	if (entry == NULL)
		entry = entry_new(cache, key, key_len);
	if (entry == NULL || !wait_for_lookup(cache, entry, fresh, now_ms, done, arg, token)) {
		if (entry != NULL && !entry->known && entry->ticket == 0 && !entry->pinned)
			entry_destroy(cache, entry);
		cache->settings.kind->tell(done, ROW_UNAVAILABLE, NULL, arg, token);
	}
}

/* Whether a row changed after a number of changes was told. */
static bool changed_since(const struct row_cache *cache, uint64_t id, uint64_t changes)
{
	if (cache->changes - changes > CHANGES_KEPT)
		return true;
	for (uint64_t i = changes; i < cache->changes; i++) {
		if (cache->changed[i % CHANGES_KEPT] == id)
			return true;
	}
	return false;
}

static size_t bucket_of(uint64_t id)
{
	/* Ids are drawn one after the other, or at random: they spread by themselves. */
	return id % BUCKETS;
}

static void remember(struct row_cache *cache, struct entry *entry, void *row)
{
	forget(cache, entry);
	entry->known = true;
	entry->row = row;
	entry->asked_ms = entry->flight_ms;
	entry->generation = entry->flight_generation;
	entry->changed = row != NULL &&
			 changed_since(cache, cache->settings.kind->id(row), entry->flight_changes);
	if (row != NULL)
		LIST_INSERT_HEAD(
			&cache->buckets[bucket_of(cache->settings.kind->id(row))], entry, same);
	cache->bytes += row_bytes(cache, row);
}

static void tell(
	struct row_cache *cache, struct waiters *ready, enum row_answer answer, const void *row)
{
	struct waiter *waiter;

	for (; !STAILQ_EMPTY(ready); free(waiter)) {
		waiter = STAILQ_FIRST(ready);
		STAILQ_REMOVE_HEAD(ready, link);
		cache->waiting--;
		cache->settings.kind->tell(waiter->done, answer, row, waiter->arg, waiter->token);
	}
}

void row_cache_answer(struct row_cache *cache, uint64_t ticket, enum row_answer answer, void *row,
	uint64_t now_ms)
{
	struct entry *entry = idmap_take(cache->tickets, ticket);
	struct waiters ready = STAILQ_HEAD_INITIALIZER(ready);
	struct waiters lost = STAILQ_HEAD_INITIALIZER(lost);

	require((answer == ROW_KNOWN) == (row != NULL));
	if (entry == NULL) {
		if (row != NULL)
			cache->settings.kind->destroy(row);
		return;
	}
	entry->ticket = 0;
	STAILQ_CONCAT(&ready, &entry->waiters);
	STAILQ_CONCAT(&entry->waiters, &entry->later);
	if (answer != ROW_UNAVAILABLE)
		remember(cache, entry, row);
	if (!STAILQ_EMPTY(&entry->waiters) && !start_lookup(cache, entry, now_ms))
		STAILQ_CONCAT(&lost, &entry->waiters);
	/* A callback may ask again or forget; the entry and the row stay until all were told.
	 */
	entry->pinned = true;
	tell(cache, &ready, answer, row);
	tell(cache, &lost, ROW_UNAVAILABLE, NULL);
	entry->pinned = false;
	if (!entry->known && entry->ticket == 0)
		entry_destroy(cache, entry);
	evict(cache, NULL);
}

/* ------------------------------------------------------------- what is known */
const void *row_cache_peek(
	const struct row_cache *cache, const void *key, size_t key_len, uint64_t now_ms)
{
	const struct entry *entry = find(cache, key, key_len);

	return entry != NULL && is_trusted(cache, entry, now_ms) ? entry->row : NULL;
}

const void *row_cache_remembered(const struct row_cache *cache, const void *key, size_t key_len,
	uint64_t age_ms, uint64_t now_ms)
{
	const struct entry *entry = find(cache, key, key_len);

	if (entry == NULL || !entry->known || entry->changed ||
		entry->generation != cache->generation || !is_younger(entry, age_ms, now_ms))
		return NULL;
	return entry->row;
}

void row_cache_forget(struct row_cache *cache, const void *key, size_t key_len)
{
	struct entry *entry = find(cache, key, key_len);

	if (entry == NULL)
		return;
	entry->changed = true; /* the memory may be in use by a caller */
	entry->flight_generation = 0;
}

void row_cache_changed(struct row_cache *cache, uint64_t id)
{
	struct entry *entry;

	cache->changed[cache->changes++ % CHANGES_KEPT] = id;
	LIST_FOREACH (entry, &cache->buckets[bucket_of(id)], same) {
		if (cache->settings.kind->id(entry->row) == id)
			entry->changed = true;
	}
}

void row_cache_changed_all(struct row_cache *cache)
{
	cache->generation++;
}

void row_cache_feed(struct row_cache *cache, bool fed)
{
	cache->fed = fed;
}

size_t row_cache_count(const struct row_cache *cache)
{
	return HASH_COUNT(cache->entries);
}

size_t row_cache_bytes(const struct row_cache *cache)
{
	return cache->bytes;
}
