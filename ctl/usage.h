/* SPDX-License-Identifier: ISC */
/* The help texts, written from the tables of commands and options.  To standard output. */
#ifndef CTL_USAGE_H
#define CTL_USAGE_H

#include "ctl/ctl.h"

/* What one command does, and its options. */
void usage_print_command(const struct ctl_command *command);

/* All commands, or those of a noun. */
void usage_print_commands(const struct ctl *ctl, const char *noun);

#endif
