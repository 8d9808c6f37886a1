/* SPDX-License-Identifier: ISC */
/*
 * A password from a person or a program: from the terminal twice without echo, or one line of
 * standard input.  Never from the command line, which every process can read.
 */
#ifndef CTL_PROMPT_H
#define CTL_PROMPT_H

#include "ctl/ctl.h"

#include <stdint.h>

/*
 * Gives a prepared password in guarded memory; twice: a terminal is asked again, for a new one.
 *  prompt_wipe() frees it.  EX_OK, or the exit status
 * after saying what is wrong.  The terminal is as it was on every path, signals included: one that
 * ends the program does so after the terminal is restored.
 */
int prompt_password(const struct ctl *ctl, bool twice, uint8_t **secret_out, size_t *len_out)
	__attribute__((warn_unused_result));

/* Wipes and frees; NULL is allowed. */
void prompt_wipe(uint8_t **secret);

#endif
