/* SPDX-License-Identifier: ISC */
/*
 * The pool of hash processes, seen from auth.
 *
 * Owns their channels, one hash at a time on each, and the bounded queue before them; hash_queue.h
 * says whose turn it is.  Knows nothing of accounts: a job is a stored hash, a secret and a token.
 * A process that ends costs its job only; the master starts another and hands over a new channel.
 */
#ifndef AUTH_HASH_POOL_H
#define AUTH_HASH_POOL_H

#include "auth/hash_queue.h"
#include "auth/password.h"
#include "common/ipc.h"
#include "common/secret.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HASH_POOL_HANG_MS = 30 * 1000, /* a process that takes longer loses its channel */
	HASH_POOL_MAKES_MAX = 4,       /* new hashes that wait; one at a time is made */
};

struct hash_pool;

struct hash_pool_result {
	enum ipc_hash_outcome outcome; /* FAILED: crash, deadline, no memory; answer 454 */
	uint64_t wall_us;              /* from dispatch to answer; 0 when it was never dispatched */
	const uint8_t *phc; /* the new hash of IPC_HASH_MADE, during the call; else NULL */
	size_t phc_len;
};

/* May submit, and may cancel its own token only. */
typedef void hash_pool_done(const struct hash_pool_result *result, void *arg, uint64_t token);

struct hash_pool_settings {
	size_t queue;  /* jobs that may wait */
	size_t owners; /* proxies; each may always have its share of the queue */
	hash_pool_done *done;
	void *arg;
};

struct hash_pool *hash_pool_new(struct event_base *base, const struct hash_pool_settings *settings)
	__attribute__((warn_unused_result));
void hash_pool_destroy(struct hash_pool **pool); /* done is not called */

/* A channel to process index; replaces the old one.  Takes fd. */
void hash_pool_attach(struct hash_pool *pool, unsigned index, int fd);

struct hash_job {
	unsigned owner; /* a proxy's index, below HASH_QUEUE_OWNERS_MAX */
	enum hash_class class;
	struct address_key network; /* of the client */
	uint64_t token;             /* not in the pool yet */
	uint64_t deadline_ms;
	const char *phc; /* copied; NULL: make a new hash, of this cost */
	size_t phc_len;
	struct password_cost cost;
	const struct secret *secret; /* stays the caller's, until done or hash_pool_cancel() */
};

/*
 * Queues a job.  New hashes are made when no log-in waits, one at a time, and not even queued while
 * one does: they can wait for the next log-in of their account.  true: done is called exactly once,
 * never before return, unless cancelled.  false: the queue is full, or there is no memory; answer
 * 454.
 */
bool hash_pool_submit(struct hash_pool *pool, const struct hash_job *job, uint64_t now_ms)
	__attribute__((warn_unused_result));

/* The client left.  A waiting job is dropped; a running one ends unheard, and its process stays
 * busy until then.  The secret is no longer used.  An unknown token is ignored. */
void hash_pool_cancel(struct hash_pool *pool, uint64_t token);

/* Every 100 ms or so: fails what passed its deadline, ends processes that hang. */
void hash_pool_tick(struct hash_pool *pool, uint64_t now_ms);

size_t hash_pool_waiting(const struct hash_pool *pool);
size_t hash_pool_processes(const struct hash_pool *pool); /* attached */

/*
 * Whether processes hashes at once, of the configured memory, fit the configured budget, the
 * cgroup's limit and the machine.  processes: what config.password.processes comes to (auto
 * resolved by the caller).  false: err has one sentence that says what to change.
 */
bool hash_pool_budget_check(const struct config *config, unsigned processes, char *err,
	size_t err_size) __attribute__((warn_unused_result));

#endif
