/* SPDX-License-Identifier: ISC */
/* Returns of leases; see lease_return.h. */
#include "auth/lease_return.h"

#include "auth/array_text.h"

#include <stdlib.h>
#include <sys/queue.h>

struct item {
	TAILQ_ENTRY(item) link;
	struct lease_rest rest;
};

TAILQ_HEAD(items, item);

struct lease_returns {
	struct take_lane lanes[TAKE_LANES];
	void (*wake)(uint64_t in_ms, void *arg);
	void (*returned)(uint64_t account, uint64_t credential, void *arg);
	void *arg;
	struct items waiting, sent;
	size_t count;
	uint64_t paused_until_ms, now_ms;
	bool busy;
};

struct lease_returns *lease_returns_new(const struct take_lane *lanes,
	void (*wake)(uint64_t in_ms, void *arg),
	void (*returned)(uint64_t account, uint64_t credential, void *arg), void *arg)
{
	struct lease_returns *returns = calloc(1, sizeof *returns);

	if (returns == NULL)
		return NULL;
	for (size_t i = 0; i < TAKE_LANES; i++)
		returns->lanes[i] = lanes[i];
	returns->wake = wake;
	returns->returned = returned;
	returns->arg = arg;
	TAILQ_INIT(&returns->waiting);
	TAILQ_INIT(&returns->sent);
	return returns;
}

static void free_all(struct lease_returns *returns, struct items *items)
{
	while (!TAILQ_EMPTY(items)) {
		struct item *item = TAILQ_FIRST(items);
		TAILQ_REMOVE(items, item, link);
		returns->count--;
		free(item);
	}
}

void lease_returns_destroy(struct lease_returns **returns)
{
	if (*returns == NULL)
		return;
	free_all(*returns, &(*returns)->waiting);
	free_all(*returns, &(*returns)->sent);
	free(*returns);
	*returns = NULL;
}

bool lease_returns_idle(const struct lease_returns *returns)
{
	return returns->count == 0;
}

void lease_returns_add(struct lease_returns *returns, const struct lease_rest *rest)
{
	struct item *item = returns->count < LEASE_RETURNS_MAX ? calloc(1, sizeof *item) : NULL;

	if (item == NULL)
		return;
	item->rest = *rest;
	TAILQ_INSERT_TAIL(&returns->waiting, item, link);
	returns->count++;
	returns->wake(0, returns->arg);
}

static void tell_returned(struct lease_returns *returns)
{
	struct item *item;

	TAILQ_FOREACH (item, &returns->sent, link)
		returns->returned(item->rest.account, item->rest.credential, returns->arg);
	free_all(returns, &returns->sent);
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct lease_returns *returns = arg;
	uint64_t counted;

	(void)token;
	returns->busy = false;
	if (result == DATABASE_ROWS && query_parse_count(rows, &counted)) {
		tell_returned(returns);
	} else {
		TAILQ_CONCAT(&returns->sent, &returns->waiting, link);
		TAILQ_CONCAT(&returns->waiting, &returns->sent, link);
		returns->paused_until_ms = returns->now_ms + LEASE_RETURN_RETRY_MS;
	}
	if (returns->count > 0)
		returns->wake(0, returns->arg);
}

enum { LEASES, MESSAGES, RECIPIENTS, BYTES, ARRAYS };

static void load(struct lease_returns *returns, struct array_text *arrays)
{
	for (size_t i = 0; i < LEASE_RETURN_BATCH_MAX && !TAILQ_EMPTY(&returns->waiting); i++) {
		struct item *item = TAILQ_FIRST(&returns->waiting);
		array_text_number(&arrays[LEASES], (int64_t)item->rest.lease);
		array_text_number(&arrays[MESSAGES], (int64_t)item->rest.messages);
		array_text_number(&arrays[RECIPIENTS], (int64_t)item->rest.recipients);
		array_text_number(&arrays[BYTES], (int64_t)item->rest.bytes);
		TAILQ_REMOVE(&returns->waiting, item, link);
		TAILQ_INSERT_TAIL(&returns->sent, item, link);
	}
}

static bool ask(struct lease_returns *returns, struct array_text *arrays)
{
	const char *values[ARRAYS];

	for (size_t i = 0; i < ARRAYS; i++) {
		values[i] = array_text_end(&arrays[i]);
		if (values[i] == NULL)
			return false;
	}
	for (size_t i = TAKE_LANES; i-- > 0;) {
		const struct take_lane *to = &returns->lanes[i];
		if (to->ask(to->database, QUERY_LEASE_RETURN, values, on_answer, returns, 0))
			return true;
	}
	return false;
}

static void drop_late(struct lease_returns *returns)
{
	struct item *item = TAILQ_FIRST(&returns->waiting), *next;

	for (; item != NULL; item = next) {
		next = TAILQ_NEXT(item, link);
		if (returns->now_ms < item->rest.expires_ms)
			continue;
		TAILQ_REMOVE(&returns->waiting, item, link);
		returns->count--;
		free(item);
	}
}

void lease_returns_tick(struct lease_returns *returns, uint64_t now_ms)
{
	struct array_text arrays[ARRAYS] = {0};

	returns->now_ms = now_ms;
	drop_late(returns);
	if (returns->busy || TAILQ_EMPTY(&returns->waiting))
		return;
	if (now_ms < returns->paused_until_ms) {
		returns->wake(returns->paused_until_ms - now_ms, returns->arg);
		return;
	}
	load(returns, arrays);
	returns->busy = ask(returns, arrays);
	if (!returns->busy) {
		TAILQ_CONCAT(&returns->sent, &returns->waiting, link);
		TAILQ_CONCAT(&returns->waiting, &returns->sent, link);
		returns->paused_until_ms = now_ms + LEASE_RETURN_RETRY_MS;
		returns->wake(LEASE_RETURN_RETRY_MS, returns->arg);
	}
	for (size_t i = 0; i < ARRAYS; i++)
		array_text_free(&arrays[i]);
}
