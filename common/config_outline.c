/* SPDX-License-Identifier: ISC */
/* Structure and lines of a configuration file; see config_outline.h. */
#include "common/config_outline.h"

#include <stdlib.h>
#include <string.h>

struct heading {
	enum config_section_id section;
	size_t index; /* among its kind */
	unsigned line;
	char *title; /* NULL: none */
};

struct entry {
	const struct config_option *option;
	size_t index; /* of the section among its kind */
	struct scan_token value;
};

struct outline {
	struct heading *headings;
	size_t heading_count;
	struct entry *entries;
	size_t entry_count;
};

struct reader {
	struct outline *outline;
	struct scan scan;
	struct config_errors *errors;
};

void outline_destroy(struct outline **pointer)
{
	struct outline *outline = *pointer;

	*pointer = NULL;
	if (outline == NULL)
		return;
	for (size_t i = 0; i < outline->heading_count; i++)
		free(outline->headings[i].title);
	free(outline->headings);
	free(outline->entries);
	free(outline);
}

size_t outline_sections(const struct outline *outline, enum config_section_id section)
{
	size_t count = 0;

	for (size_t i = 0; i < outline->heading_count; i++)
		count += outline->headings[i].section == section;
	return count;
}

unsigned outline_section_line(
	const struct outline *outline, enum config_section_id section, size_t index)
{
	for (size_t i = 0; i < outline->heading_count; i++) {
		const struct heading *heading = &outline->headings[i];
		if (heading->section == section && heading->index == index)
			return heading->line;
	}
	return 0;
}

const struct scan_token *outline_value(
	const struct outline *outline, const struct config_option *option, size_t index)
{
	for (size_t i = 0; i < outline->entry_count; i++) {
		const struct entry *entry = &outline->entries[i];
		if (entry->option == option && entry->index == index)
			return &entry->value;
	}
	return NULL;
}

unsigned outline_line(
	const struct outline *outline, const struct config_option *option, size_t index)
{
	const struct scan_token *value = outline_value(outline, option, index);

	return value != NULL ? value->line : outline_section_line(outline, option->section, index);
}

/* ------------------------------------------------------------------ reading */

/* Room for one more element, zeroed; NULL: out of memory, and the old array is as it was. */
static void *grow(void *array, size_t count, size_t size)
{
	char *grown = realloc(array, (count + 1) * size);

	if (grown != NULL)
		memset(grown + count * size, 0, size);
	return grown;
}

static bool add_heading(struct outline *outline, struct heading heading)
{
	struct heading *grown = grow(outline->headings, outline->heading_count, sizeof heading);

	if (grown == NULL)
		return false;
	outline->headings = grown;
	outline->headings[outline->heading_count++] = heading;
	return true;
}

static bool add_entry(struct outline *outline, struct entry entry)
{
	struct entry *grown = grow(outline->entries, outline->entry_count, sizeof entry);

	if (grown == NULL)
		return false;
	outline->entries = grown;
	outline->entries[outline->entry_count++] = entry;
	return true;
}

static bool out_of_memory(struct reader *reader)
{
	config_complain(reader->errors, 0, "out of memory");
	return false;
}

/* A syntax error ends the reading: what follows would only be misread. */
static bool syntax(struct reader *reader, const struct scan_token *token, const char *wanted)
{
	if (token->kind == SCAN_BAD)
		config_complain(reader->errors, token->line, "%s", reader->scan.problem);
	else if (token->kind == SCAN_END)
		config_complain(reader->errors, token->line, "the file ends here; %s", wanted);
	else if (token->quoted) /* it may be a password that lost its place */
		config_complain(reader->errors, token->line, "found a text in quotes; %s", wanted);
	else
		config_complain(reader->errors, token->line, "found '%.*s'; %s",
			(int)(token->len > 60 ? 60 : token->len), reader->scan.text + token->at,
			wanted);
	return false;
}

static bool word_is(const struct reader *reader, const struct scan_token *word, const char *text)
{
	return !word->quoted && strlen(text) == word->len &&
	       memcmp(reader->scan.text + word->at, text, word->len) == 0;
}

static void complain_unknown_option(
	struct reader *reader, const struct scan_token *key, enum config_section_id section)
{
	char known[512] = "";
	size_t len = 0;

