/* SPDX-License-Identifier: ISC */
/* Bars of posternctl's: how full they are, and amounts and times beside them. */
#include "ctl/bars.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants those before it */
#include <cmocka.h>

#define FULL "\xE2\x96\x88"
#define EMPTY "\xE2\x96\x91"
#define EIGHTH "\xE2\x96\x8F"
#define HALF "\xE2\x96\x8C"
#define SEVEN "\xE2\x96\x89"
#define GREEN "\x1b[32m"
#define YELLOW "\x1b[33m"
#define RED "\x1b[31m"
#define PLAIN "\x1b[0m"

static const struct {
	const char *name;
	bool blocks, colour;
	size_t width;
	uint64_t used, limit;
	const char *want;
} bars[] = {
	{"nothing", false, false, 10, 0, 100, "[........]"},
	{"a little is seen", false, false, 10, 1, 1000000, "[#.......]"},
	{"half", false, false, 10, 50, 100, "[####....]"},
	{"nearly all is not all", false, false, 10, 99, 100, "[#######.]"},
	{"all", false, false, 10, 100, 100, "[########]"},
	{"more than all", false, false, 10, 500, 100, "[########]"},
	{"nothing may be", false, false, 10, 0, 0, "[########]"},
	{"no narrower than it can be", false, false, 0, 50, 100, "[###...]"},
	{"an eighth of a column", true, false, 8, 1, 1000000,
		EIGHTH EMPTY EMPTY EMPTY EMPTY EMPTY EMPTY EMPTY},
	{"columns and a half", true, false, 8, 5625, 10000,
		FULL FULL FULL FULL HALF EMPTY EMPTY EMPTY},
	{"all but an eighth", true, false, 8, 999, 1000, FULL FULL FULL FULL FULL FULL FULL SEVEN},
	{"full blocks", true, false, 8, 10, 10, FULL FULL FULL FULL FULL FULL FULL FULL},
	{"green", false, true, 8, 79, 100, GREEN "[####..]" PLAIN},
	{"yellow", false, true, 8, 80, 100, YELLOW "[####..]" PLAIN},
	{"red", false, true, 8, 100, 100, RED "[######]" PLAIN},
	{"great numbers", false, false, 8, UINT64_MAX - 1, UINT64_MAX, "[#####.]"},
};

static void test_bars(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
		struct bars_style style = {.blocks = bars[i].blocks, .colour = bars[i].colour};
		char *got = NULL;
		size_t len;
		FILE *to = open_memstream(&got, &len);

		assert_non_null(to);
		bars_draw(to, &style, bars[i].width, bars[i].used, bars[i].limit, 80);
		assert_int_equal(fclose(to), 0);
		if (strcmp(got, bars[i].want) != 0)
			fail_msg("%s: got %s, want %s", bars[i].name, got, bars[i].want);
		free(got);
	}
}

static void test_percent(void **state)
{
	(void)state;
	assert_int_equal(bars_percent(0, 100), 0);
	assert_int_equal(bars_percent(999, 1000), 99);
	assert_int_equal(bars_percent(3, 2), 150);
	assert_int_equal(bars_percent(0, 0), 100);
	assert_int_equal(bars_percent(UINT64_MAX, UINT64_MAX), 100);
	assert_int_equal(bars_percent(UINT64_MAX / 2, UINT64_MAX), 50);
}

static void test_octets(void **state)
{
	static const struct {
		uint64_t octets;
		const char *want;
	} cases[] = {{0, "0 B"}, {1023, "1023 B"}, {1024, "1 KiB"}, {1536, "1.5 KiB"},
		{1048575, "1023.9 KiB"}, {26214400, "25 MiB"}, {UINT64_C(1) << 40, "1 TiB"},
		{UINT64_MAX, "15.9 EiB"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char got[BARS_TEXT_MAX];

		bars_octets(cases[i].octets, got);
		assert_string_equal(got, cases[i].want);
	}
}

static void test_times(void **state)
{
	static const struct {
		uint64_t seconds;
		const char *want;
	} cases[] = {{0, "0 s"}, {119, "119 s"}, {120, "2 min"}, {121, "3 min"}, {3600, "60 min"},
		{7200, "2 h"}, {7201, "3 h"}, {86400, "24 h"}, {172800, "2 d"}, {2592000, "30 d"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char got[BARS_TEXT_MAX];

		bars_time(cases[i].seconds, got);
		assert_string_equal(got, cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bars),
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_octets),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
