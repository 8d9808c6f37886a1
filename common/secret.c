/* SPDX-License-Identifier: ISC */
/*
 * The slab and the wiping allocators; see secret.h.
 *
 * The slab is one sodium_malloc of all slots: guard pages around it, locked, left out of core
 * dumps. A free list threads through an array outside it, so that a stray write into a slot cannot
 * reach it.
 */
#include "common/secret.h"

#include "common/log.h"

#include <event2/event.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static struct {
	struct secret *slots;
	size_t *free_list; /* indices; the first free_count are free */
	size_t count, free_count;
} slab;

bool secret_slab_open(size_t slots)
{
	slab.slots = sodium_allocarray(slots, sizeof *slab.slots);
	slab.free_list = calloc(slots, sizeof *slab.free_list);
	if (slab.slots == NULL || slab.free_list == NULL) {
		secret_slab_close();
		return false;
	}
	/* sodium_malloc locks when RLIMIT_MEMLOCK allows; it fills with 0xdb, so clear once. */
	sodium_memzero(slab.slots, slots * sizeof *slab.slots);
	slab.count = slab.free_count = slots;
	for (size_t i = 0; i < slots; i++)
		slab.free_list[i] = slots - 1 - i;
	return true;
}

void secret_slab_close(void)
{
	sodium_free(slab.slots);
	free(slab.free_list);
	memset(&slab, 0, sizeof slab);
}

struct secret *secret_take(void)
{
	if (slab.free_count == 0)
		return NULL;
	return &slab.slots[slab.free_list[--slab.free_count]];
}

void secret_release(struct secret **secret)
{
	if (*secret == NULL)
		return;
	size_t index = (size_t)(*secret - slab.slots);
	require(index < slab.count && slab.free_count < slab.count);
	sodium_memzero((*secret)->bytes, sizeof(*secret)->bytes);
	(*secret)->len = 0;
	slab.free_list[slab.free_count++] = index;
	*secret = NULL;
}

size_t secret_in_use(void)
{
	return slab.count - slab.free_count;
}

static void wiping_free(void *memory)
{
	if (memory == NULL)
		return;
	explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}

static void *wiping_realloc(void *memory, size_t size)
{
	if (memory == NULL)
		return malloc(size);
	size_t old = malloc_usable_size(memory);
	if (size <= old && size >= old / 2)
		return memory;
	void *fresh = malloc(size);
	if (fresh == NULL)
		return NULL;
	memcpy(fresh, memory, size < old ? size : old);
	wiping_free(memory);
	return fresh;
}

void secret_wipe_libevent(void)
{
	event_set_mem_functions(malloc, wiping_realloc, wiping_free);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return malloc(size);
}

static void *openssl_realloc(void *memory, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return wiping_realloc(memory, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	wiping_free(memory);
}

void secret_wipe_openssl(void)
{
	/* SSL_OP_CLEANSE_PLAINTEXT covers the record buffers; this covers what else was copied. */
	require(CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1);
}
