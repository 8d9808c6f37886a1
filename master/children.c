/* SPDX-License-Identifier: ISC */
/* The table of children; see children.h. */
#include "master/children.h"

#include "common/child.h"
#include "common/clock.h"
#include "common/log.h"
#include "master/spawn.h"
#include "master/wiring.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void add(struct children *children, enum ipc_process process, unsigned index)
{
	require(children->count < CHILDREN_MAX);
	children->slots[children->count++] = (struct child_slot){
		.process = process, .index = index, .control = -1, .page_fd = -1, .wanted = true};
}

void children_init(struct children *children, struct house *house)
{
	memset(children, 0, sizeof *children);
	children->house = house;
	add(children, IPC_PROCESS_AUTH, 0);
	for (unsigned i = 0; i < house->hashers; i++)
		add(children, IPC_PROCESS_HASH, i);
	add(children, IPC_PROCESS_PROBE, 0);
	for (unsigned i = 0; i < house->workers; i++)
		add(children, IPC_PROCESS_PROXY, i);
	if (house->listeners.admin.fd != -1)
		add(children, IPC_PROCESS_ADMIN, 0);
}

static const char *name_of(const struct child_slot *slot, char text[32])
{
	return child_name(slot->process, slot->index, text);
}

static void count_ready(const struct children *children)
{
	uint64_t auth = 0, proxies = 0;

	for (size_t i = 0; i < children->count; i++) {
		const struct child_slot *slot = &children->slots[i];
		auth += slot->ready && slot->process == IPC_PROCESS_AUTH;
		proxies += slot->ready && slot->process == IPC_PROCESS_PROXY;
	}
	counter_set(COUNTER_CHILDREN_AUTH, auth);
	counter_set(COUNTER_CHILDREN_PROXY, proxies);
}

/* -------------------------------------------------------------------- start */
static void release(struct child_slot *slot)
{
	if (slot->control != -1)
		close(slot->control);
	if (slot->page_fd != -1)
		close(slot->page_fd);
	if (slot->page != NULL)
		munmap(slot->page, sizeof *slot->page);
	slot->control = slot->page_fd = -1;
	slot->page = NULL;
	slot->pid = 0;
	slot->ready = false;
	slot->aborted_ms = 0;
}

static void plan_restart(struct child_slot *slot, uint64_t now_ms)
{
	if (now_ms - slot->started_ms >= CHILDREN_SETTLED_MS)
		slot->backoff_ms = 0;
	else if (slot->backoff_ms == 0)
		slot->backoff_ms = CHILDREN_BACKOFF_FIRST_MS;
	else
		slot->backoff_ms = slot->backoff_ms * 2 > CHILDREN_BACKOFF_MAX_MS
					   ? CHILDREN_BACKOFF_MAX_MS
					   : slot->backoff_ms * 2;
	slot->restart_ms = now_ms + slot->backoff_ms;
}

/* False with errno: no page, no socket, no process. */
static bool try_start(struct children *children, struct child_slot *slot, uint64_t now_ms)
{
	int fds[2];

	slot->page_fd = counters_create(&slot->page);
	if (slot->page_fd == -1)
		return false;
	/* Until its own first heartbeat this one stands for it. */
	slot->page->heartbeat_ms = now_ms;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == -1)
		return false;
	slot->control = fds[0];
	pid_t pid = spawn_child(children, slot, fds[1]);
	int saved = errno;
	close(fds[1]);
	errno = saved;
	if (pid == -1)
		return false;
	slot->pid = pid;
	return true;
}

static bool start(struct children *children, struct child_slot *slot, uint64_t now_ms)
{
	char name[32];

	slot->started_ms = now_ms;
	if (!try_start(children, slot, now_ms)) {
		log_message(LOG_ERROR, "child-failed", "starting %s: %s", name_of(slot, name),
			strerror(errno));
		release(slot);
		plan_restart(slot, now_ms);
		return false;
	}
	log_message(
		LOG_DEBUG, "child-started", "%s has PID %ld", name_of(slot, name), (long)slot->pid);
	wiring_started(children, slot);
	return true;
}

