/* SPDX-License-Identifier: ISC */
/* The three texts of a time, and that the clocks move forward. */
#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *name;
	uint64_t wall_ms;
	const char *rfc3339, *second, *rfc5322;
} cases[] = {
	{"epoch", 0, "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00Z",
		"Thu, 1 Jan 1970 00:00:00 +0000"},
	{"milliseconds", 1795572865123, "2026-11-25T02:14:25.123Z", "2026-11-25T02:14:25Z",
		"Wed, 25 Nov 2026 02:14:25 +0000"},
	{"one millisecond", 1795572865001, "2026-11-25T02:14:25.001Z", "2026-11-25T02:14:25Z",
		"Wed, 25 Nov 2026 02:14:25 +0000"},
	{"leap day", 1709210096000, "2024-02-29T12:34:56.000Z", "2024-02-29T12:34:56Z",
		"Thu, 29 Feb 2024 12:34:56 +0000"},
	{"no leap day in 2100", 4107542400000, "2100-03-01T00:00:00.000Z", "2100-03-01T00:00:00Z",
		"Mon, 1 Mar 2100 00:00:00 +0000"},
	{"after 2038", 2147483648000, "2038-01-19T03:14:08.000Z", "2038-01-19T03:14:08Z",
		"Tue, 19 Jan 2038 03:14:08 +0000"},
	{"last second of a year", 1798761599999, "2026-12-31T23:59:59.999Z", "2026-12-31T23:59:59Z",
		"Thu, 31 Dec 2026 23:59:59 +0000"},
};

static void test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char a[CLOCK_TEXT_MAX], b[CLOCK_TEXT_MAX], c[CLOCK_TEXT_MAX];
		clock_format_rfc3339(cases[i].wall_ms, a);
		clock_format_second(cases[i].wall_ms / 1000, b);
		clock_format_rfc5322(cases[i].wall_ms, c);
		if (strcmp(a, cases[i].rfc3339) != 0 || strcmp(b, cases[i].second) != 0 ||
			strcmp(c, cases[i].rfc5322) != 0)
			fail_msg("%s: got %s, %s, %s, want %s, %s, %s", cases[i].name, a, b, c,
				cases[i].rfc3339, cases[i].second, cases[i].rfc5322);
	}
}

/* The time at which a limit frees comes in a frame: no value of it may hurt. */
static void test_times_beyond_the_calendar(void **state)
{
	static const uint64_t far[] = {UINT64_C(253402300800), UINT64_C(1) << 55, UINT64_C(1) << 56,
		UINT64_C(1) << 62, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};
	char text[CLOCK_TEXT_MAX];

	(void)state;
	assert_string_equal(
		clock_format_second(UINT64_C(253402300799), text), "9999-12-31T23:59:59Z");
	for (size_t i = 0; i < sizeof far / sizeof *far; i++)
		assert_string_equal(clock_format_second(far[i], text), "9999-12-31T23:59:59Z");
	assert_string_equal(clock_format_rfc3339(UINT64_MAX, text), "9999-12-31T23:59:59.615Z");
	assert_string_equal(
		clock_format_rfc5322(UINT64_MAX, text), "Fri, 31 Dec 9999 23:59:59 +0000");
}

static void test_each_returns_its_text(void **state)
{
	char text[CLOCK_TEXT_MAX];

	(void)state;
	assert_ptr_equal(clock_format_rfc3339(0, text), text);
	assert_ptr_equal(clock_format_second(0, text), text);
	assert_ptr_equal(clock_format_rfc5322(0, text), text);
}

/* Children have no time zone file, the master may have one: the texts are the same. */
static void test_the_time_zone_changes_nothing(void **state)
{
	char text[CLOCK_TEXT_MAX];

	(void)state;
	assert_int_equal(setenv("TZ", "XYZ-5:30", 1), 0);
	assert_string_equal(clock_format_rfc3339(0, text), "1970-01-01T00:00:00.000Z");
	assert_string_equal(clock_format_rfc5322(0, text), "Thu, 1 Jan 1970 00:00:00 +0000");
	assert_int_equal(unsetenv("TZ"), 0);
}

static void test_the_monotonic_clock_never_goes_back(void **state)
{
	uint64_t last = clock_monotonic_us();

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint64_t now = clock_monotonic_us();
		assert_true(now >= last);
		last = now;
	}
	uint64_t ms = clock_monotonic_ms(), us = clock_monotonic_us();
	assert_true(us / 1000 >= ms && us / 1000 - ms < 60000);
}

static void test_the_wall_clock_is_in_milliseconds(void **state)
{
	(void)state;
	/* Between 2025 and 2100: neither seconds nor microseconds. */
	assert_in_range(clock_wall_ms(), UINT64_C(1735689600000), UINT64_C(4102444800000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_times_beyond_the_calendar),
		cmocka_unit_test(test_each_returns_its_text),
		cmocka_unit_test(test_the_time_zone_changes_nothing),
		cmocka_unit_test(test_the_monotonic_clock_never_goes_back),
		cmocka_unit_test(test_the_wall_clock_is_in_milliseconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
