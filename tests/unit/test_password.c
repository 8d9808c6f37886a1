/* SPDX-License-Identifier: ISC */
/* auth/password: Argon2id: parsing and caps, verification, new hashes. */
#include "auth/password.h"

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
#define SALT "AAECAwQFBgcICQoLDA0ODw"                     /* 16 octets: 0 .. 15 */
#define TAG "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" /* 32 octets */
#define TAG16 SALT
#define TAG15 "AAECAwQFBgcICQoLDA0O"
#define TAG64 \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw"
#define TAG65 TAG64 "A"
#define TAG66 \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BB"
#define HEAD "$argon2id$v=19$m=65536,t=2,p=1$"
#define GOOD HEAD SALT "$" TAG
#define COST(numbers) "$argon2id$v=19$" numbers "$" SALT "$" TAG

static const struct password_cost cheap = {PASSWORD_MEMORY_MIN, 1};

struct parse_case {
	const char *name;
	const char *phc;
	enum password_parsed want;
};

static const struct parse_case parse_cases[] = {
	{"the usual", GOOD, PASSWORD_PARSED},
	{"shortest tag", HEAD SALT "$" TAG16, PASSWORD_PARSED},
	{"longest tag", HEAD SALT "$" TAG64, PASSWORD_PARSED},
	{"least memory", COST("m=8,t=1,p=1"), PASSWORD_PARSED},
	{"most memory", COST("m=1048576,t=1,p=1"), PASSWORD_PARSED},
	{"most passes", COST("m=65536,t=10,p=1"), PASSWORD_PARSED},
	{"most work", COST("m=262144,t=4,p=1"), PASSWORD_PARSED},
	/* caps */
	{"too little memory", COST("m=7,t=2,p=1"), PASSWORD_TOO_COSTLY},
	{"no memory", COST("m=0,t=2,p=1"), PASSWORD_TOO_COSTLY},
	{"memory above 1 GiB", COST("m=1048577,t=1,p=1"), PASSWORD_TOO_COSTLY},
	{"4 GiB", COST("m=4194304,t=1,p=1"), PASSWORD_TOO_COSTLY},
	{"memory that wraps 32 bits of KiB", COST("m=4294967304,t=1,p=1"), PASSWORD_TOO_COSTLY},
	{"no pass", COST("m=65536,t=0,p=1"), PASSWORD_TOO_COSTLY},
	{"passes above 10", COST("m=8,t=11,p=1"), PASSWORD_TOO_COSTLY},
	{"passes of 32 bits", COST("m=8,t=4294967295,p=1"), PASSWORD_TOO_COSTLY},
	{"passes that wrap 32 bits", COST("m=8,t=4294967297,p=1"), PASSWORD_TOO_COSTLY},
	{"work above the cap", COST("m=262145,t=4,p=1"), PASSWORD_TOO_COSTLY},
	{"1 GiB twice", COST("m=1048576,t=2,p=1"), PASSWORD_TOO_COSTLY},
	{"no lane", COST("m=65536,t=2,p=0"), PASSWORD_TOO_COSTLY},
	{"two lanes", COST("m=65536,t=2,p=2"), PASSWORD_TOO_COSTLY},
	{"255 lanes", COST("m=65536,t=2,p=255"), PASSWORD_TOO_COSTLY},
	/* other schemes */
	{"empty", "", PASSWORD_UNKNOWN_SCHEME},
	{"plain text", "secret", PASSWORD_UNKNOWN_SCHEME},
	{"argon2d", "$argon2d$v=19$m=65536,t=2,p=1$" SALT "$" TAG, PASSWORD_UNKNOWN_SCHEME},
	{"upper case", "$ARGON2ID$v=19$m=65536,t=2,p=1$" SALT "$" TAG, PASSWORD_UNKNOWN_SCHEME},
	{"leading space", " " GOOD, PASSWORD_UNKNOWN_SCHEME},
	/* form */
	{"no version", "$argon2id$m=65536,t=2,p=1$" SALT "$" TAG, PASSWORD_MALFORMED},
	{"version 16", "$argon2id$v=16$m=65536,t=2,p=1$" SALT "$" TAG, PASSWORD_MALFORMED},
	{"version 190", "$argon2id$v=190$m=65536,t=2,p=1$" SALT "$" TAG, PASSWORD_MALFORMED},
	{"fields in another order", COST("t=2,m=65536,p=1"), PASSWORD_MALFORMED},
	{"a missing field", COST("m=65536,t=2"), PASSWORD_MALFORMED},
	{"a field more", COST("m=65536,t=2,p=1,keyid=AA"), PASSWORD_MALFORMED},
	{"empty number", COST("m=,t=2,p=1"), PASSWORD_MALFORMED},
	{"leading zero", COST("m=065536,t=2,p=1"), PASSWORD_MALFORMED},
	{"zero and zero", COST("m=65536,t=00,p=1"), PASSWORD_MALFORMED},
	{"plus sign", COST("m=+65536,t=2,p=1"), PASSWORD_MALFORMED},
	{"minus sign", COST("m=65536,t=-2,p=1"), PASSWORD_MALFORMED},
	{"hexadecimal", COST("m=0x10000,t=2,p=1"), PASSWORD_MALFORMED},
	{"fraction", COST("m=65536,t=2.0,p=1"), PASSWORD_MALFORMED},
	{"blank before a number", COST("m= 65536,t=2,p=1"), PASSWORD_MALFORMED},
	{"eleven digits", COST("m=65536,t=10000000000,p=1"), PASSWORD_MALFORMED},
	{"number that wraps 64 bits", COST("m=18446744073709617152,t=2,p=1"), PASSWORD_MALFORMED},
	{"empty salt", HEAD "$" TAG, PASSWORD_MALFORMED},
	{"salt of 15", HEAD TAG15 "$" TAG, PASSWORD_MALFORMED},
	{"salt of 17", HEAD SALT "8$" TAG, PASSWORD_MALFORMED},
	{"salt of 32", HEAD TAG "$" TAG, PASSWORD_MALFORMED},
	{"padded salt", HEAD SALT "==$" TAG, PASSWORD_MALFORMED},
	{"salt in the URL alphabet", HEAD "AAECAwQFBgcICQoLDA0O_w$" TAG, PASSWORD_MALFORMED},
	{"salt with bits left over", HEAD "AAECAwQFBgcICQoLDA0ODx$" TAG, PASSWORD_MALFORMED},
	{"no tag", HEAD SALT, PASSWORD_MALFORMED},
	{"empty tag", HEAD SALT "$", PASSWORD_MALFORMED},
	{"tag of 15", HEAD SALT "$" TAG15, PASSWORD_MALFORMED},
	{"tag with one character more", HEAD SALT "$" TAG65, PASSWORD_MALFORMED},
	{"tag of 66", HEAD SALT "$" TAG66, PASSWORD_MALFORMED},
	{"padded tag", GOOD "=", PASSWORD_MALFORMED},
	{"blank in the tag", HEAD SALT "$" TAG16 " " TAG16, PASSWORD_MALFORMED},
	{"line feed at the end", GOOD "\n", PASSWORD_MALFORMED},
	{"something after the tag", GOOD "$", PASSWORD_MALFORMED},
	{"the whole twice", GOOD GOOD, PASSWORD_MALFORMED},
};

