/* SPDX-License-Identifier: ISC */
/*
 * The live sessions by account; see live.h.
 *
 * Every change begins a round of its account.  A session is checked when it has passed the last
 * round; a look-up answers for the round in which it was sent, and for the sessions of its login
 * (an account may have been renamed under one, or be known by several).  Answers come back by
 * ticket: an account whose last session went has none any more.
 */
#include "auth/live.h"

#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

struct live_account {
	uint64_t id, round;
	LIST_HEAD(, live_session) sessions;
	TAILQ_ENTRY(live_account) due;
	bool queued;
	bool held;       /* its sessions are being checked: it stays */
	uint64_t ticket; /* of the look-up in flight; 0: none */
	uint64_t asked_round;
	uint16_t asked_len;
	uint8_t *asked; /* the login, while it is looked up: the session may be gone */
};

struct live {
	struct row_cache *accounts;
	live_check *check;
	void *arg;
	struct idmap *by_id;   /* struct live_account */
	struct idmap *flights; /* the same, by ticket */
	TAILQ_HEAD(, live_account) due;
	size_t due_count, in_flight;
	uint64_t last_ticket;
	uint64_t paused_until_ms; /* the database did not answer */
	uint64_t now_ms;          /* of the call that is being served */
	bool pumping;
};

struct live *live_new(struct row_cache *accounts, live_check *check, void *arg)
{
	struct live *live = calloc(1, sizeof *live);

	if (live == NULL)
		return NULL;
	live->accounts = accounts;
	live->check = check;
	live->arg = arg;
	TAILQ_INIT(&live->due);
	live->by_id = idmap_new();
	live->flights = idmap_new();
	if (live->by_id == NULL || live->flights == NULL)
		live_destroy(&live);
	return live;
}

void live_destroy(struct live **pointer)
{
	struct live *live = *pointer;

	if (live == NULL)
		return;
	*pointer = NULL;
	require(live->by_id == NULL || idmap_count(live->by_id) == 0);
	idmap_destroy(&live->by_id);
	idmap_destroy(&live->flights);
	free(live);
}

/* -------------------------------------------------------------------- index */
static void set_queued(struct live *live, struct live_account *account, bool queued)
{
	if (account->queued == queued)
		return;
	account->queued = queued;
	if (queued) {
		TAILQ_INSERT_TAIL(&live->due, account, due);
		live->due_count++;
	} else {
		TAILQ_REMOVE(&live->due, account, due);
		live->due_count--;
	}
}

/* A change that names its account does not wait for thousands that may be as they were. */
static void queue_first(struct live *live, struct live_account *account)
{
	set_queued(live, account, true);
	TAILQ_REMOVE(&live->due, account, due);
	TAILQ_INSERT_HEAD(&live->due, account, due);
}

static void drop_if_empty(struct live *live, struct live_account *account)
{
	if (account->held || !LIST_EMPTY(&account->sessions))
		return;
	set_queued(live, account, false);
	if (account->ticket != 0)
		idmap_take(live->flights, account->ticket);
	idmap_take(live->by_id, account->id);
	free(account->asked);
	free(account);
}

static struct live_account *account_of(struct live *live, uint64_t id)
{
	struct live_account *account = idmap_get(live->by_id, id);

	if (account != NULL)
		return account;
	account = calloc(1, sizeof *account);
	if (account == NULL || !idmap_put(live->by_id, id, account)) {
		free(account);
		return NULL;
	}
	account->id = id;
	account->round = 1;
	LIST_INIT(&account->sessions);
	return account;
}

bool live_add(struct live *live, struct live_session *session, uint64_t id)
{
	struct live_account *account = account_of(live, id);

	if (account == NULL)
		return false;
	session->of = account;
	session->checked = account->round;
	LIST_INSERT_HEAD(&account->sessions, session, link);
	return true;
}

void live_remove(struct live *live, struct live_session *session)
{
	struct live_account *account = session->of;

	LIST_REMOVE(session, link);
	session->of = NULL;
	drop_if_empty(live, account);
}

/* ----------------------------------------------------------------- look-ups */
static void pump(struct live *live);

