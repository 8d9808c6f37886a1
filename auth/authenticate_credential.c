/* SPDX-License-Identifier: ISC */
/*
 * A log-in with a secret of the generated form.
 *
 * The account and the credential are asked for together, whatever either answer will be, and the
 * keyed hash alone decides: no Argon2id for anybody.  A refusal leaves when one of a wrong password
 * would (authenticate_end.c).  Which row was missing, or what spoke against the credential, is for
 * the log only.
 */
#include "auth/login.h"

#include "common/clock.h"
#include "common/counters.h"
#include "common/log.h"

bool login_is_generated(const struct login *login)
{
	return credential_recognise(login->secret->bytes, login->secret->len);
}

static enum reason reason_of_state(enum credential_state state)
{
	switch (state) {
	case CREDENTIAL_HOLDS:
		return REASON_NONE;
	case CREDENTIAL_FOREIGN:
		return REASON_WRONG;
	case CREDENTIAL_REVOKED:
		return REASON_REVOKED;
	case CREDENTIAL_EXPIRED:
		return REASON_EXPIRED;
	case CREDENTIAL_ELSEWHERE:
		return REASON_NETWORK;
	}
	return REASON_WRONG;
}

/* Nothing about a credential is told to whom its secret was not shown. */
static enum reason judge(const struct login *login)
{
	const struct login_generated *g = &login->generated;

	if (g->account == ROW_UNKNOWN)
		return REASON_UNKNOWN;
	if (g->row == ROW_UNKNOWN || g->owner != login->verdict.account)
		return REASON_WRONG;
	if (g->match != CREDENTIAL_MATCHES)
		return g->match == CREDENTIAL_NO_KEY ? REASON_NO_KEY : REASON_WRONG;
	if (login->given != REASON_NONE)
		return login->given;
	return g->enabled ? reason_of_state(g->state) : REASON_DISABLED;
}

static void log_refused(const struct login *login)
{
	char id[CREDENTIAL_ID_LEN + 1];
	struct log_line line;

	if (login->generated.row != ROW_KNOWN || login->generated.match == CREDENTIAL_DIFFERS)
		return;
	log_begin(
		&line, login->reason == REASON_NO_KEY ? LOG_ERROR : LOG_INFO, "credential-refused");
	log_text(&line, "credential", credential_format(login->generated.number, id));
	log_uint(&line, "account", login->generated.owner);
	log_id(&line, "sid", login->session);
	if (login->reason == REASON_NO_KEY)
		log_text(&line, "msg",
			"its pepper is not among credential.pepper in the configuration");
	log_end(&line);
}

static void succeed(struct login *login)
{
	login->verdict.credential = login->generated.number;
	credential_uses_note(login->owner->settings.uses, login->generated.number, &login->client,
		login->helo, login->helo_len, clock_monotonic_ms(), clock_wall_ms() / 1000);
	login_ok(login, !login->looked_up);
}

static void note_account(struct login *login, enum row_answer answer, const struct account *account)
{
	if (answer == ROW_KNOWN) {
		login_take_account(login, account);
		login->generated.enabled = account->enabled;
	}
	login->generated.account = answer;
}

static void note_credential(
	struct login *login, enum row_answer answer, const struct credential *credential)
{
	if (answer == ROW_KNOWN) {
		login->generated.owner = credential->account;
		login->generated.match = credential_verify(
			credential, login->owner->settings.keys, login->secret->bytes);
		login->generated.state = credential_check(
			credential, credential->account, &login->client, clock_wall_ms() / 1000);
	}
	login->generated.row = answer;
}

/* The database is away: both rows as they are remembered may let in, and never refuse. */
static void on_outage(struct login *login)
{
	const struct authenticate_settings *settings = &login->owner->settings;
	const struct account *account = login_remembered(login);
	const struct credential *credential =
		account == NULL ? NULL
				: credential_cache_remembered(settings->credentials,
					  login->generated.number, settings->outage_trust_ms,
					  clock_monotonic_ms());

	if (credential != NULL) {
		note_account(login, ROW_KNOWN, account);
		note_credential(login, ROW_KNOWN, credential);
		if (judge(login) == REASON_NONE) {
			counter_add(COUNTER_AUTH_OUTAGE, 1);
			succeed(login);
			return;
		}
	}
	login_unavailable(login, "database");
}

static void ask(struct login *login, bool fresh);

static void decide(struct login *login)
{
	const struct login_generated *g = &login->generated;

	if (g->account == 0 || g->row == 0)
		return;
	if (g->account == ROW_UNAVAILABLE || g->row == ROW_UNAVAILABLE) {
		on_outage(login);
		return;
	}
	login->reason = judge(login);
	if (login->reason == REASON_NONE) {
		succeed(login);
	} else if (!g->fresh) {
		/* What is only remembered is no ground for a refusal; and who is refused must not
		 * read from the time that something was. */
		if (login->at_once)
			login->missing_us = login->owner->pace.lookup_us;
		ask(login, true);
	} else {
		log_refused(login);
		login_refuse_now(login);
	}
}

static void on_account(
	enum row_answer answer, const struct account *account, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);

	if (login == NULL)
		return;
	if (!login->at_once)
		login_note_lookup(login, answer);
	note_account(login, answer, account);
	decide(login);
}

static void on_credential(
	enum row_answer answer, const struct credential *credential, void *arg, uint64_t token)
{
	struct authenticate *a = arg;
	struct login *login = idmap_get(a->logins, token);

	if (login == NULL)
		return;
	if (!login->at_once)
		login->looked_up = true;
	note_credential(login, answer, credential);
	decide(login);
}

/* Both questions before either answer: they travel together, and neither tells of the other. */
static void ask(struct login *login, bool fresh)
{
	struct authenticate *a = login->owner;
	uint64_t token = login->token, number = login->generated.number;
	uint64_t now_ms = clock_monotonic_ms();

	login->generated = (struct login_generated){.number = number, .fresh = fresh};
	login->asked_us = clock_monotonic_us();
	login->at_once = true;
	account_cache_get(a->settings.accounts, login->verdict.login, login->verdict.login_len,
		fresh, now_ms, on_account, a, token);
	credential_cache_get(
		a->settings.credentials, number, fresh, now_ms, on_credential, a, token);
	login = idmap_get(a->logins, token); /* it may be decided */
	if (login != NULL)
		login->at_once = false;
}

void login_begin_generated(struct login *login)
{
	login->generated.number = credential_number(login->secret->bytes);
	if (login->verdict.login_len == 0 || !credential_number_valid(login->generated.number)) {
		login->reason = login->verdict.login_len == 0 ? REASON_UNKNOWN : REASON_WRONG;
		login_refuse_now(login);
		return;
	}
	ask(login, false);
}
