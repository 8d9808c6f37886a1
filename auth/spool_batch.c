/* SPDX-License-Identifier: ISC */
/*
 * Batches of outcomes on their way into the books; see spool.h.
 *
 * A batch has a number of its boot, which each of its records carries, and lies in one file.  It is
 * shown to the uploader when it is closed and on the disk: so whatever happens, the same number
 * always means the same messages, and the books can tell a repeat.
 */
#include "auth/spool_state.h"

#include "common/counters.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

static void set_timer(struct spool *spool)
{
	const struct timeval tv = {SPOOL_BATCH_MS / 1000, SPOOL_BATCH_MS % 1000 * 1000};

	(void)evtimer_add(spool->batch_timer, &tv);
}

static struct batch *batch_new(struct spool *spool, const struct spool_batch *id)
{
	struct batch *batch = calloc(1, sizeof *batch);

	if (batch == NULL)
		return NULL;
	batch->id = *id;
	TAILQ_INSERT_TAIL(&spool->batches, batch, link);
	return batch;
}

struct batch *spool_batch_filling(struct spool *spool)
{
	const struct spool_batch id = {.node = spool->settings.files->node,
		.boot = spool->settings.files->boot,
		.number = spool->last_batch + 1};

	if (spool->filling != NULL && spool->filling->asked >= SPOOL_BATCH_MAX)
		spool_close_batch(spool);
	if (spool->filling != NULL)
		return spool->filling;
	spool->filling = batch_new(spool, &id);
	if (spool->filling == NULL)
		return NULL;
	spool->filling->state = BATCH_OPEN;
	spool->last_batch++;
	set_timer(spool);
	return spool->filling;
}

/* Octets of an outcome of the batch stand there. */
static void extend(struct spool *spool, struct batch *batch, struct segment *segment, uint64_t from,
	uint64_t to)
{
	if (batch->segment == NULL) {
		spool_hold(&batch->segment, segment);
		batch->from = from;
	}
	require(batch->segment == segment);
	batch->to = to;
	batch->id.count++;
	spool->waiting++;
	counter_set(COUNTER_SPOOL_WAITING, spool->waiting);
}

void spool_batch_added(struct spool *spool, struct batch *batch, const struct spool_job *job)
{
	if (job->error == 0)
		extend(spool, batch, spool->active, job->offset, job->offset + job->len);
}

void spool_batch_remove(struct spool *spool, struct batch *batch)
{
	TAILQ_REMOVE(&spool->batches, batch, link);
	spool->waiting -= batch->id.count;
	counter_set(COUNTER_SPOOL_WAITING, spool->waiting);
	spool_hold(&batch->segment, NULL);
	free(batch);
}

static void on_synced(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;
	struct batch *batch = job->extra;

	/* Shown all the same if the sync failed: in memory it is as good as it will ever be. */
	spool_log_written(spool, job);
	if (spool->closing)
		return;
	if (batch->id.count == 0) {
		spool_batch_remove(spool, batch);
		return;
	}
	batch->state = BATCH_READY;
	spool->settings.on_batch(spool->settings.arg);
}

void spool_close_batch(struct spool *spool)
{
	struct batch *batch = spool->filling;

	if (batch == NULL || batch->state != BATCH_OPEN)
		return;
	struct spool_job *job = spool_job_new(SPOOL_APPEND, 0);
	if (job == NULL) {
		set_timer(spool); /* and again */
		return;
	}
	spool->filling = NULL;
	evtimer_del(spool->batch_timer);
	batch->state = BATCH_CLOSED;
	job->durable = true;
	job->done = on_synced;
	job->extra = batch;
	spool_writer_give(spool->writer, job);
}

void spool_batch_on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	spool_close_batch(arg);
}

struct batch *spool_batch_find(struct spool *spool, uint64_t node, uint64_t boot, uint64_t number)
{
	struct batch *batch;

	TAILQ_FOREACH (batch, &spool->batches, link) {
		if (batch->id.number == number && batch->id.boot == boot && batch->id.node == node)
			return batch;
	}
	return NULL;
}

bool spool_batch_replay(struct spool *spool, const struct spool_batch *id, struct segment *segment,
	uint64_t from, uint64_t to)
{
	struct batch *batch = TAILQ_LAST(&spool->batches, batches);

	/* Their records stand together, but for those of other kinds. */
	if (batch == NULL || batch->id.number != id->number || batch->id.boot != id->boot ||
		batch->id.node != id->node || batch->segment != segment)
		batch = batch_new(spool, id);
	if (batch == NULL)
		return false;
	batch->state = BATCH_READY;
	extend(spool, batch, segment, from, to);
	return true;
}

/* ------------------------------------------------------------------ uploader */
const struct spool_batch *spool_batch_next(struct spool *spool)
{
	struct batch *batch;

	TAILQ_FOREACH (batch, &spool->batches, link) {
		if (batch->state != BATCH_READY)
			continue;
		batch->state = BATCH_OUT;
		return &batch->id;
	}
	return NULL;
}

void spool_batch_again(struct spool *spool, const struct spool_batch *id)
{
	struct batch *batch = spool_batch_find(spool, id->node, id->boot, id->number);

	require(batch != NULL && batch->state == BATCH_OUT);
	batch->state = BATCH_READY;
	TAILQ_REMOVE(&spool->batches, batch, link);
	TAILQ_INSERT_TAIL(&spool->batches, batch, link);
}

/* The mark is written or not: without it the batch is sent once more after a crash, and known. */
static void on_marked(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;
	struct batch *batch = job->extra;

	spool_log_written(spool, job);
	spool_batch_remove(spool, batch);
	spool_log_release(spool);
}

void spool_batch_uploaded(struct spool *spool, const struct spool_batch *id)
{
	struct batch *batch = spool_batch_find(spool, id->node, id->boot, id->number);
	const struct spool_record record = {
		.type = SPOOL_UPLOADED, .uploaded = {.boot = id->boot, .batch = id->number}};
	struct spool_job *job = spool->closing ? NULL : spool_log_job(&record);

	require(batch != NULL && batch->state == BATCH_OUT);
	if (job == NULL) {
		spool_batch_remove(spool, batch);
		return;
	}
	job->done = on_marked;
	job->extra = batch;
	spool_log_append(spool, job);
}

struct reading {
	spool_batch_read_done *done;
	void *arg;
};

static void on_read(struct spool_job *job, void *arg)
{
	struct reading *reading = job->extra;
	const struct spool *spool = arg;

	if (job->error != 0)
		log_message(
			LOG_ERROR, "spool-read", "file %u: %s", job->file, strerror(job->error));
	/* Who asked could do nothing with it any more. */
	reading->done(
		job->error == 0 && !spool->closing ? job->bytes : NULL, job->len, reading->arg);
	free(reading);
}

bool spool_batch_read(
	struct spool *spool, const struct spool_batch *id, spool_batch_read_done *done, void *arg)
{
	const struct batch *batch = spool_batch_find(spool, id->node, id->boot, id->number);
	struct reading *reading = malloc(sizeof *reading);

	require(batch != NULL && batch->state == BATCH_OUT);
	struct spool_job *job = spool_job_new(SPOOL_READ, batch->to - batch->from);
	if (job == NULL || reading == NULL || spool->closing) {
		free(job);
		free(reading);
		return false;
	}
	*reading = (struct reading){done, arg};
	job->file = batch->segment->file;
	job->offset = batch->from;
	job->done = on_read;
	job->extra = reading;
	spool_writer_give(spool->writer, job);
	return true;
}

size_t spool_waiting(const struct spool *spool)
{
	return spool->waiting;
}
