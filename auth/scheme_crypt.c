/* SPDX-License-Identifier: ISC */
/*
 * The schemes of libcrypt (libxcrypt): bcrypt, yescrypt, SHA-256-crypt, SHA-512-crypt, MD5-crypt.
 *
 * Each is parsed to its end before libcrypt sees it: what is handed on is what crypt() would have
 * written, within the caps, so that its refusal is trouble of ours and never a wrong password.  Not
 * here, on purpose: DES, BSDi DES, NTHASH and $2x$ ($2x$ drops bits of every octet above 0x7F).
 * Any process; no state.
 */
#include "auth/scheme.h"

#include <crypt.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	BCRYPT_SALT_CHARS = 22,
	BCRYPT_TAG_CHARS = 31,
	BCRYPT_SECRET_MAX = 72, /* it reads no more, and old hashes are of cut passwords */
	SHA_SALT_CHARS = 16,
	SHA_ROUNDS = 5000,
	SHA256_TAG_CHARS = 43,
	SHA512_TAG_CHARS = 86,
	MD5_SALT_CHARS = 8,
	MD5_TAG_CHARS = 22,
	YESCRYPT_SALT_CHARS = 86, /* 64 octets */
	YESCRYPT_TAG_CHARS = 43,
	YESCRYPT_LOG_N_MIN = 10, /* what crypt_gensalt() begins with */
	YESCRYPT_LOG_N_MAX = 20,
	YESCRYPT_R_MIN = 8,
	YESCRYPT_R_MAX = 64,
};

/* The last part: tag_len characters, and the end.  Keeps the whole, as crypt() wants it. */
static enum password_parsed take_tag(
	struct span span, size_t tag_len, struct password_hash *hash_out)
{
	size_t len = (size_t)(span.at - span.start) + span.len;

	if (!span_set(&span, scheme_crypt_alphabet, tag_len, tag_len) || span.len != 0 ||
		len > PASSWORD_PHC_MAX)
		return PASSWORD_MALFORMED;
	memcpy(hash_out->text, span.start, len);
	hash_out->text[len] = '\0';
	hash_out->text_len = len;
	hash_out->tag_len = tag_len;
	if (hash_out->cost.memory_bytes == 0)
		hash_out->cost.memory_bytes = PASSWORD_MEMORY_SMALL;
	return PASSWORD_PARSED;
}

/* $2a$, $2b$ or $2y$, two digits, '$', salt and tag without anything between. */
enum password_parsed bcrypt_parse(struct span span, struct password_hash *hash_out)
{
	unsigned cost;

	if (span.len < 3 || span.at[0] < '0' || span.at[0] > '9' || span.at[1] < '0' ||
		span.at[1] > '9' || span.at[2] != '$' ||
		span.len != 3 + BCRYPT_SALT_CHARS + BCRYPT_TAG_CHARS)
		return PASSWORD_MALFORMED;
	cost = (unsigned)((span.at[0] - '0') * 10 + (span.at[1] - '0'));
	span.at += 3 + BCRYPT_SALT_CHARS;
	span.len -= 3 + BCRYPT_SALT_CHARS;
	struct span salt = {span.start, span.at - BCRYPT_SALT_CHARS, BCRYPT_SALT_CHARS};
	if (!span_set(&salt, scheme_crypt_alphabet, BCRYPT_SALT_CHARS, BCRYPT_SALT_CHARS) ||
		take_tag(span, BCRYPT_TAG_CHARS, hash_out) != PASSWORD_PARSED)
		return PASSWORD_MALFORMED;
	if (cost < PASSWORD_BCRYPT_MIN || cost > PASSWORD_BCRYPT_MAX)
		return PASSWORD_TOO_COSTLY;
	hash_out->cost.passes = 1u << cost;
	return PASSWORD_PARSED;
}

/* [rounds=<n>$]<salt>$<tag> */
enum password_parsed sha_crypt_parse(struct span span, struct password_hash *hash_out)
{
	uint64_t rounds = SHA_ROUNDS;
	size_t tag =
		hash_out->scheme == PASSWORD_SHA256_CRYPT ? SHA256_TAG_CHARS : SHA512_TAG_CHARS;

	if (span_literal(&span, "rounds=") &&
		(!span_number(&span, &rounds) || !span_literal(&span, "$")))
		return PASSWORD_MALFORMED;
	if (!span_set(&span, scheme_crypt_alphabet, 0, SHA_SALT_CHARS) ||
		!span_literal(&span, "$") || take_tag(span, tag, hash_out) != PASSWORD_PARSED)
		return PASSWORD_MALFORMED;
	if (rounds < PASSWORD_CRYPT_ROUNDS_MIN || rounds > PASSWORD_CRYPT_ROUNDS_MAX)
		return PASSWORD_TOO_COSTLY;
	hash_out->cost.passes = (unsigned)rounds;
	return PASSWORD_PARSED;
}

/* <salt>$<tag>, always 1,000 rounds */
enum password_parsed md5_crypt_parse(struct span span, struct password_hash *hash_out)
{
	hash_out->cost.passes = 1000;
	if (!span_set(&span, scheme_crypt_alphabet, 0, MD5_SALT_CHARS) || !span_literal(&span, "$"))
		return PASSWORD_MALFORMED;
	return take_tag(span, MD5_TAG_CHARS, hash_out);
}

