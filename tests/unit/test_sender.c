/* SPDX-License-Identifier: ISC */
/* Envelope senders against an account's rows. */
#include "auth/sender.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 4 };

static const struct {
	const char *name, *rows[ROWS], *address;
	unsigned more; /* rows that the database has besides */
	enum sender_answer want;
} cases[] = {
	{"own address", {"a:alice@x.test"}, "alice@x.test", 0, SENDER_OWNED},
	{"letter case", {"a:alice@x.test"}, "ALICE@X.Test", 0, SENDER_OWNED},
	{"another's address", {"a:alice@x.test"}, "bob@x.test", 0, SENDER_FOREIGN},
	{"address is not a prefix", {"a:alice@x.test"}, "alice@x.test.evil", 0, SENDER_FOREIGN},
	{"address is not a suffix", {"a:alice@x.test"}, "malice@x.test", 0, SENDER_FOREIGN},
	{"second row", {"a:alice@x.test", "a:sales@x.test"}, "sales@x.test", 0, SENDER_OWNED},
	{"quoted is not plain", {"a:alice@x.test"}, "\"alice\"@x.test", 0, SENDER_FOREIGN},
	{"sub-address is another", {"a:alice@x.test"}, "alice+x@x.test", 0, SENDER_FOREIGN},
	{"domain", {"d:x.test"}, "anyone@x.test", 0, SENDER_OWNED},
	{"domain's case", {"d:x.test"}, "anyone@X.TEST", 0, SENDER_OWNED},
	{"sub-domain", {"d:x.test"}, "anyone@mail.x.test", 0, SENDER_FOREIGN},
	{"longer domain", {"d:x.test"}, "anyone@evilx.test", 0, SENDER_FOREIGN},
	{"domain in the local part", {"d:x.test"}, "\"a@x.test\"@evil.test", 0, SENDER_FOREIGN},
	{"at sign in quotes", {"d:x.test"}, "\"a@evil.test\"@x.test", 0, SENDER_OWNED},
	{"no domain", {"d:x.test"}, "x.test", 0, SENDER_FOREIGN},
	{"only a domain", {"d:x.test"}, "@x.test", 0, SENDER_FOREIGN},
	{"trailing dot", {"d:x.test"}, "a@x.test.", 0, SENDER_FOREIGN},
	{"empty domain row", {"d:"}, "a@", 0, SENDER_FOREIGN},
	{"any", {"*"}, "who@ever.test", 0, SENDER_OWNED},
	{"a star in an address row", {"a:*"}, "who@ever.test", 0, SENDER_FOREIGN},
	{"null path of an ordinary account", {"a:alice@x.test", "d:x.test"}, "", 0, SENDER_FOREIGN},
	{"null path of any", {"*"}, "", 0, SENDER_OWNED},
	{"null path by its own row", {"a:"}, "", 0, SENDER_OWNED},
	{"the empty row is no wildcard", {"a:"}, "a@x.test", 0, SENDER_FOREIGN},
	{"unknown kind", {"s:x.test", "a", "", ":x"}, "a@x.test", 0, SENDER_FOREIGN},
	{"no rows", {NULL}, "alice@x.test", 0, SENDER_FOREIGN},
	{"more in the database", {"a:alice@x.test"}, "bob@x.test", 9, SENDER_ASK},
	{"found before the rest is asked", {"a:alice@x.test"}, "alice@x.test", 9, SENDER_OWNED},
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t bytes[512];
		struct sender_list list = {.bytes = bytes};
		for (size_t r = 0; r < ROWS && cases[i].rows[r] != NULL; r++)
			sender_list_add(&list, cases[i].rows[r], strlen(cases[i].rows[r]));
		list.total = list.count + cases[i].more;
		enum sender_answer got = sender_match(
			&list, (const uint8_t *)cases[i].address, strlen(cases[i].address));
		if (got != cases[i].want)
			fail_msg("%s: got %d, want %d", cases[i].name, got, cases[i].want);
	}
}

static void test_longest_rows_fit(void **state)
{
	static uint8_t bytes[SENDER_ROWS_MAX * (2 + SENDER_ROW_BYTES)];
	struct sender_list list = {.bytes = bytes};
	char row[SENDER_ROW_BYTES];

	(void)state;
	memset(row, 'x', sizeof row);
	memcpy(row, "a:", 2);
	for (int i = 0; i < SENDER_ROWS_MAX; i++)
		sender_list_add(&list, row, sizeof row);
	list.total = list.count;
	assert_int_equal(list.bytes_used, sizeof bytes);
	assert_int_equal(
		sender_match(&list, (const uint8_t *)row + 2, sizeof row - 2), SENDER_OWNED);
	assert_int_equal(
		sender_match(&list, (const uint8_t *)row + 2, sizeof row - 3), SENDER_FOREIGN);
}

static void test_control_octets_are_not_plain(void **state)
{
	(void)state;
	assert_true(sender_plain((const uint8_t *)"a@x.test", 8));
	assert_true(sender_plain((const uint8_t *)"", 0));
	assert_true(sender_plain((const uint8_t *)"\xc3\xa9@x", 4));
	assert_false(sender_plain((const uint8_t *)"a\0b", 3));
	assert_false(sender_plain((const uint8_t *)"a\r\nb", 4));
	assert_false(sender_plain((const uint8_t *)"a\x7f", 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_longest_rows_fit),
		cmocka_unit_test(test_control_octets_are_not_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
