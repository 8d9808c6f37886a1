/* SPDX-License-Identifier: ISC */
/*
 * Argon2id and Argon2i by libsodium, and the caps of their cost.
 *
 * Does not use crypto_pwhash_str_verify(): libsodium 1.0.18 answers a wrong password, no memory and
 * a malformed hash alike, and takes whatever cost the string asks for.  Any process; no state.
 */
#include "auth/scheme.h"

#include <sodium.h>

_Static_assert(PASSWORD_SALT_BYTES == crypto_pwhash_SALTBYTES, "libsodium takes only this salt");
_Static_assert(PASSWORD_TAG_MIN >= crypto_pwhash_BYTES_MIN, "libsodium makes no shorter tag");

bool password_cost_valid(const struct password_cost *cost)
{
	return cost->memory_bytes >= PASSWORD_MEMORY_MIN &&
	       cost->memory_bytes <= PASSWORD_MEMORY_MAX && cost->memory_bytes % 1024 == 0 &&
	       cost->passes >= 1 && cost->passes <= PASSWORD_PASSES_MAX &&
	       cost->memory_bytes * cost->passes <= PASSWORD_WORK_MAX;
}

/* libsodium takes no Argon2i of fewer than 3 passes: those were broken. */
static bool enough_passes(const struct password_hash *hash)
{
	return hash->scheme == PASSWORD_ARGON2ID ||
	       hash->cost.passes >= crypto_pwhash_argon2i_OPSLIMIT_MIN;
}

enum password_parsed argon2_parse(struct span span, struct password_hash *hash_out)
{
	uint64_t memory_kib, passes, lanes;

	if (!span_literal(&span, "v=19$m=") || !span_number(&span, &memory_kib) ||
		!span_literal(&span, ",t=") || !span_number(&span, &passes) ||
		!span_literal(&span, ",p=") || !span_number(&span, &lanes) ||
		!span_literal(&span, "$") ||
		!span_base64(&span, hash_out->salt, PASSWORD_SALT_BYTES, &hash_out->salt_len) ||
		hash_out->salt_len != PASSWORD_SALT_BYTES || !span_literal(&span, "$") ||
		!span_base64(&span, hash_out->tag, sizeof(hash_out->tag), &hash_out->tag_len) ||
		span.len != 0 || hash_out->tag_len < PASSWORD_TAG_MIN)
		return PASSWORD_MALFORMED;
	/* Numbers have at most ten digits: nothing below overflows before it is refused. */
	if (lanes != 1 || passes > PASSWORD_PASSES_MAX || memory_kib > PASSWORD_MEMORY_MAX / 1024)
		return PASSWORD_TOO_COSTLY;
	hash_out->cost.memory_bytes = memory_kib * 1024;
	hash_out->cost.passes = (unsigned)passes;
	if (!password_cost_valid(&hash_out->cost) || !enough_passes(hash_out))
		return PASSWORD_TOO_COSTLY;
	return PASSWORD_PARSED;
}

bool argon2_compute(enum password_scheme scheme, const struct password_cost *cost,
	const uint8_t salt[PASSWORD_SALT_BYTES], const uint8_t *secret, size_t secret_len,
	uint8_t *tag, size_t tag_len)
{
	int algorithm = scheme == PASSWORD_ARGON2I ? crypto_pwhash_ALG_ARGON2I13
						   : crypto_pwhash_ALG_ARGON2ID13;

	/* libsodium always hashes with one lane. */
	return crypto_pwhash(tag, tag_len, (const char *)secret, secret_len, salt, cost->passes,
		       (size_t)cost->memory_bytes, algorithm) == 0;
}

enum password_verdict argon2_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	uint8_t tag[PASSWORD_TAG_MAX];
	enum password_verdict verdict = PASSWORD_FAILED;

	if (argon2_compute(
		    hash->scheme, &hash->cost, hash->salt, secret, secret_len, tag, hash->tag_len))
		verdict = scheme_compare(tag, hash->tag, hash->tag_len);
	sodium_memzero(tag, sizeof(tag));
	return verdict;
}
