/* SPDX-License-Identifier: ISC */
/* The table; see contract.h.  A test finds what a migration adds and this does not have. */
#include "ctl/contract.h"

const struct contract_function contract_functions[] = {
	{CONTRACT_SERVICE, "account_lookup(text)",
		"TABLE(account_id bigint, version bigint, login text, password_hash text, enabled "
		"boolean, recipients integer, message_bytes bigint, senders text[], sender_count "
		"integer, from_policy text, token text, password_version bigint, sessions bigint, "
		"burst_messages bigint, burst_recipients bigint, grace_messages bigint, "
		"grace_recipients bigint, grace_bytes bigint, wants_bytes boolean, "
		"wants_recipients boolean, leasable boolean)"},
	{CONTRACT_SERVICE, "account_rehash(bigint, bigint, text, text)", "boolean"},
	{CONTRACT_SERVICE, "block_put(text, bigint, text)", "boolean"},
	{CONTRACT_SERVICE, "blocks()", "TABLE(now_s bigint, list text)"},
	{CONTRACT_SERVICE, "changes_clean()", "bigint"},
	{CONTRACT_SERVICE, "changes_since(text)",
		"TABLE(cursor text, everything boolean, accounts bigint[], credentials bigint[], "
		"blocks boolean, epoch text)"},
	{CONTRACT_SERVICE,
		"charges(bigint, bigint[], text[], bigint[], bigint[], text[], integer[], "
		"integer[], bigint[])",
		"bigint"},
	{CONTRACT_BOTH, "contract()", "integer"},
	{CONTRACT_SERVICE, "credential_give_back(bigint, bigint, bigint, integer, integer)",
		"boolean"},
	{CONTRACT_SERVICE, "credential_lookup(text)",
		"TABLE(credential_id bigint, account_id bigint, version bigint, key_id text, hash "
		"bytea, enabled boolean, expires_s bigint, networks text[], senders text[], label "
		"text)"},
	{CONTRACT_SERVICE, "credential_take(bigint, bigint, integer, integer)",
		"TABLE(result integer, meter text, meter_limit bigint, reset_s bigint, taken_s "
		"bigint)"},
	{CONTRACT_SERVICE, "credential_used(bigint[], bigint[], text[], text[])", "bigint"},
	{CONTRACT_BOTH, "db_epoch()", "text"},
	{CONTRACT_SERVICE, "guard_load(integer, integer)", "TABLE(seed bytea, records bytea)"},
	{CONTRACT_SERVICE, "guard_save(jsonb, bigint)", "bigint"},
	{CONTRACT_SERVICE, "lease_return(bigint[], integer[], integer[], bigint[])",
		"TABLE(number integer, returned boolean)"},
	{CONTRACT_SERVICE,
		"lease_take(bigint, bigint, bigint, bigint, text, integer, integer, bigint, "
		"integer, integer, bigint, integer)",
		"TABLE(result integer, meter text, meter_limit bigint, used bigint, reset_s "
		"bigint, receipt text, warned text, lease bigint, messages integer, recipients "
		"integer, bytes bigint, ttl_s integer)"},
	{CONTRACT_SERVICE, "node_alive(bigint, text)", "integer"},
	{CONTRACT_SERVICE, "quota_give_back(bigint, bigint, integer, integer)", "boolean"},
	{CONTRACT_SERVICE, "quota_take(bigint, integer, integer)",
		"TABLE(result integer, meter text, meter_limit bigint, reset_s bigint, taken_s "
		"bigint)"},
	{CONTRACT_SERVICE,
		"refusals_put(bigint, bigint[], bigint[], bigint[], bigint[], bigint[], text[], "
		"text[], text[], integer[], text[], bigint[], bigint[], bigint[])",
		"void"},
	{CONTRACT_SERVICE, "sender_owned(bigint, text)", "boolean"},
	{CONTRACT_SERVICE, "sessions_hold(bigint, bigint[], integer[])",
		"TABLE(number integer, granted boolean, session_limit bigint)"},
	{CONTRACT_SERVICE,
		"takes(bigint, bigint, bigint[], bigint[], text[], integer[], integer[], bigint[], "
		"integer[], bigint[])",
		"TABLE(number integer, result integer, meter text, meter_limit bigint, used "
		"bigint, reset_s bigint, receipt text, warned text)"},
	{CONTRACT_SERVICE,
		"takes_give_back(text[], integer[], integer[], bigint[], integer[], bigint[])",
		"TABLE(number integer, returned boolean)"},
	{CONTRACT_BOTH, "usage_maintain()", "boolean"},
	{CONTRACT_SERVICE,
		"usage_put(bigint, bigint, bigint, bigint[], bigint[], bigint[], bigint[], text[], "
		"integer[], bigint[], text[], text[], text[], bigint[], bigint[], boolean[])",
		"boolean"},
	{CONTRACT_ADMIN, "account_add(text, text, text)", "bigint"},
	{CONTRACT_ADMIN, "account_auth(text)",
		"TABLE(account_id bigint, enabled boolean, blocked_until timestamp with time zone, "
		"password_hash text, scheme text, cost text)"},
	{CONTRACT_ADMIN, "account_by_token(text)",
		"TABLE(account_id bigint, login text, enabled boolean)"},
	{CONTRACT_ADMIN, "account_delete(text)", "bigint"},
	{CONTRACT_ADMIN, "account_export(text, integer)",
		"TABLE(login text, hash text, plan text, senders text[], enabled boolean)"},
	{CONTRACT_ADMIN, "account_fetch(text)", "boolean"},
	{CONTRACT_ADMIN, "account_hashes()", "TABLE(scheme text, cost text, accounts bigint)"},
	{CONTRACT_ADMIN, "account_import(jsonb, boolean)",
		"TABLE(number integer, result text, problem text)"},
	{CONTRACT_ADMIN, "account_known(text[])", "TABLE(login text, password_hash text)"},
	{CONTRACT_ADMIN, "account_list(text, integer)",
		"TABLE(account_id bigint, login text, enabled boolean, has_password boolean, plan "
		"text, created_at timestamp with time zone, from_policy text, token text)"},
	{CONTRACT_ADMIN, "account_rename(text, text)", "void"},
	{CONTRACT_ADMIN, "account_rotate_token(text)", "text"},
	{CONTRACT_ADMIN, "account_set_enabled(text, boolean)", "void"},
	{CONTRACT_ADMIN, "account_set_from_policy(text, text)", "void"},
	{CONTRACT_ADMIN, "account_set_password(text, text)", "void"},
	{CONTRACT_ADMIN, "account_set_plan(text, text)", "void"},
	{CONTRACT_ADMIN, "account_set_tenant(text, text)", "void"},
	{CONTRACT_ADMIN, "account_show(text)",
		"TABLE(account_id bigint, account text, enabled boolean, has_password boolean, "
		"plan text, created_at timestamp with time zone, version bigint, sender_count "
		"bigint, from_policy text, token text, tenant text)"},
	{CONTRACT_ADMIN, "account_source_name()", "text"},
	{CONTRACT_ADMIN, "account_source_problems()",
		"TABLE(kind text, detail text, accounts bigint)"},
	{CONTRACT_ADMIN, "accounts_add_many(text[], text, text)", "bigint"},
	{CONTRACT_ADMIN,
		"audit_list(text, bigint, timestamp with time zone, timestamp with time zone, "
		"bigint, integer)",
		"TABLE(audit_id bigint, at timestamp with time zone, role text, actor text, object "
		"text, action text, via text, account bigint, account_last bigint, name text, "
		"before jsonb, after jsonb)"},
	{CONTRACT_ADMIN, "block_add(text, bigint, text)", "timestamp with time zone"},
	{CONTRACT_ADMIN, "block_del(text)", "boolean"},
	{CONTRACT_ADMIN, "block_list(text, integer)",
		"TABLE(target text, until timestamp with time zone, reason text, created_by text)"},
	{CONTRACT_ADMIN, "block_of(inet)",
		"TABLE(network text, until timestamp with time zone, reason text)"},
	{CONTRACT_ADMIN,
		"credential_add(text, text, text, bytea, text, text[], text[], timestamp with time "
		"zone, bigint, bigint, bigint, bigint, jsonb)",
		"bigint"},
	{CONTRACT_ADMIN, "credential_auth(text, inet)",
		"TABLE(account_id bigint, state text, here boolean, key_id text, hash bytea)"},
	{CONTRACT_ADMIN, "credential_keys()", "TABLE(key_id text, live bigint, ended bigint)"},
	{CONTRACT_ADMIN, "credential_list(text, text, integer)",
		"TABLE(public_id text, state text, label text, created_at timestamp with time "
		"zone, expires_at timestamp with time zone, used_at timestamp with time zone, "
		"key_id text)"},
	{CONTRACT_ADMIN, "credential_revoke(text)", "boolean"},
	{CONTRACT_ADMIN, "credential_show(text)",
		"TABLE(credential text, login text, state text, label text, created_at timestamp "
		"with time zone, expires_at timestamp with time zone, revoked_at timestamp with "
		"time zone, used_at timestamp with time zone, used_address inet, used_client text, "
		"key_id text, networks text[], senders text[], messages_hour bigint, messages_day "
		"bigint, recipients_hour bigint, recipients_day bigint, limits jsonb)"},
	{CONTRACT_ADMIN, "domain_del(text)", "boolean"},
	{CONTRACT_ADMIN, "domain_list()", "TABLE(name text, plan text, settings jsonb)"},
	{CONTRACT_ADMIN, "domain_set(text, jsonb)", "void"},
	{CONTRACT_ADMIN, "limit_kinds()",
		"TABLE(number integer, name text, label text, unit text, window_s integer)"},
	{CONTRACT_ADMIN, "limits_advise(text)",
		"TABLE(name text, periods bigint, p50 bigint, p99 bigint, max bigint, max_at "
		"timestamp with time zone, meter_limit bigint, source text, advised bigint, "
		"outlier boolean)"},
	{CONTRACT_ADMIN, "limits_set(text, jsonb)", "void"},
	{CONTRACT_ADMIN, "limits_show(text)",
		"TABLE(scope text, name text, label text, meter_limit bigint, source text, used "
		"bigint, window_s integer, frees_at timestamp with time zone, action text)"},
	{CONTRACT_ADMIN, "limits_warnings(text)", "TABLE(scope text, warn_percent integer)"},
	{CONTRACT_ADMIN, "plan_add(text, jsonb)", "void"},
	{CONTRACT_ADMIN, "plan_list()", "TABLE(name text, accounts bigint, settings jsonb)"},
	{CONTRACT_ADMIN, "plan_set(text, jsonb)", "void"},
	{CONTRACT_ADMIN, "refusal_explain(text)",
		"TABLE(at timestamp with time zone, state text, account bigint, name text, "
		"credential text, enabled boolean, from_address text, client_address text, "
		"recipients integer, bytes bigint, backend text, queue_id text, rule text, code "
		"integer, meter text, meter_limit bigint, used bigint, frees_at timestamp with "
		"time zone, scope text, source text, limit_now bigint, used_now bigint, senders "
		"text[], sender_count bigint)"},
	{CONTRACT_ADMIN, "schema_versions()", "TABLE(version integer, name text, checksum text)"},
	{CONTRACT_ADMIN, "sender_add(text, text)", "boolean"},
	{CONTRACT_ADMIN, "sender_del(text, text)", "boolean"},
	{CONTRACT_ADMIN, "sender_list(text, text, integer)", "TABLE(sender text)"},
	{CONTRACT_ADMIN, "tenant_del(text)", "void"},
	{CONTRACT_ADMIN, "tenant_list()",
		"TABLE(name text, parent text, plan text, enabled boolean, accounts bigint, "
		"settings jsonb)"},
	{CONTRACT_ADMIN, "tenant_set(text, jsonb)", "void"},
	{CONTRACT_ADMIN, "usage_keep(integer, integer)", "TABLE(events integer, refusals integer)"},
	{CONTRACT_ADMIN,
		"usage_log(text, bigint, text, text, text, inet, timestamp with time zone, "
		"timestamp with time zone, integer)",
		"TABLE(at timestamp with time zone, state text, tid text, account bigint, name "
		"text, credential text, from_address text, recipients integer, bytes bigint, "
		"client_address text, backend text, queue text, rule text, code integer, meter "
		"text, meter_limit bigint, used bigint, reset_s bigint)"},
	{CONTRACT_ADMIN, "usage_report(text, date, date, text, bigint, text)",
		"TABLE(period text, account bigint, name text, credential text, label text, "
		"messages bigint, recipients bigint, bytes bigint, unknown bigint, "
		"unknown_recipients bigint, unknown_bytes bigint)"},
	{CONTRACT_ADMIN, "usage_top(text, integer)",
		"TABLE(name text, account bigint, minute_messages bigint, minute_recipients "
		"bigint, minute_refusals bigint, hour_messages bigint, hour_recipients bigint, "
		"hour_refusals bigint)"},
	{CONTRACT_NOBODY, "account_source(text)",
		"TABLE(login text, password_hash text, enabled boolean, senders text[], plan "
		"text)"},
	{CONTRACT_NOBODY, "account_source_logins()", "SETOF text"},
	{CONTRACT_NOBODY, "account_source_rehash(text, text, text)", "boolean"},
	{CONTRACT_NOBODY, "account_source_changed(text[])", "void"},
	{CONTRACT_NOBODY, "account_source_watch(regclass, text)", "void"},
	{CONTRACT_NOBODY, "account_source_adopt(text)", "void"},
	{CONTRACT_NOBODY, "account_source_release(boolean)", "void"},
};

const size_t contract_function_count = sizeof(contract_functions) / sizeof(contract_functions[0]);
