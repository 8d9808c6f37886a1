/* SPDX-License-Identifier: ISC */
/*
 * Better hashes: what a log-in has just proven is hashed anew, as new passwords are, and stored.
 *
 * The log-in has its answer already.  A better hash is never urgent: it is dropped when log-ins
 * wait, and the next log-in of the account begins again.  Owns the secrets that it takes, in
 * bounded number.  Knows neither channels nor the database: the owner gives a function that stores.
 */
#ifndef AUTH_REHASH_H
#define AUTH_REHASH_H

#include "auth/hash_pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REHASH_DEADLINE_MS = 30 * 1000,
	REHASH_GIVEN_UP_MAX = 64,            /* accounts whose new hash nobody took, the latest */
	REHASH_GIVEN_UP_MS = 60 * 60 * 1000, /* are left alone for so long */
};

struct rehash_wanted {
	uint64_t account, version;
	const char *old; /* the stored hash, copied */
	size_t old_len;
};

struct rehash_settings {
	struct hash_pool *pool;
	struct password_cost cost;
	/* Starts to store, NUL-terminated, for rehash_stored() with this token.  false: it cannot.
	 */
	bool (*store)(
		void *arg, uint64_t token, const struct rehash_wanted *wanted, const char *new);
	void *arg;
};

struct rehash;

struct rehash *rehash_new(const struct rehash_settings *settings)
	__attribute__((warn_unused_result));
void rehash_destroy(struct rehash **rehash);

/*
 * token: a number that the pool has not in use.  Takes *secret (and sets it to NULL) when it
 * begins; that it does not is no fault.
 */
void rehash_start(struct rehash *rehash, uint64_t token, const struct rehash_wanted *wanted,
	struct secret **secret, uint64_t now_ms);

/* false: not a token of rehash_start(). */
bool rehash_hashed(struct rehash *rehash, const struct hash_pool_result *result, uint64_t token,
	uint64_t now_ms) __attribute__((warn_unused_result));

void rehash_stored(struct rehash *rehash, uint64_t token, bool stored, uint64_t now_ms);

#endif
