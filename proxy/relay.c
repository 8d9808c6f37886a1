/* SPDX-License-Identifier: ISC */
/* The backend connection's events as the client's replies; see relay.h. */
#include "proxy/relay.h"

#include "common/counters.h"
#include "common/log.h"
#include "proxy/auth_client.h"
#include "proxy/backend.h"
#include "proxy/stream.h"
#include "proxy/transaction.h"
#include "proxy/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct auth_answers relay_answers = {
	.login = login_answer,
	.mail = mail_answer,
	.owner = owner_answer,
	.take = take_answer,
	.top_up = top_up_answer,
	.intent = intent_answer,
	.outcome = outcome_answer,
};

/* ---------------------------------------------------------------------- replies */

void relay_reply(struct session *session, const struct smtp_reply *reply)
{
	bool utf8 = session->transaction != NULL && session->transaction->mail.smtputf8;
	char small[SMTP_REPLY_OUT_LINE_MAX * 2];
	size_t len = smtp_reply_format(reply, utf8, small, sizeof small);

	if (len <= sizeof small) {
		session_reply_bytes(session, small, len);
	} else {
		char *large = malloc(len);
		if (large == NULL) {
			session_reply(session, REPLY_BACKEND_PROTOCOL);
		} else {
			smtp_reply_format(reply, utf8, large, len);
			session_reply_bytes(session, large, len);
			free(large);
		}
	}
	/* RFC 5321 3.8: after 421 the connection is closed. */
	if (reply->code == 421)
		session_close(session, "backend said 421");
	else if (session->stream != NULL && session->backend != NULL &&
		 stream_full(session->stream))
		backend_pause(session->backend, true); /* until on_drained in session.c */
}

bool relay_store(struct session *session, const struct smtp_reply *reply)
{
	struct transaction *t = session->transaction;
	size_t len = smtp_reply_format(reply, t->mail.smtputf8, NULL, 0);

	free(t->stored_reply);
	t->stored_len = len;
	t->stored_reply = malloc(len);
	if (t->stored_reply == NULL)
		return false;
	smtp_reply_format(reply, t->mail.smtputf8, t->stored_reply, len);
	return true;
}

static void refuse_limit(struct session *session, const struct ipc_policy_verdict *verdict)
{
	struct transaction *t = session->transaction;
	char line[REPLY_MAX], meter[IPC_METER_NAME_MAX + 1] = {0};

	memcpy(meter, verdict->meter, verdict->meter_len);
	size_t len = reply_format_limit(line, sizeof line, (enum ipc_policy)verdict->policy, meter,
		verdict->limit, verdict->reset_s, t->id);
	t->reason = "limit";
	t->code = (uint16_t)reply_code(reply_of_limit((enum ipc_policy)verdict->policy));
	session_reply_bytes(session, line, len);
}

void relay_refuse_policy(struct session *session, const struct ipc_policy_verdict *verdict)
{
	struct transaction *t = session->transaction;
	char line[REPLY_MAX];

	t->verdict = *verdict;
	switch ((enum ipc_policy)verdict->policy) {
	case IPC_POLICY_OK:
		panic("a grant is no refusal");
	case IPC_POLICY_SENDER:
		t->reason = "sender";
		t->code = (uint16_t)reply_code(REPLY_SENDER_NOT_OWNED);
		session_reply_bytes(session, line,
			reply_format_with_id(REPLY_SENDER_NOT_OWNED, t->id, line, sizeof line));
		break;
	case IPC_POLICY_LIMIT:
	case IPC_POLICY_LIMIT_REJECT:
	case IPC_POLICY_LIMIT_NEVER:
		refuse_limit(session, verdict);
		break;
	case IPC_POLICY_REVOKED:
		t->reason = "revoked";
		session->revoked = true; /* session_boundary() says 421 */
		break;
	case IPC_POLICY_UNAVAILABLE:
		t->reason = "policy unavailable";
		t->code = (uint16_t)reply_code(REPLY_POLICY_UNAVAILABLE);
		session_reply(session, REPLY_POLICY_UNAVAILABLE);
		break;
	}
}

/* --------------------------------------------------------------- backend events */

static void on_ready(void *arg)
{
	mail_ready(arg);
}

static void log_failure(const struct session *session, const char *reason)
{
	char text[ADDRESS_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_WARNING, "backend-failed");
	log_id(&line, "sid", session->id);
	log_text(&line, "backend", address_format(backend_address(session->backend), text));
	log_text(&line, "reason", reason);
	log_end(&line);
}

static void on_failed(const char *reason, void *arg)
{
	struct session *session = arg;

	log_failure(session, reason);
	relay_drop(session);
	relay_connect(session);
}

static void on_reply(enum backend_command command, const struct smtp_reply *reply, void *arg)
{
	struct session *session = arg;

	switch (command) {
	case BACKEND_MAIL:
	case BACKEND_RCPT:
		mail_reply(session, command == BACKEND_RCPT, reply);
		break;
	case BACKEND_DATA:
		data_reply(session, reply);
		break;
	case BACKEND_CHUNK:
		bdat_reply(session, reply);
		break;
	case BACKEND_END:
		data_end_reply(session, reply);
		break;
	case BACKEND_RSET:
		if (reply->code != 250)
			relay_break(session, "RSET refused"); /* local replies may wait behind it */
		else
			session_continue(session);
		break;
	case BACKEND_LOCAL:
		panic("a local reply is not the backend's");
	}
}

