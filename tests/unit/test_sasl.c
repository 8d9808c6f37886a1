/* SPDX-License-Identifier: ISC */
/* SASL on the wire: threats.md C01-C05, C10, C13; conformance 52-72. */
#include "proxy/sasl.h"

#include "proxy/line.h"
#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

#define IN(text) text, sizeof(text) - 1

/* ----------------------------------------------------------------- base64 */

static const struct {
	const char *text;
	size_t len;
	const char *want; /* NULL: refused */
	size_t want_len;
} base64_rows[] = {
	/* RFC 4648 10 */
	{IN(""), IN("")},
	{IN("Zg=="), IN("f")},
	{IN("Zm8="), IN("fo")},
	{IN("Zm9v"), IN("foo")},
	{IN("Zm9vYg=="), IN("foob")},
	{IN("Zm9vYmE="), IN("fooba")},
	{IN("Zm9vYmFy"), IN("foobar")},
	{IN("AHUAcA=="), IN("\0u\0p")},
	{IN("+/+/"), IN("\xfb\xff\xbf")},
	/* C01 */
	{IN("=AAA"), NULL, 0},
	{IN("AAA=BBB"), NULL, 0},
	{IN("AAAA AAAA"), NULL, 0},
	{IN("A"), NULL, 0},
	{IN("AA"), NULL, 0},
	{IN("AAA"), NULL, 0},
	{IN("AB==CD"), NULL, 0},
	{IN("AAA\t"), NULL, 0},
	{IN("YWJjZB=="), NULL, 0}, /* bits left over are not zero */
	{IN("YWJjZGV="), NULL, 0},
	{IN("="), NULL, 0},
	{IN("=="), NULL, 0},
	{IN("===="), NULL, 0},
	{IN("AAAA="), NULL, 0},
	{IN("AAAA===="), NULL, 0},
	{IN("Zg="), NULL, 0},
	{IN("Zg==="), NULL, 0},
	{IN("Zg==Zg=="), NULL, 0},
	{IN(" Zm9v"), NULL, 0},
	{IN("Zm9v "), NULL, 0},
	{IN("Zm9v\n"), NULL, 0},
	{IN("Zm\r\n9v"), NULL, 0},
	{IN("Zm9\0"), NULL, 0},
	{IN("\0"), NULL, 0},
	{IN("-_-_"), NULL, 0}, /* the alphabet for URLs */
	{IN("*"), NULL, 0},
	{IN("*x"), NULL, 0},
	/* C13 */
	{IN("\x80\x81\x82\x83"), NULL, 0},
	{IN("\xff\xff\xff\xff"), NULL, 0},
};

static void test_base64_is_canonical_or_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(base64_rows) / sizeof(base64_rows[0]); i++) {
		char *text = parse_exact(base64_rows[i].text, base64_rows[i].len);
		uint8_t out[32];
		size_t len;
		bool ok = sasl_base64_decode(text, base64_rows[i].len, out, sizeof(out), &len);

		if (ok != (base64_rows[i].want != NULL))
			fail_msg("row %zu \"%s\": got %d", i, base64_rows[i].text, ok);
		if (ok) {
			assert_int_equal(len, base64_rows[i].want_len);
			assert_memory_equal(out, base64_rows[i].want, len);
		}
		free(text);
	}
}

/* All texts of four characters over an alphabet of troublemakers, against a decoder by the book. */
static bool book_decode(const char text[4], uint8_t out[3], size_t *len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned bits = 0, count = 0;

	while (count < 4 && text[count] != '=') {
		const char *digit = text[count] == '\0' ? NULL : strchr(digits, text[count]);

		if (digit == NULL)
			return false;
		bits = bits << 6 | (unsigned)(digit - digits);
		count++;
	}
	for (unsigned i = count; i < 4; i++) {
		if (text[i] != '=')
			return false;
		bits <<= 6;
	}
	if (count < 2)
		return false;
	*len = count - 1;
	out[0] = (uint8_t)(bits >> 16);
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)bits;
	return (count == 4) || (count == 3 && out[2] == 0) ||
	       (count == 2 && out[1] == 0 && out[2] == 0);
}

