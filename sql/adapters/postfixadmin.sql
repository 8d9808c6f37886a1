-- SPDX-License-Identifier: ISC
-- PostfixAdmin: accounts are the rows of mailbox, senders also those of alias.
--
-- To be run with psql in PostfixAdmin's own database, after posternctl db migrate, as a superuser or as
-- the owner of the tables who migrated too.  Again: nothing changes.  undo.sql takes it back; what there
-- is to know is in docs/adapters.md.
--
-- An account is enabled when its mailbox and its domain are active.  It may send as itself, and as each
-- active alias that leads to it; an alias of a whole domain allows nobody to send as everybody there.

\set ON_ERROR_STOP on
BEGIN;

GRANT USAGE ON SCHEMA public TO postern_owner;
GRANT SELECT (username, password, domain, active) ON public.mailbox TO postern_owner;
GRANT SELECT (address, goto, active) ON public.alias TO postern_owner;
GRANT SELECT (domain, active) ON public.domain TO postern_owner;

-- goto is a list with commas: which aliases lead to an account must not take reading them all.
CREATE INDEX IF NOT EXISTS postern_alias_goto ON public.alias
	USING gin (string_to_array(lower(goto COLLATE "C"), ','));

SET LOCAL ROLE postern_owner;

CREATE OR REPLACE FUNCTION postern.account_source(wanted text)
	RETURNS TABLE (login text, password_hash text, enabled boolean, senders text[], plan text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT m.username::text, m.password::text, m.active AND d.active,
		ARRAY(
			SELECT 'a:' || m.username
			UNION
			SELECT 'a:' || a.address FROM public.alias a
			WHERE a.active AND a.address NOT LIKE '@%'
			AND string_to_array(lower(a.goto COLLATE "C"), ',') @> ARRAY[account_source.wanted]
		),
		NULL::text
	FROM public.mailbox m JOIN public.domain d ON d.domain = m.domain
	WHERE m.username = account_source.wanted;
END
$$;

CREATE OR REPLACE FUNCTION postern.account_source_logins() RETURNS SETOF text
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY SELECT m.username::text FROM public.mailbox m;
END
$$;

SELECT postern.account_source_adopt('postfixadmin');

RESET ROLE;

SELECT postern.account_source_watch('public.mailbox', 'SELECT username FROM changed');
SELECT postern.account_source_watch('public.alias',
	'SELECT unnest(string_to_array(goto, '','')) FROM changed');
-- Only where it became active or inactive: a domain may have many mailboxes.
SELECT postern.account_source_watch('public.domain',
	'SELECT m.username FROM public.mailbox m WHERE m.domain IN (
		SELECT domain FROM changed GROUP BY domain HAVING count(*) = 1 OR bool_or(active) <> bool_and(active))');

COMMIT;
