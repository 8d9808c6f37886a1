/* SPDX-License-Identifier: ISC */
/* The proxy's end of its channel to auth; see auth_client.h. */
#include "proxy/auth_client.h"

#include "common/channel.h"
#include "common/counters.h"
#include "common/log.h"
#include "proxy/acceptor.h"
#include "proxy/backend.h"
#include "proxy/session.h"
#include "proxy/transaction.h"

#include <stdlib.h>
#include <string.h>

struct auth_client {
	struct worker *worker;
	const struct auth_answers *answers;
	struct channel *channel;
	struct idmap *transactions; /* id -> struct session */
	struct idmap *outcomes;     /* id -> struct ipc_outcome, until acknowledged */
	size_t requests, logins;    /* outstanding */
};

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg);
static void on_close(struct channel *channel, const char *reason, void *arg);

static const struct channel_events channel_events = {.on_frame = on_frame, .on_close = on_close};

struct auth_client *auth_client_new(struct worker *worker, const struct auth_answers *answers)
{
	struct auth_client *client = calloc(1, sizeof *client);

	if (client == NULL)
		return NULL;
	client->worker = worker;
	client->answers = answers;
	client->transactions = idmap_new();
	client->outcomes = idmap_new();
	if (client->transactions == NULL || client->outcomes == NULL)
		auth_client_free(&client);
	return client;
}

static void free_outcome(uint64_t id, void *value, void *arg)
{
	idmap_take(arg, id);
	free(value);
}

void auth_client_free(struct auth_client **pointer)
{
	struct auth_client *client = *pointer;

	if (client == NULL)
		return;
	*pointer = NULL;
	channel_close(&client->channel);
	idmap_destroy(&client->transactions);
	if (client->outcomes != NULL)
		idmap_each(client->outcomes, free_outcome, client->outcomes);
	idmap_destroy(&client->outcomes);
	free(client);
}

bool auth_client_attached(const struct auth_client *client)
{
	return client->channel != NULL;
}

size_t auth_client_unsettled(const struct auth_client *client)
{
	return idmap_count(client->outcomes);
}

bool auth_client_add(struct auth_client *client, uint64_t transaction, struct session *session)
{
	return idmap_put(client->transactions, transaction, session);
}

void auth_client_remove(struct auth_client *client, uint64_t transaction)
{
	idmap_take(client->transactions, transaction);
}

/* ------------------------------------------------------------------- requests */

static bool has_room(const struct auth_client *client, bool login)
{
	return client->channel != NULL && client->requests < AUTH_CLIENT_REQUESTS &&
	       (!login || client->logins < AUTH_CLIENT_LOGINS);
}

static bool ask(struct auth_client *client, enum ipc_type type, uint64_t id, const void *payload,
	bool login)
{
	if (!has_room(client, login))
		return false;
	if (!channel_send(client->channel, type, id, payload, ipc_size(type)))
		return false;
	client->requests++;
	client->logins += login;
	return true;
}

/* A request is not outstanding any more, answered or given up. */
static void settle_request(struct auth_client *client, struct session *session)
{
	if (session->await == AWAIT_NONE || session->await == AWAIT_OUTCOME)
		return;
	client->requests--;
	client->logins -= session->await == AWAIT_LOGIN;
	session->await = AWAIT_NONE;
}

bool auth_client_login(
	struct auth_client *client, struct session *session, const struct ipc_auth_request *request)
{
	if (!ask(client, IPC_AUTH_REQUEST, session->id, request, true))
		return false;
	session_await(session, AWAIT_LOGIN);
	return true;
}

static struct ipc_session announcement(const struct session *session)
{
	return (struct ipc_session){
		.client = address_prefix(&session->client, 32, 128),
		.account = session->account,
		.credential = session->credential,
		.version = session->version,
		.password_version = session->password_version,
		.message_bytes = session->message_bytes,
		.recipients = session->recipients,
		.from_policy = (uint8_t)session->from_policy,
	};
}

