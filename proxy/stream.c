/* SPDX-License-Identifier: ISC */
/*
 * Octets in and out of a stream, on plain libevent events and evbuffers: who is read and when,
 * what waits, back-pressure, and the bounds of one turn; see stream.h.  The socket's single reads
 * and writes are stream_tls.c's, its beginning and end stream_life.c's.
 */
#include "proxy/stream_parts.h"

#include "common/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { READS_A_TURN = STREAM_TURN_BYTES / STREAM_BLOCK_BYTES };

/* One process, one thread: a single buffer serves every read. */
static uint8_t read_buffer[STREAM_BLOCK_BYTES];
static uint64_t total_queued, pressure;

/* ------------------------------------------------------------------- watermarks */

void stream_set_pressure(uint64_t bytes)
{
	pressure = bytes;
}

static size_t high_mark(void)
{
	return pressure != 0 && total_queued > pressure ? STREAM_OUT_LOW : STREAM_OUT_HIGH;
}

uint64_t stream_total_queued(void)
{
	return total_queued;
}

void stream_count_queued(size_t *counted, size_t now)
{
	total_queued = total_queued - *counted + now;
	*counted = now;
}

void stream_account(struct stream *stream)
{
	stream_count_queued(&stream->accounted,
		evbuffer_get_length(stream->in) + evbuffer_get_length(stream->out));
}

/* Reading is wanted while the input has room; EOF is still looked for while consumption waits. */
void stream_update_reading(struct stream *stream)
{
	bool want = !stream->paused && !stream->ended && !stream->place.waiting &&
		    stream->mode != MODE_CONNECTING && stream->mode != MODE_STARTING &&
		    evbuffer_get_length(stream->in) < STREAM_IN_MAX;

	if (want == stream->reading)
		return;
	stream->reading = want;
	if (want)
		event_add(&stream->readable, NULL);
	else
		event_del(&stream->readable);
}

void stream_go_on_soon(struct stream *stream)
{
	static const struct timeval zero;

	if (!evtimer_pending(&stream->again, NULL))
		evtimer_add(&stream->again, &zero);
}

bool stream_full(struct stream *stream)
{
	bool full = evbuffer_get_length(stream->out) >= high_mark();

	/* The mark may have come down since the last flush. */
	stream->was_full |= full;
	return full;
}

size_t stream_queued(const struct stream *stream)
{
	return evbuffer_get_length(stream->out);
}

size_t stream_pending(const struct stream *stream)
{
	return evbuffer_get_length(stream->in);
}

/* ---------------------------------------------------------------------- reading */

/* Hands octets on; returns how many were consumed, or -1 when the stream is gone. */
static ssize_t hand_on(struct stream *stream, const uint8_t *bytes, size_t len)
{
	bool alive = true, *outer = stream->alive;

	stream->alive = &alive;
	size_t consumed = stream->events->on_bytes(bytes, len, stream->arg);
	if (!alive) {
		if (outer != NULL)
			*outer = false;
		return -1;
	}
	stream->alive = outer;
	require(consumed <= len);
	return (ssize_t)consumed;
}

/* Offers what waits in the input.  Returns false when the stream is gone. */
static bool deliver_waiting(struct stream *stream)
{
	size_t len = evbuffer_get_length(stream->in);

	if (len == 0)
		return true;
	ssize_t consumed = hand_on(stream, evbuffer_pullup(stream->in, (ssize_t)len), len);
	if (consumed == -1)
		return false;
	evbuffer_drain(stream->in, (size_t)consumed);
	stream_account(stream);
	stream_update_reading(stream);
	return true;
}

/* New octets in the read buffer.  Returns false when the stream is gone. */
static bool received(struct stream *stream, size_t len)
{
	ssize_t consumed = 0;
	bool alive = true;

	if (stream->finishing) {
		stream->linger_bytes += len;
		if (stream->linger_bytes > STREAM_LINGER_BYTES)
			stream_destroy(&stream);
		return stream != NULL;
	}
	stream->resumed = false;
	if (evbuffer_get_length(stream->in) == 0)
		consumed = hand_on(stream, read_buffer, len);
	if (consumed >= 0 && (size_t)consumed < len) {
		bool appended = consumed == 0 && evbuffer_get_length(stream->in) > 0;
		if (evbuffer_add(stream->in, read_buffer + consumed, len - (size_t)consumed) == -1)
			alive = stream_tell_end(stream, STREAM_ERROR);
		else if (appended)
			alive = deliver_waiting(stream);
		else if (stream->resumed)
			stream_go_on_soon(stream);
	}
	if (consumed == -1 || !alive)
		return false;
	stream_account(stream);
	return true;
}

