-- SPDX-License-Identifier: ISC
-- A table as in Dovecot's guide: users (userid, domain, password, active), whose password_query is
--   SELECT userid AS username, domain, password FROM users
--   WHERE userid = '%n' AND domain = '%d' AND active = 'Y'
--
-- To be run with psql in its database, after posternctl db migrate, as a superuser or as the owner of the
-- table who migrated too.  Again: nothing changes.  undo.sql takes it back; what there is to know is in
-- docs/adapters.md, and a table with other columns is adapted by changing what is here.
--
-- A login is userid@domain, and an account may send as that address.

\set ON_ERROR_STOP on
BEGIN;

GRANT USAGE ON SCHEMA public TO postern_owner;
GRANT SELECT (userid, domain, password, active) ON public.users TO postern_owner;

-- The guide's table has no key.
CREATE INDEX IF NOT EXISTS postern_users_login ON public.users (userid, domain);

SET LOCAL ROLE postern_owner;

CREATE OR REPLACE FUNCTION postern.account_source(wanted text)
	RETURNS TABLE (login text, password_hash text, enabled boolean, senders text[], plan text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT account_source.wanted, u.password::text, u.active::text IN ('Y', 'y', '1', 'true'),
		ARRAY['a:' || account_source.wanted], NULL::text
	FROM public.users u
	WHERE u.userid = substring(account_source.wanted FROM '^(.*)@')
	AND u.domain = substring(account_source.wanted FROM '[^@]*$');
END
$$;

CREATE OR REPLACE FUNCTION postern.account_source_logins() RETURNS SETOF text
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY SELECT u.userid || '@' || u.domain FROM public.users u;
END
$$;

SELECT postern.account_source_adopt('dovecot');

RESET ROLE;

SELECT postern.account_source_watch('public.users', 'SELECT userid || ''@'' || domain FROM changed');

COMMIT;
