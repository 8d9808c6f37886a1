/* SPDX-License-Identifier: ISC */
/*
 * What only the whole configuration shows; see config_check.h.  Nothing here looks at the system:
 * whether files, users and addresses exist is seen by the master when it uses them.
 */
#include "common/config_check.h"

#include "common/config_value.h"

#include <inttypes.h>
#include <string.h>

struct check {
	const struct config *config;
	const struct outline *outline;
	struct config_errors *errors;
};

static unsigned line_of(
	const struct check *check, enum config_section_id section, const char *key, size_t index)
{
	return outline_line(check->outline, config_option_find(section, key), index);
}

static void check_presence(const struct check *check)
{
	if (check->config->listener_count == 0)
		config_complain(check->errors, 0,
			"no listener; add: listen \"submissions\" { address = {\"0.0.0.0:465\"} "
			"tls = "
			"implicit }");
	if (check->config->backend_count == 0)
		config_complain(check->errors, 0,
			"no backend; add: backend \"name\" { server = {\"192.0.2.10:25\"} }");
}

static bool is_wildcard(const struct address *address)
{
	static const struct address_key v4_any = {{[10] = 0xff, [11] = 0xff}};
	static const struct address_key v6_any;
	struct address_key key = address_prefix(address, 32, 128);
	bool v4 = address->sa.sa_family == AF_INET;

	return memcmp(&key, v4 ? &v4_any : &v6_any, sizeof key) == 0;
}

/* Whether one socket's address leaves no room for the other's (all are IPV6_V6ONLY). */
static bool collide(const struct address *a, const struct address *b)
{
	if (a->len == 0 || b->len == 0 || a->sa.sa_family != b->sa.sa_family ||
		address_port(a) != address_port(b))
		return false;
	return address_equal(a, b) || is_wildcard(a) || is_wildcard(b);
}

static void check_against(const struct check *check, size_t listen, const struct address *address,
	size_t other, const struct address *taken)
{
	char text[ADDRESS_TEXT_MAX];

	if (!collide(address, taken))
		return;
	config_complain(check->errors, line_of(check, CONFIG_SECTION_LISTEN, "address", listen),
		"listen \"%s\": %s is taken by listen \"%s\" (line %u); change one",
		check->config->listeners[listen].name, address_format(address, text),
		check->config->listeners[other].name, check->config->listeners[other].line);
}

static void check_addresses(const struct check *check)
{
	const struct config *config = check->config;

	for (size_t l = 0; l < config->listener_count; l++) {
		for (size_t a = 0; a < config->listeners[l].address_count; a++) {
			const struct address *one = &config->listeners[l].addresses[a];
			for (size_t other = 0; other <= l; other++) {
				const struct config_listen *taken = &config->listeners[other];
				size_t end = other == l ? a : taken->address_count;
				for (size_t t = 0; t < end; t++)
					check_against(check, l, one, other, &taken->addresses[t]);
			}
		}
	}
}

/* Whether it holds all addresses of a family. */
static bool is_everybody(const struct network *network)
{
	static const struct network v4 = {.key = {{[10] = 0xff, [11] = 0xff}}, .bits = 96};

	return network->bits == 0 || network_equal(network, &v4);
}

/* Who may send a PROXY header says whose each connection is: nobody, and everybody, are mistakes.
 */
static void check_proxies(const struct check *check)
{
	for (size_t l = 0; l < check->config->listener_count; l++) {
		const struct config_listen *listen = &check->config->listeners[l];
		const struct network_list *from = &listen->proxy_from;
		bool required = listen->proxy_protocol == LISTEN_PROXY_REQUIRED;
		unsigned line = line_of(check, CONFIG_SECTION_LISTEN,
			from->count > 0 ? "proxy_from" : "proxy_protocol", l);

		if (required && from->count == 0)
			config_complain(check->errors, line,
				"listen \"%s\": proxy_protocol is required, and nobody may send "
				"it; add the load balancers: proxy_from = {\"192.0.2.0/24\"}",
				listen->name);
		if (!required && from->count > 0)
			config_complain(check->errors, line,
				"listen \"%s\": proxy_from without a PROXY protocol; add "
				"proxy_protocol = required, or remove it",
				listen->name);
		for (size_t i = 0; i < from->count; i++) {
			if (is_everybody(&from->networks[i]))
				config_complain(check->errors, line,
					"listen \"%s\": proxy_from is everybody, who could then "
					"name any address as his; name the load balancers",
					listen->name);
		}
	}
}

