/* SPDX-License-Identifier: ISC */
/* Accepting clients; see acceptor.h. */
#include "proxy/acceptor.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "proxy/arrival.h"
#include "proxy/backend.h"
#include "proxy/door.h"
#include "proxy/replies.h"
#include "proxy/session.h"
#include "proxy/stream.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	ACCEPTS_A_TURN = 16,
	RESERVED_DESCRIPTORS = 64, /* listeners, channels, the log, epoll */
};

struct listener {
	struct acceptor *acceptor;
	const struct config_listen *listen;
	struct event *event;
	int fd;
};

struct acceptor {
	struct worker *worker;
	struct listener listeners[CONFIG_LISTENERS_MAX * CONFIG_ADDRESSES_MAX];
	size_t listener_count;
	struct door *door;
	struct arrivals *arrivals;
	size_t limit;       /* of sessions */
	size_t descriptors; /* of sessions, their good-byes and their backend connections */
	bool resting, stopped;
};

static void on_acceptable(evutil_socket_t fd, short what, void *arg);
static arrival_told_function on_told;

/* What the listeners, channels and the log leave; a session at work needs two. */
static size_t descriptor_limit(void)
{
	struct rlimit files = {0};

	if (getrlimit(RLIMIT_NOFILE, &files) == -1 || files.rlim_cur <= 4 * RESERVED_DESCRIPTORS)
		return RESERVED_DESCRIPTORS;
	return files.rlim_cur - RESERVED_DESCRIPTORS;
}

struct acceptor *acceptor_new(struct worker *worker, const struct child_start *start)
{
	struct acceptor *acceptor = calloc(1, sizeof *acceptor);

	if (acceptor == NULL)
		return NULL;
	acceptor->worker = worker;
	acceptor->descriptors = descriptor_limit();
	acceptor->limit = worker->config->limits.connections;
	if (acceptor->limit == 0 || acceptor->limit > acceptor->descriptors)
		acceptor->limit = acceptor->descriptors / 100 * 98;
	acceptor->door = door_new(&worker->config->limits);
	acceptor->arrivals = arrivals_new(
		worker->base, worker->config->timeouts.proxy_header_ms, on_told, acceptor);
	if (acceptor->door == NULL || acceptor->arrivals == NULL)
		goto fail;
	for (size_t i = 0; i < start->listener_count; i++) {
		struct listener *listener = &acceptor->listeners[acceptor->listener_count++];
		listener->acceptor = acceptor;
		listener->listen = &worker->config->listeners[start->listeners[i].listen];
		listener->fd = start->listeners[i].fd;
		listener->event = event_new(
			worker->base, listener->fd, EV_READ | EV_PERSIST, on_acceptable, listener);
		if (listener->event == NULL || event_add(listener->event, NULL) == -1)
			goto fail;
	}
	return acceptor;
fail:
	acceptor_free(&acceptor);
	return NULL;
}

void acceptor_free(struct acceptor **pointer)
{
	struct acceptor *acceptor = *pointer;

	if (acceptor == NULL)
		return;
	*pointer = NULL;
	for (size_t i = 0; i < acceptor->listener_count; i++) {
		if (acceptor->listeners[i].event != NULL)
			event_free(acceptor->listeners[i].event);
	}
	arrivals_free(&acceptor->arrivals);
	door_free(&acceptor->door);
	free(acceptor);
}

static void rest(struct acceptor *acceptor, bool resting)
{
	if (acceptor->resting == resting)
		return;
	acceptor->resting = resting;
	for (size_t i = 0; i < acceptor->listener_count; i++) {
		if (resting)
			event_del(acceptor->listeners[i].event);
		else
			event_add(acceptor->listeners[i].event, NULL);
	}
}

/* Backend connections count: a message at hand must not fail for a stranger's connection. */
static bool has_room(const struct acceptor *acceptor)
{
	size_t sessions =
		idmap_count(acceptor->worker->sessions) + arrivals_count(acceptor->arrivals);

	return sessions < acceptor->limit &&
	       sessions + stream_lingering() + backend_count() < acceptor->descriptors;
}

void acceptor_stop(struct acceptor *acceptor)
{
	rest(acceptor, true);
	acceptor->stopped = true;
	arrivals_keep(acceptor->arrivals, 0, "draining");
}

void acceptor_tick(struct acceptor *acceptor)
{
	if (!acceptor->stopped && has_room(acceptor))
		rest(acceptor, false);
}

/* ------------------------------------------------------------------------ the door */

void acceptor_session_closed(struct acceptor *acceptor, struct session *session)
{
	door_leave(acceptor->door, &session->client, &session->place);
	acceptor_tick(acceptor);
}

void acceptor_session_welcome(struct acceptor *acceptor, struct session *session)
{
	door_welcome(acceptor->door, &session->client, &session->place);
}

static struct session *session_of(struct door_place *place)
{
	return (struct session *)(void *)((char *)place - offsetof(struct session, place));
}