static void test_parse_cases(void **state)
{
	struct password_hash hash;

	(void)state;
	for (size_t i = 0; i < COUNT(parse_cases); i++) {
		const struct parse_case *c = &parse_cases[i];
		enum password_parsed got = password_parse(c->phc, strlen(c->phc), &hash);

		if (got != c->want)
			fail_msg("%s: got %d, want %d", c->name, got, c->want);
	}
}

static void test_parse_gives_the_fields(void **state)
{
	struct password_hash hash;

	(void)state;
	assert_int_equal(password_parse(GOOD, strlen(GOOD), &hash), PASSWORD_PARSED);
	assert_string_equal(password_scheme_name(&hash), "argon2id");
	assert_int_equal(hash.cost.memory_bytes, 64 << 20);
	assert_int_equal(hash.cost.passes, 2);
	assert_int_equal(hash.tag_len, 32);
	for (uint8_t i = 0; i < 32; i++) {
		assert_int_equal(hash.tag[i], i);
		assert_int_equal(hash.salt[i % 16], i % 16);
	}
}

/* Every proper prefix is refused; the tag's own prefixes only while they are too short or ragged.
 */
static void test_parse_truncated_at_every_octet(void **state)
{
	struct password_hash hash;
	const size_t tag_at = strlen(HEAD SALT "$");

	(void)state;
	for (size_t len = 0; len < strlen(GOOD); len++) {
		char *copy = test_malloc(len + 1); /* exact: ASan sees a read past the end */
		enum password_parsed got;

		memcpy(copy, GOOD, len);
		got = password_parse(copy, len, &hash);
		if (len < tag_at + 22 && got == PASSWORD_PARSED)
			fail_msg("parsed %zu octets of %zu", len, strlen(GOOD));
		if (len == 0 || len < strlen("$argon2id$"))
			assert_int_equal(got, PASSWORD_UNKNOWN_SCHEME);
		if (got == PASSWORD_PARSED)
			assert_true(hash.tag_len >= PASSWORD_TAG_MIN && hash.tag_len < 32);
		test_free(copy);
	}
}

