/* SPDX-License-Identifier: ISC */
/*
 * The command line: finds the command in the table, takes options wherever they stand, and writes
 * every usage and help text from the same tables.  Pure but for what it prints.
 */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include "ctl/ctl.h"

/*
 * Fills ctl from argv and, for --dsn, POSTERN_DSN.  Returns -1 when the command is to be run; else
 * the exit status: help was asked for and printed, or the usage is wrong and was said to be.
 */
int options_parse(struct ctl *ctl, const struct ctl_command *commands, size_t count, int argc,
	char **argv) __attribute__((warn_unused_result));

/* "64MiB", "8KiB", "1GiB" or plain bytes.  false: something else, or above 2^53. */
bool options_parse_size(const char *text, uint64_t *bytes_out) __attribute__((warn_unused_result));

#endif
