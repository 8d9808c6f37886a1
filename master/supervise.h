/* SPDX-License-Identifier: ISC */
/* The master's loop: signals, children, time; from the first start to the last end. */
#ifndef MASTER_SUPERVISE_H
#define MASTER_SUPERVISE_H

#include "master/house.h"

/*
 * Blocks the signals that the loop reads; before the first fork and before anything that a signal
 * must not interrupt half way.  False with errno.
 */
bool supervise_block_signals(void) __attribute__((warn_unused_result));

/* Starts the children and keeps them; returns the exit status when all have ended. */
int supervise_run(struct house *house);

#endif
