/* SPDX-License-Identifier: ISC */
/* The migration files: where they are, which there are, and what is in them.  No database. */
#ifndef CTL_MIGRATIONS_H
#define CTL_MIGRATIONS_H

#include "ctl/ctl.h"

enum {
	MIGRATION_NAME_MAX = 128,
	MIGRATION_COUNT_MAX = 999,
	MIGRATION_BYTES_MAX = 4 << 20,
	MIGRATION_CHECKSUM_TEXT = 65, /* BLAKE2b-256 in hexadecimal, and a NUL */
};

struct migration {
	char name[MIGRATION_NAME_MAX]; /* "0001_roles_and_schema.sql" */
	char checksum[MIGRATION_CHECKSUM_TEXT];
	char *sql; /* NUL-terminated */
};

struct migrations {
	struct migration *files; /* files[0] is number 1, and so on without a gap */
	size_t count;
};

/*
 * Reads all files NNNN_name.sql of --sql, else POSTERN_SQL, else share/postern/sql beside this
 * program's bin, else the source tree's sql.  EX_OK, or the exit status after saying what is wrong;
 * migrations_free() either way.
 */
int migrations_load(const struct ctl *ctl, struct migrations *set)
	__attribute__((warn_unused_result));
void migrations_free(struct migrations *set);

#endif
