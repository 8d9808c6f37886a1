/* SPDX-License-Identifier: ISC */
/*
 * The users of the children: names or numbers of the configuration to ids, before any fork (a
 * chroot has no /etc/passwd).
 */
#ifndef MASTER_USERS_H
#define MASTER_USERS_H

#include "common/config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct user_ids {
	uint32_t uid, gid;
};

/*
 * A number is its own group.  False: err has one line for each user that is missing, or is root,
 * with the command that adds it.
 */
bool users_resolve(const struct config *config, struct user_ids ids_out[CONFIG_USER_COUNT],
	FILE *err) __attribute__((warn_unused_result));

#endif
