/* SPDX-License-Identifier: ISC */
/*
 * What plans, tenants and domains have in common: a name, and settings that are shown and changed
 * by KEY=VALUE.  Which statements do it, their own files say.
 */
#ifndef CTL_SUBJECT_H
#define CTL_SUBJECT_H

#include "ctl/ctl.h"

/*
 * Statements: of the lists $1 is a name or NULL for all, and the last column is settings: jsonb,
 * and for people SUBJECT_SETTINGS.  add and set take a name and jsonb, and give a row when they did
 * it; del takes a name, likewise.
 */
struct subject {
	const char *noun; /* the word for people, and the name of the first column */
	unsigned takes;   /* enum settings_bit */
	const char *list, *list_plain, *add, *set, *del;
};

/*
 * A column settings as words that KEY=VALUE takes, in the order of the limits; octets have a unit
 * where that leaves no rest.
 */
#define SUBJECT_SETTINGS                                                                        \
	"(SELECT pg_catalog.string_agg(e.key || '=' || CASE "                                   \
	"WHEN k.unit IS DISTINCT FROM 'bytes' OR e.value !~ '^[1-9][0-9]{0,17}$' THEN e.value " \
	"WHEN e.value::int8 % 1073741824 = 0 THEN e.value::int8 / 1073741824 || 'GiB' "         \
	"WHEN e.value::int8 % 1048576 = 0 THEN e.value::int8 / 1048576 || 'MiB' "               \
	"WHEN e.value::int8 % 1024 = 0 THEN e.value::int8 / 1024 || 'KiB' "                     \
	"ELSE e.value END, ' ' ORDER BY e.key <> e.kind, k.number NULLS FIRST, e.key) "         \
	"FROM (SELECT key, key AS kind, value "                                                 \
	"FROM pg_catalog.jsonb_each_text(settings - 'grace') "                                  \
	"UNION ALL SELECT 'grace.' || key, key, value "                                         \
	"FROM pg_catalog.jsonb_each_text(settings -> 'grace')) e "                              \
	"LEFT JOIN postern.limit_kinds() k ON k.name = e.kind "                                 \
	"WHERE e.value IS NOT NULL) AS settings"

int subject_add(struct ctl *ctl, const struct subject *subject);
int subject_set(struct ctl *ctl, const struct subject *subject);
int subject_list(struct ctl *ctl, const struct subject *subject);
int subject_show(struct ctl *ctl, const struct subject *subject);
int subject_del(struct ctl *ctl, const struct subject *subject);

#endif
