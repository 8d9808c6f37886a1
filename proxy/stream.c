/* SPDX-License-Identifier: ISC */
/*
 * Streams on plain libevent events and evbuffers, SSL_read and SSL_write on the socket; see
 * stream.h.
 *
 * Not bufferevent_openssl: it held a third more resident memory an idle session, and hides bytes
 * across STARTTLS.  Read-ahead is on, so bytes can wait inside the SSL where epoll does not see
 * them: every deliberate stop with SSL_has_pending() goes on by a timer of zero.  A write that
 * OpenSSL put off must be repeated with the same bytes: the output is only ever appended to and
 * drained by what was written.
 *
 * A callback may destroy the stream.  `alive` points at a flag on the caller's stack that
 * stream_destroy() clears.
 */
#include "proxy/stream.h"

#include "common/counters.h"
#include "common/log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 16 * 1024, READS_A_TURN = STREAM_TURN_BYTES / READ_BYTES };

enum mode { MODE_CONNECTING, MODE_CLEAR, MODE_STARTING, MODE_HANDSHAKE, MODE_TLS };

struct stream {
	const struct stream_events *events;
	void *arg;
	struct event_base *base;
	SSL *ssl;
	struct evbuffer *in, *out;
	struct event readable, writable, again;
	bool *alive;
	size_t accounted; /* our share of total_queued */
	size_t linger_bytes;
	int fd;
	enum mode mode;
	bool paused, ended, was_full, secret, reading;
	bool resumed;          /* while octets were handed on that are not in `in` yet */
	bool read_wants_write; /* TLS: go on reading when the socket takes output, */
	bool write_wants_read; /* and the other way round (KeyUpdate) */
	bool finishing, shut;
};

/* One process, one thread: a single buffer serves every read. */
static uint8_t read_buffer[READ_BYTES];
static uint64_t total_queued, pressure;
static size_t lingering;
static struct {
	struct timeval turn;
	unsigned count;
} handshakes;

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_again(evutil_socket_t fd, short what, void *arg);

size_t stream_lingering(void)
{
	return lingering;
}

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

static void account(struct stream *stream)
{
	stream_count_queued(&stream->accounted,
		evbuffer_get_length(stream->in) + evbuffer_get_length(stream->out));
}

/* Reading is wanted while the input has room; EOF is still looked for while consumption waits. */
static void update_reading(struct stream *stream)
{
	bool want = !stream->paused && !stream->ended && stream->mode != MODE_CONNECTING &&
		    stream->mode != MODE_STARTING &&
		    evbuffer_get_length(stream->in) < STREAM_IN_MAX;

	if (want == stream->reading)
		return;
	stream->reading = want;
	if (want)
		event_add(&stream->readable, NULL);
	else
		event_del(&stream->readable);
}

static void go_on_soon(struct stream *stream)
{
	static const struct timeval zero;

	if (!evtimer_pending(&stream->again, NULL))
		evtimer_add(&stream->again, &zero);
}

static struct stream *new_stream(struct event_base *base, int fd,
	const struct stream_events *events, void *arg, enum mode mode)
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
	event_assign(&stream->readable, base, fd, EV_READ | EV_PERSIST, on_readable, stream);
	event_assign(&stream->writable, base, fd, EV_WRITE | EV_PERSIST, on_writable, stream);
	evtimer_assign(&stream->again, base, on_again, stream);
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
		update_reading(stream);
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
	event_del(&stream->readable);
	event_del(&stream->writable);
	evtimer_del(&stream->again);
	if (stream->ssl != NULL) {
		ERR_clear_error();
		SSL_free(stream->ssl);
	}
	total_queued -= stream->accounted;
	evbuffer_free(stream->in);
	evbuffer_free(stream->out);
	close(stream->fd);
	free(stream);
}

