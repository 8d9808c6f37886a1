/* SPDX-License-Identifier: ISC */
/*
 * The records of the spool as octets: what became of messages, on its way into the books.
 *
 * A segment is a head and then records; each is a mark, its length, a CRC-32C over length and body,
 * and the body: a type and fields of fixed order, least significant octet first.  What a crash left
 * half written at the end is no record (the whole ones before it count), and one changed octet
 * costs the record that it is in, never the ones behind.  Nothing that is read is believed: every
 * length and number is checked.  Pure.
 */
#ifndef AUTH_SPOOL_RECORD_H
#define AUTH_SPOOL_RECORD_H

#include "common/config.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SPOOL_RECEIPT_MAX = 255,
	SPOOL_RECORD_MAX = 1024, /* octets of any record, its frame included */
	SPOOL_HEAD_BYTES = 32,   /* of a segment */
};

enum spool_type {
	SPOOL_TAKE = 1,
	SPOOL_INTENT,
	SPOOL_OUTCOME,
	SPOOL_UPLOADED, /* a batch of outcomes is in the books */
};

struct spool_take { /* granted by the limits; a top-up is a second one of its transaction */
	uint64_t tid, sid, account, credential;
	uint32_t proxy, messages, recipients;
	uint64_t bytes, taken_ms;
	uint8_t receipt_len;
	uint8_t receipt[SPOOL_RECEIPT_MAX];
};

struct spool_message { /* of an intent, and of an outcome that goes into the books */
	uint64_t tid, sid, account, credential;
	uint32_t proxy, recipients;
	uint64_t bytes, taken_ms;
	uint64_t at_ms; /* of the intent, or of the outcome */
	struct address_key client;
	uint16_t sender_len;
	uint8_t backend_len;
	uint8_t sender[IPC_PATH_MAX];
	uint8_t backend[IPC_BACKEND_MAX];
};

struct spool_outcome {
	struct spool_message message;
	uint64_t boot, batch; /* in which it goes into the books; 0: in none (refused, aborted) */
	uint16_t code;
	uint8_t kind; /* enum ipc_outcome_kind */
	uint8_t queue_id_len;
	uint8_t queue_id[IPC_QUEUE_ID_MAX];
};

struct spool_uploaded {
	uint64_t boot, batch;
};

struct spool_record {
	enum spool_type type;
	union {
		struct spool_take take;
		struct spool_message intent;
		struct spool_outcome outcome;
		struct spool_uploaded uploaded;
	};
};

struct spool_head { /* of a segment */
	uint64_t node, number;
};

/* Returns the octets written, at most SPOOL_RECORD_MAX.  Lengths beyond their bounds are a
 * programmer's error. */
size_t spool_record_encode(const struct spool_record *record, uint8_t out[SPOOL_RECORD_MAX]);

enum spool_read {
	SPOOL_READ_RECORD = 1,
	SPOOL_READ_DAMAGED, /* *used_out octets are none: before the next record */
	SPOOL_READ_END,     /* nothing, or the beginning of what was never finished */
};

/*
 * Reads the record at the beginning of len octets; RECORD: *used_out is its length.  Damaged octets
 * are skipped up to the next whole record; where none follows, all that is left is END.
 */
enum spool_read spool_record_decode(const uint8_t *bytes, size_t len, struct spool_record *out,
	size_t *used_out) __attribute__((warn_unused_result));

void spool_head_encode(const struct spool_head *head, uint8_t out[SPOOL_HEAD_BYTES]);
bool spool_head_decode(const uint8_t *bytes, size_t len, struct spool_head *out)
	__attribute__((warn_unused_result));

#endif
