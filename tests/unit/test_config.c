/* SPDX-License-Identifier: ISC */
/*
 * The configuration file: what is taken, what is refused with which line, above all what
 * libconfuse alone would pass in silence; and that what is printed can be read again.
 *
 * Long: a table of files and what is said of each, read by name.
 */
#include "common/config.h"
#include "common/config_value.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/postern-test-config-XXXXXX";
static char path[64], dsn_path[64];

/* What a file cannot do without, in five lines; cases put theirs before or behind it. */
#define HOST "hostname = \"submit.example.net\"\n"
#define DATABASE "database { dsn = \"service=postern\" }\n"
#define CERTIFICATE "certificate \"default\" { chain = \"/c.pem\" key = \"/k.pem\" }\n"
#define LISTEN "listen \"submissions\" { address = {\"0.0.0.0:465\"} tls = implicit }\n"
#define BACKEND "backend \"legacy\" { server = {\"192.0.2.10:25\"} }\n"
#define MINIMAL HOST DATABASE CERTIFICATE LISTEN BACKEND
/* In place of LISTEN's line, to put more into it. */
#define BEHIND(options)                                                              \
	HOST DATABASE CERTIFICATE                                                    \
		"listen \"a\" { address = {\"0.0.0.0:465\"} tls = implicit " options \
		" }\n" BACKEND

static void write_file(const char *name, const char *text, size_t len, mode_t mode)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(name, mode), 0);
}

/* Loads text from a file; *complaints_out is to be freed, with the path cut off each line. */
static struct config *load_bytes(const char *text, size_t len, char **complaints_out)
{
	size_t size = 0;
	char *raw = NULL;
	FILE *err = open_memstream(&raw, &size);

	assert_non_null(err);
	write_file(path, text, len, 0600);
	struct config *config = config_load(path, err);
	assert_int_equal(fclose(err), 0);
	char *out = calloc(1, size + 1), *to = out;
	assert_non_null(out);
	for (const char *from = raw; *from != '\0';) {
		if (strncmp(from, path, strlen(path)) == 0)
			from += strlen(path);
		else
			*to++ = *from++;
	}
	free(raw);
	*complaints_out = out;
	return config;
}

static struct config *load_good(const char *text)
{
	char *complaints;
	struct config *config = load_bytes(text, strlen(text), &complaints);

	if (config == NULL)
		fail_msg("refused: %s", complaints);
	assert_string_equal(complaints, "");
	free(complaints);
	return config;
}

/* want: the one complaint, ":line: text" or its beginning. */
static void check_refused(const char *name, const char *text, size_t len, const char *want)
{
	char *complaints;
	struct config *config = load_bytes(text, len, &complaints);

	if (config != NULL)
		fail_msg("%s: taken, want '%s'", name, want);
	if (strncmp(complaints, want, strlen(want)) != 0)
		fail_msg("%s: got '%s', want '%s'", name, complaints, want);
	const char *end = strchr(complaints, '\n');
	assert_non_null(end);
	if (end[1] != '\0')
		fail_msg("%s: more than one complaint: %s", name, complaints);
	free(complaints);
}

