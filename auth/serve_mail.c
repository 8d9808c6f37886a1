/* SPDX-License-Identifier: ISC */
/*
 * MAIL: whether the session lives, whether a limit is known to be empty, and whether the account
 * owns the envelope sender; see serve.h.
 */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Answers and frees. */
static void answer(struct service *service, struct request *request, enum ipc_policy policy,
	const struct query_quota_row *row)
{
	struct peer *peer = peer_find(service, request->peer);

	if (peer != NULL) {
		peer->requests--;
		peer_send_policy(peer, IPC_MAIL_VERDICT, request->transaction, policy, row);
	}
	if (policy == IPC_POLICY_SENDER)
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
	memcpy(address, request->sender, request->sender_len);
	address[request->sender_len] = '\0';
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

static void check_sender(
	struct service *service, struct request *request, const struct account *account)
{
	if (!sender_plain(request->sender, request->sender_len)) {
		answer(service, request, IPC_POLICY_SENDER, NULL);
		return;
	}
	switch (sender_match(&account->senders, request->sender, request->sender_len)) {
	case SENDER_OWNED:
		answer(service, request, IPC_POLICY_OK, NULL);
		break;
	case SENDER_FOREIGN:
		answer(service, request, IPC_POLICY_SENDER, NULL);
		break;
	case SENDER_ASK:
		ask_owned(service, request, account->id);
		break;
	}
}

static void on_mail_account(
	enum account_answer known, const struct account *account, void *arg, uint64_t number)
{
	struct service *service = arg;
	struct request *request = request_take(service, number);
	struct peer *peer = request == NULL ? NULL : peer_find(service, request->peer);
	struct session *session = peer == NULL ? NULL : session_find(peer, request->session);
	struct query_quota_row row;

	if (request == NULL)
		return;
	if (known == ACCOUNT_UNAVAILABLE) {
		answer(service, request, IPC_POLICY_UNAVAILABLE, NULL);
	} else if (session == NULL || !session_holds(service, session, account)) {
		answer(service, request, IPC_POLICY_REVOKED, NULL);
	} else if (quota_known_empty(service->quota, account->id, account->version,
			   clock_monotonic_ms(), &row)) {
		counter_add(COUNTER_TAKES_REFUSED, 1);
		answer(service, request, IPC_POLICY_LIMIT, &row);
	} else {
		check_sender(service, request, account);
	}
}

void serve_mail_request(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_mail_request *mail = payload;
	struct service *service = peer->service;
	const struct session *session = session_find(peer, mail->session);

	if (session == NULL) {
		peer_send_policy(peer, IPC_MAIL_VERDICT, id, IPC_POLICY_REVOKED, NULL);
		return;
	}
	struct request *request =
		peer_has_room(peer) ? request_new(peer, REQUEST_MAIL, mail->session) : NULL;
	if (request == NULL) {
		peer_send_policy(peer, IPC_MAIL_VERDICT, id, IPC_POLICY_UNAVAILABLE, NULL);
		return;
	}
	peer->requests++;
	request->transaction = id;
	request->started_ms = clock_monotonic_ms();
	request->sender_len = mail->sender_len;
	memcpy(request->sender, mail->sender, mail->sender_len);
	account_cache_get(service->accounts, session->login, session->login_len, false,
		request->started_ms, on_mail_account, service, request->number);
}
