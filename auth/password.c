/* SPDX-License-Identifier: ISC */
/*
 * PHC parsing, password schemes, and the preparation of logins and passwords.
 *
 * Owns the table of schemes: a new scheme is a row, a parse and a verify function.  Does not use
 * crypto_pwhash_str_verify(): libsodium 1.0.18 answers a wrong password, no memory and a malformed
 * hash alike, and takes whatever cost the string asks for.  Any process; no state.
 */
#include "auth/password.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

struct password_scheme {
	const char *name;
	const char *prefix;
	/* Gets what follows the prefix. */
	enum password_parsed (*parse)(const char *text, size_t len, struct password_hash *hash_out);
	enum password_verdict (*verify)(
		const struct password_hash *hash, const uint8_t *secret, size_t secret_len);
};

/* What is still to be parsed. */
struct span {
	const char *at;
	size_t len;
};

static bool span_literal(struct span *span, const char *literal)
{
	size_t len = strlen(literal);

	if (span->len < len || memcmp(span->at, literal, len) != 0)
		return false;
	span->at += len;
	span->len -= len;
	return true;
}

/* One to ten digits, no leading zero: one spelling a number. */
static bool span_number(struct span *span, uint64_t *value_out)
{
	uint64_t value = 0;
	size_t digits = 0;

	while (digits < span->len && span->at[digits] >= '0' && span->at[digits] <= '9') {
		if (digits == 10 || (digits == 1 && span->at[0] == '0'))
			return false;
		value = value * 10 + (uint64_t)(span->at[digits] - '0');
		digits++;
	}
	if (digits == 0)
		return false;
	span->at += digits;
	span->len -= digits;
	*value_out = value;
	return true;
}

/*
 * Base64 without padding and with zero trailing bits, up to the next '$' or the end.  The caller
 * has seen to it that all is printable ASCII: libsodium 1.0.18 decodes some octets above 0x7F,
 * which are negative chars, as if they were of the alphabet.
 */
static bool span_base64(struct span *span, uint8_t *bytes, size_t max, size_t *len_out)
{
	const char *end = memchr(span->at, '$', span->len);
	size_t len = end == NULL ? span->len : (size_t)(end - span->at);

	if (sodium_base642bin(bytes, max, span->at, len, NULL, len_out, NULL,
		    sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0)
		return false;
	span->at += len;
	span->len -= len;
	return true;
}

bool password_cost_valid(const struct password_cost *cost)
{
	return cost->memory_bytes >= PASSWORD_MEMORY_MIN &&
	       cost->memory_bytes <= PASSWORD_MEMORY_MAX && cost->memory_bytes % 1024 == 0 &&
	       cost->passes >= 1 && cost->passes <= PASSWORD_PASSES_MAX &&
	       cost->memory_bytes * cost->passes <= PASSWORD_WORK_MAX;
}

static enum password_parsed argon2id_parse(
	const char *text, size_t len, struct password_hash *hash_out)
{
	struct span span = {text, len};
	uint64_t memory_kib, passes, lanes;
	size_t salt_len;

	if (!span_literal(&span, "v=19$m=") || !span_number(&span, &memory_kib) ||
		!span_literal(&span, ",t=") || !span_number(&span, &passes) ||
		!span_literal(&span, ",p=") || !span_number(&span, &lanes) ||
		!span_literal(&span, "$") ||
		!span_base64(&span, hash_out->salt, sizeof(hash_out->salt), &salt_len) ||
		salt_len != sizeof(hash_out->salt) || !span_literal(&span, "$") ||
		!span_base64(&span, hash_out->tag, sizeof(hash_out->tag), &hash_out->tag_len) ||
		span.len != 0 || hash_out->tag_len < PASSWORD_TAG_MIN)
		return PASSWORD_MALFORMED;
	/* Numbers have at most ten digits: nothing below overflows before it is refused. */
	if (lanes != 1 || passes > PASSWORD_PASSES_MAX || memory_kib > PASSWORD_MEMORY_MAX / 1024)
		return PASSWORD_TOO_COSTLY;
	hash_out->cost.memory_bytes = memory_kib * 1024;
	hash_out->cost.passes = (unsigned)passes;
	return password_cost_valid(&hash_out->cost) ? PASSWORD_PARSED : PASSWORD_TOO_COSTLY;
}

static bool argon2id_compute(const struct password_cost *cost,
	const uint8_t salt[PASSWORD_SALT_BYTES], const uint8_t *secret, size_t secret_len,
	uint8_t *tag, size_t tag_len)
{
	/* libsodium always hashes with one lane. */
	return crypto_pwhash(tag, tag_len, (const char *)secret, secret_len, salt, cost->passes,
		       (size_t)cost->memory_bytes, crypto_pwhash_ALG_ARGON2ID13) == 0;
}

static enum password_verdict argon2id_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	uint8_t tag[PASSWORD_TAG_MAX];
	enum password_verdict verdict = PASSWORD_FAILED;

	if (argon2id_compute(&hash->cost, hash->salt, secret, secret_len, tag, hash->tag_len))
		verdict = sodium_memcmp(tag, hash->tag, hash->tag_len) == 0 ? PASSWORD_MATCH
									    : PASSWORD_MISMATCH;
	sodium_memzero(tag, sizeof(tag));
	return verdict;
}

_Static_assert(PASSWORD_SALT_BYTES == crypto_pwhash_SALTBYTES, "libsodium takes only this salt");
_Static_assert(PASSWORD_TAG_MIN >= crypto_pwhash_BYTES_MIN, "libsodium makes no shorter tag");

/* New hashes are made with the first. */
static const struct password_scheme schemes[] = {
	{"argon2id", "$argon2id$", argon2id_parse, argon2id_verify},
};

static bool is_printable_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return true;
}

