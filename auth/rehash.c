/* SPDX-License-Identifier: ISC */
/* From a proven secret to a stored hash; see rehash.h. */
#include "auth/rehash.h"

#include "common/counters.h"
#include "common/idmap.h"
#include "common/log.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct work {
	uint64_t token, account, version;
	struct secret *secret; /* until the hash is made */
	size_t old_len;
	char old[IPC_PHC_MAX + 1];
};

struct rehash {
	struct rehash_settings settings;
	struct idmap *works;
	/* A table that nobody may write to, say: no use in trying at each log-in. */
	struct {
		uint64_t account, until_ms;
	} given_up[REHASH_GIVEN_UP_MAX];
	size_t next_given_up;
};

static void work_destroy(struct work *work)
{
	secret_release(&work->secret);
	sodium_memzero(work, sizeof *work);
	free(work);
}

static void end(struct rehash *rehash, struct work *work)
{
	idmap_take(rehash->works, work->token);
	work_destroy(work);
}

static void give_up(struct rehash *rehash, uint64_t account, uint64_t now_ms)
{
	rehash->given_up[rehash->next_given_up].account = account;
	rehash->given_up[rehash->next_given_up].until_ms = now_ms + REHASH_GIVEN_UP_MS;
	rehash->next_given_up = (rehash->next_given_up + 1) % REHASH_GIVEN_UP_MAX;
}

static bool is_given_up(const struct rehash *rehash, uint64_t account, uint64_t now_ms)
{
	for (size_t i = 0; i < REHASH_GIVEN_UP_MAX; i++) {
		if (rehash->given_up[i].account == account && now_ms < rehash->given_up[i].until_ms)
			return true;
	}
	return false;
}

void rehash_start(struct rehash *rehash, uint64_t token, const struct rehash_wanted *wanted,
	struct secret **secret, uint64_t now_ms)
{
	const struct hash_job job = {
		.token = token,
		.deadline_ms = now_ms + REHASH_DEADLINE_MS,
		.cost = rehash->settings.cost,
		.secret = *secret,
	};

	require(wanted->old_len <= IPC_PHC_MAX);
	if (is_given_up(rehash, wanted->account, now_ms))
		return;
	struct work *work = calloc(1, sizeof *work);
	if (work == NULL || !idmap_put(rehash->works, token, work)) {
		free(work);
		return;
	}
	work->token = token;
	if (!hash_pool_submit(rehash->settings.pool, &job, now_ms)) {
		end(rehash, work);
		return;
	}
	work->account = wanted->account;
	work->version = wanted->version;
	work->old_len = wanted->old_len;
	memcpy(work->old, wanted->old, wanted->old_len);
	work->secret = *secret;
	*secret = NULL;
}

bool rehash_hashed(struct rehash *rehash, const struct hash_pool_result *result, uint64_t token,
	uint64_t now_ms)
{
	struct work *work = idmap_get(rehash->works, token);
	char new[IPC_PHC_MAX + 1];

	if (work == NULL)
		return false;
	secret_release(&work->secret);
	if (result->outcome != IPC_HASH_MADE) {
		end(rehash, work);
		return true;
	}
	const struct rehash_wanted wanted = {
		.account = work->account,
		.version = work->version,
		.old = work->old,
		.old_len = work->old_len,
	};
	memcpy(new, result->phc, result->phc_len);
	new[result->phc_len] = '\0';
	if (!rehash->settings.store(rehash->settings.arg, token, &wanted, new)) {
		give_up(rehash, work->account, now_ms);
		end(rehash, work);
	}
	sodium_memzero(new, sizeof new);
	return true;
}

void rehash_stored(struct rehash *rehash, uint64_t token, bool stored, uint64_t now_ms)
{
	struct work *work = idmap_get(rehash->works, token);
	struct log_line line;

	if (work == NULL)
		return;
	if (stored) {
		counter_add(COUNTER_REHASHES, 1);
		log_begin(&line, LOG_INFO, "rehashed");
		log_uint(&line, "account", work->account);
		log_end(&line);
	} else {
		give_up(rehash, work->account, now_ms);
	}
	end(rehash, work);
}

/* ----------------------------------------------------------------- lifetime */
struct rehash *rehash_new(const struct rehash_settings *settings)
{
	struct rehash *rehash = calloc(1, sizeof *rehash);

	if (rehash == NULL)
		return NULL;
	rehash->settings = *settings;
	rehash->works = idmap_new();
	if (rehash->works == NULL)
		rehash_destroy(&rehash);
	return rehash;
}

static void destroy_one(uint64_t token, void *value, void *arg)
{
	struct rehash *rehash = arg;

	hash_pool_cancel(rehash->settings.pool, token);
	work_destroy(value);
}

void rehash_destroy(struct rehash **pointer)
{
	struct rehash *rehash = *pointer;

	if (rehash == NULL)
		return;
	*pointer = NULL;
	if (rehash->works != NULL)
		idmap_each(rehash->works, destroy_one, rehash);
	idmap_destroy(&rehash->works);
	free(rehash);
}
