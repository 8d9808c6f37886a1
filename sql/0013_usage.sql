-- SPDX-License-Identifier: ISC
-- The books: what was sent, by whom, and what was refused and why.
--
-- A row a message that the backend accepted, or may have accepted; a sum a day and account, for bills;
-- a row a refusal.  Nodes put them in batches, each exactly once.  Days are days of UTC.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

CREATE TABLE usage_settings (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	event_days int NOT NULL DEFAULT 400 CHECK (event_days BETWEEN 1 AND 4000),
	refusal_days int NOT NULL DEFAULT 30 CHECK (refusal_days BETWEEN 1 AND 4000),
	batch_days int NOT NULL DEFAULT 60 CHECK (batch_days BETWEEN 7 AND 4000)
);
INSERT INTO usage_settings DEFAULT VALUES;

-- What nodes have put already: a batch that is put again changes nothing.
CREATE TABLE usage_batch (
	node bigint NOT NULL,
	boot bigint NOT NULL,
	seq bigint NOT NULL,
	put_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (node, boot, seq)
);
CREATE INDEX usage_batch_put ON usage_batch USING brin (put_at);

-- Login and tenant are those of the account when the row was put.  NULL where the account was deleted;
-- its sender and its client are then, too.
CREATE TABLE usage_event (
	accepted_at timestamptz NOT NULL, -- by the node's clock
	taken_at timestamptz NOT NULL,    -- when its limits were charged, likewise
	put_at timestamptz NOT NULL DEFAULT now(),
	node bigint NOT NULL,
	tid bigint NOT NULL,              -- of the transaction, and sid of the session: log and replies have them
	sid bigint NOT NULL,
	account_id bigint NOT NULL,
	credential_id bigint,             -- NULL: by password
	tenant_id bigint,
	bytes bigint NOT NULL,
	recipients int NOT NULL,
	state text COLLATE "C" NOT NULL CHECK (state IN ('accepted', 'unknown')),
	login text COLLATE "C",
	sender text COLLATE "C",          -- '': the null sender
	client inet,
	backend text COLLATE "C",
	queue_id text COLLATE "C"
) PARTITION BY RANGE (accepted_at);

CREATE INDEX ON usage_event (account_id, accepted_at);
CREATE INDEX ON usage_event (accepted_at);
CREATE INDEX ON usage_event (tid);
CREATE INDEX ON usage_event (queue_id) WHERE queue_id IS NOT NULL;
-- What comes from a clock that is wrong, or while no partition could be made.
CREATE TABLE usage_event_default PARTITION OF usage_event DEFAULT;

-- For bills; kept for good.  The amounts contain those of unknown outcome, which are told besides.
CREATE TABLE usage_day (
	day date NOT NULL,
	account_id bigint NOT NULL,
	tenant_id bigint NOT NULL, -- 0: none
	messages bigint NOT NULL,
	recipients bigint NOT NULL,
	bytes bigint NOT NULL,
	unknown bigint NOT NULL,
	unknown_recipients bigint NOT NULL,
	unknown_bytes bigint NOT NULL,
	PRIMARY KEY (day, account_id, tenant_id)
) WITH (fillfactor = 70);
CREATE INDEX usage_day_account ON usage_day (account_id, day);

-- account_id NULL: the client had not logged in.  sender: what it wrote, or the address refused.
CREATE TABLE refusal_event (
	refused_at timestamptz NOT NULL,
	put_at timestamptz NOT NULL DEFAULT now(),
	node bigint NOT NULL,
	tid bigint NOT NULL,
	sid bigint NOT NULL,
	account_id bigint,
	credential_id bigint,
	tenant_id bigint,
	meter_limit bigint, -- this and the next two: NULL where no meter refused
	used bigint,
	reset_s bigint,
	code int NOT NULL,  -- of the reply
	rule text COLLATE "C" NOT NULL,
	login text COLLATE "C",
	sender text COLLATE "C",
	client inet,
	meter text COLLATE "C"
) PARTITION BY RANGE (refused_at);

