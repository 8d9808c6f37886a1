/* SPDX-License-Identifier: ISC */
/* The queue of octets for a backend's BDAT, and when how much of it goes; see chunk.h. */
#include "proxy/chunk.h"

bool chunk_queue_open(struct chunk_queue *queue)
{
	*queue = (struct chunk_queue){.octets = evbuffer_new()};
	return queue->octets != NULL;
}

void chunk_queue_close(struct chunk_queue *queue)
{
	if (queue->octets != NULL)
		evbuffer_free(queue->octets);
	*queue = (struct chunk_queue){.octets = NULL};
}

size_t chunk_queue_next(const struct chunk_queue *queue, bool pipelining, bool room, bool ending)
{
	size_t waiting = evbuffer_get_length(queue->octets);

	if (!room || (queue->owed > 0 && !pipelining))
		return 0;
	if (ending ? waiting > CHUNK_PIECE_MAX : waiting >= CHUNK_PIECE_MAX)
		return CHUNK_PIECE_MAX;
	return ending || queue->owed > 0 ? 0 : waiting;
}

bool chunk_queue_full(const struct chunk_queue *queue)
{
	return evbuffer_get_length(queue->octets) >= CHUNK_PIECE_MAX;
}

bool chunk_queue_ready_to_end(const struct chunk_queue *queue)
{
	return queue->owed == 0 && evbuffer_get_length(queue->octets) <= CHUNK_PIECE_MAX;
}
