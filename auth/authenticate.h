/* SPDX-License-Identifier: ISC */
/*
 * One log-in from frame to verdict: prepare, account, verified-login cache, hash pool, verdict.
 *
 * Owns the log-ins in flight and their secrets (in the slab, wiped on every way out), the equal
 * work and the equal time of all refusals, and the auth-failed line.  Knows nothing of channels:
 * peer and session are numbers that the verdict repeats.
 *
 * A secret of the generated form is decided by its keyed hash alone, for known and unknown logins
 * alike, and refused after the same time as any other.  Otherwise an unknown login, a disabled
 * account, one without a password, a malformed hash and a foreign authorization identity all run a
 * dummy hash of the configured cost and are refused like a wrong password, no earlier than the
 * slowest kind of hash lately seen would have taken.  Trouble of ours (database, pool, memory,
 * bounds, deadline) is UNAVAILABLE, never REFUSED.
 */
#ifndef AUTH_AUTHENTICATE_H
#define AUTH_AUTHENTICATE_H

#include "auth/account.h"
#include "auth/credential_cache.h"
#include "auth/credential_use.h"
#include "auth/hash_pool.h"
#include "auth/login_cache.h"
#include "auth/password.h"
#include "auth/rehash.h"
#include "common/ipc.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	AUTHENTICATE_DEADLINE_MS = 9500, /* the proxy gives up after 10 s: answer before */
	AUTHENTICATE_WAITING_MAX = 128,  /* log-ins that the guard slows down, all together */
};

/* Called once for each log-in that was started and not cancelled; perhaps before
 * authenticate_start() returns. */
typedef void authenticate_done(
	uint64_t peer, uint64_t session, const struct ipc_auth_verdict *verdict, void *arg);

struct authenticate_settings {
	struct row_cache *accounts;
	struct login_cache *verified;
	struct hash_pool *pool;
	struct guard *guard;
	/* Of generated secrets. */
	struct row_cache *credentials;
	const struct credential_keys *keys;
	struct credential_uses *uses;
	struct password_cost cost; /* of the dummy */
	uint64_t hash_budget;      /* bytes of all hashes at once; see hash_fits() */
	uint64_t outage_trust_ms;  /* rows that let in while the database is away; 0: none do */
	/* Stores a better hash of an account; see rehash.h.  For authenticate_stored(). */
	bool (*store)(
		void *arg, uint64_t token, const struct rehash_wanted *wanted, const char *new);
	authenticate_done *done;
	void *arg;
};

struct authenticate;

/* NULL: out of memory, or the cost is out of range. */
struct authenticate *authenticate_new(struct event_base *base,
	const struct authenticate_settings *settings) __attribute__((warn_unused_result));
void authenticate_destroy(struct authenticate **authenticate); /* done is not called */

/*
 * Starts a log-in and returns its token, for cancelling; 0: done was called already.  owner is the
 * proxy's index, for its place in the hash queue.  request stays the caller's, who wipes it.
 */
uint64_t authenticate_start(struct authenticate *authenticate, unsigned owner, uint64_t peer,
	uint64_t session, const struct ipc_auth_request *request, uint64_t now_ms);

/* The client or the channel is gone: done is not called, the secret is wiped now. */
void authenticate_cancel(struct authenticate *authenticate, uint64_t token);

/* hash_pool_done and the only user of the pool. */
void authenticate_hashed(const struct hash_pool_result *result, void *authenticate, uint64_t token);

/* The end of what settings.store began: whether the old hash was still there. */
void authenticate_stored(struct authenticate *authenticate, uint64_t token, bool stored);

size_t authenticate_count(const struct authenticate *authenticate);

#endif
