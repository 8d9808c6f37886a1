/* SPDX-License-Identifier: ISC */
/*
 * The table of children: one slot for each process that must live, in the order of their start.
 *
 * Owns their control sockets and counter pages, hands out the channels between them, and starts
 * again what ended.  Each start makes fresh channels to every living partner, so that a crash of
 * one never needs more than one rule.  When to drain and when to stop is supervise.c's.
 */
#ifndef MASTER_CHILDREN_H
#define MASTER_CHILDREN_H

#include "common/counters.h"
#include "common/ipc.h"
#include "master/house.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	CHILDREN_MAX = 3 + CONFIG_HASHERS_MAX + CONFIG_WORKERS_MAX,
	CHILDREN_BACKOFF_FIRST_MS = 50,
	CHILDREN_BACKOFF_MAX_MS = 5000,
	CHILDREN_SETTLED_MS = 10000, /* who lived as long starts again at once */
	CHILDREN_STALE_MS = 30000,   /* a heartbeat this old: its loop stands still */
	CHILDREN_ABORT_MS = 2000,    /* from SIGABRT to SIGKILL */
};

struct child_slot {
	enum ipc_process process;
	unsigned index;
	pid_t pid; /* 0: not running */
	int control;
	struct counters *page;
	int page_fd;
	bool ready;
	bool wanted; /* start it again when it ends */
	uint64_t started_ms;
	uint64_t restart_ms; /* when it is due; only while pid == 0 && wanted */
	uint64_t backoff_ms; /* 0: the last one had settled */
	uint64_t aborted_ms; /* 0: SIGABRT was not sent */
};

struct children {
	struct house *house;
	size_t count;
	struct child_slot slots[CHILDREN_MAX];
	bool settled;     /* all have been ready once: no failure is fatal any more */
	int fatal_status; /* exit status of a child that could not start at all; 0: none */
	bool untidy;      /* one that was told to finish did not end well */
};

/* Lays out the table; starts nothing. */
void children_init(struct children *children, struct house *house);

/* Starts all.  False: the first of them could not even be forked; a sentence was logged. */
bool children_start(struct children *children, uint64_t now_ms) __attribute__((warn_unused_result));

/* Collects those that ended, logs how, and plans their restart. */
void children_reap(struct children *children, uint64_t now_ms);

/* Starts what is due, and ends what was aborted and lives on. */
void children_tick(struct children *children, uint64_t now_ms);

/* SIGABRT for each whose heartbeat is older than CHILDREN_STALE_MS. */
void children_check_heartbeats(struct children *children, uint64_t now_ms);

/* How long until children_tick() has something to do, at most limit_ms. */
uint64_t children_next_ms(const struct children *children, uint64_t now_ms, uint64_t limit_ms);

/* Fills polls with the control sockets; returns how many (at most CHILDREN_MAX). */
size_t children_poll(const struct children *children, struct pollfd *polls);
/* Reads what came on a control socket. */
void children_readable(struct children *children, int control);

/* No more starts of these; their control sockets say that it is time to finish. */
void children_drain(struct children *children, enum ipc_process process);
/* No more starts of any. */
void children_keep_no_more(struct children *children);
/* The same, and SIGKILL to all that live. */
void children_kill(struct children *children);
/* SIGKILL for those of one kind that live; returns how many. */
size_t children_kill_kind(struct children *children, enum ipc_process process);

size_t children_living(const struct children *children, enum ipc_process process);
size_t children_all(const struct children *children);

#endif
