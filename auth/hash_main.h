/* SPDX-License-Identifier: ISC */
#ifndef AUTH_HASH_MAIN_H
#define AUTH_HASH_MAIN_H

#include "common/child.h"

/* A hash process: one password hash at a time.  A channel to auth and nothing else.
 * Returns the exit status. */
int hash_main(const struct child_start *start);

#endif
