/* SPDX-License-Identifier: ISC */
/*
 * Resolving the DSN; see dsn.h.
 *
 * libpq has no call that resolves without connecting.  But it reads everything (DSN, service,
 * environment, defaults, password file) before it looks at channel_binding: with an impossible
 * value there it stops just then, without a packet or a look-up of a name, and PQconninfo() and
 * PQpass() tell what it found.  The real channel_binding comes from a second call that stops at
 * sslmode.
 */
#include "auth/dsn.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPOSSIBLE "postern-only-resolves"
#define SERVICE_OPTIONS                                                                        \
	"-c statement_timeout=2s -c lock_timeout=1s -c idle_in_transaction_session_timeout=5s" \
	" -c jit=off"

/* One server of the DSN's list, before its name is resolved. */
struct host {
	const char *name, *address, *port;
};

struct resolver {
	const char *text;
	bool chroot;
	PQconninfoOption *options;
	const char *channel_binding; /* of options2 */
	PQconninfoOption *options2;
	struct dsn *dsn;
	char *err;
	size_t err_size;
};

static const char *option(const PQconninfoOption *options, const char *keyword)
{
	for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
		if (strcmp(o->keyword, keyword) == 0)
			return o->val;
	}
	return NULL;
}

static void options_free(PQconninfoOption *options)
{
	for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
		if (o->val != NULL && strcmp(o->keyword, "password") == 0)
			sodium_memzero(o->val, strlen(o->val));
	}
	PQconninfoFree(options);
}

/* libpq's own word, without its line end. */
static void tell_libpq(struct resolver *r, const PGconn *conn)
{
	snprintf(r->err, r->err_size, "database.dsn: %s",
		conn == NULL ? "out of memory" : PQerrorMessage(conn));
	r->err[strcspn(r->err, "\n")] = '\0';
}

/* A connection object that has read everything and stopped at the impossible value. */
static PGconn *read_all(struct resolver *r, const char *const *keywords, const char *const *values)
{
	PGconn *conn = PQconnectStartParams(keywords, values, 1);

	if (conn == NULL || strstr(PQerrorMessage(conn), IMPOSSIBLE) == NULL) {
		tell_libpq(r, conn);
		PQfinish(conn);
		return NULL;
	}
	return conn;
}

static PGconn *read_dsn(struct resolver *r, const char *stop_at)
{
	const char *const keywords[] = {"dbname", stop_at, NULL};
	const char *const values[] = {r->text, IMPOSSIBLE, NULL};

	return read_all(r, keywords, values);
}

static PQconninfoOption *read_options(struct resolver *r, const char *stop_at)
{
	PGconn *conn = read_dsn(r, stop_at);

	if (conn == NULL)
		return NULL;
	PQconninfoOption *options = PQconninfo(conn);
	if (options == NULL)
		tell_libpq(r, NULL);
	PQfinish(conn);
	return options;
}

/*
 * The password for one server: the DSN's, the environment's or the password file's (which knows it
 * by its name).  Stops at the address, after every other option was found good.
 */
static char *password_of(struct resolver *r, const struct host *host)
{
	const char *name = host->name == NULL ? host->address : host->name;
	const char *const keywords[] = {"dbname", "host", "hostaddr", "port", NULL};
	const char *const values[] = {r->text, name, IMPOSSIBLE, host->port, NULL};
	PGconn *conn = read_all(r, keywords, values);
	char *password = conn == NULL ? NULL : strdup(PQpass(conn));

	PQfinish(conn);
	return password;
}

static bool is_socket(const char *name)
{
	return name != NULL && (name[0] == '/' || name[0] == '@');
}

/* Takes both strings' content; value NULL or "": nothing to add. */
static bool add(struct dsn_target *target, const char *keyword, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return true;
	char *copy = strdup(value);
	if (copy == NULL || target->count >= DSN_KEYWORDS_MAX) {
		free(copy);
		return false;
	}
	target->keywords[target->count] = keyword;
	target->values[target->count++] = copy;
	return true;
}

/* Keywords of libpq's own table outlive everything: they are constants of the library. */
static const char *stable_keyword(const char *keyword)
{
	static const char *const known[] = {"user", "dbname", "port", "client_encoding", "sslmode",
		"sslcompression", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl",
		"sslcrldir", "sslsni", "requirepeer", "ssl_min_protocol_version",
		"ssl_max_protocol_version", "krbsrvname", "gsslib", "replication",
		"target_session_attrs", "keepalives", "keepalives_idle", "keepalives_interval",
		"keepalives_count", "tcp_user_timeout", "fallback_application_name"};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(known[i], keyword) == 0)
			return known[i];
	}
	return NULL; /* written anew for each target, or of no use to a confined process */
}