CREATE INDEX ON refusal_event (account_id, refused_at);
CREATE INDEX ON refusal_event (refused_at);
CREATE INDEX ON refusal_event (tid);
CREATE TABLE refusal_event_default PARTITION OF refusal_event DEFAULT;

-- ------------------------------------------------------------------- partitions

-- Makes the partition of a day.  false: it was there, or another has rows of that day that are too many
-- to move while nodes wait; they stay where they are, which costs nothing but their retention by DELETE.
CREATE FUNCTION usage_partition(parent name, key name, day date) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	few CONSTANT int := 5000;
	part name := parent || to_char(day, '_YYYYMMDD');
	starts timestamptz := day::timestamp AT TIME ZONE 'UTC';
	ends timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
	within text := format('%I >= %L AND %1$I < %3$L', key, starts, ends);
	astray bigint;
BEGIN
	IF to_regclass('postern.' || part) IS NOT NULL THEN
		RETURN false;
	END IF;
	EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
	EXECUTE format('SELECT count(*) FROM (SELECT FROM %I WHERE %s LIMIT %s) f',
		parent || '_default', within, few + 1) INTO astray;
	IF astray > few THEN
		RETURN false;
	END IF;
	EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
	IF astray > 0 THEN
		EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %s RETURNING *) INSERT INTO %I SELECT * FROM moved',
			parent || '_default', within, part);
	END IF;
	EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
		parent, part, starts, ends);
	RETURN true;
END
$$;

-- Partitions from yesterday to seven days ahead, and none older than days.  Returns how many it made and
-- dropped.
CREATE FUNCTION usage_partitions(parent name, key name, days int) RETURNS int
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	today date := (now() AT TIME ZONE 'UTC')::date;
	old name;
	changed int := 0;
BEGIN
	FOR ahead IN REVERSE 7..-1 LOOP
		IF usage_partition(parent, key, today + ahead) THEN
			changed := changed + 1;
		END IF;
	END LOOP;
	FOR old IN
		SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = ('postern.' || quote_ident(parent))::regclass
		AND c.relname ~ '_[0-9]{8}$' AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - days
		ORDER BY 1 LIMIT 8
	LOOP
		EXECUTE format('DROP TABLE %I', old);
		changed := changed + 1;
	END LOOP;
	-- What a clock that is wrong tells to be old is kept as long as the rest.
	EXECUTE format('DELETE FROM %I WHERE ctid IN (SELECT ctid FROM %1$I WHERE %2$I < %3$L AND put_at < %3$L LIMIT 2000)',
		parent || '_default', key, (today - days)::timestamp AT TIME ZONE 'UTC');
	RETURN changed;
END
$$;

-- Erases of accounts' events since then what says who it was; what was sent and when stays.
CREATE FUNCTION usage_erase(accounts bigint[], since timestamptz DEFAULT '-infinity') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	UPDATE usage_event SET login = NULL, sender = NULL, client = NULL
	WHERE account_id = ANY (usage_erase.accounts) AND accepted_at >= usage_erase.since
	AND (login IS NOT NULL OR sender IS NOT NULL OR client IS NOT NULL);
	UPDATE refusal_event SET login = NULL, sender = NULL, client = NULL,
		meter = regexp_replace(meter, ' of the domain .*', ' of the domain')
	WHERE account_id = ANY (usage_erase.accounts) AND refused_at >= usage_erase.since
	AND (login IS NOT NULL OR sender IS NOT NULL OR client IS NOT NULL);
END
$$;

