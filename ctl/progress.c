/* SPDX-License-Identifier: ISC */
/* The bar; see progress.h. */
#include "ctl/progress.h"

#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_WIDTH = 20, DRAW_EVERY_MS = 100 };

void progress_begin(struct progress *progress, bool wanted, uint64_t total)
{
	progress->shown = wanted && isatty(STDERR_FILENO) == 1;
	progress->drawn = false;
	progress->total = total;
	progress->started_ms = clock_monotonic_ms();
	progress->drawn_ms = 0;
}

/* "59 s", "1:00 min", "27:46 h": the two largest units that say something. */
static void format_time(uint64_t seconds, char *out, size_t room)
{
	if (seconds < 60)
		(void)snprintf(out, room, "%" PRIu64 " s", seconds);
	else if (seconds < 3600)
		(void)snprintf(
			out, room, "%" PRIu64 ":%02" PRIu64 " min", seconds / 60, seconds % 60);
	else
		(void)snprintf(out, room, "%" PRIu64 ":%02" PRIu64 " h", seconds / 3600,
			seconds / 60 % 60);
}

size_t progress_text(const struct progress *progress, uint64_t octets, unsigned long rows,
	uint64_t elapsed_ms, char out[PROGRESS_TEXT_MAX])
{
	char bar[BAR_WIDTH + 1] = "", left[32] = "";
	uint64_t rate_tenths = elapsed_ms == 0 ? 0 : rows * UINT64_C(10000) / elapsed_ms;
	double part;
	int len;

	if (progress->total == 0) {
		len = snprintf(out, PROGRESS_TEXT_MAX, "%lu rows, %" PRIu64 ".%" PRIu64 "/s", rows,
			rate_tenths / 10, rate_tenths % 10);
		return (size_t)len;
	}
	part = octets >= progress->total ? 1 : (double)octets / (double)progress->total;
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)(part * BAR_WIDTH));
	if (part > 0)
		format_time((uint64_t)((double)elapsed_ms * (1 - part) / part / 1000), left,
			sizeof(left));
	len = snprintf(out, PROGRESS_TEXT_MAX,
		"[%s] %3u %%, %lu rows, %" PRIu64 ".%" PRIu64 "/s%s%s%s", bar,
		(unsigned)(part * 100), rows, rate_tenths / 10, rate_tenths % 10,
		part > 0 ? ", " : "", left, part > 0 ? " left" : "");
	return (size_t)len;
}

void progress_update(struct progress *progress, uint64_t octets, unsigned long rows)
{
	uint64_t now = clock_monotonic_ms();
	char text[PROGRESS_TEXT_MAX];

	if (!progress->shown || now - progress->drawn_ms < DRAW_EVERY_MS)
		return;
	(void)progress_text(progress, octets, rows, now - progress->started_ms, text);
	(void)fprintf(stderr, "\r%s\x1b[K", text);
	(void)fflush(stderr);
	progress->drawn = true;
	progress->drawn_ms = now;
}

void progress_clear(struct progress *progress)
{
	if (progress->drawn)
		(void)fputs("\r\x1b[K", stderr);
	progress->drawn = false;
}
