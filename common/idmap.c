/* SPDX-License-Identifier: ISC */
/* uthash behind idmap.h, so that its macros stay in one file. */
#include "common/idmap.h"

#include "common/log.h"

#define HASH_NONFATAL_OOM 1
#include <stdlib.h>
#include <uthash.h>

struct node {
	uint64_t id;
	void *value;
	UT_hash_handle hh;
};

struct idmap {
	struct node *head;
};

struct idmap *idmap_new(void)
{
	return calloc(1, sizeof(struct idmap));
}

void idmap_destroy(struct idmap **map)
{
	struct node *node, *next;

	if (*map == NULL)
		return;
	HASH_ITER (hh, (*map)->head, node, next) {
		HASH_DEL((*map)->head, node);
		free(node);
	}
	free(*map);
	*map = NULL;
}

static struct node *find(const struct idmap *map, uint64_t id)
{
	struct node *node;

	HASH_FIND(hh, map->head, &id, sizeof id, node);
	return node;
}

bool idmap_put(struct idmap *map, uint64_t id, void *value)
{
	struct node *node = calloc(1, sizeof *node);

	require(find(map, id) == NULL);
	if (node == NULL)
		return false;
	node->id = id;
	node->value = value;
	HASH_ADD(hh, map->head, id, sizeof node->id, node);
	if (node->hh.tbl == NULL) { /* uthash was out of memory */
		free(node);
		return false;
	}
	return true;
}

void *idmap_get(const struct idmap *map, uint64_t id)
{
	const struct node *node = find(map, id);

	return node == NULL ? NULL : node->value;
}

void *idmap_take(struct idmap *map, uint64_t id)
{
	struct node *node = find(map, id);

	if (node == NULL)
		return NULL;
	void *value = node->value;
	HASH_DEL(map->head, node);
	free(node);
	return value;
}

size_t idmap_count(const struct idmap *map)
{
	return HASH_COUNT(map->head);
}

void idmap_each(struct idmap *map, void (*each)(uint64_t id, void *value, void *arg), void *arg)
{
	struct node *node, *next;

	HASH_ITER (hh, map->head, node, next)
		each(node->id, node->value, arg);
}