void auth_client_forget(struct auth_client *client, struct session *session)
{
	struct ipc_session payload = announcement(session);

	if (session->await == AWAIT_LOGIN && client->channel != NULL)
		channel_send(
			client->channel, IPC_AUTH_CANCEL, session->id, &payload, sizeof payload);
	settle_request(client, session);
	session->await = AWAIT_NONE;
}

void auth_client_session_end(struct auth_client *client, const struct session *session)
{
	struct ipc_session payload = announcement(session);

	if (client->channel != NULL)
		channel_send(
			client->channel, IPC_SESSION_END, session->id, &payload, sizeof payload);
}

bool auth_client_mail(struct auth_client *client, struct session *session)
{
	const struct transaction *transaction = session->transaction;
	struct ipc_mail_request payload = {
		.session = session->id,
		.sender_len = transaction->mail.sender.len,
	};

	memcpy(payload.sender, transaction->mail.sender.text, payload.sender_len);
	if (!ask(client, IPC_MAIL_REQUEST, transaction->id, &payload, false))
		return false;
	session_await(session, AWAIT_MAIL);
	return true;
}

bool auth_client_owner(
	struct auth_client *client, struct session *session, const char *address, size_t len)
{
	struct ipc_owner_request payload = {.session = session->id};

	if (len > sizeof payload.address)
		return false;
	payload.question = ++session->question;
	payload.address_len = (uint16_t)len;
	memcpy(payload.address, address, len);
	if (!ask(client, IPC_OWNER_REQUEST, session->transaction->id, &payload, false))
		return false;
	session_await(session, AWAIT_OWNER);
	return true;
}

static bool send_recipients(struct auth_client *client, const struct session *session)
{
	const struct transaction *transaction = session->transaction;
	const struct recipient_hashes *hashes = &transaction->hashes;
	size_t count;

	for (size_t at = 0; at < hashes->accepted; at += count) {
		struct ipc_recipients payload = {.session = session->id};
		count = hashes->accepted - at;
		if (count > IPC_RECIPIENTS_MAX)
			count = IPC_RECIPIENTS_MAX;
		payload.count = (uint16_t)count;
		memcpy(payload.hash, hashes->hash + at, count * sizeof *payload.hash);
		if (!channel_send(client->channel, IPC_RECIPIENTS, transaction->id, &payload,
			    sizeof payload))
			return false;
	}
	return true;
}

bool auth_client_take(struct auth_client *client, struct session *session)
{
	const struct transaction *transaction = session->transaction;
	struct ipc_take_request payload = {
		.session = session->id,
		.bytes = transaction_declared(transaction),
		.messages = 1,
		.recipients = transaction->accepted,
	};

	if (!has_room(client, false) || !send_recipients(client, session) ||
		!ask(client, IPC_TAKE_REQUEST, transaction->id, &payload, false))
		return false;
	session_await(session, AWAIT_TAKE);
	return true;
}

bool auth_client_top_up(struct auth_client *client, struct session *session, uint64_t bytes)
{
	const struct ipc_take_request payload = {.session = session->id, .bytes = bytes};

	if (!ask(client, IPC_TAKE_REQUEST, session->transaction->id, &payload, false))
		return false;
	session_await(session, AWAIT_TOP_UP);
	return true;
}

bool auth_client_intent(struct auth_client *client, struct session *session)
{
	const struct transaction *transaction = session->transaction;
	struct ipc_intent payload = {
		.session = session->id,
		.bytes = transaction->body.bytes_in,
		.recipients = transaction->accepted,
		.client = address_prefix(&session->client, 32, 128),
		.sender_len = transaction->mail.sender.len,
	};
	char backend[ADDRESS_TEXT_MAX];

	memcpy(payload.sender, transaction->mail.sender.text, payload.sender_len);
	if (session->backend != NULL) {
		address_format(backend_address(session->backend), backend);
		payload.backend_len = (uint8_t)strnlen(backend, IPC_BACKEND_MAX);
		memcpy(payload.backend, backend, payload.backend_len);
	}
	if (!ask(client, IPC_INTENT, transaction->id, &payload, false))
		return false;
	session_await(session, AWAIT_INTENT);
	return true;
}

