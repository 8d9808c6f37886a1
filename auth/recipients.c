/* SPDX-License-Identifier: ISC */
/* Recipients of a message; see recipients.h. */
#include "auth/recipients.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 16 };

bool recipients_add(struct recipients **pointer, const uint64_t *hash, size_t count, size_t max)
{
	struct recipients *recipients = *pointer;
	uint32_t have = recipients == NULL ? 0 : recipients->count;
	size_t room = recipients == NULL ? 0 : recipients->room, wanted = room;

	require(recipients == NULL || recipients->references == 1);
	if (max > RECIPIENTS_MAX)
		max = RECIPIENTS_MAX;
	if (count > max || have > max - count)
		return false;
	while (wanted < have + count)
		wanted = wanted == 0 ? ROOM_MIN : 2 * wanted;
	if (recipients == NULL || wanted > room) {
		recipients = realloc(recipients, sizeof *recipients + wanted * sizeof *hash);
		if (recipients == NULL)
			return false;
		recipients->references = 1;
		recipients->count = have;
		recipients->room = (uint32_t)wanted;
		*pointer = recipients;
	}
	memcpy(recipients->hash + have, hash, count * sizeof *hash);
	recipients->count = have + (uint32_t)count;
	return true;
}

struct recipients *recipients_ref(struct recipients *recipients)
{
	if (recipients != NULL)
		recipients->references++;
	return recipients;
}

void recipients_unref(struct recipients **pointer)
{
	struct recipients *recipients = *pointer;

	*pointer = NULL;
	if (recipients != NULL && --recipients->references == 0)
		free(recipients);
}
