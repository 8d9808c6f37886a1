/* SPDX-License-Identifier: ISC */
/*
 * Sessions held in the fleet; see holds.h.
 *
 * An account is due when its number at the database is to change or to be renewed.  Several that
 * wait are asked for together; if that is too many, one after the other.
 */
#include "auth/holds.h"

#include "auth/array_text.h"
#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { NUMBER_MAX = 24 };

struct waiter {
	TAILQ_ENTRY(waiter) link;
	uint64_t token;
};

struct holder {
	TAILQ_ENTRY(holder) link; /* of due, or of kept */
	uint64_t account;
	int64_t limit;
	uint64_t count;         /* sessions here */
	uint64_t held, held_ms; /* at the database, by its last answer; when it was asked */
	uint64_t perhaps;       /* ... and at most, where an answer was lost */
	uint64_t retry_ms;      /* not due before */
	TAILQ_HEAD(, waiter) waiting;
	size_t waiting_count, asked_for; /* of these, in the call */
	enum { HOLDER_IDLE, HOLDER_KEPT, HOLDER_DUE, HOLDER_ASKED } state;
	bool one_by_one;
};

TAILQ_HEAD(holders, holder);

struct call {
	struct holds *holds;
	uint64_t sent_ms;
	size_t count;
	struct holder *holders[HOLDS_BATCH_MAX];
	uint64_t wanted[HOLDS_BATCH_MAX];
};

struct holds {
	struct take_lane lanes[TAKE_LANES];
	uint64_t node, now_ms;
	void (*wake)(uint64_t in_ms, void *arg);
	holds_done *done;
	void *arg;
	struct idmap *holders;    /* by account */
	struct holders due, kept; /* kept: the longest without a renewal first */
	size_t calls;
};

struct holds *holds_new(const struct take_lane *lanes, uint64_t node,
	void (*wake)(uint64_t in_ms, void *arg), holds_done *done, void *arg)
{
	struct holds *holds = calloc(1, sizeof *holds);

	if (holds == NULL)
		return NULL;
	for (size_t i = 0; i < TAKE_LANES; i++)
		holds->lanes[i] = lanes[i];
	holds->node = node;
	holds->wake = wake;
	holds->done = done;
	holds->arg = arg;
	TAILQ_INIT(&holds->due);
	TAILQ_INIT(&holds->kept);
	holds->holders = idmap_new();
	if (holds->holders == NULL)
		holds_destroy(&holds);
	return holds;
}

static void free_holder(uint64_t account, void *value, void *arg)
{
	struct holder *holder = value;

	(void)account;
	(void)arg;
	while (!TAILQ_EMPTY(&holder->waiting)) {
		struct waiter *waiter = TAILQ_FIRST(&holder->waiting);
		TAILQ_REMOVE(&holder->waiting, waiter, link);
		free(waiter);
	}
	free(holder);
}

void holds_destroy(struct holds **holds)
{
	if (*holds == NULL)
		return;
	require((*holds)->calls == 0);
	if ((*holds)->holders != NULL)
		idmap_each((*holds)->holders, free_holder, NULL);
	idmap_destroy(&(*holds)->holders);
	free(*holds);
	*holds = NULL;
}

size_t holds_accounts(const struct holds *holds)
{
	return idmap_count(holds->holders);
}

size_t holds_count(const struct holds *holds, uint64_t account)
{
	const struct holder *holder = idmap_get(holds->holders, account);

	return holder == NULL ? 0 : holder->count;
}

/* ------------------------------------------------------------------- states */
static struct holder *holder_of(struct holds *holds, uint64_t account)
{
	struct holder *holder = idmap_get(holds->holders, account);

	if (holder != NULL)
		return holder;
	holder = calloc(1, sizeof *holder);
	if (holder == NULL || !idmap_put(holds->holders, account, holder)) {
		free(holder);
		return NULL;
	}
	holder->account = account;
	holder->limit = ACCOUNT_UNLIMITED;
	TAILQ_INIT(&holder->waiting);
	return holder;
}

static void leave_list(struct holds *holds, struct holder *holder)
{
	if (holder->state == HOLDER_DUE)
		TAILQ_REMOVE(&holds->due, holder, link);
	if (holder->state == HOLDER_KEPT)
		TAILQ_REMOVE(&holds->kept, holder, link);
	holder->state = HOLDER_IDLE;
}

