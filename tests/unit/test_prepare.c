/* SPDX-License-Identifier: ISC */
/* auth/prepare: logins by UsernameCaseMapped, passwords by OpaqueString (RFC 8265). */
#include "auth/password.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uninorm.h>
#include <unistr.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct prepare_case {
	const char *name, *text;
	const char *want; /* NULL: refused */
};

static const struct prepare_case login_cases[] = {
	{"plain", "alice", "alice"},
	{"address", "Alice@Example.TEST", "alice@example.test"},
	{"sub-address", "Alice+Lists.2@example.test", "alice+lists.2@example.test"},
	{"all letters", "AZ[@`az{", "az[@`az{"},
	{"every mark of ASCII", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
		"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"},
	{"empty", "", NULL},
	{"space", "alice b", NULL},
	{"space before", " alice", NULL},
	{"tab", "a\tb", NULL},
	{"line feed", "alice\n", NULL},
	{"escape", "\x1B[0m", NULL},
	{"DEL", "a\x7F", NULL},
	/* UTF-8 */
	{"first of C1", "\xC2\x80", NULL},
	{"last of C1", "\xC2\x9F", NULL},
	{"lone continuation", "\x80", NULL},
	{"overlong slash", "\xC0\xAF", NULL},
	{"overlong of two", "\xC1\xBF", NULL},
	{"overlong of three", "\xE0\x9F\xBF", NULL},
	{"overlong of four", "\xF0\x8F\xBF\xBF", NULL},
	{"first surrogate", "\xED\xA0\x80", NULL},
	{"last surrogate", "\xED\xBF\xBF", NULL},
	{"above U+10FFFF", "\xF4\x90\x80\x80", NULL},
	{"five octets", "\xF8\x88\x80\x80\x80", NULL},
	{"0xFF", "a\xFF", NULL},
	{"two octets cut", "a\xC3", NULL},
	{"three octets cut", "a\xE2\x82", NULL},
	{"four octets cut", "a\xF0\x9F\x93", NULL},
	{"ASCII inside a sequence", "\xE2\x82z", NULL},
	{"Latin-1", "j\xF6rg", NULL},
	/* the mappings */
	{"umlaut", "j\xC3\xB6rg", "j\xC3\xB6rg"},
	{"capital umlaut", "J\xC3\x96RG", "j\xC3\xB6rg"},
	{"decomposed umlaut", "Jo\xCC\x88rg", "j\xC3\xB6rg"},
	{"sharp s",
		"fu\xC3\x9F"
		"ball",
		"fu\xC3\x9F"
		"ball"},
	{"capital sharp s", "FU\xE1\xBA\x9E", "fu\xC3\x9F"},
	{"pi", "\xCF\x80", "\xCF\x80"},
	{"capital sigma", "\xCE\xA3", "\xCF\x83"},
	{"capital sigma at the end", "\xCE\xA4\xCE\x91\xCE\xA3", "\xCF\x84\xCE\xB1\xCF\x82"},
	{"final sigma", "\xCF\x82", "\xCF\x82"},
	{"dotted capital I", "\xC4\xB0", "i\xCC\x87"},
	{"fullwidth", "\xEF\xBC\xA1\xEF\xBD\x82\xEF\xBC\x91", "ab1"},
	{"fullwidth at sign",
		"a\xEF\xBC\xA0"
		"b.c",
		"a@b.c"},
	{"halfwidth katakana", "\xEF\xBD\xB6\xEF\xBE\x9E", "\xE3\x82\xAC"},
	{"Angstrom is a letter", "\xE2\x84\xAB", "\xC3\xA5"},
	{"two marks in either order", "q\xCC\x87\xCC\xA3", "q\xCC\xA3\xCC\x87"},
	{"Hangul, decomposed", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"},
	{"Chinese", "\xE6\x9D\x8E", "\xE6\x9D\x8E"},
	{"Cyrillic address", "\xD0\x98\xD0\x92@\xD0\x9F\xD0\xA0.\xD0\xA0\xD0\xA4",
		"\xD0\xB8\xD0\xB2@\xD0\xBF\xD1\x80.\xD1\x80\xD1\x84"},
	/* what IdentifierClass has not */
	{"ideographic space",
		"a\xE3\x80\x80"
		"b",
		NULL},
	{"no-break space",
		"a\xC2\xA0"
		"b",
		NULL},
	{"Roman four", "henry\xE2\x85\xA3", NULL},
	{"ligature", "\xEF\xAC\x81x", NULL},
	{"chess king", "\xE2\x99\x9A", NULL},
	{"euro", "\xE2\x82\xAC", NULL},
	{"infinity", "\xE2\x88\x9E", NULL},
	{"letter box", "\xF0\x9F\x93\xAE", NULL},
	{"dash", "a\xE2\x80\x93z", NULL},
	{"soft hyphen", "al\xC2\xADice", NULL},
	{"zero width space", "al\xE2\x80\x8Bice", NULL},
	{"right-to-left override",
		"a\xE2\x80\xAE"
		"b",
		NULL},
	{"byte order mark",
		"\xEF\xBB\xBF"
		"alice",
		NULL},
	{"private use", "\xEE\x80\x80", NULL},
	{"noncharacter", "\xEF\xBF\xBE", NULL},
	{"unassigned", "\xCD\xB8", NULL},
	{"last code point", "\xF4\x8F\xBF\xBF", NULL},
	{"Hangul jamo alone", "\xE1\x84\x92", NULL},
	{"tatweel", "\xD8\xA8\xD9\x80\xD8\xA8", NULL},
	/* context */
	{"Catalan dot", "col\xC2\xB7legi", "col\xC2\xB7legi"},
	{"dot elsewhere",
		"a\xC2\xB7"
		"b",
		NULL},
	{"Katakana dot", "\xE3\x82\xAB\xE3\x83\xBB\xE3\x82\xAB",
		"\xE3\x82\xAB\xE3\x83\xBB\xE3\x82\xAB"},
	{"Katakana dot among Latin",
		"a\xE3\x83\xBB"
		"b",
		NULL},
	{"Greek numeral", "\xCD\xB5\xCE\xB1", "\xCD\xB5\xCE\xB1"},
	{"Greek numeral alone",
		"\xCD\xB5"
		"a",
		NULL},
	{"geresh", "\xD7\x92\xD7\xB3", "\xD7\x92\xD7\xB3"},
	{"geresh first", "\xD7\xB3\xD7\x92", NULL},
	{"joiner behind a virama", "\xE0\xA4\x95\xE0\xA5\x8D\xE2\x80\x8D",
		"\xE0\xA4\x95\xE0\xA5\x8D\xE2\x80\x8D"},
	{"joiner elsewhere",
		"a\xE2\x80\x8D"
		"b",
		NULL},
	{"non-joiner between letters that join", "\xD8\xA8\xE2\x80\x8C\xD8\xA8",
		"\xD8\xA8\xE2\x80\x8C\xD8\xA8"},
	{"non-joiner with a mark between", "\xD8\xA8\xD9\x8E\xE2\x80\x8C\xD8\xA8",
		"\xD8\xA8\xD9\x8E\xE2\x80\x8C\xD8\xA8"},
	{"non-joiner at the end", "\xD8\xA8\xE2\x80\x8C", NULL},
	{"non-joiner first", "\xE2\x80\x8C\xD8\xA8", NULL},
	{"non-joiner among Latin",
		"a\xE2\x80\x8C"
		"b",
		NULL},
	{"Arabic digits", "\xD8\xA8\xD9\xA1\xD9\xA2", "\xD8\xA8\xD9\xA1\xD9\xA2"},
	{"extended Arabic digits", "\xD8\xA8\xDB\xB1", "\xD8\xA8\xDB\xB1"},
	{"both kinds of Arabic digits", "\xD8\xA8\xD9\xA1\xDB\xB1", NULL},
	/* direction */
	{"Hebrew", "\xD7\x90\xD7\x91", "\xD7\x90\xD7\x91"},
	{"Hebrew, digit", "\xD7\x90\x31", "\xD7\x90\x31"},
	{"digit, Hebrew", "1\xD7\x90", NULL},
	{"Hebrew, Latin",
		"\xD7\x90"
		"a",
		NULL},
	{"Latin, Hebrew", "a\xD7\x90", NULL},
	{"Hebrew with a point at the end", "\xD7\x90\xD6\xB7", "\xD7\x90\xD6\xB7"},
	{"Hebrew that ends in a mark", "\xD7\x90-", NULL},
	{"Hebrew with a dot between", "\xD7\x90.\xD7\x91", "\xD7\x90.\xD7\x91"},
	{"Hebrew with both kinds of digits", "\xD7\x90\x31\xD9\xA1", NULL},
	{"Hebrew at a Latin domain", "\xD7\x90@Example.test", "\xD7\x90@example.test"},
	{"Latin at a Hebrew domain", "A@\xD7\x90\xD7\x91.test", "a@\xD7\x90\xD7\x91.test"},
	{"a mixed label", "a@b\xD7\x90.test", NULL},
	{"a mixed label at the end",
		"a@test.\xD7\x90"
		"b",
		NULL},
	{"mixed before the last at sign", "a\xD7\x90@b@test", NULL},
	{"nothing behind the at sign", "\xD7\x90@", "\xD7\x90@"},
	{"nothing before the at sign", "@\xD7\x90", "@\xD7\x90"},
	{"empty labels", "a@..\xD7\x90..", "a@..\xD7\x90.."},
};

static const struct prepare_case secret_cases[] = {
	{"one octet", "x", "x"},
	{"ASCII", "Correct horse ~!", "Correct horse ~!"},
	{"spaces stay", "  a  ", "  a  "},
	{"empty", "", NULL},
	{"tab", "a\tb", NULL},
	{"line feed", "a\n", NULL},
	{"DEL", "\x7F", NULL},
	{"C1", "a\xC2\x85", NULL},
	{"case stays", "\xC3\x96\xC3\xB6", "\xC3\x96\xC3\xB6"},
	{"decomposed", "pa\xCC\x88ss", "p\xC3\xA4ss"},
	{"Hangul, decomposed", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"},
	{"no-break space",
		"a\xC2\xA0"
		"b",
		"a b"},
	{"ogham space",
		"a\xE1\x9A\x80"
		"b",
		"a b"},
	{"ideographic space", "\xE3\x80\x80", " "},
	{"width stays", "\xEF\xBC\xA1", "\xEF\xBC\xA1"},
	{"Roman four", "\xE2\x85\xA3", "\xE2\x85\xA3"},
	{"ligature", "\xEF\xAC\x81", "\xEF\xAC\x81"},
	{"euro", "\xE2\x82\xAC", "\xE2\x82\xAC"},
	{"emoji", "\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
	{"emoji with a selector", "\xE2\x9D\xA4\xEF\xB8\x8F", NULL},
	{"direction is free", "a\xD7\x90", "a\xD7\x90"},
	{"soft hyphen", "a\xC2\xAD", NULL},
	{"zero width space", "a\xE2\x80\x8B", NULL},
	{"private use", "\xEE\x80\x80", NULL},
	{"unassigned", "\xCD\xB8", NULL},
	{"Catalan dot elsewhere", "a\xC2\xB7", NULL},
	/* no text: as it comes */
	{"Latin-1", "p\xE4ss", "p\xE4ss"},
	{"Latin-1 with a tab", "p\xE4\tss", "p\xE4\tss"},
	{"UTF-8, cut", "p\xC3", "p\xC3"},
	{"surrogate", "\xED\xA0\x80", "\xED\xA0\x80"},
	{"overlong", "\xC0\xAF", "\xC0\xAF"},
};

typedef bool prepare(const uint8_t *text, size_t len, uint8_t *out, size_t *len_out);

static bool login(const uint8_t *text, size_t len, uint8_t *out, size_t *len_out)
{
	return password_prepare_login(text, len, out, len_out);
}

static bool secret(const uint8_t *text, size_t len, uint8_t *out, size_t *len_out)
{
	return password_prepare_secret(text, len, out, len_out);
}

/* From a block of exactly its size, and in place. */
static void check_case(const struct prepare_case *c, prepare *function)
{
	uint8_t out[PASSWORD_SECRET_MAX], same[PASSWORD_SECRET_MAX];
	size_t in_len = strlen(c->text), len = 0, again = 0;
	uint8_t *in = test_malloc(in_len + 1);

	memcpy(in, c->text, in_len);
	bool ok = function(in, in_len, out, &len);
	test_free(in);
	if (ok != (c->want != NULL))
		fail_msg("%s: got %d, want %d", c->name, ok, c->want != NULL);
	memcpy(same, c->text, in_len);
	if (function(same, in_len, same, &again) != ok)
		fail_msg("%s: otherwise in place", c->name);
	if (!ok && memcmp(same, c->text, in_len) != 0)
		fail_msg("%s: refused, and changed", c->name);
	if (!ok)
		return;
	if (len != strlen(c->want) || memcmp(out, c->want, len) != 0)
		fail_msg("%s: got '%.*s', want '%s'", c->name, (int)len, out, c->want);
	if (again != len || memcmp(same, out, len) != 0)
		fail_msg("%s: other octets in place", c->name);
}

static void test_logins(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(login_cases); i++)
		check_case(&login_cases[i], login);
}

static void test_secrets(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(secret_cases); i++)
		check_case(&secret_cases[i], secret);
}

/* ------------------------------------------------------------------- properties */
static size_t normalized(uninorm_t form, const uint8_t *text, size_t len, uint8_t *out, size_t room)
{
	size_t count = room;
	uint8_t *result = u8_normalize(form, text, len, out, &count);

	assert_ptr_equal(result, out);
	return count;
}

/* Once is enough, and the spelling does not matter. */
static void check_properties(const uint8_t *text, size_t len, prepare *function)
{
	const uninorm_t forms[] = {UNINORM_NFC, UNINORM_NFD};
	uint8_t first[PASSWORD_SECRET_MAX], again[PASSWORD_SECRET_MAX], other[4096];
	size_t first_len = 0, again_len = 0;
	bool ok = function(text, len, first, &first_len);

	if (ok && (!function(first, first_len, again, &again_len) || again_len != first_len ||
			  memcmp(again, first, first_len) != 0))
		fail_msg("not idempotent: %.*s", (int)len, text);
	for (size_t i = 0; i < COUNT(forms); i++) {
		size_t other_len = normalized(forms[i], text, len, other, sizeof(other));
		if (function(other, other_len, again, &again_len) != ok)
			fail_msg("form %zu is decided otherwise: %.*s", i, (int)len, text);
		if (ok && (again_len != first_len || memcmp(again, first, first_len) != 0))
			fail_msg("form %zu becomes another: %.*s", i, (int)len, text);
	}
}

static void check_points(const uint32_t *points, size_t count)
{
	uint8_t text[64];
	size_t len = sizeof(text);

	assert_ptr_equal(u32_to_u8(points, count, text, &len), text);
	check_properties(text, len, login);
	check_properties(text, len, secret);
}

/* A sample of all of Unicode, alone and among letters and marks. */
static void test_code_points(void **state)
{
	(void)state;
	for (uint32_t c = 1; c < 0x30000; c += c < 0x3100 ? 3 : 61) {
		const uint32_t among[] = {'x', c, 0x301, c};

		if (c >= 0xD800 && c <= 0xDFFF)
			continue;
		check_points(&c, 1);
		check_points(among, COUNT(among));
	}
}

static void test_spellings_of_the_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(login_cases); i++) {
		const uint8_t *text = (const uint8_t *)login_cases[i].text;
		size_t len = strlen(login_cases[i].text);

		if (len > 0 && u8_check(text, len) == NULL) {
			check_properties(text, len, login);
			check_properties(text, len, secret);
		}
	}
}

