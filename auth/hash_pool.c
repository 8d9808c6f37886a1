/* SPDX-License-Identifier: ISC */
/*
 * The hash pool; see hash_pool.h.
 *
 * A job is found by its token, for cancelling; a running one also hangs on its process.  The
 * frame's id is a number of the pool's own: an answer that does not carry the number of what was
 * sent there is a broken process, and its channel is closed.
 */
#include "auth/hash_pool.h"

#include "common/channel.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <sodium.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { OVERDUE_MAX = 256 };

struct job {
	struct hash_ticket ticket; /* while it waits, in the queue or among pool->makes */
	bool make;
	struct password_cost cost; /* of what is made */
	struct process *process;   /* while it runs */
	uint64_t since_us;         /* it waits */
	uint64_t token, deadline_ms;
	const struct secret *secret;
	uint16_t phc_len;
	char phc[IPC_PHC_MAX];
};

struct process {
	struct hash_pool *pool;
	unsigned index;
	struct channel *channel; /* NULL: away */
	uint64_t busy;           /* number of the frame that it works on; 0: idle */
	uint64_t since_us;
	bool makes;      /* ... a new hash */
	struct job *job; /* NULL with busy: its client left */
};

struct hash_pool {
	struct event_base *base;
	struct hash_pool_settings settings;
	struct event *kick; /* dispatches from the loop */
	struct process processes[CONFIG_HASHERS_MAX];
	struct hash_queue *queue;
	TAILQ_HEAD(, hash_ticket) makes;
	size_t make_count; /* waiting, and the one at work */
	struct idmap *jobs;
	uint64_t last_number;
};

static void on_kick(evutil_socket_t fd, short what, void *arg);

/* --------------------------------------------------------------------- jobs */
static struct job *job_of(struct hash_ticket *ticket)
{
	return (struct job *)(void *)((char *)ticket - offsetof(struct job, ticket));
}

static void tell_depth(const struct hash_pool *pool)
{
	counter_set(COUNTER_HASH_QUEUE_KNOWN, hash_queue_count(pool->queue, HASH_CLASS_KNOWN));
	counter_set(COUNTER_HASH_QUEUE, hash_queue_count(pool->queue, HASH_CLASS_STRANGER));
}

/* Takes a job out of wherever it is. */
static void job_destroy(struct hash_pool *pool, struct job *job)
{
	if (job->process != NULL)
		job->process->job = NULL;
	else if (job->make)
		TAILQ_REMOVE(&pool->makes, &job->ticket, link);
	else if (job->ticket.lane != NULL)
		hash_queue_remove(pool->queue, &job->ticket);
	pool->make_count -= job->make;
	tell_depth(pool);
	idmap_take(pool->jobs, job->token);
	sodium_memzero(job, sizeof *job);
	free(job);
}

static void end_job(struct hash_pool *pool, struct job *job, const struct hash_pool_result *result)
{
	uint64_t token = job->token;

	job_destroy(pool, job);
	pool->settings.done(result, pool->settings.arg, token);
}

static void fail_job(struct hash_pool *pool, struct job *job)
{
	end_job(pool, job, &(struct hash_pool_result){.outcome = IPC_HASH_FAILED});
}

/* ---------------------------------------------------------------- processes */
size_t hash_pool_processes(const struct hash_pool *pool)
{
	size_t count = 0;

	for (size_t i = 0; i < CONFIG_HASHERS_MAX; i++)
		count += pool->processes[i].channel != NULL;
	return count;
}

static void count_processes(const struct hash_pool *pool)
{
	counter_set(COUNTER_HASH_PROCESSES, hash_pool_processes(pool));
}

