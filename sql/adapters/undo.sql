-- SPDX-License-Identifier: ISC
-- Takes any adapter back: triggers, indexes and rights on the foreign tables go, and postern.account
-- decides again.  Accounts that came from there stay, with the passwords and senders that they have there now;
-- for them to be disabled instead, make it account_source_release(false).

\set ON_ERROR_STOP on
BEGIN;

SELECT postern.account_source_release(true);

SELECT postern.account_source_unwatch(w.relation)
FROM (
	SELECT DISTINCT t.tgrelid::regclass AS relation FROM pg_trigger t
	WHERE t.tgfoid = 'postern.account_source_note()'::regprocedure
) w;

DROP INDEX IF EXISTS public.postern_alias_goto, public.postern_users_login;

DO $$
DECLARE
	relation regclass;
BEGIN
	FOR relation IN
		SELECT DISTINCT format('%I.%I', g.table_schema, g.table_name)::regclass
		FROM information_schema.role_column_grants g
		WHERE g.grantee = 'postern_owner' AND g.table_schema <> 'postern'
	LOOP
		EXECUTE format('REVOKE ALL ON %s FROM postern_owner', relation);
	END LOOP;
END
$$;

COMMIT;
