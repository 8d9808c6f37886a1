/* SPDX-License-Identifier: ISC */
/*
 * Slots in one array, found through chains of indices; see guard_table.h.  Index 0 is nobody, so
 * that zeroed memory is an empty table.
 */
#include "auth/guard_table.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

struct link {
	uint32_t older, newer;
};

struct slot {
	uint8_t key[GUARD_KEY_BYTES];
	uint32_t chain; /* the next slot of the same bucket */
	struct link use, mark;
	bool marked;
	_Alignas(8) uint8_t record[];
};

struct list {
	uint32_t oldest, newest;
};

struct guard_table {
	size_t capacity, slot_size, record_size, buckets;
	guard_table_worth *worth;
	void *arg;
	uint8_t *slots;  /* capacity + 1 */
	uint32_t *heads; /* of the buckets */
	uint32_t used;
	size_t marked;
	struct list uses, marks;
};

static struct slot *slot_at(const struct guard_table *table, uint32_t index)
{
	return (struct slot *)(void *)(table->slots + (size_t)index * table->slot_size);
}

static uint32_t index_of(const struct guard_table *table, const struct slot *slot)
{
	return (uint32_t)((size_t)((const uint8_t *)slot - table->slots) / table->slot_size);
}

static const struct slot *slot_of(const void *record)
{
	return (const struct slot *)(const void *)((const uint8_t *)record -
						   offsetof(struct slot, record));
}

struct guard_table *guard_table_new(
	size_t capacity, size_t record_size, guard_table_worth *worth, void *arg)
{
	struct guard_table *table = calloc(1, sizeof *table);

	if (table == NULL)
		return NULL;
	require(capacity > 0 && capacity < UINT32_MAX);
	table->capacity = capacity;
	table->record_size = record_size;
	table->slot_size = (sizeof(struct slot) + record_size + 7) / 8 * 8;
	table->worth = worth;
	table->arg = arg;
	table->buckets = 1;
	while (table->buckets < capacity)
		table->buckets *= 2;
	table->slots = calloc(capacity + 1, table->slot_size);
	table->heads = calloc(table->buckets, sizeof *table->heads);
	if (table->slots == NULL || table->heads == NULL)
		guard_table_destroy(&table);
	return table;
}

void guard_table_destroy(struct guard_table **table)
{
	if (*table == NULL)
		return;
	free((*table)->slots);
	free((*table)->heads);
	free(*table);
	*table = NULL;
}

void guard_table_clear(struct guard_table *table)
{
	memset(table->heads, 0, table->buckets * sizeof *table->heads);
	memset(&table->uses, 0, sizeof table->uses);
	memset(&table->marks, 0, sizeof table->marks);
	table->used = 0;
	table->marked = 0;
}

/* -------------------------------------------------------------------- lists */
static struct link *link_of(
	const struct guard_table *table, const struct list *list, uint32_t index)
{
	struct slot *slot = slot_at(table, index);

	return list == &table->uses ? &slot->use : &slot->mark;
}

static void list_append(struct guard_table *table, struct list *list, uint32_t index)
{
	*link_of(table, list, index) = (struct link){.older = list->newest};
	if (list->newest != 0)
		link_of(table, list, list->newest)->newer = index;
	else
		list->oldest = index;
	list->newest = index;
}

static void list_remove(struct guard_table *table, struct list *list, uint32_t index)
{
	struct link link = *link_of(table, list, index);

	if (link.older != 0)
		link_of(table, list, link.older)->newer = link.newer;
	else
		list->oldest = link.newer;
	if (link.newer != 0)
		link_of(table, list, link.newer)->older = link.older;
	else
		list->newest = link.older;
}

/* -------------------------------------------------------------------- slots */
static uint32_t *head_of(const struct guard_table *table, const uint8_t key[GUARD_KEY_BYTES])
{
	uint64_t hash;

	memcpy(&hash, key, sizeof hash);
	return &table->heads[hash & (table->buckets - 1)];
}

static uint32_t find(const struct guard_table *table, const uint8_t key[GUARD_KEY_BYTES])
{
	uint32_t index = *head_of(table, key);

	while (index != 0 && memcmp(slot_at(table, index)->key, key, GUARD_KEY_BYTES) != 0)
		index = slot_at(table, index)->chain;
	return index;
}

static void unmark(struct guard_table *table, struct slot *slot)
{
	if (!slot->marked)
		return;
	slot->marked = false;
	table->marked--;
	list_remove(table, &table->marks, index_of(table, slot));
}

static void unchain(struct guard_table *table, uint32_t index)
{
	uint32_t *at = head_of(table, slot_at(table, index)->key);

	while (*at != index)
		at = &slot_at(table, *at)->chain;
	*at = slot_at(table, index)->chain;
}

/* Makes room; the candidates that are worth more go back to the young end. */
static uint32_t evict(struct guard_table *table, uint64_t now_ms)
{
	uint32_t chosen = 0, candidates[GUARD_TABLE_CANDIDATES], index = table->uses.oldest;
	uint64_t least = UINT64_MAX;
	size_t count = 0;

	for (; index != 0 && count < GUARD_TABLE_CANDIDATES && least > 0;
		index = slot_at(table, index)->use.newer) {
		uint64_t worth = table->worth(slot_at(table, index)->record, now_ms, table->arg);
		candidates[count++] = index;
		if (chosen == 0 || worth < least) {
			chosen = index;
			least = worth;
		}
	}
	for (size_t i = 0; i < count; i++) {
		list_remove(table, &table->uses, candidates[i]);
		if (candidates[i] != chosen)
			list_append(table, &table->uses, candidates[i]);
	}
	unmark(table, slot_at(table, chosen));
	unchain(table, chosen);
	return chosen;
}

void *guard_table_get(struct guard_table *table, const uint8_t key[GUARD_KEY_BYTES])
{
	uint32_t index = find(table, key);

	return index == 0 ? NULL : slot_at(table, index)->record;
}

void *guard_table_put(
	struct guard_table *table, const uint8_t key[GUARD_KEY_BYTES], uint64_t now_ms)
{
	uint32_t index = find(table, key);

	if (index != 0) {
		list_remove(table, &table->uses, index);
		list_append(table, &table->uses, index);
		return slot_at(table, index)->record;
	}
	index = table->used < table->capacity ? ++table->used : evict(table, now_ms);
	struct slot *slot = slot_at(table, index);
	uint32_t *head = head_of(table, key);
	memset(slot, 0, table->slot_size);
	memcpy(slot->key, key, GUARD_KEY_BYTES);
	slot->chain = *head;
	*head = index;
	list_append(table, &table->uses, index);
	return slot->record;
}

/* ------------------------------------------------------------------- saving */
void guard_table_mark(struct guard_table *table, const void *record)
{
	uint32_t index = index_of(table, slot_of(record));
	struct slot *slot = slot_at(table, index);

	if (slot->marked)
		return;
	slot->marked = true;
	table->marked++;
	list_append(table, &table->marks, index);
}

const void *guard_table_next_marked(struct guard_table *table, uint8_t key_out[GUARD_KEY_BYTES])
{
	if (table->marks.oldest == 0)
		return NULL;
	struct slot *slot = slot_at(table, table->marks.oldest);
	unmark(table, slot);
	memcpy(key_out, slot->key, GUARD_KEY_BYTES);
	return slot->record;
}

size_t guard_table_count(const struct guard_table *table)
{
	return table->used;
}

size_t guard_table_marked(const struct guard_table *table)
{
	return table->marked;
}
