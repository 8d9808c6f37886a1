/* SPDX-License-Identifier: ISC */
/*
 * What the guard shares: its records and the blocks live in the database, and the proxies are told
 * which networks may not come in.  See serve.h, guard.h and guard_store.h.
 *
 * Blocks are asked for every few seconds, and at once when the feed tells of a change.  Records are
 * loaded before the first log-in; afterwards what changed is saved every few seconds, and what the
 * other nodes saved is taken in, so that an owner is known to all of them.  What could not be saved
 * waits.
 */
#include "auth/serve.h"

#include "auth/guard_store.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCKS_POLL_MS = 5 * 1000,
	SAVE_MS = 3 * 1000,
	SAVE_MAX = 256, /* records in one statement */
	LOAD_MAX = 200000,
	LOAD_ALL_S = 500 * 24 * 60 * 60, /* more than anything is kept */
	RELOAD_MS = 5 * 1000,
	RELOAD_OVERLAP_S = 10, /* for what was saved before a load, and committed after it */
	LOAD_MS = 3 * 1000,    /* log-ins wait so long for what the guard remembers */
};

struct serve_guard {
	struct service *service;
	bool loaded, loading, asking, ask_again, saving;
	uint64_t began_ms, next_ask_ms, next_save_ms;
	uint64_t load_ms,
		loaded_ms; /* when the last load was asked for; the last that was answered */
	uint8_t *list;     /* of blocks, as it was told last */
	size_t list_len;
	uint64_t list_now_s, list_ms; /* its own time, and ours */
	size_t saved_count;
	struct guard_record saved[SAVE_MAX]; /* on their way */
};

/* ------------------------------------------------------------------- blocks */
static void send_block(struct peer *peer, const struct ipc_block *block)
{
	channel_send(peer->channel, IPC_BLOCK, 0, block, sizeof *block);
}

static void tell_network(const struct network *network, uint64_t for_ms, void *arg)
{
	const struct ipc_block block = {
		.network = network->key,
		.for_ms = for_ms,
		.bits = network->bits,
		.step = IPC_BLOCK_NETWORK,
	};

	send_block(arg, &block);
}

/* The list's own seconds, moved on by what has passed here since it came. */
static uint64_t list_now_s(const struct serve_guard *g)
{
	return g->list_now_s + (clock_monotonic_ms() - g->list_ms) / 1000;
}

void serve_blocks_tell(struct peer *peer)
{
	const struct serve_guard *g = peer->service->guard_state;
	struct ipc_block block = {.step = IPC_BLOCK_BEGIN};

	if (g->list == NULL)
		return;
	send_block(peer, &block);
	/* What cannot be read was said when it came. */
	bool whole = guard_store_blocks(g->list, g->list_len, list_now_s(g), tell_network, peer);
	(void)whole;
	block.step = IPC_BLOCK_END;
	send_block(peer, &block);
}

static void take_block(const struct network *network, uint64_t for_ms, void *arg)
{
	const struct serve_guard *g = arg;

	(void)guard_block(g->service->guard, network, clock_monotonic_ms() + for_ms);
}

/* A list that is the same but for the time says nothing new. */
static void take_list(struct serve_guard *g, uint64_t now_s, const struct query_bytes *list)
{
	bool same = g->list != NULL && g->list_len == list->len &&
		    memcmp(g->list, list->bytes, list->len) == 0;

	if (same)
		return;
	uint8_t *copy = malloc(list->len + 1);
	if (copy == NULL)
		return;
	memcpy(copy, list->bytes, list->len);
	free(g->list);
	g->list = copy;
	g->list_len = list->len;
	g->list_now_s = now_s;
	g->list_ms = clock_monotonic_ms();
	guard_unblock_all(g->service->guard);
	if (!guard_store_blocks(g->list, g->list_len, now_s, take_block, g))
		log_message(LOG_ERROR, "query-bad", "blocks() returned another form of list");
	counter_set(COUNTER_GUARD_BLOCKS, guard_block_count(g->service->guard));
	for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++) {
		if (g->service->peers[i] != NULL)
			serve_blocks_tell(g->service->peers[i]);
	}
}

static void on_blocks(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct serve_guard *g = arg;
	struct query_bytes list;
	uint64_t now_s;

	(void)token;
	g->asking = false;
	if (result == DATABASE_ROWS && query_parse_blocks(rows, &now_s, &list))
		take_list(g, now_s, &list);
	else if (result == DATABASE_ROWS)
		log_message(LOG_ERROR, "query-bad", "blocks() returned another shape of row");
}

static void ask_blocks(struct serve_guard *g, uint64_t now_ms)
{
	if (g->asking)
		return;
	g->ask_again = false;
	g->next_ask_ms = now_ms + BLOCKS_POLL_MS;
	g->asking = database_query(g->service->lookups, QUERY_BLOCKS, NULL, on_blocks, g, 0);
}

void serve_blocks_changed(struct service *service)
{
	service->guard_state->ask_again = true;
	ask_blocks(service->guard_state, clock_monotonic_ms());
}

static void on_block_put(
	enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	(void)rows;
	(void)token;
	if (result == DATABASE_ROWS)
		serve_blocks_changed(arg);
}

