/* SPDX-License-Identifier: ISC */
/*
 * Takes from the limits of an account and of a credential of its, and what they taught.
 *
 * Owns the two calls to the database and the short memory of refusals, by which MAIL is refused
 * before a recipient is named.  The limits themselves, their windows and their clock live in SQL.
 * A take whose answer never came is charged and not granted, and never sent again.
 */
#ifndef AUTH_QUOTA_H
#define AUTH_QUOTA_H

#include "auth/database.h"
#include "auth/query.h"
#include "auth/transaction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	QUOTA_MEMORY_MS = 10 * 1000, /* a refusal is remembered no longer */
	QUOTA_MEMORY_MAX = 4096,
	QUOTA_MESSAGES_MAX = 1000, /* in one take; a proxy that asks for more is broken */
	QUOTA_RECIPIENTS_MAX = 100 * 1000,
};

enum quota_answer {
	QUOTA_GRANTED = 1,
	QUOTA_REFUSED, /* for now */
	QUOTA_NEVER,   /* more than the limit itself */
	QUOTA_REVOKED, /* disabled or gone */
	QUOTA_UNAVAILABLE,
};

/* row: what the database said; NULL with QUOTA_UNAVAILABLE.  Valid during the call. */
typedef void quota_taken(
	enum quota_answer answer, const struct query_quota_row *row, void *arg, uint64_t token);
typedef void quota_returned(enum transaction_returned returned, void *arg, uint64_t token);

struct quota;

/* database stays the caller's. */
struct quota *quota_new(struct database *database, quota_taken *taken, quota_returned *returned,
	void *arg) __attribute__((warn_unused_result));
void quota_destroy(struct quota **quota);

/* true: taken() is called once, later, with take->token.  false: it is not asked at all. */
bool quota_take(struct quota *quota, const struct take *take) __attribute__((warn_unused_result));

/* true: returned() is called once, later, with take->token.  false: it is not sent. */
bool quota_give_back(struct quota *quota, const struct take *take)
	__attribute__((warn_unused_result));

/* What a refusal of this take says of the smallest message, remembered for this row of the account:
 * of all its sessions, or of those of the credential whose own limit it is.  Pure, like the next
 * two. */
void quota_remember(struct quota *quota, const struct take *take, uint64_t version,
	const struct query_quota_row *row, uint64_t now_ms, uint64_t wall_s);
void quota_forget(struct quota *quota, uint64_t account, uint64_t credential);

/* Whether even the smallest message is known not to fit now; *row_out says why. */
bool quota_known_empty(struct quota *quota, uint64_t account, uint64_t credential, uint64_t version,
	uint64_t now_ms, struct query_quota_row *row_out) __attribute__((warn_unused_result));

#endif
