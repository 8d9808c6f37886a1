/* SPDX-License-Identifier: ISC */
/*
 * Leases: shares of limits that hot senders spend here, without the database.
 *
 * Owns how busy each chain is (an account, a credential, a domain), the leases and their return.
 * A chain above LEASE_RATE messages a second asks for its next take and for more beside it in one
 * call.  A lease is spent while the word of changes can be trusted, and no longer than its time
 * from the moment at which it was asked for; what is left of one that is idle, that ends soon or
 * whose account changed is given back.  Its return is repeated until it is answered: the database
 * credits it once.  Time is a parameter.
 */
#ifndef AUTH_LEASE_H
#define AUTH_LEASE_H

#include "auth/take_batch.h"
#include "auth/transaction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LEASE_RATE = 5, /* messages a second over the last LEASE_WINDOW_MS */
	LEASE_WINDOW_MS = 2000,
	LEASE_TTL_S = 10,         /* asked for */
	LEASE_MESSAGES_MAX = 64,  /* likewise */
	LEASE_IDLE_MS = 2000,     /* without a take: given back */
	LEASE_END_MS = 1500,      /* before its end: given back, as it could not be afterwards */
	LEASE_PAUSE_MS = 1000,    /* after there was none to be had */
	LEASE_CHAINS_MAX = 16384, /* watched at a time */
};

enum lease_answer {
	LEASE_NONE = 1, /* the take is to be asked for like any other */
	LEASE_SPENT,    /* granted: *grant_out */
	LEASE_ASKED,    /* done is called once, later; AWAY: it was never sent */
};

/* What a lease granted, and what came back of it unused: to be remembered for a while. */
struct lease_change {
	uint64_t number, seq, account, credential;
	const char *domain, *receipt;
	uint64_t bytes;
	uint32_t messages, recipients;
};

/* As take_batch_done; lease: the number of the lease that came with it, and to which the take
 * belongs now; 0: none did. */
typedef void lease_done(enum take_end end, const struct take_wanted *wanted,
	const struct query_quota_row *row, uint64_t seq, uint64_t lease, void *arg);

struct lease_settings {
	struct take_lane lanes[TAKE_LANES];
	uint64_t node;
	uint64_t *seq;
	void (*wake)(
		uint64_t in_ms, void *arg); /* leases_tick() is wanted then, and every second */
	lease_done *done;
	void (*granted)(const struct lease_change *lease, void *arg);
	void (*unspent)(const struct lease_change *lease, void *arg);
	/* The database has what was unspent: there may be room again. */
	void (*returned)(uint64_t account, uint64_t credential, void *arg);
	void *arg;
};

struct leases;

struct leases *leases_new(const struct lease_settings *settings)
	__attribute__((warn_unused_result));
void leases_destroy(struct leases **leases); /* when no call is under way */

enum lease_answer leases_take(struct leases *leases, const struct take_wanted *wanted,
	uint64_t now_ms, struct take_grant *grant_out) __attribute__((warn_unused_result));

/* Puts a grant back into the lease that it came from; false: that lives no more. */
bool leases_put_back(struct leases *leases, const struct take_grant *grant, uint64_t now_ms)
	__attribute__((warn_unused_result));

/* Gives back those of an account, or all; takes no new ones for those that are being asked for. */
void leases_end(struct leases *leases, uint64_t account, uint64_t now_ms);
void leases_end_all(struct leases *leases, uint64_t now_ms);

/* Whether changes are told.  false at the start. */
void leases_trust(struct leases *leases, bool trusted);

void leases_tick(struct leases *leases, uint64_t now_ms);

bool leases_idle(const struct leases *leases); /* nothing is leased, asked for or being returned */
size_t leases_count(const struct leases *leases);

#endif
