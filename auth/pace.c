/* SPDX-License-Identifier: ISC */
/* Exponentially weighted means, 1/8 a sample; see pace.h. */
#include "auth/pace.h"

#include <stddef.h>

static uint64_t mix(uint64_t mean, uint64_t sample)
{
	if (sample > PACE_WALL_MAX_US)
		sample = PACE_WALL_MAX_US;
	return mean == 0 ? sample : mean - mean / 8 + sample / 8;
}

void pace_lookup(struct pace *pace, uint64_t wall_us)
{
	pace->lookup_us = mix(pace->lookup_us, wall_us);
}

/* The kind's own place, else the one unseen for the longest. */
static struct pace_kind *place(
	struct pace *pace, enum password_scheme scheme, const struct password_cost *cost)
{
	struct pace_kind *oldest = NULL;

	for (int i = 0; i < PACE_KINDS_MAX; i++) {
		struct pace_kind *kind = &pace->kinds[i];
		if (kind->scheme == scheme && kind->memory_bytes == cost->memory_bytes &&
			kind->passes == cost->passes)
			return kind;
		if (!kind->always && (oldest == NULL || kind->seen_ms < oldest->seen_ms))
			oldest = kind;
	}
	*oldest = (struct pace_kind){
		.scheme = scheme, .memory_bytes = cost->memory_bytes, .passes = cost->passes};
	return oldest;
}

void pace_expect(struct pace *pace, const struct password_cost *cost)
{
	struct pace_kind *kind = place(pace, PASSWORD_ARGON2ID, cost);

	kind->always = true;
	kind->guessed = true;
	kind->wall_us = cost->memory_bytes * cost->passes / 1000 * PACE_PS_A_BYTE / 1000;
}

void pace_hash(struct pace *pace, enum password_scheme scheme, const struct password_cost *cost,
	uint64_t wall_us, uint64_t now_ms)
{
	struct pace_kind *kind = place(pace, scheme, cost);

	kind->wall_us = mix(kind->guessed ? 0 : kind->wall_us, wall_us);
	kind->guessed = false;
	kind->seen_ms = now_ms;
}

uint64_t pace_slowest_us(const struct pace *pace, uint64_t now_ms)
{
	uint64_t slowest = 0;

	for (int i = 0; i < PACE_KINDS_MAX; i++) {
		const struct pace_kind *kind = &pace->kinds[i];
		if (kind->wall_us > slowest &&
			(kind->always || now_ms - kind->seen_ms < PACE_MEMORY_MS))
			slowest = kind->wall_us;
	}
	return slowest;
}
