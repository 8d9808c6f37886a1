/* SPDX-License-Identifier: ISC */
/*
 * posternctl: what its files share: the command line as parsed, and the table of commands.
 *
 * One process, one thread, one connection to PostgreSQL with the admin role; it talks to no process
 * of Postern's.  Exit statuses are those of sysexits.h.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "auth/password.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

enum { CTL_ARGUMENTS_MAX = 64, CTL_WORDS_MAX = 32 };

/* Options that a command may take besides --dsn, --json and --help. */
enum ctl_option_bit {
	CTL_PLAN = 1u << 0,
	CTL_NO_PASSWORD = 1u << 1,
	CTL_COST = 1u << 2,
	CTL_SQL = 1u << 3,
	CTL_PAGE = 1u << 4,
	CTL_ROTATE = 1u << 5,
	CTL_LIMIT = 1u << 6,
	CTL_DRY_RUN = 1u << 7, /* of everything that destroys: look, say, change nothing */
	CTL_HISTORY = 1u << 8,
	CTL_IMPORT = 1u << 9,
	CTL_CREDENTIAL = 1u << 10,
	CTL_BLOCK = 1u << 11,
	CTL_PEPPER = 1u << 12,
	CTL_FROM = 1u << 13,
	CTL_ALL = 1u << 14,
	CTL_OWN = 1u << 15,  /* limits of a credential's own */
	CTL_SPAN = 1u << 16, /* since when, until when */
	CTL_LOG = 1u << 17,
	CTL_USAGE = 1u << 18,
	CTL_TOP = 1u << 19,
	CTL_LOCAL = 1u << 30, /* no option: the command needs no database */
};

/* An option that may be given several times. */
struct ctl_words {
	const char *word[CTL_WORDS_MAX];
	size_t count;
};

enum ctl_own_limit {
	CTL_MESSAGES_HOUR,
	CTL_MESSAGES_DAY,
	CTL_RECIPIENTS_HOUR,
	CTL_RECIPIENTS_DAY,
	CTL_OWN_LIMITS,
};

/* The command line, and the connection while the command runs. */
struct ctl {
	const struct ctl_command *command;
	const char *arguments[CTL_ARGUMENTS_MAX];
	size_t argument_count;
	const struct ctl_command *commands; /* the whole table */
	size_t command_count;
	bool help, json, no_password, rotate, dry_run, update, plan_given, all;
	const char *dsn, *plan, *sql_directory, *after;
	const char *since, *until, *account_id; /* NULL: any */
	/* of the books; NULL: any, or as usual */
	const char *by, *of_account, *of_tenant, *queue_id, *transaction, *client;
	bool csv, once;
	uint64_t interval_s; /* of top; 0: as usual */
	unsigned long limit; /* rows of a list; 0: all */
	unsigned jobs;       /* of import; 0: one a CPU */
	/* of a credential; NULL: not given */
	uint64_t for_s; /* of block add; 0: as long as usual */
	const char *reason;
	const char
		*from; /* of auth-test the client's address, of log the sender; NULL: not given */
	const char *label, *expires, *pepper, *own_limits[CTL_OWN_LIMITS];
	struct ctl_words networks, senders, limits;
	struct password_cost cost;
	PGconn *connection;
};

/*
 * A row: two words (or one, and ""), what runs, and what it takes.  run returns the exit status.
 */
struct ctl_command {
	const char *noun, *verb;
	int (*run)(struct ctl *ctl);
	const char *arguments; /* for the usage line */
	size_t min, max;       /* how many arguments */
	unsigned options;      /* enum ctl_option_bit */
	const char *summary;
};

int ctl_account_add(struct ctl *ctl);
int ctl_account_passwd(struct ctl *ctl);
int ctl_account_enable(struct ctl *ctl);
int ctl_account_disable(struct ctl *ctl);
int ctl_account_show(struct ctl *ctl);
int ctl_account_list(struct ctl *ctl);
int ctl_account_rename(struct ctl *ctl);
int ctl_account_delete(struct ctl *ctl);
int ctl_account_import(struct ctl *ctl);
int ctl_account_export(struct ctl *ctl);
int ctl_account_hashes(struct ctl *ctl);
int ctl_account_from(struct ctl *ctl);
int ctl_account_token(struct ctl *ctl);
int ctl_account_whose(struct ctl *ctl);
int ctl_account_plan(struct ctl *ctl);
int ctl_account_tenant(struct ctl *ctl);
int ctl_sender_add(struct ctl *ctl);
int ctl_sender_del(struct ctl *ctl);
int ctl_limits_set(struct ctl *ctl);
int ctl_limits_show(struct ctl *ctl);
int ctl_plan_add(struct ctl *ctl);
int ctl_plan_set(struct ctl *ctl);
int ctl_plan_list(struct ctl *ctl);
int ctl_plan_show(struct ctl *ctl);
int ctl_tenant_add(struct ctl *ctl);
int ctl_tenant_set(struct ctl *ctl);
int ctl_tenant_list(struct ctl *ctl);
int ctl_tenant_show(struct ctl *ctl);
int ctl_tenant_del(struct ctl *ctl);
int ctl_domain_add(struct ctl *ctl);
int ctl_domain_set(struct ctl *ctl);
int ctl_domain_list(struct ctl *ctl);
int ctl_domain_show(struct ctl *ctl);
int ctl_domain_del(struct ctl *ctl);
int ctl_credential_add(struct ctl *ctl);
int ctl_credential_list(struct ctl *ctl);
int ctl_credential_show(struct ctl *ctl);
int ctl_credential_revoke(struct ctl *ctl);
int ctl_credential_keys(struct ctl *ctl);
int ctl_auth_test(struct ctl *ctl);
int ctl_audit(struct ctl *ctl);
int ctl_usage(struct ctl *ctl);
int ctl_log(struct ctl *ctl);
int ctl_explain(struct ctl *ctl);
int ctl_top(struct ctl *ctl);
int ctl_limits_advise(struct ctl *ctl);
int ctl_block_add(struct ctl *ctl);
int ctl_block_del(struct ctl *ctl);
int ctl_block_list(struct ctl *ctl);
int ctl_db_migrate(struct ctl *ctl);
int ctl_db_verify(struct ctl *ctl);
int ctl_completion_bash(struct ctl *ctl);
int ctl_completion_zsh(struct ctl *ctl);

#endif
