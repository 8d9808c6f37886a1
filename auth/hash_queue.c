/* SPDX-License-Identifier: ISC */
/* Classes, proxies, networks; see hash_queue.h. */
#include "auth/hash_queue.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

/* What waits of one network at one proxy, oldest first.  Exists while it is not empty. */
struct hash_lane {
	TAILQ_ENTRY(hash_lane) link;
	struct row *row;
	struct address_key network;
	TAILQ_HEAD(, hash_ticket) tickets;
};

/* The lanes of one proxy in one class; the first has the next turn. */
struct row {
	TAILQ_HEAD(, hash_lane) lanes;
	size_t count;
	enum hash_class class;
	unsigned owner;
};

struct hash_queue {
	size_t size, owners;
	size_t count[HASH_CLASS_COUNT];
	unsigned next_owner[HASH_CLASS_COUNT];
	unsigned known_run; /* known ones in a row, while strangers waited */
	struct row rows[HASH_CLASS_COUNT][HASH_QUEUE_OWNERS_MAX];
};

struct hash_queue *hash_queue_new(size_t size, size_t owners)
{
	struct hash_queue *queue = calloc(1, sizeof *queue);

	require(owners > 0 && owners <= HASH_QUEUE_OWNERS_MAX);
	if (queue == NULL)
		return NULL;
	queue->size = size;
	queue->owners = owners;
	for (unsigned class = 0; class < HASH_CLASS_COUNT; class ++) {
		for (unsigned owner = 0; owner < HASH_QUEUE_OWNERS_MAX; owner++) {
			struct row *row = &queue->rows[class][owner];
			TAILQ_INIT(&row->lanes);
			row->class = (enum hash_class) class;
			row->owner = owner;
		}
	}
	return queue;
}

void hash_queue_destroy(struct hash_queue **queue)
{
	if (*queue != NULL)
		require((*queue)->count[HASH_CLASS_KNOWN] == 0 &&
			(*queue)->count[HASH_CLASS_STRANGER] == 0);
	free(*queue);
	*queue = NULL;
}

static bool has_room(const struct hash_queue *queue, enum hash_class class, unsigned owner)
{
	size_t share = queue->size / queue->owners;
	size_t total = queue->count[HASH_CLASS_KNOWN] + queue->count[HASH_CLASS_STRANGER];
	size_t strangers = queue->size - queue->size / 4;

	if (queue->rows[class][owner].count < (share == 0 ? 1 : share))
		return true;
	return total < queue->size &&
	       (class == HASH_CLASS_KNOWN || queue->count[HASH_CLASS_STRANGER] < strangers);
}

static struct hash_lane *lane_of(struct row *row, const struct address_key *network)
{
	struct hash_lane *lane;

	TAILQ_FOREACH (lane, &row->lanes, link) {
		if (memcmp(&lane->network, network, sizeof *network) == 0)
			return lane;
	}
	lane = calloc(1, sizeof *lane);
	if (lane == NULL)
		return NULL;
	lane->row = row;
	lane->network = *network;
	TAILQ_INIT(&lane->tickets);
	TAILQ_INSERT_TAIL(&row->lanes, lane, link);
	return lane;
}

bool hash_queue_push(struct hash_queue *queue, struct hash_ticket *ticket, enum hash_class class,
	unsigned owner, const struct address_key *network)
{
	require(owner < HASH_QUEUE_OWNERS_MAX);
	if (!has_room(queue, class, owner))
		return false;
	ticket->lane = lane_of(&queue->rows[class][owner], network);
	if (ticket->lane == NULL)
		return false;
	TAILQ_INSERT_TAIL(&ticket->lane->tickets, ticket, link);
	ticket->lane->row->count++;
	queue->count[class]++;
	return true;
}

void hash_queue_remove(struct hash_queue *queue, struct hash_ticket *ticket)
{
	struct hash_lane *lane = ticket->lane;
	struct row *row = lane->row;

	TAILQ_REMOVE(&lane->tickets, ticket, link);
	ticket->lane = NULL;
	row->count--;
	queue->count[row->class]--;
	if (TAILQ_EMPTY(&lane->tickets)) {
		TAILQ_REMOVE(&row->lanes, lane, link);
		free(lane);
	}
}

/* Known ones first, but not for ever. */
static enum hash_class next_class(struct hash_queue *queue)
{
	if (queue->count[HASH_CLASS_STRANGER] == 0) {
		queue->known_run = 0;
		return HASH_CLASS_KNOWN;
	}
	if (queue->count[HASH_CLASS_KNOWN] == 0 || queue->known_run == HASH_QUEUE_KNOWN_RUN) {
		queue->known_run = 0;
		return HASH_CLASS_STRANGER;
	}
	queue->known_run++;
	return HASH_CLASS_KNOWN;
}

struct hash_ticket *hash_queue_pop(struct hash_queue *queue)
{
	enum hash_class class = next_class(queue);
	struct row *row = NULL;

	if (queue->count[class] == 0)
		return NULL;
	for (unsigned i = 0; row == NULL || row->count == 0; i++)
		row = &queue->rows[class][(queue->next_owner[class] + i) % HASH_QUEUE_OWNERS_MAX];
	queue->next_owner[class] = (row->owner + 1) % HASH_QUEUE_OWNERS_MAX;
	struct hash_lane *lane = TAILQ_FIRST(&row->lanes);
	struct hash_ticket *ticket = TAILQ_FIRST(&lane->tickets);
	TAILQ_REMOVE(&row->lanes, lane, link);
	TAILQ_INSERT_TAIL(&row->lanes, lane, link);
	hash_queue_remove(queue, ticket);
	return ticket;
}

size_t hash_queue_count(const struct hash_queue *queue, enum hash_class class)
{
	return queue->count[class];
}
