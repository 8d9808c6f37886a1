/* SPDX-License-Identifier: ISC */
/*
 * Open messages and their records; see spool.h.  The segments are in spool_log.c, the batches in
 * spool_batch.c, what an earlier process left in spool_replay.c.
 *
 * A message is in memory from its take or its intent to the record of its outcome.  While that is
 * being written it is settling; if it cannot be written, the message is open again.  So whoever
 * repeats an outcome finds either an open message, or nothing more to record.
 */
#include "auth/spool_state.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pending { /* a record that is being written; a job's extra */
	struct entry *entry;
	struct batch *batch; /* OUTCOME */
	size_t take;         /* TAKE: which */
	spool_done *done;    /* NULL: nobody waits */
	void *arg;
	uint64_t token;
};

/* ------------------------------------------------------------------- entries */
struct entry *spool_find(const struct spool *spool, uint32_t proxy, uint64_t tid)
{
	require(proxy < CONFIG_WORKERS_MAX);
	return spool->entries[proxy] == NULL ? NULL : idmap_get(spool->entries[proxy], tid);
}

struct entry *spool_add(struct spool *spool, uint32_t proxy, uint64_t tid, uint64_t now_ms)
{
	if (spool->open_count >= SPOOL_OPEN_MAX)
		return NULL;
	if (spool->entries[proxy] == NULL)
		spool->entries[proxy] = idmap_new();
	struct entry *entry = calloc(1, sizeof *entry);
	if (entry == NULL || spool->entries[proxy] == NULL ||
		!idmap_put(spool->entries[proxy], tid, entry)) {
		free(entry);
		return NULL;
	}
	entry->open.proxy = proxy;
	entry->open.tid = tid;
	entry->opened_ms = now_ms;
	spool->open_count++;
	return entry;
}

void spool_hold(struct segment **place, struct segment *segment)
{
	if (*place != NULL)
		(*place)->pending--;
	*place = segment;
	if (segment != NULL)
		segment->pending++;
}

void spool_drop(struct spool *spool, struct entry *entry)
{
	idmap_take(spool->entries[entry->open.proxy], entry->open.tid);
	spool->open_count--;
	entry->gone = true;
	for (size_t i = 0; i < SPOOL_TAKES_MAX; i++)
		spool_hold(&entry->take_in[i], NULL);
	spool_hold(&entry->intent_in, NULL);
	if (entry->jobs == 0)
		free(entry);
}

struct visit {
	struct spool *spool;
	void (*each)(struct spool *spool, struct entry *entry, uint64_t now_ms);
	uint64_t now_ms;
};

static void visit_one(uint64_t tid, void *value, void *arg)
{
	const struct visit *visit = arg;

	(void)tid;
	visit->each(visit->spool, value, visit->now_ms);
}

void spool_each_entry(struct spool *spool,
	void (*each)(struct spool *spool, struct entry *entry, uint64_t now_ms), uint64_t now_ms)
{
	struct visit visit = {spool, each, now_ms};

	for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++) {
		if (spool->entries[i] != NULL)
			idmap_each(spool->entries[i], visit_one, &visit);
	}
}

/* ------------------------------------------------------------------- records */
/* The entry of a job that has ended, or NULL: it ended before. */
static struct entry *end_job(struct entry *entry)
{
	entry->jobs--;
	if (!entry->gone)
		return entry;
	if (entry->jobs == 0)
		free(entry);
	return NULL;
}

static void answer(const struct pending *pending, bool recorded)
{
	if (pending->done != NULL)
		pending->done(recorded, pending->arg, pending->token);
}

static void on_take(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;
	struct pending *pending = job->extra;

	spool_log_written(spool, job);
	struct entry *entry = end_job(pending->entry);
	if (entry != NULL && job->error == 0)
		spool_hold(&entry->take_in[pending->take], spool->active);
	free(pending);
}

static void on_intent(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;
	struct pending *pending = job->extra;

	spool_log_written(spool, job);
	struct entry *entry = end_job(pending->entry);
	if (entry != NULL && job->error == 0)
		spool_hold(&entry->intent_in, spool->active);
	else if (entry != NULL && entry->intent_in == NULL)
		entry->open.intended = false; /* it is not told so: the message never leaves */
	answer(pending, job->error == 0);
	free(pending);
	spool_log_release(spool);
}

