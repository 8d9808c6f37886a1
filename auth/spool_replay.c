/* SPDX-License-Identifier: ISC */
/*
 * What an earlier process left in the files: open messages, and batches that are not in the books.
 *
 * Runs once, before the writer's thread, so it may wait for the disk.  A file that was cut off by a
 * crash counts as far as it goes; octets changed on the disk cost their record, and are told.
 */
#include "auth/spool_state.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct found {
	struct segment *segment;
	uint64_t node;
	uint8_t *bytes;
	size_t len;
	bool damaged;
};

struct replay {
	struct spool *spool;
	uint64_t now_ms;
	struct found files[SPOOL_FILES];
	size_t count;
	size_t records, damaged;
	bool out_of_memory;
};

/* ------------------------------------------------------------------- records */
static void place_take(
	struct replay *replay, const struct found *file, const struct spool_take *take)
{
	struct spool *spool = replay->spool;
	struct entry *entry = spool_find(spool, take->proxy, take->tid);
	size_t at = 0;

	if (entry == NULL)
		entry = spool_add(spool, take->proxy, take->tid, replay->now_ms);
	if (entry == NULL) {
		replay->out_of_memory = true;
		return;
	}
	/* One that was written anew is still the same. */
	while (at < entry->open.take_count &&
		memcmp(&entry->open.takes[at], take, sizeof *take) != 0)
		at++;
	if (at == SPOOL_TAKES_MAX)
		return;
	if (at == entry->open.take_count)
		entry->open.takes[entry->open.take_count++] = *take;
	spool_hold(&entry->take_in[at], file->segment);
}

static void place_intent(
	struct replay *replay, const struct found *file, const struct spool_message *message)
{
	struct spool *spool = replay->spool;
	struct entry *entry = spool_find(spool, message->proxy, message->tid);

	if (entry == NULL)
		entry = spool_add(spool, message->proxy, message->tid, replay->now_ms);
	if (entry == NULL) {
		replay->out_of_memory = true;
		return;
	}
	entry->open.message = *message;
	entry->open.intended = true;
	spool_hold(&entry->intent_in, file->segment);
}

static void place_outcome(struct replay *replay, const struct found *file,
	const struct spool_outcome *outcome, uint64_t from, uint64_t to)
{
	struct spool *spool = replay->spool;
	const struct spool_batch id = {
		.node = file->node, .boot = outcome->boot, .number = outcome->batch};
	struct entry *entry = spool_find(spool, outcome->message.proxy, outcome->message.tid);

	if (entry != NULL)
		spool_drop(spool, entry);
	if (outcome->batch != 0 && !spool_batch_replay(spool, &id, file->segment, from, to))
		replay->out_of_memory = true;
}

static void place_uploaded(
	struct replay *replay, const struct found *file, const struct spool_uploaded *uploaded)
{
	struct batch *batch =
		spool_batch_find(replay->spool, file->node, uploaded->boot, uploaded->batch);

	if (batch != NULL)
		spool_batch_remove(replay->spool, batch);
}

static void place(struct replay *replay, const struct found *file,
	const struct spool_record *record, uint64_t from, uint64_t to)
{
	replay->records++;
	switch (record->type) {
	case SPOOL_TAKE:
		place_take(replay, file, &record->take);
		return;
	case SPOOL_INTENT:
		place_intent(replay, file, &record->intent);
		return;
	case SPOOL_OUTCOME:
		place_outcome(replay, file, &record->outcome, from, to);
		return;
	case SPOOL_UPLOADED:
		place_uploaded(replay, file, &record->uploaded);
		return;
	}
}

static void log_damage(const struct found *file, size_t at, size_t len)
{
	struct log_line line;

	log_begin(&line, LOG_ERROR, "spool-damaged");
	log_uint(&line, "file", file->segment->file);
	log_uint(&line, "offset", at);
	log_uint(&line, "bytes", len);
	log_text(&line, "msg", "a record cannot be read: look at the disk of spool.directory");
	log_end(&line);
}

static void walk(struct replay *replay, struct found *file)
{
	struct spool_record record;
	size_t at = SPOOL_HEAD_BYTES, used;

	while (at < file->len) {
		switch (spool_record_decode(file->bytes + at, file->len - at, &record, &used)) {
		case SPOOL_READ_RECORD:
			place(replay, file, &record, at, at + used);
			break;
		case SPOOL_READ_DAMAGED:
			file->damaged = true;
			replay->damaged++;
			log_damage(file, at, used);
			break;
		case SPOOL_READ_END:
			log_message(LOG_WARNING, "spool-cut",
				"the last %zu octets of file %u are no record: cut off by a crash",
				file->len - at, file->segment->file);
			file->len = at;
			continue;
		}
		at += used;
	}
	file->segment->bytes = file->len;
	replay->spool->bytes += file->len;
}

