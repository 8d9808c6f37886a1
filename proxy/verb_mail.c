/* SPDX-License-Identifier: ISC */
/*
 * MAIL and RCPT: parsed, asked of auth (the sender), rebuilt and sent to the backend, whose replies
 * are the client's.  The backend connection is opened at the first MAIL that policy allows.
 */
#include "common/counters.h"
#include "common/log.h"
#include "proxy/auth_client.h"
#include "proxy/backend.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/transaction.h"

/* MAIL is over before the backend heard of it. */
static void give_up(struct session *session)
{
	transaction_close(session);
	client_set_state(session, CLIENT_COMMAND);
	session_boundary(session);
}

static enum reply_id syntax_reply(enum command_status status, enum reply_id address)
{
	switch (status) {
	case COMMAND_OK:
	case COMMAND_SYNTAX:
		return REPLY_ARGUMENTS;
	case COMMAND_ADDRESS:
		return address;
	case COMMAND_UTF8:
		return REPLY_ADDRESS_UTF8;
	case COMMAND_PARAMETER:
		return REPLY_PARAMETER_UNKNOWN;
	case COMMAND_PARAMETER_VALUE:
		return REPLY_PARAMETER_VALUE;
	}
	panic("no such status");
}

enum flow verb_mail(struct session *session, const struct command *command)
{
	struct mail_arguments mail;
	enum command_status status;

	if (session->transaction != NULL)
		return session_refuse(session, REPLY_ORDER_MAIL_NESTED);
	/* RFC 9422 3: it was told so; connecting anew is all that helps. */
	if (session->mail_max != 0 && session->mails >= session->mail_max) {
		session_close_with(session, REPLY_TOO_MANY_MESSAGES, "too many messages");
		return FLOW_CLOSED;
	}
	status = command_parse_mail(command->args, command->args_len, session->offered, &mail);
	if (status != COMMAND_OK)
		return session_refuse(session, syntax_reply(status, REPLY_SENDER_SYNTAX));
	if (mail.has_size && mail.size > session_message_limit(session))
		return session_refuse(session, REPLY_TOO_BIG);
	struct transaction *t = transaction_open(session);
	if (t == NULL)
		return session_refuse(session, REPLY_STORAGE);
	t->mail = mail;
	session->junk =
		0; /* RSET behind a "later" of ours or the backend's is what a client should do */
	session->mails++;
	session->dropped = 0;
	if (session->backend != NULL)
		backend_set_idle(session->backend, false);
	if (!auth_client_mail(session->worker->auth, session)) {
		t->reason = "auth away";
		transaction_close(session);
		relay_rest(session);
		return session_refuse(session, REPLY_POLICY_UNAVAILABLE);
	}
	client_set_state(session, CLIENT_MAIL);
	session_await(session, AWAIT_MAIL);
	return FLOW_WAIT;
}

void mail_answer(struct session *session, const struct ipc_policy_verdict *verdict)
{
	if (verdict->policy == IPC_POLICY_OK) {
		session->transaction->wants = verdict->wants;
		session->deadline_ms = 0; /* the backend has its own deadlines */
		relay_connect(session);
		return;
	}
	relay_refuse_policy(session, verdict);
	relay_rest(session);
	give_up(session);
}

void mail_no_backend(struct session *session)
{
	session->transaction->reason = "backend unreachable";
	session_reply(session, REPLY_BACKEND_UNREACHABLE);
	give_up(session);
}

/* What EHLO promised by the last probe, and the connection at hand does not keep. */
static bool refuse_missing(struct session *session)
{
	const unsigned binary = CAPABILITY_BINARYMIME | CAPABILITY_CHUNKING;
	const struct mail_arguments *mail = &session->transaction->mail;
	const struct capability_set *has = backend_capabilities(session->backend);
	unsigned missing = command_mail_needs(mail) & ~has->bits;

	if ((missing & (CAPABILITY_SMTPUTF8 | CAPABILITY_DSN)) != 0)
		session_reply(session, REPLY_PARAMETER_UNKNOWN);
	else if ((missing & binary) != 0)
		session_reply(session, REPLY_BODY_BINARY);
	else if (missing != 0)
		session_reply(session, REPLY_BODY_CONVERSION);
	else if (mail->has_size && has->size != 0 && mail->size > has->size)
		session_reply(session, REPLY_TOO_BIG);
	else
		return false;
	session->transaction->reason = "backend lacks it";
	return true;
}

