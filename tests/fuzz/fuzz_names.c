/* SPDX-License-Identifier: ISC */
/*
 * Logins and passwords of any octets: what is prepared stays as it is when it is prepared again, is
 * within its bounds, and is the same for every canonically equivalent spelling.
 */
#include "auth/password.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <uninorm.h>
#include <unistr.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

struct prepared {
	bool ok;
	size_t len;
	uint8_t text[PASSWORD_SECRET_MAX];
};

static bool login(const uint8_t *text, size_t len, uint8_t *out, size_t *len_out)
{
	return password_prepare_login(text, len, out, len_out);
}

static bool secret(const uint8_t *text, size_t len, uint8_t *out, size_t *len_out)
{
	return password_prepare_secret(text, len, out, len_out);
}

struct profile {
	bool (*prepare)(const uint8_t *text, size_t len, uint8_t *out, size_t *len_out);
	size_t max;
	uint8_t visible; /* the first octet of ASCII that it lets through */
};

static const struct profile profiles[] = {
	{login, PASSWORD_LOGIN_MAX, 0x21}, {secret, PASSWORD_SECRET_MAX, 0x20}};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	must(sodium_init() != -1);
	return 0;
}

/* From and into blocks of exactly their sizes. */
static void prepare(
	const struct profile *profile, const uint8_t *text, size_t len, struct prepared *prepared)
{
	uint8_t *in = malloc(len > 0 ? len : 1), *out = malloc(profile->max);

	must(in != NULL && out != NULL);
	if (len > 0)
		memcpy(in, text, len);
	prepared->len = 0;
	prepared->ok = profile->prepare(in, len, out, &prepared->len);
	must(!prepared->ok || (prepared->len >= 1 && prepared->len <= profile->max));
	memcpy(prepared->text, out, prepared->ok ? prepared->len : 0);
	free(in);
	free(out);
}

static void check_same(const struct prepared *a, const struct prepared *b)
{
	must(a->ok == b->ok);
	must(!a->ok || (a->len == b->len && memcmp(a->text, b->text, a->len) == 0));
}

/* Where the length does not decide otherwise. */
static void check_spelling(const struct profile *profile, uninorm_t form, const uint8_t *text,
	size_t len, const struct prepared *prepared)
{
	struct prepared other;
	size_t spelled_len = 0;
	uint8_t *spelled = u8_normalize(form, text, len, NULL, &spelled_len);

	must(spelled != NULL);
	if (spelled_len <= profile->max) {
		prepare(profile, spelled, spelled_len, &other);
		check_same(prepared, &other);
	}
	free(spelled);
}

static void check_octets(const struct profile *profile, const struct prepared *prepared)
{
	for (size_t i = 0; i < prepared->len; i++)
		must(prepared->text[i] >= profile->visible && prepared->text[i] != 0x7F);
	must(u8_check(prepared->text, prepared->len) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool is_text = u8_check(data, size) == NULL;

	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
		const struct profile *profile = &profiles[i];
		struct prepared prepared, again;

		prepare(profile, data, size, &prepared);
		must(!prepared.ok || size <= profile->max);
		if (prepared.ok) {
			prepare(profile, prepared.text, prepared.len, &again);
			check_same(&prepared, &again);
		}
		if (prepared.ok && is_text)
			check_octets(profile, &prepared);
		if (is_text && size > 0 && size <= profile->max) {
			check_spelling(profile, UNINORM_NFC, data, size, &prepared);
			check_spelling(profile, UNINORM_NFD, data, size, &prepared);
		}
	}
	return 0;
}