static unsigned crypt_value(char c)
{
	const char *at = memchr(scheme_crypt_alphabet, c, 64);

	return at == NULL ? 64 : (unsigned)(at - scheme_crypt_alphabet);
}

/*
 * yescrypt's own encoding of a number from 1: the first character tells how many follow, six bits
 * each; 48 values of one character, 8 * 64 of two.  No number within the caps has more than two.
 * 0: none of those.
 */
static unsigned span_yescrypt_number(struct span *span)
{
	unsigned first = span->len > 0 ? crypt_value(span->at[0]) : 64;
	unsigned second = span->len > 1 ? crypt_value(span->at[1]) : 64;

	if (first < 48) {
		span->at++;
		span->len--;
		return first + 1;
	}
	if (first >= 56 || second == 64)
		return 0;
	span->at += 2;
	span->len -= 2;
	return 49 + (first - 48) * 64 + second;
}

/* Six bits a character, the least significant first, three octets from four; no bits left over. */
static bool is_yescrypt_salt(const char *text, size_t len)
{
	if (len < 2 || len > YESCRYPT_SALT_CHARS || len % 4 == 1)
		return false;
	unsigned last = crypt_value(text[len - 1]);
	return len % 4 == 0 || last < (len % 4 == 2 ? 4u : 16u);
}

/*
 * j<N><r>$<salt>$<tag>: the flavour that crypt_gensalt() writes.  Parallelism, more time and ROM,
 * which would follow r, nobody writes.
 */
enum password_parsed yescrypt_parse(struct span span, struct password_hash *hash_out)
{
	const char *salt;
	unsigned log_n, r;

	if (!span_literal(&span, "j"))
		return PASSWORD_MALFORMED;
	log_n = span_yescrypt_number(&span);
	r = span_yescrypt_number(&span);
	if (log_n == 0 || r == 0 || !span_literal(&span, "$"))
		return PASSWORD_MALFORMED;
	salt = span.at;
	if (!span_set(&span, scheme_crypt_alphabet, 2, YESCRYPT_SALT_CHARS) ||
		!is_yescrypt_salt(salt, (size_t)(span.at - salt)) || !span_literal(&span, "$") ||
		take_tag(span, YESCRYPT_TAG_CHARS, hash_out) != PASSWORD_PARSED)
		return PASSWORD_MALFORMED;
	if (log_n < YESCRYPT_LOG_N_MIN || log_n > YESCRYPT_LOG_N_MAX || r < YESCRYPT_R_MIN ||
		r > YESCRYPT_R_MAX || (UINT64_C(128) * r << log_n) > PASSWORD_YESCRYPT_MAX)
		return PASSWORD_TOO_COSTLY;
	hash_out->cost.memory_bytes = UINT64_C(128) * r << log_n;
	hash_out->cost.passes = 1u << log_n;
	return PASSWORD_PARSED;
}

/* How much of a password the scheme can take. */
static size_t secret_max(const struct password_hash *hash)
{
	size_t within;

	if (hash->scheme == PASSWORD_BCRYPT)
		return BCRYPT_SECRET_MAX;
	if (hash->scheme != PASSWORD_SHA256_CRYPT && hash->scheme != PASSWORD_SHA512_CRYPT)
		return PASSWORD_CRYPT_SECRET_MAX;
	within = (size_t)(PASSWORD_CRYPT_WORK_MAX / hash->cost.passes) - 64;
	return within < PASSWORD_CRYPT_SECRET_MAX ? within : PASSWORD_CRYPT_SECRET_MAX;
}

/* Compares the tags only: libcrypt rewrites unused bits of bcrypt's salt. */
static enum password_verdict compare(const struct password_hash *hash, const char *made)
{
	size_t len = made == NULL ? 0 : strlen(made);

	if (len != hash->text_len || made[0] == '*')
		return PASSWORD_FAILED;
	return scheme_compare((const uint8_t *)made + len - hash->tag_len,
		(const uint8_t *)hash->text + len - hash->tag_len, hash->tag_len);
}

/* The work of the longest password that is taken is done for a longer one too. */
enum password_verdict crypt_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	size_t max = secret_max(hash);
	char text[PASSWORD_CRYPT_SECRET_MAX + 1];
	size_t len = secret_len < max ? secret_len : max;
	bool cut = secret_len > max && hash->scheme != PASSWORD_BCRYPT;
	struct crypt_data *data = calloc(1, sizeof(*data)); /* 32 KiB: not for the stack */

	if (data == NULL)
		return PASSWORD_FAILED;
	memcpy(text, secret, len);
	text[len] = '\0';
	enum password_verdict verdict =
		compare(hash, crypt_rn(text, hash->text, data, (int)sizeof(*data)));
	sodium_memzero(text, sizeof(text));
	sodium_memzero(data, sizeof(*data));
	free(data);
	return cut && verdict == PASSWORD_MATCH ? PASSWORD_MISMATCH : verdict;
}
