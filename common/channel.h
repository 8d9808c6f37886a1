/* SPDX-License-Identifier: ISC */
/*
 * Frames between two processes over a UNIX stream socketpair: struct frame_header, then a payload
 * whose exact size common/ipc.h fixes by type.  No text, no strings to parse.
 *
 * Writes are gathered and leave once a loop turn.  A frame of the wrong version, type or size, an
 * output above CHANNEL_QUEUE_MAX, or a peer that takes nothing for CHANNEL_STALL_MS ends the
 * channel, and only it: on_close fires once, from the loop, never from within channel_send().  One
 * thread.
 */
#ifndef COMMON_CHANNEL_H
#define COMMON_CHANNEL_H

#include "common/ipc.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHANNEL_QUEUE_MAX = 8 * 1024 * 1024, CHANNEL_STALL_MS = 5000 };

struct channel;

struct channel_events {
	/*
	 * One whole frame.  payload is aligned, as long as the type says, valid during the call,
	 * and wiped after it.  The callback may close the channel.
	 */
	void (*on_frame)(struct channel *channel, enum ipc_type type, uint64_t id,
		const void *payload, void *arg);
	/* The channel is dead; reason is a word for the log.  Call channel_close() now or later. */
	void (*on_close)(struct channel *channel, const char *reason, void *arg);
};

/* Takes ownership of fd (made non-blocking and close-on-exec).  NULL: out of memory, fd closed. */
struct channel *channel_open(struct event_base *base, int fd, const struct channel_events *events,
	void *arg) __attribute__((warn_unused_result));

/*
 * Queues a frame.  The payload is copied; size must be ipc_size(type).  Returns false when the
 * channel is dead or full (then on_close follows): the request is lost, answer 454/451 yourself.
 */
bool channel_send(
	struct channel *channel, enum ipc_type type, uint64_t id, const void *payload, size_t size);

/* Closes without calling on_close.  Safe within on_frame and on_close.  NULL-safe. */
void channel_close(struct channel **channel);

/* How many on_frame calls one loop turn makes at most; the rest waits for the next (fairness). */
enum { CHANNEL_FRAMES_A_TURN = 64 };

#endif
