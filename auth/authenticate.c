/* SPDX-License-Identifier: ISC */
/*
 * The log-ins in flight, from the frame to what the account says; see authenticate.h.
 */
#include "auth/login.h"

#include "common/clock.h"
#include "common/counters.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

void login_destroy(struct login *login)
{
	login_guard_abandoned(login);
	login->owner->waiting -= login->waits;
	secret_release(&login->secret);
	if (login->timer != NULL)
		event_free(login->timer);
	sodium_memzero(login, sizeof *login); /* a stored hash may be the password itself */
	free(login);
}

/* ------------------------------------------------------------------ account */
void login_take_account(struct login *login, const struct account *account)
{
	struct ipc_auth_verdict *verdict = &login->verdict;

	verdict->account = account->id;
	verdict->version = account->version;
	verdict->password_version = account->password_version;
	verdict->message_bytes = account->message_bytes;
	verdict->recipients = account->recipients;
	verdict->from_policy = (uint8_t)account->from_policy;
	verdict->token_len = account->token_len;
	memcpy(verdict->token, account->token, sizeof verdict->token);
}

static void on_known(struct login *login, const struct account *account)
{
	struct authenticate *a = login->owner;

	login_take_account(login, account);
	if (!account->enabled) {
		login_submit_dummy(login, REASON_DISABLED);
	} else if (!login_has_usable_hash(login, account)) {
		login_submit_dummy(login, REASON_MALFORMED);
	} else if (login->reason != REASON_NONE) {
		login_submit_dummy(login, login->reason);
	} else if (login_cache_has(a->settings.verified, account->id, account->version,
			   login->secret->bytes, login->secret->len, clock_monotonic_ms())) {
		counter_add(COUNTER_AUTH_CACHE_HITS, 1);
		login_ok(login, true);
	} else {
		login_submit(login, account->phc, account->phc_len);
	}
}

static void look_up(struct login *login, bool fresh, account_done *done)
{
	struct authenticate *a = login->owner;

	login->asked_us = clock_monotonic_us();
	account_cache_get(a->settings.accounts, login->verdict.login, login->verdict.login_len,
		fresh, clock_monotonic_ms(), done, a, login->token);
}

void login_note_lookup(struct login *login, enum row_answer answer)
{
	login->looked_up = true;
	if (answer != ROW_UNAVAILABLE)
		pace_lookup(&login->owner->pace, clock_monotonic_us() - login->asked_us);
}

const struct account *login_remembered(const struct login *login)
{
	const struct authenticate_settings *settings = &login->owner->settings;

	if (settings->outage_trust_ms == 0)
		return NULL;
	return account_cache_remembered(settings->accounts, login->verdict.login,
		login->verdict.login_len, settings->outage_trust_ms, clock_monotonic_ms());
}

/* The database is away.  What was verified lately lets in, where the operator wants it; nothing
 * that is only remembered refuses. */
static void on_outage(struct login *login)
{
	const struct account *account = login_remembered(login);

	if (account == NULL || !account->enabled || login->reason != REASON_NONE ||
		!login_cache_has(login->owner->settings.verified, account->id, account->version,
			login->secret->bytes, login->secret->len, clock_monotonic_ms())) {
		login_unavailable(login, "database");
		return;
	}
	counter_add(COUNTER_AUTH_OUTAGE, 1);
	login_take_account(login, account);
	login_ok(login, true);
}

static void on_account(
	enum row_answer answer, const struct account *account, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);

	if (login == NULL)
		return;
	if (!login->at_once)
		login_note_lookup(login, answer);
	switch (answer) {
	case ROW_KNOWN:
		on_known(login, account);
		break;
	case ROW_UNKNOWN:
		login_submit_dummy(login, REASON_UNKNOWN);
		break;
	case ROW_UNAVAILABLE:
		on_outage(login);
		break;
	}
}

/* The row as the database has it now: another one is tried, the same one stands. */
static void on_confirmed(
	enum row_answer answer, const struct account *account, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);

	if (login == NULL)
		return;
	login_note_lookup(login, answer);
	switch (answer) {
	case ROW_KNOWN:
		if (account->version == login->verdict.version) {
			login_refuse_now(login);
		} else {
			login->reason = login->given;
			on_known(login, account);
		}
		break;
	case ROW_UNKNOWN:
		login_refuse_now(login);
		break;
	case ROW_UNAVAILABLE:
		login_unavailable(login, "database");
		break;
	}
}

/*
 * What is only remembered is no ground for a refusal: the password may be new, and the database
 * away (454, never 535).  A name that cannot exist needs no look-up.
 */
void login_refuse(struct login *login)
{
	if (login->looked_up || login->verdict.login_len == 0)
		login_refuse_now(login);
	else
		look_up(login, true, on_confirmed);
}

/* -------------------------------------------------------------------- start */
static void begin(struct login *login)
{
	struct authenticate *a = login->owner;
	uint64_t token = login->token;

	if (login_is_generated(login)) {
		login_begin_generated(login);
		return;
	}
	if (login->verdict.login_len == 0) {
		login_submit_dummy(login, REASON_UNKNOWN);
		return;
	}
	login->at_once = true;
	look_up(login, false, on_account);
	login = idmap_get(a->logins, token); /* it may be decided */
	if (login != NULL)
		login->at_once = false;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct login *login = arg;

	(void)fd;
	(void)what;
	if (!login->waits) {
		login_release(login);
		return;
	}
	login->waits = false;
	login->owner->waiting--;
	begin(login);
}

