/* SPDX-License-Identifier: ISC */
/* The table of all options; see config_options.h. */
#include "common/config_options.h"

#include "common/log.h"

#include <string.h>

#define S UINT64_C(1000)
#define M (60 * S)
#define H (60 * M)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define TITLED(name_, member, element, count_, max_)                                              \
	{                                                                                         \
		.name = (name_), .titled = true, .array = offsetof(struct config, member),        \
		.element_size = sizeof(struct element), .count = offsetof(struct config, count_), \
		.max = (max_), .title = offsetof(struct element, name),                           \
		.line = offsetof(struct element, line)                                            \
	}

const struct config_section config_sections[CONFIG_SECTION_COUNT] = {
	[CONFIG_SECTION_TOP] = {.name = ""},
	[CONFIG_SECTION_USERS] = {.name = "users"},
	[CONFIG_SECTION_LOG] = {.name = "log"},
	[CONFIG_SECTION_DATABASE] = {.name = "database"},
	[CONFIG_SECTION_PASSWORD] = {.name = "password"},
	[CONFIG_SECTION_CREDENTIAL] = {.name = "credential"},
	[CONFIG_SECTION_GUARD] = {.name = "guard"},
	[CONFIG_SECTION_SPOOL] = {.name = "spool"},
	[CONFIG_SECTION_TIMEOUTS] = {.name = "timeouts"},
	[CONFIG_SECTION_LIMITS] = {.name = "limits"},
	[CONFIG_SECTION_TRACE] = {.name = "trace"},
	[CONFIG_SECTION_HEADER] = {.name = "header"},
	[CONFIG_SECTION_CERTIFICATE] = TITLED("certificate", certificates, config_certificate,
		certificate_count, CONFIG_CERTIFICATES_MAX),
	[CONFIG_SECTION_LISTEN] =
		TITLED("listen", listeners, config_listen, listener_count, CONFIG_LISTENERS_MAX),
	[CONFIG_SECTION_BACKEND] =
		TITLED("backend", backends, config_backend, backend_count, CONFIG_BACKENDS_MAX),
	[CONFIG_SECTION_ADMIN] = {.name = "admin"},
	[CONFIG_SECTION_PROBE] = {.name = "probe"},
};

static const struct config_word automatic[] = {{"auto", 0}, {NULL, 0}};
static const struct config_word tls_modes[] = {
	{"implicit", TLS_MODE_IMPLICIT}, {"starttls", TLS_MODE_STARTTLS}, {NULL, 0}};
static const struct config_word line_endings[] = {
	{"normalise", LINE_ENDINGS_NORMALISE}, {"reject", LINE_ENDINGS_REJECT}, {NULL, 0}};
static const struct config_word from_policies[] = {{"off", IPC_FROM_OFF},
	{"observe", IPC_FROM_OBSERVE}, {"reject", IPC_FROM_REJECT}, {"rewrite", IPC_FROM_REWRITE},
	{NULL, 0}};
static const struct config_word listen_proxies[] = {
	{"none", LISTEN_PROXY_NONE}, {"required", LISTEN_PROXY_REQUIRED}, {NULL, 0}};
static const struct config_word log_formats[] = {
	{"logfmt", LOG_FORMAT_LOGFMT}, {"json", LOG_FORMAT_JSON}, {NULL, 0}};
static const struct config_word log_levels[] = {{"error", LOG_ERROR}, {"warning", LOG_WARNING},
	{"info", LOG_INFO}, {"debug", LOG_DEBUG}, {NULL, 0}};
static const struct config_word outages[] = {
	{"defer", PASSWORD_OUTAGE_DEFER}, {"cached", PASSWORD_OUTAGE_CACHED}, {NULL, 0}};
static const struct config_word syncs[] = {
	{"disk", SPOOL_SYNC_DISK}, {"os", SPOOL_SYNC_OS}, {NULL, 0}};
static const struct config_word identities[] = {{"none", BACKEND_IDENTITY_NONE}, {NULL, 0}};

/* Designators, so that a row says only what it has. */
#define ROW(section_, key_, type_, owner, member, ...)                                            \
	{                                                                                         \
		.section = CONFIG_SECTION_##section_, .key = (key_), .type = CONFIG_TYPE_##type_, \
		.offset = offsetof(struct owner, member), __VA_ARGS__                             \
	}
