-- SPDX-License-Identifier: ISC
-- What changed, for the caches and the live sessions of every node.
--
-- A node that hears postern_change, and every node every few seconds, asks changes_since() for what was
-- committed since it asked last.  The notification is a hint and may be lost; the log is what counts.
-- Only what a node may remember is logged: a log-in, a take or a new account is not.
--
-- A table is watched by one trigger an operation, for each statement, with the transition tables `gone`
-- and `written` (a trigger with such tables has one operation) and the kind of the table as argument:
-- 'account' (it has account_id), 'credential' (account_id and credential_id), 'plan', 'block'.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

CREATE TABLE change_log (
	change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	kind text COLLATE "C" NOT NULL CHECK (kind IN ('account', 'credential', 'block', 'everything')),
	account_id bigint,   -- of an account, and of a credential; no reference: it may be gone
	credential_id bigint
);

CREATE INDEX change_log_xid ON change_log (xid);

-- The highest transaction that something was deleted of: who asks from before it gets everything.
CREATE TABLE change_horizon (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	xid xid8 NOT NULL DEFAULT '0'
);
INSERT INTO change_horizon DEFAULT VALUES;

-- Logs a change and tells it.  accounts and credentials: of the same length, or no credentials.
-- NOTIFY makes commits wait for one another, so it is one a statement.
CREATE FUNCTION changes_note(kind text, accounts bigint[] DEFAULT '{}', credentials bigint[] DEFAULT '{}')
	RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	told text := '?'; -- ask
BEGIN
	IF changes_note.kind IN ('account', 'credential') AND cardinality(changes_note.accounts) <= 1000 THEN
		INSERT INTO change_log (kind, account_id, credential_id)
		SELECT changes_note.kind, c.account_id, c.credential_id
		FROM unnest(changes_note.accounts, changes_note.credentials) AS c (account_id, credential_id);
		IF NOT FOUND THEN
			RETURN;
		END IF;
		IF changes_note.kind = 'account' THEN
			told := 'a:' || array_to_string(changes_note.accounts, ',');
		END IF;
	ELSIF changes_note.kind = 'block' THEN
		INSERT INTO change_log (kind) VALUES ('block');
	ELSE
		INSERT INTO change_log (kind) VALUES ('everything');
		told := '*';
	END IF;
	PERFORM pg_notify('postern_change', CASE WHEN octet_length(told) < 4000 THEN told ELSE '?' END);
END
$$;

CREATE FUNCTION change_note() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	accounts bigint[];
	credentials bigint[];
	plans bigint[];
BEGIN
	-- Another hash of the same password ends nothing, and what a node remembers of it still holds.
	IF current_setting('postern.same_password', true) = 'on' THEN
		RETURN NULL;
	END IF;
	CASE TG_ARGV[0]
	WHEN 'account' THEN
		SELECT array_agg(account_id) INTO accounts
		FROM (SELECT DISTINCT account_id FROM gone LIMIT 1001) c;
	WHEN 'credential' THEN
		SELECT array_agg(account_id), array_agg(credential_id) INTO accounts, credentials
		FROM (SELECT account_id, credential_id FROM gone LIMIT 1001) c;
	WHEN 'plan' THEN
		-- The accounts as they are now: one that is made meanwhile has the old plan until it is
		-- looked up again.
		SELECT array_agg(n.plan_id) INTO plans FROM written n JOIN gone o ON o.plan_id = n.plan_id
		WHERE to_jsonb(n) - 'version' <> to_jsonb(o) - 'version';
		SELECT array_agg(account_id) INTO accounts
		FROM (SELECT account_id FROM account WHERE plan_id = ANY (plans) LIMIT 1001) c;
	WHEN 'block' THEN
		PERFORM changes_note('block');
		RETURN NULL;
	END CASE;
	IF accounts IS NOT NULL THEN
		PERFORM changes_note(CASE TG_ARGV[0] WHEN 'plan' THEN 'account' ELSE TG_ARGV[0] END, accounts,
			credentials);
	END IF;
	RETURN NULL;
END
$$;

