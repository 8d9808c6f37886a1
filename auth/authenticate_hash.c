/* SPDX-License-Identifier: ISC */
/*
 * The computed part of a log-in: which hash, the equal work of what is refused anyway, and what its
 * result means.
 */
#include "auth/login.h"

#include "common/clock.h"
#include "common/log.h"

#include <sodium.h>
#include <string.h>

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

/* Sets the cost, and keeps what is to be replaced. */
static void note_hash(
	struct login *login, const struct account *account, const struct password_hash *hash)
{
	login->scheme = hash->scheme;
	login->cost = hash->cost;
	login->stored_len = 0;
	if (!password_needs_rehash(hash, &login->owner->settings.cost))
		return;
	login->stored_len = account->phc_len;
	memcpy(login->stored, account->phc, account->phc_len);
}

bool login_has_usable_hash(struct login *login, const struct account *account)
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
			note_hash(login, account, &hash);
		sodium_memzero(&hash, sizeof hash);
	}
	if (!usable)
		log_malformed(account, why);
	return usable;
}

void login_submit(struct login *login, const char *phc, size_t phc_len)
{
	const struct hash_job job = {
		.owner = login->proxy,
		.class = login->class,
		.network = login_network(login),
		.token = login->token,
		.deadline_ms = login->started_ms + AUTHENTICATE_DEADLINE_MS,
		.phc = phc,
		.phc_len = phc_len,
		.secret = login->secret,
	};

	if (!hash_pool_submit(login->owner->settings.pool, &job, clock_monotonic_ms()))
		login_unavailable(login, "hash-queue");
}

/* Equal work for what is refused anyway. */
void login_submit_dummy(struct login *login, enum reason reason)
{
	struct authenticate *a = login->owner;

	login->reason = reason;
	login->scheme = PASSWORD_ARGON2ID;
	login->cost = a->settings.cost;
	login_submit(login, a->dummy, strlen(a->dummy));
}

/* The answer leaves first: this only takes a place behind all log-ins. */
static void begin_rehash(struct login *login, uint64_t now_ms)
{
	const struct rehash_wanted wanted = {
		.account = login->verdict.account,
		.version = login->verdict.version,
		.old = login->stored,
		.old_len = login->stored_len,
	};

	if (login->stored_len != 0)
		rehash_start(login->owner->rehash, ++login->owner->last_token, &wanted,
			&login->secret, now_ms);
}

void authenticate_hashed(const struct hash_pool_result *result, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);
	uint64_t now_ms = clock_monotonic_ms();

	if (rehash_hashed(a->rehash, result, token, now_ms) || login == NULL)
		return;
	if (result->outcome == IPC_HASH_FAILED) {
		login_unavailable(login, "hash");
		return;
	}
	pace_hash(&a->pace, login->scheme, &login->cost, result->wall_us, now_ms);
	if (result->outcome == IPC_HASH_MATCH && login->reason == REASON_NONE) {
		login_cache_add(a->settings.verified, login->verdict.account,
			login->verdict.version, login->secret->bytes, login->secret->len, now_ms);
		begin_rehash(login, now_ms);
		login_ok(login, false);
		return;
	}
	if (login->reason == REASON_NONE)
		login->reason = REASON_WRONG;
	login->hash_us = result->wall_us;
	login_refuse(login);
}
