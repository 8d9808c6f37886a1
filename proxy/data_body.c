/* SPDX-License-Identifier: ISC */
/*
 * The octets of a message on their way from the client to the backend, by DATA: through body.c, the
 * header stage (author.c) and the limits; what stops it, and how the client is read on to an end of
 * data that nobody wants.  Parts are shared with BDAT (bdat_octets.c), see data.h.
 */
#include "proxy/data.h"

#include "common/clock.h"
#include "proxy/author.h"
#include "proxy/backend.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/trace.h"
#include "proxy/transaction.h"

enum { ABANDON_MS = 2000, ABANDON_BYTES = 1024 * 1024 };

/* ------------------------------------------------------------------ where they go */

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

void data_begin_body(struct session *session)
{
	struct transaction *t = session->transaction;

	session->after_data = false;
	body_init(&t->body, BODY_DATA);
	t->body.failed = !author_begin(session, true);
	backend_begin_body(session->backend);
	data_write_trace(session);
	client_set_state(session, CLIENT_BODY);
	session_reply(session, REPLY_DATA_GO);
	session_continue(session);
}

/* ------------------------------------------------------------ a message not wanted */

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

/* --------------------------------------------------------------- a message on its way */

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