	for (size_t i = 0; i < config_option_count; i++) {
		if (config_options[i].section != section)
			continue;
		int n = snprintf(known + len, sizeof known - len, "%s%s", len > 0 ? ", " : "",
			config_options[i].key);
		if (n > 0 && (size_t)n < sizeof known - len)
			len += (size_t)n;
	}
	config_complain(reader->errors, key->line, "no such option '%.*s' in %s%s; it takes: %s",
		(int)(key->len > 60 ? 60 : key->len), reader->scan.text + key->at,
		section == CONFIG_SECTION_TOP ? "the file's top level" : "section ",
		config_sections[section].name, known);
}

static const struct config_option *find_option(
	struct reader *reader, const struct scan_token *key, enum config_section_id section)
{
	for (size_t i = 0; i < config_option_count; i++) {
		if (config_options[i].section == section &&
			word_is(reader, key, config_options[i].key))
			return &config_options[i];
	}
	complain_unknown_option(reader, key, section);
	return NULL;
}

/* After "{": words with commas between, then "}".  Returns false on a syntax error. */
static bool read_list(struct reader *reader, const struct scan_token *open)
{
	struct scan_token token = scan_next(&reader->scan);

	if (token.kind == SCAN_CLOSE) {
		config_complain(reader->errors, open->line, "the list is empty; name at least one");
		return true;
	}
	for (;;) {
		if (token.kind != SCAN_WORD)
			return syntax(reader, &token, "a value of the list was expected");
		token = scan_next(&reader->scan);
		if (token.kind == SCAN_CLOSE)
			return true;
		if (token.kind != SCAN_COMMA)
			return syntax(reader, &token, "',' or '}' was expected in the list");
		token = scan_next(&reader->scan);
	}
}

static void check_shape(struct reader *reader, const struct config_option *option,
	const struct scan_token *key, const struct scan_token *value)
{
	bool list = value->kind == SCAN_OPEN;

	if (list && !config_option_is_list(option))
		config_complain(reader->errors, value->line,
			"'%s' takes one value, not a list; remove the braces", option->key);
	/* source is mostly one address, and one word is read without loss. */
	if (!list && config_option_is_list(option) && option->type != CONFIG_TYPE_SOURCES)
		config_complain(reader->errors, value->line,
			"'%s' is a list; write %s = {\"...\", \"...\"}", option->key, option->key);
	if (value->line != key->line)
		config_complain(reader->errors, value->line,
			"the value of '%s' stands on another line; put it behind the '='",
			option->key);
}

/* After "key =". */
static bool read_value(struct reader *reader, const struct scan_token *key,
	enum config_section_id section, size_t index)
{
	const struct config_option *option = find_option(reader, key, section);
	struct scan_token value = scan_next(&reader->scan);

	if (value.kind != SCAN_WORD && value.kind != SCAN_OPEN)
		return syntax(reader, &value, "a value was expected");
	if (value.kind == SCAN_OPEN && !read_list(reader, &value))
		return false;
	if (option == NULL)
		return true;
	check_shape(reader, option, key, &value);
	const struct scan_token *first = outline_value(reader->outline, option, index);
	if (first != NULL) {
		config_complain(reader->errors, key->line,
			"option '%s' is given twice (first at line %u); remove one", option->key,
			first->line);
		return true;
	}
	struct entry entry = {.option = option, .index = index, .value = value};
	return add_entry(reader->outline, entry) || out_of_memory(reader);
}

static bool read_section(
	struct reader *reader, const struct scan_token *name, const struct scan_token *title);

/* "key = value", "name { ... }" or "name title { ... }"; key is read. */
static bool read_statement(struct reader *reader, const struct scan_token *key,
	enum config_section_id section, size_t index)
{
	struct scan_token next = scan_next(&reader->scan), open = next;

	if (next.kind == SCAN_EQUALS)
		return read_value(reader, key, section, index);
	if (next.kind == SCAN_WORD)
		open = scan_next(&reader->scan);
	if (open.kind != SCAN_OPEN)
		return syntax(reader, &open, "'=' was expected after an option's name");
	if (section != CONFIG_SECTION_TOP) {
		config_complain(reader->errors, key->line,
			"a section within section '%s'; close that one first (its '}' is missing)",
			config_sections[section].name);
		return false;
	}
	return read_section(reader, key, next.kind == SCAN_WORD ? &next : NULL);
}

