/* SPDX-License-Identifier: ISC */
/*
 * Messages in chunks: the input is a client's stream of BDAT commands and their octets, as the
 * proxy takes it apart.  Each message is normalised in each of the three modes, in the pieces in
 * which it came and octet by octet, and held against the slow reference; the pieces for a backend's
 * BDAT must add up to it, whatever replies come when.
 */
#include "proxy/chunk.h"
#include "proxy/command.h"
#include "proxy/line.h"

#include "tests/unit/body_reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

/* See fuzz_body.c. */
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=32";
}

#define must(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

enum { CHUNKS_OF_INPUT = 64 };

struct message {
	char *bytes;
	size_t len;
	size_t ends[CHUNKS_OF_INPUT]; /* of the chunks */
	size_t count;
	bool last;
};

/* A command at the start of the input, and its octets; returns what they take, 0 for none. */
static size_t take_chunk(const char *input, size_t len, struct message *message)
{
	size_t line_len, consumed;
	struct bdat_arguments bdat;

	if (line_cut(input, len, LINE_COMMAND_MAX, &line_len, &consumed) != LINE_DONE)
		return 0;
	struct command command = command_split(input, line_len);
	if (command.verb != VERB_BDAT)
		return consumed;
	if (!command_parse_bdat(command.args, command.args_len, &bdat))
		return 0;
	must(bdat.size <= BDAT_SIZE_MAX);
	size_t octets = bdat.size < len - consumed ? (size_t)bdat.size : len - consumed;
	if (octets > 0)
		memcpy(message->bytes + message->len, input + consumed, octets);
	message->len += octets;
	message->ends[message->count++] = message->len;
	message->last = bdat.last;
	return consumed + octets;
}

/* A piece is a block of its own, so that a step outside of it is seen. */
static void feed(struct body *body, const char *bytes, size_t len, struct evbuffer *out)
{
	size_t consumed;
	char *copy = malloc(len + 1);

	must(copy != NULL);
	if (len > 0)
		memcpy(copy, bytes, len);
	must(body_feed(body, copy, len, &consumed, out) == BODY_MORE);
	must(consumed == len);
	free(copy);
}

static void check(const struct message *message, enum body_mode mode, bool octets)
{
	struct body_reference want = body_reference_chunks(message->bytes, message->len, mode);
	struct evbuffer *out = evbuffer_new();
	struct body body;
	size_t at = 0;

	must(out != NULL);
	body_init(&body, mode);
	for (size_t i = 0; !octets && i < message->count; at = message->ends[i++])
		feed(&body, message->bytes + at, message->ends[i] - at, out);
	for (; at < message->len; at++)
		feed(&body, message->bytes + at, 1, out);
	body_finish(&body, out);
	must(!body.failed && body.bytes_in == message->len);
	must(body.saw_nul == want.saw_nul && body.saw_bare == want.saw_bare);
	if (!want.saw_nul) {
		const char *got = (const char *)evbuffer_pullup(out, -1);

		must(evbuffer_get_length(out) == want.out_len);
		must(want.out_len == 0 || memcmp(got, want.out, want.out_len) == 0);
		must(mode != BODY_CHUNKS_TO_DATA || body_reference_safe(got, want.out_len));
	}
	evbuffer_free(out);
	free(want.out);
}

/* The message is repeated until it makes more than a piece; dice are its own octets. */
static void check_pieces(const struct message *message)
{
	size_t total = 0, sent = 0, turn = 0;
	bool ending = false;
	struct chunk_queue queue;

	must(chunk_queue_open(&queue));
	while (!ending || !chunk_queue_ready_to_end(&queue)) {
		uint8_t dice =
			(uint8_t)(message->len == 0 ? turn : message->bytes[turn % message->len]);
		bool pipelining = message->count % 2 == 0;

		ending = ending || message->len == 0 || total > 3 * (size_t)CHUNK_PIECE_MAX ||
			 turn > 4000;
		if (!ending && !chunk_queue_full(&queue)) {
			must(evbuffer_add(queue.octets, message->bytes, message->len) == 0);
			total += message->len;
		}
		/* A reply comes now and then; when nothing else can happen, it must. */
		if (queue.owed > 0 && (dice % 3 == 0 || turn % 16 == 0))
			queue.owed--;
		size_t len = chunk_queue_next(
			&queue, pipelining, dice % 5 != 0 || turn % 7 == 0, ending);
		must(len <= CHUNK_PIECE_MAX && len <= evbuffer_get_length(queue.octets));
		must(len == 0 || pipelining || queue.owed == 0);
		must(evbuffer_drain(queue.octets, len) == 0);
		queue.owed += len > 0;
		sent += len;
		turn++;
	}
	must(sent + evbuffer_get_length(queue.octets) == total);
	chunk_queue_close(&queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *input = (const char *)data;
	struct message message = {.bytes = malloc(size + 1)};
	size_t at = 0, taken;

	must(message.bytes != NULL);
	while (at < size) {
		taken = take_chunk(input + at, size - at, &message);
		at += taken;
		if (taken > 0 && !message.last && message.count < CHUNKS_OF_INPUT)
			continue;
		for (unsigned mode = BODY_CHUNKS_TO_DATA; mode <= BODY_BINARY; mode++) {
			check(&message, (enum body_mode)mode, false);
			check(&message, (enum body_mode)mode, true);
		}
		check_pieces(&message);
		message.len = message.count = 0;
		message.last = false;
		if (taken == 0)
			break;
	}
	free(message.bytes);
	return 0;
}
