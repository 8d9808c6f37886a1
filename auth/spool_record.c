/* SPDX-License-Identifier: ISC */
/* Encoding and strict decoding; see spool_record.h. */
#include "auth/spool_record.h"

#include "common/crc32c.h"
#include "common/log.h"

#include <string.h>

enum {
	VERSION = 1,
	FRAME_BYTES = 8, /* mark, length, CRC */
	TEXTS_MAX = SPOOL_RECORD_MAX - FRAME_BYTES,
};

static const uint8_t mark[2] = {0xC5, 0x5C};
static const uint8_t magic[8] = {'P', 'O', 'S', 'T', 'S', 'P', 'O', 'L'};

/* ------------------------------------------------------------------- cursors */
struct cursor {
	uint8_t *at;
	size_t left;
};

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static void put(struct cursor *to, uint64_t value, size_t width)
{
	require(to->left >= width);
	for (size_t i = 0; i < width; i++)
		to->at[i] = (uint8_t)(value >> 8 * i);
	to->at += width;
	to->left -= width;
}

static void put_bytes(struct cursor *to, const void *bytes, size_t len)
{
	require(to->left >= len);
	memcpy(to->at, bytes, len);
	to->at += len;
	to->left -= len;
}

/* A length of two octets, and the text. */
static void put_text(struct cursor *to, const uint8_t *text, size_t len, size_t max)
{
	require(len <= max);
	put(to, len, 2);
	put_bytes(to, text, len);
}

static uint64_t get(struct reader *from, size_t width)
{
	uint64_t value = 0;

	if (from->left < width) {
		from->bad = true;
		return 0;
	}
	for (size_t i = 0; i < width; i++)
		value |= (uint64_t)from->at[i] << 8 * i;
	from->at += width;
	from->left -= width;
	return value;
}

static void get_bytes(struct reader *from, void *out, size_t len)
{
	if (from->left < len) {
		from->bad = true;
		return;
	}
	memcpy(out, from->at, len);
	from->at += len;
	from->left -= len;
}

static size_t get_text(struct reader *from, uint8_t *out, size_t max)
{
	size_t len = get(from, 2);

	if (len > max) {
		from->bad = true;
		return 0;
	}
	get_bytes(from, out, len);
	return from->bad ? 0 : len;
}

/* -------------------------------------------------------------------- fields */
static void put_take(struct cursor *to, const struct spool_take *take)
{
	put(to, take->tid, 8);
	put(to, take->sid, 8);
	put(to, take->account, 8);
	put(to, take->credential, 8);
	put(to, take->proxy, 4);
	put(to, take->messages, 4);
	put(to, take->recipients, 4);
	put(to, take->bytes, 8);
	put(to, take->taken_ms, 8);
	put_text(to, take->receipt, take->receipt_len, SPOOL_RECEIPT_MAX);
}

static void get_take(struct reader *from, struct spool_take *take)
{
	take->tid = get(from, 8);
	take->sid = get(from, 8);
	take->account = get(from, 8);
	take->credential = get(from, 8);
	take->proxy = (uint32_t)get(from, 4);
	take->messages = (uint32_t)get(from, 4);
	take->recipients = (uint32_t)get(from, 4);
	take->bytes = get(from, 8);
	take->taken_ms = get(from, 8);
	take->receipt_len = (uint8_t)get_text(from, take->receipt, SPOOL_RECEIPT_MAX);
	from->bad = from->bad || take->proxy >= CONFIG_WORKERS_MAX;
}

static void put_message(struct cursor *to, const struct spool_message *message)
{
	put(to, message->tid, 8);
	put(to, message->sid, 8);
	put(to, message->account, 8);
	put(to, message->credential, 8);
	put(to, message->proxy, 4);
	put(to, message->recipients, 4);
	put(to, message->bytes, 8);
	put(to, message->taken_ms, 8);
	put(to, message->at_ms, 8);
	put_bytes(to, message->client.bytes, sizeof message->client.bytes);
	put_text(to, message->sender, message->sender_len, IPC_PATH_MAX);
	put_text(to, message->backend, message->backend_len, IPC_BACKEND_MAX);
}

static void get_message(struct reader *from, struct spool_message *message)
{
	message->tid = get(from, 8);
	message->sid = get(from, 8);
	message->account = get(from, 8);
	message->credential = get(from, 8);
	message->proxy = (uint32_t)get(from, 4);
	message->recipients = (uint32_t)get(from, 4);
	message->bytes = get(from, 8);
	message->taken_ms = get(from, 8);
	message->at_ms = get(from, 8);
	get_bytes(from, message->client.bytes, sizeof message->client.bytes);
	message->sender_len = (uint16_t)get_text(from, message->sender, IPC_PATH_MAX);
	message->backend_len = (uint8_t)get_text(from, message->backend, IPC_BACKEND_MAX);
	from->bad = from->bad || message->proxy >= CONFIG_WORKERS_MAX;
}

static void put_outcome(struct cursor *to, const struct spool_outcome *outcome)
{
	put_message(to, &outcome->message);
	put(to, outcome->boot, 8);
	put(to, outcome->batch, 8);
	put(to, outcome->code, 2);
	put(to, outcome->kind, 1);
	put_text(to, outcome->queue_id, outcome->queue_id_len, IPC_QUEUE_ID_MAX);
}

