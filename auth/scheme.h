/* SPDX-License-Identifier: ISC */
/*
 * What the schemes of password.c are made of: the text that is still to be parsed, and a parse and
 * a verify function each.  For password.c and scheme_*.c only.
 */
#ifndef AUTH_SCHEME_H
#define AUTH_SCHEME_H

#include "auth/password.h"

/* What is still to be parsed, and all of it. */
struct span {
	const char *start; /* of the hash, its prefix included */
	const char *at;
	size_t len;
};

/*
 * These take what they name from the front of a span, or nothing: false.
 *
 * number: one to ten digits, no leading zero.  base64: up to the next '$' or the end, without
 * padding and with zero trailing bits; adapted: '.' stands for '+', as passlib and OpenLDAP write
 * it. set: the characters that are in the alphabet, min to max of them.
 */
bool span_literal(struct span *span, const char *literal);
bool span_number(struct span *span, uint64_t *value_out);
bool span_base64(struct span *span, uint8_t *bytes, size_t max, size_t *len_out);
bool span_base64_adapted(struct span *span, uint8_t *bytes, size_t max, size_t *len_out);
bool span_set(struct span *span, const char *alphabet, size_t min, size_t max);

/* Whether it is nothing but visible ASCII. */
bool span_visible(const struct span *span);

/* The alphabet of crypt(): in the order of its values. */
extern const char scheme_crypt_alphabet[];

/*
 * Each gets what follows the prefix by which it was chosen, and hash_out with that scheme in it and
 * all else 0.  The span of a "$...$" form is visible ASCII, any other has any octets.
 */
enum password_parsed argon2_parse(struct span span, struct password_hash *hash_out);
enum password_parsed bcrypt_parse(struct span span, struct password_hash *hash_out);
enum password_parsed yescrypt_parse(struct span span, struct password_hash *hash_out);
enum password_parsed sha_crypt_parse(struct span span, struct password_hash *hash_out);
enum password_parsed md5_crypt_parse(struct span span, struct password_hash *hash_out);
enum password_parsed pbkdf2_parse(struct span span, struct password_hash *hash_out);
enum password_parsed pbkdf2_dovecot_parse(struct span span, struct password_hash *hash_out);
enum password_parsed digest_parse(struct span span, struct password_hash *hash_out);
enum password_parsed salted_digest_parse(struct span span, struct password_hash *hash_out);
enum password_parsed plain_parse(struct span span, struct password_hash *hash_out);

enum password_verdict argon2_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len);
enum password_verdict crypt_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len);
enum password_verdict pbkdf2_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len);
enum password_verdict digest_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len);
enum password_verdict plain_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len);

/* Octets of the scheme's digest; 0: it has none of OpenSSL's. */
size_t scheme_digest_bytes(enum password_scheme scheme);

/* MATCH or MISMATCH, in constant time. */
enum password_verdict scheme_compare(const uint8_t *a, const uint8_t *b, size_t len);

/* A tag of Argon2; false: no memory. */
bool argon2_compute(enum password_scheme scheme, const struct password_cost *cost,
	const uint8_t salt[PASSWORD_SALT_BYTES], const uint8_t *secret, size_t secret_len,
	uint8_t *tag, size_t tag_len) __attribute__((warn_unused_result));

/* The part of password_init() that is the digests'. */
bool digest_init(void) __attribute__((warn_unused_result));

#endif