static void read_some(struct stream *stream)
{
	for (int i = 0; i < READS_A_TURN && stream->reading; i++) {
		ssize_t n = stream_read_once(stream, read_buffer);
		if (n == -1)
			return;
		if (n <= 0) {
			stream_tell_end(stream, n == 0 ? STREAM_EOF : STREAM_ERROR);
			return;
		}
		bool secret = stream->secret;
		bool alive = received(stream, (size_t)n);
		if (secret)
			explicit_bzero(read_buffer, (size_t)n);
		if (!alive)
			return;
		stream_update_reading(stream);
		/* A clear socket tells the rest by itself; a short read has emptied it. */
		if (!stream_has_hidden(stream))
			return;
	}
	if (stream->reading && stream_has_hidden(stream))
		stream_go_on_soon(stream);
}

bool stream_has_input(const struct stream *stream)
{
	char octet;

	return evbuffer_get_length(stream->in) > 0 || stream_has_hidden(stream) ||
	       recv(stream->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

bool stream_is_quiet(const struct stream *stream)
{
	char octet;

	return evbuffer_get_length(stream->in) == 0 && !stream_has_hidden(stream) &&
	       recv(stream->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

void stream_deliver_later(struct stream *stream)
{
	stream_go_on_soon(stream);
}

void stream_pause(struct stream *stream)
{
	stream->paused = true;
	stream_update_reading(stream);
}

void stream_resume(struct stream *stream)
{
	stream->paused = false;
	stream->resumed = true;
	stream_update_reading(stream);
	if (evbuffer_get_length(stream->in) > 0 || (stream_has_hidden(stream)))
		stream_go_on_soon(stream);
}

void stream_set_secret(struct stream *stream, bool secret)
{
	stream->secret = secret;
}

/* ---------------------------------------------------------------------- writing */

void stream_write(struct stream *stream, const void *bytes, size_t len)
{
	if (evbuffer_add(stream->out, bytes, len) == -1)
		panic("out of memory for a reply");
	stream_flush(stream);
}

struct evbuffer *stream_output(struct stream *stream)
{
	return stream->out;
}

void stream_flush(struct stream *stream)
{
	stream_account(stream);
	(void)stream_full(stream);
	if (stream->mode != MODE_CONNECTING && stream->mode != MODE_HANDSHAKE &&
		evbuffer_get_length(stream->out) > 0 && !stream->write_wants_read)
		event_active(&stream->writable, EV_WRITE, 1);
}

static void all_written(struct stream *stream)
{
	event_del(&stream->writable);
	if (stream->finishing && !stream->shut)
		stream_shut(stream);
	else if (stream->mode == MODE_STARTING)
		stream_begin_handshake(stream);
}

/* A server may refuse in mid-body and break off: what it said lies in the socket still. */
static void write_failed(struct stream *stream)
{
	ssize_t n = stream->mode == MODE_CLEAR && stream->reading
			    ? stream_read_once(stream, read_buffer)
			    : 0;
	if (n <= 0 || received(stream, (size_t)n))
		stream_tell_end(stream, STREAM_ERROR);
}

static void write_some(struct stream *stream)
{
	bool alive = true;

	for (int i = 0; evbuffer_get_length(stream->out) > 0; i++) {
		ssize_t n = i < READS_A_TURN * 4 ? stream_write_once(stream) : -1;
		if (n == -2) {
			write_failed(stream);
			return;
		}
		if (n == -1) {
			if (!stream->write_wants_read)
				event_add(&stream->writable, NULL);
			break;
		}
	}
	stream_account(stream);
	if (stream->was_full && evbuffer_get_length(stream->out) <= STREAM_OUT_LOW &&
		!stream->finishing) {
		stream->was_full = false;
		stream->alive = &alive;
		stream->events->on_drained(stream->arg);
		if (!alive)
			return;
		stream->alive = NULL;
	}
	if (evbuffer_get_length(stream->out) == 0)
		all_written(stream);
}

/* ----------------------------------------------------------------------- events */

void stream_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	(void)fd;
	(void)what;
	if (stream->mode == MODE_HANDSHAKE) {
		stream_handshake(stream);
		return;
	}
	if (stream->write_wants_read) {
		stream->write_wants_read = false;
		event_active(&stream->writable, EV_WRITE, 1);
	}
	read_some(stream);
}

void stream_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	(void)fd;
	(void)what;
	if (stream->mode == MODE_CONNECTING) {
		stream_connected(stream);
		return;
	}
	if (stream->mode == MODE_HANDSHAKE) {
		event_del(&stream->writable);
		stream_handshake(stream);
		return;
	}
	if (stream->read_wants_write) {
		stream->read_wants_write = false;
		stream_go_on_soon(stream);
	}
	write_some(stream);
}

/* The timer of zero: offer what waits, read what the SSL holds; or the end of lingering. */
void stream_on_again(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	(void)fd;
	(void)what;
	if (stream->finishing) {
		stream_destroy(&stream);
		return;
	}
	if (!deliver_waiting(stream))
		return;
	if (stream->reading && stream_has_hidden(stream))
		read_some(stream);
}
