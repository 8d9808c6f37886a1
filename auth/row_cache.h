/* SPDX-License-Identifier: ISC */
/*
 * Rows as the database told them, remembered by key: what account.h and credential_cache.h share.
 *
 * Owns the entries, their bounds and the clock rules of trust.  A known row is trusted ROW_FED_MS
 * while the owner is told of every change and tells it here, ROW_TRUST_MS otherwise; a key without
 * a row ROW_UNKNOWN_MS, for the change that makes it known is told of a row that nobody here has
 * heard of.  Ages count from the start of the look-up.  A row that came while it changed is not
 * remembered: it may be the one before.
 *
 * One look-up a key is in flight; all who ask meanwhile wait for it or, when something changed
 * since it began, for the next one, in bounded number. Does not talk to the database: the owner
 * gives a function that starts a look-up and brings its answer back.  Time is a parameter.
 */
#ifndef AUTH_ROW_CACHE_H
#define AUTH_ROW_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ROW_FED_MS = 10 * 60 * 1000,
	ROW_TRUST_MS = 10 * 1000,
	ROW_UNKNOWN_MS = 2 * 1000,
	ROW_WAITERS_MAX = 8192, /* of all look-ups of a cache together */
};

enum row_answer {
	ROW_KNOWN = 1,
	ROW_UNKNOWN,
	ROW_UNAVAILABLE, /* the database is away, or too many wait */
};

/* Any function that an owner has told row_cache_get(); its kind casts it back to what it is. */
typedef void row_done(void);

/* What the cache must know of a kind of rows. */
struct row_kind {
	uint64_t (*id)(const void *row); /* which the owner names when it changed */
	size_t (*bytes)(const void *row);
	void (*destroy)(void *row);
	/* Calls done; row is NULL unless ROW_KNOWN. */
	void (*tell)(
		row_done *done, enum row_answer answer, const void *row, void *arg, uint64_t token);
};

struct row_cache_settings {
	const struct row_kind *kind;
	size_t entries_max;
	size_t bytes_max; /* of rows remembered */
	/* Starts a look-up, to be answered by row_cache_answer() with this ticket: later, never
	 * from within.  false: it cannot be started. */
	bool (*lookup)(void *arg, uint64_t ticket, const uint8_t *key, size_t key_len);
	void *arg;
};

struct row_cache;

struct row_cache *row_cache_new(const struct row_cache_settings *settings)
	__attribute__((warn_unused_result));
void row_cache_destroy(struct row_cache **cache); /* waiters are not called */

/* Calls done exactly once, perhaps before it returns.  fresh: the answer must come from a look-up
 * that begins after this call. */
void row_cache_get(struct row_cache *cache, const void *key, size_t key_len, bool fresh,
	uint64_t now_ms, row_done *done, void *arg, uint64_t token);

/* The end of a look-up.  Takes the row (NULL unless ROW_KNOWN); calls all who waited. */
void row_cache_answer(struct row_cache *cache, uint64_t ticket, enum row_answer answer, void *row,
	uint64_t now_ms);

/* The row that row_cache_get() would give at once; NULL: it would ask, or there is none.  Valid
 * until the next call. */
const void *row_cache_peek(
	const struct row_cache *cache, const void *key, size_t key_len, uint64_t now_ms);

/* The row as it was looked up last, trusted or not, unless it is older than age_ms or is known to
 * have changed since; for an outage, as far as the operator allows it.  Likewise valid. */
const void *row_cache_remembered(const struct row_cache *cache, const void *key, size_t key_len,
	uint64_t age_ms, uint64_t now_ms);

/* Forgets what is known of a key, so that the next asks the database. */
void row_cache_forget(struct row_cache *cache, const void *key, size_t key_len);

/* The database told that a row, or that anything, has changed: likewise. */
void row_cache_changed(struct row_cache *cache, uint64_t id);
void row_cache_changed_all(struct row_cache *cache);

/* Whether every change from now on, and every one since what is remembered was looked up, is told
 * by the two above.  false at the start. */
void row_cache_feed(struct row_cache *cache, bool fed);

size_t row_cache_count(const struct row_cache *cache);
size_t row_cache_bytes(const struct row_cache *cache);

#endif
