/* SPDX-License-Identifier: ISC */
/*
 * Generated secrets: what has the form names one number, whose text is its public id again, and its
 * hash is its own; networks that are read hold the addresses that they should.
 */
#include "auth/credential.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static const uint8_t pepper[1][PEPPER_BYTES] = {{1, 2, 3}};

static void check_secret(const uint8_t *text)
{
	struct credential_keys *keys = credential_keys_new(pepper, 1);
	struct credential *row = credential_new(0);
	char id[CREDENTIAL_ID_LEN + 1];
	uint8_t other[CREDENTIAL_TEXT_LEN];

	must(keys != NULL && row != NULL);
	row->number = credential_number(text);
	must(memcmp(credential_format(row->number, id), text + 4, CREDENTIAL_ID_LEN) == 0);
	must(row->number == 0 || credential_number_valid(row->number));
	credential_key_id(pepper[0], row->key_id);
	credential_hash(pepper[0], text, row->hash);
	must(credential_verify(row, keys, text) == CREDENTIAL_MATCHES);
	memcpy(other, text, sizeof other);
	other[sizeof other - 1] ^= 1;
	must(credential_verify(row, keys, other) == CREDENTIAL_DIFFERS);
	credential_destroy(&row);
	credential_keys_destroy(&keys);
}

static void check_network(const uint8_t *data, size_t size)
{
	char text[NETWORK_TEXT_MAX], printed[NETWORK_TEXT_MAX];
	struct network network, again;

	if (size >= sizeof text)
		return;
	memcpy(text, data, size);
	text[size] = '\0';
	if (!network_parse(text, &network))
		return;
	must(network_has(&network, &network.key));
	must(network_parse(network_format(&network, printed), &again));
	must(network_equal(&network, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	must(sodium_init() != -1);
	if (credential_recognise(data, size)) {
		must(size == CREDENTIAL_TEXT_LEN);
		check_secret(data);
	}
	check_network(data, size);
	return 0;
}
