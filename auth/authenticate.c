/* SPDX-License-Identifier: ISC */
/*
 * The log-ins in flight; see authenticate.h.
 *
 * A log-in is looked up, hashed, and perhaps held until its refusal may leave.  Every answer comes
 * back by token; a token that is gone means that the client is, and the answer is dropped.
 */
#include "auth/authenticate.h"

#include "auth/pace.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"
#include "common/secret.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* For the operator only; the client cannot tell them apart. */
enum reason {
	REASON_NONE, /* nothing speaks against it so far */
	REASON_UNKNOWN,
	REASON_WRONG,
	REASON_DISABLED,
	REASON_MALFORMED, /* the stored hash, or there is none */
	REASON_AUTHZID,
};

static const char *const reason_names[] = {
	[REASON_NONE] = "none",
	[REASON_UNKNOWN] = "unknown",
	[REASON_WRONG] = "wrong",
	[REASON_DISABLED] = "disabled",
	[REASON_MALFORMED] = "malformed",
	[REASON_AUTHZID] = "authzid",
};

struct login {
	struct authenticate *owner;
	uint64_t token, peer, session;
	unsigned proxy;
	struct address_key client;
	uint8_t mechanism;
	enum reason reason; /* not NONE: refused whatever the hash says */
	enum reason given;  /* what spoke against it before any look-up */
	uint64_t started_ms, asked_us, hash_us;
	bool at_once;   /* account_cache_get() has not returned */
	bool looked_up; /* the database was asked for it, not only the memory */
	struct secret *secret;
	struct event *release;
	struct password_cost cost; /* of the hash that is computed */
	struct ipc_auth_verdict verdict;
	uint16_t name_len;
	uint8_t name[IPC_LOGIN_MAX]; /* as the client gave it, for the log */
};

struct authenticate {
	struct event_base *base;
	struct authenticate_settings settings;
	struct pace pace;
	struct idmap *logins;
	uint64_t last_token;
	char dummy[PASSWORD_PHC_MAX + 1];
};

/* ------------------------------------------------------------------ the end */
static void login_destroy(struct login *login)
{
	secret_release(&login->secret);
	if (login->release != NULL)
		event_free(login->release);
	free(login);
}

static void count_verdict(enum ipc_auth_result result)
{
	switch (result) {
	case IPC_AUTH_OK:
		counter_add(COUNTER_AUTH_SUCCEEDED, 1);
		break;
	case IPC_AUTH_REFUSED:
		counter_add(COUNTER_AUTH_FAILED, 1);
		break;
	case IPC_AUTH_UNAVAILABLE:
		counter_add(COUNTER_AUTH_UNAVAILABLE, 1);
		break;
	}
}

/* Takes the log-in out, tells its verdict, frees it. */
static void finish(struct login *login, enum ipc_auth_result result)
{
	struct authenticate *a = login->owner;
	struct ipc_auth_verdict verdict;

	memset(&verdict, 0, sizeof verdict);
	if (result == IPC_AUTH_OK)
		verdict = login->verdict;
	verdict.result = (uint8_t)result;
	count_verdict(result);
	uint64_t peer = login->peer, session = login->session;
	idmap_take(a->logins, login->token);
	login_destroy(login);
	a->settings.done(peer, session, &verdict, a->settings.arg);
}

static const char *format_key(const struct address_key *key, char text[INET6_ADDRSTRLEN])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	bool v4 = memcmp(key->bytes, mapped, sizeof mapped) == 0;

	inet_ntop(
		v4 ? AF_INET : AF_INET6, v4 ? key->bytes + 12 : key->bytes, text, INET6_ADDRSTRLEN);
	return text;
}

static const char *mechanism_name(const struct login *login)
{
	return login->mechanism == IPC_MECHANISM_PLAIN ? "PLAIN" : "LOGIN";
}

/* Frozen: fail2ban and others read rip, login, mech, reason and sid in this order. */
static void log_failed(const struct login *login)
{
	struct log_line line;
	char rip[INET6_ADDRSTRLEN];

	log_begin(&line, LOG_INFO, "auth-failed");
	log_text(&line, "rip", format_key(&login->client, rip));
	log_bytes(&line, "login", login->name, login->name_len);
	log_text(&line, "mech", mechanism_name(login));
	log_text(&line, "reason", reason_names[login->reason]);
	log_id(&line, "sid", login->session);
	log_end(&line);
}

static void log_ok(const struct login *login, bool cached)
{
	struct log_line line;
	char rip[INET6_ADDRSTRLEN];

	log_begin(&line, LOG_INFO, "auth-ok");
	log_text(&line, "rip", format_key(&login->client, rip));
	log_bytes(&line, "login", login->verdict.login, login->verdict.login_len);
	log_text(&line, "mech", mechanism_name(login));
	log_uint(&line, "account", login->verdict.account);
	log_text(&line, "cached", cached ? "yes" : "no");
	log_uint(&line, "ms", clock_monotonic_ms() - login->started_ms);
	log_id(&line, "sid", login->session);
	log_end(&line);
}

