/* SPDX-License-Identifier: ISC */
/*
 * Counts that are forgotten at a steady pace, without a time for each event; see guard_state.h.
 * A clock that went back forgives nothing.
 */
#include "auth/guard_state.h"

enum { MILLI = 1000 };

uint32_t bucket_read(const struct bucket *bucket, uint64_t forgive_ms, uint64_t now_ms)
{
	uint64_t elapsed = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;

	/* More than the count could hold: no overflow below. */
	if (elapsed / forgive_ms >= bucket->milli / MILLI + 1)
		return 0;
	uint64_t forgiven = elapsed * MILLI / forgive_ms;
	return forgiven >= bucket->milli ? 0 : bucket->milli - (uint32_t)forgiven;
}

void bucket_add(
	struct bucket *bucket, uint32_t milli, uint32_t max, uint64_t forgive_ms, uint64_t now_ms)
{
	uint64_t sum = (uint64_t)bucket_read(bucket, forgive_ms, now_ms) + milli;
	uint64_t most = (uint64_t)max * MILLI;

	bucket->milli = (uint32_t)(sum < most ? sum : most);
	bucket->at_ms = now_ms;
}

void bucket_take(struct bucket *bucket, uint64_t forgive_ms, uint64_t now_ms)
{
	uint32_t left = bucket_read(bucket, forgive_ms, now_ms);

	bucket->milli = left > MILLI ? left - MILLI : 0;
	bucket->at_ms = now_ms;
}

void bucket_raise(struct bucket *bucket, uint32_t milli, uint64_t forgive_ms, uint64_t now_ms)
{
	if (bucket_read(bucket, forgive_ms, now_ms) >= milli)
		return;
	bucket->milli = milli;
	bucket->at_ms = now_ms;
}
