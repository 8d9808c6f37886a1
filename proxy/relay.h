/* SPDX-License-Identifier: ISC */
/*
 * Between the two halves of a session: what a backend connection tells becomes what the client is
 * answered.  Opening and dropping that connection is here as well.
 */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "common/smtp_reply.h"
#include "proxy/session.h"

/*
 * Gives the session a backend connection: the one at hand, or a new one to the next server that was
 * not tried in this transaction.  mail_ready() follows, at once or from the loop, or
 * mail_no_backend().
 */
void relay_connect(struct session *session);

/* Drops the backend connection without a word: whatever it has begun must not be completed. */
void relay_drop(struct session *session);

/*
 * The connection is lost, or can be trusted no more: every command that is owed a reply gets its
 * 451, a message at hand is settled.  The session may be closed afterwards.
 */
void relay_break(struct session *session, const char *reason);

/* Ends an open transaction by RSET or EHLO: settled with auth, and taken back at the backend. */
void relay_reset(struct session *session);

/* The transaction is over on the backend's side as well: the connection may rest, or be closed. */
void relay_rest(struct session *session);

/* Sends the backend's reply to the client, well formed.  A 421 ends the session. */
void relay_reply(struct session *session, const struct smtp_reply *reply);

/* Keeps it in the transaction for later.  False: out of memory. */
bool relay_store(struct session *session, const struct smtp_reply *reply);

/* What the verbs' files implement for it. */
void mail_ready(struct session *session);
void mail_no_backend(struct session *session);
void mail_reply(struct session *session, bool rcpt, const struct smtp_reply *reply);
/* Looks again what DATA still waits for. */
void data_advance(struct session *session);
void data_reply(struct session *session, const struct smtp_reply *reply);
void data_early(struct session *session, const struct smtp_reply *reply);
void data_end_reply(struct session *session, const struct smtp_reply *reply);
void data_lost(struct session *session);
/* The backend has answered DATA, and not by 354. */
bool data_refused(const struct session *session);

/* The backend takes octets again. */
void data_resume(struct session *session);

/* verb_bdat.c.  Whether a message comes in chunks, whose end is not in and that has not failed. */
bool bdat_under_way(const struct session *session);
void bdat_reply(struct session *session, const struct smtp_reply *reply);

/* auth's answers, for auth_client. */
struct auth_answers;
extern const struct auth_answers relay_answers;
void login_answer(struct session *session, const struct ipc_auth_verdict *verdict);
void mail_answer(struct session *session, const struct ipc_policy_verdict *verdict);
/* Whether the account owns the address that auth_client_owner() asked about. */
void owner_answer(struct session *session, const struct ipc_policy_verdict *verdict);
void take_answer(struct session *session, const struct ipc_policy_verdict *verdict);
void top_up_answer(struct session *session, const struct ipc_policy_verdict *verdict);
void intent_answer(struct session *session, bool ok);
void outcome_answer(struct session *session);

/* The refusal of a limit, a foreign sender, a revoked account: written, or the session closed. */
void relay_refuse_policy(struct session *session, const struct ipc_policy_verdict *verdict);

#endif
