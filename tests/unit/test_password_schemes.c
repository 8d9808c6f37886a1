/* SPDX-License-Identifier: ISC */
/* auth/password: the schemes of others: their real hashes, their forms, and their caps. */
#include "auth/password.h"
#include "tests/unit/password_vectors.h"

#include <crypt.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* From a block of exactly its size. */
static enum password_parsed parse(const char *text, size_t len, struct password_hash *hash)
{
	char *copy = test_malloc(len + 1);

	memcpy(copy, text, len);
	memset(hash, 0xA5, sizeof(*hash));
	enum password_parsed parsed = password_parse(copy, len, hash);
	test_free(copy);
	return parsed;
}

static enum password_verdict verify(const struct password_hash *hash, const char *secret)
{
	return password_verify(hash, (const uint8_t *)secret, strlen(secret));
}

/* What a caller relies on, of whatever was parsed. */
static void check_parsed(const char *what, const struct password_hash *hash)
{
	if (hash->scheme < PASSWORD_ARGON2ID || hash->scheme >= PASSWORD_SCHEME_END ||
		strlen(password_scheme_name(hash)) == 0)
		fail_msg("%s: no scheme", what);
	if (hash->cost.passes == 0 || hash->cost.passes > PASSWORD_PBKDF2_MAX ||
		hash->cost.memory_bytes < PASSWORD_MEMORY_MIN ||
		hash->cost.memory_bytes > PASSWORD_MEMORY_MAX ||
		hash->cost.memory_bytes % 1024 != 0)
		fail_msg("%s: a cost outside the caps", what);
	if (hash->tag_len > sizeof(hash->tag) && hash->text_len == 0)
		fail_msg("%s: an impossible tag", what);
}

static void test_what_others_made_is_verified(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		const struct password_vector *v = &vectors[i];
		struct password_hash hash;
		char wrong[100];

		if (parse(v->hash, strlen(v->hash), &hash) != PASSWORD_PARSED)
			fail_msg("%s: %s is not parsed", v->tool, v->hash);
		check_parsed(v->hash, &hash);
		assert_string_equal(password_scheme_name(&hash), v->scheme);
		if (verify(&hash, v->secret) != PASSWORD_MATCH)
			fail_msg("%s: %s does not match", v->tool, v->hash);
		snprintf(wrong, sizeof(wrong), "%s", v->secret);
		wrong[0] ^= 0x20;
		if (verify(&hash, wrong) != PASSWORD_MISMATCH)
			fail_msg("%s: %s matches another password", v->tool, v->hash);
	}
}

/* However much it costs: an Argon2i of 1 GiB is none of today's either. */
static void test_every_other_scheme_is_made_anew(void **state)
{
	const struct password_cost least = {PASSWORD_MEMORY_MIN, 1}, more = {64 << 20, 4};

	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		bool legacy = strcmp(vectors[i].scheme, "argon2id") != 0;
		struct password_hash hash;

		assert_int_equal(
			parse(vectors[i].hash, strlen(vectors[i].hash), &hash), PASSWORD_PARSED);
		if (password_needs_rehash(&hash, &least) != legacy)
			fail_msg("%s: want %d", vectors[i].hash, legacy);
		assert_true(password_needs_rehash(&hash, &more));
	}
}

static bool is_cheap(const struct password_hash *hash)
{
	return hash->cost.memory_bytes <= (1 << 20) && hash->cost.passes <= 32;
}

static void test_no_other_password_matches(void **state)
{
	static const char *const others[] = {"", "correct hors", "correct horse ", "correct horsf",
		"Correct horse", "p\xC3\xA4"};

	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		struct password_hash hash;

		assert_int_equal(
			parse(vectors[i].hash, strlen(vectors[i].hash), &hash), PASSWORD_PARSED);
		for (size_t k = 0; is_cheap(&hash) && k < COUNT(others); k++)
			assert_int_equal(verify(&hash, others[k]), PASSWORD_MISMATCH);
	}
}

