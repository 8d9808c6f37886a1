/* SPDX-License-Identifier: ISC */
/* Arrays in text: whatever stands in an element stays one element. */
#include "auth/array_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_numbers(void **state)
{
	static const int64_t numbers[] = {1, 0, -1, INT64_MAX, INT64_MIN};
	struct array_text array = {0};

	(void)state;
	assert_string_equal(array_text_end(&array), "{}");
	array_text_free(&array);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		array_text_number(&array, numbers[i]);
	assert_string_equal(
		array_text_end(&array), "{1,0,-1,9223372036854775807,-9223372036854775808}");
	array_text_free(&array);
}

static const struct {
	const char *element, *want;
} texts[] = {
	{"", "{\"\"}"},
	{"example.org", "{\"example.org\"}"},
	{"NULL", "{\"NULL\"}"},
	{"a,b", "{\"a,b\"}"},
	{"},{", "{\"},{\"}"},
	{"\"", "{\"\\\"\"}"},
	{"\\", "{\"\\\\\"}"},
	{"\\\"", "{\"\\\\\\\"\"}"},
	{" a b ", "{\" a b \"}"},
	{"b\xc3\xbc.example", "{\"b\xc3\xbc.example\"}"},
};

static void test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct array_text array = {0};
		array_text_bytes(&array, texts[i].element, strlen(texts[i].element));
		assert_string_equal(array_text_end(&array), texts[i].want);
		array_text_free(&array);
	}
	struct array_text array = {0};
	array_text_bytes(&array, "a", 1);
	array_text_bytes(&array, "", 0);
	array_text_bytes(&array, "\"", 1);
	assert_string_equal(array_text_end(&array), "{\"a\",\"\",\"\\\"\"}");
	array_text_free(&array);
}

static void test_it_grows_to_its_end_and_no_further(void **state)
{
	static char big[1024 * 1024];
	struct array_text array = {0};
	size_t fit = 0;

	(void)state;
	memset(big, 'x', sizeof big);
	while (!array.failed) {
		array_text_bytes(&array, big, sizeof big);
		fit += !array.failed;
	}
	/* Reserved as if every octet needed a quote. */
	assert_int_equal(fit, ARRAY_TEXT_MAX / sizeof big - 2);
	assert_null(array_text_end(&array));
	array_text_free(&array);
	array_text_bytes(&array, big, ARRAY_TEXT_MAX + (size_t)1);
	array_text_number(&array, 1); /* too late */
	assert_null(array_text_end(&array));
	array_text_free(&array);
}

static const struct {
	const char *bytes;
	bool valid;
} octets[] = {
	{"", true},
	{"example.org", true},
	{"\x7f", true},
	{"\xc3\xbc", true},
	{"\xe2\x82\xac", true},
	{"\xf0\x9f\x93\xa7", true},
	{"\xf4\x8f\xbf\xbf", true},
	{"\x80", false},
	{"\xc3", false},
	{"\xc3(", false},
	{"\xc0\xaf", false},     /* a long form */
	{"\xe0\x9f\xbf", false}, /* likewise */
	{"\xed\xa0\x80", false}, /* a surrogate */
	{"\xf0\x8f\xbf\xbf", false},
	{"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
	{"\xf5\x80\x80\x80", false},
	{"\xe2\x82", false},
	{"\xff", false},
};

static void test_what_can_be_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof octets / sizeof *octets; i++) {
		if (array_text_valid((const uint8_t *)octets[i].bytes, strlen(octets[i].bytes)) !=
			octets[i].valid)
			fail_msg("case %zu: got %d, want %d", i, !octets[i].valid, octets[i].valid);
	}
	assert_false(array_text_valid((const uint8_t *)"a\0b", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_it_grows_to_its_end_and_no_further),
		cmocka_unit_test(test_what_can_be_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
