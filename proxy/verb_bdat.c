/* SPDX-License-Identifier: ISC */
/*
 * BDAT (RFC 3030): a message in chunks, each a command with its octets behind it and a reply.  The
 * command, and chunks that are not wanted; those that are go through bdat_octets.c.
 *
 * The octets of a chunk are counted off and never read as commands, whatever becomes of the
 * command: a chunk that is not wanted is read and dropped, and answered then.  The first chunk of a
 * message waits as DATA does, for the replies to RCPT, the take, and the backend (verb_data.c); of
 * a message nothing is read before that.  The last one ends as DATA does.  Once a chunk has failed
 * the backend's connection is dropped, so that no half message is completed; the reason is told to
 * one chunk, and the others get 503 until RSET or EHLO.
 */
#include "common/log.h"
#include "proxy/auth_client.h"
#include "proxy/author.h"
#include "proxy/backend.h"
#include "proxy/data.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/transaction.h"

enum {
	DROPPED_EXTRA = 1024 * 1024,  /* octets beyond the message limit that are still read on */
	DROPPED_STRANGER = 64 * 1024, /* without a log-in */
	REVOKED_MS = 2000,            /* a revoked session's chunk is read on for so long */
};

/* --------------------------------------------------------- chunks not wanted */

/* The reason why the message failed.  A 421 of the backend's ends the session. */
static void tell_failure(struct session *session)
{
	struct transaction *t = session->transaction;

	t->chunks.told = true;
	switch ((enum chunk_refusal)t->chunks.refusal) {
	case CHUNK_REFUSAL_REPLY:
		t->code = (uint16_t)reply_code(t->refusal);
		data_tell_refusal(session);
		return;
	case CHUNK_REFUSAL_POLICY:
		relay_refuse_policy(session, &t->verdict);
		return;
	case CHUNK_REFUSAL_STORED:
		session_reply_bytes(session, t->stored_reply, t->stored_len);
		if (t->code == 421)
			session_close(session, "backend said 421");
		return;
	}
	panic("no such refusal");
}

/* What follows a failed chunk in the pipeline is no error of the client's: it is bounded by octets
 * and by count. */
static void tell_followed(struct session *session)
{
	const char *bytes;
	size_t len = reply_text(REPLY_ORDER_CHUNK_FAILED, &bytes);

	session_reply_bytes(session, bytes, len);
}

/* The octets of a chunk that was not wanted are all gone. */
static void end_skip(struct session *session)
{
	struct transaction *t = session->transaction;
	bool failed = t != NULL && t->chunks.failed;

	if (failed && !t->chunks.told) {
		tell_failure(session);
		if (session->state == CLIENT_CLOSED)
			return;
		if (session->chunk.last) {
			data_finish(session);
			return;
		}
	} else if (session->chunk.refusal == REPLY_ORDER_CHUNK_FAILED) {
		tell_followed(session);
	} else {
		session_reply(session, session->chunk.refusal);
	}
	client_set_state(session, CLIENT_COMMAND);
	session_boundary(session);
}

/* Drops what is left of the chunk at hand, and answers then: refusal, or why its message failed. */
static void skip(struct session *session, enum reply_id refusal)
{
	uint64_t limit = session_message_limit(session);
	uint64_t most = session->authenticated ? limit + DROPPED_EXTRA : DROPPED_STRANGER;
	uint64_t left = session->chunk.left;

	if (session->dropped > most || left > most - session->dropped) {
		if (session->authenticated)
			refusal = left > limit ? REPLY_TOO_BIG : REPLY_TOO_MANY_ERRORS;
		session_close_with(session, refusal, "too many octets to drop");
		return;
	}
	session->dropped += left;
	session->chunk.refusal = refusal;
	client_set_state(session, CLIENT_SKIP);
	if (left == 0)
		end_skip(session);
}

