/* SPDX-License-Identifier: ISC */
/* The servers under watch; see watch.h. */
#include "probe/watch.h"

#include "common/counters.h"
#include "common/id.h"
#include "common/log.h"
#include "probe/attempt.h"

#include <stdlib.h>

struct server {
	struct watch *watch;
	struct event *timer;     /* the next probe */
	struct attempt *attempt; /* NULL: between two probes */
	bool known;              /* state is of a probe */
	struct ipc_server_state state;
};

struct watch {
	struct event_base *base;
	const struct config *config;
	watch_on_state *on_state;
	void *arg;
	size_t count;
	struct server servers[];
};

unsigned watch_delay_ms(unsigned interval_ms, bool up, uint64_t random)
{
	unsigned ms = !up && interval_ms > WATCH_RETRY_MS ? WATCH_RETRY_MS : interval_ms;
	unsigned tenth = ms / 10;

	return ms - tenth + (unsigned)(random % (2 * tenth + 1));
}

static const struct config_backend *backend_of(const struct server *server)
{
	return &server->watch->config->backends[server->state.backend];
}

static void schedule(struct server *server, unsigned ms)
{
	struct timeval in = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

	if (evtimer_add(server->timer, &in) == -1)
		log_message(LOG_ERROR, "probe-timer", "backend %s is not probed any more",
			backend_of(server)->name);
}

static void schedule_next(struct server *server)
{
	schedule(server, watch_delay_ms(server->watch->config->probe_interval_ms,
				 server->known && server->state.up != 0, id_new()));
}

/* ------------------------------------------------------------------ verdicts */
static void log_change(const struct server *server, const struct attempt_verdict *verdict)
{
	const struct config_backend *backend = backend_of(server);
	struct log_line line;
	char address[ADDRESS_TEXT_MAX], offers[CAPABILITY_TEXT_MAX];

	log_begin(&line, verdict->up ? LOG_INFO : LOG_WARNING,
		verdict->up ? "backend-up" : "backend-down");
	log_text(&line, "backend", backend->name);
	log_text(&line, "server", address_format(&backend->servers[server->state.server], address));
	if (verdict->up) {
		log_text(&line, "offers", capability_format(&verdict->capabilities, offers));
	} else {
		log_text(&line, "reason", verdict->reason);
		if (verdict->code != 0)
			log_uint(&line, "code", verdict->code);
	}
	log_end(&line);
}

static void count_up(const struct watch *watch)
{
	uint64_t up = 0;

	for (size_t i = 0; i < watch->count; i++)
		up += watch->servers[i].state.up;
	counter_set(COUNTER_BACKENDS_UP, up);
}

/* Returns whether the offer is another than before. */
static bool take_offer(struct ipc_server_state *state, const struct capability_set *offer)
{
	bool same = state->capabilities == offer->bits && state->size == offer->size &&
		    state->rcpt_max == offer->rcpt_max && state->mail_max == offer->mail_max &&
		    state->rcpt_domain_max == offer->rcpt_domain_max;

	state->capabilities = offer->bits;
	state->size = offer->size;
	state->rcpt_max = offer->rcpt_max;
	state->mail_max = offer->mail_max;
	state->rcpt_domain_max = offer->rcpt_domain_max;
	return !same;
}

static void on_verdict(const struct attempt_verdict *verdict, void *arg)
{
	struct server *server = arg;
	struct ipc_server_state *state = &server->state;
	bool changed = !server->known || (state->up != 0) != verdict->up;

	counter_add(COUNTER_PROBES, 1);
	if (!verdict->up)
		counter_add(COUNTER_PROBES_FAILED, 1);
	/* What a server offered when it was last reached stays with its state. */
	if (verdict->up)
		changed |= take_offer(state, &verdict->capabilities);
	state->up = verdict->up;
	server->known = true;
	if (changed)
		log_change(server, verdict);
	count_up(server->watch);
	server->watch->on_state(state, server->watch->arg);
}

static void on_over(void *arg)
{
	struct server *server = arg;

	attempt_destroy(&server->attempt);
	schedule_next(server);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct server *server = arg;
	struct watch *watch = server->watch;

	(void)fd;
	(void)what;
	server->attempt = attempt_start(watch->base, watch->config, backend_of(server),
		server->state.server, on_verdict, on_over, server);
	if (server->attempt == NULL) {
		log_message(
			LOG_ERROR, "probe", "backend %s: out of memory", backend_of(server)->name);
		schedule_next(server);
	}
}

/* ------------------------------------------------------------------ lifetime */
static bool add_server(struct watch *watch, size_t backend, size_t index)
{
	struct server *server = &watch->servers[watch->count++];

	server->watch = watch;
	server->state.backend = (uint16_t)backend;
	server->state.server = (uint16_t)index;
	server->timer = evtimer_new(watch->base, on_timer, server);
	if (server->timer == NULL)
		return false;
	schedule(server, 0);
	return true;
}

struct watch *watch_new(
	struct event_base *base, const struct config *config, watch_on_state *on_state, void *arg)
{
	size_t count = 0;
	struct watch *watch;

	for (size_t i = 0; i < config->backend_count; i++)
		count += config->backends[i].server_count;
	watch = calloc(1, sizeof *watch + count * sizeof watch->servers[0]);
	if (watch == NULL)
		return NULL;
	watch->base = base;
	watch->config = config;
	watch->on_state = on_state;
	watch->arg = arg;
	for (size_t i = 0; i < config->backend_count; i++) {
		for (size_t j = 0; j < config->backends[i].server_count; j++) {
			if (!add_server(watch, i, j)) {
				watch_destroy(&watch);
				return NULL;
			}
		}
	}
	counter_set(COUNTER_BACKENDS_CONFIGURED, count);
	counter_set(COUNTER_BACKENDS_UP, 0);
	return watch;
}

void watch_tell_all(const struct watch *watch, watch_on_state *on_state, void *arg)
{
	for (size_t i = 0; i < watch->count; i++) {
		if (watch->servers[i].known)
			on_state(&watch->servers[i].state, arg);
	}
}

void watch_destroy(struct watch **pointer)
{
	struct watch *watch = *pointer;

	*pointer = NULL;
	if (watch == NULL)
		return;
	for (size_t i = 0; i < watch->count; i++) {
		attempt_destroy(&watch->servers[i].attempt);
		if (watch->servers[i].timer != NULL)
			event_free(watch->servers[i].timer);
	}
	free(watch);
}
