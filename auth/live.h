/* SPDX-License-Identifier: ISC */
/*
 * The live sessions by account, and those that must be looked at again because something changed.
 *
 * Owns the index and the order of the look-ups: one an account at a time, LIVE_IN_FLIGHT_MAX of
 * all, each begun after the change that asked for it; those that the database does not answer are
 * asked again every second until it does.  Knows nothing of what ends a session: the owner is given
 * the row and decides.  Time is a parameter.
 */
#ifndef AUTH_LIVE_H
#define AUTH_LIVE_H

#include "auth/account.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum { LIVE_IN_FLIGHT_MAX = 64, LIVE_RETRY_MS = 1000 };

struct live_account;

struct live_session { /* a part of the owner's session */
	LIST_ENTRY(live_session) link;
	struct live_account *of;
	uint64_t checked; /* the last round of its account that it has passed */
	uint16_t login_len;
	const uint8_t *login; /* the owner's: as it is looked up */
};

/* The row that the session is to be held to; NULL: its login is unknown.  May remove that very
 * session, and no other. */
typedef void live_check(struct live_session *session, const struct account *row, void *arg);

struct live;

struct live *live_new(struct row_cache *accounts, live_check *check, void *arg)
	__attribute__((warn_unused_result));
void live_destroy(struct live **live); /* when no session is left, and before the cache */

/* false: out of memory. */
bool live_add(struct live *live, struct live_session *session, uint64_t account)
	__attribute__((warn_unused_result));
void live_remove(struct live *live, struct live_session *session);

/* Checks one session by the row that is remembered and trusted, perhaps before it returns, or by a
 * look-up: a session that begins with a row that was looked up a while ago. */
void live_verify(struct live *live, struct live_session *session, uint64_t now_ms);

/* Checks all sessions of an account, or all there are, by look-ups that begin after this call. */
void live_changed(struct live *live, uint64_t account, uint64_t now_ms);
void live_changed_all(struct live *live, uint64_t now_ms);

/* Every second. */
void live_tick(struct live *live, uint64_t now_ms);

size_t live_waiting(const struct live *live); /* accounts that are not checked yet */

#endif