size_t bdat_drop(struct session *session, size_t len)
{
	size_t taken = session->chunk.left < len ? (size_t)session->chunk.left : len;

	session->chunk.left -= taken;
	if (!session->revoked)
		client_arm(session);
	if (session->chunk.left == 0)
		end_skip(session);
	return taken;
}

static void fail(struct session *session, enum chunk_refusal refusal, enum ipc_outcome_kind kind,
	const char *reason)
{
	struct transaction *t = session->transaction;

	relay_drop(session);
	transaction_settle(session, kind);
	auth_client_forget(session->worker->auth, session); /* a take may be under way */
	stream_count_queued(&t->chunks.queue.counted, 0);
	chunk_queue_close(&t->chunks.queue);
	t->chunks.failed = true;
	t->chunks.refusal = (uint8_t)refusal;
	t->reason = reason;
	if (session->state == CLIENT_END) { /* it was the last: all its octets are in */
		tell_failure(session);
		if (session->state != CLIENT_CLOSED)
			data_finish(session);
		return;
	}
	if (session->state != CLIENT_COMMAND) /* else the next chunk is told */
		skip(session, t->refusal);
	session_continue(session);
}

void bdat_fail(struct session *session, enum reply_id reply, const char *reason)
{
	session->transaction->refusal = reply;
	fail(session, CHUNK_REFUSAL_REPLY, IPC_OUTCOME_ABORTED, reason);
	if (session->revoked && session->state == CLIENT_SKIP)
		session_hurry(session, REVOKED_MS);
}

bool bdat_under_way(const struct session *session)
{
	const struct transaction *t = session->transaction;

	return t != NULL && t->chunks.mode != CHUNKS_NONE && !t->chunks.failed &&
	       session->state != CLIENT_END;
}

void bdat_refused(struct session *session, const struct smtp_reply *reply)
{
	struct transaction *t = session->transaction;

	if (smtp_reply_class(reply) < 4 || !relay_store(session, reply)) {
		bdat_fail(session, REPLY_BACKEND_PROTOCOL, "bad reply to a chunk");
		return;
	}
	t->code = reply->code;
	fail(session, CHUNK_REFUSAL_STORED, IPC_OUTCOME_REFUSED, "refused within the message");
}

/* ---------------------------------------------------------------- the command */

void bdat_decide(struct session *session)
{
	struct transaction *t = session->transaction;
	bool asked = t->chunks.mode == CHUNKS_TO_DATA;

	if (t->take == TAKE_GRANTED && (!asked || t->data_code == 354)) {
		enum body_mode text = asked ? BODY_CHUNKS_TO_DATA : BODY_CHUNKS;
		body_init(&t->body, t->mail.body == BODY_BINARYMIME ? BODY_BINARY : text);
		t->body.failed = !author_begin(session, asked);
		if (asked)
			backend_begin_body(session->backend);
		data_write_trace(session);
		client_set_state(session, CLIENT_CHUNK);
		if (session->chunk.left == 0)
			bdat_took(session);
		else
			session_continue(session);
	} else if (t->take == TAKE_REFUSED) {
		fail(session, CHUNK_REFUSAL_POLICY, IPC_OUTCOME_ABORTED, "refused by policy");
	} else if (t->accepted == 0) {
		bdat_fail(session, REPLY_NO_VALID_RECIPIENTS,
			t->mail_refused ? "sender refused by backend" : "no recipients");
	} else {
		t->code = t->data_code;
		fail(session, CHUNK_REFUSAL_STORED, IPC_OUTCOME_REFUSED, "DATA refused by backend");
	}
}

/* How the flow goes on after something that may have closed the session. */
static enum flow went(const struct session *session)
{
	return session->state == CLIENT_CLOSED ? FLOW_CLOSED : FLOW_GO;
}

/* Reads the command.  False: flow_out says how it goes on.  Without a size nobody knows where the
 * chunk ends, and what follows could be read as commands: the connection is closed. */
