/* SPDX-License-Identifier: ISC */
/*
 * Trial of certificates and budget; see check.h.
 *
 * Keys are read in a process of their own that ends at once: the master's memory, which every child
 * inherits, never holds one.
 */
#include "master/check.h"

#include "auth/hash_pool.h"
#include "proxy/tls.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool check_one(const struct config *config, const struct config_certificate *certificate)
{
	static const uint8_t seed[TLS_SEED_BYTES];
	char error[512];
	struct tls_context *context = tls_context_new(
		certificate->name, certificate->chain, certificate->key, seed, error, sizeof error);

	if (context == NULL)
		dprintf(STDERR_FILENO, "%s:%u: certificate \"%s\": %s\n", config->path,
			certificate->line, certificate->name, error);
	else if (!tls_context_names_host(context))
		dprintf(STDERR_FILENO,
			"%s:%u: certificate \"%s\": warning: %s has no alternative name: clients "
			"will refuse it; get one with the service's name among them\n",
			config->path, certificate->line, certificate->name, certificate->chain);
	bool good = context != NULL;
	tls_context_free(&context);
	return good;
}

static bool check_certificates(const struct config *config, FILE *err)
{
	int status;

	fflush(err);
	pid_t pid = fork();
	if (pid == -1) {
		fprintf(err, "checking certificates: %s\n", strerror(errno));
		return false;
	}
	if (pid == 0) {
		bool good = true;
		for (size_t i = 0; i < config->certificate_count; i++)
			good &= check_one(config, &config->certificates[i]);
		_exit(good ? 0 : 1);
	}
	while (waitpid(pid, &status, 0) == -1) {
		if (errno != EINTR)
			return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) <= 1)
		return WEXITSTATUS(status) == 0;
	fprintf(err, "checking certificates: the process that tried them died (wait status %#x)\n",
		(unsigned)status);
	return false;
}

bool check_config(const struct config *config, unsigned hashers, FILE *err)
{
	char error[512];
	bool good = check_certificates(config, err);

	if (!hash_pool_budget_check(config, hashers, error, sizeof error)) {
		fprintf(err, "%s: password: %s\n", config->path, error);
		good = false;
	}
	return good;
}
