/* SPDX-License-Identifier: ISC */
/* Takes gathered into calls; see take_batch.h. */
#include "auth/take_batch.h"

#include "auth/array_text.h"
#include "common/counters.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { HASHES_MAX = 2 * RECIPIENTS_MAX, NUMBER_MAX = 24 };

struct item {
	TAILQ_ENTRY(item) link;
	struct take_wanted wanted;
	uint64_t added_ms;
	char domain[];
};

TAILQ_HEAD(items, item);

struct lane {
	bool ready, busy;
	uint64_t seq;
	size_t count;
	struct items sent;
};

struct take_batch {
	struct take_batch_settings settings;
	struct items waiting;
	size_t waiting_count;
	struct lane lanes[TAKE_LANES];
	struct query_quota_row rows[TAKE_BATCH_MAX]; /* of the answer that is being read */
};

struct take_batch *take_batch_new(const struct take_batch_settings *settings)
{
	struct take_batch *batch = calloc(1, sizeof *batch);

	if (batch == NULL)
		return NULL;
	batch->settings = *settings;
	TAILQ_INIT(&batch->waiting);
	for (size_t i = 0; i < TAKE_LANES; i++)
		TAILQ_INIT(&batch->lanes[i].sent);
	return batch;
}

static void free_item(struct item *item)
{
	recipients_unref(&item->wanted.whom);
	free(item);
}

void take_batch_destroy(struct take_batch **pointer)
{
	struct take_batch *batch = *pointer;

	if (batch == NULL)
		return;
	*pointer = NULL;
	for (size_t i = 0; i < TAKE_LANES; i++)
		require(!batch->lanes[i].busy);
	while (!TAILQ_EMPTY(&batch->waiting)) {
		struct item *item = TAILQ_FIRST(&batch->waiting);
		TAILQ_REMOVE(&batch->waiting, item, link);
		free_item(item);
	}
	free(batch);
}

bool take_batch_idle(const struct take_batch *batch)
{
	for (size_t i = 0; i < TAKE_LANES; i++) {
		if (batch->lanes[i].busy)
			return false;
	}
	return batch->waiting_count == 0;
}

void take_batch_lane(struct take_batch *batch, size_t lane, bool ready)
{
	batch->lanes[lane].ready = ready;
}

/* ------------------------------------------------------------------ answers */
static bool is_away(const struct take_batch *batch)
{
	for (size_t i = 0; i < TAKE_LANES; i++) {
		if (batch->lanes[i].ready)
			return false;
	}
	return true;
}

static void end_item(struct take_batch *batch, struct item *item, enum take_end end,
	const struct query_quota_row *row, uint64_t seq)
{
	batch->settings.done(end, &item->wanted, row, seq, batch->settings.arg);
	free_item(item);
}

static void end_all(struct take_batch *batch, struct items *items, enum take_end end, uint64_t seq)
{
	for (size_t i = 0; !TAILQ_EMPTY(items); i++) {
		struct item *item = TAILQ_FIRST(items);
		TAILQ_REMOVE(items, item, link);
		end_item(batch, item, end, end == TAKE_DECIDED ? &batch->rows[i] : NULL, seq);
	}
}

static enum take_end end_of(
	struct take_batch *batch, enum database_result result, const PGresult *rows, size_t count)
{
	switch (result) {
	case DATABASE_ROWS:
		if (query_parse_takes(rows, count, batch->rows))
			return TAKE_DECIDED;
		log_message(LOG_ERROR, "query-bad", "takes returned another shape of rows");
		return TAKE_FAILED;
	case DATABASE_UNAVAILABLE:
		return is_away(batch) ? TAKE_AWAY : TAKE_FAILED;
	case DATABASE_FAILED:
	case DATABASE_UNKNOWN:
		return TAKE_FAILED;
	}
	return TAKE_FAILED;
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct take_batch *batch = arg;
	struct lane *lane = &batch->lanes[token];
	struct items sent = TAILQ_HEAD_INITIALIZER(sent);
	enum take_end end = end_of(batch, result, rows, lane->count);

	TAILQ_CONCAT(&sent, &lane->sent, link);
	lane->busy = false;
	end_all(batch, &sent, end, lane->seq);
	if (batch->waiting_count > 0)
		batch->settings.wake(0, batch->settings.arg);
}

/* ------------------------------------------------------------------ sending */
enum { ACCOUNTS, CREDENTIALS, DOMAINS, MESSAGES, RECIPIENTS, BYTES, HASH_COUNTS, HASHES, ARRAYS };

static void add_element(struct array_text *arrays, const struct take_wanted *wanted)
{
	uint32_t hashes = wanted->whom == NULL ? 0 : wanted->whom->count;

	array_text_number(&arrays[ACCOUNTS], (int64_t)wanted->account);
	array_text_number(&arrays[CREDENTIALS], (int64_t)wanted->credential);
	array_text_bytes(&arrays[DOMAINS], wanted->domain, strlen(wanted->domain));
	array_text_number(&arrays[MESSAGES], wanted->messages);
	array_text_number(&arrays[RECIPIENTS], wanted->recipients);
	array_text_number(&arrays[BYTES], (int64_t)wanted->bytes);
	array_text_number(&arrays[HASH_COUNTS], hashes);
	for (uint32_t i = 0; i < hashes; i++)
		array_text_number(&arrays[HASHES], (int64_t)wanted->whom->hash[i]);
}

