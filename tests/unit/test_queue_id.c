/* SPDX-License-Identifier: ISC */
/* Queue ids in the replies of real servers. */
#include "proxy/queue_id.h"

#include "common/ipc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *name, *reply, *id;
} cases[] = {
	{"postfix", "250 2.0.0 Ok: queued as 4XyZ1c2b3DzQ\r\n", "4XyZ1c2b3DzQ"},
	{"postfix, short ids", "250 2.0.0 Ok: queued as 5F2A91C0D3\r\n", "5F2A91C0D3"},
	{"postfix, no enhanced code", "250 Ok: queued as 5F2A91C0D3\r\n", "5F2A91C0D3"},
	{"exim", "250 OK id=1rVkzA-0001a2-Ch\r\n", "1rVkzA-0001a2-Ch"},
	{"exim 4.97", "250 OK id=1rVkzA-00000001a2b-Ch3x\r\n", "1rVkzA-00000001a2b-Ch3x"},
	{"sendmail", "250 2.0.0 41PAbCdE012345 Message accepted for delivery\r\n",
		"41PAbCdE012345"},
	{"opensmtpd", "250 2.0.0 8a1b2c3d Message accepted for delivery\r\n", "8a1b2c3d"},
	{"any case", "250 2.0.0 OK: QUEUED AS abc\r\n", "abc"},
	{"ends at what no id has", "250 Ok: queued as abc.def_1-2 (bytes 5)\r\n", "abc.def_1-2"},
	{"ends at a quote", "250 Ok: queued as abc\"def\r\n", "abc"},
	{"first line only", "250-2.0.0 Hello\r\n250 2.0.0 Ok: queued as abc\r\n", ""},
	{"none", "250 2.0.0 Ok\r\n", ""},
	{"empty text", "250\r\n", ""},
	{"nothing after the marker", "250 2.0.0 Ok: queued as \r\n", ""},
	{"cut marker", "250 2.0.0 Ok: queued as\r\n", ""},
	{"a space instead of an id", "250  Message accepted for delivery\r\n", ""},
	{"too long is cut",
		"250 Ok: queued as "
		"0123456789012345678901234567890123456789012345678901234567890123456789\r\n",
		"0123456789012345678901234567890123456789012345678901234567890123"},
};

static void test_real_replies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct smtp_reply reply;
		size_t consumed;
		char got[IPC_QUEUE_ID_MAX + 1] = {0};
		smtp_reply_init(&reply);
		assert_int_equal(
			smtp_reply_feed(&reply, cases[i].reply, strlen(cases[i].reply), &consumed),
			SMTP_REPLY_DONE);
		size_t len = queue_id_find(&reply, (uint8_t *)got, IPC_QUEUE_ID_MAX);
		got[len] = '\0';
		if (strcmp(got, cases[i].id) != 0)
			fail_msg("%s: got %s, want %s", cases[i].name, got, cases[i].id);
		smtp_reply_free(&reply);
	}
}

static void test_room_is_kept(void **state)
{
	static const char text[] = "250 Ok: queued as abcdef\r\n";
	struct smtp_reply reply;
	size_t consumed;
	uint8_t out[4] = {0};

	(void)state;
	smtp_reply_init(&reply);
	assert_int_equal(
		smtp_reply_feed(&reply, text, sizeof text - 1, &consumed), SMTP_REPLY_DONE);
	assert_int_equal(queue_id_find(&reply, out, 3), 3);
	assert_memory_equal(out, "abc", 4);
	assert_int_equal(queue_id_find(&reply, out, 0), 0);
	smtp_reply_free(&reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_replies),
		cmocka_unit_test(test_room_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
