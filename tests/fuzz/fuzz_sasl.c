/* SPDX-License-Identifier: ISC */
/*
 * SASL: what decodes must be the one text that its octets encode to; PLAIN's fields must be the
 * message again when they are joined; AUTH's arguments stay within the line.
 */
#include "proxy/sasl.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void check_plain(const uint8_t *message, size_t len)
{
	struct sasl_plain plain;
	size_t nuls = 0;

	for (size_t i = 0; i < len; i++)
		nuls += message[i] == '\0';
	if (!sasl_plain_parse(message, len, &plain))
		return;
	must(nuls == 2 && plain.authcid_len > 0 && plain.password_len > 0);
	must(plain.authzid == message);
	must(plain.authcid == message + plain.authzid_len + 1);
	must(plain.password == plain.authcid + plain.authcid_len + 1);
	must(plain.password + plain.password_len == message + len);
}

static void check_base64(const char *text, size_t len)
{
	size_t room = len / 4 * 3 + 3, encoded_room = len + 8, out_len;
	uint8_t *out = malloc(room);
	char *encoded = malloc(encoded_room);

	must(out != NULL && encoded != NULL);
	if (sasl_base64_decode(text, len, out, room, &out_len)) {
		must(out_len <= room);
		sodium_bin2base64(
			encoded, encoded_room, out, out_len, sodium_base64_VARIANT_ORIGINAL);
		must(strlen(encoded) == len && memcmp(encoded, text, len) == 0);
		check_plain(out, out_len);
		if (out_len > 0)
			must(!sasl_base64_decode(text, len, out, out_len - 1, &out_len));
	} else {
		must(out_len == 0);
	}
	free(out);
	free(encoded);
}

static void check_arguments(const char *text, size_t len)
{
	enum sasl_mechanism mechanism;
	const char *initial;
	size_t initial_len;

	if (!sasl_auth_arguments(text, len, &mechanism, &initial, &initial_len))
		return;
	must(len > 0);
	if (initial == NULL)
		must(initial_len == 0);
	else
		must(initial > text && initial + initial_len <= text + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size > 0 ? size : 1);

	must(text != NULL);
	memcpy(text, data, size);
	check_base64(text, size);
	check_plain((const uint8_t *)text, size);
	check_arguments(text, size);
	free(text);
	return 0;
}
