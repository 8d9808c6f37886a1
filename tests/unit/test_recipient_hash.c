/* SPDX-License-Identifier: ISC */
/* The hashes of recipients: the same for ever, and those of whom the backend accepted. */
#include "proxy/recipient_hash.h"

#include "common/ipc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint64_t hash(uint64_t account, const char *address)
{
	return recipient_hash(account, address, strlen(address));
}

/* By another implementation: Python's hashlib.blake2b(account.to_bytes(8, "little") + address,
 * digest_size=16).  They are stored: none of them may ever change. */
static void test_fixed_vectors(void **state)
{
	char longest[IPC_PATH_MAX];

	(void)state;
	memset(longest, 'x', sizeof longest);
	assert_int_equal(hash(7, "bob@example.net"), 0xe1cf74cdf1d851f6);
	assert_int_equal(hash(0x0102030405060708, "bob@example.net"), 0x1bf09549a182f43c);
	assert_int_equal(hash(7, ""), 0x47466d379271e4a5);
	assert_int_equal(hash(7, "Postmaster"), 0x63d34c5fd3a075de);
	assert_int_equal(recipient_hash(7, longest, sizeof longest), 0x819ed92369dfdafe);
}

static void test_ascii_letters_are_alike_and_nothing_else(void **state)
{
	(void)state;
	assert_int_equal(hash(7, "Bob@EXAMPLE.NET"), hash(7, "bob@example.net"));
	assert_int_equal(hash(7, "AZ@[`"), hash(7, "az@[`"));
	assert_int_not_equal(hash(7, "a@{`"), hash(7, "a@[@"));
	assert_int_not_equal(hash(7, "\xc3\x84@x.test"), hash(7, "\xc3\xa4@x.test"));
	assert_int_not_equal(hash(7, "bob@example.net"), hash(8, "bob@example.net"));
	assert_int_not_equal(hash(7, "bob@example.net"), hash(7, "bob@example.net "));
}

static void add(struct recipient_hashes *hashes, uint64_t value)
{
	assert_true(recipient_hashes_add(hashes, value));
}

static void test_replies_come_later_and_in_order(void **state)
{
	struct recipient_hashes hashes = {0};

	(void)state;
	for (uint64_t i = 1; i <= 5; i++)
		add(&hashes, i);
	recipient_hashes_answer(&hashes, true);
	recipient_hashes_answer(&hashes, false);
	recipient_hashes_answer(&hashes, true);
	assert_int_equal(hashes.accepted, 2);
	add(&hashes, 6);
	recipient_hashes_answer(&hashes, false);
	recipient_hashes_answer(&hashes, false);
	recipient_hashes_answer(&hashes, true);
	assert_int_equal(hashes.accepted, 3);
	assert_memory_equal(hashes.hash, ((uint64_t[]){1, 3, 6}), 3 * sizeof(uint64_t));
	recipient_hashes_free(&hashes);
	assert_null(hashes.hash);
	assert_int_equal(recipient_hashes_size(&hashes), 0);
}

/* Some are always owed, and one in ten is accepted: room is for those, not for all that were given.
 */
static void test_refused_recipients_take_no_room(void **state)
{
	enum { GIVEN = 10000, OWED = 100 };

	struct recipient_hashes hashes = {0};

	(void)state;
	for (uint64_t i = 0; i < GIVEN + OWED; i++) {
		if (i < GIVEN)
			add(&hashes, i);
		if (i >= OWED)
			recipient_hashes_answer(&hashes, (i - OWED) % 10 == 0);
	}
	assert_int_equal(hashes.accepted, GIVEN / 10);
	for (size_t i = 0; i < hashes.accepted; i++)
		assert_int_equal(hashes.hash[i], i * 10);
	assert_true(recipient_hashes_size(&hashes) <= 2 * (GIVEN / 10 + OWED) * sizeof(uint64_t));
	recipient_hashes_free(&hashes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_vectors),
		cmocka_unit_test(test_ascii_letters_are_alike_and_nothing_else),
		cmocka_unit_test(test_replies_come_later_and_in_order),
		cmocka_unit_test(test_refused_recipients_take_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
