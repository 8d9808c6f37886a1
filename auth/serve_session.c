/* SPDX-License-Identifier: ISC */
/*
 * Log-ins and sessions of a proxy; see serve.h.
 *
 * A session exists here by our own verdict, or because a proxy announced it after its channel was
 * made anew.  An announced one is looked up at once.
 */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum { REVOKED_STALE = 1 };

struct login_slot {
	struct authenticate *authenticate;
	uint64_t token; /* 0: the verdict comes before authenticate_start() returns */
};

/* ----------------------------------------------------------------- sessions */
struct session *session_find(const struct peer *peer, uint64_t id)
{
	return idmap_get(peer->sessions, id);
}

/* As the proxy announces it, or as it would. */
static struct session *session_new(
	struct peer *peer, uint64_t id, const struct ipc_session *announced)
{
	if (idmap_count(peer->sessions) >= SERVICE_SESSIONS_MAX || session_find(peer, id) != NULL)
		return NULL;
	struct session *session = calloc(1, sizeof *session + announced->login_len);
	if (session == NULL || !idmap_put(peer->sessions, id, session)) {
		free(session);
		return NULL;
	}
	session->id = id;
	session->account = announced->account;
	session->credential = announced->credential;
	session->version = announced->version;
	session->password_version = announced->password_version;
	session->message_bytes = announced->message_bytes;
	session->recipients = announced->recipients;
	session->from_policy = (enum ipc_from_policy)announced->from_policy;
	session->login_len = announced->login_len;
	memcpy(session->login, announced->login, announced->login_len);
	return session;
}

static void session_end(struct peer *peer, uint64_t id)
{
	free(idmap_take(peer->sessions, id));
}

/* 0 is no limit at all. */
static bool is_tighter(uint64_t limit, uint64_t before)
{
	return limit != 0 && (before == 0 || limit < before);
}

/*
 * What auth itself looks at with every message (senders, meters) may change under a session; what
 * the proxy was told once may not become stricter without it.
 */
bool session_holds(struct session *session, const struct account *account)
{
	if (account == NULL || !account->enabled || account->id != session->account)
		return false;
	if (session->credential == 0 && account->password_version != session->password_version)
		return false;
	if (is_tighter(account->recipients, session->recipients) ||
		is_tighter(account->message_bytes, session->message_bytes) ||
		account->from_policy != session->from_policy)
		return false;
	session->version = account->version;
	return true;
}

/* ------------------------------------------------------------------ log-ins */
static void login_end(struct peer *peer, uint64_t id)
{
	free(idmap_take(peer->logins, id));
}

static void send_verdict(struct peer *peer, uint64_t id, const struct ipc_auth_verdict *verdict)
{
	channel_send(peer->channel, IPC_AUTH_VERDICT, id, verdict, sizeof *verdict);
}

static bool begin_session(struct peer *peer, uint64_t id, const struct ipc_auth_verdict *verdict)
{
	struct ipc_session as = {
		.account = verdict->account,
		.credential = verdict->credential,
		.version = verdict->version,
		.password_version = verdict->password_version,
		.message_bytes = verdict->message_bytes,
		.recipients = verdict->recipients,
		.from_policy = verdict->from_policy,
		.login_len = verdict->login_len,
	};

	memcpy(as.login, verdict->login, verdict->login_len);
	return session_new(peer, id, &as) != NULL;
}

void serve_verdict(uint64_t number, uint64_t id, const struct ipc_auth_verdict *verdict, void *arg)
{
	static const struct ipc_auth_verdict unavailable = {.result = IPC_AUTH_UNAVAILABLE};
	struct peer *peer = peer_find(arg, number);

	if (peer == NULL)
		return;
	login_end(peer, id);
	if (verdict->result == IPC_AUTH_OK && !begin_session(peer, id, verdict))
		verdict = &unavailable;
	send_verdict(peer, id, verdict);
}

