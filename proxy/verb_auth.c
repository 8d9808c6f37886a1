/* SPDX-License-Identifier: ISC */
/*
 * AUTH PLAIN and LOGIN (RFC 4954, 4616): from the client's line to a frame for auth, and from its
 * verdict to the reply.  Decoding happens here, so that one client's bad base64 is its own affair;
 * whether a secret is right is never known here.
 *
 * A secret stands in one slot of the slab from its decoding until its frame has left this function.
 * The frame itself is a copy in libevent's output, which is wiped when it is freed.
 */
#include "common/counters.h"
#include "common/log.h"
#include "common/secret.h"
#include "proxy/acceptor.h"
#include "proxy/auth_client.h"
#include "proxy/line.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/stream.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static const char prompt_empty[] = "334 \r\n";
static const char prompt_user[] = "334 VXNlcm5hbWU6\r\n";
static const char prompt_password[] = "334 UGFzc3dvcmQ6\r\n";

static void end_exchange(struct session *session)
{
	if (session->sasl != NULL)
		sodium_memzero(session->sasl, sizeof *session->sasl);
	free(session->sasl);
	session->sasl = NULL;
}

/* The exchange is over without a question to auth. */
static enum flow fail(struct session *session, enum reply_id reply)
{
	end_exchange(session);
	if (session->state == CLIENT_SASL)
		client_set_state(session, CLIENT_COMMAND);
	session_reply(session, reply);
	return FLOW_GO;
}

static enum flow prompt(struct session *session, const char *text)
{
	if (session->state != CLIENT_SASL)
		client_set_state(session, CLIENT_SASL);
	session_reply_bytes(session, text, strlen(text));
	return FLOW_GO;
}

/* Asks auth.  The secret is wiped by the caller. */
static enum flow ask(struct session *session, const uint8_t *login, size_t login_len,
	const uint8_t *secret, size_t secret_len, bool authzid_differs)
{
	struct ipc_auth_request *request;
	struct secret *slot = secret_take();
	bool sent = false;

	_Static_assert(
		sizeof(struct ipc_auth_request) <= sizeof slot->bytes, "a frame fits a slot");
	if (slot != NULL) {
		request = (struct ipc_auth_request *)(void *)slot->bytes;
		memset(request, 0, sizeof *request);
		request->client = address_prefix(&session->client, 32, 128);
		request->mechanism = session->sasl->mechanism == SASL_PLAIN ? IPC_MECHANISM_PLAIN
									    : IPC_MECHANISM_LOGIN;
		request->authzid_differs = authzid_differs;
		request->login_len = (uint16_t)login_len;
		request->secret_len = (uint16_t)secret_len;
		memcpy(request->login, login, login_len);
		memcpy(request->secret, secret, secret_len);
		request->helo_len = (uint8_t)strnlen(session->helo, IPC_HELO_MAX);
		memcpy(request->helo, session->helo, request->helo_len);
		slot->len = sizeof *request;
		sent = auth_client_login(session->worker->auth, session, request);
	}
	secret_release(&slot);
	if (!sent) {
		counter_add(COUNTER_AUTH_UNAVAILABLE, 1);
		return fail(session, REPLY_AUTH_UNAVAILABLE);
	}
	end_exchange(session);
	client_set_state(session, CLIENT_LOGIN);
	session_await(session, AWAIT_LOGIN);
	return FLOW_WAIT;
}

static enum flow plain(struct session *session, const uint8_t *message, size_t len)
{
	struct sasl_plain plain;

	if (!sasl_plain_parse(message, len, &plain))
		return fail(session, REPLY_AUTH_BASE64);
	if (plain.authcid_len > IPC_LOGIN_MAX || plain.password_len > IPC_SECRET_MAX)
		return fail(session, REPLY_AUTH_TOO_LONG);
	/* RFC 4616: no authorization identity, or the same one; any other needs a right that
	 * nobody has.  auth answers, so that it takes as long as a wrong password. */
	bool differs = plain.authzid_len > 0 &&
		       (plain.authzid_len != plain.authcid_len ||
			       memcmp(plain.authzid, plain.authcid, plain.authcid_len) != 0);
	return ask(session, plain.authcid, plain.authcid_len, plain.password, plain.password_len,
		differs);
}

static enum flow login(struct session *session, const uint8_t *response, size_t len)
{
	struct sasl_exchange *sasl = session->sasl;

	if (len == 0)
		return fail(session, REPLY_AUTH_BASE64);
	if (!sasl->have_login) {
		if (len > IPC_LOGIN_MAX)
			return fail(session, REPLY_AUTH_TOO_LONG);
		memcpy(sasl->login, response, len);
		sasl->login_len = (uint16_t)len;
		sasl->have_login = true;
		return prompt(session, prompt_password);
	}
	if (len > IPC_SECRET_MAX)
		return fail(session, REPLY_AUTH_TOO_LONG);
	return ask(session, sasl->login, sasl->login_len, response, len, false);
}

