/* SPDX-License-Identifier: ISC */
/* A backend connection's half of the dialogue; see backend.h. */
#include "proxy/backend.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "proxy/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static const struct {
	const char *name;
	unsigned moves;
} states[] = {
	[STATE_CONNECTING] = {"connecting", 1u << STATE_GREETING},
	[STATE_GREETING] = {"greeting", 1u << STATE_EHLO},
	[STATE_EHLO] = {"ehlo", 1u << STATE_HELO | 1u << STATE_READY},
	[STATE_HELO] = {"helo", 1u << STATE_READY},
	[STATE_READY] = {"ready", 1u << STATE_BODY | 1u << STATE_ENDING},
	[STATE_BODY] = {"body", 1u << STATE_ENDING},
	[STATE_ENDING] = {"ending", 1u << STATE_READY},
	[STATE_DEAD] = {"dead", 0},
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
	bool aborted;                                /* memory goes when depth is 0 */
	unsigned depth;                              /* callbacks of the owner under way */
};

/* Around a callback, which may abort the backend. */
static void enter(struct backend *backend)
{
	backend->depth++;
}

static void destroy(struct backend *backend)
{
	smtp_reply_free(&backend->reply);
	free(backend);
}

/* False: it was aborted, and must not be touched any more. */
static bool leave(struct backend *backend)
{
	bool alive = !backend->aborted;

	if (--backend->depth == 0 && !alive)
		destroy(backend);
	return alive;
}

static size_t connections;

size_t backend_count(void)
{
	return connections;
}

static void set_state(struct backend *backend, enum backend_state state)
{
	require(state == STATE_DEAD || (states[backend->state].moves & 1u << state) != 0);
	if (log_enabled(LOG_DEBUG))
		log_message(LOG_DEBUG, "backend-state", "%s -> %s", states[backend->state].name,
			states[state].name);
	backend->state = state;
}

/* ------------------------------------------------------------------ deadlines */

static unsigned owed_ms(const struct backend *backend)
{
	const struct config_backend *w = backend->where;
	uint8_t command = backend->pending[backend->first].command;

	if (command == BACKEND_DATA)
		return w->data_ms;
	if (command == BACKEND_CHUNK && stream_queued(backend->stream) > 0)
		return w->block_ms;
	return w->command_ms;
}

static unsigned phase_ms(const struct backend *backend)
{
	const struct config_backend *w = backend->where;

	switch (backend->state) {
	case STATE_CONNECTING:
		return w->connect_ms;
	case STATE_GREETING:
		return w->greeting_ms;
	case STATE_EHLO:
	case STATE_HELO:
		return w->command_ms;
	case STATE_READY:
		if (backend->owed == 0)
			return backend->idle ? BACKEND_IDLE_MS : 0;
		return owed_ms(backend);
	case STATE_BODY:
		return stream_queued(backend->stream) > 0 ? w->block_ms : 0;
	case STATE_ENDING:
		return w->end_of_data_ms;
	case STATE_DEAD:
		return 0;
	}
	panic("no such state");
}

static void arm(struct backend *backend)
{
	unsigned ms = phase_ms(backend);
	uint64_t now = clock_monotonic_ms();

	backend->deadline_ms = ms == 0 ? 0 : now + ms;
	if (ms == 0 || (backend->timer_ms != 0 && backend->timer_ms <= backend->deadline_ms))
		return;
	struct timeval in = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};
	backend->timer_ms = backend->deadline_ms;
	evtimer_add(&backend->timer, &in);
}

/* ----------------------------------------------------------------------- ends */

