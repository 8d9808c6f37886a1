/* SPDX-License-Identifier: ISC */
/*
 * The end of a message: auth's grant of the octets beyond what the take was for, its word that it
 * has the intent, the end of data, the backend's reply, the outcome; and a backend that is lost or
 * replies too early.  A 250 to a whole message exists here only, from the backend's own.
 */
#include "proxy/data.h"

#include "proxy/auth_client.h"
#include "proxy/queue_id.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/transaction.h"

static void ask_intent(struct session *session)
{
	session->transaction->end = END_INTENT;
	if (auth_client_intent(session->worker->auth, session))
		session_await(session, AWAIT_INTENT);
	else
		intent_answer(session, false);
}

/* The octets that a meter of the account's counts, and its take did not. */
static uint64_t excess(const struct transaction *t)
{
	uint64_t taken = transaction_declared(t);

	if ((t->wants & IPC_WANTS_BYTES) == 0 || t->body.bytes_in <= taken)
		return 0;
	return t->body.bytes_in - taken;
}

void data_end(struct session *session)
{
	static const struct ipc_policy_verdict away = {.policy = IPC_POLICY_UNAVAILABLE};
	struct transaction *t = session->transaction;
	uint64_t bytes = excess(t);

	if (bytes == 0) {
		ask_intent(session);
		return;
	}
	t->end = END_TOP_UP;
	if (!auth_client_top_up(session->worker->auth, session, bytes))
		top_up_answer(session, &away);
}

void top_up_answer(struct session *session, const struct ipc_policy_verdict *verdict)
{
	session->deadline_ms = 0;
	if (verdict->policy == IPC_POLICY_OK && !session->revoked) {
		ask_intent(session);
		return;
	}
	relay_drop(session);
	transaction_settle(session, IPC_OUTCOME_ABORTED);
	if (session->revoked) /* session_boundary() says that one */
		session->transaction->reason = "revoked";
	else
		relay_refuse_policy(session, verdict);
	data_finish(session);
}

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

void data_finish(struct session *session)
{
	transaction_close(session);
	relay_rest(session);
	client_set_state(session, CLIENT_COMMAND);
	session_boundary(session);
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
