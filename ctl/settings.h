/* SPDX-License-Identifier: ISC */
/*
 * KEY=VALUE words into the JSON object that plan_set(), limits_set() and their like take.  Which
 * limits there are the database knows (limit_kinds()): one row more there is one key more here.
 * What a value must be beyond its form is the database's to say.
 */
#ifndef CTL_SETTINGS_H
#define CTL_SETTINGS_H

#include "ctl/ctl.h"

/* What may be set besides limits. */
enum settings_bit {
	SETTINGS_INHERIT = 1u << 0, /* KEY=plan: no limit of its own */
	SETTINGS_RULES = 1u << 1,   /* on_exceed, warn_percent, grace.KEY: a plan's */
	SETTINGS_PLAN = 1u << 2,    /* plan=NAME or none */
	SETTINGS_TENANT = 1u << 3,  /* parent=NAME or none, enabled=yes or no */
};

/*
 * Reads count words, each key at most once.  Returns the JSON text, for free(); or NULL after
 * saying what is wrong, with the exit status in *status_out.
 */
char *settings_json(struct ctl *ctl, const char *const *words, size_t count, unsigned takes,
	int *status_out) __attribute__((warn_unused_result));

#endif