static bool take_command(
	struct session *session, const struct command *command, bool owed, enum flow *flow_out)
{
	struct bdat_arguments bdat;

	*flow_out = FLOW_HOLD;
	if (command_parse_bdat(command->args, command->args_len, &bdat)) {
		session->chunk.size = session->chunk.left = bdat.size;
		session->chunk.last = bdat.last;
		return true;
	}
	if (owed)
		return false;
	session_close_with(session, REPLY_ARGUMENTS, "malformed BDAT");
	*flow_out = FLOW_CLOSED;
	return false;
}

enum flow bdat_refuse(struct session *session, const struct command *command, enum reply_id refusal)
{
	enum flow flow;

	if (session_is_owed(session))
		return FLOW_HOLD;
	if (!take_command(session, command, false, &flow))
		return flow;
	skip(session, refusal);
	return went(session);
}

static enum flow too_many(struct session *session)
{
	session_close_with(session, REPLY_TOO_MANY_CHUNKS, "too many chunks");
	return FLOW_CLOSED;
}

/* A chunk that has no place in the order of commands also ends the message that it was meant for:
 * without it that would be another. */
static enum flow refuse_order(struct session *session)
{
	struct transaction *t = session->transaction;
	enum reply_id refusal = REPLY_ORDER_CHUNK_FAILED;

	if (t == NULL)
		refusal = REPLY_ORDER_NEED_MAIL;
	else if (t->chunks.mode == CHUNKS_NONE)
		refusal = REPLY_ORDER_NEED_RCPT;
	if (t != NULL && ++t->chunks.count > CHUNKS_MAX)
		return too_many(session);
	if (t != NULL && !t->chunks.failed) {
		t->reason = "BDAT out of order";
		t->chunks.mode = CHUNKS_TO_DATA;
		t->chunks.failed = t->chunks.told = true;
	}
	skip(session, refusal);
	return went(session);
}

static enum flow first_chunk(struct session *session)
{
	struct transaction *t = session->transaction;
	bool chunking = (backend_capabilities(session->backend)->bits & CAPABILITY_CHUNKING) != 0;

	t->chunks.mode = chunking ? CHUNKS_TO_BDAT : CHUNKS_TO_DATA;
	if (chunking && !chunk_queue_open(&t->chunks.queue)) {
		bdat_fail(session, REPLY_STORAGE, "out of memory");
		return went(session);
	}
	data_advance(session);
	return session->state == CLIENT_CLOSED ? FLOW_CLOSED : FLOW_WAIT;
}

enum flow verb_bdat(struct session *session, const struct command *command)
{
	struct transaction *t = session->transaction;
	bool owed = session_is_owed(session), begun = t != NULL && t->chunks.mode != CHUNKS_NONE;
	enum flow flow;

	if (!begun && owed && !backend_pipelining(session->backend))
		return FLOW_HOLD;
	if (!take_command(session, command, owed, &flow))
		return flow;
	if (t == NULL || t->given == 0 || t->chunks.failed)
		return owed ? FLOW_HOLD : refuse_order(session);
	bool lost = session->backend == NULL;
	bool too_big = !lost && session->chunk.size > data_limit(session) - t->body.bytes_in;
	if (!begun && owed && too_big)
		return FLOW_HOLD;
	if (++t->chunks.count > CHUNKS_MAX)
		return too_many(session);
	client_set_state(session, begun ? CLIENT_CHUNK : CLIENT_DATA);
	if (lost || too_big) {
		t->chunks.mode = begun ? t->chunks.mode : CHUNKS_TO_DATA;
		bdat_fail(session, lost ? REPLY_BACKEND_LOST : REPLY_TOO_BIG,
			lost ? "backend lost" : "too big");
	} else if (!begun) {
		return first_chunk(session);
	} else if (session->chunk.left == 0) {
		bdat_took(session);
	}
	return went(session);
}
