/* SPDX-License-Identifier: ISC */
/* The takes and their states; see transaction.h. */
#include "auth/transaction.h"

#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <stdlib.h>

enum take_state {
	TAKE_ASKED = 1, /* the database has not answered */
	TAKE_OPEN,
	TAKE_INTENDED,  /* the end of data may have been sent */
	TAKE_RETURNING, /* a give-back is under way */
};

struct record {
	struct take take;
	enum take_state state;
	bool refundable;
	bool decided;  /* an outcome that gives back came, and its sender waits for an answer */
	bool detached; /* its proxy has no channel */
	uint64_t opened_ms, detached_ms;
};

struct transactions {
	uint64_t expire_ms, last_token;
	transactions_give_back *give_back;
	void *arg;
	struct idmap *of_proxy[TRANSACTION_PROXIES_MAX]; /* by the proxy's id */
	struct idmap *tokens;
};

struct transactions *transactions_new(
	uint64_t expire_ms, transactions_give_back *give_back, void *arg)
{
	struct transactions *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	t->expire_ms = expire_ms;
	t->give_back = give_back;
	t->arg = arg;
	t->tokens = idmap_new();
	bool ok = t->tokens != NULL;
	for (size_t i = 0; ok && i < TRANSACTION_PROXIES_MAX; i++) {
		t->of_proxy[i] = idmap_new();
		ok = t->of_proxy[i] != NULL;
	}
	if (!ok)
		transactions_destroy(&t);
	return t;
}

static void free_record(uint64_t token, void *value, void *arg)
{
	(void)token;
	(void)arg;
	free(value);
}

void transactions_destroy(struct transactions **pointer)
{
	struct transactions *t = *pointer;

	if (t == NULL)
		return;
	*pointer = NULL;
	if (t->tokens != NULL)
		idmap_each(t->tokens, free_record, NULL);
	idmap_destroy(&t->tokens);
	for (size_t i = 0; i < TRANSACTION_PROXIES_MAX; i++)
		idmap_destroy(&t->of_proxy[i]);
	free(t);
}

size_t transactions_count(const struct transactions *t)
{
	return idmap_count(t->tokens);
}

static struct record *find(const struct transactions *t, unsigned proxy, uint64_t id)
{
	require(proxy < TRANSACTION_PROXIES_MAX);
	return idmap_get(t->of_proxy[proxy], id);
}

static void drop(struct transactions *t, struct record *record)
{
	idmap_take(t->tokens, record->take.token);
	idmap_take(t->of_proxy[record->take.proxy], record->take.id);
	free(record);
	counter_set(COUNTER_OPEN_TAKES, transactions_count(t));
}

static struct record *insert(
	struct transactions *t, const struct take *take, enum take_state state, uint64_t now_ms)
{
	if (find(t, take->proxy, take->id) != NULL ||
		idmap_count(t->of_proxy[take->proxy]) >= TRANSACTION_OPEN_MAX)
		return NULL;
	struct record *record = calloc(1, sizeof *record);
	if (record == NULL)
		return NULL;
	record->take = *take;
	record->take.token = ++t->last_token;
	record->state = state;
	record->opened_ms = now_ms;
	if (!idmap_put(t->tokens, record->take.token, record)) {
		free(record);
		return NULL;
	}
	if (!idmap_put(t->of_proxy[take->proxy], take->id, record)) {
		idmap_take(t->tokens, record->take.token);
		free(record);
		return NULL;
	}
	counter_set(COUNTER_OPEN_TAKES, transactions_count(t));
	return record;
}

bool transactions_begin(struct transactions *t, struct take *take, uint64_t now_ms)
{
	struct record *record = insert(t, take, TAKE_ASKED, now_ms);

	if (record == NULL)
		return false;
	record->refundable = true;
	take->token = record->take.token;
	return true;
}

/*
 * Starts the one give-back.  false: not now.  The message is known not to have been accepted, so an
 * intent is of no more meaning: the take is an open one until the give-back is recorded.
 */
static bool start_return(struct transactions *t, struct record *record)
{
	bool started = t->give_back(&record->take, t->arg);

	record->state = started ? TAKE_RETURNING : TAKE_OPEN;
	return started;
}

bool transactions_granted(struct transactions *t, uint64_t token, uint64_t taken_s, uint64_t now_ms,
	struct take *take_out, enum transaction_next *next_out)
{
	struct record *record = idmap_get(t->tokens, token);

	if (record == NULL || record->state != TAKE_ASKED)
		return false;
	record->state = TAKE_OPEN;
	record->take.taken_s = taken_s;
	record->opened_ms = now_ms;
	*take_out = record->take;
	*next_out = TRANSACTION_NOTHING;
	if (!record->decided)
		return true;
	*next_out = TRANSACTION_WAIT;
	if (!start_return(t, record)) {
		record->decided = false;
		*next_out = TRANSACTION_LATER;
	}
	return true;
}

bool transactions_refused(struct transactions *t, uint64_t token, struct take *take_out,
	enum transaction_next *next_out)
{
	struct record *record = idmap_get(t->tokens, token);

	if (record == NULL || record->state != TAKE_ASKED)
		return false;
	*take_out = record->take;
	*next_out = record->decided ? TRANSACTION_DONE : TRANSACTION_NOTHING;
	drop(t, record);
	return true;
}