void serve_auth_request(struct peer *peer, uint64_t id, const void *payload)
{
	static const struct ipc_auth_verdict unavailable = {.result = IPC_AUTH_UNAVAILABLE};
	struct authenticate *authenticate = peer->service->authenticate;

	if (!peer_has_room(peer) || idmap_count(peer->logins) >= SERVICE_LOGINS_MAX ||
		idmap_get(peer->logins, id) != NULL || session_find(peer, id) != NULL) {
		send_verdict(peer, id, &unavailable);
		return;
	}
	struct login_slot *slot = calloc(1, sizeof *slot);
	if (slot == NULL || !idmap_put(peer->logins, id, slot)) {
		free(slot);
		send_verdict(peer, id, &unavailable);
		return;
	}
	slot->authenticate = authenticate;
	uint64_t token = authenticate_start(
		authenticate, peer->index, peer->number, id, payload, clock_monotonic_ms());
	if (token != 0)
		slot->token = token; /* otherwise serve_verdict() has freed the slot */
}

void serve_auth_cancel(struct peer *peer, uint64_t id, const void *payload)
{
	const struct login_slot *slot = idmap_get(peer->logins, id);

	(void)payload;
	if (slot != NULL)
		authenticate_cancel(peer->service->authenticate, slot->token);
	login_end(peer, id);
}

void serve_session_end(struct peer *peer, uint64_t id, const void *payload)
{
	serve_auth_cancel(peer, id, payload);
	session_end(peer, id);
}

/* ---------------------------------------------------------------- re-attach */
static void revoke(struct peer *peer, uint64_t id)
{
	const struct ipc_session_revoked revoked = {.reason = REVOKED_STALE};
	struct log_line line;

	session_end(peer, id);
	log_begin(&line, LOG_INFO, "session-revoked");
	log_id(&line, "sid", id);
	log_end(&line);
	channel_send(peer->channel, IPC_SESSION_REVOKED, id, &revoked, sizeof revoked);
}

static void on_attach_account(
	enum account_answer answer, const struct account *account, void *arg, uint64_t number)
{
	struct service *service = arg;
	struct request *request = request_take(service, number);
	struct peer *peer = request == NULL ? NULL : peer_find(service, request->peer);
	struct session *session = peer == NULL ? NULL : session_find(peer, request->session);

	/* While the database is away it stays unchecked; its next MAIL looks again. */
	if (session != NULL && answer != ACCOUNT_UNAVAILABLE && !session_holds(session, account))
		revoke(peer, request->session);
	free(request);
}

void serve_attach_session(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_session *announced = payload;

	if (session_find(peer, id) != NULL)
		return;
	/* Later, a log-in alone makes a session: a proxy must not claim one at will. */
	if (peer->attached) {
		revoke(peer, id);
		return;
	}
	if (announced->login_len == 0 || session_new(peer, id, announced) == NULL) {
		revoke(peer, id);
		return;
	}
	struct request *request = request_new(peer, REQUEST_ATTACH, id);
	if (request != NULL)
		account_cache_get(peer->service->accounts, announced->login, announced->login_len,
			true, clock_monotonic_ms(), on_attach_account, peer->service,
			request->number);
}

void serve_attach_done(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_attach_done *done = payload;
	struct log_line line;

	(void)id;
	peer->attached = true;
	log_begin(&line, LOG_INFO, "proxy-attached");
	log_uint(&line, "proxy", peer->index);
	log_uint(&line, "announced", done->sessions);
	log_uint(&line, "sessions", idmap_count(peer->sessions));
	log_end(&line);
}

static void free_login(uint64_t id, void *value, void *arg)
{
	struct login_slot *slot = value;

	(void)id;
	(void)arg;
	authenticate_cancel(slot->authenticate, slot->token);
	free(slot);
}

static void free_session(uint64_t id, void *value, void *arg)
{
	(void)id;
	(void)arg;
	free(value);
}

void sessions_destroy(struct peer *peer)
{
	if (peer->logins != NULL)
		idmap_each(peer->logins, free_login, NULL);
	if (peer->sessions != NULL)
		idmap_each(peer->sessions, free_session, NULL);
	idmap_destroy(&peer->logins);
	idmap_destroy(&peer->sessions);
}
