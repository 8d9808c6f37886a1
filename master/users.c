/* SPDX-License-Identifier: ISC */
/* Names to ids; see users.h. */
#include "master/users.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static const char *const process_names[CONFIG_USER_COUNT] = {
	[CONFIG_USER_AUTH] = "auth",
	[CONFIG_USER_HASH] = "hash",
	[CONFIG_USER_PROXY] = "proxy",
	[CONFIG_USER_PROBE] = "probe",
	[CONFIG_USER_ADMIN] = "admin",
};

static bool is_number(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static bool resolve_number(const char *text, struct user_ids *out)
{
	errno = 0;
	unsigned long long value = strtoull(text, NULL, 10);
	/* (uid_t)-1 means "leave it" to setresuid(). */
	if (errno != 0 || value >= UINT32_MAX)
		return false;
	out->uid = out->gid = (uint32_t)value;
	return true;
}

static bool resolve_name(const char *name, struct user_ids *out)
{
	errno = 0;
	const struct passwd *entry = getpwnam(name);
	if (entry == NULL)
		return false;
	out->uid = entry->pw_uid;
	out->gid = entry->pw_gid;
	return true;
}

static bool resolve(const char *process, const char *user, struct user_ids *out, FILE *err)
{
	bool number = is_number(user);

	if (number ? !resolve_number(user, out) : !resolve_name(user, out)) {
		if (number)
			fprintf(err, "users.%s: %s is no user number\n", process, user);
		else if (errno != 0 && errno != ENOENT)
			fprintf(err, "users.%s: looking up %s: %s\n", process, user,
				strerror(errno));
		else
			fprintf(err,
				"users.%s: there is no user %s: run `useradd --system "
				"--user-group --no-create-home --home-dir /nonexistent "
				"--shell /usr/sbin/nologin %s`\n",
				process, user, user);
		return false;
	}
	if (out->uid != 0 && out->gid != 0)
		return true;
	fprintf(err,
		"users.%s: %s is root (or of its group); give it a user without rights of its "
		"own\n",
		process, user);
	return false;
}

bool users_resolve(
	const struct config *config, struct user_ids ids_out[CONFIG_USER_COUNT], FILE *err)
{
	bool good = true;

	for (int i = 0; i < CONFIG_USER_COUNT; i++)
		good &= resolve(process_names[i], config->users[i], &ids_out[i], err);
	return good;
}
