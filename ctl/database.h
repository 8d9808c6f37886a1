/* SPDX-License-Identifier: ISC */
/*
 * posternctl's connection to PostgreSQL: connect, ask, and turn an error into a sentence and an
 * exit status.  Values travel as parameters, never inside the text of a statement.
 */
#ifndef CTL_DATABASE_H
#define CTL_DATABASE_H

#include "ctl/ctl.h"

/*
 * Connects to ctl->dsn, and tells the audit who acts.  With --dry-run all runs in a transaction
 * that is never committed (an import looks after itself).  EX_OK, or the exit status after saying
 * what is wrong.
 */
int database_open(struct ctl *ctl) __attribute__((warn_unused_result));
void database_close(struct ctl *ctl);

/*
 * Runs one statement with text parameters (NULL: SQL's NULL).  Returns its rows, for PQclear(); or
 * NULL after saying what is wrong, with the exit status in *status_out.
 */
PGresult *database_ask(struct ctl *ctl, const char *sql, int count, const char *const *values,
	int *status_out) __attribute__((warn_unused_result));

/* Says what is wrong with a failed result, "where: " first if where is not ""; the exit status. */
int database_fail(const struct ctl *ctl, const PGresult *result, const char *where);

#endif
