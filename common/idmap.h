/* SPDX-License-Identifier: ISC */
/*
 * A map from 64-bit id to pointer.  Asynchronous answers find their session through it; an id that
 * is gone means that the session is gone.  Owns its nodes, never the values.  One thread.
 */
#ifndef COMMON_IDMAP_H
#define COMMON_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idmap;

struct idmap *idmap_new(void); /* NULL: out of memory */
void idmap_destroy(struct idmap **map);

/* Returns false when out of memory.  The id must not be there yet (a programmer's error). */
bool idmap_put(struct idmap *map, uint64_t id, void *value) __attribute__((warn_unused_result));
void *idmap_get(const struct idmap *map, uint64_t id); /* NULL: not there */
void *idmap_take(struct idmap *map, uint64_t id);      /* removes; NULL: not there */
size_t idmap_count(const struct idmap *map);

/* Calls each value once; the callback may take that very id, and no other. */
void idmap_each(struct idmap *map, void (*each)(uint64_t id, void *value, void *arg), void *arg);

#endif
