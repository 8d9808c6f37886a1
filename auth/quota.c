/* SPDX-License-Identifier: ISC */
/* The quota calls and the memory of refusals; see quota.h. */
#include "auth/quota.h"

#include "common/idmap.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct refusal {
	TAILQ_ENTRY(refusal) age; /* the oldest first */
	uint64_t key, version, until_ms;
	struct query_quota_row row;
};

struct quota {
	struct database *database;
	quota_taken *taken;
	quota_returned *returned;
	void *arg;
	struct idmap *refusals; /* by key_of() */
	TAILQ_HEAD(, refusal) age;
};

struct quota *quota_new(
	struct database *database, quota_taken *taken, quota_returned *returned, void *arg)
{
	struct quota *quota = calloc(1, sizeof *quota);

	if (quota == NULL)
		return NULL;
	quota->database = database;
	quota->taken = taken;
	quota->returned = returned;
	quota->arg = arg;
	TAILQ_INIT(&quota->age);
	quota->refusals = idmap_new();
	if (quota->refusals == NULL)
		quota_destroy(&quota);
	return quota;
}

static void forget(struct quota *quota, struct refusal *refusal)
{
	TAILQ_REMOVE(&quota->age, refusal, age);
	idmap_take(quota->refusals, refusal->key);
	free(refusal);
}

void quota_destroy(struct quota **quota)
{
	if (*quota == NULL)
		return;
	while (!TAILQ_EMPTY(&(*quota)->age))
		forget(*quota, TAILQ_FIRST(&(*quota)->age));
	idmap_destroy(&(*quota)->refusals);
	free(*quota);
	*quota = NULL;
}

/* ------------------------------------------------------- memory of refusals */
/* An account's id has 63 bits, a credential's number 60. */
static uint64_t key_of_credential(uint64_t credential)
{
	return credential | UINT64_C(1) << 63;
}

/* Whose meter it was: a credential's own says so at its end. */
static uint64_t key_of(const struct take *take, const struct query_quota_row *row)
{
	static const char own[] = " of this credential";
	size_t len = sizeof own - 1;

	if (take->credential == 0 || row->meter_len < len ||
		memcmp(row->meter + row->meter_len - len, own, len) != 0)
		return take->account;
	return key_of_credential(take->credential);
}

/* A refusal of 100 recipients says nothing of one; a refusal by a meter of messages does. */
static bool tells_of_all(const struct take *take, const struct query_quota_row *row)
{
	static const char messages[] = "messages";

	if (row->result != QUERY_QUOTA_REFUSED || take->messages != 1)
		return false;
	return take->recipients == 1 ||
	       (row->meter_len >= sizeof messages - 1 &&
		       memcmp(row->meter, messages, sizeof messages - 1) == 0);
}

static void forget_key(struct quota *quota, uint64_t key)
{
	struct refusal *refusal = idmap_get(quota->refusals, key);

	if (refusal != NULL)
		forget(quota, refusal);
}

void quota_forget(struct quota *quota, uint64_t account, uint64_t credential)
{
	forget_key(quota, account);
	if (credential != 0)
		forget_key(quota, key_of_credential(credential));
}

void quota_remember(struct quota *quota, const struct take *take, uint64_t version,
	const struct query_quota_row *row, uint64_t now_ms, uint64_t wall_s)
{
	uint64_t ms = row->reset_s > wall_s ? (row->reset_s - wall_s) : 0;
	uint64_t key = key_of(take, row);

	if (!tells_of_all(take, row) || ms == 0)
		return;
	ms = ms >= QUOTA_MEMORY_MS / 1000 ? QUOTA_MEMORY_MS : ms * 1000;
	forget_key(quota, key);
	if (idmap_count(quota->refusals) >= QUOTA_MEMORY_MAX)
		forget(quota, TAILQ_FIRST(&quota->age));
	struct refusal *refusal = calloc(1, sizeof *refusal);
	if (refusal == NULL || !idmap_put(quota->refusals, key, refusal)) {
		free(refusal);
		return;
	}
	refusal->key = key;
	refusal->version = version;
	refusal->until_ms = now_ms + ms;
	refusal->row = *row;
	TAILQ_INSERT_TAIL(&quota->age, refusal, age);
}