static void check_admin(const struct check *check)
{
	const struct config *config = check->config;
	unsigned line = line_of(check, CONFIG_SECTION_ADMIN, "listen", 0);
	char text[ADDRESS_TEXT_MAX];

	if (config->admin.len == 0)
		return;
	if (!address_is_loopback(&config->admin))
		config_complain(check->errors, line,
			"admin.listen: %s is not a loopback address; use 127.0.0.1 or [::1], and a "
			"proxy of yours in front if others must reach it",
			address_format(&config->admin, text));
	for (size_t l = 0; l < config->listener_count; l++) {
		for (size_t a = 0; a < config->listeners[l].address_count; a++) {
			if (collide(&config->admin, &config->listeners[l].addresses[a]))
				config_complain(check->errors, line,
					"admin.listen: %s is taken by listen \"%s\"; change one",
					address_format(&config->admin, text),
					config->listeners[l].name);
		}
	}
}

static bool has_family(const struct config_backend *backend, sa_family_t family)
{
	for (size_t i = 0; i < backend->server_count; i++) {
		if (backend->servers[i].sa.sa_family == family)
			return true;
	}
	return false;
}

/* A source that no server can be reached from is a mistake: the backend would see another one. */
static void check_backends(const struct check *check)
{
	for (size_t i = 0; i < check->config->backend_count; i++) {
		const struct config_backend *backend = &check->config->backends[i];
		unsigned line = line_of(check, CONFIG_SECTION_BACKEND, "source", i);
		bool v4 = has_family(backend, AF_INET), v6 = has_family(backend, AF_INET6);
		bool source4 = backend->source4.len != 0, source6 = backend->source6.len != 0;
		if ((source4 && !v4) || (source6 && !v6))
			config_complain(check->errors, line,
				"backend \"%s\": a source of IPv%c and no server of it; remove it",
				backend->name, source4 && !v4 ? '4' : '6');
		if ((source4 || source6) && ((v4 && !source4) || (v6 && !source6)))
			config_complain(check->errors, line,
				"backend \"%s\": a server of IPv%c and no source of it; add one",
				backend->name, v4 && !source4 ? '4' : '6');
	}
}

static void check_password(const struct check *check)
{
	const struct config_password *password = &check->config->password;
	uint64_t processes = password->processes == 0 ? 1 : password->processes;
	char memory[CONFIG_AMOUNT_MAX], budget[CONFIG_AMOUNT_MAX];
	unsigned line = line_of(check, CONFIG_SECTION_PASSWORD, "memory", 0);

	config_value_amount(CONFIG_TYPE_SIZE, password->memory_bytes, memory);
	config_value_amount(CONFIG_TYPE_SIZE, password->memory_budget_bytes, budget);
	if (password->memory_bytes % 1024 != 0)
		config_complain(check->errors, line,
			"password.memory: %s is not a whole number of KiB; Argon2 counts in these",
			memory);
	/* The cap on what a stored hash may cost; auth refuses dearer ones. */
	if (password->memory_bytes * password->passes > UINT64_C(1) << 30)
		config_complain(check->errors, line,
			"password: memory * passes is more than 1GiB, which takes most of a second "
			"for each log-in; lower one");
	if (processes * password->memory_bytes > password->memory_budget_bytes)
		config_complain(check->errors, line,
			"password: %" PRIu64 " hash process%s of %s do not fit memory_budget = %s; "
			"raise it, or lower processes or memory",
			processes, processes == 1 ? "" : "es", memory, budget);
}

/* One user for two processes would let either read the other's memory. */
static void check_users(const struct check *check)
{
	static const char *const keys[CONFIG_USER_COUNT] = {
		"auth", "hash", "proxy", "probe", "admin"};

	for (size_t i = 0; i < CONFIG_USER_COUNT; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(check->config->users[i], check->config->users[j]) == 0)
				config_complain(check->errors,
					line_of(check, CONFIG_SECTION_USERS, keys[i], 0),
					"users: %s and %s are both '%s'; give each process its own "
					"user",
					keys[j], keys[i], check->config->users[i]);
		}
	}
}

void config_check(
	const struct config *config, const struct outline *outline, struct config_errors *errors)
{
	struct check check = {.config = config, .outline = outline, .errors = errors};

	check_presence(&check);
	check_addresses(&check);
	check_proxies(&check);
	check_admin(&check);
	check_backends(&check);
	check_password(&check);
	check_users(&check);
}
