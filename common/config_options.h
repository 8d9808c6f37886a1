/* SPDX-License-Identifier: ISC */
/*
 * The table of all options, for the files config*.c only: one row an option drives reading,
 * checking, printing and the test that the documentation has it.  A new option is a field in
 * config.h, a row here, and a line each in docs/configuration.md and deploy/postern.conf.
 */
#ifndef COMMON_CONFIG_OPTIONS_H
#define COMMON_CONFIG_OPTIONS_H

#include "common/config.h"

enum config_section_id { /* in the order in which they are read: certificates before listeners */
	CONFIG_SECTION_TOP,
	CONFIG_SECTION_USERS,
	CONFIG_SECTION_LOG,
	CONFIG_SECTION_DATABASE,
	CONFIG_SECTION_PASSWORD,
	CONFIG_SECTION_CREDENTIAL,
	CONFIG_SECTION_GUARD,
	CONFIG_SECTION_SPOOL,
	CONFIG_SECTION_TIMEOUTS,
	CONFIG_SECTION_LIMITS,
	CONFIG_SECTION_TRACE,
	CONFIG_SECTION_HEADER,
	CONFIG_SECTION_CERTIFICATE,
	CONFIG_SECTION_LISTEN,
	CONFIG_SECTION_BACKEND,
	CONFIG_SECTION_ADMIN,
	CONFIG_SECTION_PROBE,
	CONFIG_SECTION_COUNT,
};

/* A section without a title lies in struct config itself; one with, in an array of it. */
struct config_section {
	const char *name; /* "" for the options outside all sections */
	bool titled;
	size_t array, element_size, count, max; /* titled only, offsets in struct config */
	size_t title, line;                     /* offsets in an element */
};
extern const struct config_section config_sections[CONFIG_SECTION_COUNT];

enum config_type {
	CONFIG_TYPE_SECRET,
	CONFIG_TYPE_PATH,
	CONFIG_TYPE_DOMAIN,
	CONFIG_TYPE_USER,
	CONFIG_TYPE_NUMBER,
	CONFIG_TYPE_SIZE,
	CONFIG_TYPE_DURATION,
	CONFIG_TYPE_BOOLEAN,
	CONFIG_TYPE_CHOICE,
	CONFIG_TYPE_CERTIFICATE,
	CONFIG_TYPE_ADDRESS,   /* one, or the word "none" */
	CONFIG_TYPE_LISTENERS, /* a list of addresses with ports */
	CONFIG_TYPE_SERVERS,   /* a list of addresses, port 25 unless given */
	CONFIG_TYPE_SOURCES,   /* at most one IPv4 and one IPv6 address, no ports */
	CONFIG_TYPE_FIELDS,    /* a list of names of header fields */
	CONFIG_TYPE_NETWORKS,  /* a list of networks */
	CONFIG_TYPE_PEPPERS,   /* a list of files with a key each */
	CONFIG_TYPE_COUNT,
};

struct config_word { /* of a choice, or a number's special values; ends with a NULL word */
	const char *word;
	unsigned value;
};

struct config_option {
	enum config_section_id section;
	const char *key;
	enum config_type type;
	size_t offset;        /* in struct config, or in the titled section's element */
	const char *fallback; /* as it would stand in the file; NULL: there is none */
	bool required;
	uint64_t min, max; /* NUMBER, SIZE (octets), DURATION (milliseconds) */
	const struct config_word *words;
};
extern const struct config_option config_options[];
extern const size_t config_option_count;

bool config_option_is_list(const struct config_option *option);

/* NULL: there is none of that name. */
const struct config_option *config_option_find(enum config_section_id section, const char *key);

#endif
