/* SPDX-License-Identifier: ISC */
/*
 * Intents and outcomes of a proxy, and the transactions that it announces on a new channel; see
 * serve.h and transaction.h.
 */
#include "auth/serve.h"

#include "common/clock.h"

static void send_done(struct peer *peer, enum ipc_type type, uint64_t id, bool ok)
{
	const struct ipc_done done = {.ok = ok};

	if (peer != NULL)
		channel_send(peer->channel, type, id, &done, sizeof done);
}

/* Outcomes are repeated until they are answered, so they go to whatever channel the proxy has now.
 */
void serve_outcome_answer(
	struct service *service, const struct take *take, enum transaction_next next)
{
	switch (next) {
	case TRANSACTION_NOTHING:
	case TRANSACTION_WAIT:
		return;
	case TRANSACTION_DONE:
	case TRANSACTION_LATER:
		send_done(service->peers[take->proxy], IPC_OUTCOME_DONE, take->id,
			next == TRANSACTION_DONE);
		return;
	}
}

void serve_intent(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_intent *intent = payload;

	send_done(peer, IPC_INTENT_DONE, id,
		transactions_intend(peer->service->transactions, peer->index, id, intent->session));
}

void serve_outcome(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_outcome *outcome = payload;
	const struct take take = {.proxy = peer->index, .id = id};

	serve_outcome_answer(peer->service, &take,
		transactions_outcome(peer->service->transactions, peer->index, id,
			(enum ipc_outcome_kind)outcome->kind));
}

void serve_attach_transaction(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_attach_transaction *announced = payload;
	const struct session *session = session_find(peer, announced->session);
	const struct take take = {
		.proxy = peer->index,
		.peer = peer->number,
		.id = id,
		.session = announced->session,
		.account = session == NULL ? 0 : session->account,
		.credential = session == NULL ? 0 : session->credential,
		.messages = announced->messages,
		.recipients = announced->recipients,
	};

	if (session != NULL)
		transactions_attach(peer->service->transactions, &take, announced->taken == 1,
			clock_monotonic_ms());
}
