/* SPDX-License-Identifier: ISC */
/*
 * Sessions: opening, the command table, deadlines, closing; see session.h.  What a verb does is in
 * its family's file: verb_hello.c, verb_auth.c, verb_mail.c, verb_data.c, verb_misc.c.
 */
#include "proxy/session.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/id.h"
#include "common/log.h"
#include "proxy/acceptor.h"
#include "proxy/auth_client.h"
#include "proxy/author.h"
#include "proxy/backend.h"
#include "proxy/line.h"
#include "proxy/relay.h"
#include "proxy/stream.h"
#include "proxy/tls.h"
#include "proxy/transaction.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	COMMANDS_A_TURN = 16,
	SKIP_MAX =
		1024 * 1024, /* octets of one line that is too long, before the session is closed */
	JUNK_MAX = 100,      /* commands without a MAIL in between; each more counts as an error */
	AUTH_DEADLINE_MS = 10000,
	POLICY_DEADLINE_MS = 3000,
	OUTCOME_DEADLINE_MS = 250,
};

/* -------------------------------------------------------------------- the table */

enum needs {
	NEEDS_NOTHING = 0,
	NEEDS_TLS = 1u << 0,     /* on a STARTTLS listener: 530 5.7.0 Must issue STARTTLS */
	NEEDS_LOGIN = 1u << 1,   /* 530 5.7.0 Authentication required */
	NEEDS_HELLO = 1u << 2,   /* 503 EHLO first */
	NEEDS_QUIET = 1u << 3,   /* waits until no reply is owed */
	NEEDS_NO_ARGS = 1u << 4, /* 501 with any */
	IS_JUNK = 1u << 5,       /* harmless, but not a hundred times */
	HAS_OCTETS = 1u << 6,    /* octets follow that are no commands, though it be refused */
};

static const struct {
	enum flow (*handler)(struct session *session, const struct command *command);
	unsigned needs;
} table[VERB_COUNT] = {
	[VERB_EHLO] = {verb_ehlo, NEEDS_QUIET | IS_JUNK},
	[VERB_HELO] = {verb_helo, NEEDS_QUIET | IS_JUNK},
	[VERB_STARTTLS] = {verb_starttls, NEEDS_QUIET | NEEDS_NO_ARGS},
	[VERB_AUTH] = {verb_auth, NEEDS_QUIET},
	[VERB_MAIL] = {verb_mail, NEEDS_QUIET | NEEDS_TLS | NEEDS_LOGIN | NEEDS_HELLO},
	[VERB_RCPT] = {verb_rcpt, NEEDS_TLS | NEEDS_LOGIN},
	[VERB_DATA] = {verb_data, NEEDS_TLS | NEEDS_LOGIN | NEEDS_NO_ARGS},
	[VERB_BDAT] = {verb_bdat, NEEDS_TLS | NEEDS_LOGIN | HAS_OCTETS},
	[VERB_RSET] = {verb_rset, NEEDS_QUIET | NEEDS_NO_ARGS | IS_JUNK},
	[VERB_NOOP] = {verb_noop, NEEDS_QUIET | IS_JUNK},
	[VERB_VRFY] = {verb_vrfy, NEEDS_QUIET | NEEDS_TLS | NEEDS_LOGIN | IS_JUNK},
	[VERB_HELP] = {verb_help, NEEDS_QUIET | NEEDS_TLS | IS_JUNK},
	[VERB_QUIT] = {verb_quit, NEEDS_QUIET | NEEDS_NO_ARGS},
	[VERB_UNIMPLEMENTED] = {verb_unimplemented, NEEDS_QUIET | NEEDS_TLS},
	[VERB_FOREIGN] = {verb_foreign, NEEDS_QUIET},
	[VERB_UNKNOWN] = {verb_unknown, NEEDS_QUIET},
};

static bool is_owed(const struct session *session)
{
	return session->backend != NULL && backend_owed(session->backend) > 0;
}

enum flow session_refuse(struct session *session, enum reply_id reply)
{
	/* Between chunks it owes replies to pieces of ours, which no client sees. */
	if (is_owed(session) && !bdat_under_way(session)) {
		if (!backend_room(session->backend))
			return FLOW_HOLD;
		backend_queue_local(session->backend, reply);
		return FLOW_GO;
	}
	session_reply(session, reply);
	return session->state == CLIENT_CLOSED ? FLOW_CLOSED : FLOW_GO;
}

/* REPLY_OK: the session has what the command needs. */
static enum reply_id unmet(const struct session *session, const struct command *command)
{
	unsigned needs = table[command->verb].needs;