static bool send_outcome(struct auth_client *client, uint64_t id, const struct ipc_outcome *outcome)
{
	return client->channel != NULL &&
	       channel_send(client->channel, IPC_OUTCOME, id, outcome, sizeof *outcome);
}

void auth_client_outcome(
	struct auth_client *client, uint64_t transaction, const struct ipc_outcome *outcome)
{
	struct ipc_outcome *copy = NULL;

	if (idmap_get(client->outcomes, transaction) != NULL) /* it is repeated as it was */
		return;
	if (idmap_count(client->outcomes) < AUTH_CLIENT_OUTCOMES)
		copy = malloc(sizeof *copy);
	if (copy == NULL || !idmap_put(client->outcomes, transaction, copy)) {
		free(copy);
		log_message(LOG_ERROR, "outcome-lost",
			"too many outcomes wait for auth: this one stays charged as unknown");
		(void)send_outcome(client, transaction, outcome);
		return;
	}
	*copy = *outcome;
	(void)send_outcome(client, transaction, outcome);
}

static void repeat_outcome(uint64_t id, void *value, void *arg)
{
	(void)send_outcome(arg, id, value);
}

void auth_client_tick(struct auth_client *client)
{
	if (client->channel != NULL && idmap_count(client->outcomes) > 0)
		idmap_each(client->outcomes, repeat_outcome, client);
}

/* -------------------------------------------------------------------- answers */

/* Not allowed to be credited unless the session waits for just this. */
static bool awaited(struct auth_client *client, struct session *session, enum await await)
{
	if (session == NULL || session->await != await)
		return false;
	settle_request(client, session);
	return true;
}

/* A grant that nobody waits for any more is given back at once.  Of a top-up it tells again how the
 * transaction ended that did not wait for it: never by its end of data. */
static void return_grant(struct auth_client *client, uint64_t id)
{
	struct ipc_outcome outcome = {.kind = IPC_OUTCOME_ABORTED};

	auth_client_outcome(client, id, &outcome);
}

static void on_take(
	struct auth_client *client, uint64_t id, const struct ipc_policy_verdict *verdict)
{
	struct session *session = idmap_get(client->transactions, id);

	if (awaited(client, session, AWAIT_TAKE))
		client->answers->take(session, verdict);
	else if (awaited(client, session, AWAIT_TOP_UP))
		client->answers->top_up(session, verdict);
	else if (verdict->policy == IPC_POLICY_OK)
		return_grant(client, id);
}

/* The answer to a question that was given up may come while the next one is asked. */
static void on_owner(
	struct auth_client *client, uint64_t id, const struct ipc_owner_verdict *verdict)
{
	const struct ipc_policy_verdict answer = {.policy = verdict->policy};
	struct session *session = idmap_get(client->transactions, id);

	if (session != NULL && session->question == verdict->question &&
		awaited(client, session, AWAIT_OWNER))
		client->answers->owner(session, &answer);
}

static void on_outcome_done(struct auth_client *client, uint64_t id, const struct ipc_done *done)
{
	struct session *session = idmap_get(client->transactions, id);

	if (done->ok)
		free(idmap_take(client->outcomes, id));
	if (session != NULL && session->await == AWAIT_OUTCOME) {
		session->await = AWAIT_NONE;
		client->answers->outcome(session);
	}
}

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	struct auth_client *client = arg;
	struct session *by_id = NULL;

	(void)channel;
	switch ((unsigned)type) {
	case IPC_AUTH_VERDICT:
		by_id = idmap_get(client->worker->sessions, id);
		if (awaited(client, by_id, AWAIT_LOGIN))
			client->answers->login(by_id, payload);
		break;
	case IPC_MAIL_VERDICT:
		by_id = idmap_get(client->transactions, id);
		if (awaited(client, by_id, AWAIT_MAIL))
			client->answers->mail(by_id, payload);
		break;
	case IPC_OWNER_VERDICT:
		on_owner(client, id, payload);
		break;
	case IPC_TAKE_VERDICT:
		on_take(client, id, payload);
		break;
	case IPC_INTENT_DONE:
		by_id = idmap_get(client->transactions, id);
		if (awaited(client, by_id, AWAIT_INTENT))
			client->answers->intent(by_id, ((const struct ipc_done *)payload)->ok != 0);
		break;
	case IPC_OUTCOME_DONE:
		on_outcome_done(client, id, payload);
		break;
	case IPC_BLOCK:
		acceptor_block(client->worker->acceptor, payload);
		break;
	case IPC_SESSION_REVOKED:
		by_id = idmap_get(client->worker->sessions, id);
		if (by_id != NULL)
			session_revoke(by_id);
		break;
	default:
		log_message(LOG_ERROR, "unexpected-frame", "%s from auth", ipc_name(type));
	}
}

