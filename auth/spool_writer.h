/* SPDX-License-Identifier: ISC */
/*
 * The thread that touches the spool's files: the loop never waits for a disk.
 *
 * Jobs are done in the order in which they were given.  All that wait are taken at once and written
 * by one call, and one fdatasync() serves all of them: the busier the disk, the larger the group.
 * done() is called in the loop's thread, from the loop, once for each job.  Knows nothing of what
 * it writes.
 */
#ifndef AUTH_SPOOL_WRITER_H
#define AUTH_SPOOL_WRITER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum spool_work {
	SPOOL_APPEND = 1, /* behind what the present file has; with len 0 nothing but the sync */
	SPOOL_BEGIN,      /* file, emptied, is the present one from now on, and begins with bytes */
	SPOOL_RESUME,     /* file is the present one, and ends at offset: what follows is cut off */
	SPOOL_EMPTY,      /* file has nothing any more: all before is synced first */
	SPOOL_READ,       /* len octets of file from offset into bytes */
};

struct spool_job {
	TAILQ_ENTRY(spool_job) link;
	enum spool_work work;
	bool durable; /* APPEND: done when it is on the disk, else when it is written */
	int error;    /* the answer: 0, or an errno: nothing of it was done */
	unsigned file;
	uint64_t offset; /* READ's and RESUME's; of APPEND the answer */
	void (*done)(struct spool_job *job, void *arg);
	uint64_t token; /* the owner's, as is the next */
	void *extra;
	size_t len;
	uint8_t bytes[];
};

struct spool_writer;

/*
 * files are descriptors and stay the caller's, as does arg.  sync: whether anything is synced at
 * all.  NULL: errno says why.  An APPEND fails before the first BEGIN or RESUME.
 */
struct spool_writer *spool_writer_new(struct event_base *base, const int *files, bool sync,
	void *arg) __attribute__((warn_unused_result));

/* Ends when all jobs are done; done() is called for those that are left. */
void spool_writer_destroy(struct spool_writer **writer);

/* For spool_writer_give(); free() otherwise.  NULL: out of memory. */
struct spool_job *spool_job_new(enum spool_work work, size_t len)
	__attribute__((warn_unused_result));

/* The job is the writer's until done() returns; then it is freed. */
void spool_writer_give(struct spool_writer *writer, struct spool_job *job);
size_t spool_writer_count(const struct spool_writer *writer); /* given and not done */

#endif
