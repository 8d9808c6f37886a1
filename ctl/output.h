/* SPDX-License-Identifier: ISC */
/*
 * What posternctl prints: tables for people, JSON for programs, errors for both.
 *
 * Text from the database or the command line reaches a terminal without control characters.
 */
#ifndef CTL_OUTPUT_H
#define CTL_OUTPUT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * One error: "posternctl: message" and an indented line with what to do next; with json one object
 * {"error":...,"hint":...,"status":...} on one line.  To standard error.  hint may be "".
 */
void output_error(bool json, int status, const char *message, const char *hint);

/* Writes text as a JSON string, quotes included.  The text is UTF-8. */
void output_json_string(FILE *to, const char *text);

/* Writes a field by its type: null, true, a number, or a string. */
void output_json_field(FILE *to, const PGresult *rows, int row, int column);

/* Writes a row as an object whose keys are the columns' names, without what follows it. */
void output_json_row(FILE *to, const PGresult *rows, int row);

/* Writes text with every control character as \xNN. */
void output_plain(FILE *to, const char *text);

/* Writes a field for people: yes or no, - for null. */
void output_field(FILE *to, const PGresult *rows, int row, int column);

/* Writes rows in aligned columns; heading tells whether the columns' names come first. */
void output_table(FILE *to, const PGresult *rows, bool heading);

/* A record as in RFC 4180; row -1: the columns' names.  NULL is an empty field. */
void output_csv_row(FILE *to, const PGresult *rows, int row);

/* All rows: a table, or an array of objects on one line each. */
void output_rows(bool json, const PGresult *rows);

/*
 * One page of them, first or not: with json elements alone, whose "[" and "]" the caller writes.
 */
void output_page(bool json, const PGresult *rows, bool first);

/* From now on output_done() says that nothing was really done. */
void output_dry_run(void);

/*
 * Says that a command did its work: "login: word detail_name detail", or with json
 * {"login":...,"result":word} and, when detail_name is not NULL, detail_name with detail; after
 * output_dry_run() also "dry_run":true.
 */
void output_done(bool json, const char *login, const char *word, const char *detail_name,
	const char *detail);

/* The same of what is no account: "plan basic: added", or {"plan":"basic","result":"added"}. */
void output_changed(bool json, const char *noun, const char *name, const char *word);

#endif
