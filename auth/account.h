/* SPDX-License-Identifier: ISC */
/*
 * Accounts as the database told them, remembered by prepared login.
 *
 * The rules of trust, of waiting and of bounds are row_cache.h's; the key is the prepared login,
 * and the id, by which a change is told, the account's.
 */
#ifndef AUTH_ACCOUNT_H
#define AUTH_ACCOUNT_H

#include "auth/row_cache.h"
#include "auth/sender.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ACCOUNT_UNLIMITED = -1 };

/* What a node must know of an account's limits before it asks for a take. */
struct account_meters {
	int64_t sessions; /* in the whole fleet; ACCOUNT_UNLIMITED here and below */
	int64_t burst_messages, burst_recipients; /* of a minute, on this node */
	/* So much more while the database is away; UNLIMITED: no meter asks; 0: nothing. */
	int64_t grace_messages, grace_recipients, grace_bytes;
	bool wants_bytes, wants_recipients; /* some meter counts them */
	bool leasable;
};

struct account {
	uint64_t id, version;
	uint64_t password_version; /* stays when a better hash of the same password is stored */
	uint64_t message_bytes;    /* 0: no limit of its own */
	uint32_t recipients;       /* in one message, likewise */
	bool enabled;
	bool hash_malformed; /* there is one, too long for any known scheme */
	enum ipc_from_policy from_policy;
	struct account_meters meters;
	uint16_t login_len, phc_len; /* phc_len 0: no password */
	uint8_t login[IPC_LOGIN_MAX];
	uint8_t token_len; /* 0: none */
	uint8_t token[IPC_TOKEN_MAX];
	char phc[IPC_PHC_MAX + 1]; /* with a NUL */
	struct sender_list senders;
};

/* senders_bytes of packed rows behind the struct; NULL: out of memory. */
struct account *account_new(size_t senders_bytes) __attribute__((warn_unused_result));
void account_destroy(struct account **account); /* wipes the hash; NULL-safe */

/* account is NULL unless ROW_KNOWN, and valid during the call only. */
typedef void account_done(
	enum row_answer answer, const struct account *account, void *arg, uint64_t token);

extern const struct row_kind account_rows; /* for row_cache_new() */

/* row_cache.h's functions of the same names, of accounts by login; see there. */
void account_cache_get(struct row_cache *accounts, const uint8_t *login, size_t login_len,
	bool fresh, uint64_t now_ms, account_done *done, void *arg, uint64_t token);
void account_cache_answer(struct row_cache *accounts, uint64_t ticket, enum row_answer answer,
	struct account *account, uint64_t now_ms);
const struct account *account_cache_peek(
	const struct row_cache *accounts, const uint8_t *login, size_t login_len, uint64_t now_ms);
const struct account *account_cache_remembered(const struct row_cache *accounts,
	const uint8_t *login, size_t login_len, uint64_t age_ms, uint64_t now_ms);

#endif