static void test_set_composed_and_verified_decomposed(void **state)
{
	static const char composed[] = "\xC3\x85ngstr\xC3\xB6m",
			  decomposed[] = "A\xCC\x8Angstro\xCC\x88m";
	const struct password_cost cost = {PASSWORD_MEMORY_MIN, 1};
	uint8_t prepared[PASSWORD_SECRET_MAX];
	char phc[PASSWORD_PHC_MAX + 1];
	struct password_hash hash;
	size_t len;

	(void)state;
	assert_true(secret((const uint8_t *)composed, strlen(composed), prepared, &len));
	assert_true(password_make(prepared, len, &cost, phc));
	assert_int_equal(password_parse(phc, strlen(phc), &hash), PASSWORD_PARSED);
	assert_true(secret((const uint8_t *)decomposed, strlen(decomposed), prepared, &len));
	assert_int_equal(password_verify(&hash, prepared, len), PASSWORD_MATCH);
}

/* ----------------------------------------------------------------------- bounds */
static void test_bounds_of_logins(void **state)
{
	uint8_t text[PASSWORD_LOGIN_MAX + 1], out[PASSWORD_LOGIN_MAX];
	size_t len;

	(void)state;
	memset(text, 'A', sizeof(text));
	assert_true(login(text, PASSWORD_LOGIN_MAX, out, &len));
	assert_int_equal(len, PASSWORD_LOGIN_MAX);
	assert_int_equal(out[PASSWORD_LOGIN_MAX - 1], 'a');
	assert_false(login(text, PASSWORD_LOGIN_MAX + 1, out, &len));
	assert_false(login((const uint8_t *)"a\0b", 3, out, &len));
	assert_true(login(text, 5, text, &len)); /* in place */
	assert_memory_equal(text, "aaaaaA", 6);
	/* U+0130 is of two octets, and of three when it is small. */
	for (size_t i = 0; i < PASSWORD_LOGIN_MAX; i += 2)
		memcpy(text + i, "\xC4\xB0", 2);
	assert_false(login(text, PASSWORD_LOGIN_MAX, out, &len));
	assert_true(login(text, 212, out, &len));
	assert_int_equal(len, 318);
}

