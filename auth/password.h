/* SPDX-License-Identifier: ISC */
/*
 * Stored password hashes, their schemes, and the preparation of logins and passwords.
 *
 * Pure: no database, no process, no log, and no state but libsodium's, whose sodium_init() the
 * caller has called, and the digests of password_init().  Used by the hash processes (verify,
 * make), by auth (parse, dummy, preparation) and by posternctl (make, preparation).  A verification
 * takes as long as its hash asks, up to some 0.7 s: never call it in an event loop.
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
	PASSWORD_SALT_BYTES = 16,   /* of Argon2: the only length that libsodium takes */
	PASSWORD_SALT_MAX = 64,     /* of the other schemes */
	PASSWORD_TAG_MIN = 16,
	PASSWORD_TAG_MAX = 64,
	PASSWORD_TAG_BYTES = 32, /* of the hashes that are made here */
	PASSWORD_PASSES_MAX = 10,
};

/*
 * What a stored hash may cost.  A row is input like any other: whoever can write one must not be
 * able to hold a hash process for seconds, or to take its memory.  memory * passes bounds the CPU
 * time of Argon2 (64 MiB * 2 takes some 80 ms, so this cap some 0.7 s); the other schemes have caps
 * of their own, for the same time.
 */
#define PASSWORD_MEMORY_MIN UINT64_C(8192)
#define PASSWORD_MEMORY_MAX (UINT64_C(1) << 30)
#define PASSWORD_WORK_MAX (UINT64_C(1) << 30) /* memory in bytes * passes */

enum {
	PASSWORD_BCRYPT_MIN = 4, /* logarithms of its rounds */
	PASSWORD_BCRYPT_MAX = 13,
	PASSWORD_CRYPT_ROUNDS_MIN = 1000, /* of SHA-256-crypt and SHA-512-crypt */
	PASSWORD_CRYPT_ROUNDS_MAX = 700 * 1000,
	PASSWORD_CRYPT_SECRET_MAX = 511, /* octets that libcrypt takes */
	PASSWORD_PBKDF2_MAX = 1300 * 1000,
	PASSWORD_YESCRYPT_MAX = 512 << 20, /* bytes of memory */
	PASSWORD_MEMORY_SMALL = 64 << 10,  /* what the others take at the most */
};

/* Their round hashes the password anew: rounds * (its octets + 64), some 0.7 s. */
#define PASSWORD_CRYPT_WORK_MAX (UINT64_C(1) << 27)

/*
 * Of a new Argon2 hash, or of a stored hash: then passes are its scheme's iterations (bcrypt's 2 to
 * the cost, N of yescrypt, 1 of a bare digest).  Two hashes of one scheme and one cost take the
 * same time.
 */
struct password_cost {
	uint64_t memory_bytes; /* whole KiB */
	unsigned passes;
};

/* Whether new hashes may be made with it, and stored Argon2 ones verified: the caps above. */
bool password_cost_valid(const struct password_cost *cost);

enum password_scheme {
	PASSWORD_ARGON2ID = 1, /* what is made here; all others are legacy */
	PASSWORD_ARGON2I,
	PASSWORD_BCRYPT,
	PASSWORD_YESCRYPT,
	PASSWORD_SHA512_CRYPT,
	PASSWORD_SHA256_CRYPT,
	PASSWORD_MD5_CRYPT,
	PASSWORD_PBKDF2_SHA512,
	PASSWORD_PBKDF2_SHA256,
	PASSWORD_PBKDF2_SHA1,
	PASSWORD_SSHA512,
	PASSWORD_SSHA256,
	PASSWORD_SSHA,
	PASSWORD_SHA512,
	PASSWORD_SHA256,
	PASSWORD_SHA1,
	PASSWORD_PLAIN,
	PASSWORD_SCHEME_END,
};

/* A parsed hash.  Read scheme and cost to learn what a verification will take; the rest is the
 * scheme's.  It may hold a password (PLAIN): wipe it. */
struct password_hash {
	enum password_scheme scheme;
	struct password_cost cost;
	size_t salt_len, tag_len, text_len;
	uint8_t salt[PASSWORD_SALT_MAX];
	uint8_t tag[PASSWORD_TAG_MAX];
	char text[PASSWORD_PHC_MAX + 1]; /* as crypt() takes it; of PLAIN, the password */
};

/*
 * Fetches the digests of the schemes from OpenSSL.  Once, before the process is confined (OpenSSL
 * opens its configuration).  Without it password_verify() answers FAILED for the schemes that need
 * them, and all else works.  false: OpenSSL has none, or there is no memory.
 */
bool password_init(void) __attribute__((warn_unused_result));

enum password_parsed {
	PASSWORD_PARSED = 1,
	PASSWORD_UNKNOWN_SCHEME, /* no row of the table has this prefix */
	PASSWORD_MALFORMED,
	PASSWORD_TOO_COSTLY, /* well-formed, but outside the caps */
};

/*
 * Parses a stored hash of len octets (no NUL needed, none allowed), in any form of the tables in
 * password.c and docs/passwords.md: "$argon2id$v=19$m=<KiB>,t=<passes>,p=1$<salt>$<tag>" and its
 * like, what crypt() takes, and "{SCHEME}..." as Dovecot and OpenLDAP write it.  One spelling a
 * number, nothing before or behind.  hash_out is set only with PASSWORD_PARSED.
 */
enum password_parsed password_parse(const char *phc, size_t len, struct password_hash *hash_out)
	__attribute__((warn_unused_result));

/* The scheme's name: "argon2id", "bcrypt"; of a parsed hash. */
const char *password_scheme_name(const struct password_hash *hash);

enum password_verdict {
	PASSWORD_MATCH = 1,
	PASSWORD_MISMATCH,
	PASSWORD_FAILED, /* could not be computed (no memory): our trouble, 454, never 535 */
};

/*
 * Computes the hash of a prepared password and compares in constant time.  Takes the time and the
 * memory of hash->cost, whatever the outcome.  Intermediate results are wiped.  A password that is
 * longer than the scheme can take, or takes within the caps, never matches.
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
 * Prepares a login by RFC 8265's UsernameCaseMapped: full- and halfwidth forms mapped, lower case,
 * NFC, then IdentifierClass (RFC 8264: no space, no control, no symbol or punctuation beyond ASCII)
 * and, of what runs from right to left, the Bidi rule: for the part before the last '@' and for
 * each label behind it.  1 to 320 octets of UTF-8, before and after.  ASCII is lower-cased only,
 * and needs no library.  Idempotent; canonically equivalent texts become one.  login_out and login
 * may be the same memory.  false: not a login, nothing was written; answer as to an unknown one,
 * after equal work.
 */
bool password_prepare_login(const uint8_t *login, size_t len, uint8_t login_out[PASSWORD_LOGIN_MAX],
	size_t *len_out) __attribute__((warn_unused_result));

/*
 * Prepares a password by RFC 8265's OpaqueString: every kind of space is U+0020, NFC, then
 * FreeformClass (RFC 8264: no controls, nothing invisible or unassigned).  What is not UTF-8 is no
 * text to which that could apply, and is taken as it is: clients that send Latin-1 go on working
 * with hashes of Latin-1.  1 to 1024 octets, before and after, none of them NUL.  secret_out and
 * secret may be the same memory.  false: nothing was written; answer as to a wrong password, after
 * equal work.
 */
bool password_prepare_secret(
	const uint8_t *secret, size_t len, uint8_t secret_out[PASSWORD_SECRET_MAX], size_t *len_out)
	__attribute__((warn_unused_result));

#endif
