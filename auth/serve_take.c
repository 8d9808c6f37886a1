/* SPDX-License-Identifier: ISC */
/* Takes of a proxy, and their return; see serve.h and transaction.h. */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <string.h>

/* ------------------------------------------------------------------ answers */
static enum ipc_policy policy_of(enum quota_answer answer)
{
	switch (answer) {
	case QUOTA_GRANTED:
		return IPC_POLICY_OK;
	case QUOTA_REFUSED:
		return IPC_POLICY_LIMIT;
	case QUOTA_REJECTED:
		return IPC_POLICY_LIMIT_REJECT;
	case QUOTA_NEVER:
		return IPC_POLICY_LIMIT_NEVER;
	case QUOTA_REVOKED:
		return IPC_POLICY_REVOKED;
	case QUOTA_UNAVAILABLE:
		return IPC_POLICY_UNAVAILABLE;
	}
	return IPC_POLICY_UNAVAILABLE;
}

enum ipc_policy serve_limit_policy(const struct query_quota_row *row)
{
	return row->result == QUERY_QUOTA_REJECTED ? IPC_POLICY_LIMIT_REJECT : IPC_POLICY_LIMIT;
}

static bool is_refusal(enum quota_answer answer)
{
	return answer == QUOTA_REFUSED || answer == QUOTA_REJECTED;
}

static void log_warning(const struct session *session, const struct query_quota_row *row)
{
	struct log_line line;

	counter_add(COUNTER_LIMIT_WARNINGS, 1);
	log_begin(&line, LOG_WARNING, "limit-warning");
	log_bytes(&line, "login", session->login, session->login_len);
	log_uint(&line, "account", session->account);
	log_bytes(&line, "meter", row->warned, row->warned_len);
	log_uint(&line, "used", row->used);
	log_uint(&line, "limit", row->limit);
	log_end(&line);
}

static void learn(
	struct service *service, const struct session *session, const struct quota_result *result)
{
	const struct take_wanted *wanted = result->wanted;

	/* The cached row is wrong, whatever its age. */
	if (result->answer == QUOTA_REVOKED)
		row_cache_forget(service->accounts, session->login, session->login_len);
	if (is_refusal(result->answer) && wanted->messages == 1)
		quota_memory_put(service->known_empty, wanted->account, wanted->credential,
			session->version, wanted->recipients, result->row, clock_monotonic_ms(),
			clock_wall_ms() / 1000);
	if (result->answer == QUOTA_GRANTED && result->row != NULL && result->row->warned_len > 0)
		log_warning(session, result->row);
}

static void count_take(const struct quota_result *result)
{
	if (result->answer == QUOTA_GRANTED)
		counter_add(COUNTER_TAKES_GRANTED, result->wanted->messages);
	if (is_refusal(result->answer) || result->answer == QUOTA_NEVER)
		counter_add(COUNTER_TAKES_REFUSED, result->wanted->messages);
}

void serve_taken(const struct quota_result *result, void *arg)
{
	struct service *service = arg;
	uint64_t token = result->wanted->token;
	struct take take;
	enum transaction_next next;
	bool known;

	if (result->answer == QUOTA_GRANTED)
		known = transactions_granted(service->transactions, token, &result->grant,
			clock_monotonic_ms(), &take, &next);
	else
		known = transactions_refused(service->transactions, token, &take, &next);
	if (!known)
		return;
	if (result->answer != QUOTA_GRANTED && result->wanted->messages > 0)
		burst_give_back(service->burst, take.account, take.messages, take.recipients,
			take.burst_ms);
	count_take(result);
	/* Else it is on its way back already. */
	if (result->answer == QUOTA_GRANTED && next == TRANSACTION_NOTHING)
		serve_spool_taken(service, &take, &result->grant);
	/* A new channel of the same proxy does not wait for this answer. */
	struct peer *peer = peer_find(service, take.peer);
	if (peer != NULL) {
		const struct session *session = session_find(peer, take.session);
		peer->requests--;
		if (session != NULL)
			learn(service, session, result);
		serve_policy_refused(
			service, session, take.id, policy_of(result->answer), NULL, result->row);
		peer_send_policy(
			peer, IPC_TAKE_VERDICT, take.id, policy_of(result->answer), result->row);
	}
	serve_outcome_answer(service, &take, next);
}

/* ---------------------------------------------------------------- questions */
static void burst_return(struct service *service, const struct take *take)
{
	burst_give_back(
		service->burst, take->account, take->messages, take->recipients, take->burst_ms);
}

static void refuse(struct peer *peer, uint64_t id, enum ipc_policy policy)
{
	peer_send_policy(peer, IPC_TAKE_VERDICT, id, policy, NULL);
}

/* Asks; perhaps it is answered before this returns. */
static void ask(struct peer *peer, const struct session *session, const struct take *take,
	struct take_wanted *wanted)
{
	struct service *service = peer->service;
	struct take gone;
	enum transaction_next next;

	wanted->token = take->token;
	wanted->account = take->account;
	wanted->credential = take->credential;
	wanted->domain = session->domain == NULL ? "" : session->domain;
	wanted->meters = session->meters;
	peer->requests++;
	if (quota_take(service->quota, wanted, clock_monotonic_ms()))
		return;
	peer->requests--;
	if (!transactions_refused(service->transactions, take->token, &gone, &next))
		panic("a take that was just begun is gone");
	if (wanted->messages > 0)
		burst_return(service, take);
	refuse(peer, take->id, IPC_POLICY_UNAVAILABLE);
}

