/* SPDX-License-Identifier: ISC */
/*
 * Log-ins that succeeded, up to their session: the account may have so many, on all nodes together.
 * See serve.h and holds.h.
 *
 * The verdict waits in its slot; whoever leaves meanwhile leaves no count behind.
 */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>

static void on_held(enum holds_answer answer, void *arg, uint64_t number)
{
	struct service *service = arg;
	struct request *request = request_take(service, number);
	struct peer *peer = request == NULL ? NULL : peer_find(service, request->peer);
	bool begun = false;

	if (request == NULL)
		return;
	if (peer != NULL) {
		switch (answer) {
		case HOLDS_GRANTED:
			begun = session_begin(peer, request->session, IPC_AUTH_OK);
			break;
		case HOLDS_REFUSED:
			begun = session_begin(peer, request->session, IPC_AUTH_SESSIONS);
			break;
		case HOLDS_UNAVAILABLE:
			begun = session_begin(peer, request->session, IPC_AUTH_UNAVAILABLE);
			break;
		}
	}
	if (answer == HOLDS_GRANTED && !begun)
		holds_end(service->holds, request->account);
	free(request);
}

/* A row of another account, or none, is for the look at the session's beginning. */
static void on_account(
	enum row_answer known, const struct account *account, void *arg, uint64_t number)
{
	struct service *service = arg;
	const struct request *request = idmap_get(service->requests, number);
	struct peer *peer = request == NULL ? NULL : peer_find(service, request->peer);
	const struct ipc_auth_verdict *verdict =
		peer == NULL ? NULL : login_verdict(peer, request->session);
	uint64_t now_ms = clock_monotonic_ms();
	int64_t limit = ACCOUNT_UNLIMITED;

	if (request == NULL)
		return;
	if (verdict == NULL) {
		free(request_take(service, number));
		return;
	}
	if (known == ROW_UNAVAILABLE)
		account = account_cache_remembered(service->accounts, verdict->login,
			verdict->login_len, service->config->password.outage_trust_ms, now_ms);
	if (account != NULL && account->id == verdict->account)
		limit = account->meters.sessions;
	else if (known == ROW_UNAVAILABLE)
		limit = 0; /* not known: nothing is held for it */
	holds_ask(service->holds, verdict->account, limit, number, now_ms);
}

void serve_hold(struct peer *peer, uint64_t session, const struct ipc_auth_verdict *verdict)
{
	struct service *service = peer->service;
	struct request *request = request_new(peer, REQUEST_HOLD, session);

	if (request == NULL) {
		(void)session_begin(peer, session, IPC_AUTH_UNAVAILABLE);
		return;
	}
	request->account = verdict->account;
	account_cache_get(service->accounts, verdict->login, verdict->login_len, false,
		clock_monotonic_ms(), on_account, service, request->number);
}

static void wake(uint64_t in_ms, void *arg)
{
	serve_quota_wake(in_ms, arg);
}

bool serve_holds(struct service *service)
{
	struct take_lane lanes[TAKE_LANES];

	for (size_t i = 0; i < TAKE_LANES; i++)
		lanes[i] = (struct take_lane){database_query, service->quotas[i]};
	service->holds = holds_new(lanes, service->node, wake, on_held, service);
	return service->holds != NULL;
}
