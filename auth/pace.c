/* SPDX-License-Identifier: ISC */
/* Exponentially weighted means, 1/8 a sample; see pace.h. */
#include "auth/pace.h"

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
static struct pace_kind *place(struct pace *pace, uint64_t memory_bytes, unsigned passes)
{
	struct pace_kind *oldest = &pace->kinds[0];

	for (int i = 0; i < PACE_KINDS_MAX; i++) {
		struct pace_kind *kind = &pace->kinds[i];
		if (kind->memory_bytes == memory_bytes && kind->passes == passes)
			return kind;
		if (kind->seen_ms < oldest->seen_ms)
			oldest = kind;
	}
	*oldest = (struct pace_kind){.memory_bytes = memory_bytes, .passes = passes};
	return oldest;
}

void pace_hash(struct pace *pace, uint64_t memory_bytes, unsigned passes, uint64_t wall_us,
	uint64_t now_ms)
{
	struct pace_kind *kind = place(pace, memory_bytes, passes);

	kind->wall_us = mix(kind->wall_us, wall_us);
	kind->seen_ms = now_ms;
}

uint64_t pace_slowest_us(const struct pace *pace, uint64_t now_ms)
{
	uint64_t slowest = 0;

	for (int i = 0; i < PACE_KINDS_MAX; i++) {
		const struct pace_kind *kind = &pace->kinds[i];
		if (kind->wall_us > slowest && now_ms - kind->seen_ms < PACE_MEMORY_MS)
			slowest = kind->wall_us;
	}
	return slowest;
}
