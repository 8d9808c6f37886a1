/* SPDX-License-Identifier: ISC */
/*
 * SASL on the wire: base64, the fields of PLAIN, the arguments of AUTH.  Nothing here keeps a copy
 * of a secret; the caller owns and wipes what goes in and what comes out.  Whether a log-in is
 * right is the auth process's business.  Proxy process, loop thread; pure.
 */
#include "proxy/sasl.h"

#include <sodium.h>
#include <string.h>
#include <strings.h>

enum { MECHANISM_MAX = 20 }; /* RFC 4422 3.1 */

/*
 * libsodium's decoder looks characters up in constant time, and with no characters to ignore it
 * takes the one canonical form only: padding must be there, and the bits that it leaves over be
 * zero.
 */
bool sasl_base64_decode(const char *text, size_t len, uint8_t *out, size_t room, size_t *len_out)
{
	*len_out = 0;
	return sodium_base642bin(out, room, text, len, NULL, len_out, NULL,
		       sodium_base64_VARIANT_ORIGINAL) == 0;
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
