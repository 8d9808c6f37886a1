/* SPDX-License-Identifier: ISC */
/* Words and marks of a configuration file; see config_scan.h. */
#include "common/config_scan.h"

#include <stdlib.h>
#include <string.h>

void scan_begin(struct scan *scan, const char *text, size_t len)
{
	*scan = (struct scan){.text = text, .len = len, .line = 1, .problem = ""};
}

/* The octet ahead; 0 at the end (a NUL in the file is found by itself). */
static char peek(const struct scan *scan, size_t ahead)
{
	return scan->at + ahead < scan->len ? scan->text[scan->at + ahead] : '\0';
}

static bool is_control(char octet)
{
	return (unsigned char)octet < 0x20 || octet == 0x7f;
}

static struct scan_token bad(struct scan *scan, unsigned line, const char *problem)
{
	scan->problem = problem;
	scan->at = scan->len;
	return (struct scan_token){.kind = SCAN_BAD, .line = line};
}

static void skip_line(struct scan *scan)
{
	while (scan->at < scan->len && peek(scan, 0) != '\n')
		scan->at++;
}

static bool skip_block_comment(struct scan *scan)
{
	unsigned opened = scan->line;

	for (scan->at += 2; scan->at < scan->len; scan->at++) {
		if (peek(scan, 0) == '\n')
			scan->line++;
		if (peek(scan, 0) == '*' && peek(scan, 1) == '/') {
			scan->at += 2;
			return true;
		}
	}
	scan->line = opened; /* where the complaint belongs */
	return false;
}

/* White space and comments; false: a comment has no end. */
static bool skip_blank(struct scan *scan)
{
	for (;;) {
		char octet = peek(scan, 0);
		if (scan->at == scan->len)
			return true;
		if (octet == '#' || (octet == '/' && peek(scan, 1) == '/')) {
			skip_line(scan);
		} else if (octet == '/' && peek(scan, 1) == '*') {
			if (!skip_block_comment(scan))
				return false;
		} else if (octet == '\n') {
			scan->line++;
			scan->at++;
		} else if (octet == ' ' || octet == '\t' || octet == '\r') {
			scan->at++;
		} else {
			return true;
		}
	}
}

static struct scan_token quoted_word(struct scan *scan)
{
	char quote = peek(scan, 0);
	size_t start = scan->at++;

	for (; scan->at < scan->len && !is_control(peek(scan, 0)); scan->at++) {
		char octet = peek(scan, 0), next = peek(scan, 1);
		if (octet == quote) {
			scan->at++;
			return (struct scan_token){.kind = SCAN_WORD,
				.line = scan->line,
				.at = start,
				.len = scan->at - start,
				.quoted = true};
		}
		if (octet == '\\' &&
			(next == '\\' || next == quote || (quote == '"' && next == '$')))
			scan->at++;
		else if (octet == '\\' && quote == '"')
			return bad(scan, scan->line,
				"unknown escape in quotes; write \\\\ for one backslash");
		else if (octet == '$' && next == '{' && quote == '"')
			return bad(scan, scan->line,
				"variables are not expanded here; write \\${ for the characters");
	}
	if (scan->at < scan->len && peek(scan, 0) != '\n')
		return bad(scan, scan->line, "a control character in quotes; remove it");
	return bad(scan, scan->line, "a quote is not closed on its line; close it");
}

static bool ends_word(const struct scan *scan)
{
	char octet = peek(scan, 0);

	return scan->at == scan->len || is_control(octet) || strchr(" #\"'{}()=+,", octet) != NULL;
}

static struct scan_token bare_word(struct scan *scan)
{
	size_t start = scan->at;

	for (; !ends_word(scan); scan->at++) {
		if (peek(scan, 0) == ';')
			return bad(scan, scan->line,
				"';' separates nothing here; put each option on a line of its own");
		if (peek(scan, 0) == '$' && peek(scan, 1) == '{')
			return bad(scan, scan->line,
				"variables are not expanded here; write the value itself");
		/* libconfuse takes it for a part of the word. */
		if (peek(scan, 0) == '/' && (peek(scan, 1) == '/' || peek(scan, 1) == '*'))
			return bad(scan, scan->line,
				"a comment within a word; put a space before it, or the word in "
				"quotes");
		if (peek(scan, 0) == '\\' || peek(scan, 0) == '*')
			return bad(scan, scan->line, "put this word in quotes");
	}
	return (struct scan_token){
		.kind = SCAN_WORD, .line = scan->line, .at = start, .len = scan->at - start};
}

struct scan_token scan_next(struct scan *scan)
{
	static const char marks[] = "{}=,";
	static const enum scan_kind kinds[] = {SCAN_OPEN, SCAN_CLOSE, SCAN_EQUALS, SCAN_COMMA};

	if (!skip_blank(scan))
		return bad(scan, scan->line, "a comment that begins with /* is not closed; add */");
	if (scan->at == scan->len)
		return (struct scan_token){.kind = SCAN_END, .line = scan->line};
	char octet = peek(scan, 0);
	const char *mark = octet == '\0' ? NULL : strchr(marks, octet);
	if (mark != NULL) {
		return (struct scan_token){.kind = kinds[mark - marks],
			.line = scan->line,
			.at = scan->at++,
			.len = 1};
	}
	if (octet == '"' || octet == '\'')
		return quoted_word(scan);
	if (is_control(octet))
		return bad(scan, scan->line, "a control character; remove it");
	if (octet == '+')
		return bad(scan, scan->line, "'+' outside of quotes; write one list, with '='");
	if (octet == '(' || octet == ')')
		return bad(scan, scan->line,
			"a parenthesis outside of quotes; there are no functions");
	return bare_word(scan);
}

char *scan_decode(const char *text, const struct scan_token *word)
{
	const char *from = text + word->at, *end = from + word->len;
	char *out = malloc(word->len + 1), *to = out;
	char quote = '\0';

	if (out == NULL)
		return NULL;
	if (word->quoted) {
		quote = *from++;
		end--;
	}
	while (from < end) {
		if (word->quoted && *from == '\\' &&
			(quote == '"' || from[1] == '\\' || from[1] == quote))
			from++;
		*to++ = *from++;
	}
	*to = '\0';
	return out;
}
