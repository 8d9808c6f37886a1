/* SPDX-License-Identifier: ISC */
/*
 * Log-ins and sessions of a proxy; see serve.h.
 *
 * A session exists here by our own verdict, or because a proxy announced it after its channel was
 * made anew.  An announced one is looked up at once.
 */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum { REVOKED_STALE = 1 };

struct login_slot {
	struct authenticate *authenticate;
	uint64_t token; /* 0: decided */
	struct address_key client;
	struct ipc_auth_verdict *verdict; /* OK, and waits for its session; NULL: not yet */
};

/* ----------------------------------------------------------------- sessions */
struct session *session_find(const struct peer *peer, uint64_t id)
{
	return idmap_get(peer->sessions, id);
}

/* Until a row is seen, which every MAIL does: nothing is let through for it. */
static const struct account_meters unknown_meters = {
	.sessions = ACCOUNT_UNLIMITED,
	.burst_messages = ACCOUNT_UNLIMITED,
	.burst_recipients = ACCOUNT_UNLIMITED,
};

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
	session->peer = peer->number;
	session->client = announced->client;
	session->account = announced->account;
	session->credential = announced->credential;
	session->version = announced->version;
	session->password_version = announced->password_version;
	session->message_bytes = announced->message_bytes;
	session->recipients = announced->recipients;
	session->from_policy = (enum ipc_from_policy)announced->from_policy;
	session->meters = unknown_meters;
	session->login_len = announced->login_len;
	memcpy(session->login, announced->login, announced->login_len);
	session->live.login = session->login;
	session->live.login_len = session->login_len;
	if (!live_add(peer->service->live, &session->live, session->account)) {
		free(idmap_take(peer->sessions, id));
		return NULL;
	}
	return session;
}

/* Of one that is there already: it counts, and is not ended for it. */
static struct session *session_attach(
	struct peer *peer, uint64_t id, const struct ipc_session *announced)
{
	struct holds *holds = peer->service->holds;
	struct session *session = NULL;

	if (!holds_add(holds, announced->account))
		return NULL;
	session = session_new(peer, id, announced);
	if (session == NULL)
		holds_end(holds, announced->account);
	return session;
}

static void session_end(struct peer *peer, uint64_t id)
{
	struct session *session = idmap_take(peer->sessions, id);

	if (session == NULL)
		return;
	live_remove(peer->service->live, &session->live);
	holds_end(peer->service->holds, session->account);
	session_forget_message(peer, session);
	free(session);
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
	session->meters = account->meters;
	return true;
}

/* ------------------------------------------------------------------ log-ins */
static void login_end(struct peer *peer, uint64_t id)
{
	struct login_slot *slot = idmap_take(peer->logins, id);

	if (slot != NULL)
		free(slot->verdict);
	free(slot);
}

static void send_verdict(struct peer *peer, uint64_t id, const struct ipc_auth_verdict *verdict)
{
	channel_send(peer->channel, IPC_AUTH_VERDICT, id, verdict, sizeof *verdict);
}

const struct ipc_auth_verdict *login_verdict(const struct peer *peer, uint64_t id)
{
	const struct login_slot *slot = idmap_get(peer->logins, id);

	return slot == NULL ? NULL : slot->verdict;
}