#define DEFAULT(text) .fallback = (text)
#define REQUIRED .required = true
#define RANGE(min_, max_) .min = (min_), .max = (max_)
#define WORDS(table) .words = (table)

const struct config_option config_options[] = {
	ROW(TOP, "hostname", DOMAIN, config, hostname, REQUIRED),
	ROW(TOP, "workers", NUMBER, config, workers, DEFAULT("auto"), RANGE(1, CONFIG_WORKERS_MAX),
		WORDS(automatic)),
	ROW(TOP, "runtime_directory", PATH, config, runtime_directory, DEFAULT("/run/postern")),

	ROW(USERS, "auth", USER, config, users[CONFIG_USER_AUTH], DEFAULT("postern-auth")),
	ROW(USERS, "hash", USER, config, users[CONFIG_USER_HASH], DEFAULT("postern-hash")),
	ROW(USERS, "proxy", USER, config, users[CONFIG_USER_PROXY], DEFAULT("postern-proxy")),
	ROW(USERS, "probe", USER, config, users[CONFIG_USER_PROBE], DEFAULT("postern-probe")),
	ROW(USERS, "admin", USER, config, users[CONFIG_USER_ADMIN], DEFAULT("postern-admin")),

	ROW(LOG, "file", PATH, config, log.file),
	ROW(LOG, "format", CHOICE, config, log.format, DEFAULT("logfmt"), WORDS(log_formats)),
	ROW(LOG, "level", CHOICE, config, log.level, DEFAULT("info"), WORDS(log_levels)),

	ROW(DATABASE, "dsn", SECRET, config, database_dsn),
	ROW(DATABASE, "dsn_file", PATH, config, database_dsn_file),

	/* The caps of auth/password.h: what a stored hash may cost. */
	ROW(PASSWORD, "memory", SIZE, config, password.memory_bytes, DEFAULT("64MiB"),
		RANGE(8 * KIB, GIB)),
	ROW(PASSWORD, "passes", NUMBER, config, password.passes, DEFAULT("2"), RANGE(1, 10)),
	ROW(PASSWORD, "processes", NUMBER, config, password.processes, DEFAULT("auto"),
		RANGE(1, CONFIG_HASHERS_MAX), WORDS(automatic)),
	ROW(PASSWORD, "memory_budget", SIZE, config, password.memory_budget_bytes,
		DEFAULT("256MiB"), RANGE(8 * KIB, 64 * GIB)),
	ROW(PASSWORD, "queue", NUMBER, config, password.queue, DEFAULT("128"), RANGE(1, 65536)),
	ROW(PASSWORD, "cache_entries", NUMBER, config, password.cache_entries, DEFAULT("16384"),
		RANGE(0, 1024 * 1024)),
	ROW(PASSWORD, "cache_age", DURATION, config, password.cache_ms, DEFAULT("1h"),
		RANGE(S, 24 * H)),

	ROW(PASSWORD, "on_outage", CHOICE, config, password.on_outage, DEFAULT("defer"),
		WORDS(outages)),
	ROW(PASSWORD, "outage_trust", DURATION, config, password.outage_trust_ms, DEFAULT("1h"),
		RANGE(S, 24 * H)),

	ROW(GUARD, "enabled", BOOLEAN, config, guard.enabled, DEFAULT("true")),
	ROW(GUARD, "trusted", NETWORKS, config, guard.trusted),
	ROW(GUARD, "prefix_v4", NUMBER, config, guard.prefix_v4, DEFAULT("32"), RANGE(16, 32)),
	ROW(GUARD, "prefix_v6", NUMBER, config, guard.prefix_v6, DEFAULT("64"), RANGE(32, 64)),
	ROW(GUARD, "guesses", NUMBER, config, guard.guesses, DEFAULT("10"), RANGE(3, 1000)),
	ROW(GUARD, "guesses_known", NUMBER, config, guard.guesses_known, DEFAULT("30"),
		RANGE(3, 1000)),
	ROW(GUARD, "guesses_account", NUMBER, config, guard.guesses_account, DEFAULT("50"),
		RANGE(3, 10000)),
	ROW(GUARD, "guesses_network", NUMBER, config, guard.guesses_network, DEFAULT("50"),
		RANGE(3, 10000)),
	ROW(GUARD, "names_network", NUMBER, config, guard.names_network, DEFAULT("20"),
		RANGE(3, 10000)),
	ROW(GUARD, "forgive", DURATION, config, guard.forgive_ms, DEFAULT("5m"), RANGE(S, 24 * H)),
	ROW(GUARD, "block", DURATION, config, guard.block_ms, DEFAULT("15m"), RANGE(S, 24 * H)),
	ROW(GUARD, "block_max", DURATION, config, guard.block_max_ms, DEFAULT("24h"),
		RANGE(S, 720 * H)),
	ROW(GUARD, "remember", DURATION, config, guard.remember_ms, DEFAULT("720h"),
		RANGE(M, 1000 * H)),

	ROW(SPOOL, "directory", PATH, config, spool.directory, DEFAULT("/var/lib/postern")),
	ROW(SPOOL, "size", SIZE, config, spool.size_bytes, DEFAULT("256MiB"), RANGE(MIB, 16 * GIB)),
	ROW(SPOOL, "sync", CHOICE, config, spool.sync, DEFAULT("disk"), WORDS(syncs)),

	ROW(CREDENTIAL, "pepper", PEPPERS, config, pepper_files),

	/* One lost segment is sent again within 3 s. */
	ROW(TIMEOUTS, "proxy_header", DURATION, config, timeouts.proxy_header_ms, DEFAULT("5s"),
		RANGE(S, M)),
	ROW(TIMEOUTS, "handshake", DURATION, config, timeouts.handshake_ms, DEFAULT("15s"),
		RANGE(S, 5 * M)),
	ROW(TIMEOUTS, "unauthenticated", DURATION, config, timeouts.unauthenticated_ms,
		DEFAULT("60s"), RANGE(S, H)),
	ROW(TIMEOUTS, "login", DURATION, config, timeouts.login_ms, DEFAULT("2m"), RANGE(S, H)),
	ROW(TIMEOUTS, "command", DURATION, config, timeouts.command_ms, DEFAULT("5m"), RANGE(S, H)),
	ROW(TIMEOUTS, "data", DURATION, config, timeouts.data_ms, DEFAULT("3m"), RANGE(S, H)),
	ROW(TIMEOUTS, "transaction", DURATION, config, timeouts.transaction_ms, DEFAULT("30m"),
		RANGE(S, 24 * H)),
	ROW(TIMEOUTS, "drain", DURATION, config, timeouts.drain_ms, DEFAULT("30s"), RANGE(0, H)),

	/* RFC 5321 4.5.3.1.8: 100 recipients; 4.5.3.1.7: 64K octets; RFC 4954 9: 3 log-ins. */
	ROW(LIMITS, "recipients", NUMBER, config, limits.recipients, DEFAULT("100"),
		RANGE(100, 10000)),
	ROW(LIMITS, "message_size", SIZE, config, limits.message_bytes, DEFAULT("50MiB"),
		RANGE(64 * KIB, 16 * GIB)),
	ROW(LIMITS, "connections", NUMBER, config, limits.connections, DEFAULT("0"),
		RANGE(0, 1000000)),
	ROW(LIMITS, "connections_per_prefix", NUMBER, config, limits.connections_per_prefix,
		DEFAULT("100"), RANGE(1, 1000000)),
	ROW(LIMITS, "unauthenticated_per_prefix", NUMBER, config, limits.unauthenticated_per_prefix,
		DEFAULT("50"), RANGE(1, 1000000)),
	ROW(LIMITS, "unauthenticated", NUMBER, config, limits.unauthenticated, DEFAULT("1000"),
		RANGE(1, 1000000)),
	ROW(LIMITS, "prefix_v4", NUMBER, config, limits.prefix_v4, DEFAULT("32"), RANGE(8, 32)),
	ROW(LIMITS, "prefix_v6", NUMBER, config, limits.prefix_v6, DEFAULT("64"), RANGE(16, 128)),
	ROW(LIMITS, "minimum_rate", NUMBER, config, limits.minimum_rate, DEFAULT("500"),
		RANGE(0, 1000000)),
	ROW(LIMITS, "errors", NUMBER, config, limits.errors, DEFAULT("20"), RANGE(1, 10000)),
	ROW(LIMITS, "login_failures", NUMBER, config, limits.login_failures, DEFAULT("3"),
		RANGE(3, 100)),
	ROW(LIMITS, "memory", SIZE, config, limits.memory_bytes, DEFAULT("256MiB"),
		RANGE(0, 1024 * GIB)),

	ROW(TRACE, "received", BOOLEAN, config, trace.received, DEFAULT("true")),
	ROW(TRACE, "show_login", BOOLEAN, config, trace.show_login, DEFAULT("false")),
	ROW(TRACE, "show_client", BOOLEAN, config, trace.show_client, DEFAULT("false")),

	ROW(HEADER, "strip", FIELDS, config, header.strip),
	ROW(HEADER, "add_date", BOOLEAN, config, header.add_date, DEFAULT("false")),
	ROW(HEADER, "add_message_id", BOOLEAN, config, header.add_message_id, DEFAULT("false")),
	ROW(HEADER, "drop_received", BOOLEAN, config, header.drop_received, DEFAULT("false")),
	ROW(HEADER, "token", BOOLEAN, config, header.token, DEFAULT("false")),

	ROW(CERTIFICATE, "chain", PATH, config_certificate, chain, REQUIRED),
	ROW(CERTIFICATE, "key", PATH, config_certificate, key, REQUIRED),

	ROW(LISTEN, "address", LISTENERS, config_listen, addresses, REQUIRED),
	ROW(LISTEN, "tls", CHOICE, config_listen, tls, REQUIRED, WORDS(tls_modes)),
	ROW(LISTEN, "certificate", CERTIFICATE, config_listen, certificate, DEFAULT("default")),
	ROW(LISTEN, "line_endings", CHOICE, config_listen, line_endings, DEFAULT("normalise"),
		WORDS(line_endings)),
	ROW(LISTEN, "from", CHOICE, config_listen, from, DEFAULT("reject"), WORDS(from_policies)),
	ROW(LISTEN, "proxy_protocol", CHOICE, config_listen, proxy_protocol, DEFAULT("none"),
		WORDS(listen_proxies)),
	ROW(LISTEN, "proxy_from", NETWORKS, config_listen, proxy_from),

	/* RFC 5321 4.5.3.2.  Less than ten minutes after the end of data makes duplicates. */
	ROW(BACKEND, "server", SERVERS, config_backend, servers, REQUIRED),
	ROW(BACKEND, "source", SOURCES, config_backend, source4),
	ROW(BACKEND, "identity", CHOICE, config_backend, identity, DEFAULT("none"),
		WORDS(identities)),
	ROW(BACKEND, "connect_timeout", DURATION, config_backend, connect_ms, DEFAULT("10s"),
		RANGE(S, 5 * M)),
	ROW(BACKEND, "greeting_timeout", DURATION, config_backend, greeting_ms, DEFAULT("5m"),
		RANGE(S, H)),
	ROW(BACKEND, "command_timeout", DURATION, config_backend, command_ms, DEFAULT("5m"),
		RANGE(S, H)),
	ROW(BACKEND, "data_timeout", DURATION, config_backend, data_ms, DEFAULT("2m"), RANGE(S, H)),
	ROW(BACKEND, "block_timeout", DURATION, config_backend, block_ms, DEFAULT("3m"),
		RANGE(S, H)),
	ROW(BACKEND, "end_of_data_timeout", DURATION, config_backend, end_of_data_ms,
		DEFAULT("10m"), RANGE(10 * M, 2 * H)),

	ROW(ADMIN, "listen", ADDRESS, config, admin, DEFAULT("127.0.0.1:9465")),
	ROW(PROBE, "interval", DURATION, config, probe_interval_ms, DEFAULT("60s"), RANGE(S, H)),
};
const size_t config_option_count = sizeof config_options / sizeof *config_options;

bool config_option_is_list(const struct config_option *option)
{
	return option->type == CONFIG_TYPE_LISTENERS || option->type == CONFIG_TYPE_SERVERS ||
	       option->type == CONFIG_TYPE_SOURCES || option->type == CONFIG_TYPE_FIELDS ||
	       option->type == CONFIG_TYPE_NETWORKS || option->type == CONFIG_TYPE_PEPPERS;
}

const struct config_option *config_option_find(enum config_section_id section, const char *key)
{
	for (size_t i = 0; i < config_option_count; i++) {
		if (config_options[i].section == section && strcmp(config_options[i].key, key) == 0)
			return &config_options[i];
	}
	return NULL;
}
