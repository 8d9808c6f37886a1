/* SPDX-License-Identifier: ISC */
/*
 * Digests of OpenSSL: plain, salted, and PBKDF2 of them; and the password itself.
 *
 * Owns the fetched digests: fetching one by name at each use would search OpenSSL's providers, and
 * open files that a confined process cannot.  Any process; the digests are set once.
 */
#include "auth/scheme.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

enum { SHA1, SHA256, SHA512, DIGESTS };

static struct {
	const char *name;
	size_t bytes;
	EVP_MD *md; /* for the life of the process */
} digests[DIGESTS] = {
	[SHA1] = {"SHA1", 20, NULL},
	[SHA256] = {"SHA2-256", 32, NULL},
	[SHA512] = {"SHA2-512", 64, NULL},
};

bool digest_init(void)
{
	uint8_t warm[20];

	for (size_t i = 0; i < DIGESTS; i++) {
		if (digests[i].md == NULL)
			digests[i].md = EVP_MD_fetch(NULL, digests[i].name, NULL);
		if (digests[i].md == NULL)
			return false;
	}
	/* Once, so that OpenSSL has found and kept what PBKDF2 is made of. */
	return PKCS5_PBKDF2_HMAC("", 0, (const uint8_t *)"salt", 4, 1, digests[SHA1].md,
		       sizeof(warm), warm) == 1;
}

static int digest_of(enum password_scheme scheme)
{
	switch (scheme) {
	case PASSWORD_SHA1:
	case PASSWORD_SSHA:
	case PASSWORD_PBKDF2_SHA1:
		return SHA1;
	case PASSWORD_SHA256:
	case PASSWORD_SSHA256:
	case PASSWORD_PBKDF2_SHA256:
		return SHA256;
	case PASSWORD_SHA512:
	case PASSWORD_SSHA512:
	case PASSWORD_PBKDF2_SHA512:
		return SHA512;
	case PASSWORD_ARGON2ID:
	case PASSWORD_ARGON2I:
	case PASSWORD_BCRYPT:
	case PASSWORD_YESCRYPT:
	case PASSWORD_SHA512_CRYPT:
	case PASSWORD_SHA256_CRYPT:
	case PASSWORD_MD5_CRYPT:
	case PASSWORD_PLAIN:
	case PASSWORD_SCHEME_END:
		break;
	}
	return DIGESTS;
}

size_t scheme_digest_bytes(enum password_scheme scheme)
{
	int digest = digest_of(scheme);

	return digest == DIGESTS ? 0 : digests[digest].bytes;
}

/* The cost of what has one pass and no memory. */
static const struct password_cost cheap = {PASSWORD_MEMORY_SMALL, 1};

enum password_parsed digest_parse(struct span span, struct password_hash *hash_out)
{
	size_t bytes = scheme_digest_bytes(hash_out->scheme);

	if (span.len != bytes)
		return PASSWORD_MALFORMED;
	memcpy(hash_out->tag, span.at, bytes);
	hash_out->tag_len = bytes;
	hash_out->cost = cheap;
	return PASSWORD_PARSED;
}

/* The digest, then the salt. */
enum password_parsed salted_digest_parse(struct span span, struct password_hash *hash_out)
{
	size_t bytes = scheme_digest_bytes(hash_out->scheme);

	if (span.len <= bytes || span.len - bytes > sizeof(hash_out->salt))
		return PASSWORD_MALFORMED;
	memcpy(hash_out->tag, span.at, bytes);
	hash_out->tag_len = bytes;
	hash_out->salt_len = span.len - bytes;
	memcpy(hash_out->salt, span.at + bytes, hash_out->salt_len);
	hash_out->cost = cheap;
	return PASSWORD_PARSED;
}

static enum password_parsed cap_iterations(uint64_t iterations, struct password_hash *hash_out)
{
	if (iterations == 0 || iterations > PASSWORD_PBKDF2_MAX)
		return PASSWORD_TOO_COSTLY;
	hash_out->cost.memory_bytes = PASSWORD_MEMORY_SMALL;
	hash_out->cost.passes = (unsigned)iterations;
	return PASSWORD_PARSED;
}

/* <iterations>$<salt>$<tag>: passlib, and OpenLDAP's pw-pbkdf2. */
enum password_parsed pbkdf2_parse(struct span span, struct password_hash *hash_out)
{
	uint64_t iterations;

