/* SPDX-License-Identifier: ISC */
/* Transactions and their settlement with auth; see transaction.h. */
#include "proxy/transaction.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/id.h"
#include "common/log.h"
#include "proxy/auth_client.h"
#include "proxy/author.h"
#include "proxy/backend.h"
#include "proxy/session.h"
#include "proxy/stream.h"

#include <stdlib.h>
#include <string.h>

struct transaction *transaction_open(struct session *session)
{
	struct transaction *transaction = calloc(1, sizeof *transaction);

	require(session->transaction == NULL);
	if (transaction == NULL)
		return NULL;
	transaction->id = id_new();
	transaction->started_ms = clock_monotonic_ms();
	if (!auth_client_add(session->worker->auth, transaction->id, session)) {
		free(transaction);
		return NULL;
	}
	session->transaction = transaction;
	return transaction;
}

uint64_t transaction_declared(const struct transaction *transaction)
{
	return transaction->mail.has_size ? transaction->mail.size : 0;
}

bool transaction_add_recipient(struct session *session, const struct path *recipient)
{
	struct transaction *t = session->transaction;

	if ((t->wants & IPC_WANTS_RECIPIENTS) == 0)
		return true;
	uint64_t hash = recipient_hash(session->account, recipient->text, recipient->len);
	if (!recipient_hashes_add(&t->hashes, hash))
		return false;
	stream_count_queued(&t->hashes.counted, recipient_hashes_size(&t->hashes));
	return true;
}

void transaction_forget_recipients(struct transaction *transaction)
{
	stream_count_queued(&transaction->hashes.counted, 0);
	recipient_hashes_free(&transaction->hashes);
}

static const char *outcome_word(const struct transaction *transaction)
{
	if (transaction->reason != NULL)
		return transaction->reason;
	if (transaction->end == END_ANSWERED)
		return transaction->code / 100 == 2 ? "accepted" : "refused";
	return "aborted";
}

static bool limit_refused(const struct transaction *t)
{
	return t->verdict.policy == IPC_POLICY_LIMIT ||
	       t->verdict.policy == IPC_POLICY_LIMIT_REJECT ||
	       t->verdict.policy == IPC_POLICY_LIMIT_NEVER;
}

static void write_line(const struct session *session)
{
	const struct transaction *t = session->transaction;
	char text[ADDRESS_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_INFO, "transaction");
	log_id(&line, "sid", session->id);
	log_id(&line, "tid", t->id);
	log_uint(&line, "account", session->account);
	log_text(&line, "login", session->login != NULL ? session->login : "");
	log_text(&line, "rip", address_format_host(&session->client, text));
	log_bytes(&line, "from", t->mail.sender.text, t->mail.sender.len);
	log_uint(&line, "nrcpt", t->accepted);
	log_uint(&line, "size", t->body.bytes_in);
	if (session->backend != NULL)
		log_text(&line, "backend", address_format(backend_address(session->backend), text));
	if (t->queue_id_len > 0)
		log_bytes(&line, "bqid", t->queue_id, t->queue_id_len);
	log_uint(&line, "code", t->code);
	log_text(&line, "reason", outcome_word(t));
	if (limit_refused(t))
		log_bytes(&line, "meter", t->verdict.meter, t->verdict.meter_len);
	log_uint(&line, "ms", clock_monotonic_ms() - t->started_ms);
	log_end(&line);
}

static enum counter outcome_counter(enum ipc_outcome_kind kind)
{
	switch (kind) {
	case IPC_OUTCOME_ACCEPTED:
		return COUNTER_MESSAGES_ACCEPTED;
	case IPC_OUTCOME_REFUSED:
		return COUNTER_MESSAGES_REFUSED;
	case IPC_OUTCOME_ABORTED:
		return COUNTER_MESSAGES_ABORTED;
	case IPC_OUTCOME_UNKNOWN:
		return COUNTER_MESSAGES_UNKNOWN;
	}
	panic("no such outcome");
}

void transaction_settle(struct session *session, enum ipc_outcome_kind kind)
{
	struct transaction *t = session->transaction;

	if (t->take != TAKE_GRANTED)
		return;
	t->take = TAKE_SETTLED;
	counter_add(outcome_counter(kind), 1);
	if (kind == IPC_OUTCOME_ACCEPTED)
		counter_add(COUNTER_RECIPIENTS_ACCEPTED, t->accepted);
	struct ipc_outcome outcome = {
		.session = session->id,
		.bytes = t->body.bytes_in,
		.at_ms = clock_wall_ms(),
		.recipients = t->accepted,
		.code = t->code,
		.kind = (uint8_t)kind,
		.queue_id_len = t->queue_id_len,
	};
	memcpy(outcome.queue_id, t->queue_id, t->queue_id_len);
	auth_client_outcome(session->worker->auth, t->id, &outcome);
}

void transaction_close(struct session *session)
{
	struct transaction *t = session->transaction;

	if (t == NULL)
		return;
	transaction_settle(session, t->end == END_SENT ? IPC_OUTCOME_UNKNOWN : IPC_OUTCOME_ABORTED);
	auth_client_forget(session->worker->auth, session);
	auth_client_remove(session->worker->auth, t->id);
	write_line(session);
	counter_add(COUNTER_BODY_BYTES, t->body.bytes_in);
	session->transaction = NULL;
	author_free(&t->author);
	transaction_forget_recipients(t);
	stream_count_queued(&t->chunks.queue.counted, 0);
	chunk_queue_close(&t->chunks.queue);
	free(t->stored_reply);
	free(t);
}
