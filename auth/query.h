/* SPDX-License-Identifier: ISC */
/*
 * The statements that auth runs, and the strict reading of what they return.
 *
 * One table: name, SQL, number of parameters.  Results come in the binary format; a row of another
 * shape (count, type, length, range) is QUERY_BAD, which the callers treat as an outage, never as
 * an answer.  Pure but for libpq's accessors.
 */
#ifndef AUTH_QUERY_H
#define AUTH_QUERY_H

#include "auth/account.h"
#include "auth/credential.h"
#include "common/ipc.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUERY_CONTRACT_VERSION = 1, QUERY_PARAMETERS_MAX = 16 };

enum query {
	QUERY_CONTRACT,
	QUERY_ACCOUNT_LOOKUP,
	QUERY_ACCOUNT_REHASH,
	QUERY_SENDER_OWNED,
	QUERY_TAKES,
	QUERY_TAKES_GIVE_BACK,
	QUERY_LEASE_TAKE,
	QUERY_LEASE_RETURN,
	QUERY_CHARGES,
	QUERY_NODE_ALIVE,
	QUERY_SESSIONS_HOLD,
	QUERY_CHANGES_SINCE,
	QUERY_CHANGES_CLEAN,
	QUERY_CREDENTIAL_LOOKUP,
	QUERY_CREDENTIAL_USED,
	QUERY_BLOCKS,
	QUERY_BLOCK_PUT,
	QUERY_GUARD_LOAD,
	QUERY_GUARD_SAVE,
	QUERY_REFUSALS_PUT,
	QUERY_USAGE_PUT,
	QUERY_USAGE_MAINTAIN,
	QUERY_COUNT,
};

struct query_info {
	const char *name; /* of the prepared statement */
	const char *sql;
	int parameters; /* all as text */
};
extern const struct query_info query_info[QUERY_COUNT];

enum query_answer {
	QUERY_ROW = 1,
	QUERY_NO_ROW,
	QUERY_BAD, /* not what the contract says */
};

enum query_quota {
	QUERY_QUOTA_GRANTED = 0,
	QUERY_QUOTA_REFUSED = 1, /* for now */
	QUERY_QUOTA_NEVER = 2,
	QUERY_QUOTA_REVOKED = 3,
	QUERY_QUOTA_REJECTED = 4, /* for now, by a plan that rejects */
};

enum { QUERY_RECEIPT_MAX = 255 };

struct query_quota_row {
	enum query_quota result;
	uint64_t limit, used; /* of the meter that refused, or of which is warned */
	uint64_t reset_s;     /* when it would fit; 0: not told */
	uint8_t meter_len, warned_len, receipt_len;
	uint8_t meter[IPC_METER_NAME_MAX];
	uint8_t warned[IPC_METER_NAME_MAX];  /* a grant beyond the plan's warn_percent; len 0: none
					      */
	char receipt[QUERY_RECEIPT_MAX + 1]; /* when granted, and then never empty; with a NUL */
};

struct query_lease_row {
	struct query_quota_row quota;         /* of what was needed at once */
	uint64_t lease;                       /* 0: that alone was granted */
	uint64_t messages, recipients, bytes; /* granted, what was needed included */
	uint64_t ttl_s;
};

struct query_hold_row {
	bool granted;
	uint64_t limit;
};

enum { QUERY_CHANGES_MAX = 1000, QUERY_CURSOR_MAX = 150, QUERY_EPOCH_MAX = 64 };

struct query_changes {
	bool everything; /* all accounts and credentials, and the blocks */
	bool blocks;
	char cursor[QUERY_CURSOR_MAX + 1];
	char epoch[QUERY_EPOCH_MAX + 1];
	size_t account_count, credential_count;
	uint64_t accounts[QUERY_CHANGES_MAX];
	uint64_t credentials[QUERY_CHANGES_MAX];
};

/* Exactly one row with the contract's version. */
bool query_parse_contract(const PGresult *rows, int32_t *version_out)
	__attribute__((warn_unused_result));

/* QUERY_ROW: *account_out is new, for account_destroy() or account_cache_answer().  Out of memory
 * reads as QUERY_BAD. */
enum query_answer query_parse_account(const PGresult *rows, struct account **account_out)
	__attribute__((warn_unused_result));

/* Likewise, for credential_destroy() or credential_cache_answer(). */
enum query_answer query_parse_credential(const PGresult *rows, struct credential **credential_out)
	__attribute__((warn_unused_result));

/* Exactly one boolean (sender_owned and others). */
bool query_parse_bool(const PGresult *rows, bool *out) __attribute__((warn_unused_result));

bool query_parse_changes(const PGresult *rows, struct query_changes *out)
	__attribute__((warn_unused_result));

/* query_take.c: the rows of count elements, by their numbers, each there once; false: none of them
 * is an answer. */
bool query_parse_takes(const PGresult *rows, size_t count, struct query_quota_row *out)
	__attribute__((warn_unused_result));
bool query_parse_returned(const PGresult *rows, size_t count) __attribute__((warn_unused_result));
bool query_parse_holds(const PGresult *rows, size_t count, struct query_hold_row *out)
	__attribute__((warn_unused_result));

bool query_parse_lease(const PGresult *rows, struct query_lease_row *out)
	__attribute__((warn_unused_result));

/* One number that is not negative (charges, lease_return, node_alive). */
bool query_parse_count(const PGresult *rows, uint64_t *out) __attribute__((warn_unused_result));

/* Of the row, as long as it is: bytes that the caller has to look into. */
struct query_bytes {
	const uint8_t *bytes;
	size_t len;
};

bool query_parse_blocks(const PGresult *rows, uint64_t *now_s_out, struct query_bytes *list_out)
	__attribute__((warn_unused_result));
bool query_parse_guard(const PGresult *rows, struct query_bytes *seed_out,
	struct query_bytes *records_out) __attribute__((warn_unused_result));

#endif
