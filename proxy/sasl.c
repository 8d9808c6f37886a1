/* SPDX-License-Identifier: ISC */
/*
 * SASL on the wire: base64, the fields of PLAIN, the arguments of AUTH.  Nothing here keeps a copy
 * of a secret; the caller owns and wipes what goes in and what comes out.  Whether a log-in is
 * right is the auth process's business.  Proxy process, loop thread; pure.
 */
#include "proxy/sasl.h"

#include <string.h>
#include <strings.h>

enum { MECHANISM_MAX = 20 }; /* RFC 4422 3.1 */

/* All ones where low <= octet <= high, else 0; without a branch, for the octet is part of a secret.
 */
static unsigned within(unsigned octet, unsigned low, unsigned high)
{
	return 0u - (((low - 1 - octet) & (octet - high - 1)) >> 31);
}

/* 0..63; *bad_out is set to all ones for what is no digit. */
static unsigned digit_of(uint8_t octet, unsigned *bad_out)
{
	unsigned upper = within(octet, 'A', 'Z'), lower = within(octet, 'a', 'z');
	unsigned number = within(octet, '0', '9');
	unsigned plus = within(octet, '+', '+'), slash = within(octet, '/', '/');

	*bad_out |= ~(upper | lower | number | plus | slash);
	return (upper & (octet - 'A')) | (lower & (octet - 'a' + 26u)) |
	       (number & (octet - '0' + 52u)) | (plus & 62u) | (slash & 63u);
}

/*
 * Ours and not libsodium's: sodium_base642bin() of 1.0.18 reads every octet above 127 as '/'.
 */
bool sasl_base64_decode(const char *text, size_t len, uint8_t *out, size_t room, size_t *len_out)
{
	size_t padding = 0, at = 0;
	unsigned bits = 0, held = 0, bad = 0;

	*len_out = 0;
	if (len % 4 != 0)
		return false;
	while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
		padding++;
	if (len / 4 * 3 - padding > room)
		return false;
	for (size_t i = 0; i < len - padding; i++) {
		bits = (bits << 6 | digit_of((uint8_t)text[i], &bad)) & 0xFFFF;
		held += 6;
		if (held >= 8) {
			held -= 8;
			out[at++] = (uint8_t)(bits >> held);
		}
	}
	/* RFC 4648 3.5: what the padding leaves over is zero. */
	if (bad != 0 || (bits & ((1u << held) - 1)) != 0)
		return false;
	*len_out = at;
	return true;
}

bool sasl_plain_parse(const uint8_t *message, size_t len, struct sasl_plain *out)
{
	const uint8_t *end = message + len;
	const uint8_t *first, *second;

	memset(out, 0, sizeof(*out));
	first = len == 0 ? NULL : memchr(message, '\0', len);
	if (first == NULL || first + 1 == end)
		return false;
	second = memchr(first + 1, '\0', (size_t)(end - first) - 1);
	if (second == NULL || second == first + 1 || second + 1 == end)
		return false;
	if (memchr(second + 1, '\0', (size_t)(end - second) - 1) != NULL)
		return false;
	*out = (struct sasl_plain){
		.authzid = message,
		.authzid_len = (size_t)(first - message),
		.authcid = first + 1,
		.authcid_len = (size_t)(second - first) - 1,
		.password = second + 1,
		.password_len = (size_t)(end - second) - 1,
	};
	return true;
}

static bool mechanism_octet(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

static enum sasl_mechanism mechanism_of(const char *name, size_t len)
{
	static const struct {
		const char *name;
		enum sasl_mechanism mechanism;
	} known[] = {{"PLAIN", SASL_PLAIN}, {"LOGIN", SASL_LOGIN}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (len == strlen(known[i].name) && strncasecmp(name, known[i].name, len) == 0)
			return known[i].mechanism;
	}
	return SASL_NONE;
}

bool sasl_auth_arguments(const char *args, size_t len, enum sasl_mechanism *mechanism_out,
	const char **initial_out, size_t *initial_len_out)
{
	size_t name = 0, at;

	*mechanism_out = SASL_NONE;
	*initial_out = NULL;
	*initial_len_out = 0;
	while (name < len && mechanism_octet(args[name]))
		name++;
	if (name == 0 || (name < len && args[name] != ' '))
		return false;
	if (name <= MECHANISM_MAX)
		*mechanism_out = mechanism_of(args, name);
	for (at = name; at < len && args[at] == ' ';)
		at++;
	if (at == len)
		return true;
	if (memchr(args + at, ' ', len - at) != NULL)
		return false;
	*initial_out = args + at;
	/* RFC 4954 4: "=" is an initial response of zero length. */
	*initial_len_out = len - at == 1 && args[at] == '=' ? 0 : len - at;
	return true;
}
