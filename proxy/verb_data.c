/* SPDX-License-Identifier: ISC */
/*
 * DATA, from the command to its final reply: the take, the body, intent, end of data, outcome.
 *
 * DATA goes to the backend at once; the client gets 354 only when every RCPT reply is in, the take
 * is granted and the backend said 354.  Where anything refuses after the backend's 354, its
 * connection is dropped: the end of data is never sent for a message that is not wanted.
 */
#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "proxy/auth_client.h"
#include "proxy/author.h"
#include "proxy/backend.h"
#include "proxy/queue_id.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/trace.h"
#include "proxy/transaction.h"

#include <stdlib.h>
#include <string.h>

enum { ABANDON_MS = 2000, ABANDON_BYTES = 1024 * 1024 };

/* ------------------------------------------------------------------ the command */

void data_finish(struct session *session)
{
	transaction_close(session);
	relay_rest(session);
	client_set_state(session, CLIENT_COMMAND);
	session_boundary(session);
}

/* DATA itself was refused.  What the client sent already was meant as a body and must not be run as
 * commands (RFC 2920 3.1: DATA is the last of a group). */
static void finish_refused(struct session *session)
{
	bool body_came = session_unread(session) > 0;

	if (session->backend != NULL && session->transaction->mail_answered &&
		!session->transaction->mail_refused)
		backend_send(session->backend, BACKEND_RSET, "RSET\r\n", 6);
	if (body_came)
		session_close_with(session, REPLY_SYNCHRONISATION, "body without 354");
	else
		data_finish(session);
}

enum flow verb_data(struct session *session, const struct command *command)
{
	struct transaction *t = session->transaction;

	(void)command;
	if (session_is_owed(session) && !backend_pipelining(session->backend))
		return FLOW_HOLD;
	if (t == NULL)
		return session_refuse(session, REPLY_ORDER_NEED_MAIL);
	if (t->chunks.mode != CHUNKS_NONE)
		return session_refuse(session, REPLY_ORDER_CHUNKS);
	if (t->given == 0)
		return session_refuse(session, REPLY_ORDER_NEED_RCPT);
	if (t->mail.body == BODY_BINARYMIME)
		return session_refuse(session, REPLY_ORDER_BINARY);
	if (session->backend == NULL) {
		t->reason = "backend lost";
		transaction_close(session);
		return session_refuse(session, REPLY_BACKEND_LOST);
	}
	client_set_state(session, CLIENT_DATA);
	data_advance(session);
	return session->state == CLIENT_CLOSED ? FLOW_CLOSED : FLOW_WAIT;
}

static void send_data(struct session *session)
{
	session->transaction->data_sent = true;
	backend_send(session->backend, BACKEND_DATA, "DATA\r\n", 6);
}

static void ask_take(struct session *session)
{
	struct transaction *t = session->transaction;

	t->take = TAKE_PENDING;
	if (auth_client_take(session->worker->auth, session)) {
		session_await(session, AWAIT_TAKE);
	} else {
		t->take = TAKE_REFUSED;
		t->verdict.policy = IPC_POLICY_UNAVAILABLE;
	}
}

static void begin_body(struct session *session);

/* The backend is asked for a 354, unless the message goes to it in chunks. */
static bool asks_for_data(const struct transaction *t)
{
	return t->chunks.mode != CHUNKS_TO_BDAT;
}

