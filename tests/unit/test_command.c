/* SPDX-License-Identifier: ISC */
/*
 * Verbs, paths and parameters, and the commands rebuilt from them: conformance 19-25, 41, 67,
 * 99-107, threats.md C29, D02-D11, D16, D18.  A rebuilt command that is parsed again must give
 * itself.
 *
 * Long: tables of commands, read by name.
 */
#include "proxy/command.h"

#include "tests/unit/parse.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants those before it */
#include <cmocka.h>

enum {
	ALL = CAPABILITY_SIZE | CAPABILITY_8BITMIME | CAPABILITY_SMTPUTF8 | CAPABILITY_DSN,
	BINARY = CAPABILITY_BINARYMIME | CAPABILITY_CHUNKING,
};

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define A10 "aaaaaaaaaa"
#define A60 A10 A10 A10 A10 A10 A10
#define LABEL63 A60 "aaa"

/* ------------------------------------------------------------------ verbs */

static const struct {
	const char *line;
	enum verb verb;
	const char *args;
} split_rows[] = {
	{"EHLO x", VERB_EHLO, "x"},
	{"ehlo x", VERB_EHLO, "x"},
	{"HELO x", VERB_HELO, "x"},
	{"mAiL fRoM:<a@b.c>", VERB_MAIL, "fRoM:<a@b.c>"},
	{"RCPT   TO:<a@b.c>", VERB_RCPT, "TO:<a@b.c>"},
	{"DATA", VERB_DATA, ""},
	{"DATA  ", VERB_DATA, ""},
	{"DATA \t", VERB_DATA, ""},
	{"RSET x", VERB_RSET, "x"},
	{"NOOP a b  ", VERB_NOOP, "a b"},
	{"VRFY", VERB_VRFY, ""},
	{"HELP", VERB_HELP, ""},
	{"QUIT", VERB_QUIT, ""},
	{"AUTH PLAIN", VERB_AUTH, "PLAIN"},
	{"STARTTLS", VERB_STARTTLS, ""},
	{"EXPN list", VERB_UNIMPLEMENTED, "list"},
	{"BDAT 3 LAST", VERB_BDAT, "3 LAST"},
	{"bdat  3 last ", VERB_BDAT, "3 last"},
	{"BDAT", VERB_BDAT, ""},
	{"XCLIENT LOGIN=root", VERB_UNIMPLEMENTED, "LOGIN=root"},
	{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2", VERB_UNIMPLEMENTED, "TCP4 1.2.3.4 1.2.3.4 1 2"},
	{"X-EXPS GSSAPI", VERB_UNIMPLEMENTED, "GSSAPI"},
	{"TURN", VERB_UNIMPLEMENTED, ""},
	{"WIZ", VERB_UNIMPLEMENTED, ""},
	{"POST / HTTP/1.1", VERB_FOREIGN, "/ HTTP/1.1"},
	{"GET / HTTP/1.0", VERB_FOREIGN, "/ HTTP/1.0"},
	{"CONNECT a:25 HTTP/1.1", VERB_FOREIGN, "a:25 HTTP/1.1"},
	{"", VERB_UNKNOWN, ""},
	{"   ", VERB_UNKNOWN, ""},
	{" NOOP", VERB_UNKNOWN, ""},
	{"NOO", VERB_UNKNOWN, ""},
	{"NOOPX", VERB_UNKNOWN, ""},
	{"NOOP\tx", VERB_UNKNOWN, ""},
	{"MAIL\tFROM:<>", VERB_UNKNOWN, ""},
	{"MAILFROM:<>", VERB_UNKNOWN, ""},
	{"\x80", VERB_UNKNOWN, ""},
	{"\x80\xff x", VERB_UNKNOWN, "x"},
	{"Subject: x", VERB_UNKNOWN, "x"},
};

static void test_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(split_rows); i++) {
		size_t len = strlen(split_rows[i].line);
		char *line = parse_exact(split_rows[i].line, len);
		struct command got = command_split(line, len);

		if (got.verb != split_rows[i].verb || got.args_len != strlen(split_rows[i].args) ||
			memcmp(got.args, split_rows[i].args, got.args_len) != 0)
			fail_msg("\"%s\": got verb %d, args \"%.*s\"; want %d, \"%s\"",
				split_rows[i].line, got.verb, (int)got.args_len, got.args,
				split_rows[i].verb, split_rows[i].args);
		free(line);
	}
}

static void test_split_with_nul(void **state)
{
	struct command got = command_split("NOOP\0X", 6);

	(void)state;
	assert_int_equal(got.verb, VERB_UNKNOWN);
	got = command_split("\0", 1);
	assert_int_equal(got.verb, VERB_UNKNOWN);
}

