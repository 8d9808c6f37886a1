/* SPDX-License-Identifier: ISC */
/*
 * What is checked of a configuration beyond its syntax, by -t and at each start alike: certificates
 * and the memory budget of the hash pool.
 */
#ifndef MASTER_CHECK_H
#define MASTER_CHECK_H

#include "common/config.h"

#include <stdbool.h>
#include <stdio.h>

/* hashers: what password.processes comes to.  False: err has a line for each error. */
bool check_config(const struct config *config, unsigned hashers, FILE *err)
	__attribute__((warn_unused_result));

#endif