/* Everything is known that DATA waits for. */
static void decide(struct session *session)
{
	struct transaction *t = session->transaction;
	bool go = t->data_code == 354;

	session->deadline_ms = 0;
	if (t->chunks.mode != CHUNKS_NONE) {
		bdat_decide(session);
		return;
	}
	if (t->take == TAKE_GRANTED && go) {
		begin_body(session);
		return;
	}
	if (go) /* it waits for a body that will not come */
		relay_drop(session);
	if (t->take == TAKE_REFUSED) {
		relay_refuse_policy(session, &t->verdict);
	} else if (t->accepted == 0) {
		t->reason = t->mail_refused ? "sender refused by backend" : "no recipients";
		session_reply(session, REPLY_NO_VALID_RECIPIENTS);
	} else {
		t->code = t->data_code;
		t->reason = "DATA refused by backend";
		transaction_settle(session, IPC_OUTCOME_REFUSED);
		session_reply_bytes(session, t->stored_reply, t->stored_len);
		if (t->code == 421) {
			session_close(session, "backend said 421");
			return;
		}
	}
	finish_refused(session);
}

void data_advance(struct session *session)
{
	struct transaction *t = session->transaction;
	bool recipients_owed = t->owed > 0;

	if (asks_for_data(t) && !t->data_sent && (recipients_owed || t->accepted > 0))
		send_data(session);
	/* Without a 354 to come, nothing else keeps what is said now behind our own replies. */
	if (recipients_owed || (!asks_for_data(t) && backend_owed(session->backend) > 0))
		return;
	if (t->accepted > 0 && t->take == TAKE_NONE)
		ask_take(session);
	if (t->take == TAKE_PENDING || (t->data_sent && t->data_code == 0))
		return;
	decide(session);
}

void take_answer(struct session *session, const struct ipc_policy_verdict *verdict)
{
	struct transaction *t = session->transaction;

	session->deadline_ms = 0; /* the backend's reply has a deadline of its own */
	t->verdict = *verdict;
	t->take = verdict->policy == IPC_POLICY_OK ? TAKE_GRANTED : TAKE_REFUSED;
	t->taken_ms = clock_monotonic_ms();
	data_advance(session);
}

void data_reply(struct session *session, const struct smtp_reply *reply)
{
	struct transaction *t = session->transaction;
	unsigned class_ = smtp_reply_class(reply);

	if (reply->code != 354 && (class_ < 4 || !relay_store(session, reply))) {
		/* 250 to DATA, say: never stream a body to a server that did not ask for it. */
		log_message(LOG_WARNING, "backend-protocol", "%u to DATA", reply->code);
		relay_break(session, "bad reply to DATA");
		return;
	}
	t->data_code = reply->code;
	data_advance(session);
}

/* --------------------------------------------------------------------- the body */

struct evbuffer *data_out(const struct session *session)
{
	const struct chunks *chunks = &session->transaction->chunks;

	return chunks->mode == CHUNKS_TO_BDAT ? chunks->queue.octets
					      : backend_body(session->backend);
}

struct evbuffer *data_in(const struct session *session)
{
	struct evbuffer *in = author_in(session);

	return in != NULL ? in : data_out(session);
}

void data_write_trace(struct session *session)
{
	const struct config *config = session->worker->config;
	const struct transaction *t = session->transaction;
	const SSL *ssl = session->stream != NULL ? stream_tls(session->stream) : NULL;
	char header[TRACE_MAX];
	struct trace_info info = {
		.hostname = config->hostname,
		.helo = config->trace.show_client ? session->helo : NULL,
		.login = config->trace.show_login ? session->login : NULL,
		.client = config->trace.show_client ? &session->client : NULL,
		.tls_version = ssl != NULL ? SSL_get_version(ssl) : NULL,
		.tls_cipher = ssl != NULL ? SSL_get_cipher_name(ssl) : NULL,
		.esmtp = session->esmtp,
		.smtputf8 = t->mail.smtputf8,
		.transaction = t->id,
		.recipient = t->given == 1 && t->accepted == 1 ? t->recipient.text : NULL,
		.wall_ms = clock_wall_ms(),
	};

	if (!config->trace.received)
		return;
	size_t len = trace_received(&info, header);
	if (evbuffer_add(data_out(session), header, len) == -1)
		session->transaction->body.failed = true;
}

