/* SPDX-License-Identifier: ISC */
/*
 * The proxy process: reads certificates, gives up its privileges, then serves clients until it is
 * told to drain.  Owns struct worker.
 */
#include "proxy/proxy_main.h"

#include "common/channel.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/secret.h"
#include "proxy/acceptor.h"
#include "proxy/auth_client.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/tls.h"
#include "proxy/upstream.h"

#include <malloc.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	SECRET_SLOTS = 8, /* a secret is held only while one line is handled */
	TRIM_DROP_BYTES =
		64 * 1024 * 1024, /* queued bytes this far below their peak: malloc_trim */
	DRAIN_LOOK_MS = 50,
};

struct proxy {
	struct worker worker;
	struct channel *probe;
	struct event drain_timer;
	uint64_t drain_until_ms;
	uint64_t queued_peak;
	uint8_t ticket_seed[TLS_SEED_BYTES];
};

/* -------------------------------------------------------------------- channels */

static void on_probe_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	struct proxy *proxy = arg;

	(void)channel;
	(void)id;
	if (type == IPC_SERVER_STATE)
		upstream_report(proxy->worker.upstream, payload);
	else
		log_message(LOG_ERROR, "unexpected-frame", "%s from probe", ipc_name(type));
}

static void on_probe_close(struct channel *channel, const char *reason, void *arg)
{
	struct proxy *proxy = arg;

	(void)channel;
	log_message(LOG_WARNING, "probe-away", "channel %s; its last reports stay in use", reason);
	channel_close(&proxy->probe);
}

static const struct channel_events probe_events = {
	.on_frame = on_probe_frame,
	.on_close = on_probe_close,
};

static void on_channel(enum ipc_process peer, unsigned index, int fd, void *arg)
{
	struct proxy *proxy = arg;

	(void)index;
	if (peer == IPC_PROCESS_AUTH) {
		auth_client_attach(proxy->worker.auth, fd);
	} else if (peer == IPC_PROCESS_PROBE) {
		channel_close(&proxy->probe);
		proxy->probe = channel_open(proxy->worker.base, fd, &probe_events, proxy);
	} else {
		log_message(LOG_ERROR, "unexpected-channel", "from process kind %d", (int)peer);
		evutil_closesocket(fd);
	}
}

/* ----------------------------------------------------------------------- drain */

static void drain_one(uint64_t id, void *value, void *arg)
{
	(void)id;
	(void)arg;
	session_drain(value);
}

static void close_one(uint64_t id, void *value, void *arg)
{
	(void)id;
	(void)arg;
	session_close_with(value, REPLY_SHUTTING_DOWN, "drain timeout");
}

/* Ends the loop when the last session and the last good-bye are over, or the time is. */
static void on_drain_timer(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval again = {0, DRAIN_LOOK_MS * 1000};
	struct proxy *proxy = arg;
	bool late = clock_monotonic_ms() >= proxy->drain_until_ms;

	(void)fd;
	(void)what;
	idmap_each(proxy->worker.sessions, late ? close_one : drain_one, NULL);
	bool settled = auth_client_unsettled(proxy->worker.auth) == 0 ||
		       !auth_client_attached(proxy->worker.auth);
	if ((idmap_count(proxy->worker.sessions) == 0 && settled && stream_lingering() == 0) ||
		clock_monotonic_ms() >= proxy->drain_until_ms + 2 * STREAM_LINGER_MS)
		event_base_loopexit(proxy->worker.base, NULL);
	else
		evtimer_add(&proxy->drain_timer, &again);
}

static void on_drain(void *arg)
{
	struct proxy *proxy = arg;

	if (proxy->worker.draining)
		return;
	proxy->worker.draining = true;
	proxy->drain_until_ms = clock_monotonic_ms() + proxy->worker.config->timeouts.drain_ms;
	acceptor_stop(proxy->worker.acceptor);
	log_message(LOG_INFO, "drain", "%zu sessions", idmap_count(proxy->worker.sessions));
	on_drain_timer(-1, 0, proxy);
}

/* ------------------------------------------------------------------------ tick */

