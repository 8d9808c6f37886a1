/* SPDX-License-Identifier: ISC */
/*
 * Refusals on their way into the books, so that posternctl can explain them.
 *
 * Owns what is not written yet, in bounded number and in memory: best effort, for people, and not
 * an account book.  Refusals beyond the bound, and those of a write that fails, are dropped and
 * counted.  Does not talk to the database.  Time is a parameter.
 */
#ifndef AUTH_REFUSALS_H
#define AUTH_REFUSALS_H

#include "common/address.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	REFUSALS_MAX = 4096,
	REFUSALS_BATCH_MAX = 500,
};

enum refusal_rule {
	REFUSAL_SENDER = 1,  /* the envelope's is not the account's */
	REFUSAL_FROM_HEADER, /* ... the header's */
	REFUSAL_METER,
	REFUSAL_REVOKED,
	REFUSAL_UNAVAILABLE,
	REFUSAL_SESSIONS,
	REFUSAL_BURST,
	REFUSAL_GRACE,
};

struct refusal {
	enum refusal_rule rule;
	uint64_t tid, sid;             /* tid 0: the session's reply bore its own id */
	uint64_t account, credential;  /* credential 0: by password */
	uint64_t at_ms;                /* wall clock */
	uint64_t limit, used, reset_s; /* of the meter; not looked at without one */
	unsigned code;                 /* of the reply */
	bool has_sender, used_known;
	uint8_t meter_len; /* 0: no meter refused */
	uint16_t sender_len;
	struct address_key client;
	uint8_t meter[IPC_METER_NAME_MAX];
	uint8_t sender[IPC_PATH_MAX]; /* what the client wrote, or the address refused */
};

/* The arguments of refusals_put(): arrays as PostgreSQL writes them, in its order. */
enum refusals_column {
	REFUSALS_TID,
	REFUSALS_SID,
	REFUSALS_AT,
	REFUSALS_ACCOUNT,
	REFUSALS_CREDENTIAL,
	REFUSALS_SENDER,
	REFUSALS_CLIENT,
	REFUSALS_RULE,
	REFUSALS_CODE,
	REFUSALS_METER,
	REFUSALS_LIMIT,
	REFUSALS_USED,
	REFUSALS_RESET,
	REFUSALS_COLUMNS,
};

/* Starts a write, to be ended by refusals_written(): later, never from within.  The texts end with
 * the call.  false: it cannot be started now, and will be tried again. */
typedef bool refusals_write(char *const texts[REFUSALS_COLUMNS], void *arg);

struct refusals;

struct refusals *refusals_new(refusals_write *write, void *arg) __attribute__((warn_unused_result));
void refusals_destroy(struct refusals **refusals);

/* Copies it.  May begin a write. */
void refusals_note(struct refusals *refusals, const struct refusal *refusal);

/* Every second: begins a write when something waits and none is under way. */
void refusals_tick(struct refusals *refusals);

/* stored false: what was written is lost. */
void refusals_written(struct refusals *refusals, bool stored);

size_t refusals_count(const struct refusals *refusals); /* waiting */

const char *refusal_rule_name(enum refusal_rule rule);

#endif