static void test_bounds_of_secrets(void **state)
{
	uint8_t text[PASSWORD_SECRET_MAX + 1], out[PASSWORD_SECRET_MAX];
	size_t len;

	(void)state;
	memset(text, 'A', sizeof(text));
	assert_true(secret(text, PASSWORD_SECRET_MAX, out, &len));
	assert_int_equal(len, PASSWORD_SECRET_MAX);
	assert_false(secret(text, PASSWORD_SECRET_MAX + 1, out, &len));
	assert_false(secret(text, 0, out, &len));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i % 255 + 1); /* no text */
	assert_true(secret(text, PASSWORD_SECRET_MAX, out, &len));
	assert_memory_equal(out, text, PASSWORD_SECRET_MAX);
	assert_false(secret(text, PASSWORD_SECRET_MAX + 1, out, &len));
	assert_false(secret((const uint8_t *)"a\0b", 3, out, &len));
	assert_false(secret((const uint8_t *)"\xE4\0b", 3, out, &len));
	assert_false(secret((const uint8_t *)"\0", 1, out, &len));
	/* U+1D160 is of four octets, and of twelve in NFC. */
	for (size_t i = 0; i < PASSWORD_SECRET_MAX; i += 4)
		memcpy(text + i, "\xF0\x9D\x85\xA0", 4);
	assert_false(secret(text, PASSWORD_SECRET_MAX, out, &len));
	assert_true(secret(text, 340, out, &len));
	assert_int_equal(len, 1020);
}

/* More marks on one letter than the library sorts in place. */
static void test_a_heap_of_marks(void **state)
{
	uint8_t text[PASSWORD_SECRET_MAX];

	(void)state;
	text[0] = 'a';
	for (size_t i = 1; i + 1 < sizeof(text); i += 2)
		memcpy(text + i, i % 4 == 1 ? "\xCC\x87" : "\xCC\xA3", 2);
	check_properties(text, PASSWORD_SECRET_MAX - 1, secret);
	check_properties(text, PASSWORD_LOGIN_MAX - 1, login);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logins),
		cmocka_unit_test(test_secrets),
		cmocka_unit_test(test_code_points),
		cmocka_unit_test(test_spellings_of_the_cases),
		cmocka_unit_test(test_set_composed_and_verified_decomposed),
		cmocka_unit_test(test_bounds_of_logins),
		cmocka_unit_test(test_bounds_of_secrets),
		cmocka_unit_test(test_a_heap_of_marks),
	};

	if (sodium_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
