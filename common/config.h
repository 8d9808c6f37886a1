/* SPDX-License-Identifier: ISC */
/*
 * The configuration file as plain structs.
 *
 * Owns reading, checking and freeing; libconfuse does the syntax.  Strict: an unknown, repeated or
 * ill-typed key is an error with file:line.  Read once by the master before any child is started;
 * children inherit the structs by fork and never read the file.  Holds plumbing only: policy
 * (accounts, senders, plans, limits) lives in PostgreSQL.
 */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include "common/address.h"
#include "common/ipc.h"
#include "common/network.h"
#include "common/pepper.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum config_limits {
	CONFIG_WORKERS_MAX = 64,
	CONFIG_LISTENERS_MAX = 32,
	CONFIG_ADDRESSES_MAX = 16, /* in one listen section */
	CONFIG_CERTIFICATES_MAX = 32,
	CONFIG_BACKENDS_MAX = 32,
	CONFIG_SERVERS_MAX = 16, /* in one backend section */
	CONFIG_HASHERS_MAX = 64,
	CONFIG_PEPPERS_MAX = 8,
	CONFIG_STRIP_MAX = 64,      /* names in header.strip */
	CONFIG_FIELD_NAME_MAX = 76, /* octets of one */
	CONFIG_NAME_MAX = 64,       /* octets of a section's title */
};

enum config_process {
	CONFIG_USER_AUTH,
	CONFIG_USER_HASH,
	CONFIG_USER_PROXY,
	CONFIG_USER_PROBE,
	CONFIG_USER_ADMIN,
	CONFIG_USER_COUNT,
};

enum tls_mode { TLS_MODE_IMPLICIT, TLS_MODE_STARTTLS };

enum line_endings { LINE_ENDINGS_NORMALISE, LINE_ENDINGS_REJECT };

/* The PROXY protocol: whether a load balancer's header says whose each connection is. */
enum listen_proxy { LISTEN_PROXY_NONE, LISTEN_PROXY_REQUIRED };

struct config_listen {
	char *name;
	struct address addresses[CONFIG_ADDRESSES_MAX];
	size_t address_count;
	enum tls_mode tls;
	enum line_endings line_endings;
	enum ipc_from_policy from; /* of accounts without their own; never IPC_FROM_LISTENER */
	size_t certificate;        /* index into config.certificates */
	enum listen_proxy proxy_protocol;
	struct network_list proxy_from; /* load balancers; REQUIRED: nobody else comes in */
	unsigned line;                  /* where the section stands, for messages */
};

struct config_certificate {
	char *name;
	char *chain; /* PEM file: leaf first */
	char *key;   /* PEM file */
	unsigned line;
};

/* What a backend is told of the client behind the connection. */
enum backend_identity { BACKEND_IDENTITY_NONE };

struct config_backend {
	char *name;
	struct address servers[CONFIG_SERVERS_MAX]; /* tried in this order */
	size_t server_count;
	struct address source4, source6; /* len == 0: the kernel chooses */
	enum backend_identity identity;
	/* RFC 5321 4.5.3.2 */
	unsigned connect_ms, greeting_ms, command_ms, data_ms, block_ms, end_of_data_ms;
	unsigned line;
};

struct config_timeouts { /* of a client, in milliseconds */
	unsigned handshake_ms;
	unsigned unauthenticated_ms; /* a command of a session that has not logged in */
	unsigned command_ms;         /* a command of one that has (RFC 5321 4.5.3.2.7: >= 5 min) */
	unsigned data_ms;            /* between two reads of a body */
	unsigned transaction_ms;     /* from the take to the end of data */
	unsigned login_ms;           /* from connect to AUTH's success, whatever the client does */
	unsigned drain_ms;           /* SIGTERM: running transactions get this long */
	unsigned proxy_header_ms;    /* from accept to the end of a load balancer's header */
};

struct config_limits_set {
	unsigned recipients; /* in one message, >= 100 (RFC 5321 4.5.3.1.8) */
	uint64_t
		message_bytes; /* SIZE of our own; the smaller of it and the backend's is offered */
	unsigned connections;  /* of one worker; 0: from the descriptor limit */
	unsigned connections_per_prefix;     /* of one worker, like the next three */
	unsigned unauthenticated_per_prefix; /* sessions that have not logged in */
	unsigned unauthenticated;            /* ... of all prefixes together */
	unsigned prefix_v4, prefix_v6;       /* bits */
	unsigned minimum_rate;               /* of a body, octets a second; 0: none */
	unsigned errors;                     /* bad commands before 421 */
	unsigned login_failures;             /* refused AUTHs before 421, >= 3 (RFC 4954 9) */
	uint64_t memory_bytes;               /* of all queued bytes of one worker; 0: none */
};

