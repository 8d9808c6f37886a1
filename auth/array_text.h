/* SPDX-License-Identifier: ISC */
/*
 * Arrays as PostgreSQL reads them from text: {1,2} and {"a","b"}.
 *
 * Owns the quoting: whatever stands in an element stays one element.  What cannot be text of the
 * database (NUL, octets that are no UTF-8) is the caller's to keep out: array_text_valid().
 */
#ifndef AUTH_ARRAY_TEXT_H
#define AUTH_ARRAY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ARRAY_TEXT_MAX = 8 * 1024 * 1024 }; /* octets of one array */

struct array_text {
	char *text; /* with a NUL, once it is ended */
	size_t len, room;
	bool failed; /* out of memory, or too long */
};

/* Zeroed memory is an empty one; each number or text is one more element. */
void array_text_number(struct array_text *array, int64_t number);
void array_text_bytes(struct array_text *array, const char *bytes, size_t len);

/* The whole of it, the array's own; NULL: failed.  Nothing may be added afterwards. */
const char *array_text_end(struct array_text *array) __attribute__((warn_unused_result));
void array_text_free(struct array_text *array);

/* Whether the database takes it as text: UTF-8 (RFC 3629 4) without NUL. */
bool array_text_valid(const uint8_t *bytes, size_t len);

#endif