/* The guard has blocked a network for this node; the others learn it from the database. */
static void on_block(const struct network *network, uint64_t for_ms, const char *reason, void *arg)
{
	struct service *service = arg;
	char text[NETWORK_TEXT_MAX], seconds[24];
	const char *values[] = {network_format(network, text), seconds, reason};
	struct log_line line;

	snprintf(seconds, sizeof seconds, "%" PRIu64, for_ms / 1000 + 1);
	log_begin(&line, LOG_WARNING, "network-blocked");
	log_text(&line, "network", text);
	log_text(&line, "reason", reason);
	log_uint(&line, "seconds", for_ms / 1000);
	log_end(&line);
	if (!database_query(service->quotas[0], QUERY_BLOCK_PUT, values, on_block_put, service, 0))
		log_message(LOG_WARNING, "block-not-shared", "the database is away");
}

/* ------------------------------------------------------------------- records */
static void on_loaded(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct serve_guard *g = arg;
	struct query_bytes seed, records;

	(void)token;
	g->loading = false;
	if (result != DATABASE_ROWS)
		return;
	if (!query_parse_guard(rows, &seed, &records) ||
		!guard_store_load(g->service->guard, seed.bytes, seed.len, records.bytes,
			records.len, clock_monotonic_ms())) {
		log_message(LOG_ERROR, "query-bad", "guard_load() returned another shape of row");
		return;
	}
	g->loaded = true;
	g->loaded_ms = g->load_ms;
}

/* All of it, or what was saved since the last time. */
static void load(struct serve_guard *g, uint64_t now_ms)
{
	char most[12], within_s[24];
	const char *values[] = {most, within_s};
	uint64_t since_s = (now_ms - g->loaded_ms) / 1000 + RELOAD_OVERLAP_S;

	snprintf(most, sizeof most, "%d", LOAD_MAX);
	snprintf(within_s, sizeof within_s, "%" PRIu64,
		g->loaded && since_s < LOAD_ALL_S ? since_s : LOAD_ALL_S);
	g->load_ms = now_ms;
	g->loading =
		database_query(g->service->quotas[0], QUERY_GUARD_LOAD, values, on_loaded, g, 0);
}

/* Before the first log-in can be decided: what is counted before the seed is known is lost. */
void serve_guard_ready(struct service *service)
{
	struct serve_guard *g = service->guard_state;

	if (g != NULL && !g->loaded && !g->loading)
		load(g, clock_monotonic_ms());
}

bool serve_guard_remembers(const struct service *service, uint64_t now_ms)
{
	const struct serve_guard *g = service->guard_state;

	return g->loaded || !service->config->guard.enabled || now_ms - g->began_ms >= LOAD_MS;
}

static void on_saved(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct serve_guard *g = arg;

	(void)rows;
	(void)token;
	g->saving = false;
	for (size_t i = 0; result != DATABASE_ROWS && i < g->saved_count; i++)
		guard_changed_again(g->service->guard, &g->saved[i]);
	g->saved_count = 0;
}

/* On the connection of the takes: a row that another node is saving holds up no log-in. */
static void save(struct serve_guard *g, uint64_t now_ms)
{
	g->next_save_ms = now_ms + SAVE_MS;
	g->saved_count = guard_take_changed(g->service->guard, g->saved, SAVE_MAX, now_ms);
	if (g->saved_count == 0)
		return;
	char *text = guard_store_text(g->saved, g->saved_count);
	char forgive_ms[12];
	const char *values[] = {text, forgive_ms};
	snprintf(forgive_ms, sizeof forgive_ms, "%u", g->service->config->guard.forgive_ms);
	g->saving = text != NULL &&
		    database_query(g->service->quotas[0], QUERY_GUARD_SAVE, values, on_saved, g, 0);
	if (!g->saving)
		on_saved(DATABASE_UNAVAILABLE, NULL, g, 0);
	free(text);
}

/* ----------------------------------------------------------------- lifetime */
static void warn_of_crowd(struct service *service)
{
	char text[NETWORK_TEXT_MAX];
	struct network network;
	struct log_line line;
	unsigned percent;

	if (!guard_crowd(service->guard, &network, &percent))
		return;
	log_begin(&line, LOG_WARNING, "guard-crowd");
	log_text(&line, "network", network_format(&network, text));
	log_uint(&line, "percent", percent);
	log_text(&line, "msg",
		"most log-ins come from there: if it is a NAT or webmail, name it in "
		"guard.trusted");
	log_end(&line);
}

void serve_guard_tick(struct service *service, uint64_t now_ms)
{
	struct serve_guard *g = service->guard_state;

	warn_of_crowd(service);
	if (now_ms >= g->next_ask_ms || g->ask_again)
		ask_blocks(g, now_ms);
	serve_guard_ready(service);
	if (g->loaded && !g->loading && now_ms - g->load_ms >= RELOAD_MS)
		load(g, now_ms);
	if (g->loaded && !g->saving && now_ms >= g->next_save_ms)
		save(g, now_ms);
}

bool serve_guard_settled(struct service *service, uint64_t now_ms)
{
	struct serve_guard *g = service->guard_state;

	if (g->saving)
		return false;
	if (!g->loaded || guard_changed(service->guard) == 0 || !database_ready(service->quotas[0]))
		return true;
	save(g, now_ms);
	return !g->saving;
}

bool serve_guard(struct service *service)
{
	const struct guard_settings settings = {
		.config = &service->config->guard,
		.on_block = on_block,
		.arg = service,
	};

	service->guard = guard_new(&settings);
	service->guard_state = calloc(1, sizeof *service->guard_state);
	if (service->guard == NULL || service->guard_state == NULL)
		return false;
	service->guard_state->service = service;
	service->guard_state->began_ms = clock_monotonic_ms();
	return true;
}

void serve_guard_destroy(struct service *service)
{
	guard_destroy(&service->guard);
	if (service->guard_state != NULL)
		free(service->guard_state->list);
	free(service->guard_state);
	service->guard_state = NULL;
}
