/* SPDX-License-Identifier: ISC */
/*
 * Log-ins verified lately: the same password again costs a keyed hash instead of an Argon2id.
 *
 * Holds no password: an entry is a BLAKE2b under a random key of this process over account, row
 * version and prepared secret, so a change of the row ends what was remembered of it.  Successes
 * only. Bounded by number and age; the oldest goes first.  Time is a parameter.
 */
#ifndef AUTH_LOGIN_CACHE_H
#define AUTH_LOGIN_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct login_cache;

/* entries 0: a cache that remembers nothing.  NULL: out of memory. */
struct login_cache *login_cache_new(size_t entries, uint64_t age_ms)
	__attribute__((warn_unused_result));
void login_cache_destroy(struct login_cache **cache); /* wipes the key */

/* Whether this very secret was verified for this very row less than age_ms ago. */
bool login_cache_has(struct login_cache *cache, uint64_t account, uint64_t version,
	const uint8_t *secret, size_t secret_len, uint64_t now_ms)
	__attribute__((warn_unused_result));

/* Remembers a success from now on; a log-in answered from the cache renews nothing. */
void login_cache_add(struct login_cache *cache, uint64_t account, uint64_t version,
	const uint8_t *secret, size_t secret_len, uint64_t now_ms);

size_t login_cache_count(const struct login_cache *cache);

#endif