/* NULL: there is no room. */
static struct session *session_of(struct peer *peer, uint64_t id, const struct login_slot *slot)
{
	const struct ipc_auth_verdict *verdict = slot->verdict;
	struct ipc_session as = {
		.client = slot->client,
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
	return session_new(peer, id, &as);
}

bool session_begin(struct peer *peer, uint64_t id, enum ipc_auth_result result)
{
	struct ipc_auth_verdict refused = {.result = (uint8_t)result};
	const struct login_slot *slot = idmap_get(peer->logins, id);
	struct session *session = NULL;

	if (slot == NULL || slot->verdict == NULL)
		return false;
	if (result == IPC_AUTH_OK) {
		session = session_of(peer, id, slot);
		refused.result = IPC_AUTH_UNAVAILABLE;
	}
	send_verdict(peer, id, session == NULL ? &refused : slot->verdict);
	login_end(peer, id);
	/* The row may have changed while the password was being hashed. */
	if (session != NULL)
		live_verify(peer->service->live, &session->live, clock_monotonic_ms());
	return session != NULL;
}

void serve_verdict(uint64_t number, uint64_t id, const struct ipc_auth_verdict *verdict, void *arg)
{
	static const struct ipc_auth_verdict unavailable = {.result = IPC_AUTH_UNAVAILABLE};
	struct peer *peer = peer_find(arg, number);
	struct login_slot *slot = peer == NULL ? NULL : idmap_get(peer->logins, id);

	if (peer == NULL)
		return;
	if (slot != NULL && verdict->result == IPC_AUTH_OK) {
		slot->token = 0;
		slot->verdict = malloc(sizeof *slot->verdict);
		if (slot->verdict != NULL) {
			*slot->verdict = *verdict;
			serve_hold(peer, id, slot->verdict);
			return;
		}
		verdict = &unavailable;
	}
	login_end(peer, id);
	send_verdict(peer, id, verdict);
}

void serve_auth_request(struct peer *peer, uint64_t id, const void *payload)
{
	static const struct ipc_auth_verdict unavailable = {.result = IPC_AUTH_UNAVAILABLE};
	struct authenticate *authenticate = peer->service->authenticate;

	if (!serve_guard_remembers(peer->service, clock_monotonic_ms()) || !peer_has_room(peer) ||
		idmap_count(peer->logins) >= SERVICE_LOGINS_MAX ||
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
	slot->client = ((const struct ipc_auth_request *)payload)->client;
	uint64_t token = authenticate_start(
		authenticate, peer->index, peer->number, id, payload, clock_monotonic_ms());
	if (token != 0)
		slot->token = token; /* otherwise serve_verdict() has had the slot */
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

/* --------------------------------------------------------------- revocation */
static void send_revoked(struct peer *peer, uint64_t id)
{
	static const struct ipc_session_revoked revoked = {.reason = REVOKED_STALE};

	channel_send(peer->channel, IPC_SESSION_REVOKED, id, &revoked, sizeof revoked);
}

void serve_revoke(struct peer *peer, uint64_t id)
{
	const struct session *session = session_find(peer, id);
	struct log_line line;

	log_begin(&line, LOG_INFO, "session-revoked");
	log_uint(&line, "account", session->account);
	log_id(&line, "sid", id);
	log_end(&line);
	counter_add(COUNTER_SESSIONS_REVOKED, 1);
	session_end(peer, id);
	send_revoked(peer, id);
}

/* ---------------------------------------------------------------- re-attach */
void serve_attach_session(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_session *announced = payload;
	struct session *session = NULL;

	if (session_find(peer, id) != NULL)
		return;
	/* Later, a log-in alone makes a session: a proxy must not claim one at will. */
	if (!peer->attached && announced->login_len != 0 &&
		(announced->credential == 0 || credential_number_valid(announced->credential)) &&
		memchr(announced->login, 0, announced->login_len) == NULL)
		session = session_attach(peer, id, announced);
	/* While the database is away it stays unchecked; its next MAIL looks again. */
	if (session != NULL)
		live_verify(peer->service->live, &session->live, clock_monotonic_ms());
	else
		send_revoked(peer, id);
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
	free(slot->verdict);
	free(slot);
}

static void free_session(uint64_t id, void *value, void *arg)
{
	session_end(arg, id);
	(void)value;
}

void sessions_destroy(struct peer *peer)
{
	if (peer->logins != NULL)
		idmap_each(peer->logins, free_login, NULL);
	if (peer->sessions != NULL)
		idmap_each(peer->sessions, free_session, peer);
	idmap_destroy(&peer->logins);
	idmap_destroy(&peer->sessions);
}
