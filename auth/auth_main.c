/* SPDX-License-Identifier: ISC */
/*
 * The auth process: what it does before it is confined, its loop and its end.
 *
 * Before confinement: everything that libpq and OpenSSL would read from files, the host names of
 * the database, the choice of the root directory (dsn.h), and the spool's files.  Afterwards it
 * opens no file again.
 */
#include "auth/auth_main.h"

#include "auth/dsn.h"
#include "auth/service.h"
#include "auth/spool_files.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/secret.h"

#include <openssl/ssl.h>
#include <pwd.h>
#include <sodium.h>
#include <string.h>
#include <sysexits.h>

enum { DRAIN_MORE_MS = 5000 }; /* after the proxies' own deadline */

struct auth {
	const struct child_start *start;
	struct event_base *base;
	struct child *child;
	struct service *service;
	struct credential_keys *keys;
	struct spool_files spool;
	uint64_t drain_until_ms; /* 0: serving */
};

static void on_channel(enum ipc_process peer, unsigned index, int fd, void *arg)
{
	struct auth *auth = arg;

	service_on_channel(auth->service, peer, index, fd);
}

/* The proxies finish their transactions first, and need their answers for it. */
static void on_drain(void *arg)
{
	struct auth *auth = arg;

	auth->drain_until_ms =
		clock_monotonic_ms() + DRAIN_MORE_MS + auth->start->config->timeouts.drain_ms;
	log_message(LOG_INFO, "draining", "waiting for the proxies");
	if (service_is_idle(auth->service, clock_monotonic_ms()))
		event_base_loopexit(auth->base, NULL);
}

static void on_tick(uint64_t now_ms, void *arg)
{
	struct auth *auth = arg;

	service_tick(auth->service, now_ms);
	if (auth->drain_until_ms != 0 &&
		(service_is_idle(auth->service, now_ms) || now_ms >= auth->drain_until_ms))
		event_base_loopexit(auth->base, NULL);
}

static bool fatal(const char *text)
{
	log_message(LOG_ERROR, "auth-start", "%s", text);
	log_flush();
	return false;
}

/* Reads what only an unconfined process can; NULL: said why. */
static struct dsn *read_dsn(const struct child_start *start)
{
	const struct child_confinement *confinement = start->confinement;
	const struct passwd *user = confinement->root ? getpwuid(confinement->uid) : NULL;
	char err[512];

	/* A role named like the process's user is what peer authentication asks for. */
	struct dsn *dsn = dsn_resolve(start->config->database_dsn, confinement->root,
		user == NULL ? NULL : user->pw_name, err, sizeof err);
	config_forget_secrets(start->config);
	dsn_forget_environment();
	if (dsn == NULL)
		fatal(err);
	return dsn;
}

static bool prepare_libraries(const struct child_start *start)
{
	secret_wipe_libevent();
	secret_wipe_openssl();
	/* Configuration and providers, which libpq would load at its first TLS connection. */
	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL) != 1)
		return fatal("OpenSSL cannot be set up");
	if (sodium_init() == -1)
		return fatal("libsodium cannot be set up");
	if (!secret_slab_open(service_secrets(start->config)))
		return fatal("no memory for the secrets in flight: lower password.queue");
	return true;
}

static bool open_all(struct auth *auth, const struct dsn *dsn)
{
	static const struct child_events events = {
		.on_channel = on_channel, .on_drain = on_drain, .on_tick = on_tick};

	auth->base = event_base_new();
	if (auth->base == NULL)
		return fatal("no event loop");
	auth->service = service_new(auth->base, auth->start, dsn, auth->keys, &auth->spool);
	if (auth->service == NULL)
		return fatal("out of memory, or password.memory and password.passes are out of "
			     "range, or the spool cannot be used");
	auth->child = child_attach(auth->base, auth->start, &events, auth);
	return auth->child != NULL || fatal("no memory for the control socket");
}

static bool open_spool(struct auth *auth)
{
	char err[512];

	return spool_files_open(
		       &auth->spool, auth->start->config->spool.directory, err, sizeof err) ||
	       fatal(err);
}

int auth_main(const struct child_start *start)
{
	struct auth auth = {.start = start};
	int status = EX_OSERR;

	if (!prepare_libraries(start))
		return EX_OSERR;
	auth.keys = credential_keys_new(start->config->peppers, start->config->pepper_count);
	struct dsn *dsn = read_dsn(start); /* and forgets the secrets of the configuration */
	if (auth.keys == NULL || dsn == NULL || !open_spool(&auth)) {
		credential_keys_destroy(&auth.keys);
		status = dsn == NULL ? EX_CONFIG : EX_OSERR;
		dsn_destroy(&dsn);
		return status;
	}
	child_confine(start, CHILD_SYSCALLS_SPOOL,
		dsn->socket_directory[0] == '\0' ? NULL : dsn->socket_directory);
	if (open_all(&auth, dsn)) {
		/* Serving does not wait for the database: until it is there the answer is 454. */
		child_ready(auth.child);
		status = event_base_dispatch(auth.base) == -1 ? EX_SOFTWARE : 0;
	}
	child_detach(&auth.child);
	service_destroy(&auth.service);
	spool_files_close(&auth.spool);
	if (auth.base != NULL)
		event_base_free(auth.base);
	dsn_destroy(&dsn);
	credential_keys_destroy(&auth.keys);
	log_flush();
	return status;
}