static void on_outcome(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;
	struct pending *pending = job->extra;

	spool_log_written(spool, job);
	if (pending->batch != NULL)
		spool_batch_added(spool, pending->batch, job);
	struct entry *entry = end_job(pending->entry);
	if (entry != NULL && job->error == 0)
		spool_drop(spool, entry);
	else if (entry != NULL)
		entry->settling = false;
	answer(pending, job->error == 0);
	free(pending);
	spool_log_release(spool);
}

/* Gives a record of an entry to the writer.  False: out of memory. */
static bool give(struct spool *spool, const struct spool_record *record, bool durable,
	void (*on_done)(struct spool_job *job, void *arg), const struct pending *with)
{
	struct spool_job *job = spool_log_job(record);
	struct pending *pending = malloc(sizeof *pending);

	if (job == NULL || pending == NULL) {
		free(job);
		free(pending);
		return false;
	}
	*pending = *with;
	pending->entry->jobs++;
	job->durable = durable;
	job->done = on_done;
	job->extra = pending;
	spool_log_append(spool, job);
	return true;
}

static bool give_take(struct spool *spool, struct entry *entry, size_t index)
{
	const struct spool_record record = {.type = SPOOL_TAKE, .take = entry->open.takes[index]};
	const struct pending pending = {.entry = entry, .take = index};

	return give(spool, &record, false, on_take, &pending);
}

static bool give_intent(
	struct spool *spool, struct entry *entry, spool_done *done, void *arg, uint64_t token)
{
	const struct spool_record record = {.type = SPOOL_INTENT, .intent = entry->open.message};
	const struct pending pending = {.entry = entry, .done = done, .arg = arg, .token = token};

	return give(spool, &record, true, on_intent, &pending);
}

/* What holds the oldest file is written anew, and is on the disk before that is emptied. */
void spool_carry(struct spool *spool, struct entry *entry, struct segment *from)
{
	if (entry->settling || entry->jobs > 0)
		return;
	for (size_t i = 0; i < entry->open.take_count; i++) {
		if (entry->take_in[i] == from)
			(void)give_take(spool, entry, i);
	}
	if (entry->intent_in == from)
		(void)give_intent(spool, entry, NULL, NULL, 0);
}

/* ----------------------------------------------------------------- the owner */
void spool_take(struct spool *spool, const struct spool_take *take, uint64_t now_ms)
{
	struct entry *entry = spool_find(spool, take->proxy, take->tid);

	if (spool->closing || !spool_log_has_room(spool, now_ms))
		return;
	if (entry == NULL)
		entry = spool_add(spool, take->proxy, take->tid, now_ms);
	if (entry == NULL || entry->settling || entry->open.take_count == SPOOL_TAKES_MAX)
		return;
	entry->open.takes[entry->open.take_count] = *take;
	(void)give_take(spool, entry, entry->open.take_count++);
}

static enum spool_answer refuse(void)
{
	counter_add(COUNTER_SPOOL_REFUSED, 1);
	return SPOOL_REFUSED;
}

enum spool_answer spool_intent(struct spool *spool, const struct spool_message *message,
	uint64_t now_ms, spool_done *done, void *arg, uint64_t token)
{
	struct entry *entry = spool_find(spool, message->proxy, message->tid);

	if (!spool_log_has_room(spool, now_ms)) {
		spool_log_refused(spool);
		return refuse();
	}
	if (spool->closing || spool_writer_count(spool->writer) >= SPOOL_QUEUE_MAX)
		return refuse();
	if (entry == NULL)
		entry = spool_add(spool, message->proxy, message->tid, now_ms);
	if (entry == NULL || entry->settling)
		return refuse();
	bool first = !entry->open.intended;
	uint64_t taken_ms =
		entry->open.take_count > 0 ? entry->open.takes[0].taken_ms : message->at_ms;
	entry->open.message = *message;
	entry->open.message.taken_ms = taken_ms;
	entry->open.intended = true;
	if (give_intent(spool, entry, done, arg, token))
		return SPOOL_WAITING;
	if (first)
		entry->open.intended = false;
	return refuse();
}

