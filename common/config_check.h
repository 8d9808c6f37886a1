/* SPDX-License-Identifier: ISC */
/* Whether options that are right each by itself are right together; for config.c only. */
#ifndef COMMON_CONFIG_CHECK_H
#define COMMON_CONFIG_CHECK_H

#include "common/config.h"
#include "common/config_errors.h"
#include "common/config_outline.h"

void config_check(
	const struct config *config, const struct outline *outline, struct config_errors *errors);

#endif
