/* SPDX-License-Identifier: ISC */
/*
 * The master's files: the runtime directory, the empty directory in it that children have as their
 * root, the pid file with its lock, the log; and the spool's directory, whose files are auth's.
 */
#ifndef MASTER_RUNTIME_H
#define MASTER_RUNTIME_H

#include "common/config.h"

#include <stdbool.h>
#include <stdio.h>

/*
 * Makes config->runtime_directory (0755) where it is missing; its parent must exist.  As root it
 * must be root's and writable for nobody else.  False: err has a sentence.
 */
bool runtime_make_directory(const struct config *config, bool root, FILE *err)
	__attribute__((warn_unused_result));

/*
 * Makes config->spool.directory (0700, of the user that starts postern) where it is missing; its
 * parent must exist.  auth looks at it when it opens it.
 */
bool runtime_make_spool(const struct config *config, FILE *err) __attribute__((warn_unused_result));

/* Makes and checks "empty" in it: root's, 0755, nothing inside.  path_out gets its path. */
bool runtime_make_empty(const struct config *config, char *path_out, size_t size, FILE *err)
	__attribute__((warn_unused_result));

/*
 * Writes postern.pid and locks it for as long as this process lives; a second instance fails and
 * names the first.  Returns the descriptor, which must stay open, or -1.
 */
int runtime_lock(const struct config *config, FILE *err) __attribute__((warn_unused_result));

/* Removes the pid file; the lock goes with the process. */
void runtime_unlock(const struct config *config, int fd);

/* The log's descriptor: the file (appended to, 0640) or standard error.  -1: err has a sentence. */
int runtime_open_log(const struct config *config, FILE *err) __attribute__((warn_unused_result));

/* Standard descriptors that were closed become /dev/null, so that no socket takes their number. */
bool runtime_fill_stdio(void) __attribute__((warn_unused_result));

#endif
