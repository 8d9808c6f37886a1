/* SPDX-License-Identifier: ISC */
/*
 * A row of an import out of a record: which column is what, and what can be checked here.  The rest
 * (is there such a plan, is that a sender) is for the database to say.  Pure.
 */
#ifndef CTL_IMPORT_ROW_H
#define CTL_IMPORT_ROW_H

#include "auth/password.h"
#include "ctl/csv.h"

#include <stdio.h>
#include <uthash.h>

enum {
	IMPORT_PROBLEM_MAX = 160,
	/* Preparation may lengthen a login and a password. */
	IMPORT_TEXT_MAX = CSV_RECORD_MAX + PASSWORD_LOGIN_MAX + PASSWORD_SECRET_MAX,
};

enum import_column {
	IMPORT_LOGIN,
	IMPORT_PASSWORD,
	IMPORT_HASH,
	IMPORT_PLAN,
	IMPORT_SENDERS,
	IMPORT_ENABLED,
	IMPORT_COLUMN_COUNT,
};

/* Where each column is: the field's number and 1, or 0 where there is none. */
struct import_header {
	size_t fields;
	size_t at[IMPORT_COLUMN_COUNT];
};

/* Reads the first record.  false: it is no header; problem_out says why. */
bool import_header_read(struct import_header *header, const struct csv *csv,
	char problem_out[IMPORT_PROBLEM_MAX]) __attribute__((warn_unused_result));

enum import_enabled { IMPORT_AS_IT_IS, IMPORT_ENABLE, IMPORT_DISABLE };

/* Texts end with a NUL and belong to whoever gave the memory for them; NULL: not given. */
struct import_row {
	unsigned long line;
	const char *login;
	const char *secret; /* prepared, without a NUL in it */
	size_t secret_len;
	const char *hash;
	const char *plan;
	const char *senders; /* as in the file; "-": none at all */
	enum import_enabled enabled;

	/* import.c's own */
	bool known;         /* the account exists */
	const char *stored; /* its hash, while the answer that brought it is there */
	char made[PASSWORD_PHC_MAX + 1];
	UT_hash_handle hh;
};

/*
 * Reads a record into row, whose texts go to the IMPORT_TEXT_MAX octets at text; *used_out of them
 * are used.  Returns NULL, or a constant that says what is wrong with it.
 */
const char *import_row_read(const struct import_header *header, const struct csv *csv,
	struct import_row *row, char *text, size_t *used_out) __attribute__((warn_unused_result));

/* Writes the row as a JSON object for postern.account_import(). */
void import_row_json(FILE *to, const struct import_row *row, const char *plan);

#endif
