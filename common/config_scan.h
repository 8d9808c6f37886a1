/* SPDX-License-Identifier: ISC */
/*
 * The words and marks of a configuration file with their lines, by the same rules as libconfuse's
 * lexer but without its silences: what that one swallows (control octets, an open quote at the end,
 * octal escapes, "+=", "${...}") is a problem here.  For the files config*.c only.
 */
#ifndef COMMON_CONFIG_SCAN_H
#define COMMON_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum scan_kind {
	SCAN_END,
	SCAN_WORD,
	SCAN_OPEN,
	SCAN_CLOSE,
	SCAN_EQUALS,
	SCAN_COMMA,
	SCAN_BAD, /* see problem; nothing follows */
};

struct scan_token {
	enum scan_kind kind;
	unsigned line;
	size_t at, len; /* in the text, with the quotes */
	bool quoted;
};

struct scan {
	const char *text;
	size_t len, at;
	unsigned line;
	const char *problem; /* after BAD: what is wrong and what to do */
};

void scan_begin(struct scan *scan, const char *text, size_t len);
struct scan_token scan_next(struct scan *scan);

/* The word without quotes and escapes, to be freed; NULL: out of memory. */
char *scan_decode(const char *text, const struct scan_token *word);

#endif