bool children_start(struct children *children, uint64_t now_ms)
{
	for (size_t i = 0; i < children->count; i++) {
		if (!start(children, &children->slots[i], now_ms))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------------- end */
static void log_end_of(const struct child_slot *slot, int status)
{
	enum log_level level = slot->wanted || status != 0 ? LOG_WARNING : LOG_INFO;
	struct log_line line;
	char name[32];

	log_begin(&line, level, "child-ended");
	log_text(&line, "child", name_of(slot, name));
	log_int(&line, "child_pid", slot->pid);
	if (WIFSIGNALED(status)) {
		const char *signal_name = sigabbrev_np(WTERMSIG(status));
		log_text(&line, "signal", signal_name == NULL ? "?" : signal_name);
		if (WTERMSIG(status) == SIGSYS)
			log_text(&line, "msg",
				"SIGSYS: a system call outside of its allow-list; report it, with "
				"the version and what was going on");
	} else {
		log_int(&line, "status", WEXITSTATUS(status));
	}
	log_end(&line);
}

static void ended(struct children *children, struct child_slot *slot, int status, uint64_t now_ms)
{
	log_end_of(slot, status);
	/* Before all have been up once, a child that gives up by itself says that the start failed:
	 * it has logged why, and would do so again. */
	if (slot->wanted && !children->settled && WIFEXITED(status) && WEXITSTATUS(status) != 0)
		children->fatal_status = WEXITSTATUS(status);
	if (!slot->wanted && status != 0)
		children->untidy = true;
	counters_fold(children->house->page, slot->page);
	wiring_ended(children, slot);
	release(slot);
	count_ready(children);
	if (slot->wanted)
		plan_restart(slot, now_ms);
}

void children_reap(struct children *children, uint64_t now_ms)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0)
			return;
		for (size_t i = 0; i < children->count; i++) {
			if (children->slots[i].pid == pid)
				ended(children, &children->slots[i], status, now_ms);
		}
	}
}

/* --------------------------------------------------------------------- time */
static bool restart_is_due(const struct child_slot *slot, uint64_t now_ms)
{
	return slot->pid == 0 && slot->wanted && now_ms >= slot->restart_ms;
}

static bool kill_is_due(const struct child_slot *slot, uint64_t now_ms)
{
	return slot->pid > 0 && slot->aborted_ms != 0 &&
	       now_ms >= slot->aborted_ms + CHILDREN_ABORT_MS;
}

void children_tick(struct children *children, uint64_t now_ms)
{
	for (size_t i = 0; i < children->count; i++) {
		struct child_slot *slot = &children->slots[i];
		if (restart_is_due(slot, now_ms)) {
			counter_add(COUNTER_RESTARTS, 1);
			(void)start(children, slot, now_ms);
		} else if (kill_is_due(slot, now_ms)) {
			(void)kill(slot->pid, SIGKILL);
			slot->aborted_ms = now_ms;
		}
	}
}

void children_check_heartbeats(struct children *children, uint64_t now_ms)
{
	char name[32];

	for (size_t i = 0; i < children->count; i++) {
		struct child_slot *slot = &children->slots[i];
		if (slot->pid == 0 || slot->aborted_ms != 0)
			continue;
		uint64_t beat_ms = counters_last_heartbeat(slot->page);
		/* The child may have beaten after now_ms was taken. */
		if (beat_ms >= now_ms || now_ms - beat_ms < CHILDREN_STALE_MS)
			continue;
		log_message(LOG_ERROR, "child-stuck",
			"%s (PID %ld) has not moved for %llu ms; it is ended and started again",
			name_of(slot, name), (long)slot->pid,
			(unsigned long long)(now_ms - beat_ms));
		(void)kill(slot->pid, SIGABRT);
		slot->aborted_ms = now_ms;
	}
}