/* A NUL or any other foreign octet anywhere breaks it; nothing is written to the result then. */
static void test_parse_foreign_octet_at_every_place(void **state)
{
	static const uint8_t foreign[] = {0x00, '\n', ' ', 0x80, 0xFF, '*'};
	struct password_hash hash, before;
	char copy[sizeof(GOOD)];

	(void)state;
	memset(&before, 0x5A, sizeof(before));
	for (size_t at = 0; at < strlen(GOOD); at++) {
		for (size_t i = 0; i < sizeof(foreign); i++) {
			memcpy(copy, GOOD, sizeof(copy));
			copy[at] = (char)foreign[i];
			memcpy(&hash, &before, sizeof(hash));
			if (password_parse(copy, strlen(GOOD), &hash) == PASSWORD_PARSED)
				fail_msg("octet %u at %zu was taken", foreign[i], at);
			assert_memory_equal(&hash, &before, sizeof(hash));
		}
	}
}

static void test_parse_length_is_bounded(void **state)
{
	char text[PASSWORD_PHC_MAX + 2];
	struct password_hash hash;

	(void)state;
	memset(text, 'A', sizeof(text));
	memcpy(text, HEAD, strlen(HEAD));
	assert_int_equal(password_parse(text, PASSWORD_PHC_MAX, &hash), PASSWORD_MALFORMED);
	assert_int_equal(password_parse(text, PASSWORD_PHC_MAX + 1, &hash), PASSWORD_MALFORMED);
}

static enum password_verdict verify_text(const char *phc, const char *secret)
{
	struct password_hash hash;

	assert_int_equal(password_parse(phc, strlen(phc), &hash), PASSWORD_PARSED);
	return password_verify(&hash, (const uint8_t *)secret, strlen(secret));
}

static void test_make_and_verify(void **state)
{
	char phc[PASSWORD_PHC_MAX + 1], again[PASSWORD_PHC_MAX + 1];
	const uint8_t *secret = (const uint8_t *)"correct horse";

	(void)state;
	assert_true(password_make(secret, 13, &cheap, phc));
	assert_true(password_make(secret, 13, &cheap, again));
	assert_string_not_equal(phc, again);
	assert_memory_equal(phc, "$argon2id$v=19$m=8,t=1,p=1$", 27);
	assert_int_equal(verify_text(phc, "correct horse"), PASSWORD_MATCH);
	assert_int_equal(verify_text(phc, "correct hors"), PASSWORD_MISMATCH);
	assert_int_equal(verify_text(phc, "Correct horse"), PASSWORD_MISMATCH);
	assert_int_equal(verify_text(phc, ""), PASSWORD_MISMATCH);
}

/* libsodium's own strings are ours, and ours libsodium's. */
static void test_strings_agree_with_libsodium(void **state)
{
	char phc[PASSWORD_PHC_MAX + 1];
	char theirs[crypto_pwhash_STRBYTES];

	(void)state;
	assert_int_equal(crypto_pwhash_str(theirs, "pw", 2, 2, 16384), 0);
	assert_int_equal(verify_text(theirs, "pw"), PASSWORD_MATCH);
	assert_int_equal(verify_text(theirs, "pW"), PASSWORD_MISMATCH);
	assert_true(password_make((const uint8_t *)"pw", 2, &cheap, phc));
	assert_int_equal(crypto_pwhash_str_verify(phc, "pw", 2), 0);
}

/* Every tag length of the range, as a foreign tool may have made it. */
static void test_verify_with_other_tag_lengths(void **state)
{
	uint8_t tag[PASSWORD_TAG_MAX];
	char phc[PASSWORD_PHC_MAX + 1], text[100];

	(void)state;
	for (size_t len = PASSWORD_TAG_MIN; len <= PASSWORD_TAG_MAX; len += 16) {
		assert_int_equal(
			crypto_pwhash(tag, len, "pw", 2, (const uint8_t *)"somesaltsomesalt", 3,
				32768, crypto_pwhash_ALG_ARGON2ID13),
			0);
		sodium_bin2base64(
			text, sizeof(text), tag, len, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
		(void)snprintf(phc, sizeof(phc),
			"$argon2id$v=19$m=32,t=3,p=1$c29tZXNhbHRzb21lc2FsdA$%s", text);
		assert_int_equal(verify_text(phc, "pw"), PASSWORD_MATCH);
		assert_int_equal(verify_text(phc, "pv"), PASSWORD_MISMATCH);
	}
}

/* This process' address space in bytes. */
static rlim_t address_space(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &pages), 1);
	assert_int_equal(fclose(file), 0);
	return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/*
 * No memory is neither a match nor a mismatch.  In a child: the limit cannot be taken back.  It
 * leaves less than the 64 MiB of the hash, and enough for a sanitizer's own.
 */