static void begin_body(struct session *session)
{
	struct transaction *t = session->transaction;

	body_init(&t->body, BODY_DATA);
	t->body.failed = !author_begin(session, true);
	backend_begin_body(session->backend);
	data_write_trace(session);
	client_set_state(session, CLIENT_BODY);
	session_reply(session, REPLY_DATA_GO);
	session_continue(session);
}

static void answer_discarded(struct session *session);

void data_abandon(struct session *session, enum reply_id reply, const char *reason)
{
	struct transaction *t = session->transaction;

	relay_drop(session);
	transaction_settle(session, IPC_OUTCOME_ABORTED);
	t->refusal = reply;
	t->reason = reason;
	if (session->state == CLIENT_END) { /* it is through; auth's word is awaited no more */
		answer_discarded(session);
		return;
	}
	t->discarding = true;
	t->discard_end = t->body.bytes_in + ABANDON_BYTES;
	client_set_state(session, CLIENT_DISCARD);
	if (t->all_in) { /* its end has come, and will not come again */
		answer_discarded(session);
		return;
	}
	if (session->revoked)
		session_hurry(session, ABANDON_MS);
	session_continue(session);
}

void data_tell_refusal(struct session *session)
{
	const struct transaction *t = session->transaction;
	char line[REPLY_MAX];

	if (t->refusal == REPLY_REVOKED)
		return; /* session_boundary() says that one */
	if (t->refusal == REPLY_FROM_NOT_OWNED || t->refusal == REPLY_FROM_UNREADABLE)
		session_reply_bytes(
			session, line, reply_format_with_id(t->refusal, t->id, line, sizeof line));
	else
		session_reply(session, t->refusal);
}

/* The reply at the end of a message that is not wanted. */
static void answer_discarded(struct session *session)
{
	struct transaction *t = session->transaction;
	unsigned code = t->stored_reply != NULL ? t->code : reply_code(t->refusal);

	t->code = (uint16_t)code;
	if (t->stored_reply != NULL)
		session_reply_bytes(session, t->stored_reply, t->stored_len);
	else
		data_tell_refusal(session);
	if (code == 421 && !session->revoked)
		session_close(session, "backend said 421");
	else
		data_finish(session);
}

/* Octets that came behind it in the same read are offered again by nothing else. */
static void offer_rest(struct session *session, size_t rest)
{
	if (rest > 0 && session->stream != NULL)
		stream_deliver_later(session->stream);
}

static size_t discard(struct session *session, const uint8_t *bytes, size_t len)
{
	struct transaction *t = session->transaction;
	size_t consumed = 0;

	enum body_status status = body_feed(&t->body, bytes, len, &consumed, NULL);
	if (!session->revoked)
		client_arm(session);
	else if (t->body.bytes_in > t->discard_end)
		session_close_with(session, REPLY_REVOKED, "revoked");
	if (session->state == CLIENT_CLOSED)
		return len;
	if (status == BODY_END) {
		answer_discarded(session);
		offer_rest(session, len - consumed);
	}
	return consumed;
}

uint64_t data_limit(const struct session *session)
{
	uint64_t ours = session_message_limit(session);
	uint64_t theirs = backend_capabilities(session->backend)->size;

	return theirs != 0 && theirs < ours ? theirs : ours;
}

bool data_refusal(struct session *session, enum reply_id *reply_out, const char **reason_out)
{
	const struct body *body = &session->transaction->body;

	*reply_out = REPLY_OK;
	if (body->failed) {
		*reply_out = REPLY_STORAGE;
		*reason_out = "out of memory";
	} else if (body->saw_nul) {
		*reply_out = REPLY_BODY_NUL;
		*reason_out = "NUL";
	} else if (body->saw_bare && session->listen->line_endings == LINE_ENDINGS_REJECT) {
		*reply_out = REPLY_BODY_LINE_ENDINGS;
		*reason_out = "line endings";
	} else if (body->bytes_in > data_limit(session)) {
		*reply_out = REPLY_TOO_BIG;
		*reason_out = "too big";
	}
	return *reply_out != REPLY_OK;
}

