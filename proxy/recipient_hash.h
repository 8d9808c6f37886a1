/* SPDX-License-Identifier: ISC */
/*
 * Whom a message is for, as auth's meters want to be told: a hash of each recipient, kept from the
 * RCPT to the take.  Nobody needs the addresses, and the hash of one account says nothing of
 * another's.  Pure.
 */
#ifndef PROXY_RECIPIENT_HASH_H
#define PROXY_RECIPIENT_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The first 8 octets, as a little-endian number, of BLAKE2b with 16 octets of output, over the
 * account's id (8 octets, little-endian) and the address with its ASCII letters in lower case.  The
 * same everywhere and for ever: it is stored.  len is IPC_PATH_MAX at most (more aborts).
 */
uint64_t recipient_hash(uint64_t account, const char *address, size_t len);

/* Of one message, in order: those that the backend accepted, and those whose reply is owed. */
struct recipient_hashes {
	uint64_t *hash;         /* owned; NULL: none yet */
	size_t accepted;        /* the first so many */
	size_t answered, count; /* from answered to count: sent, the reply has not come */
	size_t room;
	size_t counted; /* the owner's, for stream_count_queued() */
};

/* RCPT is about to be sent.  False: out of memory, nothing is changed. */
bool recipient_hashes_add(struct recipient_hashes *hashes, uint64_t hash)
	__attribute__((warn_unused_result));

/* The oldest RCPT without a reply got one.  There must be one. */
void recipient_hashes_answer(struct recipient_hashes *hashes, bool accepted);

/* Octets held. */
size_t recipient_hashes_size(const struct recipient_hashes *hashes);

void recipient_hashes_free(struct recipient_hashes *hashes);

#endif
