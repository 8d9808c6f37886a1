/* SPDX-License-Identifier: ISC */
/* One batch at a time: read, sent, answered; see usage.h. */
#include "auth/usage.h"

#include "auth/array_text.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "common/network.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_EVERY_MS = 60 * 1000 };

enum column { /* in the order of usage_put() */
	COLUMN_TID,
	COLUMN_SID,
	COLUMN_ACCOUNT,
	COLUMN_CREDENTIAL,
	COLUMN_SENDER,
	COLUMN_RECIPIENTS,
	COLUMN_BYTES,
	COLUMN_CLIENT,
	COLUMN_BACKEND,
	COLUMN_QUEUE_ID,
	COLUMN_TAKEN,
	COLUMN_ACCEPTED,
	COLUMN_UNKNOWN,
	COLUMN_COUNT,
};

enum { NAMES = 3 }; /* node, boot, number */

struct usage {
	struct usage_settings settings;
	const struct spool_batch *batch; /* under way; NULL: none */
	unsigned failures;               /* in a row */
	uint64_t not_before_ms, logged_ms;
	uint64_t maintain_ms; /* when it is due */
	bool maintaining;
};

struct usage *usage_new(const struct usage_settings *settings)
{
	struct usage *usage = calloc(1, sizeof *usage);

	if (usage != NULL)
		usage->settings = *settings;
	return usage;
}

void usage_destroy(struct usage **usage)
{
	free(*usage);
	*usage = NULL;
}

/* ------------------------------------------------------------------- columns */
static void add_number(struct array_text *column, uint64_t number, uint64_t max)
{
	array_text_number(column, (int64_t)(number < max ? number : max));
}

/* What the database would not take as text is no reason to lose the message. */
static void add_text(struct array_text *column, const uint8_t *text, size_t len)
{
	char plain[IPC_PATH_MAX];

	require(len <= sizeof plain);
	if (array_text_valid(text, len)) {
		array_text_bytes(column, (const char *)text, len);
		return;
	}
	for (size_t i = 0; i < len; i++)
		plain[i] = text[i] >= 0x20 && text[i] < 0x7f ? (char)text[i] : '?';
	array_text_bytes(column, plain, len);
}

static void add_client(struct array_text *column, const struct address_key *client)
{
	const struct network one = {.key = *client, .bits = 128};
	char text[NETWORK_TEXT_MAX];

	network_format(&one, text);
	array_text_bytes(column, text, strlen(text));
}

static void add_outcome(
	struct array_text columns[COLUMN_COUNT], const struct spool_outcome *outcome)
{
	const struct spool_message *m = &outcome->message;
	const char *unknown = outcome->kind == IPC_OUTCOME_UNKNOWN ? "t" : "f";

	add_number(&columns[COLUMN_TID], m->tid, INT64_MAX);
	add_number(&columns[COLUMN_SID], m->sid, INT64_MAX);
	add_number(&columns[COLUMN_ACCOUNT], m->account, INT64_MAX);
	add_number(&columns[COLUMN_CREDENTIAL], m->credential, INT64_MAX);
	add_text(&columns[COLUMN_SENDER], m->sender, m->sender_len);
	add_number(&columns[COLUMN_RECIPIENTS], m->recipients, INT32_MAX);
	add_number(&columns[COLUMN_BYTES], m->bytes, INT64_MAX);
	add_client(&columns[COLUMN_CLIENT], &m->client);
	add_text(&columns[COLUMN_BACKEND], m->backend, m->backend_len);
	add_text(&columns[COLUMN_QUEUE_ID], outcome->queue_id, outcome->queue_id_len);
	add_number(&columns[COLUMN_TAKEN], m->taken_ms, INT64_MAX);
	add_number(&columns[COLUMN_ACCEPTED], m->at_ms, INT64_MAX);
	array_text_bytes(&columns[COLUMN_UNKNOWN], unknown, 1);
}

/* Records of other batches and kinds stand between.  Returns how many it has. */
static size_t fill(struct array_text columns[COLUMN_COUNT], const struct spool_batch *batch,
	const uint8_t *bytes, size_t len)
{
	struct spool_record record;
	size_t count = 0, used;

	for (size_t at = 0; at < len; at += used) {
		if (spool_record_decode(bytes + at, len - at, &record, &used) !=
				SPOOL_READ_RECORD ||
			record.type != SPOOL_OUTCOME || record.outcome.batch != batch->number ||
			record.outcome.boot != batch->boot)
			continue;
		add_outcome(columns, &record.outcome);
		count++;
	}
	return count;
}

