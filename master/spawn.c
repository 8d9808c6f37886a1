/* SPDX-License-Identifier: ISC */
/*
 * The first steps of a child; see spawn.h.
 *
 * No exec: the configuration, the listening sockets and the page of counters are simply there. What
 * is not its own goes at once: other processes' pages and sockets, the database's secret, the
 * environment.
 */
#include "master/spawn.h"

#include "admin/admin_main.h"
#include "auth/auth_main.h"
#include "auth/hash_main.h"
#include "common/child.h"
#include "common/log.h"
#include "probe/probe_main.h"
#include "proxy/proxy_main.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

enum { KEEP_MAX = CONFIG_LISTENERS_MAX * CONFIG_ADDRESSES_MAX + 8 };

/* ------------------------------------------------------------- descriptors */
static int compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void close_from_to(unsigned first, unsigned last)
{
	if (first > last || close_range(first, last, 0) == 0)
		return;
	/* Kernels before 5.9. */
	long open_max = sysconf(_SC_OPEN_MAX);
	for (unsigned fd = first; fd <= last && (long)fd < open_max; fd++)
		close((int)fd);
}

/* Closes all but the standard ones and those in keep. */
static void close_others(int *keep, size_t count)
{
	unsigned next = STDERR_FILENO + 1;

	qsort(keep, count, sizeof *keep, compare);
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < (int)next)
			continue;
		close_from_to(next, (unsigned)keep[i] - 1);
		next = (unsigned)keep[i] + 1;
	}
	close_from_to(next, ~0U);
}

static void keep_own_descriptors(const struct child_start *start, const struct house *house)
{
	int keep[KEEP_MAX];
	size_t count = 0;

	keep[count++] = start->control;
	keep[count++] = house->log_fd;
	for (size_t i = 0; i < start->listener_count; i++)
		keep[count++] = start->listeners[i].fd;
	close_others(keep, count);
}

/* ------------------------------------------------------------------ memory */
static bool is_kept(const char *variable)
{
	static const char *const prefixes[] = {"OPENSSL_", "ASAN_", "UBSAN_", "TSAN_", "LSAN_"};

	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	return false;
}

/* Only auth may see what libpq would take from the environment. */
static void forget_environment(void)
{
	size_t kept = 0;

	for (size_t i = 0; environ != NULL && environ[i] != NULL; i++) {
		if (is_kept(environ[i]))
			environ[kept++] = environ[i];
		else
			explicit_bzero(environ[i], strlen(environ[i]));
	}
	if (environ != NULL)
		environ[kept] = NULL;
}

/* A page belongs to its process alone: nobody else keeps a mapping that can write to it. */
static void unmap_other_pages(const struct children *children, const struct child_slot *own)
{
	for (size_t i = 0; i < children->count; i++) {
		const struct child_slot *slot = &children->slots[i];
		if (slot != own && slot->page != NULL)
			munmap(slot->page, sizeof *slot->page);
	}
	munmap(children->house->page, sizeof *children->house->page);
}

/* ----------------------------------------------------------------- signals */
static void reset_signals(void)
{
	static const int defaults[] = {SIGTERM, SIGCHLD};
	static const int ignored[] = {SIGINT, SIGHUP, SIGPIPE};
	sigset_t none;

	for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
		(void)signal(defaults[i], SIG_DFL);
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		(void)signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* -------------------------------------------------------------------- start */
static enum config_process user_of(enum ipc_process process)
{
	switch (process) {
	case IPC_PROCESS_AUTH:
		return CONFIG_USER_AUTH;
	case IPC_PROCESS_HASH:
		return CONFIG_USER_HASH;
	case IPC_PROCESS_PROXY:
		return CONFIG_USER_PROXY;
	case IPC_PROCESS_PROBE:
		return CONFIG_USER_PROBE;
	case IPC_PROCESS_ADMIN:
		return CONFIG_USER_ADMIN;
	case IPC_PROCESS_MASTER:
		break;
	}
	panic("no child has this number");
}

static int run_main(const struct child_start *start)
{
	switch (start->process) {
	case IPC_PROCESS_AUTH:
		return auth_main(start);
	case IPC_PROCESS_HASH:
		return hash_main(start);
	case IPC_PROCESS_PROXY:
		return proxy_main(start);
	case IPC_PROCESS_PROBE:
		return probe_main(start);
	case IPC_PROCESS_ADMIN:
		return admin_main(start);
	case IPC_PROCESS_MASTER:
		break;
	}
	panic("no child has this number");
}

static void set_names(const struct child_start *start, const struct house *house)
{
	char name[32], title[48];

	child_name(start->process, start->index, name);
	log_open(name, house->log_fd, house->config->log.format,
		(enum log_level)house->config->log.level);
	if (start->process == IPC_PROCESS_HASH)
		snprintf(title, sizeof title, "postern: hash %u", start->index);
	else if (start->process == IPC_PROCESS_PROXY)
		snprintf(title, sizeof title, "postern: proxy %u", start->index);
	else
		snprintf(title, sizeof title, "postern: %s", name);
	child_title_set(title);
}

static void fill_listeners(struct child_start *start, const struct listeners *listeners)
{
	if (start->process == IPC_PROCESS_PROXY) {
		start->listeners = listeners->smtp;
		start->listener_count = listeners->smtp_count;
	} else if (start->process == IPC_PROCESS_ADMIN) {
		start->listeners = &listeners->admin;
		start->listener_count = listeners->admin.fd == -1 ? 0 : 1;
	}
}

static void fill_confinement(
	struct child_confinement *confinement, const struct house *house, enum ipc_process process)
{
	*confinement = (struct child_confinement){.root = house->root};
	if (!house->root)
		return;
	confinement->uid = house->users[user_of(process)].uid;
	confinement->gid = house->users[user_of(process)].gid;
	snprintf(confinement->root_directory, sizeof confinement->root_directory, "%s",
		house->empty_directory);
}

static _Noreturn void be_child(
	struct children *children, const struct child_slot *slot, int control)
{
	struct house *house = children->house;
	struct child_confinement confinement;
	struct child_start start = {
		.process = slot->process,
		.index = slot->index,
		.workers = house->workers,
		.config = house->config,
		.control = control,
		.page = slot->page,
		.confinement = &confinement,
	};

	reset_signals();
	counters_own(slot->page);
	unmap_other_pages(children, slot);
	fill_listeners(&start, &house->listeners);
	fill_confinement(&confinement, house, slot->process);
	keep_own_descriptors(&start, house);
	set_names(&start, house);
	if (slot->process == IPC_PROCESS_PROXY)
		memcpy(start.ticket_seed, house->ticket_seed, sizeof start.ticket_seed);
	explicit_bzero(house->ticket_seed, sizeof house->ticket_seed);
	if (slot->process != IPC_PROCESS_AUTH) {
		config_forget_secrets(house->config);
		forget_environment();
	}
	int status = run_main(&start);
	log_flush();
	_exit(status);
}

pid_t spawn_child(struct children *children, const struct child_slot *slot, int control)
{
	pid_t pid = fork();

	if (pid == 0)
		be_child(children, slot, control);
	return pid;
}
