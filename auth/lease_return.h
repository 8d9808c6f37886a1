/* SPDX-License-Identifier: ISC */
/*
 * What is left of leases, on its way back.
 *
 * The database deletes a lease and credits what is left in one transaction, and only if it was
 * there: a return is repeated until it is answered, or until the lease counts as used anyway.
 */
#ifndef AUTH_LEASE_RETURN_H
#define AUTH_LEASE_RETURN_H

#include "auth/take_batch.h"

enum { LEASE_RETURN_BATCH_MAX = 64, LEASE_RETURN_RETRY_MS = 500, LEASE_RETURNS_MAX = 32768 };

struct lease_returns;

/* wake: lease_returns_tick() is wanted then, or before.  returned: the account may have room. */
struct lease_returns *lease_returns_new(const struct take_lane *lanes,
	void (*wake)(uint64_t in_ms, void *arg),
	void (*returned)(uint64_t account, uint64_t credential, void *arg), void *arg)
	__attribute__((warn_unused_result));
void lease_returns_destroy(struct lease_returns **returns); /* when no call is under way */

struct lease_rest {
	uint64_t lease, account, credential;
	uint64_t messages, recipients, bytes;
	uint64_t expires_ms;
};

/* Too many, or no memory: it runs out by itself, which is strict. */
void lease_returns_add(struct lease_returns *returns, const struct lease_rest *rest);

void lease_returns_tick(struct lease_returns *returns, uint64_t now_ms);

bool lease_returns_idle(const struct lease_returns *returns);

#endif
