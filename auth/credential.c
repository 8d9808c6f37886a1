/* SPDX-License-Identifier: ISC */
/* Generated credentials; see credential.h. */
#include "auth/credential.h"

#include "common/log.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_LEN = 4, SECRET_LEN = 32, SECRET_AT = PREFIX_LEN + CREDENTIAL_ID_LEN + 1, BITS = 5 };

_Static_assert(SECRET_AT + SECRET_LEN == CREDENTIAL_TEXT_LEN, "a text is these parts");

static const char prefix[] = "pst_";
static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static bool is_digit(uint8_t octet)
{
	return (octet >= 'a' && octet <= 'z') || (octet >= '2' && octet <= '7');
}

static unsigned digit(uint8_t octet)
{
	return octet >= 'a' ? octet - 'a' + 0u : octet - '2' + 26u;
}

bool credential_recognise(const uint8_t *text, size_t len)
{
	if (len != CREDENTIAL_TEXT_LEN || memcmp(text, prefix, PREFIX_LEN) != 0 ||
		text[SECRET_AT - 1] != '_')
		return false;
	for (size_t i = PREFIX_LEN; i < CREDENTIAL_TEXT_LEN; i++) {
		if (i != SECRET_AT - 1 && !is_digit(text[i]))
			return false;
	}
	return true;
}

uint64_t credential_number(const uint8_t text[CREDENTIAL_TEXT_LEN])
{
	uint64_t number = 0;

	for (size_t i = 0; i < CREDENTIAL_ID_LEN; i++)
		number = number << BITS | digit(text[PREFIX_LEN + i]);
	return number;
}

const char *credential_format(uint64_t number, char text[CREDENTIAL_ID_LEN + 1])
{
	for (size_t i = CREDENTIAL_ID_LEN; i > 0; i--, number >>= BITS)
		text[i - 1] = alphabet[number & 31];
	text[CREDENTIAL_ID_LEN] = '\0';
	return text;
}

bool credential_number_valid(uint64_t number)
{
	return number != 0 && number >> (BITS * CREDENTIAL_ID_LEN) == 0;
}

static void draw(char *text, size_t len)
{
	uint8_t random[SECRET_LEN];

	randombytes_buf(random, len);
	for (size_t i = 0; i < len; i++)
		text[i] = alphabet[random[i] & 31];
	sodium_memzero(random, sizeof random);
}

void credential_generate(char text[CREDENTIAL_TEXT_LEN + 1])
{
	memcpy(text, prefix, PREFIX_LEN);
	do {
		draw(text + PREFIX_LEN, CREDENTIAL_ID_LEN);
	} while (credential_number((const uint8_t *)text) == 0);
	text[SECRET_AT - 1] = '_';
	draw(text + SECRET_AT, SECRET_LEN);
	text[CREDENTIAL_TEXT_LEN] = '\0';
}

void credential_key_id(const uint8_t pepper[PEPPER_BYTES], char key_id[CREDENTIAL_KEY_ID_LEN + 1])
{
	static const uint8_t what[] = "postern pepper";
	uint8_t hash[crypto_generichash_BYTES];

	crypto_generichash(hash, sizeof hash, what, sizeof what - 1, pepper, PEPPER_BYTES);
	sodium_bin2hex(key_id, CREDENTIAL_KEY_ID_LEN + 1, hash, CREDENTIAL_KEY_ID_LEN / 2);
	sodium_memzero(hash, sizeof hash);
}

void credential_hash(const uint8_t pepper[PEPPER_BYTES], const uint8_t text[CREDENTIAL_TEXT_LEN],
	uint8_t hash[CREDENTIAL_HASH_BYTES])
{
	crypto_generichash(
		hash, CREDENTIAL_HASH_BYTES, text, CREDENTIAL_TEXT_LEN, pepper, PEPPER_BYTES);
}

/* ---------------------------------------------------------------------- keys */
struct credential_keys {
	size_t count;
	struct {
		char id[CREDENTIAL_KEY_ID_LEN + 1];
		uint8_t pepper[PEPPER_BYTES];
	} key[CREDENTIAL_KEYS_MAX];
};

struct credential_keys *credential_keys_new(const uint8_t (*peppers)[PEPPER_BYTES], size_t count)
{
	struct credential_keys *keys = sodium_malloc(sizeof *keys);

	require(count <= CREDENTIAL_KEYS_MAX);
	if (keys == NULL)
		return NULL;
	keys->count = count;
	for (size_t i = 0; i < count; i++) {
		memcpy(keys->key[i].pepper, peppers[i], PEPPER_BYTES);
		credential_key_id(peppers[i], keys->key[i].id);
	}
	sodium_mprotect_readonly(keys);
	return keys;
}

void credential_keys_destroy(struct credential_keys **keys)
{
	sodium_free(*keys);
	*keys = NULL;
}

/* ----------------------------------------------------------------------- row */
struct credential *credential_new(size_t senders_bytes)
{
	struct credential *credential = calloc(1, sizeof *credential + senders_bytes);

	if (credential != NULL)
		credential->senders.bytes = (uint8_t *)(credential + 1);
	return credential;
}

void credential_destroy(struct credential **credential)
{
	if (*credential == NULL)
		return;
	sodium_memzero((*credential)->hash, sizeof(*credential)->hash);
	free(*credential);
	*credential = NULL;
}

enum credential_match credential_verify(const struct credential *credential,
	const struct credential_keys *keys, const uint8_t text[CREDENTIAL_TEXT_LEN])
{
	uint8_t hash[CREDENTIAL_HASH_BYTES];

	for (size_t i = 0; i < keys->count; i++) {
		if (strcmp(keys->key[i].id, credential->key_id) != 0)
			continue;
		credential_hash(keys->key[i].pepper, text, hash);
		bool same = sodium_memcmp(hash, credential->hash, sizeof hash) == 0;
		sodium_memzero(hash, sizeof hash);
		return same ? CREDENTIAL_MATCHES : CREDENTIAL_DIFFERS;
	}
	return CREDENTIAL_NO_KEY;
}

static bool is_near(const struct credential *credential, const struct address_key *client)
{
	for (size_t i = 0; i < credential->network_count; i++) {
		if (network_has(&credential->networks[i], client))
			return true;
	}
	return credential->network_count == 0;
}

enum credential_state credential_check(const struct credential *credential, uint64_t account,
	const struct address_key *client, uint64_t wall_s)
{
	if (credential->account != account)
		return CREDENTIAL_FOREIGN;
	if (!credential->enabled)
		return CREDENTIAL_REVOKED;
	if (credential->expires_s != 0 && wall_s >= credential->expires_s)
		return CREDENTIAL_EXPIRED;
	return is_near(credential, client) ? CREDENTIAL_HOLDS : CREDENTIAL_ELSEWHERE;
}

bool credential_may_send(
	const struct credential *credential, const uint8_t *address, size_t address_len)
{
	return credential->senders.count == 0 ||
	       sender_match(&credential->senders, address, address_len) == SENDER_OWNED;
}