/* The channel is of no use any more; the job on it is lost, and only it. */
static void lose(struct process *process, const char *reason)
{
	struct hash_pool *pool = process->pool;
	struct job *job = process->job;
	struct log_line line;

	channel_close(&process->channel);
	count_processes(pool);
	log_begin(&line, process->busy != 0 ? LOG_ERROR : LOG_INFO, "hash-lost");
	log_uint(&line, "process", process->index);
	log_text(&line, "reason", reason);
	log_end(&line);
	if (process->busy != 0)
		counter_add(COUNTER_HASH_CRASHES, 1);
	process->busy = 0;
	if (job != NULL)
		fail_job(pool, job);
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	(void)channel;
	lose(arg, reason);
}

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	const struct ipc_hash_result *result = payload;
	struct process *process = arg;
	struct hash_pool *pool = process->pool;

	(void)channel;
	if (type != IPC_HASH_RESULT || process->busy == 0 || id != process->busy ||
		(result->outcome != IPC_HASH_FAILED &&
			(result->outcome == IPC_HASH_MADE) != process->makes)) {
		lose(process, "an answer to nothing");
		return;
	}
	counter_add(COUNTER_HASHES, 1);
	process->busy = 0;
	event_active(pool->kick, EV_TIMEOUT, 1);
	if (process->job != NULL)
		end_job(pool, process->job,
			&(struct hash_pool_result){
				.outcome = (enum ipc_hash_outcome)result->outcome,
				.wall_us = clock_monotonic_us() - process->since_us,
				.phc = process->makes ? result->phc : NULL,
				.phc_len = result->phc_len,
			});
}

void hash_pool_attach(struct hash_pool *pool, unsigned index, int fd)
{
	static const struct channel_events events = {.on_frame = on_frame, .on_close = on_close};

	require(index < CONFIG_HASHERS_MAX);
	struct process *process = &pool->processes[index];
	if (process->channel != NULL)
		lose(process, "replaced");
	process->channel = channel_open(pool->base, fd, &events, process);
	if (process->channel == NULL)
		log_message(
			LOG_ERROR, "hash-lost", "no memory for the channel to process %u", index);
	count_processes(pool);
	event_active(pool->kick, EV_TIMEOUT, 1);
}

/* ----------------------------------------------------------------- dispatch */
static struct process *idle_process(struct hash_pool *pool)
{
	for (size_t i = 0; i < CONFIG_HASHERS_MAX; i++) {
		if (pool->processes[i].channel != NULL && pool->processes[i].busy == 0)
			return &pool->processes[i];
	}
	return NULL;
}

static void dispatch(struct hash_pool *pool, struct process *process, struct job *job)
{
	struct ipc_hash_request request;

	memset(&request, 0, sizeof request);
	if (job->make) {
		request.memory_bytes = job->cost.memory_bytes;
		request.passes = job->cost.passes;
		TAILQ_REMOVE(&pool->makes, &job->ticket, link);
	}
	request.phc_len = job->phc_len;
	memcpy(request.phc, job->phc, job->phc_len);
	request.secret_len = (uint16_t)job->secret->len;
	memcpy(request.secret, job->secret->bytes, job->secret->len);
	if (!job->make)
		counter_add(COUNTER_HASH_WAIT_US, clock_monotonic_us() - job->since_us);
	job->process = process;
	process->job = job;
	process->makes = job->make;
	process->busy = ++pool->last_number;
	process->since_us = clock_monotonic_us();
	/* A channel that does not take it tells on_close from the loop, which ends the job. */
	(void)channel_send(
		process->channel, IPC_HASH_REQUEST, process->busy, &request, sizeof request);
	sodium_memzero(&request, sizeof request);
}

/* One at a time: a log-in that comes finds the other processes. */
static bool is_making(const struct hash_pool *pool)
{
	for (size_t i = 0; i < CONFIG_HASHERS_MAX; i++) {
		if (pool->processes[i].busy != 0 && pool->processes[i].makes)
			return true;
	}
	return false;
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct hash_pool *pool = arg;

	(void)fd;
	(void)what;
	struct process *process = idle_process(pool);
	for (; process != NULL && hash_pool_waiting(pool) > 0; process = idle_process(pool))
		dispatch(pool, process, job_of(hash_queue_pop(pool->queue)));
	tell_depth(pool);
	process = idle_process(pool);
	if (process != NULL && !is_making(pool) && !TAILQ_EMPTY(&pool->makes))
		dispatch(pool, process, job_of(TAILQ_FIRST(&pool->makes)));
}

/* Puts the job where it waits. */
static bool enter(struct hash_pool *pool, struct job *job, const struct hash_job *wanted)
{
	if (wanted->phc != NULL) {
		bool room = hash_queue_push(
			pool->queue, &job->ticket, wanted->class, wanted->owner, &wanted->network);
		counter_add(COUNTER_HASH_OVERFLOWS, !room);
		return room;
	}
	if (hash_pool_waiting(pool) > 0 || pool->make_count == HASH_POOL_MAKES_MAX)
		return false;
	job->make = true;
	job->cost = wanted->cost;
	TAILQ_INSERT_TAIL(&pool->makes, &job->ticket, link);
	pool->make_count++;
	return true;
}

