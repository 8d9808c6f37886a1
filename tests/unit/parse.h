/* SPDX-License-Identifier: ISC */
/*
 * Runs one case of an incremental parser in every way its octets can arrive: whole, in two pieces
 * split at each octet, and octet by octet.  Every piece is a heap block of exactly its size, so
 * that a sanitizer sees an access outside of it.
 */
#ifndef TESTS_UNIT_PARSE_H
#define TESTS_UNIT_PARSE_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parse_case {
	void *context;
	void (*begin)(void *context); /* a fresh parser */
	void (*feed)(void *context, const char *bytes, size_t len);
	void (*end)(void *context, const char *how); /* compares; how: "whole", "split at 3", ... */
};

/* A heap copy of exactly len octets (of 1, if len is 0); the caller frees it. */
static inline char *parse_exact(const char *bytes, size_t len)
{
	char *copy = calloc(1, len > 0 ? len : 1);

	if (copy == NULL)
		abort();
	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

static inline void parse_piece(const struct parse_case *c, const char *bytes, size_t len)
{
	char *copy = parse_exact(bytes, len);

	c->feed(c->context, copy, len);
	free(copy);
}

static inline void parse_every_way(const struct parse_case *c, const char *bytes, size_t len)
{
	char how[40];

	c->begin(c->context);
	parse_piece(c, bytes, len);
	c->end(c->context, "whole");
	for (size_t at = 1; at < len; at++) {
		c->begin(c->context);
		parse_piece(c, bytes, at);
		parse_piece(c, bytes + at, len - at);
		snprintf(how, sizeof(how), "split at %zu", at);
		c->end(c->context, how);
	}
	c->begin(c->context);
	for (size_t at = 0; at < len; at++)
		parse_piece(c, bytes + at, 1);
	c->end(c->context, "octet by octet");
}

/* Printable form of octets for messages, "\r\n" and "\x00" escaped; cut at the end of out. */
static inline const char *parse_show(const char *bytes, size_t len, char *out, size_t room)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < len && room - at > 5; i++) {
		unsigned char c = (unsigned char)bytes[i];
		int n;

		if (c == '\r' || c == '\n')
			n = snprintf(out + at, room - at, "\\%c", c == '\r' ? 'r' : 'n');
		else if (c >= ' ' && c <= '~' && c != '\\')
			n = snprintf(out + at, room - at, "%c", c);
		else
			n = snprintf(out + at, room - at, "\\x%02x", c);
		at += n > 0 ? (size_t)n : 0;
	}
	return out;
}

#endif
