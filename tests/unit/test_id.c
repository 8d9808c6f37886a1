/* SPDX-License-Identifier: ISC */
/* Ids and their text. */
#include "common/id.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LARGEST ((UINT64_C(1) << 60) - 1)

static const struct {
	const char *name;
	uint64_t id;
	const char *text;
} texts[] = {
	{"one", 1, "000000000001"},
	{"all digits", UINT64_C(0x443214c74254b), "0123456789ab"},
	{"i, l, o and u are left out", UINT64_C(0xa56d7c675be77df), "mnpqrstvwxyz"},
	{"largest", LARGEST, "zzzzzzzzzzzz"},
};

static void test_text_and_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		char text[ID_TEXT_MAX];
		uint64_t id = 0;
		bool parsed = id_parse(id_format(texts[i].id, text), &id);
		if (strcmp(text, texts[i].text) != 0 || !parsed || id != texts[i].id)
			fail_msg("%s: got %s and %llx, want %s and %llx", texts[i].name, text,
				(unsigned long long)id, texts[i].text,
				(unsigned long long)texts[i].id);
	}
}

static const struct {
	const char *name, *text;
} bad[] = {
	{"empty", ""},
	{"short", "00000000000"},
	{"long", "0000000000000"},
	{"upper case", "00000000000A"},
	{"i", "00000000000i"},
	{"l", "00000000000l"},
	{"o", "00000000000o"},
	{"u", "00000000000u"},
	{"space", " 00000000001"},
	{"eight bits", "00000000000\xe9"},
};

static void test_bad_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint64_t id = 77;
		if (id_parse(bad[i].text, &id))
			fail_msg("%s: got an id, want none", bad[i].name);
		assert_int_equal(id, 77);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* 100,000 of 2^60: the chance of one pair alike is 4e-9. */
static void test_new_ids_differ_and_are_never_0(void **state)
{
	enum { COUNT = 100000 };
	uint64_t *ids = calloc(COUNT, sizeof *ids), bits = 0;

	(void)state;
	assert_non_null(ids);
	for (size_t i = 0; i < COUNT; i++) {
		ids[i] = id_new();
		bits |= ids[i];
		assert_in_range(ids[i], 1, LARGEST);
	}
	assert_true(bits == LARGEST); /* every bit is in use */
	qsort(ids, COUNT, sizeof *ids, compare);
	for (size_t i = 1; i < COUNT; i++)
		assert_true(ids[i - 1] != ids[i]);
	free(ids);
}

static int set_up(void **state)
{
	(void)state;
	return sodium_init() == -1 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_and_back),
		cmocka_unit_test(test_bad_texts),
		cmocka_unit_test(test_new_ids_differ_and_are_never_0),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