	if ((needs & NEEDS_TLS) != 0 && !session->tls)
		return REPLY_TLS_REQUIRED;
	if ((needs & NEEDS_LOGIN) != 0 && !session->authenticated)
		return REPLY_AUTH_REQUIRED;
	if ((needs & NEEDS_HELLO) != 0 && session->helo == NULL)
		return REPLY_ORDER_EHLO;
	if ((needs & NEEDS_NO_ARGS) != 0 && command->args_len > 0)
		return REPLY_ARGUMENTS;
	return REPLY_OK;
}

static enum flow dispatch(struct session *session, const char *line, size_t len)
{
	struct command command = command_split(line, len);
	unsigned needs = table[command.verb].needs;

	if ((needs & NEEDS_QUIET) != 0 && session->backend != NULL &&
		backend_owed(session->backend) > 0)
		return FLOW_HOLD;
	counter_add(COUNTER_COMMANDS, 1);
	if ((needs & IS_JUNK) != 0 && ++session->junk > JUNK_MAX)
		session->errors++;
	enum reply_id refusal = unmet(session, &command);
	if (refusal != REPLY_OK)
		return (needs & HAS_OCTETS) != 0 ? bdat_refuse(session, &command, refusal)
						 : session_refuse(session, refusal);
	return table[command.verb].handler(session, &command);
}

/* ---------------------------------------------------------------------- replies */

void session_reply_bytes(struct session *session, const char *bytes, size_t len)
{
	if (session->stream != NULL)
		stream_write(session->stream, bytes, len);
}

/* Errors are what a client does to the protocol; refusals by policy or by the backend are not. */
static bool is_error(unsigned code)
{
	return (code >= 500 && code <= 504) || code == 530 || code == 538 || code == 555;
}

void session_reply(struct session *session, enum reply_id reply)
{
	const char *bytes;
	size_t len = reply_text(reply, &bytes);

	if (is_error(reply_code(reply))) {
		session->errors++;
		counter_add(COUNTER_PROTOCOL_ERRORS, 1);
	}
	session_reply_bytes(session, bytes, len);
}

/* ------------------------------------------------------------------------ lines */

static size_t skip_line(struct session *session, const uint8_t *bytes, size_t len)
{
	int done = 0;
	size_t dropped = line_skip((const char *)bytes, len, &done);

	session->skipped += dropped;
	session->skipping = done == 0;
	if (session->skipped > SKIP_MAX)
		session_close_with(session, REPLY_TOO_MANY_ERRORS, "endless line");
	return dropped;
}

/* Whether the line belongs to an AUTH exchange, its beginning included. */
static bool is_sasl_line(const struct session *session, const uint8_t *bytes, size_t len)
{
	return session->state == CLIENT_SASL ||
	       (len >= 5 && strncasecmp((const char *)bytes, "AUTH ", 5) == 0);
}

/* Octets may follow a BDAT that nobody can read, and they would be read as commands. */
static bool hides_octets(const struct session *session, const char *line, size_t len)
{
	return session->state == CLIENT_COMMAND && len >= 4 && strncasecmp(line, "BDAT", 4) == 0;
}

static enum flow bad_line(struct session *session, const char *line, size_t len, bool sasl)
{
	if (hides_octets(session, line, len)) {
		if (is_owed(session))
			return FLOW_HOLD;
		session_close_with(session, REPLY_LINE_BAD, "malformed BDAT");
		return FLOW_CLOSED;
	}
	if (sasl && session->state == CLIENT_SASL)
		client_set_state(session, CLIENT_COMMAND);
	return session_refuse(session, REPLY_LINE_BAD);
}

static enum flow too_long(struct session *session, const char *line, size_t len, bool sasl)
{
	if (hides_octets(session, line, len)) {
		if (is_owed(session))
			return FLOW_HOLD;
		session_close_with(session, REPLY_LINE_TOO_LONG, "malformed BDAT");
		return FLOW_CLOSED;
	}
	session->skipping = true;
	session->skipped = 0;
	if (session->state == CLIENT_SASL)
		client_set_state(session, CLIENT_COMMAND);
	return session_refuse(session, sasl ? REPLY_AUTH_TOO_LONG : REPLY_LINE_TOO_LONG);
}

/* One line at the start of bytes; *consumed_out is 0 when it is held or not complete. */
static enum flow one_line(
	struct session *session, const uint8_t *bytes, size_t len, size_t *consumed_out)
{
	const char *text = (const char *)bytes;
	bool sasl = is_sasl_line(session, bytes, len);
	/* RFC 4954 4: 12,288 octets of base64, and "AUTH PLAIN " before them. */
	size_t limit = sasl ? LINE_AUTH_MAX + 32 : LINE_COMMAND_MAX;
	size_t line_len, consumed = 0;
	enum flow flow = FLOW_GO;

