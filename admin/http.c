/* SPDX-License-Identifier: ISC */
/*
 * Routes and limits on evhttp; see http.h.
 *
 * libevent 2.1 has no limit on connections and does not tell when one ends.  The kernel gives out
 * the lowest free descriptor, so the number of a fresh one bounds how many are open: above the
 * bound the listener rests until a later second finds room.
 */
#include "admin/http.h"

#include "admin/health.h"
#include "admin/metrics.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct http {
	struct evhttp *server;
	struct evconnlistener *listener; /* the server's */
	const struct pages *pages;
	int listening;
	int highest; /* a descriptor above it: too many connections */
	bool resting;
};

/* ------------------------------------------------------------------- routes */
struct answer {
	int code;
	const char *reason, *type;
};

static struct answer answer_healthz(const struct http *http, struct evbuffer *body)
{
	(void)http;
	evbuffer_add_printf(body, "ok\n");
	return (struct answer){HTTP_OK, "OK", "text/plain; charset=utf-8"};
}

static struct answer answer_readyz(const struct http *http, struct evbuffer *body)
{
	if (!health_ready(http->pages, clock_monotonic_ms(), body))
		return (struct answer){
			HTTP_SERVUNAVAIL, "Service Unavailable", "text/plain; charset=utf-8"};
	return answer_healthz(http, body);
}

static struct answer answer_metrics(const struct http *http, struct evbuffer *body)
{
	metrics_write(http->pages, clock_monotonic_ms(), body);
	return (struct answer){HTTP_OK, "OK", METRICS_CONTENT_TYPE};
}

static const struct route {
	const char *path;
	struct answer (*answer)(const struct http *http, struct evbuffer *body);
} routes[] = {
	{"/healthz", answer_healthz},
	{"/readyz", answer_readyz},
	{"/metrics", answer_metrics},
};

static struct answer answer_path(const struct http *http, const char *path, struct evbuffer *body)
{
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
		if (path != NULL && strcmp(path, routes[i].path) == 0)
			return routes[i].answer(http, body);
	}
	evbuffer_add_printf(body, "there are /healthz, /readyz and /metrics\n");
	return (struct answer){HTTP_NOTFOUND, "Not Found", "text/plain; charset=utf-8"};
}

static void on_request(struct evhttp_request *request, void *arg)
{
	const struct http *http = arg;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *body = evbuffer_new();
	char length[24];

	if (body == NULL) {
		evhttp_send_error(request, HTTP_SERVUNAVAIL, NULL);
		return;
	}
	struct answer answer = answer_path(
		http, evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request)), body);
	snprintf(length, sizeof length, "%zu", evbuffer_get_length(body));
	/* RFC 9110 9.3.2: HEAD has the headers of GET, and no body. */
	if (evhttp_request_get_command(request) == EVHTTP_REQ_HEAD)
		evbuffer_drain(body, evbuffer_get_length(body));
	if (evhttp_add_header(headers, "Content-Type", answer.type) == -1 ||
		evhttp_add_header(headers, "Content-Length", length) == -1 ||
		evhttp_add_header(headers, "Cache-Control", "no-store") == -1 ||
		evhttp_add_header(headers, "X-Content-Type-Options", "nosniff") == -1 ||
		evhttp_add_header(headers, "Connection", "close") == -1)
		evhttp_send_error(request, HTTP_SERVUNAVAIL, NULL);
	else
		evhttp_send_reply(request, answer.code, answer.reason, body);
	evbuffer_free(body);
}

/* -------------------------------------------------------------- connections */
static bool is_full(const struct http *http)
{
	int fd = dup(http->listening);

	if (fd == -1)
		return true;
	close(fd);
	return fd > http->highest;
}

static void rest(struct http *http)
{
	evconnlistener_disable(http->listener);
	http->resting = true;
}

/* Called for each connection before it is used. */
static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	struct http *http = arg;

	if (is_full(http))
		rest(http);
	return bufferevent_socket_new(base, -1, 0); /* evhttp sets the options that it wants */
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	(void)listener;
	log_message(LOG_WARNING, "admin-accept", "%s", strerror(errno));
	rest(arg);
}

void http_tick(struct http *http)
{
	if (!http->resting || is_full(http))
		return;
	http->resting = false;
	evconnlistener_enable(http->listener);
}

/* ----------------------------------------------------------------- lifetime */
static bool open_listener(struct http *http, struct event_base *base)
{
	/* Backlog 0: it listens already.  No CLOSE_ON_FREE: the socket is the master's. */
	http->listener =
		evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, http->listening);
	if (http->listener == NULL)
		return false;
	evconnlistener_set_error_cb(http->listener, on_accept_error);
	if (evhttp_bind_listener(http->server, http->listener) != NULL)
		return true;
	evconnlistener_free(http->listener);
	return false;
}

struct http *http_open(struct event_base *base, int listening, const struct pages *pages)
{
	struct http *http = calloc(1, sizeof *http);

	if (http == NULL)
		return NULL;
	http->pages = pages;
	http->listening = listening;
	int fd = dup(listening);
	if (fd != -1)
		close(fd);
	http->highest = fd == -1 ? 0 : fd + HTTP_CONNECTIONS_MAX - 1;
	http->server = evhttp_new(base);
	if (fd == -1 || http->server == NULL || !open_listener(http, base)) {
		http_close(&http);
		return NULL;
	}
	evhttp_set_gencb(http->server, on_request, http);
	evhttp_set_bevcb(http->server, on_connection, http);
	evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(http->server, HTTP_HEADERS_MAX);
	evhttp_set_max_body_size(http->server, HTTP_BODY_MAX);
	evhttp_set_timeout(http->server, HTTP_TIMEOUT_S);
	return http;
}

void http_close(struct http **pointer)
{
	struct http *http = *pointer;

	*pointer = NULL;
	if (http == NULL)
		return;
	if (http->server != NULL)
		evhttp_free(http->server); /* and the listener */
	free(http);
}