/* What a burst left behind goes back to the system; on a calm heap this costs nothing. */
static void trim(struct proxy *proxy)
{
	uint64_t queued = stream_total_queued();

	if (queued > proxy->queued_peak)
		proxy->queued_peak = queued;
	if (proxy->queued_peak < queued + TRIM_DROP_BYTES)
		return;
	malloc_trim(0);
	proxy->queued_peak = queued;
}

static void on_tick(uint64_t now_ms, void *arg)
{
	struct proxy *proxy = arg;

	(void)now_ms;
	counter_set(COUNTER_QUEUED_BYTES, stream_total_queued());
	acceptor_tick(proxy->worker.acceptor);
	auth_client_tick(proxy->worker.auth);
	trim(proxy);
}

static void on_reaper(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	while (worker->closed != NULL) {
		struct session *session = worker->closed;
		worker->closed = session->next_closed;
		free(session);
	}
}

/* ----------------------------------------------------------------------- start */

static bool load_certificates(struct proxy *proxy)
{
	const struct config *config = proxy->worker.config;
	char error[400];

	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listen *listen = &config->listeners[i];
		const struct config_certificate *certificate =
			&config->certificates[listen->certificate];
		proxy->worker.tls[i] = tls_context_new(listen->name, certificate->chain,
			certificate->key, proxy->ticket_seed, error, sizeof error);
		if (proxy->worker.tls[i] == NULL) {
			log_message(
				LOG_ERROR, "certificate", "listen \"%s\": %s", listen->name, error);
			return false;
		}
	}
	return true;
}

static bool make_worker(struct proxy *proxy, const struct child_start *start)
{
	struct worker *worker = &proxy->worker;

	worker->base = event_base_new();
	worker->sessions = idmap_new();
	worker->upstream = upstream_new(worker->config);
	worker->auth = auth_client_new(worker, &relay_answers);
	if (worker->base == NULL || worker->sessions == NULL || worker->upstream == NULL ||
		worker->auth == NULL)
		return false;
	evtimer_assign(&worker->reaper, worker->base, on_reaper, worker);
	evtimer_assign(&proxy->drain_timer, worker->base, on_drain_timer, proxy);
	worker->acceptor = acceptor_new(worker, start);
	return worker->acceptor != NULL;
}

static void free_worker(struct proxy *proxy)
{
	struct worker *worker = &proxy->worker;

	if (worker->sessions != NULL)
		idmap_each(worker->sessions, close_one, NULL);
	on_reaper(-1, 0, worker);
	evtimer_del(&worker->reaper);
	evtimer_del(&proxy->drain_timer);
	acceptor_free(&worker->acceptor);
	auth_client_free(&worker->auth);
	channel_close(&proxy->probe);
	upstream_free(&worker->upstream);
	idmap_destroy(&worker->sessions);
	for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++)
		tls_context_free(&worker->tls[i]);
	event_base_free(worker->base);
	secret_slab_close();
}

static const struct child_events child_events = {
	.on_channel = on_channel,
	.on_drain = on_drain,
	.on_tick = on_tick,
};

int proxy_main(const struct child_start *start)
{
	static struct proxy proxy;
	struct child *child;

	secret_wipe_libevent();
	secret_wipe_openssl();
	proxy.worker.config = start->config;
	memcpy(proxy.ticket_seed, start->ticket_seed, sizeof proxy.ticket_seed);
	if (sodium_init() == -1 || !secret_slab_open(SECRET_SLOTS)) {
		log_message(LOG_ERROR, "start", "no memory for secrets: raise LimitMEMLOCK");
		return 1;
	}
	if (!load_certificates(&proxy))
		return 1;
	stream_set_pressure(start->config->limits.memory_bytes / 100 * 80);
	child_confine(start, CHILD_SYSCALLS_NETWORK, NULL);
	if (!make_worker(&proxy, start)) {
		log_message(LOG_ERROR, "start", "out of memory");
		return 1;
	}
	child = child_attach(proxy.worker.base, start, &child_events, &proxy);
	if (child == NULL) {
		log_message(LOG_ERROR, "start", "out of memory");
		return 1;
	}
	child_ready(child);
	event_base_dispatch(proxy.worker.base);
	child_detach(&child);
	free_worker(&proxy);
	log_flush();
	return 0;
}