/* Tells on_end once.  Returns false when the stream is gone. */
static bool tell_end(struct stream *stream, enum stream_end end)
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
		update_reading(stream);
		return true;
	}
	update_reading(stream);
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
	account(stream);
	update_reading(stream);
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
			alive = tell_end(stream, STREAM_ERROR);
		else if (appended)
			alive = deliver_waiting(stream);
		else if (stream->resumed)
			go_on_soon(stream);
	}
	if (consumed == -1 || !alive)
		return false;
	account(stream);
	return true;
}

/* One read into the buffer: octets, 0 at the peer's end, -1 nothing now, -2 failed. */
static ssize_t read_once(struct stream *stream)
{
	size_t n = 0;

	if (stream->mode != MODE_TLS) {
		ssize_t got = recv(stream->fd, read_buffer, sizeof read_buffer, 0);
		if (got >= 0)
			return got;
		return errno == EAGAIN || errno == EINTR ? -1 : -2;
	}
	ERR_clear_error();
	if (SSL_read_ex(stream->ssl, read_buffer, sizeof read_buffer, &n) == 1)
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

static void read_some(struct stream *stream)
{
	for (int i = 0; i < READS_A_TURN && stream->reading; i++) {
		ssize_t n = read_once(stream);
		if (n == -1)
			return;
		if (n <= 0) {
			tell_end(stream, n == 0 ? STREAM_EOF : STREAM_ERROR);
			return;
		}
		bool secret = stream->secret;
		bool alive = received(stream, (size_t)n);
		if (secret)
			explicit_bzero(read_buffer, (size_t)n);
		if (!alive)
			return;
		update_reading(stream);
		/* A clear socket tells the rest by itself; a short read has emptied it. */
		if (stream->mode != MODE_TLS || !SSL_has_pending(stream->ssl))
			return;
	}
	if (stream->reading && stream->mode == MODE_TLS && SSL_has_pending(stream->ssl))
		go_on_soon(stream);
}

/* Whether one more handshake step fits in this turn of the loop. */
static bool handshake_allowed(struct stream *stream)
{
	struct timeval now;

	event_base_gettimeofday_cached(stream->base, &now);
	if (now.tv_sec != handshakes.turn.tv_sec || now.tv_usec != handshakes.turn.tv_usec) {
		handshakes.turn = now;
		handshakes.count = 0;
	}
	return handshakes.count++ < STREAM_TURN_HANDSHAKES;
}

static void handshake(struct stream *stream)
{
	bool alive = true;

	if (!handshake_allowed(stream))
		return; /* the readable event is level-triggered: it comes again next turn */
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
		counter_add(COUNTER_HANDSHAKES_FAILED, 1);
		tell_end(stream, STREAM_ERROR);
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
	if (SSL_has_pending(stream->ssl))
		go_on_soon(stream);
}

static void connected(struct stream *stream)
{
	int error = 0;
	socklen_t len = sizeof error;

	event_del(&stream->writable);
	if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1 || error != 0) {
		errno = error;
		tell_end(stream, STREAM_ERROR);
		return;
	}
	stream->mode = MODE_CLEAR;
	update_reading(stream);
	stream->events->on_connected(stream->arg);
}

