/* SPDX-License-Identifier: ISC */
/* The grants of the last minute; see grants.h. */
#include "auth/grants.h"

#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { BATCH_FROM = 256 }; /* with the rest of the last seq */

struct grant {
	TAILQ_ENTRY(grant) link;
	uint64_t key, at_ms;
	size_t size;
	struct charge charge;
	char text[];
};

TAILQ_HEAD(grant_list, grant);

struct grants {
	struct take_lane lanes[TAKE_LANES];
	uint64_t node;
	void (*wake)(uint64_t in_ms, void *arg);
	void *arg;
	struct idmap *by_key;         /* of recent */
	struct grant_list recent;     /* the oldest first */
	struct grant_list lost, sent; /* to be charged anew */
	size_t bytes;
	uint64_t now_ms, paused_until_ms;
	bool busy;
};

struct grants *grants_new(const struct take_lane *lanes, uint64_t node,
	void (*wake)(uint64_t in_ms, void *arg), void *arg)
{
	struct grants *grants = calloc(1, sizeof *grants);

	if (grants == NULL)
		return NULL;
	for (size_t i = 0; i < TAKE_LANES; i++)
		grants->lanes[i] = lanes[i];
	grants->node = node;
	grants->wake = wake;
	grants->arg = arg;
	TAILQ_INIT(&grants->recent);
	TAILQ_INIT(&grants->lost);
	TAILQ_INIT(&grants->sent);
	grants->by_key = idmap_new();
	if (grants->by_key == NULL)
		grants_destroy(&grants);
	return grants;
}

static void free_first(struct grants *grants, struct grant_list *list)
{
	struct grant *grant = TAILQ_FIRST(list);

	TAILQ_REMOVE(list, grant, link);
	grants->bytes -= grant->size;
	free(grant);
}

static void forget_first(struct grants *grants)
{
	idmap_take(grants->by_key, TAILQ_FIRST(&grants->recent)->key);
	free_first(grants, &grants->recent);
}

void grants_destroy(struct grants **pointer)
{
	struct grants *grants = *pointer;

	if (grants == NULL)
		return;
	*pointer = NULL;
	while (!TAILQ_EMPTY(&grants->recent))
		forget_first(grants);
	while (!TAILQ_EMPTY(&grants->lost))
		free_first(grants, &grants->lost);
	while (!TAILQ_EMPTY(&grants->sent))
		free_first(grants, &grants->sent);
	idmap_destroy(&grants->by_key);
	free(grants);
}

bool grants_idle(const struct grants *grants)
{
	return !grants->busy && TAILQ_EMPTY(&grants->lost);
}

size_t grants_count(const struct grants *grants)
{
	return idmap_count(grants->by_key);
}

/* ------------------------------------------------------------------- memory */
void grants_put(struct grants *grants, uint64_t key, const struct charge *charge, uint64_t now_ms)
{
	size_t receipt = strlen(charge->receipt) + 1, domain = strlen(charge->domain) + 1;
	struct grant *grant = calloc(1, sizeof *grant + receipt + domain);

	if (grant == NULL || !idmap_put(grants->by_key, key, grant)) {
		free(grant);
		return;
	}
	grant->key = key;
	grant->at_ms = now_ms;
	grant->size = sizeof *grant + receipt + domain;
	grant->charge = *charge;
	grant->charge.receipt = memcpy(grant->text, charge->receipt, receipt);
	grant->charge.domain = memcpy(grant->text + receipt, charge->domain, domain);
	TAILQ_INSERT_TAIL(&grants->recent, grant, link);
	grants->bytes += grant->size;
	while (grants->bytes > GRANTS_BYTES_MAX && !TAILQ_EMPTY(&grants->recent))
		forget_first(grants);
}

void grants_less(
	struct grants *grants, uint64_t key, uint32_t messages, uint32_t recipients, uint64_t bytes)
{
	struct grant *grant = idmap_get(grants->by_key, key);

	if (grant == NULL)
		return;
	struct charge *charge = &grant->charge;
	charge->messages -= messages < charge->messages ? messages : charge->messages;
	charge->recipients -= recipients < charge->recipients ? recipients : charge->recipients;
	charge->bytes -= bytes < charge->bytes ? bytes : charge->bytes;
}

static void forget_old(struct grants *grants, uint64_t now_ms)
{
	while (!TAILQ_EMPTY(&grants->recent) &&
		now_ms - TAILQ_FIRST(&grants->recent)->at_ms >= GRANTS_MEMORY_MS)
		forget_first(grants);
}

/* ------------------------------------------------------------ charging anew */
void grants_reassert(struct grants *grants)
{
	struct grant *grant;

	TAILQ_FOREACH (grant, &grants->recent, link)
		idmap_take(grants->by_key, grant->key);
	TAILQ_CONCAT(&grants->lost, &grants->recent, link);
	grants->wake(0, grants->arg);
}

static void put_off(struct grants *grants)
{
	TAILQ_CONCAT(&grants->sent, &grants->lost, link);
	TAILQ_CONCAT(&grants->lost, &grants->sent, link);
	grants->paused_until_ms = grants->now_ms + GRANTS_RETRY_MS;
	grants->wake(GRANTS_RETRY_MS, grants->arg);
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct grants *grants = arg;
	uint64_t charged;

	(void)token;
	grants->busy = false;
	if (result != DATABASE_ROWS || !query_parse_count(rows, &charged)) {
		put_off(grants);
		return;
	}
	while (!TAILQ_EMPTY(&grants->sent))
		free_first(grants, &grants->sent);
	counter_add(COUNTER_GRANTS_REASSERTED, charged);
	if (charged > 0)
		log_message(LOG_WARNING, "grants-reasserted",
			"%llu grants that the new server had not are counted again",
			(unsigned long long)charged);
	if (!TAILQ_EMPTY(&grants->lost))
		grants->wake(0, grants->arg);
}

static bool is_nothing(const struct charge *charge)
{
	return charge->messages == 0 && charge->recipients == 0 && charge->bytes == 0;
}

/* All of one seq in one call. */
static size_t load(struct grants *grants, struct charges *charges)
{
	uint64_t last = 0;
	size_t count = 0;

	while (!TAILQ_EMPTY(&grants->lost)) {
		struct grant *grant = TAILQ_FIRST(&grants->lost);
		if (is_nothing(&grant->charge)) {
			free_first(grants, &grants->lost);
			continue;
		}
		if (count >= BATCH_FROM && grant->charge.seq != last)
			break;
		last = grant->charge.seq;
		charges_add(charges, &grant->charge);
		TAILQ_REMOVE(&grants->lost, grant, link);
		TAILQ_INSERT_TAIL(&grants->sent, grant, link);
		count++;
	}
	return count;
}

static void send_lost(struct grants *grants)
{
	struct charges *charges = charges_new();

	if (charges == NULL) {
		put_off(grants);
		return;
	}
	if (load(grants, charges) == 0) {
		charges_free(&charges);
		return;
	}
	grants->busy = charges_send(&charges, grants->lanes, grants->node, on_answer, grants);
	if (!grants->busy)
		put_off(grants);
}

void grants_tick(struct grants *grants, uint64_t now_ms)
{
	grants->now_ms = now_ms;
	forget_old(grants, now_ms);
	if (grants->busy || TAILQ_EMPTY(&grants->lost))
		return;
	if (now_ms >= grants->paused_until_ms)
		send_lost(grants);
	else
		grants->wake(grants->paused_until_ms - now_ms, grants->arg);
}