static bool kind_goes_into_books(uint8_t kind)
{
	return kind == IPC_OUTCOME_ACCEPTED || kind == IPC_OUTCOME_UNKNOWN;
}

static void get_outcome(struct reader *from, struct spool_outcome *outcome)
{
	get_message(from, &outcome->message);
	outcome->boot = get(from, 8);
	outcome->batch = get(from, 8);
	outcome->code = (uint16_t)get(from, 2);
	outcome->kind = (uint8_t)get(from, 1);
	outcome->queue_id_len = (uint8_t)get_text(from, outcome->queue_id, IPC_QUEUE_ID_MAX);
	from->bad = from->bad || outcome->kind < IPC_OUTCOME_ACCEPTED ||
		    outcome->kind > IPC_OUTCOME_UNKNOWN ||
		    kind_goes_into_books(outcome->kind) != (outcome->batch != 0);
}

/* ------------------------------------------------------------------- records */
static void put_fields(struct cursor *to, const struct spool_record *record)
{
	put(to, VERSION, 1);
	put(to, record->type, 1);
	switch (record->type) {
	case SPOOL_TAKE:
		put_take(to, &record->take);
		return;
	case SPOOL_INTENT:
		put_message(to, &record->intent);
		return;
	case SPOOL_OUTCOME:
		put_outcome(to, &record->outcome);
		return;
	case SPOOL_UPLOADED:
		put(to, record->uploaded.boot, 8);
		put(to, record->uploaded.batch, 8);
		return;
	}
	panic("no such record");
}

static uint32_t crc_of(const uint8_t *frame, size_t body_len)
{
	return crc32c(crc32c(0, frame + sizeof mark, 2), frame + FRAME_BYTES, body_len);
}

size_t spool_record_encode(const struct spool_record *record, uint8_t out[SPOOL_RECORD_MAX])
{
	struct cursor body = {out + FRAME_BYTES, TEXTS_MAX};
	struct cursor frame = {out, FRAME_BYTES};

	put_fields(&body, record);
	size_t body_len = TEXTS_MAX - body.left;
	put_bytes(&frame, mark, sizeof mark);
	put(&frame, body_len, 2);
	put(&frame, crc_of(out, body_len), 4);
	return FRAME_BYTES + body_len;
}

static bool get_fields(struct reader *from, struct spool_record *out)
{
	memset(out, 0, sizeof *out);
	if (get(from, 1) != VERSION)
		return false;
	uint64_t type = get(from, 1);
	out->type = (enum spool_type)type;
	if (type == SPOOL_TAKE) {
		get_take(from, &out->take);
	} else if (type == SPOOL_INTENT) {
		get_message(from, &out->intent);
	} else if (type == SPOOL_OUTCOME) {
		get_outcome(from, &out->outcome);
	} else if (type == SPOOL_UPLOADED) {
		out->uploaded.boot = get(from, 8);
		out->uploaded.batch = get(from, 8);
	} else {
		return false;
	}
	return !from->bad && from->left == 0;
}

/* The length of the whole record that stands here; 0: there is none. */
static size_t decode_one(const uint8_t *bytes, size_t len, struct spool_record *out)
{
	struct reader frame = {.at = bytes, .left = len};

	if (len < FRAME_BYTES || memcmp(bytes, mark, sizeof mark) != 0)
		return 0;
	(void)get(&frame, sizeof mark);
	size_t body_len = get(&frame, 2);
	uint64_t crc = get(&frame, 4);
	if (body_len > TEXTS_MAX || body_len > frame.left || crc != crc_of(bytes, body_len))
		return 0;
	struct reader body = {.at = frame.at, .left = body_len};
	return get_fields(&body, out) ? FRAME_BYTES + body_len : 0;
}

enum spool_read spool_record_decode(
	const uint8_t *bytes, size_t len, struct spool_record *out, size_t *used_out)
{
	struct spool_record next;

	*used_out = decode_one(bytes, len, out);
	if (*used_out != 0)
		return SPOOL_READ_RECORD;
	for (size_t at = 1; at < len; at++) {
		if (bytes[at] != mark[0] || decode_one(bytes + at, len - at, &next) == 0)
			continue;
		*used_out = at;
		return SPOOL_READ_DAMAGED;
	}
	*used_out = len;
	return SPOOL_READ_END;
}

/* ---------------------------------------------------------------------- head */
void spool_head_encode(const struct spool_head *head, uint8_t out[SPOOL_HEAD_BYTES])
{
	struct cursor to = {out, SPOOL_HEAD_BYTES};

	put_bytes(&to, magic, sizeof magic);
	put(&to, head->node, 8);
	put(&to, head->number, 8);
	put(&to, VERSION, 4);
	put(&to, crc32c(0, out, SPOOL_HEAD_BYTES - 4), 4);
}

bool spool_head_decode(const uint8_t *bytes, size_t len, struct spool_head *out)
{
	struct reader from = {.at = bytes, .left = len};

	if (len < SPOOL_HEAD_BYTES || memcmp(bytes, magic, sizeof magic) != 0)
		return false;
	(void)get(&from, sizeof magic);
	out->node = get(&from, 8);
	out->number = get(&from, 8);
	return get(&from, 4) == VERSION && get(&from, 4) == crc32c(0, bytes, SPOOL_HEAD_BYTES - 4);
}