static const struct refused {
	const char *name, *text, *want;
} refused[] = {
	/* What libconfuse takes in silence. */
	{"repeated key", HOST MINIMAL, ":2: option 'hostname' is given twice (first at line 1)"},
	{"repeated key in a section", MINIMAL "log {\nlevel = info\nlevel = debug\n}\n",
		":8: option 'level' is given twice (first at line 7)"},
	{"repeated list",
		MINIMAL "backend \"b\" {\nserver = {\"192.0.2.1\"}\nserver = {\"192.0.2.2\"}\n}\n",
		":8: option 'server' is given twice (first at line 7)"},
	{"repeated section", MINIMAL "log { level = info }\n\nlog { }\n",
		":8: section 'log' is given twice (first at line 6)"},
	{"repeated title", MINIMAL BACKEND,
		":6: section 'backend' has the title 'legacy' twice (first at line 5)"},
	{"unclosed brace", MINIMAL "limits {\n errors = 5\n",
		":6: section 'limits' is never closed; add its '}'"},
	{"unclosed brace before another section", MINIMAL "limits {\n errors = 5\nlog { }\n",
		":8: a section within section 'limits'"},
	{"unclosed list", MINIMAL "backend \"b\" { server = {\"192.0.2.1\"\n",
		":7: the file ends here"},
	{"brace too many", MINIMAL "}\n", ":6: found '}'"},
	{"octal", MINIMAL "limits { errors = 0100 }\n",
		":6: limits.errors: '0100' is not a whole number"},
	{"hexadecimal", MINIMAL "limits { errors = 0x10 }\n",
		":6: limits.errors: '0x10' is not a whole number"},
	{"semicolon behind a value", MINIMAL "probe { interval = 60s; }\n",
		":6: ';' separates nothing"},
	{"semicolon alone", MINIMAL ";\n", ":6: ';' separates nothing"},
	{"list without braces",
		HOST DATABASE CERTIFICATE BACKEND
		"listen \"a\" {\ntls = implicit\naddress = \"0.0.0.0:465\"\n}\n",
		":7: 'address' is a list; write address = {"},
	{"list for one value", MINIMAL "log { level = {info} }\n",
		":6: 'level' takes one value, not a list"},
	{"variable in quotes", MINIMAL "runtime_directory = \"${HOME}/x\"\n",
		":6: variables are not expanded here"},
	{"variable in a bare word", MINIMAL "runtime_directory = ${HOME}\n",
		":6: variables are not expanded here"},
	{"variable with a default", MINIMAL "runtime_directory = \"/a${X:-/etc}\"\n",
		":6: variables are not expanded here"},
	{"value on the next line", MINIMAL "workers =\n2\n",
		":7: the value of 'workers' stands on another line"},
	{"no value", MINIMAL "log { level = }\n", ":6: found '}'; a value was expected"},
	{"plus equals", MINIMAL "backend \"b\" { server += {\"192.0.2.1\"} }\n", ":6: '+' outside"},
	{"open quote at the end", MINIMAL "runtime_directory = \"/run\n",
		":6: a quote is not closed on its line"},
	{"open comment", MINIMAL "/* never\nclosed\n", ":6: a comment that begins with /*"},
	{"octal escape", MINIMAL "runtime_directory = \"/\\141\"\n", ":6: unknown escape"},
	{"include", MINIMAL "include(\"/etc/passwd\")\n", ":6: a parenthesis"},
	{"empty list",
		HOST DATABASE CERTIFICATE BACKEND "listen \"a\" { address = {} tls = implicit }\n",
		":5: the list is empty"},
	{"missing comma", MINIMAL "backend \"b\" { server = {\"192.0.2.1\" \"192.0.2.2\"} }\n",
		":6: found a text in quotes; ',' or '}'"},
	{"comma at the end", MINIMAL "backend \"b\" { server = {\"192.0.2.1\",} }\n",
		":6: found '}'; a value of the list"},
	{"control octet", MINIMAL "\x01\n", ":6: a control character"},
	{"control octet in quotes", MINIMAL "runtime_directory = \"/a\x01\"\n",
		":6: a control character in quotes; remove it"},
	{"DEL in quotes", MINIMAL "runtime_directory = '/a\x7f'\n",
		":6: a control character in quotes; remove it"},
	{"star in a bare word", MINIMAL "header { strip = {X-*} }\n",
		":6: put this word in quotes"},
	{"backslash in a bare word", MINIMAL "runtime_directory = /a\\b\n",
		":6: put this word in quotes"},
	{"closing parenthesis", MINIMAL ")\n", ":6: a parenthesis outside of quotes"},
	{"comment within a word", MINIMAL "runtime_directory = /a/b//c\n",
		":6: a comment within a word; put a space before it"},
	{"block comment within a word", MINIMAL "workers = 2/* two */\n",
		":6: a comment within a word; put a space before it"},
	{"empty title", MINIMAL "backend \"\" { server = {\"192.0.2.1\"} }\n",
		":6: a title is 1 to"},
	{"title of 65",
		MINIMAL "backend \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			"aaaa\" { server = {\"192.0.2.1\"} }\n",
		":6: a title is 1 to 64"},
	{"a long word where a name should be",
		MINIMAL
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 1\n",
		":6: no such option "
		"'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"},
	{"a long word where a section should be",
		MINIMAL
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa { }\n",
		":6: no such section "
		"'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"},
	{"a long word where a brace should be",
		MINIMAL
		"log aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
		":6: found 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"},

	/* Names. */
	{"unknown key", MINIMAL "colour = red\n",
		":6: no such option 'colour' in the file's top level; it takes: hostname, workers"},
	{"unknown key in a section", MINIMAL "log {\n\tprot = 1\n}\n",
		":7: no such option 'prot' in section log; it takes: file, format, level"},
	{"unknown section", MINIMAL "server { }\n", ":6: no such section 'server'"},
	{"unknown section with title", MINIMAL "server \"x\" { }\n",
		":6: no such section 'server'"},
	{"missing title", MINIMAL "backend { server = {\"192.0.2.1\"} }\n",
		":6: section 'backend' needs a title"},
	{"title of too much", MINIMAL "log \"x\" { }\n", ":6: section 'log' takes no title"},
	{"bad title", MINIMAL "backend \"a b\" { server = {\"192.0.2.1\"} }\n",
		":6: a title is 1 to"},
	{"no equals sign", MINIMAL "workers 2\n", ":7: the file ends here; '=' was expected"},
	{"wrong case", MINIMAL "Workers = 2\n", ":6: no such option 'Workers'"},

	/* Values. */
	{"duration without unit", MINIMAL "probe { interval = 60 }\n",
		":6: probe.interval: '60' is not a duration with its unit: 500ms, 30s, 5m, 1h"},
	{"duration with a strange unit", MINIMAL "probe { interval = 5x }\n",
		":6: probe.interval: '5x' is not"},
	{"duration too short", MINIMAL "probe { interval = 10ms }\n",
		":6: probe.interval: '10ms' is out of range; it must be 1s to 1h"},
	{"duration past 64 bits", MINIMAL "probe { interval = 9999999999999999999h }\n",
		":6: probe.interval: '9999999999999999999h' is not"},
	{"end of data below ten minutes",
		MINIMAL "backend \"b\" { server = {\"192.0.2.1\"} end_of_data_timeout = 9m }\n",
		":6: backend.end_of_data_timeout: '9m' is out of range; it must be 10m to 2h"},
	{"size with a strange unit", MINIMAL "limits { message_size = 64M }\n",
		":6: limits.message_size: '64M' is not a size in octets: 1024, 50MB, 64MiB"},
	{"size with a fraction", MINIMAL "limits { message_size = 1.5MiB }\n",
		":6: limits.message_size: '1.5MiB' is not"},
	{"number past 64 bits", MINIMAL "limits { errors = 99999999999999999999999 }\n",
		":6: limits.errors: '99999999999999999999999' is not a whole number"},
	{"number one past 64 bits", MINIMAL "limits { errors = 18446744073709551616 }\n",
		":6: limits.errors: '18446744073709551616' is not a whole number"},
	{"negative", MINIMAL "limits { errors = -1 }\n",
		":6: limits.errors: '-1' is not a whole number"},
	{"recipients below the RFC", MINIMAL "limits { recipients = 99 }\n",
		":6: limits.recipients: '99' is out of range; it must be 100 to 10000"},
	{"log-ins below the RFC", MINIMAL "limits { login_failures = 2 }\n",
		":6: limits.login_failures: '2' is out of range; it must be 3 to 100"},
	{"workers", MINIMAL "workers = 65\n",
		":6: workers: '65' is out of range; it must be 1 to 64, or the word auto"},
	{"workers in words", MINIMAL "workers = many\n",
		":6: workers: 'many' is not a whole number, or the word auto"},
	{"policy of From",
		HOST DATABASE CERTIFICATE BACKEND
		"listen \"a\" { address = {\"0.0.0.0:465\"} tls = implicit from = listener }\n",
		":5: listen.from: 'listener' is not one of: off, observe, reject, rewrite"},
	{"field with a colon", MINIMAL "header { strip = {\"X-A\", \"X-B:\"} }\n",
		":6: header.strip: 'X-B:' is not the name of a header field"},
	{"network twice", MINIMAL "guard { trusted = {\"192.0.2.0/24\", \"192.0.2.0/24\"} }\n",
		":6: guard.trusted: '192.0.2.0/24' is given twice; remove one"},
	{"bits behind a network", MINIMAL "guard { trusted = {\"192.0.2.1/24\"} }\n",
		":6: guard.trusted: '192.0.2.1/24'"},
	{"field with a space", MINIMAL "header { strip = {\"X A\"} }\n",
		":6: header.strip: 'X A' is not the name of a header field"},
	{"empty field", MINIMAL "header { strip = {\"\"} }\n",
		":6: header.strip: '' is not the name of a header field"},
	{"all fields", MINIMAL "header { strip = {\"*\"} }\n",
		":6: header.strip: '*' is not the name of a header field"},
	{"beginning without a hyphen", MINIMAL "header { strip = {\"X-A*\"} }\n",
		":6: header.strip: 'X-A*' is not the name of a header field"},
	{"star inside", MINIMAL "header { strip = {\"X-*-A\"} }\n",
		":6: header.strip: 'X-*-A' is not the name of a header field"},
	{"field From", MINIMAL "header { strip = {fRoM} }\n",
		":6: header.strip: 'fRoM' cannot be stripped"},
	{"field Sender", MINIMAL "header { strip = {Sender} }\n",
		":6: header.strip: 'Sender' cannot be stripped"},
	{"field twice", MINIMAL "header { strip = {\"X-A\", \"x-a\"} }\n",
		":6: header.strip: 'x-a' is given twice"},
	{"fields without braces", MINIMAL "header { strip = \"X-A\" }\n",
		":6: 'strip' is a list; write strip = {"},
	{"boolean", MINIMAL "trace { received = maybe }\n",
		":6: trace.received: 'maybe' is neither"},
	{"choice", MINIMAL "log { level = loud }\n",
		":6: log.level: 'loud' is not one of: error, warning, info, debug"},
	{"relative path", MINIMAL "log { file = postern.log }\n",
		":6: log.file: 'postern.log' is not an absolute path"},
	{"empty text", MINIMAL "log { file = \"\" }\n", ":6: log.file: '' is empty"},
	{"user root", MINIMAL "users { auth = root }\n", ":6: users.auth: 'root' is root"},
	{"user 0", MINIMAL "users { auth = 0 }\n", ":6: users.auth: '0' is root"},
	{"hostname without a dot", "hostname = localhost\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: 'localhost' is not a full domain name"},
	{"hostname with a space",
		"hostname = \"a b.example\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"hostname is an address", "hostname = \"192.0.2.1\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"hostname ends with a dot",
		"hostname = \"a.example.\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"hyphen at a label's start",
		"hostname = \"-a.example\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"hyphen at the end", "hostname = \"a.example-\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"empty label", "hostname = \"a..example\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"octet above ASCII in a hostname",
		"hostname = \"\xc3\xa9.example\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"label of 64",
		"hostname = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		".example\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"hyphen at a label's end",
		"hostname = \"a-.example\"\n" DATABASE CERTIFICATE LISTEN BACKEND,
		":1: hostname: "},
	{"address by name", MINIMAL "backend \"b\" { server = {\"mail.example:25\"} }\n",
		":6: backend.server: 'mail.example:25' is not a numeric address"},
	{"listener without a port",
		HOST DATABASE CERTIFICATE BACKEND
		"listen \"a\" { tls = implicit address = {\"0.0.0.0\"} }\n",
		":5: listen.address: '0.0.0.0' is not a numeric address with a port"},
	{"admin by name", MINIMAL "admin { listen = \"localhost:9465\" }\n",
		":6: admin.listen: 'localhost:9465' is not a numeric address with a port"},
	{"17 servers",
		MINIMAL "backend \"b\" { server = {\"192.0.2.1\", \"192.0.2.2\", \"192.0.2.3\", "
			"\"192.0.2.4\", \"192.0.2.5\", \"192.0.2.6\", \"192.0.2.7\", "
			"\"192.0.2.8\", \"192.0.2.9\", \"192.0.2.10\", \"192.0.2.11\", "
			"\"192.0.2.12\", \"192.0.2.13\", \"192.0.2.14\", \"192.0.2.15\", "
			"\"192.0.2.16\", \"192.0.2.17\"} }\n",
		":6: backend.server: '192.0.2.17' is one too many; at most 16 are allowed"},
	{"field that begins with a hyphen", MINIMAL "header { strip = {\"-X\"} }\n",
		":6: header.strip: '-X' is not the name of a header field"},
	{"field of 77",
		MINIMAL "header { strip = {\"XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
			"XXXXXXXXXXXXXXXXXXXXXXXXXXXX\"} }\n",
		":6: header.strip: 'XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"},
	{"port 0", MINIMAL "backend \"b\" { server = {\"192.0.2.1:0\"} }\n",
		":6: backend.server: '192.0.2.1:0' is not"},
	{"server twice", MINIMAL "backend \"b\" { server = {\"192.0.2.1\", \"192.0.2.1:25\"} }\n",
		":6: backend.server: '192.0.2.1:25' is given twice"},
	{"source with a port",
		MINIMAL "backend \"b\" { server = {\"192.0.2.1\"} source = \"192.0.2.5:25\" }\n",
		":6: backend.source: '192.0.2.5:25' is not a numeric address without a port"},
	{"two IPv4 sources",
		MINIMAL "backend \"b\" { server = {\"192.0.2.1\"} source = {\"192.0.2.5\", "
			"\"192.0.2.6\"} }\n",
		":6: backend.source: '192.0.2.6' is the second"},

	/* What is missing. */
	{"no hostname", DATABASE CERTIFICATE LISTEN BACKEND, ": 'hostname' is missing"},
	{"no database", HOST CERTIFICATE LISTEN BACKEND, ": no database; add: database {"},
	{"empty database", HOST "database { }\n" CERTIFICATE LISTEN BACKEND, ":2: no database"},
	{"two DSNs",
		HOST "database {\ndsn = \"service=a\"\ndsn_file = \"/x\"\n}\n" CERTIFICATE LISTEN
			BACKEND,
		":4: both dsn and dsn_file; keep one"},
	{"no dsn_file there",
		HOST "database { dsn_file = \"/nonexistent/dsn\" }\n" CERTIFICATE LISTEN BACKEND,
		":2: dsn_file '/nonexistent/dsn' cannot be read: No such file"},
	{"no listener", HOST DATABASE CERTIFICATE BACKEND, ": no listener"},
	{"no backend", HOST DATABASE CERTIFICATE LISTEN, ": no backend"},
	{"no key",
		HOST DATABASE "certificate \"default\" {\nchain = \"/c.pem\"\n}\n" LISTEN BACKEND,
		":3: certificate: 'key' is missing"},
	{"no tls",
		HOST DATABASE CERTIFICATE BACKEND "listen \"a\" { address = {\"0.0.0.0:465\"} }\n",
		":5: listen: 'tls' is missing"},
	{"no default certificate", HOST DATABASE LISTEN BACKEND,
		":3: listen.certificate: 'default' is no certificate; add"},
	{"certificate of another name",
		MINIMAL "listen \"a\" { address = {\"0.0.0.0:587\"}\ntls = starttls\ncertificate = "
			"other }\n",
		":8: listen.certificate: 'other' is no certificate"},

	/* The whole. */
	{"address of two listeners",
		MINIMAL
		"listen \"b\" {\ntls = implicit\naddress = {\"[::]:465\", \"0.0.0.0:465\"}\n}\n",
		":8: listen \"b\": 0.0.0.0:465 is taken by listen \"submissions\" (line 4)"},
	{"address under a wildcard",
		MINIMAL "listen \"b\" { tls = implicit address = {\"127.0.0.1:465\"} }\n",
		":6: listen \"b\": 127.0.0.1:465 is taken by listen \"submissions\""},
	{"PROXY protocol from nobody", BEHIND("proxy_protocol = required"),
		":4: listen \"a\": proxy_protocol is required, and nobody may send it; add"},
	{"load balancers without a PROXY protocol", BEHIND("proxy_from = {\"192.0.2.0/24\"}"),
		":4: listen \"a\": proxy_from without a PROXY protocol; add"},
	{"PROXY protocol from everybody",
		BEHIND("proxy_protocol = required proxy_from = {\"192.0.2.0/24\", \"0.0.0.0/0\"}"),
		":4: listen \"a\": proxy_from is everybody, who could then name any address"},
	{"PROXY protocol from everybody with IPv6",
		BEHIND("proxy_protocol = required proxy_from = {\"::/0\"}"),
		":4: listen \"a\": proxy_from is everybody, who could then name any address"},
	{"no load balancer", BEHIND("proxy_protocol = required proxy_from = {lb.example.net}"),
		":4: listen.proxy_from: 'lb.example.net' is not a network"},
	{"PROXY protocol now and then", BEHIND("proxy_protocol = optional"),
		":4: listen.proxy_protocol: 'optional' is not one of: none, required"},
	{"admin for all", MINIMAL "admin { listen = \"0.0.0.0:9465\" }\n",
		":6: admin.listen: 0.0.0.0:9465 is not a loopback address"},
	{"admin on a listener's", MINIMAL "admin {\nlisten = \"127.0.0.1:465\"\n}\n",
		":7: admin.listen: 127.0.0.1:465 is taken by listen \"submissions\""},
	{"hash processes over the budget", MINIMAL "password {\nprocesses = 5\nmemory = 64MiB\n}\n",
		":8: password: 5 hash processes of 64MiB do not fit memory_budget = 256MiB"},
	{"one hash over the budget", MINIMAL "password { memory = 512MiB }\n",
		":6: password: 1 hash process of 512MiB do"},
	{"dearer than auth verifies", MINIMAL "password { memory = 256MiB passes = 5 }\n",
		":6: password: memory * passes is more than 1GiB"},
	{"not whole KiB", MINIMAL "password { memory = 100001 }\n",
		":6: password.memory: 100001 is not a whole number of KiB"},
	{"one user twice", MINIMAL "users {\nauth = mail\nprobe = mail\n}\n",
		":8: users: auth and probe are both 'mail'"},
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		check_refused(
			refused[i].name, refused[i].text, strlen(refused[i].text), refused[i].want);
	}
}