static void unavailable(struct login *login, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_INFO, "auth-unavailable");
	log_text(&line, "reason", why);
	log_id(&line, "sid", login->session);
	log_end(&line);
	finish(login, IPC_AUTH_UNAVAILABLE);
}

/* ---------------------------------------------------------------- refusals */
static void on_release(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	finish(arg, IPC_AUTH_REFUSED);
}

/*
 * A refusal leaves when the slowest kind of hash in use would have been done, and a look-up with
 * it: neither the account's scheme nor what the cache knows can be read from the time.
 */
static void refuse_now(struct login *login)
{
	struct authenticate *a = login->owner;
	uint64_t wall_us = login->hash_us;
	uint64_t least_us = pace_slowest_us(&a->pace, clock_monotonic_ms()) +
			    (login->looked_up ? 0 : a->pace.lookup_us);

	/* Logged now: a client that does not wait for the answer is seen all the same. */
	log_failed(login);
	secret_release(&login->secret);
	if (wall_us < least_us && login->release != NULL) {
		uint64_t wait = least_us - wall_us;
		const struct timeval tv = {
			(time_t)(wait / 1000000u), (suseconds_t)(wait % 1000000u)};
		if (event_add(login->release, &tv) == 0)
			return;
	}
	on_release(-1, 0, login);
}

/* ------------------------------------------------------------------ hashing */
static void submit(struct login *login, const char *phc, size_t phc_len)
{
	const struct hash_job job = {
		.owner = login->proxy,
		.token = login->token,
		.deadline_ms = login->started_ms + AUTHENTICATE_DEADLINE_MS,
		.phc = phc,
		.phc_len = phc_len,
		.secret = login->secret,
	};

	if (!hash_pool_submit(login->owner->settings.pool, &job, clock_monotonic_ms()))
		unavailable(login, "hash-queue");
}

static void refuse(struct login *login);

/* Equal work for what is refused anyway. */
static void submit_dummy(struct login *login, enum reason reason)
{
	struct authenticate *a = login->owner;

	login->reason = reason;
	login->cost = a->settings.cost;
	submit(login, a->dummy, strlen(a->dummy));
}

void authenticate_hashed(const struct hash_pool_result *result, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);
	uint64_t now_ms = clock_monotonic_ms();

	if (login == NULL)
		return;
	if (result->outcome == IPC_HASH_FAILED) {
		unavailable(login, "hash");
		return;
	}
	pace_hash(&a->pace, login->cost.memory_bytes, login->cost.passes, result->wall_us, now_ms);
	if (result->outcome == IPC_HASH_MATCH && login->reason == REASON_NONE) {
		login_cache_add(a->settings.verified, login->verdict.account,
			login->verdict.version, login->secret->bytes, login->secret->len, now_ms);
		log_ok(login, false);
		finish(login, IPC_AUTH_OK);
		return;
	}
	if (login->reason == REASON_NONE)
		login->reason = REASON_WRONG;
	login->hash_us = result->wall_us;
	refuse(login);
}

/* ------------------------------------------------------------------ account */
static void log_malformed(const struct account *account, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_ERROR, "hash-rejected");
	log_uint(&line, "account", account->id);
	log_text(&line, "msg", why);
	log_end(&line);
}

/* A row may ask for more than new hashes cost, but not for what the pool as a whole must not use.
 */
static bool hash_fits(const struct authenticate *a, const struct password_hash *hash)
{
	size_t processes = hash_pool_processes(a->settings.pool);
	uint64_t share = a->settings.hash_budget / (processes == 0 ? 1 : processes);

	return hash->cost.memory_bytes <= share ||
	       hash->cost.memory_bytes <= a->settings.cost.memory_bytes;
}

/* Whether the row has a hash that may be computed here; sets the cost. */
static bool has_usable_hash(struct login *login, const struct account *account)
{
	struct password_hash hash;
	const char *why = "the stored hash is malformed";
	bool usable = false;

	if (account->phc_len == 0 && !account->hash_malformed)
		return false; /* no password: nothing is wrong with that */
	if (!account->hash_malformed) {
		enum password_parsed parsed = password_parse(account->phc, account->phc_len, &hash);
		usable = parsed == PASSWORD_PARSED && hash_fits(login->owner, &hash);
		if (parsed == PASSWORD_PARSED || parsed == PASSWORD_TOO_COSTLY)
			why = "the stored hash needs more than password.memory_budget allows";
		if (usable)
			login->cost = hash.cost;
		sodium_memzero(&hash, sizeof hash);
	}
	if (!usable)
		log_malformed(account, why);
	return usable;
}

