/* SPDX-License-Identifier: ISC */
/*
 * Credentials as the database told them, remembered by number; the account cache's rules (see
 * account.h): trusted ACCOUNT_FED_MS while every change is told here, ACCOUNT_TRUST_MS otherwise,
 * unknown ones ACCOUNT_UNKNOWN_MS; ages count from the start of the look-up, and a row that came
 * while it changed is not remembered.
 *
 * One look-up a number is in flight; who asks meanwhile waits for it, or for the next one, in
 * bounded number.  Does not talk to the database.  Time is a parameter.
 */
#ifndef AUTH_CREDENTIAL_CACHE_H
#define AUTH_CREDENTIAL_CACHE_H

#include "auth/account.h"
#include "auth/credential.h"

/* credential is NULL unless ACCOUNT_KNOWN, and valid during the call only. */
typedef void credential_done(
	enum account_answer answer, const struct credential *credential, void *arg, uint64_t token);

/* Starts a look-up, to be answered by credential_cache_answer() with this number: later, never from
 * within.  false: it cannot be started. */
typedef bool credential_ask(void *arg, uint64_t number);

struct credential_cache;

struct credential_cache *credential_cache_new(size_t entries_max, credential_ask *ask, void *arg)
	__attribute__((warn_unused_result));
void credential_cache_destroy(struct credential_cache **cache); /* waiters are not called */

/* Calls done exactly once, perhaps before it returns.  fresh: the answer must come from a look-up
 * that begins after this call.  number is valid. */
void credential_cache_get(struct credential_cache *cache, uint64_t number, bool fresh,
	uint64_t now_ms, credential_done *done, void *arg, uint64_t token);

/* The row as it was looked up last, trusted or not, unless it is older than age_ms or is known to
 * have changed since; see account_cache_remembered(). */
const struct credential *credential_cache_remembered(
	const struct credential_cache *cache, uint64_t number, uint64_t age_ms, uint64_t now_ms);

/* The end of a look-up.  Takes the credential (NULL unless ACCOUNT_KNOWN); calls all who waited. */
void credential_cache_answer(struct credential_cache *cache, uint64_t number,
	enum account_answer answer, struct credential *credential, uint64_t now_ms);

/* The database told that a credential, or that anything, has changed. */
void credential_cache_changed(struct credential_cache *cache, uint64_t number);
void credential_cache_changed_all(struct credential_cache *cache);

/* Whether every change is told by the two above.  false at the start. */
void credential_cache_feed(struct credential_cache *cache, bool fed);

size_t credential_cache_count(const struct credential_cache *cache);

#endif
