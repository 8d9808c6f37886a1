/* SPDX-License-Identifier: ISC */
/*
 * A table of fixed size from a 16-octet key to a fixed record: what the guard remembers.
 *
 * All memory is asked for once; the kernel gives pages as they are touched.  When the table is full
 * the least worth of the GUARD_TABLE_CANDIDATES longest unused records makes room and the others
 * get a second life, so a flood of new, light records washes out its own kind and not the heavy
 * ones.  Every operation is O(1).  Changed records queue up for saving.
 *
 * Keys are keyed digests: nobody can choose them so that they collide.
 */
#ifndef AUTH_GUARD_TABLE_H
#define AUTH_GUARD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GUARD_KEY_BYTES = 16, GUARD_TABLE_CANDIDATES = 8 };

struct guard_table;

/* What a record is worth keeping now; 0 is nothing. */
typedef uint64_t guard_table_worth(const void *record, uint64_t now_ms, void *arg);

struct guard_table *guard_table_new(
	size_t capacity, size_t record_size, guard_table_worth *worth, void *arg);
void guard_table_destroy(struct guard_table **table);
void guard_table_clear(struct guard_table *table);

/* NULL: not there.  Valid until the next guard_table_put() or clear(). */
void *guard_table_get(struct guard_table *table, const uint8_t key[GUARD_KEY_BYTES]);

/* The record, made of zeroes when it was not there; either way the most recently used. */
void *guard_table_put(
	struct guard_table *table, const uint8_t key[GUARD_KEY_BYTES], uint64_t now_ms);

/* The record changed in a way that is worth saving. */
void guard_table_mark(struct guard_table *table, const void *record);

/* Takes the one that waits longest for saving out of the queue; NULL: none. */
const void *guard_table_next_marked(struct guard_table *table, uint8_t key_out[GUARD_KEY_BYTES]);

size_t guard_table_count(const struct guard_table *table);
size_t guard_table_marked(const struct guard_table *table);

#endif
