/* SPDX-License-Identifier: ISC */
/*
 * What was granted here in the last GRANTS_MEMORY_MS, for a server that may have lost it.
 *
 * A standby that takes over asynchronously lacks the last moments.  When the epoch changes, all
 * grants that are remembered are charged anew: the database counts a (node, seq) that it knows no
 * second time.  What was given back before is left out.  Bounded; the oldest go first.  Time is a
 * parameter.
 */
#ifndef AUTH_GRANTS_H
#define AUTH_GRANTS_H

#include "auth/charge.h"

enum {
	GRANTS_MEMORY_MS = 60 * 1000,
	GRANTS_RETRY_MS = 500,
	GRANTS_BYTES_MAX = 32 * 1024 * 1024,
};

struct grants;

/* wake: grants_tick() is wanted then, or before, and every second. */
struct grants *grants_new(const struct take_lane *lanes, uint64_t node,
	void (*wake)(uint64_t in_ms, void *arg), void *arg) __attribute__((warn_unused_result));
void grants_destroy(struct grants **grants); /* when no call is under way */

/* key: the owner's, used once.  All of one seq come one after the other. */
void grants_put(struct grants *grants, uint64_t key, const struct charge *charge, uint64_t now_ms);

/* So much of it was given back.  Not of one that is being charged anew: the give-back that came
 * then was the new server's. */
void grants_less(struct grants *grants, uint64_t key, uint32_t messages, uint32_t recipients,
	uint64_t bytes);

/* Another server took over. */
void grants_reassert(struct grants *grants);

void grants_tick(struct grants *grants, uint64_t now_ms);

bool grants_idle(const struct grants *grants); /* nothing is being charged anew */
size_t grants_count(const struct grants *grants);

#endif
