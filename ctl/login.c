/* SPDX-License-Identifier: ISC */
/* Preparation of logins given as arguments, and whether they are kept elsewhere; see login.h. */
#include "ctl/login.h"

#include "ctl/database.h"
#include "ctl/output.h"

#include <string.h>
#include <sysexits.h>

int login_text(const struct ctl *ctl, const char *text, char out[LOGIN_TEXT_MAX])
{
	size_t len = strlen(text);

	out[0] = '\0';
	if (len == 0)
		return EX_OK;
	if (!password_prepare_login((const uint8_t *)text, len, (uint8_t *)out, &len)) {
		output_error(ctl->json, EX_DATAERR, "not a login",
			"A login has 1 to 320 octets of UTF-8: letters, digits and the marks of "
			"ASCII, no space.");
		return EX_DATAERR;
	}
	out[len] = '\0';
	return EX_OK;
}

/* Where accounts are kept elsewhere (sql/adapters/), one has no row here before it was looked up.
 */
static int fetch(struct ctl *ctl, const char *login)
{
	const char *values[] = {login};
	int status = EX_OK;
	PGresult *fetched =
		database_ask(ctl, "SELECT postern.account_fetch($1)", 1, values, &status);

	PQclear(fetched);
	return status;
}

int login_argument(struct ctl *ctl, char out[LOGIN_TEXT_MAX])
{
	int status = login_text(ctl, ctl->arguments[0], out);

	if (status == EX_OK && out[0] == '\0') {
		output_error(ctl->json, EX_DATAERR, "not a login", "The login is empty.");
		return EX_DATAERR;
	}
	return status == EX_OK ? fetch(ctl, out) : status;
}