static void fill_message(struct spool_message *message, const struct entry *entry)
{
	const struct spool_take *take = &entry->open.takes[0];

	if (entry->open.intended) {
		*message = entry->open.message;
		return;
	}
	/* A proxy that never told its intent: what the take says. */
	*message = (struct spool_message){.tid = entry->open.tid,
		.proxy = entry->open.proxy,
		.sid = take->sid,
		.account = take->account,
		.credential = take->credential,
		.recipients = take->recipients,
		.bytes = take->bytes,
		.taken_ms = take->taken_ms};
}

static bool goes_into_books(enum ipc_outcome_kind kind)
{
	return kind == IPC_OUTCOME_ACCEPTED || kind == IPC_OUTCOME_UNKNOWN;
}

static void fill_outcome(struct spool_outcome *outcome, const struct entry *entry,
	const struct spool_end *end, const struct batch *batch)
{
	memset(outcome, 0, sizeof *outcome);
	fill_message(&outcome->message, entry);
	outcome->message.at_ms = end->at_ms;
	if (end->recipients != 0)
		outcome->message.recipients = end->recipients;
	if (end->bytes != 0)
		outcome->message.bytes = end->bytes;
	outcome->kind = (uint8_t)end->kind;
	outcome->code = end->code;
	if (batch == NULL) {
		outcome->message.sender_len = 0;
		outcome->message.backend_len = 0;
		return;
	}
	outcome->boot = batch->id.boot;
	outcome->batch = batch->id.number;
	outcome->queue_id_len = end->queue_id_len;
	if (end->queue_id_len > 0)
		memcpy(outcome->queue_id, end->queue_id, end->queue_id_len);
}

enum spool_answer spool_outcome(struct spool *spool, const struct spool_end *end, spool_done *done,
	void *arg, uint64_t token)
{
	struct entry *entry = spool_find(spool, end->proxy, end->tid);
	struct spool_record record = {.type = SPOOL_OUTCOME};

	if (entry == NULL)
		return SPOOL_NOTHING;
	/* One that is being written already has its answer on the way; a repeat comes again. */
	if (spool->closing || entry->settling ||
		spool_writer_count(spool->writer) >= 2 * (size_t)SPOOL_QUEUE_MAX)
		return SPOOL_REFUSED;
	bool books = goes_into_books(end->kind);
	struct batch *batch = books ? spool_batch_filling(spool) : NULL;
	if (books && batch == NULL)
		return SPOOL_REFUSED;
	const struct pending pending = {
		.entry = entry, .batch = batch, .done = done, .arg = arg, .token = token};
	fill_outcome(&record.outcome, entry, end, batch);
	if (batch != NULL)
		batch->asked++;
	/* Before a give-back the record of it must last: nothing is given back twice. */
	if (!give(spool, &record, !books, on_outcome, &pending)) {
		if (batch != NULL)
			batch->asked--;
		return SPOOL_REFUSED;
	}
	if (end->kind == IPC_OUTCOME_UNKNOWN)
		counter_add(COUNTER_USAGE_UNKNOWN, 1);
	entry->settling = true;
	return SPOOL_WAITING;
}

bool spool_claim(struct spool *spool, uint32_t proxy, uint64_t tid)
{
	struct entry *entry = spool_find(spool, proxy, tid);

	if (entry != NULL)
		entry->deadline_ms = 0;
	return entry != NULL;
}

struct abandoned {
	uint64_t deadline_ms;
};

static void abandon_one(uint64_t tid, void *value, void *arg)
{
	const struct abandoned *abandoned = arg;
	struct entry *entry = value;

	(void)tid;
	if (entry->deadline_ms == 0)
		entry->deadline_ms = abandoned->deadline_ms;
}

void spool_abandon(struct spool *spool, uint32_t proxy, uint64_t now_ms)
{
	struct abandoned abandoned = {now_ms + SPOOL_GRACE_MS};

	if (spool->entries[proxy] != NULL)
		idmap_each(spool->entries[proxy], abandon_one, &abandoned);
}

struct opens {
	void (*each)(const struct spool_open *open, void *arg);
	void *arg;
};

static void tell_open(uint64_t tid, void *value, void *arg)
{
	const struct opens *opens = arg;
	const struct entry *entry = value;

	(void)tid;
	opens->each(&entry->open, opens->arg);
}

