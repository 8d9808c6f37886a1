/* SPDX-License-Identifier: ISC */
/*
 * How a stream begins and ends: taken over or connected; told of its end; destroyed at once, or let
 * go so that the peer can read the last reply (close_notify, FIN, and a bounded drain).  See
 * stream.h; what moves in between is stream.c's.
 */
#include "proxy/stream_parts.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct timeval linger = {STREAM_LINGER_MS / 1000, STREAM_LINGER_MS % 1000 * 1000};

static size_t lingering;

/* ------------------------------------------------------------------ beginning */

static struct stream *new_stream(struct event_base *base, int fd,
	const struct stream_events *events, void *arg, enum stream_mode mode)
{
	struct stream *stream = calloc(1, sizeof *stream);
	int one = 1;

	if (stream == NULL)
		goto fail;
	stream->in = evbuffer_new();
	stream->out = evbuffer_new();
	if (stream->in == NULL || stream->out == NULL)
		goto fail;
	stream->base = base;
	stream->fd = fd;
	stream->events = events;
	stream->arg = arg;
	stream->mode = mode;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	event_assign(&stream->readable, base, fd, EV_READ | EV_PERSIST, stream_on_readable, stream);
	event_assign(
		&stream->writable, base, fd, EV_WRITE | EV_PERSIST, stream_on_writable, stream);
	evtimer_assign(&stream->again, base, stream_on_again, stream);
	return stream;
fail:
	if (stream != NULL) {
		if (stream->in != NULL)
			evbuffer_free(stream->in);
		free(stream);
	}
	close(fd);
	errno = ENOMEM;
	return NULL;
}

struct stream *stream_open(
	struct event_base *base, int fd, const struct stream_events *events, void *arg)
{
	struct stream *stream = new_stream(base, fd, events, arg, MODE_CLEAR);

	if (stream != NULL)
		stream_update_reading(stream);
	return stream;
}

struct stream *stream_connect(struct event_base *base, const struct address *peer,
	const struct address *source, const struct stream_events *events, void *arg)
{
	int one = 1;
	int fd = socket(peer->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return NULL;
	if (source != NULL && source->len != 0) {
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		if (bind(fd, &source->sa, source->len) == -1)
			goto fail;
	}
	if (connect(fd, &peer->sa, peer->len) == -1 && errno != EINPROGRESS)
		goto fail;
	struct stream *stream = new_stream(base, fd, events, arg, MODE_CONNECTING);
	if (stream != NULL)
		event_add(&stream->writable, NULL);
	return stream;
fail : {
	int saved = errno;
	close(fd);
	errno = saved;
}
	return NULL;
}

void stream_connected(struct stream *stream)
{
	int error = 0;
	socklen_t len = sizeof error;

	event_del(&stream->writable);
	if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1 || error != 0) {
		errno = error;
		stream_tell_end(stream, STREAM_ERROR);
		return;
	}
	stream->mode = MODE_CLEAR;
	stream_update_reading(stream);
	stream->events->on_connected(stream->arg);
}

/* ----------------------------------------------------------------------- the end */

size_t stream_lingering(void)
{
	return lingering;
}

void stream_destroy(struct stream **pointer)
{
	struct stream *stream = *pointer;

	if (stream == NULL)
		return;
	*pointer = NULL;
	if (stream->alive != NULL)
		*stream->alive = false;
	if (stream->finishing)
		lingering--;
	handshake_line_leave(&stream->place);
	event_del(&stream->readable);
	event_del(&stream->writable);
	evtimer_del(&stream->again);
	if (stream->ssl != NULL) {
		ERR_clear_error();
		SSL_free(stream->ssl);
	}
	stream_count_queued(&stream->accounted, 0);
	evbuffer_free(stream->in);
	evbuffer_free(stream->out);
	close(stream->fd);
	free(stream);
}

bool stream_tell_end(struct stream *stream, enum stream_end end)
{
	bool alive = true, *outer = stream->alive;

	/* Its end is no reason to keep back what it is still owed. */
	if (stream->finishing && (end == STREAM_ERROR || stream->shut)) {
		stream_destroy(&stream);
		return false;
	}
	if (stream->ended)
		return true;
	stream->ended = true;
	if (stream->finishing) {
		stream_update_reading(stream);
		return true;
	}
	stream_update_reading(stream);
	if (end == STREAM_ERROR)
		event_del(&stream->writable);
	stream->alive = &alive;
	stream->events->on_end(end, stream->arg);
	if (!alive) {
		if (outer != NULL)
			*outer = false;
		return false;
	}
	stream->alive = outer;
	return true;
}

void stream_shut(struct stream *stream)
{
	stream->shut = true;
	if (stream->mode == MODE_TLS) {
		ERR_clear_error();
		(void)SSL_shutdown(stream->ssl);
	}
	(void)shutdown(stream->fd, SHUT_WR);
	stream->mode =
		stream->mode == MODE_TLS ? MODE_CLEAR : stream->mode; /* only discarded now */
	stream->paused = false;
	if (stream->ended) {
		stream_destroy(&stream);
		return;
	}
	evtimer_add(&stream->again, &linger);
	stream_update_reading(stream);
}

void stream_finish(struct stream **pointer)
{
	struct stream *stream = *pointer;

	if (stream == NULL)
		return;
	if (stream->mode == MODE_CONNECTING || stream->mode == MODE_STARTING ||
		stream->mode == MODE_HANDSHAKE) {
		stream_destroy(pointer);
		return;
	}
	*pointer = NULL;
	if (stream->alive != NULL)
		*stream->alive = false;
	stream->alive = NULL;
	stream->finishing = true;
	lingering++;
	evbuffer_drain(stream->in, evbuffer_get_length(stream->in));
	stream_account(stream);
	/* The whole good-bye has STREAM_LINGER_MS, whether or not the peer takes the output. */
	evtimer_add(&stream->again, &linger);
	event_active(&stream->writable, EV_WRITE, 1);
}