uint64_t children_next_ms(const struct children *children, uint64_t now_ms, uint64_t limit_ms)
{
	uint64_t next_ms = now_ms + limit_ms;

	for (size_t i = 0; i < children->count; i++) {
		const struct child_slot *slot = &children->slots[i];
		uint64_t at_ms = next_ms;
		if (slot->pid == 0 && slot->wanted)
			at_ms = slot->restart_ms;
		else if (slot->pid > 0 && slot->aborted_ms != 0)
			at_ms = slot->aborted_ms + CHILDREN_ABORT_MS;
		next_ms = at_ms < next_ms ? at_ms : next_ms;
	}
	return next_ms < now_ms ? 0 : next_ms - now_ms;
}

/* ------------------------------------------------------------------ control */
size_t children_poll(const struct children *children, struct pollfd *polls)
{
	size_t count = 0;

	for (size_t i = 0; i < children->count; i++) {
		if (children->slots[i].control != -1)
			polls[count++] =
				(struct pollfd){.fd = children->slots[i].control, .events = POLLIN};
	}
	return count;
}

static void note_ready(struct children *children, struct child_slot *slot)
{
	bool all = true;
	char name[32];

	if (slot->ready)
		return;
	slot->ready = true;
	count_ready(children);
	log_message(LOG_INFO, "child-ready", "%s", name_of(slot, name));
	for (size_t i = 0; i < children->count; i++)
		all &= children->slots[i].ready;
	if (!all || children->settled)
		return;
	children->settled = true;
	log_message(LOG_INFO, "ready", "%u proxies and %u hash processes serve",
		children->house->workers, children->house->hashers);
}

void children_readable(struct children *children, int control)
{
	struct child_slot *slot = NULL;
	struct ipc_control payload;
	enum ipc_type type;
	int fd, status;

	for (size_t i = 0; i < children->count && slot == NULL; i++) {
		if (children->slots[i].control == control)
			slot = &children->slots[i];
	}
	if (slot == NULL)
		return;
	for (;;) {
		status = control_receive(control, &type, &payload, &fd);
		if (status != 1)
			break;
		if (fd != -1)
			close(fd); /* descriptors pass only downward */
		if (type == IPC_CONTROL_READY)
			note_ready(children, slot);
	}
	if (status == 0)
		return;
	/* It is about to end, or will be found standing still. */
	close(slot->control);
	slot->control = -1;
}

/* ---------------------------------------------------------------- shut down */
void children_drain(struct children *children, enum ipc_process process)
{
	const struct ipc_control payload = {.process = IPC_PROCESS_MASTER};

	for (size_t i = 0; i < children->count; i++) {
		struct child_slot *slot = &children->slots[i];
		if (slot->process != process)
			continue;
		slot->wanted = false;
		if (slot->pid > 0 &&
			(slot->control == -1 ||
				!control_send(slot->control, IPC_CONTROL_DRAIN, &payload, -1)))
			(void)kill(slot->pid, SIGTERM);
	}
}

void children_keep_no_more(struct children *children)
{
	for (size_t i = 0; i < children->count; i++)
		children->slots[i].wanted = false;
}

static size_t kill_slot(struct child_slot *slot)
{
	slot->wanted = false;
	if (slot->pid == 0)
		return 0;
	(void)kill(slot->pid, SIGKILL);
	return 1;
}

void children_kill(struct children *children)
{
	for (size_t i = 0; i < children->count; i++)
		(void)kill_slot(&children->slots[i]);
}

size_t children_kill_kind(struct children *children, enum ipc_process process)
{
	size_t count = 0;

	for (size_t i = 0; i < children->count; i++) {
		if (children->slots[i].process == process)
			count += kill_slot(&children->slots[i]);
	}
	return count;
}

size_t children_living(const struct children *children, enum ipc_process process)
{
	size_t count = 0;

	for (size_t i = 0; i < children->count; i++)
		count += children->slots[i].process == process && children->slots[i].pid > 0;
	return count;
}

size_t children_all(const struct children *children)
{
	size_t count = 0;

	for (size_t i = 0; i < children->count; i++)
		count += children->slots[i].pid > 0;
	return count;
}
