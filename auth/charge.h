/* SPDX-License-Identifier: ISC */
/*
 * What the database is told was granted, without being asked: charges().
 *
 * By node and number of the call it counts each once: a call whose end is unknown is repeated.
 */
#ifndef AUTH_CHARGE_H
#define AUTH_CHARGE_H

#include "auth/take_batch.h"

struct charge {
	uint64_t seq, account, credential, bytes;
	uint32_t messages, recipients;
	const char *receipt; /* "": charged as the account's chain is now */
	const char *domain;
};

struct charges; /* a call that is being put together */

struct charges *charges_new(void) __attribute__((warn_unused_result));
void charges_add(struct charges *charges, const struct charge *charge);

void charges_free(struct charges **charges);

/* Sends it on a lane that takes it, and frees it.  true: done is called once, later. */
bool charges_send(struct charges **charges, const struct take_lane *lanes, uint64_t node,
	database_done *done, void *arg) __attribute__((warn_unused_result));

#endif
