/* SPDX-License-Identifier: ISC */
/*
 * Reads the configuration file; see config.h.
 *
 * Three steps, each only when the one before found nothing: config_outline.c walks the text (what
 * libconfuse passes in silence, and the lines), libconfuse parses it, and the table of options
 * turns its strings into fields.  All values are strings to libconfuse: its integers know octal,
 * and a message with file, line and the allowed range can be given here only.  config_check.c then
 * judges the whole.
 */
#include "common/config.h"

#include "common/config_check.h"
#include "common/config_errors.h"
#include "common/config_options.h"
#include "common/config_outline.h"
#include "common/config_value.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1024 * 1024, DSN_MAX = 4096 };

struct loader {
	struct config *config;
	struct config_errors errors;
	struct outline *outline;
	char *text; /* the file, for libconfuse with the secrets blotted out */
	size_t len;
	mode_t mode;
};

/* libconfuse's error callback has no argument of ours. */
static struct config_errors *confuse_errors;

void config_complain(struct config_errors *errors, unsigned line, const char *format, ...)
{
	va_list args;

	if (line > 0)
		fprintf(errors->out, "%s:%u: ", errors->path, line);
	else
		fprintf(errors->out, "%s: ", errors->path);
	va_start(args, format);
	vfprintf(errors->out, format, args);
	va_end(args);
	fputc('\n', errors->out);
	errors->count++;
}

/* ---------------------------------------------------------------- the files */
/* Reads a whole regular file of at most max octets, and a NUL.  NULL with errno. */
static char *read_file(const char *path, size_t max, size_t *len_out, mode_t *mode_out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), saved;
	struct stat status;
	char *text = NULL;
	ssize_t n = 0;
	size_t len = 0;

	if (fd == -1)
		return NULL;
	if (fstat(fd, &status) == -1)
		goto out;
	if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size > max) {
		errno = S_ISREG(status.st_mode) ? EFBIG : EINVAL;
		goto out;
	}
	text = malloc(max + 1);
	if (text == NULL)
		goto out;
	do {
		n = read(fd, text + len, max - len);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n == -1 && errno == EINTR));
	if (n == -1) {
		saved = errno;
		explicit_bzero(text, max + 1);
		free(text);
		text = NULL;
		errno = saved;
	} else {
		text[len] = '\0';
		*len_out = len;
		*mode_out = status.st_mode;
	}
out:
	saved = errno;
	close(fd);
	errno = saved;
	return text;
}

static void wipe_text(char **text, size_t len)
{
	if (*text != NULL)
		explicit_bzero(*text, len);
	free(*text);
	*text = NULL;
}

/* A file that holds a password is nobody else's. */
static void check_mode(struct loader *loader, const char *path, mode_t mode, unsigned line)
{
	if (config_value_has_password(loader->config->database_dsn) && (mode & 007) != 0)
		config_complain(&loader->errors, line,
			"%s holds a database password and others may read it; run: chmod o= '%s'",
			path, path);
}

static void read_dsn_file(struct loader *loader, unsigned line)
{
	struct config *config = loader->config;
	size_t len = 0;
	mode_t mode = 0;
	char *text = read_file(config->database_dsn_file, DSN_MAX, &len, &mode);

	if (text == NULL) {
		config_complain(&loader->errors, line, "dsn_file '%s' cannot be read: %s",
			config->database_dsn_file, strerror(errno));
		return;
	}
	size_t used = len;
	while (used > 0 && strchr(" \t\r\n", text[used - 1]) != NULL)
		used--;
	if (used == 0 || memchr(text, '\0', used) != NULL || memchr(text, '\n', used) != NULL)
		config_complain(&loader->errors, line,
			"dsn_file '%s' must hold one line, a connection string",
			config->database_dsn_file);
	else
		config->database_dsn = strndup(text, used);
	wipe_text(&text, len);
	if (config->database_dsn != NULL)
		check_mode(loader, config->database_dsn_file, mode, line);
}

static void load_dsn(struct loader *loader)
{
	const struct config_option *dsn = config_option_find(CONFIG_SECTION_DATABASE, "dsn");
	const struct config_option *file = config_option_find(CONFIG_SECTION_DATABASE, "dsn_file");
	unsigned line = outline_line(loader->outline, dsn, 0);
	unsigned file_line = outline_line(loader->outline, file, 0);
	bool has_dsn = outline_value(loader->outline, dsn, 0) != NULL;
	bool has_file = outline_value(loader->outline, file, 0) != NULL;

	if (has_dsn == has_file)
		config_complain(&loader->errors, has_dsn ? file_line : line,
			has_dsn ? "both dsn and dsn_file; keep one"
				: "no database; add: database { dsn = \"service=postern\" }");
	else if (has_file && loader->config->database_dsn_file != NULL)
		read_dsn_file(loader, file_line);
	else if (loader->config->database_dsn != NULL)
		check_mode(loader, loader->errors.path, loader->mode, line);
}

