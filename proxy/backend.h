/* SPDX-License-Identifier: ISC */
/*
 * One connection to a backend server: greeting, EHLO or HELO, then commands and their replies in
 * order.  Credits each reply to the oldest command that is owed one, and to nothing else: octets
 * that come when none is owed end the connection.  Bounded in replies, in time (RFC 5321 4.5.3.2,
 * from the configuration) and in what waits to be sent.
 *
 * Knows nothing of clients but the local replies that keep their place between the backend's.
 */
#ifndef PROXY_BACKEND_H
#define PROXY_BACKEND_H

#include "common/capability.h"
#include "common/config.h"
#include "common/smtp_reply.h"
#include "proxy/replies.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

enum backend_command {
	BACKEND_MAIL,
	BACKEND_RCPT,
	BACKEND_DATA,
	BACKEND_CHUNK, /* a BDAT that is not the last */
	BACKEND_END,   /* the end of data, or the last BDAT */
	BACKEND_RSET,
	BACKEND_LOCAL, /* no command: a reply of ours whose turn comes */
};

enum { BACKEND_PENDING_MAX = 128, BACKEND_IDLE_MS = 10000 };

struct backend;

struct backend_events { /* all from the loop; each may close the backend */
	void (*on_ready)(void *arg);
	/* Before it was ready: nothing of a client was said, another server may be tried. */
	void (*on_failed)(const char *reason, void *arg);
	void (*on_reply)(enum backend_command command, const struct smtp_reply *reply, void *arg);
	void (*on_local)(enum reply_id reply, void *arg);
	/* A reply while a body streams and none was owed: the backend ends the message early. */
	void (*on_early)(const struct smtp_reply *reply, void *arg);
	/* After it was ready: whatever was owed is lost.  reason is a word or few for the log. */
	void (*on_lost)(const char *reason, void *arg);
	void (*on_drained)(void *arg);
	/* It was at rest for BACKEND_IDLE_MS: close it, and open anew at the next MAIL. */
	void (*on_idle)(void *arg);
};

/* Begins to connect.  NULL: out of memory or no socket; errno. */
struct backend *backend_open(struct event_base *base, const struct config *config,
	const struct config_backend *where, size_t server, const struct backend_events *events,
	void *arg) __attribute__((warn_unused_result));

/* QUIT when the dialogue is at rest, else as abort; NULL-safe, sets the pointer to NULL. */
void backend_close(struct backend **backend);
/* Closes without a word: a message that was begun must not be completed.  NULL-safe. */
void backend_abort(struct backend **backend);

bool backend_ready(const struct backend *backend);
bool backend_pipelining(const struct backend *backend);
const struct capability_set *backend_capabilities(const struct backend *backend);
const struct address *backend_address(const struct backend *backend);

/* Connections of this process, each with a descriptor. */
size_t backend_count(void);

/* Replies owed and local replies that wait behind them. */
size_t backend_owed(const struct backend *backend);
bool backend_room(const struct backend *backend); /* one more command may be sent */

/* Its replies are not read while somebody else does not read what they became. */
void backend_pause(struct backend *backend, bool paused);

/* Sends a whole command with its CRLF; backend_room() first. */
void backend_send(
	struct backend *backend, enum backend_command command, const char *bytes, size_t len);

/* A local reply behind those owed; only while some are. */
void backend_queue_local(struct backend *backend, enum reply_id reply);

/*
 * After on_lost: what was owed, oldest first, so that each client command gets its answer.  False:
 * nothing more.  *local_out is set for BACKEND_LOCAL.
 */
bool backend_next_lost(
	struct backend *backend, enum backend_command *command_out, enum reply_id *local_out);

/*
 * At rest: the next MAIL needs another connection.  It took as many as its LIMITS allow in one, or
 * the server has ended it, or said something, meanwhile: asks the kernel, since the loop may not
 * have come to it.
 */
bool backend_spent(const struct backend *backend);

/*
 * In on_lost: the connection had served before, and ended in answer to MAIL, as one does that the
 * server (or something on the way) gave up while it was idle.  No octet of a reply came and nothing
 * else was sent.  MAIL has no effect before its reply (RFC 5321 3.3), so it may be sent once more
 * on a new connection.
 */
bool backend_was_stale(const struct backend *backend);

/* No transaction is under way: on_idle may come. */
void backend_set_idle(struct backend *backend, bool idle);

/* After 354: the body.  Appends to the buffer, then flush; full: stop until on_drained. */
void backend_begin_body(struct backend *backend);
struct evbuffer *backend_body(struct backend *backend);
void backend_flush_body(struct backend *backend);
bool backend_full(const struct backend *backend);

/* The end of data ".\r\n"; its reply comes as BACKEND_END. */
void backend_end_body(struct backend *backend);

/* In place of a body: BDAT with the first len octets, which are taken out.  Its reply comes as
 * BACKEND_CHUNK, the last one's as BACKEND_END.  backend_room() first. */
void backend_send_chunk(struct backend *backend, struct evbuffer *octets, size_t len, bool last);

#endif
