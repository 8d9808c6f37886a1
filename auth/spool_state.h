/* SPDX-License-Identifier: ISC */
/* Shared by the spool*.c files that keep its memory; nobody else includes it. */
#ifndef AUTH_SPOOL_STATE_H
#define AUTH_SPOOL_STATE_H

#include "auth/spool.h"
#include "auth/spool_writer.h"
#include "common/idmap.h"

#include <sys/queue.h>

struct segment { /* a file in use */
	TAILQ_ENTRY(segment) link;
	uint64_t number, bytes;
	unsigned file;
	size_t pending; /* records in it of open messages, and batches, that are still needed */
};
TAILQ_HEAD(segments, segment);

struct entry { /* an open message */
	struct spool_open open;
	struct segment *take_in[SPOOL_TAKES_MAX]; /* NULL: not on the disk */
	struct segment *intent_in;
	uint64_t opened_ms;
	uint64_t deadline_ms; /* of its proxy's return; 0: that has a channel */
	bool settling;        /* its outcome is being written */
	bool gone;            /* out of the map; freed with its last job */
	size_t jobs;
};

enum batch_state { BATCH_OPEN = 1, BATCH_CLOSED, BATCH_READY, BATCH_OUT };

struct batch {
	TAILQ_ENTRY(batch) link;
	struct spool_batch id; /* first: what the uploader knows */
	enum batch_state state;
	size_t asked; /* outcomes given to the writer */
	struct segment *segment;
	uint64_t from, to; /* where they stand */
};
TAILQ_HEAD(batches, batch);

struct spool {
	struct spool_settings settings;
	struct spool_writer *writer;
	struct event *batch_timer;
	struct idmap *entries[CONFIG_WORKERS_MAX]; /* by tid; NULL until there is one */
	size_t open_count;
	bool file_used[SPOOL_FILES];
	struct segments segments; /* oldest first */
	struct segment *active;   /* the last; NULL: none yet */
	struct segment *resumed;  /* found at the start, to be the active one */
	uint64_t last_number, segment_bytes;
	uint64_t queued_bytes; /* in the active file when all that was given is written */
	uint64_t inflight_bytes, bytes;
	bool beginning, emptying;
	uint64_t begin_after_ms;
	struct batches batches; /* oldest first; the open one is the last */
	struct batch *filling;  /* NULL: none */
	uint64_t last_batch;
	size_t waiting; /* outcomes that are not in the books */
	/* Of the disk. */
	int error; /* the last; 0: it works */
	bool leave_file;
	uint64_t retry_ms;
	bool alarmed, told_full, closing;
};

struct entry *spool_find(const struct spool *spool, uint32_t proxy, uint64_t tid);
/* NULL: too many, or out of memory. */
struct entry *spool_add(struct spool *spool, uint32_t proxy, uint64_t tid, uint64_t now_ms);
void spool_drop(struct spool *spool, struct entry *entry);
void spool_hold(struct segment **place, struct segment *segment); /* moves one pending */
void spool_each_entry(struct spool *spool,
	void (*each)(struct spool *spool, struct entry *entry, uint64_t now_ms), uint64_t now_ms);

/* spool_log.c: segments */
/* NULL: out of memory.  durable, done and extra are the caller's to set. */
struct spool_job *spool_log_job(const struct spool_record *record);
void spool_log_append(struct spool *spool, struct spool_job *job);
void spool_log_resume(struct spool *spool, struct segment *segment);
/* What every done() of an append does first. */
void spool_log_written(struct spool *spool, const struct spool_job *job);
void spool_log_tick(struct spool *spool, uint64_t now_ms);
void spool_log_release(struct spool *spool); /* empties what nobody needs */
bool spool_log_has_room(const struct spool *spool, uint64_t now_ms);
void spool_log_refused(struct spool *spool); /* for want of room, or of a disk */
void spool_log_tell(struct spool *spool);    /* gauges and alarms */
void spool_carry(struct spool *spool, struct entry *entry, struct segment *from);

/* spool_batch.c */
struct batch *spool_batch_filling(struct spool *spool); /* NULL: out of memory */
void spool_batch_added(struct spool *spool, struct batch *batch, const struct spool_job *job);
void spool_batch_on_timer(evutil_socket_t fd, short what, void *spool);
struct batch *spool_batch_find(struct spool *spool, uint64_t node, uint64_t boot, uint64_t number);
void spool_batch_remove(struct spool *spool, struct batch *batch);
/* Of an earlier process: an outcome of its batch stands there.  False: out of memory. */
bool spool_batch_replay(struct spool *spool, const struct spool_batch *id, struct segment *segment,
	uint64_t from, uint64_t to);

/* spool_replay.c: false: out of memory */
bool spool_replay(struct spool *spool, uint64_t now_ms) __attribute__((warn_unused_result));

#endif
