/* SPDX-License-Identifier: ISC */
/*
 * What is known of the backend servers, from probe's reports: which are up, and what they offer.
 * Chooses a server for a new connection, and the capabilities that EHLO may tell.
 */
#ifndef PROXY_UPSTREAM_H
#define PROXY_UPSTREAM_H

#include "common/capability.h"
#include "common/config.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct upstream;

struct upstream *upstream_new(const struct config *config); /* NULL: out of memory */
void upstream_free(struct upstream **upstream);

/* A report; indices out of range are ignored. */
void upstream_report(struct upstream *upstream, const struct ipc_server_state *state);

/*
 * What every server of the backend has by the last probe that reached it: the empty set before any
 * was reached.
 */
struct capability_set upstream_offer(const struct upstream *upstream, size_t backend);

/*
 * The next server to try: in the file's order, those that are up or unknown first, then those that
 * the last probe found down.  tried is a set of bits; -1: all were tried.
 */
int upstream_choose(const struct upstream *upstream, size_t backend, unsigned tried);

#endif
