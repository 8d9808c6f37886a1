/* SPDX-License-Identifier: ISC */
/*
 * MAIL: whether the session lives, whether a limit is known to be empty, and whether the account
 * owns the envelope sender.  And the same about an address of the header, limits left out.  See
 * serve.h.
 */
#include "auth/grace.h"
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void send_owner(
	struct peer *peer, uint64_t transaction, uint32_t question, enum ipc_policy policy)
{
	struct ipc_owner_verdict verdict;

	memset(&verdict, 0, sizeof verdict);
	verdict.question = question;
	verdict.policy = (uint8_t)policy;
	channel_send(peer->channel, IPC_OWNER_VERDICT, transaction, &verdict, sizeof verdict);
}

/* Whether the proxy refuses a message for a header's address that is not the account's: of an
 * account without a rule of its own that is the listener's to say, and only where all that look say
 * the same it is known here. */
static bool rejects_from(const struct service *service, const struct session *session)
{
	if (session->from_policy != IPC_FROM_LISTENER)
		return session->from_policy == IPC_FROM_REJECT;
	for (size_t i = 0; i < service->config->listener_count; i++) {
		if (service->config->listeners[i].from != IPC_FROM_OFF &&
			service->config->listeners[i].from != IPC_FROM_REJECT)
			return false;
	}
	return true;
}

/* For the books. */
static void note(struct service *service, const struct peer *peer, const struct request *request,
	enum ipc_policy policy, const struct query_quota_row *row)
{
	const struct session *session = session_find(peer, request->session);
	const struct refusal_address address = {request->address, request->address_len};

	if (request->kind == REQUEST_MAIL)
		serve_policy_refused(service, session, request->transaction, policy, &address, row);
	else if (policy == IPC_POLICY_SENDER && session != NULL && rejects_from(service, session))
		serve_refused(service, session, request->transaction, REFUSAL_FROM_HEADER, 550,
			&address, NULL);
}

/* What the limits want to know of the message is asked for here, and whom it is from remembered:
 * the take's word would be the proxy's. */
static void answer_mail(struct peer *peer, const struct request *request, enum ipc_policy policy,
	const struct query_quota_row *row)
{
	struct session *session = session_find(peer, request->session);

	if (policy == IPC_POLICY_OK && session != NULL) {
		session_sends_as(session, request->address, request->address_len);
		peer_send_wants(peer, request->transaction, &session->meters);
	} else {
		peer_send_policy(peer, IPC_MAIL_VERDICT, request->transaction, policy, row);
	}
}

/* Answers and frees. */
static void answer(struct service *service, struct request *request, enum ipc_policy policy,
	const struct query_quota_row *row)
{
	struct peer *peer = peer_find(service, request->peer);
	bool mail = request->kind == REQUEST_MAIL;

	if (peer != NULL) {
		peer->requests--;
		note(service, peer, request, policy, row);
		if (mail)
			answer_mail(peer, request, policy, row);
		else
			send_owner(peer, request->transaction, request->question, policy);
	}
	/* What becomes of a header's address is the proxy's to decide, and to count. */
	if (mail && policy == IPC_POLICY_SENDER)
		counter_add(COUNTER_SENDERS_REFUSED, 1);
	free(request);
}

static void on_owned(enum database_result result, const PGresult *rows, void *arg, uint64_t number)
{
	struct service *service = arg;
	struct request *request = request_take(service, number);
	enum ipc_policy policy = IPC_POLICY_UNAVAILABLE;
	bool owned;

	if (request == NULL)
		return;
	if (result == DATABASE_ROWS && query_parse_bool(rows, &owned))
		policy = owned ? IPC_POLICY_OK : IPC_POLICY_SENDER;
	answer(service, request, policy, NULL);
}

/* The account has more senders than a look-up brings. */
static void ask_owned(struct service *service, struct request *request, uint64_t account)
{
	char id[24], address[IPC_PATH_MAX + 1];
	const char *values[] = {id, address};
	uint64_t spent_ms = clock_monotonic_ms() - request->started_ms;

	/* A look-up that took long leaves no time for a second query within the deadline. */
	if (spent_ms + DATABASE_QUERY_MS > SERVICE_MAIL_MS) {
		answer(service, request, IPC_POLICY_UNAVAILABLE, NULL);
		return;
	}
	snprintf(id, sizeof id, "%" PRIu64, account);
	memcpy(address, request->address, request->address_len);
	address[request->address_len] = '\0';
	if (!idmap_put(service->requests, request->number, request)) {
		answer(service, request, IPC_POLICY_UNAVAILABLE, NULL);
		return;
	}
	if (!database_query(service->lookups, QUERY_SENDER_OWNED, values, on_owned, service,
		    request->number)) {
		idmap_take(service->requests, request->number);
		answer(service, request, IPC_POLICY_UNAVAILABLE, NULL);
	}
}

static void on_account(
	enum row_answer known, const struct account *account, void *arg, uint64_t number);

/* A remembered row may lack a sender that was added a moment ago: no refusal rests on it alone. */
static bool look_again(
	struct service *service, struct request *request, const struct session *session)
{
	if (request->fresh || !idmap_put(service->requests, request->number, request))
		return false;
	request->fresh = true;
	account_cache_get(service->accounts, session->login, session->login_len, true,
		clock_monotonic_ms(), on_account, service, request->number);
	return true;
}

