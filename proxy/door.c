/* SPDX-License-Identifier: ISC */
/*
 * Counting at the door; see door.h.  The key of a prefix is a keyed hash of it (SipHash, a fresh
 * key a process), so that nobody can choose addresses that collide; both counts of a prefix stand
 * in the pointer that the map keeps.
 */
#include "proxy/door.h"

#include "common/idmap.h"
#include "common/log.h"
#include "common/network.h"

#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>

enum { BLOCKS_MAX = 8192 }; /* auth tells half as many */

struct counts {
	uint32_t sessions, strangers;
};
_Static_assert(sizeof(struct counts) <= sizeof(void *), "both counts fit a pointer");

TAILQ_HEAD(line, door_place);

struct door {
	const struct config_limits_set *limits;
	struct idmap *prefixes;
	struct line strangers;
	size_t stranger_count;
	struct network_set *blocks, *next_blocks; /* NULL: none; no list is being told */
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

struct door *door_new(const struct config_limits_set *limits)
{
	struct door *door = calloc(1, sizeof *door);

	if (door == NULL)
		return NULL;
	door->limits = limits;
	door->prefixes = idmap_new();
	if (door->prefixes == NULL) {
		free(door);
		return NULL;
	}
	TAILQ_INIT(&door->strangers);
	crypto_shorthash_keygen(door->hash_key);
	return door;
}

void door_free(struct door **door)
{
	if (*door == NULL)
		return;
	idmap_destroy(&(*door)->prefixes);
	network_set_destroy(&(*door)->blocks);
	network_set_destroy(&(*door)->next_blocks);
	free(*door);
	*door = NULL;
}

static uint64_t key_of(const struct door *door, const struct address *client)
{
	struct address_key key =
		address_prefix(client, door->limits->prefix_v4, door->limits->prefix_v6);
	uint64_t hash;

	_Static_assert(sizeof hash == crypto_shorthash_BYTES, "a hash is an id");
	crypto_shorthash((uint8_t *)&hash, key.bytes, sizeof key.bytes, door->hash_key);
	return hash;
}

static struct counts unpack(const void *value)
{
	uintptr_t bits = (uintptr_t)value;

	return (struct counts){(uint32_t)(bits >> 32), (uint32_t)bits};
}

static bool store(struct door *door, uint64_t key, struct counts counts)
{
	uintptr_t bits = (uintptr_t)counts.sessions << 32 | counts.strangers;

	idmap_take(door->prefixes, key);
	return bits == 0 || idmap_put(door->prefixes, key, (void *)bits);
}

void door_block(struct door *door, const struct ipc_block *block, uint64_t now_ms)
{
	const struct network network = {.key = block->network, .bits = block->bits};

	switch ((enum ipc_block_step)block->step) {
	case IPC_BLOCK_BEGIN:
		network_set_destroy(&door->next_blocks);
		door->next_blocks = network_set_new(BLOCKS_MAX);
		break;
	case IPC_BLOCK_NETWORK:
		if (door->next_blocks != NULL)
			(void)network_set_add(door->next_blocks, &network, now_ms + block->for_ms);
		break;
	case IPC_BLOCK_END:
		if (door->next_blocks == NULL)
			break;
		network_set_destroy(&door->blocks);
		door->blocks = door->next_blocks;
		door->next_blocks = NULL;
		break;
	}
}

bool door_blocks(struct door *door, const struct address *client, uint64_t now_ms)
{
	struct address_key key = address_prefix(client, 32, 128);

	return door->blocks != NULL && network_set_has(door->blocks, &key, now_ms);
}

enum door_verdict door_ask(struct door *door, const struct address *client, uint64_t now_ms)
{
	if (door_blocks(door, client, now_ms))
		return DOOR_BLOCKED;
	struct counts counts = unpack(idmap_get(door->prefixes, key_of(door, client)));

	if (counts.sessions >= door->limits->connections_per_prefix)
		return DOOR_CONNECTIONS;
	if (counts.strangers >= door->limits->unauthenticated_per_prefix)
		return DOOR_STRANGERS;
	return DOOR_OPEN;
}

bool door_enter(struct door *door, const struct address *client, struct door_place *place)
{
	uint64_t key = key_of(door, client);
	struct counts counts = unpack(idmap_get(door->prefixes, key));

	require(!place->inside);
	counts.sessions++;
	counts.strangers++;
	if (!store(door, key, counts))
		return false;
	place->inside = place->stranger = true;
	door->stranger_count++;
	TAILQ_INSERT_TAIL(&door->strangers, place, entry);
	return true;
}

static void no_stranger(struct door *door, struct door_place *place, struct counts *counts)
{
	if (!place->stranger)
		return;
	place->stranger = false;
	counts->strangers -= counts->strangers > 0;
	door->stranger_count--;
	TAILQ_REMOVE(&door->strangers, place, entry);
}

void door_welcome(struct door *door, const struct address *client, struct door_place *place)
{
	uint64_t key = key_of(door, client);
	struct counts counts = unpack(idmap_get(door->prefixes, key));

	no_stranger(door, place, &counts);
	if (!store(door, key, counts))
		log_message(LOG_ERROR, "out-of-memory", "a prefix is counted no more");
}

void door_leave(struct door *door, const struct address *client, struct door_place *place)
{
	uint64_t key = key_of(door, client);
	struct counts counts = unpack(idmap_get(door->prefixes, key));

	if (!place->inside)
		return;
	place->inside = false;
	no_stranger(door, place, &counts);
	counts.sessions -= counts.sessions > 0;
	if (!store(door, key, counts))
		log_message(LOG_ERROR, "out-of-memory", "a prefix is counted no more");
}

size_t door_strangers(const struct door *door)
{
	return door->stranger_count;
}

bool door_crowded(const struct door *door)
{
	return door->stranger_count > door->limits->unauthenticated;
}

struct door_place *door_oldest(const struct door *door)
{
	return TAILQ_FIRST(&door->strangers);
}

struct door_place *door_next(struct door_place *place)
{
	return TAILQ_NEXT(place, entry);
}