static void test_name(void **state)
{
	char name[257];

	(void)state;
	memset(name, 'a', sizeof(name));
	assert_true(command_name_valid("x", 1));
	assert_true(command_name_valid("[IPv6:::1]", 10));
	assert_true(command_name_valid("my computer", 11));
	assert_true(command_name_valid("under_score", 11));
	assert_true(command_name_valid(name, 255));
	assert_false(command_name_valid(name, 256));
	assert_false(command_name_valid("", 0));
	assert_false(command_name_valid("a\0b", 3));
	assert_false(command_name_valid("a\tb", 3));
	assert_false(command_name_valid("a\x7f", 2));
	assert_false(command_name_valid("\xff", 1));
}

/* ------------------------------------------------------------------ paths */

static const struct {
	const char *in;
	const char *want; /* NULL: refused */
} path_rows[] = {
	{"<>", ""},
	{"<a@b.c>", "a@b.c"},
	{"<a@b.c> SIZE=1", "a@b.c"},
	{"<Local.Part@Example.COM>", "Local.Part@Example.COM"},
	{"<a+b=c/d@b.c>", "a+b=c/d@b.c"},
	{"<!#$%&'*+-/=?^_`{|}~@b.c>", "!#$%&'*+-/=?^_`{|}~@b.c"},
	{"<${run{id}}@b.c>", "${run{id}}@b.c"}, /* D08: text, never expanded */
	{"<a@host_name.example>", "a@host_name.example"},
	{"<a@_b.c>", "a@_b.c"},
	{"<a@xn--bcher-kva.example>", "a@xn--bcher-kva.example"},
	{"<a@1.2>", "a@1.2"},
	/* quoted strings: D05 */
	{"<\"a b\"@b.c>", "\"a b\"@b.c"},
	{"<\"a\\\"b\"@b.c>", "\"a\\\"b\"@b.c"},
	{"<\"a\\\\\"@b.c>", "\"a\\\\\"@b.c"},
	{"<\"a>b\"@b.c> SIZE=1", "\"a>b\"@b.c"},
	{"<\"a@b\"@b.c>", "\"a@b\"@b.c"},
	{"<\"\\\\\xc3\xa9\"@b.c>", "\"\\\\\xc3\xa9\"@b.c"},
	{"<\"\"@b.c>", NULL},
	{"<\"a\r\nRCPT\"@b.c>", NULL},
	{"<\"a\\\r\"@b.c>", NULL},
	{"<\"a\tb\"@b.c>", NULL},
	{"<\"a\\\xc3\xa9\"@b.c>", NULL},
	{"<\"ab@b.c>", NULL},
	{"<\"a\\\"@b.c>", NULL},
	{"<\"a\"b@b.c>", NULL},
	{"<\"a\".b@b.c>", NULL},
	/* the brackets: D06 */
	{"a@b.c", NULL},
	{"<a@b.c", NULL},
	{"< a@b.c>", NULL},
	{"<a@b.c >", NULL},
	{"<<a@b.c>>", NULL},
	{"<", NULL},
	{">", NULL},
	{"", NULL},
	/* routes */
	{"<@r:a@b.c>", "a@b.c"},
	{"<@r.example,@s.example:a@b.c>", "a@b.c"},
	{"<@r.example,@s.example:\"a:b,c\"@b.c>", "\"a:b,c\"@b.c"},
	{"<@[192.0.2.1]:a@b.c>", "a@b.c"},
	{"<@r:>", NULL},
	{"<@r>", NULL},
	{"<@:a@b.c>", NULL},
	{"<@r,:a@b.c>", NULL},
	{"<@r,s:a@b.c>", NULL},
	{"<@r a:a@b.c>", NULL},
	{"<@r:postmaster>", NULL},
	{"<@r", NULL},
	{"<@r:", NULL},
	{"<@", NULL},
	/* local parts */
	{"<@b.c>", NULL},
	{"<.a@b.c>", NULL},
	{"<a.@b.c>", NULL},
	{"<a..b@b.c>", NULL},
	{"<a b@b.c>", NULL},
	{"<a(c)@b.c>", NULL},
	{"<a,b@b.c>", NULL},
	{"<a\\b@b.c>", NULL},
	{"<a;b@b.c>", NULL},
	{"<;sleep 66;>", NULL},
	{"<a\x01@b.c>", NULL},
	{"<a\x7f@b.c>", NULL},
	{"<a\nb@b.c>", NULL},
	{"<a@b@b.c>", NULL},
	/* domains */
	{"<a>", NULL},
	{"<a@>", NULL},
	{"<a@localhost>", NULL},
	{"<a@b.c.>", NULL},
	{"<a@.b.c>", NULL},
	{"<a@b..c>", NULL},
	{"<a@-b.c>", NULL},
	{"<a@b-.c>", NULL},
	{"<a@b.c-d>", "a@b.c-d"},
	{"<a@b.c/d>", NULL},
	{"<a@b .c>", NULL},
	{"<a@b.c\r>", NULL},
	{"<a@" LABEL63 ".c>", "a@" LABEL63 ".c"},
	{"<a@a" LABEL63 ".c>", NULL},
	/* literals */
	{"<a@[192.0.2.1]>", "a@[192.0.2.1]"},
	{"<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"},
	{"<a@[ipv6:::ffff:192.0.2.1]>", "a@[ipv6:::ffff:192.0.2.1]"},
	{"<a@[256.0.2.1]>", NULL},
	{"<a@[192.0.2]>", NULL},
	{"<a@[192.0.2.1>", NULL},
	{"<a@[]>", NULL},
	{"<a@[>", NULL},
	{"<a@[IPv6:]>", NULL},
	{"<a@[IPv6:fe80::1%eth0]>", NULL},
	{"<a@[2001:db8::1]>", NULL},
	{"<a@[x-tag:data]>", NULL},
	{"<a@[192.0.2.1].b>", NULL},
	{"<a@[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]>", NULL},
	/* UTF-8: D11 */
	{"<\xc3\xa9@b.c>", "\xc3\xa9@b.c"},
	{"<a@b\xc3\xbc.c>", "a@b\xc3\xbc.c"},
	{"<\xf0\x9f\x93\xa7@b.c>", "\xf0\x9f\x93\xa7@b.c"},
	{"<\xe7\x94\xa8@\xe4\xbe\x8b.\xe4\xb8\xad>", "\xe7\x94\xa8@\xe4\xbe\x8b.\xe4\xb8\xad"},
	{"<\xc0\xae@b.c>", NULL},         /* overlong */
	{"<\xe0\x80\xae@b.c>", NULL},     /* overlong */
	{"<\xf0\x80\x80\xae@b.c>", NULL}, /* overlong */
	{"<\xc3@b.c>", NULL},             /* cut off */
	{"<a\xe2\x82@b.c>", NULL},
	{"<\xa9@b.c>", NULL},
	{"<\xff@b.c>", NULL},
	{"<\xed\xa0\x80@b.c>", NULL},      /* a surrogate */
	{"<\xf4\x90\x80\x80@b.c>", NULL},  /* above U+10FFFF */
	{"<a\xc2\x85@b.c>", NULL},         /* U+0085 */
	{"<a\xc2\xad@b.c>", NULL},         /* U+00AD soft hyphen */
	{"<a\xe2\x80\x8b@b.c>", NULL},     /* U+200B */
	{"<a\xe2\x81\xa0@b.c>", NULL},     /* U+2060 */
	{"<a\xe2\x80\xae@b.c>", NULL},     /* U+202E */
	{"<a\xef\xbb\xbf@b.c>", NULL},     /* U+FEFF */
	{"<a\xe3\x80\x80@b.c>", NULL},     /* U+3000 */
	{"<a\xef\xbf\xbe@b.c>", NULL},     /* U+FFFE */
	{"<a\xf3\xa0\x80\xa0@b.c>", NULL}, /* U+E0020 */
	{"<a@b\xe3\x80\x82"
	 "c.d>",
		NULL}, /* U+3002, a dot to IDNA */
	{"<\"a\xe2\x80\x8b\"@b.c>", NULL},
};

