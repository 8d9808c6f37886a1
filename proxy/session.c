/* SPDX-License-Identifier: ISC */
/*
 * Sessions: the command table, and what a client's stream tells; see session.h.  Which state reads
 * what is in consume(), which moves are allowed in state.c.  What a verb does is in its family's
 * file: verb_hello.c, verb_auth.c, verb_mail.c, verb_data.c, verb_bdat.c, verb_misc.c; lines are
 * cut in session_lines.c, and a session ends in session_end.c.
 */
#include "proxy/session_parts.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/id.h"
#include "proxy/author.h"
#include "proxy/backend.h"
#include "proxy/relay.h"
#include "proxy/stream.h"
#include "proxy/tls.h"
#include "proxy/transaction.h"

#include <stdlib.h>

enum { JUNK_MAX = 100 }; /* commands without a MAIL in between; each more counts as an error */

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

bool session_is_owed(const struct session *session)
{
	return session->backend != NULL && backend_owed(session->backend) > 0;
}

enum flow session_refuse(struct session *session, enum reply_id reply)
{
	/* Between chunks it owes replies to pieces of ours, which no client sees. */
	if (session_is_owed(session) && !bdat_under_way(session)) {
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

enum flow session_dispatch(struct session *session, const char *line, size_t len)
{
	struct command command = command_split(line, len);
	unsigned needs = table[command.verb].needs;

	if ((needs & NEEDS_QUIET) != 0 && session_is_owed(session))
		return FLOW_HOLD;
	counter_add(COUNTER_COMMANDS, 1);
	if (session->after_data && command.verb == VERB_UNKNOWN) {
		session_close_with(session, REPLY_SYNCHRONISATION, "body without 354");
		return FLOW_CLOSED;
	}
	session->after_data = command.verb == VERB_DATA;
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

/* --------------------------------------------------------------- stream events */

/* The client sent its end: what it asked for is carried out, then the session is over. */
static void close_if_done(struct session *session, size_t waiting)
{
	bool reads = session->state == CLIENT_SASL || session->state == CLIENT_BODY ||
		     session->state == CLIENT_DISCARD || session->state == CLIENT_COMMAND ||
		     session->state == CLIENT_CHUNK || session->state == CLIENT_SKIP;
	bool owed = session_is_owed(session) && session->state == CLIENT_COMMAND;

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

/* -------------------------------------------------------------------- opening */

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
	const struct session_origin *origin)
{
	struct session *session = calloc(1, sizeof *session);

	if (session == NULL) {
		evutil_closesocket(fd);
		return NULL;
	}
	session->id = id_new();
	session->worker = worker;
	session->listen = listen;
	session->client = origin->client;
	session->via = origin->via;
	session->untold = origin->untold;
	session->opened_ms = clock_monotonic_ms();
	session->stream = stream_open(worker->base, fd, &stream_events, session);
	if (session->stream == NULL) {
		free(session);
		return NULL;
	}
	evtimer_assign(&session->timer, worker->base, session_on_timer, session);
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
