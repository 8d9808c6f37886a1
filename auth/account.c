/* SPDX-License-Identifier: ISC */
/*
 * The account cache; see account.h.
 *
 * One entry a login: what is known of it and since when, the ticket of the look-up in flight, and
 * who waits.  Entries with a look-up in flight are never evicted; their number is bounded by the
 * database's queue.  The oldest use goes first.
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
	bool known;              /* account and until_ms say something */
	bool pinned;             /* its waiters are being told */
	struct account *account; /* NULL with known: an unknown login */
	uint64_t until_ms;
	uint64_t ticket; /* of the look-up in flight; 0: none */
	struct waiters waiters;
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
	TAILQ_INIT(&cache->used);
	cache->tickets = idmap_new();
	if (cache->tickets == NULL)
		account_cache_destroy(&cache);
	return cache;
}

static void forget(struct account_cache *cache, struct entry *entry)
{
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
	HASH_ADD_KEYPTR(hh, cache->entries, entry->login, len, entry);
	if (entry->hh.tbl == NULL) { /* uthash was out of memory */
		free(entry);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&cache->used, entry, used);
	evict(cache, entry);
	return entry;
}

static bool start_lookup(struct account_cache *cache, struct entry *entry)
{
	uint64_t ticket = ++cache->last_ticket;

	if (!idmap_put(cache->tickets, ticket, entry))
		return false;
	if (!cache->settings.lookup(cache->settings.arg, ticket, entry->login, entry->login_len)) {
		idmap_take(cache->tickets, ticket);
		return false;
	}
	entry->ticket = ticket;
	return true;
}

/* Joins or starts the look-up.  false: nobody will call done. */
static bool wait_for_lookup(struct account_cache *cache, struct entry *entry, account_done *done,
	void *arg, uint64_t token)
{
	if (cache->waiting >= ACCOUNT_WAITERS_MAX)
		return false;
	struct waiter *waiter = malloc(sizeof *waiter);
	if (waiter == NULL)
		return false;
	if (entry->ticket == 0 && !start_lookup(cache, entry)) {
		free(waiter);
		return false;
	}
	*waiter = (struct waiter){.done = done, .arg = arg, .token = token};
	STAILQ_INSERT_TAIL(&entry->waiters, waiter, link);
	cache->waiting++;
	return true;
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
	if (entry != NULL && entry->known && !fresh && now_ms < entry->until_ms) {
		done(entry->account == NULL ? ACCOUNT_UNKNOWN : ACCOUNT_KNOWN, entry->account, arg,
			token);
		return;
	}
	if (entry == NULL)
		entry = entry_new(cache, login, login_len);
	if (entry == NULL || !wait_for_lookup(cache, entry, done, arg, token)) {
		if (entry != NULL && !entry->known && entry->ticket == 0)
			entry_destroy(cache, entry);
		done(ACCOUNT_UNAVAILABLE, NULL, arg, token);
	}
}

static void remember(struct account_cache *cache, struct entry *entry, enum account_answer answer,
	struct account *account, uint64_t now_ms)
{
	forget(cache, entry);
	entry->known = true;
	entry->account = account;
	entry->until_ms =
		now_ms + (answer == ACCOUNT_KNOWN ? ACCOUNT_TRUST_MS : ACCOUNT_UNKNOWN_MS);
	cache->bytes += account_bytes(account);
}

void account_cache_answer(struct account_cache *cache, uint64_t ticket, enum account_answer answer,
	struct account *account, uint64_t now_ms)
{
	struct entry *entry = idmap_take(cache->tickets, ticket);
	struct waiters ready = STAILQ_HEAD_INITIALIZER(ready);
	struct waiter *waiter;

	require((answer == ACCOUNT_KNOWN) == (account != NULL));
	if (entry == NULL) {
		account_destroy(&account);
		return;
	}
	entry->ticket = 0;
	STAILQ_CONCAT(&ready, &entry->waiters);
	if (answer != ACCOUNT_UNAVAILABLE)
		remember(cache, entry, answer, account, now_ms);
	/* A callback may ask again or forget; the entry and the account stay until all were told.
	 */
	entry->pinned = true;
	for (; !STAILQ_EMPTY(&ready); free(waiter)) {
		waiter = STAILQ_FIRST(&ready);
		STAILQ_REMOVE_HEAD(&ready, link);
		cache->waiting--;
		waiter->done(answer, account, waiter->arg, waiter->token);
	}
	entry->pinned = false;
	if (!entry->known && entry->ticket == 0)
		entry_destroy(cache, entry);
	evict(cache, NULL);
}

void account_cache_forget(struct account_cache *cache, const uint8_t *login, size_t login_len)
{
	struct entry *entry = find(cache, login, login_len);

	if (entry != NULL)
		entry->until_ms = 0; /* the memory may be in use by a caller */
}

size_t account_cache_count(const struct account_cache *cache)
{
	return HASH_COUNT(cache->entries);
}

size_t account_cache_bytes(const struct account_cache *cache)
{
	return cache->bytes;
}
