/* SPDX-License-Identifier: ISC */
/*
 * The text of stored hashes: literals, numbers, base64, alphabets; and comparing in constant time.
 *
 * Knows no scheme.  Any process; no state.
 */
#include "auth/scheme.h"

#include <sodium.h>
#include <string.h>

const char scheme_crypt_alphabet[] =
	"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static void span_skip(struct span *span, size_t len)
{
	span->at += len;
	span->len -= len;
}

bool span_literal(struct span *span, const char *literal)
{
	size_t len = strlen(literal);

	if (span->len < len || memcmp(span->at, literal, len) != 0)
		return false;
	span_skip(span, len);
	return true;
}

bool span_number(struct span *span, uint64_t *value_out)
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
	span_skip(span, digits);
	*value_out = value;
	return true;
}

static size_t field_length(const struct span *span)
{
	const char *end = memchr(span->at, '$', span->len);

	return end == NULL ? span->len : (size_t)(end - span->at);
}

/* The caller has seen to it that all is visible ASCII: libsodium 1.0.18 decodes some octets above
 * 0x7F, which are negative chars, as if they were of the alphabet. */
static bool decode(const char *text, size_t len, uint8_t *bytes, size_t max, size_t *len_out)
{
	return sodium_base642bin(bytes, max, text, len, NULL, len_out, NULL,
		       sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0;
}

bool span_base64(struct span *span, uint8_t *bytes, size_t max, size_t *len_out)
{
	size_t len = field_length(span);

	if (!decode(span->at, len, bytes, max, len_out))
		return false;
	span_skip(span, len);
	return true;
}

bool span_base64_adapted(struct span *span, uint8_t *bytes, size_t max, size_t *len_out)
{
	size_t len = field_length(span);
	char text[PASSWORD_PHC_MAX];

	if (len > sizeof(text) || memchr(span->at, '+', len) != NULL)
		return false;
	for (size_t i = 0; i < len; i++)
		text[i] = span->at[i] == '.' ? '+' : span->at[i];
	if (!decode(text, len, bytes, max, len_out))
		return false;
	span_skip(span, len);
	return true;
}

bool span_set(struct span *span, const char *alphabet, size_t min, size_t max)
{
	size_t len = 0, letters = strlen(alphabet);

	while (len < span->len && memchr(alphabet, span->at[len], letters) != NULL)
		len++;
	if (len < min || len > max)
		return false;
	span_skip(span, len);
	return true;
}

bool span_visible(const struct span *span)
{
	for (size_t i = 0; i < span->len; i++) {
		if (span->at[i] <= ' ' || span->at[i] > '~')
			return false;
	}
	return true;
}

enum password_verdict scheme_compare(const uint8_t *a, const uint8_t *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0 ? PASSWORD_MATCH : PASSWORD_MISMATCH;
}
