/* SPDX-License-Identifier: ISC */
/*
 * How long a refusal must take: a running estimate of what a look-up and each kind of stored hash
 * cost lately.  The slowest kind in use decides (design: equal time for every refusal), and not by
 * its mean: a hash that takes longer than the pace shows in the time of its own kind alone.  So it
 * is the mean and four deviations, as RFC 6298 waits for a round trip.  Pure; time is a parameter.
 */
#ifndef AUTH_PACE_H
#define AUTH_PACE_H

#include "auth/password.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	PACE_KINDS_MAX = 8,
	PACE_MEMORY_MS = 10 * 60 * 1000, /* a kind not seen for so long is no longer in use */
	PACE_PS_A_BYTE = 600, /* a guess: what Argon2id takes for a byte and pass, in picoseconds */
	PACE_DEVIATIONS = 4,
	PACE_WALL_MAX_US = 2 * 1000 * 1000, /* a single measurement counts no more than this */
};

struct pace_kind {
	enum password_scheme scheme;
	uint64_t memory_bytes;
	unsigned passes;
	uint64_t wall_us, deviation_us; /* mean, and mean distance from it */
	uint64_t seen_ms;
	bool always;  /* in use as long as the process lives */
	bool guessed; /* not measured yet */
};

struct pace {
	uint64_t lookup_us;
	struct pace_kind kinds[PACE_KINDS_MAX];
};

void pace_lookup(struct pace *pace, uint64_t wall_us);

/*
 * The kind of the dummy: in use whatever was seen lately, and guessed at until it is measured.  A
 * wrong password against a cheap hash waits as long as an unknown name from the first log-in on.
 */
void pace_expect(struct pace *pace, const struct password_cost *cost);

void pace_hash(struct pace *pace, enum password_scheme scheme, const struct password_cost *cost,
	uint64_t wall_us, uint64_t now_ms);

/* What nearly all hashes of the slowest kind keep below; 0: nothing was measured. */
uint64_t pace_slowest_us(const struct pace *pace, uint64_t now_ms);

#endif
