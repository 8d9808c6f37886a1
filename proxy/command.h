/* SPDX-License-Identifier: ISC */
/*
 * The client's command lines as structs, and the backend's commands built from those structs: a
 * client's bytes are never relayed as a command.  Pure; arguments point into nothing of the
 * caller's (text is copied into the structs).  RFC 5321 4.1, 1870, 6152, 6531, 3461, 3030, 4954 5.
 */
#ifndef PROXY_COMMAND_H
#define PROXY_COMMAND_H

#include "common/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verb {
	VERB_EHLO,
	VERB_HELO,
	VERB_STARTTLS,
	VERB_AUTH,
	VERB_MAIL,
	VERB_RCPT,
	VERB_DATA,
	VERB_BDAT,
	VERB_RSET,
	VERB_NOOP,
	VERB_VRFY,
	VERB_HELP,
	VERB_QUIT,
	VERB_UNIMPLEMENTED, /* known to SMTP, not to us: EXPN TURN ETRN SEND XCLIENT ...: 502 */
	VERB_FOREIGN, /* another protocol talks: GET POST PUT HEAD CONNECT OPTIONS ...: close */
	VERB_UNKNOWN, /* 500 */
	VERB_COUNT,
};

/* What a parser of arguments found; the verb's file maps it to a reply in one switch. */
enum command_status {
	COMMAND_OK,
	COMMAND_SYNTAX,  /* 501 5.5.4: arguments */
	COMMAND_ADDRESS, /* 501 5.1.7 (MAIL) or 5.1.3 (RCPT) */
	COMMAND_UTF8,    /* 553 5.6.7: a non-ASCII address without SMTPUTF8, or of invalid UTF-8 */
	COMMAND_PARAMETER,       /* 555 5.5.4: unknown or repeated parameter */
	COMMAND_PARAMETER_VALUE, /* 501 5.5.4: known, its value is bad */
};

struct command {
	enum verb verb;
	const char *args; /* in the line, after one run of spaces; args_len 0: none */
	size_t args_len;
};

/* Splits a line (without CRLF).  Verbs are case-insensitive; white space at the end is dropped
 * (RFC 5321 4.1.1).  Never fails: VERB_UNKNOWN. */
struct command command_split(const char *line, size_t len);

enum { COMMAND_NAME_MAX = 255 };

/* EHLO's and HELO's name: 1..255 printable ASCII octets (any more is policy nobody should have). */
bool command_name_valid(const char *name, size_t len);

struct path { /* an address without its brackets; len 0: the null reverse-path */
	uint16_t len;
	bool utf8; /* not all ASCII; valid UTF-8 without control, format or bidi characters */
	char text[IPC_PATH_MAX + 1];
};

/*
 * Parses "<...>" at the start of bytes (RFC 5321 4.1.2 Path; a source route is dropped).
 * *consumed_out counts the brackets in.  Strict grammar: local part <= 64, domain <= 255, fully
 * qualified or an address literal; quoted strings may hold '>' and spaces.  A bare "Postmaster" is
 * allowed for RCPT only (postmaster_ok); "<>" for MAIL only (null_ok).
 */
bool command_parse_path(const char *bytes, size_t len, bool null_ok, bool postmaster_ok,
	struct path *out, size_t *consumed_out) __attribute__((warn_unused_result));

enum body_kind { BODY_UNSTATED, BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };
enum dsn_ret { RET_UNSTATED, RET_FULL, RET_HDRS };

enum { ENVID_MAX = 100, ORCPT_MAX = 500 };

struct mail_arguments {
	struct path sender;
	bool has_size;
	uint64_t size; /* <= 20 digits; more than 2^64-1 is UINT64_MAX */
	enum body_kind body;
	bool smtputf8;
	enum dsn_ret ret;
	uint16_t envid_len;        /* of the xtext as it stands, 0: none */
	char envid[ENVID_MAX + 1]; /* valid xtext that decodes to printable ASCII */
	bool has_auth;             /* AUTH= was there and well formed; it is dropped (RFC 4954 5) */
};

enum dsn_notify {
	NOTIFY_NEVER = 1u << 0,
	NOTIFY_SUCCESS = 1u << 1,
	NOTIFY_FAILURE = 1u << 2,
	NOTIFY_DELAY = 1u << 3,
};

struct rcpt_arguments {
	struct path recipient;
	unsigned notify; /* enum dsn_notify bits; 0: unstated */
	uint16_t orcpt_len;
	char orcpt[ORCPT_MAX + 1]; /* "type;xtext", valid */
};

/*
 * args of "MAIL FROM:<...> PARAM=..." (everything after the verb).  allowed: which parameters this
 * session was offered, as CAPABILITY_SIZE, _8BITMIME, _SMTPUTF8, _DSN and _BINARYMIME; a parameter
 * that was not offered is COMMAND_PARAMETER, a body kind that was not, COMMAND_PARAMETER_VALUE.
 * AUTH= is always known; REQUIRETLS is never offered, as the way to a backend has no TLS.  Spaces
 * after the colon are tolerated.
 */
enum command_status command_parse_mail(const char *args, size_t len, unsigned allowed,
	struct mail_arguments *out) __attribute__((warn_unused_result));
/* utf8_ok: this transaction's MAIL had SMTPUTF8. */
enum command_status command_parse_rcpt(const char *args, size_t len, unsigned allowed, bool utf8_ok,
	struct rcpt_arguments *out) __attribute__((warn_unused_result));

/* A message, or what is left of one, is never larger: 2^63 octets (RFC 3030 gives no bound). */
#define BDAT_SIZE_MAX (UINT64_C(1) << 63)

struct bdat_arguments {
	uint64_t size; /* octets that follow the command's CRLF */
	bool last;
};

/* args of "BDAT 1000 LAST" (RFC 3030 2): digits, and at most one space and LAST behind them. */
bool command_parse_bdat(const char *args, size_t len, struct bdat_arguments *out)
	__attribute__((warn_unused_result));

enum { COMMAND_FORMAT_MAX = 1100 };

/*
 * Builds "MAIL FROM:<...> ...\r\n" / "RCPT TO:<...> ...\r\n" for a backend that offers
 * capabilities: a parameter that it lacks is left out when that loses nothing (SIZE, BODY=7BIT),
 * and must have been refused before otherwise, where command_mail_needs() and command_rcpt_needs()
 * tell what is missing (a lack that is found here aborts).  Returns the length; out holds
 * COMMAND_FORMAT_MAX.
 */
size_t command_format_mail(const struct mail_arguments *mail, unsigned capabilities, char *out);
size_t command_format_rcpt(const struct rcpt_arguments *rcpt, unsigned capabilities, char *out);

/* The capabilities that this transaction needs of its backend (8BITMIME, SMTPUTF8, DSN bits; for
 * BINARYMIME also CHUNKING). */
unsigned command_mail_needs(const struct mail_arguments *mail);
unsigned command_rcpt_needs(const struct rcpt_arguments *rcpt);

#endif