/* Octets besides what the transaction's own take was for. */
static void ask_more(struct peer *peer, const struct session *session, uint64_t id,
	const struct ipc_take_request *request)
{
	struct take take;
	struct take_wanted wanted = {.bytes = request->bytes};

	if (!peer_has_room(peer) || !transactions_more(peer->service->transactions, peer->index, id,
					    request->session, peer->number, &take))
		refuse(peer, id, IPC_POLICY_UNAVAILABLE);
	else
		ask(peer, session, &take, &wanted);
}

/* Of a minute, on this node; false: it is refused. */
static bool fits_burst(struct peer *peer, const struct session *session, struct take *take)
{
	struct service *service = peer->service;
	uint64_t now_ms = clock_monotonic_ms();
	struct burst_refusal refusal = {.meter = ""};
	struct query_quota_row row = {.result = QUERY_QUOTA_REFUSED};
	enum burst_answer answer = burst_take(service->burst, take->account, &session->meters,
		take->messages, take->recipients, now_ms, &refusal);

	switch (answer) {
	case BURST_FITS:
		take->burst_ms = now_ms;
		return true;
	case BURST_CROWDED:
		refuse(peer, take->id, IPC_POLICY_UNAVAILABLE);
		return false;
	case BURST_FULL:
	case BURST_NEVER:
		break;
	}
	row.limit = refusal.limit;
	row.used = refusal.used;
	row.reset_s = answer == BURST_NEVER ? 0 : (clock_wall_ms() + refusal.in_ms + 999) / 1000;
	row.meter_len = (uint8_t)strlen(refusal.meter);
	memcpy(row.meter, refusal.meter, row.meter_len);
	counter_add(COUNTER_BURSTS_REFUSED, take->messages);
	counter_add(COUNTER_TAKES_REFUSED, take->messages);
	serve_refused(service, session, take->id, REFUSAL_BURST, answer == BURST_NEVER ? 550 : 450,
		NULL, &row);
	peer_send_policy(peer, IPC_TAKE_VERDICT, take->id,
		answer == BURST_NEVER ? IPC_POLICY_LIMIT_NEVER : IPC_POLICY_LIMIT, &row);
	return false;
}

void serve_take_go(
	struct peer *peer, struct session *session, const struct take *take, uint64_t bytes)
{
	struct take_wanted wanted = {
		.bytes = bytes,
		.messages = take->messages,
		.recipients = take->recipients,
		.whom = take->whom,
	};

	ask(peer, session, take, &wanted);
}

static void begin_take(
	struct peer *peer, struct session *session, struct take *take, uint64_t bytes)
{
	if (!session_take_recipients(peer, session, take->id, take->recipients, &take->whom) ||
		!peer_has_room(peer)) {
		recipients_unref(&take->whom);
		refuse(peer, take->id, IPC_POLICY_UNAVAILABLE);
		return;
	}
	if (!fits_burst(peer, session, take)) {
		recipients_unref(&take->whom);
		return;
	}
	if (!transactions_begin(peer->service->transactions, take, clock_monotonic_ms())) {
		burst_return(peer->service, take);
		recipients_unref(&take->whom);
		refuse(peer, take->id, IPC_POLICY_UNAVAILABLE);
		return;
	}
	if (serve_order_wait(peer, take, bytes))
		return;
	serve_take_go(peer, session, take, bytes);
}

/* Nobody is there any more to whom it could be granted. */
void serve_take_forget(struct service *service, const struct take *take)
{
	struct take gone;
	enum transaction_next next;

	burst_return(service, take);
	if (transactions_refused(service->transactions, take->token, &gone, &next))
		serve_outcome_answer(service, &gone, next);
}

void serve_take_request(struct peer *peer, uint64_t id, const void *payload)
{
	const struct ipc_take_request *request = payload;
	struct session *session = session_find(peer, request->session);
	struct take take = {
		.proxy = peer->index,
		.peer = peer->number,
		.id = id,
		.session = request->session,
		.messages = request->messages,
		.recipients = request->recipients,
	};

	if (session == NULL) {
		refuse(peer, id, IPC_POLICY_REVOKED);
		return;
	}
	if (request->messages == 0) {
		ask_more(peer, session, id, request);
		return;
	}
	take.account = session->account;
	take.credential = session->credential;
	begin_take(peer, session, &take, request->bytes);
}

/* --------------------------------------------------------------- give-backs */
enum transaction_start serve_give_back(struct take *take, void *arg)
{
	struct service *service = arg;
	enum transaction_start start = quota_give_back(service->quota, take, clock_monotonic_ms());

	/* There may be room again. */
	quota_memory_forget(service->known_empty, take->account, take->credential);
	if (start == TRANSACTION_AT_ONCE)
		burst_return(service, take);
	return start;
}

void serve_keep(const struct take *take, void *arg)
{
	struct service *service = arg;

	quota_keep(service->quota, take);
}

void serve_returned(enum transaction_returned returned, void *arg, uint64_t token)
{
	struct service *service = arg;
	struct take take;
	enum transaction_next next;

	if (!transactions_returned(service->transactions, token, returned, &take, &next))
		return;
	if (returned == TRANSACTION_RETURNED) {
		quota_returned_one(service->quota, &take);
		burst_return(service, &take);
		quota_memory_forget(service->known_empty, take.account, take.credential);
	}
	serve_outcome_answer(service, &take, next);
	serve_order_returned(service, take.account);
}