static void test_nul_is_refused(void **state)
{
	static const char text[] = MINIMAL "workers = 2\0\n";

	(void)state;
	check_refused("NUL", text, sizeof text - 1, ":6: a control character; remove it");
}

static void test_sections_are_bounded(void **state)
{
	char text[8192];
	size_t len = (size_t)snprintf(text, sizeof text, "%s", MINIMAL);

	(void)state;
	/* One is there already. */
	for (int i = 1; i <= CONFIG_BACKENDS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof text - len,
			"backend \"b%d\" { server = {\"192.0.2.1\"} }\n", i);
	assert_true(len < sizeof text);
	check_refused("33 backends", text, len, ":37: more than 32 sections 'backend'");
}

static void test_quotes_and_escapes(void **state)
{
	struct config *config = load_good(MINIMAL "runtime_directory = \"/a\\\\b\\\"c\\${d}\"\n");

	(void)state;
	assert_string_equal(config->runtime_directory, "/a\\b\"c${d}");
	config_free(&config);
	config = load_good(MINIMAL "runtime_directory = '/a\\\\b\\'c\\d${e}\"'\n");
	assert_string_equal(config->runtime_directory, "/a\\b'c\\d${e}\"");
	config_free(&config);
}

static void test_where_a_password_stands(void **state)
{
	static const struct {
		const char *dsn;
		bool has;
	} rows[] = {
		{"host=a password=b", true},
		{"password =b", true},
		{"passwordfile=x user=y", false},
		{"sslpassword=x", true},
		{"service=password", false},
		{"host=password password = x", true},
		{"postgresql://user:secret@host/db", true},
		{"postgresql://user@host/db", false},
		{"postgresql://host:5432/db", false},
		{"postgresql://host:5432/db?user=a@b", false},
		{"postgresql://user@host:5432/db", false},
		{"postgresql://", false},
		{"", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (config_value_has_password(rows[i].dsn) != rows[i].has)
			fail_msg("%s: got %d, want %d", rows[i].dsn, !rows[i].has, rows[i].has);
	}
}

static void test_all_errors_are_told_at_once(void **state)
{
	static const char text[] = MINIMAL "limits {\nerrors = 0\nrecipients = 1\n}\nworkers = 0\n";
	char *complaints;

	(void)state;
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, ":7: limits.errors"));
	assert_non_null(strstr(complaints, ":8: limits.recipients"));
	assert_non_null(strstr(complaints, ":10: workers"));
	free(complaints);
}

