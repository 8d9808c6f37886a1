/* SPDX-License-Identifier: ISC */
/*
 * Generated credentials: their text, their keyed hash, and what a row says of one.  Pure, but for
 * the random numbers.
 *
 * "pst_" + 12 characters (the public id, 60 bits) + "_" + 32 characters (160 random bits), each of
 * a-z2-7: 49 octets, nothing else.  Stored is BLAKE2b-256 of all 49 under a pepper that the
 * database does not have: a microsecond to verify, and nothing to guess for a thief of the table.
 * The public id is also a number, by which rows and frames name a credential; 0 names none.
 */
#ifndef AUTH_CREDENTIAL_H
#define AUTH_CREDENTIAL_H

#include "auth/sender.h"
#include "common/network.h"
#include "common/pepper.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CREDENTIAL_TEXT_LEN = 49,
	CREDENTIAL_ID_LEN = 12,
	CREDENTIAL_HASH_BYTES = 32,
	CREDENTIAL_KEY_ID_LEN = 16,
	CREDENTIAL_NETWORKS_MAX = 32,
	CREDENTIAL_KEYS_MAX = 8,
};

/* Whether a secret has the generated form: it is then decided by its keyed hash alone, and nobody
 * may choose it as a password. */
bool credential_recognise(const uint8_t *text, size_t len) __attribute__((warn_unused_result));

/* Of a text of that form. */
uint64_t credential_number(const uint8_t text[CREDENTIAL_TEXT_LEN]);

/* The public id and a NUL; returns text. */
const char *credential_format(uint64_t number, char text[CREDENTIAL_ID_LEN + 1]);

/* Whether a number can name a credential. */
bool credential_number_valid(uint64_t number);

/* A new one, with a NUL; the caller wipes it. */
void credential_generate(char text[CREDENTIAL_TEXT_LEN + 1]);

/* What a pepper is called, with a NUL: a hash of its own, so that nobody can name it wrongly. */
void credential_key_id(const uint8_t pepper[PEPPER_BYTES], char key_id[CREDENTIAL_KEY_ID_LEN + 1]);

void credential_hash(const uint8_t pepper[PEPPER_BYTES], const uint8_t text[CREDENTIAL_TEXT_LEN],
	uint8_t hash[CREDENTIAL_HASH_BYTES]);

/* ---------------------------------------------------------------------- keys */
struct credential_keys; /* in guarded memory */

/* NULL: out of memory. count may be 0, and at most CREDENTIAL_KEYS_MAX. */
struct credential_keys *credential_keys_new(const uint8_t (*peppers)[PEPPER_BYTES], size_t count)
	__attribute__((warn_unused_result));
void credential_keys_destroy(struct credential_keys **keys); /* wipes */

/* ----------------------------------------------------------------------- row */
struct credential { /* as credential_lookup() tells it */
	uint64_t number, account, version;
	uint64_t expires_s; /* 0: never */
	bool enabled;       /* not revoked */
	char key_id[CREDENTIAL_KEY_ID_LEN + 1];
	uint8_t hash[CREDENTIAL_HASH_BYTES];
	size_t network_count; /* 0: from anywhere */
	struct network networks[CREDENTIAL_NETWORKS_MAX];
	struct sender_list senders; /* none: the account's */
};

/* senders_bytes of packed rows behind the struct; NULL: out of memory. */
struct credential *credential_new(size_t senders_bytes) __attribute__((warn_unused_result));
void credential_destroy(struct credential **credential); /* NULL-safe */

enum credential_match {
	CREDENTIAL_MATCHES = 1,
	CREDENTIAL_DIFFERS,
	CREDENTIAL_NO_KEY, /* hashed under a pepper that is not configured */
};

/* In constant time, of a text of the generated form. */
enum credential_match credential_verify(const struct credential *credential,
	const struct credential_keys *keys, const uint8_t text[CREDENTIAL_TEXT_LEN])
	__attribute__((warn_unused_result));

enum credential_state {
	CREDENTIAL_HOLDS = 1,
	CREDENTIAL_FOREIGN, /* another account's */
	CREDENTIAL_REVOKED,
	CREDENTIAL_EXPIRED,
	CREDENTIAL_ELSEWHERE, /* not from this network */
};

enum credential_state credential_check(const struct credential *credential, uint64_t account,
	const struct address_key *client, uint64_t wall_s) __attribute__((warn_unused_result));

/* Whether it may send as this address, as far as it narrows its account; see sender_match(). */
bool credential_may_send(const struct credential *credential, const uint8_t *address,
	size_t address_len) __attribute__((warn_unused_result));

#endif
