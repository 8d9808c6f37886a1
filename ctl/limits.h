/* SPDX-License-Identifier: ISC */
/*
 * What limits hold and what is used of them: asked once, printed alike by limits show, account show
 * and credential show.
 */
#ifndef CTL_LIMITS_H
#define CTL_LIMITS_H

#include "ctl/ctl.h"

/*
 * All limits that messages of an account are held to, for PQclear(); of one scope only ("account",
 * "credential abcdefghijkl", ...) when scope is not NULL.  NULL: it was said why, and *status_out
 * is the exit status.
 */
PGresult *limits_ask(struct ctl *ctl, const char *login, const char *scope, int *status_out)
	__attribute__((warn_unused_result));

/*
 * Bars on a terminal, else a table; what is unlimited only with --all.  With --json an array of
 * objects, without a line end.
 */
void limits_print(const struct ctl *ctl, const PGresult *limits);

#endif