void spool_each_open(
	struct spool *spool, void (*each)(const struct spool_open *open, void *arg), void *arg)
{
	struct opens opens = {each, arg};

	for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++) {
		if (spool->entries[i] != NULL)
			idmap_each(spool->entries[i], tell_open, &opens);
	}
}

/* --------------------------------------------------------------------- graces */
static void log_unknown(const struct entry *entry)
{
	struct log_line line;

	log_begin(&line, LOG_WARNING, "message-unknown");
	log_id(&line, "tid", entry->open.tid);
	log_id(&line, "sid", entry->open.message.sid);
	log_uint(&line, "account", entry->open.message.account);
	log_text(&line, "reason", "nobody said whether the backend took it");
	log_end(&line);
}

/* It may have left only if its intent was recorded. */
static void end_silent(struct spool *spool, struct entry *entry)
{
	const struct spool_end end = {
		.proxy = entry->open.proxy,
		.tid = entry->open.tid,
		.kind = entry->open.intended ? IPC_OUTCOME_UNKNOWN : IPC_OUTCOME_ABORTED,
		.at_ms = entry->open.intended ? entry->open.message.at_ms : clock_wall_ms(),
	};

	if (spool_outcome(spool, &end, NULL, NULL, 0) == SPOOL_WAITING && entry->open.intended)
		log_unknown(entry);
}

static void look_at(struct spool *spool, struct entry *entry, uint64_t now_ms)
{
	bool alone = entry->deadline_ms != 0 && now_ms >= entry->deadline_ms;

	if (!entry->settling && (alone || now_ms - entry->opened_ms >= spool->settings.expire_ms))
		end_silent(spool, entry);
}

void spool_tick(struct spool *spool, uint64_t now_ms)
{
	spool_each_entry(spool, look_at, now_ms);
	spool_log_tick(spool, now_ms);
	spool_log_tell(spool);
}

/* ------------------------------------------------------------------ lifetime */
struct spool *spool_new(
	struct event_base *base, const struct spool_settings *settings, uint64_t now_ms)
{
	struct spool *spool = calloc(1, sizeof *spool);

	if (spool == NULL)
		return NULL;
	spool->settings = *settings;
	spool->segment_bytes = settings->size_bytes / SPOOL_SEGMENTS;
	TAILQ_INIT(&spool->segments);
	TAILQ_INIT(&spool->batches);
	spool->batch_timer = evtimer_new(base, spool_batch_on_timer, spool);
	if (spool->batch_timer == NULL || !spool_replay(spool, now_ms)) {
		log_message(LOG_ERROR, "spool", "no memory for what is in it");
		spool_destroy(&spool);
		return NULL;
	}
	spool->writer = spool_writer_new(base, settings->files->segments, settings->sync, spool);
	if (spool->writer == NULL) {
		log_message(LOG_ERROR, "spool", "no thread for it: %s", strerror(errno));
		spool_destroy(&spool);
		return NULL;
	}
	if (spool->resumed != NULL)
		spool_log_resume(spool, spool->resumed);
	spool_log_tick(spool, now_ms);
	spool_log_tell(spool);
	return spool;
}

static void free_entry(struct spool *spool, struct entry *entry, uint64_t now_ms)
{
	(void)spool;
	(void)now_ms;
	free(entry);
}

void spool_destroy(struct spool **pointer)
{
	struct spool *spool = *pointer;

	if (spool == NULL)
		return;
	spool->closing = true;
	/* Those who are answered now may still look at it. */
	spool_writer_destroy(&spool->writer);
	*pointer = NULL;
	spool_each_entry(spool, free_entry, 0);
	for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++)
		idmap_destroy(&spool->entries[i]);
	while (!TAILQ_EMPTY(&spool->batches)) {
		struct batch *batch = TAILQ_FIRST(&spool->batches);
		TAILQ_REMOVE(&spool->batches, batch, link);
		free(batch);
	}
	while (!TAILQ_EMPTY(&spool->segments)) {
		struct segment *segment = TAILQ_FIRST(&spool->segments);
		TAILQ_REMOVE(&spool->segments, segment, link);
		free(segment);
	}
	if (spool->batch_timer != NULL)
		event_free(spool->batch_timer);
	free(spool);
}
