/* SPDX-License-Identifier: ISC */
/*
 * The loop; see supervise.h.
 *
 * poll() over a signalfd and the control sockets, no libevent: the master must fork at any time,
 * and an event base does not survive that well.  The end comes in steps, so that nobody loses what
 * it stands on: proxies finish their transactions, then auth what they reported, then the rest.
 */
#include "master/supervise.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/children.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	TURN_MS = 1000,         /* of the loop at rest: its own heartbeat */
	HEARTBEATS_MS = 5000,   /* between two checks of the children's */
	DRAIN_MARGIN_MS = 5000, /* what a step may take beyond its own deadline */
	REST_MS = 5000,
};

enum phase {
	PHASE_RUN,
	PHASE_PROXIES, /* proxies finish */
	PHASE_AUTH,    /* auth writes down what they did */
	PHASE_REST,
	PHASE_KILL, /* in a hurry, or the start failed */
	PHASE_END,
};

struct supervisor {
	struct house *house;
	struct children children;
	enum phase phase;
	int signals;
	int status;   /* the exit status to be */
	bool hurried; /* a second SIGTERM came */
	uint64_t phase_deadline_ms, checked_ms;
};

static void signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGCHLD);
}

bool supervise_block_signals(void)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	signal_set(&set);
	return sigprocmask(SIG_BLOCK, &set, NULL) == 0 && sigaction(SIGPIPE, &ignore, NULL) == 0;
}

/* ------------------------------------------------------------------- phases */
static void enter_phase(struct supervisor *s, enum phase phase, uint64_t now_ms)
{
	s->phase = phase;
	switch (phase) {
	case PHASE_PROXIES:
		counter_set(COUNTER_DRAINING, 1);
		children_drain(&s->children, IPC_PROCESS_PROXY);
		listeners_close_smtp(&s->house->listeners);
		s->phase_deadline_ms =
			now_ms + s->house->config->timeouts.drain_ms + DRAIN_MARGIN_MS;
		break;
	case PHASE_AUTH:
		/* hash processes end by themselves when auth does. */
		children_keep_no_more(&s->children);
		children_drain(&s->children, IPC_PROCESS_AUTH);
		s->phase_deadline_ms = now_ms + REST_MS;
		break;
	case PHASE_REST:
		children_drain(&s->children, IPC_PROCESS_HASH);
		children_drain(&s->children, IPC_PROCESS_PROBE);
		children_drain(&s->children, IPC_PROCESS_ADMIN);
		s->phase_deadline_ms = now_ms + REST_MS;
		break;
	case PHASE_KILL:
		children_kill(&s->children);
		s->phase_deadline_ms = UINT64_MAX;
		break;
	case PHASE_RUN:
	case PHASE_END:
		s->phase_deadline_ms = UINT64_MAX;
		break;
	}
}

/* Whom the current step waits for. */
static size_t awaited(const struct supervisor *s)
{
	switch (s->phase) {
	case PHASE_PROXIES:
		return children_living(&s->children, IPC_PROCESS_PROXY);
	case PHASE_AUTH:
		return children_living(&s->children, IPC_PROCESS_AUTH);
	case PHASE_REST:
	case PHASE_KILL:
		return children_all(&s->children);
	case PHASE_RUN:
	case PHASE_END:
		break;
	}
	return 1;
}

static void advance(struct supervisor *s, uint64_t now_ms)
{
	while (s->phase != PHASE_RUN && s->phase != PHASE_END && awaited(s) == 0)
		enter_phase(s, s->phase >= PHASE_REST ? PHASE_END : s->phase + 1, now_ms);
}

static void kill_awaited(struct supervisor *s)
{
	size_t killed = 0;

	if (s->phase == PHASE_PROXIES)
		killed = children_kill_kind(&s->children, IPC_PROCESS_PROXY);
	else if (s->phase == PHASE_AUTH)
		killed = children_kill_kind(&s->children, IPC_PROCESS_AUTH);
	else
		children_kill(&s->children);
	log_message(LOG_ERROR, "drain-late",
		"what should have ended by now was killed (%zu processes)",
		killed == 0 ? children_all(&s->children) : killed);
	s->phase_deadline_ms = UINT64_MAX;
}

