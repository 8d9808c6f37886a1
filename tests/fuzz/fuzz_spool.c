/* SPDX-License-Identifier: ISC */
/*
 * A segment of any octets: it is read to its end, every record keeps its bounds and is written as
 * it was read, and what damage costs is what lies before the next whole record.
 */
#include "auth/spool_record.h"
#include "common/crc32c.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void check_again(const struct spool_record *record, const uint8_t *bytes, size_t len)
{
	uint8_t again[SPOOL_RECORD_MAX];

	must(spool_record_encode(record, again) == len);
	must(memcmp(again, bytes, len) == 0);
}

static void walk(const uint8_t *bytes, size_t size)
{
	struct spool_record record;
	size_t at = 0, used;

	while (at < size) {
		enum spool_read read = spool_record_decode(bytes + at, size - at, &record, &used);
		must(used > 0 && used <= size - at);
		if (read == SPOOL_READ_RECORD)
			check_again(&record, bytes + at, used);
		else if (read == SPOOL_READ_DAMAGED)
			must(spool_record_decode(bytes + at + used, size - at - used, &record,
				     &used) == SPOOL_READ_RECORD);
		if (read == SPOOL_READ_DAMAGED)
			used = 1; /* from anywhere in it */
		at += used;
	}
}

/* A record around the octets: the CRC is right, so that the fields are reached. */
static void walk_framed(const uint8_t *data, size_t size)
{
	uint8_t bytes[SPOOL_RECORD_MAX] = {0xC5, 0x5C};

	if (size > sizeof bytes - 8)
		size = sizeof bytes - 8;
	bytes[2] = (uint8_t)size;
	bytes[3] = (uint8_t)(size >> 8);
	memcpy(bytes + 8, data, size);
	uint32_t crc = crc32c(crc32c(0, bytes + 2, 2), bytes + 8, size);
	for (size_t i = 0; i < 4; i++)
		bytes[4 + i] = (uint8_t)(crc >> 8 * i);
	walk(bytes, 8 + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct spool_head head;
	uint8_t *copy = malloc(size > 0 ? size : 1);

	must(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	if (size < 4096)
		walk(copy, size);
	walk_framed(copy, size);
	if (spool_head_decode(copy, size, &head)) {
		uint8_t again[SPOOL_HEAD_BYTES];
		spool_head_encode(&head, again);
		must(memcmp(again, copy, sizeof again) == 0);
	}
	free(copy);
	return 0;
}
