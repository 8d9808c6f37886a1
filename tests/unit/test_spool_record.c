/* SPDX-License-Identifier: ISC */
/* The spool's records: there and back, cut off at every octet, and changed at every bit. */
#include "auth/spool_record.h"
#include "common/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RECORDS = 4 };

static struct spool_record records[RECORDS];
static uint8_t log_bytes_[RECORDS * SPOOL_RECORD_MAX];
static size_t ends[RECORDS + 1]; /* ends[i]: where record i begins */

static void fill_message(struct spool_message *message)
{
	*message = (struct spool_message){.tid = 0x0102030405060708,
		.sid = 9,
		.account = UINT64_MAX,
		.credential = 11,
		.proxy = CONFIG_WORKERS_MAX - 1,
		.recipients = 100,
		.bytes = 52428800,
		.taken_ms = 1767225600000,
		.at_ms = 1767225600123,
		.client = {.bytes = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}},
		.sender_len = IPC_PATH_MAX,
		.backend_len = IPC_BACKEND_MAX};
	memset(message->sender, 's', IPC_PATH_MAX);
	memset(message->backend, 'b', IPC_BACKEND_MAX);
}

static int setup(void **state)
{
	size_t at = 0;

	(void)state;
	memset(records, 0, sizeof records);
	records[0].type = SPOOL_TAKE;
	records[0].take = (struct spool_take){.tid = 1,
		.sid = 2,
		.account = 3,
		.credential = 4,
		.proxy = 5,
		.messages = 6,
		.recipients = 7,
		.bytes = 8,
		.taken_ms = 9,
		.receipt_len = SPOOL_RECEIPT_MAX};
	memset(records[0].take.receipt, 0xC5, SPOOL_RECEIPT_MAX); /* the mark's first octet */
	records[1].type = SPOOL_INTENT;
	fill_message(&records[1].intent);
	records[2].type = SPOOL_OUTCOME;
	fill_message(&records[2].outcome.message);
	records[2].outcome.boot = 3;
	records[2].outcome.batch = 7;
	records[2].outcome.code = 250;
	records[2].outcome.kind = IPC_OUTCOME_ACCEPTED;
	records[2].outcome.queue_id_len = IPC_QUEUE_ID_MAX;
	memset(records[2].outcome.queue_id, 'q', IPC_QUEUE_ID_MAX);
	records[3].type = SPOOL_UPLOADED;
	records[3].uploaded = (struct spool_uploaded){.boot = 3, .batch = 7};
	for (size_t i = 0; i < RECORDS; i++) {
		uint8_t one[SPOOL_RECORD_MAX];
		size_t len = spool_record_encode(&records[i], one);
		memcpy(log_bytes_ + at, one, len);
		ends[i] = at;
		at += len;
	}
	ends[RECORDS] = at;
	return 0;
}

static bool same(const struct spool_record *a, const struct spool_record *b)
{
	uint8_t x[SPOOL_RECORD_MAX], y[SPOOL_RECORD_MAX];
	size_t len = spool_record_encode(a, x);

	return a->type == b->type && len == spool_record_encode(b, y) && memcmp(x, y, len) == 0;
}

/* How many records there are, and how many gaps of damage; each is one of ours, in order. */
static size_t count(const uint8_t *bytes, size_t len, size_t *damaged_out)
{
	struct spool_record record;
	size_t at = 0, used, found = 0, next = 0;

	*damaged_out = 0;
	while (at < len) {
		switch (spool_record_decode(bytes + at, len - at, &record, &used)) {
		case SPOOL_READ_RECORD:
			while (next < RECORDS && !same(&records[next], &record))
				next++;
			assert_true(next < RECORDS);
			next++;
			found++;
			break;
		case SPOOL_READ_DAMAGED:
			(*damaged_out)++;
			break;
		case SPOOL_READ_END:
			assert_int_equal(used, len - at);
			return found;
		}
		assert_true(used > 0 && used <= len - at);
		at += used;
	}
	return found;
}