static bool parse_path(
	const char *in, bool null_ok, bool postmaster_ok, struct path *path, size_t *consumed)
{
	size_t len = strlen(in);
	char *copy = parse_exact(in, len);
	bool ok = command_parse_path(copy, len, null_ok, postmaster_ok, path, consumed);

	free(copy);
	return ok;
}

static void test_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(path_rows); i++) {
		struct path path;
		size_t consumed;
		bool ok = parse_path(path_rows[i].in, true, false, &path, &consumed);
		char in[200];

		parse_show(path_rows[i].in, strlen(path_rows[i].in), in, sizeof(in));
		if (ok != (path_rows[i].want != NULL))
			fail_msg("%s: got %d", in, ok);
		if (!ok)
			continue;
		if (path.len != strlen(path_rows[i].want) ||
			strcmp(path.text, path_rows[i].want) != 0)
			fail_msg("%s: got \"%s\"", in, path.text);
		assert_int_equal(path_rows[i].in[consumed - 1], '>');
		assert_true(path_rows[i].in[consumed] == '\0' || path_rows[i].in[consumed] == ' ');
	}
}

static void test_path_null_and_postmaster(void **state)
{
	struct path path;
	size_t consumed;

	(void)state;
	assert_false(parse_path("<>", false, true, &path, &consumed));
	assert_true(parse_path("<PostMaster>", false, true, &path, &consumed));
	assert_string_equal(path.text, "PostMaster");
	assert_false(parse_path("<postmaster>", true, false, &path, &consumed));
	assert_false(parse_path("<postmasterx>", false, true, &path, &consumed));
	assert_false(parse_path("<webmaster>", false, true, &path, &consumed));
}

