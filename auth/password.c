/* SPDX-License-Identifier: ISC */
/*
 * Stored hashes: the table of schemes, the forms in which others write them, and new ones.
 *
 * A new scheme is a row, a parse and a verify function (scheme_*.c); a form is a row.  Not among
 * them, on purpose: bare and salted MD5 and MD4, DES in all its shapes, LANMAN and NT hashes, and
 * what serves one mechanism only (CRAM-MD5, DIGEST-MD5, SCRAM): an account with such a hash needs a
 * new password.  Any process; no state.
 */
#include "auth/password.h"

#include "auth/scheme.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *name;
	enum password_verdict (*verify)(
		const struct password_hash *hash, const uint8_t *secret, size_t secret_len);
} schemes[PASSWORD_SCHEME_END] = {
	[PASSWORD_ARGON2ID] = {"argon2id", argon2_verify},
	[PASSWORD_ARGON2I] = {"argon2i", argon2_verify},
	[PASSWORD_BCRYPT] = {"bcrypt", crypt_verify},
	[PASSWORD_YESCRYPT] = {"yescrypt", crypt_verify},
	[PASSWORD_SHA512_CRYPT] = {"sha512-crypt", crypt_verify},
	[PASSWORD_SHA256_CRYPT] = {"sha256-crypt", crypt_verify},
	[PASSWORD_MD5_CRYPT] = {"md5-crypt", crypt_verify},
	[PASSWORD_PBKDF2_SHA512] = {"pbkdf2-sha512", pbkdf2_verify},
	[PASSWORD_PBKDF2_SHA256] = {"pbkdf2-sha256", pbkdf2_verify},
	[PASSWORD_PBKDF2_SHA1] = {"pbkdf2-sha1", pbkdf2_verify},
	[PASSWORD_SSHA512] = {"ssha512", digest_verify},
	[PASSWORD_SSHA256] = {"ssha256", digest_verify},
	[PASSWORD_SSHA] = {"ssha", digest_verify},
	[PASSWORD_SHA512] = {"sha512", digest_verify},
	[PASSWORD_SHA256] = {"sha256", digest_verify},
	[PASSWORD_SHA1] = {"sha1", digest_verify},
	[PASSWORD_PLAIN] = {"plain", plain_verify},
};

/* What begins with '$'. */
static const struct {
	const char *prefix;
	enum password_scheme scheme;
	enum password_parsed (*parse)(struct span span, struct password_hash *hash_out);
} modular[] = {
	{"$argon2id$", PASSWORD_ARGON2ID, argon2_parse},
	{"$argon2i$", PASSWORD_ARGON2I, argon2_parse},
	{"$2a$", PASSWORD_BCRYPT, bcrypt_parse},
	{"$2b$", PASSWORD_BCRYPT, bcrypt_parse},
	{"$2y$", PASSWORD_BCRYPT, bcrypt_parse},
	{"$y$", PASSWORD_YESCRYPT, yescrypt_parse},
	{"$6$", PASSWORD_SHA512_CRYPT, sha_crypt_parse},
	{"$5$", PASSWORD_SHA256_CRYPT, sha_crypt_parse},
	{"$1$", PASSWORD_MD5_CRYPT, md5_crypt_parse},
	{"$pbkdf2-sha512$", PASSWORD_PBKDF2_SHA512, pbkdf2_parse},
	{"$pbkdf2-sha256$", PASSWORD_PBKDF2_SHA256, pbkdf2_parse},
	{"$pbkdf2$", PASSWORD_PBKDF2_SHA1, pbkdf2_parse},
};

/*
 * How what follows "{NAME}" is encoded when the name does not say it (".hex", ".b64", ".base64").
 * AS_LONG is hexadecimal when it has twice the octets of its digest, else base64.
 */
enum encoding { AS_IS = 1, BASE64, HEX, AS_LONG };

/* "{NAME}", in any case.  Without a parse function: what follows is one of the above. */
static const struct tag {
	const char *name;
	enum encoding encoding;
	enum password_scheme scheme;
	enum password_parsed (*parse)(struct span span, struct password_hash *hash_out);
} tags[] = {
	{"ARGON2ID", AS_IS, PASSWORD_ARGON2ID, NULL},
	{"ARGON2I", AS_IS, PASSWORD_ARGON2I, NULL},
	{"BLF-CRYPT", AS_IS, PASSWORD_BCRYPT, NULL},
	{"CRYPT", AS_IS, PASSWORD_SHA512_CRYPT, NULL},
	{"SHA512-CRYPT", AS_IS, PASSWORD_SHA512_CRYPT, NULL},
	{"SHA256-CRYPT", AS_IS, PASSWORD_SHA256_CRYPT, NULL},
	{"MD5-CRYPT", AS_IS, PASSWORD_MD5_CRYPT, NULL},
	{"PBKDF2-SHA512", AS_IS, PASSWORD_PBKDF2_SHA512, pbkdf2_parse},
	{"PBKDF2-SHA256", AS_IS, PASSWORD_PBKDF2_SHA256, pbkdf2_parse},
	{"PBKDF2-SHA1", AS_IS, PASSWORD_PBKDF2_SHA1, pbkdf2_parse},
	{"PBKDF2", AS_IS, PASSWORD_PBKDF2_SHA1, pbkdf2_dovecot_parse},
	{"SSHA512", BASE64, PASSWORD_SSHA512, salted_digest_parse},
	{"SSHA256", BASE64, PASSWORD_SSHA256, salted_digest_parse},
	{"SSHA", BASE64, PASSWORD_SSHA, salted_digest_parse},
	{"SHA512", AS_LONG, PASSWORD_SHA512, digest_parse},
	{"SHA256", AS_LONG, PASSWORD_SHA256, digest_parse},
	{"SHA1", AS_LONG, PASSWORD_SHA1, digest_parse},
	{"SHA", AS_LONG, PASSWORD_SHA1, digest_parse},
	{"PLAIN", AS_IS, PASSWORD_PLAIN, plain_parse},
	{"CLEARTEXT", AS_IS, PASSWORD_PLAIN, plain_parse},
	{"CLEAR", AS_IS, PASSWORD_PLAIN, plain_parse},
};

