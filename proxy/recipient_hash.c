/* SPDX-License-Identifier: ISC */
/* The hashes of a message's recipients; see recipient_hash.h. */
#include "proxy/recipient_hash.h"

#include "common/ipc.h"
#include "common/log.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 8 };

uint64_t recipient_hash(uint64_t account, const char *address, size_t len)
{
	uint8_t input[sizeof account + IPC_PATH_MAX];
	uint8_t output[crypto_generichash_BYTES_MIN];
	uint64_t hash = 0;

	require(len <= IPC_PATH_MAX);
	for (size_t i = 0; i < sizeof account; i++)
		input[i] = (uint8_t)(account >> (8 * i));
	for (size_t i = 0; i < len; i++) {
		uint8_t octet = (uint8_t)address[i];
		bool upper = octet >= 'A' && octet <= 'Z';
		input[sizeof account + i] = upper ? (uint8_t)(octet - 'A' + 'a') : octet;
	}
	crypto_generichash(output, sizeof output, input, sizeof account + len, NULL, 0);
	for (size_t i = 0; i < sizeof hash; i++)
		hash |= (uint64_t)output[i] << (8 * i);
	return hash;
}

/* Makes room for one more: what was refused leaves a gap before those whose reply is owed. */
static bool make_room(struct recipient_hashes *hashes)
{
	size_t owed = hashes->count - hashes->answered;

	if (hashes->answered > hashes->accepted) {
		memmove(hashes->hash + hashes->accepted, hashes->hash + hashes->answered,
			owed * sizeof *hashes->hash);
		hashes->answered = hashes->accepted;
		hashes->count = hashes->accepted + owed;
		return true;
	}
	size_t room = hashes->room == 0 ? ROOM_MIN : hashes->room * 2;
	uint64_t *hash = reallocarray(hashes->hash, room, sizeof *hash);
	if (hash == NULL)
		return false;
	hashes->hash = hash;
	hashes->room = room;
	return true;
}

bool recipient_hashes_add(struct recipient_hashes *hashes, uint64_t hash)
{
	if (hashes->count == hashes->room && !make_room(hashes))
		return false;
	hashes->hash[hashes->count++] = hash;
	return true;
}

void recipient_hashes_answer(struct recipient_hashes *hashes, bool accepted)
{
	require(hashes->answered < hashes->count);
	uint64_t hash = hashes->hash[hashes->answered++];
	if (accepted)
		hashes->hash[hashes->accepted++] = hash;
}

size_t recipient_hashes_size(const struct recipient_hashes *hashes)
{
	return hashes->room * sizeof *hashes->hash;
}

void recipient_hashes_free(struct recipient_hashes *hashes)
{
	free(hashes->hash);
	*hashes = (struct recipient_hashes){.counted = hashes->counted};
}
