/* SPDX-License-Identifier: ISC */
/*
 * The child's side of the control socket, its signals and its heartbeat; see child.h.
 *
 * SIGINT and SIGHUP are ignored: a terminal sends them to the whole group, and it is the master
 * that decides what they mean.  Confinement is in child_confine.c, the process title in
 * child_title.c.
 */
#include "common/child.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct control_frame {
	struct ipc_header header;
	struct ipc_control payload;
};

union control_space { /* room for one descriptor, aligned as cmsg wants it */
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

struct child {
	struct event_base *base;
	const struct child_start *start;
	const struct child_events *events;
	void *arg;
	struct event *control, *terminate, *heartbeat;
	bool draining, ready;
};

const char *child_name(enum ipc_process process, unsigned index, char text[32])
{
	const char *name = NULL;

	switch (process) {
	case IPC_PROCESS_MASTER:
		name = "master";
		break;
	case IPC_PROCESS_AUTH:
		name = "auth";
		break;
	case IPC_PROCESS_PROBE:
		name = "probe";
		break;
	case IPC_PROCESS_ADMIN:
		name = "admin";
		break;
	case IPC_PROCESS_HASH:
		snprintf(text, 32, "hash%u", index);
		return text;
	case IPC_PROCESS_PROXY:
		snprintf(text, 32, "proxy%u", index);
		return text;
	}
	snprintf(text, 32, "%s", name == NULL ? "unknown" : name);
	return text;
}

/* ------------------------------------------------------------------ frames */
bool control_send(int socket, enum ipc_type type, const struct ipc_control *payload, int fd)
{
	struct control_frame frame = {
		.header = {.size = sizeof frame.payload,
			.version = IPC_VERSION,
			.type = (uint8_t)type},
		.payload = *payload,
	};
	struct iovec iov = {.iov_base = &frame, .iov_len = sizeof frame};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	union control_space space;
	ssize_t n;

	if (fd != -1) {
		memset(&space, 0, sizeof space);
		message.msg_control = space.bytes;
		message.msg_controllen = sizeof space.bytes;
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	do
		n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	return n == (ssize_t)sizeof frame;
}

static int descriptor_of(struct msghdr *message)
{
	int fd = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
		/* The space holds one descriptor; the kernel closes what did not fit. */
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
			c->cmsg_len == CMSG_LEN(sizeof fd))
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
	}
	return fd;
}

static bool frame_is_good(const struct control_frame *frame, ssize_t n, int flags)
{
	enum ipc_type type = (enum ipc_type)frame->header.type;

	return n == (ssize_t)sizeof *frame && (flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
	       frame->header.version == IPC_VERSION &&
	       frame->header.size == sizeof frame->payload && type >= IPC_CONTROL_CHANNEL &&
	       type < IPC_TYPE_END && ipc_valid(type, &frame->payload);
}

int control_receive(
	int socket, enum ipc_type *type_out, struct ipc_control *payload_out, int *fd_out)
{
	struct control_frame frame = {0};
	struct iovec iov = {.iov_base = &frame, .iov_len = sizeof frame};
	union control_space space = {0};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = space.bytes,
		.msg_controllen = sizeof space.bytes,
	};
	ssize_t n;

	*fd_out = -1;
	do
		n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		return errno == EAGAIN ? 0 : -1;
	int fd = descriptor_of(&message);
	if (!frame_is_good(&frame, n, message.msg_flags)) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	*type_out = (enum ipc_type)frame.header.type;
	*payload_out = frame.payload;
	*fd_out = fd;
	return 1;
}

/* ------------------------------------------------------------------- events */
/* The second call ends the loop at once: somebody is in a hurry. */
static void drain(struct child *child)
{
	if (child->draining || child->events->on_drain == NULL) {
		event_base_loopbreak(child->base);
		return;
	}
	child->draining = true;
	child->events->on_drain(child->arg);
}

static void on_terminate(evutil_socket_t signal_number, short what, void *arg)
{
	(void)signal_number;
	(void)what;
	drain(arg);
}

