/* SPDX-License-Identifier: ISC */
/*
 * The greeting, EHLO, HELO and STARTTLS.  What EHLO offers: our own PIPELINING, CHUNKING, LIMITS,
 * ENHANCEDSTATUSCODES, STARTTLS and AUTH, and of the rest only what every server of the default
 * backend has by the last probe.  A keyword that is not known here is never told.
 */
#include "common/log.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"
#include "proxy/tls.h"
#include "proxy/transaction.h"
#include "proxy/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EHLO_MAX = 1024 };

void session_greet(struct session *session)
{
	char line[REPLY_MAX];

	/* RFC 5321 3.1: the client waits for the greeting; who does not is no mail client. */
	if (stream_has_input(session->stream)) {
		session_close_with(session, REPLY_SYNCHRONISATION, "early talker");
		return;
	}
	/* RFC 5321 4.3.1: the first word is our name. */
	int len = snprintf(line, sizeof line, "220 %.255s ESMTP Postern\r\n",
		session->worker->config->hostname);
	session_reply_bytes(session, line, (size_t)len);
}

uint64_t session_message_limit(const struct session *session)
{
	uint64_t limit = session->worker->config->limits.message_bytes;

	if (session->message_bytes != 0 && session->message_bytes < limit)
		limit = session->message_bytes;
	return limit;
}

unsigned session_recipient_limit(const struct session *session)
{
	unsigned limit = session->worker->config->limits.recipients;

	return session->recipients != 0 && session->recipients < limit ? session->recipients
								       : limit;
}

/* Starts the dialogue anew (RFC 5321 4.1.4); the log-in stays. */
static bool begin(struct session *session, const struct command *command, bool esmtp)
{
	if (!command_name_valid(command->args, command->args_len))
		return false;
	char *helo = strndup(command->args, command->args_len);
	if (helo == NULL)
		return false;
	free(session->helo);
	session->helo = helo;
	session->esmtp = esmtp;
	session->offered = 0;
	session->mail_max = 0;
	relay_reset(session);
	return true;
}

struct writer {
	char *out;
	size_t len;
};

static void add_line(struct writer *writer, const char *text)
{
	int n = snprintf(writer->out + writer->len, EHLO_MAX - writer->len, "250-%s\r\n", text);

	require(n > 0 && writer->len + (size_t)n < EHLO_MAX);
	writer->len += (size_t)n;
}

/* RFC 9422 3: the smaller of ours, the account's and the servers'. */
static void add_limits(
	struct session *session, const struct capability_set *offer, struct writer *writer)
{
	char line[100], mail_max[24] = "", domain_max[32] = "";
	unsigned rcpt_max = session_recipient_limit(session);

	if (offer->rcpt_max != 0 && offer->rcpt_max < rcpt_max)
		rcpt_max = offer->rcpt_max;
	if (offer->mail_max != 0)
		snprintf(mail_max, sizeof mail_max, " MAILMAX=%u", offer->mail_max);
	if (offer->rcpt_domain_max != 0)
		snprintf(
			domain_max, sizeof domain_max, " RCPTDOMAINMAX=%u", offer->rcpt_domain_max);
	snprintf(line, sizeof line, "LIMITS RCPTMAX=%u%s%s", rcpt_max, mail_max, domain_max);
	add_line(writer, line);
	session->mail_max = offer->mail_max;
}

static void add_offer(struct session *session, struct writer *writer)
{
	static const struct {
		unsigned bit;
		const char *keyword;
	} passed_on[] = {
		{CAPABILITY_8BITMIME, "8BITMIME"},
		{CAPABILITY_DSN, "DSN"},
		{CAPABILITY_SMTPUTF8, "SMTPUTF8"},
		{CAPABILITY_BINARYMIME, "BINARYMIME"},
	};
	struct capability_set offer = upstream_offer(session->worker->upstream, 0);
	char line[40];

	/* RFC 6531 3.1: SMTPUTF8 needs 8BITMIME. */
	if ((offer.bits & CAPABILITY_8BITMIME) == 0)
		offer.bits &= ~(unsigned)CAPABILITY_SMTPUTF8;
	/* RFC 3030 3: BINARYMIME needs CHUNKING, and to the very end: nothing here converts it. */
	if ((offer.bits & CAPABILITY_CHUNKING) == 0)
		offer.bits &= ~(unsigned)CAPABILITY_BINARYMIME;
	if ((offer.bits & CAPABILITY_SIZE) != 0) {
		uint64_t limit = session_message_limit(session);
		if (offer.size != 0 && offer.size < limit)
			limit = offer.size;
		snprintf(line, sizeof line, "SIZE %llu", (unsigned long long)limit);
		add_line(writer, line);
	}
	for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
		if ((offer.bits & passed_on[i].bit) != 0)
			add_line(writer, passed_on[i].keyword);
	}
	add_line(writer, "CHUNKING");
	add_limits(session, &offer, writer);
	session->offered =
		offer.bits & (CAPABILITY_SIZE | CAPABILITY_8BITMIME | CAPABILITY_SMTPUTF8 |
				     CAPABILITY_DSN | CAPABILITY_BINARYMIME);
}

enum flow verb_ehlo(struct session *session, const struct command *command)
{
	char out[EHLO_MAX];
	struct writer writer = {.out = out};

	if (!begin(session, command, true))
		return session_refuse(session, REPLY_ARGUMENTS);
	add_line(&writer, session->worker->config->hostname);
	add_line(&writer, "PIPELINING");
	add_offer(session, &writer);
	if (!session->tls)
		add_line(&writer, "STARTTLS");
	else if (!session->authenticated)
		add_line(&writer, "AUTH PLAIN LOGIN");
	add_line(&writer, "ENHANCEDSTATUSCODES");
	/* The last line has a space in place of its dash. */
	char *last = out + writer.len - strlen("250-ENHANCEDSTATUSCODES\r\n");
	last[3] = ' ';
	session_reply_bytes(session, out, writer.len);
	return FLOW_GO;
}

enum flow verb_helo(struct session *session, const struct command *command)
{
	char line[REPLY_MAX];

	if (!begin(session, command, false))
		return session_refuse(session, REPLY_ARGUMENTS);
	int len = snprintf(line, sizeof line, "250 %.255s\r\n", session->worker->config->hostname);
	session_reply_bytes(session, line, (size_t)len);
	return FLOW_GO;
}

enum flow verb_starttls(struct session *session, const struct command *command)
{
	size_t index = (size_t)(session->listen - session->worker->config->listeners);

	(void)command;
	if (session->tls)
		return session_refuse(session, REPLY_TLS_ACTIVE);
	/* What follows the line came in the clear: it must not be read as if TLS had protected it
	 * (CVE-2011-0411), a ClientHello that did not wait for the 220 included. */
	if (session_unread(session) > 0) {
		session_close_with(session, REPLY_SYNCHRONISATION, "injection before TLS");
		return FLOW_CLOSED;
	}
	SSL *ssl = tls_accept(session->worker->tls[index]);
	if (ssl == NULL)
		return session_refuse(session, REPLY_TLS_UNAVAILABLE);
	session_reply(session, REPLY_TLS_READY);
	/* RFC 3207 4.2: whatever was said before is forgotten. */
	free(session->helo);
	session->helo = NULL;
	session->esmtp = false;
	session->offered = 0;
	session->errors = 0;
	client_set_state(session, CLIENT_SHAKING);
	stream_start_tls(session->stream, ssl);
	return FLOW_WAIT;
}
