/* SPDX-License-Identifier: ISC */
/*
 * Stored hashes of any form: what is parsed keeps its caps, the same octets always give the same,
 * and what costs little is computed: never a failure, whatever libcrypt thinks of it.
 */
#include "auth/password.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	must(sodium_init() != -1 && password_init());
	return 0;
}

static void check_caps(const struct password_hash *hash, size_t size)
{
	must(hash->scheme >= PASSWORD_ARGON2ID && hash->scheme < PASSWORD_SCHEME_END);
	must(strlen(password_scheme_name(hash)) > 0);
	must(size <= PASSWORD_PHC_MAX);
	must(hash->cost.memory_bytes >= PASSWORD_MEMORY_MIN &&
		hash->cost.memory_bytes <= PASSWORD_MEMORY_MAX &&
		hash->cost.memory_bytes % 1024 == 0);
	must(hash->cost.passes >= 1 && hash->cost.passes <= PASSWORD_PBKDF2_MAX);
	must(hash->salt_len <= sizeof(hash->salt) && hash->text_len <= PASSWORD_PHC_MAX);
	must(hash->tag_len <= sizeof(hash->tag) || hash->text_len > hash->tag_len);
	if (hash->scheme == PASSWORD_ARGON2ID || hash->scheme == PASSWORD_ARGON2I)
		must(password_cost_valid(&hash->cost) && hash->tag_len >= PASSWORD_TAG_MIN);
}

static void check_verify(const struct password_hash *hash)
{
	static const uint8_t secret[] = "correct horse";
	enum password_verdict verdict;

	if (hash->cost.memory_bytes > PASSWORD_MEMORY_SMALL || hash->cost.passes > 1000)
		return;
	verdict = password_verify(hash, secret, sizeof(secret) - 1);
	must(verdict == PASSWORD_MATCH || verdict == PASSWORD_MISMATCH);
	must(verdict == password_verify(hash, secret, sizeof(secret) - 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct password_cost cost = {UINT64_C(64) << 20, 2};
	struct password_hash hash, again;
	char *text = malloc(size > 0 ? size : 1);

	must(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	memset(&hash, 0xA5, sizeof(hash));
	memset(&again, 0xA5, sizeof(again));
	enum password_parsed parsed = password_parse(text, size, &hash);
	must(parsed == password_parse(text, size, &again));
	must(memcmp(&hash, &again, sizeof(hash)) == 0);
	free(text);
	if (parsed == PASSWORD_PARSED) {
		check_caps(&hash, size);
		must(hash.scheme == PASSWORD_ARGON2ID || password_needs_rehash(&hash, &cost));
		check_verify(&hash);
	}
	return 0;
}
