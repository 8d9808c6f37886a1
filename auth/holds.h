/* SPDX-License-Identifier: ISC */
/*
 * How many sessions an account may have, on all nodes together.
 *
 * Owns the count of each account's sessions here, and what the database holds of it: an absolute
 * number, for HOLDS_TRUST_MS, renewed each HOLDS_RENEW_MS.  A log-in of an account with a limit
 * waits for the higher number; an end lowers it afterwards.  While the database is away there may
 * be as many as it holds, as long as it holds them; log-ins beyond are put off, never let in.  A
 * session that there is already is counted and never ended for it.  Time is a parameter.
 */
#ifndef AUTH_HOLDS_H
#define AUTH_HOLDS_H

#include "auth/take_batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HOLDS_TRUST_MS = 90 * 1000,
	HOLDS_RENEW_MS = 30 * 1000,
	HOLDS_RETRY_MS = 1000,
	HOLDS_BATCH_MAX = 64, /* accounts in one call */
	HOLDS_CALLS_MAX = 4,  /* under way; an account is in one of them at most */
};

enum holds_answer {
	HOLDS_GRANTED = 1, /* and counted, until holds_end() */
	HOLDS_REFUSED,
	HOLDS_UNAVAILABLE,
};

typedef void holds_done(enum holds_answer answer, void *arg, uint64_t token);

struct holds;

/* wake: holds_tick() is wanted then, or before, and every second. */
struct holds *holds_new(const struct take_lane *lanes, uint64_t node,
	void (*wake)(uint64_t in_ms, void *arg), holds_done *done, void *arg)
	__attribute__((warn_unused_result));
void holds_destroy(struct holds **holds); /* when no call is under way; who waits is not told */

/* A session is about to begin; limit as of struct account_meters.  done is called once, perhaps
 * before this returns. */
void holds_ask(
	struct holds *holds, uint64_t account, int64_t limit, uint64_t token, uint64_t now_ms);

/* A session is there already.  false: no memory, it is not counted. */
bool holds_add(struct holds *holds, uint64_t account) __attribute__((warn_unused_result));

/* A session that was counted has ended. */
void holds_end(struct holds *holds, uint64_t account);

/* The account's limit as it is known now. */
void holds_limit(struct holds *holds, uint64_t account, int64_t limit);

void holds_tick(struct holds *holds, uint64_t now_ms);

size_t holds_count(const struct holds *holds, uint64_t account);
size_t holds_accounts(const struct holds *holds);

#endif