void data_end(struct session *session)
{
	struct transaction *t = session->transaction;

	t->end = END_INTENT;
	if (auth_client_intent(session->worker->auth, session))
		session_await(session, AWAIT_INTENT);
	else
		intent_answer(session, false);
}

/* What was read is on its way: the next of it, or the end. */
static void go_on(struct session *session)
{
	if (session->transaction->all_in) {
		client_set_state(session, CLIENT_END);
		data_end(session); /* the last octets leave together with the end */
		return;
	}
	backend_flush_body(session->backend);
	if (backend_full(session->backend))
		data_pause(session);
}

/* Abandons the message; when it was all in, rest octets came behind it. */
static void refuse_body(
	struct session *session, enum reply_id reply, const char *reason, size_t rest)
{
	bool all_in = session->transaction->all_in;

	data_abandon(session, reply, reason);
	if (all_in)
		offer_rest(session, rest);
}

size_t data_read_body(struct session *session, const uint8_t *bytes, size_t len)
{
	struct transaction *t = session->transaction;
	enum reply_id reply;
	const char *reason;
	size_t consumed = 0;

	if (session->state == CLIENT_DISCARD)
		return discard(session, bytes, len);
	if (author_waiting(session))
		return 0;
	t->all_in = body_feed(&t->body, bytes, len, &consumed, data_in(session)) == BODY_END;
	client_arm(session);
	if (data_refusal(session, &reply, &reason)) {
		refuse_body(session, reply, reason, len - consumed);
		return consumed;
	}
	switch (author_pass(session, data_out(session), t->all_in, &reply, &reason)) {
	case AUTHOR_PASS:
		go_on(session);
		break;
	case AUTHOR_WAIT:
		break;
	case AUTHOR_REFUSED:
		refuse_body(session, reply, reason, len - consumed);
		break;
	}
	return consumed;
}

void owner_answer(struct session *session, const struct ipc_policy_verdict *verdict)
{
	struct transaction *t = session->transaction;
	bool chunks = t->chunks.mode != CHUNKS_NONE;
	enum reply_id reply;
	const char *reason;

	if (t->author == NULL || t->discarding || t->chunks.failed) {
		client_arm(session); /* the message is given up meanwhile */
		return;
	}
	if (verdict->policy == IPC_POLICY_REVOKED)
		session->revoked = true;
	switch (author_answered(
		session, (enum ipc_policy)verdict->policy, data_out(session), &reply, &reason)) {
	case AUTHOR_PASS:
		client_arm(session);
		if (chunks)
			bdat_passed(session);
		else
			go_on(session);
		break;
	case AUTHOR_WAIT:
		return;
	case AUTHOR_REFUSED:
		if (session->revoked) {
			reply = REPLY_REVOKED;
			reason = "revoked";
		}
		if (chunks)
			bdat_fail(session, reply, reason);
		else
			refuse_body(session, reply, reason, 0);
		break;
	}
	if (session->state != CLIENT_CLOSED)
		session_continue(session);
}

void data_pause(struct session *session)
{
	session->transaction->paused_since_ms = clock_monotonic_ms();
	session->deadline_ms = 0; /* the backend's block_timeout counts */
	stream_pause(session->stream);
}

/* The backend takes octets again.  Its slowness is not held against the client. */
void data_resume(struct session *session)
{
	struct transaction *t = session->transaction;

	if (t != NULL && t->paused_since_ms != 0 &&
		(session->state == CLIENT_BODY || session->state == CLIENT_CHUNK)) {
		t->paused_ms += clock_monotonic_ms() - t->paused_since_ms;
		t->paused_since_ms = 0;
		client_arm(session);
	}
	bdat_advance(session);
	session_continue(session);
}