static void test_source_must_fit_the_servers(void **state)
{
	static const char text[] =
		MINIMAL "backend \"b\" { server = {\"192.0.2.1\"}\nsource = \"2001:db8::5\" }\n";
	char *complaints;

	(void)state;
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, ":7: backend \"b\": a source of IPv6 and no server"));
	assert_non_null(strstr(complaints, ":7: backend \"b\": a server of IPv4 and no source"));
	free(complaints);
}

/* strip = {"X-0", ...} with count names. */
static void print_strip(char *text, size_t size, unsigned count)
{
	size_t len = (size_t)snprintf(text, size, MINIMAL "header { strip = {");

	for (unsigned i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, size - len, "%sX-%u", i == 0 ? "" : ", ", i);
	snprintf(text + len, size - len, "} }\n");
}

static void test_fields_to_strip_are_bounded(void **state)
{
	char text[2048];

	(void)state;
	print_strip(text, sizeof text, CONFIG_STRIP_MAX);
	struct config *config = load_good(text);
	assert_int_equal(config->header.strip_count, CONFIG_STRIP_MAX);
	assert_string_equal(config->header.strip[CONFIG_STRIP_MAX - 1], "X-63");
	config_free(&config);
	print_strip(text, sizeof text, CONFIG_STRIP_MAX + 1);
	check_refused("65 fields", text, strlen(text), ":6: header.strip: 'X-64' is one too many");
}

