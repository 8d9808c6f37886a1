/* SPDX-License-Identifier: ISC */
/*
 * What plans, tenants and domains have in common: a name, and settings that are shown and changed
 * by KEY=VALUE.  Which statements do it, their own files say.
 */
#ifndef CTL_SUBJECT_H
#define CTL_SUBJECT_H

#include "ctl/ctl.h"

/*
 * Statements: of list $1 is a name or NULL for all, and a row ends with the column settings
 * (jsonb); add and set take a name and jsonb, and give a row when they did it; del takes a name.
 */
struct subject {
	const char *noun; /* the word for people, and the name of the first column */
	unsigned takes;   /* enum settings_bit */
	const char *list, *add, *set, *del;
};

int subject_add(struct ctl *ctl, const struct subject *subject);
int subject_set(struct ctl *ctl, const struct subject *subject);
int subject_list(struct ctl *ctl, const struct subject *subject);
int subject_show(struct ctl *ctl, const struct subject *subject);
int subject_del(struct ctl *ctl, const struct subject *subject);

#endif
