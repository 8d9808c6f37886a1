/* SPDX-License-Identifier: ISC */
/*
 * Bytes over TCP, in the clear or in TLS: reading, writing, back-pressure, the handshake, and a
 * close that lets the peer read the last reply.  Knows nothing of SMTP and has no deadlines but its
 * own lingering; one callback a kind of event, all from the loop.
 *
 * Reading goes on while fewer than STREAM_IN_MAX octets wait unconsumed and nobody paused it, so
 * the owner learns of a peer that left even while it does not consume.  One turn takes at most
 * STREAM_TURN_BYTES of one stream; handshakes take turns (handshake_line.h).
 */
#ifndef PROXY_STREAM_H
#define PROXY_STREAM_H

#include "common/address.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	STREAM_IN_MAX = 16 * 1024,   /* unconsumed input, beyond one read of the same size */
	STREAM_OUT_HIGH = 64 * 1024, /* stream_full() from here on ... */
	STREAM_OUT_LOW = 16 * 1024,  /* ... and on_drained when it has fallen to this */
	STREAM_TURN_BYTES = 64 * 1024,
	STREAM_LINGER_MS = 2000,
	STREAM_LINGER_BYTES = 64 * 1024,
};

struct stream;

enum stream_end {
	STREAM_EOF,   /* the peer sent its end: it may still read */
	STREAM_ERROR, /* reset, a TLS failure, out of memory: nothing more can be said */
};

struct stream_events {
	/*
	 * len octets that have not been consumed; returns how many are now.  The rest comes again
	 * with what arrives later, or at stream_resume().  The callback may close the stream (and
	 * then return anything).
	 */
	size_t (*on_bytes)(const uint8_t *bytes, size_t len, void *arg);
	void (*on_connected)(void *arg); /* stream_connect() only */
	void (*on_secure)(void *arg);    /* the handshake is done; may be NULL */
	void (*on_drained)(
		void *arg); /* output was at or above HIGH and is at or below LOW again */
	void (*on_end)(enum stream_end end, void *arg); /* once */
};

/* Takes over a connected socket.  NULL: out of memory, fd closed. */
struct stream *stream_open(struct event_base *base, int fd, const struct stream_events *events,
	void *arg) __attribute__((warn_unused_result));

/*
 * Starts to connect, from source when that has a length; on_connected or on_end follows from the
 * loop.  NULL: no socket or no memory, errno says which.
 */
struct stream *stream_connect(struct event_base *base, const struct address *peer,
	const struct address *source, const struct stream_events *events, void *arg)
	__attribute__((warn_unused_result));

/*
 * Begins a handshake as the server, as soon as the output written so far has left.  Unconsumed
 * input is an injection (RFC 3207 4.2) and a programmer's error here: check stream_pending() first.
 * Takes ownership of ssl.
 */
void stream_start_tls(struct stream *stream, SSL *ssl);
const SSL *stream_tls(const struct stream *stream); /* NULL: clear */

void stream_write(struct stream *stream, const void *bytes, size_t len);
/* For producers that append themselves; call stream_flush() afterwards. */
struct evbuffer *stream_output(struct stream *stream);
void stream_flush(struct stream *stream);
/* Who is told that it is full hears of on_drained. */
bool stream_full(struct stream *stream);
size_t stream_queued(const struct stream *stream);  /* output not yet given to the kernel */
size_t stream_pending(const struct stream *stream); /* input not consumed */
/* Whether the peer has sent anything that was not consumed, read so far or not. */
bool stream_has_input(const struct stream *stream);
/* ... or its end, or a reset, that the loop has not told yet: asks the kernel. */
bool stream_is_quiet(const struct stream *stream);

/* Whatever stays unconsumed now is offered again next turn, though nothing new came. */
void stream_deliver_later(struct stream *stream);

/* Stops and restarts reading (back-pressure); resume offers what waits again, from the loop. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* While set, whatever is read is wiped after it was handed on (log-ins come this way). */
void stream_set_secret(struct stream *stream, bool secret);

/* Closes at once, no callback; NULL-safe. */
void stream_destroy(struct stream **stream);

/*
 * Lets go of the stream: what is queued is sent, then close_notify and FIN; input is discarded
 * until the peer's own end, STREAM_LINGER_MS or STREAM_LINGER_BYTES, so that the last reply is read
 * and not reset.  No callback afterwards.  NULL-safe.
 */
void stream_finish(struct stream **stream);

/* Lingering streams of this process, each with a descriptor. */
size_t stream_lingering(void);

/*
 * While more octets than this wait in all streams together, a stream counts as full at
 * STREAM_OUT_LOW already: the largest holders pause.  0: never.
 */
void stream_set_pressure(uint64_t bytes);

/* Octets waiting in all streams of this process, in and out. */
uint64_t stream_total_queued(void);
/* ... and in a buffer of somebody else's on their way to one: *counted is what it is counted with.
 */
void stream_count_queued(size_t *counted, size_t now);

#endif