static bool add_common(struct resolver *r, struct dsn_target *target)
{
	const char *gss = option(r->options, "gssencmode");
	const char *user_options = option(r->options, "options");
	const char *name = option(r->options, "application_name");
	char text[1024];

	for (const PQconninfoOption *o = r->options; o->keyword != NULL; o++) {
		const char *keyword = stable_keyword(o->keyword);
		if (keyword != NULL && strcmp(keyword, "port") != 0 &&
			strcmp(keyword, "client_encoding") != 0 && !add(target, keyword, o->val))
			return false;
	}
	/* The DSN's own options stand last and win. */
	int len = snprintf(text, sizeof text, "%s %s", SERVICE_OPTIONS,
		user_options == NULL ? "" : user_options);
	if (len < 0 || (size_t)len >= sizeof text)
		return false;
	/* "prefer" is libpq's default; it costs a credentials look-up at each connection. */
	bool want_gss = gss != NULL && strcmp(gss, "require") == 0;
	return add(target, "options", text) && add(target, "client_encoding", "UTF8") &&
	       add(target, "gssencmode", want_gss ? "require" : "disable") &&
	       add(target, "channel_binding", r->channel_binding) &&
	       add(target, "application_name", name == NULL || *name == '\0' ? "postern" : name);
}

/* A password file would be looked for again; a path that cannot exist is cheaper than a home. */
static bool add_password(struct dsn_target *target, char *password)
{
	bool ok = password != NULL && add(target, "password", password) &&
		  add(target, "passfile", "/nonexistent");

	if (password != NULL)
		sodium_memzero(password, strlen(password));
	free(password);
	return ok;
}

static bool add_target(struct resolver *r, const struct host *host, const char *address)
{
	struct dsn *dsn = r->dsn;
	bool in_root = r->chroot && host->name != NULL && host->name[0] == '/';

	if (dsn->count == DSN_TARGETS_MAX) {
		snprintf(r->err, r->err_size,
			"database.dsn names more than %d server addresses; name fewer",
			(int)DSN_TARGETS_MAX);
		return false;
	}
	struct dsn_target *target = &dsn->targets[dsn->count++];
	snprintf(target->label, sizeof target->label, "%s%s%s:%s",
		host->name == NULL ? "" : host->name,
		address == NULL || host->name == NULL ? "" : "=", address == NULL ? "" : address,
		host->port);
	if (add(target, "host", in_root ? "/" : host->name) && add(target, "hostaddr", address) &&
		add(target, "port", host->port) && add_common(r, target) &&
		add_password(target, password_of(r, host)))
		return true;
	if (r->err[0] == '\0')
		snprintf(r->err, r->err_size, "database.dsn: out of memory, or too long");
	return false;
}

/* A chroot can be one directory only. */
static bool claim_directory(struct resolver *r, const char *directory)
{
	char *claimed = r->dsn->socket_directory;

	if (!r->chroot || directory[0] != '/')
		return true;
	if (strlen(directory) >= DSN_DIRECTORY_MAX) {
		snprintf(r->err, r->err_size, "database.dsn: the socket directory is too long");
		return false;
	}
	if (claimed[0] != '\0' && strcmp(claimed, directory) != 0) {
		snprintf(r->err, r->err_size,
			"database.dsn names two socket directories (%s, %s), but the auth process "
			"confines itself to one: use one, or TCP for the others",
			claimed, directory);
		return false;
	}
	snprintf(claimed, DSN_DIRECTORY_MAX, "%s", directory);
	return true;
}

/* Every address of a name becomes a target of its own. */
static bool add_resolved(struct resolver *r, const struct host *host)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char numeric[INET6_ADDRSTRLEN + 24];
	bool ok = true;

	int failed = getaddrinfo(host->name, NULL, &hints, &list);
	if (failed != 0) {
		snprintf(r->err, r->err_size, "database.dsn: cannot resolve %s: %s", host->name,
			gai_strerror(failed));
		return false;
	}
	for (const struct addrinfo *a = list; ok && a != NULL; a = a->ai_next) {
		ok = getnameinfo(a->ai_addr, a->ai_addrlen, numeric, sizeof numeric, NULL, 0,
			     NI_NUMERICHOST) == 0 &&
		     add_target(r, host, numeric);
	}
	freeaddrinfo(list);
	return ok;
}

static bool add_host(struct resolver *r, const struct host *host)
{
	if (host->address != NULL)
		return add_target(r, host, host->address);
	if (is_socket(host->name))
		return claim_directory(r, host->name) && add_target(r, host, NULL);
	return add_resolved(r, host);
}

/* The nth element of a comma-separated list; NULL: empty or not there. */
static char *element(const char *list, size_t n, bool *last)
{
	*last = true;
	if (list == NULL)
		return NULL;
	for (; n > 0; n--) {
		list = strchr(list, ',');
		if (list == NULL)
			return NULL;
		list++;
	}
	size_t len = strcspn(list, ",");
	*last = list[len] == '\0';
	return len == 0 ? NULL : strndup(list, len);
}

