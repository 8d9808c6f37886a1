/* SPDX-License-Identifier: ISC */
/* Generated credentials: their form, their hash, and what a row says of one. */
#include "auth/credential.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID "abcdefgh2345"
#define SECRET "abcdefghijklmnopqrstuvwxyz234567"
#define WHOLE "pst_" ID "_" SECRET

enum { ACCOUNT = 7, NOW_S = 1000000 };

static const uint8_t peppers[2][PEPPER_BYTES] = {{1, 2, 3}, {4, 5, 6}};

static const uint8_t *octets(const char *text)
{
	return (const uint8_t *)text;
}

/* ---------------------------------------------------------------------- text */
static const struct {
	const char *text;
	bool want;
} forms[] = {
	{WHOLE, true},
	{"pst_aaaaaaaaaaaa_" SECRET, true}, /* of that form, though it names none */
	{"", false},
	{"pst_", false},
	{WHOLE "a", false},
	{WHOLE "\n", false},
	{" " WHOLE, false},
	{"pst_" ID "_abcdefghijklmnopqrstuvwxyz23456", false},
	{"Pst_" ID "_" SECRET, false},
	{"PST_ABCDEFGH2345_ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", false},
	{"pst_Abcdefgh2345_" SECRET, false},
	{"pst_abcdefgh1345_" SECRET, false},
	{"pst_abcdefgh8345_" SECRET, false},
	{"pst_" ID "-" SECRET, false},
	{"pst_abcdefgh23456_bcdefghijklmnopqrstuvwxyz234567", false},
	{"pst_" ID "_abcdefghijklmnopqrstuvwxyz234568", false},
	{"pst_" ID "_abcdefghijklmnopqrstuvwxyz23456_", false},
};

static void test_the_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (credential_recognise(octets(forms[i].text), strlen(forms[i].text)) !=
			forms[i].want)
			fail_msg("%s: want %d", forms[i].text, forms[i].want);
	}
}

/* Any octet but the 32, at any place, makes it another text. */
static void test_every_octet_at_every_place(void **state)
{
	(void)state;
	for (size_t at = 0; at < CREDENTIAL_TEXT_LEN; at++) {
		for (unsigned octet = 0; octet <= UINT8_MAX; octet++) {
			uint8_t text[CREDENTIAL_TEXT_LEN];
			memcpy(text, WHOLE, sizeof text);
			text[at] = (uint8_t)octet;
			bool letter =
				(octet >= 'a' && octet <= 'z') || (octet >= '2' && octet <= '7');
			bool fixed = at < 4 || at == 16;
			bool want = fixed ? octet == (uint8_t)WHOLE[at] : letter;
			if (credential_recognise(text, sizeof text) != want)
				fail_msg("octet %u at %zu: want %d", octet, at, want);
		}
	}
}

static void test_numbers_and_their_texts(void **state)
{
	static const struct {
		const char *id;
		uint64_t number;
	} cases[] = {{"aaaaaaaaaaaa", 0}, {"aaaaaaaaaaab", 1}, {"aaaaaaaaaabb", 33},
		{"777777777777", (UINT64_C(1) << 60) - 1}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[CREDENTIAL_TEXT_LEN + 1], id[CREDENTIAL_ID_LEN + 1];
		snprintf(text, sizeof text, "pst_%s_" SECRET, cases[i].id);
		assert_int_equal(credential_number(octets(text)), cases[i].number);
		assert_string_equal(credential_format(cases[i].number, id), cases[i].id);
		assert_int_equal(credential_number_valid(cases[i].number), cases[i].number != 0);
	}
	assert_false(credential_number_valid(UINT64_C(1) << 60));
	assert_false(credential_number_valid(UINT64_MAX));
}

static void test_generated_ones_have_the_form_and_differ(void **state)
{
	char text[64][CREDENTIAL_TEXT_LEN + 1];
	uint32_t seen = 0;

	(void)state;
	for (size_t i = 0; i < 64; i++) {
		credential_generate(text[i]);
		assert_int_equal(strlen(text[i]), CREDENTIAL_TEXT_LEN);
		assert_true(credential_recognise(octets(text[i]), CREDENTIAL_TEXT_LEN));
		for (size_t j = 0; j < i; j++) {
			assert_memory_not_equal(text[i] + 4, text[j] + 4, CREDENTIAL_ID_LEN);
			assert_memory_not_equal(text[i] + 17, text[j] + 17, 32);
		}
		for (size_t at = 17; at < CREDENTIAL_TEXT_LEN; at++)
			seen |= 1u << (strchr(SECRET, text[i][at]) - SECRET);
	}
	assert_int_equal(seen, UINT32_MAX); /* each of the 32 comes up: one miss in 10^26 runs */
}

/* ---------------------------------------------------------------------- hash */

/* Computed by another program: it is written down in docs/credentials.md. */
static void test_the_hash_and_the_name_of_a_pepper_are_what_the_docs_say(void **state)
{
	uint8_t pepper[PEPPER_BYTES], hash[CREDENTIAL_HASH_BYTES];
	char key_id[CREDENTIAL_KEY_ID_LEN + 1], hex[2 * CREDENTIAL_HASH_BYTES + 1];

	(void)state;
	for (size_t i = 0; i < sizeof pepper; i++)
		pepper[i] = (uint8_t)i;
	credential_key_id(pepper, key_id);
	assert_string_equal(key_id, "f7fc109013368366");
	credential_hash(pepper, octets(WHOLE), hash);
	assert_string_equal(sodium_bin2hex(hex, sizeof hex, hash, sizeof hash),
		"93a4e40973d3fcb75a3b39c117b2677934ab62825fa75ba6f69dfd10388a76b6");
}