static void test_base64_agrees_with_the_book(void **state)
{
	static const char alphabet[] = "AQgwBZaz09+/= -_\r\n\t*\x80\xff";
	enum { LETTERS = sizeof(alphabet) }; /* with its NUL */
	char text[4];

	(void)state;
	for (unsigned n = 0; n < LETTERS * LETTERS * LETTERS * LETTERS; n++) {
		uint8_t got[3] = {0}, want[3] = {0};
		size_t got_len, want_len = 0;
		bool ok, want_ok;

		for (unsigned i = 0, rest = n; i < 4; i++, rest /= LETTERS)
			text[i] = alphabet[rest % LETTERS];
		ok = sasl_base64_decode(text, 4, got, sizeof(got), &got_len);
		want_ok = book_decode(text, want, &want_len);
		if (ok != want_ok ||
			(ok && (got_len != want_len || memcmp(got, want, got_len) != 0)))
			fail_msg("%02x%02x%02x%02x: got %d, want %d", (uint8_t)text[0],
				(uint8_t)text[1], (uint8_t)text[2], (uint8_t)text[3], ok, want_ok);
	}
}

static void test_base64_never_passes_its_room(void **state)
{
	(void)state;
	for (size_t room = 0; room < 6; room++) {
		uint8_t *out = (uint8_t *)parse_exact("\x55\x55\x55\x55\x55\x55", room);
		size_t len;

		assert_int_equal(sasl_base64_decode("Zm9vYmFy", 8, out, room, &len), false);
		free(out);
	}
}

static void test_base64_of_the_longest_line(void **state)
{
	char *text = malloc(LINE_AUTH_MAX);
	uint8_t *out = malloc(LINE_AUTH_MAX / 4 * 3);
	size_t len;

	(void)state;
	assert_non_null(text);
	assert_non_null(out);
	memset(text, 'A', LINE_AUTH_MAX);
	assert_true(sasl_base64_decode(text, LINE_AUTH_MAX, out, LINE_AUTH_MAX / 4 * 3, &len));
	assert_int_equal(len, LINE_AUTH_MAX / 4 * 3);
	free(text);
	free(out);
}

/* ------------------------------------------------------------------ PLAIN */

static const struct {
	const char *message;
	size_t len;
	const char *authzid, *authcid, *password; /* NULL: refused */
} plain_rows[] = {
	{IN("\0u\0p"), "", "u", "p"},
	{IN("u\0u\0p"), "u", "u", "p"},
	{IN("bob\0alice\0pw"), "bob", "alice", "pw"},
	{IN("\0alice@example.test\0a b\r\n\x7f\xff"), "", "alice@example.test", "a b\r\n\x7f\xff"},
	{IN("\0\xff\xfe\0p"), "", "\xff\xfe", "p"}, /* C07: the auth process judges it */
	{IN(""), NULL, NULL, NULL},
	{IN("\0"), NULL, NULL, NULL},
	{IN("\0\0"), NULL, NULL, NULL},
	{IN("\0\0\0"), NULL, NULL, NULL},
	{IN("u"), NULL, NULL, NULL},
	{IN("\0u"), NULL, NULL, NULL},
	{IN("\0u\0"), NULL, NULL, NULL},
	{IN("u\0p"), NULL, NULL, NULL},
	{IN("u\0p\0"), NULL, NULL, NULL},
	{IN("alice\0\0pw"), NULL, NULL, NULL}, /* C05: never falls back to the authzid */
	{IN("\0u\0p\0"), NULL, NULL, NULL},
	{IN("\0u\0p\0x"), NULL, NULL, NULL},
	{IN("a\0b\0c\0d"), NULL, NULL, NULL},
};

static void expect_slice(const uint8_t *bytes, size_t len, const char *want)
{
	assert_int_equal(len, strlen(want));
	assert_memory_equal(bytes, want, len);
}

static void test_plain_has_two_nuls_and_three_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(plain_rows) / sizeof(plain_rows[0]); i++) {
		char *copy = parse_exact(plain_rows[i].message, plain_rows[i].len);
		struct sasl_plain plain;
		bool ok = sasl_plain_parse((const uint8_t *)copy, plain_rows[i].len, &plain);

		if (ok != (plain_rows[i].authcid != NULL))
			fail_msg("PLAIN row %zu: got %d", i, ok);
		if (ok) {
			expect_slice(plain.authzid, plain.authzid_len, plain_rows[i].authzid);
			expect_slice(plain.authcid, plain.authcid_len, plain_rows[i].authcid);
			expect_slice(plain.password, plain.password_len, plain_rows[i].password);
		}
		free(copy);
	}
}

