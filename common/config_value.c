/* SPDX-License-Identifier: ISC */
/*
 * Values of options; see config_value.h.  One function a type, in the table at the end;
 * config_print.c has the way back.
 */
#include "common/config_value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ------------------------------------------------------------------ amounts */
static const struct unit {
	const char *name;
	uint64_t factor;
} durations[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}, {NULL, 0}},
  sizes[] = {{"", 1}, {"kB", 1000}, {"MB", 1000 * 1000}, {"GB", 1000 * 1000 * 1000}, {"KiB", 1024},
	  {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}, {NULL, 0}},
  numbers[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum config_type type)
{
	if (type == CONFIG_TYPE_DURATION)
		return durations;
	return type == CONFIG_TYPE_SIZE ? sizes : numbers;
}

static const char *amount_form(enum config_type type)
{
	if (type == CONFIG_TYPE_DURATION)
		return "a duration with its unit: 500ms, 30s, 5m, 1h";
	return type == CONFIG_TYPE_SIZE ? "a size in octets: 1024, 50MB, 64MiB" : "a whole number";
}

const char *config_value_amount(
	enum config_type type, uint64_t amount, char text[CONFIG_AMOUNT_MAX])
{
	const struct unit *best = units_of(type);

	for (const struct unit *unit = best; unit->name != NULL; unit++) {
		if (amount > 0 && amount % unit->factor == 0 && unit->factor > best->factor)
			best = unit;
	}
	snprintf(text, CONFIG_AMOUNT_MAX, "%" PRIu64 "%s", amount / best->factor, best->name);
	return text;
}

static bool parse_amount(enum config_type type, const char *text, uint64_t *amount_out)
{
	uint64_t number = 0;
	size_t digits = strspn(text, "0123456789");

	/* "0100" is 64 to libconfuse's integers and 100 to people: it is neither here. */
	if (digits == 0 || (digits > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < digits; i++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
			__builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number))
			return false;
	}
	for (const struct unit *unit = units_of(type); unit->name != NULL; unit++) {
		if (strcmp(text + digits, unit->name) == 0)
			return !__builtin_mul_overflow(number, unit->factor, amount_out);
	}
	*amount_out = 0;
	return type == CONFIG_TYPE_DURATION && strcmp(text, "0") == 0;
}

static void list_words(const struct config_word *words, char *text, size_t room)
{
	size_t len = 0;

	text[0] = '\0';
	for (; words != NULL && words->word != NULL && len < room; words++) {
		int n = snprintf(text + len, room - len, "%s%s", len > 0 ? ", " : "", words->word);
		len += n > 0 ? (size_t)n : 0;
	}
}

static const struct config_word *find_word(const struct config_word *words, const char *text)
{
	for (; words != NULL && words->word != NULL; words++) {
		if (strcmp(words->word, text) == 0)
			return words;
	}
	return NULL;
}

static bool set_amount(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	const struct config_word *word = find_word(option->words, text);
	char words[100], min[CONFIG_AMOUNT_MAX], max[CONFIG_AMOUNT_MAX];
	uint64_t amount = word != NULL ? word->value : 0;
	void *field = (char *)owner + option->offset;

	(void)config;
	list_words(option->words, words, sizeof words);
	if (word == NULL && !parse_amount(option->type, text, &amount)) {
		snprintf(why, CONFIG_WHY_MAX, "is not %s%s%s", amount_form(option->type),
			words[0] != '\0' ? ", or the word " : "", words);
		return false;
	}
	if (word == NULL && (amount < option->min || amount > option->max)) {
		snprintf(why, CONFIG_WHY_MAX, "is out of range; it must be %s to %s%s%s",
			config_value_amount(option->type, option->min, min),
			config_value_amount(option->type, option->max, max),
			words[0] != '\0' ? ", or the word " : "", words);
		return false;
	}
	if (option->type == CONFIG_TYPE_SIZE)
		*(uint64_t *)field = amount;
	else
		*(unsigned *)field = (unsigned)amount;
	return true;
}