bool transactions_intend(struct transactions *t, unsigned proxy, uint64_t id, uint64_t session)
{
	struct record *record = find(t, proxy, id);

	if (record == NULL || record->take.session != session ||
		(record->state != TAKE_OPEN && record->state != TAKE_INTENDED))
		return false;
	record->state = TAKE_INTENDED;
	return true;
}

/* The message was certainly not accepted. */
static enum transaction_next give_back(struct transactions *t, struct record *record)
{
	if (!record->refundable) {
		drop(t, record);
		return TRANSACTION_DONE;
	}
	if (record->state == TAKE_ASKED || record->state == TAKE_RETURNING) {
		record->decided = true;
		return TRANSACTION_WAIT;
	}
	if (!start_return(t, record))
		return TRANSACTION_LATER;
	record->decided = true;
	return TRANSACTION_WAIT;
}

enum transaction_next transactions_outcome(
	struct transactions *t, unsigned proxy, uint64_t id, enum ipc_outcome_kind kind)
{
	struct record *record = find(t, proxy, id);

	if (record == NULL)
		return TRANSACTION_DONE;
	switch (kind) {
	case IPC_OUTCOME_ACCEPTED:
	case IPC_OUTCOME_UNKNOWN:
		/* A give-back under way is past recall; a take not yet granted cannot have been
		 * used. */
		if (record->state == TAKE_ASKED || record->state == TAKE_RETURNING)
			return TRANSACTION_DONE;
		drop(t, record);
		return TRANSACTION_DONE;
	case IPC_OUTCOME_REFUSED:
	case IPC_OUTCOME_ABORTED:
		return give_back(t, record);
	}
	return TRANSACTION_DONE;
}

bool transactions_returned(struct transactions *t, uint64_t token,
	enum transaction_returned returned, struct take *take_out, enum transaction_next *next_out)
{
	struct record *record = idmap_get(t->tokens, token);

	if (record == NULL || record->state != TAKE_RETURNING)
		return false;
	*take_out = record->take;
	*next_out = TRANSACTION_NOTHING;
	switch (returned) {
	case TRANSACTION_RETURNED:
		counter_add(COUNTER_TAKES_RETURNED, record->take.messages);
		/* fall through */
	case TRANSACTION_UNCERTAIN:
		if (record->decided)
			*next_out = TRANSACTION_DONE;
		drop(t, record);
		break;
	case TRANSACTION_NOT_RETURNED:
		if (record->decided)
			*next_out = TRANSACTION_LATER;
		record->decided = false;
		record->state = TAKE_OPEN;
		break;
	}
	return true;
}

struct visit {
	struct transactions *transactions;
	uint64_t now_ms;
};

static void detach_one(uint64_t id, void *value, void *arg)
{
	const struct visit *visit = arg;
	struct record *record = value;

	(void)id;
	if (record->detached)
		return;
	record->detached = true;
	record->decided = false; /* who waited is gone */
	record->detached_ms = visit->now_ms;
}

void transactions_detach(struct transactions *t, unsigned proxy, uint64_t now_ms)
{
	struct visit visit = {.transactions = t, .now_ms = now_ms};

	require(proxy < TRANSACTION_PROXIES_MAX);
	idmap_each(t->of_proxy[proxy], detach_one, &visit);
}

void transactions_attach(
	struct transactions *t, const struct take *take, bool taken, uint64_t now_ms)
{
	struct record *record = find(t, take->proxy, take->id);

	if (record != NULL) {
		if (taken && record->take.session == take->session &&
			record->take.account == take->account)
			record->detached = false;
		return;
	}
	/* refundable stays false: only our own memory of a grant entitles to a give-back. */
	if (taken && insert(t, take, TAKE_OPEN, now_ms) == NULL)
		log_message(LOG_WARNING, "attach-refused", "proxy %u has too many open takes",
			take->proxy);
}

/* The grace is over: what was not intended never left, the rest may have. */
static void end_detached(struct transactions *t, struct record *record, uint64_t now_ms)
{
	switch (record->state) {
	case TAKE_ASKED:
	case TAKE_RETURNING:
		return; /* the database's answer comes first */
	case TAKE_INTENDED:
		drop(t, record);
		return;
	case TAKE_OPEN:
		if (!record->refundable || now_ms - record->detached_ms >= TRANSACTION_RETRY_MS)
			drop(t, record);
		else
			(void)start_return(t, record); /* false: the next sweep tries again */
		return;
	}
}

static void sweep_one(uint64_t token, void *value, void *arg)
{
	const struct visit *visit = arg;
	struct record *record = value;
	struct transactions *t = visit->transactions;

	(void)token;
	if (record->detached && visit->now_ms - record->detached_ms >= TRANSACTION_GRACE_MS)
		end_detached(t, record, visit->now_ms);
	else if (visit->now_ms - record->opened_ms >= t->expire_ms &&
		 (record->state == TAKE_OPEN || record->state == TAKE_INTENDED))
		drop(t, record);
}

void transactions_sweep(struct transactions *t, uint64_t now_ms)
{
	struct visit visit = {.transactions = t, .now_ms = now_ms};

	idmap_each(t->tokens, sweep_one, &visit);
}
