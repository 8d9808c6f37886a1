/* SPDX-License-Identifier: ISC */
/*
 * The socket and the TLS on it: the handshake, and a single read or write in the clear or not; see
 * stream_parts.h.  What is done with the octets is stream.c's.
 *
 * Not bufferevent_openssl: it held a third more resident memory an idle session, and hides bytes
 * across STARTTLS.  Read-ahead is on, so bytes can wait inside the SSL where epoll does not see
 * them: every deliberate stop with stream_has_hidden() goes on by a timer of zero.  A write that
 * OpenSSL put off must be repeated with the same bytes: the output is only ever appended to and
 * drained by what was written.
 */
#include "proxy/stream_parts.h"

#include "common/counters.h"
#include "common/log.h"

#include <errno.h>
#include <openssl/err.h>
#include <stddef.h>

/* -------------------------------------------------------------- reads and writes */

ssize_t stream_read_once(struct stream *stream, uint8_t *buffer)
{
	size_t n = 0;

	if (stream->mode != MODE_TLS) {
		ssize_t got = recv(stream->fd, buffer, STREAM_BLOCK_BYTES, 0);
		if (got >= 0)
			return got;
		return errno == EAGAIN || errno == EINTR ? -1 : -2;
	}
	ERR_clear_error();
	if (SSL_read_ex(stream->ssl, buffer, STREAM_BLOCK_BYTES, &n) == 1)
		return (ssize_t)n;
	switch (SSL_get_error(stream->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
		return -1;
	case SSL_ERROR_WANT_WRITE:
		stream->read_wants_write = true;
		event_add(&stream->writable, NULL);
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return -2;
	}
}

ssize_t stream_write_once(struct stream *stream)
{
	size_t n = 0, len = evbuffer_get_length(stream->out);

	if (stream->mode != MODE_TLS) {
		int written = evbuffer_write(stream->out, stream->fd);
		if (written >= 0)
			return written;
		return errno == EAGAIN || errno == EINTR ? -1 : -2;
	}
	if (len > STREAM_BLOCK_BYTES)
		len = STREAM_BLOCK_BYTES;
	ERR_clear_error();
	if (SSL_write_ex(stream->ssl, evbuffer_pullup(stream->out, (ssize_t)len), len, &n) == 1) {
		evbuffer_drain(stream->out, n);
		return (ssize_t)n;
	}
	switch (SSL_get_error(stream->ssl, 0)) {
	case SSL_ERROR_WANT_WRITE:
		return -1;
	case SSL_ERROR_WANT_READ:
		stream->write_wants_read = true;
		return -1;
	default:
		return -2;
	}
}

bool stream_has_hidden(const struct stream *stream)
{
	return stream->mode == MODE_TLS && SSL_has_pending(stream->ssl);
}

/* --------------------------------------------------------------------- the handshake */

void stream_start_tls(struct stream *stream, SSL *ssl)
{
	require(stream->ssl == NULL && stream->mode == MODE_CLEAR);
	stream->ssl = ssl;
	stream->mode = MODE_STARTING;
	stream_update_reading(stream);
	if (evbuffer_get_length(stream->out) == 0)
		stream_begin_handshake(stream);
}

const SSL *stream_tls(const struct stream *stream)
{
	return stream->mode == MODE_TLS ? stream->ssl : NULL;
}

void stream_begin_handshake(struct stream *stream)
{
	stream->mode = MODE_HANDSHAKE;
	stream_update_reading(stream);
	if (SSL_set_fd(stream->ssl, stream->fd) != 1)
		stream_tell_end(stream, STREAM_ERROR);
}

/* One step: what has come of the peer's flight. */
static void shake(struct stream *stream)
{
	bool alive = true;

	ERR_clear_error();
	int done = SSL_accept(stream->ssl);
	if (done != 1) {
		int error = SSL_get_error(stream->ssl, done);
		if (error == SSL_ERROR_WANT_READ)
			return;
		if (error == SSL_ERROR_WANT_WRITE) {
			event_add(&stream->writable, NULL);
			return;
		}
		/* Who left before he said anything looked whether the port is open. */
		if (BIO_number_read(SSL_get_rbio(stream->ssl)) > 0)
			counter_add(COUNTER_HANDSHAKES_FAILED, 1);
		stream_tell_end(stream, STREAM_ERROR);
		return;
	}
	stream->mode = MODE_TLS;
	counter_add(COUNTER_HANDSHAKES, 1);
	if (SSL_session_reused(stream->ssl))
		counter_add(COUNTER_HANDSHAKES_RESUMED, 1);
	stream->alive = &alive;
	stream->events->on_secure(stream->arg);
	if (!alive)
		return;
	stream->alive = NULL;
	if (stream_has_hidden(stream))
		stream_go_on_soon(stream);
}

static void on_turn(struct handshake_place *place)
{
	struct stream *stream =
		(struct stream *)(void *)((char *)place - offsetof(struct stream, place));

	stream_update_reading(stream);
	shake(stream);
}

/* Who waits in line is not read: the kernel would tell of him every turn. */
void stream_handshake(struct stream *stream)
{
	if (stream->place.waiting)
		return;
	if (handshake_line_ask(stream->base, &stream->place, on_turn))
		shake(stream);
	else
		stream_update_reading(stream);
}
