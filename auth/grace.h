/* SPDX-License-Identifier: ISC */
/*
 * What a plan lets an account send while the database is away, and the report of it afterwards.
 *
 * Owns the grants that the database does not know yet.  An account's grace is what its limits allow
 * it together until they are reported and the report is acknowledged: an outage that comes and goes
 * gives no more than a long one.  A grant whose message is not decided is not reported; one whose
 * message was refused never is.  Bounded in accounts and in grants.  Time is a parameter.
 */
#ifndef AUTH_GRACE_H
#define AUTH_GRACE_H

#include "auth/take_batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	GRACE_ACCOUNTS_MAX = 16384,
	GRACE_GRANTS_MAX = 65536,
	GRACE_RETRY_MS = 500,
	GRACE_REPORT_MAX = 256, /* in one call */
};

struct grace;

/* wake: grace_tick() is wanted then, or before. */
struct grace *grace_new(const struct take_lane *lanes, uint64_t node, uint64_t *seq,
	void (*wake)(uint64_t in_ms, void *arg), void *arg) __attribute__((warn_unused_result));
void grace_destroy(struct grace **grace); /* when no call is under way; the rest is logged */

/* Whether the limits declare a grace at all, and for everything that they limit. */
bool grace_declared(const struct account_meters *meters);

/* The number of a grant; 0: it is not granted.  The database is away: the caller's to know. */
uint64_t grace_take(struct grace *grace, const struct take_wanted *wanted)
	__attribute__((warn_unused_result));

/* Of a grant that was not ended: its message stays charged and is reported, or was refused. */
void grace_keep(struct grace *grace, uint64_t number);
void grace_drop(struct grace *grace, uint64_t number);

void grace_tick(struct grace *grace, uint64_t now_ms);

bool grace_idle(const struct grace *grace); /* nothing is to be reported */

#endif
