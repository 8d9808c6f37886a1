/* SPDX-License-Identifier: ISC */
/*
 * Reading PROXY headers; see arrival.h.  What a header may be is proxy_protocol.c's.
 *
 * The socket is peeked at, and only what belongs to the header is taken from it.  The beginning of
 * a header is taken as well, or epoll would tell of it again and again.
 */
#include "proxy/arrival.h"

#include "common/counters.h"
#include "common/log.h"
#include "proxy/proxy_protocol.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

struct arrival {
	TAILQ_ENTRY(arrival) entry;
	struct arrivals *arrivals;
	const struct config_listen *listen;
	struct event readable, timer;
	struct address peer;
	int fd;
	size_t len; /* octets of the header so far, taken from the socket */
	uint8_t bytes[PROXY_HEADER_MAX];
};

TAILQ_HEAD(waiting, arrival);

struct arrivals {
	struct event_base *base;
	struct timeval deadline;
	arrival_told_function *on_told;
	void *arg;
	struct waiting waiting; /* in the order they came */
	size_t count;
};

/* ----------------------------------------------------------------------- ending */

static void log_refusal(
	const struct address *peer, const struct config_listen *listen, const char *reason)
{
	char text[ADDRESS_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_WARNING, "proxy-refused");
	log_text(&line, "rip", address_format_host(peer, text));
	log_uint(&line, "rport", address_port(peer));
	log_text(&line, "listen", listen->name);
	log_text(&line, "reason", reason);
	log_end(&line);
}

/* Frees all but the socket, which it returns.  What was peeked at may have been meant for TLS. */
static int let_go(struct arrival *arrival)
{
	int fd = arrival->fd;

	TAILQ_REMOVE(&arrival->arrivals->waiting, arrival, entry);
	arrival->arrivals->count--;
	event_del(&arrival->readable);
	evtimer_del(&arrival->timer);
	explicit_bzero(arrival->bytes, sizeof arrival->bytes);
	free(arrival);
	return fd;
}

static void refuse(struct arrival *arrival, const char *reason)
{
	counter_add(COUNTER_PROXY_REFUSED, 1);
	log_refusal(&arrival->peer, arrival->listen, reason);
	close(let_go(arrival));
}

/* Who connects and says nothing looks whether the port is open: load balancers do. */
static void lost(struct arrival *arrival)
{
	if (arrival->len > 0)
		refuse(arrival, "connection lost");
	else
		close(let_go(arrival));
}

/* ---------------------------------------------------------------------- reading */

static void tell(struct arrival *arrival, const struct proxy_header *header)
{
	struct arrivals *arrivals = arrival->arrivals;
	const struct config_listen *listen = arrival->listen;
	struct address peer = arrival->peer;
	bool told = header->client.len != 0;

	counter_add(COUNTER_PROXY_HEADERS, 1);
	arrivals->on_told(let_go(arrival), listen, told ? &header->client : &peer,
		told ? &peer : NULL, arrivals->arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct arrival *arrival = arg;
	uint8_t *end = arrival->bytes + arrival->len;
	struct proxy_header header;

	(void)what;
	ssize_t seen = recv(fd, end, sizeof arrival->bytes - arrival->len, MSG_PEEK);
	if (seen == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (seen <= 0) {
		lost(arrival);
		return;
	}
	enum proxy_status status =
		proxy_protocol_parse(arrival->bytes, arrival->len + (size_t)seen, &header);
	if (status == PROXY_BAD) {
		refuse(arrival, header.problem);
		return;
	}
	size_t take = status == PROXY_DONE ? header.len - arrival->len : (size_t)seen;
	if (recv(fd, end, take, 0) != (ssize_t)take) {
		refuse(arrival, "connection lost");
		return;
	}
	arrival->len += take;
	if (status == PROXY_DONE)
		tell(arrival, &header);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	refuse(arg, "timeout");
}

/* -------------------------------------------------------------------- beginning */

void arrivals_add(struct arrivals *arrivals, int fd, const struct address *peer,
	const struct config_listen *listen)
{
	struct address_key key = address_prefix(peer, 32, 128);

	if (!network_list_has(&listen->proxy_from, &key)) {
		counter_add(COUNTER_PROXY_REFUSED, 1);
		log_refusal(peer, listen, "not from a load balancer");
		close(fd);
		return;
	}
	struct arrival *arrival = calloc(1, sizeof *arrival);
	if (arrival == NULL) {
		log_refusal(peer, listen, "out of memory");
		close(fd);
		return;
	}
	arrival->arrivals = arrivals;
	arrival->listen = listen;
	arrival->peer = *peer;
	arrival->fd = fd;
	event_assign(
		&arrival->readable, arrivals->base, fd, EV_READ | EV_PERSIST, on_readable, arrival);
	evtimer_assign(&arrival->timer, arrivals->base, on_deadline, arrival);
	event_add(&arrival->readable, NULL);
	evtimer_add(&arrival->timer, &arrivals->deadline);
	TAILQ_INSERT_TAIL(&arrivals->waiting, arrival, entry);
	arrivals->count++;
}

struct arrivals *arrivals_new(
	struct event_base *base, unsigned deadline_ms, arrival_told_function *on_told, void *arg)
{
	struct arrivals *arrivals = calloc(1, sizeof *arrivals);

	if (arrivals == NULL)
		return NULL;
	arrivals->base = base;
	arrivals->deadline.tv_sec = (time_t)(deadline_ms / 1000);
	arrivals->deadline.tv_usec = (suseconds_t)(deadline_ms % 1000) * 1000;
	arrivals->on_told = on_told;
	arrivals->arg = arg;
	TAILQ_INIT(&arrivals->waiting);
	return arrivals;
}

void arrivals_free(struct arrivals **pointer)
{
	struct arrivals *arrivals = *pointer;

	if (arrivals == NULL)
		return;
	*pointer = NULL;
	while (!TAILQ_EMPTY(&arrivals->waiting))
		close(let_go(TAILQ_FIRST(&arrivals->waiting)));
	free(arrivals);
}

size_t arrivals_count(const struct arrivals *arrivals)
{
	return arrivals->count;
}

void arrivals_keep(struct arrivals *arrivals, size_t count, const char *reason)
{
	while (arrivals->count > count)
		refuse(TAILQ_FIRST(&arrivals->waiting), reason);
}
