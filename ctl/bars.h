/* SPDX-License-Identifier: ISC */
/*
 * Bars that show how full a meter is, and amounts and times as people read them.  Knows terminals,
 * and nothing of limits.
 */
#ifndef CTL_BARS_H
#define CTL_BARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { BARS_TEXT_MAX = 24, BARS_WIDTH_LEAST = 8, BARS_WIDTH_MOST = 40 };

struct bars_style {
	bool blocks; /* UTF-8's, else # and . */
	bool colour;
	size_t columns; /* of the terminal */
};

/*
 * How standard output is to be drawn on: blocks when the locale is UTF-8, colour unless NO_COLOR is
 * set (to anything; no-color.org) or TERM is dumb.  false: it is no terminal, draw nothing.
 */
bool bars_style(struct bars_style *style) __attribute__((warn_unused_result));

/*
 * Writes a bar of width columns: empty only when nothing is used, full only when used reaches
 * limit (0: full).  Green, yellow from warn_percent on, red when full.
 */
void bars_draw(FILE *to, const struct bars_style *style, size_t width, uint64_t used,
	uint64_t limit, unsigned warn_percent);

/* How many percent of limit are used, rounded down; 100 of a limit of 0. */
unsigned long bars_percent(uint64_t used, uint64_t limit);

/* "1.5 GiB" of octets, rounded down to a tenth. */
void bars_octets(uint64_t octets, char out[BARS_TEXT_MAX]);

/* "40 s", "12 min", "3 h", "20 d": rounded up, for what has not been waited out is not over. */
void bars_time(uint64_t seconds, char out[BARS_TEXT_MAX]);

#endif
