/* SPDX-License-Identifier: ISC */
/*
 * Time.  Deadlines and limits use the monotonic clock, logs and trace lines UTC (children live in a
 * chroot without a time zone).  Pure but for the two clocks; any process.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

enum { CLOCK_TEXT_MAX = 40 };

uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_us(void);
uint64_t clock_wall_ms(void); /* since 1970, UTC */

/* "2026-11-25T02:14:25.123Z"; returns text. */
const char *clock_format_rfc3339(uint64_t wall_ms, char text[CLOCK_TEXT_MAX]);

/* "2026-11-25T02:14:25Z", whole seconds; for people. */
const char *clock_format_second(uint64_t wall_s, char text[CLOCK_TEXT_MAX]);

/* "Wed, 25 Nov 2026 02:14:25 +0000" (RFC 5322 3.3); returns text. */
const char *clock_format_rfc5322(uint64_t wall_ms, char text[CLOCK_TEXT_MAX]);

#endif