/* "Unavailable" to what the session waits for. */
void auth_client_expire(struct auth_client *client, struct session *session)
{
	static const struct ipc_auth_verdict no_login = {.result = IPC_AUTH_UNAVAILABLE};
	static const struct ipc_policy_verdict no_policy = {.policy = IPC_POLICY_UNAVAILABLE};
	enum await await = session->await;

	settle_request(client, session);
	switch (await) {
	case AWAIT_NONE:
		break;
	case AWAIT_LOGIN:
		client->answers->login(session, &no_login);
		break;
	case AWAIT_MAIL:
		client->answers->mail(session, &no_policy);
		break;
	case AWAIT_OWNER:
		client->answers->owner(session, &no_policy);
		break;
	case AWAIT_TAKE:
		client->answers->take(session, &no_policy);
		break;
	case AWAIT_TOP_UP:
		client->answers->top_up(session, &no_policy);
		break;
	case AWAIT_INTENT:
		client->answers->intent(session, false);
		break;
	case AWAIT_OUTCOME:
		session->await = AWAIT_NONE;
		client->answers->outcome(session);
		break;
	}
}

static void expire_one(uint64_t id, void *value, void *arg)
{
	(void)id;
	auth_client_expire(arg, value);
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	struct auth_client *client = arg;

	(void)channel;
	log_message(
		LOG_WARNING, "auth-away", "channel %s: log-ins get 454 until it is back", reason);
	channel_close(&client->channel);
	counter_set(COUNTER_AUTH_ATTACHED, 0);
	idmap_each(client->worker->sessions, expire_one, client);
}

/* ------------------------------------------------------------------ re-attach */

static void announce_session(uint64_t id, void *value, void *arg)
{
	struct auth_client *client = arg;
	const struct session *session = value;
	struct ipc_session payload = announcement(session);

	if (!session->authenticated)
		return;
	payload.login_len = (uint16_t)strlen(session->login);
	memcpy(payload.login, session->login, payload.login_len);
	channel_send(client->channel, IPC_ATTACH_SESSION, id, &payload, sizeof payload);
}

static void announce_transaction(uint64_t id, void *value, void *arg)
{
	struct auth_client *client = arg;
	const struct session *session = value;
	const struct transaction *transaction = session->transaction;
	struct ipc_attach_transaction payload = {
		.session = session->id,
		.messages = 1,
		.recipients = transaction->accepted,
		.taken = transaction->take == TAKE_GRANTED,
	};

	channel_send(client->channel, IPC_ATTACH_TRANSACTION, id, &payload, sizeof payload);
}

void auth_client_attach(struct auth_client *client, int fd)
{
	struct ipc_attach_done done = {.sessions = idmap_count(client->worker->sessions)};

	if (client->channel != NULL)
		on_close(client->channel, "replaced", client);
	client->channel = channel_open(client->worker->base, fd, &channel_events, client);
	if (client->channel == NULL) {
		log_message(LOG_ERROR, "auth-attach", "out of memory");
		return;
	}
	idmap_each(client->worker->sessions, announce_session, client);
	idmap_each(client->transactions, announce_transaction, client);
	channel_send(client->channel, IPC_ATTACH_DONE, 0, &done, sizeof done);
	idmap_each(client->outcomes, repeat_outcome, client);
	counter_set(COUNTER_AUTH_ATTACHED, 1);
}