/* Slowed down by the guard.  Those who are hold secrets: beyond a number they are turned away. */
static void begin_later(struct login *login, uint64_t delay_ms)
{
	const struct timeval tv = {
		(time_t)(delay_ms / 1000), (suseconds_t)(delay_ms % 1000 * 1000)};

	if (login->owner->waiting >= AUTHENTICATE_WAITING_MAX ||
		event_add(login->timer, &tv) == -1) {
		login_turn_away(login, IPC_AUTH_HELD);
		return;
	}
	login->waits = true;
	login->owner->waiting++;
}

static struct login *login_new(struct authenticate *a, const struct ipc_auth_request *request)
{
	struct login *login = calloc(1, sizeof *login);

	if (login == NULL)
		return NULL;
	login->owner = a;
	login->token = ++a->last_token;
	login->client = request->client;
	login->mechanism = request->mechanism;
	login->name_len = request->login_len;
	memcpy(login->name, request->login, request->login_len);
	login->helo_len = request->helo_len;
	memcpy(login->helo, request->helo, request->helo_len);
	login->secret = secret_take();
	login->timer = evtimer_new(a->base, on_timer, login);
	if (login->secret == NULL || login->timer == NULL ||
		!idmap_put(a->logins, login->token, login)) {
		login_destroy(login);
		return NULL;
	}
	return login;
}

/* What cannot be a login leaves it empty; what cannot be a password is refused whatever the hash
 * says.
 */
static void prepare(struct login *login, const struct ipc_auth_request *request)
{
	size_t len;

	if (!password_prepare_secret(request->secret, request->secret_len, login->secret->bytes,
		    &login->secret->len)) {
		login->secret->len = 0;
		login->reason = REASON_WRONG;
	}
	if (request->authzid_differs)
		login->reason = REASON_AUTHZID;
	login->given = login->reason;
	if (password_prepare_login(request->login, request->login_len, login->verdict.login, &len))
		login->verdict.login_len = (uint16_t)len;
}

uint64_t authenticate_start(struct authenticate *a, unsigned owner, uint64_t peer, uint64_t session,
	const struct ipc_auth_request *request, uint64_t now_ms)
{
	struct ipc_auth_verdict refusal = {.result = IPC_AUTH_UNAVAILABLE};
	struct login *login = login_new(a, request);
	uint64_t delay_ms;

	if (login == NULL) {
		login_count(IPC_AUTH_UNAVAILABLE);
		a->settings.done(peer, session, &refusal, a->settings.arg);
		return 0;
	}
	uint64_t token = login->token;
	login->proxy = owner;
	login->peer = peer;
	login->session = session;
	login->started_ms = now_ms;
	prepare(login, request);
	switch (login_guard(login, &delay_ms, now_ms)) {
	case GUARD_PASS:
		if (delay_ms == 0)
			begin(login);
		else
			begin_later(login, delay_ms);
		break;
	case GUARD_HOLD:
		login_turn_away(login, IPC_AUTH_HELD);
		break;
	case GUARD_BLOCKED:
		login_turn_away(login, IPC_AUTH_BLOCKED);
		break;
	}
	return idmap_get(a->logins, token) == NULL ? 0 : token;
}

void authenticate_cancel(struct authenticate *a, uint64_t token)
{
	struct login *login = idmap_take(a->logins, token);

	if (login == NULL)
		return;
	hash_pool_cancel(a->settings.pool, token);
	login_destroy(login);
}

void authenticate_stored(struct authenticate *a, uint64_t token, bool stored)
{
	rehash_stored(a->rehash, token, stored, clock_monotonic_ms());
}

size_t authenticate_count(const struct authenticate *a)
{
	return idmap_count(a->logins);
}

struct authenticate *authenticate_new(
	struct event_base *base, const struct authenticate_settings *settings)
{
	struct authenticate *a = calloc(1, sizeof *a);

	if (a == NULL)
		return NULL;
	a->base = base;
	a->settings = *settings;
	pace_expect(&a->pace, &settings->cost);
	const struct rehash_settings rehash = {
		.pool = settings->pool,
		.cost = settings->cost,
		.store = settings->store,
		.arg = settings->arg,
	};
	a->rehash = rehash_new(&rehash);
	a->logins = idmap_new();
	if (a->rehash == NULL || a->logins == NULL ||
		!password_make_dummy(&settings->cost, a->dummy))
		authenticate_destroy(&a);
	return a;
}

static void destroy_one(uint64_t token, void *value, void *arg)
{
	struct authenticate *a = arg;

	hash_pool_cancel(a->settings.pool, token);
	login_destroy(value);
}

void authenticate_destroy(struct authenticate **pointer)
{
	struct authenticate *a = *pointer;

	if (a == NULL)
		return;
	*pointer = NULL;
	if (a->logins != NULL)
		idmap_each(a->logins, destroy_one, a);
	idmap_destroy(&a->logins);
	rehash_destroy(&a->rehash);
	free(a);
}