static void on_channel(struct child *child, const struct ipc_control *payload, int fd)
{
	if (fd == -1)
		return;
	if (child->events->on_channel == NULL)
		close(fd);
	else
		child->events->on_channel(
			(enum ipc_process)payload->process, payload->index, fd, child->arg);
}

static void on_counters(struct child *child, const struct ipc_control *payload, int fd)
{
	if (child->events->on_counters != NULL)
		child->events->on_counters(
			(enum ipc_process)payload->process, payload->index, fd, child->arg);
	else if (fd != -1)
		close(fd);
}

static void dispatch(
	struct child *child, enum ipc_type type, const struct ipc_control *payload, int fd)
{
	if (type == IPC_CONTROL_CHANNEL) {
		on_channel(child, payload, fd);
	} else if (type == IPC_CONTROL_COUNTERS) {
		on_counters(child, payload, fd);
	} else {
		if (fd != -1)
			close(fd);
		/* Once: the end by a second request is for people who send a second SIGTERM. */
		if (type == IPC_CONTROL_DRAIN && !child->draining)
			drain(child);
	}
}

static void on_control(evutil_socket_t socket, short what, void *arg)
{
	struct child *child = arg;
	struct ipc_control payload;
	enum ipc_type type;
	int fd, status;

	(void)what;
	for (;;) {
		status = control_receive(socket, &type, &payload, &fd);
		if (status != 1)
			break;
		dispatch(child, type, &payload, fd);
	}
	if (status == 0)
		return;
	/* The master is gone, and with it the listeners' owner: nothing is left to serve. */
	log_message(LOG_WARNING, "master-gone", "the control socket closed; this process ends");
	event_del(child->control);
	event_base_loopbreak(child->base);
}

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	struct child *child = arg;
	uint64_t now_ms = clock_monotonic_ms();

	(void)fd;
	(void)what;
	counters_heartbeat(now_ms);
	log_flush();
	if (child->events->on_tick != NULL)
		child->events->on_tick(now_ms, child->arg);
}

/* ----------------------------------------------------------------- lifetime */
static bool ignore_signals(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	return sigaction(SIGPIPE, &ignore, NULL) == 0 && sigaction(SIGINT, &ignore, NULL) == 0 &&
	       sigaction(SIGHUP, &ignore, NULL) == 0;
}

struct child *child_attach(struct event_base *base, const struct child_start *start,
	const struct child_events *events, void *arg)
{
	static const struct timeval second = {1, 0};
	struct child *child = calloc(1, sizeof *child);

	if (child == NULL)
		return NULL;
	child->base = base;
	child->start = start;
	child->events = events;
	child->arg = arg;
	if (start->page != NULL)
		counters_own(start->page);
	counters_heartbeat(clock_monotonic_ms());
	child->control = event_new(base, start->control, EV_READ | EV_PERSIST, on_control, child);
	child->terminate = evsignal_new(base, SIGTERM, on_terminate, child);
	child->heartbeat = event_new(base, -1, EV_PERSIST, on_heartbeat, child);
	if (!ignore_signals() || child->control == NULL || child->terminate == NULL ||
		child->heartbeat == NULL || event_add(child->control, NULL) == -1 ||
		event_add(child->terminate, NULL) == -1 ||
		event_add(child->heartbeat, &second) == -1)
		child_detach(&child);
	return child;
}

void child_ready(struct child *child)
{
	struct ipc_control payload = {
		.process = (uint8_t)child->start->process, .index = child->start->index};

	require(!child->ready);
	child->ready = true;
	if (!control_send(child->start->control, IPC_CONTROL_READY, &payload, -1))
		log_message(LOG_ERROR, "control-failed", "telling the master: %s", strerror(errno));
}

void child_detach(struct child **pointer)
{
	struct child *child = *pointer;

	*pointer = NULL;
	if (child == NULL)
		return;
	if (child->control != NULL)
		event_free(child->control);
	if (child->terminate != NULL)
		event_free(child->terminate);
	if (child->heartbeat != NULL)
		event_free(child->heartbeat);
	free(child);
	log_flush();
}