/* --------------------------------------------------------------- the values */
static void set_value(struct loader *loader, const struct config_option *option, size_t index,
	const char *text, void *owner)
{
	char why[CONFIG_WHY_MAX] = "";
	const char *section = config_sections[option->section].name;

	if (config_value_set(option, text, loader->config, owner, why))
		return;
	config_complain(&loader->errors, outline_line(loader->outline, option, index),
		"%s%s%s: '%.100s' %s", section, *section != '\0' ? "." : "", option->key,
		option->type == CONFIG_TYPE_SECRET ? "***" : text, why);
}

/*
 * Secrets go from the text straight into their fields and are blotted out there: libconfuse would
 * leave copies in memory that it frees, for every child to inherit.
 */
static void take_secrets(struct loader *loader)
{
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		const struct scan_token *value = outline_value(loader->outline, option, 0);
		if (option->type != CONFIG_TYPE_SECRET || value == NULL)
			continue;
		char *secret = scan_decode(loader->text, value);
		if (secret != NULL)
			set_value(loader, option, 0, secret, loader->config);
		else
			config_complain(&loader->errors, 0, "out of memory");
		wipe_text(&secret, secret == NULL ? 0 : value->len);
		memset(loader->text + value->at, 'x', value->len);
	}
}

static void set_option(struct loader *loader, cfg_t *parsed, const struct config_option *option,
	size_t index, void *owner)
{
	cfg_opt_t *opt = cfg_getopt(parsed, option->key);
	const char *section = config_sections[option->section].name;

	if (outline_value(loader->outline, option, index) != NULL) {
		for (unsigned i = 0; i < cfg_opt_size(opt); i++)
			set_value(loader, option, index, cfg_opt_getnstr(opt, i), owner);
	} else if (option->fallback != NULL) {
		set_value(loader, option, index, option->fallback, owner);
	} else if (option->required) {
		config_complain(&loader->errors,
			outline_section_line(loader->outline, option->section, index),
			"%s%s'%s' is missing; docs/configuration.md has it", section,
			*section != '\0' ? ": " : "", option->key);
	}
}

static void set_options(struct loader *loader, cfg_t *parsed, enum config_section_id section,
	size_t index, void *owner)
{
	for (size_t i = 0; i < config_option_count; i++) {
		if (config_options[i].section == section &&
			config_options[i].type != CONFIG_TYPE_SECRET)
			set_option(loader, parsed, &config_options[i], index, owner);
	}
}

static void set_titled(struct loader *loader, cfg_t *parsed, enum config_section_id id)
{
	const struct config_section *section = &config_sections[id];
	char *base = (char *)loader->config;
	size_t *count = (size_t *)(base + section->count);

	for (unsigned i = 0; i < cfg_size(parsed, section->name) && i < section->max; i++) {
		cfg_t *one = cfg_getnsec(parsed, section->name, i);
		char *owner = base + section->array + i * section->element_size;
		char **title = (char **)(owner + section->title);
		*title = strdup(cfg_title(one));
		*(unsigned *)(owner + section->line) = outline_section_line(loader->outline, id, i);
		(*count)++;
		if (*title == NULL)
			config_complain(&loader->errors, 0, "out of memory");
		set_options(loader, one, id, i, owner);
	}
}

static void set_all(struct loader *loader, cfg_t *parsed)
{
	set_options(loader, parsed, CONFIG_SECTION_TOP, 0, loader->config);
	for (int i = CONFIG_SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
		enum config_section_id id = (enum config_section_id)i;
		if (config_sections[id].titled)
			set_titled(loader, parsed, id);
		else
			set_options(loader, cfg_getsec(parsed, config_sections[id].name), id, 0,
				loader->config);
	}
	load_dsn(loader);
}

/* --------------------------------------------------------------- libconfuse */
static void on_confuse_error(cfg_t *parsed, const char *format, va_list args)
{
	char text[300];

	vsnprintf(text, sizeof text, format, args);
	config_complain(confuse_errors, parsed == NULL ? 0 : (unsigned)parsed->line, "%s", text);
}

/* libconfuse's own tables, made from ours; they need to live until cfg_init() has copied them. */
struct confuse_tables {
	cfg_opt_t options[CONFIG_SECTION_COUNT][64];
	size_t counts[CONFIG_SECTION_COUNT];
};

