/* SPDX-License-Identifier: ISC */
/* What decides takes, put together, and its clock; see serve.h. */
#include "auth/serve.h"

#include "common/clock.h"

#include <sodium.h>
#include <string.h>

enum {
	TAKE_EXPIRE_MORE_MS = 3600000, /* after the transaction's own deadline */
	SEQ_SHIFT = 20,                /* a million calls a millisecond do not overtake the clock */
};

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct service *service = arg;

	(void)fd;
	(void)what;
	service->quota_due_ms = 0;
	quota_tick(service->quota, clock_monotonic_ms());
}

/* The earliest wish counts; a tick asks anew for what is still wanted. */
static void wake(uint64_t in_ms, void *arg)
{
	struct service *service = arg;
	uint64_t due_ms = clock_monotonic_ms() + in_ms;
	const struct timeval tv = {(time_t)(in_ms / 1000), (suseconds_t)(in_ms % 1000 * 1000)};

	if (service->quota_due_ms != 0 && service->quota_due_ms <= due_ms)
		return;
	service->quota_due_ms = due_ms;
	event_add(service->quota_due, &tv);
}

/* Another one with each start: what an earlier one left is not mistaken for ours. */
static uint64_t random_node(void)
{
	uint64_t node;

	randombytes_buf(&node, sizeof node);
	return (node >> 1) | 1;
}

void serve_quota_lane(struct service *service, size_t lane, bool ready)
{
	if (service->quota != NULL)
		quota_lane(service->quota, lane, ready);
}

bool serve_quota(struct service *service)
{
	uint64_t expire_ms =
		(uint64_t)service->config->timeouts.transaction_ms + TAKE_EXPIRE_MORE_MS;
	struct quota_settings settings = {
		.wake = wake,
		.taken = serve_taken,
		.returned = serve_returned,
		.arg = service,
	};

	if (service->node == 0)
		service->node = random_node();
	settings.node = service->node;
	settings.seq = clock_wall_ms() << SEQ_SHIFT; /* beyond those of the auth before */
	for (size_t i = 0; i < TAKE_LANES; i++)
		settings.lanes[i] = (struct take_lane){database_query, service->quotas[i]};
	service->quota_due = evtimer_new(service->base, on_due, service);
	service->refusals = quota_memory_new();
	service->transactions = transactions_new(expire_ms, serve_give_back, serve_keep, service);
	service->quota = quota_new(&settings);
	return service->quota_due != NULL && service->refusals != NULL &&
	       service->transactions != NULL && service->quota != NULL;
}

void serve_quota_destroy(struct service *service)
{
	quota_destroy(&service->quota);
	quota_memory_destroy(&service->refusals);
	transactions_destroy(&service->transactions);
	if (service->quota_due != NULL)
		event_free(service->quota_due);
	service->quota_due = NULL;
}
