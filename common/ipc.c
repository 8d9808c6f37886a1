/* SPDX-License-Identifier: ISC */
/* The table of frame types: size, name, and what a payload must satisfy; see ipc.h. */
#include "common/ipc.h"

struct type_info {
	const char *name;
	size_t size;
	bool (*valid)(const void *payload);
};

static bool valid_any(const void *payload)
{
	(void)payload;
	return true;
}

static bool valid_block(const void *payload)
{
	const struct ipc_block *b = payload;

	return b->bits <= 128 && b->step >= IPC_BLOCK_BEGIN && b->step <= IPC_BLOCK_END;
}

static bool valid_auth_request(const void *payload)
{
	const struct ipc_auth_request *r = payload;

	_Static_assert(IPC_HELO_MAX == UINT8_MAX, "helo_len can be no more");
	return r->login_len <= IPC_LOGIN_MAX && r->secret_len <= IPC_SECRET_MAX &&
	       r->authzid_differs <= 1 &&
	       (r->mechanism == IPC_MECHANISM_PLAIN || r->mechanism == IPC_MECHANISM_LOGIN);
}

static bool valid_auth_verdict(const void *payload)
{
	const struct ipc_auth_verdict *v = payload;

	return v->login_len <= IPC_LOGIN_MAX && v->token_len <= IPC_TOKEN_MAX &&
	       v->from_policy <= IPC_FROM_REWRITE && v->result >= IPC_AUTH_OK &&
	       v->result <= IPC_AUTH_SESSIONS;
}

static bool valid_mail_request(const void *payload)
{
	return ((const struct ipc_mail_request *)payload)->sender_len <= IPC_PATH_MAX;
}

static bool valid_owner_request(const void *payload)
{
	return ((const struct ipc_owner_request *)payload)->address_len <= IPC_PATH_MAX;
}

static bool valid_owner_verdict(const void *payload)
{
	unsigned policy = ((const struct ipc_owner_verdict *)payload)->policy;

	return policy == IPC_POLICY_OK || policy == IPC_POLICY_SENDER ||
	       policy == IPC_POLICY_REVOKED || policy == IPC_POLICY_UNAVAILABLE;
}

static bool valid_policy(const void *payload)
{
	const struct ipc_policy_verdict *v = payload;

	return v->meter_len <= IPC_METER_NAME_MAX && v->policy >= IPC_POLICY_OK &&
	       v->policy <= IPC_POLICY_UNAVAILABLE;
}

static bool valid_recipients(const void *payload)
{
	const struct ipc_recipients *r = payload;

	return r->count > 0 && r->count <= IPC_RECIPIENTS_MAX;
}

static bool valid_intent(const void *payload)
{
	const struct ipc_intent *i = payload;

	return i->sender_len <= IPC_PATH_MAX && i->backend_len <= IPC_BACKEND_MAX;
}

static bool valid_outcome(const void *payload)
{
	const struct ipc_outcome *o = payload;

	return o->queue_id_len <= IPC_QUEUE_ID_MAX && o->kind >= IPC_OUTCOME_ACCEPTED &&
	       o->kind <= IPC_OUTCOME_UNKNOWN;
}

static bool valid_session(const void *payload)
{
	const struct ipc_session *session = payload;

	return session->login_len <= IPC_LOGIN_MAX && session->from_policy <= IPC_FROM_REWRITE;
}

static bool valid_hash_request(const void *payload)
{
	const struct ipc_hash_request *r = payload;

	if (r->phc_len > IPC_PHC_MAX || r->secret_len > IPC_SECRET_MAX)
		return false;
	if (r->phc_len > 0) /* verify: its cost is the stored hash's */
		return r->memory_bytes == 0 && r->passes == 0;
	return r->memory_bytes > 0 && r->passes > 0 && r->secret_len > 0;
}

static bool valid_hash_result(const void *payload)
{
	const struct ipc_hash_result *r = payload;

	return r->outcome >= IPC_HASH_MATCH && r->outcome <= IPC_HASH_MADE &&
	       r->phc_len <= IPC_PHC_MAX && (r->phc_len > 0) == (r->outcome == IPC_HASH_MADE);
}

