/* SPDX-License-Identifier: ISC */
/* What decides takes, put together, and its clock; see serve.h. */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	ALIVE_MS = 10 * 1000,
	SEQ_SHIFT = 40, /* so many calls between two starts */
};

uint64_t service_take_expires_ms(const struct config *config)
{
	return (uint64_t)config->timeouts.transaction_ms + TAKE_EXPIRE_MORE_MS;
}

static void tick(struct service *service, uint64_t now_ms)
{
	quota_tick(service->quota, now_ms);
	holds_tick(service->holds, now_ms);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct service *service = arg;

	(void)fd;
	(void)what;
	service->quota_due_ms = 0;
	tick(service, clock_monotonic_ms());
}

/* The earliest wish counts; a tick asks anew for what is still wanted. */
void serve_quota_wake(uint64_t in_ms, void *arg)
{
	struct service *service = arg;
	uint64_t due_ms = clock_monotonic_ms() + in_ms;
	const struct timeval tv = {(time_t)(in_ms / 1000), (suseconds_t)(in_ms % 1000 * 1000)};

	if (service->quota_due_ms != 0 && service->quota_due_ms <= due_ms)
		return;
	service->quota_due_ms = due_ms;
	event_add(service->quota_due, &tv);
}

/* ----------------------------------------------------------------- the node */
static void on_alive(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	uint64_t live;

	(void)arg;
	(void)token;
	if (result == DATABASE_ROWS && query_parse_count(rows, &live))
		counter_set(COUNTER_NODES, live);
}

/* The shares of leases depend on how many there are, and what a dead one held is let go. */
static void tell_alive(struct service *service, uint64_t now_ms)
{
	char node[24];
	const char *values[] = {node, service->config->hostname};

	if (service->alive_ms != 0 && now_ms - service->alive_ms < ALIVE_MS)
		return;
	snprintf(node, sizeof node, "%" PRIu64, service->node);
	if (service->config->hostname != NULL && database_ready(service->quotas[0]) &&
		database_query(service->quotas[0], QUERY_NODE_ALIVE, values, on_alive, NULL, 0))
		service->alive_ms = now_ms;
}

void serve_quota_tick(struct service *service, uint64_t now_ms)
{
	tell_alive(service, now_ms);
	serve_order_tick(service, now_ms);
	tick(service, now_ms);
}

bool serve_quota_away(const struct service *service)
{
	for (size_t i = 0; i < TAKE_LANES; i++) {
		if (service->quotas_ready[i])
			return false;
	}
	return true;
}

void serve_quota_lane(struct service *service, size_t lane, bool ready)
{
	if (service->quota != NULL)
		quota_lane(service->quota, lane, ready);
}

static void on_freed(uint64_t account, uint64_t credential, void *arg)
{
	struct service *service = arg;

	quota_memory_forget(service->known_empty, account, credential);
}

bool serve_quota(struct service *service)
{
	struct quota_settings settings = {
		.wake = serve_quota_wake,
		.taken = serve_taken,
		.returned = serve_returned,
		.freed = on_freed,
		.arg = service,
	};

	settings.node = service->node;
	settings.seq = service->boot << SEQ_SHIFT; /* beyond those of the auth before */
	for (size_t i = 0; i < TAKE_LANES; i++)
		settings.lanes[i] = (struct take_lane){database_query, service->quotas[i]};
	service->quota_due = evtimer_new(service->base, on_due, service);
	service->known_empty = quota_memory_new();
	service->burst = burst_new();
	service->transactions = transactions_new(service_take_expires_ms(service->config),
		serve_recorded_give_back, serve_keep, service);
	service->quota = quota_new(&settings);
	return serve_holds(service) && service->quota_due != NULL && service->known_empty != NULL &&
	       service->burst != NULL && service->transactions != NULL && service->quota != NULL;
}

void serve_quota_destroy(struct service *service)
{
	serve_order_destroy(service);
	quota_destroy(&service->quota);
	quota_memory_destroy(&service->known_empty);
	burst_destroy(&service->burst);
	holds_destroy(&service->holds);
	transactions_destroy(&service->transactions);
	if (service->quota_due != NULL)
		event_free(service->quota_due);
	service->quota_due = NULL;
}
