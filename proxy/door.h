/* SPDX-License-Identifier: ISC */
/*
 * Who may come in: sessions and unauthenticated sessions counted by network prefix, and one budget
 * for all unauthenticated ones, kept apart from the customers'.  When that budget is spent the
 * oldest stranger has to go (421), so a flood of connections that never log in costs each of them
 * its place and never a customer the door.
 *
 * And whose network is blocked, as auth tells.
 *
 * Pure bookkeeping of one process: no socket, no clock.
 */
#ifndef PROXY_DOOR_H
#define PROXY_DOOR_H

#include "common/address.h"
#include "common/config.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

/* A session's place in the line of strangers; embedded in it. */
struct door_place {
	TAILQ_ENTRY(door_place) entry;
	bool inside; /* counted at all */
	bool stranger;
};

struct door;

enum door_verdict {
	DOOR_OPEN,
	DOOR_BLOCKED,     /* auth, or the administrator, blocked its network */
	DOOR_CONNECTIONS, /* its prefix has as many sessions as it may */
	DOOR_STRANGERS,   /* ... as many that have not logged in */
};

struct door *door_new(const struct config_limits_set *limits); /* NULL: out of memory */
void door_free(struct door **door);

/* Whether one more may come from there; counts nothing. */
enum door_verdict door_ask(struct door *door, const struct address *client, uint64_t now_ms);

/* The list of blocked networks, a frame at a time; the old one holds until the new one is whole. */
void door_block(struct door *door, const struct ipc_block *block, uint64_t now_ms);
bool door_blocks(struct door *door, const struct address *client, uint64_t now_ms);

/* Counts a session as a stranger.  False: out of memory, not counted. */
bool door_enter(struct door *door, const struct address *client, struct door_place *place)
	__attribute__((warn_unused_result));

/* It logged in. */
void door_welcome(struct door *door, const struct address *client, struct door_place *place);

/* It is over; a place that never entered is allowed. */
void door_leave(struct door *door, const struct address *client, struct door_place *place);

size_t door_strangers(const struct door *door);
bool door_crowded(const struct door *door); /* more strangers than the budget */

/* The one that waits longest; NULL: none. */
struct door_place *door_oldest(const struct door *door);
struct door_place *door_next(struct door_place *place);

#endif