/* The message is all in, and its end is not sent: it never will be. */
static void end_early(struct session *session, const struct smtp_reply *reply)
{
	bool usable = smtp_reply_class(reply) >= 4 && relay_store(session, reply);
	struct transaction *t = session->transaction;

	relay_drop(session);
	t->code = usable ? reply->code : (uint16_t)reply_code(REPLY_BACKEND_PROTOCOL);
	t->reason = "reply before the end of data";
	transaction_settle(session, usable ? IPC_OUTCOME_REFUSED : IPC_OUTCOME_ABORTED);
	if (usable)
		session_reply_bytes(session, t->stored_reply, t->stored_len);
	else
		session_reply(session, REPLY_BACKEND_PROTOCOL);
	if (t->code == 421)
		session_close(session, "backend said 421");
	else
		data_finish(session);
}

/* A final reply before the end of data (RFC 5321 allows it for refusals only). */
void data_early(struct session *session, const struct smtp_reply *reply)
{
	struct transaction *t = session->transaction;

	if (session->state == CLIENT_END) {
		end_early(session, reply);
		return;
	}
	if (bdat_under_way(session)) {
		bdat_refused(session, reply);
		return;
	}
	if (smtp_reply_class(reply) < 4 || !relay_store(session, reply)) {
		data_abandon(session, REPLY_BACKEND_PROTOCOL, "reply within the body");
		return;
	}
	t->code = reply->code;
	transaction_settle(session, IPC_OUTCOME_REFUSED);
	data_abandon(session, REPLY_BACKEND_PROTOCOL, "refused within the body");
}

/* ---------------------------------------------------------------------- the end */

void intent_answer(struct session *session, bool ok)
{
	struct transaction *t = session->transaction;

	session->deadline_ms = 0;
	if (!ok || session->revoked || session->backend == NULL) {
		relay_drop(session);
		t->reason = session->revoked ? "revoked" : "intent not recorded";
		transaction_settle(session, IPC_OUTCOME_ABORTED);
		if (!session->revoked) /* session_boundary() says that one */
			session_reply(session, REPLY_POLICY_UNAVAILABLE);
		data_finish(session);
		return;
	}
	t->end = END_SENT;
	bdat_send_end(session);
}

void data_end_reply(struct session *session, const struct smtp_reply *reply)
{
	struct transaction *t = session->transaction;
	unsigned class_ = smtp_reply_class(reply);

	if (smtp_reply_misplaced(reply) || !relay_store(session, reply)) {
		relay_break(session, "bad reply to the end of data");
		return;
	}
	t->end = END_ANSWERED;
	t->code = reply->code;
	if (class_ == 2) {
		t->queue_id_len = (uint8_t)queue_id_find(reply, t->queue_id, sizeof t->queue_id);
		session->messages++;
		session->errors = session->junk = 0;
	}
	transaction_settle(session, class_ == 2 ? IPC_OUTCOME_ACCEPTED : IPC_OUTCOME_REFUSED);
	if (auth_client_attached(session->worker->auth) && session->stream != NULL)
		session_await(session, AWAIT_OUTCOME);
	else
		outcome_answer(session);
}

void outcome_answer(struct session *session)
{
	struct transaction *t = session->transaction;
	bool bye = t->code == 421;

	session->deadline_ms = 0;
	session_reply_bytes(session, t->stored_reply, t->stored_len);
	if (bye)
		session_close(session, "backend said 421");
	else
		data_finish(session);
}

bool data_refused(const struct session *session)
{
	uint16_t code = session->transaction->data_code;

	return code != 0 && code != 354;
}

void data_lost(struct session *session)
{
	struct transaction *t = session->transaction;

	relay_drop(session);
	if (session->await == AWAIT_OUTCOME) /* its verdict is known: only the record is awaited */
		return;
	t->reason = t->end == END_SENT ? "unknown" : "backend lost";
	t->code = 451;
	session_reply(session, REPLY_BACKEND_LOST);
	data_finish(session);
}
