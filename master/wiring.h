/* SPDX-License-Identifier: ISC */
/*
 * Who talks to whom: the channels between children, and the counter pages that admin reads.
 */
#ifndef MASTER_WIRING_H
#define MASTER_WIRING_H

#include "master/children.h"

/* Whether two processes have a channel between them. */
bool wiring_talks(enum ipc_process a, enum ipc_process b);

/* A process was just started: fresh channels to all living partners, its page to admin. */
void wiring_started(struct children *children, struct child_slot *slot);

/* A process ended: admin no longer reads its page. */
void wiring_ended(struct children *children, const struct child_slot *slot);

#endif
