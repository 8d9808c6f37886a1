/* SPDX-License-Identifier: ISC */
/*
 * Which option stands where in a configuration file: the gate in front of libconfuse.
 *
 * libconfuse 3.3 takes in silence a repeated key or section, a missing brace at the end, a list
 * without braces, a value on the next line, and expands variables; and it knows no line of an
 * option once it is read.  So the text is walked here first: all of that is an error, and the lines
 * are kept for everything that is said later.  For the files config*.c only.
 */
#ifndef COMMON_CONFIG_OUTLINE_H
#define COMMON_CONFIG_OUTLINE_H

#include "common/config_errors.h"
#include "common/config_options.h"
#include "common/config_scan.h"

struct outline;

/* text stays the caller's and must outlive the result.  NULL: there were errors. */
struct outline *outline_read(const char *text, size_t len, struct config_errors *errors)
	__attribute__((warn_unused_result));
void outline_destroy(struct outline **outline);

/* How many sections of this kind the file has. */
size_t outline_sections(const struct outline *outline, enum config_section_id section);

/* The line of the index-th section of its kind; 0: the file has none. */
unsigned outline_section_line(
	const struct outline *outline, enum config_section_id section, size_t index);

/* The option's word, or the brace of its list; NULL: the file does not set it. */
const struct scan_token *outline_value(
	const struct outline *outline, const struct config_option *option, size_t index);

/* For messages: the option's line, else its section's, else 0. */
unsigned outline_line(
	const struct outline *outline, const struct config_option *option, size_t index);

#endif