/* RFC 4616 2: 255 octets of each must do; far more are told by their lengths, never cut. */
static void test_plain_long_fields(void **state)
{
	enum { LONG = 4000 };
	uint8_t *message = malloc(3 * LONG + 2);
	struct sasl_plain plain;

	(void)state;
	assert_non_null(message);
	memset(message, 'a', 3 * LONG + 2);
	message[LONG] = message[2 * LONG + 1] = '\0';
	assert_true(sasl_plain_parse(message, 3 * LONG + 2, &plain));
	assert_int_equal(plain.authzid_len, LONG);
	assert_int_equal(plain.authcid_len, LONG);
	assert_int_equal(plain.password_len, LONG);
	free(message);
}

/* -------------------------------------------------------- AUTH's arguments */

static const struct {
	const char *args;
	bool ok;
	enum sasl_mechanism mechanism;
	const char *initial; /* NULL: none */
} auth_rows[] = {
	{"PLAIN", true, SASL_PLAIN, NULL}, {"plain", true, SASL_PLAIN, NULL},
	{"PLAIN ", true, SASL_PLAIN, NULL}, {"PLAIN   ", true, SASL_PLAIN, NULL},
	{"PLAIN =", true, SASL_PLAIN, ""}, {"PLAIN AHUAcA==", true, SASL_PLAIN, "AHUAcA=="},
	{"pLaIn  AHUAcA==", true, SASL_PLAIN, "AHUAcA=="},
	{"PLAIN ==", true, SASL_PLAIN, "=="}, /* base64 will refuse it */
	{"PLAIN *", true, SASL_PLAIN, "*"}, {"PLAIN \x80\x81", true, SASL_PLAIN, "\x80\x81"},
	{"LOGIN", true, SASL_LOGIN, NULL}, {"LOGIN =", true, SASL_LOGIN, ""},
	{"login YQ==", true, SASL_LOGIN, "YQ=="}, {"FOO", true, SASL_NONE, NULL},
	{"CRAM-MD5", true, SASL_NONE, NULL}, {"SCRAM-SHA-256-PLUS biws", true, SASL_NONE, "biws"},
	{"PLAINX", true, SASL_NONE, NULL}, {"PLAI", true, SASL_NONE, NULL},
	{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", true, SASL_NONE, NULL}, {"", false, SASL_NONE, NULL},
	{" ", false, SASL_NONE, NULL}, {" PLAIN", false, SASL_NONE, NULL},
	{"=", false, SASL_NONE, NULL}, {"PLAIN=", false, SASL_NONE, NULL},
	{"PLAIN\tAA==", false, SASL_NONE, NULL}, {"\xc3\xa9", false, SASL_NONE, NULL},
	{"PLAIN AHUAcA== x", false, SASL_NONE, NULL}, {"PLAIN = =", false, SASL_NONE, NULL},
	{"PLAIN AHUAcA== ", false, SASL_NONE, NULL}, /* command_split() has dropped it */
};

static void test_auth_arguments(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(auth_rows) / sizeof(auth_rows[0]); i++) {
		size_t len = strlen(auth_rows[i].args), initial_len;
		char *args = parse_exact(auth_rows[i].args, len);
		enum sasl_mechanism mechanism;
		const char *initial;
		bool ok = sasl_auth_arguments(args, len, &mechanism, &initial, &initial_len);

		if (ok != auth_rows[i].ok || (ok && mechanism != auth_rows[i].mechanism))
			fail_msg("\"%s\": got %d, mechanism %d", auth_rows[i].args, ok, mechanism);
		if (ok) {
			assert_int_equal(initial != NULL, auth_rows[i].initial != NULL);
			assert_int_equal(initial_len,
				auth_rows[i].initial != NULL ? strlen(auth_rows[i].initial) : 0);
			if (initial_len > 0)
				assert_memory_equal(initial, auth_rows[i].initial, initial_len);
		}
		free(args);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64_is_canonical_or_refused),
		cmocka_unit_test(test_base64_agrees_with_the_book),
		cmocka_unit_test(test_base64_never_passes_its_room),
		cmocka_unit_test(test_base64_of_the_longest_line),
		cmocka_unit_test(test_plain_has_two_nuls_and_three_fields),
		cmocka_unit_test(test_plain_long_fields),
		cmocka_unit_test(test_auth_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