/* -------------------------------------------------------------------- answers */
static unsigned pause_ms(unsigned failures)
{
	unsigned ms = USAGE_PAUSE_MIN_MS;

	while (failures > 1 && ms < USAGE_PAUSE_MAX_MS) {
		ms *= 2;
		failures--;
	}
	return ms < USAGE_PAUSE_MAX_MS ? ms : USAGE_PAUSE_MAX_MS;
}

static void log_refused(struct usage *usage, uint64_t now_ms)
{
	struct log_line line;

	if (usage->logged_ms != 0 && now_ms - usage->logged_ms < LOG_EVERY_MS)
		return;
	usage->logged_ms = now_ms;
	log_begin(&line, LOG_ERROR, "usage-refused");
	log_uint(&line, "boot", usage->batch->boot);
	log_uint(&line, "batch", usage->batch->number);
	log_text(&line, "msg",
		"the database refuses a batch of the books: it stays in the spool and is sent "
		"again; the log has the reason (query-failed)");
	log_end(&line);
}

static void put_off(struct usage *usage, bool refused)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (refused)
		log_refused(usage, now_ms);
	counter_add(COUNTER_USAGE_REPEATED, 1);
	usage->failures++;
	usage->not_before_ms = now_ms + pause_ms(usage->failures);
	spool_batch_again(usage->settings.spool, usage->batch);
	usage->batch = NULL;
}

static void on_put(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct usage *usage = arg;
	bool first; /* or known already: it is there in either case */

	(void)token;
	if (result != DATABASE_ROWS || !query_parse_bool(rows, &first)) {
		put_off(usage, result == DATABASE_FAILED || result == DATABASE_ROWS);
		return;
	}
	counter_add(COUNTER_USAGE_UPLOADED, usage->batch->count);
	usage->failures = 0;
	spool_batch_uploaded(usage->settings.spool, usage->batch);
	usage->batch = NULL;
	usage_look(usage, clock_monotonic_ms());
}

/* -------------------------------------------------------------------- sending */
static bool put(struct usage *usage, struct array_text columns[COLUMN_COUNT])
{
	const struct spool_batch *batch = usage->batch;
	const char *values[NAMES + COLUMN_COUNT];
	char names[NAMES][24];

	snprintf(names[0], sizeof names[0], "%" PRIu64, batch->node);
	snprintf(names[1], sizeof names[1], "%" PRIu64, batch->boot);
	snprintf(names[2], sizeof names[2], "%" PRIu64, batch->number);
	for (size_t i = 0; i < NAMES; i++)
		values[i] = names[i];
	for (size_t i = 0; i < COLUMN_COUNT; i++) {
		values[NAMES + i] = array_text_end(&columns[i]);
		if (values[NAMES + i] == NULL)
			return false;
	}
	return usage->settings.ask(
		usage->settings.database, QUERY_USAGE_PUT, values, on_put, usage, 0);
}

static void on_read(const uint8_t *bytes, size_t len, void *arg)
{
	struct usage *usage = arg;
	struct array_text columns[COLUMN_COUNT];

	memset(columns, 0, sizeof columns);
	/* As many as there were when it was written: a name stands for the same messages always. */
	bool whole =
		bytes != NULL && fill(columns, usage->batch, bytes, len) == usage->batch->count;
	if (!whole || !put(usage, columns))
		put_off(usage, false);
	for (size_t i = 0; i < COLUMN_COUNT; i++)
		array_text_free(&columns[i]);
}

void usage_look(struct usage *usage, uint64_t now_ms)
{
	if (usage->batch != NULL || now_ms < usage->not_before_ms)
		return;
	usage->batch = spool_batch_next(usage->settings.spool);
	if (usage->batch != NULL &&
		!spool_batch_read(usage->settings.spool, usage->batch, on_read, usage))
		put_off(usage, false);
}

/* --------------------------------------------------------------------- upkeep */
static void on_maintained(
	enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct usage *usage = arg;

	(void)result;
	(void)rows;
	(void)token;
	usage->maintaining = false;
}

static void maintain(struct usage *usage, uint64_t now_ms)
{
	if (usage->maintaining || now_ms < usage->maintain_ms)
		return;
	if (!usage->settings.ask(
		    usage->settings.database, QUERY_USAGE_MAINTAIN, NULL, on_maintained, usage, 0))
		return;
	usage->maintaining = true;
	usage->maintain_ms = now_ms + USAGE_MAINTAIN_MS;
}

void usage_tick(struct usage *usage, uint64_t now_ms)
{
	usage_look(usage, now_ms);
	maintain(usage, now_ms);
}