	*consumed_out = 0;
	session->unread = 0;
	session->in_line = true;
	switch (line_cut(text, len, limit, &line_len, &consumed)) {
	case LINE_MORE:
		flow = FLOW_WAIT;
		break;
	case LINE_TOO_LONG:
		flow = too_long(session, text, len, sasl);
		break;
	case LINE_BAD:
		flow = bad_line(session, text, line_len, sasl);
		break;
	case LINE_DONE:
		session->unread = len - consumed;
		flow = session->state == CLIENT_SASL ? sasl_response(session, text, line_len)
						     : dispatch(session, text, line_len);
		break;
	}
	session->in_line = false;
	if (flow != FLOW_HOLD)
		*consumed_out = consumed;
	return flow;
}

size_t session_unread(const struct session *session)
{
	if (session->in_line)
		return session->unread;
	return session->stream == NULL ? 0 : stream_pending(session->stream);
}

/* A TLS client at the port for STARTTLS: its hello has no line end that would ever come. */
static bool is_client_hello(const struct session *session, const uint8_t *bytes)
{
	return !session->tls && session->state == CLIENT_COMMAND && bytes[0] == 0x16;
}

size_t session_read_lines(struct session *session, const uint8_t *bytes, size_t len)
{
	size_t done = 0, consumed;

	if (is_client_hello(session, bytes)) {
		session_close(session, "TLS without STARTTLS");
		return len;
	}

	while (done < len && (session->state == CLIENT_COMMAND || session->state == CLIENT_SASL)) {
		if (session->skipping) {
			done += skip_line(session, bytes + done, len - done);
			if (session->skipping || session->state == CLIENT_CLOSED)
				return done;
			continue;
		}
		/* Who does not read his replies is not asked for more commands. */
		if (stream_full(session->stream)) {
			session->waits = true;
			return done;
		}
		if (session->turn++ >= COMMANDS_A_TURN) {
			session->waits = true;
			stream_deliver_later(session->stream);
			return done;
		}
		enum flow flow = one_line(session, bytes + done, len - done, &consumed);
		done += consumed;
		if (flow == FLOW_CLOSED)
			return len;
		if (consumed > 0)
			client_arm(session);
		if (session->errors > session->worker->config->limits.errors) {
			session_close_with(session, REPLY_TOO_MANY_ERRORS, "too many errors");
			return len;
		}
		if (flow != FLOW_GO) {
			session->waits = flow == FLOW_HOLD;
			return done;
		}
	}
	session->waits = false;
	return done;
}

/* --------------------------------------------------------------- stream events */

/* The client sent its end: what it asked for is carried out, then the session is over. */
static void close_if_done(struct session *session, size_t waiting)
{
	bool reads = session->state == CLIENT_SASL || session->state == CLIENT_BODY ||
		     session->state == CLIENT_DISCARD || session->state == CLIENT_COMMAND ||
		     session->state == CLIENT_CHUNK || session->state == CLIENT_SKIP;
	bool owed = session->backend != NULL && backend_owed(session->backend) > 0 &&
		    session->state == CLIENT_COMMAND;

	/* What came last may be held up by the question whose it is. */
	bool asks = author_waiting(session);

	if (session->client_ended && reads && waiting == 0 && !owed && !asks)
		session_close(session, "client closed");
}

static size_t consume(struct session *session, const uint8_t *bytes, size_t len)
{
	switch (session->state) {
	case CLIENT_COMMAND:
	case CLIENT_SASL:
		return session_read_lines(session, bytes, len);
	case CLIENT_BODY:
	case CLIENT_DISCARD:
		return data_read_body(session, bytes, len);
	case CLIENT_CHUNK:
	case CLIENT_SKIP:
		return bdat_read(session, bytes, len);
	case CLIENT_SHAKING:
	case CLIENT_LOGIN:
	case CLIENT_MAIL:
	case CLIENT_DATA:
	case CLIENT_END:
		return 0;
	case CLIENT_CLOSED:
	case CLIENT_STATES:
		return len;
	}
	return len;
}

