/* SPDX-License-Identifier: ISC */
/*
 * The credential cache; see credential_cache.h.
 *
 * Entries are found by number alone, so a look-up needs no ticket besides.  Entries with a look-up
 * in flight are never evicted; the oldest use goes first.
 */
#include "auth/credential_cache.h"

#include "common/idmap.h"
#include "common/log.h"

#include <stdlib.h>
#include <sys/queue.h>

struct waiter {
	STAILQ_ENTRY(waiter) link;
	credential_done *done;
	void *arg;
	uint64_t token;
};

STAILQ_HEAD(waiters, waiter);

struct entry {
	TAILQ_ENTRY(entry) used; /* by last use */
	uint64_t number;
	struct credential *credential; /* NULL with known: there is none */
	bool known;                    /* credential and asked_ms say something */
	bool stale;                    /* it changed since, or while it was looked up */
	bool pinned;                   /* its waiters are being told */
	bool flying, flight_stale;     /* the look-up in flight; it began before a change */
	uint64_t asked_ms, flight_ms;  /* when what is known was asked for; the one in flight */
	struct waiters waiters, later; /* for the look-up in flight; for the one after it */
};

struct credential_cache {
	size_t entries_max, waiting;
	credential_ask *ask;
	void *arg;
	bool fed;
	struct idmap *entries;
	TAILQ_HEAD(, entry) used;
};

struct credential_cache *credential_cache_new(size_t entries_max, credential_ask *ask, void *arg)
{
	struct credential_cache *cache = calloc(1, sizeof *cache);

	if (cache == NULL)
		return NULL;
	cache->entries_max = entries_max;
	cache->ask = ask;
	cache->arg = arg;
	TAILQ_INIT(&cache->used);
	cache->entries = idmap_new();
	if (cache->entries == NULL)
		credential_cache_destroy(&cache);
	return cache;
}

static void entry_destroy(struct credential_cache *cache, struct entry *entry)
{
	struct waiter *waiter;

	STAILQ_CONCAT(&entry->waiters, &entry->later);
	for (; !STAILQ_EMPTY(&entry->waiters); free(waiter)) {
		waiter = STAILQ_FIRST(&entry->waiters);
		STAILQ_REMOVE_HEAD(&entry->waiters, link);
		cache->waiting--;
	}
	TAILQ_REMOVE(&cache->used, entry, used);
	idmap_take(cache->entries, entry->number);
	credential_destroy(&entry->credential);
	free(entry);
}

void credential_cache_destroy(struct credential_cache **pointer)
{
	struct credential_cache *cache = *pointer;

	if (cache == NULL)
		return;
	*pointer = NULL;
	for (struct entry *entry = TAILQ_FIRST(&cache->used), *next; entry != NULL; entry = next) {
		next = TAILQ_NEXT(entry, used);
		entry_destroy(cache, entry);
	}
	idmap_destroy(&cache->entries);
	free(cache);
}

static void evict(struct credential_cache *cache, const struct entry *spare)
{
	struct entry *entry = TAILQ_FIRST(&cache->used);

	while (entry != NULL && idmap_count(cache->entries) > cache->entries_max) {
		struct entry *next = TAILQ_NEXT(entry, used);
		if (!entry->flying && !entry->pinned && entry != spare)
			entry_destroy(cache, entry);
		entry = next;
	}
}

static struct entry *entry_new(struct credential_cache *cache, uint64_t number)
{
	struct entry *entry = calloc(1, sizeof *entry);

	if (entry == NULL || !idmap_put(cache->entries, number, entry)) {
		free(entry);
		return NULL;
	}
	entry->number = number;
	STAILQ_INIT(&entry->waiters);
	STAILQ_INIT(&entry->later);
	TAILQ_INSERT_TAIL(&cache->used, entry, used);
	evict(cache, entry);
	return entry;
}

static bool start(struct credential_cache *cache, struct entry *entry, uint64_t now_ms)
{
	if (!cache->ask(cache->arg, entry->number))
		return false;
	entry->flying = true;
	entry->flight_stale = false;
	entry->flight_ms = now_ms;
	return true;
}

/* Joins a look-up or starts it.  false: nobody will call done. */
static bool wait_for(struct credential_cache *cache, struct entry *entry, bool fresh,
	uint64_t now_ms, const struct waiter *who)
{
	bool later = entry->flying && (fresh || entry->flight_stale);

	if (cache->waiting >= ACCOUNT_WAITERS_MAX)
		return false;
	struct waiter *waiter = malloc(sizeof *waiter);
	if (waiter == NULL)
		return false;
	if (!entry->flying && !start(cache, entry, now_ms)) {
		free(waiter);
		return false;
	}
	*waiter = *who;
	if (later)
		STAILQ_INSERT_TAIL(&entry->later, waiter, link);
	else
		STAILQ_INSERT_TAIL(&entry->waiters, waiter, link);
	cache->waiting++;
	return true;
}

