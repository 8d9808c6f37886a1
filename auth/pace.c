/* SPDX-License-Identifier: ISC */
/* Exponentially weighted means, 1/8 a sample; see pace.h. */
#include "auth/pace.h"

#include <stddef.h>

static uint64_t capped(uint64_t sample)
{
	return sample > PACE_WALL_MAX_US ? PACE_WALL_MAX_US : sample;
}

static uint64_t mix(uint64_t mean, uint64_t sample)
{
	return mean == 0 ? sample : mean - mean / 8 + sample / 8;
}

void pace_lookup(struct pace *pace, uint64_t wall_us)
{
	pace->lookup_us = mix(pace->lookup_us, capped(wall_us));
}

/* What nearly all hashes of a kind keep below; 0: it is not in use. */
static uint64_t most_us(const struct pace_kind *kind, uint64_t now_ms)
{
	if (!kind->always && now_ms - kind->seen_ms >= PACE_MEMORY_MS)
		return 0;
	return capped(kind->wall_us + PACE_DEVIATIONS * kind->deviation_us);
}

/* The kind's own place, else that of the quickest: the slow ones are what counts, until they are
 * out of use and read as nothing. */
static struct pace_kind *place(struct pace *pace, enum password_scheme scheme,
	const struct password_cost *cost, uint64_t now_ms)
{
	struct pace_kind *quickest = NULL;

	for (int i = 0; i < PACE_KINDS_MAX; i++) {
		struct pace_kind *kind = &pace->kinds[i];
		if (kind->scheme == scheme && kind->memory_bytes == cost->memory_bytes &&
			kind->passes == cost->passes)
			return kind;
		if (!kind->always &&
			(quickest == NULL || most_us(kind, now_ms) < most_us(quickest, now_ms)))
			quickest = kind;
	}
	*quickest = (struct pace_kind){
		.scheme = scheme, .memory_bytes = cost->memory_bytes, .passes = cost->passes};
	return quickest;
}

void pace_expect(struct pace *pace, const struct password_cost *cost)
{
	struct pace_kind *kind = place(pace, PASSWORD_ARGON2ID, cost, 0);

	kind->always = true;
	kind->guessed = true;
	kind->wall_us = cost->memory_bytes * cost->passes / 1000 * PACE_PS_A_BYTE / 1000;
}

void pace_hash(struct pace *pace, enum password_scheme scheme, const struct password_cost *cost,
	uint64_t wall_us, uint64_t now_ms)
{
	struct pace_kind *kind = place(pace, scheme, cost, now_ms);

	uint64_t sample = capped(wall_us);

	if (kind->wall_us == 0 || kind->guessed) {
		kind->wall_us = sample;
		kind->deviation_us = sample / 4; /* until more is known */
	} else {
		uint64_t off =
			sample > kind->wall_us ? sample - kind->wall_us : kind->wall_us - sample;
		kind->deviation_us = kind->deviation_us - kind->deviation_us / 8 + off / 8;
		kind->wall_us = mix(kind->wall_us, sample);
	}
	kind->guessed = false;
	kind->seen_ms = now_ms;
}

uint64_t pace_slowest_us(const struct pace *pace, uint64_t now_ms)
{
	uint64_t slowest = 0;

	for (int i = 0; i < PACE_KINDS_MAX; i++) {
		const struct pace_kind *kind = &pace->kinds[i];
		uint64_t kind_us = most_us(kind, now_ms);
		if (kind_us > slowest)
			slowest = kind_us;
	}
	return slowest;
}
