/* SPDX-License-Identifier: ISC */
/*
 * What the guard keeps, as the database has it: records in, records out, the list of blocks.
 *
 * Pure: texts and octets; serve_guard.c sends and fetches them.  What the database says is checked
 * like a peer's word: it is shared by all nodes.
 */
#ifndef AUTH_GUARD_STORE_H
#define AUTH_GUARD_STORE_H

#include "auth/guard.h"

enum { GUARD_STORE_RECORD_BYTES = 53 }; /* of guard_load() */

/* Takes the seed and the records of guard_load().  false: not of that shape; nothing was taken. */
bool guard_store_load(struct guard *guard, const uint8_t *seed, size_t seed_len,
	const uint8_t *records, size_t len, uint64_t now_ms) __attribute__((warn_unused_result));

/* The argument of guard_save(), for free(); NULL: out of memory. */
char *guard_store_text(const struct guard_record *records, size_t count)
	__attribute__((warn_unused_result));

/*
 * Reads the list of blocks(): "network until,network until", until in seconds since 1970, where now
 * is now_s.  Calls take for each that has not ended.  false: not of that form, at which it stops.
 */
bool guard_store_blocks(const uint8_t *list, size_t len, uint64_t now_s,
	void (*take)(const struct network *network, uint64_t for_ms, void *arg), void *arg)
	__attribute__((warn_unused_result));

#endif