static void test_no_memory_is_a_failure(void **state)
{
	struct password_hash hash;
	struct rlimit limit;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(password_parse(GOOD, strlen(GOOD), &hash), PASSWORD_PARSED);
	limit.rlim_cur = limit.rlim_max = address_space() + (32 << 20);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (setrlimit(RLIMIT_AS, &limit) == -1)
			_exit(99);
		_exit((int)password_verify(&hash, (const uint8_t *)"x", 1));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), PASSWORD_FAILED);
}

static void test_make_refuses_costs_outside_the_caps(void **state)
{
	static const struct password_cost costs[] = {
		{0, 1},
		{PASSWORD_MEMORY_MIN - 1024, 1},
		{PASSWORD_MEMORY_MIN + 1, 1},
		{PASSWORD_MEMORY_MAX + 1024, 1},
		{PASSWORD_MEMORY_MAX, 2},
		{PASSWORD_MEMORY_MIN, 0},
		{PASSWORD_MEMORY_MIN, PASSWORD_PASSES_MAX + 1},
		{UINT64_MAX - 1023, 10},
	};
	char phc[PASSWORD_PHC_MAX + 1];

	(void)state;
	for (size_t i = 0; i < COUNT(costs); i++) {
		memset(phc, 'x', sizeof(phc));
		if (password_make((const uint8_t *)"pw", 2, &costs[i], phc) || phc[0] != '\0')
			fail_msg("make took cost %zu", i);
		if (password_make_dummy(&costs[i], phc) || phc[0] != '\0')
			fail_msg("dummy took cost %zu", i);
	}
}

static void test_dummy_costs_the_same_and_never_matches(void **state)
{
	char phc[PASSWORD_PHC_MAX + 1], again[PASSWORD_PHC_MAX + 1];
	struct password_hash hash;

	(void)state;
	assert_true(password_make_dummy(&cheap, phc));
	assert_true(password_make_dummy(&cheap, again));
	assert_string_not_equal(phc, again);
	assert_int_equal(password_parse(phc, strlen(phc), &hash), PASSWORD_PARSED);
	assert_int_equal(hash.cost.memory_bytes, cheap.memory_bytes);
	assert_int_equal(hash.cost.passes, cheap.passes);
	assert_false(password_needs_rehash(&hash, &cheap));
	assert_int_equal(verify_text(phc, ""), PASSWORD_MISMATCH);
	assert_int_equal(verify_text(phc, "password"), PASSWORD_MISMATCH);
}

static void test_needs_rehash(void **state)
{
	const struct password_cost same = {64 << 20, 2}, memory = {128 << 20, 2};
	const struct password_cost passes = {64 << 20, 3}, cheaper = {32 << 20, 1};
	struct password_hash hash;

	(void)state;
	assert_int_equal(password_parse(GOOD, strlen(GOOD), &hash), PASSWORD_PARSED);
	assert_false(password_needs_rehash(&hash, &same));
	assert_true(password_needs_rehash(&hash, &memory));
	assert_true(password_needs_rehash(&hash, &passes));
	assert_false(password_needs_rehash(&hash, &cheaper)); /* nothing is made weaker */
	assert_int_equal(password_parse(HEAD SALT "$" TAG16, strlen(HEAD SALT "$" TAG16), &hash),
		PASSWORD_PARSED);
	assert_true(password_needs_rehash(&hash, &same));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_cases),
		cmocka_unit_test(test_parse_gives_the_fields),
		cmocka_unit_test(test_parse_truncated_at_every_octet),
		cmocka_unit_test(test_parse_foreign_octet_at_every_place),
		cmocka_unit_test(test_parse_length_is_bounded),
		cmocka_unit_test(test_make_and_verify),
		cmocka_unit_test(test_strings_agree_with_libsodium),
		cmocka_unit_test(test_verify_with_other_tag_lengths),
		cmocka_unit_test(test_no_memory_is_a_failure),
		cmocka_unit_test(test_make_refuses_costs_outside_the_caps),
		cmocka_unit_test(test_dummy_costs_the_same_and_never_matches),
		cmocka_unit_test(test_needs_rehash),
	};

	if (sodium_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