bool hash_pool_submit(struct hash_pool *pool, const struct hash_job *wanted, uint64_t now_ms)
{
	require(wanted->phc_len <= IPC_PHC_MAX && wanted->secret->len <= IPC_SECRET_MAX);
	struct job *job = calloc(1, sizeof *job);
	if (job == NULL || wanted->deadline_ms <= now_ms ||
		!idmap_put(pool->jobs, wanted->token, job)) {
		free(job);
		return false;
	}
	if (!enter(pool, job, wanted)) {
		free(idmap_take(pool->jobs, wanted->token));
		return false;
	}
	job->token = wanted->token;
	job->deadline_ms = wanted->deadline_ms;
	job->since_us = clock_monotonic_us();
	job->secret = wanted->secret;
	job->phc_len = (uint16_t)wanted->phc_len;
	if (wanted->phc != NULL)
		memcpy(job->phc, wanted->phc, wanted->phc_len);
	tell_depth(pool);
	event_active(pool->kick, EV_TIMEOUT, 1);
	return true;
}

void hash_pool_cancel(struct hash_pool *pool, uint64_t token)
{
	struct job *job = idmap_get(pool->jobs, token);

	if (job != NULL)
		job_destroy(pool, job);
}

size_t hash_pool_waiting(const struct hash_pool *pool)
{
	return hash_queue_count(pool->queue, HASH_CLASS_KNOWN) +
	       hash_queue_count(pool->queue, HASH_CLASS_STRANGER);
}

/* What a tick ends at the most; the rest is the next one's. */
struct overdue {
	uint64_t now_ms;
	size_t count;
	struct job *jobs[OVERDUE_MAX];
};

static void note_overdue(uint64_t token, void *value, void *arg)
{
	struct overdue *overdue = arg;
	struct job *job = value;

	(void)token;
	if (job->deadline_ms <= overdue->now_ms && overdue->count < OVERDUE_MAX)
		overdue->jobs[overdue->count++] = job;
}

void hash_pool_tick(struct hash_pool *pool, uint64_t now_ms)
{
	struct overdue overdue = {.now_ms = now_ms};

	idmap_each(pool->jobs, note_overdue, &overdue);
	for (size_t i = 0; i < overdue.count; i++)
		fail_job(pool, overdue.jobs[i]);
	for (size_t i = 0; i < CONFIG_HASHERS_MAX; i++) {
		struct process *process = &pool->processes[i];
		if (process->busy != 0 && now_ms > process->since_us / 1000 + HASH_POOL_HANG_MS)
			lose(process, "it hangs");
	}
}

/* ----------------------------------------------------------------- lifetime */
struct hash_pool *hash_pool_new(struct event_base *base, const struct hash_pool_settings *settings)
{
	struct hash_pool *pool = calloc(1, sizeof *pool);

	if (pool == NULL)
		return NULL;
	pool->base = base;
	TAILQ_INIT(&pool->makes);
	pool->settings = *settings;
	for (unsigned i = 0; i < CONFIG_HASHERS_MAX; i++) {
		pool->processes[i].pool = pool;
		pool->processes[i].index = i;
	}
	pool->queue = hash_queue_new(settings->queue, settings->owners);
	pool->jobs = idmap_new();
	pool->kick = event_new(base, -1, 0, on_kick, pool);
	if (pool->queue == NULL || pool->jobs == NULL || pool->kick == NULL)
		hash_pool_destroy(&pool);
	return pool;
}

static void destroy_one(uint64_t token, void *value, void *arg)
{
	(void)token;
	job_destroy(arg, value);
}

void hash_pool_destroy(struct hash_pool **pointer)
{
	struct hash_pool *pool = *pointer;

	if (pool == NULL)
		return;
	*pointer = NULL;
	for (size_t i = 0; i < CONFIG_HASHERS_MAX; i++)
		channel_close(&pool->processes[i].channel);
	if (pool->jobs != NULL)
		idmap_each(pool->jobs, destroy_one, pool);
	idmap_destroy(&pool->jobs);
	hash_queue_destroy(&pool->queue);
	if (pool->kick != NULL)
		event_free(pool->kick);
	free(pool);
}