static bool ask(struct take_batch *batch, size_t lane, struct array_text *arrays)
{
	const struct take_lane *to = &batch->settings.lanes[lane];
	char node[NUMBER_MAX], seq[NUMBER_MAX];
	const char *values[2 + ARRAYS] = {node, seq};

	snprintf(node, sizeof node, "%" PRIu64, batch->settings.node);
	snprintf(seq, sizeof seq, "%" PRIu64, batch->lanes[lane].seq);
	for (size_t i = 0; i < ARRAYS; i++) {
		values[2 + i] = array_text_end(&arrays[i]);
		if (values[2 + i] == NULL)
			return false;
	}
	return to->ask(to->database, QUERY_TAKES, values, on_answer, batch, lane);
}

/* Moves the first ones to the lane, as many as fit into one call. */
static void load(struct take_batch *batch, struct lane *lane, struct array_text *arrays)
{
	size_t hashes = 0;

	lane->count = 0;
	while (!TAILQ_EMPTY(&batch->waiting) && lane->count < TAKE_BATCH_MAX) {
		struct item *item = TAILQ_FIRST(&batch->waiting);
		hashes += item->wanted.whom == NULL ? 0 : item->wanted.whom->count;
		if (lane->count > 0 && hashes > HASHES_MAX)
			break;
		add_element(arrays, &item->wanted);
		TAILQ_REMOVE(&batch->waiting, item, link);
		TAILQ_INSERT_TAIL(&lane->sent, item, link);
		batch->waiting_count--;
		lane->count++;
	}
}

static void send_on(struct take_batch *batch, size_t number)
{
	struct array_text arrays[ARRAYS] = {0};
	struct lane *lane = &batch->lanes[number];
	struct items unsent = TAILQ_HEAD_INITIALIZER(unsent);

	load(batch, lane, arrays);
	lane->seq = ++*batch->settings.seq;
	lane->busy = ask(batch, number, arrays);
	if (lane->busy) {
		counter_add(COUNTER_TAKE_BATCHES, 1);
	} else {
		TAILQ_CONCAT(&unsent, &lane->sent, link);
		end_all(batch, &unsent, is_away(batch) ? TAKE_AWAY : TAKE_FAILED, lane->seq);
	}
	for (size_t i = 0; i < ARRAYS; i++)
		array_text_free(&arrays[i]);
}

/* A free lane, one that stands if there is any; TAKE_LANES: none. */
static size_t free_lane(const struct take_batch *batch)
{
	bool away = is_away(batch);

	for (size_t i = 0; i < TAKE_LANES; i++) {
		if (!batch->lanes[i].busy && (batch->lanes[i].ready || away))
			return i;
	}
	return TAKE_LANES;
}

static bool any_busy(const struct take_batch *batch)
{
	for (size_t i = 0; i < TAKE_LANES; i++) {
		if (batch->lanes[i].busy)
			return true;
	}
	return false;
}

/* How long the first one has still to wait for others. */
static uint64_t gather_ms(const struct take_batch *batch, uint64_t now_ms)
{
	uint64_t waited_ms = now_ms - TAILQ_FIRST(&batch->waiting)->added_ms;

	if (batch->waiting_count >= TAKE_BATCH_MAX || !any_busy(batch) ||
		waited_ms >= TAKE_GATHER_MS)
		return 0;
	return TAKE_GATHER_MS - waited_ms;
}

static void end_late(struct take_batch *batch, uint64_t now_ms)
{
	while (!TAILQ_EMPTY(&batch->waiting) &&
		now_ms - TAILQ_FIRST(&batch->waiting)->added_ms >= TAKE_WAIT_MS) {
		struct item *item = TAILQ_FIRST(&batch->waiting);
		TAILQ_REMOVE(&batch->waiting, item, link);
		batch->waiting_count--;
		end_item(batch, item, TAKE_FAILED, NULL, 0);
	}
}

void take_batch_tick(struct take_batch *batch, uint64_t now_ms)
{
	end_late(batch, now_ms);
	for (size_t lane = free_lane(batch);
		!TAILQ_EMPTY(&batch->waiting) && lane < TAKE_LANES && gather_ms(batch, now_ms) == 0;
		lane = free_lane(batch))
		send_on(batch, lane);
	if (TAILQ_EMPTY(&batch->waiting))
		return;
	if (free_lane(batch) < TAKE_LANES)
		batch->settings.wake(gather_ms(batch, now_ms), batch->settings.arg);
	else
		batch->settings.wake(TAILQ_FIRST(&batch->waiting)->added_ms + TAKE_WAIT_MS - now_ms,
			batch->settings.arg);
}

bool take_batch_add(struct take_batch *batch, const struct take_wanted *wanted, uint64_t now_ms)
{
	size_t len = strlen(wanted->domain);

	if (batch->waiting_count >= TAKE_WAITING_MAX || len > TAKE_DOMAIN_MAX)
		return false;
	struct item *item = calloc(1, sizeof *item + len + 1);
	if (item == NULL)
		return false;
	item->wanted = *wanted;
	memcpy(item->domain, wanted->domain, len + 1);
	item->wanted.domain = item->domain;
	item->wanted.whom = recipients_ref(wanted->whom);
	item->added_ms = now_ms;
	TAILQ_INSERT_TAIL(&batch->waiting, item, link);
	batch->waiting_count++;
	batch->settings.wake(
		free_lane(batch) < TAKE_LANES ? gather_ms(batch, now_ms) : TAKE_WAIT_MS,
		batch->settings.arg);
	return true;
}