/* -------------------------------------------------------------------- words */
static bool set_boolean(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	static const struct config_word words[] = {
		{"true", 1}, {"false", 0}, {"yes", 1}, {"no", 0}, {"on", 1}, {"off", 0}, {NULL, 0}};
	const struct config_word *word = find_word(words, text);

	(void)config;
	if (word == NULL)
		snprintf(why, CONFIG_WHY_MAX, "is neither true nor false");
	else
		*(bool *)((char *)owner + option->offset) = word->value != 0;
	return word != NULL;
}

static bool set_choice(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	const struct config_word *word = find_word(option->words, text);
	char words[100];

	(void)config;
	if (word == NULL) {
		list_words(option->words, words, sizeof words);
		snprintf(why, CONFIG_WHY_MAX, "is not one of: %s", words);
		return false;
	}
	memcpy((char *)owner + option->offset, &word->value, sizeof word->value);
	return true;
}

/* --------------------------------------------------------------------- text */
static bool store_text(
	const struct config_option *option, const char *text, void *owner, char why[CONFIG_WHY_MAX])
{
	char **field = (char **)((char *)owner + option->offset);

	if (*text == '\0') {
		snprintf(why, CONFIG_WHY_MAX, "is empty; give a value, or remove the option");
		return false;
	}
	free(*field);
	*field = strdup(text);
	if (*field == NULL)
		snprintf(why, CONFIG_WHY_MAX, "cannot be kept: out of memory");
	return *field != NULL;
}

static bool set_text(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	(void)config;
	return store_text(option, text, owner, why);
}

static bool set_path(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	(void)config;
	if (*text != '\0' && *text != '/') {
		snprintf(why, CONFIG_WHY_MAX, "is not an absolute path; begin it with '/'");
		return false;
	}
	return store_text(option, text, owner, why);
}

