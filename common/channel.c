/* SPDX-License-Identifier: ISC */
/*
 * Frames over a socketpair; see channel.h.
 *
 * One persistent read event, one write event that is pending only while output waits.  A send makes
 * the write event active, so that all frames of a loop turn leave in one writev.  An error found in
 * a send is told from the loop (the same write event), never from within the send.
 */
#include "common/channel.h"

#include "common/counters.h"
#include "common/log.h"

#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_CHUNK = 64 * 1024 };

struct channel {
	int fd;
	const struct channel_events *events;
	void *arg;
	struct event *readable, *writable;
	struct event *again; /* frames were left in the buffer: on with them in the next turn */
	struct evbuffer *in, *out;
	const char *failed; /* the reason, until on_close was told */
	bool unwritable;    /* the peer takes no more: read what it has sent, then tell */
	bool dead;          /* on_close was told; only channel_close() is left */
	bool *gone;         /* set to true by channel_close() while a callback runs */
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_again(evutil_socket_t fd, short what, void *arg);

struct channel *channel_open(
	struct event_base *base, int fd, const struct channel_events *events, void *arg)
{
	struct channel *channel = calloc(1, sizeof *channel);

	if (channel == NULL) {
		close(fd);
		return NULL;
	}
	channel->fd = fd;
	channel->events = events;
	channel->arg = arg;
	evutil_make_socket_nonblocking(fd);
	evutil_make_socket_closeonexec(fd);
	channel->in = evbuffer_new();
	channel->out = evbuffer_new();
	channel->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, channel);
	channel->writable = event_new(base, fd, EV_WRITE, on_writable, channel);
	channel->again = evtimer_new(base, on_again, channel);
	if (channel->in == NULL || channel->out == NULL || channel->readable == NULL ||
		channel->writable == NULL || channel->again == NULL ||
		event_add(channel->readable, NULL) == -1)
		channel_close(&channel);
	return channel;
}

void channel_close(struct channel **pointer)
{
	struct channel *channel = *pointer;

	if (channel == NULL)
		return;
	*pointer = NULL;
	if (channel->gone != NULL)
		*channel->gone = true;
	if (channel->readable != NULL)
		event_free(channel->readable);
	if (channel->writable != NULL)
		event_free(channel->writable);
	if (channel->again != NULL)
		event_free(channel->again);
	if (channel->in != NULL)
		evbuffer_free(channel->in);
	if (channel->out != NULL)
		evbuffer_free(channel->out);
	close(channel->fd);
	free(channel);
}

/* Tells on_close once, and silences the events. */
static void tell_closed(struct channel *channel, const char *reason)
{
	if (channel->dead)
		return;
	channel->dead = true;
	event_del(channel->readable);
	event_del(channel->writable);
	event_del(channel->again);
	if (strcmp(reason, "closed") != 0)
		counter_add(COUNTER_CHANNELS_LOST, 1);
	channel->events->on_close(channel, reason, channel->arg);
}

/* From within a send: remember, and let the loop tell. */
static bool fail_later(struct channel *channel, const char *reason)
{
	if (channel->failed == NULL) {
		channel->failed = reason;
		event_active(channel->writable, EV_WRITE, 1);
	}
	return false;
}

bool channel_send(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, size_t size)
{
	struct ipc_header header = {
		.size = (uint32_t)size, .version = IPC_VERSION, .type = (uint8_t)type, .id = id};
	bool was_empty = evbuffer_get_length(channel->out) == 0;

	require(size == ipc_size(type) && size > 0);
	if (channel->dead || channel->unwritable || channel->failed != NULL)
		return false;
	if (evbuffer_get_length(channel->out) + sizeof header + size > CHANNEL_QUEUE_MAX)
		return fail_later(channel, "full");
	if (evbuffer_add(channel->out, &header, sizeof header) == -1 ||
		evbuffer_add(channel->out, payload, size) == -1)
		return fail_later(channel, "memory");
	if (was_empty)
		event_active(channel->writable, EV_WRITE, 1);
	return true;
}

/*
 * Not event_active(): libevent calls an event that was made active within the same turn, and a peer
 * that never stops sending would keep timers and all other peers waiting.
 */
