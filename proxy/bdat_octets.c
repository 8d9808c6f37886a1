/* SPDX-License-Identifier: ISC */
/*
 * The octets of wanted chunks on their way to the backend: counted off, through body.c and the
 * header stage, into its DATA or into BDAT cut anew (chunk.c).  Which chunks are wanted is
 * verb_bdat.c's; the end is data_end.c's, as it is of DATA.
 */
#include "proxy/data.h"

#include "common/log.h"
#include "proxy/author.h"
#include "proxy/backend.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/transaction.h"

static void push(struct session *session, bool ending)
{
	struct chunk_queue *queue = &session->transaction->chunks.queue;
	struct backend *backend = session->backend;

	if (session->transaction->chunks.mode != CHUNKS_TO_BDAT) {
		backend_flush_body(backend);
		return;
	}
	while (true) {
		size_t len = chunk_queue_next(
			queue, backend_pipelining(backend), backend_room(backend), ending);
		stream_count_queued(&queue->counted, evbuffer_get_length(queue->octets) - len);
		if (len == 0)
			return;
		backend_send_chunk(backend, queue->octets, len, false);
		queue->owed++;
	}
}

static bool is_full(const struct session *session)
{
	const struct chunks *chunks = &session->transaction->chunks;

	return backend_full(session->backend) ||
	       (chunks->mode == CHUNKS_TO_BDAT && chunk_queue_full(&chunks->queue));
}

/* All octets of the message are in: the intent may be asked for when only its end is unsent. */
static void end_message(struct session *session)
{
	const struct chunks *chunks = &session->transaction->chunks;

	push(session, true);
	if (chunks->mode == CHUNKS_TO_BDAT && !chunk_queue_ready_to_end(&chunks->queue))
		return;
	data_end(session);
}

void bdat_send_end(struct session *session)
{
	struct chunk_queue *queue = &session->transaction->chunks.queue;

	if (session->transaction->chunks.mode == CHUNKS_TO_BDAT)
		backend_send_chunk(
			session->backend, queue->octets, evbuffer_get_length(queue->octets), true);
	else
		backend_end_body(session->backend);
}

static bool refused_by_content(struct session *session)
{
	enum reply_id reply;
	const char *reason;

	if (!data_refusal(session, &reply, &reason))
		return false;
	bdat_fail(session, reply, reason);
	return true;
}

/* The octets of a chunk are all in.  Its reply waits for room, so that a client that sends chunk
 * after chunk is no faster than the backend. */
static void end_chunk(struct session *session)
{
	char line[REPLY_MAX];

	if (session->chunk.last) {
		client_set_state(session, CLIENT_END);
		end_message(session);
		return;
	}
	if (is_full(session)) {
		data_pause(session);
		return;
	}
	session_reply_bytes(session, line,
		reply_format_octets(REPLY_CHUNK_OK, session->chunk.size, line, sizeof line));
	client_set_state(session, CLIENT_COMMAND);
	session_continue(session);
}

void bdat_passed(struct session *session)
{
	if (session->chunk.left > 0 || !session->chunk.last)
		push(session, false);
	if (session->chunk.left == 0)
		end_chunk(session);
	else if (is_full(session))
		data_pause(session);
}

void bdat_took(struct session *session)
{
	struct transaction *t = session->transaction;
	enum reply_id reply;
	const char *reason;

	t->all_in = session->chunk.left == 0 && session->chunk.last;
	if (t->all_in)
		body_finish(&t->body, data_in(session));
	if (refused_by_content(session))
		return;
	switch (author_pass(session, data_out(session), t->all_in, &reply, &reason)) {
	case AUTHOR_PASS:
		bdat_passed(session);
		break;
	case AUTHOR_WAIT:
		break;
	case AUTHOR_REFUSED:
		bdat_fail(session, reply, reason);
		break;
	}
}

size_t bdat_read(struct session *session, const uint8_t *bytes, size_t len)
{
	size_t taken = session->chunk.left < len ? (size_t)session->chunk.left : len;
	size_t consumed;

	if (session->state == CLIENT_SKIP)
		return bdat_drop(session, len);
	if (taken == 0 || author_waiting(session))
		return 0;
	(void)body_feed(&session->transaction->body, bytes, taken, &consumed, data_in(session));
	require(consumed == taken);
	session->chunk.left -= taken;
	client_arm(session);
	bdat_took(session);
	return taken;
}

void bdat_advance(struct session *session)
{
	struct transaction *t = session->transaction;

	if (t == NULL || t->chunks.mode == CHUNKS_NONE || t->chunks.failed ||
		author_waiting(session))
		return;
	if (session->state == CLIENT_CHUNK) {
		push(session, false);
		if (session->chunk.left == 0)
			end_chunk(session);
	} else if (session->state == CLIENT_COMMAND) {
		push(session, false);
	} else if (session->state == CLIENT_END && t->end == END_NONE) {
		end_message(session);
	}
}

void bdat_reply(struct session *session, const struct smtp_reply *reply)
{
	session->transaction->chunks.queue.owed--;
	if (reply->code != 250) {
		bdat_refused(session, reply);
		return;
	}
	data_resume(session);
}
