/* SPDX-License-Identifier: ISC */
/* Records and blocks in the database's forms; see guard_store.h. */
#include "auth/guard_store.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_TEXT_MAX = NETWORK_TEXT_MAX + 24 };

static uint64_t read_number(const uint8_t **at, size_t width)
{
	uint64_t value = 0;

	for (size_t i = 0; i < width; i++)
		value = value << 8 | *(*at)++;
	return value;
}

/* Returns the age of its counts. */
static uint64_t read_record(const uint8_t *at, struct guard_record *record)
{
	record->kind = (enum guard_kind)read_number(&at, 1);
	memcpy(record->key, at, sizeof record->key);
	at += sizeof record->key;
	record->wrong = (uint32_t)read_number(&at, 4);
	record->names = (uint32_t)read_number(&at, 4);
	record->strikes = (uint32_t)read_number(&at, 4);
	record->known_ms = read_number(&at, 8);
	record->keep_ms = read_number(&at, 8);
	return read_number(&at, 8);
}

static bool is_record(const uint8_t *at)
{
	return at[0] >= GUARD_KIND_KNOWN && at[0] <= GUARD_KIND_ACCOUNT;
}

/* known_ms counts from now in the database's form, and from the time of saving in the guard's. */
static void restore(struct guard *guard, const uint8_t *at, uint64_t now_ms)
{
	struct guard_record record;
	uint64_t age_ms = read_record(at, &record);

	if (age_ms > INT64_MAX || record.known_ms > INT64_MAX - age_ms)
		return;
	if (record.known_ms > 0)
		record.known_ms += age_ms;
	guard_restore(guard, &record, age_ms, now_ms);
}

bool guard_store_load(struct guard *guard, const uint8_t *seed, size_t seed_len,
	const uint8_t *records, size_t len, uint64_t now_ms)
{
	if (seed_len != GUARD_SEED_BYTES || len % GUARD_STORE_RECORD_BYTES != 0)
		return false;
	for (size_t at = 0; at < len; at += GUARD_STORE_RECORD_BYTES) {
		if (!is_record(records + at))
			return false;
	}
	guard_seed(guard, seed);
	/* The newest stand first: where there are more than fit, the oldest make room. */
	for (size_t at = len; at > 0; at -= GUARD_STORE_RECORD_BYTES)
		restore(guard, records + at - GUARD_STORE_RECORD_BYTES, now_ms);
	return true;
}

char *guard_store_text(const struct guard_record *records, size_t count)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const struct guard_record *r = &records[i];
		char key[2 * GUARD_RECORD_KEY_BYTES + 1];

		sodium_bin2hex(key, sizeof key, r->key, sizeof r->key);
		fprintf(out,
			"%s[%d,\"%s\",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu64 ",%" PRIu64 "]",
			i == 0 ? "[" : ",", (int)r->kind, key, r->wrong, r->names, r->strikes,
			r->known_ms, r->keep_ms);
	}
	fputs(count == 0 ? "[]" : "]", out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* "192.0.2.0/24 1767225600" */
static bool read_block(const uint8_t *at, size_t len, struct network *network, uint64_t *until_s)
{
	char text[BLOCK_TEXT_MAX];
	uint64_t value = 0;

	if (len >= sizeof text || memchr(at, '\0', len) != NULL)
		return false;
	memcpy(text, at, len);
	text[len] = '\0';
	char *digits = strchr(text, ' ');
	if (digits == NULL || digits[1] == '\0' || strlen(digits + 1) > 15)
		return false;
	*digits++ = '\0';
	for (; *digits != '\0'; digits++) {
		if (*digits < '0' || *digits > '9')
			return false;
		value = value * 10 + (uint64_t)(*digits - '0');
	}
	*until_s = value;
	return network_parse(text, network);
}

bool guard_store_blocks(const uint8_t *list, size_t len, uint64_t now_s,
	void (*take)(const struct network *network, uint64_t for_ms, void *arg), void *arg)
{
	while (len > 0) {
		const uint8_t *comma = memchr(list, ',', len);
		size_t size = comma == NULL ? len : (size_t)(comma - list);
		struct network network;
		uint64_t until_s;

		if (!read_block(list, size, &network, &until_s))
			return false;
		if (until_s > now_s)
			take(&network, (until_s - now_s) * 1000, arg);
		if (comma == NULL)
			return true;
		list += size + 1;
		len -= size + 1;
		if (len == 0)
			return false; /* nothing follows the comma */
	}
	return true;
}