static void on_local(enum reply_id reply, void *arg)
{
	struct session *session = arg;

	session_reply(session, reply);
	if (session->state == CLIENT_DATA)
		data_advance(session);
	session_continue(session);
}

static void on_early(const struct smtp_reply *reply, void *arg)
{
	data_early(arg, reply);
}

/* Every command that was owed a reply gets one; DATA's and the end's are data_lost()'s. */
static void answer_lost(struct session *session)
{
	enum backend_command command;
	enum reply_id local;

	while (backend_next_lost(session->backend, &command, &local)) {
		if (command == BACKEND_LOCAL)
			session_reply(session, local);
		else if (command == BACKEND_MAIL || command == BACKEND_RCPT)
			session_reply(session, REPLY_BACKEND_LOST);
	}
}

void relay_break(struct session *session, const char *reason)
{
	bool owed = backend_owed(session->backend) > 0;
	bool refused = session->transaction != NULL && session->transaction->mail_refused;

	if (owed || session->transaction != NULL)
		log_failure(session, reason);
	answer_lost(session);
	if (bdat_under_way(session) && session->state != CLIENT_DATA) {
		bdat_fail(session, REPLY_BACKEND_LOST, "backend lost");
		return;
	}
	switch (session->state) {
	case CLIENT_BODY:
		data_abandon(session, REPLY_BACKEND_LOST, "backend lost");
		return;
	case CLIENT_DATA:
		/* Its refusal has come already; what the client waits for is the take. */
		if (data_refused(session))
			relay_drop(session);
		else if (bdat_under_way(session))
			bdat_fail(session, REPLY_BACKEND_LOST, "backend lost");
		else
			data_lost(session);
		return;
	case CLIENT_END:
		data_lost(session);
		return;
	case CLIENT_MAIL: /* at rest, while auth is asked: a new one is opened then */
		relay_drop(session);
		return;
	case CLIENT_COMMAND:
		relay_drop(session);
		if ((owed && session->transaction != NULL) || refused) {
			session->transaction->reason = "backend lost";
			transaction_close(session);
		}
		session_continue(session);
		return;
	case CLIENT_SHAKING:
	case CLIENT_SASL:
	case CLIENT_LOGIN:
	case CLIENT_DISCARD:
	case CLIENT_CHUNK:
	case CLIENT_SKIP:
	case CLIENT_CLOSED:
	case CLIENT_STATES:
		relay_drop(session);
		return;
	}
}

/* The client, who waits for the reply to MAIL, notices nothing but the time that it takes. */
static void send_mail_anew(struct session *session)
{
	session->transaction->owed--;
	client_set_state(session, CLIENT_MAIL);
	relay_drop(session);
	relay_connect(session);
}

static void on_lost(const char *reason, void *arg)
{
	struct session *session = arg;

	if (session->state == CLIENT_COMMAND && backend_was_stale(session->backend))
		send_mail_anew(session);
	else
		relay_break(session, reason);
}

static void on_drained(void *arg)
{
	data_resume(arg);
}

static void on_idle(void *arg)
{
	struct session *session = arg;

	backend_close(&session->backend);
}

static const struct backend_events backend_events = {
	.on_ready = on_ready,
	.on_failed = on_failed,
	.on_reply = on_reply,
	.on_local = on_local,
	.on_early = on_early,
	.on_lost = on_lost,
	.on_drained = on_drained,
	.on_idle = on_idle,
};

/* -------------------------------------------------------------------- connection */

void relay_connect(struct session *session)
{
	struct worker *worker = session->worker;
	struct transaction *t = session->transaction;

	if (session->backend != NULL && backend_ready(session->backend) &&
		backend_spent(session->backend))
		backend_close(&session->backend);
	if (session->backend != NULL && backend_ready(session->backend)) {
		mail_ready(session);
		return;
	}
	while (true) {
		int server = upstream_choose(worker->upstream, 0, t->tried);
		if (server == -1) {
			mail_no_backend(session);
			return;
		}
		t->tried |= 1u << server;
		session->backend = backend_open(worker->base, worker->config,
			&worker->config->backends[0], (size_t)server, &backend_events, session);
		if (session->backend != NULL)
			return;
		log_message(LOG_WARNING, "backend-failed", "cannot connect: %s", strerror(errno));
	}
}

void relay_drop(struct session *session)
{
	backend_abort(&session->backend);
}

void relay_rest(struct session *session)
{
	if (session->backend != NULL)
		backend_set_idle(session->backend, true);
}

void relay_reset(struct session *session)
{
	if (session->transaction == NULL)
		return;
	/* Half a message is there: RSET is no command within DATA, and takes nothing back for sure.
	 */
	if (session->transaction->chunks.mode != CHUNKS_NONE)
		relay_drop(session);
	transaction_close(session);
	if (session->backend == NULL)
		return;
	backend_send(session->backend, BACKEND_RSET, "RSET\r\n", 6);
	relay_rest(session);
}
