/* SPDX-License-Identifier: ISC */
/* Give-backs gathered into calls; see return_batch.h. */
#include "auth/return_batch.h"

#include "auth/array_text.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { HASHES_MAX = 2 * RECIPIENTS_MAX };

struct item {
	TAILQ_ENTRY(item) link;
	uint64_t token;
	size_t elements;
	struct recipients *whom;
	struct take_grant grants[TAKE_GRANTS];
};

TAILQ_HEAD(items, item);

struct return_batch {
	struct return_batch_settings settings;
	struct items waiting, sent;
	size_t waiting_count;
	size_t elements; /* sent */
	bool busy;
};

struct return_batch *return_batch_new(const struct return_batch_settings *settings)
{
	struct return_batch *batch = calloc(1, sizeof *batch);

	if (batch == NULL)
		return NULL;
	batch->settings = *settings;
	TAILQ_INIT(&batch->waiting);
	TAILQ_INIT(&batch->sent);
	return batch;
}

static void free_item(struct item *item)
{
	recipients_unref(&item->whom);
	free(item);
}

void return_batch_destroy(struct return_batch **pointer)
{
	struct return_batch *batch = *pointer;

	if (batch == NULL)
		return;
	*pointer = NULL;
	require(!batch->busy);
	while (!TAILQ_EMPTY(&batch->waiting)) {
		struct item *item = TAILQ_FIRST(&batch->waiting);
		TAILQ_REMOVE(&batch->waiting, item, link);
		free_item(item);
	}
	free(batch);
}

bool return_batch_idle(const struct return_batch *batch)
{
	return !batch->busy && batch->waiting_count == 0;
}

/* ------------------------------------------------------------------ answers */
static void end_all(struct return_batch *batch, enum transaction_returned returned)
{
	struct items sent = TAILQ_HEAD_INITIALIZER(sent);

	TAILQ_CONCAT(&sent, &batch->sent, link);
	while (!TAILQ_EMPTY(&sent)) {
		struct item *item = TAILQ_FIRST(&sent);
		TAILQ_REMOVE(&sent, item, link);
		batch->settings.done(returned, batch->settings.arg, item->token);
		free_item(item);
	}
}

/* Not returned is no failure: the slot has left every window by itself. */
static enum transaction_returned returned_of(
	enum database_result result, const PGresult *rows, size_t elements)
{
	switch (result) {
	case DATABASE_ROWS:
		if (query_parse_returned(rows, elements))
			return TRANSACTION_RETURNED;
		log_message(
			LOG_ERROR, "query-bad", "takes_give_back returned another shape of rows");
		return TRANSACTION_UNCERTAIN;
	case DATABASE_FAILED:
	case DATABASE_UNAVAILABLE:
		return TRANSACTION_NOT_RETURNED;
	case DATABASE_UNKNOWN:
		return TRANSACTION_UNCERTAIN;
	}
	return TRANSACTION_UNCERTAIN;
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct return_batch *batch = arg;

	(void)token;
	batch->busy = false;
	end_all(batch, returned_of(result, rows, batch->elements));
	if (batch->waiting_count > 0)
		batch->settings.wake(0, batch->settings.arg);
}

/* ------------------------------------------------------------------ sending */
enum { RECEIPTS, MESSAGES, RECIPIENTS, BYTES, HASH_COUNTS, HASHES, ARRAYS };

/* The recipients belong to the take itself, which comes first. */
static void add_grant(
	struct array_text *arrays, const struct take_grant *grant, const struct recipients *whom)
{
	uint32_t hashes = whom == NULL || grant->messages == 0 ? 0 : whom->count;

	array_text_bytes(&arrays[RECEIPTS], grant->receipt, grant->receipt_len);
	array_text_number(&arrays[MESSAGES], grant->messages);
	array_text_number(&arrays[RECIPIENTS], grant->recipients);
	array_text_number(&arrays[BYTES], (int64_t)grant->bytes);
	array_text_number(&arrays[HASH_COUNTS], hashes);
	for (uint32_t i = 0; i < hashes; i++)
		array_text_number(&arrays[HASHES], (int64_t)whom->hash[i]);
}

static void load(struct return_batch *batch, struct array_text *arrays)
{
	size_t hashes = 0;

	batch->elements = 0;
	while (!TAILQ_EMPTY(&batch->waiting) && batch->elements < RETURN_BATCH_MAX) {
		struct item *item = TAILQ_FIRST(&batch->waiting);
		hashes += item->whom == NULL ? 0 : item->whom->count;
		if (batch->elements > 0 && hashes > HASHES_MAX)
			break;
		for (size_t i = 0; i < item->elements; i++)
			add_grant(arrays, &item->grants[i], item->whom);
		TAILQ_REMOVE(&batch->waiting, item, link);
		TAILQ_INSERT_TAIL(&batch->sent, item, link);
		batch->waiting_count--;
		batch->elements += item->elements;
	}
}

static bool ask(struct return_batch *batch, struct array_text *arrays)
{
	const char *values[ARRAYS];

	for (size_t i = 0; i < ARRAYS; i++) {
		values[i] = array_text_end(&arrays[i]);
		if (values[i] == NULL)
			return false;
	}
	for (size_t lane = TAKE_LANES; lane-- > 0;) {
		const struct take_lane *to = &batch->settings.lanes[lane];
		if (to->ask(to->database, QUERY_TAKES_GIVE_BACK, values, on_answer, batch, 0))
			return true;
	}
	return false;
}

static void send_batch(struct return_batch *batch)
{
	struct array_text arrays[ARRAYS] = {0};

	load(batch, arrays);
	batch->busy = ask(batch, arrays);
	if (!batch->busy)
		end_all(batch, TRANSACTION_NOT_RETURNED);
	for (size_t i = 0; i < ARRAYS; i++)
		array_text_free(&arrays[i]);
}

void return_batch_tick(struct return_batch *batch)
{
	while (!batch->busy && batch->waiting_count > 0)
		send_batch(batch);
}

bool return_batch_add(struct return_batch *batch, const struct take *take)
{
	struct item *item;

	if (batch->waiting_count >= RETURN_WAITING_MAX)
		return false;
	item = calloc(1, sizeof *item);
	if (item == NULL)
		return false;
	item->token = take->token;
	for (size_t i = 0; i < TAKE_GRANTS; i++) {
		if (take->grants[i].receipt_len > 0)
			item->grants[item->elements++] = take->grants[i];
	}
	require(item->elements > 0);
	item->whom = recipients_ref(take->whom);
	TAILQ_INSERT_TAIL(&batch->waiting, item, link);
	batch->waiting_count++;
	if (!batch->busy)
		batch->settings.wake(0, batch->settings.arg);
	return true;
}