/* Up to the "}" of the section, or the end of the file for the top level. */
static bool read_body(
	struct reader *reader, enum config_section_id section, size_t index, unsigned opened)
{
	bool top = section == CONFIG_SECTION_TOP;

	for (;;) {
		struct scan_token key = scan_next(&reader->scan);
		if (key.kind == (top ? SCAN_END : SCAN_CLOSE))
			return true;
		if (key.kind == SCAN_END) {
			config_complain(reader->errors, opened,
				"section '%s' is never closed; add its '}'",
				config_sections[section].name);
			return false;
		}
		if (key.kind != SCAN_WORD || key.quoted)
			return syntax(reader, &key, "the name of an option was expected");
		if (!read_statement(reader, &key, section, index))
			return false;
	}
}

static bool find_section(
	struct reader *reader, const struct scan_token *name, enum config_section_id *section_out)
{
	for (int i = CONFIG_SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
		if (word_is(reader, name, config_sections[i].name)) {
			*section_out = (enum config_section_id)i;
			return true;
		}
	}
	config_complain(reader->errors, name->line,
		"no such section '%.*s'; docs/configuration.md has them all",
		(int)(name->len > 60 ? 60 : name->len), reader->scan.text + name->at);
	return false;
}

/* A title is a key: it names logs and metrics, so it is a plain word. */
static bool title_valid(const char *title)
{
	size_t len = strlen(title);

	return len > 0 && len <= CONFIG_NAME_MAX &&
	       strspn(title, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
		       len;
}

static void check_title(
	struct reader *reader, enum config_section_id section, const char *title, unsigned line)
{
	const char *name = config_sections[section].name;

	if (config_sections[section].titled && title == NULL)
		config_complain(reader->errors, line,
			"section '%s' needs a title; write %s \"name\" { ... }", name, name);
	if (!config_sections[section].titled && title != NULL)
		config_complain(
			reader->errors, line, "section '%s' takes no title; remove it", name);
	if (title != NULL && !title_valid(title))
		config_complain(reader->errors, line,
			"a title is 1 to %d letters, digits, '.', '_' or '-'", CONFIG_NAME_MAX);
	for (size_t i = 0; i < reader->outline->heading_count; i++) {
		const struct heading *other = &reader->outline->headings[i];
		if (other->section != section)
			continue;
		if (!config_sections[section].titled)
			config_complain(reader->errors, line,
				"section '%s' is given twice (first at line %u); join them", name,
				other->line);
		else if (title != NULL && other->title != NULL && strcmp(title, other->title) == 0)
			config_complain(reader->errors, line,
				"section '%s' has the title '%s' twice (first at line %u); choose "
				"another",
				name, title, other->line);
	}
}

static bool read_section(
	struct reader *reader, const struct scan_token *name, const struct scan_token *title_token)
{
	enum config_section_id section;
	char *title = NULL;

	if (!find_section(reader, name, &section))
		return false;
	if (title_token != NULL) {
		title = scan_decode(reader->scan.text, title_token);
		if (title == NULL)
			return out_of_memory(reader);
	}
	check_title(reader, section, title, name->line);
	size_t index = outline_sections(reader->outline, section);
	if (config_sections[section].titled && index == config_sections[section].max)
		config_complain(reader->errors, name->line, "more than %zu sections '%s'",
			config_sections[section].max, config_sections[section].name);
	struct heading heading = {
		.section = section, .index = index, .line = name->line, .title = title};
	if (!add_heading(reader->outline, heading)) {
		free(title);
		return out_of_memory(reader);
	}
	return read_body(reader, section, index, name->line);
}

struct outline *outline_read(const char *text, size_t len, struct config_errors *errors)
{
	struct reader reader = {.errors = errors};
	unsigned before = errors->count;

	reader.outline = calloc(1, sizeof *reader.outline);
	if (reader.outline == NULL) {
		out_of_memory(&reader);
		return NULL;
	}
	scan_begin(&reader.scan, text, len);
	if (!read_body(&reader, CONFIG_SECTION_TOP, 0, 1) || errors->count > before)
		outline_destroy(&reader.outline);
	return reader.outline;
}
