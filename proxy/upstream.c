/* SPDX-License-Identifier: ISC */
/* The table of backend servers as probe sees them; see upstream.h. */
#include "proxy/upstream.h"

#include <stdlib.h>

struct server {
	bool reported, up;
	bool seen; /* capabilities are of a probe that reached it, perhaps an earlier one */
	struct capability_set capabilities;
};

struct upstream {
	const struct config *config;
	struct server servers[CONFIG_BACKENDS_MAX][CONFIG_SERVERS_MAX];
};

struct upstream *upstream_new(const struct config *config)
{
	struct upstream *upstream = calloc(1, sizeof *upstream);

	if (upstream != NULL)
		upstream->config = config;
	return upstream;
}

void upstream_free(struct upstream **upstream)
{
	free(*upstream);
	*upstream = NULL;
}

void upstream_report(struct upstream *upstream, const struct ipc_server_state *state)
{
	if (state->backend >= upstream->config->backend_count ||
		state->server >= upstream->config->backends[state->backend].server_count)
		return;
	struct server *server = &upstream->servers[state->backend][state->server];
	server->reported = true;
	server->up = state->up != 0;
	if (!server->up)
		return;
	server->seen = true;
	server->capabilities = (struct capability_set){
		.bits = state->capabilities,
		.size = state->size,
		.rcpt_max = state->rcpt_max,
		.mail_max = state->mail_max,
		.rcpt_domain_max = state->rcpt_domain_max,
	};
}

struct capability_set upstream_offer(const struct upstream *upstream, size_t backend)
{
	struct capability_set offer = {.bits = 0};
	bool any = false;

	for (size_t i = 0; i < upstream->config->backends[backend].server_count; i++) {
		const struct server *server = &upstream->servers[backend][i];
		if (!server->seen)
			continue;
		if (any)
			capability_intersect(&offer, &server->capabilities);
		else
			offer = server->capabilities;
		any = true;
	}
	return offer;
}

int upstream_choose(const struct upstream *upstream, size_t backend, unsigned tried)
{
	int down = -1;

	for (size_t i = 0; i < upstream->config->backends[backend].server_count; i++) {
		const struct server *server = &upstream->servers[backend][i];
		if ((tried & 1u << i) != 0)
			continue;
		if (!server->reported || server->up)
			return (int)i;
		if (down == -1)
			down = (int)i;
	}
	return down;
}
