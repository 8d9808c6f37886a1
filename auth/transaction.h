/* SPDX-License-Identifier: ISC */
/*
 * Takes that were granted and whose message is not yet decided.
 *
 * Owns their states (asked -> open -> intended -> returning, and open -> more -> open) and the
 * promise that a take is given back at most once, and only when the message was certainly not
 * accepted.  What is uncertain stays charged.  Transactions are told apart by proxy and id: one
 * proxy cannot touch another's.  Does not talk to the database or to a proxy: the owner gives a
 * function that starts a give-back.  What must survive this process is the spool's.  Time is a
 * parameter.
 */
#ifndef AUTH_TRANSACTION_H
#define AUTH_TRANSACTION_H

#include "auth/query.h"
#include "auth/recipients.h"
#include "common/config.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TRANSACTION_PROXIES_MAX = CONFIG_WORKERS_MAX,
	TRANSACTION_OPEN_MAX = 32 * 1024,  /* of one proxy */
	TRANSACTION_GRACE_MS = 5 * 1000,   /* a proxy without a channel may come back */
	TRANSACTION_RETRY_MS = 600 * 1000, /* ... and a give-back is tried again this long */
};

/* What one grant charged, and by what it is given back. */
struct take_grant {
	uint64_t lease; /* the lease of ours that it was spent from, by its number here; 0: none */
	uint64_t grace; /* the number of what was granted without the database; 0: it was asked */
	uint64_t seq;   /* of the call that granted it */
	uint64_t bytes; /* all 0: there is no grant, or it has been given back */
	uint32_t messages, recipients;
	uint8_t receipt_len; /* the database's, opaque */
	char receipt[QUERY_RECEIPT_MAX + 1];
};

enum { TAKE_GRANTS = 2 }; /* the take itself, and octets that were taken besides */

struct take {
	unsigned proxy;
	uint64_t peer;  /* the channel it was asked on, a number of the owner's */
	uint64_t id;    /* the proxy's */
	uint64_t token; /* ours, for asynchronous answers */
	uint64_t session, account, credential; /* credential 0: by password */
	uint32_t messages, recipients;
	uint64_t burst_ms;       /* when it was counted against a minute; 0: it was not */
	struct recipients *whom; /* NULL: not wanted.  A reference, of the transaction's */
	struct take_grant grants[TAKE_GRANTS];
};

enum transaction_start {
	TRANSACTION_STARTED = 1, /* ended by transactions_returned(): later, never from within */
	TRANSACTION_AT_ONCE,     /* it is given back already */
	TRANSACTION_NOT_NOW,     /* it cannot be started */
};

/* The take stays charged: its message was accepted, or may have been. */
typedef void transactions_keep(const struct take *take, void *arg);

struct transactions;

/*
 * expire_ms: after which an open take without any news is forgotten (it stays charged).  give_back
 * gives back what take->grants hold, and empties those that need no more of it.
 */
struct transactions *transactions_new(uint64_t expire_ms,
	enum transaction_start (*give_back)(struct take *take, void *arg), transactions_keep *keep,
	void *arg) __attribute__((warn_unused_result));
void transactions_destroy(struct transactions **transactions);

/*
 * A take is about to be asked for; take->token is set, a reference of take->whom is the
 * transaction's from then on.  false: the id is in use, there are too
 * many, or there is no memory: answer 451.
 */
bool transactions_begin(struct transactions *transactions, struct take *take, uint64_t now_ms)
	__attribute__((warn_unused_result));

/* More octets are about to be asked for, of a take that is open; once.  *take_out as below. */
bool transactions_more(struct transactions *transactions, unsigned proxy, uint64_t id,
	uint64_t session, uint64_t peer, struct take *take_out) __attribute__((warn_unused_result));

enum transaction_next {
	TRANSACTION_NOTHING = 1, /* nobody waits for an answer */
	TRANSACTION_DONE,        /* answer the outcome: recorded */
	TRANSACTION_LATER,       /* answer the outcome: not recorded, to be repeated */
	TRANSACTION_WAIT,        /* the answer comes from a later call */
};

/*
 * The answer to a take, or to more octets for it: an open take stays open when these are refused.
 * *take_out is a copy of what it was about, without a reference of whom.  false: nobody
 * remembers it.  The outcome may have come first (the client left): then *next_out says how that
 * goes on, and a granted take is being given back.
 */
bool transactions_granted(struct transactions *transactions, uint64_t token,
	const struct take_grant *grant, uint64_t now_ms, struct take *take_out,
	enum transaction_next *next_out) __attribute__((warn_unused_result));
bool transactions_refused(struct transactions *transactions, uint64_t token, struct take *take_out,
	enum transaction_next *next_out) __attribute__((warn_unused_result));

/* The end of data is about to be sent.  Idempotent.  false: no such open take. */
bool transactions_intend(struct transactions *transactions, unsigned proxy, uint64_t id,
	uint64_t session) __attribute__((warn_unused_result));

/*
 * What became of the message.  Idempotent; without a take nothing changes and it is DONE.  The
 * session does not matter: it may have ended before.
 */
enum transaction_next transactions_outcome(struct transactions *transactions, unsigned proxy,
	uint64_t id, enum ipc_outcome_kind kind) __attribute__((warn_unused_result));

enum transaction_returned {
	TRANSACTION_RETURNED = 1, /* recorded */
	TRANSACTION_NOT_RETURNED, /* certainly not: it will be tried again */
	TRANSACTION_UNCERTAIN,    /* perhaps: it is never tried again, and stays charged if not */
};

/* The end of a give-back that was STARTED.  NOTHING, DONE or LATER; take_out as above (false: not
 * remembered). */
bool transactions_returned(struct transactions *transactions, uint64_t token,
	enum transaction_returned returned, struct take *take_out, enum transaction_next *next_out)
	__attribute__((warn_unused_result));

/* The proxy's channel is gone; its takes wait for transactions_attach(), or for the grace to pass.
 */
void transactions_detach(struct transactions *transactions, unsigned proxy, uint64_t now_ms);

/*
 * A take that an earlier process was granted and told of on disk: it can be given back like one of
 * our own, and waits for its proxy for grace_ms.  false: the id is in use, there are too many, or
 * there is no memory: it stays charged.
 */
bool transactions_restore(struct transactions *transactions, const struct take *take, bool intended,
	uint64_t now_ms, uint64_t grace_ms) __attribute__((warn_unused_result));

/* The take whose give-back was STARTED; NULL: there is none. */
struct take *transactions_returning(struct transactions *transactions, uint64_t token);

/* What is known of it; NULL: nothing.  Valid until the next call. */
const struct take *transactions_find(
	const struct transactions *transactions, unsigned proxy, uint64_t id);

/*
 * A proxy tells on a new channel what it has open.  A take that is remembered is its own again,
 * unless the grant had not reached it (taken is false): then its message was refused already, and
 * the grace gives it back.  One that is not remembered (auth itself was replaced) is believed so
 * far that its message may go on; it is never given back: a proxy cannot mint refunds.
 */
void transactions_attach(
	struct transactions *transactions, const struct take *take, bool taken, uint64_t now_ms);

/* Every second: ends what waited long enough. */
void transactions_sweep(struct transactions *transactions, uint64_t now_ms);

size_t transactions_count(const struct transactions *transactions);

/* How many give-backs of the account are under way: what is taken meanwhile may not fit yet. */
size_t transactions_giving_back(const struct transactions *transactions, uint64_t account);

#endif