static void make_due(struct holds *holds, struct holder *holder)
{
	if (holder->state == HOLDER_ASKED || holder->state == HOLDER_DUE)
		return;
	leave_list(holds, holder);
	holder->state = HOLDER_DUE;
	TAILQ_INSERT_TAIL(&holds->due, holder, link);
	holds->wake(0, holds->arg);
}

/* After an answer or an end: due once more, kept for its renewal, or forgotten. */
static void settle(struct holds *holds, struct holder *holder)
{
	bool limited = holder->limit != ACCOUNT_UNLIMITED;

	if (holder->state == HOLDER_ASKED)
		return;
	if (holder->waiting_count > 0 || holder->perhaps > holder->count ||
		(limited && holder->held < holder->count)) {
		make_due(holds, holder);
		return;
	}
	leave_list(holds, holder);
	if (!limited)
		holder->held = holder->perhaps = 0; /* it runs out */
	if (holder->count == 0) {
		idmap_take(holds->holders, holder->account);
		free(holder);
	} else if (holder->held > 0) {
		holder->state = HOLDER_KEPT;
		TAILQ_INSERT_TAIL(&holds->kept, holder, link);
	}
}

/* Answers so many of those that wait, the first ones first. */
static void answer(struct holds *holds, struct holder *holder, size_t count, enum holds_answer how)
{
	for (; count > 0 && !TAILQ_EMPTY(&holder->waiting); count--) {
		struct waiter *waiter = TAILQ_FIRST(&holder->waiting);
		uint64_t token = waiter->token;
		TAILQ_REMOVE(&holder->waiting, waiter, link);
		holder->waiting_count--;
		free(waiter);
		if (how == HOLDS_GRANTED)
			holder->count++;
		if (how == HOLDS_REFUSED)
			counter_add(COUNTER_HOLDS_REFUSED, 1);
		holds->done(how, holds->arg, token);
	}
}

/* ------------------------------------------------------------------ sessions */
static bool is_held(const struct holder *holder, uint64_t now_ms)
{
	return holder->waiting_count == 0 && holder->count < holder->held &&
	       now_ms - holder->held_ms < HOLDS_TRUST_MS;
}

static bool wait_for(struct holds *holds, struct holder *holder, uint64_t token)
{
	struct waiter *waiter = calloc(1, sizeof *waiter);

	if (waiter == NULL)
		return false;
	waiter->token = token;
	TAILQ_INSERT_TAIL(&holder->waiting, waiter, link);
	holder->waiting_count++;
	holder->retry_ms = 0;
	make_due(holds, holder);
	return true;
}

void holds_ask(
	struct holds *holds, uint64_t account, int64_t limit, uint64_t token, uint64_t now_ms)
{
	struct holder *holder = holder_of(holds, account);

	if (holder == NULL) {
		holds->done(HOLDS_UNAVAILABLE, holds->arg, token);
		return;
	}
	holder->limit = limit;
	if (limit == ACCOUNT_UNLIMITED || is_held(holder, now_ms)) {
		holder->count++;
		holds->done(HOLDS_GRANTED, holds->arg, token);
	} else if (!wait_for(holds, holder, token)) {
		settle(holds, holder);
		holds->done(HOLDS_UNAVAILABLE, holds->arg, token);
	}
}

bool holds_add(struct holds *holds, uint64_t account)
{
	struct holder *holder = holder_of(holds, account);

	if (holder == NULL)
		return false;
	holder->count++;
	if (holder->limit != ACCOUNT_UNLIMITED)
		settle(holds, holder);
	return true;
}

void holds_end(struct holds *holds, uint64_t account)
{
	struct holder *holder = idmap_get(holds->holders, account);

	require(holder != NULL && holder->count > 0);
	holder->count--;
	settle(holds, holder);
}

void holds_limit(struct holds *holds, uint64_t account, int64_t limit)
{
	struct holder *holder = idmap_get(holds->holders, account);

	if (holder == NULL || holder->limit == limit)
		return;
	holder->limit = limit;
	settle(holds, holder);
}