/* When an intent counts as recorded. */
enum spool_sync {
	SPOOL_SYNC_DISK, /* on the disk: it survives a power cut */
	SPOOL_SYNC_OS,   /* written: it survives the end of every process */
};

/* Log-ins while the database is away. */
enum password_outage {
	PASSWORD_OUTAGE_DEFER,  /* 454, all of them */
	PASSWORD_OUTAGE_CACHED, /* who logged in lately gets in */
};

struct config_password {
	uint64_t memory_bytes; /* of one Argon2id hash: also the dummy's and new passwords' */
	unsigned passes;
	unsigned processes;           /* 0: auto, one a CPU */
	uint64_t memory_budget_bytes; /* processes * memory must fit */
	unsigned queue;               /* log-ins waiting for a hash process before 454 */
	unsigned cache_entries;       /* verified log-ins remembered; 0 switches the cache off */
	unsigned cache_ms;            /* ... and for how long */
	enum password_outage on_outage;
	unsigned outage_trust_ms; /* CACHED: how old a row may be that lets in without the database
				   */
};

struct config_guard { /* against guessing; see docs/guard.md */
	bool enabled;
	struct network_list trusted;   /* nothing is counted against them as networks */
	unsigned prefix_v4, prefix_v6; /* bits of what counts as one network */
	unsigned guesses;         /* wrong secrets of one name from one network before a hold */
	unsigned guesses_known;   /* ... where that account has logged in before */
	unsigned guesses_account; /* ... of one name from all networks that do not know it */
	unsigned guesses_network; /* ... from one network, whatever the names */
	unsigned names_network;   /* names tried in vain from one network, likewise */
	unsigned forgive_ms;      /* one of each is forgotten so often */
	unsigned block_ms; /* the first block of a network; each further one is twice as long */
	unsigned block_max_ms;
	unsigned remember_ms; /* where an account has logged in */
};

struct config_spool { /* what became of messages, until the database has it */
	char *directory;
	uint64_t size_bytes;
	enum spool_sync sync;
};

enum log_target { LOG_TARGET_STDERR, LOG_TARGET_FILE };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

struct config_log {
	char *file; /* NULL: standard error */
	enum log_format format;
	int level; /* enum log_level */
};

struct config_trace {     /* the Received: line */
	bool received;    /* add one at all */
	bool show_login;  /* default false */
	bool show_client; /* default false */
};

struct config_header { /* what is done to every message's header */
	/* Names of fields, "X-Name"; or "X-Name-*", all names that begin so. */
	char *strip[CONFIG_STRIP_MAX];
	size_t strip_count;
	bool add_date, add_message_id; /* where there is none */
	bool drop_received;            /* those that the client wrote */
	bool token;                    /* add the account's, for abuse reports */
};

struct config {
	char *path;
	char *hostname;
	unsigned workers; /* 0: auto */
	char *runtime_directory;
	char *users[CONFIG_USER_COUNT]; /* a name, or a number with its own group */
	char *database_dsn;             /* secret; config_forget_secrets() wipes it */
	char *database_dsn_file;        /* where it was read from; NULL: it stood in the file */
	char *pepper_files[CONFIG_PEPPERS_MAX];
	uint8_t peppers[CONFIG_PEPPERS_MAX][PEPPER_BYTES]; /* secret, likewise wiped */
	size_t pepper_count;
	struct config_log log;
	struct config_password password;
	struct config_guard guard;
	struct config_spool spool;
	struct config_timeouts timeouts;
	struct config_limits_set limits;
	struct config_trace trace;
	struct config_header header;
	struct config_listen listeners[CONFIG_LISTENERS_MAX];
	size_t listener_count;
	struct config_certificate certificates[CONFIG_CERTIFICATES_MAX];
	size_t certificate_count;
	struct config_backend backends[CONFIG_BACKENDS_MAX];
	size_t backend_count;
	struct address admin; /* len == 0: no HTTP */
	unsigned probe_interval_ms;
};

/*
 * Reads and checks a file.  Errors go to err, one line each, "file:line: what is wrong, and what to
 * do".  Returns NULL when there was any; else an object for config_free().
 */
struct config *config_load(const char *path, FILE *err) __attribute__((warn_unused_result));

/* Frees everything, wiping the secrets first; sets the pointer to NULL. */
void config_free(struct config **config);

/* Wipes what only auth may know (the DSN, the peppers).  Every other child calls it first of all.
 */
void config_forget_secrets(struct config *config);

/*
 * Prints the effective configuration (-T) as a file that config_load() would take again, every
 * option with its value; secrets as "***".
 */
void config_print(const struct config *config, FILE *out);

#endif
