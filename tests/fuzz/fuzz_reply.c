/* SPDX-License-Identifier: ISC */
/*
 * Replies of a hostile server: never out of bounds, the same end however the input is cut, and
 * whatever is formatted from it keeps the RFC's form.
 */
#include "common/capability.h"
#include "common/smtp_reply.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t len, unsigned code, bool last)
{
	CHECK(len <= SMTP_REPLY_OUT_LINE_MAX && len >= 6);
	CHECK((unsigned)(line[0] - '0') == code / 100);
	CHECK(line[3] == (last ? ' ' : '-'));
	CHECK(code / 100 == 3 || line[4] == line[0]);
	CHECK(line[len - 2] == '\r');
	for (size_t i = 0; i < len - 2; i++)
		CHECK((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
}

static void check_format(const struct smtp_reply *reply, bool utf8)
{
	static char out[SMTP_REPLY_FORMAT_MAX];
	size_t len = smtp_reply_format(reply, utf8, out, sizeof out);

	CHECK(len <= sizeof out && len > 0);
	for (size_t at = 0; at < len;) {
		const char *end = memchr(out + at, '\n', len - at);
		CHECK(end != NULL);
		size_t line = (size_t)(end - (out + at)) + 1;
		check_line(out + at, line, reply->code, at + line == len);
		at += line;
	}
}

static size_t feed(struct smtp_reply *reply, const uint8_t *data, size_t size, size_t step)
{
	size_t total = 0;

	while (total < size && reply->status == SMTP_REPLY_MORE) {
		size_t consumed, part = size - total < step ? size - total : step;
		enum smtp_reply_status status =
			smtp_reply_feed(reply, data + total, part, &consumed);
		CHECK(consumed <= part && (status != SMTP_REPLY_MORE || consumed == part));
		total += consumed;
	}
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_reply whole, parts;
	struct capability_set set;
	size_t step = size > 0 ? data[0] % 7u + 1 : 1;

	smtp_reply_init(&whole);
	smtp_reply_init(&parts);
	for (size_t at = 0; at < size;) {
		size_t used = feed(&whole, data + at, size - at, size);
		CHECK(feed(&parts, data + at, size - at, step) == used);
		CHECK(whole.status == parts.status && whole.code == parts.code);
		if (whole.status != SMTP_REPLY_DONE)
			break;
		check_format(&whole, true);
		check_format(&parts, false);
		capability_parse(&whole, &set);
		smtp_reply_reset(&whole);
		smtp_reply_reset(&parts);
		at += used;
	}
	smtp_reply_free(&whole);
	smtp_reply_free(&parts);
	return 0;
}
