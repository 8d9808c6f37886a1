/* SPDX-License-Identifier: ISC */
/* Accounts, and their cache; see account.h and row_cache.h. */
#include "auth/account.h"

#include "common/log.h"

#include <sodium.h>
#include <stdlib.h>

struct account *account_new(size_t senders_bytes)
{
	struct account *account = calloc(1, sizeof *account + senders_bytes);

	if (account != NULL)
		account->senders.bytes = (uint8_t *)(account + 1);
	return account;
}

void account_destroy(struct account **account)
{
	if (*account == NULL)
		return;
	sodium_memzero((*account)->phc, sizeof(*account)->phc);
	free(*account);
	*account = NULL;
}

/* ------------------------------------------------------------- a kind of row */
static uint64_t row_id(const void *row)
{
	return ((const struct account *)row)->id;
}

static size_t row_bytes(const void *row)
{
	return sizeof(struct account) + ((const struct account *)row)->senders.bytes_used;
}

static void row_destroy(void *row)
{
	struct account *account = row;

	account_destroy(&account);
}

static void row_tell(
	row_done *done, enum row_answer answer, const void *row, void *arg, uint64_t token)
{
	((account_done *)done)(answer, row, arg, token);
}

const struct row_kind account_rows = {
	.id = row_id, .bytes = row_bytes, .destroy = row_destroy, .tell = row_tell};

/* ---------------------------------------------------------------- their cache */
void account_cache_get(struct row_cache *accounts, const uint8_t *login, size_t login_len,
	bool fresh, uint64_t now_ms, account_done *done, void *arg, uint64_t token)
{
	require(login_len <= IPC_LOGIN_MAX);
	row_cache_get(accounts, login, login_len, fresh, now_ms, (row_done *)done, arg, token);
}

void account_cache_answer(struct row_cache *accounts, uint64_t ticket, enum row_answer answer,
	struct account *account, uint64_t now_ms)
{
	row_cache_answer(accounts, ticket, answer, account, now_ms);
}

const struct account *account_cache_peek(
	const struct row_cache *accounts, const uint8_t *login, size_t login_len, uint64_t now_ms)
{
	return row_cache_peek(accounts, login, login_len, now_ms);
}

const struct account *account_cache_remembered(const struct row_cache *accounts,
	const uint8_t *login, size_t login_len, uint64_t age_ms, uint64_t now_ms)
{
	return row_cache_remembered(accounts, login, login_len, age_ms, now_ms);
}
