/* SPDX-License-Identifier: ISC */
/*
 * How a log-in ends: its verdict, the line in the log, and the moment at which a refusal leaves.
 *
 * Owns the equal time of all refusals and the frozen auth-failed line; decides nothing.
 */
#include "auth/login.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static const char *const reason_names[] = {
	[REASON_NONE] = "none",
	[REASON_UNKNOWN] = "unknown",
	[REASON_WRONG] = "wrong",
	[REASON_DISABLED] = "disabled",
	[REASON_MALFORMED] = "malformed",
	[REASON_AUTHZID] = "authzid",
	[REASON_REVOKED] = "revoked",
	[REASON_EXPIRED] = "expired",
	[REASON_NETWORK] = "network",
	[REASON_NO_KEY] = "no-key",
};

void login_count(enum ipc_auth_result result)
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
	case IPC_AUTH_HELD:
	case IPC_AUTH_BLOCKED:
	case IPC_AUTH_SESSIONS:
		break; /* the guard counts what it does */
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
	login_count(result);
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
	char rip[INET6_ADDRSTRLEN], credential[CREDENTIAL_ID_LEN + 1];

	log_begin(&line, LOG_INFO, "auth-ok");
	log_text(&line, "rip", format_key(&login->client, rip));
	log_bytes(&line, "login", login->verdict.login, login->verdict.login_len);
	log_text(&line, "mech", mechanism_name(login));
	log_uint(&line, "account", login->verdict.account);
	if (login->verdict.credential != 0)
		log_text(&line, "credential",
			credential_format(login->verdict.credential, credential));
	log_text(&line, "cached", cached ? "yes" : "no");
	log_uint(&line, "ms", clock_monotonic_ms() - login->started_ms);
	log_id(&line, "sid", login->session);
	log_end(&line);
}

void login_unavailable(struct login *login, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_INFO, "auth-unavailable");
	log_text(&line, "reason", why);
	log_id(&line, "sid", login->session);
	log_end(&line);
	finish(login, IPC_AUTH_UNAVAILABLE);
}

void login_turn_away(struct login *login, enum ipc_auth_result result)
{
	struct log_line line;
	char rip[INET6_ADDRSTRLEN];

	log_begin(&line, LOG_INFO, result == IPC_AUTH_HELD ? "auth-held" : "auth-blocked");
	log_text(&line, "rip", format_key(&login->client, rip));
	log_bytes(&line, "login", login->name, login->name_len);
	log_id(&line, "sid", login->session);
	log_end(&line);
	finish(login, result);
}

/* ---------------------------------------------------------------- refusals */
void login_release(struct login *login)
{
	finish(login, IPC_AUTH_REFUSED);
}

/*
 * A refusal leaves when the slowest kind of hash in use would have been done, and a look-up with
 * it: neither the account's scheme nor what the cache knows can be read from the time.
 */
void login_refuse_now(struct login *login)
{
	struct authenticate *a = login->owner;
	uint64_t wall_us = login->hash_us;
	uint64_t least_us = pace_slowest_us(&a->pace, clock_monotonic_ms()) +
			    (login->looked_up ? 0 : a->pace.lookup_us) + login->missing_us;

	/* Logged now: a client that does not wait for the answer is seen all the same. */
	log_failed(login);
	login_guard_failed(login);
	secret_release(&login->secret);
	if (wall_us < least_us) {
		uint64_t wait = least_us - wall_us;
		const struct timeval tv = {
			(time_t)(wait / 1000000u), (suseconds_t)(wait % 1000000u)};
		if (event_add(login->timer, &tv) == 0)
			return;
	}
	login_release(login);
}

void login_ok(struct login *login, bool cached)
{
	log_ok(login, cached);
	login_guard_succeeded(login);
	finish(login, IPC_AUTH_OK);
}