-- Accounts that were deleted, and of which something may have been put meanwhile: usage_maintain() erases it.
CREATE TABLE usage_erased (
	account_id bigint PRIMARY KEY,
	erased_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION usage_forget() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO usage_erased (account_id) SELECT account_id FROM gone ON CONFLICT DO NOTHING;
	PERFORM usage_erase(ARRAY(SELECT account_id FROM gone));
	RETURN NULL;
END
$$;

CREATE TRIGGER usage_forget AFTER DELETE ON account REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION usage_forget();

-- ------------------------------------------------------------------ the service

-- Makes partitions ahead and drops what is older than usage_settings says.  Any node may call it, each
-- hour or so: one at a time does the work, and the others get false at once.
CREATE FUNCTION usage_maintain() RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp
	SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
	keep usage_settings;
	erased bigint[];
BEGIN
	IF NOT pg_try_advisory_xact_lock(hashtext('postern.usage_maintain')) THEN
		RETURN false;
	END IF;
	SELECT * INTO keep FROM usage_settings;
	PERFORM usage_partitions('usage_event', 'accepted_at', keep.event_days);
	PERFORM usage_partitions('refusal_event', 'refused_at', keep.refusal_days);
	-- What was being put meanwhile has ended by now, and is of these days: older partitions are left alone.
	WITH due AS (
		DELETE FROM usage_erased WHERE account_id IN (SELECT account_id FROM usage_erased
			WHERE erased_at < now() - interval '1 minute' ORDER BY erased_at LIMIT 5000)
		RETURNING account_id
	)
	SELECT array_agg(account_id) INTO erased FROM due;
	IF erased IS NOT NULL THEN
		PERFORM usage_erase(erased, now() - interval '10 days');
	END IF;
	DELETE FROM usage_batch WHERE ctid IN (
		SELECT ctid FROM usage_batch WHERE put_at < now() - make_interval(days => keep.batch_days) LIMIT 20000);
	RETURN true;
END
$$;

-- Puts a batch of messages, all arrays of the same length; (node, boot, seq) is its name.  false: it had
-- been put before, and nothing changes.  Times are milliseconds since 1970, of a clock that may be wrong.
-- credentials: 0, by password.  senders '': the null sender.  queue_ids '': not known.  Those of accounts
-- deleted meanwhile are counted under their ids.
CREATE FUNCTION usage_put(node bigint, boot bigint, seq bigint, tids bigint[], sids bigint[],
		accounts bigint[], credentials bigint[], senders text[], recipients int[], bytes bigint[],
		clients text[], backends text[], queue_ids text[], taken_ms bigint[], accepted_ms bigint[],
		unknown boolean[])
	RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO usage_batch (node, boot, seq) VALUES (usage_put.node, usage_put.boot, usage_put.seq)
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		-- A commit without a change waits for no standby, and that of the batch may not be there yet: the
		-- caller would forget what only this server has.
		UPDATE usage_batch b SET put_at = b.put_at
		WHERE b.node = usage_put.node AND b.boot = usage_put.boot AND b.seq = usage_put.seq;
		RETURN false;
	END IF;
	WITH put AS (
		INSERT INTO usage_event (accepted_at, taken_at, node, tid, sid, account_id, credential_id, tenant_id,
			bytes, recipients, state, login, sender, client, backend, queue_id)
		SELECT timestamptz 'epoch' + least(greatest(u.accepted, 0), 253402300799000) * interval '1 millisecond',
			timestamptz 'epoch' + least(greatest(u.taken, 0), 253402300799000) * interval '1 millisecond',
			usage_put.node, u.tid, u.sid, u.account,
			nullif(u.credential, 0), a.tenant_id, greatest(u.bytes, 0),
			greatest(u.recipients, 0), CASE WHEN u.unknown THEN 'unknown' ELSE 'accepted' END, a.login,
			CASE WHEN a.login IS NOT NULL THEN u.sender END,
			CASE WHEN a.login IS NOT NULL THEN nullif(u.client, '')::inet END,
			nullif(u.backend, ''), nullif(u.queue_id, '')
		FROM unnest(usage_put.tids, usage_put.sids, usage_put.accounts, usage_put.credentials, usage_put.senders,
			usage_put.recipients, usage_put.bytes, usage_put.clients, usage_put.backends, usage_put.queue_ids,
			usage_put.taken_ms, usage_put.accepted_ms, usage_put.unknown)
			AS u (tid, sid, account, credential, sender, recipients, bytes, client, backend, queue_id, taken,
				accepted, unknown)
		LEFT JOIN account a ON a.account_id = u.account
		RETURNING accepted_at, account_id, tenant_id, recipients, bytes, state = 'unknown' AS unknown
	)
	INSERT INTO usage_day AS d (day, account_id, tenant_id, messages, recipients, bytes, unknown,
		unknown_recipients, unknown_bytes)
	SELECT (accepted_at AT TIME ZONE 'UTC')::date, account_id, coalesce(tenant_id, 0), count(*),
		sum(recipients), sum(bytes), count(*) FILTER (WHERE unknown),
		coalesce(sum(recipients) FILTER (WHERE unknown), 0), coalesce(sum(bytes) FILTER (WHERE unknown), 0)
	FROM put GROUP BY 1, 2, 3
	ORDER BY 1, 2, 3 -- two nodes at once meet no deadlock
	ON CONFLICT (day, account_id, tenant_id) DO UPDATE SET messages = d.messages + excluded.messages,
		recipients = d.recipients + excluded.recipients, bytes = d.bytes + excluded.bytes,
		unknown = d.unknown + excluded.unknown,
		unknown_recipients = d.unknown_recipients + excluded.unknown_recipients,
		unknown_bytes = d.unknown_bytes + excluded.unknown_bytes;
	RETURN true;
END
$$;

-- Puts refusals, all arrays of the same length.  accounts 0: not logged in.  meters '': none refused.
CREATE FUNCTION refusals_put(node bigint, tids bigint[], sids bigint[], at_ms bigint[], accounts bigint[],
		credentials bigint[], senders text[], clients text[], rules text[], codes int[], meters text[],
		limits bigint[], used bigint[], reset_s bigint[])
	RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	INSERT INTO refusal_event (refused_at, node, tid, sid, account_id, credential_id, tenant_id, meter_limit,
		used, reset_s, code, rule, login, sender, client, meter)
	SELECT timestamptz 'epoch' + least(greatest(u.at, 0), 253402300799000) * interval '1 millisecond',
		refusals_put.node, u.tid, u.sid, nullif(u.account, 0), nullif(u.credential, 0),
		a.tenant_id, CASE WHEN u.meter <> '' THEN u.meter_limit END,
		CASE WHEN u.meter <> '' THEN u.used END, CASE WHEN u.meter <> '' THEN u.reset_s END,
		u.code, u.rule, a.login,
		CASE WHEN a.login IS NOT NULL OR u.account = 0 THEN u.sender END,
		CASE WHEN a.login IS NOT NULL OR u.account = 0 THEN nullif(u.client, '')::inet END, nullif(u.meter, '')
	FROM unnest(refusals_put.tids, refusals_put.sids, refusals_put.at_ms, refusals_put.accounts,
		refusals_put.credentials, refusals_put.senders, refusals_put.clients, refusals_put.rules,
		refusals_put.codes, refusals_put.meters, refusals_put.limits, refusals_put.used, refusals_put.reset_s)
		AS u (tid, sid, at, account, credential, sender, client, rule, code, meter, meter_limit, used, reset_s)
	LEFT JOIN account a ON a.account_id = u.account;
END
$$;

GRANT EXECUTE ON FUNCTION usage_put(bigint, bigint, bigint, bigint[], bigint[], bigint[], bigint[], text[], int[],
		bigint[], text[], text[], text[], bigint[], bigint[], boolean[]),
	refusals_put(bigint, bigint[], bigint[], bigint[], bigint[], bigint[], text[], text[], text[], int[], text[],
		bigint[], bigint[], bigint[]),
	usage_maintain()
TO postern_service;

SELECT usage_maintain();
