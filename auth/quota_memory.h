/* SPDX-License-Identifier: ISC */
/*
 * What refusals taught: accounts and credentials whose limits are known to be empty, so that MAIL
 * is refused before a recipient is named.
 *
 * Short and bounded; a change of the account's row, a give-back, or QUOTA_MEMORY_MS end it.  Time
 * is a parameter.
 */
#ifndef AUTH_QUOTA_MEMORY_H
#define AUTH_QUOTA_MEMORY_H

#include "auth/query.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	QUOTA_MEMORY_MS = 10 * 1000, /* a refusal is remembered no longer */
	QUOTA_MEMORY_MAX = 4096,
};

struct quota_memory;

struct quota_memory *quota_memory_new(void) __attribute__((warn_unused_result));
void quota_memory_destroy(struct quota_memory **memory);

/*
 * What a refusal of so many recipients in one message says of the smallest one, remembered for this
 * version of the account's row: of all its sessions, or of those of the credential whose own limit
 * it is.  A refusal that says nothing of it is not remembered, nor one of a domain: the next
 * message may have another.
 */
void quota_memory_put(struct quota_memory *memory, uint64_t account, uint64_t credential,
	uint64_t version, uint32_t recipients, const struct query_quota_row *row, uint64_t now_ms,
	uint64_t wall_s);
void quota_memory_forget(struct quota_memory *memory, uint64_t account, uint64_t credential);
void quota_memory_forget_all(struct quota_memory *memory);

/* Whether even the smallest message is known not to fit now; *row_out says why. */
bool quota_memory_has(struct quota_memory *memory, uint64_t account, uint64_t credential,
	uint64_t version, uint64_t now_ms, struct query_quota_row *row_out)
	__attribute__((warn_unused_result));

#endif
