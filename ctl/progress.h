/* SPDX-License-Identifier: ISC */
/*
 * A progress bar on standard error, with the rate and the time left; nothing when that is no
 * terminal.
 */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROGRESS_TEXT_MAX = 128 };

struct progress {
	bool shown;
	bool drawn;     /* there is a bar on the screen */
	uint64_t total; /* of the input, in octets; 0: nobody knows */
	uint64_t started_ms, drawn_ms;
};

/* wanted: false for a program that reads the output (--json). */
void progress_begin(struct progress *progress, bool wanted, uint64_t total);

/* So many octets of the input and rows are done.  Draws at most some times a second. */
void progress_update(struct progress *progress, uint64_t octets, unsigned long rows);

/* Takes the bar off the screen, before another line or at the end. */
void progress_clear(struct progress *progress);

/* What is drawn, by the time since the beginning.  Returns its length. */
size_t progress_text(const struct progress *progress, uint64_t octets, unsigned long rows,
	uint64_t elapsed_ms, char out[PROGRESS_TEXT_MAX]);

#endif
