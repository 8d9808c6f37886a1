/* SPDX-License-Identifier: ISC */
/* What was refused and why, for the books; see serve.h and refusals.h. */
#include "auth/serve.h"

#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void on_written(enum database_result result, const PGresult *rows, void *arg, uint64_t token)
{
	struct service *service = arg;

	(void)rows;
	(void)token;
	refusals_written(service->refused, result == DATABASE_ROWS);
}

static bool write_refusals(char *const texts[REFUSALS_COLUMNS], void *arg)
{
	struct service *service = arg;
	char node[24];
	const char *values[1 + REFUSALS_COLUMNS] = {node};

	snprintf(node, sizeof node, "%" PRIu64, service->node);
	for (size_t i = 0; i < REFUSALS_COLUMNS; i++)
		values[1 + i] = texts[i];
	return service->books != NULL &&
	       database_query(service->books, QUERY_REFUSALS_PUT, values, on_written, service, 0);
}

bool serve_refusals(struct service *service)
{
	service->refused = refusals_new(write_refusals, service);
	return service->refused != NULL;
}

void serve_refused(struct service *service, const struct session *session, uint64_t tid,
	enum refusal_rule rule, unsigned code, const struct refusal_address *address,
	const struct query_quota_row *row)
{
	struct refusal refusal = {
		.rule = rule,
		.tid = tid,
		.at_ms = clock_wall_ms(),
		.code = code,
	};

	if (session == NULL)
		return;
	refusal.sid = session->id;
	refusal.account = session->account;
	refusal.credential = session->credential;
	refusal.client = session->client;
	if (address != NULL) {
		refusal.has_sender = true;
		refusal.sender_len = (uint16_t)address->len;
		memcpy(refusal.sender, address->bytes, address->len);
	}
	if (row != NULL) {
		refusal.limit = row->limit;
		refusal.used = row->used;
		refusal.used_known = true;
		refusal.reset_s = row->reset_s;
		refusal.meter_len = row->meter_len;
		memcpy(refusal.meter, row->meter, row->meter_len);
	}
	refusals_note(service->refused, &refusal);
}

void serve_policy_refused(struct service *service, const struct session *session, uint64_t tid,
	enum ipc_policy policy, const struct refusal_address *address,
	const struct query_quota_row *row)
{
	switch (policy) {
	case IPC_POLICY_OK:
		break;
	case IPC_POLICY_SENDER:
		serve_refused(service, session, tid, REFUSAL_SENDER, 550, address, NULL);
		break;
	case IPC_POLICY_LIMIT:
		serve_refused(service, session, tid, REFUSAL_METER, 450, address, row);
		break;
	case IPC_POLICY_LIMIT_NEVER:
	case IPC_POLICY_LIMIT_REJECT:
		serve_refused(service, session, tid, REFUSAL_METER, 550, address, row);
		break;
	case IPC_POLICY_REVOKED:
		serve_refused(service, session, tid, REFUSAL_REVOKED, 421, address, NULL);
		break;
	case IPC_POLICY_UNAVAILABLE:
		serve_refused(service, session, tid, REFUSAL_UNAVAILABLE, 451, address, NULL);
		break;
	}
}
