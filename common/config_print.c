/* SPDX-License-Identifier: ISC */
/*
 * The effective configuration as a file that config_load() takes again (postern -T).  Driven by the
 * table of options: one function a type says a value, in the table below.
 */
#include "common/config.h"

#include "common/config_options.h"
#include "common/config_value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool print_amount(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const void *field = (const char *)owner + option->offset;
	uint64_t amount = option->type == CONFIG_TYPE_SIZE ? *(const uint64_t *)field
							   : *(const unsigned *)field;
	char text[CONFIG_AMOUNT_MAX];

	(void)config;
	for (const struct config_word *word = option->words; word != NULL && word->word != NULL;
		word++) {
		if (word->value == amount)
			return fputs(word->word, out) >= 0;
	}
	return fputs(config_value_amount(option->type, amount, text), out) >= 0;
}

static bool print_boolean(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	(void)config;
	return fputs(*(const bool *)((const char *)owner + option->offset) ? "true" : "false",
		       out) >= 0;
}

static bool print_choice(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	unsigned value;

	(void)config;
	memcpy(&value, (const char *)owner + option->offset, sizeof value);
	for (const struct config_word *word = option->words; word->word != NULL; word++) {
		if (word->value == value)
			return fputs(word->word, out) >= 0;
	}
	return false;
}

static void print_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\' || *text == '$')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static bool print_text(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const char *text = *(char *const *)((const char *)owner + option->offset);

	(void)config;
	if (text != NULL)
		print_quoted(text, out);
	return text != NULL;
}

static bool print_secret(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const char *text = *(char *const *)((const char *)owner + option->offset);

	(void)config;
	if (text != NULL)
		print_quoted(config_value_has_password(text) ? "***" : text, out);
	return text != NULL;
}

static bool print_certificate(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	size_t index = *(const size_t *)((const char *)owner + option->offset);

	print_quoted(config->certificates[index].name, out);
	return true;
}

/* ---------------------------------------------------------------- addresses */
static void print_address(const struct address *address, bool port, FILE *out)
{
	char text[ADDRESS_TEXT_MAX];

	fprintf(out, "\"%s\"",
		port ? address_format(address, text) : address_format_host(address, text));
}

static bool print_one_address(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const struct address *field =
		(const struct address *)((const char *)owner + option->offset);

	(void)config;
	if (field->len == 0)
		fputs("none", out);
	else
		print_address(field, true, out);
	return true;
}

static void print_addresses(const struct address *addresses, size_t count, FILE *out)
{
	for (size_t i = 0; i < count; i++) {
		fputs(i == 0 ? "{" : ", ", out);
		print_address(&addresses[i], true, out);
	}
	fputc('}', out);
}

static bool print_listeners(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const struct config_listen *listen = owner;

	(void)option;
	(void)config;
	print_addresses(listen->addresses, listen->address_count, out);
	return true;
}

static bool print_servers(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const struct config_backend *backend = owner;

	(void)option;
	(void)config;
	print_addresses(backend->servers, backend->server_count, out);
	return true;
}

static bool print_sources(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const struct config_backend *backend = owner;
	bool both = backend->source4.len != 0 && backend->source6.len != 0;

	(void)option;
	(void)config;
	if (backend->source4.len == 0 && backend->source6.len == 0)
		return false;
	fputc('{', out);
	if (backend->source4.len != 0)
		print_address(&backend->source4, false, out);
	fputs(both ? ", " : "", out);
	if (backend->source6.len != 0)
		print_address(&backend->source6, false, out);
	fputc('}', out);
	return true;
}

static bool print_fields(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const struct config_header *header = &config->header;

	(void)option;
	(void)owner;
	for (size_t i = 0; i < header->strip_count; i++) {
		fputs(i == 0 ? "{" : ", ", out);
		print_quoted(header->strip[i], out);
	}
	if (header->strip_count > 0)
		fputc('}', out);
	return header->strip_count > 0;
}

