/* SPDX-License-Identifier: ISC */
/* The header stage within a transaction; see author.h. */
#include "proxy/author.h"

#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"
#include "proxy/auth_client.h"
#include "proxy/header.h"
#include "proxy/transaction.h"

#include <stdlib.h>
#include <string.h>

struct author {
	struct header header;
	struct evbuffer *in;
	char transaction[ID_TEXT_MAX];
	bool ended; /* the data is */
};

static enum header_mode mode_of(const struct session *session)
{
	enum ipc_from_policy policy = session->from_policy;

	if (policy == IPC_FROM_LISTENER)
		policy = session->listen->from;
	switch (policy) {
	case IPC_FROM_OFF:
		return HEADER_OFF;
	case IPC_FROM_OBSERVE:
		return HEADER_OBSERVE;
	case IPC_FROM_REWRITE:
		return HEADER_REWRITE;
	case IPC_FROM_LISTENER: /* a listener has one of its own; if not, the strictest */
	case IPC_FROM_REJECT:
		return HEADER_REJECT;
	}
	panic("no such policy");
}

bool author_begin(struct session *session, bool stuffed)
{
	const struct config *config = session->worker->config;
	struct transaction *t = session->transaction;
	struct author *author = calloc(1, sizeof *author);

	if (author == NULL)
		return false;
	author->in = evbuffer_new();
	if (author->in == NULL) {
		free(author);
		return false;
	}
	id_format(t->id, author->transaction);
	struct header_policy policy = {
		.mode = mode_of(session),
		.stuffed = stuffed,
		.utf8 = t->mail.smtputf8,
		.sender = t->mail.sender.text,
		.sender_len = t->mail.sender.len,
		.strip = (const char *const *)config->header.strip,
		.strip_count = config->header.strip_count,
		.drop_received = config->header.drop_received,
		.add_date = config->header.add_date,
		.add_message_id = config->header.add_message_id,
		.token = config->header.token && session->token[0] != '\0' ? session->token : NULL,
		.hostname = config->hostname,
		.transaction = author->transaction,
		.wall_ms = clock_wall_ms(),
	};
	header_init(&author->header, &policy);
	t->author = author;
	return true;
}

void author_free(struct author **pointer)
{
	struct author *author = *pointer;

	if (author == NULL)
		return;
	*pointer = NULL;
	header_free(&author->header);
	evbuffer_free(author->in);
	free(author);
}

struct evbuffer *author_in(const struct session *session)
{
	const struct author *author = session->transaction->author;

	return author == NULL ? NULL : author->in;
}

bool author_waiting(const struct session *session)
{
	return session->await == AWAIT_OWNER;
}

/* One line for whom it concerns: what was found, refused or only observed. */
static void log_found(const struct session *session, const char *verb)
{
	const struct transaction *t = session->transaction;
	const struct header_found *found = header_found(&t->author->header);
	struct log_line line;

	if (found->reason == HEADER_FINE)
		return;
	log_begin(&line, LOG_INFO, verb);
	log_id(&line, "sid", session->id);
	log_id(&line, "tid", t->id);
	log_uint(&line, "account", session->account);
	log_text(&line, "login", session->login != NULL ? session->login : "");
	log_bytes(&line, "from", t->mail.sender.text, t->mail.sender.len);
	if (found->address.len > 0)
		log_bytes(&line, "hfrom", found->address.text, found->address.len);
	log_text(&line, "reason", header_reason_word(found->reason));
	if (found->reason == HEADER_FROM_UNREADABLE || found->reason == HEADER_SENDER_UNREADABLE)
		log_text(&line, "why", from_status_word(found->why));
	log_end(&line);
}

static enum author_verdict refused(
	struct session *session, enum reply_id *reply_out, const char **reason_out)
{
	const struct header_found *found = header_found(&session->transaction->author->header);

	log_found(session, "header-refused");
	*reason_out = header_reason_word(found->reason);
	switch (header_fault(found->reason)) {
	case HEADER_FAULT_NONE:
		panic("a header was refused for nothing");
	case HEADER_FAULT_POLICY:
		*reply_out = REPLY_FROM_NOT_OWNED;
		break;
	case HEADER_FAULT_CONTENT:
		*reply_out = REPLY_FROM_UNREADABLE;
		break;
	case HEADER_FAULT_SIZE:
		*reply_out = REPLY_HEADER_TOO_LARGE;
		break;
	case HEADER_FAULT_OURS:
		*reply_out = REPLY_STORAGE;
		break;
	}
	return AUTHOR_REFUSED;
}

static enum author_verdict unavailable(enum reply_id *reply_out, const char **reason_out)
{
	*reply_out = REPLY_POLICY_UNAVAILABLE;
	*reason_out = "policy unavailable";
	return AUTHOR_REFUSED;
}

/* Follows what the stage says until it waits, is over or refuses. */
static enum author_verdict follow(struct session *session, enum header_status status,
	struct evbuffer *out, enum reply_id *reply_out, const char **reason_out)
{
	struct author *author = session->transaction->author;
	const char *address;
	size_t len;

	/* Everything came, and the empty line did not. */
	if (status == HEADER_MORE && author->ended)
		status = header_end(&author->header, out);
	switch (status) {
	case HEADER_MORE:
		return AUTHOR_PASS;
	case HEADER_ASK:
		address = header_question(&author->header, &len);
		if (!auth_client_owner(session->worker->auth, session, address, len))
			return unavailable(reply_out, reason_out);
		return AUTHOR_WAIT;
	case HEADER_BODY:
		log_found(session, "header-observed");
		author_free(&session->transaction->author);
		return AUTHOR_PASS;
	case HEADER_REFUSED:
		return refused(session, reply_out, reason_out);
	}
	panic("no such status");
}

enum author_verdict author_pass(struct session *session, struct evbuffer *out, bool ended,
	enum reply_id *reply_out, const char **reason_out)
{
	struct author *author = session->transaction->author;

	if (author == NULL)
		return AUTHOR_PASS;
	author->ended = ended;
	return follow(
		session, header_move(&author->header, author->in, out), out, reply_out, reason_out);
}

enum author_verdict author_answered(struct session *session, enum ipc_policy policy,
	struct evbuffer *out, enum reply_id *reply_out, const char **reason_out)
{
	struct author *author = session->transaction->author;

	if (policy != IPC_POLICY_OK && policy != IPC_POLICY_SENDER)
		return unavailable(reply_out, reason_out);
	enum header_status status = header_answer(&author->header, policy == IPC_POLICY_OK, out);
	if (status == HEADER_MORE)
		status = header_move(&author->header, author->in, out);
	return follow(session, status, out, reply_out, reason_out);
}