static void test_there_and_back(void **state)
{
	size_t damaged;

	(void)state;
	assert_int_equal(count(log_bytes_, ends[RECORDS], &damaged), RECORDS);
	assert_int_equal(damaged, 0);
}

static void test_cut_off_at_every_octet(void **state)
{
	size_t damaged;

	(void)state;
	for (size_t len = 0; len <= ends[RECORDS]; len++) {
		uint8_t copy[sizeof log_bytes_];
		size_t whole = 0;
		while (whole < RECORDS && ends[whole + 1] <= len)
			whole++;
		memcpy(copy, log_bytes_, len);
		assert_int_equal(count(copy, len, &damaged), whole);
		assert_int_equal(damaged, 0);
		/* A file system may have made room that was never written. */
		memset(copy + len, 0, ends[RECORDS] - len);
		assert_int_equal(count(copy, ends[RECORDS], &damaged),
			whole + (len < ends[RECORDS] && whole < RECORDS &&
					memcmp(copy, log_bytes_, ends[whole + 1]) == 0));
		assert_int_equal(damaged, 0);
	}
}

/* Each costs its own record, and no other. */
static void test_every_changed_bit_is_found(void **state)
{
	size_t damaged;

	(void)state;
	for (size_t bit = 0; bit < ends[RECORDS] * 8; bit++) {
		uint8_t copy[sizeof log_bytes_];
		memcpy(copy, log_bytes_, ends[RECORDS]);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(count(copy, ends[RECORDS], &damaged), RECORDS - 1);
		assert_int_equal(damaged, bit / 8 < ends[RECORDS - 1] ? 1 : 0);
	}
}

static void expect_none(struct spool_record record, size_t at, uint8_t value)
{
	uint8_t bytes[SPOOL_RECORD_MAX];
	size_t len = spool_record_encode(&record, bytes), used;
	uint32_t crc;

	bytes[at] = value;
	crc = crc32c(crc32c(0, bytes + 2, 2), bytes + 8, len - 8);
	for (size_t i = 0; i < 4; i++)
		bytes[4 + i] = (uint8_t)(crc >> 8 * i);
	assert_int_equal(spool_record_decode(bytes, len, &record, &used), SPOOL_READ_END);
}

static void test_what_no_record_says_is_none(void **state)
{
	size_t kind = 0;
	uint8_t bytes[SPOOL_RECORD_MAX];

	(void)state;
	expect_none(records[0], 8, 2); /* a version to come */
	expect_none(records[0], 9, 0); /* types */
	expect_none(records[0], 9, 5);
	expect_none(records[0], 42, CONFIG_WORKERS_MAX); /* the proxy */
	size_t len = spool_record_encode(&records[2], bytes);
	kind = len - IPC_QUEUE_ID_MAX - 3;
	assert_int_equal(bytes[kind], IPC_OUTCOME_ACCEPTED);
	expect_none(records[2], kind, 0);
	expect_none(records[2], kind, IPC_OUTCOME_UNKNOWN + 1);
	expect_none(records[2], kind, IPC_OUTCOME_REFUSED); /* which is in no batch */
	expect_none(records[2], kind + 1, IPC_QUEUE_ID_MAX + 1);
	expect_none(records[2], kind + 1, IPC_QUEUE_ID_MAX - 1); /* one left over */
}

static void test_heads(void **state)
{
	const struct spool_head head = {.node = INT64_MAX, .number = 3};
	struct spool_head back;
	uint8_t bytes[SPOOL_HEAD_BYTES];

	(void)state;
	spool_head_encode(&head, bytes);
	assert_true(spool_head_decode(bytes, sizeof bytes, &back));
	assert_true(back.node == head.node && back.number == head.number);
	for (size_t len = 0; len < sizeof bytes; len++)
		assert_false(spool_head_decode(bytes, len, &back));
	for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(spool_head_decode(bytes, sizeof bytes, &back));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_there_and_back, setup),
		cmocka_unit_test_setup(test_cut_off_at_every_octet, setup),
		cmocka_unit_test_setup(test_every_changed_bit_is_found, setup),
		cmocka_unit_test_setup(test_what_no_record_says_is_none, setup),
		cmocka_unit_test(test_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
