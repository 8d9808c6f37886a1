/* SPDX-License-Identifier: ISC */
/* What decides log-ins, put together: caches, hash pool, better hashes.  See serve.h. */
#include "auth/serve.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static void on_hashed(const struct hash_pool_result *result, void *arg, uint64_t token)
{
	struct service *service = arg;

	authenticate_hashed(result, service->authenticate, token);
}

static void on_stored(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct service *service = arg;
	bool stored = false;

	if (result == DATABASE_ROWS && !query_parse_bool(rows, &stored))
		stored = false;
	authenticate_stored(service->authenticate, token, stored);
}

static bool store(void *arg, uint64_t token, const struct rehash_wanted *wanted, const char *new)
{
	struct service *service = arg;
	char account[24], version[24], old[IPC_PHC_MAX + 1];
	const char *values[] = {account, version, old, new};

	snprintf(account, sizeof account, "%" PRIu64, wanted->account);
	snprintf(version, sizeof version, "%" PRIu64, wanted->version);
	memcpy(old, wanted->old, wanted->old_len);
	old[wanted->old_len] = '\0';
	bool begun = database_query(
		service->lookups, QUERY_ACCOUNT_REHASH, values, on_stored, service, token);
	sodium_memzero(old, sizeof old);
	return begun;
}

bool serve_login(struct service *service, unsigned workers)
{
	const struct config_password *password = &service->config->password;
	const struct hash_pool_settings pool = {
		.queue = password->queue,
		.owners = workers == 0 ? 1 : workers,
		.done = on_hashed,
		.arg = service,
	};

	service->verified = login_cache_new(password->cache_entries, password->cache_ms);
	service->pool = hash_pool_new(service->base, &pool);
	if (service->verified == NULL || service->pool == NULL)
		return false;
	const struct authenticate_settings settings = {
		.accounts = service->accounts,
		.verified = service->verified,
		.credentials = service->credentials,
		.keys = service->keys,
		.uses = service->uses,
		.pool = service->pool,
		.guard = service->guard,
		.cost = {password->memory_bytes, password->passes},
		.hash_budget = password->memory_budget_bytes,
		.outage_trust_ms = password->on_outage == PASSWORD_OUTAGE_CACHED
					   ? password->outage_trust_ms
					   : 0,
		.store = store,
		.done = serve_verdict,
		.arg = service,
	};
	service->authenticate = authenticate_new(service->base, &settings);
	return service->authenticate != NULL;
}
