/* SPDX-License-Identifier: ISC */
/*
 * A message that comes in chunks (BDAT, RFC 3030): what of it is kept in its transaction, and how
 * its octets are cut into chunks of our own for a backend that takes BDAT.  A client's chunks are
 * never passed on one by one: their sizes are its own affair, and the line ends within change.
 *
 * The dialogue is in verb_bdat.c, the octets in body.c.  Pure but for the evbuffer; bounded.
 */
#ifndef PROXY_CHUNK_H
#define PROXY_CHUNK_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chunk_mode {
	CHUNKS_NONE,    /* no BDAT in this transaction */
	CHUNKS_TO_DATA, /* the backend has no CHUNKING: all chunks together become one DATA */
	CHUNKS_TO_BDAT,
};

enum chunk_refusal {          /* what a failed message is answered, once */
	CHUNK_REFUSAL_REPLY,  /* the transaction's refusal, a reply of ours */
	CHUNK_REFUSAL_POLICY, /* its verdict, auth's */
	CHUNK_REFUSAL_STORED, /* its stored_reply, the backend's */
};

enum {
	CHUNK_PIECE_MAX = 64 * 1024, /* octets of one BDAT to a backend */
	CHUNKS_MAX = 100000,         /* of one message, from the client */
};

/* Octets that wait to be sent by BDAT. */
struct chunk_queue {
	struct evbuffer *octets; /* owned; NULL: closed */
	unsigned owed;           /* pieces sent that have no reply yet */
	size_t counted;          /* the owner's, for stream_count_queued() */
};

struct chunks {
	uint8_t mode;    /* enum chunk_mode */
	uint8_t refusal; /* enum chunk_refusal, when failed */
	bool failed;     /* no further octet of the message is taken */
	bool told;       /* ... and a chunk was answered why; those that follow get 503 */
	unsigned count;
	struct chunk_queue queue; /* of CHUNKS_TO_BDAT */
};

/* False: out of memory. */
bool chunk_queue_open(struct chunk_queue *queue) __attribute__((warn_unused_result));
void chunk_queue_close(struct chunk_queue *queue);

/*
 * The size of the piece to send now, 0 for none.  room: the backend's connection takes another
 * command.  What is less than CHUNK_PIECE_MAX goes only while no reply is owed, so that pieces grow
 * with the distance and the haste of the client; without pipelining so does all.  ending: nothing
 * more will be added, and what fits into one piece is kept for the last one.
 */
size_t chunk_queue_next(const struct chunk_queue *queue, bool pipelining, bool room, bool ending);

/* As much waits as may: the client is not read until a piece went. */
bool chunk_queue_full(const struct chunk_queue *queue);

/* After ending: everything but the last piece went, and is answered. */
bool chunk_queue_ready_to_end(const struct chunk_queue *queue);

#endif
