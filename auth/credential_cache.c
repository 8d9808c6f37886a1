/* SPDX-License-Identifier: ISC */
/* A kind of row; see credential_cache.h and row_cache.h. */
#include "auth/credential_cache.h"

#include "common/log.h"

#include <string.h>

static uint64_t row_id(const void *row)
{
	return ((const struct credential *)row)->number;
}

/* Bounded in number and in what each may have: those are the bound. */
static size_t row_bytes(const void *row)
{
	(void)row;
	return sizeof(struct credential);
}

static void row_destroy(void *row)
{
	struct credential *credential = row;

	credential_destroy(&credential);
}

static void row_tell(
	row_done *done, enum row_answer answer, const void *row, void *arg, uint64_t token)
{
	((credential_done *)done)(answer, row, arg, token);
}

const struct row_kind credential_rows = {
	.id = row_id, .bytes = row_bytes, .destroy = row_destroy, .tell = row_tell};

uint64_t credential_cache_key(const uint8_t *key, size_t key_len)
{
	uint64_t number;

	require(key_len == sizeof number);
	memcpy(&number, key, sizeof number);
	return number;
}

void credential_cache_get(struct row_cache *credentials, uint64_t number, bool fresh,
	uint64_t now_ms, credential_done *done, void *arg, uint64_t token)
{
	require(credential_number_valid(number));
	row_cache_get(
		credentials, &number, sizeof number, fresh, now_ms, (row_done *)done, arg, token);
}

void credential_cache_answer(struct row_cache *credentials, uint64_t ticket, enum row_answer answer,
	struct credential *credential, uint64_t now_ms)
{
	row_cache_answer(credentials, ticket, answer, credential, now_ms);
}

const struct credential *credential_cache_remembered(
	const struct row_cache *credentials, uint64_t number, uint64_t age_ms, uint64_t now_ms)
{
	return row_cache_remembered(credentials, &number, sizeof number, age_ms, now_ms);
}