void mail_ready(struct session *session)
{
	struct transaction *t = session->transaction;
	char line[COMMAND_FORMAT_MAX];

	if (refuse_missing(session)) {
		relay_rest(session);
		give_up(session);
		return;
	}
	size_t len =
		command_format_mail(&t->mail, backend_capabilities(session->backend)->bits, line);
	t->owed++;
	backend_send(session->backend, BACKEND_MAIL, line, len);
	client_set_state(session, CLIENT_COMMAND);
	session_continue(session);
}

/* Whether RCPT can be sent now: its place in the pipeline, and the connection. */
static bool must_hold(const struct session *session)
{
	return session->backend != NULL && backend_owed(session->backend) > 0 &&
	       (!backend_pipelining(session->backend) || !backend_room(session->backend));
}

static unsigned recipient_limit(const struct session *session)
{
	unsigned limit = session_recipient_limit(session);
	uint32_t theirs = backend_capabilities(session->backend)->rcpt_max;

	return theirs != 0 && theirs < limit ? theirs : limit;
}

enum flow verb_rcpt(struct session *session, const struct command *command)
{
	struct transaction *t = session->transaction;
	struct rcpt_arguments rcpt;
	char line[COMMAND_FORMAT_MAX];

	if (must_hold(session))
		return FLOW_HOLD;
	if (t == NULL)
		return session_refuse(session, REPLY_ORDER_NEED_MAIL);
	if (t->chunks.mode != CHUNKS_NONE)
		return session_refuse(session, REPLY_ORDER_CHUNKS);
	if (session->backend == NULL)
		return session_refuse(session, REPLY_BACKEND_LOST);
	enum command_status status = command_parse_rcpt(
		command->args, command->args_len, session->offered, t->mail.smtputf8, &rcpt);
	if (status != COMMAND_OK)
		return session_refuse(session, syntax_reply(status, REPLY_RECIPIENT_SYNTAX));
	if (t->accepted + t->owed >= recipient_limit(session) + (t->mail_answered ? 0 : 1))
		return session_refuse(session, REPLY_TOO_MANY_RECIPIENTS);
	unsigned has = backend_capabilities(session->backend)->bits;
	if ((command_rcpt_needs(&rcpt) & ~has) != 0)
		return session_refuse(session, REPLY_PARAMETER_UNKNOWN);
	if (!transaction_add_recipient(session, &rcpt.recipient))
		return session_refuse(session, REPLY_STORAGE);
	if (t->given++ == 0)
		t->recipient = rcpt.recipient;
	t->owed++;
	backend_send(session->backend, BACKEND_RCPT, line, command_format_rcpt(&rcpt, has, line));
	return FLOW_GO;
}

void mail_reply(struct session *session, bool rcpt, const struct smtp_reply *reply)
{
	struct transaction *t = session->transaction;
	bool misplaced = smtp_reply_misplaced(reply);
	bool accepted = smtp_reply_class(reply) == 2 && !misplaced;

	t->owed--;
	if (!rcpt)
		t->mail_answered = true;
	if (accepted && rcpt)
		t->accepted++;
	if (rcpt && (t->wants & IPC_WANTS_RECIPIENTS) != 0)
		recipient_hashes_answer(&t->hashes, accepted);
	if (!accepted && !rcpt) {
		t->mail_refused = true;
		t->code = reply->code;
		t->reason = "sender refused by backend";
	}
	if (misplaced) { /* no answer to MAIL or RCPT: the connection cannot be trusted */
		session_reply(session, REPLY_BACKEND_PROTOCOL);
		relay_break(session, "reply out of place");
		return;
	}
	relay_reply(session, reply);
	if (session->state == CLIENT_CLOSED)
		return;
	if (session->state == CLIENT_DATA) {
		data_advance(session);
		return;
	}
	if (t->mail_refused && t->owed == 0) {
		transaction_close(session);
		relay_rest(session);
		session_boundary(session);
		return;
	}
	session_continue(session);
}
