/* SPDX-License-Identifier: ISC */
/* Rendering of counters; see metrics.h.  No label ever carries what a peer said. */
#include "admin/metrics.h"

#include <inttypes.h>
#include <string.h>

static const char *process_label(enum ipc_process process)
{
	switch (process) {
	case IPC_PROCESS_MASTER:
		return "master";
	case IPC_PROCESS_AUTH:
		return "auth";
	case IPC_PROCESS_HASH:
		return "hash";
	case IPC_PROCESS_PROXY:
		return "proxy";
	case IPC_PROCESS_PROBE:
		return "probe";
	case IPC_PROCESS_ADMIN:
		return "admin";
	}
	return "unknown";
}

static void write_head(struct evbuffer *out, const char *metric, const char *help, bool gauge)
{
	evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric,
		gauge ? "gauge" : "counter");
}

/* Prometheus wants base units: what is counted in microseconds is told in seconds. */
static void write_value(struct evbuffer *out, const char *metric, uint64_t value)
{
	if (strstr(metric, "_seconds_total") != NULL)
		evbuffer_add_printf(out, "%s %" PRIu64 ".%06" PRIu64 "\n", metric, value / 1000000,
			value % 1000000);
	else
		evbuffer_add_printf(out, "%s %" PRIu64 "\n", metric, value);
}

static void write_totals(const struct pages *pages, struct evbuffer *out)
{
	uint64_t total[COUNTER_COUNT];

	pages_total(pages, total);
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_info *info = &counter_info[i];
		write_head(out, info->metric, info->help, info->gauge);
		write_value(out, info->metric, total[i]);
	}
}

static void write_heartbeats(const struct pages *pages, uint64_t now_ms, struct evbuffer *out)
{
	static const char metric[] = "postern_process_heartbeat_age_seconds";

	write_head(out, metric, "Time since the process last turned its loop", true);
	for (size_t i = 0; i < pages->count; i++) {
		const struct page *page = &pages->list[i];
		uint64_t beat_ms = counters_last_heartbeat(page->counters);
		uint64_t age_ms = beat_ms >= now_ms ? 0 : now_ms - beat_ms;
		evbuffer_add_printf(out,
			"%s{process=\"%s\",index=\"%u\"} %" PRIu64 ".%03" PRIu64 "\n", metric,
			process_label(page->process), page->index, age_ms / 1000, age_ms % 1000);
	}
}

void metrics_write(const struct pages *pages, uint64_t now_ms, struct evbuffer *out)
{
	write_head(out, "postern_build_info", "Always 1; the version is in the label", true);
	evbuffer_add_printf(out, "postern_build_info{version=\"%s\"} 1\n", POSTERN_VERSION);
	write_totals(pages, out);
	write_heartbeats(pages, now_ms, out);
}
