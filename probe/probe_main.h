/* SPDX-License-Identifier: ISC */
#ifndef PROBE_PROBE_MAIN_H
#define PROBE_PROBE_MAIN_H

#include "common/child.h"

/* The probe process: health and capabilities of the configured backends.
 * Returns the exit status. */
int probe_main(const struct child_start *start);

#endif