/* --------------------------------------------------------------------- files */
static uint8_t *read_whole(int fd, size_t size)
{
	uint8_t *bytes = malloc(size > 0 ? size : 1);
	size_t got = 0;

	while (bytes != NULL && got < size) {
		ssize_t n = pread(fd, bytes + got, size - got, (off_t)got);
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(bytes);
			return NULL;
		}
		got += (size_t)n;
	}
	return bytes;
}

static void set_aside(unsigned file, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_ERROR, "spool-damaged");
	log_uint(&line, "file", file);
	log_text(&line, "error", why);
	log_text(&line, "msg",
		"the file is not used: look at the disk of spool.directory, or remove the file");
	log_end(&line);
}

/* Reads the head alone: the files are walked in the order of their numbers. */
static bool find(struct replay *replay, unsigned index)
{
	struct spool *spool = replay->spool;
	int fd = spool->settings.files->segments[index];
	uint8_t bytes[SPOOL_HEAD_BYTES];
	struct spool_head head;

	spool->file_used[index] = true;
	/* Not by fstat(), which libc may do with a call for paths: the filter knows none. */
	off_t size = lseek(fd, 0, SEEK_END);
	ssize_t n = size == -1 ? -1 : pread(fd, bytes, sizeof bytes, 0);
	if (n == -1) {
		set_aside(index, strerror(errno));
		return true;
	}
	/* A crash during its first write leaves it shorter than a head. */
	if (n < SPOOL_HEAD_BYTES) {
		spool->file_used[index] = false;
		return true;
	}
	if (!spool_head_decode(bytes, (size_t)n, &head)) {
		set_aside(index, "no head");
		return true;
	}
	struct found *file = &replay->files[replay->count];
	file->segment = calloc(1, sizeof *file->segment);
	if (file->segment == NULL)
		return false;
	file->segment->file = index;
	file->segment->number = head.number;
	file->node = head.node;
	file->len = (size_t)size;
	replay->count++;
	return true;
}

static int older(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return (x->segment->number > y->segment->number) -
	       (x->segment->number < y->segment->number);
}

static void replay_file(struct replay *replay, struct found *file)
{
	struct spool *spool = replay->spool;

	file->bytes = read_whole(spool->settings.files->segments[file->segment->file], file->len);
	if (file->bytes == NULL) {
		set_aside(file->segment->file, strerror(errno));
		free(file->segment);
		file->segment = NULL;
		return;
	}
	TAILQ_INSERT_TAIL(&spool->segments, file->segment, link);
	spool->last_number = file->segment->number;
	walk(replay, file);
	free(file->bytes);
	file->bytes = NULL;
}

static void set_grace(struct spool *spool, struct entry *entry, uint64_t now_ms)
{
	(void)spool;
	entry->deadline_ms = now_ms + SPOOL_GRACE_MS;
}

static void log_replay(const struct replay *replay)
{
	const struct spool *spool = replay->spool;
	struct log_line line;

	log_begin(&line, LOG_INFO, "spool-replayed");
	log_uint(&line, "files", replay->count);
	log_uint(&line, "records", replay->records);
	log_uint(&line, "damaged", replay->damaged);
	log_uint(&line, "open", spool->open_count);
	log_uint(&line, "waiting", spool->waiting);
	log_end(&line);
}

/* The last one goes on, or each start would cost a file while the database is away. */
static struct segment *resumable(const struct replay *replay)
{
	const struct found *last = replay->count > 0 ? &replay->files[replay->count - 1] : NULL;

	if (last == NULL || last->segment == NULL || last->damaged ||
		last->node != replay->spool->settings.files->node ||
		last->segment->bytes + SPOOL_RECORD_MAX > replay->spool->segment_bytes)
		return NULL;
	return last->segment;
}

bool spool_replay(struct spool *spool, uint64_t now_ms)
{
	struct replay *replay = calloc(1, sizeof *replay);

	if (replay == NULL)
		return false;
	replay->spool = spool;
	replay->now_ms = now_ms;
	bool good = true;
	for (unsigned i = 0; good && i < SPOOL_FILES; i++)
		good = find(replay, i);
	if (replay->count > 1)
		qsort(replay->files, replay->count, sizeof replay->files[0], older);
	for (size_t i = 0; i < replay->count; i++) {
		if (good)
			replay_file(replay, &replay->files[i]);
		else
			free(replay->files[i].segment);
	}
	good = good && !replay->out_of_memory;
	if (good) {
		spool_each_entry(spool, set_grace, now_ms);
		log_replay(replay);
		spool->resumed = resumable(replay);
	}
	free(replay);
	return good;
}
