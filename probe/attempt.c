/* SPDX-License-Identifier: ISC */
/*
 * A probe's connection; see attempt.h.
 *
 * Each step has one deadline, however the bytes drip.  Every error found while starting is told
 * from the loop, by the same timer that keeps the deadlines.
 */
#include "probe/attempt.h"

#include "common/log.h"
#include "probe/dialogue.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ_BYTES = 4096, /* a turn */
	QUIT_MS = 5000,    /* the verdict is in: good manners only */
};

struct attempt {
	const struct config_backend *backend;
	attempt_on_verdict *on_verdict;
	attempt_on_over *on_over;
	void *arg;
	int fd;
	struct event *readable, *writable, *deadline;
	struct dialogue dialogue;
	bool connected, told;
	bool *gone; /* set by attempt_destroy() within a callback */
	char out[DIALOGUE_LINE_MAX];
	size_t out_len, out_done;
};

/* ------------------------------------------------------------------- telling */
/* Returns false when a callback destroyed the attempt. */
static bool tell_verdict(struct attempt *attempt)
{
	struct attempt_verdict verdict = {
		.up = attempt->dialogue.up,
		.capabilities = attempt->dialogue.capabilities,
		.reason = attempt->dialogue.reason,
		.code = attempt->dialogue.code,
	};
	bool gone = false;

	if (attempt->told)
		return true;
	attempt->told = true;
	attempt->gone = &gone;
	attempt->on_verdict(&verdict, attempt->arg);
	if (!gone)
		attempt->gone = NULL;
	return !gone;
}

/* The dialogue may have come to a verdict, or to its end.  May destroy the attempt. */
static void tell(struct attempt *attempt)
{
	if (attempt->dialogue.state < DIALOGUE_QUIT || !tell_verdict(attempt))
		return;
	if (attempt->dialogue.state != DIALOGUE_OVER)
		return;
	event_del(attempt->readable);
	event_del(attempt->writable);
	event_del(attempt->deadline);
	attempt->on_over(attempt->arg);
}

static void arm(struct attempt *attempt, unsigned ms)
{
	struct timeval in = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

	if (event_add(attempt->deadline, &in) == -1)
		log_message(LOG_ERROR, "probe-timer", "a deadline could not be set");
}

static void arm_step(struct attempt *attempt)
{
	switch (attempt->dialogue.state) {
	case DIALOGUE_GREETING:
		arm(attempt, attempt->backend->greeting_ms);
		return;
	case DIALOGUE_EHLO:
	case DIALOGUE_HELO:
		arm(attempt, attempt->backend->command_ms);
		return;
	case DIALOGUE_QUIT:
		arm(attempt, QUIT_MS);
		return;
	case DIALOGUE_OVER:
		return;
	}
	panic("no such state");
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *attempt = arg;

	(void)fd;
	(void)what;
	/* Over already: an error of attempt_start() that waited for the loop. */
	if (attempt->dialogue.state != DIALOGUE_OVER)
		dialogue_fail(&attempt->dialogue,
			attempt->connected ? dialogue_timeout_reason(&attempt->dialogue)
					   : "connect timeout");
	tell(attempt);
}

/* -------------------------------------------------------------------- bytes */
/* A few bytes on a fresh connection: the rest of a short write waits for the writable event. */
static void flush(struct attempt *attempt)
{
	ssize_t n = send(attempt->fd, attempt->out + attempt->out_done,
		attempt->out_len - attempt->out_done, MSG_NOSIGNAL);

	if (n >= 0)
		attempt->out_done += (size_t)n;
	else if (errno != EAGAIN && errno != EINTR)
		dialogue_fail(&attempt->dialogue, strerror(errno));
	if (attempt->dialogue.state != DIALOGUE_OVER && attempt->out_done < attempt->out_len)
		event_add(attempt->writable, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *attempt = arg;
	char bytes[READ_BYTES];
	ssize_t n = recv(fd, bytes, sizeof bytes, 0);

	(void)what;
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		dialogue_fail(&attempt->dialogue, n == 0 ? "closed" : strerror(errno));
	} else if (attempt->out_done < attempt->out_len) {
		dialogue_fail(&attempt->dialogue, "reply before the command");
	} else {
		size_t len = dialogue_take(&attempt->dialogue, bytes, (size_t)n, attempt->out);
		if (len > 0) {
			attempt->out_len = len;
			attempt->out_done = 0;
			arm_step(attempt);
			flush(attempt);
		}
	}
	tell(attempt);
}