static void test_unreadable_files_are_refused(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *err = open_memstream(&text, &len);

	(void)state;
	assert_non_null(err);
	assert_null(config_load("/nonexistent/postern.conf", err));
	assert_null(config_load("/tmp", err));
	assert_null(config_load("/dev/zero", err));
	fclose(err);
	assert_non_null(strstr(text, "/nonexistent/postern.conf: cannot be read: No such file"));
	assert_non_null(strstr(text, "/tmp: cannot be read: "));
	assert_non_null(strstr(text, "/dev/zero: cannot be read: "));
	free(text);
}

static void test_defaults(void **state)
{
	struct config *config = load_good(MINIMAL);

	(void)state;
	assert_string_equal(config->path, path);
	assert_string_equal(config->hostname, "submit.example.net");
	assert_int_equal(config->workers, 0);
	assert_string_equal(config->runtime_directory, "/run/postern");
	assert_string_equal(config->users[CONFIG_USER_HASH], "postern-hash");
	assert_string_equal(config->database_dsn, "service=postern");
	assert_null(config->database_dsn_file);
	assert_null(config->log.file);
	assert_int_equal(config->log.level, LOG_INFO);
	assert_int_equal(config->password.memory_bytes, 64 * 1024 * 1024);
	assert_int_equal(config->password.passes, 2);
	assert_int_equal(config->password.cache_ms, 3600 * 1000);
	assert_int_equal(config->timeouts.handshake_ms, 15000);
	assert_int_equal(config->timeouts.transaction_ms, 1800 * 1000);
	assert_int_equal(config->limits.message_bytes, 50 * 1024 * 1024);
	assert_int_equal(config->limits.recipients, 100);
	assert_true(config->trace.received);
	assert_false(config->trace.show_login);
	assert_int_equal(config->listener_count, 1);
	assert_int_equal(config->listeners[0].tls, TLS_MODE_IMPLICIT);
	assert_int_equal(config->listeners[0].line, 4);
	assert_int_equal(config->listeners[0].from, IPC_FROM_REJECT);
	assert_int_equal(config->listeners[0].proxy_protocol, LISTEN_PROXY_NONE);
	assert_int_equal(config->timeouts.proxy_header_ms, 5000);
	assert_int_equal(config->header.strip_count, 0);
	assert_false(config->header.add_date || config->header.add_message_id);
	assert_false(config->header.drop_received || config->header.token);
	assert_int_equal(config->backend_count, 1);
	assert_int_equal(address_port(&config->backends[0].servers[0]), 25);
	assert_int_equal(config->backends[0].source4.len, 0);
	assert_int_equal(config->backends[0].end_of_data_ms, 600 * 1000);
	assert_int_equal(address_port(&config->admin), 9465);
	assert_int_equal(config->probe_interval_ms, 60000);
	config_free(&config);
	assert_null(config);
}

