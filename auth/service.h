/* SPDX-License-Identifier: ISC */
/*
 * What auth does for the proxies: their channels, their sessions, and the answers to their frames.
 *
 * Owns every other part of auth and wires them together.  A proxy is hostile until shown otherwise:
 * it sees only sessions of its own channel, its requests are bounded, and a frame that a proxy
 * never sends ends its channel and nothing else.
 */
#ifndef AUTH_SERVICE_H
#define AUTH_SERVICE_H

#include "auth/credential.h"
#include "auth/dsn.h"
#include "auth/spool_files.h"
#include "common/child.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SERVICE_REQUESTS_MAX = 4096,       /* of one channel, without an answer */
	SERVICE_LOGINS_MAX = 1024,         /* ... of them log-ins */
	SERVICE_SESSIONS_MAX = 128 * 1024, /* of one channel */
	SERVICE_MAIL_MS = 3000,            /* MAIL and the take are answered within it */
};

struct service;

/* How many slots secret_slab_open() should have for this configuration. */
size_t service_secrets(const struct config *config);

/* What it is given stays the caller's and outlives it.  Starts connecting.  NULL: out of memory, or
 * no thread for the spool. */
struct service *service_new(struct event_base *base, const struct child_start *start,
	const struct dsn *dsn, const struct credential_keys *keys, const struct spool_files *files)
	__attribute__((warn_unused_result));
void service_destroy(struct service **service);

/* A channel of a proxy or a hash process; takes fd. */
void service_on_channel(struct service *service, enum ipc_process process, unsigned index, int fd);

/* Every second. */
void service_tick(struct service *service, uint64_t now_ms);

/* Draining: true when nothing is left to wait for (no proxy, no take to settle). */
bool service_is_idle(struct service *service, uint64_t now_ms);

#endif
