/* SPDX-License-Identifier: ISC */
/* What the master itself gives up; see sandbox.c. */
#ifndef MASTER_SANDBOX_H
#define MASTER_SANDBOX_H

#include <stdbool.h>

/*
 * Limits, no-new-privileges, non-dumpable; as root also every capability but the few that starting
 * children needs.  Call it when all files and sockets are open.  False: a sentence was logged.
 */
bool sandbox_enter(bool root) __attribute__((warn_unused_result));

#endif
