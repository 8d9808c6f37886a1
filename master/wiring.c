/* SPDX-License-Identifier: ISC */
/*
 * Channels and pages; see wiring.h.
 *
 * A descriptor that a child does not take (its control socket is full: it stands still) leaves it
 * without a partner for ever, so such a child is ended and starts anew.
 */
#include "master/wiring.h"

#include "common/child.h"
#include "common/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool wiring_talks(enum ipc_process a, enum ipc_process b)
{
	static const enum ipc_process pairs[][2] = {
		{IPC_PROCESS_AUTH, IPC_PROCESS_PROXY},
		{IPC_PROCESS_AUTH, IPC_PROCESS_HASH},
		{IPC_PROCESS_PROBE, IPC_PROCESS_PROXY},
	};

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		if ((pairs[i][0] == a && pairs[i][1] == b) ||
			(pairs[i][0] == b && pairs[i][1] == a))
			return true;
	}
	return false;
}

/* Tells `to` about `about`; fd stays the caller's. */
static void tell(const struct child_slot *to, enum ipc_type type, enum ipc_process process,
	unsigned index, int fd)
{
	const struct ipc_control payload = {.process = (uint8_t)process, .index = index};
	char name[32];

	if (to->control == -1 || control_send(to->control, type, &payload, fd))
		return;
	if (errno == EPIPE || errno == ECONNRESET)
		return; /* it has ended; its restart wires it again */
	log_message(LOG_ERROR, "control-failed", "%s takes no descriptor: %s; it is ended",
		child_name(to->process, to->index, name), strerror(errno));
	(void)kill(to->pid, SIGKILL);
}

static void connect_pair(const struct child_slot *a, const struct child_slot *b)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == -1) {
		log_message(LOG_ERROR, "channel-failed", "making a channel: %s", strerror(errno));
		(void)kill(a->pid, SIGKILL); /* its next start tries again */
		return;
	}
	tell(a, IPC_CONTROL_CHANNEL, b->process, b->index, fds[0]);
	tell(b, IPC_CONTROL_CHANNEL, a->process, a->index, fds[1]);
	close(fds[0]);
	close(fds[1]);
}

static const struct child_slot *find_admin(const struct children *children)
{
	for (size_t i = 0; i < children->count; i++) {
		const struct child_slot *slot = &children->slots[i];
		if (slot->process == IPC_PROCESS_ADMIN && slot->pid > 0)
			return slot;
	}
	return NULL;
}

/* The master's page comes last: when admin has it, it has all, and no total is too small. */
static void tell_all_pages(const struct children *children, const struct child_slot *admin)
{
	for (size_t i = 0; i < children->count; i++) {
		const struct child_slot *slot = &children->slots[i];
		if (slot->pid > 0)
			tell(admin, IPC_CONTROL_COUNTERS, slot->process, slot->index,
				slot->page_fd);
	}
	tell(admin, IPC_CONTROL_COUNTERS, IPC_PROCESS_MASTER, 0, children->house->page_fd);
}

void wiring_started(struct children *children, struct child_slot *slot)
{
	const struct child_slot *admin = find_admin(children);

	for (size_t i = 0; i < children->count; i++) {
		const struct child_slot *other = &children->slots[i];
		if (other != slot && other->pid > 0 && wiring_talks(slot->process, other->process))
			connect_pair(slot, other);
	}
	if (slot->process == IPC_PROCESS_ADMIN)
		tell_all_pages(children, slot);
	else if (admin != NULL)
		tell(admin, IPC_CONTROL_COUNTERS, slot->process, slot->index, slot->page_fd);
}

void wiring_ended(struct children *children, const struct child_slot *slot)
{
	const struct child_slot *admin = find_admin(children);

	if (admin != NULL && admin != slot)
		tell(admin, IPC_CONTROL_COUNTERS, slot->process, slot->index, -1);
}
