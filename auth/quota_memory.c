/* SPDX-License-Identifier: ISC */
/* The memory of refusals; see quota_memory.h. */
#include "auth/quota_memory.h"

#include "common/idmap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct refusal {
	TAILQ_ENTRY(refusal) age; /* the oldest first */
	uint64_t key, version, until_ms;
	struct query_quota_row row;
};

struct quota_memory {
	struct idmap *refusals; /* by key_of() */
	TAILQ_HEAD(, refusal) age;
};

struct quota_memory *quota_memory_new(void)
{
	struct quota_memory *memory = calloc(1, sizeof *memory);

	if (memory == NULL)
		return NULL;
	TAILQ_INIT(&memory->age);
	memory->refusals = idmap_new();
	if (memory->refusals == NULL)
		quota_memory_destroy(&memory);
	return memory;
}

static void forget(struct quota_memory *memory, struct refusal *refusal)
{
	TAILQ_REMOVE(&memory->age, refusal, age);
	idmap_take(memory->refusals, refusal->key);
	free(refusal);
}

void quota_memory_forget_all(struct quota_memory *memory)
{
	while (!TAILQ_EMPTY(&memory->age))
		forget(memory, TAILQ_FIRST(&memory->age));
}

void quota_memory_destroy(struct quota_memory **memory)
{
	if (*memory == NULL)
		return;
	quota_memory_forget_all(*memory);
	idmap_destroy(&(*memory)->refusals);
	free(*memory);
	*memory = NULL;
}

/* An account's id has 63 bits, a credential's number 60. */
static uint64_t key_of_credential(uint64_t credential)
{
	return credential | UINT64_C(1) << 63;
}

static bool contains(const struct query_quota_row *row, const char *words)
{
	return memmem(row->meter, row->meter_len, words, strlen(words)) != NULL;
}

static bool begins(const struct query_quota_row *row, const char *words)
{
	size_t len = strlen(words);

	return row->meter_len >= len && memcmp(row->meter, words, len) == 0;
}

/* Whose meter it was: the label says so. */
static uint64_t key_of(uint64_t account, uint64_t credential, const struct query_quota_row *row)
{
	if (credential == 0 || !contains(row, " of this credential"))
		return account;
	return key_of_credential(credential);
}

/* A refusal of 100 recipients says nothing of one; a refusal by a meter of messages does, and of
 * octets or of certain recipients nothing does. */
static bool tells_of_all(uint32_t recipients, const struct query_quota_row *row)
{
	if (row->result != QUERY_QUOTA_REFUSED && row->result != QUERY_QUOTA_REJECTED)
		return false;
	if (contains(row, " of the domain "))
		return false;
	return begins(row, "messages per ") || (begins(row, "recipients per ") && recipients == 1);
}

static void forget_key(struct quota_memory *memory, uint64_t key)
{
	struct refusal *refusal = idmap_get(memory->refusals, key);

	if (refusal != NULL)
		forget(memory, refusal);
}

void quota_memory_forget(struct quota_memory *memory, uint64_t account, uint64_t credential)
{
	forget_key(memory, account);
	if (credential != 0)
		forget_key(memory, key_of_credential(credential));
}

void quota_memory_put(struct quota_memory *memory, uint64_t account, uint64_t credential,
	uint64_t version, uint32_t recipients, const struct query_quota_row *row, uint64_t now_ms,
	uint64_t wall_s)
{
	uint64_t s = row->reset_s > wall_s ? row->reset_s - wall_s : 0;
	uint64_t key = key_of(account, credential, row);

	if (!tells_of_all(recipients, row) || s == 0)
		return;
	forget_key(memory, key);
	if (idmap_count(memory->refusals) >= QUOTA_MEMORY_MAX)
		forget(memory, TAILQ_FIRST(&memory->age));
	struct refusal *refusal = calloc(1, sizeof *refusal);
	if (refusal == NULL || !idmap_put(memory->refusals, key, refusal)) {
		free(refusal);
		return;
	}
	refusal->key = key;
	refusal->version = version;
	refusal->until_ms = now_ms + (s >= QUOTA_MEMORY_MS / 1000 ? QUOTA_MEMORY_MS : s * 1000);
	refusal->row = *row;
	TAILQ_INSERT_TAIL(&memory->age, refusal, age);
}

static bool known_empty(struct quota_memory *memory, uint64_t key, uint64_t version,
	uint64_t now_ms, struct query_quota_row *row_out)
{
	struct refusal *refusal = idmap_get(memory->refusals, key);

	if (refusal == NULL)
		return false;
	if (refusal->version != version || now_ms >= refusal->until_ms) {
		forget(memory, refusal);
		return false;
	}
	*row_out = refusal->row;
	return true;
}

bool quota_memory_has(struct quota_memory *memory, uint64_t account, uint64_t credential,
	uint64_t version, uint64_t now_ms, struct query_quota_row *row_out)
{
	return known_empty(memory, account, version, now_ms, row_out) ||
	       (credential != 0 && known_empty(memory, key_of_credential(credential), version,
					   now_ms, row_out));
}
