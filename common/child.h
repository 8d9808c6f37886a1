/* SPDX-License-Identifier: ISC */
/*
 * What every child process shares: what it inherits from the master by fork, the control socket
 * (descriptors of channels come down it, readiness goes up), the heartbeat and the end.
 *
 * The master forks; the child's main calls its own set-up that needs privilege, then
 * child_confine(), then makes its event base and calls child_run().  The control socket is
 * SEQPACKET: one frame a datagram, at most one descriptor.  When it closes, the master is gone: the
 * child ends.
 */
#ifndef COMMON_CHILD_H
#define COMMON_CHILD_H

#include "common/config.h"
#include "common/counters.h"
#include "common/ipc.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct child_listener {
	int fd;
	size_t listen;  /* index into config.listeners */
	size_t address; /* index into its addresses */
};

/* All of it is inherited memory and descriptors; lives as long as the process. */
struct child_start {
	enum ipc_process process;
	unsigned index;   /* proxy0, proxy1, ... */
	unsigned workers; /* how many proxies there are */
	struct config *config;
	int control;
	struct counters *page;
	const struct child_listener *listeners; /* proxy: SMTP; admin: its one of HTTP */
	size_t listener_count;
	const struct child_confinement *confinement;
	uint8_t ticket_seed[32]; /* random, the same for all proxies of one master; zero elsewhere
				  */
};

/* Resolved by the master before it forks. */
struct child_confinement {
	bool root;                 /* false: unprivileged mode, no uid and no chroot of its own */
	uint32_t uid, gid;         /* of this child */
	char root_directory[1024]; /* an empty directory of root's; "" with root == false */
};

enum child_syscalls {           /* which system calls remain after child_confine() */
	CHILD_SYSCALLS_COMPUTE, /* hash: read, write, memory, exit */
	CHILD_SYSCALLS_NETWORK, /* the others: no exec, no ptrace, no opening of files */
	CHILD_SYSCALLS_SPOOL,   /* auth: besides, threads, and to place octets in open files */
};

/*
 * Gives up everything: descriptor and core limits, non-dumpable, chroot (root_directory_override,
 * or the confinement's when NULL), groups and ids, capabilities, no-new-privileges, then a seccomp
 * filter (not under sanitizers).  Fatal with a sentence when any step fails: a child never runs
 * half confined.
 */
void child_confine(const struct child_start *start, enum child_syscalls syscalls,
	const char *root_directory_override);

struct child_events {
	/* A channel to another process; the callee owns fd.  May come again for the same peer after
	 * a crash of it: the old channel is dead then. */
	void (*on_channel)(enum ipc_process peer, unsigned index, int fd, void *arg);
	/* admin only: a page of counters to read; the callee owns fd.  fd == -1: that process is
	 * gone. */
	void (*on_counters)(enum ipc_process peer, unsigned index, int fd, void *arg);
	/* SIGTERM reached the master, or this process: finish what is running, then
	 * event_base_loopexit. */
	void (*on_drain)(void *arg);
	/* Every second; may be NULL. */
	void (*on_tick)(uint64_t now_ms, void *arg);
};

struct child;

/* Attaches control socket, signals and heartbeat to base.  NULL: out of memory. */
struct child *child_attach(struct event_base *base, const struct child_start *start,
	const struct child_events *events, void *arg) __attribute__((warn_unused_result));

/* Tells the master that this child serves; once. */
void child_ready(struct child *child);
void child_detach(struct child **child);

/* Process title ("postern: proxy 0") for ps; argv's memory was saved by child_title_init(). */
void child_title_init(int argc, char **argv);
void child_title_set(const char *title);

/* "auth", "proxy0", ... for the log. */
const char *child_name(enum ipc_process process, unsigned index, char text[32]);

/* Control frames with an optional descriptor (-1: none); used by both ends.  false with errno. */
bool control_send(int socket, enum ipc_type type, const struct ipc_control *payload, int fd)
	__attribute__((warn_unused_result));
/* 1: a frame, 0: nothing now, -1: closed or broken.  *fd_out is -1 without a descriptor. */
int control_receive(int socket, enum ipc_type *type_out, struct ipc_control *payload_out,
	int *fd_out) __attribute__((warn_unused_result));

#endif
