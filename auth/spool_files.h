/* SPDX-License-Identifier: ISC */
/*
 * The spool's files, opened once, before auth is confined: afterwards it opens nothing.
 *
 * A segment's file is used again and again: emptied when the books have all that was in it.  So the
 * confined process needs neither a path nor the right to open, make or remove a file, and whoever
 * takes it over can do no more than write into these.
 */
#ifndef AUTH_SPOOL_FILES_H
#define AUTH_SPOOL_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SPOOL_SEGMENTS = 64, /* that spool.size is divided into */
	SPOOL_FILES = 72,    /* ... and some for what must be written when it is full */
};

struct spool_files {
	uint64_t node; /* of this directory for ever: 63 random bits, from 1 */
	uint64_t boot; /* how often it was opened */
	int lock;      /* held as long as it is open */
	int segments[SPOOL_FILES];
};

/*
 * Opens the directory and locks it, makes what is missing, and counts the boot.  The directory must
 * be there.  False: err has a sentence that says what to do, and nothing is open.
 */
bool spool_files_open(struct spool_files *files, const char *directory, char *err, size_t size)
	__attribute__((warn_unused_result));
void spool_files_close(struct spool_files *files);

#endif