static bool is_trusted(
	const struct credential_cache *cache, const struct entry *entry, uint64_t now_ms)
{
	uint64_t age_ms = cache->fed ? ACCOUNT_FED_MS : ACCOUNT_TRUST_MS;

	if (entry->credential == NULL)
		age_ms = ACCOUNT_UNKNOWN_MS;
	return entry->known && !entry->stale && now_ms - entry->asked_ms < age_ms;
}

void credential_cache_get(struct credential_cache *cache, uint64_t number, bool fresh,
	uint64_t now_ms, credential_done *done, void *arg, uint64_t token)
{
	const struct waiter who = {.done = done, .arg = arg, .token = token};
	struct entry *entry = idmap_get(cache->entries, number);

	require(credential_number_valid(number));
	if (entry != NULL) {
		TAILQ_REMOVE(&cache->used, entry, used);
		TAILQ_INSERT_TAIL(&cache->used, entry, used);
	}
	if (entry != NULL && !fresh && is_trusted(cache, entry, now_ms)) {
		done(entry->credential == NULL ? ACCOUNT_UNKNOWN : ACCOUNT_KNOWN, entry->credential,
			arg, token);
		return;
	}
	if (entry == NULL)
		entry = entry_new(cache, number);
	if (entry == NULL || !wait_for(cache, entry, fresh, now_ms, &who)) {
		if (entry != NULL && !entry->known && !entry->flying && !entry->pinned)
			entry_destroy(cache, entry);
		done(ACCOUNT_UNAVAILABLE, NULL, arg, token);
	}
}

static void tell(struct credential_cache *cache, struct waiters *ready, enum account_answer answer,
	const struct credential *credential)
{
	struct waiter *waiter;

	for (; !STAILQ_EMPTY(ready); free(waiter)) {
		waiter = STAILQ_FIRST(ready);
		STAILQ_REMOVE_HEAD(ready, link);
		cache->waiting--;
		waiter->done(answer, credential, waiter->arg, waiter->token);
	}
}

static void remember(struct entry *entry, struct credential *credential)
{
	credential_destroy(&entry->credential);
	entry->credential = credential;
	entry->known = true;
	entry->stale = entry->flight_stale;
	entry->asked_ms = entry->flight_ms;
}

void credential_cache_answer(struct credential_cache *cache, uint64_t number,
	enum account_answer answer, struct credential *credential, uint64_t now_ms)
{
	struct entry *entry = idmap_get(cache->entries, number);
	struct waiters ready = STAILQ_HEAD_INITIALIZER(ready);
	struct waiters lost = STAILQ_HEAD_INITIALIZER(lost);

	require((answer == ACCOUNT_KNOWN) == (credential != NULL));
	if (entry == NULL || !entry->flying) {
		credential_destroy(&credential);
		return;
	}
	entry->flying = false;
	STAILQ_CONCAT(&ready, &entry->waiters);
	STAILQ_CONCAT(&entry->waiters, &entry->later);
	if (answer != ACCOUNT_UNAVAILABLE)
		remember(entry, credential);
	if (!STAILQ_EMPTY(&entry->waiters) && !start(cache, entry, now_ms))
		STAILQ_CONCAT(&lost, &entry->waiters);
	/* A callback may ask again; the entry and the credential stay until all were told. */
	entry->pinned = true;
	tell(cache, &ready, answer, credential);
	tell(cache, &lost, ACCOUNT_UNAVAILABLE, NULL);
	entry->pinned = false;
	if (!entry->known && !entry->flying)
		entry_destroy(cache, entry);
	evict(cache, NULL);
}

static void set_stale(uint64_t number, void *value, void *arg)
{
	struct entry *entry = value;

	(void)number;
	(void)arg;
	entry->stale = true; /* the memory may be in use by a caller */
	entry->flight_stale = true;
}

const struct credential *credential_cache_remembered(
	const struct credential_cache *cache, uint64_t number, uint64_t age_ms, uint64_t now_ms)
{
	const struct entry *entry = idmap_get(cache->entries, number);

	if (entry == NULL || !entry->known || entry->stale || now_ms - entry->asked_ms >= age_ms)
		return NULL;
	return entry->credential;
}

void credential_cache_changed(struct credential_cache *cache, uint64_t number)
{
	struct entry *entry = idmap_get(cache->entries, number);

	if (entry != NULL)
		set_stale(number, entry, NULL);
}

void credential_cache_changed_all(struct credential_cache *cache)
{
	idmap_each(cache->entries, set_stale, NULL);
}

void credential_cache_feed(struct credential_cache *cache, bool fed)
{
	cache->fed = fed;
}

size_t credential_cache_count(const struct credential_cache *cache)
{
	return idmap_count(cache->entries);
}