/* libpq's default directory, for a server that has neither name nor address. */
static char *default_host(struct resolver *r)
{
	PGconn *conn = read_dsn(r, "channel_binding");
	char *name = conn == NULL ? NULL : strdup(PQhost(conn));

	PQfinish(conn);
	return name;
}

/* libpq has checked that the lists are of one length (one port may serve all). */
static bool add_nth(struct resolver *r, size_t n, bool *last)
{
	const char *ports = option(r->options, "port");
	bool last_name, last_address, last_port;
	char *name = element(option(r->options, "host"), n, &last_name);
	char *address = element(option(r->options, "hostaddr"), n, &last_address);
	bool one_port = ports == NULL || strchr(ports, ',') == NULL;
	char *port = element(ports, one_port ? 0 : n, &last_port);

	*last = last_name && last_address;
	if (name == NULL && address == NULL)
		name = default_host(r);
	const struct host host = {name, address, port == NULL ? "5432" : port};
	bool ok = (name != NULL || address != NULL) && add_host(r, &host);
	free(name);
	free(address);
	free(port);
	return ok;
}

static bool check_files(struct resolver *r)
{
	static const char *const files[] = {
		"sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "requirepeer"};

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		const char *value = option(r->options, files[i]);
		if (value == NULL || *value == '\0')
			continue;
		snprintf(r->err, r->err_size,
			"database.dsn: %s cannot be used, for the auth process opens no file once "
			"it is confined: use a UNIX socket, or sslmode=require with "
			"channel_binding=require (SCRAM then proves the server)",
			files[i]);
		return false;
	}
	return true;
}

/* libpq's own words for a broken string may quote the password, so they are not passed on. */
static bool check_syntax(struct resolver *r)
{
	bool is_uri = strstr(r->text, "://") != NULL;
	PQconninfoOption *options = is_uri || strchr(r->text, '=') != NULL || r->text[0] == '\0'
					    ? PQconninfoParse(r->text, NULL)
					    : NULL;

	if (options == NULL)
		snprintf(r->err, r->err_size,
			"database.dsn is no connection string: check its keywords and quotes "
			"(libpq's manual, 34.1.1)");
	options_free(options);
	return options != NULL;
}

static bool resolve(struct resolver *r)
{
	bool last = false;

	if (!check_syntax(r))
		return false;
	r->options = read_options(r, "channel_binding");
	r->options2 = r->options == NULL ? NULL : read_options(r, "sslmode");
	if (r->options2 == NULL)
		return false;
	r->channel_binding = option(r->options2, "channel_binding");
	if (!check_files(r))
		return false;
	for (size_t n = 0; !last; n++) {
		if (!add_nth(r, n, &last))
			return false;
	}
	return true;
}

struct dsn *dsn_resolve(const char *text, bool chroot, const char *user, char *err, size_t err_size)
{
	struct resolver r = {.text = text == NULL ? "" : text, .chroot = chroot};

	r.err = err;
	r.err_size = err_size;
	err[0] = '\0';
	r.dsn = calloc(1, sizeof *r.dsn);
	/* Weaker than a service's and the DSN's user, stronger than the operating system's. */
	if (user != NULL)
		(void)setenv("PGUSER", user, 0);
	bool ok = r.dsn != NULL && resolve(&r);
	if (!ok && err[0] == '\0')
		snprintf(err, err_size, "database.dsn: out of memory");
	options_free(r.options);
	options_free(r.options2);
	if (!ok)
		dsn_destroy(&r.dsn);
	return r.dsn;
}

void dsn_destroy(struct dsn **dsn)
{
	if (*dsn == NULL)
		return;
	for (size_t i = 0; i < (*dsn)->count; i++) {
		struct dsn_target *target = &(*dsn)->targets[i];
		for (size_t k = 0; k < target->count; k++) {
			sodium_memzero(target->values[k], strlen(target->values[k]));
			free(target->values[k]);
		}
	}
	free(*dsn);
	*dsn = NULL;
}

void dsn_forget_environment(void)
{
	PQconninfoOption *all = PQconninfoParse("", NULL); /* reads neither files nor environment */

	for (const PQconninfoOption *o = all; o != NULL && o->keyword != NULL; o++) {
		char *value = o->envvar == NULL ? NULL : getenv(o->envvar);
		if (value == NULL)
			continue;
		if (strcmp(o->envvar, "PGPASSWORD") == 0)
			sodium_memzero(value, strlen(value));
		unsetenv(o->envvar);
	}
	options_free(all);
	unsetenv("PGSERVICEFILE");
	unsetenv("PGSYSCONFDIR");
	/* libpq looks for ~/.postgresql; without HOME it would ask the user database first. */
	(void)setenv("HOME", "/", 1);
}
