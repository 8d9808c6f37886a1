/* SPDX-License-Identifier: ISC */
/* posternctl limits set and show; see limits.h. */
#include "ctl/limits.h"

#include "ctl/bars.h"
#include "ctl/database.h"
#include "ctl/login.h"
#include "ctl/output.h"
#include "ctl/settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

int ctl_limits_set(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX], *json = NULL;
	int status = login_argument(ctl, login);

	if (status == EX_OK)
		json = settings_json(ctl, ctl->arguments + 1, ctl->argument_count - 1,
			SETTINGS_INHERIT, &status);
	if (json == NULL)
		return status;
	const char *values[] = {login, json};
	PGresult *set = database_ask(
		ctl, "SELECT postern.limits_set($1, $2::pg_catalog.jsonb)", 2, values, &status);

	free(json);
	if (set == NULL)
		return status;
	output_done(ctl->json, login, "limits changed", NULL, NULL);
	PQclear(set);
	return EX_OK;
}

/* ------------------------------------------------------------------------ ask */

/* Of the bars, in their order; a table and JSON have LIMITS_TABLE. */
enum column { SCOPE, LABEL, USED, MAX, SOURCE, OCTETS, FREES_S, WARN };
enum { WARN_USUAL = 80 }; /* where the plan says nothing */

#define LIMITS_BARS                                                                        \
	"s.scope, s.label, s.used, CASE WHEN s.meter_limit <> -1 THEN s.meter_limit END, " \
	"s.source, k.unit = 'bytes', pg_catalog.ceil(pg_catalog.date_part("                \
	"'epoch', s.frees_at - pg_catalog.clock_timestamp()))::int8, w.warn_percent"
#define LIMITS_TABLE                                                                           \
	"s.scope, s.name AS limit, s.used, "                                                   \
	"CASE WHEN s.meter_limit <> -1 THEN s.meter_limit END AS max, s.window_s, "            \
	"pg_catalog.to_char(s.frees_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') " \
	"AS frees_at, s.source, s.action"
#define LIMITS_FROM                                                                          \
	" FROM postern.limits_show($1) WITH ORDINALITY s (scope, name, label, meter_limit, " \
	"source, used, window_s, frees_at, action, number) "                                 \
	"LEFT JOIN postern.limit_kinds() k ON k.name = s.name "                              \
	"LEFT JOIN postern.limits_warnings($1) w ON w.scope = s.scope "                      \
	"WHERE ($2::text IS NULL OR s.scope = $2) AND (s.meter_limit <> -1 OR $3::boolean) " \
	"ORDER BY s.number"

static bool draws(const struct ctl *ctl, struct bars_style *style)
{
	return bars_style(style) && !ctl->json;
}

PGresult *limits_ask(struct ctl *ctl, const char *login, const char *scope, int *status_out)
{
	struct bars_style style;
	const char *values[] = {login, scope, ctl->json || ctl->all ? "true" : "false"};

	return database_ask(ctl,
		draws(ctl, &style) ? "SELECT " LIMITS_BARS LIMITS_FROM
				   : "SELECT " LIMITS_TABLE LIMITS_FROM,
		3, values, status_out);
}

/* 0 for null, and for a time that has just passed. */
static uint64_t number(const PGresult *limits, int row, enum column column)
{
	const char *text = PQgetvalue(limits, row, column);

	return text[0] == '-' ? 0 : strtoull(text, NULL, 10);
}

/* ----------------------------------------------------------------------- bars */

/* What stands beside a bar.  A limit that nothing counts here (of one message, say) has none. */
struct texts {
	bool bar;
	char amount[3 * BARS_TEXT_MAX], percent[BARS_TEXT_MAX], frees[BARS_TEXT_MAX + 16];
};

struct layout {
	struct bars_style style;
	int label, amount, percent, frees; /* columns that each takes */
	size_t bar;
	bool with_frees, with_source;
};

static void amount_text(bool octets, uint64_t amount, char out[BARS_TEXT_MAX])
{
	if (octets)
		bars_octets(amount, out);
	else
		(void)snprintf(out, BARS_TEXT_MAX, "%" PRIu64, amount);
}