/* Every option with a value that is not its default. */
static const char all_set[] =
	"# a comment\n// another\n/* and\n a third */\n"
	"hostname = mx-1.example.org\nworkers = 3\nruntime_directory = '/run/a b'\n"
	"users { auth = 1001 hash = 1002 proxy = 1003 probe = 1004 admin = 1005 }\n"
	"log { file = \"/var/log/a \\\"b\\\\c\\${d}.log\" format = json level = debug }\n"
	"database { dsn = \"host=/run/pg user=postern\" }\n"
	"password { memory = 8MiB passes = 3 processes = 2 memory_budget = 1GiB queue = 7\n"
	"  cache_entries = 0 cache_age = 90s on_outage = cached outage_trust = 5m }\n"
	"guard { trusted = {\"192.0.2.7\", \"2001:db8::/48\"} prefix_v4 = 24 }\n"
	"timeouts { proxy_header = 3s handshake = 1500ms unauthenticated = 7s login = 8s command = "
	"9s data = 10s\n"
	"  transaction = 2h drain = 0 }\n"
	"limits { recipients = 500 message_size = 10MB connections = 12 connections_per_prefix = "
	"5\n"
	"  errors = 6 login_failures = 4 memory = 0 }\n"
	"trace { received = no show_login = yes show_client = on }\n"
	"header { strip = {X-Internal, \"X-Tracking-*\"} add_date = yes add_message_id = yes\n"
	"  drop_received = yes token = yes }\n"
	"certificate a { chain = /a.pem key = /a.key }\n"
	"certificate b { chain = /b.pem key = /b.key }\n"
	"listen one { address = {\"192.0.2.1:587\", '[2001:db8::1]:587'} tls = starttls\n"
	"  certificate = b line_endings = reject from = rewrite\n"
	"  proxy_protocol = required proxy_from = {\"10.0.0.0/8\", \"2001:db8::7\"} }\n"
	"backend x { server = {192.0.2.10, \"[2001:db8::10]:2525\"}\n"
	"  source = {192.0.2.5, \"2001:db8::5\"} identity = none connect_timeout = 2s\n"
	"  greeting_timeout = 3s command_timeout = 4s data_timeout = 5s block_timeout = 6s\n"
	"  end_of_data_timeout = 11m }\n"
	"backend y { server = {\"192.0.2.20:25\"} source = \"192.0.2.5\" }\n"
	"admin { listen = none }\nprobe { interval = 5s }\r\n";

static void test_every_option_arrives(void **state)
{
	struct config *config = load_good(all_set);
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	assert_string_equal(config->hostname, "mx-1.example.org");
	assert_int_equal(config->workers, 3);
	assert_string_equal(config->runtime_directory, "/run/a b");
	assert_string_equal(config->users[CONFIG_USER_ADMIN], "1005");
	assert_string_equal(config->log.file, "/var/log/a \"b\\c${d}.log");
	assert_int_equal(config->log.format, LOG_FORMAT_JSON);
	assert_int_equal(config->log.level, LOG_DEBUG);
	assert_int_equal(config->password.memory_budget_bytes, 1 << 30);
	assert_int_equal(config->password.cache_entries, 0);
	assert_int_equal(config->password.cache_ms, 90000);
	assert_int_equal(config->password.on_outage, PASSWORD_OUTAGE_CACHED);
	assert_int_equal(config->password.outage_trust_ms, 300000);
	assert_int_equal(config->guard.trusted.count, 2);
	assert_int_equal(config->guard.trusted.networks[0].bits, 128);
	assert_int_equal(config->guard.trusted.networks[1].bits, 48);
	assert_int_equal(config->guard.prefix_v4, 24);
	assert_int_equal(config->timeouts.handshake_ms, 1500);
	assert_int_equal(config->timeouts.login_ms, 8000);
	assert_int_equal(config->timeouts.drain_ms, 0);
	assert_int_equal(config->limits.message_bytes, 10000000);
	assert_int_equal(config->limits.memory_bytes, 0);
	assert_false(config->trace.received);
	assert_true(config->trace.show_login && config->trace.show_client);
	assert_int_equal(config->listeners[0].address_count, 2);
	assert_int_equal(config->listeners[0].certificate, 1);
	assert_int_equal(config->listeners[0].tls, TLS_MODE_STARTTLS);
	assert_int_equal(config->listeners[0].line_endings, LINE_ENDINGS_REJECT);
	assert_int_equal(config->listeners[0].from, IPC_FROM_REWRITE);
	assert_int_equal(config->listeners[0].proxy_protocol, LISTEN_PROXY_REQUIRED);
	assert_int_equal(config->listeners[0].proxy_from.count, 2);
	assert_int_equal(config->listeners[0].proxy_from.networks[0].bits, 104);
	assert_int_equal(config->timeouts.proxy_header_ms, 3000);
	assert_int_equal(config->header.strip_count, 2);
	assert_string_equal(config->header.strip[0], "X-Internal");
	assert_string_equal(config->header.strip[1], "X-Tracking-*");
	assert_true(config->header.add_date && config->header.add_message_id);
	assert_true(config->header.drop_received && config->header.token);
	assert_int_equal(config->backends[0].server_count, 2);
	assert_string_equal(address_format(&config->backends[0].servers[0], text), "192.0.2.10:25");
	assert_string_equal(
		address_format(&config->backends[0].servers[1], text), "[2001:db8::10]:2525");
	assert_string_equal(address_format_host(&config->backends[0].source6, text), "2001:db8::5");
	assert_string_equal(address_format_host(&config->backends[1].source4, text), "192.0.2.5");
	assert_int_equal(config->backends[0].block_ms, 6000);
	assert_int_equal(config->admin.len, 0);
	config_free(&config);
}

