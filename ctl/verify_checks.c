/* SPDX-License-Identifier: ISC */
/*
 * The questions of posternctl db verify; see verify.h.
 *
 * They read PostgreSQL's own catalogs, which every role may, and trust nothing in the schema that
 * they are to judge.  Functions of the schema are called only where tables must be read.
 */
#include "ctl/verify.h"

#define FUNCTIONS                                                                             \
	"functions AS (SELECT p.*, p.proname || '(' || "                                      \
	"pg_catalog.oidvectortypes(p.proargtypes) || ')' AS signature "                       \
	"FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace " \
	"WHERE n.nspname = 'postern')"
#define CONTRACT                                                                                 \
	"contract AS (SELECT (e ->> 0)::int AS caller, e ->> 1 AS signature, e ->> 2 AS result " \
	"FROM pg_catalog.jsonb_array_elements($1::jsonb) e)"
#define ROLES                                                                                 \
	"roles AS (SELECT r.*, CASE rolname WHEN 'postern_service' THEN 1 ELSE 2 END AS bit " \
	"FROM pg_catalog.pg_roles r WHERE rolname IN ('postern_service', 'postern_admin'))"
#define FOREIGN "pg_catalog.left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'"

/* That nothing was lost: a restore may leave out triggers, and a hand may have switched one off. */
#define TRIGGERS                                                                                   \
	"('account', 'bump'), ('account', 'note_update'), ('account', 'note_delete'), "            \
	"('account', 'source_guard'), ('account', 'meter_gone'), ('sender', 'source_guard'), "     \
	"('sender', 'bump_insert'), ('sender', 'bump_update'), ('sender', 'bump_delete'), "        \
	"('plan', 'bump'), ('plan', 'changed'), ('plan', 'note_update'), ('tenant', 'bump'), "     \
	"('tenant', 'changed'), ('tenant', 'note_update'), ('tenant', 'meter_gone'), ('domain', "  \
	"'bump'), "                                                                                \
	"('domain', 'changed'), ('domain', 'note_insert'), ('domain', 'note_update'), ('domain', " \
	"'note_delete'), ('domain', 'meter_gone'), ('limit_kind', 'changed'), "                    \
	"('credential', 'bump'), ('credential', 'note_update'), ('credential', 'note_delete'), "   \
	"('credential', 'limits_insert'), ('credential', 'limits_update'), "                       \
	"('credential', 'meter_gone'), "                                                           \
	"('block', 'note_insert'), ('block', 'note_update'), ('block', 'note_delete')"

