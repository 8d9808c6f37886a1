/* SPDX-License-Identifier: ISC */
/*
 * The order in which log-ins get a hash process.
 *
 * Two classes: known (the account has logged in from there before) goes before strangers, so that a
 * flood of guesses keeps no customer waiting; but after HASH_QUEUE_KNOWN_RUN of them a stranger
 * that waits has its turn.  Within a class the proxies take turns, and within a proxy the networks:
 * one that floods waits behind itself.
 *
 * Pure: knows neither processes nor secrets nor time.  A ticket stands within the waiting job.
 */
#ifndef AUTH_HASH_QUEUE_H
#define AUTH_HASH_QUEUE_H

#include "common/address.h"
#include "common/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

enum hash_class { HASH_CLASS_KNOWN, HASH_CLASS_STRANGER, HASH_CLASS_COUNT };

enum {
	HASH_QUEUE_OWNERS_MAX = CONFIG_WORKERS_MAX,
	HASH_QUEUE_KNOWN_RUN = 8,
};

struct hash_lane;

struct hash_ticket {
	TAILQ_ENTRY(hash_ticket) link;
	struct hash_lane *lane; /* NULL: it does not wait */
};

struct hash_queue;

/* size: how many may wait.  owners: each is never kept from its share by others. */
struct hash_queue *hash_queue_new(size_t size, size_t owners) __attribute__((warn_unused_result));
void hash_queue_destroy(struct hash_queue **queue); /* must be empty */

/*
 * Puts a ticket at the end of its network's lane.  false: there is no room.  Strangers together
 * leave a quarter of the queue to the known.
 */
bool hash_queue_push(struct hash_queue *queue, struct hash_ticket *ticket, enum hash_class class,
	unsigned owner, const struct address_key *network) __attribute__((warn_unused_result));

/* The next one, taken out; NULL: none waits. */
struct hash_ticket *hash_queue_pop(struct hash_queue *queue);

void hash_queue_remove(struct hash_queue *queue, struct hash_ticket *ticket); /* one that waits */

size_t hash_queue_count(const struct hash_queue *queue, enum hash_class class);

#endif