/* One response of the client, decoded in a slot of the slab. */
static enum flow response(struct session *session, const char *text, size_t len)
{
	struct secret *slot;
	enum flow flow;

	if (len > LINE_AUTH_MAX)
		return fail(session, REPLY_AUTH_TOO_LONG);
	slot = secret_take();
	if (slot == NULL)
		return fail(session, REPLY_AUTH_UNAVAILABLE);
	/* What does not fit a slot is longer than any two identities and a password. */
	if (len / 4 * 3 > sizeof slot->bytes)
		flow = fail(session, REPLY_AUTH_TOO_LONG);
	else if (!sasl_base64_decode(text, len, slot->bytes, sizeof slot->bytes, &slot->len))
		flow = fail(session, REPLY_AUTH_BASE64);
	else if (session->sasl->mechanism == SASL_PLAIN)
		flow = plain(session, slot->bytes, slot->len);
	else
		flow = login(session, slot->bytes, slot->len);
	secret_release(&slot);
	return flow;
}

enum flow sasl_response(struct session *session, const char *line, size_t len)
{
	if (len == 1 && line[0] == '*')
		return fail(session, REPLY_AUTH_CANCELLED);
	return response(session, line, len);
}

/* Whether AUTH may be given now; replies otherwise. */
static bool allowed(struct session *session, enum reply_id *reply_out)
{
	if (!session->tls)
		*reply_out = REPLY_AUTH_CLEARTEXT;
	else if (session->authenticated)
		*reply_out = REPLY_AUTH_AGAIN;
	else if (session->transaction != NULL)
		*reply_out = REPLY_ORDER_TRANSACTION;
	else if (session->helo == NULL)
		*reply_out = REPLY_ORDER_EHLO;
	else
		return true;
	return false;
}

enum flow verb_auth(struct session *session, const struct command *command)
{
	enum sasl_mechanism mechanism;
	const char *initial;
	size_t initial_len;
	enum reply_id reply;

	if (!allowed(session, &reply))
		return session_refuse(session, reply);
	if (session->login_failures >= session->worker->config->limits.login_failures) {
		session_close_with(session, REPLY_TOO_MANY_ERRORS, "too many failed log-ins");
		return FLOW_CLOSED;
	}
	if (!sasl_auth_arguments(
		    command->args, command->args_len, &mechanism, &initial, &initial_len))
		return session_refuse(session, REPLY_ARGUMENTS);
	if (mechanism == SASL_NONE)
		return session_refuse(session, REPLY_AUTH_MECHANISM);
	end_exchange(session);
	session->sasl = calloc(1, sizeof *session->sasl);
	if (session->sasl == NULL)
		return session_refuse(session, REPLY_AUTH_UNAVAILABLE);
	session->sasl->mechanism = mechanism;
	if (initial != NULL)
		return response(session, initial, initial_len);
	return prompt(session, mechanism == SASL_PLAIN ? prompt_empty : prompt_user);
}

static bool accept_login(struct session *session, const struct ipc_auth_verdict *verdict)
{
	session->login = strndup((const char *)verdict->login, verdict->login_len);
	if (session->login == NULL)
		return false;
	session->authenticated = true;
	session->account = verdict->account;
	session->credential = verdict->credential;
	session->version = verdict->version;
	session->password_version = verdict->password_version;
	session->message_bytes = verdict->message_bytes;
	session->recipients = verdict->recipients;
	session->from_policy = (enum ipc_from_policy)verdict->from_policy;
	memcpy(session->token, verdict->token, verdict->token_len);
	session->token[verdict->token_len] = '\0';
	stream_set_secret(session->stream, false);
	counter_add(COUNTER_SESSIONS_AUTHENTICATED, 1);
	acceptor_session_welcome(session->worker->acceptor, session);
	return true;
}

void login_answer(struct session *session, const struct ipc_auth_verdict *verdict)
{
	enum reply_id reply = REPLY_AUTH_UNAVAILABLE;

	client_set_state(session, CLIENT_COMMAND);
	switch ((enum ipc_auth_result)verdict->result) {
	case IPC_AUTH_OK:
		if (accept_login(session, verdict))
			reply = REPLY_AUTH_OK;
		break;
	case IPC_AUTH_REFUSED:
		session->login_failures++;
		reply = REPLY_AUTH_FAILED;
		break;
	case IPC_AUTH_HELD:
		session->login_failures++;
		reply = REPLY_AUTH_HELD;
		break;
	case IPC_AUTH_BLOCKED:
		session_close_with(session, REPLY_BLOCKED, "blocked network");
		return;
	case IPC_AUTH_SESSIONS:
		session_close_with(session, REPLY_TOO_MANY_SESSIONS, "too many sessions");
		return;
	case IPC_AUTH_UNAVAILABLE:
		break;
	}
	session_reply(session, reply);
	session_continue(session);
}