static void make_texts(const PGresult *limits, int row, struct texts *texts)
{
	bool octets = PQgetvalue(limits, row, OCTETS)[0] == 't';
	bool limited = PQgetisnull(limits, row, MAX) == 0;
	bool counted = PQgetisnull(limits, row, USED) == 0;
	char used[BARS_TEXT_MAX], max[BARS_TEXT_MAX];

	memset(texts, 0, sizeof(*texts));
	texts->bar = limited && counted;
	amount_text(octets, number(limits, row, USED), used);
	amount_text(octets, number(limits, row, MAX), max);
	if (texts->bar)
		(void)snprintf(texts->amount, sizeof(texts->amount), "%s of %s", used, max);
	else if (limited)
		(void)snprintf(texts->amount, sizeof(texts->amount), "at most %s", max);
	else
		(void)snprintf(texts->amount, sizeof(texts->amount), "%s%sunlimited",
			counted ? used : "", counted ? ", " : "");
	if (texts->bar)
		(void)snprintf(texts->percent, sizeof(texts->percent), "%lu %%",
			bars_percent(number(limits, row, USED), number(limits, row, MAX)));
	if (texts->bar && PQgetisnull(limits, row, FREES_S) == 0) {
		char time[BARS_TEXT_MAX];

		bars_time(number(limits, row, FREES_S), time);
		(void)snprintf(texts->frees, sizeof(texts->frees), "frees in %s", time);
	}
}

static void widen(int *width, const char *text)
{
	int len = (int)strlen(text);

	if (len > *width)
		*width = len;
}

/* The bar gets what the rest leaves; when that is too little, first the source goes, then the time.
 */
static void lay_out(const PGresult *limits, struct layout *layout)
{
	int source = 0, columns = (int)layout->style.columns, rest;

	for (int row = 0; row < PQntuples(limits); row++) {
		struct texts texts;

		make_texts(limits, row, &texts);
		widen(&layout->label, PQgetvalue(limits, row, LABEL));
		if (texts.bar)
			widen(&layout->amount, texts.amount);
		widen(&layout->percent, texts.percent);
		widen(&layout->frees, texts.frees);
		widen(&source, PQgetvalue(limits, row, SOURCE));
	}
	/* Two columns before each, and the last of the line stays free. */
	rest = columns - layout->label - layout->amount - layout->percent - 4 * 2 - 1;
	layout->with_frees = rest - layout->frees - 2 >= BARS_WIDTH_LEAST;
	rest -= layout->with_frees ? layout->frees + 2 : 0;
	layout->with_source = layout->with_frees && rest - source - 2 >= BARS_WIDTH_LEAST;
	rest -= layout->with_source ? source + 2 : 0;
	layout->bar = rest < BARS_WIDTH_LEAST  ? BARS_WIDTH_LEAST
		      : rest > BARS_WIDTH_MOST ? BARS_WIDTH_MOST
					       : (size_t)rest;
}

static void draw_row(const PGresult *limits, int row, const struct layout *layout)
{
	struct texts texts;

	make_texts(limits, row, &texts);
	(void)printf("  %-*s  ", layout->label, PQgetvalue(limits, row, LABEL));
	if (texts.bar) {
		bars_draw(stdout, &layout->style, layout->bar, number(limits, row, USED),
			number(limits, row, MAX),
			PQgetisnull(limits, row, WARN) == 0 ? (unsigned)number(limits, row, WARN)
							    : WARN_USUAL);
		(void)printf(
			"  %*s  %*s", layout->amount, texts.amount, layout->percent, texts.percent);
		if (layout->with_frees && (layout->with_source || texts.frees[0] != '\0'))
			(void)printf(
				"  %-*s", layout->with_source ? layout->frees : 0, texts.frees);
	} else {
		(void)fputs(texts.amount, stdout);
	}
	if (layout->with_source) {
		(void)fputs(texts.bar ? "  " : ", ", stdout);
		output_plain(stdout, PQgetvalue(limits, row, SOURCE));
	}
	(void)fputc('\n', stdout);
}

static void draw(const PGresult *limits, struct layout *layout)
{
	const char *scope = "";

	lay_out(limits, layout);
	for (int row = 0; row < PQntuples(limits); row++) {
		if (strcmp(scope, PQgetvalue(limits, row, SCOPE)) != 0) {
			scope = PQgetvalue(limits, row, SCOPE);
			output_plain(stdout, scope);
			(void)fputc('\n', stdout);
		}
		draw_row(limits, row, layout);
	}
}

/* ---------------------------------------------------------------------- print */

void limits_print(const struct ctl *ctl, const PGresult *limits)
{
	struct layout layout = {0};

	if (ctl->json) {
		(void)fputc('[', stdout);
		output_page(true, limits, true);
		(void)fputc(']', stdout);
	} else if (draws(ctl, &layout.style)) {
		draw(limits, &layout);
	} else {
		output_table(stdout, limits, true);
	}
}

int ctl_limits_show(struct ctl *ctl)
{
	char login[LOGIN_TEXT_MAX];
	int status = login_argument(ctl, login);
	PGresult *limits = status == EX_OK ? limits_ask(ctl, login, NULL, &status) : NULL;

	if (limits == NULL)
		return status;
	limits_print(ctl, limits);
	if (ctl->json)
		(void)fputc('\n', stdout);
	else if (PQntuples(limits) == 0 && !ctl->all)
		(void)fputs("Nothing is limited; --all shows what is used.\n", stderr);
	PQclear(limits);
	return EX_OK;
}
