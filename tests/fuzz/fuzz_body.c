/* SPDX-License-Identifier: ISC */
/*
 * The end of data, against the slow reference: the first octet says how the message is cut into
 * pieces, the rest is the message, and an end of data is appended so that it always has one.
 */
#include "tests/unit/body_reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

/* Octet by octet is a block an octet: the usual quarantine of freed blocks would hold 800 MB of
 * them. */
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=32";
}

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

/* A piece is a block of its own, so that a step outside of it is seen. */
static bool feed_piece(
	struct body *body, const char *bytes, size_t len, size_t *consumed, struct evbuffer *out)
{
	char *copy = malloc(len);
	bool ended;

	must(copy != NULL);
	memcpy(copy, bytes, len);
	ended = body_feed(body, copy, len, consumed, out) == BODY_END;
	free(copy);
	return ended;
}

static void run(const char *bytes, size_t len, size_t piece, const struct body_reference *want,
	bool discard)
{
	struct evbuffer *out = evbuffer_new();
	struct body body;
	size_t at = 0, consumed = 0;
	bool ended = false;

	must(out != NULL);
	body_init(&body, BODY_DATA);
	while (!ended && at < len) {
		size_t now = len - at < piece ? len - at : piece;

		ended = feed_piece(&body, bytes + at, now, &consumed, discard ? NULL : out);
		must(ended || consumed == now);
		at += consumed;
	}
	must(ended && at == want->consumed);
	must(body.saw_bare == want->saw_bare && body.saw_nul == want->saw_nul);
	must(body.bytes_in == want->bytes_in && !body.failed);
	if (discard) {
		must(evbuffer_get_length(out) == 0);
	} else {
		const char *got = (const char *)evbuffer_pullup(out, -1);

		must(evbuffer_get_length(out) == want->out_len);
		must(want->out_len == 0 || memcmp(got, want->out, want->out_len) == 0);
		must(want->saw_nul || body_reference_safe(got, want->out_len));
	}
	evbuffer_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct body_reference want;
	char *bytes;
	size_t len, piece;

	if (size == 0)
		return 0;
	piece = data[0] + 1u;
	len = size - 1;
	bytes = malloc(len + 5);
	must(bytes != NULL);
	memcpy(bytes, data + 1, len);
	memcpy(bytes + len, "\r\n.\r\n", 5);
	len += 5;
	want = body_reference(bytes, len);
	must(want.ended);
	run(bytes, len, len, &want, false);
	run(bytes, len, piece, &want, false);
	run(bytes, len, 1, &want, false);
	run(bytes, len, piece, &want, true);
	free(want.out);
	free(bytes);
	return 0;
}
