/* SPDX-License-Identifier: ISC */
/*
 * Takes, gathered: many of them in one call to the database.
 *
 * Owns those that wait and those that were sent.  One that comes while nothing is under way leaves
 * at the next turn of the loop; others wait TAKE_GATHER_MS, or until TAKE_BATCH_MAX are there.  Two
 * lanes, a connection each, have one call at a time: one that waits for a locked row does not hold
 * up all others.  An element is never sent twice: a call that failed or whose end is unknown
 * answers all of its elements.  Decides nothing.  Time is a parameter.
 */
#ifndef AUTH_TAKE_BATCH_H
#define AUTH_TAKE_BATCH_H

#include "auth/account.h"
#include "auth/database.h"
#include "auth/recipients.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TAKE_BATCH_MAX = 64,
	TAKE_GATHER_MS = 2,
	TAKE_LANES = 2,
	TAKE_WAITING_MAX = 8192,
	TAKE_WAIT_MS = 1000, /* whoever waits longer to be sent has no time left for an answer */
	TAKE_DOMAIN_MAX = 255,
};

struct take_wanted {
	uint64_t token, account, credential; /* credential 0: by password */
	uint64_t bytes;
	uint32_t messages, recipients;
	const char *domain;           /* in lower case; "": none */
	struct recipients *whom;      /* NULL: not wanted */
	struct account_meters meters; /* as they were known last */
};

enum take_end {
	TAKE_DECIDED = 1, /* row and seq say what was decided */
	TAKE_AWAY,        /* it was never sent, and no lane has a database */
	TAKE_FAILED,      /* anything else: perhaps it is charged */
};

/* From take_batch_tick() or the database, never from within take_batch_add().  wanted and row (NULL
 * unless DECIDED) are valid during the call. */
typedef void take_batch_done(enum take_end end, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t seq, void *arg);

struct take_lane {
	database_ask *ask;
	struct database *database;
};

struct take_batch_settings {
	struct take_lane lanes[TAKE_LANES];
	uint64_t node;
	uint64_t *seq;                           /* the last one used; shared with other calls */
	void (*wake)(uint64_t in_ms, void *arg); /* take_batch_tick() is wanted then, or before */
	take_batch_done *done;
	void *arg;
};

struct take_batch;

struct take_batch *take_batch_new(const struct take_batch_settings *settings)
	__attribute__((warn_unused_result));
/* When no call is under way; those that wait are not told. */
void take_batch_destroy(struct take_batch **batch);

/* Takes a copy of wanted, with a reference of its own.  true: done is called once.  false: there
 * are too many, or there is no memory. */
bool take_batch_add(struct take_batch *batch, const struct take_wanted *wanted, uint64_t now_ms)
	__attribute__((warn_unused_result));

/* Whether a lane's connection stands. */
void take_batch_lane(struct take_batch *batch, size_t lane, bool ready);

void take_batch_tick(struct take_batch *batch, uint64_t now_ms);

bool take_batch_idle(const struct take_batch *batch); /* nothing waits or is under way */

#endif