static char *print(const struct config *config)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	config_print(config, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void check_round_trip(const char *text)
{
	struct config *first = load_good(text);
	char *printed = print(first);
	struct config *second = load_good(printed);
	char *again = print(second);

	assert_string_equal(printed, again);
	config_free(&first);
	config_free(&second);
	free(printed);
	free(again);
}

static void test_printed_is_read_again(void **state)
{
	(void)state;
	check_round_trip(MINIMAL);
	check_round_trip(all_set);
	/* As the two files differ in every option, so must what is printed of them. */
	struct config *config = load_good(all_set);
	char *printed = print(config);
	assert_non_null(strstr(printed, "\n\tsource = {\"192.0.2.5\", \"2001:db8::5\"}\n"));
	assert_non_null(strstr(printed, "\n\thandshake = 1500ms\n"));
	assert_non_null(strstr(printed, "\n\tmessage_size = 10MB\n"));
	assert_non_null(strstr(printed, "\n\tlisten = none\n"));
	assert_non_null(strstr(printed, "\n\tstrip = {\"X-Internal\", \"X-Tracking-*\"}\n"));
	assert_non_null(strstr(printed, "\n\tfrom = rewrite\n"));
	assert_non_null(strstr(printed, "\nworkers = 3\n"));
	free(printed);
	config_free(&config);
}

static const char *const secrets[] = {"host=/run/pg password=hunter2",
	"host=x password = 'hunter2' user=y", "postgresql://postern:hunter2@db.example/postern",
	"host=x sslpassword=hunter2"};

static void test_passwords_are_not_printed(void **state)
{
	char text[1024];

	(void)state;
	for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
		snprintf(text, sizeof text,
			HOST "database { dsn = \"%s\" }\n" CERTIFICATE LISTEN BACKEND, secrets[i]);
		struct config *config = load_good(text);
		assert_string_equal(config->database_dsn, secrets[i]);
		char *printed = print(config);
		assert_null(strstr(printed, "hunter2"));
		assert_non_null(strstr(printed, "\n\tdsn = \"***\"\n"));
		check_round_trip(printed);
		free(printed);
		config_forget_secrets(config);
		assert_null(config->database_dsn);
		config_forget_secrets(config);
		config_free(&config);
	}
}

static void test_dsn_without_password_is_printed(void **state)
{
	struct config *config = load_good(HOST
		"database { dsn = \"postgresql://u@h:5432/d?passfile=/p\" }\n" CERTIFICATE LISTEN
			BACKEND);
	char *printed = print(config);

	(void)state;
	assert_non_null(strstr(printed, "dsn = \"postgresql://u@h:5432/d?passfile=/p\"\n"));
	free(printed);
	config_free(&config);
}

static void test_password_in_a_readable_file_is_refused(void **state)
{
	static const char text[] = HOST
		"database {\ndsn = \"host=x password=hunter2\"\n}\n" CERTIFICATE LISTEN BACKEND;
	static const mode_t modes[] = {0604, 0602, 0601, 0644};
	char *complaints = NULL;
	size_t len = 0;

	(void)state;
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		FILE *err = open_memstream(&complaints, &len);
		assert_non_null(err);
		write_file(path, text, strlen(text), modes[i]);
		assert_null(config_load(path, err));
		fclose(err);
		assert_non_null(strstr(complaints, ":3: "));
		assert_non_null(strstr(complaints, "run: chmod o= '"));
		assert_null(strstr(complaints, "hunter2"));
		free(complaints);
	}
	write_file(path, text, strlen(text), 0640);
	struct config *config = config_load(path, stderr);
	assert_non_null(config);
	config_free(&config);
	/* Without a password anyone may read it. */
	write_file(path, MINIMAL, strlen(MINIMAL), 0644);
	config = config_load(path, stderr);
	assert_non_null(config);
	config_free(&config);
}

static void test_dsn_file(void **state)
{
	char text[1024], *complaints;

	(void)state;
	snprintf(text, sizeof text,
		HOST "database {\ndsn_file = \"%s\"\n}\n" CERTIFICATE LISTEN BACKEND, dsn_path);
	write_file(dsn_path, "host=x password=hunter2 \r\n", 26, 0600);
	struct config *config = load_good(text);
	assert_string_equal(config->database_dsn, "host=x password=hunter2");
	char *printed = print(config);
	assert_null(strstr(printed, "hunter2"));
	check_round_trip(printed);
	free(printed);
	config_free(&config);
	write_file(dsn_path, "host=x password=hunter2\n", 24, 0644);
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, ":3: "));
	assert_non_null(strstr(complaints, "run: chmod o= '"));
	free(complaints);
	write_file(dsn_path, "\n", 1, 0600);
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, "must hold one line"));
	free(complaints);
	write_file(dsn_path, "a=b\nc=d\n", 8, 0600);
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, "must hold one line"));
	free(complaints);
}

/* Two peppers in files of this test's own, "%s" twice. */
#define PEPPERS \
	HOST "credential {\npepper = {\"%s\", \"%s\"}\n}\n" DATABASE CERTIFICATE LISTEN BACKEND
#define HEX32 "000102030405060708090a0b0c0d0e0f"