-- A change of an account's senders is one of the account: sender_bump() writes its version.
CREATE TRIGGER note_update AFTER UPDATE ON account REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION change_note('account');
CREATE TRIGGER note_delete AFTER DELETE ON account REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION change_note('account');
CREATE TRIGGER note_update AFTER UPDATE ON credential REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION change_note('credential');
CREATE TRIGGER note_delete AFTER DELETE ON credential REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION change_note('credential');
CREATE TRIGGER note_update AFTER UPDATE ON plan REFERENCING OLD TABLE AS gone NEW TABLE AS written
	FOR EACH STATEMENT EXECUTE FUNCTION change_note('plan');

-- Which history of the cluster this is: another one after a restore or a promotion, and what was read
-- before may never have happened.  The timeline comes from the name of the WAL file being written: the
-- control file tells a promotion late.  Fails on a standby.
CREATE FUNCTION db_epoch() RETURNS text
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT system_identifier FROM pg_control_system()) || '/'
		|| left(pg_walfile_name(pg_current_wal_lsn()), 8);
END
$$;

-- What was committed since the call that returned `since`: all of it, and nothing twice.  since NULL or
-- older than the log: everything.  A number of the log would not do as a cursor: a lower one may be
-- committed later.  The cursor is what this call sees, a snapshot; where that is too long to carry
-- (dozens of transactions at once), its oldest transaction, and some changes are told again.
--
-- everything: of accounts, credentials and blocks alike; the arrays are empty then.  accounts: those of
-- the credentials too.  STABLE, so that all of it is of one snapshot.
CREATE FUNCTION changes_since(since text)
	RETURNS TABLE (cursor text, everything boolean, accounts bigint[], credentials bigint[], blocks boolean,
		epoch text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	seen pg_snapshot := changes_since.since::pg_snapshot;
	now_seen pg_snapshot := pg_current_snapshot();
BEGIN
	cursor := now_seen::text;
	IF octet_length(cursor) > 150 THEN
		cursor := format('%1$s:%1$s:', pg_snapshot_xmin(now_seen));
	END IF;
	epoch := db_epoch();
	SELECT coalesce(bool_or(c.kind = 'everything'), false)
			OR seen IS NULL OR pg_snapshot_xmin(seen) <= (SELECT h.xid FROM change_horizon h),
		coalesce(array_agg(DISTINCT c.account_id) FILTER (WHERE c.account_id IS NOT NULL), '{}'),
		coalesce(array_agg(DISTINCT c.credential_id) FILTER (WHERE c.credential_id IS NOT NULL), '{}'),
		coalesce(bool_or(c.kind = 'block'), false)
	INTO everything, accounts, credentials, blocks
	FROM change_log c
	WHERE c.xid >= pg_snapshot_xmin(seen) AND NOT pg_visible_in_snapshot(c.xid, seen);
	IF everything OR cardinality(accounts) > 1000 OR cardinality(credentials) > 1000 THEN
		everything := true;
		accounts := '{}';
		credentials := '{}';
		blocks := true;
	END IF;
	RETURN NEXT;
END
$$;

-- Forgets changes of more than an hour ago, some at a time.  Any node may call it at any time; NULL:
-- another one is at it.
CREATE FUNCTION changes_clean() RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	deleted bigint;
	highest xid8;
BEGIN
	IF NOT pg_try_advisory_xact_lock(hashtextextended('postern.changes_clean', 0)) THEN
		RETURN NULL;
	END IF;
	WITH old AS (
		DELETE FROM change_log
		WHERE change_id IN (SELECT change_id FROM change_log ORDER BY change_id LIMIT 10000)
		AND at < clock_timestamp() - interval '1 hour'
		RETURNING xid
	)
	SELECT count(*), (SELECT xid FROM old ORDER BY xid DESC LIMIT 1) INTO deleted, highest FROM old;
	UPDATE change_horizon SET xid = highest WHERE highest > xid;
	RETURN deleted;
END
$$;

GRANT EXECUTE ON FUNCTION changes_since(text), changes_clean() TO postern_service;
GRANT EXECUTE ON FUNCTION db_epoch() TO postern_service, postern_admin;