enum password_parsed password_parse(const char *phc, size_t len, struct password_hash *hash_out)
{
	struct password_hash hash = {0};
	enum password_parsed parsed;

	if (len > PASSWORD_PHC_MAX)
		return PASSWORD_MALFORMED;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		struct span span = {phc, len};

		if (!span_literal(&span, schemes[i].prefix))
			continue;
		hash.scheme = &schemes[i];
		parsed = is_printable_ascii(span.at, span.len)
				 ? schemes[i].parse(span.at, span.len, &hash)
				 : PASSWORD_MALFORMED;
		if (parsed == PASSWORD_PARSED)
			*hash_out = hash;
		sodium_memzero(&hash, sizeof(hash));
		return parsed;
	}
	return PASSWORD_UNKNOWN_SCHEME;
}

const char *password_scheme_name(const struct password_hash *hash)
{
	return hash->scheme->name;
}

enum password_verdict password_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	return hash->scheme->verify(hash, secret, secret_len);
}

bool password_needs_rehash(const struct password_hash *hash, const struct password_cost *cost)
{
	return hash->scheme != &schemes[0] || hash->cost.memory_bytes < cost->memory_bytes ||
	       hash->cost.passes < cost->passes || hash->tag_len < PASSWORD_TAG_BYTES;
}

static void argon2id_format(const struct password_cost *cost,
	const uint8_t salt[PASSWORD_SALT_BYTES], const uint8_t tag[PASSWORD_TAG_BYTES],
	char phc_out[PASSWORD_PHC_MAX + 1])
{
	const int variant = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
	char salt_text[sodium_base64_ENCODED_LEN(
		PASSWORD_SALT_BYTES, sodium_base64_VARIANT_ORIGINAL_NO_PADDING)];
	char tag_text[sodium_base64_ENCODED_LEN(
		PASSWORD_TAG_BYTES, sodium_base64_VARIANT_ORIGINAL_NO_PADDING)];

	sodium_bin2base64(salt_text, sizeof(salt_text), salt, PASSWORD_SALT_BYTES, variant);
	sodium_bin2base64(tag_text, sizeof(tag_text), tag, PASSWORD_TAG_BYTES, variant);
	(void)snprintf(phc_out, PASSWORD_PHC_MAX + 1, "$argon2id$v=19$m=%u,t=%u,p=1$%s$%s",
		(unsigned)(cost->memory_bytes / 1024), cost->passes, salt_text, tag_text);
	sodium_memzero(tag_text, sizeof(tag_text));
}

bool password_make(const uint8_t *secret, size_t secret_len, const struct password_cost *cost,
	char phc_out[PASSWORD_PHC_MAX + 1])
{
	uint8_t salt[PASSWORD_SALT_BYTES], tag[PASSWORD_TAG_BYTES];
	bool made;

	phc_out[0] = '\0';
	if (!password_cost_valid(cost))
		return false;
	randombytes_buf(salt, sizeof(salt));
	made = argon2id_compute(cost, salt, secret, secret_len, tag, sizeof(tag));
	if (made)
		argon2id_format(cost, salt, tag, phc_out);
	sodium_memzero(tag, sizeof(tag));
	return made;
}

bool password_make_dummy(const struct password_cost *cost, char phc_out[PASSWORD_PHC_MAX + 1])
{
	uint8_t salt[PASSWORD_SALT_BYTES], tag[PASSWORD_TAG_BYTES];

	phc_out[0] = '\0';
	if (!password_cost_valid(cost))
		return false;
	randombytes_buf(salt, sizeof(salt));
	randombytes_buf(tag, sizeof(tag));
	argon2id_format(cost, salt, tag, phc_out);
	return true;
}

/*
 * Octets of the UTF-8 sequence at text, 0 when there is none (RFC 3629 4: no overlong form, no
 * surrogate, nothing above U+10FFFF) or when it is a control character.
 */
static size_t utf8_length(const uint8_t *text, size_t len)
{
	uint8_t low = 0x80, high = 0xBF; /* bounds of the second octet */
	size_t need;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7F ? 1 : 0;
	if (text[0] < 0xC2 || text[0] > 0xF4)
		return 0;
	need = text[0] < 0xE0 ? 2 : text[0] < 0xF0 ? 3 : 4;
	if (text[0] == 0xC2)
		low = 0xA0; /* C1 controls are U+0080 to U+009F */
	if (text[0] == 0xE0)
		low = 0xA0;
	if (text[0] == 0xED)
		high = 0x9F;
	if (text[0] == 0xF0)
		low = 0x90;
	if (text[0] == 0xF4)
		high = 0x8F;
	if (len < need || text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < need; i++) {
		if (text[i] < 0x80 || text[i] > 0xBF)
			return 0;
	}
	return need;
}

bool password_prepare_login(
	const uint8_t *login, size_t len, uint8_t login_out[PASSWORD_LOGIN_MAX], size_t *len_out)
{
	if (len == 0 || len > PASSWORD_LOGIN_MAX)
		return false;
	for (size_t i = 0; i < len;) {
		size_t step = utf8_length(login + i, len - i);

		if (step == 0)
			return false;
		i += step;
	}
	for (size_t i = 0; i < len; i++) {
		uint8_t octet = login[i];

		login_out[i] = octet >= 'A' && octet <= 'Z' ? (uint8_t)(octet - 'A' + 'a') : octet;
	}
	*len_out = len;
	return true;
}

bool password_prepare_secret(
	const uint8_t *secret, size_t len, uint8_t secret_out[PASSWORD_SECRET_MAX], size_t *len_out)
{
	if (len == 0 || len > PASSWORD_SECRET_MAX || memchr(secret, '\0', len) != NULL)
		return false;
	memmove(secret_out, secret, len);
	*len_out = len;
	return true;
}
