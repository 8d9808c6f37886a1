/* SPDX-License-Identifier: ISC */
/* Accepting clients; see acceptor.h. */
#include "proxy/acceptor.h"

#include "common/counters.h"
#include "common/log.h"
#include "proxy/replies.h"
#include "proxy/session.h"
#include "proxy/stream.h"

#include <errno.h>
#include <sodium.h>
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
	struct idmap *clients; /* keyed hash of the address -> how many sessions, as a pointer */
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	size_t limit; /* of sessions */
	bool resting, stopped;
};

static void on_acceptable(evutil_socket_t fd, short what, void *arg);

/* A session and a message at hand need two descriptors; idle ones need one. */
static size_t session_limit(const struct config *config)
{
	struct rlimit files = {0};
	size_t limit = 1024;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > 4 * RESERVED_DESCRIPTORS)
		limit = (files.rlim_cur - RESERVED_DESCRIPTORS) / 100 * 98;
	if (config->limits.connections != 0 && config->limits.connections < limit)
		limit = config->limits.connections;
	return limit;
}

struct acceptor *acceptor_new(struct worker *worker, const struct child_start *start)
{
	struct acceptor *acceptor = calloc(1, sizeof *acceptor);

	if (acceptor == NULL)
		return NULL;
	acceptor->worker = worker;
	acceptor->limit = session_limit(worker->config);
	acceptor->clients = idmap_new();
	if (acceptor->clients == NULL)
		goto fail;
	crypto_shorthash_keygen(acceptor->hash_key);
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
	idmap_destroy(&acceptor->clients);
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

void acceptor_stop(struct acceptor *acceptor)
{
	rest(acceptor, true);
	acceptor->stopped = true;
}

void acceptor_tick(struct acceptor *acceptor)
{
	if (!acceptor->stopped && idmap_count(acceptor->worker->sessions) < acceptor->limit)
		rest(acceptor, false);
}

/* ----------------------------------------------------------- sessions an address */

static uint64_t client_key(const struct acceptor *acceptor, const struct address *client)
{
	struct address_key key = address_prefix(client, 32, 64);
	uint64_t hash;

	_Static_assert(sizeof hash == crypto_shorthash_BYTES, "a hash is an id");
	crypto_shorthash((uint8_t *)&hash, key.bytes, sizeof key.bytes, acceptor->hash_key);
	return hash;
}

/* Counts one more from the address; false: it has as many as it may. */
static bool admit(struct acceptor *acceptor, const struct address *client)
{
	uint64_t key = client_key(acceptor, client);
	uintptr_t count = (uintptr_t)idmap_take(acceptor->clients, key);
	bool ok = count < acceptor->worker->config->limits.connections_per_ip;

	count += ok;
	return (count == 0 || idmap_put(acceptor->clients, key, (void *)count)) && ok;
}

void acceptor_session_closed(struct acceptor *acceptor, const struct address *client)
{
	uint64_t key = client_key(acceptor, client);
	uintptr_t count = (uintptr_t)idmap_take(acceptor->clients, key);

	if (count > 1 && !idmap_put(acceptor->clients, key, (void *)(count - 1)))
		log_message(LOG_ERROR, "out-of-memory", "an address is counted no more");
	acceptor_tick(acceptor);
}

/* ---------------------------------------------------------------------- accepting */

/* A client that may not stay hears why, where it can be said in the clear. */
static void turn_away(const struct listener *listener, int fd, enum reply_id reply)
{
	const char *bytes;
	size_t len = reply_text(reply, &bytes);

	counter_add(COUNTER_CONNECTIONS_REFUSED, 1);
	if (listener->listen->tls == TLS_MODE_STARTTLS)
		(void)send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

static bool memory_short(const struct worker *worker)
{
	uint64_t limit = worker->config->limits.memory_bytes;

	return limit != 0 && stream_total_queued() > limit / 100 * 95;
}

static void take_in(struct listener *listener, int fd, const struct address *client)
{
	struct acceptor *acceptor = listener->acceptor;

	counter_add(COUNTER_CONNECTIONS, 1);
	if (memory_short(acceptor->worker)) {
		turn_away(listener, fd, REPLY_OVERLOAD);
		return;
	}
	if (!admit(acceptor, client)) {
		turn_away(listener, fd, REPLY_TOO_MANY_CONNECTIONS);
		return;
	}
	if (session_open(acceptor->worker, listener->listen, fd, client) == NULL)
		acceptor_session_closed(acceptor, client);
}

/* A few a turn: the other workers want some as well, and sessions at work must not wait. */
static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	struct acceptor *acceptor = listener->acceptor;
	struct sockaddr_storage from;
	struct address client;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		if (idmap_count(acceptor->worker->sessions) + stream_lingering() >=
			acceptor->limit) {
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
		if (address_from_sockaddr((struct sockaddr *)&from, len, &client))
			take_in(listener, accepted, &client);
		else
			close(accepted);
	}
}