static void go_on_next_turn(struct channel *channel)
{
	static const struct timeval now = {0, 0};

	event_add(channel->again, &now);
}

static bool is_end(int error)
{
	return error == EPIPE || error == ECONNRESET;
}

static void write_failed(struct channel *channel, int error)
{
	if (!is_end(error)) {
		tell_closed(channel, strerror(error));
		return;
	}
	channel->unwritable = true;
	evbuffer_drain(channel->out, evbuffer_get_length(channel->out));
	go_on_next_turn(channel);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval stall = {
		CHANNEL_STALL_MS / 1000, CHANNEL_STALL_MS % 1000 * 1000};
	struct channel *channel = arg;

	if (channel->failed != NULL) {
		tell_closed(channel, channel->failed);
		return;
	}
	if (what & EV_TIMEOUT) {
		tell_closed(channel, "stalled");
		return;
	}
	while (evbuffer_get_length(channel->out) > 0) {
		int n = evbuffer_write(channel->out, fd);
		if (n > 0)
			continue;
		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			break;
		write_failed(channel, n == 0 ? EPIPE : errno);
		return;
	}
	if (evbuffer_get_length(channel->out) > 0)
		event_add(channel->writable, &stall);
}

/* 1: a frame was handed on; 0: none complete; -1: the channel is gone or told dead. */
static int next_frame(struct channel *channel)
{
	struct ipc_header header;
	union {
		max_align_t align;
		uint8_t bytes[sizeof(struct ipc_auth_request) + 256];
	} payload;
	bool gone = false;

	if (evbuffer_copyout(channel->in, &header, sizeof header) < (ssize_t)sizeof header)
		return 0;
	if (header.version != IPC_VERSION || header.reserved != 0 || header.size == 0 ||
		header.size != ipc_size((enum ipc_type)header.type) ||
		header.size > sizeof payload) {
		tell_closed(channel, "bad frame");
		return -1;
	}
	if (evbuffer_get_length(channel->in) < sizeof header + header.size)
		return 0;
	evbuffer_drain(channel->in, sizeof header);
	evbuffer_remove(channel->in, &payload, header.size);
	if (!ipc_valid((enum ipc_type)header.type, &payload)) {
		explicit_bzero(&payload, header.size);
		tell_closed(channel, "bad payload");
		return -1;
	}
	channel->gone = &gone;
	channel->events->on_frame(
		channel, (enum ipc_type)header.type, header.id, &payload, channel->arg);
	explicit_bzero(&payload, header.size);
	if (gone)
		return -1;
	channel->gone = NULL;
	return channel->dead ? -1 : 1;
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;

	(void)fd;
	on_readable(channel->fd, what, channel);
}

/* Not evbuffer_read(): it asks for FIONREAD first.  Returns what recv() does. */
static int read_chunk(struct channel *channel, evutil_socket_t fd)
{
	static uint8_t chunk[READ_CHUNK];

	ssize_t n = recv(fd, chunk, sizeof chunk, 0);
	if (n > 0) {
		int added = evbuffer_add(channel->in, chunk, (size_t)n);
		explicit_bzero(chunk, (size_t)n); /* log-ins come this way */
		if (added == -1) {
			errno = ENOMEM;
			return -1;
		}
	}
	return (int)n;
}

/* No whole frame is left: n and error are of the last read. */
static void all_read(struct channel *channel, int n, int error)
{
	bool nothing_now = n == -1 && (error == EAGAIN || error == EINTR);

	if (n == 0 || (nothing_now && channel->unwritable))
		tell_closed(channel, "closed");
	else if (n == -1 && !nothing_now)
		tell_closed(channel, is_end(error) ? "closed" : strerror(error));
	else if (channel->unwritable)
		go_on_next_turn(channel);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;
	int n = 1, error = 0;

	(void)what;
	/* A peer that died may have left whole frames: hand those on before the end is told. */
	if (evbuffer_get_length(channel->in) < READ_CHUNK) {
		n = read_chunk(channel, fd);
		error = errno;
	}
	for (int frames = 0; frames < CHANNEL_FRAMES_A_TURN; frames++) {
		int status = next_frame(channel);
		if (status == -1)
			return;
		if (status == 0) {
			all_read(channel, n, error);
			return;
		}
	}
	go_on_next_turn(channel);
}
