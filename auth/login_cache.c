/* SPDX-License-Identifier: ISC */
/* Keyed digests in a hash table, oldest first; see login_cache.h. */
#include "auth/login_cache.h"

#define HASH_NONFATAL_OOM 1
#include <sodium.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <uthash.h>

enum { DIGEST_BYTES = crypto_generichash_BYTES };

struct entry {
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) age; /* the oldest first */
	uint64_t verified_ms;
	uint8_t digest[DIGEST_BYTES];
};

struct login_cache {
	size_t entries_max;
	uint64_t age_ms;
	struct entry *entries;
	TAILQ_HEAD(, entry) age;
	uint8_t key[crypto_generichash_KEYBYTES];
};

struct login_cache *login_cache_new(size_t entries, uint64_t age_ms)
{
	struct login_cache *cache = calloc(1, sizeof *cache);

	if (cache == NULL)
		return NULL;
	cache->entries_max = entries;
	cache->age_ms = age_ms;
	TAILQ_INIT(&cache->age);
	crypto_generichash_keygen(cache->key);
	return cache;
}

static void drop(struct login_cache *cache, struct entry *entry)
{
	TAILQ_REMOVE(&cache->age, entry, age);
	HASH_DEL(cache->entries, entry);
	sodium_memzero(entry->digest, sizeof entry->digest);
	free(entry);
}

void login_cache_destroy(struct login_cache **cache)
{
	if (*cache == NULL)
		return;
	while (!TAILQ_EMPTY(&(*cache)->age))
		drop(*cache, TAILQ_FIRST(&(*cache)->age));
	sodium_memzero((*cache)->key, sizeof(*cache)->key);
	free(*cache);
	*cache = NULL;
}

/* Fixed-size fields first: no two inputs share a concatenation. */
static void digest(const struct login_cache *cache, uint64_t account, uint64_t version,
	const uint8_t *secret, size_t secret_len, uint8_t out[DIGEST_BYTES])
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, cache->key, sizeof cache->key, DIGEST_BYTES);
	crypto_generichash_update(&state, (const uint8_t *)&account, sizeof account);
	crypto_generichash_update(&state, (const uint8_t *)&version, sizeof version);
	crypto_generichash_update(&state, secret, secret_len);
	crypto_generichash_final(&state, out, DIGEST_BYTES);
	sodium_memzero(&state, sizeof state);
}

static bool is_old(const struct login_cache *cache, const struct entry *entry, uint64_t now_ms)
{
	return now_ms - entry->verified_ms >= cache->age_ms;
}

static void expire(struct login_cache *cache, uint64_t now_ms)
{
	struct entry *oldest;

	for (oldest = TAILQ_FIRST(&cache->age); oldest != NULL && is_old(cache, oldest, now_ms);
		oldest = TAILQ_FIRST(&cache->age))
		drop(cache, oldest);
}

/* The digest is keyed: its place in the table tells nothing to who cannot choose digests. */
static struct entry *find(const struct login_cache *cache, const uint8_t key[DIGEST_BYTES])
{
	struct entry *entry;

	HASH_FIND(hh, cache->entries, key, DIGEST_BYTES, entry);
	return entry;
}

bool login_cache_has(struct login_cache *cache, uint64_t account, uint64_t version,
	const uint8_t *secret, size_t secret_len, uint64_t now_ms)
{
	uint8_t key[DIGEST_BYTES];

	expire(cache, now_ms);
	if (cache->entries == NULL)
		return false;
	digest(cache, account, version, secret, secret_len, key);
	bool found = find(cache, key) != NULL;
	sodium_memzero(key, sizeof key);
	return found;
}

void login_cache_add(struct login_cache *cache, uint64_t account, uint64_t version,
	const uint8_t *secret, size_t secret_len, uint64_t now_ms)
{
	if (cache->entries_max == 0)
		return;
	expire(cache, now_ms);
	struct entry *entry = calloc(1, sizeof *entry);
	if (entry == NULL)
		return;
	digest(cache, account, version, secret, secret_len, entry->digest);
	entry->verified_ms = now_ms;
	struct entry *older = find(cache, entry->digest);
	if (older != NULL) /* two connections verified at the same time */
		drop(cache, older);
	else if (HASH_COUNT(cache->entries) >= cache->entries_max)
		drop(cache, TAILQ_FIRST(&cache->age));
	HASH_ADD(hh, cache->entries, digest, DIGEST_BYTES, entry);
	if (entry->hh.tbl == NULL) { /* uthash was out of memory */
		free(entry);
		return;
	}
	TAILQ_INSERT_TAIL(&cache->age, entry, age);
}

size_t login_cache_count(const struct login_cache *cache)
{
	return HASH_COUNT(cache->entries);
}
