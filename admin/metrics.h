/* SPDX-License-Identifier: ISC */
/* /metrics: the Prometheus text format, version 0.0.4. */
#ifndef ADMIN_METRICS_H
#define ADMIN_METRICS_H

#include "admin/pages.h"

#include <event2/buffer.h>
#include <stdint.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Adds every metric of counters.def, summed over the pages, and those of the processes themselves.
 */
void metrics_write(const struct pages *pages, uint64_t now_ms, struct evbuffer *out);

#endif