static const struct live_session *first_unchecked(const struct live_account *account)
{
	const struct live_session *session;

	LIST_FOREACH (session, &account->sessions, link) {
		if (session->checked < account->round)
			return session;
	}
	return NULL;
}

static void forget_asked(struct live_account *account)
{
	free(account->asked);
	account->asked = NULL;
	account->ticket = 0;
}

static void check_asked(struct live *live, struct live_account *account, const struct account *row)
{
	struct live_session *session = LIST_FIRST(&account->sessions), *next;

	account->held = true;
	for (; session != NULL; session = next) {
		next = LIST_NEXT(session, link);
		if (session->checked >= account->asked_round ||
			session->login_len != account->asked_len ||
			memcmp(session->login, account->asked, account->asked_len) != 0)
			continue;
		session->checked = account->asked_round;
		live->check(session, row, live->arg);
	}
	account->held = false;
}

static void on_row(enum row_answer answer, const struct account *row, void *arg, uint64_t ticket)
{
	struct live *live = arg;
	struct live_account *account = idmap_take(live->flights, ticket);

	live->in_flight--;
	if (answer == ROW_UNAVAILABLE)
		live->paused_until_ms = live->now_ms + LIVE_RETRY_MS;
	if (account != NULL) {
		if (answer != ROW_UNAVAILABLE)
			check_asked(live, account, row);
		forget_asked(account);
		set_queued(live, account, first_unchecked(account) != NULL);
		drop_if_empty(live, account);
	}
	pump(live);
}

/* false: nothing can be asked now. */
static bool ask(struct live *live, struct live_account *account)
{
	const struct live_session *session = first_unchecked(account);

	if (session == NULL)
		return true;
	account->asked = malloc(session->login_len);
	account->ticket = ++live->last_ticket;
	if (account->asked == NULL || !idmap_put(live->flights, account->ticket, account)) {
		forget_asked(account);
		set_queued(live, account, true);
		return false;
	}
	account->asked_round = account->round;
	account->asked_len = session->login_len;
	memcpy(account->asked, session->login, session->login_len);
	live->in_flight++;
	account_cache_get(live->accounts, account->asked, account->asked_len, true, live->now_ms,
		on_row, live, account->ticket);
	return true;
}

/* An answer may come before the question returns: it queues again, and does not begin anew. */
static void pump(struct live *live)
{
	if (live->pumping)
		return;
	live->pumping = true;
	while (!TAILQ_EMPTY(&live->due) && live->in_flight < LIVE_IN_FLIGHT_MAX &&
		live->now_ms >= live->paused_until_ms) {
		struct live_account *account = TAILQ_FIRST(&live->due);
		set_queued(live, account, false);
		if (!ask(live, account))
			break;
	}
	live->pumping = false;
	counter_set(COUNTER_FEED_UNCHECKED, live->due_count + live->in_flight);
}

/* --------------------------------------------------------------- what to check */
void live_changed(struct live *live, uint64_t id, uint64_t now_ms)
{
	struct live_account *account = idmap_get(live->by_id, id);

	live->now_ms = now_ms;
	if (account == NULL)
		return;
	account->round++;
	if (account->ticket == 0)
		queue_first(live, account);
	pump(live);
}

static void begin_one(uint64_t id, void *value, void *live)
{
	struct live_account *account = value;

	(void)id;
	account->round++;
	if (account->ticket == 0)
		set_queued(live, account, true);
}

void live_changed_all(struct live *live, uint64_t now_ms)
{
	live->now_ms = now_ms;
	idmap_each(live->by_id, begin_one, live);
	pump(live);
}

void live_verify(struct live *live, struct live_session *session, uint64_t now_ms)
{
	const struct account *row =
		account_cache_peek(live->accounts, session->login, session->login_len, now_ms);

	live->now_ms = now_ms;
	if (row != NULL) {
		live->check(session, row, live->arg);
		return;
	}
	/* What is in flight may have begun before. */
	if (session->of->ticket != 0)
		session->of->round++;
	else
		set_queued(live, session->of, true);
	session->checked = session->of->round - 1;
	pump(live);
}

void live_tick(struct live *live, uint64_t now_ms)
{
	live->now_ms = now_ms;
	pump(live);
}

size_t live_waiting(const struct live *live)
{
	return live->due_count + live->in_flight;
}
