/* SPDX-License-Identifier: ISC */
/*
 * The functions of the schema that programs call, as this release knows them: what auth prepares
 * (auth/query.c), what posternctl asks, what provisioning systems may call, and what an adapter
 * replaces.  A table, no code: ctl/verify.c compares a database with it.
 */
#ifndef CTL_CONTRACT_H
#define CTL_CONTRACT_H

#include <stddef.h>

enum { CONTRACT_VERSION = 1 }; /* as auth/query.h has it */

/* Who may execute it; nobody else. */
enum contract_caller {
	CONTRACT_NOBODY = 0, /* but functions of the schema */
	CONTRACT_SERVICE = 1,
	CONTRACT_ADMIN = 2,
	CONTRACT_BOTH = 3,
};

struct contract_function {
	enum contract_caller caller;
	const char *signature; /* with the types as PostgreSQL spells them */
	const char *result;
};

extern const struct contract_function contract_functions[];
extern const size_t contract_function_count;

#endif