/* Conformance 24: at the limits and one above. */
static void test_path_limits(void **state)
{
	char in[400];
	struct path path;
	size_t consumed;

	(void)state;
	snprintf(in, sizeof(in), "<%s@b.c>", LABEL63 "a");
	assert_true(parse_path(in, true, false, &path, &consumed));
	snprintf(in, sizeof(in), "<%s@b.c>", LABEL63 "aa");
	assert_false(parse_path(in, true, false, &path, &consumed));
	/* 64 octets with the quotes */
	snprintf(in, sizeof(in), "<\"%s\"@b.c>", A60 "aa");
	assert_true(parse_path(in, true, false, &path, &consumed));
	snprintf(in, sizeof(in), "<\"%s\"@b.c>", A60 "aaa");
	assert_false(parse_path(in, true, false, &path, &consumed));
	/* a domain of 255 octets, and the longest address there is */
	snprintf(in, sizeof(in), "<%s@%s.%s.%s.%s>", LABEL63 "a", LABEL63, LABEL63, LABEL63,
		LABEL63);
	assert_true(parse_path(in, true, false, &path, &consumed));
	assert_int_equal(path.len, IPC_PATH_MAX);
	assert_int_equal(consumed, IPC_PATH_MAX + 2);
	snprintf(in, sizeof(in), "<a@%s.%s.%s.%s.%s>", LABEL63, LABEL63, LABEL63, A60 "a", "b");
	assert_true(parse_path(in, true, false, &path, &consumed));
	snprintf(in, sizeof(in), "<a@%s.%s.%s.%s.%s>", LABEL63, LABEL63, LABEL63, A60 "a", "bc");
	assert_false(parse_path(in, true, false, &path, &consumed));
}

static void test_path_with_nul(void **state)
{
	struct path path;
	size_t consumed;

	(void)state;
	assert_false(command_parse_path("<a\0@b.c>", 8, true, true, &path, &consumed));
	assert_false(command_parse_path("<a@b\0.c>", 8, true, true, &path, &consumed));
	assert_false(command_parse_path("<\"\0\"@b.c>", 9, true, true, &path, &consumed));
	assert_false(command_parse_path("<a@[::1\0]>", 10, true, true, &path, &consumed));
	assert_false(command_parse_path("<a@[IPv6:::1\0]>", 15, true, true, &path, &consumed));
}

/* ------------------------------------------------------------------- MAIL */

