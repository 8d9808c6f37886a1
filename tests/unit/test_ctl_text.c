/* SPDX-License-Identifier: ISC */
/* What posternctl's import says of its progress. */
#include "ctl/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those before it */
#include <cmocka.h>

static const struct {
	uint64_t total, octets;
	unsigned long rows;
	uint64_t elapsed_ms;
	const char *want;
} bars[] = {
	{0, 5000, 12, 2000, "12 rows, 6.0/s"},
	{0, 0, 0, 0, "0 rows, 0.0/s"},
	{1000, 0, 0, 0, "[....................]   0 %, 0 rows, 0.0/s"},
	{1000, 0, 5, 1000, "[....................]   0 %, 5 rows, 5.0/s"},
	{1000, 500, 10, 4000, "[##########..........]  50 %, 10 rows, 2.5/s, 4 s left"},
	{1000, 250, 25, 100000, "[#####...............]  25 %, 25 rows, 0.2/s, 5:00 min left"},
	{1000, 10, 1, 100000, "[....................]   1 %, 1 rows, 0.0/s, 2:45 h left"},
	{1000, 1000, 9, 1000, "[####################] 100 %, 9 rows, 9.0/s, 0 s left"},
	{1000, 2000, 9, 1000, "[####################] 100 %, 9 rows, 9.0/s, 0 s left"},
};

static void test_progress(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
		struct progress progress = {.total = bars[i].total};
		char got[PROGRESS_TEXT_MAX];
		size_t len = progress_text(
			&progress, bars[i].octets, bars[i].rows, bars[i].elapsed_ms, got);

		assert_string_equal(got, bars[i].want);
		assert_int_equal(len, strlen(got));
	}
}

static void test_the_longest_progress_has_room(void **state)
{
	struct progress progress = {.total = UINT64_MAX};
	char got[PROGRESS_TEXT_MAX];

	(void)state;
	assert_true(progress_text(&progress, 1, UINT32_MAX, UINT64_MAX, got) < PROGRESS_TEXT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_the_longest_progress_has_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
