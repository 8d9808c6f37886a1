/* SPDX-License-Identifier: ISC */
/*
 * How a session ends: by its deadline, by itself, by revocation or drain; see session.h.  The
 * states' own deadlines are in state.c.  A forced end waits for the message at hand: where its end
 * was not sent it is given up, where it was the backend's reply goes first.
 */
#include "proxy/session_parts.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"
#include "proxy/acceptor.h"
#include "proxy/auth_client.h"
#include "proxy/backend.h"
#include "proxy/stream.h"
#include "proxy/transaction.h"

#include <stdlib.h>

enum {
	AUTH_DEADLINE_MS = 10000,
	POLICY_DEADLINE_MS = 3000,
	OUTCOME_DEADLINE_MS = 250,
};

/* -------------------------------------------------------------------- deadlines */

void session_arm_timer(struct session *session)
{
	uint64_t now = clock_monotonic_ms();
	uint64_t ms = session->deadline_ms > now ? session->deadline_ms - now : 0;
	struct timeval in = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};

	session->timer_ms = session->deadline_ms;
	evtimer_add(&session->timer, &in);
}

void session_hurry(struct session *session, unsigned ms)
{
	uint64_t latest = clock_monotonic_ms() + ms;

	if (session->deadline_ms != 0 && session->deadline_ms <= latest)
		return;
	session->deadline_ms = latest;
	if (session->timer_ms == 0 || session->timer_ms > latest)
		session_arm_timer(session);
}

/* The end of data leaves before the transaction's own end, or never. */
static uint64_t no_later_than_its_end(const struct session *session, uint64_t deadline_ms)
{
	uint64_t end_ms =
		session->transaction->taken_ms + session->worker->config->timeouts.transaction_ms;

	return end_ms < deadline_ms ? end_ms : deadline_ms;
}

void session_await(struct session *session, enum await await)
{
	unsigned ms = POLICY_DEADLINE_MS;

	session->await = await;
	if (await == AWAIT_LOGIN)
		ms = AUTH_DEADLINE_MS;
	else if (await == AWAIT_OUTCOME)
		ms = OUTCOME_DEADLINE_MS;
	session->deadline_ms = clock_monotonic_ms() + ms;
	if (await == AWAIT_TOP_UP || await == AWAIT_INTENT)
		session->deadline_ms = no_later_than_its_end(session, session->deadline_ms);
	if (session->timer_ms == 0 || session->timer_ms > session->deadline_ms)
		session_arm_timer(session);
}

static void on_deadline(struct session *session)
{
	bool login = session->await == AWAIT_LOGIN;

	if (session->await != AWAIT_NONE) {
		auth_client_expire(session->worker->auth, session);
		/* The verdict may still come: it must not meet another attempt of this session. */
		if (login)
			session_close(session, "log-in undecided");
		return;
	}
	if (session->state == CLIENT_SHAKING)
		session_close(session, "handshake timeout");
	else
		session_close_with(
			session, session->revoked ? REPLY_REVOKED : REPLY_TIMEOUT, "timeout");
}

void session_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	(void)what;
	session->timer_ms = 0;
	if (session->state == CLIENT_CLOSED || session->deadline_ms == 0)
		return;
	if (clock_monotonic_ms() >= session->deadline_ms)
		on_deadline(session);
	else
		session_arm_timer(session);
}

/* ---------------------------------------------------------------------- closing */

/* A load balancer looks every few seconds whether we are well: no news, as long as all goes well.
 */
static bool is_health_check(const struct session *session)
{
	return session->untold && session->login == NULL && session->login_failures == 0 &&
	       session->errors == 0;
}

static void write_line(const struct session *session, const char *reason)
{
	char text[ADDRESS_TEXT_MAX];
	struct log_line line;

	log_begin(&line, is_health_check(session) ? LOG_DEBUG : LOG_INFO, "session");
	log_id(&line, "sid", session->id);
	log_text(&line, "rip", address_format_host(&session->client, text));
	log_uint(&line, "rport", address_port(&session->client));
	if (session->via.len != 0)
		log_text(&line, "via", address_format_host(&session->via, text));
	log_text(&line, "listen", session->listen->name);
	if (session->tls && session->stream != NULL && stream_tls(session->stream) != NULL)
		log_text(&line, "tls", SSL_get_version(stream_tls(session->stream)));
	if (session->login != NULL)
		log_text(&line, "login", session->login);
	log_uint(&line, "messages", session->messages);
	log_uint(&line, "errors", session->errors);
	log_text(&line, "state", client_state_name(session->state));
	log_text(&line, "reason", reason);
	log_uint(&line, "ms", clock_monotonic_ms() - session->opened_ms);
	log_end(&line);
}

/* The memory goes when the loop turn is over: an event of it may be in the queue. */
static void bury(struct session *session)
{
	static const struct timeval zero;
	struct worker *worker = session->worker;

	session->next_closed = worker->closed;
	worker->closed = session;
	if (!evtimer_pending(&worker->reaper, NULL))
		evtimer_add(&worker->reaper, &zero);
}

void session_close(struct session *session, const char *reason)
{
	struct worker *worker = session->worker;

	if (session->state == CLIENT_CLOSED)
		return;
	transaction_close(session);
	auth_client_forget(worker->auth, session);
	write_line(session, reason);
	client_set_state(session, CLIENT_CLOSED);
	idmap_take(worker->sessions, session->id);
	if (session->authenticated) {
		auth_client_session_end(worker->auth, session);
		counter_sub(COUNTER_SESSIONS_AUTHENTICATED, 1);
	}
	counter_sub(COUNTER_SESSIONS, 1);
	backend_close(&session->backend);
	stream_finish(&session->stream);
	evtimer_del(&session->timer);
	acceptor_session_closed(worker->acceptor, session);
	free(session->helo);
	free(session->login);
	free(session->sasl);
	session->helo = session->login = NULL;
	session->sasl = NULL;
	bury(session);
}

void session_close_with(struct session *session, enum reply_id reply, const char *reason)
{
	/* In a handshake there is nobody to read a reply. */
	if (session->state != CLIENT_SHAKING && session->state != CLIENT_CLOSED)
		session_reply(session, reply);
	session_close(session, reason);
}

/* --------------------------------------------------------- revocation and drain */

void session_revoke(struct session *session)
{
	session->revoked = true;
	if (session->state == CLIENT_BODY)
		data_abandon(session, REPLY_REVOKED, "revoked");
	else if (session->state == CLIENT_CHUNK)
		bdat_fail(session, REPLY_REVOKED, "revoked");
	else if (session->state != CLIENT_DISCARD && session->state != CLIENT_SKIP &&
		 session->state != CLIENT_END)
		session_close_with(session, REPLY_REVOKED, "revoked");
}

void session_boundary(struct session *session)
{
	if (session->revoked)
		session_close_with(session, REPLY_REVOKED, "revoked");
	else if (session->worker->draining)
		session_close_with(session, REPLY_SHUTTING_DOWN, "draining");
	else if (session->stream == NULL)
		session_close(session, "connection lost");
	else
		session_continue(session);
}

void session_drain(struct session *session)
{
	if (session->state == CLIENT_SHAKING)
		session_close(session, "draining");
	else if ((session->state == CLIENT_COMMAND || session->state == CLIENT_SASL) &&
		 session->transaction == NULL && !session_is_owed(session))
		session_close_with(session, REPLY_SHUTTING_DOWN, "draining");
}
