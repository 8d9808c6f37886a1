/* SPDX-License-Identifier: ISC */
/*
 * What an account may send in a minute, on this node alone.
 *
 * A strict rolling window: in no BURST_WINDOW_MS more than the limit, counted in slots that leave
 * as a whole and late.  Nothing of it is kept when auth ends.  Time is a parameter.
 */
#ifndef AUTH_BURST_H
#define AUTH_BURST_H

#include "auth/account.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BURST_WINDOW_MS = 60 * 1000,
	BURST_SLOT_MS = 2000,
	BURST_ACCOUNTS_MAX = 65536, /* that sent under such a limit within a window */
};

enum burst_answer {
	BURST_FITS = 1, /* and is counted */
	BURST_FULL,     /* see the refusal */
	BURST_NEVER,    /* more than the limit itself; likewise */
	BURST_CROWDED,  /* too many accounts, or no memory */
};

struct burst_refusal {
	const char *meter;
	uint64_t limit, used;
	uint64_t in_ms; /* when it would fit; 0 with NEVER */
};

struct burst;

struct burst *burst_new(void) __attribute__((warn_unused_result));
void burst_destroy(struct burst **burst);

enum burst_answer burst_take(struct burst *burst, uint64_t account,
	const struct account_meters *meters, uint32_t messages, uint32_t recipients,
	uint64_t now_ms, struct burst_refusal *refusal_out) __attribute__((warn_unused_result));

/* What was counted at that time was not sent after all. */
void burst_give_back(struct burst *burst, uint64_t account, uint32_t messages, uint32_t recipients,
	uint64_t at_ms);

size_t burst_count(const struct burst *burst); /* accounts */

#endif
