/* SPDX-License-Identifier: ISC */
/*
 * Values of options: from the file's text into a field.  For the files config*.c only.
 */
#ifndef COMMON_CONFIG_VALUE_H
#define COMMON_CONFIG_VALUE_H

#include "common/config_options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONFIG_WHY_MAX = 400, CONFIG_AMOUNT_MAX = 32 };

/*
 * Sets the field of option in owner (struct config, or the element of its section) to text; a
 * list's option takes one element a call.  config is for names of other sections.  False: why says
 * what is wrong with it and what it should be.
 */
bool config_value_set(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
	__attribute__((warn_unused_result));

/* Whether a connection string holds a password, as a keyword or in a URI. */
bool config_value_has_password(const char *dsn);

/* An amount of the option's type in its largest whole unit: "5m", "64MiB", "100"; returns text. */
const char *config_value_amount(
	enum config_type type, uint64_t amount, char text[CONFIG_AMOUNT_MAX]);

#endif