static struct credential *row_of(const uint8_t pepper[PEPPER_BYTES], const char *text)
{
	struct credential *row = credential_new(64);

	assert_non_null(row);
	row->number = credential_number(octets(text));
	row->account = ACCOUNT;
	row->enabled = true;
	credential_key_id(pepper, row->key_id);
	credential_hash(pepper, octets(text), row->hash);
	return row;
}

static void test_each_pepper_verifies_its_own(void **state)
{
	struct credential_keys *keys = credential_keys_new(peppers, 2);
	struct credential_keys *one = credential_keys_new(peppers, 1);
	struct credential_keys *none = credential_keys_new(peppers, 0);
	uint8_t other[CREDENTIAL_TEXT_LEN];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct credential *row = row_of(peppers[i], WHOLE);
		assert_int_equal(credential_verify(row, keys, octets(WHOLE)), CREDENTIAL_MATCHES);
		assert_int_equal(credential_verify(row, one, octets(WHOLE)),
			i == 0 ? CREDENTIAL_MATCHES : CREDENTIAL_NO_KEY);
		assert_int_equal(credential_verify(row, none, octets(WHOLE)), CREDENTIAL_NO_KEY);
		for (size_t at = 4; at < CREDENTIAL_TEXT_LEN; at++) {
			memcpy(other, WHOLE, sizeof other);
			other[at] = other[at] == 'a' ? 'b' : 'a';
			assert_int_equal(credential_verify(row, keys, other), CREDENTIAL_DIFFERS);
		}
		row->hash[CREDENTIAL_HASH_BYTES - 1] ^= 1;
		assert_int_equal(credential_verify(row, keys, octets(WHOLE)), CREDENTIAL_DIFFERS);
		credential_destroy(&row);
		assert_null(row);
	}
	credential_keys_destroy(&keys);
	credential_keys_destroy(&one);
	credential_keys_destroy(&none);
}

/* ----------------------------------------------------------------------- row */
static struct address_key key_of(const char *text)
{
	struct address address;

	assert_true(address_parse(text, 0, &address));
	return address_prefix(&address, 32, 128);
}

static void test_what_a_row_says(void **state)
{
	struct credential *row = row_of(peppers[0], WHOLE);
	const struct address_key near = key_of("192.0.2.77"), far = key_of("198.51.100.1");

	(void)state;
	assert_int_equal(credential_check(row, ACCOUNT, &far, NOW_S), CREDENTIAL_HOLDS);
	assert_int_equal(credential_check(row, ACCOUNT + 1, &far, NOW_S), CREDENTIAL_FOREIGN);
	row->expires_s = NOW_S;
	assert_int_equal(credential_check(row, ACCOUNT, &far, NOW_S - 1), CREDENTIAL_HOLDS);
	assert_int_equal(credential_check(row, ACCOUNT, &far, NOW_S), CREDENTIAL_EXPIRED);
	row->enabled = false;
	assert_int_equal(credential_check(row, ACCOUNT, &far, NOW_S), CREDENTIAL_REVOKED);
	row->enabled = true;
	row->expires_s = 0;
	row->network_count = 2;
	assert_true(network_parse("2001:db8::/32", &row->networks[0]));
	assert_true(network_parse("192.0.2.0/24", &row->networks[1]));
	assert_int_equal(credential_check(row, ACCOUNT, &near, NOW_S), CREDENTIAL_HOLDS);
	assert_int_equal(credential_check(row, ACCOUNT, &far, NOW_S), CREDENTIAL_ELSEWHERE);
	const struct address_key v6 = key_of("2001:db8::9");
	assert_int_equal(credential_check(row, ACCOUNT, &v6, NOW_S), CREDENTIAL_HOLDS);
	credential_destroy(&row);
	credential_destroy(&row); /* NULL */
}

static void test_senders_narrow_only_where_there_are_some(void **state)
{
	struct credential *row = row_of(peppers[0], WHOLE);

	(void)state;
	assert_true(credential_may_send(row, octets("any@example.net"), 15));
	assert_true(credential_may_send(row, NULL, 0));
	sender_list_add(&row->senders, "a:me@example.net", 16);
	row->senders.total = 1;
	assert_true(credential_may_send(row, octets("ME@example.net"), 14));
	assert_false(credential_may_send(row, octets("any@example.net"), 15));
	assert_false(credential_may_send(row, NULL, 0));
	credential_destroy(&row);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_form),
		cmocka_unit_test(test_every_octet_at_every_place),
		cmocka_unit_test(test_numbers_and_their_texts),
		cmocka_unit_test(test_generated_ones_have_the_form_and_differ),
		cmocka_unit_test(test_the_hash_and_the_name_of_a_pepper_are_what_the_docs_say),
		cmocka_unit_test(test_each_pepper_verifies_its_own),
		cmocka_unit_test(test_what_a_row_says),
		cmocka_unit_test(test_senders_narrow_only_where_there_are_some),
	};

	if (sodium_init() == -1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
