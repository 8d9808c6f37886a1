/* SPDX-License-Identifier: ISC */
/*
 * postern: the command line, and the order in which a house is made.
 *
 * Everything that can be wrong is found before the first fork and told in one sentence on standard
 * error, with a status of sysexits.h.  From then on supervise.c has the process.
 */
#include "common/child.h"
#include "common/log.h"
#include "master/check.h"
#include "master/house.h"
#include "master/runtime.h"
#include "master/sandbox.h"
#include "master/supervise.h"
#include "master/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/postern/postern.conf"

enum action { ACTION_RUN, ACTION_TEST, ACTION_PRINT, ACTION_VERSION, ACTION_HELP, ACTION_USAGE };

struct options {
	enum action action;
	const char *config;
};

static void print_usage(FILE *out)
{
	fputs("usage: postern [-c FILE] [-t | -T | -V | -h]\n"
	      "  -c FILE  the configuration (" DEFAULT_CONFIG ")\n"
	      "  -t       test the configuration, its certificates and memory budget, and exit\n"
	      "  -T       print the effective configuration and exit\n"
	      "  -V       print the version and exit\n"
	      "  -h       print this and exit\n"
	      "SIGTERM lets running transactions finish; a second one ends at once.\n",
		out);
}

static struct options parse_options(int argc, char **argv)
{
	struct options options = {ACTION_RUN, DEFAULT_CONFIG};
	int option;

	while ((option = getopt(argc, argv, "c:tTVh")) != -1) {
		if (option == 'c')
			options.config = optarg;
		else if (option == 't')
			options.action = ACTION_TEST;
		else if (option == 'T')
			options.action = ACTION_PRINT;
		else if (option == 'V')
			options.action = ACTION_VERSION;
		else if (option == 'h')
			options.action = ACTION_HELP;
		else
			return (struct options){ACTION_USAGE, NULL};
	}
	if (optind != argc)
		options.action = ACTION_USAGE;
	return options;
}

static void count_processes(struct house *house)
{
	const struct config *config = house->config;
	unsigned automatic = workers_auto();

	house->workers = config->workers == 0 ? automatic : config->workers;
	house->hashers = config->password.processes == 0 ? automatic : config->password.processes;
}

/* -------------------------------------------------------------------- start */
static bool make_page(struct house *house)
{
	house->page_fd = counters_create(&house->page);
	if (house->page_fd == -1) {
		fprintf(stderr, "postern: a page of counters: %s\n", strerror(errno));
		return false;
	}
	counters_own(house->page);
	return true;
}

static bool make_seed(struct house *house)
{
	if (getrandom(house->ticket_seed, sizeof house->ticket_seed, 0) ==
		(ssize_t)sizeof house->ticket_seed)
		return true;
	fprintf(stderr, "postern: getrandom: %s\n", strerror(errno));
	return false;
}

static bool detach_input(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd == -1 || dup2(fd, STDIN_FILENO) == -1 || dup2(fd, STDOUT_FILENO) == -1) {
		fprintf(stderr, "postern: /dev/null: %s\n", strerror(errno));
		return false;
	}
	close(fd);
	return true;
}

/* Files before sockets: a second instance is told about the first by its pid, not by a port. */
static int build(struct house *house, int *lock_out)
{
	struct config *config = house->config;

	house->root = geteuid() == 0;
	if (house->root && !users_resolve(config, house->users, stderr))
		return EX_NOUSER;
	if (!check_config(config, house->hashers, stderr))
		return EX_CONFIG;
	if (!runtime_make_directory(config, house->root, stderr))
		return EX_CANTCREAT;
	*lock_out = runtime_lock(config, stderr);
	if (*lock_out == -1)
		return EX_UNAVAILABLE;
	if (!runtime_make_spool(config, stderr))
		return EX_CANTCREAT;
	if (house->root && !runtime_make_empty(config, house->empty_directory,
				   sizeof house->empty_directory, stderr))
		return EX_CANTCREAT;
	house->log_fd = runtime_open_log(config, stderr);
	if (house->log_fd == -1)
		return EX_CANTCREAT;
	if (!listeners_open(config, &house->listeners, stderr))
		return EX_UNAVAILABLE;
	return make_page(house) && make_seed(house) && detach_input() ? EX_OK : EX_OSERR;
}

static void log_start(const struct house *house)
{
	struct log_line line;

	log_begin(&line, LOG_INFO, "start");
	log_text(&line, "version", POSTERN_VERSION);
	log_text(&line, "config", house->config->path);
	log_uint(&line, "workers", house->workers);
	log_uint(&line, "hashers", house->hashers);
	log_end(&line);
	if (!house->root)
		log_message(LOG_INFO, "unprivileged",
			"not started by root: all processes keep this user and the file system, "
			"separated by system call filters only");
}

static int run(struct house *house)
{
	int lock = -1;
	int status = build(house, &lock);

	if (status == EX_OK) {
		log_open("master", house->log_fd, house->config->log.format,
			(enum log_level)house->config->log.level);
		child_title_set("postern: master");
		log_start(house);
		status = supervise_block_signals() && sandbox_enter(house->root)
				 ? supervise_run(house)
				 : EX_OSERR;
		log_flush();
	}
	listeners_close(&house->listeners);
	if (lock != -1)
		runtime_unlock(house->config, lock);
	return status;
}

static int test(const struct house *house)
{
	struct user_ids ids[CONFIG_USER_COUNT];

	if (!check_config(house->config, house->hashers, stderr))
		return EX_CONFIG;
	/* Not an error: the users may come with the package, after the file. */
	if (geteuid() == 0 && !users_resolve(house->config, ids, stderr))
		fputs("warning: postern cannot start as root before these users exist\n", stderr);
	puts("configuration is valid");
	return EX_OK;
}

static int with_config(const struct options *options)
{
	static struct house house;
	int status = EX_OK;

	house.log_fd = STDERR_FILENO;
	house.listeners.admin.fd = -1;
	house.config = config_load(options->config, stderr);
	if (house.config == NULL)
		return EX_CONFIG;
	count_processes(&house);
	if (options->action == ACTION_PRINT)
		config_print(house.config, stdout);
	else if (options->action == ACTION_TEST)
		status = test(&house);
	else
		status = run(&house);
	explicit_bzero(house.ticket_seed, sizeof house.ticket_seed);
	config_free(&house.config);
	return status;
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);

	switch (options.action) {
	case ACTION_VERSION:
		puts("postern " POSTERN_VERSION);
		return EX_OK;
	case ACTION_HELP:
		print_usage(stdout);
		return EX_OK;
	case ACTION_USAGE:
		print_usage(stderr);
		return EX_USAGE;
	case ACTION_RUN:
	case ACTION_TEST:
	case ACTION_PRINT:
		break;
	}
	if (!runtime_fill_stdio())
		return EX_OSERR;
	umask(022);
	child_title_init(argc, argv);
	return with_config(&options);
}
