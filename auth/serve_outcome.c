/* SPDX-License-Identifier: ISC */
/*
 * Intents and outcomes of a proxy, and the transactions that it announces on a new channel; see
 * serve.h, transaction.h and spool.h.
 *
 * Two memories: the transactions know what may be given back, the spool what goes into the books.
 * An answer goes out when the spool has recorded what it is about.
 */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum {
	OUTCOME_EARLY_MS = 1000,                /* a proxy's clock is ours */
	OUTCOME_LATE_MS = 7 * 24 * 3600 * 1000, /* it repeats an outcome until it is answered */
};

struct waiter { /* for a record in the spool */
	struct service *service;
	uint64_t peer, id; /* INTENT */
	struct take take;  /* OUTCOME, and a give-back */
};

static struct waiter *waiter_new(struct service *service)
{
	struct waiter *waiter = calloc(1, sizeof *waiter);

	if (waiter != NULL)
		waiter->service = service;
	return waiter;
}

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

/* ------------------------------------------------------------------- intents */
static void on_intended(bool recorded, void *arg, uint64_t token)
{
	struct waiter *waiter = arg;

	(void)token;
	send_done(peer_find(waiter->service, waiter->peer), IPC_INTENT_DONE, waiter->id, recorded);
	free(waiter);
}

static void fill_message(
	struct spool_message *message, const struct take *take, const struct ipc_intent *intent)
{
	memset(message, 0, sizeof *message);
	message->tid = take->id;
	message->sid = take->session;
	message->account = take->account;
	message->credential = take->credential;
	message->proxy = take->proxy;
	message->recipients = intent->recipients;
	message->bytes = intent->bytes;
	message->at_ms = clock_wall_ms();
	message->client = intent->client;
	message->sender_len = intent->sender_len;
	memcpy(message->sender, intent->sender, intent->sender_len);
	message->backend_len = intent->backend_len;
	memcpy(message->backend, intent->backend, intent->backend_len);
}

void serve_intent(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_intent *intent = payload;
	struct service *service = peer->service;
	struct spool_message message;
	struct waiter *waiter = NULL;

	if (transactions_intend(service->transactions, peer->index, id, intent->session))
		waiter = waiter_new(service);
	if (waiter == NULL) {
		send_done(peer, IPC_INTENT_DONE, id, false);
		return;
	}
	waiter->peer = peer->number;
	waiter->id = id;
	fill_message(&message, transactions_find(service->transactions, peer->index, id), intent);
	if (spool_intent(service->spool, &message, clock_monotonic_ms(), on_intended, waiter, 0) ==
		SPOOL_WAITING)
		return;
	free(waiter);
	send_done(peer, IPC_INTENT_DONE, id, false);
}

/* ------------------------------------------------------------------ outcomes */
static void on_recorded(bool recorded, void *arg, uint64_t token)
{
	struct waiter *waiter = arg;

	(void)token;
	serve_outcome_answer(
		waiter->service, &waiter->take, recorded ? TRANSACTION_DONE : TRANSACTION_LATER);
	free(waiter);
}

/* A time that cannot be is now. */
static uint64_t plausible(uint64_t at_ms)
{
	uint64_t now_ms = clock_wall_ms();

	return at_ms > now_ms + OUTCOME_EARLY_MS || at_ms + OUTCOME_LATE_MS < now_ms ? now_ms
										     : at_ms;
}

static void record_outcome(
	struct service *service, const struct take *take, const struct ipc_outcome *outcome)
{
	const struct spool_end end = {
		.proxy = take->proxy,
		.tid = take->id,
		.kind = (enum ipc_outcome_kind)outcome->kind,
		.code = outcome->code,
		.at_ms = plausible(outcome->at_ms),
		.recipients = outcome->recipients,
		.bytes = outcome->bytes,
		.queue_id_len = outcome->queue_id_len,
		.queue_id = outcome->queue_id,
	};
	struct waiter *waiter = waiter_new(service);
	enum spool_answer answer = SPOOL_REFUSED;

	if (waiter != NULL) {
		waiter->take = *take;
		answer = spool_outcome(service->spool, &end, on_recorded, waiter, 0);
	}
	if (answer == SPOOL_WAITING)
		return;
	free(waiter);
	serve_outcome_answer(
		service, take, answer == SPOOL_NOTHING ? TRANSACTION_DONE : TRANSACTION_LATER);
}