static bool print_networks(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	const struct network_list *list =
		(const struct network_list *)(const void *)((const char *)owner + option->offset);
	char text[NETWORK_TEXT_MAX];

	(void)config;
	for (size_t i = 0; i < list->count; i++)
		fprintf(out, "%s\"%s\"", i == 0 ? "{" : ", ",
			network_format(&list->networks[i], text));
	if (list->count > 0)
		fputc('}', out);
	return list->count > 0;
}

static bool print_peppers(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out)
{
	(void)option;
	(void)owner;
	for (size_t i = 0; i < config->pepper_count; i++) {
		fputs(i == 0 ? "{" : ", ", out);
		print_quoted(config->pepper_files[i], out);
	}
	if (config->pepper_count > 0)
		fputc('}', out);
	return config->pepper_count > 0;
}

typedef bool print_function(const struct config_option *option, const struct config *config,
	const void *owner, FILE *out);

/* Each writes what stands behind "="; false, with nothing written: the option is not set. */
static print_function *const printers[CONFIG_TYPE_COUNT] = {
	[CONFIG_TYPE_SECRET] = print_secret,
	[CONFIG_TYPE_PATH] = print_text,
	[CONFIG_TYPE_DOMAIN] = print_text,
	[CONFIG_TYPE_USER] = print_text,
	[CONFIG_TYPE_NUMBER] = print_amount,
	[CONFIG_TYPE_SIZE] = print_amount,
	[CONFIG_TYPE_DURATION] = print_amount,
	[CONFIG_TYPE_BOOLEAN] = print_boolean,
	[CONFIG_TYPE_CHOICE] = print_choice,
	[CONFIG_TYPE_CERTIFICATE] = print_certificate,
	[CONFIG_TYPE_ADDRESS] = print_one_address,
	[CONFIG_TYPE_LISTENERS] = print_listeners,
	[CONFIG_TYPE_SERVERS] = print_servers,
	[CONFIG_TYPE_SOURCES] = print_sources,
	[CONFIG_TYPE_FIELDS] = print_fields,
	[CONFIG_TYPE_PEPPERS] = print_peppers,
	[CONFIG_TYPE_NETWORKS] = print_networks,
};

/* A DSN that came from dsn_file is that file's to say. */
static bool is_hidden(const struct config_option *option, const struct config *config)
{
	return option->type == CONFIG_TYPE_SECRET && config->database_dsn_file != NULL;
}

static void print_options(
	enum config_section_id section, const struct config *config, const void *owner, FILE *out)
{
	const char *indent = section == CONFIG_SECTION_TOP ? "" : "\t";

	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		if (option->section != section || is_hidden(option, config))
			continue;
		/* The value first, into memory: an option that is not set is only a comment. */
		char *text = NULL;
		size_t len = 0;
		FILE *value = open_memstream(&text, &len);
		if (value == NULL)
			return;
		bool set = printers[option->type](option, config, owner, value);
		if (fclose(value) == 0)
			fprintf(out, set ? "%s%s = %s\n" : "%s# %s: not set%s\n", indent,
				option->key, text);
		free(text);
	}
}

static void print_section(enum config_section_id id, const struct config *config, FILE *out)
{
	const struct config_section *section = &config_sections[id];
	const char *base = (const char *)config;
	size_t count = section->titled ? *(const size_t *)(base + section->count) : 1;

	for (size_t i = 0; i < count; i++) {
		const void *owner = config;
		fprintf(out, "\n%s", section->name);
		if (section->titled) {
			owner = base + section->array + i * section->element_size;
			fprintf(out, " \"%s\"",
				*(char *const *)((const char *)owner + section->title));
		}
		fputs(" {\n", out);
		print_options(id, config, owner, out);
		fputs("}\n", out);
	}
}

void config_print(const struct config *config, FILE *out)
{
	print_options(CONFIG_SECTION_TOP, config, config, out);
	for (int i = CONFIG_SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++)
		print_section((enum config_section_id)i, config, out);
}