static bool valid_control(const void *payload)
{
	const struct ipc_control *c = payload;

	return c->process >= IPC_PROCESS_MASTER && c->process <= IPC_PROCESS_ADMIN;
}

static const struct type_info types[IPC_TYPE_END] = {
	[IPC_AUTH_REQUEST] = {"auth-request", sizeof(struct ipc_auth_request), valid_auth_request},
	[IPC_AUTH_CANCEL] = {"auth-cancel", sizeof(struct ipc_session), valid_session},
	[IPC_MAIL_REQUEST] = {"mail-request", sizeof(struct ipc_mail_request), valid_mail_request},
	[IPC_OWNER_REQUEST] = {"owner-request", sizeof(struct ipc_owner_request),
		valid_owner_request},
	[IPC_TAKE_REQUEST] = {"take-request", sizeof(struct ipc_take_request), valid_any},
	[IPC_RECIPIENTS] = {"recipients", sizeof(struct ipc_recipients), valid_recipients},
	[IPC_INTENT] = {"intent", sizeof(struct ipc_intent), valid_intent},
	[IPC_OUTCOME] = {"outcome", sizeof(struct ipc_outcome), valid_outcome},
	[IPC_SESSION_END] = {"session-end", sizeof(struct ipc_session), valid_session},
	[IPC_ATTACH_SESSION] = {"attach-session", sizeof(struct ipc_session), valid_session},
	[IPC_ATTACH_TRANSACTION] = {"attach-transaction", sizeof(struct ipc_attach_transaction),
		valid_any},
	[IPC_ATTACH_DONE] = {"attach-done", sizeof(struct ipc_attach_done), valid_any},
	[IPC_AUTH_VERDICT] = {"auth-verdict", sizeof(struct ipc_auth_verdict), valid_auth_verdict},
	[IPC_MAIL_VERDICT] = {"mail-verdict", sizeof(struct ipc_policy_verdict), valid_policy},
	[IPC_OWNER_VERDICT] = {"owner-verdict", sizeof(struct ipc_owner_verdict),
		valid_owner_verdict},
	[IPC_TAKE_VERDICT] = {"take-verdict", sizeof(struct ipc_policy_verdict), valid_policy},
	[IPC_INTENT_DONE] = {"intent-done", sizeof(struct ipc_done), valid_any},
	[IPC_OUTCOME_DONE] = {"outcome-done", sizeof(struct ipc_done), valid_any},
	[IPC_BLOCK] = {"block", sizeof(struct ipc_block), valid_block},
	[IPC_SESSION_REVOKED] = {"session-revoked", sizeof(struct ipc_session_revoked), valid_any},
	[IPC_HASH_REQUEST] = {"hash-request", sizeof(struct ipc_hash_request), valid_hash_request},
	[IPC_HASH_RESULT] = {"hash-result", sizeof(struct ipc_hash_result), valid_hash_result},
	[IPC_SERVER_STATE] = {"server-state", sizeof(struct ipc_server_state), valid_any},
	[IPC_CONTROL_CHANNEL] = {"control-channel", sizeof(struct ipc_control), valid_control},
	[IPC_CONTROL_COUNTERS] = {"control-counters", sizeof(struct ipc_control), valid_control},
	[IPC_CONTROL_DRAIN] = {"control-drain", sizeof(struct ipc_control), valid_control},
	[IPC_CONTROL_READY] = {"control-ready", sizeof(struct ipc_control), valid_control},
};

static const struct type_info *info(enum ipc_type type)
{
	if ((unsigned)type >= IPC_TYPE_END || types[type].name == NULL)
		return NULL;
	return &types[type];
}

size_t ipc_size(enum ipc_type type)
{
	const struct type_info *t = info(type);

	return t == NULL ? 0 : t->size;
}

const char *ipc_name(enum ipc_type type)
{
	const struct type_info *t = info(type);

	return t == NULL ? "unknown" : t->name;
}

bool ipc_valid(enum ipc_type type, const void *payload)
{
	const struct type_info *t = info(type);

	return t != NULL && t->valid(payload);
}
