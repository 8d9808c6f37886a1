/* SPDX-License-Identifier: ISC */
/*
 * The listening sockets: one an address, made by the master and shared by all proxies.
 *
 * They stay the master's, whatever becomes of a proxy: connections then wait in the kernel's queue
 * for the next one, and none is refused.  (A set of SO_REUSEPORT sockets would lose the queue of a
 * dead worker.)  The address of admin is bound here too, for the same reasons, and so that an
 * address that is taken is told at the start and not by a child later.
 */
#ifndef MASTER_LISTENERS_H
#define MASTER_LISTENERS_H

#include "common/child.h"
#include "common/config.h"

#include <stdbool.h>
#include <stdio.h>

struct listeners {
	struct child_listener smtp[CONFIG_LISTENERS_MAX * CONFIG_ADDRESSES_MAX];
	size_t smtp_count;
	struct child_listener admin; /* fd -1: no HTTP */
};

/*
 * Binds all of them, non-blocking and close-on-exec.  False: err has a line that names the section,
 * what is wrong and what to do; nothing stays open.
 */
bool listeners_open(const struct config *config, struct listeners *out, FILE *err)
	__attribute__((warn_unused_result));

/* New connections are refused from now on, whoever else holds the sockets. */
void listeners_close_smtp(struct listeners *listeners);
void listeners_close(struct listeners *listeners);

#endif
