/* SPDX-License-Identifier: ISC */
/*
 * What all sessions of one proxy process share.  Made and owned by proxy_main.c; the rest borrows.
 */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "common/config.h"
#include "common/idmap.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>

struct acceptor;
struct auth_client;
struct session;
struct tls_context;
struct upstream;

struct worker {
	struct event_base *base;
	const struct config *config;
	struct tls_context *tls[CONFIG_LISTENERS_MAX]; /* by index of config.listeners */
	struct idmap *sessions;                        /* id -> struct session, until closed */
	struct auth_client *auth;
	struct upstream *upstream;
	struct acceptor *acceptor;
	struct session *closed; /* freed at the end of the loop turn */
	struct event reaper;
	bool draining;
};

#endif
