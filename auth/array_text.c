/* SPDX-License-Identifier: ISC */
/* Arrays in text; see array_text.h. */
#include "auth/array_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 256, NUMBER_MAX = 24 };

/* Room for so many octets and a NUL. */
static bool reserve(struct array_text *array, size_t more)
{
	size_t room = array->room == 0 ? ROOM_MIN : array->room;

	if (array->failed || more > ARRAY_TEXT_MAX || array->len + more + 1 > ARRAY_TEXT_MAX) {
		array->failed = true;
		return false;
	}
	while (room < array->len + more + 1)
		room *= 2;
	if (room == array->room)
		return true;
	char *text = realloc(array->text, room);
	if (text == NULL) {
		array->failed = true;
		return false;
	}
	array->text = text;
	array->room = room;
	return true;
}

static void put(struct array_text *array, char octet)
{
	array->text[array->len++] = octet;
}

static void separate(struct array_text *array)
{
	put(array, array->len == 0 ? '{' : ',');
}

void array_text_number(struct array_text *array, int64_t number)
{
	char text[NUMBER_MAX];
	size_t len = (size_t)snprintf(text, sizeof text, "%" PRId64, number);

	if (!reserve(array, 1 + len))
		return;
	separate(array);
	memcpy(array->text + array->len, text, len);
	array->len += len;
}

void array_text_bytes(struct array_text *array, const char *bytes, size_t len)
{
	if (len > ARRAY_TEXT_MAX || !reserve(array, 3 + 2 * len)) {
		array->failed = true;
		return;
	}
	separate(array);
	put(array, '"');
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '"' || bytes[i] == '\\')
			put(array, '\\');
		put(array, bytes[i]);
	}
	put(array, '"');
}

const char *array_text_end(struct array_text *array)
{
	if (!reserve(array, 2))
		return NULL;
	if (array->len == 0)
		put(array, '{');
	put(array, '}');
	array->text[array->len] = '\0';
	return array->text;
}

void array_text_free(struct array_text *array)
{
	free(array->text);
	*array = (struct array_text){0};
}

/* -------------------------------------------------------------------- UTF-8 */
/* How many octets follow the first one; -1: it begins nothing.  *least_out: the lowest that the
 * second may be, *most_out likewise: no long forms, no surrogates, nothing above U+10FFFF. */
static int follow_count(uint8_t first, uint8_t *least_out, uint8_t *most_out)
{
	*least_out = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	*most_out = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	if (first < 0x80)
		return 0;
	if (first >= 0xc2 && first <= 0xdf)
		return 1;
	if (first >= 0xe0 && first <= 0xef)
		return 2;
	return first >= 0xf0 && first <= 0xf4 ? 3 : -1;
}

bool array_text_valid(const uint8_t *bytes, size_t len)
{
	uint8_t least, most;

	for (size_t i = 0; i < len;) {
		int more = follow_count(bytes[i], &least, &most);
		if (bytes[i] == 0 || more == -1 || len - i - 1 < (size_t)more)
			return false;
		i++;
		for (; more > 0; more--, i++) {
			if (bytes[i] < least || bytes[i] > most)
				return false;
			least = 0x80;
			most = 0xbf;
		}
	}
	return true;
}