static void on_known(struct login *login, const struct account *account)
{
	struct authenticate *a = login->owner;
	struct ipc_auth_verdict *verdict = &login->verdict;

	verdict->account = account->id;
	verdict->version = account->version;
	verdict->password_version = account->password_version;
	verdict->message_bytes = account->message_bytes;
	verdict->recipients = account->recipients;
	verdict->from_policy = (uint8_t)account->from_policy;
	verdict->token_len = account->token_len;
	memcpy(verdict->token, account->token, sizeof verdict->token);
	if (!account->enabled) {
		submit_dummy(login, REASON_DISABLED);
	} else if (!has_usable_hash(login, account)) {
		submit_dummy(login, REASON_MALFORMED);
	} else if (login->reason != REASON_NONE) {
		submit_dummy(login, login->reason);
	} else if (login_cache_has(a->settings.verified, account->id, account->version,
			   login->secret->bytes, login->secret->len, clock_monotonic_ms())) {
		counter_add(COUNTER_AUTH_CACHE_HITS, 1);
		log_ok(login, true);
		finish(login, IPC_AUTH_OK);
	} else {
		submit(login, account->phc, account->phc_len);
	}
}

static void look_up(struct login *login, bool fresh, account_done *done)
{
	struct authenticate *a = login->owner;

	login->asked_us = clock_monotonic_us();
	account_cache_get(a->settings.accounts, login->verdict.login, login->verdict.login_len,
		fresh, clock_monotonic_ms(), done, a, login->token);
}

static void note_lookup(struct login *login, enum account_answer answer)
{
	login->looked_up = true;
	if (answer != ACCOUNT_UNAVAILABLE)
		pace_lookup(&login->owner->pace, clock_monotonic_us() - login->asked_us);
}

static void on_account(
	enum account_answer answer, const struct account *account, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);

	if (login == NULL)
		return;
	if (!login->at_once)
		note_lookup(login, answer);
	switch (answer) {
	case ACCOUNT_KNOWN:
		on_known(login, account);
		break;
	case ACCOUNT_UNKNOWN:
		submit_dummy(login, REASON_UNKNOWN);
		break;
	case ACCOUNT_UNAVAILABLE:
		unavailable(login, "database");
		break;
	}
}

/* The row as the database has it now: another one is tried, the same one stands. */
static void on_confirmed(
	enum account_answer answer, const struct account *account, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);

	if (login == NULL)
		return;
	note_lookup(login, answer);
	switch (answer) {
	case ACCOUNT_KNOWN:
		if (account->version == login->verdict.version) {
			refuse_now(login);
		} else {
			login->reason = login->given;
			on_known(login, account);
		}
		break;
	case ACCOUNT_UNKNOWN:
		refuse_now(login);
		break;
	case ACCOUNT_UNAVAILABLE:
		unavailable(login, "database");
		break;
	}
}

/*
 * What is only remembered is no ground for a refusal: the password may be new, and the database
 * away (454, never 535).  A name that cannot exist needs no look-up.
 */
static void refuse(struct login *login)
{
	if (login->looked_up || login->verdict.login_len == 0)
		refuse_now(login);
	else
		look_up(login, true, on_confirmed);
}

/* -------------------------------------------------------------------- start */
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
	login->secret = secret_take();
	login->release = evtimer_new(a->base, on_release, login);
	if (login->secret == NULL || login->release == NULL ||
		!idmap_put(a->logins, login->token, login)) {
		login_destroy(login);
		return NULL;
	}
	return login;
}

/* false: no such login or password can exist; the reason is set. */
static bool prepare(struct login *login, const struct ipc_auth_request *request)
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
	if (!password_prepare_login(request->login, request->login_len, login->verdict.login, &len))
		return false;
	login->verdict.login_len = (uint16_t)len;
	return true;
}

uint64_t authenticate_start(struct authenticate *a, unsigned owner, uint64_t peer, uint64_t session,
	const struct ipc_auth_request *request, uint64_t now_ms)
{
	struct ipc_auth_verdict refusal = {.result = IPC_AUTH_UNAVAILABLE};
	struct login *login = login_new(a, request);

	if (login == NULL) {
		count_verdict(IPC_AUTH_UNAVAILABLE);
		a->settings.done(peer, session, &refusal, a->settings.arg);
		return 0;
	}
	uint64_t token = login->token;
	login->proxy = owner;
	login->peer = peer;
	login->session = session;
	login->started_ms = now_ms;
	if (!prepare(login, request)) {
		submit_dummy(login, REASON_UNKNOWN);
	} else {
		login->at_once = true;
		look_up(login, false, on_account);
		login = idmap_get(a->logins, token); /* it may be decided */
		if (login != NULL)
			login->at_once = false;
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
	a->logins = idmap_new();
	if (a->logins == NULL || !password_make_dummy(&settings->cost, a->dummy))
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
	free(a);
}
