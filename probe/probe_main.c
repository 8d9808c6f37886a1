/* SPDX-License-Identifier: ISC */
/*
 * The probe process: asks every backend server how it is, and tells every attached proxy.
 *
 * Owns the channels to the proxies; watch.c owns the servers.  It talks to servers only, never to a
 * client or the database, and takes no message from a proxy.
 */
#include "probe/probe_main.h"

#include "common/channel.h"
#include "common/log.h"
#include "probe/watch.h"

#include <unistd.h>

enum { PROXIES_MAX = 4 * CONFIG_WORKERS_MAX }; /* four generations of proxies */

struct probe {
	struct event_base *base;
	struct watch *watch;
	struct channel *proxies[PROXIES_MAX]; /* NULL: a free place */
};

/* ------------------------------------------------------------------ proxies */
static void tell_proxy(const struct ipc_server_state *state, void *arg)
{
	struct channel *channel = arg;

	/* When it does not take it, on_close follows. */
	(void)channel_send(channel, IPC_SERVER_STATE, 0, state, sizeof *state);
}

static void tell_proxies(const struct ipc_server_state *state, void *arg)
{
	struct probe *probe = arg;

	for (size_t i = 0; i < PROXIES_MAX; i++) {
		if (probe->proxies[i] != NULL)
			tell_proxy(state, probe->proxies[i]);
	}
}

static void forget_proxy(struct probe *probe, struct channel *channel)
{
	for (size_t i = 0; i < PROXIES_MAX; i++) {
		if (probe->proxies[i] == channel)
			channel_close(&probe->proxies[i]);
	}
}

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	(void)id;
	(void)payload;
	log_message(LOG_WARNING, "channel-closed", "a proxy sent %s, which probe never takes",
		ipc_name(type));
	forget_proxy(arg, channel);
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	log_message(LOG_INFO, "channel-closed", "a proxy: %s", reason);
	forget_proxy(arg, channel);
}

static const struct channel_events channel_events = {.on_frame = on_frame, .on_close = on_close};

/* A channel that a crashed proxy left is closed by its own end. */
static void on_channel(enum ipc_process peer, unsigned index, int fd, void *arg)
{
	struct probe *probe = arg;
	size_t place = 0;

	while (place < PROXIES_MAX && probe->proxies[place] != NULL)
		place++;
	if (peer != IPC_PROCESS_PROXY || place == PROXIES_MAX) {
		log_message(LOG_ERROR, "channel-refused", "%s %u",
			place == PROXIES_MAX ? "no place for proxy" : "not a proxy's:", index);
		close(fd);
		return;
	}
	probe->proxies[place] = channel_open(probe->base, fd, &channel_events, probe);
	if (probe->proxies[place] == NULL)
		log_message(LOG_ERROR, "channel-refused", "proxy %u: out of memory", index);
	else
		watch_tell_all(probe->watch, tell_proxy, probe->proxies[place]);
}

/* Nothing of a probe is worth waiting for. */
static void on_drain(void *arg)
{
	struct probe *probe = arg;

	event_base_loopexit(probe->base, NULL);
}

static const struct child_events child_events = {.on_channel = on_channel, .on_drain = on_drain};

/* -------------------------------------------------------------------- start */
static int out_of_memory(void)
{
	log_message(LOG_ERROR, "start", "out of memory");
	log_flush();
	return 1;
}

int probe_main(const struct child_start *start)
{
	static struct probe probe;
	struct child *child;

	config_forget_secrets(start->config);
	child_confine(start, CHILD_SYSCALLS_NETWORK, NULL);
	probe.base = event_base_new();
	if (probe.base == NULL)
		return out_of_memory();
	child = child_attach(probe.base, start, &child_events, &probe);
	if (child == NULL)
		return out_of_memory();
	/* After child_attach(): the gauges go to this process's own page. */
	probe.watch = watch_new(probe.base, start->config, tell_proxies, &probe);
	if (probe.watch == NULL)
		return out_of_memory();
	child_ready(child);
	event_base_dispatch(probe.base);
	watch_destroy(&probe.watch);
	for (size_t i = 0; i < PROXIES_MAX; i++)
		channel_close(&probe.proxies[i]);
	child_detach(&child);
	event_base_free(probe.base);
	log_flush();
	return 0;
}