const struct verify_check verify_checks[] = {
	{.name = "schema",
		.fine = "there is a schema postern",
		.last = true,
		.sql = "SELECT 'there is no schema postern in database ' || current_database(), "
		       "'posternctl db migrate makes it; or the DSN names another database.' "
		       "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace "
		       "WHERE nspname = 'postern') AND $1::jsonb IS NOT NULL"},
	{.name = "role",
		.fine = "whoever asks may ask",
		.last = true,
		.sql = "WITH " FUNCTIONS
		       " SELECT 'you are ' || current_user || ', who may not look at all of it', "
		       "'Use postern_admin, or a superuser.' FROM functions "
		       "WHERE signature = 'account_source_problems()' AND $1::jsonb IS NOT NULL "
		       "AND NOT (pg_catalog.has_function_privilege(oid, 'EXECUTE') "
		       "AND pg_catalog.has_schema_privilege('postern', 'USAGE'))"},
	{.name = "server",
		.fine = "PostgreSQL 13 or later, UTF-8, and not a standby",
		.sql = "SELECT problem, todo FROM (VALUES "
		       "(pg_catalog.current_setting('server_version_num')::int < 130000, "
		       "'PostgreSQL is older than 13', 'Upgrade the server.'), "
		       "(pg_catalog.current_setting('server_encoding') <> 'UTF8', "
		       "'the database is not encoded in UTF-8', "
		       "'Make another: createdb --encoding UTF8 --template template0 NAME'), "
		       "(pg_catalog.pg_is_in_recovery(), 'this server is a standby', "
		       "'Add target_session_attrs=read-write to the DSN, in dsn_file too.')) "
		       "AS v (wrong, problem, todo) WHERE wrong AND $1::jsonb IS NOT NULL"},
	{.name = "functions",
		.fine = "all functions are there, with their arguments and results",
		.sql = "WITH " FUNCTIONS ", " CONTRACT
		       " SELECT CASE WHEN f.oid IS NULL THEN 'there is no function postern.' || "
		       "c.signature ELSE 'postern.' || c.signature || ' returns ' || "
		       "pg_catalog.pg_get_function_result(f.oid) || ', not ' || c.result END, "
		       "CASE WHEN f.oid IS NULL THEN 'posternctl db migrate makes what is missing; "
		       "what was dropped, a restore.' ELSE 'Make it again as the file in sql/ has "
		       "it.' END "
		       "FROM contract c LEFT JOIN functions f ON f.signature = c.signature "
		       "WHERE f.oid IS NULL "
		       "OR pg_catalog.pg_get_function_result(f.oid) <> c.result ORDER BY 1"},
	{.name = "definers",
		.fine = "all functions belong to postern_owner, and no caller chooses their "
			"search_path",
		.sql = "WITH " FUNCTIONS
		       " SELECT 'postern.' || signature || CASE WHEN proowner::regrole::text <> "
		       "'postern_owner' THEN ' belongs to ' || proowner::regrole::text "
		       "WHEN prosecdef THEN ' runs as its owner with the search_path of its "
		       "caller' "
		       "ELSE ' does not run as its owner' END, "
		       "'ALTER FUNCTION postern.' || signature || CASE WHEN "
		       "proowner::regrole::text "
		       "<> 'postern_owner' THEN ' OWNER TO postern_owner;' WHEN prosecdef THEN "
		       "' SET search_path = postern, pg_catalog, pg_temp;' "
		       "ELSE ' SECURITY DEFINER;' END FROM functions "
		       "WHERE $1::jsonb IS NOT NULL AND (proowner::regrole::text <> "
		       "'postern_owner' "
		       "OR (NOT prosecdef AND proname NOT IN ('account_source_name', "
		       "'account_source_watch', 'account_source_unwatch')) "
		       "OR (prosecdef AND NOT 'search_path=postern, pg_catalog, pg_temp' = "
		       "ANY (coalesce(proconfig, '{}')))) ORDER BY 1"},
	{.name = "execute",
		.fine = "each role may execute its functions, and no other",
		.sql = "WITH " FUNCTIONS ", " CONTRACT ", " ROLES
		       " SELECT r.rolname || CASE WHEN may THEN ' may execute postern.' "
		       "ELSE ' may not execute postern.' END || f.signature, "
		       "CASE WHEN may THEN 'REVOKE EXECUTE ON FUNCTION postern.' || f.signature || "
		       "' FROM PUBLIC, ' ELSE 'GRANT EXECUTE ON FUNCTION postern.' || f.signature "
		       "|| "
		       "' TO ' END || r.rolname || ';' "
		       "FROM functions f CROSS JOIN roles r "
		       "LEFT JOIN contract c ON c.signature = f.signature "
		       "CROSS JOIN LATERAL (SELECT pg_catalog.has_function_privilege(r.oid, f.oid, "
		       "'EXECUTE') AS may) m "
		       "WHERE may <> (coalesce(c.caller, 0) & r.bit > 0) AND NOT r.rolsuper "
		       "UNION ALL "
		       "SELECT rolname || ' may not use the schema', "
		       "'GRANT USAGE ON SCHEMA postern TO ' || rolname || ';' FROM roles "
		       "WHERE NOT pg_catalog.has_schema_privilege(oid, 'postern', 'USAGE') "
		       "ORDER BY 1"},
	{.name = "roles",
		.fine = "the roles are there, and have no power of their own",
		.sql = "WITH " ROLES
		       " SELECT 'there is no role ' || w.name, 'CREATE ROLE ' || w.name || w.kind "
		       "FROM (VALUES ('postern_service', ' LOGIN NOINHERIT;'), ('postern_admin', "
		       "' LOGIN NOINHERIT;'), ('postern_owner', ' NOLOGIN;')) AS w (name, kind) "
		       "WHERE pg_catalog.to_regrole(w.name) IS NULL AND $1::jsonb IS NOT NULL "
		       "UNION ALL SELECT rolname || ' is a superuser, or may create roles or "
		       "databases, replicate or bypass row security', 'ALTER ROLE ' || rolname || "
		       "' NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;' "
		       "FROM roles WHERE rolsuper OR rolcreaterole OR rolcreatedb OR "
		       "rolreplication "
		       "OR rolbypassrls "
		       "UNION ALL SELECT r.rolname || ' is a member of ' || g.rolname, "
		       "'REVOKE ' || pg_catalog.quote_ident(g.rolname) || ' FROM ' || r.rolname || "
		       "';' FROM roles r JOIN pg_catalog.pg_auth_members m ON m.member = r.oid "
		       "JOIN pg_catalog.pg_roles g ON g.oid = m.roleid "
		       "UNION ALL SELECT rolname || ' cannot log in', "
		       "'ALTER ROLE ' || rolname || ' LOGIN;' FROM roles WHERE NOT rolcanlogin "
		       "UNION ALL SELECT 'postern_owner can log in, or is a superuser', "
		       "'ALTER ROLE postern_owner NOLOGIN NOSUPERUSER;' FROM pg_catalog.pg_roles "
		       "WHERE rolname = 'postern_owner' AND (rolcanlogin OR rolsuper)"},
	{.name = "tables",
		.fine = "neither role reads or writes a table, or makes one",
		.sql = "WITH " ROLES ", relations AS (SELECT c.oid, c.relkind, "
		       "pg_catalog.format('%I.%I', n.nspname, c.relname) AS name "
		       "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
		       "ON n.oid = c.relnamespace WHERE " FOREIGN
		       " AND c.relkind IN ('r', 'p', 'v', 'm', 'f')) "
		       "SELECT r.rolname || ' may read or write ' || t.name, "
		       "'REVOKE ALL ON ' || t.name || ' FROM PUBLIC, ' || r.rolname || ';' "
		       "FROM roles r CROSS JOIN relations t WHERE NOT r.rolsuper AND "
		       "(pg_catalog.has_any_column_privilege(r.oid, t.oid, "
		       "'SELECT, INSERT, UPDATE, REFERENCES') "
		       "OR pg_catalog.has_table_privilege(r.oid, t.oid, 'DELETE, TRUNCATE, "
		       "TRIGGER')) "
		       "UNION ALL SELECT r.rolname || ' may create objects in schema ' || "
		       "n.nspname, "
		       "'REVOKE CREATE ON SCHEMA ' || pg_catalog.quote_ident(n.nspname) || "
		       "' FROM PUBLIC, ' || r.rolname || ';' "
		       "FROM roles r CROSS JOIN pg_catalog.pg_namespace n WHERE " FOREIGN
		       " AND NOT r.rolsuper "
		       "AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE') "
		       "UNION ALL SELECT r.rolname || ' may make temporary tables or schemas', "
		       "'REVOKE TEMPORARY, CREATE ON DATABASE ' || "
		       "pg_catalog.quote_ident(current_database()) || ' FROM PUBLIC, ' || "
		       "r.rolname "
		       "|| ';' FROM roles r WHERE NOT r.rolsuper AND $1::jsonb IS NOT NULL "
		       "AND pg_catalog.has_database_privilege(r.oid, current_database(), "
		       "'TEMPORARY, CREATE') ORDER BY 1"},
	{.name = "triggers",
		.fine = "changes are noted, versions drawn and the audit written",
		.sql = "WITH wanted (relation, name) AS (VALUES " TRIGGERS " UNION ALL "
		       "SELECT r, 'audit_' || e FROM pg_catalog.unnest(ARRAY['account', 'sender', "
		       "'plan', 'credential', 'block', 'tenant', 'domain']) r CROSS JOIN "
		       "pg_catalog.unnest(ARRAY["
		       "'insert', 'update', 'delete']) e) "
		       "SELECT 'postern.' || w.relation || CASE WHEN t.oid IS NULL THEN "
		       "' has no trigger ' ELSE ' has its trigger off: ' END || w.name, "
		       "CASE WHEN t.oid IS NULL THEN 'Make it again as the file in sql/ has it.' "
		       "ELSE 'ALTER TABLE postern.' || w.relation || ' ENABLE TRIGGER ' || w.name "
		       "|| ';' END "
		       "FROM wanted w LEFT JOIN (pg_catalog.pg_trigger t "
		       "JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid "
		       "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		       "AND n.nspname = 'postern') "
		       "ON t.tgname = w.name AND c.relname = w.relation "
		       "WHERE (t.oid IS NULL OR t.tgenabled NOT IN ('O', 'A')) "
		       "AND $1::jsonb IS NOT NULL ORDER BY 1"},
	{.name = "source",
		.fine = "account_source() is as it should be, and watched if it is adapted",
		.sql = "WITH " FUNCTIONS
		       ", adapted AS (SELECT postern.account_source_name() AS name) "
		       "SELECT 'account_source() was replaced, and is not asked', "
		       "'As the owner of the schema: SELECT "
		       "postern.account_source_adopt(''NAME'');' "
		       "FROM functions f, functions d, adapted "
		       "WHERE f.signature = 'account_source(text)' "
		       "AND d.signature = 'account_source_default()' "
		       "AND adapted.name IS NULL AND pg_catalog.strpos(d.prosrc, f.prosrc) = 0 "
		       "UNION ALL SELECT 'account_source() is Postern''s own, and yet ' || "
		       "adapted.name || ' is adopted', 'Run the adapter again, or sql/adapters/"
		       "undo.sql.' FROM functions f, functions d, adapted "
		       "WHERE f.signature = 'account_source(text)' "
		       "AND d.signature = 'account_source_default()' "
		       "AND adapted.name IS NOT NULL AND pg_catalog.strpos(d.prosrc, f.prosrc) > 0 "
		       "UNION ALL SELECT 'no table is watched: a change there is known here ten "
		       "minutes later', 'SELECT postern.account_source_watch(...), see "
		       "docs/adapters.md.' FROM adapted WHERE name IS NOT NULL AND NOT EXISTS ("
		       "SELECT FROM pg_catalog.pg_trigger t JOIN functions f ON f.oid = t.tgfoid "
		       "WHERE f.proname IN ('account_source_note', 'account_source_changed')) "
		       "UNION ALL SELECT t.tgrelid::regclass || ' has its trigger off: ' || "
		       "t.tgname, "
		       "'ALTER TABLE ' || t.tgrelid::regclass || ' ENABLE TRIGGER ' || t.tgname || "
		       "';' FROM pg_catalog.pg_trigger t JOIN functions f ON f.oid = t.tgfoid "
		       "CROSS JOIN adapted WHERE f.proname = 'account_source_note' "
		       "AND t.tgenabled NOT IN ('O', 'A') AND adapted.name IS NOT NULL "
		       "AND $1::jsonb IS NOT NULL"},
	{.name = "accounts",
		.fine = "all hashes can be verified, and all logins found",
		.note = true,
		.sql = "SELECT accounts || CASE kind WHEN 'hash' THEN ' accounts have a hash that "
		       "cannot be verified: ' WHEN 'login' THEN ' logins are not as Postern "
		       "prepares "
		       "them: nobody logs in by them' ELSE ' accounts have a plan that does not "
		       "exist: ' END || coalesce(detail, ''), "
		       "CASE kind WHEN 'hash' THEN 'Give them new passwords; docs/passwords.md "
		       "tells "
		       "which hashes are taken.' WHEN 'login' THEN 'Write them in lower case, "
		       "without spaces.' ELSE 'posternctl plan add makes one.' END "
		       "FROM postern.account_source_problems() WHERE $1::jsonb IS NOT NULL"},
	{.name = "settings",
		.fine = "the service has its time-outs, its isolation level and durable commits",
		.sql = "WITH wanted (name, value, bad) AS (VALUES ('statement_timeout', '2s', "
		       "'^0'), "
		       "('lock_timeout', '1s', '^0'), "
		       "('idle_in_transaction_session_timeout', '5s', '^0'), "
		       "('default_transaction_isolation', 'read committed', '^(?!read "
		       "committed$)'), "
		       "('synchronous_commit', 'on', '^(off|local|false|no|0)$'), "
		       "('search_path', '', '^(?!(\"\")?$)')) "
		       "SELECT 'postern_service has ' || coalesce(w.name || ' = ' || "
		       "s.value, 'no ' || w.name), 'ALTER ROLE postern_service SET ' || w.name || "
		       "' = ''' || w.value || ''';' FROM wanted w LEFT JOIN LATERAL ("
		       "SELECT pg_catalog.substr(c, pg_catalog.length(w.name) + 2) AS value "
		       "FROM pg_catalog.pg_db_role_setting d "
		       "JOIN pg_catalog.pg_roles r ON r.oid = d.setrole, "
		       "pg_catalog.unnest(d.setconfig) c "
		       "WHERE r.rolname = 'postern_service' AND pg_catalog.starts_with(c, w.name "
		       "|| "
		       "'=') AND d.setdatabase IN (0, (SELECT b.oid FROM pg_catalog.pg_database b "
		       "WHERE b.datname = current_database())) "
		       "ORDER BY d.setdatabase DESC LIMIT 1) s ON true "
		       "WHERE (s.value IS NULL OR s.value ~ w.bad) AND $1::jsonb IS NOT NULL "
		       "ORDER BY 1"},
	{.name = "partitions",
		.fine = "the books have their days ahead",
		.note = true,
		.sql = "SELECT 'the partitions of postern.' || c.relname || ' end ' || "
		       "coalesce('at ' || e.ends, 'before they began'), "
		       "'auth makes them while it runs; SELECT postern.usage_maintain(); does it "
		       "now.' FROM pg_catalog.pg_class c "
		       "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		       "LEFT JOIN LATERAL (SELECT max((pg_catalog.regexp_match("
		       "pg_catalog.pg_get_expr(p.relpartbound, p.oid), "
		       "'TO \\(''([^'']+)''\\)'))[1]::timestamptz) AS ends "
		       "FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p "
		       "ON p.oid = i.inhrelid WHERE i.inhparent = c.oid) e ON true "
		       "WHERE n.nspname = 'postern' AND c.relkind = 'p' "
		       "AND coalesce(e.ends, '-infinity') < pg_catalog.now() + "
		       "interval '2 days' AND $1::jsonb IS NOT NULL ORDER BY 1"},
	{.name = "durability",
		.fine = "what was granted outlives a crash of the server",
		.note = true,
		.sql = "SELECT name || ' is off: a crash of the server may forget what was sent', "
		       "'Switch it on in postgresql.conf.' FROM pg_catalog.pg_settings "
		       "WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' "
		       "AND $1::jsonb IS NOT NULL"},
};

const size_t verify_check_count = sizeof(verify_checks) / sizeof(verify_checks[0]);