static void test_peppers(void **state)
{
	static const char first[] = HEX32 HEX32 "\n", second[] = "FFfe" HEX32 HEX32;
	char text[1024], other[80];

	(void)state;
	snprintf(other, sizeof other, "%s.2", dsn_path);
	snprintf(text, sizeof text, PEPPERS, dsn_path, other);
	write_file(dsn_path, first, strlen(first), 0600);
	write_file(other, second, 64, 0640);
	struct config *config = load_good(text);
	assert_int_equal(config->pepper_count, 2);
	assert_int_equal(config->peppers[0][31], 0x0f);
	assert_int_equal(config->peppers[1][0], 0xff);
	assert_int_equal(config->peppers[1][1], 0xfe);
	char *printed = print(config);
	assert_non_null(strstr(printed, dsn_path));
	assert_null(strstr(printed, HEX32));
	check_round_trip(printed);
	free(printed);
	config_forget_secrets(config);
	for (size_t i = 0; i < sizeof config->peppers; i++)
		assert_int_equal(((const uint8_t *)config->peppers)[i], 0);
	config_free(&config);
	config = load_good(MINIMAL);
	assert_int_equal(config->pepper_count, 0);
	config_free(&config);
	assert_int_equal(unlink(other), 0);
}

static void test_peppers_that_are_none(void **state)
{
	static const struct {
		const char *content;
		mode_t mode;
		const char *complaint;
	} cases[] = {
		{"", 0600, "must hold one line, 64 hexadecimal digits"},
		{"\n", 0600, "must hold one line"},
		{HEX32 "\n", 0600, "must hold one line"},
		{HEX32 HEX32 "0", 0600, "must hold one line"},
		{HEX32 HEX32 "\n\n\n", 0600, "must hold one line"},
		{HEX32 HEX32 "\n" HEX32 HEX32, 0600, "must hold one line"},
		{"g" HEX32 HEX32, 0600, "must hold one line"},
		{" " HEX32 HEX32, 0600, "must hold one line"},
		{"0x0102030405060708090a0b0c0d0e0f" HEX32, 0600, "must hold one line"},
		{HEX32 HEX32, 0604, "may be read by others; run: chmod o= '"},
	};
	char text[1024], *complaints;

	(void)state;
	snprintf(text, sizeof text, PEPPERS, dsn_path, "/nonexistent");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		write_file(dsn_path, cases[i].content, strlen(cases[i].content), cases[i].mode);
		assert_null(load_bytes(text, strlen(text), &complaints));
		if (strstr(complaints, cases[i].complaint) == NULL ||
			strstr(complaints, ":3: credential.pepper: '") == NULL)
			fail_msg("case %zu: %s", i, complaints);
		free(complaints);
	}
	write_file(dsn_path, HEX32 HEX32, 64, 0600);
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, "'/nonexistent' cannot be read: No such file"));
	free(complaints);
	snprintf(text, sizeof text, PEPPERS, dsn_path, dsn_path);
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, "is given twice; remove one"));
	free(complaints);
	snprintf(text, sizeof text, PEPPERS, dsn_path, "pepper");
	assert_null(load_bytes(text, strlen(text), &complaints));
	assert_non_null(strstr(complaints, "is not an absolute path"));
	free(complaints);
}

/* A secret in the wrong place is not shown in the complaint about it. */
static void test_secret_is_not_in_complaints(void **state)
{
	static const char *const databases[] = {
		"database { dsn = \"password=hunter2\" colour = 1 }\n",
		"database { dsn = \"host=x\" \"password=hunter2\" }\n",
		"database { dsn \"password=hunter2\" }\n",
		"database { dsn = {\"host=x\" \"password=hunter2\"} }\n",
	};
	char *complaints;

	(void)state;
	for (size_t i = 0; i < sizeof databases / sizeof *databases; i++) {
		assert_null(load_bytes(databases[i], strlen(databases[i]), &complaints));
		if (strstr(complaints, "hunter2") != NULL)
			fail_msg("%s: %s", databases[i], complaints);
		free(complaints);
	}
}

/* Whatever is cut off the end: refused with a complaint or taken, and never worse. */
static void test_every_prefix_ends_well(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof all_set - 1; len++) {
		char *complaints;
		struct config *config = load_bytes(all_set, len, &complaints);
		if ((config == NULL) != (*complaints != '\0'))
			fail_msg("prefix %zu: got '%s'", len, complaints);
		free(complaints);
		if (config != NULL)
			config_free(&config);
	}
}

static void test_example_loads(void **state)
{
	struct config *config = config_load("deploy/postern.conf", stderr);

	(void)state;
	assert_non_null(config);
	assert_int_equal(config->listener_count, 2);
	config_free(&config);
}

static int make_directory(void **state)
{
	(void)state;
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(path, sizeof path, "%s/x.conf", directory);
	snprintf(dsn_path, sizeof dsn_path, "%s/dsn", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	unlink(dsn_path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_nul_is_refused),
		cmocka_unit_test(test_sections_are_bounded),
		cmocka_unit_test(test_quotes_and_escapes),
		cmocka_unit_test(test_where_a_password_stands),
		cmocka_unit_test(test_all_errors_are_told_at_once),
		cmocka_unit_test(test_source_must_fit_the_servers),
		cmocka_unit_test(test_fields_to_strip_are_bounded),
		cmocka_unit_test(test_unreadable_files_are_refused),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_every_option_arrives),
		cmocka_unit_test(test_printed_is_read_again),
		cmocka_unit_test(test_passwords_are_not_printed),
		cmocka_unit_test(test_dsn_without_password_is_printed),
		cmocka_unit_test(test_password_in_a_readable_file_is_refused),
		cmocka_unit_test(test_dsn_file),
		cmocka_unit_test(test_peppers),
		cmocka_unit_test(test_peppers_that_are_none),
		cmocka_unit_test(test_secret_is_not_in_complaints),
		cmocka_unit_test(test_every_prefix_ends_well),
		cmocka_unit_test(test_example_loads),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
