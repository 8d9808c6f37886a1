/* SPDX-License-Identifier: ISC */
/*
 * Password hashes by the hundred: threads that live for one batch.  Threads, where the service has
 * processes: nothing here has an event loop that a neighbour's 64 MiB could hold up.
 */
#ifndef CTL_HASH_THREADS_H
#define CTL_HASH_THREADS_H

#include "auth/password.h"

/* One password.  The caller owns the texts, which stay where they are meanwhile. */
struct hash_job {
	const uint8_t *secret; /* prepared */
	size_t secret_len;
	const char *stored; /* NULL; or a hash, and where the password matches it none is made */

	bool matches; /* stored is a hash of it */
	bool failed;  /* no memory */
	char phc[PASSWORD_PHC_MAX + 1];
};

/*
 * Works on all jobs with so many threads, and returns when all are done.  tick is called in the
 * caller's thread, some times a second, with the count done so far.  false: no thread could be
 * made, or a job failed; some may be done.
 */
bool hash_threads_run(struct hash_job *jobs, size_t count, unsigned threads,
	const struct password_cost *cost, void (*tick)(void *context, size_t done), void *context)
	__attribute__((warn_unused_result));

/* The CPUs that this process may use. */
unsigned hash_threads_cpus(void);

#endif
