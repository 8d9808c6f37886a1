/* SPDX-License-Identifier: ISC */
/*
 * The command line: the table of options; finds the command in its table and takes options wherever
 * they stand.  Pure but for what it prints; usage.h writes the help from the same tables.
 */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include "ctl/ctl.h"

#include <stdint.h>

/* A row of the table of options. */
struct ctl_option {
	const char *name;
	const char *value; /* NULL: takes none */
	unsigned bit;      /* one of enum ctl_option_bit; 0: of every command */
	bool (*take)(struct ctl *ctl, const char *value);
	const char *help;
};

/* The row number at, or NULL behind the last. */
const struct ctl_option *options_row(size_t at);

/*
 * Fills ctl from argv and, for --dsn, POSTERN_DSN.  Returns -1 when the command is to be run; else
 * the exit status: help was asked for and printed, or the usage is wrong and was said to be.
 */
int options_parse(struct ctl *ctl, const struct ctl_command *commands, size_t count, int argc,
	char **argv) __attribute__((warn_unused_result));

/* "64MiB", "8KiB", "1GiB" or plain bytes.  false: something else, or above 2^53. */
bool options_parse_size(const char *text, uint64_t *bytes_out) __attribute__((warn_unused_result));

#endif
