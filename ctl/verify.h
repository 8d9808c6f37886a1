/* SPDX-License-Identifier: ISC */
/* What posternctl db verify asks the database; see verify_checks.c for the table, verify.c for the
 * rest. */
#ifndef CTL_VERIFY_H
#define CTL_VERIFY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A question whose answer has a row for each thing that is wrong: the problem, and what to do about
 * it.  Its one parameter, $1, is the contract as a JSON array of [caller, signature, result].
 */
struct verify_check {
	const char *name;
	const char *fine; /* said when there is no row */
	const char *sql;
	bool note; /* what it finds is worth knowing, and no fault of the set-up */
	bool last; /* when something is found, what comes behind makes no sense */
};

extern const struct verify_check verify_checks[];
extern const size_t verify_check_count;

#endif
