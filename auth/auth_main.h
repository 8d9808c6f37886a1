/* SPDX-License-Identifier: ISC */
#ifndef AUTH_AUTH_MAIN_H
#define AUTH_AUTH_MAIN_H

#include "common/child.h"

/* The auth process: accounts, log-ins, limits.  No peer's socket but the database's.
 * Returns the exit status. */
int auth_main(const struct child_start *start);

#endif