/* The stranger that waits longest makes room; one whose password is being checked may stay. */
static void make_room(struct acceptor *acceptor)
{
	struct door_place *place = door_oldest(acceptor->door);

	while (place != NULL && session_of(place)->state == CLIENT_LOGIN)
		place = door_next(place);
	if (place == NULL)
		place = door_oldest(acceptor->door);
	if (place != NULL)
		session_close_with(session_of(place), REPLY_OVERLOAD, "crowded out");
}

/* ---------------------------------------------------------------------- accepting */

/* Strangers of a network that is blocked now; those who logged in have proved who they are, and one
 * whose password is being checked is about to. */
static void turn_out(struct acceptor *acceptor, uint64_t now_ms)
{
	struct door_place *next, *place = door_oldest(acceptor->door);

	for (; place != NULL; place = next) {
		struct session *session = session_of(place);
		next = door_next(place);
		if (session->state == CLIENT_LOGIN ||
			!door_blocks(acceptor->door, &session->client, now_ms))
			continue;
		counter_add(COUNTER_CONNECTIONS_BLOCKED, 1);
		session_close_with(session, REPLY_BLOCKED, "network blocked");
	}
}

void acceptor_block(struct acceptor *acceptor, const struct ipc_block *block)
{
	uint64_t now_ms = clock_monotonic_ms();

	door_block(acceptor->door, block, now_ms);
	if (block->step == IPC_BLOCK_END)
		turn_out(acceptor, now_ms);
}

/* A client that may not stay hears why, where it can be said in the clear. */
static void turn_away(const struct config_listen *listen, int fd, enum reply_id reply)
{
	const char *bytes;
	size_t len = reply_text(reply, &bytes);

	counter_add(COUNTER_CONNECTIONS_REFUSED, 1);
	if (listen->tls == TLS_MODE_STARTTLS)
		(void)send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

static bool memory_short(const struct worker *worker)
{
	uint64_t limit = worker->config->limits.memory_bytes;

	return limit != 0 && stream_total_queued() > limit / 100 * 95;
}

static void take_in(struct acceptor *acceptor, const struct config_listen *listen, int fd,
	const struct session_origin *origin)
{
	if (memory_short(acceptor->worker)) {
		turn_away(listen, fd, REPLY_OVERLOAD);
		return;
	}
	switch (door_ask(acceptor->door, &origin->client, clock_monotonic_ms())) {
	case DOOR_OPEN:
		break;
	case DOOR_BLOCKED:
		counter_add(COUNTER_CONNECTIONS_BLOCKED, 1);
		turn_away(listen, fd, REPLY_BLOCKED);
		return;
	case DOOR_CONNECTIONS:
	case DOOR_STRANGERS:
		turn_away(listen, fd, REPLY_TOO_MANY_CONNECTIONS);
		return;
	}
	struct session *session = session_open(acceptor->worker, listen, fd, origin);
	if (session == NULL || session->state == CLIENT_CLOSED) /* an early talker */
		return;
	if (!door_enter(acceptor->door, &origin->client, &session->place))
		session_close_with(session, REPLY_OVERLOAD, "out of memory");
	else if (door_crowded(acceptor->door))
		make_room(acceptor);
}

static void on_told(int fd, const struct config_listen *listen, const struct address *client,
	const struct address *via, void *arg)
{
	struct session_origin origin = {.client = *client, .untold = via == NULL};

	if (via != NULL)
		origin.via = *via;
	take_in(arg, listen, fd, &origin);
}

static void welcome_or_ask(struct listener *listener, int fd, const struct address *peer)
{
	struct acceptor *acceptor = listener->acceptor;
	struct session_origin origin = {.client = *peer};

	counter_add(COUNTER_CONNECTIONS, 1);
	switch (listener->listen->proxy_protocol) {
	case LISTEN_PROXY_NONE:
		take_in(acceptor, listener->listen, fd, &origin);
		break;
	case LISTEN_PROXY_REQUIRED:
		arrivals_add(acceptor->arrivals, fd, peer, listener->listen);
		/* They are strangers of whom less is known. */
		arrivals_keep(acceptor->arrivals, acceptor->worker->config->limits.unauthenticated,
			"crowded out");
		break;
	}
}

/* A few a turn: the other workers want some as well, and sessions at work must not wait. */
static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	struct acceptor *acceptor = listener->acceptor;
	struct sockaddr_storage from;
	struct address peer;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		if (!has_room(acceptor)) {
			rest(acceptor, true);
			return;
		}
		socklen_t len = sizeof from;
		int accepted =
			accept4(fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted == -1) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				errno == ENOMEM) {
				log_message(LOG_ERROR, "accept", "%s", strerror(errno));
				rest(acceptor, true);
			}
			return;
		}
		if (address_from_sockaddr((struct sockaddr *)&from, len, &peer))
			welcome_or_ask(listener, accepted, &peer);
		else
			close(accepted);
	}
}