static void add_confuse_option(
	struct confuse_tables *tables, enum config_section_id section, cfg_opt_t option)
{
	size_t *count = &tables->counts[section];

	/* The last row stays zero: it ends the table. */
	if (*count + 1 < sizeof tables->options[section] / sizeof *tables->options[section])
		tables->options[section][(*count)++] = option;
}

static void make_confuse_tables(struct confuse_tables *tables)
{
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		cfg_opt_t one = CFG_STR(option->key, NULL, CFGF_NODEFAULT);
		cfg_opt_t list = CFG_STR_LIST(option->key, NULL, CFGF_NODEFAULT);
		add_confuse_option(
			tables, option->section, config_option_is_list(option) ? list : one);
	}
	for (int i = CONFIG_SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
		const struct config_section *section = &config_sections[i];
		cfg_opt_t one = CFG_SEC(section->name, tables->options[i],
			section->titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES
					: CFGF_NONE);
		add_confuse_option(tables, CONFIG_SECTION_TOP, one);
	}
}

static cfg_t *parse_text(struct loader *loader)
{
	struct confuse_tables *tables = calloc(1, sizeof *tables);
	cfg_t *parsed = NULL;

	if (tables != NULL) {
		make_confuse_tables(tables);
		parsed = cfg_init(tables->options[CONFIG_SECTION_TOP], CFGF_NONE);
	}
	free(tables);
	if (parsed == NULL) {
		config_complain(&loader->errors, 0, "out of memory");
		return NULL;
	}
	confuse_errors = &loader->errors;
	cfg_set_error_function(parsed, on_confuse_error);
	int status = cfg_parse_buf(parsed, loader->text);
	if (status != CFG_SUCCESS && loader->errors.count == 0)
		config_complain(&loader->errors, 0, "the file cannot be parsed");
	if (status == CFG_SUCCESS && loader->errors.count == 0)
		return parsed;
	cfg_free(parsed);
	return NULL;
}

/* ---------------------------------------------------------------- the whole */
static void load_text(struct loader *loader)
{
	cfg_t *parsed;

	loader->outline = outline_read(loader->text, loader->len, &loader->errors);
	if (loader->outline == NULL)
		return;
	take_secrets(loader);
	parsed = parse_text(loader);
	if (parsed == NULL)
		return;
	set_all(loader, parsed);
	cfg_free(parsed);
	if (loader->errors.count == 0)
		config_check(loader->config, loader->outline, &loader->errors);
}

struct config *config_load(const char *path, FILE *err)
{
	struct loader loader = {.errors = {.out = err, .path = path}};

	loader.config = calloc(1, sizeof *loader.config);
	if (loader.config != NULL)
		loader.config->path = strdup(path);
	if (loader.config == NULL || loader.config->path == NULL) {
		config_complain(&loader.errors, 0, "out of memory");
		config_free(&loader.config);
		return NULL;
	}
	loader.text = read_file(path, FILE_MAX, &loader.len, &loader.mode);
	if (loader.text == NULL)
		config_complain(&loader.errors, 0, "cannot be read: %s", strerror(errno));
	else
		load_text(&loader);
	outline_destroy(&loader.outline);
	wipe_text(&loader.text, loader.text == NULL ? 0 : loader.len);
	if (loader.errors.count > 0)
		config_free(&loader.config);
	return loader.config;
}

void config_forget_secrets(struct config *config)
{
	if (config->database_dsn != NULL)
		explicit_bzero(config->database_dsn, strlen(config->database_dsn));
	free(config->database_dsn);
	config->database_dsn = NULL;
	explicit_bzero(config->peppers, sizeof config->peppers);
}

void config_free(struct config **pointer)
{
	struct config *config = *pointer;

	*pointer = NULL;
	if (config == NULL)
		return;
	config_forget_secrets(config);
	free(config->path);
	free(config->hostname);
	free(config->runtime_directory);
	free(config->database_dsn_file);
	free(config->log.file);
	free(config->spool.directory);
	for (size_t i = 0; i < config->header.strip_count; i++)
		free(config->header.strip[i]);
	for (size_t i = 0; i < config->pepper_count; i++)
		free(config->pepper_files[i]);
	for (size_t i = 0; i < CONFIG_USER_COUNT; i++)
		free(config->users[i]);
	for (size_t i = 0; i < config->listener_count; i++)
		free(config->listeners[i].name);
	for (size_t i = 0; i < config->certificate_count; i++) {
		free(config->certificates[i].name);
		free(config->certificates[i].chain);
		free(config->certificates[i].key);
	}
	for (size_t i = 0; i < config->backend_count; i++)
		free(config->backends[i].name);
	free(config);
}
