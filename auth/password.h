/* SPDX-License-Identifier: ISC */
/*
 * Stored password hashes (PHC strings), their schemes, and the preparation of logins and passwords.
 *
 * Pure: no database, no process, no log, and no state but libsodium's, whose sodium_init() the
 * caller has called.  Used by the hash processes (verify), by auth (parse, dummy, preparation) and
 * by posternctl (make, preparation).  A verification takes as long as its hash asks, up to some
 * 0.7 s: never call it in an event loop.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PASSWORD_LOGIN_MAX = 320,   /* octets */
	PASSWORD_SECRET_MAX = 1024, /* octets */
	PASSWORD_PHC_MAX = 256,     /* octets of a stored hash, without a NUL */
	PASSWORD_SALT_BYTES = 16,   /* the only length that libsodium takes */
	PASSWORD_TAG_MIN = 16,
	PASSWORD_TAG_MAX = 64,
	PASSWORD_TAG_BYTES = 32, /* of the hashes that are made here */
	PASSWORD_PASSES_MAX = 10,
};

/*
 * What a stored hash may cost.  A row is input like any other: whoever can write one must not be
 * able to hold a hash process for seconds, or to take its memory.  memory * passes bounds the CPU
 * time (64 MiB * 2 takes some 80 ms, so this cap some 0.7 s).
 */
#define PASSWORD_MEMORY_MIN UINT64_C(8192)
#define PASSWORD_MEMORY_MAX (UINT64_C(1) << 30)
#define PASSWORD_WORK_MAX (UINT64_C(1) << 30) /* memory in bytes * passes */

struct password_cost {
	uint64_t memory_bytes; /* whole KiB */
	unsigned passes;
};

/* Whether new hashes may be made with it, and stored ones verified: the caps above. */
bool password_cost_valid(const struct password_cost *cost);

struct password_scheme; /* a row of the table in password.c */

/* A parsed hash.  Read cost to learn what a verification will take; the rest is the scheme's. */
struct password_hash {
	const struct password_scheme *scheme;
	struct password_cost cost;
	size_t tag_len;
	uint8_t salt[PASSWORD_SALT_BYTES];
	uint8_t tag[PASSWORD_TAG_MAX];
};

enum password_parsed {
	PASSWORD_PARSED = 1,
	PASSWORD_UNKNOWN_SCHEME, /* no row of the table has this prefix */
	PASSWORD_MALFORMED,
	PASSWORD_TOO_COSTLY, /* well-formed, but outside the caps */
};

/*
 * Parses a stored hash of len octets (no NUL needed, none allowed):
 * $argon2id$v=19$m=<KiB>,t=<passes>,p=1$<salt>$<tag>, base64 without padding, decimal without
 * leading zeros, the fields in this order, nothing else.  hash_out is set only with
 * PASSWORD_PARSED.
 */
enum password_parsed password_parse(const char *phc, size_t len, struct password_hash *hash_out)
	__attribute__((warn_unused_result));

/* The scheme's name, "argon2id"; of a parsed hash. */
const char *password_scheme_name(const struct password_hash *hash);

enum password_verdict {
	PASSWORD_MATCH = 1,
	PASSWORD_MISMATCH,
	PASSWORD_FAILED, /* could not be computed (no memory): our trouble, 454, never 535 */
};

/*
 * Computes the hash of a prepared password and compares in constant time.  Takes the time and the
 * memory of hash->cost, whatever the outcome.  Intermediate results are wiped.
 */
enum password_verdict password_verify(const struct password_hash *hash, const uint8_t *secret,
	size_t secret_len) __attribute__((warn_unused_result));

/* Whether a hash that matched should be made anew: another scheme, or cheaper or shorter than
 * today's. */
bool password_needs_rehash(const struct password_hash *hash, const struct password_cost *cost);

/*
 * Makes a new Argon2id hash of a prepared password, with a random salt, as a NUL-terminated string
 * that password_parse() takes.  false: the cost is outside the caps, or there is no memory; phc_out
 * is then "".
 */
bool password_make(const uint8_t *secret, size_t secret_len, const struct password_cost *cost,
	char phc_out[PASSWORD_PHC_MAX + 1]) __attribute__((warn_unused_result));

/*
 * Makes a hash of the given cost that no password has: random salt, random tag.  Verifying against
 * it is the equal work owed to an unknown or disabled user and to a malformed hash.  Quick.  false:
 * the cost is outside the caps.
 */
bool password_make_dummy(const struct password_cost *cost, char phc_out[PASSWORD_PHC_MAX + 1])
	__attribute__((warn_unused_result));

/*
 * Prepares a login: 1 to 320 octets of valid UTF-8 without control characters (C0, DEL, C1), ASCII
 * letters lower-cased, all else unchanged.  Nothing is trimmed.  RFC 8265's UsernameCaseMapped
 * profile (width mapping, full case mapping, NFC) comes with a later issue and replaces the body of
 * this function only.  login_out and login may be the same memory.  false: not a login; answer as
 * to an unknown one, after equal work.
 */
bool password_prepare_login(const uint8_t *login, size_t len, uint8_t login_out[PASSWORD_LOGIN_MAX],
	size_t *len_out) __attribute__((warn_unused_result));

/*
 * Prepares a password: 1 to 1024 octets, any value but NUL, unchanged.  (RFC 8265's OpaqueString
 * likewise comes later.)  secret_out and secret may be the same memory.  false: nothing was
 * written; answer as to a wrong password, after equal work.
 */
bool password_prepare_secret(
	const uint8_t *secret, size_t len, uint8_t secret_out[PASSWORD_SECRET_MAX], size_t *len_out)
	__attribute__((warn_unused_result));

#endif
