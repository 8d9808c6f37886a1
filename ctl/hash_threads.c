/* SPDX-License-Identifier: ISC */
/* Hashing in threads; see hash_threads.h. */
#include "ctl/hash_threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { THREADS_MAX = 256, TICK_MS = 200 };

struct work {
	struct hash_job *jobs;
	size_t count;
	const struct password_cost *cost;
	atomic_size_t next, done;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t ended;
	unsigned running;
};

static bool matches(const struct hash_job *job)
{
	struct password_hash stored;

	if (job->stored == NULL ||
		password_parse(job->stored, strlen(job->stored), &stored) != PASSWORD_PARSED)
		return false;
	return password_verify(&stored, job->secret, job->secret_len) == PASSWORD_MATCH;
}

static void *run(void *context)
{
	struct work *work = context;

	for (;;) {
		size_t number = atomic_fetch_add(&work->next, 1);

		if (number >= work->count)
			break;
		struct hash_job *job = &work->jobs[number];

		job->matches = matches(job);
		if (!job->matches)
			job->failed =
				!password_make(job->secret, job->secret_len, work->cost, job->phc);
		atomic_fetch_add(&work->done, 1);
	}
	(void)pthread_mutex_lock(&work->lock);
	work->running--;
	(void)pthread_cond_signal(&work->ended);
	(void)pthread_mutex_unlock(&work->lock);
	return NULL;
}

/* Until the last thread is at its end, with ticks. */
static void wait_for(struct work *work, void (*tick)(void *, size_t), void *context)
{
	(void)pthread_mutex_lock(&work->lock);
	while (work->running > 0) {
		struct timespec until;

		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += TICK_MS * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
		(void)pthread_cond_clockwait(&work->ended, &work->lock, CLOCK_MONOTONIC, &until);
		(void)pthread_mutex_unlock(&work->lock);
		tick(context, atomic_load(&work->done));
		(void)pthread_mutex_lock(&work->lock);
	}
	(void)pthread_mutex_unlock(&work->lock);
}

bool hash_threads_run(struct hash_job *jobs, size_t count, unsigned threads,
	const struct password_cost *cost, void (*tick)(void *context, size_t done), void *context)
{
	struct work work = {.jobs = jobs, .count = count, .cost = cost};
	pthread_t made[THREADS_MAX];
	unsigned started = 0;
	bool good = true;

	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	if (threads > count)
		threads = (unsigned)count;
	(void)pthread_mutex_init(&work.lock, NULL);
	(void)pthread_cond_init(&work.ended, NULL);
	work.running = threads;
	while (started < threads && pthread_create(&made[started], NULL, run, &work) == 0)
		started++;
	(void)pthread_mutex_lock(&work.lock);
	work.running -= threads - started; /* fewer will do */
	(void)pthread_mutex_unlock(&work.lock);
	wait_for(&work, tick, context);
	for (unsigned i = 0; i < started; i++)
		(void)pthread_join(made[i], NULL);
	(void)pthread_cond_destroy(&work.ended);
	(void)pthread_mutex_destroy(&work.lock);
	for (size_t i = 0; i < count; i++)
		good = good && !jobs[i].failed;
	return good && atomic_load(&work.done) == count;
}

unsigned hash_threads_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == -1)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}
