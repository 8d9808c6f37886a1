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
	TAKE_MORE,      /* open, and the database is asked for more octets */
	TAKE_INTENDED,  /* the end of data may have been sent */
	TAKE_RETURNING, /* a give-back is under way */
};

struct record {
	struct take take;
	enum take_state state;
	bool refundable;
	bool decided;  /* an outcome that gives back came, and its sender waits for an answer */
	bool more;     /* it was asked for once */
	bool detached; /* its proxy has no channel */
	uint64_t opened_ms, detached_ms, grace_ms;
};

struct transactions {
	uint64_t expire_ms, last_token;
	enum transaction_start (*give_back)(struct take *take, void *arg);
	transactions_keep *keep;
	void *arg;
	struct idmap *of_proxy[TRANSACTION_PROXIES_MAX]; /* by the proxy's id */
	struct idmap *tokens;
	struct idmap *returning; /* of accounts: how many give-backs are under way, as a pointer */
};

struct transactions *transactions_new(uint64_t expire_ms,
	enum transaction_start (*give_back)(struct take *take, void *arg), transactions_keep *keep,
	void *arg)
{
	struct transactions *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	t->expire_ms = expire_ms;
	t->give_back = give_back;
	t->keep = keep;
	t->arg = arg;
	t->tokens = idmap_new();
	t->returning = idmap_new();
	bool ok = t->tokens != NULL && t->returning != NULL;
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
	struct record *record = value;

	(void)token;
	(void)arg;
	recipients_unref(&record->take.whom);
	free(record);
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
	idmap_destroy(&t->returning);
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

/* Out of memory costs the order of takes, and nothing else. */
static void count_returning(struct transactions *t, uint64_t account, bool more)
{
	uintptr_t count = (uintptr_t)idmap_take(t->returning, account);

	if (more)
		count++;
	else if (count > 0)
		count--;
	if (count > 0 && !idmap_put(t->returning, account, (void *)count))
		log_message(LOG_WARNING, "out-of-memory", "a take may be refused too early");
}

static void set_state(struct transactions *t, struct record *record, enum take_state state)
{
	if ((record->state == TAKE_RETURNING) != (state == TAKE_RETURNING))
		count_returning(t, record->take.account, state == TAKE_RETURNING);
	record->state = state;
}

size_t transactions_giving_back(const struct transactions *t, uint64_t account)
{
	return (uintptr_t)idmap_get(t->returning, account);
}

static void drop(struct transactions *t, struct record *record)
{
	set_state(t, record, TAKE_OPEN);
	idmap_take(t->tokens, record->take.token);
	idmap_take(t->of_proxy[record->take.proxy], record->take.id);
	recipients_unref(&record->take.whom);
	free(record);
	counter_set(COUNTER_OPEN_TAKES, transactions_count(t));
}

/* Its message was accepted, or may have been. */
static void drop_charged(struct transactions *t, struct record *record)
{
	t->keep(&record->take, t->arg);
	drop(t, record);
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

bool transactions_more(struct transactions *t, unsigned proxy, uint64_t id, uint64_t session,
	uint64_t peer, struct take *take_out)
{
	struct record *record = find(t, proxy, id);

	if (record == NULL || record->state != TAKE_OPEN || record->take.session != session ||
		record->decided || record->more)
		return false;
	record->state = TAKE_MORE;
	record->more = true;
	record->take.peer = peer;
	*take_out = record->take;
	return true;
}

static bool awaits_answer(const struct record *record)
{
	return record->state == TAKE_ASKED || record->state == TAKE_MORE;
}

/*
 * Starts the one give-back; AT_ONCE: the record is gone.  The message is known not to have been
 * accepted, so an intent is of no more meaning: the take is an open one until the give-back is
 * recorded.
 */
static enum transaction_start start_return(struct transactions *t, struct record *record)
{
	enum transaction_start start = t->give_back(&record->take, t->arg);

	set_state(t, record, start == TRANSACTION_STARTED ? TAKE_RETURNING : TAKE_OPEN);
	if (start == TRANSACTION_AT_ONCE) {
		counter_add(COUNTER_TAKES_RETURNED, record->take.messages);
		drop(t, record);
	}
	return start;
}

/* The same for somebody who waits for its end. */
static enum transaction_next return_for(struct transactions *t, struct record *record)
{
	record->decided = true;
	switch (start_return(t, record)) {
	case TRANSACTION_STARTED:
		return TRANSACTION_WAIT;
	case TRANSACTION_AT_ONCE:
		return TRANSACTION_DONE;
	case TRANSACTION_NOT_NOW:
		break;
	}
	record->decided = false;
	return TRANSACTION_LATER;
}

bool transactions_granted(struct transactions *t, uint64_t token, const struct take_grant *grant,
	uint64_t now_ms, struct take *take_out, enum transaction_next *next_out)
{
	struct record *record = idmap_get(t->tokens, token);

	if (record == NULL || !awaits_answer(record))
		return false;
	record->take.grants[record->state == TAKE_MORE ? 1 : 0] = *grant;
	record->state = TAKE_OPEN;
	record->opened_ms = now_ms;
	*take_out = record->take;
	take_out->whom = NULL;
	*next_out = record->decided ? return_for(t, record) : TRANSACTION_NOTHING;
	return true;
}

bool transactions_refused(struct transactions *t, uint64_t token, struct take *take_out,
	enum transaction_next *next_out)
{
	struct record *record = idmap_get(t->tokens, token);

	if (record == NULL || !awaits_answer(record))
		return false;
	*take_out = record->take;
	take_out->whom = NULL;
	if (record->state == TAKE_MORE) {
		record->state = TAKE_OPEN;
		*next_out = record->decided ? return_for(t, record) : TRANSACTION_NOTHING;
		return true;
	}
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
	if (awaits_answer(record) || record->state == TAKE_RETURNING) {
		record->decided = true;
		return TRANSACTION_WAIT;
	}
	if (record->refundable)
		return return_for(t, record);
	drop_charged(t, record);
	return TRANSACTION_DONE;
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
		if (awaits_answer(record) || record->state == TAKE_RETURNING)
			return TRANSACTION_DONE;
		drop_charged(t, record);
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
	take_out->whom = NULL;
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
		set_state(t, record, TAKE_OPEN);
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
	record->grace_ms = TRANSACTION_GRACE_MS;
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

bool transactions_restore(struct transactions *t, const struct take *take, bool intended,
	uint64_t now_ms, uint64_t grace_ms)
{
	struct record *record = insert(t, take, intended ? TAKE_INTENDED : TAKE_OPEN, now_ms);

	if (record == NULL)
		return false;
	record->refundable = true;
	record->detached = true;
	record->detached_ms = now_ms;
	record->grace_ms = grace_ms;
	return true;
}

struct take *transactions_returning(struct transactions *t, uint64_t token)
{
	struct record *record = idmap_get(t->tokens, token);

	return record != NULL && record->state == TAKE_RETURNING ? &record->take : NULL;
}

const struct take *transactions_find(const struct transactions *t, unsigned proxy, uint64_t id)
{
	const struct record *record = find(t, proxy, id);

	return record == NULL ? NULL : &record->take;
}

/* The grace is over: what was not intended never left, the rest may have. */
static void end_detached(struct transactions *t, struct record *record, uint64_t now_ms)
{
	switch (record->state) {
	case TAKE_ASKED:
	case TAKE_MORE:
	case TAKE_RETURNING:
		return; /* the database's answer comes first */
	case TAKE_INTENDED:
		drop_charged(t, record);
		return;
	case TAKE_OPEN:
		if (!record->refundable || now_ms - record->detached_ms >= TRANSACTION_RETRY_MS)
			drop_charged(t, record);
		else
			(void)start_return(t, record); /* NOT_NOW: the next sweep tries again */
		return;
	}
}

static void sweep_one(uint64_t token, void *value, void *arg)
{
	const struct visit *visit = arg;
	struct record *record = value;
	struct transactions *t = visit->transactions;

	(void)token;
	if (record->detached && visit->now_ms - record->detached_ms >= record->grace_ms)
		end_detached(t, record, visit->now_ms);
	else if (visit->now_ms - record->opened_ms >= t->expire_ms &&
		 (record->state == TAKE_OPEN || record->state == TAKE_INTENDED))
		drop_charged(t, record);
}

void transactions_sweep(struct transactions *t, uint64_t now_ms)
{
	struct visit visit = {.transactions = t, .now_ms = now_ms};

	idmap_each(t->tokens, sweep_one, &visit);
}
