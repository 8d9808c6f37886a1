/* SPDX-License-Identifier: ISC */
/* Where the files config*.c put their complaints, "file:line: text"; for them only. */
#ifndef COMMON_CONFIG_ERRORS_H
#define COMMON_CONFIG_ERRORS_H

#include <stdio.h>

struct config_errors {
	FILE *out;
	const char *path;
	unsigned count;
};

/* line 0: about the file as a whole ("file: text"). */
void config_complain(struct config_errors *errors, unsigned line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
