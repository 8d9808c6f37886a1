/* SPDX-License-Identifier: ISC */
/*
 * When, from where and by which client each credential was used last, written coarsely.
 *
 * Owns what is not written yet, in bounded number: the first use of a credential is written within
 * seconds, a later one when CREDENTIAL_USE_MS have passed since the last write.  Uses beyond the
 * bound are not written: it is a help for people, not an account book.  Does not talk to the
 * database.  Time is a parameter.
 */
#ifndef AUTH_CREDENTIAL_USE_H
#define AUTH_CREDENTIAL_USE_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CREDENTIAL_USE_MS = 5 * 60 * 1000,
	CREDENTIAL_USE_ENTRIES_MAX = 16 * 1024,
	CREDENTIAL_USE_BATCH_MAX = 64,
	CREDENTIAL_USE_CLIENT_MAX = 255,
};

/* The arguments of credential_used(): arrays as PostgreSQL writes them. */
struct credential_use_batch {
	char *credentials, *seconds, *addresses, *clients;
};

/* Starts a write, to be ended by credential_uses_written(): later, never from within.  The batch
 * ends with the call.  false: it cannot be started now. */
typedef bool credential_uses_write(const struct credential_use_batch *batch, void *arg);

struct credential_uses;

struct credential_uses *credential_uses_new(credential_uses_write *write, void *arg)
	__attribute__((warn_unused_result));
void credential_uses_destroy(struct credential_uses **uses);

void credential_uses_note(struct credential_uses *uses, uint64_t number,
	const struct address_key *client, const uint8_t *name, size_t name_len, uint64_t now_ms,
	uint64_t wall_s);

/* Every second: begins a write when something is due and none is under way. */
void credential_uses_tick(struct credential_uses *uses, uint64_t now_ms);

/* What failed is written with the next use. */
void credential_uses_written(struct credential_uses *uses);

size_t credential_uses_count(const struct credential_uses *uses);

#endif
