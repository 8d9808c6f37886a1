/* SPDX-License-Identifier: ISC */
/* Random ids and their text; see id.h.  libsodium must be initialised. */
#include "common/id.h"

#include <sodium.h>
#include <string.h>

enum { ID_DIGITS = ID_TEXT_MAX - 1, ID_BITS = 60 };

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

uint64_t id_new(void)
{
	uint64_t id;

	do {
		randombytes_buf(&id, sizeof id);
		id &= (UINT64_C(1) << ID_BITS) - 1;
	} while (id == 0);
	return id;
}

const char *id_format(uint64_t id, char text[ID_TEXT_MAX])
{
	for (int i = 0; i < ID_DIGITS; i++)
		text[i] = alphabet[(id >> (ID_BITS - 5 * (i + 1))) & 31];
	text[ID_DIGITS] = '\0';
	return text;
}

bool id_parse(const char *text, uint64_t *id_out)
{
	uint64_t id = 0;

	if (strlen(text) != ID_DIGITS)
		return false;
	for (int i = 0; i < ID_DIGITS; i++) {
		const char *digit = strchr(alphabet, text[i]);
		if (digit == NULL)
			return false;
		id = id << 5 | (uint64_t)(digit - alphabet);
	}
	*id_out = id;
	return true;
}