/* Octets written, -1 nothing now, -2 failed. */
static ssize_t write_once(struct stream *stream)
{
	size_t n = 0, len = evbuffer_get_length(stream->out);

	if (stream->mode != MODE_TLS) {
		int written = evbuffer_write(stream->out, stream->fd);
		if (written >= 0)
			return written;
		return errno == EAGAIN || errno == EINTR ? -1 : -2;
	}
	if (len > READ_BYTES)
		len = READ_BYTES;
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

/* All that was queued has left: FIN, and the peer's answer to it is awaited. */
static void shut(struct stream *stream)
{
	static const struct timeval linger = {
		STREAM_LINGER_MS / 1000, STREAM_LINGER_MS % 1000 * 1000};

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
	update_reading(stream);
}

static void begin_handshake(struct stream *stream)
{
	stream->mode = MODE_HANDSHAKE;
	update_reading(stream);
	if (SSL_set_fd(stream->ssl, stream->fd) != 1)
		tell_end(stream, STREAM_ERROR);
}

static void all_written(struct stream *stream)
{
	event_del(&stream->writable);
	if (stream->finishing && !stream->shut)
		shut(stream);
	else if (stream->mode == MODE_STARTING)
		begin_handshake(stream);
}

/* A server may refuse in mid-body and break off: what it said lies in the socket still. */
static void write_failed(struct stream *stream)
{
	ssize_t n = stream->mode == MODE_CLEAR && stream->reading ? read_once(stream) : 0;
	if (n <= 0 || received(stream, (size_t)n))
		tell_end(stream, STREAM_ERROR);
}

static void write_some(struct stream *stream)
{
	bool alive = true;

	for (int i = 0; evbuffer_get_length(stream->out) > 0; i++) {
		ssize_t n = i < READS_A_TURN * 4 ? write_once(stream) : -1;
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
	account(stream);
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

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	(void)fd;
	(void)what;
	if (stream->mode == MODE_HANDSHAKE) {
		handshake(stream);
		return;
	}
	if (stream->write_wants_read) {
		stream->write_wants_read = false;
		event_active(&stream->writable, EV_WRITE, 1);
	}
	read_some(stream);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	(void)fd;
	(void)what;
	if (stream->mode == MODE_CONNECTING) {
		connected(stream);
		return;
	}
	if (stream->mode == MODE_HANDSHAKE) {
		event_del(&stream->writable);
		handshake(stream);
		return;
	}
	if (stream->read_wants_write) {
		stream->read_wants_write = false;
		go_on_soon(stream);
	}
	write_some(stream);
}

/* The timer of zero: offer what waits, read what the SSL holds; or the end of lingering. */
static void on_again(evutil_socket_t fd, short what, void *arg)
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
	if (stream->reading && stream->mode == MODE_TLS && SSL_has_pending(stream->ssl))
		read_some(stream);
}

void stream_start_tls(struct stream *stream, SSL *ssl)
{
	require(stream->ssl == NULL && stream->mode == MODE_CLEAR);
	stream->ssl = ssl;
	stream->mode = MODE_STARTING;
	update_reading(stream);
	if (evbuffer_get_length(stream->out) == 0)
		begin_handshake(stream);
}

const SSL *stream_tls(const struct stream *stream)
{
	return stream->mode == MODE_TLS ? stream->ssl : NULL;
}

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
	account(stream);
	(void)stream_full(stream);
	if (stream->mode != MODE_CONNECTING && stream->mode != MODE_HANDSHAKE &&
		evbuffer_get_length(stream->out) > 0 && !stream->write_wants_read)
		event_active(&stream->writable, EV_WRITE, 1);
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

bool stream_has_input(const struct stream *stream)
{
	char octet;

	return evbuffer_get_length(stream->in) > 0 ||
	       (stream->mode == MODE_TLS && SSL_has_pending(stream->ssl)) ||
	       recv(stream->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

void stream_deliver_later(struct stream *stream)
{
	go_on_soon(stream);
}

void stream_pause(struct stream *stream)
{
	stream->paused = true;
	update_reading(stream);
}

void stream_resume(struct stream *stream)
{
	stream->paused = false;
	stream->resumed = true;
	update_reading(stream);
	if (evbuffer_get_length(stream->in) > 0 ||
		(stream->mode == MODE_TLS && SSL_has_pending(stream->ssl)))
		go_on_soon(stream);
}

void stream_set_secret(struct stream *stream, bool secret)
{
	stream->secret = secret;
}

void stream_finish(struct stream **pointer)
{
	static const struct timeval linger = {
		STREAM_LINGER_MS / 1000, STREAM_LINGER_MS % 1000 * 1000};
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
	account(stream);
	/* The whole good-bye has STREAM_LINGER_MS, whether or not the peer takes the output. */
	evtimer_add(&stream->again, &linger);
	event_active(&stream->writable, EV_WRITE, 1);
}
