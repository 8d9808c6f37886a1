/* SPDX-License-Identifier: ISC */
#ifndef ADMIN_ADMIN_MAIN_H
#define ADMIN_ADMIN_MAIN_H

#include "common/child.h"

/* The admin process: health and metrics over HTTP.  Reads everything, decides nothing.
 * Returns the exit status. */
int admin_main(const struct child_start *start);

#endif
