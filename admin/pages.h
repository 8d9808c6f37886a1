/* SPDX-License-Identifier: ISC */
/*
 * The counter pages of all living processes, as admin reads them.
 */
#ifndef ADMIN_PAGES_H
#define ADMIN_PAGES_H

#include "common/config.h"
#include "common/counters.h"
#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>

enum { PAGES_MAX = 4 + CONFIG_WORKERS_MAX + CONFIG_HASHERS_MAX };

struct page {
	enum ipc_process process;
	unsigned index;
	const struct counters *counters;
};

struct pages {
	size_t count;
	struct page list[PAGES_MAX]; /* in no order */
};

/*
 * Sets the page of a process; counters are the list's from now on (counters_unmap()).  NULL: the
 * process is gone.  False: there is no room, and the page was unmapped.
 */
bool pages_set(struct pages *pages, enum ipc_process process, unsigned index,
	const struct counters *counters) __attribute__((warn_unused_result));

/* NULL: no such process lives. */
const struct counters *pages_find(
	const struct pages *pages, enum ipc_process process, unsigned index);

/* All pages together; zeros before the master's is there. */
void pages_total(const struct pages *pages, uint64_t total_out[COUNTER_COUNT]);

void pages_clear(struct pages *pages);

#endif
