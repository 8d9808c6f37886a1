/* SPDX-License-Identifier: ISC */
/*
 * What the master makes once, before its first fork, and keeps to its end.  Every child inherits
 * it; only the master changes it.
 */
#ifndef MASTER_HOUSE_H
#define MASTER_HOUSE_H

#include "common/config.h"
#include "common/counters.h"
#include "master/listeners.h"
#include "master/users.h"

#include <stdbool.h>
#include <stdint.h>

struct house {
	struct config *config;
	bool root; /* root mode: own uids and an empty root for each child */
	struct user_ids users[CONFIG_USER_COUNT];
	char empty_directory[1024]; /* what children chroot into; "" unless root */
	unsigned workers, hashers;  /* how many proxies and hash processes */
	struct listeners listeners;
	int log_fd;
	struct counters *page; /* the master's own */
	int page_fd;
	uint8_t ticket_seed[32];
};

#endif
