/* SPDX-License-Identifier: ISC */
/*
 * A naive reader of messages, written apart from proxy/: what a backend would find as the authors
 * of the message that it was sent.  Takes the stuffing off, cuts at LF, looks for lines that begin
 * like From, and for addresses by angle brackets and commas.
 */
#ifndef TESTS_UNIT_HEADER_READER_H
#define TESTS_UNIT_HEADER_READER_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { READER_ADDRESSES_MAX = 40 };

struct reader {
	unsigned froms;     /* fields */
	unsigned stripped;  /* fields that must not be there */
	bool bad_lines;     /* bare CR or LF in the header */
	bool bad_stuffing;  /* a line of one dot, or of a dot that stuffs nothing */
	size_t body;        /* where the body begins in what was given; its length: no empty line */
	bool more;          /* addresses than are here */
	unsigned addresses; /* in the From fields */
	char *address[READER_ADDRESSES_MAX];
};

static inline void reader_free(struct reader *reader)
{
	for (unsigned i = 0; i < reader->addresses; i++)
		free(reader->address[i]);
}

static inline void reader_add(struct reader *reader, const char *text, size_t len)
{
	while (len > 0 && strchr(" \t\r\n", text[0]) != NULL) {
		text++;
		len--;
	}
	while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
		len--;
	if (len == 0)
		return;
	if (reader->addresses == READER_ADDRESSES_MAX) {
		reader->more = true;
		return;
	}
	reader->address[reader->addresses++] = strndup(text, len);
}

/* Behind white space and comments. */
static inline size_t reader_skip(const char *value, size_t len, size_t at)
{
	size_t depth = 0;

	for (; at < len; at++) {
		char c = value[at];

		if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (c == '\\' && depth > 0)
			at++;
		else if (depth == 0 && (c == '\0' || strchr(" \t\r\n", c) == NULL))
			break;
	}
	return at;
}

/* The value without comments, and without quoted strings that are no local part. */
static inline size_t reader_reduce(const char *value, size_t len, char *out)
{
	size_t kept = 0, at;

	for (at = reader_skip(value, len, 0); at < len; at = reader_skip(value, len, at)) {
		size_t from = at++, after;

		if (value[from] != '"') {
			out[kept++] = value[from];
			continue;
		}
		while (at < len && value[at] != '"')
			at += value[at] == '\\' ? 2 : 1;
		after = reader_skip(value, len, ++at);
		if (after < len && value[after] == '@') {
			memcpy(out + kept, value + from + 1, at - from - 2);
			kept += at - from - 2;
		}
	}
	return kept;
}

static inline void reader_element(struct reader *reader, const char *text, size_t len)
{
	const char *open = memrchr(text, '<', len), *colon, *close;

	if (open != NULL) {
		open++;
		close = memchr(open, '>', len - (size_t)(open - text));
		reader_add(reader, open,
			close == NULL ? len - (size_t)(open - text) : (size_t)(close - open));
		return;
	}
	close = memchr(text, '[', len); /* a literal may hold colons */
	colon = memrchr(text, ':', close == NULL ? len : (size_t)(close - text)); /* a group's */
	if (colon != NULL) {
		len -= (size_t)(colon + 1 - text);
		text = colon + 1;
	}
	reader_add(reader, text, len);
}

static inline void reader_value(struct reader *reader, const char *value, size_t len)
{
	char *reduced = malloc(len + 1);
	size_t from = 0;

	if (reduced == NULL)
		abort();
	len = reader_reduce(value, len, reduced);
	for (size_t at = 0; at <= len; at++) {
		if (at < len && reduced[at] != ',' && reduced[at] != ';')
			continue;
		reader_element(reader, reduced + from, at - from);
		from = at + 1;
	}
	free(reduced);
}

/* Whether the line is a field of that name; where its value begins. */
static inline bool reader_is(const char *line, size_t len, const char *name, size_t *value)
{
	size_t at = strlen(name);

	if (len < at || strncasecmp(line, name, at) != 0)
		return false;
	while (at < len && (line[at] == ' ' || line[at] == '\t'))
		at++;
	if (at == len || line[at] != ':')
		return false;
	*value = at + 1;
	return true;
}

/* One field, its folds and its last line end included. */
static inline void reader_field(struct reader *reader, const char *field, size_t len)
{
	size_t value;

	reader->stripped += reader_is(field, len, "Authentication-Results", &value);
	reader->stripped += len > 10 && strncasecmp(field, "X-Postern-", 10) == 0;
	if (!reader_is(field, len, "From", &value))
		return;
	reader->froms++;
	reader_value(reader, field + value, len - value);
}

/* message is as it goes over the wire, stuffed or not. */
static inline struct reader reader_read(const char *message, size_t len, bool stuffed)
{
	struct reader reader = {.body = len};
	char *field = malloc(len + 1);
	size_t field_len = 0, at = 0;

	if (field == NULL)
		abort();
	while (at < len) {
		const char *line = message + at;
		const char *lf = memchr(line, '\n', len - at);
		size_t line_len = lf == NULL ? len - at : (size_t)(lf + 1 - line);
		const char *cr = memchr(line, '\r', line_len);

		at += line_len;
		if (lf == NULL || cr == NULL || cr + 1 != lf)
			reader.bad_lines = true;
		if (stuffed && line[0] == '.') {
			reader.bad_stuffing |= line_len < 2 || line[1] != '.';
			line++;
			line_len--;
		}
		if (line_len > 0 && (line[0] == '\r' || line[0] == '\n')) {
			reader.body = at;
			break;
		}
		if (line_len > 0 && line[0] != ' ' && line[0] != '\t') {
			reader_field(&reader, field, field_len);
			field_len = 0;
		}
		memcpy(field + field_len, line, line_len);
		field_len += line_len;
	}
	reader_field(&reader, field, field_len);
	free(field);
	return reader;
}

#endif
