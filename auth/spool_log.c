/* SPDX-License-Identifier: ISC */
/*
 * The segments of the spool: where records go, what holds them, how much room there is; see
 * spool_state.h.
 *
 * Files are emptied strictly in the order of their age: an outcome is never forgotten before the
 * intent that it answers, or that would come up again as unknown.  A message that stays open for
 * long would hold all that is younger; its records are written anew, and then nothing holds the old
 * ones.
 */
#include "auth/spool_state.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	RESERVE_BYTES = 512, /* for the outcome of each open message */
	ALARM_PERCENT = 80,
	CALM_PERCENT = 70,
	CARRY_SEGMENTS = 4, /* so many in use: the oldest is worth the work */
};

/* ---------------------------------------------------------------------- disk */
static bool is_full(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static void note_result(struct spool *spool, int error)
{
	struct log_line line;

	if (error == 0 && spool->error != 0)
		log_message(LOG_INFO, "spool-recovered", "the spool can be written again");
	if (error != 0 && spool->error == 0) {
		log_begin(&line, LOG_ERROR, "spool-failed");
		log_text(&line, "error", strerror(error));
		log_text(&line, "msg",
			is_full(error) ? "messages are answered 451: make room on the file system "
					 "of spool.directory"
				       : "messages are answered 451: look at the disk of "
					 "spool.directory");
		log_end(&line);
	}
	spool->error = error;
	if (error != 0)
		spool->retry_ms = clock_monotonic_ms() + SPOOL_RETRY_MS;
	/* What a failed sync left of the file is not known. */
	if (error != 0 && !is_full(error))
		spool->leave_file = true;
}

/* --------------------------------------------------------------------- files */
static void add_bytes(struct spool *spool, struct segment *segment, uint64_t bytes)
{
	segment->bytes += bytes;
	spool->bytes += bytes;
}

static void on_begun(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;
	struct segment *segment = job->extra;

	spool->beginning = false;
	note_result(spool, job->error);
	if (job->error != 0) {
		spool->file_used[segment->file] = false;
		spool->begin_after_ms = clock_monotonic_ms() + SPOOL_RETRY_MS;
		free(segment);
		return;
	}
	spool->leave_file = false;
	TAILQ_INSERT_TAIL(&spool->segments, segment, link);
	spool->active = segment;
	add_bytes(spool, segment, job->len);
	spool_log_release(spool);
}

/* -1: none */
static int free_file(const struct spool *spool)
{
	for (int i = 0; i < SPOOL_FILES; i++) {
		if (!spool->file_used[i])
			return i;
	}
	return -1;
}

/* What is given from now on goes into another file.  Where there is none the present one grows. */
static void begin_file(struct spool *spool)
{
	int file = free_file(spool);

	if (file == -1 || spool->beginning || clock_monotonic_ms() < spool->begin_after_ms)
		return;
	struct spool_job *job = spool_job_new(SPOOL_BEGIN, SPOOL_HEAD_BYTES);
	struct segment *segment = calloc(1, sizeof *segment);
	if (job == NULL || segment == NULL) {
		free(job);
		free(segment);
		return;
	}
	/* A batch is in one file. */
	spool_close_batch(spool);
	if (spool->filling != NULL) {
		free(job);
		free(segment);
		return;
	}
	segment->number = ++spool->last_number;
	segment->file = (unsigned)file;
	const struct spool_head head = {
		.node = spool->settings.files->node, .number = segment->number};
	spool_head_encode(&head, job->bytes);
	job->file = segment->file;
	job->done = on_begun;
	job->extra = segment;
	spool->file_used[file] = true;
	spool->beginning = true;
	spool->queued_bytes = SPOOL_HEAD_BYTES;
	spool_writer_give(spool->writer, job);
}

static void on_resumed(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;

	note_result(spool, job->error);
	if (job->error != 0)
		spool->active = NULL;
}

void spool_log_resume(struct spool *spool, struct segment *segment)
{
	struct spool_job *job = spool_job_new(SPOOL_RESUME, 0);

	if (job == NULL)
		return;
	job->file = segment->file;
	job->offset = segment->bytes;
	job->done = on_resumed;
	spool->active = segment;
	spool->queued_bytes = segment->bytes;
	spool_writer_give(spool->writer, job);
}

/* ------------------------------------------------------------------- appends */
struct spool_job *spool_log_job(const struct spool_record *record)
{
	uint8_t bytes[SPOOL_RECORD_MAX];
	size_t len = spool_record_encode(record, bytes);
	struct spool_job *job = spool_job_new(SPOOL_APPEND, len);

	if (job != NULL)
		memcpy(job->bytes, bytes, len);
	return job;
}

void spool_log_append(struct spool *spool, struct spool_job *job)
{
	spool->queued_bytes += job->len;
	spool->inflight_bytes += job->len;
	spool_writer_give(spool->writer, job);
	/* Afterwards: the record's batch may end with this file. */
	if (spool->queued_bytes + SPOOL_RECORD_MAX > spool->segment_bytes)
		begin_file(spool);
}

void spool_log_written(struct spool *spool, const struct spool_job *job)
{
	spool->inflight_bytes -= job->len;
	if (job->len > 0 || job->error != 0)
		note_result(spool, job->error);
	if (job->error == 0 && job->len > 0) {
		require(spool->active != NULL && spool->active->file == job->file);
		add_bytes(spool, spool->active, job->len);
	}
}

/* ------------------------------------------------------------------- release */
static void on_emptied(struct spool_job *job, void *arg)
{
	struct spool *spool = arg;
	struct segment *segment = job->extra;

	spool->emptying = false;
	if (job->error != 0) {
		note_result(spool, job->error); /* the next tick tries again */
		return;
	}
	TAILQ_REMOVE(&spool->segments, segment, link);
	spool->bytes -= segment->bytes;
	spool->file_used[segment->file] = false;
	free(segment);
	spool_log_release(spool);
}

void spool_log_release(struct spool *spool)
{
	struct segment *oldest = TAILQ_FIRST(&spool->segments);

	if (spool->closing || spool->emptying || oldest == NULL || oldest == spool->active ||
		spool->active == NULL || oldest->pending > 0)
		return;
	struct spool_job *job = spool_job_new(SPOOL_EMPTY, 0);
	if (job == NULL)
		return;
	job->file = oldest->file;
	job->done = on_emptied;
	job->extra = oldest;
	spool->emptying = true;
	spool_writer_give(spool->writer, job);
}

static void carry_one(struct spool *spool, struct entry *entry, uint64_t now_ms)
{
	(void)now_ms;
	spool_carry(spool, entry, TAILQ_FIRST(&spool->segments));
}

static size_t count_used(const struct spool *spool)
{
	size_t count = 0;

	for (size_t i = 0; i < SPOOL_FILES; i++)
		count += spool->file_used[i] ? 1 : 0;
	return count;
}

/* Only where open messages alone hold it: a batch is not younger for being written again. */
static bool worth_carrying(const struct spool *spool)
{
	const struct segment *oldest = TAILQ_FIRST(&spool->segments);
	const struct batch *batch;

	if (oldest == NULL || oldest == spool->active || oldest->pending == 0 ||
		spool->error != 0 || count_used(spool) < CARRY_SEGMENTS)
		return false;
	TAILQ_FOREACH (batch, &spool->batches, link) {
		if (batch->segment == oldest)
			return false;
	}
	return true;
}

/* --------------------------------------------------------------------- ticks */
bool spool_log_has_room(const struct spool *spool, uint64_t now_ms)
{
	uint64_t reserved = spool->open_count * RESERVE_BYTES + SPOOL_RECORD_MAX;

	if (spool->error != 0 && now_ms < spool->retry_ms)
		return false;
	return spool->bytes + spool->inflight_bytes + reserved <= spool->settings.size_bytes;
}

static void log_room(
	const struct spool *spool, enum log_level level, const char *verb, const char *text)
{
	struct log_line line;

	log_begin(&line, level, verb);
	log_uint(&line, "bytes", spool->bytes);
	log_uint(&line, "size", spool->settings.size_bytes);
	log_uint(&line, "waiting", spool->waiting);
	log_text(&line, "msg", text);
	log_end(&line);
}

/* Told when the first message is refused, and again only when there was room meanwhile. */
void spool_log_refused(struct spool *spool)
{
	if (spool->error != 0 || spool->told_full)
		return;
	spool->told_full = true;
	log_room(spool, LOG_ERROR, "spool-full",
		"messages are answered 451 until the database takes what is in it, or spool.size "
		"is larger");
}

static void sound_alarms(struct spool *spool)
{
	uint64_t percent = spool->bytes * 100 / spool->settings.size_bytes;

	if (percent >= ALARM_PERCENT && !spool->alarmed) {
		spool->alarmed = true;
		log_room(spool, LOG_WARNING, "spool-filling",
			"is the database away? at spool.size messages are answered 451");
	} else if (percent < CALM_PERCENT) {
		spool->alarmed = false;
	}
	if (spool->told_full && percent < ALARM_PERCENT) {
		spool->told_full = false;
		log_room(spool, LOG_INFO, "spool-has-room", "messages are taken again");
	}
}

void spool_log_tell(struct spool *spool)
{
	counter_set(COUNTER_SPOOL_BYTES, spool->bytes);
	sound_alarms(spool);
}

void spool_log_tick(struct spool *spool, uint64_t now_ms)
{
	if (spool->active == NULL || spool->leave_file ||
		spool->queued_bytes + SPOOL_RECORD_MAX > spool->segment_bytes)
		begin_file(spool);
	spool_log_release(spool);
	if (worth_carrying(spool))
		spool_each_entry(spool, carry_one, now_ms);
}
