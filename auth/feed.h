/* SPDX-License-Identifier: ISC */
/*
 * The change feed: what was changed in the database, told within a second of its commit.
 *
 * Owns a connection of its own that listens, and asks changes_since() whenever it heard something,
 * every FEED_POLL_MS besides, and first of all after each connect: a notification is a hint, and a
 * lost one costs no more than a poll's time.  Says whether memory may be trusted: as long as the
 * last poll that was answered began less than FEED_TRUST_MS ago.  Knows nothing of what is
 * remembered.
 */
#ifndef AUTH_FEED_H
#define AUTH_FEED_H

#include "auth/dsn.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	FEED_POLL_MS = 5 * 1000,
	FEED_TRUST_MS = 10 * 1000,
	FEED_RETRY_MS = 1000, /* after a poll that failed on a connection that stands */
};

/*
 * From the event loop, never from within a call of feed_open().  Of one poll: everything alone
 * (blocks and credentials are part of it), or credentials, then accounts, then blocks; then trust,
 * if that changed.  An account is told for a change of one of its credentials too.  on_epoch,
 * on_credential and on_blocks may be NULL.
 */
struct feed_events {
	void (*on_epoch)(void *arg); /* another server; everything follows */
	void (*on_everything)(void *arg);
	void (*on_credential)(uint64_t id, void *arg);
	void (*on_account)(uint64_t id, void *arg);
	void (*on_blocks)(void *arg);
	void (*on_trust)(bool trusted, void *arg); /* false at the start */
};

struct feed;

/* Starts connecting.  dsn and events stay the caller's and outlive it.  NULL: out of memory. */
struct feed *feed_open(struct event_base *base, const struct dsn *dsn,
	const struct feed_events *events, void *arg) __attribute__((warn_unused_result));
void feed_close(struct feed **feed); /* calls nobody */

#endif
