/* SPDX-License-Identifier: ISC */
#ifndef PROXY_PROXY_MAIN_H
#define PROXY_PROXY_MAIN_H

#include "common/child.h"

/* A proxy process: TLS, SMTP, backend connections.  No database, no password hash.
 * Returns the exit status. */
int proxy_main(const struct child_start *start);

#endif