	if (!span_visible(&span) || !span_number(&span, &iterations) || !span_literal(&span, "$") ||
		!span_base64_adapted(
			&span, hash_out->salt, sizeof(hash_out->salt), &hash_out->salt_len) ||
		!span_literal(&span, "$") ||
		!span_base64_adapted(
			&span, hash_out->tag, sizeof(hash_out->tag), &hash_out->tag_len) ||
		span.len != 0 || hash_out->tag_len != scheme_digest_bytes(hash_out->scheme))
		return PASSWORD_MALFORMED;
	return cap_iterations(iterations, hash_out);
}

/* $1$<salt>$<iterations>$<tag>: Dovecot; the salt is its characters, the tag hexadecimal. */
static enum password_parsed dovecot_parse(struct span span, struct password_hash *hash_out)
{
	uint64_t iterations;
	const char *salt;

	if (!span_literal(&span, "$1$"))
		return PASSWORD_MALFORMED;
	salt = span.at;
	if (!span_set(&span, scheme_crypt_alphabet, 1, sizeof(hash_out->salt)))
		return PASSWORD_MALFORMED;
	hash_out->salt_len = (size_t)(span.at - salt);
	memcpy(hash_out->salt, salt, hash_out->salt_len);
	if (!span_literal(&span, "$") || !span_number(&span, &iterations) ||
		!span_literal(&span, "$") ||
		span.len != 2 * scheme_digest_bytes(hash_out->scheme) ||
		sodium_hex2bin(hash_out->tag, sizeof(hash_out->tag), span.at, span.len, NULL,
			&hash_out->tag_len, NULL) != 0)
		return PASSWORD_MALFORMED;
	return cap_iterations(iterations, hash_out);
}

/* {PBKDF2} is two things. */
enum password_parsed pbkdf2_dovecot_parse(struct span span, struct password_hash *hash_out)
{
	return span.len > 0 && span.at[0] == '$' ? dovecot_parse(span, hash_out)
						 : pbkdf2_parse(span, hash_out);
}

/* The stored password is prepared as the given one is, so that both are of one spelling. */
enum password_parsed plain_parse(struct span span, struct password_hash *hash_out)
{
	uint8_t prepared[PASSWORD_SECRET_MAX];
	enum password_parsed parsed = PASSWORD_MALFORMED;

	if (password_prepare_secret(
		    (const uint8_t *)span.at, span.len, prepared, &hash_out->text_len) &&
		hash_out->text_len <= PASSWORD_PHC_MAX) {
		memcpy(hash_out->text, prepared, hash_out->text_len);
		hash_out->cost = cheap;
		parsed = PASSWORD_PARSED;
	}
	sodium_memzero(prepared, sizeof(prepared));
	return parsed;
}

/* ----------------------------------------------------------------- verifying */
enum password_verdict digest_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	const EVP_MD *md = digests[digest_of(hash->scheme)].md;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	enum password_verdict verdict = PASSWORD_FAILED;
	uint8_t tag[PASSWORD_TAG_MAX];

	if (md != NULL && context != NULL && EVP_DigestInit_ex2(context, md, NULL) == 1 &&
		EVP_DigestUpdate(context, secret, secret_len) == 1 &&
		EVP_DigestUpdate(context, hash->salt, hash->salt_len) == 1 &&
		EVP_DigestFinal_ex(context, tag, NULL) == 1)
		verdict = scheme_compare(tag, hash->tag, hash->tag_len);
	EVP_MD_CTX_free(context);
	sodium_memzero(tag, sizeof(tag));
	return verdict;
}

enum password_verdict pbkdf2_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	const EVP_MD *md = digests[digest_of(hash->scheme)].md;
	enum password_verdict verdict = PASSWORD_FAILED;
	uint8_t tag[PASSWORD_TAG_MAX];

	if (md != NULL && PKCS5_PBKDF2_HMAC((const char *)secret, (int)secret_len, hash->salt,
				  (int)hash->salt_len, (int)hash->cost.passes, md,
				  (int)hash->tag_len, tag) == 1)
		verdict = scheme_compare(tag, hash->tag, hash->tag_len);
	sodium_memzero(tag, sizeof(tag));
	return verdict;
}

/* Of keyed digests, which are of one length whatever the passwords are. */
enum password_verdict plain_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	uint8_t key[crypto_generichash_KEYBYTES], ours[32], theirs[32];
	enum password_verdict verdict;

	randombytes_buf(key, sizeof(key));
	(void)crypto_generichash(
		ours, sizeof(ours), (const uint8_t *)hash->text, hash->text_len, key, sizeof(key));
	(void)crypto_generichash(theirs, sizeof(theirs), secret, secret_len, key, sizeof(key));
	verdict = scheme_compare(ours, theirs, sizeof(ours));
	sodium_memzero(key, sizeof(key));
	return verdict;
}
