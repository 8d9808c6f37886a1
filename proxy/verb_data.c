/* SPDX-License-Identifier: ISC */
/*
 * DATA, from the command to its 354 or refusal: the take.  The body is data_body.c's, what comes
 * behind it data_end.c's.
 *
 * DATA goes to the backend at once; the client gets 354 only when every RCPT reply is in, the take
 * is granted and the backend said 354.  Where anything refuses after the backend's 354, its
 * connection is dropped: the end of data is never sent for a message that is not wanted.
 */
#include "common/clock.h"
#include "common/log.h"
#include "proxy/auth_client.h"
#include "proxy/backend.h"
#include "proxy/data.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/transaction.h"

/* What the client sent behind a DATA that is refused was meant as a body, and must not be run as
 * commands (RFC 2920 3.1: DATA is the last of a group).  What comes later is seen by its first
 * line: session.after_data. */
static bool body_came(const struct session *session)
{
	return session_unread(session) > 0;
}

static void finish_refused(struct session *session)
{
	if (session->backend != NULL && session->transaction->mail_answered &&
		!session->transaction->mail_refused)
		backend_send(session->backend, BACKEND_RSET, "RSET\r\n", 6);
	if (body_came(session))
		session_close_with(session, REPLY_SYNCHRONISATION, "body without 354");
	else
		data_finish(session);
}

static enum flow refuse(struct session *session, enum reply_id reply)
{
	if (!body_came(session))
		return session_refuse(session, reply);
	if (session_is_owed(session))
		return FLOW_HOLD;
	session_reply(session, reply);
	session_close_with(session, REPLY_SYNCHRONISATION, "body without 354");
	return FLOW_CLOSED;
}

enum flow verb_data(struct session *session, const struct command *command)
{
	struct transaction *t = session->transaction;

	(void)command;
	if (session_is_owed(session) && !backend_pipelining(session->backend))
		return FLOW_HOLD;
	if (t == NULL)
		return refuse(session, REPLY_ORDER_NEED_MAIL);
	if (t->chunks.mode != CHUNKS_NONE) /* whose body comes by BDAT */
		return session_refuse(session, REPLY_ORDER_CHUNKS);
	if (t->given == 0)
		return refuse(session, REPLY_ORDER_NEED_RCPT);
	if (t->mail.body == BODY_BINARYMIME)
		return refuse(session, REPLY_ORDER_BINARY);
	if (session->backend == NULL) {
		t->reason = "backend lost";
		transaction_close(session);
		return refuse(session, REPLY_BACKEND_LOST);
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
	transaction_forget_recipients(t);
}

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
		data_begin_body(session);
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

bool data_refused(const struct session *session)
{
	uint16_t code = session->transaction->data_code;

	return code != 0 && code != 354;
}
