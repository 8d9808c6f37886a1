/* SPDX-License-Identifier: ISC */
/*
 * The lines of a client: cut, bounded in length, in number a turn and in errors, and handed to the
 * table (session.c) or to an AUTH exchange (verb_auth.c); see session.h.  What a line says is not
 * looked at here, but for the octets that it may hide.
 */
#include "proxy/session_parts.h"

#include "proxy/line.h"
#include "proxy/state.h"
#include "proxy/stream.h"

#include <strings.h>

enum {
	COMMANDS_A_TURN = 16,
	SKIP_MAX =
		1024 * 1024, /* octets of one line that is too long, before the session is closed */
};

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

/* Octets may follow that would be read as commands: those of a BDAT that nobody can read, or a body
 * that began with this line behind a DATA that was refused. */
static bool hides_octets(const struct session *session, const char *line, size_t len)
{
	bool bdat = len >= 4 && strncasecmp(line, "BDAT", 4) == 0;

	return session->state == CLIENT_COMMAND && (bdat || session->after_data);
}

static enum flow close_behind(struct session *session, enum reply_id reply)
{
	bool body = session->after_data;

	if (session_is_owed(session))
		return FLOW_HOLD;
	session_close_with(session, body ? REPLY_SYNCHRONISATION : reply,
		body ? "body without 354" : "malformed BDAT");
	return FLOW_CLOSED;
}

static enum flow bad_line(struct session *session, const char *line, size_t len, bool sasl)
{
	if (hides_octets(session, line, len))
		return close_behind(session, REPLY_LINE_BAD);
	if (sasl && session->state == CLIENT_SASL)
		client_set_state(session, CLIENT_COMMAND);
	return session_refuse(session, REPLY_LINE_BAD);
}

static enum flow too_long(struct session *session, const char *line, size_t len, bool sasl)
{
	if (hides_octets(session, line, len))
		return close_behind(session, REPLY_LINE_TOO_LONG);
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
						     : session_dispatch(session, text, line_len);
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
