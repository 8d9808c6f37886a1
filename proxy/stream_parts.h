/* SPDX-License-Identifier: ISC */
/*
 * What the stream's files share: stream.c moves octets both ways, stream_tls.c does the handshake
 * and each single read and write, stream_life.c opens and ends a stream.  Nobody else includes it.
 *
 * A callback may destroy the stream.  `alive` points at a flag on the caller's stack that
 * stream_destroy() clears.
 */
#ifndef PROXY_STREAM_PARTS_H
#define PROXY_STREAM_PARTS_H

#include "proxy/handshake_line.h"
#include "proxy/stream.h"

#include <sys/types.h>

enum { STREAM_BLOCK_BYTES = 16 * 1024 }; /* of one read, or one write in TLS */

enum stream_mode { MODE_CONNECTING, MODE_CLEAR, MODE_STARTING, MODE_HANDSHAKE, MODE_TLS };

struct stream {
	const struct stream_events *events;
	void *arg;
	struct event_base *base;
	SSL *ssl;
	struct evbuffer *in, *out;
	struct event readable, writable, again;
	struct handshake_place place;
	bool *alive;
	size_t accounted; /* our share of total_queued */
	size_t linger_bytes;
	int fd;
	enum stream_mode mode;
	bool paused, ended, was_full, secret, reading;
	bool resumed;          /* while octets were handed on that are not in `in` yet */
	bool read_wants_write; /* TLS: go on reading when the socket takes output, */
	bool write_wants_read; /* and the other way round (KeyUpdate) */
	bool finishing, shut;
};

/* ------------------------------------------------------------------- stream.c */

/* The events of every stream: the socket's two, and the timer of zero, or of the lingering. */
void stream_on_readable(evutil_socket_t fd, short what, void *arg);
void stream_on_writable(evutil_socket_t fd, short what, void *arg);
void stream_on_again(evutil_socket_t fd, short what, void *arg);

/* Its buffers changed: counts them anew among all that waits. */
void stream_account(struct stream *stream);

/* Whether it is read changed, perhaps: by its mode, its end, a pause, or what waits. */
void stream_update_reading(struct stream *stream);

/* What waits is looked at next turn, though no event of the socket may come. */
void stream_go_on_soon(struct stream *stream);

/* --------------------------------------------------------------- stream_tls.c */

/* One read, of STREAM_BLOCK_BYTES at most: octets, 0 at the peer's end, -1 nothing now, -2 failed.
 */
ssize_t stream_read_once(struct stream *stream, uint8_t *buffer);

/* One write: octets, -1 nothing now, -2 failed. */
ssize_t stream_write_once(struct stream *stream);

/* Octets that were read already and wait inside the SSL, where epoll does not see them. */
bool stream_has_hidden(const struct stream *stream);

/* MODE_STARTING, and the output has left: on to MODE_HANDSHAKE. */
void stream_begin_handshake(struct stream *stream);

/* The socket is readable or writable in MODE_HANDSHAKE. */
void stream_handshake(struct stream *stream);

/* -------------------------------------------------------------- stream_life.c */

/* The socket is writable in MODE_CONNECTING. */
void stream_connected(struct stream *stream);

/* Tells on_end once.  Returns false when the stream is gone. */
bool stream_tell_end(struct stream *stream, enum stream_end end);

/* All that was queued of a finishing stream has left: FIN, and the peer's answer to it is awaited.
 */
void stream_shut(struct stream *stream);

#endif
