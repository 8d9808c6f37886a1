/* SPDX-License-Identifier: ISC */
/* The two clocks and their three texts; see clock.h. */
#include "common/clock.h"

#include <stdio.h>
#include <time.h>

#define LAST_SECOND UINT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ms(void)
{
	return monotonic_ns() / 1000000u;
}

uint64_t clock_monotonic_us(void)
{
	return monotonic_ns() / 1000u;
}

uint64_t clock_wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* The calendar ends with the year 9999: beyond it gmtime_r may fail, and leaves nothing. */
static void broken_down(uint64_t wall_s, struct tm *out)
{
	time_t seconds = wall_s < LAST_SECOND ? (time_t)wall_s : (time_t)LAST_SECOND;

	gmtime_r(&seconds, out);
}

const char *clock_format_rfc3339(uint64_t wall_ms, char text[CLOCK_TEXT_MAX])
{
	struct tm tm;

	broken_down(wall_ms / 1000, &tm);
	size_t len = strftime(text, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, CLOCK_TEXT_MAX - len, ".%03uZ", (unsigned)(wall_ms % 1000));
	return text;
}

const char *clock_format_second(uint64_t wall_s, char text[CLOCK_TEXT_MAX])
{
	struct tm tm;

	broken_down(wall_s, &tm);
	strftime(text, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text;
}

const char *clock_format_rfc5322(uint64_t wall_ms, char text[CLOCK_TEXT_MAX])
{
	/* Not %a and %b: those follow the locale. */
	static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[12][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	struct tm tm;

	broken_down(wall_ms / 1000, &tm);
	snprintf(text, CLOCK_TEXT_MAX, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday],
		tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return text;
}
