/* SPDX-License-Identifier: ISC */
/*
 * Counters: one page of shared memory a process (a sealed memfd), written by its owner alone and
 * read by the master and admin.  counters.def has the rows.  When a process ends, the master folds
 * its counters into its own page, so that none ever decreases; gauges end with their process.
 */
#ifndef COMMON_COUNTERS_H
#define COMMON_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum counter {
#define COUNTER(id, metric, help) COUNTER_##id,
#define GAUGE(id, metric, help) COUNTER_##id,
#include "common/counters.def"
#undef COUNTER
#undef GAUGE
	COUNTER_COUNT,
};

struct counter_info {
	const char *metric, *help;
	bool gauge;
};
extern const struct counter_info counter_info[COUNTER_COUNT];

struct counters {
	uint64_t heartbeat_ms; /* clock_monotonic_ms() of the last turn that its timer saw */
	uint64_t folds;        /* of the master's page: odd while a page is being folded into it */
	uint64_t retired; /* written by the master: its counters are in the master's page now */
	uint64_t values[COUNTER_COUNT];
};

/*
 * Makes a page.  *mapped_out is writable and shared with children that inherit it by fork; the
 * descriptor can afterwards be mapped for reading only.  Returns -1 with errno.
 */
int counters_create(struct counters **mapped_out) __attribute__((warn_unused_result));
const struct counters *counters_map(int fd); /* for reading; NULL with errno */
void counters_unmap(const struct counters *counters);

/* The master's: adds the counters (not the gauges) of a process that ended, and retires its page.
 */
void counters_fold(struct counters *into, struct counters *from);

/*
 * Sums all pages, gauges too.  Counters of a page that is being folded are counted once: neither
 * missed nor twice, so that no total is ever seen to decrease.  pages[0] is the master's.
 */
void counters_total(
	const struct counters *const *pages, size_t count, uint64_t total_out[COUNTER_COUNT]);

/* The calling process's own page.  Before it is set, counting goes to a private page. */
void counters_own(struct counters *page);
void counter_add(enum counter counter, uint64_t amount);
void counter_set(enum counter gauge, uint64_t value);
void counter_sub(enum counter gauge, uint64_t amount);
void counters_heartbeat(uint64_t now_ms);
uint64_t counters_last_heartbeat(const struct counters *page);
uint64_t counter_read(const struct counters *page, enum counter counter); /* one untorn value */

#endif
