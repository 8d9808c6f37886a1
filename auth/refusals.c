/* SPDX-License-Identifier: ISC */
/*
 * Refusals in a ring; see refusals.h.
 *
 * A full ring drops what comes, not what waits: the beginning of trouble explains more than its
 * middle.  A batch leaves the ring when its write began; whether it arrived is not asked again, for
 * a second write might put it twice.
 */
#include "auth/refusals.h"

#include "common/counters.h"
#include "common/log.h"
#include "common/network.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

struct refusals {
	refusals_write *write;
	void *arg;
	size_t writing; /* how many; 0: no write is under way */
	size_t first, count;
	struct refusal ring[REFUSALS_MAX];
};

const char *refusal_rule_name(enum refusal_rule rule)
{
	switch (rule) {
	case REFUSAL_SENDER:
		return "sender";
	case REFUSAL_FROM_HEADER:
		return "from-header";
	case REFUSAL_METER:
		return "meter";
	case REFUSAL_REVOKED:
		return "revoked";
	case REFUSAL_UNAVAILABLE:
		return "unavailable";
	case REFUSAL_SESSIONS:
		return "sessions";
	case REFUSAL_BURST:
		return "burst";
	case REFUSAL_GRACE:
		return "grace";
	}
	panic("no such rule");
}

struct refusals *refusals_new(refusals_write *write, void *arg)
{
	struct refusals *refusals = calloc(1, sizeof *refusals);

	if (refusals == NULL)
		return NULL;
	refusals->write = write;
	refusals->arg = arg;
	return refusals;
}

void refusals_destroy(struct refusals **pointer)
{
	free(*pointer);
	*pointer = NULL;
}

/* -------------------------------------------------------------------- writing */
/* As an array's element in quotes.  A client may write any octets: what the database would not take
 * must not cost the batch. */
static void add_text(FILE *out, const uint8_t *text, size_t len)
{
	bool utf8 = u8_check(text, len) == NULL;

	fputc('"', out);
	for (size_t i = 0; i < len; i++) {
		uint8_t c = text[i];
		if (c == '"' || c == '\\')
			fputc('\\', out);
		fputc(c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : c, out);
	}
	fputc('"', out);
}

static void add_sender(FILE *out, const struct refusal *refusal)
{
	if (refusal->has_sender)
		add_text(out, refusal->sender, refusal->sender_len);
	else
		fputs("NULL", out);
}

static void add_used(FILE *out, const struct refusal *refusal)
{
	if (refusal->used_known)
		fprintf(out, "%" PRIu64, refusal->used);
	else
		fputs("NULL", out);
}

static void add_client(FILE *out, const struct refusal *refusal)
{
	const struct network all = {.key = refusal->client, .bits = 128};
	char address[NETWORK_TEXT_MAX];

	fprintf(out, "\"%s\"", network_format(&all, address));
}

static void add_refusal(FILE *out[REFUSALS_COLUMNS], const struct refusal *refusal, char before)
{
	for (size_t i = 0; i < REFUSALS_COLUMNS; i++)
		fputc(before, out[i]);
	fprintf(out[REFUSALS_TID], "%" PRIu64, refusal->tid);
	fprintf(out[REFUSALS_SID], "%" PRIu64, refusal->sid);
	fprintf(out[REFUSALS_AT], "%" PRIu64, refusal->at_ms);
	fprintf(out[REFUSALS_ACCOUNT], "%" PRIu64, refusal->account);
	fprintf(out[REFUSALS_CREDENTIAL], "%" PRIu64, refusal->credential);
	add_sender(out[REFUSALS_SENDER], refusal);
	add_client(out[REFUSALS_CLIENT], refusal);
	fputs(refusal_rule_name(refusal->rule), out[REFUSALS_RULE]);
	fprintf(out[REFUSALS_CODE], "%u", refusal->code);
	add_text(out[REFUSALS_METER], refusal->meter, refusal->meter_len);
	fprintf(out[REFUSALS_LIMIT], "%" PRIu64, refusal->limit);
	add_used(out[REFUSALS_USED], refusal);
	fprintf(out[REFUSALS_RESET], "%" PRIu64, refusal->reset_s);
}

/* Up to a batch of what waits; returns how many. */
static size_t fill(const struct refusals *refusals, FILE *out[REFUSALS_COLUMNS])
{
	size_t count = refusals->count < REFUSALS_BATCH_MAX ? refusals->count : REFUSALS_BATCH_MAX;

	for (size_t i = 0; i < count; i++)
		add_refusal(out, &refusals->ring[(refusals->first + i) % REFUSALS_MAX],
			i == 0 ? '{' : ',');
	for (size_t i = 0; i < REFUSALS_COLUMNS; i++)
		fputc('}', out[i]);
	return count;
}

static void begin_write(struct refusals *refusals)
{
	char *texts[REFUSALS_COLUMNS] = {NULL};
	FILE *out[REFUSALS_COLUMNS] = {NULL};
	size_t lens[REFUSALS_COLUMNS], count = 0;
	bool good = true;

	for (size_t i = 0; i < REFUSALS_COLUMNS; i++) {
		out[i] = open_memstream(&texts[i], &lens[i]);
		good = good && out[i] != NULL;
	}
	if (good)
		count = fill(refusals, out);
	for (size_t i = 0; i < REFUSALS_COLUMNS; i++) {
		if (out[i] != NULL)
			good = fclose(out[i]) == 0 && good;
	}
	if (good && refusals->write(texts, refusals->arg)) {
		refusals->writing = count;
		refusals->first = (refusals->first + count) % REFUSALS_MAX;
		refusals->count -= count;
	}
	for (size_t i = 0; i < REFUSALS_COLUMNS; i++)
		free(texts[i]);
}

void refusals_note(struct refusals *refusals, const struct refusal *refusal)
{
	require(refusal->sender_len <= IPC_PATH_MAX && refusal->meter_len <= IPC_METER_NAME_MAX);
	if (refusals->count == REFUSALS_MAX) {
		counter_add(COUNTER_REFUSALS_DROPPED, 1);
		return;
	}
	refusals->ring[(refusals->first + refusals->count) % REFUSALS_MAX] = *refusal;
	refusals->count++;
	/* Not with each one: while the database is away a batch would be written out in vain each
	 * time. */
	if (refusals->count % REFUSALS_BATCH_MAX == 0 && refusals->writing == 0)
		begin_write(refusals);
}

void refusals_tick(struct refusals *refusals)
{
	if (refusals->writing == 0 && refusals->count > 0)
		begin_write(refusals);
}

void refusals_written(struct refusals *refusals, bool stored)
{
	if (!stored)
		counter_add(COUNTER_REFUSALS_DROPPED, refusals->writing);
	refusals->writing = 0;
}

size_t refusals_count(const struct refusals *refusals)
{
	return refusals->count;
}
