/* SPDX-License-Identifier: ISC */
/*
 * A hash process: computes one password hash at a time for auth.
 *
 * A process of its own, not a thread: libsodium maps and unmaps the memory of each hash, which
 * would hold up auth's event loop.  It has nothing to wait for but its channel and its control
 * socket, so there is no event loop: poll, read one frame, verify or make, answer, wipe.  It ends
 * when either closes.
 */
#include "auth/hash_main.h"

#include "auth/password.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

enum { NICE = 19, BEAT_MS = 1000, IO_MS = 5000, ORPHAN_MS = 10000 };

struct worker {
	const struct child_start *start;
	int channel;        /* -1: auth is away */
	uint64_t orphan_ms; /* since when */
	bool draining;
};

static volatile sig_atomic_t terminated;

static void on_terminate(int number)
{
	(void)number;
	terminated++;
}

/* Waits for the descriptor with a deadline; false: nothing came, or a second SIGTERM. */
static bool wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t end = clock_monotonic_ms() + IO_MS;

	for (uint64_t now = clock_monotonic_ms(); now < end && terminated < 2;
		now = clock_monotonic_ms()) {
		int n = poll(&p, 1, (int)(end - now));
		if (n == 1)
			return true;
		if (n == -1 && errno != EINTR)
			return false;
	}
	return false;
}

/* A frame's parts follow each other at once; a peer that stops in between is broken. */
static bool read_all(int fd, void *bytes, size_t len)
{
	uint8_t *at = bytes;

	while (len > 0) {
		ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLIN)) {
			return false;
		}
	}
	return true;
}

static bool write_all(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if ((errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLOUT)) {
			return false;
		}
	}
	return true;
}

static enum ipc_hash_outcome verify(const struct ipc_hash_request *request)
{
	struct password_hash hash;
	enum ipc_hash_outcome outcome = IPC_HASH_FAILED;

	/* auth has parsed and capped it; this process does not take its word for it. */
	if (password_parse((const char *)request->phc, request->phc_len, &hash) != PASSWORD_PARSED)
		return IPC_HASH_FAILED;
	switch (password_verify(&hash, request->secret, request->secret_len)) {
	case PASSWORD_MATCH:
		outcome = IPC_HASH_MATCH;
		break;
	case PASSWORD_MISMATCH:
		outcome = IPC_HASH_MISMATCH;
		break;
	case PASSWORD_FAILED:
		outcome = IPC_HASH_FAILED;
		break;
	}
	sodium_memzero(&hash, sizeof hash);
	return outcome;
}

static enum ipc_hash_outcome make(
	const struct ipc_hash_request *request, struct ipc_hash_result *result)
{
	const struct password_cost cost = {request->memory_bytes, request->passes};
	char phc[PASSWORD_PHC_MAX + 1];

	if (!password_make(request->secret, request->secret_len, &cost, phc))
		return IPC_HASH_FAILED;
	result->phc_len = (uint16_t)strlen(phc);
	memcpy(result->phc, phc, result->phc_len);
	sodium_memzero(phc, sizeof phc);
	return IPC_HASH_MADE;
}

static uint64_t cpu_us(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) == -1)
		return 0;
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static bool answer(int fd, uint64_t id, const struct ipc_hash_request *request)
{
	struct {
		struct ipc_header header;
		struct ipc_hash_result result;
	} frame;
	uint64_t before = cpu_us();

	memset(&frame, 0, sizeof frame); /* padding too: no stack to the peer */
	frame.header.size = sizeof frame.result;
	frame.header.version = IPC_VERSION;
	frame.header.type = IPC_HASH_RESULT;
	frame.header.id = id;
	frame.result.outcome =
		(uint8_t)(request->phc_len == 0 ? make(request, &frame.result) : verify(request));
	frame.result.cpu_us = cpu_us() - before;
	bool sent = write_all(fd, &frame, sizeof frame);
	sodium_memzero(&frame, sizeof frame);
	return sent;
}

enum served { SERVED = 1, CHANNEL_GONE, CHANNEL_BROKEN };

/* One request from the channel. */
static enum served serve(int fd)
{
	struct ipc_header header;
	struct ipc_hash_request request;
	enum served served = CHANNEL_BROKEN;

