/* SPDX-License-Identifier: ISC */
/*
 * Encoded words (RFC 2047) by themselves: what they decode to, with every character that is not
 * ASCII as one octet, and what is broken.  How names with them are judged is test_from_header.c's.
 */
#include "proxy/encoded_word.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants those before it */
#include <cmocka.h>

#define IN(text) text, sizeof(text) - 1
#define NOT_ASCII "\x80"

static const struct row {
	const char *text;
	size_t len;
	enum encoded_status status;
	const char *decoded; /* of ENCODED_WORD */
} rows[] = {
	{IN(""), ENCODED_NONE, NULL},
	{IN("=x?"), ENCODED_NONE, NULL},
	{IN("a =?us-ascii?Q?=41=4a=4F_=6a?= b"), ENCODED_WORD, "AJO j"},
	{IN("=?us-ascii?Q?=4G?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?=G4?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?=4g?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?=:4?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?=4@?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?=4`?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?a=4?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?\x7f?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?B?YWJj?="), ENCODED_WORD, "abc"},
	{IN("=?us-ascii?b?YQ==?="), ENCODED_WORD, "a"},
	{IN("=?us-ascii?B?==?="), ENCODED_WORD, ""},
	{IN("=?us-ascii?B?Y\0Jj?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?B?Y-Jj?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?X?abc?="), ENCODED_BROKEN, NULL},
	{IN("=?nobody-knows?Q?abc?="), ENCODED_BROKEN, NULL},
	{IN("=?u?Q?abc?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii"), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?"), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Qabcdef?="), ENCODED_BROKEN, NULL},
	{IN("=?us-ascii?Q?abcdef"), ENCODED_BROKEN, NULL},
	{IN("=?utf-8?Q?=C3=BC?="), ENCODED_WORD, NOT_ASCII NOT_ASCII},
	/* Pairs: what follows a lead octet is a part of its character, though it be "@". */
	{IN("=?big5?Q?=A4=40x?="), ENCODED_WORD, NOT_ASCII "x"},
	{IN("=?big5?Q?=A0=40?="), ENCODED_WORD, NOT_ASCII "@"},
	{IN("=?big5?Q?=FA=40?="), ENCODED_WORD, NOT_ASCII "@"},
	{IN("=?big5?Q?=A4=3F?="), ENCODED_WORD, NOT_ASCII "?"},
	{IN("=?big5?Q?=A4?="), ENCODED_WORD, NOT_ASCII},
	{IN("=?gbk?Q?=81=40=FE=7E?="), ENCODED_WORD, NOT_ASCII NOT_ASCII},
	{IN("=?gbk?Q?=FF=40?="), ENCODED_WORD, NOT_ASCII "@"},
	{IN("=?gbk?Q?=81=7F?="), ENCODED_BROKEN, NULL},
	{IN("=?shift_jis?Q?=81=40=9F=40=E0=40=FC=40?="), ENCODED_WORD,
		NOT_ASCII NOT_ASCII NOT_ASCII NOT_ASCII},
	{IN("=?shift_jis?Q?=A0=40=FD=40=80=40?="), ENCODED_WORD,
		NOT_ASCII "@" NOT_ASCII "@" NOT_ASCII "@"},
	/* Escapes: those that readers agree on, and pairs of graphic octets within them. */
	{IN("=?iso-2022-jp?Q?=1B$B;@=1B(Bx?="), ENCODED_WORD, NOT_ASCII NOT_ASCII NOT_ASCII "x"},
	{IN("=?iso-2022-jp?Q?=1B$@;@=1B(J?="), ENCODED_WORD, NOT_ASCII NOT_ASCII NOT_ASCII},
	{IN("=?iso-2022-jp?Q?=1B$(D;@=1B(I?="), ENCODED_WORD, NOT_ASCII NOT_ASCII NOT_ASCII},
	{IN("=?iso-2022-jp?Q?=1B(B=FF?="), ENCODED_WORD, NOT_ASCII NOT_ASCII},
	{IN("=?iso-2022-jp?Q?=1B$B=FF?="), ENCODED_WORD, NOT_ASCII NOT_ASCII},
	{IN("=?iso-2022-jp?Q?=1B$(?="), ENCODED_BROKEN, NULL},
	{IN("=?iso-2022-jp?Q?=1B$(X?="), ENCODED_BROKEN, NULL},
	{IN("=?iso-2022-jp?Q?=1B$X?="), ENCODED_BROKEN, NULL},
	{IN("=?iso-2022-jp?Q?=1B(X?="), ENCODED_BROKEN, NULL},
	{IN("=?iso-2022-jp?Q?=1B.A?="), ENCODED_BROKEN, NULL},
	{IN("=?iso-2022-jp?Q?=1B?="), ENCODED_BROKEN, NULL},
	{IN("=?iso-2022-jp?Q?=1B$B;?="), ENCODED_WORD, NOT_ASCII ";"},
	{IN("=?iso-2022-jp?Q?=1B$B;_?="), ENCODED_WORD, NOT_ASCII "; "},
	{IN("=?iso-2022-jp?Q?=1B$B=0A;?="), ENCODED_BROKEN, NULL},
};

static void test_rows(void **state)
{
	struct encoded_word word;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row *row = &rows[i];
		char *text = malloc(row->len + 1); /* of just its size, for the sanitizers */
		assert_non_null(text);
		memcpy(text, row->text, row->len);
		enum encoded_status status = encoded_word_next(text, row->len, 0, &word);
		if (status != row->status)
			fail_msg("%s: got %d, want %d", row->text, (int)status, (int)row->status);
		if (status == ENCODED_WORD &&
			(word.len != strlen(row->decoded) ||
				memcmp(word.text, row->decoded, word.len) != 0))
			fail_msg("%s: got %.*s, want %s", row->text, (int)word.len, word.text,
				row->decoded);
		free(text);
	}
}

static void test_where_it_stands(void **state)
{
	static const char text[] = "a =?us-ascii?Q?b?= =?us-ascii?Q?c?=";
	struct encoded_word word;

	(void)state;
	assert_int_equal(encoded_word_next(text, strlen(text), 0, &word), ENCODED_WORD);
	assert_int_equal(word.start, 2);
	assert_int_equal(word.end, 18);
	assert_int_equal(encoded_word_next(text, strlen(text), word.end, &word), ENCODED_WORD);
	assert_int_equal(word.start, 19);
	assert_int_equal(word.end, strlen(text));
	assert_int_equal(encoded_word_next(text, strlen(text), word.end, &word), ENCODED_NONE);
	assert_int_equal(
		encoded_word_next(text, strlen(text), strlen(text) + 5, &word), ENCODED_NONE);
}

static void test_as_long_as_it_may_be(void **state)
{
	static const char head[] = "=?us-ascii?Q?";
	static char text[sizeof head + ENCODED_WORD_MAX + 8];
	struct encoded_word word;

	(void)state;
	for (size_t more = 0; more < 2; more++) {
		size_t at = sizeof head - 1, len = ENCODED_WORD_MAX + more;
		memcpy(text, head, at);
		memset(text + at, 'x', len);
		memcpy(text + at + len, "?=", 2);
		assert_int_equal(encoded_word_next(text, at + len + 2, 0, &word),
			more == 0 ? ENCODED_WORD : ENCODED_BROKEN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_where_it_stands),
		cmocka_unit_test(test_as_long_as_it_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