/* RFC 1035 2.3.4, RFC 1123 2.1: labels of letters, digits and inner hyphens; at least two here. */
static bool domain_valid(const char *text)
{
	size_t label = 0, dots = 0, i = 0;

	for (; text[i] != '\0'; i++) {
		char c = text[i];
		bool alnum =
			(c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (c == '.') {
			if (label == 0 || text[i - 1] == '-')
				return false;
			dots++;
			label = 0;
			continue;
		}
		if ((!alnum && (c != '-' || label == 0)) || ++label > 63)
			return false;
	}
	return i <= 253 && dots > 0 && label > 0 && text[i - 1] != '-' &&
	       strspn(text, "0123456789.") != i;
}

static bool set_domain(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	(void)config;
	if (!domain_valid(text)) {
		snprintf(why, CONFIG_WHY_MAX,
			"is not a full domain name; write one like submit.example.net");
		return false;
	}
	return store_text(option, text, owner, why);
}

static bool set_user(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	(void)config;
	if (strcmp(text, "root") == 0 || (*text != '\0' && strspn(text, "0") == strlen(text))) {
		snprintf(why, CONFIG_WHY_MAX, "is root; name a user that can do nothing else");
		return false;
	}
	return store_text(option, text, owner, why);
}

bool config_value_has_password(const char *dsn)
{
	const char *at = strstr(dsn, "://");

	for (const char *word = strstr(dsn, "password"); word != NULL;
		word = strstr(word + 1, "password")) {
		const char *equals = word + strlen("password");
		if (equals[strspn(equals, " \t")] == '=')
			return true;
	}
	if (at == NULL)
		return false;
	const char *host = strpbrk(at + 3, "@/?");
	const char *colon = strchr(at + 3, ':');
	return host != NULL && *host == '@' && colon != NULL && colon < host;
}

static bool set_certificate(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	for (size_t i = 0; i < config->certificate_count; i++) {
		if (config->certificates[i].name != NULL &&
			strcmp(config->certificates[i].name, text) == 0) {
			*(size_t *)((char *)owner + option->offset) = i;
			return true;
		}
	}
	snprintf(why, CONFIG_WHY_MAX,
		"is no certificate; add: certificate \"name\" "
		"{ chain = \"...\" key = \"...\" }");
	return false;
}

static bool set_address(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	struct address *field = (struct address *)((char *)owner + option->offset);

	(void)config;
	if (strcmp(text, "none") == 0) {
		memset(field, 0, sizeof *field);
		return true;
	}
	if (address_parse(text, -1, field))
		return true;
	snprintf(why, CONFIG_WHY_MAX,
		"is not a numeric address with a port (\"127.0.0.1:9465\", \"[::1]:9465\"), or "
		"none");
	return false;
}

static bool append_address(const char *text, int default_port, struct address *addresses,
	size_t *count, size_t max, char why[CONFIG_WHY_MAX])
{
	struct address address;

	if (!address_parse(text, default_port, &address)) {
		snprintf(why, CONFIG_WHY_MAX,
			"is not a numeric address%s (\"192.0.2.1:25\", \"[2001:db8::1]:25\")",
			default_port == -1 ? " with a port" : "");
		return false;
	}
	for (size_t i = 0; i < *count; i++) {
		if (address_equal(&addresses[i], &address)) {
			snprintf(why, CONFIG_WHY_MAX, "is given twice; remove one");
			return false;
		}
	}
	if (*count == max) {
		snprintf(why, CONFIG_WHY_MAX, "is one too many; at most %zu are allowed", max);
		return false;
	}
	addresses[(*count)++] = address;
	return true;
}

static bool set_listeners(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	struct config_listen *listen = owner;

	(void)option;
	(void)config;
	return append_address(
		text, -1, listen->addresses, &listen->address_count, CONFIG_ADDRESSES_MAX, why);
}

static bool set_servers(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	struct config_backend *backend = owner;

	(void)option;
	(void)config;
	return append_address(
		text, 25, backend->servers, &backend->server_count, CONFIG_SERVERS_MAX, why);
}

static bool set_sources(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	struct config_backend *backend = owner;
	struct address address, *field;

	(void)option;
	(void)config;
	if (!address_parse(text, 0, &address) || address_port(&address) != 0) {
		snprintf(why, CONFIG_WHY_MAX,
			"is not a numeric address without a port (\"192.0.2.5\", \"2001:db8::5\")");
		return false;
	}
	field = address.sa.sa_family == AF_INET ? &backend->source4 : &backend->source6;
	if (field->len != 0) {
		snprintf(why, CONFIG_WHY_MAX,
			"is the second of its kind; give at most one IPv4 and one IPv6 address");
		return false;
	}
	*field = address;
	return true;
}

/* ------------------------------------------------------------ header fields */

/* RFC 5322 3.6.8 allows more; a name that needs quotes here is a mistake.  "X-Name-*": a prefix. */
static bool field_name_valid(const char *text)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t len = strlen(text), plain = strspn(text, allowed);

	if (plain == 0 || len > CONFIG_FIELD_NAME_MAX || text[0] == '-')
		return false;
	return plain == len || (plain == len - 1 && text[plain] == '*' && text[plain - 1] == '-');
}

/* Why a name cannot join the list; NULL: it can. */
static const char *field_name_problem(const struct config_header *header, const char *text)
{
	if (!field_name_valid(text))
		return "is not the name of a header field (\"X-Internal\"), nor the beginning of "
		       "some (\"X-Internal-*\")";
	if (strcasecmp(text, "From") == 0 || strcasecmp(text, "Sender") == 0)
		return "cannot be stripped: it names the author; see listen.from";
	for (size_t i = 0; i < header->strip_count; i++) {
		if (strcasecmp(header->strip[i], text) == 0)
			return "is given twice; remove one";
	}
	return NULL;
}