static enum password_parsed parse_modular(struct span span, struct password_hash *hash)
{
	for (size_t i = 0; i < COUNT(modular); i++) {
		if (!span_literal(&span, modular[i].prefix))
			continue;
		hash->scheme = modular[i].scheme;
		return span_visible(&span) ? modular[i].parse(span, hash) : PASSWORD_MALFORMED;
	}
	return PASSWORD_UNKNOWN_SCHEME;
}

static bool is_name(const char *text, size_t len, const char *name)
{
	return strlen(name) == len && strncasecmp(text, name, len) == 0;
}

/* What stands between the braces, without its suffix.  encoding_out: the suffix's, or AS_IS. */
static const struct tag *find_tag(const char *text, size_t len, enum encoding *encoding_out)
{
	const char *dot = memchr(text, '.', len);
	size_t name_len = dot == NULL ? len : (size_t)(dot - text);

	*encoding_out = AS_IS;
	if (dot != NULL) {
		size_t suffix_len = len - name_len;
		if (is_name(dot, suffix_len, ".hex"))
			*encoding_out = HEX;
		else if (is_name(dot, suffix_len, ".b64") || is_name(dot, suffix_len, ".base64"))
			*encoding_out = BASE64;
		else
			return NULL;
	}
	for (size_t i = 0; i < COUNT(tags); i++) {
		if (is_name(text, name_len, tags[i].name))
			return &tags[i];
	}
	return NULL;
}

/* Base64 with its padding, or without. */
static bool decode(enum encoding encoding, const struct span *span, char *bytes, size_t *len_out)
{
	uint8_t *out = (uint8_t *)bytes;

	if (!span_visible(span))
		return false;
	if (encoding == HEX)
		return sodium_hex2bin(out, PASSWORD_PHC_MAX, span->at, span->len, NULL, len_out,
			       NULL) == 0;
	return sodium_base642bin(out, PASSWORD_PHC_MAX, span->at, span->len, NULL, len_out, NULL,
		       sodium_base64_VARIANT_ORIGINAL) == 0 ||
	       sodium_base642bin(out, PASSWORD_PHC_MAX, span->at, span->len, NULL, len_out, NULL,
		       sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0;
}

static enum password_parsed parse_body(
	const struct tag *tag, struct span span, struct password_hash *hash)
{
	span.start = span.at;
	hash->scheme = tag->scheme;
	return tag->parse == NULL ? parse_modular(span, hash) : tag->parse(span, hash);
}

static enum password_parsed parse_tagged(struct span span, struct password_hash *hash)
{
	const char *end = memchr(span.at, '}', span.len);
	enum encoding encoding;
	char bytes[PASSWORD_PHC_MAX];
	size_t len = 0;

	if (end == NULL)
		return PASSWORD_UNKNOWN_SCHEME;
	const struct tag *tag = find_tag(span.at, (size_t)(end - span.at), &encoding);
	if (tag == NULL)
		return PASSWORD_UNKNOWN_SCHEME;
	span.len -= (size_t)(end + 1 - span.at);
	span.at = end + 1;
	if (encoding == AS_IS)
		encoding = tag->encoding;
	if (encoding == AS_LONG)
		encoding = span.len == 2 * scheme_digest_bytes(tag->scheme) ? HEX : BASE64;
	if (encoding == AS_IS)
		return parse_body(tag, span, hash);
	enum password_parsed parsed = PASSWORD_MALFORMED;
	if (decode(encoding, &span, bytes, &len))
		parsed = parse_body(tag, (struct span){bytes, bytes, len}, hash);
	sodium_memzero(bytes, sizeof(bytes));
	return parsed;
}

enum password_parsed password_parse(const char *phc, size_t len, struct password_hash *hash_out)
{
	struct span span = {phc, phc, len};
	struct password_hash hash = {0};
	enum password_parsed parsed;

	if (len > PASSWORD_PHC_MAX)
		return PASSWORD_MALFORMED;
	parsed = span_literal(&span, "{") ? parse_tagged(span, &hash) : parse_modular(span, &hash);
	if (parsed == PASSWORD_PARSED)
		*hash_out = hash;
	sodium_memzero(&hash, sizeof(hash));
	return parsed;
}

bool password_init(void)
{
	return digest_init();
}

const char *password_scheme_name(const struct password_hash *hash)
{
	return schemes[hash->scheme].name;
}

enum password_verdict password_verify(
	const struct password_hash *hash, const uint8_t *secret, size_t secret_len)
{
	return schemes[hash->scheme].verify(hash, secret, secret_len);
}

bool password_needs_rehash(const struct password_hash *hash, const struct password_cost *cost)
{
	return hash->scheme != PASSWORD_ARGON2ID || hash->cost.memory_bytes < cost->memory_bytes ||
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
	made = argon2_compute(PASSWORD_ARGON2ID, cost, salt, secret, secret_len, tag, sizeof(tag));
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
