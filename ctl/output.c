/* SPDX-License-Identifier: ISC */
/* Tables, JSON and errors; see output.h. */
#include "ctl/output.h"

#include <stddef.h>
#include <string.h>

enum { COLUMNS_MAX = 16, OID_BOOL = 16, OID_INT8 = 20, OID_INT4 = 23, OID_JSONB = 3802 };

static bool is_control(const unsigned char *at)
{
	/* C0, DEL, and C1 as UTF-8 writes it */
	return at[0] < 0x20 || at[0] == 0x7F || (at[0] == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0);
}

void output_plain(FILE *to, const char *text)
{
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
		if (is_control(at))
			(void)fprintf(to, "\\x%02x", *at == 0xC2 ? *++at : *at);
		else
			(void)fputc(*at, to);
	}
}

/* Columns on the screen, when every character but the escaped ones takes one. */
static int plain_width(const char *text)
{
	int width = 0;

	for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
		if (is_control(at)) {
			width += 4;
			at += *at == 0xC2;
		} else if ((*at & 0xC0) != 0x80) {
			width++;
		}
	}
	return width;
}

void output_json_string(FILE *to, const char *text)
{
	(void)fputc('"', to);
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
		if (*at == '"' || *at == '\\')
			(void)fprintf(to, "\\%c", *at);
		else if (is_control(at))
			(void)fprintf(to, "\\u%04x", *at == 0xC2 ? *++at : *at);
		else
			(void)fputc(*at, to);
	}
	(void)fputc('"', to);
}

void output_json_field(FILE *to, const PGresult *rows, int row, int column)
{
	const char *value = PQgetvalue(rows, row, column);
	Oid type = PQftype(rows, column);

	if (PQgetisnull(rows, row, column))
		(void)fputs("null", to);
	else if (type == OID_BOOL)
		(void)fputs(value[0] == 't' ? "true" : "false", to);
	else if (type == OID_INT8 || type == OID_INT4 || type == OID_JSONB)
		(void)fputs(value, to);
	else
		output_json_string(to, value);
}

void output_json_row(FILE *to, const PGresult *rows, int row)
{
	for (int column = 0; column < PQnfields(rows); column++) {
		(void)fputc(column == 0 ? '{' : ',', to);
		output_json_string(to, PQfname(rows, column));
		(void)fputc(':', to);
		output_json_field(to, rows, row, column);
	}
	(void)fputc('}', to);
}

static const char *cell(const PGresult *rows, int row, int column)
{
	if (row == -1)
		return PQfname(rows, column);
	const char *value = PQgetvalue(rows, row, column);
	if (PQgetisnull(rows, row, column))
		return "-";
	if (PQftype(rows, column) == OID_BOOL)
		return value[0] == 't' ? "yes" : "no";
	return value;
}

void output_field(FILE *to, const PGresult *rows, int row, int column)
{
	output_plain(to, cell(rows, row, column));
}

void output_table(FILE *to, const PGresult *rows, bool heading)
{
	int first = heading ? -1 : 0; /* row -1: the names */
	int columns = PQnfields(rows) < COLUMNS_MAX ? PQnfields(rows) : COLUMNS_MAX;
	int widths[COLUMNS_MAX] = {0};

	for (int row = -1; row < PQntuples(rows); row++) {
		for (int column = 0; column < columns; column++) {
			int width = plain_width(cell(rows, row, column));

			if (width > widths[column])
				widths[column] = width;
		}
	}
	for (int row = first; row < PQntuples(rows); row++) {
		for (int column = 0; column < columns; column++) {
			const char *text = cell(rows, row, column);
			int pad = widths[column] - plain_width(text) + 2;

			output_plain(to, text);
			(void)fprintf(to, "%*s", column + 1 < columns ? pad : 0, "");
		}
		(void)fputc('\n', to);
	}
}

/* RFC 4180 2.5-2.7.  An empty field of a record with others needs no quotes. */
static void put_csv_field(FILE *to, const char *text)
{
	if (strpbrk(text, ",\"\r\n") == NULL) {
		(void)fputs(text, to);
		return;
	}
	(void)fputc('"', to);
	for (; *text != '\0'; text++) {
		if (*text == '"')
			(void)fputc('"', to);
		(void)fputc(*text, to);
	}
	(void)fputc('"', to);
}

void output_csv_row(FILE *to, const PGresult *rows, int row)
{
	for (int column = 0; column < PQnfields(rows); column++) {
		(void)fputs(column == 0 ? "" : ",", to);
		put_csv_field(
			to, row == -1 ? PQfname(rows, column) : PQgetvalue(rows, row, column));
	}
	(void)fputs("\r\n", to);
}

void output_error(bool json, int status, const char *message, const char *hint)
{
	if (json) {
		(void)fputs("{\"error\":", stderr);
		output_json_string(stderr, message);
		(void)fputs(",\"hint\":", stderr);
		output_json_string(stderr, hint);
		(void)fprintf(stderr, ",\"status\":%d}\n", status);
		return;
	}
	(void)fputs("posternctl: ", stderr);
	output_plain(stderr, message);
	(void)fputc('\n', stderr);
	if (hint[0] != '\0') {
		(void)fputs("  ", stderr);
		output_plain(stderr, hint);
		(void)fputc('\n', stderr);
	}
}

void output_page(bool json, const PGresult *rows, bool first)
{
	if (!json) {
		output_table(stdout, rows, first);
		return;
	}
	for (int row = 0; row < PQntuples(rows); row++) {
		(void)fputs(first && row == 0 ? "" : ",\n ", stdout);
		output_json_row(stdout, rows, row);
	}
}

void output_rows(bool json, const PGresult *rows)
{
	(void)fputs(json ? "[" : "", stdout);
	output_page(json, rows, true);
	(void)fputs(json ? "]\n" : "", stdout);
}

static bool dry_run;

void output_dry_run(void)
{
	dry_run = true;
}

void output_done(
	bool json, const char *login, const char *word, const char *detail_name, const char *detail)
{
	if (json) {
		(void)fputs("{\"login\":", stdout);
		output_json_string(stdout, login);
		(void)fputs(",\"result\":", stdout);
		output_json_string(stdout, word);
		if (detail_name != NULL) {
			(void)printf(",\"%s\":", detail_name);
			output_json_string(stdout, detail);
		}
		(void)fputs(dry_run ? ",\"dry_run\":true}\n" : "}\n", stdout);
		return;
	}
	output_plain(stdout, login);
	(void)printf(": %s", word);
	if (detail_name != NULL) {
		(void)printf(" %s ", detail_name);
		output_plain(stdout, detail);
	}
	(void)fputs(dry_run ? " (dry run: nothing was changed)\n" : "\n", stdout);
}

void output_changed(bool json, const char *noun, const char *name, const char *word)
{
	if (json) {
		(void)printf("{\"%s\":", noun);
		output_json_string(stdout, name);
		(void)printf(",\"result\":\"%s\"%s}\n", word, dry_run ? ",\"dry_run\":true" : "");
		return;
	}
	(void)printf("%s ", noun);
	output_plain(stdout, name);
	(void)printf(": %s%s\n", word, dry_run ? " (dry run: nothing was changed)" : "");
}