/* Only where the end is of no fixed length does less of it make another hash. */
static bool may_be_cut(const struct password_hash *hash, const char *text)
{
	switch (hash->scheme) {
	case PASSWORD_PLAIN:
	case PASSWORD_SSHA:
	case PASSWORD_SSHA256:
	case PASSWORD_SSHA512:
	case PASSWORD_ARGON2ID:
	case PASSWORD_ARGON2I:
		return true;
	case PASSWORD_BCRYPT:
	case PASSWORD_YESCRYPT:
	case PASSWORD_SHA512_CRYPT:
	case PASSWORD_SHA256_CRYPT:
	case PASSWORD_MD5_CRYPT:
	case PASSWORD_PBKDF2_SHA512:
	case PASSWORD_PBKDF2_SHA256:
	case PASSWORD_PBKDF2_SHA1:
	case PASSWORD_SHA512:
	case PASSWORD_SHA256:
	case PASSWORD_SHA1:
	case PASSWORD_SCHEME_END:
		break;
	}
	return text[strlen(text) - 1] == '='; /* the padding of base64 may be left away */
}

static void test_truncated_at_every_octet(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		const char *text = vectors[i].hash;

		for (size_t len = 0; len < strlen(text); len++) {
			struct password_hash hash;

			if (parse(text, len, &hash) != PASSWORD_PARSED)
				continue;
			check_parsed(text, &hash);
			if (!may_be_cut(&hash, text))
				fail_msg("%.*s is parsed", (int)len, text);
		}
	}
}

static void test_another_octet_at_every_place(void **state)
{
	static const char octets[] = {'\0', ' ', '\n', '$', '{', '}', '.', '=', '0', '9', 'z', '~',
		'\x7F', '\x80', '\xC3', '\xFF'};

	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		size_t len = strlen(vectors[i].hash);
		char text[PASSWORD_PHC_MAX + 1];

		for (size_t at = 0; at < len * COUNT(octets); at++) {
			struct password_hash hash;

			memcpy(text, vectors[i].hash, len);
			text[at / COUNT(octets)] = octets[at % COUNT(octets)];
			if (parse(text, len, &hash) == PASSWORD_PARSED)
				check_parsed(text, &hash);
			else
				assert_int_equal(hash.cost.passes, 0xA5A5A5A5u);
		}
	}
}

static void test_nothing_may_stand_behind(void **state)
{
	char text[2 * PASSWORD_PHC_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		struct password_hash hash;

		if (strcmp(vectors[i].scheme, "plain") == 0)
			continue;
		snprintf(text, sizeof(text), "%s$", vectors[i].hash);
		assert_int_equal(parse(text, strlen(text), &hash), PASSWORD_MALFORMED);
		snprintf(text, sizeof(text), "%s\n", vectors[i].hash);
		assert_int_equal(parse(text, strlen(text), &hash), PASSWORD_MALFORMED);
	}
}

#define TAG22 "abcdefghijklmnopqrstu0"
#define TAG31 "abcdefghijklmnopqrstuvwxyz01234"
#define TAG43 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
#define TAG86 TAG43 TAG43
#define SALT16 "AAECAwQFBgcICQoLDA0ODw"
#define TAG20 "AAECAwQFBgcICQoLDA0ODxAREhM"
#define TAG32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