/* ------------------------------------------------------------------- answers */
static void on_hold(struct holds *holds, struct holder *holder, uint64_t wanted,
	const struct query_hold_row *row, uint64_t sent_ms)
{
	size_t asked_for = holder->asked_for;

	if (row->granted) {
		holder->held = holder->perhaps = wanted;
		holder->held_ms = sent_ms;
		holder->one_by_one = false;
		answer(holds, holder, asked_for, HOLDS_GRANTED);
	} else if (asked_for > 1) {
		holder->one_by_one = true;
	} else if (asked_for == 1) {
		holder->one_by_one = false;
		answer(holds, holder, holder->waiting_count, HOLDS_REFUSED);
	} else {
		/* Sessions that are there are more than the limit: asked again, never ended. */
		holder->retry_ms = holds->now_ms + HOLDS_RETRY_MS;
	}
}

static void on_answer(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct call *call = arg;
	struct holds *holds = call->holds;
	struct query_hold_row read[HOLDS_BATCH_MAX];
	bool good = result == DATABASE_ROWS && query_parse_holds(rows, call->count, read);

	(void)token;
	if (result == DATABASE_ROWS && !good)
		log_message(LOG_ERROR, "query-bad", "sessions_hold returned another shape of rows");
	for (size_t i = 0; i < call->count; i++) {
		struct holder *holder = call->holders[i];
		if (good) {
			on_hold(holds, holder, call->wanted[i], &read[i], call->sent_ms);
		} else {
			if (result != DATABASE_UNAVAILABLE && call->wanted[i] > holder->perhaps)
				holder->perhaps = call->wanted[i];
			holder->retry_ms = holds->now_ms + HOLDS_RETRY_MS;
			answer(holds, holder, holder->asked_for, HOLDS_UNAVAILABLE);
		}
		holder->asked_for = 0;
		holder->state = HOLDER_IDLE;
		settle(holds, holder);
	}
	holds->calls--;
	free(call);
}

/* ------------------------------------------------------------------- asking */
static bool send_call(struct holds *holds, struct call *call)
{
	struct array_text accounts = {0}, counts = {0};
	char node[NUMBER_MAX];
	bool sent = false;

	snprintf(node, sizeof node, "%" PRIu64, holds->node);
	for (size_t i = 0; i < call->count; i++) {
		array_text_number(&accounts, (int64_t)call->holders[i]->account);
		array_text_number(&counts, (int64_t)call->wanted[i]);
	}
	const char *values[] = {node, array_text_end(&accounts), array_text_end(&counts)};
	for (size_t i = 0; i < TAKE_LANES && values[1] != NULL && values[2] != NULL && !sent; i++) {
		const struct take_lane *to = &holds->lanes[(holds->calls + i) % TAKE_LANES];
		sent = to->ask(to->database, QUERY_SESSIONS_HOLD, values, on_answer, call, 0);
	}
	array_text_free(&accounts);
	array_text_free(&counts);
	return sent;
}

static void load(struct holds *holds, struct call *call)
{
	struct holder *holder = TAILQ_FIRST(&holds->due), *next;

	for (; holder != NULL && call->count < HOLDS_BATCH_MAX; holder = next) {
		next = TAILQ_NEXT(holder, link);
		if (holder->retry_ms > holds->now_ms)
			continue;
		TAILQ_REMOVE(&holds->due, holder, link);
		holder->state = HOLDER_ASKED;
		holder->asked_for =
			holder->one_by_one && holder->waiting_count > 1 ? 1 : holder->waiting_count;
		call->wanted[call->count] = holder->count + holder->asked_for;
		call->holders[call->count++] = holder;
	}
}

/* false: there is nothing to ask, or nobody. */
static bool send_due(struct holds *holds)
{
	struct call *call = calloc(1, sizeof *call);

	if (call == NULL)
		return false;
	call->holds = holds;
	call->sent_ms = holds->now_ms;
	load(holds, call);
	if (call->count == 0) {
		free(call);
		return false;
	}
	holds->calls++;
	if (send_call(holds, call))
		return true;
	on_answer(DATABASE_UNAVAILABLE, NULL, call, 0);
	return false;
}

void holds_tick(struct holds *holds, uint64_t now_ms)
{
	holds->now_ms = now_ms;
	while (!TAILQ_EMPTY(&holds->kept) &&
		now_ms - TAILQ_FIRST(&holds->kept)->held_ms >= HOLDS_RENEW_MS)
		make_due(holds, TAILQ_FIRST(&holds->kept));
	while (holds->calls < HOLDS_CALLS_MAX && send_due(holds))
		;
}
