/* SPDX-License-Identifier: ISC */
/*
 * Takes from the limits of an account and of what it belongs to.
 *
 * The front of the rooms that decide them: a lease that is spent here (lease.h), else a call to the
 * database that many takes share (take_batch.h), else, while that is away, what the plan allows
 * then (grace.h).  Give-backs go the way that their grant came (return_batch.h).  The limits
 * themselves, their windows and their clock live in SQL.  A take whose answer never came is charged
 * and not granted, and never sent again.  Time is a parameter.
 */
#ifndef AUTH_QUOTA_H
#define AUTH_QUOTA_H

#include "auth/return_batch.h"
#include "auth/take_batch.h"
#include "auth/transaction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	QUOTA_MESSAGES_MAX = 1000, /* in one take; a proxy that asks for more is broken */
	QUOTA_RECIPIENTS_MAX = 100 * 1000,
};
#define QUOTA_BYTES_MAX (UINT64_C(1) << 50)

enum quota_answer {
	QUOTA_GRANTED = 1,
	QUOTA_REFUSED,  /* for now */
	QUOTA_REJECTED, /* for now, by a plan that rejects */
	QUOTA_NEVER,    /* more than the limit itself */
	QUOTA_REVOKED,  /* disabled or gone */
	QUOTA_UNAVAILABLE,
};

struct quota_result { /* valid during the call */
	enum quota_answer answer;
	const struct take_wanted *wanted;
	const struct query_quota_row *row; /* NULL: the database did not decide it now */
	struct take_grant grant;           /* of GRANTED */
};

typedef void quota_taken(const struct quota_result *result, void *arg);
typedef void quota_returned(enum transaction_returned returned, void *arg, uint64_t token);

struct quota_settings {
	struct take_lane lanes[TAKE_LANES];
	uint64_t node;
	uint64_t seq; /* the node has used none beyond: calls are told apart by it */
	void (*wake)(uint64_t in_ms, void *arg); /* quota_tick() is wanted then, or before */
	quota_taken *taken;
	quota_returned *returned;
	/* There may be room again; not told of give-backs. */
	void (*freed)(uint64_t account, uint64_t credential, void *arg);
	void *arg;
};

struct quota;

struct quota *quota_new(const struct quota_settings *settings) __attribute__((warn_unused_result));
void quota_destroy(struct quota **quota); /* after its databases were closed */

/* true: taken() is called once, perhaps before it returns.  false: it is not asked at all. */
bool quota_take(struct quota *quota, const struct take_wanted *wanted, uint64_t now_ms)
	__attribute__((warn_unused_result));

/* For transactions_new().  STARTED: returned() is called once, later, with take->token. */
enum transaction_start quota_give_back(struct quota *quota, struct take *take, uint64_t now_ms)
	__attribute__((warn_unused_result));

/* A give-back that was STARTED has succeeded. */
void quota_returned_one(struct quota *quota, const struct take *take);

/* The take stays charged: see transactions_keep. */
void quota_keep(struct quota *quota, const struct take *take);

/* Whether the connection of a lane stands. */
void quota_lane(struct quota *quota, size_t lane, bool ready);

/* Whether changes are told (false at the start); those of an account, or anything; another server:
 * what is leased is not spent any more, and what that server may have lost is charged anew. */
void quota_trust(struct quota *quota, bool trusted);
void quota_changed(struct quota *quota, uint64_t account, uint64_t now_ms);
void quota_changed_all(struct quota *quota, uint64_t now_ms);
void quota_epoch(struct quota *quota, uint64_t now_ms);

void quota_tick(struct quota *quota, uint64_t now_ms); /* when woken, and every second */

/* Nothing is leased or waits for the database.  Draining: quota_changed_all() gives leases back. */
bool quota_idle(const struct quota *quota);

#endif
