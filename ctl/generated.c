/* SPDX-License-Identifier: ISC */
/* See generated.h. */
#include "ctl/generated.h"

#include <string.h>

enum { ID_BEGIN = 4, ID_END = 16, SECRET_BEGIN = 17, WHOLE = 49 };

static bool letters(const uint8_t *text, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		if (!(text[i] >= 'a' && text[i] <= 'z') && !(text[i] >= '2' && text[i] <= '7'))
			return false;
	}
	return true;
}

bool generated_form(const uint8_t *secret, size_t len)
{
	return len == WHOLE && memcmp(secret, "pst_", ID_BEGIN) == 0 && secret[ID_END] == '_' &&
	       letters(secret, ID_BEGIN, ID_END) && letters(secret, SECRET_BEGIN, WHOLE);
}