static bool known_empty(struct quota *quota, uint64_t key, uint64_t version, uint64_t now_ms,
	struct query_quota_row *row_out)
{
	struct refusal *refusal = idmap_get(quota->refusals, key);

	if (refusal == NULL)
		return false;
	if (refusal->version != version || now_ms >= refusal->until_ms) {
		forget(quota, refusal);
		return false;
	}
	*row_out = refusal->row;
	return true;
}

bool quota_known_empty(struct quota *quota, uint64_t account, uint64_t credential, uint64_t version,
	uint64_t now_ms, struct query_quota_row *row_out)
{
	return known_empty(quota, account, version, now_ms, row_out) ||
	       (credential != 0 &&
		       known_empty(quota, key_of_credential(credential), version, now_ms, row_out));
}

/* -------------------------------------------------------------------- calls */
static enum quota_answer answer_of(const struct query_quota_row *row)
{
	switch (row->result) {
	case QUERY_QUOTA_GRANTED:
		return QUOTA_GRANTED;
	case QUERY_QUOTA_REFUSED:
		return QUOTA_REFUSED;
	case QUERY_QUOTA_NEVER:
		return QUOTA_NEVER;
	case QUERY_QUOTA_REVOKED:
		return QUOTA_REVOKED;
	}
	return QUOTA_UNAVAILABLE;
}

static void on_taken(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct quota *quota = arg;
	struct query_quota_row row;

	if (result == DATABASE_ROWS && !query_parse_quota(rows, &row)) {
		log_message(LOG_ERROR, "query-bad", "quota_take returned another shape of row");
		result = DATABASE_FAILED;
	}
	if (result == DATABASE_ROWS)
		quota->taken(answer_of(&row), &row, quota->arg, token);
	else
		quota->taken(QUOTA_UNAVAILABLE, NULL, quota->arg, token);
}

static void on_returned(
	enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct quota *quota = arg;
	enum transaction_returned returned = TRANSACTION_UNCERTAIN;
	bool done;

	switch (result) {
	case DATABASE_ROWS:
		/* false: the slot has left every window by itself; there is nothing to repeat. */
		if (query_parse_bool(rows, &done))
			returned = TRANSACTION_RETURNED;
		break;
	case DATABASE_FAILED:
	case DATABASE_UNAVAILABLE:
		returned = TRANSACTION_NOT_RETURNED;
		break;
	case DATABASE_UNKNOWN:
		break;
	}
	quota->returned(returned, quota->arg, token);
}

enum { NUMBER_MAX = 24 };

static const char *number(char text[NUMBER_MAX], uint64_t value)
{
	snprintf(text, NUMBER_MAX, "%" PRIu64, value);
	return text;
}

bool quota_take(struct quota *quota, const struct take *take)
{
	char account[NUMBER_MAX], credential[NUMBER_MAX], messages[NUMBER_MAX];
	char recipients[NUMBER_MAX];
	const char *values[] = {number(account, take->account),
		number(credential, take->credential), number(messages, take->messages),
		number(recipients, take->recipients)};
	const char *of_account[] = {values[0], values[2], values[3]};
	bool by_password = take->credential == 0;

	if (take->messages == 0 || take->messages > QUOTA_MESSAGES_MAX || take->recipients == 0 ||
		take->recipients > QUOTA_RECIPIENTS_MAX)
		return false;
	return database_query(quota->database,
		by_password ? QUERY_QUOTA_TAKE : QUERY_CREDENTIAL_TAKE,
		by_password ? of_account : values, on_taken, quota, take->token);
}

bool quota_give_back(struct quota *quota, const struct take *take)
{
	char account[NUMBER_MAX], credential[NUMBER_MAX], taken_s[NUMBER_MAX];
	char messages[NUMBER_MAX], recipients[NUMBER_MAX];
	const char *values[] = {number(account, take->account),
		number(credential, take->credential), number(taken_s, take->taken_s),
		number(messages, take->messages), number(recipients, take->recipients)};
	const char *of_account[] = {values[0], values[2], values[3], values[4]};
	bool by_password = take->credential == 0;

	quota_forget(quota, take->account, take->credential); /* there may be room again */
	return database_query(quota->database,
		by_password ? QUERY_QUOTA_GIVE_BACK : QUERY_CREDENTIAL_GIVE_BACK,
		by_password ? of_account : values, on_returned, quota, take->token);
}
