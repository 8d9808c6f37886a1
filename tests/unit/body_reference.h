/* SPDX-License-Identifier: ISC */
/*
 * What body.h promises, written the slow and obvious way over a whole message in memory: find the
 * end, cut at each LF, decide each line by itself.  The unit test and the fuzzer compare body.c
 * with it.
 */
#ifndef TESTS_UNIT_BODY_REFERENCE_H
#define TESTS_UNIT_BODY_REFERENCE_H

#include "proxy/body.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct body_reference {
	bool ended, saw_nul, saw_bare;
	size_t consumed;   /* when ended */
	uint64_t bytes_in; /* likewise */
	char *out;         /* the caller frees it */
	size_t out_len;
};

/* Where the message ends: before a ".\r\n" at the start of a true line.  len: nowhere. */
static inline size_t body_reference_end(const char *bytes, size_t len)
{
	for (size_t i = 0; i + 3 <= len; i++) {
		bool starts = i == 0 || (i >= 2 && memcmp(bytes + i - 2, "\r\n", 2) == 0);

		if (starts && memcmp(bytes + i, ".\r\n", 3) == 0)
			return i;
	}
	return len;
}

static inline void body_reference_add(struct body_reference *ref, const char *bytes, size_t len)
{
	memcpy(ref->out + ref->out_len, bytes, len);
	ref->out_len += len;
}

/* One line's text without its LF; with_lf: there was one; true_start: CR LF stood before the line.
 */
static inline bool body_reference_line(
	struct body_reference *ref, const char *text, size_t len, bool with_lf, bool true_start)
{
	size_t crs = 0, content;

	while (with_lf && crs < len && crs < BODY_HELD_MAX && text[len - 1 - crs] == '\r')
		crs++;
	content = len - crs;
	if (content > 0 && text[0] == '.' && (!true_start || (content == 1 && with_lf)))
		body_reference_add(ref, ".", 1);
	for (size_t i = 0; i < content; i++)
		body_reference_add(ref, text[i] == '\r' ? " " : &text[i], 1);
	if (with_lf)
		body_reference_add(ref, "\r\n", 2);
	return crs > 0;
}

static inline bool body_reference_bare(const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n' && (i == 0 || bytes[i - 1] != '\r'))
			return true;
		if (bytes[i] == '\r' && (i + 1 == len || bytes[i + 1] != '\n'))
			return true;
	}
	return false;
}

/* bytes holds an end of data somewhere, or nothing but ended is meaningful. */
static inline struct body_reference body_reference(const char *bytes, size_t len)
{
	struct body_reference ref = {.ended = false};
	size_t end = body_reference_end(bytes, len), at = 0;
	const char *nul;
	bool true_start = true;

	ref.out = malloc(2 * len + 1);
	if (ref.out == NULL)
		abort();
	ref.ended = end < len;
	if (!ref.ended)
		return ref;
	ref.consumed = end + 3;
	ref.bytes_in = end;
	ref.saw_bare = body_reference_bare(bytes, end);
	nul = end > 0 ? memchr(bytes, '\0', end) : NULL;
	ref.saw_nul = nul != NULL;
	if (nul != NULL)
		end = (size_t)(nul - bytes);
	while (at < end) {
		const char *lf = memchr(bytes + at, '\n', end - at);
		size_t line = lf != NULL ? (size_t)(lf - bytes) - at : end - at;

		true_start = body_reference_line(&ref, bytes + at, line, lf != NULL, true_start);
		at += line + (lf != NULL);
	}
	return ref;
}

/* One line of chunks: no dot is the client's stuffing, and at the end a line end is made. */
static inline void body_reference_chunk_line(
	struct body_reference *ref, const char *text, size_t len, bool with_lf, bool stuff)
{
	size_t crs = 0, content;

	while (crs < len && crs < BODY_HELD_MAX && text[len - 1 - crs] == '\r')
		crs++;
	content = len - crs;
	if (stuff && content > 0 && text[0] == '.')
		body_reference_add(ref, ".", 1);
	for (size_t i = 0; i < content; i++)
		body_reference_add(ref, text[i] == '\r' ? " " : &text[i], 1);
	if (with_lf || len > 0)
		body_reference_add(ref, "\r\n", 2);
}

/* The same of a whole message in chunks, whose end is known. */
static inline struct body_reference body_reference_chunks(
	const char *bytes, size_t len, enum body_mode mode)
{
	struct body_reference ref = {.ended = true, .consumed = len, .bytes_in = len};
	const char *nul = len > 0 ? memchr(bytes, '\0', len) : NULL;
	size_t end = len;

	ref.out = malloc(2 * len + 3);
	if (ref.out == NULL)
		abort();
	if (mode == BODY_BINARY) {
		body_reference_add(&ref, bytes, len);
		return ref;
	}
	ref.saw_bare = body_reference_bare(bytes, len);
	ref.saw_nul = nul != NULL;
	if (nul != NULL)
		end = (size_t)(nul - bytes);
	for (size_t at = 0; at < end;) {
		const char *lf = memchr(bytes + at, '\n', end - at);
		size_t line = lf != NULL ? (size_t)(lf - bytes) - at : end - at;

		body_reference_chunk_line(
			&ref, bytes + at, line, lf != NULL, mode == BODY_CHUNKS_TO_DATA);
		at += line + (lf != NULL);
	}
	return ref;
}

/* What no input may break: no CR, LF or NUL by itself, and no line of one dot. */
static inline bool body_reference_safe(const char *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool starts = i == 0 || out[i - 1] == '\n';

		if (out[i] == '\0')
			return false;
		if (out[i] == '\r' && (i + 1 == len || out[i + 1] != '\n'))
			return false;
		if (out[i] == '\n' && (i == 0 || out[i - 1] != '\r'))
			return false;
		if (starts && len - i >= 3 && memcmp(out + i, ".\r\n", 3) == 0)
			return false;
	}
	return true;
}

#endif
