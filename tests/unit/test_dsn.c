/* SPDX-License-Identifier: ISC */
/* The DSN made explicit: lists of servers, services, password files, the chroot, what is refused.
 */
#include "auth/dsn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char err[512];
static char directory[] = "/tmp/postern-dsn-XXXXXX";
static char service_path[64], pass_path[64];

static const char *value(const struct dsn *dsn, size_t target, const char *keyword)
{
	const struct dsn_target *t = &dsn->targets[target];

	for (size_t i = 0; i < t->count; i++) {
		if (strcmp(t->keywords[i], keyword) == 0)
			return t->values[i];
	}
	return NULL;
}

static struct dsn *resolve(const char *text, bool chroot)
{
	struct dsn *dsn = dsn_resolve(text, chroot, NULL, err, sizeof err);

	if (dsn == NULL)
		fail_msg("%s: %s", text, err);
	return dsn;
}

static void refused(const char *text, bool chroot, const char *word)
{
	struct dsn *dsn = dsn_resolve(text, chroot, NULL, err, sizeof err);

	assert_null(dsn);
	if (strstr(err, word) == NULL)
		fail_msg("%s: got '%s', want a sentence with '%s'", text, err, word);
	assert_null(strchr(err, '\n'));
}

static void test_a_socket_becomes_the_root(void **state)
{
	struct dsn *dsn = resolve("host=/run/pg port=6000 user=u dbname=d", true);

	(void)state;
	assert_int_equal(dsn->count, 1);
	assert_string_equal(dsn->socket_directory, "/run/pg");
	assert_string_equal(value(dsn, 0, "host"), "/");
	assert_string_equal(value(dsn, 0, "port"), "6000");
	assert_string_equal(value(dsn, 0, "user"), "u");
	assert_string_equal(value(dsn, 0, "dbname"), "d");
	assert_string_equal(value(dsn, 0, "gssencmode"), "disable");
	assert_string_equal(value(dsn, 0, "application_name"), "postern");
	assert_non_null(strstr(value(dsn, 0, "options"), "statement_timeout=2s"));
	assert_null(value(dsn, 0, "service"));
	assert_null(value(dsn, 0, "connect_timeout"));
	dsn_destroy(&dsn);
	assert_null(dsn);
	dsn = resolve("host=/run/pg user=u", false);
	assert_string_equal(dsn->socket_directory, "");
	assert_string_equal(value(dsn, 0, "host"), "/run/pg");
	dsn_destroy(&dsn);
}

static void test_no_host_is_the_default_socket(void **state)
{
	struct dsn *dsn = resolve("user=u", true);

	(void)state;
	assert_int_equal(dsn->count, 1);
	assert_int_equal(dsn->socket_directory[0], '/');
	dsn_destroy(&dsn);
}

static void test_many_servers_are_many_targets(void **state)
{
	struct dsn *dsn = resolve("host=127.0.0.1,::1,/run/pg hostaddr='' port=1,2,3 user=u "
				  "target_session_attrs=read-write",
		true);

	(void)state;
	assert_int_equal(dsn->count, 3);
	assert_string_equal(value(dsn, 0, "hostaddr"), "127.0.0.1");
	assert_string_equal(value(dsn, 0, "port"), "1");
	assert_string_equal(value(dsn, 1, "hostaddr"), "::1");
	assert_string_equal(value(dsn, 1, "port"), "2");
	assert_string_equal(value(dsn, 2, "host"), "/");
	assert_null(value(dsn, 2, "hostaddr"));
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(value(dsn, i, "target_session_attrs"), "read-write");
	dsn_destroy(&dsn);
}

static void test_a_name_keeps_beside_its_address(void **state)
{
	struct dsn *dsn = resolve("host=localhost user=u sslmode=require", true);

	(void)state;
	assert_true(dsn->count >= 1);
	assert_string_equal(value(dsn, 0, "host"), "localhost");
	assert_true(strcmp(value(dsn, 0, "hostaddr"), "127.0.0.1") == 0 ||
		    strcmp(value(dsn, 0, "hostaddr"), "::1") == 0);
	assert_string_equal(value(dsn, 0, "sslmode"), "require");
	dsn_destroy(&dsn);
	dsn = resolve("host=db.invalid hostaddr=192.0.2.1 user=u", true); /* asks no resolver */
	assert_string_equal(value(dsn, 0, "host"), "db.invalid");
	assert_string_equal(value(dsn, 0, "hostaddr"), "192.0.2.1");
	dsn_destroy(&dsn);
}

static void test_a_uri(void **state)
{
	struct dsn *dsn =
		resolve("postgresql://u:p%40ss@127.0.0.1:77/d?channel_binding=require", true);

	(void)state;
	assert_string_equal(value(dsn, 0, "password"), "p@ss");
	assert_string_equal(value(dsn, 0, "channel_binding"), "require");
	assert_string_equal(value(dsn, 0, "port"), "77");
	assert_null(strstr(dsn->targets[0].label, "p@ss"));
	dsn_destroy(&dsn);
}