static const struct {
	const char *text;
	enum password_parsed want;
} forms[] = {
	/* caps */
	{"$2b$03$" TAG22 TAG31, PASSWORD_TOO_COSTLY}, {"$2b$04$" TAG22 TAG31, PASSWORD_PARSED},
	{"$2b$13$" TAG22 TAG31, PASSWORD_PARSED}, {"$2b$14$" TAG22 TAG31, PASSWORD_TOO_COSTLY},
	{"$2b$31$" TAG22 TAG31, PASSWORD_TOO_COSTLY}, {"$2b$99$" TAG22 TAG31, PASSWORD_TOO_COSTLY},
	{"$5$rounds=999$salt$" TAG43, PASSWORD_TOO_COSTLY},
	{"$5$rounds=1000$salt$" TAG43, PASSWORD_PARSED},
	{"$5$rounds=700000$salt$" TAG43, PASSWORD_PARSED},
	{"$5$rounds=700001$salt$" TAG43, PASSWORD_TOO_COSTLY},
	{"$6$rounds=700000$salt$" TAG86, PASSWORD_PARSED},
	{"$6$rounds=700001$salt$" TAG86, PASSWORD_TOO_COSTLY},
	{"$6$rounds=4294967296$salt$" TAG86, PASSWORD_TOO_COSTLY},
	{"$pbkdf2$0$" SALT16 "$" TAG20, PASSWORD_TOO_COSTLY},
	{"$pbkdf2$1$" SALT16 "$" TAG20, PASSWORD_PARSED},
	{"$pbkdf2$1300000$" SALT16 "$" TAG20, PASSWORD_PARSED},
	{"$pbkdf2$1300001$" SALT16 "$" TAG20, PASSWORD_TOO_COSTLY},
	{"{PBKDF2}$1$salt$1300001$000102030405060708090a0b0c0d0e0f10111213", PASSWORD_TOO_COSTLY},
	{"$y$j7." TAG22 "$" TAG43, PASSWORD_MALFORMED},
	{"$y$j75$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_PARSED},      /* N 2^10, r 8 */
	{"$y$j65$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_TOO_COSTLY},  /* N 2^9 */
	{"$y$j74$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_TOO_COSTLY},  /* r 7 */
	{"$y$jET$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_PARSED},      /* 512 MiB */
	{"$y$jFT$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_TOO_COSTLY},  /* 1 GiB */
	{"$y$jEU$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_TOO_COSTLY},  /* r 33 */
	{"$y$j7kD$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_PARSED},     /* r 64, two characters */
	{"$y$j7kE$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_TOO_COSTLY}, /* r 65 */
	{"$y$jzzzz$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_MALFORMED}, /* three and more */
	{"$argon2i$v=19$m=64,t=2,p=1$" SALT16 "$" TAG32, PASSWORD_TOO_COSTLY},
	{"$argon2i$v=19$m=64,t=3,p=1$" SALT16 "$" TAG32, PASSWORD_PARSED},
	{"$argon2i$v=19$m=1048577,t=3,p=1$" SALT16 "$" TAG32, PASSWORD_TOO_COSTLY},
	/* crypt() */
	{"$2b$4$" TAG22 TAG31, PASSWORD_MALFORMED}, {"$2b$0a$" TAG22 TAG31, PASSWORD_MALFORMED},
	{"$2b$04$" TAG22 TAG31 "a", PASSWORD_MALFORMED},
	{"$2b$04$" TAG22 "=" TAG31, PASSWORD_MALFORMED},
	{"$2b$04$=bcdefghijklmnopqrstu0" TAG31, PASSWORD_MALFORMED},
	{"$5$$" TAG43, PASSWORD_PARSED}, {"$5$0123456789abcdef$" TAG43, PASSWORD_PARSED},
	{"$5$0123456789abcdefg$" TAG43, PASSWORD_MALFORMED},
	{"$5$sa:lt$" TAG43, PASSWORD_MALFORMED},
	{"$5$rounds=05000$salt$" TAG43, PASSWORD_MALFORMED},
	{"$5$rounds=$salt$" TAG43, PASSWORD_MALFORMED}, {"$5$salt$" TAG86, PASSWORD_MALFORMED},
	{"$6$salt$" TAG43, PASSWORD_MALFORMED}, {"$1$12345678$" TAG22, PASSWORD_PARSED},
	{"$1$123456789$" TAG22, PASSWORD_MALFORMED},
	{"$y$k9T$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_MALFORMED},   /* another flavour */
	{"$y$j9T..$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_MALFORMED}, /* p and t */
	{"$y$j9T$abcdefghijklmnopqrstuz$" TAG43, PASSWORD_MALFORMED},   /* bits left over */
	{"$y$j9T$abcde$" TAG43, PASSWORD_MALFORMED}, {"$y$j9T$$" TAG43, PASSWORD_MALFORMED},
	{"$y$j9T$abcd$" TAG43, PASSWORD_PARSED},
	/* PBKDF2 */
	{"$pbkdf2-sha256$1000$" SALT16 "$" TAG20, PASSWORD_MALFORMED},
	{"$pbkdf2-sha256$1000$" SALT16 "$" TAG32, PASSWORD_PARSED},
	{"$pbkdf2-sha256$1000$$" TAG32, PASSWORD_PARSED},
	{"$pbkdf2-sha256$01000$" SALT16 "$" TAG32, PASSWORD_MALFORMED},
	{"$pbkdf2-sha256$1000$AA+A$" TAG32, PASSWORD_MALFORMED},
	{"$pbkdf2-sha256$1000$AA.A$" TAG32, PASSWORD_PARSED},
	{"{PBKDF2}$1$$1000$000102030405060708090a0b0c0d0e0f10111213", PASSWORD_MALFORMED},
	{"{PBKDF2}$2$salt$1000$000102030405060708090a0b0c0d0e0f10111213", PASSWORD_MALFORMED},
	{"{PBKDF2}$1$salt$1000$000102030405060708090a0b0c0d0e0f1011121", PASSWORD_MALFORMED},
	{"{PBKDF2}$1$salt$1000$000102030405060708090a0b0c0d0e0f1011121g", PASSWORD_MALFORMED},
	{"{PBKDF2-SHA256}$1$salt$1000$000102030405060708090a0b0c0d0e0f10111213",
		PASSWORD_MALFORMED},
	/* digests */
	{"{SHA}AAECAwQFBgcICQoLDA0ODxAREhM", PASSWORD_PARSED},
	{"{SHA}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_PARSED},
	{"{SHA}AAECAwQFBgcICQoLDA0ODxAREhN=", PASSWORD_MALFORMED},
	{"{SHA}AAECAwQFBgcICQoLDA0ODxAREg==", PASSWORD_MALFORMED}, {"{SHA}", PASSWORD_MALFORMED},
	{"{SSHA}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_MALFORMED}, /* no salt */
	{"{SSHA}AAECAwQFBgcICQoLDA0ODxAREhMU", PASSWORD_PARSED},
	{"{SHA.hex}000102030405060708090a0b0c0d0e0f10111213", PASSWORD_PARSED},
	{"{SHA.hex}000102030405060708090A0B0C0D0E0F10111213", PASSWORD_PARSED},
	{"{SHA.hex}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_MALFORMED},
	/* names */
	{"{sHa}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_PARSED},
	{"{SHA.B64}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_PARSED},
	{"{SHA.base32}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_UNKNOWN_SCHEME},
	{"{SHA.}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_UNKNOWN_SCHEME},
	{"{SHA.hex.hex}AA", PASSWORD_UNKNOWN_SCHEME},
	{"{SHA AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_UNKNOWN_SCHEME},
	{"{}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_UNKNOWN_SCHEME}, {"{", PASSWORD_UNKNOWN_SCHEME},
	{"{{SHA}}AAEC", PASSWORD_UNKNOWN_SCHEME},
	{"{CRYPT}{SHA}AAECAwQFBgcICQoLDA0ODxAREhM=", PASSWORD_UNKNOWN_SCHEME},
	{"{CRYPT}abJnggxhB/yWI", PASSWORD_UNKNOWN_SCHEME}, {"{CRYPT}", PASSWORD_UNKNOWN_SCHEME},
	/* on purpose */
	{"abJnggxhB/yWI", PASSWORD_UNKNOWN_SCHEME},
	{"_J9..rasmBYk8r9AiWNc", PASSWORD_UNKNOWN_SCHEME},
	{"$2x$04$" TAG22 TAG31, PASSWORD_UNKNOWN_SCHEME},
	{"$2$04$" TAG22 TAG31, PASSWORD_UNKNOWN_SCHEME},
	{"$3$$8846f7eaee8fb117ad06bdd830b7586c", PASSWORD_UNKNOWN_SCHEME},
	{"$7$CU..../....salt$" TAG43, PASSWORD_UNKNOWN_SCHEME},
	{"$gy$j9T$abcdefghijklmnopqrstu/$" TAG43, PASSWORD_UNKNOWN_SCHEME},
	{"$sha1$40000$salt$" TAG22, PASSWORD_UNKNOWN_SCHEME},
	{"$argon2d$v=19$m=64,t=3,p=1$" SALT16 "$" TAG32, PASSWORD_UNKNOWN_SCHEME},
	{"{MD5}$1$12345678$" TAG22, PASSWORD_UNKNOWN_SCHEME},
	{"{PLAIN-MD5}5f4dcc3b5aa765d61d8327deb882cf99", PASSWORD_UNKNOWN_SCHEME},
	{"{LDAP-MD5}X03MO1qnZdYdgyfeuILPmQ==", PASSWORD_UNKNOWN_SCHEME},
	{"{SMD5}X03MO1qnZdYdgyfeuILPmWFiY2Q=", PASSWORD_UNKNOWN_SCHEME},
	{"{DES-CRYPT}abJnggxhB/yWI", PASSWORD_UNKNOWN_SCHEME},
	{"{NTLM}8846f7eaee8fb117ad06bdd830b7586c", PASSWORD_UNKNOWN_SCHEME},
	{"{SCRAM-SHA-256}4096,AAEC,AAEC,AAEC", PASSWORD_UNKNOWN_SCHEME},
	/* the password itself */
	{"{PLAIN}", PASSWORD_MALFORMED}, {"{PLAIN} ", PASSWORD_PARSED},
	{"{PLAIN}{SHA}x", PASSWORD_PARSED}, {"{PLAIN}a\tb", PASSWORD_MALFORMED},
	{"{PLAIN.b64}AGE=", PASSWORD_MALFORMED}, /* a NUL */
};

static void test_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		struct password_hash hash;
		enum password_parsed got = parse(forms[i].text, strlen(forms[i].text), &hash);

		if (got != forms[i].want)
			fail_msg("%s: got %d, want %d", forms[i].text, got, forms[i].want);
		if (got == PASSWORD_PARSED)
			check_parsed(forms[i].text, &hash);
	}
}

/* libcrypt takes all that was parsed: its refusal would be an outage. */
static void test_what_is_parsed_can_be_computed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		struct password_hash hash;

		if (parse(forms[i].text, strlen(forms[i].text), &hash) == PASSWORD_PARSED &&
			hash.cost.memory_bytes <= (1 << 20) && hash.cost.passes <= 5000)
			assert_int_equal(verify(&hash, "x"), PASSWORD_MISMATCH);
	}
}

static void test_the_cost_is_told(void **state)
{
	static const struct {
		const char *text;
		struct password_cost want;
	} cases[] = {
		{"$2b$12$" TAG22 TAG31, {PASSWORD_MEMORY_SMALL, 4096}},
		{"$5$salt$" TAG43, {PASSWORD_MEMORY_SMALL, 5000}},
		{"$6$rounds=656000$salt$" TAG86, {PASSWORD_MEMORY_SMALL, 656000}},
		{"$y$j9T$abcdefghijklmnopqrstu/$" TAG43, {16 << 20, 4096}},
		{"$y$j75$abcdefghijklmnopqrstu/$" TAG43, {1 << 20, 1024}},
		{"$pbkdf2$131000$" SALT16 "$" TAG20, {PASSWORD_MEMORY_SMALL, 131000}},
		{"$argon2i$v=19$m=64,t=3,p=1$" SALT16 "$" TAG32, {65536, 3}},
		{"{PLAIN}x", {PASSWORD_MEMORY_SMALL, 1}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct password_hash hash;

		assert_int_equal(
			parse(cases[i].text, strlen(cases[i].text), &hash), PASSWORD_PARSED);
		assert_int_equal(hash.cost.memory_bytes, cases[i].want.memory_bytes);
		assert_int_equal(hash.cost.passes, cases[i].want.passes);
	}
}

/* A hash of so many times 'a', by crypt() itself. */
static struct password_hash crypt_of(const char *setting, size_t len)
{
	char secret[PASSWORD_CRYPT_SECRET_MAX + 1];
	struct crypt_data *data = test_calloc(1, sizeof(*data));
	struct password_hash hash;

	memset(secret, 'a', len);
	secret[len] = '\0';
	const char *text = crypt_rn(secret, setting, data, sizeof(*data));
	assert_non_null(text);
	assert_int_equal(parse(text, strlen(text), &hash), PASSWORD_PARSED);
	test_free(data);
	return hash;
}

static enum password_verdict verify_long(const struct password_hash *hash, size_t len)
{
	uint8_t secret[PASSWORD_SECRET_MAX];

	memset(secret, 'a', len);
	return password_verify(hash, secret, len);
}

/* Never by what was cut off, and with the work of what is left. */
static void test_a_longer_password_than_the_scheme_takes_never_matches(void **state)
{
	static const char *const settings[] = {"$5$rounds=1000$salt", "$6$rounds=1000$salt",
		"$1$salt", "$y$j75$abcdefghijklmnopqrstu/"};
	const size_t max = PASSWORD_CRYPT_SECRET_MAX;

	(void)state;
	for (size_t i = 0; i < COUNT(settings); i++) {
		struct password_hash hash = crypt_of(settings[i], max);

		assert_int_equal(verify_long(&hash, max), PASSWORD_MATCH);
		assert_int_equal(verify_long(&hash, max + 1), PASSWORD_MISMATCH);
		assert_int_equal(verify_long(&hash, PASSWORD_SECRET_MAX), PASSWORD_MISMATCH);
	}
	struct password_hash bcrypt = crypt_of("$2b$04$abcdefghijklmnopqrstuu", 72);
	assert_int_equal(verify_long(&bcrypt, 71), PASSWORD_MISMATCH);
	assert_int_equal(verify_long(&bcrypt, PASSWORD_SECRET_MAX), PASSWORD_MATCH);
}

/* Rounds times octets is what takes the time. */
static void test_many_rounds_take_no_long_password(void **state)
{
	const size_t max = PASSWORD_CRYPT_WORK_MAX / PASSWORD_CRYPT_ROUNDS_MAX - 64;
	struct password_hash hash = crypt_of("$6$rounds=700000$salt", max);

	(void)state;
	assert_int_equal(max, 127);
	assert_int_equal(verify_long(&hash, max), PASSWORD_MATCH);
	assert_int_equal(verify_long(&hash, max + 1), PASSWORD_MISMATCH);
}

/* Some old tools left the unused bits of bcrypt's salt as they came; libcrypt clears them. */
static void test_unused_bits_of_bcrypts_salt_do_not_count(void **state)
{
	char text[] = "$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
	struct password_hash hash;

	(void)state;
	text[28]++;
	assert_int_equal(parse(text, strlen(text), &hash), PASSWORD_PARSED);
	assert_int_equal(verify(&hash, EIGHTY), PASSWORD_MATCH);
}

static void test_every_length_of_salt_of_yescrypt(void **state)
{
	static const char salt[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
				   "abcdefghijklmnopqrstuvwxyzabcdefgh..";
	char text[200];

	(void)state;
	for (int len = 0; len < 90; len++) {
		struct password_hash hash;
		bool want = len >= 2 && len <= 86 && len % 4 != 1;

		int head = snprintf(text, sizeof(text), "$y$j75$%.*s", len, salt);
		if (len > 0)
			text[head - 1] = '.'; /* no bits left over */
		snprintf(text + head, sizeof(text) - (size_t)head, "$" TAG43);
		if ((parse(text, strlen(text), &hash) == PASSWORD_PARSED) != want)
			fail_msg("a salt of %d characters: want %d", len, want);
		if (want)
			assert_int_equal(verify(&hash, "x"), PASSWORD_MISMATCH);
	}
}

/* A stored password is of the same spelling as a given one. */
static void test_plain_is_prepared(void **state)
{
	static const char text[] = "{PLAIN}pa\xCC\x88ss";
	struct password_hash hash;

	(void)state;
	assert_int_equal(parse(text, strlen(text), &hash), PASSWORD_PARSED);
	assert_int_equal(verify(&hash, "p\xC3\xA4ss"), PASSWORD_MATCH);
	assert_int_equal(verify(&hash, "pass"), PASSWORD_MISMATCH);
}

static rlim_t address_space(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &pages), 1);
	assert_int_equal(fclose(file), 0);
	return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* libcrypt says EINVAL then. */
static void test_no_memory_for_yescrypt_is_a_failure(void **state)
{
	static const char text[] = "$y$jDT$abcdefghijklmnopqrstu/$" TAG43;
	struct password_hash hash;
	struct rlimit limit;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(parse(text, strlen(text), &hash), PASSWORD_PARSED);
	limit.rlim_cur = limit.rlim_max = address_space() + (32 << 20);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (setrlimit(RLIMIT_AS, &limit) == -1)
			_exit(99);
		_exit((int)verify(&hash, "x"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), PASSWORD_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_others_made_is_verified),
		cmocka_unit_test(test_every_other_scheme_is_made_anew),
		cmocka_unit_test(test_no_other_password_matches),
		cmocka_unit_test(test_truncated_at_every_octet),
		cmocka_unit_test(test_another_octet_at_every_place),
		cmocka_unit_test(test_nothing_may_stand_behind),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_what_is_parsed_can_be_computed),
		cmocka_unit_test(test_the_cost_is_told),
		cmocka_unit_test(test_a_longer_password_than_the_scheme_takes_never_matches),
		cmocka_unit_test(test_many_rounds_take_no_long_password),
		cmocka_unit_test(test_unused_bits_of_bcrypts_salt_do_not_count),
		cmocka_unit_test(test_every_length_of_salt_of_yescrypt),
		cmocka_unit_test(test_plain_is_prepared),
		cmocka_unit_test(test_no_memory_for_yescrypt_is_a_failure),
	};

	if (sodium_init() == -1 || !password_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