static void on_connected(struct attempt *attempt)
{
	int error = 0;
	socklen_t len = sizeof error;

	if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1)
		error = errno;
	if (error != 0) {
		dialogue_fail(&attempt->dialogue, strerror(error));
		return;
	}
	attempt->connected = true;
	arm_step(attempt);
	if (event_add(attempt->readable, NULL) == -1)
		dialogue_fail(&attempt->dialogue, "out of memory");
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *attempt = arg;

	(void)fd;
	(void)what;
	if (!attempt->connected)
		on_connected(attempt);
	else
		flush(attempt);
	tell(attempt);
}

/* -------------------------------------------------------------------- start */
/* The port is chosen at connect(), by the whole four-tuple, so that ports do not run out. */
static bool bind_source(int fd, const struct config_backend *backend, int family)
{
	const struct address *source = family == AF_INET ? &backend->source4 : &backend->source6;
	int on = 1;

	if (source->len == 0)
		return true;
	return setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0 &&
	       bind(fd, &source->sa, source->len) == 0;
}

/* Returns -1 with errno. */
static int connect_to(const struct config_backend *backend, const struct address *server)
{
	int fd = socket(
		server->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	int saved;

	if (fd == -1)
		return -1;
	if (bind_source(fd, backend, server->sa.sa_family) &&
		(connect(fd, &server->sa, server->len) == 0 || errno == EINPROGRESS))
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static bool make_events(struct attempt *attempt, struct event_base *base)
{
	attempt->readable =
		event_new(base, attempt->fd, EV_READ | EV_PERSIST, on_readable, attempt);
	attempt->writable = event_new(base, attempt->fd, EV_WRITE, on_writable, attempt);
	attempt->deadline = evtimer_new(base, on_deadline, attempt);
	if (attempt->readable == NULL || attempt->writable == NULL || attempt->deadline == NULL)
		return false;
	return attempt->fd == -1 || event_add(attempt->writable, NULL) == 0;
}

struct attempt *attempt_start(struct event_base *base, const struct config *config,
	const struct config_backend *backend, size_t server, attempt_on_verdict *on_verdict,
	attempt_on_over *on_over, void *arg)
{
	struct attempt *attempt = calloc(1, sizeof *attempt);

	if (attempt == NULL)
		return NULL;
	attempt->backend = backend;
	attempt->on_verdict = on_verdict;
	attempt->on_over = on_over;
	attempt->arg = arg;
	dialogue_begin(&attempt->dialogue, config->hostname);
	attempt->fd = connect_to(backend, &backend->servers[server]);
	if (attempt->fd == -1)
		dialogue_fail(&attempt->dialogue, strerror(errno));
	if (!make_events(attempt, base)) {
		attempt_destroy(&attempt);
		return NULL;
	}
	arm(attempt, attempt->fd == -1 ? 0 : backend->connect_ms);
	return attempt;
}

void attempt_destroy(struct attempt **pointer)
{
	struct attempt *attempt = *pointer;

	*pointer = NULL;
	if (attempt == NULL)
		return;
	if (attempt->gone != NULL)
		*attempt->gone = true;
	if (attempt->readable != NULL)
		event_free(attempt->readable);
	if (attempt->writable != NULL)
		event_free(attempt->writable);
	if (attempt->deadline != NULL)
		event_free(attempt->deadline);
	dialogue_end(&attempt->dialogue);
	if (attempt->fd != -1)
		close(attempt->fd);
	free(attempt);
}
