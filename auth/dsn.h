/* SPDX-License-Identifier: ISC */
/*
 * The database's address book, made before confinement.
 *
 * libpq reads service files, password files, the environment and host names whenever it connects; a
 * confined process can reach none of these.  So all of it is read once here, into one explicit set
 * of keywords for each server address.  Names are resolved once: when a server moves, restart.
 *
 * A confined process opens no file at all.  So what libpq would open at every connection
 * (sslrootcert, sslcert, sslkey, sslcrl, sslcrldir, and the user database for requirepeer) is
 * refused with a sentence.  Supported: a UNIX socket, or TCP with sslmode=require and
 * channel_binding=require, which with SCRAM proves the server's identity without a CA file.
 *
 * With a chroot (root mode) a UNIX socket directory becomes the process's root: there can be one
 * only.
 */
#ifndef AUTH_DSN_H
#define AUTH_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DSN_TARGETS_MAX = 16, DSN_KEYWORDS_MAX = 64, DSN_DIRECTORY_MAX = 108 };

struct dsn_target { /* for PQconnectStartParams(..., expand_dbname = 0) */
	const char *keywords[DSN_KEYWORDS_MAX + 1];
	char *values[DSN_KEYWORDS_MAX + 1];
	size_t count;
	char label[128]; /* for the log: host, address and port; no secret */
};

struct dsn {
	struct dsn_target targets[DSN_TARGETS_MAX]; /* tried in this order */
	size_t count;
	char socket_directory[DSN_DIRECTORY_MAX]; /* the chroot that it needs; "": none */
};

/*
 * Blocks (DNS, files).  user: the default user where the DSN, its service and the environment name
 * none; NULL: libpq's, which is the operating system's.  Returns NULL with a sentence in err.
 */
struct dsn *dsn_resolve(const char *text, bool chroot, const char *user, char *err, size_t err_size)
	__attribute__((warn_unused_result));

/* Wipes the passwords. */
void dsn_destroy(struct dsn **dsn);

/* Removes from the environment what libpq would read again (PGSERVICE, PGPASSWORD, ...). */
void dsn_forget_environment(void);

#endif