/* Tells the owner once; it closes the backend then or later. */
static void die(struct backend *backend, const char *reason)
{
	enum backend_state before = backend->state;

	if (before == STATE_DEAD)
		return;
	set_state(backend, STATE_DEAD);
	stream_destroy(&backend->stream);
	evtimer_del(&backend->timer);
	bool at_rest = before == STATE_READY && backend->owed == 0;
	if (!at_rest)
		counter_add(COUNTER_BACKEND_FAILURES, 1);
	if (before < STATE_READY)
		backend->events->on_failed(reason, backend->arg);
	else
		backend->events->on_lost(reason, backend->arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct backend *backend = arg;
	uint64_t now = clock_monotonic_ms();

	(void)fd;
	(void)what;
	backend->timer_ms = 0;
	if (backend->deadline_ms == 0)
		return;
	if (now >= backend->deadline_ms) {
		if (backend->state == STATE_READY && backend->owed == 0)
			backend->events->on_idle(backend->arg);
		else
			die(backend, "timeout");
		return;
	}
	uint64_t ms = backend->deadline_ms - now;
	struct timeval in = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
	backend->timer_ms = backend->deadline_ms;
	evtimer_add(&backend->timer, &in);
}

void backend_abort(struct backend **pointer)
{
	struct backend *backend = *pointer;

	if (backend == NULL)
		return;
	*pointer = NULL;
	stream_destroy(&backend->stream);
	evtimer_del(&backend->timer);
	connections--;
	counter_sub(COUNTER_BACKEND_CONNECTIONS, 1);
	backend->aborted = true;
	if (backend->depth == 0)
		destroy(backend);
}

void backend_close(struct backend **pointer)
{
	struct backend *backend = *pointer;

	if (backend != NULL && backend->state == STATE_READY && backend->owed == 0) {
		stream_write(backend->stream, "QUIT\r\n", 6);
		stream_finish(&backend->stream);
	}
	backend_abort(pointer);
}

/* ------------------------------------------------------------------- commands */

static void push(struct backend *backend, enum backend_command command, enum reply_id local)
{
	require(backend->count < BACKEND_PENDING_MAX);
	struct pending *slot =
		&backend->pending[(backend->first + backend->count++) % BACKEND_PENDING_MAX];
	slot->command = (uint8_t)command;
	slot->local = (uint8_t)local;
	if (command != BACKEND_LOCAL)
		backend->owed++;
}

static struct pending pop(struct backend *backend)
{
	require(backend->count > 0);
	struct pending slot = backend->pending[backend->first];
	backend->first = (backend->first + 1) % BACKEND_PENDING_MAX;
	backend->count--;
	if (slot.command != BACKEND_LOCAL)
		backend->owed--;
	return slot;
}

void backend_send(
	struct backend *backend, enum backend_command command, const char *bytes, size_t len)
{
	require(backend->state == STATE_READY);
	if (command == BACKEND_MAIL)
		backend->mails++;
	push(backend, command, REPLY_OK);
	stream_write(backend->stream, bytes, len);
	arm(backend);
}

void backend_queue_local(struct backend *backend, enum reply_id reply)
{
	require(backend->owed > 0);
	push(backend, BACKEND_LOCAL, reply);
}

bool backend_next_lost(
	struct backend *backend, enum backend_command *command_out, enum reply_id *local_out)
{
	if (backend->count == 0)
		return false;
	struct pending slot = pop(backend);
	*command_out = (enum backend_command)slot.command;
	*local_out = (enum reply_id)slot.local;
	return true;
}

void backend_set_idle(struct backend *backend, bool idle)
{
	backend->idle = idle;
	if (backend->state == STATE_READY)
		arm(backend);
}

size_t backend_owed(const struct backend *backend)
{
	return backend->count;
}

bool backend_room(const struct backend *backend)
{
	/* One slot stays free for DATA. */
	return backend->count < BACKEND_PENDING_MAX - 1 && !stream_full(backend->stream);
}

void backend_pause(struct backend *backend, bool paused)
{
	if (backend->stream == NULL)
		return;
	if (paused)
		stream_pause(backend->stream);
	else
		stream_resume(backend->stream);
}

bool backend_spent(const struct backend *backend)
{
	uint32_t most = backend->capabilities.mail_max;

	return most != 0 && backend->mails >= most;
}

bool backend_ready(const struct backend *backend)
{
	return backend->state == STATE_READY;
}

bool backend_pipelining(const struct backend *backend)
{
	return (backend->capabilities.bits & CAPABILITY_PIPELINING) != 0;
}

const struct capability_set *backend_capabilities(const struct backend *backend)
{
	return &backend->capabilities;
}

const struct address *backend_address(const struct backend *backend)
{
	return &backend->where->servers[backend->server];
}

/* ----------------------------------------------------------------------- body */

void backend_begin_body(struct backend *backend)
{
	set_state(backend, STATE_BODY);
	arm(backend);
}

struct evbuffer *backend_body(struct backend *backend)
{
	return stream_output(backend->stream);
}

void backend_flush_body(struct backend *backend)
{
	stream_flush(backend->stream);
	arm(backend);
}

bool backend_full(const struct backend *backend)
{
	return stream_full(backend->stream);
}

void backend_end_body(struct backend *backend)
{
	set_state(backend, STATE_ENDING);
	push(backend, BACKEND_END, REPLY_OK);
	stream_write(backend->stream, ".\r\n", 3);
	arm(backend);
}

void backend_send_chunk(struct backend *backend, struct evbuffer *octets, size_t len, bool last)
{
	char line[64];
	int line_len = snprintf(line, sizeof line, "BDAT %zu%s\r\n", len, last ? " LAST" : "");

	require(backend->state == STATE_READY && len <= evbuffer_get_length(octets));
	if (last)
		set_state(backend, STATE_ENDING);
	push(backend, last ? BACKEND_END : BACKEND_CHUNK, REPLY_OK);
	if (evbuffer_add(stream_output(backend->stream), line, (size_t)line_len) == -1 ||
		evbuffer_remove_buffer(octets, stream_output(backend->stream), len) != (int)len)
		panic("out of memory for a chunk");
	stream_flush(backend->stream);
	arm(backend);
}

/* -------------------------------------------------------------------- replies */

static void say_hello(struct backend *backend, const char *verb, enum backend_state state)
{
	char line[300];

	int len = snprintf(line, sizeof line, "%s %s\r\n", verb, backend->config->hostname);
	require(len > 0 && (size_t)len < sizeof line);
	set_state(backend, state);
	stream_write(backend->stream, line, (size_t)len);
	arm(backend);
}

static void become_ready(struct backend *backend)
{
	set_state(backend, STATE_READY);
	arm(backend);
	counter_add(COUNTER_BACKEND_CONNECTS, 1);
	backend->events->on_ready(backend->arg);
}

/* RFC 5321 3.1, 3.2: the greeting, then EHLO, and HELO for a server that knows no EHLO. */
static void hello_reply(struct backend *backend)
{
	const struct smtp_reply *reply = &backend->reply;
	unsigned class_ = smtp_reply_class(reply);

	if (backend->state == STATE_GREETING) {
		if (reply->code == 220)
			say_hello(backend, "EHLO", STATE_EHLO);
		else
			die(backend, "greeting refused");
	} else if (backend->state == STATE_EHLO && class_ == 5) {
		say_hello(backend, "HELO", STATE_HELO);
	} else if (reply->code == 250) {
		if (backend->state == STATE_EHLO)
			capability_parse(reply, &backend->capabilities);
		become_ready(backend);
	} else {
		die(backend, backend->state == STATE_EHLO ? "EHLO refused" : "HELO refused");
	}
}

/* Gives out what is at the head: one reply of the backend's, then local ones behind it.  Within
 * on_bytes(), which keeps the memory. */
static void credit(struct backend *backend)
{
	struct pending slot = pop(backend);

	if (slot.command == BACKEND_END)
		set_state(backend, STATE_READY);
	backend->events->on_reply(
		(enum backend_command)slot.command, &backend->reply, backend->arg);
	while (!backend->aborted && backend->count > 0 &&
		backend->pending[backend->first].command == BACKEND_LOCAL)
		backend->events->on_local((enum reply_id)pop(backend).local, backend->arg);
	if (!backend->aborted && backend->state != STATE_DEAD)
		arm(backend);
}

/* One whole reply is there. */
static void on_reply(struct backend *backend)
{
	switch (backend->state) {
	case STATE_GREETING:
	case STATE_EHLO:
	case STATE_HELO:
		hello_reply(backend);
		return;
	case STATE_READY:
	case STATE_ENDING:
		if (backend->owed > 0)
			credit(backend);
		else /* 421 before a timeout of its own, or worse */
			die(backend, backend->reply.code == 421 ? "closed by it" : "unasked reply");
		return;
	case STATE_BODY:
		backend->events->on_early(&backend->reply, backend->arg);
		return;
	case STATE_CONNECTING:
	case STATE_DEAD:
		return;
	}
}

/* How many replies may be in the octets that are here now.  A command that is sent in answer to one
 * of them was not known when they left: none of them is its reply. */
static size_t due(const struct backend *backend)
{
	switch (backend->state) {
	case STATE_GREETING:
	case STATE_EHLO:
	case STATE_HELO:
		return 1;
	case STATE_READY:
	case STATE_ENDING:
		return backend->owed;
	case STATE_BODY:
	case STATE_CONNECTING:
	case STATE_DEAD:
		return 0;
	}
	panic("no such state");
}

static size_t on_bytes(const uint8_t *bytes, size_t len, void *arg)
{
	struct backend *backend = arg;
	struct stream *stream = backend->stream;
	size_t done = 0, left = due(backend), consumed;

	while (done < len) {
		enum smtp_reply_status status =
			smtp_reply_feed(&backend->reply, bytes + done, len - done, &consumed);
		done += consumed;
		if (status == SMTP_REPLY_MORE)
			break;
		if (status == SMTP_REPLY_BAD) {
			die(backend, smtp_reply_why(&backend->reply));
			return len;
		}
		bool surplus = left <= 1 && done < len;
		if (surplus && backend->state < STATE_READY) {
			die(backend, "unasked reply");
			return len;
		}
		left -= left > 0;
		enter(backend);
		on_reply(backend);
		if (!leave(backend))
			return len;
		if (backend->state == STATE_DEAD || backend->stream != stream)
			return len;
		if (surplus) {
			die(backend, "unasked reply");
			return len;
		}
		smtp_reply_reset(&backend->reply);
	}
	return len;
}

static void on_connected(void *arg)
{
	struct backend *backend = arg;

	set_state(backend, STATE_GREETING);
	arm(backend);
}

static void on_drained(void *arg)
{
	struct backend *backend = arg;

	arm(backend);
	backend->events->on_drained(backend->arg);
}

static void on_end(enum stream_end end, void *arg)
{
	struct backend *backend = arg;

	if (backend->state == STATE_CONNECTING)
		die(backend, errno != 0 ? strerror(errno) : "cannot connect");
	else
		die(backend, end == STREAM_EOF ? "closed by it" : "connection lost");
}

static const struct stream_events stream_events = {
	.on_bytes = on_bytes,
	.on_connected = on_connected,
	.on_drained = on_drained,
	.on_end = on_end,
};

struct backend *backend_open(struct event_base *base, const struct config *config,
	const struct config_backend *where, size_t server, const struct backend_events *events,
	void *arg)
{
	const struct address *peer = &where->servers[server];
	struct backend *backend = calloc(1, sizeof *backend);

	if (backend == NULL)
		return NULL;
	backend->events = events;
	backend->arg = arg;
	backend->config = config;
	backend->where = where;
	backend->server = server;
	smtp_reply_init(&backend->reply);
	evtimer_assign(&backend->timer, base, on_timer, backend);
	backend->stream = stream_connect(base, peer,
		peer->sa.sa_family == AF_INET ? &where->source4 : &where->source6, &stream_events,
		backend);
	if (backend->stream == NULL) {
		int saved = errno;
		free(backend);
		errno = saved;
		return NULL;
	}
	connections++;
	counter_add(COUNTER_BACKEND_CONNECTIONS, 1);
	arm(backend);
	return backend;
}
