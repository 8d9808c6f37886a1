/* SPDX-License-Identifier: ISC */
/*
 * Frames of a hostile process: only valid frames are handed on, the same ones however the octets
 * are cut, and the channel ends exactly once, whatever its owner does meanwhile.
 */
#include "common/channel.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

enum { PIECE_MAX = 16 * 1024 }; /* well below a socket's buffer */

struct owner {
	struct channel *channel;
	uint64_t digest; /* of all frames, in order */
	size_t frames, closes;
	size_t close_at; /* closes within the on_frame call of this number; 0: never */
	bool impossible_reason;
};

static struct event_base *base;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add(struct owner *owner, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++)
		owner->digest = (owner->digest ^ at[i]) * UINT64_C(0x100000001b3);
}

static void on_frame(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, void *arg)
{
	struct owner *owner = arg;

	CHECK(channel == owner->channel && owner->closes == 0);
	CHECK(ipc_size(type) > 0 && ipc_valid(type, payload));
	CHECK((uintptr_t)payload % _Alignof(max_align_t) == 0);
	add(owner, &type, sizeof type);
	add(owner, &id, sizeof id);
	add(owner, payload, ipc_size(type));
	owner->frames++;
	(void)channel_send(channel, type, id, payload, ipc_size(type));
	if (owner->frames == owner->close_at)
		channel_close(&owner->channel);
}

static void on_close(struct channel *channel, const char *reason, void *arg)
{
	struct owner *owner = arg;

	CHECK(channel == owner->channel && strlen(reason) > 0);
	owner->closes++;
	owner->impossible_reason = strcmp(reason, "stalled") == 0 || strcmp(reason, "full") == 0;
	if (owner->frames % 2 == 1)
		channel_close(&owner->channel);
}

static void turns(int count)
{
	while (count-- > 0)
		(void)event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* What the channel answers is read, so that nothing waits. */
static void take_answers(int fd)
{
	static uint8_t answers[256 * 1024];

	while (recv(fd, answers, sizeof answers, MSG_DONTWAIT) > 0)
		continue;
}

static void run(struct owner *owner, const uint8_t *data, size_t size, size_t step)
{
	static const struct channel_events events = {on_frame, on_close};
	int fds[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	owner->channel = channel_open(base, fds[0], &events, owner);
	CHECK(owner->channel != NULL);
	for (size_t at = 0; at < size && owner->channel != NULL && owner->closes == 0;) {
		size_t len = size - at < step ? size - at : step;
		ssize_t n = send(fds[1], data + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		CHECK(n > 0);
		at += (size_t)n;
		turns(1 + (int)(len / 1024));
		take_answers(fds[1]);
	}
	close(fds[1]);
	for (int i = 0; i < 100 && owner->channel != NULL && owner->closes == 0; i++)
		turns(1);
	bool closed_itself = owner->close_at != 0 && owner->frames == owner->close_at;
	CHECK(owner->closes == (closed_itself ? 0 : 1));
	CHECK(!owner->impossible_reason);
	channel_close(&owner->channel);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	(void)signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	CHECK(base != NULL);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct owner whole = {0}, parts = {0}, leaver = {0};
	size_t step = size > 0 ? data[size - 1] % 61u + 1 : 1;

	run(&whole, data, size, PIECE_MAX);
	run(&parts, data, size, step);
	CHECK(whole.frames == parts.frames && whole.digest == parts.digest);
	leaver.close_at = size > 1 ? data[size - 2] % 4u : 0;
	run(&leaver, data, size, PIECE_MAX);
	CHECK(leaver.frames <= whole.frames);
	return 0;
}