/* What a backend that offers everything gets; NULL: status says why not. */
static const struct {
	const char *args;
	unsigned allowed;
	enum command_status status;
	const char *want;
} mail_rows[] = {
	{"FROM:<a@b.c>", ALL, COMMAND_OK, "MAIL FROM:<a@b.c>\r\n"},
	{"from:<>", 0, COMMAND_OK, "MAIL FROM:<>\r\n"},
	{"FROM:   <a@b.c>", 0, COMMAND_OK, "MAIL FROM:<a@b.c>\r\n"},
	{"FROM:<@r:a@b.c>", 0, COMMAND_OK, "MAIL FROM:<a@b.c>\r\n"},
	{"FROM:<a@b.c>  SIZE=1   BODY=7BIT  ", ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> SIZE=1 BODY=7BIT\r\n"},
	{"FROM:<a@b.c> body=8bitmime size=007", ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> SIZE=7 BODY=8BITMIME\r\n"},
	{"FROM:<a@b.c> SIZE=0", ALL, COMMAND_OK, "MAIL FROM:<a@b.c> SIZE=0\r\n"},
	{"FROM:<a@b.c> SIZE=18446744073709551615", ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> SIZE=18446744073709551615\r\n"},
	{"FROM:<a@b.c> SIZE=18446744073709551616", ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> SIZE=18446744073709551615\r\n"},
	{"FROM:<a@b.c> SIZE=99999999999999999999", ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> SIZE=18446744073709551615\r\n"},
	{"FROM:<a@b.c> SIZE=00000000000000000001", ALL, COMMAND_OK, "MAIL FROM:<a@b.c> SIZE=1\r\n"},
	{"FROM:<a@b.c> SIZE=000000000000000000001", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SIZE=", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SIZE", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SIZE=-1", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SIZE=+1", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SIZE=1k", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SIZE=0x10", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SIZE=1 SIZE=2", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> SIZE=1 size=1", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> SIZE=1", ALL & ~CAPABILITY_SIZE, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> BODY=", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> BODY", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> BODY=BINARYMIME", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> BODY=binarymime", ALL | BINARY, COMMAND_OK,
		"MAIL FROM:<a@b.c> BODY=BINARYMIME\r\n"},
	{"FROM:<a@b.c> BODY=BINARYMIME", BINARY, COMMAND_OK,
		"MAIL FROM:<a@b.c> BODY=BINARYMIME\r\n"},
	{"FROM:<a@b.c> BODY=7BIT", BINARY, COMMAND_OK, "MAIL FROM:<a@b.c> BODY=7BIT\r\n"},
	{"FROM:<a@b.c> BODY=8BITMIME", BINARY, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> BODY=BINARYMIME", 0, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> BODY=8BITMIMEX", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> BODY=8BIT", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> BODY=7BIT", CAPABILITY_SIZE, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> BODY=7BIT BODY=8BITMIME", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> SMTPUTF8", ALL, COMMAND_OK, "MAIL FROM:<a@b.c> SMTPUTF8\r\n"},
	{"FROM:<\xc3\xa9@b.c> smtputf8", ALL, COMMAND_OK, "MAIL FROM:<\xc3\xa9@b.c> SMTPUTF8\r\n"},
	{"FROM:<a@b.c> SMTPUTF8=1", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SMTPUTF8=", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> SMTPUTF8", ALL & ~CAPABILITY_SMTPUTF8, COMMAND_PARAMETER, NULL},
	{"FROM:<\xc3\xa9@b.c>", ALL, COMMAND_UTF8, NULL},
	{"FROM:<\xc3\xa9@x>", ALL, COMMAND_UTF8, NULL},
	{"FROM:<\xc0\xae@b.c> SMTPUTF8", ALL, COMMAND_UTF8, NULL},
	{"FROM:<a@b.c> RET=full ENVID=QQ314159", ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> RET=FULL ENVID=QQ314159\r\n"},
	{"FROM:<a@b.c> RET=HDRS", ALL, COMMAND_OK, "MAIL FROM:<a@b.c> RET=HDRS\r\n"},
	{"FROM:<a@b.c> RET=FULLX", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> RET", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> RET=FULL", ALL & ~CAPABILITY_DSN, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> ENVID=a+2Bb+20c", ALL, COMMAND_OK, "MAIL FROM:<a@b.c> ENVID=a+2Bb+20c\r\n"},
	{"FROM:<a@b.c> ENVID=" A60 A10 A10 A10 A10, ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> ENVID=" A60 A10 A10 A10 A10 "\r\n"},
	{"FROM:<a@b.c> ENVID=" A60 A10 A10 A10 A10 "a", ALL, COMMAND_PARAMETER_VALUE, NULL},
	/* D04: what hides in xtext */
	{"FROM:<a@b.c> ENVID=ab+0D+0Acd", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=+00", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=+7F", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=+80", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=+C3+A9", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=+zz", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=+4", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=+", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=a+2b", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=a=b", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=a\tb", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> ENVID=\xc3\xa9", ALL, COMMAND_PARAMETER_VALUE, NULL},
	/* C29: known, checked, dropped */
	{"FROM:<a@b.c> AUTH=<>", 0, COMMAND_OK, "MAIL FROM:<a@b.c>\r\n"},
	{"FROM:<a@b.c> AUTH=e+3Dmc2@x", 0, COMMAND_OK, "MAIL FROM:<a@b.c>\r\n"},
	{"FROM:<a@b.c> AUTH=e+3Dmc2@example.com SIZE=1", ALL, COMMAND_OK,
		"MAIL FROM:<a@b.c> SIZE=1\r\n"},
	{"FROM:<a@b.c> AUTH=+ZZ", 0, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> AUTH=a+0D@x", 0, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> AUTH=", 0, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> AUTH", 0, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> AUTH=@x", 0, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> AUTH=<> AUTH=<>", 0, COMMAND_PARAMETER, NULL},
	/* unknown, RCPT's, broken */
	{"FROM:<a@b.c> REQUIRETLS", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> requiretls=1", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> REQUIRETLS=", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"FROM:<a@b.c> X=\"a b\"", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> NOTIFY=NEVER", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> SIZ=1", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> SIZEX=1", ALL, COMMAND_PARAMETER, NULL},
	{"FROM:<a@b.c> =", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c> =\"", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c> =1", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c> -A=1", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c> \xc3\xa9", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c>SIZE=1", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c>\tSIZE=1", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c>>", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:<a@b.c> SIZE=1\tBODY=7BIT", ALL, COMMAND_PARAMETER_VALUE, NULL},
	{"", ALL, COMMAND_SYNTAX, NULL},
	{"FROM", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:", ALL, COMMAND_SYNTAX, NULL},
	{"FROM: ", ALL, COMMAND_SYNTAX, NULL},
	{"FROM :<a@b.c>", ALL, COMMAND_SYNTAX, NULL},
	{"TO:<a@b.c>", ALL, COMMAND_SYNTAX, NULL},
	{"FROM:a@b.c", ALL, COMMAND_ADDRESS, NULL},
	{"FROM:\t<a@b.c>", ALL, COMMAND_ADDRESS, NULL},
	{"FROM:<a@b.c", ALL, COMMAND_ADDRESS, NULL},
	{"FROM:<a>", ALL, COMMAND_ADDRESS, NULL},
	{"FROM:<a@localhost>", ALL, COMMAND_ADDRESS, NULL},
	{"FROM:<postmaster>", ALL, COMMAND_ADDRESS, NULL},
	{"FROM:<;sleep 66;>", ALL, COMMAND_ADDRESS, NULL},
};

/* Parses what was built; a second building must give the same octets. */
static void check_mail_again(const char *built, size_t len)
{
	struct mail_arguments again;
	char text[COMMAND_FORMAT_MAX];

	assert_int_equal(command_parse_mail(built + 5, len - 7, ALL | BINARY, &again), COMMAND_OK);
	assert_int_equal(command_format_mail(&again, ALL | BINARY, text), len);
	assert_memory_equal(text, built, len);
}

static void test_mail(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(mail_rows); i++) {
		size_t len = strlen(mail_rows[i].args);
		char *args = parse_exact(mail_rows[i].args, len);
		struct mail_arguments mail;
		enum command_status status =
			command_parse_mail(args, len, mail_rows[i].allowed, &mail);
		char built[COMMAND_FORMAT_MAX];

		if (status != mail_rows[i].status)
			fail_msg("\"%s\": got %d, want %d", mail_rows[i].args, status,
				mail_rows[i].status);
		if (status == COMMAND_OK) {
			len = command_format_mail(&mail, ALL | BINARY, built);
			if (len != strlen(mail_rows[i].want) ||
				memcmp(built, mail_rows[i].want, len) != 0)
				fail_msg("\"%s\": got %.*s", mail_rows[i].args, (int)len, built);
			check_mail_again(built, len);
		}
		free(args);
	}
}

/* Conformance 68: 512 + 500 octets; the longest of everything is built and read again. */
static void test_mail_with_the_longest_of_everything(void **state)
{
	char args[1400], built[COMMAND_FORMAT_MAX], auth[501];
	struct mail_arguments mail;
	size_t len;

	(void)state;
	memset(auth, '\0', sizeof(auth));
	for (size_t i = 0; i < 60; i++)
		memcpy(auth + 3 * i, "+41", 3);
	memcpy(auth + 180, "@", 1);
	for (size_t i = 181; i < 256; i++)
		auth[i] = i % 50 == 0 ? '.' : 'a';
	snprintf(args, sizeof(args),
		"FROM:<%s@%s.%s.%s.%s> SIZE=99999999999999999999 BODY=8BITMIME SMTPUTF8 RET=FULL "
		"ENVID=%s "
		"AUTH=%s",
		LABEL63 "a", LABEL63, LABEL63, LABEL63, LABEL63, A60 A10 A10 A10 A10, auth);
	assert_int_equal(command_parse_mail(args, strlen(args), ALL, &mail), COMMAND_OK);
	assert_true(mail.has_auth);
	assert_true(mail.has_size);
	assert_int_equal(mail.envid_len, ENVID_MAX);
	len = command_format_mail(&mail, ALL, built);
	assert_true(len <= COMMAND_FORMAT_MAX);
	check_mail_again(built, len);
}

static void test_auth_value_limit(void **state)
{
	char args[600] = "FROM:<> AUTH=";
	size_t at = strlen(args);
	struct mail_arguments mail;

	(void)state;
	/* 166 times "+41" is too long a local part, but 498 octets are within the value's limit. */
	for (size_t i = 0; i < 166; i++)
		memcpy(args + at + 3 * i, "+41", 3);
	assert_int_equal(command_parse_mail(args, at + 498, 0, &mail), COMMAND_PARAMETER_VALUE);
	memset(args + at, 'a', 501);
	memcpy(args + at, "a@", 2);
	assert_int_equal(command_parse_mail(args, at + 501, 0, &mail), COMMAND_PARAMETER_VALUE);
}

static void test_two_hundred_parameters(void **state)
{
	char args[4096] = "FROM:<a@b.c>";
	size_t len = strlen(args);
	struct mail_arguments mail;

	(void)state;
	while (len < 4000) {
		memcpy(args + len, " SIZE=1", 7);
		len += 7;
	}
	assert_int_equal(command_parse_mail(args, len, ALL, &mail), COMMAND_PARAMETER);
}

/* ------------------------------------------------------------------- RCPT */

static const struct {
	const char *args;
	unsigned allowed;
	bool utf8_ok;
	enum command_status status;
	const char *want;
} rcpt_rows[] = {
	{"TO:<a@b.c>", 0, false, COMMAND_OK, "RCPT TO:<a@b.c>\r\n"},
	{"to: <a@b.c>", 0, false, COMMAND_OK, "RCPT TO:<a@b.c>\r\n"},
	{"TO:<Postmaster>", 0, false, COMMAND_OK, "RCPT TO:<Postmaster>\r\n"},
	{"TO:<@r,@s:a@b.c>", 0, false, COMMAND_OK, "RCPT TO:<a@b.c>\r\n"},
	{"TO:<a@b.c> NOTIFY=NEVER", ALL, false, COMMAND_OK, "RCPT TO:<a@b.c> NOTIFY=NEVER\r\n"},
	{"TO:<a@b.c> NOTIFY=delay,Success,FAILURE", ALL, false, COMMAND_OK,
		"RCPT TO:<a@b.c> NOTIFY=SUCCESS,FAILURE,DELAY\r\n"},
	{"TO:<a@b.c> NOTIFY=NEVER,FAILURE", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> NOTIFY=SUCCESS,SUCCESS", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> NOTIFY=SUCCESS,", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> NOTIFY=,SUCCESS", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> NOTIFY=", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> NOTIFY", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> NOTIFY=ALWAYS", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> NOTIFY=NEVER NOTIFY=NEVER", ALL, false, COMMAND_PARAMETER, NULL},
	{"TO:<a@b.c> NOTIFY=NEVER", 0, false, COMMAND_PARAMETER, NULL},
	{"TO:<a@b.c> ORCPT=rfc822;Bob+2Bx@Example.COM", ALL, false, COMMAND_OK,
		"RCPT TO:<a@b.c> ORCPT=rfc822;Bob+2Bx@Example.COM\r\n"},
	{"TO:<a@b.c> ORCPT=rfc822;a NOTIFY=DELAY", ALL, false, COMMAND_OK,
		"RCPT TO:<a@b.c> NOTIFY=DELAY ORCPT=rfc822;a\r\n"},
	{"TO:<a@b.c> ORCPT=utf-8;\xc3\xa9@b.c", ALL, true, COMMAND_OK,
		"RCPT TO:<a@b.c> ORCPT=utf-8;\xc3\xa9@b.c\r\n"},
	{"TO:<a@b.c> ORCPT=utf-8;\\x{E9}@b.c", ALL, false, COMMAND_OK,
		"RCPT TO:<a@b.c> ORCPT=utf-8;\\x{E9}@b.c\r\n"},
	{"TO:<a@b.c> ORCPT=utf-8;\xc3\xa9@b.c", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc822;\xc3\xa9@b.c", ALL, true, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=utf-8;\xe2\x80\xae@b.c", ALL, true, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc822;a+0A", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc822;a+0d", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc822;a+00", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc822;", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc822", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=;a", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc+822;a", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=rfc822;a=b", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=", ALL, false, COMMAND_PARAMETER_VALUE, NULL},
	{"TO:<a@b.c> ORCPT=a;b ORCPT=a;b", ALL, false, COMMAND_PARAMETER, NULL},
	{"TO:<a@b.c> ORCPT=a;b", 0, false, COMMAND_PARAMETER, NULL},
	{"TO:<a@b.c> SIZE=1", ALL, false, COMMAND_PARAMETER, NULL},
	{"TO:<a@b.c> AUTH=<>", ALL, false, COMMAND_PARAMETER, NULL},
	{"TO:<\xc3\xa9@b.c>", ALL, true, COMMAND_OK, "RCPT TO:<\xc3\xa9@b.c>\r\n"},
	{"TO:<\xc3\xa9@b.c>", ALL, false, COMMAND_UTF8, NULL},
	{"TO:<\xc3@b.c>", ALL, true, COMMAND_UTF8, NULL},
	{"TO:<>", ALL, false, COMMAND_ADDRESS, NULL},
	{"TO:<a>", ALL, false, COMMAND_ADDRESS, NULL},
	{"TO:a@b.c", ALL, false, COMMAND_ADDRESS, NULL},
	{"TO:<\"a\r\nRCPT TO:<x@y.z>\"@b.c>", ALL, false, COMMAND_ADDRESS, NULL},
	{"FROM:<a@b.c>", ALL, false, COMMAND_SYNTAX, NULL},
	{"TO:", ALL, false, COMMAND_SYNTAX, NULL},
	{"", ALL, false, COMMAND_SYNTAX, NULL},
};

static void check_rcpt_again(const char *built, size_t len)
{
	struct rcpt_arguments again;
	char text[COMMAND_FORMAT_MAX];

	assert_int_equal(command_parse_rcpt(built + 5, len - 7, ALL, true, &again), COMMAND_OK);
	assert_int_equal(command_format_rcpt(&again, ALL, text), len);
	assert_memory_equal(text, built, len);
}

static void test_rcpt(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rcpt_rows); i++) {
		size_t len = strlen(rcpt_rows[i].args);
		char *args = parse_exact(rcpt_rows[i].args, len);
		struct rcpt_arguments rcpt;
		enum command_status status = command_parse_rcpt(
			args, len, rcpt_rows[i].allowed, rcpt_rows[i].utf8_ok, &rcpt);
		char built[COMMAND_FORMAT_MAX];

		if (status != rcpt_rows[i].status)
			fail_msg("\"%s\": got %d, want %d", rcpt_rows[i].args, status,
				rcpt_rows[i].status);
		if (status == COMMAND_OK) {
			len = command_format_rcpt(&rcpt, ALL, built);
			if (len != strlen(rcpt_rows[i].want) ||
				memcmp(built, rcpt_rows[i].want, len) != 0)
				fail_msg("\"%s\": got %.*s", rcpt_rows[i].args, (int)len, built);
			check_rcpt_again(built, len);
		}
		free(args);
	}
}

static void test_orcpt_limit(void **state)
{
	char args[600], built[COMMAND_FORMAT_MAX];
	struct rcpt_arguments rcpt;
	size_t at;

	(void)state;
	snprintf(args, sizeof(args),
		"TO:<%s@%s.%s.%s.%s> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=", LABEL63 "a", LABEL63,
		LABEL63, LABEL63, LABEL63);
	assert_int_equal(command_parse_rcpt(args, strlen(args) - 7, ALL, false, &rcpt), COMMAND_OK);
	snprintf(args, sizeof(args), "TO:<a@b.c> ORCPT=");
	at = strlen(args);
	memset(args + at, 'a', sizeof(args) - at);
	args[at + 6] = ';';
	assert_int_equal(command_parse_rcpt(args, at + ORCPT_MAX, ALL, false, &rcpt), COMMAND_OK);
	assert_int_equal(rcpt.orcpt_len, ORCPT_MAX);
	check_rcpt_again(built, command_format_rcpt(&rcpt, ALL, built));
	assert_int_equal(command_parse_rcpt(args, at + ORCPT_MAX + 1, ALL, false, &rcpt),
		COMMAND_PARAMETER_VALUE);
}

/* -------------------------------------------------- what a backend can take */

static void test_needs_and_what_is_left_out(void **state)
{
	struct mail_arguments mail;
	struct rcpt_arguments rcpt;
	char built[COMMAND_FORMAT_MAX];
	size_t len;

	(void)state;
	assert_int_equal(
		command_parse_mail("FROM:<a@b.c> SIZE=1 BODY=7BIT", 29, ALL, &mail), COMMAND_OK);
	assert_int_equal(command_mail_needs(&mail), 0);
	len = command_format_mail(&mail, 0, built);
	assert_int_equal(len, strlen("MAIL FROM:<a@b.c>\r\n"));
	assert_memory_equal(built, "MAIL FROM:<a@b.c>\r\n", len);
	assert_int_equal(
		command_parse_mail("FROM:<a@b.c> BODY=8BITMIME", 26, ALL, &mail), COMMAND_OK);
	assert_int_equal(command_mail_needs(&mail), CAPABILITY_8BITMIME);
	assert_int_equal(
		command_parse_mail("FROM:<a@b.c> SMTPUTF8 RET=FULL", 30, ALL, &mail), COMMAND_OK);
	assert_int_equal(command_mail_needs(&mail), CAPABILITY_SMTPUTF8 | CAPABILITY_DSN);
	assert_int_equal(command_parse_mail("FROM:<a@b.c> ENVID=x", 20, ALL, &mail), COMMAND_OK);
	assert_int_equal(command_mail_needs(&mail), CAPABILITY_DSN);
	assert_int_equal(command_parse_rcpt("TO:<a@b.c>", 10, ALL, false, &rcpt), COMMAND_OK);
	assert_int_equal(command_rcpt_needs(&rcpt), 0);
	assert_int_equal(
		command_parse_rcpt("TO:<a@b.c> NOTIFY=NEVER", 23, ALL, false, &rcpt), COMMAND_OK);
	assert_int_equal(command_rcpt_needs(&rcpt), CAPABILITY_DSN);
	assert_int_equal(
		command_parse_rcpt("TO:<a@b.c> ORCPT=a;b", 20, ALL, false, &rcpt), COMMAND_OK);
	assert_int_equal(command_rcpt_needs(&rcpt), CAPABILITY_DSN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_with_nul),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_path_null_and_postmaster),
		cmocka_unit_test(test_path_limits),
		cmocka_unit_test(test_path_with_nul),
		cmocka_unit_test(test_mail),
		cmocka_unit_test(test_mail_with_the_longest_of_everything),
		cmocka_unit_test(test_auth_value_limit),
		cmocka_unit_test(test_two_hundred_parameters),
		cmocka_unit_test(test_rcpt),
		cmocka_unit_test(test_orcpt_limit),
		cmocka_unit_test(test_needs_and_what_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