static void test_a_password_for_each_server(void **state)
{
	char text[256];

	(void)state;
	snprintf(text, sizeof text,
		"host=a.invalid,b.invalid hostaddr=192.0.2.1,192.0.2.2 user=u passfile=%s",
		pass_path);
	struct dsn *dsn = resolve(text, true);
	assert_int_equal(dsn->count, 2);
	assert_string_equal(value(dsn, 0, "password"), "first");
	assert_string_equal(value(dsn, 1, "password"), "second");
	assert_string_equal(value(dsn, 0, "passfile"), "/nonexistent");
	dsn_destroy(&dsn);
}

static void test_service_and_environment(void **state)
{
	(void)state;
	setenv("PGSERVICEFILE", service_path, 1);
	setenv("PGPASSWORD", "from the environment", 1);
	struct dsn *dsn = resolve("service=postern-test", true);
	assert_string_equal(value(dsn, 0, "user"), "served");
	assert_string_equal(value(dsn, 0, "hostaddr"), "192.0.2.9");
	assert_string_equal(value(dsn, 0, "password"), "from the environment");
	dsn_destroy(&dsn);
	refused("service=nowhere", true, "nowhere");
	dsn_forget_environment();
	assert_null(getenv("PGSERVICEFILE"));
	assert_null(getenv("PGPASSWORD"));
}

static void test_the_default_user_is_the_weakest(void **state)
{
	(void)state;
	unsetenv("PGUSER");
	struct dsn *dsn = dsn_resolve("host=/run/pg", true, "postern-auth", err, sizeof err);
	assert_non_null(dsn);
	assert_string_equal(value(dsn, 0, "user"), "postern-auth");
	dsn_destroy(&dsn);
	dsn = dsn_resolve("host=/run/pg user=u", true, "postern-auth", err, sizeof err);
	assert_non_null(dsn);
	assert_string_equal(value(dsn, 0, "user"), "u");
	dsn_destroy(&dsn);
	unsetenv("PGUSER");
}

static void test_the_dsns_own_options_win(void **state)
{
	struct dsn *dsn = resolve("host=/run/pg user=u options='-c lock_timeout=9s' "
				  "application_name=mine gssencmode=require",
		true);

	(void)state;
	const char *options = value(dsn, 0, "options");
	assert_true(strstr(options, "lock_timeout=9s") > strstr(options, "lock_timeout=1s"));
	assert_string_equal(value(dsn, 0, "application_name"), "mine");
	assert_string_equal(value(dsn, 0, "gssencmode"), "require");
	dsn_destroy(&dsn);
}

static void test_refusals(void **state)
{
	(void)state;
	refused("host=/run/a,/run/b user=u", true, "two socket directories");
	refused("host=127.0.0.1 user=u sslrootcert=/etc/ca.pem sslmode=verify-full", true,
		"sslrootcert");
	refused("host=127.0.0.1 user=u sslkey=/etc/key.pem", false, "sslkey");
	refused("host=/run/a user=u requirepeer=postgres", true, "requirepeer");
	refused("nonsense", true, "no connection string");
	refused("host=/run/a password=my pass word", true, "no connection string");
	assert_null(strstr(err, "pass"));
	refused("host=/run/a password='my", true, "no connection string");
	refused("host=a,b port=1,2,3", true, "port");
	refused("sslmode=perhaps host=127.0.0.1 user=u", true, "sslmode");
	refused("host=127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,"
		"127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1,"
		"127.0.0.1,127.0.0.1 user=u",
		true, "fewer");
	struct dsn *dsn =
		resolve("host=/run/a,/run/b user=u", false); /* no chroot: both are seen */
	assert_int_equal(dsn->count, 2);
	dsn_destroy(&dsn);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, 0600), 0);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(service_path, sizeof service_path, "%s/service", directory);
	snprintf(pass_path, sizeof pass_path, "%s/pass", directory);
	write_file(
		service_path, "[postern-test]\nhost=x.invalid\nhostaddr=192.0.2.9\nuser=served\n");
	write_file(pass_path, "a.invalid:*:*:u:first\nb.invalid:*:*:u:second\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(service_path);
	unlink(pass_path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_socket_becomes_the_root),
		cmocka_unit_test(test_no_host_is_the_default_socket),
		cmocka_unit_test(test_many_servers_are_many_targets),
		cmocka_unit_test(test_a_name_keeps_beside_its_address),
		cmocka_unit_test(test_a_uri),
		cmocka_unit_test(test_a_password_for_each_server),
		cmocka_unit_test(test_service_and_environment),
		cmocka_unit_test(test_the_default_user_is_the_weakest),
		cmocka_unit_test(test_the_dsns_own_options_win),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
