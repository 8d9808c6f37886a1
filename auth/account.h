/* SPDX-License-Identifier: ISC */
/*
 * Accounts as the database told them, remembered by prepared login.
 *
 * Owns the cache, its bounds and its clock rules.  A known account is trusted ACCOUNT_FED_MS while
 * the owner is told of every change and tells it here, ACCOUNT_TRUST_MS otherwise; an unknown login
 * ACCOUNT_UNKNOWN_MS, for the change that makes it known is told of an account that nobody here has
 * heard of.  Ages count from the start of the look-up.  A row that came while its account changed
 * is not remembered: it may be the one before.
 *
 * One look-up a login is in flight; all who ask meanwhile wait for it, or for the next one, in
 * bounded number.  Does not talk to the database: the owner gives a function that starts a look-up
 * and brings its answer back.  Time is a parameter.
 */
#ifndef AUTH_ACCOUNT_H
#define AUTH_ACCOUNT_H

#include "auth/sender.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ACCOUNT_FED_MS = 600 * 1000,
	ACCOUNT_TRUST_MS = 10 * 1000,
	ACCOUNT_UNKNOWN_MS = 2 * 1000,
	ACCOUNT_WAITERS_MAX = 8192, /* of all look-ups together */
};

struct account {
	uint64_t id, version;
	uint64_t password_version; /* stays when a better hash of the same password is stored */
	uint64_t message_bytes;    /* 0: no limit of its own */
	uint32_t recipients;       /* in one message, likewise */
	bool enabled;
	bool hash_malformed; /* there is one, too long for any known scheme */
	enum ipc_from_policy from_policy;
	uint16_t login_len, phc_len; /* phc_len 0: no password */
	uint8_t login[IPC_LOGIN_MAX];
	uint8_t token_len; /* 0: none */
	uint8_t token[IPC_TOKEN_MAX];
	char phc[IPC_PHC_MAX + 1]; /* with a NUL */
	struct sender_list senders;
};

/* senders_bytes of packed rows behind the struct; NULL: out of memory. */
struct account *account_new(size_t senders_bytes) __attribute__((warn_unused_result));
void account_destroy(struct account **account); /* wipes the hash; NULL-safe */

enum account_answer {
	ACCOUNT_KNOWN = 1,
	ACCOUNT_UNKNOWN,
	ACCOUNT_UNAVAILABLE, /* the database is away, or too many wait */
};

/* account is NULL unless ACCOUNT_KNOWN, and valid during the call only. */
typedef void account_done(
	enum account_answer answer, const struct account *account, void *arg, uint64_t token);

struct account_cache;

struct account_cache_settings {
	size_t entries_max;
	size_t bytes_max; /* of accounts remembered */
	/* Starts a look-up, to be answered by account_cache_answer() with this ticket: later, never
	 * from within.  false: it cannot be started. */
	bool (*lookup)(void *arg, uint64_t ticket, const uint8_t *login, size_t login_len);
	void *arg;
};

struct account_cache *account_cache_new(const struct account_cache_settings *settings)
	__attribute__((warn_unused_result));
void account_cache_destroy(struct account_cache **cache); /* waiters are not called */

/*
 * Calls done exactly once, perhaps before it returns.  fresh: the answer must come from a look-up
 * that begins after this call.  login_len is at most IPC_LOGIN_MAX.
 */
void account_cache_get(struct account_cache *cache, const uint8_t *login, size_t login_len,
	bool fresh, uint64_t now_ms, account_done *done, void *arg, uint64_t token);

/* The end of a look-up.  Takes the account (NULL unless ACCOUNT_KNOWN); calls all who waited. */
void account_cache_answer(struct account_cache *cache, uint64_t ticket, enum account_answer answer,
	struct account *account, uint64_t now_ms);

/* The row that account_cache_get() would give at once; NULL: it would ask, or the login is unknown.
 * Valid until the next call. */
const struct account *account_cache_peek(
	const struct account_cache *cache, const uint8_t *login, size_t login_len, uint64_t now_ms);

/* The row as it was looked up last, trusted or not, unless it is older than age_ms or is known to
 * have changed since; for an outage, as far as the operator allows it.  Likewise valid. */
const struct account *account_cache_remembered(const struct account_cache *cache,
	const uint8_t *login, size_t login_len, uint64_t age_ms, uint64_t now_ms);

/* Forgets what is known of a login, so that the next asks the database. */
void account_cache_forget(struct account_cache *cache, const uint8_t *login, size_t login_len);

/* The database told that an account, or that anything, has changed: likewise. */
void account_cache_changed(struct account_cache *cache, uint64_t account);
void account_cache_changed_all(struct account_cache *cache);

/* Whether every change from now on, and every one since what is remembered was looked up, is told
 * by the two above.  false at the start. */
void account_cache_feed(struct account_cache *cache, bool fed);

size_t account_cache_count(const struct account_cache *cache);
size_t account_cache_bytes(const struct account_cache *cache);

#endif