	if (!read_all(fd, &header, sizeof header))
		return CHANNEL_GONE;
	if (header.version != IPC_VERSION || header.type != IPC_HASH_REQUEST ||
		header.reserved != 0 || header.size != sizeof request)
		return CHANNEL_BROKEN;
	if (!read_all(fd, &request, sizeof request))
		served = CHANNEL_GONE;
	else if (ipc_valid(IPC_HASH_REQUEST, &request))
		served = answer(fd, header.id, &request) ? SERVED : CHANNEL_GONE;
	sodium_memzero(&request, sizeof request);
	return served;
}

static void set_channel(struct worker *worker, int fd)
{
	if (worker->channel != -1)
		close(worker->channel);
	worker->channel = fd;
	worker->orphan_ms = clock_monotonic_ms();
}

/* false: the master is gone. */
static bool read_control(struct worker *worker)
{
	struct ipc_control payload;
	enum ipc_type type;
	int fd, status;

	for (;;) {
		status = control_receive(worker->start->control, &type, &payload, &fd);
		if (status != 1)
			return status == 0;
		if (type == IPC_CONTROL_CHANNEL && fd != -1)
			set_channel(worker, fd);
		else if (fd != -1)
			close(fd);
		worker->draining = worker->draining || type == IPC_CONTROL_DRAIN;
	}
}

/*
 * Draining, it serves on until auth closes the channel: the log-ins that wait there are real.  A
 * second SIGTERM is somebody in a hurry.  An orphan that nobody adopts starts anew: auth may have
 * given up this very process.
 */
static bool is_over(const struct worker *worker)
{
	if (terminated > 1)
		return true;
	if (worker->channel != -1)
		return false;
	return terminated > 0 || worker->draining ||
	       clock_monotonic_ms() - worker->orphan_ms >= ORPHAN_MS;
}

/* false: it is time to end. */
static bool work_once(struct worker *worker)
{
	struct pollfd p[2] = {
		{.fd = worker->start->control, .events = POLLIN},
		{.fd = worker->channel, .events = POLLIN}, /* -1 is left out */
	};

	counters_heartbeat(clock_monotonic_ms());
	log_flush();
	int n = poll(p, 2, BEAT_MS);
	if (n == -1)
		return errno == EINTR;
	if (p[0].revents != 0)
		return read_control(worker); /* the channel may be another one now */
	if (p[1].revents == 0)
		return true;
	switch (serve(worker->channel)) {
	case SERVED:
		return true;
	case CHANNEL_GONE:
		set_channel(worker, -1);
		return true;
	case CHANNEL_BROKEN:
		break;
	}
	return false;
}

static bool set_signals(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct sigaction terminate = {.sa_handler = on_terminate}; /* poll() returns EINTR */

	return sigaction(SIGPIPE, &ignore, NULL) == 0 && sigaction(SIGINT, &ignore, NULL) == 0 &&
	       sigaction(SIGHUP, &ignore, NULL) == 0 && sigaction(SIGTERM, &terminate, NULL) == 0;
}

int hash_main(const struct child_start *start)
{
	struct worker worker = {.start = start, .channel = -1};
	struct ipc_control self = {.process = (uint8_t)start->process, .index = start->index};

	config_forget_secrets(start->config);
	if (start->page != NULL)
		counters_own(start->page);
	counters_heartbeat(clock_monotonic_ms());
	/* The event loops go first.  Before the filter, which leaves no way to change it, nor to
	 * open what OpenSSL reads when it is first used. */
	if (sodium_init() == -1 || !password_init() || setpriority(PRIO_PROCESS, 0, NICE) == -1 ||
		!set_signals()) {
		log_message(LOG_ERROR, "hash-start", "cannot set up: %s", strerror(errno));
		return EX_OSERR;
	}
	child_confine(start, CHILD_SYSCALLS_COMPUTE, NULL);
	if (!control_send(start->control, IPC_CONTROL_READY, &self, -1)) {
		log_message(LOG_ERROR, "hash-start", "cannot tell the master: %s", strerror(errno));
		return EX_OSERR;
	}
	worker.orphan_ms = clock_monotonic_ms();
	while (!is_over(&worker) && work_once(&worker))
		;
	if (worker.channel != -1)
		close(worker.channel);
	log_flush();
	return 0;
}