/* ------------------------------------------------------------------ signals */
static void on_terminate(struct supervisor *s, uint32_t number, uint64_t now_ms)
{
	const char *name = number == SIGINT ? "SIGINT" : "SIGTERM";

	if (s->phase == PHASE_RUN) {
		log_message(LOG_INFO, "drain",
			"%s: no new connections; running transactions have %u s", name,
			s->house->config->timeouts.drain_ms / 1000);
		enter_phase(s, PHASE_PROXIES, now_ms);
	} else if (s->phase != PHASE_KILL) {
		log_message(LOG_WARNING, "drain", "%s again: ending at once", name);
		s->hurried = true;
		enter_phase(s, PHASE_KILL, now_ms);
	}
}

static void read_signals(struct supervisor *s, uint64_t now_ms)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			on_terminate(s, info.ssi_signo, now_ms);
		else if (info.ssi_signo == SIGHUP)
			log_message(LOG_WARNING, "reload",
				"SIGHUP is ignored: reload comes with a later release; restart to "
				"apply a changed configuration");
	}
}

/* --------------------------------------------------------------------- loop */
static void check_heartbeats(struct supervisor *s, uint64_t now_ms)
{
	uint64_t since_ms = now_ms - s->checked_ms;

	if (since_ms < HEARTBEATS_MS)
		return;
	s->checked_ms = now_ms;
	/* When we ourselves stood still (SIGSTOP, a frozen group), so did they. */
	if (since_ms < 2 * HEARTBEATS_MS)
		children_check_heartbeats(&s->children, now_ms);
}

static uint64_t sleep_ms(const struct supervisor *s, uint64_t now_ms)
{
	uint64_t ms = children_next_ms(&s->children, now_ms, TURN_MS);

	if (s->phase_deadline_ms <= now_ms)
		return 0;
	return s->phase_deadline_ms - now_ms < ms ? s->phase_deadline_ms - now_ms : ms;
}

/* The child has logged why; whoever waits at the terminal must know where. */
static void fail_start(struct supervisor *s, uint64_t now_ms)
{
	const char *file = s->house->config->log.file;

	log_message(LOG_ERROR, "start-failed", "a process could not start; it has said why above");
	if (file != NULL)
		fprintf(stderr, "a process could not start; %s says why\n", file);
	s->status = s->children.fatal_status;
	enter_phase(s, PHASE_KILL, now_ms);
}

static void turn(struct supervisor *s)
{
	struct pollfd polls[1 + CHILDREN_MAX];

	polls[0] = (struct pollfd){.fd = s->signals, .events = POLLIN};
	size_t count = 1 + children_poll(&s->children, polls + 1);
	int n = poll(polls, count, (int)sleep_ms(s, clock_monotonic_ms()));
	uint64_t now_ms = clock_monotonic_ms();
	counters_heartbeat(now_ms);
	log_flush();
	for (size_t i = 1; n > 0 && i < count; i++) {
		if (polls[i].revents != 0)
			children_readable(&s->children, polls[i].fd);
	}
	read_signals(s, now_ms);
	/* SIGCHLD merges; one look each turn costs less than a rule for when. */
	children_reap(&s->children, now_ms);
	if (s->children.fatal_status != 0 && s->phase == PHASE_RUN)
		fail_start(s, now_ms);
	check_heartbeats(s, now_ms);
	children_tick(&s->children, now_ms);
	if (now_ms >= s->phase_deadline_ms)
		kill_awaited(s);
	advance(s, now_ms);
}

int supervise_run(struct house *house)
{
	static struct supervisor s; /* too large for the stack's taste */
	sigset_t set;

	s.house = house;
	s.phase_deadline_ms = UINT64_MAX;
	signal_set(&set);
	s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s.signals == -1) {
		log_message(LOG_ERROR, "start-failed", "signalfd: %s", strerror(errno));
		return EX_OSERR;
	}
	children_init(&s.children, house);
	s.checked_ms = clock_monotonic_ms();
	if (!children_start(&s.children, s.checked_ms)) {
		s.status = EX_OSERR;
		enter_phase(&s, PHASE_KILL, s.checked_ms);
		advance(&s, s.checked_ms);
	}
	while (s.phase != PHASE_END)
		turn(&s);
	close(s.signals);
	/* Not after a second SIGTERM, which asked for it. */
	if (s.children.untidy && !s.hurried && s.status == EX_OK)
		s.status = EX_SOFTWARE;
	log_message(LOG_INFO, "stop", "all processes have ended");
	return s.status;
}
