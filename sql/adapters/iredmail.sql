-- SPDX-License-Identifier: ISC
-- iRedMail with PostgreSQL: accounts are the rows of mailbox in the database vmail.
--
-- To be run with psql in that database, after posternctl db migrate, as a superuser or as the owner of
-- the tables who migrated too.  Again: nothing changes.  undo.sql takes it back; what there is to know is in
-- docs/adapters.md.
--
-- An account is enabled when its mailbox and its domain are active, the domain is no backup MX, and SMTP
-- over TLS is allowed to it.  It may send as itself and as its own alias addresses (is_alias), not as the
-- lists that it is a member of.

\set ON_ERROR_STOP on
BEGIN;

GRANT USAGE ON SCHEMA public TO postern_owner;
GRANT SELECT (username, password, domain, active, enablesmtpsecured) ON public.mailbox TO postern_owner;
GRANT SELECT (address, forwarding, is_alias, active) ON public.forwardings TO postern_owner;
GRANT SELECT (domain, active, backupmx) ON public.domain TO postern_owner;

SET LOCAL ROLE postern_owner;

CREATE OR REPLACE FUNCTION postern.account_source(wanted text)
	RETURNS TABLE (login text, password_hash text, enabled boolean, senders text[], plan text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT m.username::text, m.password::text,
		m.active = 1 AND m.enablesmtpsecured = 1 AND d.active = 1 AND d.backupmx = 0,
		ARRAY(
			SELECT 'a:' || m.username
			UNION
			SELECT 'a:' || f.address FROM public.forwardings f
			WHERE f.forwarding = account_source.wanted AND f.is_alias = 1 AND f.active = 1
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

SELECT postern.account_source_adopt('iredmail');

RESET ROLE;

SELECT postern.account_source_watch('public.mailbox', 'SELECT username FROM changed');
SELECT postern.account_source_watch('public.forwardings', 'SELECT forwarding FROM changed WHERE is_alias = 1');
-- Only where something that counts became another: a domain may have many mailboxes.
SELECT postern.account_source_watch('public.domain',
	'SELECT m.username FROM public.mailbox m WHERE m.domain IN (
		SELECT domain FROM changed GROUP BY domain HAVING count(*) = 1
		OR min(active) <> max(active) OR min(backupmx) <> max(backupmx))');

COMMIT;
