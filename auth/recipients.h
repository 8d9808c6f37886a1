/* SPDX-License-Identifier: ISC */
/*
 * Whom a message is for, as hashes: gathered from the proxy's frames before its take, and kept with
 * the take, for a give-back names them again.  Counted references, one thread.
 */
#ifndef AUTH_RECIPIENTS_H
#define AUTH_RECIPIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECIPIENTS_MAX = 10 * 1000 }; /* of one message */

struct recipients {
	unsigned references;
	uint32_t count, room;
	uint64_t hash[];
};

/* Appends; *recipients may be NULL, and is another one afterwards.  It has one reference, the
 * caller's.  false: more than max (RECIPIENTS_MAX at most), or out of memory; unchanged. */
bool recipients_add(struct recipients **recipients, const uint64_t *hash, size_t count, size_t max)
	__attribute__((warn_unused_result));

struct recipients *recipients_ref(struct recipients *recipients); /* NULL-safe */
void recipients_unref(struct recipients **recipients);            /* NULL-safe; sets it to NULL */

#endif
