/* SPDX-License-Identifier: ISC */
/*
 * The Received: line.  Everything in it that is not ours is cut to what may stand in its place, so
 * that a HELO name or a login can neither end the line nor open a comment, a clause or a header.
 * What is shown and what is hidden is the caller's decision: a NULL is left out.
 * Proxy process, loop thread; pure.
 */
#include "proxy/trace.h"

#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"

#include <string.h>

enum { NAME_MAX_OCTETS = 255, LOGIN_MAX = 320, PATH_MAX_OCTETS = 320, TLS_WORD_MAX = 64 };

/* All that can come together: the fixed words take less than the 400 that are left. */
_Static_assert(2 * NAME_MAX_OCTETS + LOGIN_MAX + PATH_MAX_OCTETS + 2 * TLS_WORD_MAX +
			       ADDRESS_TEXT_MAX + ID_TEXT_MAX + CLOCK_TEXT_MAX + 400 <=
		       TRACE_MAX,
	"a trace line fits");

struct text {
	char *out;
	size_t len;
};

static void add(struct text *text, const char *string)
{
	size_t len = strlen(string);

	require(len < TRACE_MAX - text->len);
	memcpy(text->out + text->len, string, len);
	text->len += len;
}

/* At most most octets of string; what is not printable ASCII, or is among not_these, is replaced.
 */
static void add_reduced(
	struct text *text, const char *string, size_t most, const char *not_these, char replacement)
{
	for (size_t i = 0; string[i] != '\0' && i < most; i++) {
		bool fits =
			string[i] > ' ' && string[i] <= '~' && strchr(not_these, string[i]) == NULL;

		text->out[text->len++] = fits ? string[i] : replacement;
	}
}

/* A domain is dots and atoms (RFC 5322 3.4.1); a HELO name that is an address literal stays one. */
static void add_domain(struct text *text, const char *name)
{
	size_t len = strlen(name);
	bool literal = len > 2 && len <= NAME_MAX_OCTETS && name[0] == '[' && name[len - 1] == ']';

	if (literal) {
		add(text, "[");
		add_reduced(text, name + 1, len - 2, "[]\\", '_');
		add(text, "]");
	} else {
		add_reduced(text, name, NAME_MAX_OCTETS, "()<>[]:;@\\,\"", '_');
	}
}

/* Within a comment (RFC 5322 3.2.2). */
static void add_comment(struct text *text, const char *string, size_t most)
{
	add_reduced(text, string, most, "()\\", '?');
}

static void add_client(struct text *text, const struct address *client)
{
	char host[ADDRESS_TEXT_MAX];

	/* RFC 5321 4.1.3: an IPv6 literal says so. */
	add(text, client->sa.sa_family == AF_INET6 ? "[IPv6:" : "[");
	add(text, address_format_host(client, host));
	add(text, "]");
}

/* RFC 5321 4.4 From-domain; with both hidden the clause is left out, as RFC 5322 3.6.7 allows. */
static void add_from(struct text *text, const struct trace_info *info)
{
	bool has_helo = info->helo != NULL && info->helo[0] != '\0';

	if (!has_helo && info->client == NULL)
		return;
	add(text, "from ");
	if (has_helo)
		add_domain(text, info->helo);
	if (has_helo && info->client != NULL)
		add(text, " (");
	if (info->client != NULL)
		add_client(text, info->client);
	if (has_helo && info->client != NULL)
		add(text, ")");
	add(text, "\r\n\t");
}

static void add_by(struct text *text, const struct trace_info *info)
{
	add(text, "by ");
	add_domain(text, info->hostname);
	if (info->tls_version != NULL) {
		add(text, "\r\n\t(using ");
		add_comment(text, info->tls_version, TLS_WORD_MAX);
		if (info->tls_cipher != NULL) {
			add(text, " with cipher ");
			add_comment(text, info->tls_cipher, TLS_WORD_MAX);
		}
		add(text, ")");
	}
	if (info->login != NULL) {
		add(text, "\r\n\t(authenticated as ");
		add_comment(text, info->login, LOGIN_MAX);
		add(text, ")");
	}
}

/* RFC 3848 and 6531 4.3 name the extended protocols only: HELO gives plain SMTP. */
static const char *protocol(const struct trace_info *info)
{
	bool tls = info->tls_version != NULL;

	if (!info->esmtp)
		return "SMTP";
	if (info->smtputf8)
		return tls ? "UTF8SMTPSA" : "UTF8SMTPA";
	return tls ? "ESMTPSA" : "ESMTPA";
}

/* Whether the path may stand as it is: it is never changed, only left out. */
static bool recipient_shown(const struct trace_info *info)
{
	size_t len = info->recipient == NULL ? 0 : strlen(info->recipient);

	if (len == 0 || len > PATH_MAX_OCTETS)
		return false;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)info->recipient[i];

		if (c < ' ' || c == 0x7F || (c > '~' && !info->smtputf8))
			return false;
	}
	return true;
}

size_t trace_received(const struct trace_info *info, char out[TRACE_MAX])
{
	struct text text = {.out = out};
	char id[ID_TEXT_MAX], date[CLOCK_TEXT_MAX];

	add(&text, "Received: ");
	add_from(&text, info);
	add_by(&text, info);
	add(&text, "\r\n\twith ");
	add(&text, protocol(info));
	add(&text, " id ");
	add(&text, id_format(info->transaction, id));
	if (recipient_shown(info)) {
		add(&text, "\r\n\tfor <");
		add(&text, info->recipient);
		add(&text, ">");
	}
	add(&text, ";\r\n\t");
	add(&text, clock_format_rfc5322(info->wall_ms, date));
	add(&text, "\r\n");
	return text.len;
}
