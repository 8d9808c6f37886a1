/* SPDX-License-Identifier: ISC */
/*
 * Takes batches from the spool into the books, one after the other.
 *
 * A batch is named by node, boot and number, and the database takes each name once: so one that was
 * sent and never answered is sent again as it was, by this process or by the next, until it is
 * known to be there.  Nothing is ever given up: what the database does not take stays in the spool.
 */
#ifndef AUTH_USAGE_H
#define AUTH_USAGE_H

#include "auth/database.h"
#include "auth/spool.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	USAGE_PAUSE_MIN_MS = 1000, /* after a batch that was not taken */
	USAGE_PAUSE_MAX_MS = 30 * 1000,
	USAGE_MAINTAIN_MS = 3600 * 1000,
};

struct usage;

struct usage_settings {
	struct spool *spool;
	/* database_query(), and a connection of its own: a long call here holds up nobody else. */
	database_ask *ask;
	struct database *database;
};

/* All of it stays the caller's.  NULL: out of memory. */
struct usage *usage_new(const struct usage_settings *settings) __attribute__((warn_unused_result));

/* Only when neither the spool nor the database will call back any more. */
void usage_destroy(struct usage **usage);

/* There is a batch, or the connection. */
void usage_look(struct usage *usage, uint64_t now_ms);

/* Every second: what waits for its time; each hour the upkeep of the books. */
void usage_tick(struct usage *usage, uint64_t now_ms);

#endif