static void check_address(struct service *service, struct request *request,
	const struct session *session, const struct account *account)
{
	if (!sender_plain(request->address, request->address_len)) {
		answer(service, request, IPC_POLICY_SENDER, NULL);
		return;
	}
	switch (sender_match(&account->senders, request->address, request->address_len)) {
	case SENDER_OWNED:
		answer(service, request, IPC_POLICY_OK, NULL);
		break;
	case SENDER_FOREIGN:
		if (!look_again(service, request, session))
			answer(service, request, IPC_POLICY_SENDER, NULL);
		break;
	case SENDER_ASK:
		ask_owned(service, request, account->id);
		break;
	}
}

/* The database is away, and a plan may allow some messages all the same (grace.h): by a row that is
 * old, which lets through what it plainly owns, and refuses nothing. */
static void check_outage(struct service *service, struct request *request, struct session *session)
{
	const struct account *account =
		session == NULL
			? NULL
			: account_cache_remembered(service->accounts, session->login,
				  session->login_len, service->config->password.outage_trust_ms,
				  clock_monotonic_ms());
	enum ipc_policy policy = IPC_POLICY_UNAVAILABLE;

	if (account != NULL && serve_quota_away(service) && grace_declared(&account->meters) &&
		session_holds(session, account) &&
		sender_plain(request->address, request->address_len) &&
		sender_match(&account->senders, request->address, request->address_len) ==
			SENDER_OWNED)
		policy = IPC_POLICY_OK;
	answer(service, request, policy, NULL);
}

static void on_account(
	enum row_answer known, const struct account *account, void *arg, uint64_t number)
{
	struct service *service = arg;
	struct request *request = request_take(service, number);
	struct peer *peer = request == NULL ? NULL : peer_find(service, request->peer);
	struct session *session = peer == NULL ? NULL : session_find(peer, request->session);
	struct query_quota_row row;

	if (request == NULL)
		return;
	if (known == ROW_UNAVAILABLE) {
		check_outage(service, request, session);
	} else if (session == NULL || !session_holds(session, account)) {
		answer(service, request, IPC_POLICY_REVOKED, NULL);
	} else if (request->kind == REQUEST_MAIL &&
		   quota_memory_has(service->known_empty, account->id, session->credential,
			   account->version, clock_monotonic_ms(), &row)) {
		counter_add(COUNTER_TAKES_REFUSED, 1);
		answer(service, request, serve_limit_policy(&row), &row);
	} else {
		check_address(service, request, session, account);
	}
}

static void ask_account(
	struct service *service, const struct request *request, const struct session *session)
{
	account_cache_get(service->accounts, session->login, session->login_len, false,
		request->started_ms, on_account, service, request->number);
}

/* What narrows the account comes first.  It never changes, so a remembered row will do. */
static void on_credential(
	enum row_answer known, const struct credential *credential, void *arg, uint64_t number)
{
	struct service *service = arg;
	struct request *request = request_take(service, number);
	struct peer *peer = request == NULL ? NULL : peer_find(service, request->peer);
	struct session *session = peer == NULL ? NULL : session_find(peer, request->session);

	if (request == NULL)
		return;
	/* What is remembered for an outage will do for what an account's row allows then. */
	if (known == ROW_UNAVAILABLE && session != NULL)
		credential = credential_cache_remembered(service->credentials, session->credential,
			service->config->password.outage_trust_ms, clock_monotonic_ms());
	if (known == ROW_UNAVAILABLE && credential == NULL)
		answer(service, request, IPC_POLICY_UNAVAILABLE, NULL);
	else if (session == NULL || !session_credential_holds(session, credential))
		answer(service, request, IPC_POLICY_REVOKED, NULL);
	else if (!credential_may_send(credential, request->address, request->address_len))
		answer(service, request, IPC_POLICY_SENDER, NULL);
	else if (!idmap_put(service->requests, number, request))
		answer(service, request, IPC_POLICY_UNAVAILABLE, NULL);
	else
		ask_account(service, request, session);
}

/* The question of a MAIL or about an owner; an address of at most IPC_PATH_MAX octets. */
static void ask(struct request *request, struct peer *peer, const struct session *session,
	uint64_t transaction, const uint8_t *address, size_t len)
{
	struct service *service = peer->service;

	peer->requests++;
	request->transaction = transaction;
	request->started_ms = clock_monotonic_ms();
	request->address_len = len;
	memcpy(request->address, address, len);
	if (session->credential != 0)
		credential_cache_get(service->credentials, session->credential, false,
			request->started_ms, on_credential, service, request->number);
	else
		ask_account(service, request, session);
}

void serve_mail_request(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_mail_request *mail = payload;
	const struct session *session = session_find(peer, mail->session);
	struct request *request = NULL;

	if (session == NULL) {
		peer_send_policy(peer, IPC_MAIL_VERDICT, id, IPC_POLICY_REVOKED, NULL);
		return;
	}
	if (peer_has_room(peer))
		request = request_new(peer, REQUEST_MAIL, mail->session);
	if (request == NULL) {
		peer_send_policy(peer, IPC_MAIL_VERDICT, id, IPC_POLICY_UNAVAILABLE, NULL);
		return;
	}
	ask(request, peer, session, id, mail->sender, mail->sender_len);
}

void serve_owner_request(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_owner_request *owner = payload;
	const struct session *session = session_find(peer, owner->session);
	struct request *request = NULL;

	if (session == NULL) {
		send_owner(peer, id, owner->question, IPC_POLICY_REVOKED);
		return;
	}
	if (peer_has_room(peer))
		request = request_new(peer, REQUEST_OWNER, owner->session);
	if (request == NULL) {
		send_owner(peer, id, owner->question, IPC_POLICY_UNAVAILABLE);
		return;
	}
	request->question = owner->question;
	ask(request, peer, session, id, owner->address, owner->address_len);
}