static bool set_fields(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	struct config_header *header = &((struct config *)owner)->header;
	const char *problem = field_name_problem(header, text);

	(void)option;
	(void)config;
	if (problem != NULL) {
		snprintf(why, CONFIG_WHY_MAX, "%s", problem);
		return false;
	}
	if (header->strip_count == CONFIG_STRIP_MAX) {
		snprintf(why, CONFIG_WHY_MAX, "is one too many; at most %d are allowed",
			CONFIG_STRIP_MAX);
		return false;
	}
	char *name = strdup(text);
	if (name == NULL) {
		snprintf(why, CONFIG_WHY_MAX, "cannot be kept: out of memory");
		return false;
	}
	header->strip[header->strip_count++] = name;
	return true;
}

/* ----------------------------------------------------------------- networks */
static bool set_networks(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	struct network_list *list = (struct network_list *)(void *)((char *)owner + option->offset);
	struct network network;

	(void)config;
	if (!network_parse(text, &network)) {
		snprintf(why, CONFIG_WHY_MAX,
			"is not a network (\"192.0.2.0/24\", \"2001:db8::/48\", \"192.0.2.7\"); no "
			"bit may be set behind its prefix");
		return false;
	}
	for (size_t i = 0; i < list->count; i++) {
		if (network_equal(&list->networks[i], &network)) {
			snprintf(why, CONFIG_WHY_MAX, "is given twice; remove one");
			return false;
		}
	}
	if (list->count == NETWORK_LIST_MAX) {
		snprintf(why, CONFIG_WHY_MAX, "is one too many; at most %d are allowed",
			NETWORK_LIST_MAX);
		return false;
	}
	list->networks[list->count++] = network;
	return true;
}

/* ------------------------------------------------------------------- peppers */
static bool set_peppers(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	struct config *whole = owner;

	(void)option;
	(void)config;
	if (*text != '/') {
		snprintf(why, CONFIG_WHY_MAX, "is not an absolute path; begin it with '/'");
		return false;
	}
	if (whole->pepper_count == CONFIG_PEPPERS_MAX) {
		snprintf(why, CONFIG_WHY_MAX, "is one too many; at most %d are allowed",
			CONFIG_PEPPERS_MAX);
		return false;
	}
	uint8_t *pepper = whole->peppers[whole->pepper_count];
	if (pepper_read(text, pepper, why) != NULL)
		return false;
	for (size_t i = 0; i < whole->pepper_count; i++) {
		if (memcmp(whole->peppers[i], pepper, PEPPER_BYTES) == 0) {
			snprintf(why, CONFIG_WHY_MAX, "is given twice; remove one");
			return false;
		}
	}
	char *path = strdup(text);
	if (path == NULL) {
		snprintf(why, CONFIG_WHY_MAX, "cannot be kept: out of memory");
		return false;
	}
	whole->pepper_files[whole->pepper_count++] = path;
	return true;
}

/* -------------------------------------------------------------------- types */
typedef bool set_function(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX]);

static set_function *const setters[CONFIG_TYPE_COUNT] = {
	[CONFIG_TYPE_SECRET] = set_text,
	[CONFIG_TYPE_PATH] = set_path,
	[CONFIG_TYPE_DOMAIN] = set_domain,
	[CONFIG_TYPE_USER] = set_user,
	[CONFIG_TYPE_NUMBER] = set_amount,
	[CONFIG_TYPE_SIZE] = set_amount,
	[CONFIG_TYPE_DURATION] = set_amount,
	[CONFIG_TYPE_BOOLEAN] = set_boolean,
	[CONFIG_TYPE_CHOICE] = set_choice,
	[CONFIG_TYPE_CERTIFICATE] = set_certificate,
	[CONFIG_TYPE_ADDRESS] = set_address,
	[CONFIG_TYPE_LISTENERS] = set_listeners,
	[CONFIG_TYPE_SERVERS] = set_servers,
	[CONFIG_TYPE_SOURCES] = set_sources,
	[CONFIG_TYPE_FIELDS] = set_fields,
	[CONFIG_TYPE_PEPPERS] = set_peppers,
	[CONFIG_TYPE_NETWORKS] = set_networks,
};

bool config_value_set(const struct config_option *option, const char *text,
	const struct config *config, void *owner, char why[CONFIG_WHY_MAX])
{
	return setters[option->type](option, text, config, owner, why);
}
