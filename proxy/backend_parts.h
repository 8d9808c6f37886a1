/* SPDX-License-Identifier: ISC */
/*
 * What the backend's files share: backend.c has the connection, its states, deadlines and ends,
 * backend_dialogue.c what is said on it.  Nobody else includes it.
 */
#ifndef PROXY_BACKEND_PARTS_H
#define PROXY_BACKEND_PARTS_H

#include "proxy/backend.h"
#include "proxy/stream.h"

#include <event2/event_struct.h>
#include <stdint.h>

enum backend_state {
	STATE_CONNECTING,
	STATE_GREETING,
	STATE_EHLO,
	STATE_HELO,
	STATE_READY,
	STATE_BODY,
	STATE_ENDING, /* the end of data, or the last BDAT, was sent */
	STATE_DEAD,   /* on_failed or on_lost was told */
};

struct pending {
	uint8_t command; /* enum backend_command */
	uint8_t local;   /* enum reply_id */
};
_Static_assert(REPLY_COUNT <= UINT8_MAX, "a reply id fits its byte");

struct backend {
	const struct backend_events *events;
	void *arg;
	const struct config *config;
	const struct config_backend *where;
	size_t server;
	struct stream *stream;
	struct event timer;
	uint64_t deadline_ms, timer_ms; /* as a session's: the timer may fire early */
	enum backend_state state;
	struct capability_set capabilities;
	struct smtp_reply reply;
	struct pending pending[BACKEND_PENDING_MAX]; /* a ring */
	size_t first, count, owed;                   /* owed: without the local ones */
	unsigned mails;                              /* MAIL commands sent */
	bool idle;                                   /* no transaction */
	bool ended;                                  /* by the server, not by us */
	bool aborted;                                /* memory goes when depth is 0 */
	unsigned depth;                              /* callbacks of the owner under way */
};

/* ------------------------------------------------------------------ backend.c */

/* The only way to change the state. */
void backend_set_state(struct backend *backend, enum backend_state state);

/* Sets the deadline of the state, from now. */
void backend_arm(struct backend *backend);

/* Tells the owner once; it closes the backend then or later. */
void backend_die(struct backend *backend, const char *reason);

/* Around a callback, which may abort the backend.  leave is false then: it must not be touched. */
void backend_enter(struct backend *backend);
bool backend_leave(struct backend *backend) __attribute__((warn_unused_result));

/* --------------------------------------------------------- backend_dialogue.c */

/* What came from the server: the stream's on_bytes. */
size_t backend_on_bytes(const uint8_t *bytes, size_t len, void *arg);

#endif
