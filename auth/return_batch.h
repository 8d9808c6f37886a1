/* SPDX-License-Identifier: ISC */
/*
 * Give-backs, gathered: many receipts in one call to the database.
 *
 * Like take_batch.h, but one call at a time, and nothing waits when none is under way: nobody's
 * message depends on it.  All receipts of one take go in one call, so that all of them are given
 * back or none.
 */
#ifndef AUTH_RETURN_BATCH_H
#define AUTH_RETURN_BATCH_H

#include "auth/take_batch.h"
#include "auth/transaction.h"

enum { RETURN_BATCH_MAX = 64, RETURN_WAITING_MAX = 65536 };

/* From return_batch_tick() or the database, never from within return_batch_add(). */
typedef void return_batch_done(enum transaction_returned returned, void *arg, uint64_t token);

struct return_batch_settings {
	struct take_lane lanes[TAKE_LANES]; /* the last one that takes it is used */
	void (*wake)(uint64_t in_ms, void *arg);
	return_batch_done *done;
	void *arg;
};

struct return_batch;

struct return_batch *return_batch_new(const struct return_batch_settings *settings)
	__attribute__((warn_unused_result));
void return_batch_destroy(struct return_batch **batch); /* as take_batch_destroy() */

/* The grants of take that have a receipt, one at least.  true: done is called once, with its token.
 * false: there are too many, or there is no memory. */
bool return_batch_add(struct return_batch *batch, const struct take *take)
	__attribute__((warn_unused_result));

void return_batch_tick(struct return_batch *batch);

bool return_batch_idle(const struct return_batch *batch);

#endif
