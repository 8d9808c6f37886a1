/* SPDX-License-Identifier: ISC */
/*
 * posternctl: the table of commands, and the frame around each: parse, connect, run, disconnect.
 *
 * A new command is a row here and a function declared in ctl.h.
 */
#include "ctl/ctl.h"
#include "ctl/database.h"
#include "ctl/options.h"
#include "ctl/output.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>

static const struct ctl_command commands[] = {
	{"db", "migrate", ctl_db_migrate, "", 0, 0, CTL_SQL,
		"Brings the schema in the database to the version of this release.  Run it as a "
		"superuser,\nor as the owner of the database with CREATEROLE."},
	{"db", "verify", ctl_db_verify, "", 0, 0, CTL_SQL,
		"Looks whether the database is as Postern needs it (functions, roles, privileges, "
		"triggers, settings,\nmigrations, adapted tables), and says what is wrong and what "
		"to do.  Changes nothing."},
	{"account", "add", ctl_account_add, "LOGIN", 1, 1, CTL_PLAN | CTL_NO_PASSWORD | CTL_COST,
		"Adds an account, and asks for its password: twice on a terminal, or one line of "
		"standard input.\nWhen the login is an address, the account may send as that "
		"address."},
	{"account", "passwd", ctl_account_passwd, "LOGIN", 1, 1, CTL_NO_PASSWORD | CTL_COST,
		"Changes the password of an account; with --no-password takes it away."},
	{"account", "enable", ctl_account_enable, "LOGIN", 1, 1, 0,
		"Lets an account log in again."},
	{"account", "disable", ctl_account_disable, "LOGIN", 1, 1, 0,
		"Keeps an account from logging in, and from sending in sessions that it has."},
	{"account", "rename", ctl_account_rename, "LOGIN NEW-LOGIN", 2, 2, CTL_DRY_RUN,
		"Gives an account another login.  Where it may send as the old login's address, it "
		"may send as the\nnew one's instead."},
	{"account", "delete", ctl_account_delete, "LOGIN", 1, 1, CTL_DRY_RUN,
		"Erases an account that is disabled, and whatever says who it was; the audit keeps "
		"what happened\nunder its id, which is told."},
	{"account", "show", ctl_account_show, "LOGIN", 1, 1, 0,
		"Shows an account, its senders (the first 1000), its limits and what is used of "
		"them."},
	{"account", "list", ctl_account_list, "", 0, 0, CTL_PAGE | CTL_LIMIT,
		"Lists the accounts in the order of their logins."},
	{"account", "hashes", ctl_account_hashes, "", 0, 0, 0,
		"Counts the accounts by scheme and cost of their password hashes."},
	{"account", "import", ctl_account_import, "FILE|-", 1, 1,
		CTL_PLAN | CTL_COST | CTL_IMPORT | CTL_DRY_RUN,
		"Adds the accounts of a CSV file, whose first line names its columns: login, and "
		"any "
		"of password or\nhash, plan, senders (separated by spaces or ;), enabled (yes or "
		"no).  Accounts that exist stay as they\nare, so that a run that was ended can be "
		"run again.  Bad rows are named by their line; the others are done."},
	{"account", "export", ctl_account_export, "", 0, 0, CTL_PAGE | CTL_LIMIT,
		"Writes all accounts as CSV that import takes, with the hashes of their "
		"passwords."},
	{"account", "from", ctl_account_from, "LOGIN off|observe|reject|rewrite|listener", 2, 2, 0,
		"Says what is done about messages whose header From is not the account's: "
		"nothing, a line in the log,\na refusal, or the envelope sender in its place; or "
		"what the listener says.  Holds from the next log-in on."},
	{"account", "token", ctl_account_token, "LOGIN", 1, 1, CTL_ROTATE,
		"Tells the token that the header of an account's messages bears (header.token in "
		"postern.conf)."},
	{"account", "whose", ctl_account_whose, "TOKEN", 1, 1, 0, "Tells whose token it is."},
	{"account", "plan", ctl_account_plan, "LOGIN PLAN", 2, 2, 0,
		"Gives an account another plan."},
	{"account", "tenant", ctl_account_tenant, "LOGIN TENANT|none", 2, 2, 0,
		"Puts an account into a tenant, whose limits then hold for it too; or into none."},
	{"sender", "add", ctl_sender_add, "LOGIN ADDRESS|@DOMAIN|'*'", 2, 2, 0,
		"Lets an account send as an address, as any address of a domain, or as anybody."},
	{"sender", "del", ctl_sender_del, "LOGIN ADDRESS|@DOMAIN|'*'", 2, 2, 0,
		"Takes that permission away."},
	{"credential", "add", ctl_credential_add, "LOGIN", 1, 1,
		CTL_CREDENTIAL | CTL_OWN | CTL_PEPPER,
		"Makes a secret that logs in to an account, and shows it: once, for only a hash "
		"of it is kept."},
	{"credential", "list", ctl_credential_list, "LOGIN", 1, 1, 0,
		"Lists the credentials of an account, the revoked ones too."},
	{"credential", "show", ctl_credential_show, "CREDENTIAL", 1, 1, 0,
		"Shows a credential: where it may be used, until when, who used it last, its "
		"limits "
		"and what is used of them."},
	{"credential", "revoke", ctl_credential_revoke, "CREDENTIAL", 1, 1, CTL_DRY_RUN,
		"Ends a credential for good, and the sessions that logged in with it."},
	{"credential", "keys", ctl_credential_keys, "", 0, 0, 0,
		"Counts the credentials by the pepper that they are hashed under."},
	{"block", "add", ctl_block_add, "NETWORK|LOGIN", 1, 1, CTL_BLOCK,
		"Lets nobody in from a network, on any node, or keeps an account from logging in "
		"and "
		"sending;\nfor a time."},
	{"block", "del", ctl_block_del, "NETWORK|LOGIN", 1, 1, 0, "Ends a block."},
	{"block", "list", ctl_block_list, "", 0, 0, 0,
		"Lists what is blocked at present: by the guard (created_by: the service's role) "
		"or "
		"by hand."},
	{"plan", "add", ctl_plan_add, "NAME [KEY=VALUE...]", 1, CTL_ARGUMENTS_MAX, 0,
		"Makes a plan: limits that many accounts share; what is not named is unlimited.  "
		"Keys: those of limits set,\non_exceed=defer|reject, warn_percent=N|none, and "
		"grace.KEY=N|none: how much more each node lets through\nwhile the database is "
		"away."},
	{"plan", "set", ctl_plan_set, "NAME KEY=VALUE...", 2, CTL_ARGUMENTS_MAX, 0,
		"Changes a plan, for all its accounts at once.  Keys as of plan add; what is not "
		"named stays."},
	{"plan", "list", ctl_plan_list, "", 0, 0, 0,
		"Lists the plans, how many accounts each has, and what is set."},
	{"plan", "show", ctl_plan_show, "NAME", 1, 1, 0, "Shows a plan, one setting a line."},
	{"tenant", "add", ctl_tenant_add, "NAME [KEY=VALUE...]", 1, CTL_ARGUMENTS_MAX, 0,
		"Makes a tenant: accounts that share its limits.  Keys: plan=PLAN|none, "
		"parent=TENANT|none, enabled=yes|no,\nand those of limits set."},
	{"tenant", "set", ctl_tenant_set, "NAME KEY=VALUE...", 2, CTL_ARGUMENTS_MAX, 0,
		"Changes a tenant.  Keys as of tenant add; what is not named stays."},
	{"tenant", "list", ctl_tenant_list, "", 0, 0, 0,
		"Lists the tenants, how many accounts each has, and what is set."},
	{"tenant", "show", ctl_tenant_show, "NAME", 1, 1, 0, "Shows a tenant, one setting a line."},
	{"tenant", "del", ctl_tenant_del, "NAME", 1, 1, CTL_DRY_RUN,
		"Deletes a tenant that has no accounts and no tenants below it."},
	{"domain", "add", ctl_domain_add, "DOMAIN [KEY=VALUE...]", 1, CTL_ARGUMENTS_MAX, 0,
		"Limits what is sent with senders of a domain, by all accounts together.  Keys: "
		"plan=PLAN|none, and\nthose of limits set."},
	{"domain", "set", ctl_domain_set, "DOMAIN KEY=VALUE...", 2, CTL_ARGUMENTS_MAX, 0,
		"Changes the limits of a domain.  Keys as of domain add; what is not named stays."},
	{"domain", "list", ctl_domain_list, "", 0, 0, 0,
		"Lists the domains that have limits, and what is set."},
	{"domain", "show", ctl_domain_show, "DOMAIN", 1, 1, 0,
		"Shows a domain, one setting a line."},
	{"domain", "del", ctl_domain_del, "DOMAIN", 1, 1, CTL_DRY_RUN,
		"Takes the limits of a domain away."},
	{"limits", "set", ctl_limits_set, "LOGIN KEY=VALUE...", 2, CTL_ARGUMENTS_MAX, 0,
		"Sets limits of an account's own.  Keys: messages_hour, recipients_day, "
		"bytes_month "
		"and so on; a key that\ndoes not exist is answered with the list.  Values: a whole "
		"number (octets also with KiB, MiB, GiB),\nunlimited, or plan for what the "
		"account's plan says.  0 lets nothing through."},
	{"limits", "show", ctl_limits_show, "LOGIN", 1, 1, CTL_ALL,
		"Shows what limits the messages of an account: its own, those of its credentials, "
		"of domains and tenants;\nhow much is used, and when some of it is free again.  "
		"Bars on a terminal, else a table."},
	{"limits", "advise", ctl_limits_advise, "LOGIN", 1, 1, 0,
		"Tells what an account sent in an hour and in a day during the last 30 days, and "
		"what "
		"its limits\ncould be: twice what all but one in a hundred hours or days stay "
		"below."},
	{"auth-test", "", ctl_auth_test, "LOGIN", 1, 1, CTL_COST | CTL_FROM | CTL_PEPPER,
		"Asks for a password or a generated secret, tells whether a log-in with it would "
		"be let in, and why not.\n--memory and --passes as in postern.conf tell whether "
		"the "
		"hash would be made anew.  Nothing is counted,\nand nothing changes."},
	{"audit", "", ctl_audit, "[LOGIN]", 0, 1, CTL_HISTORY | CTL_SPAN | CTL_LIMIT,
		"Shows what was changed, the newest first: when, by whom, what, and of which "
		"account; or of one account."},
	{"usage", "", ctl_usage, "", 0, 0, CTL_USAGE | CTL_SPAN | CTL_HISTORY,
		"Adds up what was sent, for bills: messages, recipients, octets; and how many "
		"messages of them the\nserver behind may or may not have accepted.  Days are days "
		"of "
		"UTC; --since and --until take dates."},
	{"log", "", ctl_log, "[LOGIN]", 0, 1, CTL_LOG | CTL_SPAN | CTL_LIMIT,
		"Shows who sent what, and what was refused, the newest first; 100 rows unless "
		"--limit "
		"says otherwise."},
	{"explain", "", ctl_explain, "ID", 1, 1, 0,
		"Tells why a message was refused, or what became of it, by the id in the reply, in "
		"the log or in\nReceived:."},
	{"top", "", ctl_top, "", 0, 0, CTL_TOP | CTL_LIMIT,
		"Shows who sends most at present, anew every two seconds: messages, recipients and "
		"refusals of the\nlast minute, and a minute's mean of the last hour.  ^C ends it."},
	{"completion", "bash", ctl_completion_bash, "", 0, 0, CTL_LOCAL,
		"Prints a script that lets bash complete the words of posternctl: source it, or "
		"put "
		"it into\n/usr/share/bash-completion/completions/posternctl."},
	{"completion", "zsh", ctl_completion_zsh, "", 0, 0, CTL_LOCAL,
		"Prints the same for zsh: put it as _posternctl into a directory of $fpath."},
};

/* A core dump would hold a password. */
static void forbid_dumps(void)
{
	const struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none);
#ifndef POSTERN_SANITIZER /* LeakSanitizer attaches to its own process */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

/* What was printed must have arrived: a full disk is not a success. */
static int flush_output(const struct ctl *ctl, int status)
{
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return status;
	if (errno != EPIPE)
		output_error(ctl->json, EX_IOERR, "could not write the output", "");
	return status == EX_OK ? EX_IOERR : status;
}

int main(int argc, char **argv)
{
	struct ctl ctl = {0};
	int status;

	forbid_dumps();
	status = options_parse(&ctl, commands, sizeof(commands) / sizeof(commands[0]), argc, argv);
	if (status != -1)
		return flush_output(&ctl, status);
	if (sodium_init() == -1 || !password_init()) {
		output_error(ctl.json, EX_OSERR, "libsodium or OpenSSL cannot start", "");
		return EX_OSERR;
	}
	status = (ctl.command->options & CTL_LOCAL) != 0 ? EX_OK : database_open(&ctl);
	if (status == EX_OK)
		status = ctl.command->run(&ctl);
	database_close(&ctl);
	return flush_output(&ctl, status);
}