static size_t on_bytes(const uint8_t *bytes, size_t len, void *arg)
{
	struct session *session = arg;
	size_t consumed = 0, taken = 0;

	/* Commands, the octets of their chunks, and commands again: until nothing more is taken. */
	session->turn = 0;
	do {
		taken = consume(session, bytes + consumed, len - consumed);
		consumed += taken;
	} while (taken > 0 && consumed < len && session->state != CLIENT_CLOSED);

	/* Half a line at the end of all input will never be whole. */
	bool lines = session->state == CLIENT_COMMAND || session->state == CLIENT_SASL;
	bool stuck = lines && consumed < len && !session->waits;
	close_if_done(session, stuck ? 0 : len - consumed);
	return consumed;
}

static void on_secure(void *arg)
{
	struct session *session = arg;
	bool implicit = session->listen->tls == TLS_MODE_IMPLICIT;

	session->tls = true;
	client_set_state(session, CLIENT_COMMAND);
	if (implicit)
		session_greet(session);
}

static void on_drained(void *arg)
{
	struct session *session = arg;

	if (session->backend != NULL)
		backend_pause(session->backend, false);
	session_continue(session);
}

static void on_end(enum stream_end end, void *arg)
{
	struct session *session = arg;
	bool sent = session->transaction != NULL && session->transaction->end >= END_SENT;

	session->client_ended = true;
	if (end == STREAM_ERROR && !sent) {
		session_close(session, "connection lost");
		return;
	}
	if (sent) {
		/* The end of data is at the backend: its verdict must be known. */
		if (end == STREAM_ERROR)
			stream_destroy(&session->stream);
		return;
	}
	if (session->state == CLIENT_SHAKING || session->state == CLIENT_LOGIN)
		session_close(session, "client closed");
	else if (stream_pending(session->stream) > 0) /* on_bytes() sees what of it can be done */
		stream_deliver_later(session->stream);
	else
		close_if_done(session, 0);
}

static const struct stream_events stream_events = {
	.on_bytes = on_bytes,
	.on_secure = on_secure,
	.on_drained = on_drained,
	.on_end = on_end,
};

void session_continue(struct session *session)
{
	if (session->stream == NULL || session->state == CLIENT_CLOSED)
		return;
	stream_resume(session->stream);
	close_if_done(session, stream_pending(session->stream));
}

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

void session_await(struct session *session, enum await await)
{
	unsigned ms = POLICY_DEADLINE_MS;

	session->await = await;
	if (await == AWAIT_LOGIN)
		ms = AUTH_DEADLINE_MS;
	else if (await == AWAIT_OUTCOME)
		ms = OUTCOME_DEADLINE_MS;
	session->deadline_ms = clock_monotonic_ms() + ms;
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

static void on_timer(evutil_socket_t fd, short what, void *arg)
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

/* ------------------------------------------------------------------ open, close */

static bool start_tls(struct session *session)
{
	size_t index = (size_t)(session->listen - session->worker->config->listeners);
	SSL *ssl = tls_accept(session->worker->tls[index]);

	if (ssl == NULL)
		return false;
	stream_start_tls(session->stream, ssl);
	return true;
}

struct session *session_open(struct worker *worker, const struct config_listen *listen, int fd,
	const struct address *client)
{
	struct session *session = calloc(1, sizeof *session);

	if (session == NULL) {
		evutil_closesocket(fd);
		return NULL;
	}
	session->id = id_new();
	session->worker = worker;
	session->listen = listen;
	session->client = *client;
	session->opened_ms = clock_monotonic_ms();
	session->stream = stream_open(worker->base, fd, &stream_events, session);
	if (session->stream == NULL) {
		free(session);
		return NULL;
	}
	evtimer_assign(&session->timer, worker->base, on_timer, session);
	stream_set_secret(session->stream, true);
	if (!idmap_put(worker->sessions, session->id, session) ||
		(listen->tls == TLS_MODE_IMPLICIT && !start_tls(session))) {
		idmap_take(worker->sessions, session->id);
		stream_destroy(&session->stream);
		free(session);
		return NULL;
	}
	counter_add(COUNTER_SESSIONS, 1);
	if (listen->tls == TLS_MODE_STARTTLS) {
		client_set_state(session, CLIENT_COMMAND);
		session_greet(session);
	} else {
		client_arm(session);
	}
	return session;
}

static void write_line(const struct session *session, const char *reason)
{
	char text[ADDRESS_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_INFO, "session");
	log_id(&line, "sid", session->id);
	log_text(&line, "rip", address_format_host(&session->client, text));
	log_uint(&line, "rport", address_port(&session->client));
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
		 session->transaction == NULL &&
		 (session->backend == NULL || backend_owed(session->backend) == 0))
		session_close_with(session, REPLY_SHUTTING_DOWN, "draining");
}
