/* SPDX-License-Identifier: ISC */
/* A spool's directory in a test: removed with the files that a spool makes, and no others. */
#ifndef TESTS_UNIT_SPOOL_FIXTURE_H
#define TESTS_UNIT_SPOOL_FIXTURE_H

#include "auth/spool_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static inline void fixture_remove(const char *directory)
{
	char name[32];
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return;
	for (unsigned i = 0; i < SPOOL_FILES; i++) {
		snprintf(name, sizeof name, "segment-%02u", i);
		unlinkat(fd, name, 0);
	}
	unlinkat(fd, "node", 0);
	unlinkat(fd, "lock", 0);
	close(fd);
	rmdir(directory);
}

#endif