/* Where the transactions have nothing to do, the spool may have. */
void serve_outcome(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_outcome *outcome = payload;
	const struct take take = {.proxy = peer->index, .id = id};
	enum transaction_next next = transactions_outcome(
		peer->service->transactions, peer->index, id, (enum ipc_outcome_kind)outcome->kind);

	if (next == TRANSACTION_DONE)
		record_outcome(peer->service, &take, outcome);
	else
		serve_outcome_answer(peer->service, &take, next);
}

/* ---------------------------------------------------------------- give-backs */
void serve_spool_taken(
	struct service *service, const struct take *take, const struct take_grant *grant)
{
	struct spool_take record = {
		.tid = take->id,
		.sid = take->session,
		.account = take->account,
		.credential = take->credential,
		.proxy = take->proxy,
		.messages = grant->messages,
		.recipients = grant->recipients,
		.bytes = grant->bytes,
		.taken_ms = clock_wall_ms(),
		.receipt_len = grant->receipt_len,
	};

	/* What was spent from a lease, or under grace, is in this process's memory alone. */
	memcpy(record.receipt, grant->receipt, grant->receipt_len);
	spool_take(service->spool, &record, clock_monotonic_ms());
}

/* The state is RETURNING since the record was asked for. */
static void start_recorded(struct service *service, uint64_t token)
{
	struct take *take = transactions_returning(service->transactions, token);

	if (take == NULL)
		return;
	switch (serve_give_back(take, service)) {
	case TRANSACTION_STARTED:
		return;
	case TRANSACTION_AT_ONCE:
		serve_returned(TRANSACTION_RETURNED, service, token);
		return;
	case TRANSACTION_NOT_NOW:
		serve_returned(TRANSACTION_NOT_RETURNED, service, token);
		return;
	}
}

static void on_return_recorded(bool recorded, void *arg, uint64_t token)
{
	if (recorded)
		start_recorded(arg, token);
	else
		serve_returned(TRANSACTION_NOT_RETURNED, arg, token);
}

enum transaction_start serve_recorded_give_back(struct take *take, void *arg)
{
	struct service *service = arg;
	const struct spool_end end = {.proxy = take->proxy,
		.tid = take->id,
		.kind = IPC_OUTCOME_ABORTED,
		.at_ms = clock_wall_ms()};

	switch (spool_outcome(service->spool, &end, on_return_recorded, service, take->token)) {
	case SPOOL_WAITING:
		return TRANSACTION_STARTED;
	case SPOOL_REFUSED:
		return TRANSACTION_NOT_NOW;
	case SPOOL_NOTHING:
		break; /* that there is one is on disk, or nothing of the take ever was */
	}
	return serve_give_back(take, service);
}

/* ----------------------------------------------------------------- re-attach */
static void restore_grant(struct take *take, const struct spool_take *from)
{
	struct take_grant *grant = &take->grants[from->messages == 0 ? 1 : 0];

	/* Without a receipt it cannot be given back. */
	if (from->receipt_len == 0)
		return;
	grant->messages = from->messages;
	grant->recipients = from->recipients;
	grant->bytes = from->bytes;
	grant->receipt_len = from->receipt_len;
	memcpy(grant->receipt, from->receipt, from->receipt_len);
}

static void restore(const struct spool_open *open, void *arg)
{
	struct service *service = arg;
	struct take take = {.proxy = open->proxy, .id = open->tid};

	if (open->take_count == 0)
		return;
	take.session = open->takes[0].sid;
	take.account = open->takes[0].account;
	take.credential = open->takes[0].credential;
	take.messages = open->takes[0].messages;
	take.recipients = open->takes[0].recipients;
	for (size_t i = 0; i < open->take_count; i++)
		restore_grant(&take, &open->takes[i]);
	if (!transactions_restore(service->transactions, &take, open->intended,
		    clock_monotonic_ms(), SPOOL_GRACE_MS))
		log_message(LOG_WARNING, "restore-refused",
			"a take of an earlier process stays charged: proxy %u has too many",
			open->proxy);
}

void serve_outcome_restore(struct service *service)
{
	spool_each_open(service->spool, restore, service);
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

	if (announced->taken == 1)
		(void)spool_claim(peer->service->spool, peer->index, id);
	if (session != NULL)
		transactions_attach(peer->service->transactions, &take, announced->taken == 1,
			clock_monotonic_ms());
}
