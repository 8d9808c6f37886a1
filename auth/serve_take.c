/* SPDX-License-Identifier: ISC */
/* Takes of a proxy, and their return; see serve.h and transaction.h. */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

/* -------------------------------------------------------------------- takes */
static enum ipc_policy policy_of(enum quota_answer answer)
{
	switch (answer) {
	case QUOTA_GRANTED:
		return IPC_POLICY_OK;
	case QUOTA_REFUSED:
		return IPC_POLICY_LIMIT;
	case QUOTA_NEVER:
		return IPC_POLICY_LIMIT_NEVER;
	case QUOTA_REVOKED:
		return IPC_POLICY_REVOKED;
	case QUOTA_UNAVAILABLE:
		return IPC_POLICY_UNAVAILABLE;
	}
	return IPC_POLICY_UNAVAILABLE;
}

static void learn(struct service *service, const struct peer *peer, const struct take *take,
	enum quota_answer answer, const struct query_quota_row *row)
{
	const struct session *session = session_find(peer, take->session);

	if (session == NULL)
		return;
	/* The cached row is wrong, whatever its age. */
	if (answer == QUOTA_REVOKED)
		row_cache_forget(service->accounts, session->login, session->login_len);
	if (answer == QUOTA_REFUSED)
		quota_remember(service->quota, take, session->version, row, clock_monotonic_ms(),
			clock_wall_ms() / 1000);
}

static void count_take(const struct take *take, enum quota_answer answer)
{
	if (answer == QUOTA_GRANTED)
		counter_add(COUNTER_TAKES_GRANTED, take->messages);
	if (answer == QUOTA_REFUSED || answer == QUOTA_NEVER)
		counter_add(COUNTER_TAKES_REFUSED, take->messages);
}

void serve_taken(
	enum quota_answer answer, const struct query_quota_row *row, void *arg, uint64_t token)
{
	struct service *service = arg;
	struct take take;
	enum transaction_next next;
	bool known;

	if (answer == QUOTA_GRANTED)
		known = transactions_granted(service->transactions, token, row->taken_s,
			clock_monotonic_ms(), &take, &next);
	else
		known = transactions_refused(service->transactions, token, &take, &next);
	if (!known)
		return;
	count_take(&take, answer);
	/* A new channel of the same proxy does not wait for this answer. */
	struct peer *peer = peer_find(service, take.peer);
	if (peer != NULL) {
		peer->requests--;
		learn(service, peer, &take, answer, row);
		serve_policy_refused(service, session_find(peer, take.session), take.id,
			policy_of(answer), NULL, row);
		peer_send_policy(peer, IPC_TAKE_VERDICT, take.id, policy_of(answer), row);
	}
	serve_outcome_answer(service, &take, next);
}

void serve_take_request(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_take_request *wanted = payload;
	struct service *service = peer->service;
	const struct session *session = session_find(peer, wanted->session);
	struct take take = {
		.proxy = peer->index,
		.peer = peer->number,
		.id = id,
		.session = wanted->session,
		.messages = wanted->messages,
		.recipients = wanted->recipients,
	};
	enum transaction_next next;

	if (session == NULL) {
		peer_send_policy(peer, IPC_TAKE_VERDICT, id, IPC_POLICY_REVOKED, NULL);
		return;
	}
	take.account = session->account;
	take.credential = session->credential;
	if (!peer_has_room(peer) ||
		!transactions_begin(service->transactions, &take, clock_monotonic_ms())) {
		peer_send_policy(peer, IPC_TAKE_VERDICT, id, IPC_POLICY_UNAVAILABLE, NULL);
		return;
	}
	if (!quota_take(service->quota, &take)) {
		if (!transactions_refused(service->transactions, take.token, &take, &next))
			panic("a take that was just begun is gone");
		peer_send_policy(peer, IPC_TAKE_VERDICT, id, IPC_POLICY_UNAVAILABLE, NULL);
		return;
	}
	peer->requests++;
}

/* --------------------------------------------------------------- give-backs */
bool serve_give_back(const struct take *take, void *arg)
{
	struct service *service = arg;

	return quota_give_back(service->quota, take);
}

void serve_returned(enum transaction_returned returned, void *arg, uint64_t token)
{
	struct service *service = arg;
	struct take take;
	enum transaction_next next;

	if (transactions_returned(service->transactions, token, returned, &take, &next))
		serve_outcome_answer(service, &take, next);
}
