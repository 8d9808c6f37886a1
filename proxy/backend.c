/* SPDX-License-Identifier: ISC */
/*
 * A backend connection: opening, states, deadlines, ends; see backend.h.  What is said on it is in
 * backend_dialogue.c.
 */
#include "proxy/backend_parts.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static size_t connections;

size_t backend_count(void)
{
	return connections;
}

void backend_set_state(struct backend *backend, enum backend_state state)
{
	require(state == STATE_DEAD || (states[backend->state].moves & 1u << state) != 0);
	if (log_enabled(LOG_DEBUG))
		log_message(LOG_DEBUG, "backend-state", "%s -> %s", states[backend->state].name,
			states[state].name);
	backend->state = state;
}

void backend_enter(struct backend *backend)
{
	backend->depth++;
}

static void destroy(struct backend *backend)
{
	smtp_reply_free(&backend->reply);
	free(backend);
}

bool backend_leave(struct backend *backend)
{
	bool alive = !backend->aborted;

	if (--backend->depth == 0 && !alive)
		destroy(backend);
	return alive;
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

void backend_arm(struct backend *backend)
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

void backend_die(struct backend *backend, const char *reason)
{
	enum backend_state before = backend->state;

	if (before == STATE_DEAD)
		return;
	backend_set_state(backend, STATE_DEAD);
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
			backend_die(backend, "timeout");
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

void backend_set_idle(struct backend *backend, bool idle)
{
	backend->idle = idle;
	if (backend->state == STATE_READY)
		backend_arm(backend);
}

bool backend_ready(const struct backend *backend)
{
	return backend->state == STATE_READY;
}

const struct address *backend_address(const struct backend *backend)
{
	return &backend->where->servers[backend->server];
}

/* -------------------------------------------------------------------- opening */

static void on_connected(void *arg)
{
	struct backend *backend = arg;

	backend_set_state(backend, STATE_GREETING);
	backend_arm(backend);
}

static void on_drained(void *arg)
{
	struct backend *backend = arg;

	backend_arm(backend);
	backend->events->on_drained(backend->arg);
}

static void on_end(enum stream_end end, void *arg)
{
	struct backend *backend = arg;

	backend->ended = true;
	if (backend->state == STATE_CONNECTING)
		backend_die(backend, errno != 0 ? strerror(errno) : "cannot connect");
	else
		backend_die(backend, end == STREAM_EOF ? "closed by it" : "connection lost");
}

static const struct stream_events stream_events = {
	.on_bytes = backend_on_bytes,
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
	backend_arm(backend);
	return backend;
}
