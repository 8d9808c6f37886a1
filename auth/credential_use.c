/* SPDX-License-Identifier: ISC */
/*
 * Uses of credentials; see credential_use.h.
 *
 * Two queues: entries with a use to be written, by the time at which they may be, and those
 * without, by the time at which they are forgotten (a use after that is a first one again).  All
 * wait equally long, so each queue is in order by itself.
 */
#include "auth/credential_use.h"

#include "common/idmap.h"
#include "common/log.h"
#include "common/network.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct use {
	TAILQ_ENTRY(use) link;
	uint64_t number, wall_s;
	uint64_t written_ms; /* 0: not yet */
	bool pending;
	struct address_key client;
	uint8_t name_len;
	uint8_t name[CREDENTIAL_USE_CLIENT_MAX];
};

TAILQ_HEAD(queue, use);

struct credential_uses {
	credential_uses_write *write;
	void *arg;
	bool writing;
	struct idmap *by_number;
	/* first: may be written at once; again: were written before, and wait; idle: nothing new */
	struct queue first, again, idle;
};

struct credential_uses *credential_uses_new(credential_uses_write *write, void *arg)
{
	struct credential_uses *uses = calloc(1, sizeof *uses);

	if (uses == NULL)
		return NULL;
	uses->write = write;
	uses->arg = arg;
	TAILQ_INIT(&uses->first);
	TAILQ_INIT(&uses->again);
	TAILQ_INIT(&uses->idle);
	uses->by_number = idmap_new();
	if (uses->by_number == NULL)
		credential_uses_destroy(&uses);
	return uses;
}

static struct queue *queue_of(struct credential_uses *uses, const struct use *use)
{
	if (!use->pending)
		return &uses->idle;
	return use->written_ms == 0 ? &uses->first : &uses->again;
}

static void drop(struct credential_uses *uses, struct use *use)
{
	TAILQ_REMOVE(queue_of(uses, use), use, link);
	idmap_take(uses->by_number, use->number);
	free(use);
}

void credential_uses_destroy(struct credential_uses **pointer)
{
	struct credential_uses *uses = *pointer;

	if (uses == NULL)
		return;
	*pointer = NULL;
	while (!TAILQ_EMPTY(&uses->first))
		drop(uses, TAILQ_FIRST(&uses->first));
	while (!TAILQ_EMPTY(&uses->again))
		drop(uses, TAILQ_FIRST(&uses->again));
	while (!TAILQ_EMPTY(&uses->idle))
		drop(uses, TAILQ_FIRST(&uses->idle));
	idmap_destroy(&uses->by_number);
	free(uses);
}

/* NULL: no room, or no memory. */
static struct use *use_new(struct credential_uses *uses, uint64_t number)
{
	if (idmap_count(uses->by_number) >= CREDENTIAL_USE_ENTRIES_MAX) {
		if (TAILQ_EMPTY(&uses->idle))
			return NULL;
		drop(uses, TAILQ_FIRST(&uses->idle));
	}
	struct use *use = calloc(1, sizeof *use);
	if (use == NULL || !idmap_put(uses->by_number, number, use)) {
		free(use);
		return NULL;
	}
	use->number = number;
	TAILQ_INSERT_TAIL(&uses->idle, use, link);
	return use;
}

void credential_uses_note(struct credential_uses *uses, uint64_t number,
	const struct address_key *client, const uint8_t *name, size_t name_len, uint64_t now_ms,
	uint64_t wall_s)
{
	struct use *use = idmap_get(uses->by_number, number);

	require(name_len <= CREDENTIAL_USE_CLIENT_MAX);
	if (use == NULL)
		use = use_new(uses, number);
	if (use == NULL)
		return;
	use->wall_s = wall_s;
	use->client = *client;
	use->name_len = (uint8_t)name_len;
	memcpy(use->name, name, name_len);
	if (use->pending)
		return;
	TAILQ_REMOVE(&uses->idle, use, link);
	use->pending = true;
	if (use->written_ms != 0 && now_ms - use->written_ms >= CREDENTIAL_USE_MS)
		use->written_ms = 0;
	TAILQ_INSERT_TAIL(queue_of(uses, use), use, link);
}

/* -------------------------------------------------------------------- writing */
static struct use *next_due(struct credential_uses *uses, uint64_t now_ms)
{
	struct use *use = TAILQ_FIRST(&uses->first);

	if (use != NULL)
		return use;
	/* Queued when they were used, not when they were written: nearly in order, and the first
	 * holds up the others by less than the interval. */
	use = TAILQ_FIRST(&uses->again);
	return use != NULL && now_ms - use->written_ms >= CREDENTIAL_USE_MS ? use : NULL;
}

/* As an array's element in quotes: the client's word for itself, cut down to what is plain. */
static void add_name(FILE *out, const struct use *use)
{
	fputc('"', out);
	for (size_t i = 0; i < use->name_len; i++) {
		char c = (char)use->name[i];
		if (c == '"' || c == '\\')
			fputc('\\', out);
		fputc(c >= 0x20 && c < 0x7f ? c : '?', out);
	}
	fputc('"', out);
}

static void add_use(FILE *out[4], const struct use *use, const char *before)
{
	struct network all = {.key = use->client, .bits = 128};
	char address[NETWORK_TEXT_MAX];

	fprintf(out[0], "%s%" PRIu64, before, use->number);
	fprintf(out[1], "%s%" PRIu64, before, use->wall_s);
	fprintf(out[2], "%s\"%s\"", before, network_format(&all, address));
	fputs(before, out[3]);
	add_name(out[3], use);
}

static void set_written(struct credential_uses *uses, struct use *use, uint64_t now_ms)
{
	TAILQ_REMOVE(queue_of(uses, use), use, link);
	use->pending = false;
	use->written_ms = now_ms;
	TAILQ_INSERT_TAIL(&uses->idle, use, link);
}

/* Everything due, up to a batch, into the four texts. */
static void fill(struct credential_uses *uses, FILE *out[4], uint64_t now_ms)
{
	struct use *use = next_due(uses, now_ms);

	for (size_t n = 0; use != NULL && n < CREDENTIAL_USE_BATCH_MAX; n++) {
		add_use(out, use, n == 0 ? "{" : ",");
		set_written(uses, use, now_ms);
		use = next_due(uses, now_ms);
	}
	for (size_t i = 0; i < 4; i++)
		fputc('}', out[i]);
}

void credential_uses_tick(struct credential_uses *uses, uint64_t now_ms)
{
	struct credential_use_batch batch = {NULL, NULL, NULL, NULL};
	char **texts[4] = {&batch.credentials, &batch.seconds, &batch.addresses, &batch.clients};
	FILE *out[4] = {NULL, NULL, NULL, NULL};
	size_t lens[4];
	bool good = true;

	if (uses->writing || next_due(uses, now_ms) == NULL)
		return;
	for (size_t i = 0; i < 4; i++) {
		out[i] = open_memstream(texts[i], &lens[i]);
		good = good && out[i] != NULL;
	}
	if (good)
		fill(uses, out, now_ms);
	for (size_t i = 0; i < 4; i++) {
		if (out[i] != NULL)
			good = fclose(out[i]) == 0 && good;
	}
	if (good)
		uses->writing = uses->write(&batch, uses->arg);
	for (size_t i = 0; i < 4; i++)
		free(*texts[i]);
}

void credential_uses_written(struct credential_uses *uses)
{
	uses->writing = false;
}

size_t credential_uses_count(const struct credential_uses *uses)
{
	return idmap_count(uses->by_number);
}
