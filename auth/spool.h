/* SPDX-License-Identifier: ISC */
/*
 * What became of messages, on this node's disk until it is in the books.
 *
 * Owns the memory of open messages (taken or intended, and without an outcome), the segments of the
 * log, and the batches of outcomes that wait for their upload (usage.h).  An intent is told to be
 * recorded only when it survives a crash; so a message that a backend may have accepted is never
 * forgotten: where no outcome follows, it goes into the books as unknown.  The spool is bounded: an
 * intent for which there is no room is refused, before the end of data leaves.
 *
 * The loop's thread only; the disk is spool_writer.h's.  Nothing here talks to a proxy or to the
 * database.
 */
#ifndef AUTH_SPOOL_H
#define AUTH_SPOOL_H

#include "auth/spool_files.h"
#include "auth/spool_record.h"
#include "common/config.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SPOOL_GRACE_MS = 60 * 1000, /* for a proxy to say what became of an open message */
	SPOOL_TAKES_MAX = 2,        /* of one message: its own and a top-up */
	SPOOL_OPEN_MAX = 64 * 1024, /* messages of all proxies */
	SPOOL_QUEUE_MAX = 16 * 1024,
	SPOOL_BATCH_MAX = 500,
	SPOOL_BATCH_MS = 500,
	SPOOL_RETRY_MS = 1000, /* after an error of the disk */
};

struct spool;

struct spool_settings {
	const struct spool_files *files; /* stay the caller's */
	uint64_t size_bytes;
	bool sync;                   /* an intent is recorded when it is on the disk */
	uint64_t expire_ms;          /* an open message without any news ends as unknown */
	void (*on_batch)(void *arg); /* spool_batch_next() has one */
	void *arg;
};

/* Reads what an earlier process left, and starts the thread: after confinement.  NULL: out of
 * memory, or no thread; said why. */
struct spool *spool_new(struct event_base *base, const struct spool_settings *settings,
	uint64_t now_ms) __attribute__((warn_unused_result));

/* Everything given is written before it returns; who waits is answered. */
void spool_destroy(struct spool **spool);

/* Every second: graces, room, carrying over. */
void spool_tick(struct spool *spool, uint64_t now_ms);

/* ------------------------------------------------------------------ messages */
struct spool_open { /* as it was found at the start, for the owner to take up again */
	uint32_t proxy;
	uint64_t tid;
	bool intended;
	size_t take_count;
	struct spool_take takes[SPOOL_TAKES_MAX];
	struct spool_message message; /* intended */
};
void spool_each_open(
	struct spool *spool, void (*each)(const struct spool_open *open, void *arg), void *arg);

/* Called once, from the loop. */
typedef void spool_done(bool recorded, void *arg, uint64_t token);

enum spool_answer {
	SPOOL_WAITING = 1, /* done is called later, never before return */
	SPOOL_REFUSED,     /* no room, or the disk fails: done is not called */
	SPOOL_NOTHING,     /* no such message is open: there is nothing to record */
};

/* A grant, so that it can be given back after a crash.  Best effort: nobody waits for it. */
void spool_take(struct spool *spool, const struct spool_take *take, uint64_t now_ms);

/* The end of data is about to leave.  taken_ms is the take's where it is known here. */
enum spool_answer spool_intent(struct spool *spool, const struct spool_message *message,
	uint64_t now_ms, spool_done *done, void *arg, uint64_t token)
	__attribute__((warn_unused_result));

struct spool_end { /* what became of it */
	uint32_t proxy;
	uint64_t tid;
	enum ipc_outcome_kind kind;
	uint16_t code;
	uint64_t at_ms;
	uint32_t recipients; /* 0, like bytes: as its intent said */
	uint64_t bytes;
	uint8_t queue_id_len;
	const uint8_t *queue_id;
};
enum spool_answer spool_outcome(struct spool *spool, const struct spool_end *end, spool_done *done,
	void *arg, uint64_t token) __attribute__((warn_unused_result));

/* The proxy names it on its channel: it is waited for.  False: not open here. */
bool spool_claim(struct spool *spool, uint32_t proxy, uint64_t tid);
/* The proxy's channel is gone: its messages have the grace. */
void spool_abandon(struct spool *spool, uint32_t proxy, uint64_t now_ms);

/* ------------------------------------------------------------------- batches */
struct spool_batch { /* outcomes for the books; the same ones whenever it is read */
	uint64_t node, boot, number;
	size_t count;
};

/* The oldest that is ready; it is the caller's until one of the next two.  NULL: none. */
const struct spool_batch *spool_batch_next(struct spool *spool);
void spool_batch_uploaded(struct spool *spool, const struct spool_batch *batch);
/* To the last place: it cannot be uploaded now. */
void spool_batch_again(struct spool *spool, const struct spool_batch *batch);

/*
 * Reads it back: records, its outcomes among them.  done is called once, from the loop, never
 * before return; with bytes NULL it cannot be read.  False: out of memory, done is not called.
 */
typedef void spool_batch_read_done(const uint8_t *bytes, size_t len, void *arg);
bool spool_batch_read(struct spool *spool, const struct spool_batch *batch,
	spool_batch_read_done *done, void *arg) __attribute__((warn_unused_result));

/* Outcomes that are not in the books yet. */
size_t spool_waiting(const struct spool *spool);
/* Closes the batch that is being filled: draining. */
void spool_close_batch(struct spool *spool);

#endif
