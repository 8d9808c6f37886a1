-- SPDX-License-Identifier: ISC
-- What nodes hold: leases, sessions, the proof that they live; charges after the fact; and the look-up that
-- says what an account's messages are counted by.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- ----------------------------------------------------------------------- nodes

CREATE TABLE node (
	node bigint PRIMARY KEY,
	name text NOT NULL CHECK (octet_length(name) <= 255),
	seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- What an account may send without asking, and until when.  Charged whole, to the slot in which it ends.
CREATE TABLE lease (
	lease_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	node bigint NOT NULL,
	account_id bigint NOT NULL,
	receipt text COLLATE "C" NOT NULL,
	messages bigint NOT NULL,
	recipients bigint NOT NULL,
	bytes bigint NOT NULL,
	expires_at timestamptz NOT NULL
);
CREATE INDEX lease_expires ON lease (expires_at);

-- How many sessions a node has of an account that limits them.
CREATE TABLE session_hold (
	account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
	node bigint NOT NULL,
	sessions int NOT NULL CHECK (sessions > 0),
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (account_id, node)
) WITH (fillfactor = 70);

CREATE FUNCTION nodes_live() RETURNS int
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN greatest((SELECT count(*) FROM node n WHERE n.seen_at > clock_timestamp() - interval '30 s'), 1);
END
$$;

-- Forgets what ended: leases (what was left of them counts as used), holds, batches of takes of more than
-- ten minutes ago, nodes of a day ago, and some of the recipients that nobody wrote to for 400 days.
CREATE FUNCTION nodes_reap() RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	moment timestamptz := clock_timestamp();
BEGIN
	IF NOT pg_try_advisory_xact_lock(hashtextextended('postern.nodes_reap', 0)) THEN
		RETURN;
	END IF;
	-- A node returns a lease when it ends for it, which may be heard a little later.
	DELETE FROM lease WHERE lease_id IN (SELECT l.lease_id FROM lease l
		WHERE l.expires_at < moment - interval '10 s' FOR UPDATE SKIP LOCKED);
	DELETE FROM session_hold WHERE (account_id, node) IN (SELECT h.account_id, h.node FROM session_hold h
		WHERE h.expires_at < moment FOR UPDATE SKIP LOCKED);
	DELETE FROM grant_batch g WHERE g.at < moment - interval '10 min';
	DELETE FROM node n WHERE n.seen_at < moment - interval '1 day';
	DELETE FROM recipient r WHERE (r.scope, r.id, r.hash, r.slot) IN (
		SELECT o.scope, o.id, o.hash, o.slot FROM recipient o
		WHERE o.slot < slot_of(moment - interval '400 days') LIMIT 500 FOR UPDATE SKIP LOCKED);
END
$$;

-- A node says that it lives, every 10 s; how many do, those that said so within 30 s.
CREATE FUNCTION node_alive(node bigint, name text) RETURNS int
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO node AS n (node, name, seen_at) VALUES (node_alive.node, left(node_alive.name, 255), clock_timestamp())
	ON CONFLICT ON CONSTRAINT node_pkey DO UPDATE SET name = excluded.name, seen_at = excluded.seen_at;
	PERFORM nodes_reap();
	RETURN nodes_live();
END
$$;

-- ---------------------------------------------------------------------- leases

-- lease_take() with the time passed in, for tests; NULL: the database's clock.
CREATE FUNCTION lease_take_at(node bigint, seq bigint, account bigint, credential bigint, domain text,
	need_messages int, need_recipients int, need_bytes bigint, want_messages int, want_recipients int,
	want_bytes bigint, wanted_s int, moment timestamptz)
	RETURNS TABLE (result int, meter text, meter_limit bigint, used bigint, reset_s bigint, receipt text,
		warned text, lease bigint, messages int, recipients int, bytes bigint, ttl_s int)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	held record; -- take_subject[] subjects, boolean[] good, text[] keys, int slot, int[] tight, and room
	share bigint;
	ends double precision;
BEGIN
	PERFORM amounts_check(2, ARRAY[need_messages, want_messages], ARRAY[need_recipients, want_recipients],
		ARRAY[need_bytes, want_bytes]);
	IF (wanted_s BETWEEN 0 AND 30) IS NOT TRUE OR num_nulls(account, credential) > 0 THEN
		RAISE EXCEPTION 'a lease lasts 0 to 30 s' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT * INTO held
	FROM takes_begin(ARRAY[account], ARRAY[credential], ARRAY[domain], ARRAY[need_messages],
		ARRAY[need_recipients], ARRAY[need_bytes], moment) b;
	lease := 0;
	messages := 0;
	recipients := 0;
	bytes := 0;
	ttl_s := 0;
	IF held.subjects IS NULL THEN
		result := 3;
		RETURN NEXT;
		RETURN;
	END IF;

	-- It ends with the slot: what was spent later would leave the window too early.
	ends := date_part('epoch', coalesce(moment, clock_timestamp()));
	ends := least(ends + wanted_s, (held.slot + 1) * 150::bigint) - ends;
	IF held.tight IS NOT NULL OR ends < 1 THEN
		-- Not leasable, full, or about to warn: the need alone.
		SELECT d.result, d.meter, d.meter_limit, d.used, d.reset_s, d.warned
		INTO result, meter, meter_limit, used, reset_s, warned
		FROM takes_decide(held.subjects, held.good, held.keys, coalesce(held.tight, '{}'), held.slot,
			ARRAY[need_messages], ARRAY[need_recipients], ARRAY[need_bytes], '{0}', '{}') d;
		IF result <> 0 THEN
			RETURN NEXT;
			RETURN;
		END IF;
		messages := need_messages;
		recipients := need_recipients;
		bytes := need_bytes;
	ELSE
		result := 0;
		share := 2 * nodes_live();
		messages := greatest(need_messages, least(want_messages, held.room_messages / share));
		recipients := greatest(need_recipients, least(want_recipients, held.room_recipients / share));
		bytes := greatest(need_bytes, least(want_bytes, held.room_bytes / share));
		IF messages = need_messages OR recipients = need_recipients
			OR (bytes = need_bytes AND want_bytes > need_bytes) THEN
			messages := need_messages;
			recipients := need_recipients;
			bytes := need_bytes;
		END IF;
		PERFORM meters_add(subjects_set(held.subjects, messages, recipients, bytes));
	END IF;
	receipt := held.slot || ' ' || held.keys[1];
	IF messages > need_messages THEN
		ttl_s := floor(ends);
		INSERT INTO lease AS l (node, account_id, receipt, messages, recipients, bytes, expires_at)
		VALUES (node, account, receipt, messages, recipients, bytes,
			coalesce(moment, clock_timestamp()) + make_interval(secs => ends))
		RETURNING l.lease_id INTO lease;
	END IF;
	IF node <> 0 THEN
		INSERT INTO grant_batch (node, seq) VALUES (node, seq);
	END IF;
	RETURN NEXT;
END
$$;

-- Subjects with other amounts.
CREATE FUNCTION subjects_set(subjects take_subject[], messages bigint, recipients bigint, bytes bigint)
	RETURNS take_subject[]
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	s take_subject;
BEGIN
	FOR i IN 1..cardinality(subjects) LOOP
		s := subjects[i];
		s.messages := messages;
		s.recipients := recipients;
		s.bytes := bytes;
		subjects[i] := s;
	END LOOP;
	RETURN subjects;
END
$$;

-- Takes what is needed now, as takes() does with one element, and more beside it that the node may spend by
-- itself for ttl_s seconds, counted from when it sent this: as much as is wanted, and never above the room
-- that there is, divided by twice the live nodes.  lease 0: the need was granted alone.
CREATE FUNCTION lease_take(node bigint, seq bigint, account bigint, credential bigint, domain text,
	need_messages int, need_recipients int, need_bytes bigint, want_messages int, want_recipients int,
	want_bytes bigint, wanted_s int)
	RETURNS TABLE (result int, meter text, meter_limit bigint, used bigint, reset_s bigint, receipt text,
		warned text, lease bigint, messages int, recipients int, bytes bigint, ttl_s int)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY SELECT * FROM lease_take_at(node, seq, account, credential, domain, need_messages,
		need_recipients, need_bytes, want_messages, want_recipients, want_bytes, wanted_s, NULL);
END
$$;

-- Gives back what was not spent of leases, once.  returned: it was credited; false: the lease was returned
-- before, or ended so long ago that it counts as used.
CREATE FUNCTION lease_return(leases bigint[], messages int[], recipients int[], bytes bigint[])
	RETURNS TABLE (number int, returned boolean)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	one record;
	all_of take_subject[] := '{}';
BEGIN
	PERFORM amounts_check(cardinality(leases), messages, recipients, bytes);
	-- Meters before leases, as lease_take() does.
	FOR one IN SELECT r.subjects FROM lease l, receipt_parsed(l.receipt) r WHERE l.lease_id = ANY (leases) LOOP
		all_of := all_of || one.subjects;
	END LOOP;
	PERFORM meters_hold(all_of);
	FOR i IN 1..cardinality(leases) LOOP
		number := i;
		DELETE FROM lease l WHERE l.lease_id = leases[i]
		RETURNING l.receipt, l.messages, l.recipients, l.bytes INTO one;
		returned := FOUND;
		IF returned THEN
			PERFORM meter_move(s.scope, s.id, r.slot, -least(messages[i], one.messages),
				-least(recipients[i], one.recipients), -least(bytes[i], one.bytes), 0)
			FROM receipt_parsed(one.receipt) r, unnest(r.subjects) s;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- --------------------------------------------------------------------- charges

-- Charges without a check what was granted without asking (under grace, or by a server that is lost), each
-- (node, seq) once: all elements of one seq come in one call.  receipts: '' by the chain as it is now.
-- Who the recipients were is not known any more: new and distinct ones are not counted.  How many were charged.
CREATE FUNCTION charges_at(node bigint, seqs bigint[], receipts text[], accounts bigint[], credentials bigint[],
	domains text[], messages int[], recipients int[], bytes bigint[], moment timestamptz) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	elements int := cardinality(seqs);
	fresh bigint[];
	chained take_subject[];
	all_of take_subject[];
	counted bigint := 0;
	present int;
BEGIN
	PERFORM amounts_check(elements, messages, recipients, bytes);
	IF (cardinality(receipts), cardinality(accounts), cardinality(credentials), cardinality(domains))
		IS DISTINCT FROM (elements, elements, elements, elements) OR node IS NULL THEN
		RAISE EXCEPTION 'arrays of a batch must have the same length' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	WITH put AS (
		INSERT INTO grant_batch AS b (node, seq)
		SELECT DISTINCT node, u FROM unnest(seqs) u ORDER BY u ON CONFLICT DO NOTHING RETURNING b.seq
	)
	SELECT array_agg(p.seq) INTO fresh FROM put p;
	IF fresh IS NULL THEN
		-- So that this answer, too, waits for the standby.
		UPDATE grant_batch b SET at = b.at WHERE b.node = charges_at.node AND b.seq = seqs[1];
		RETURN 0;
	END IF;

	SELECT r.subjects, (SELECT count(*) FROM unnest(r.good) g WHERE g) INTO chained, counted
	FROM (
		SELECT array_agg(u.account) AS a, array_agg(u.credential) AS c, array_agg(u.domain) AS d,
			array_agg(u.m) AS m, array_agg(u.r) AS r, array_agg(u.b) AS b
		FROM unnest(seqs, receipts, accounts, credentials, domains, messages, recipients, bytes)
			u (seq, receipt, account, credential, domain, m, r, b)
		WHERE u.receipt = '' AND u.seq = ANY (fresh)
	) e, takes_resolve(e.a, e.c, e.d, e.m, e.r, e.b, moment, false) r;
	chained := coalesce(chained, '{}');
	all_of := subjects_set(chained, 0, 0, 0) || ARRAY(
		SELECT DISTINCT s FROM unnest(seqs, receipts) u (seq, receipt), receipt_parsed(u.receipt) r, unnest(r.subjects) s
		WHERE u.receipt <> '' AND u.seq = ANY (fresh)
		AND NOT EXISTS (SELECT FROM unnest(chained) c WHERE c.scope = s.scope AND c.id = s.id));
	SELECT l.slot INTO present FROM meters_lock(all_of, moment) l;
	PERFORM meters_add(chained);
	PERFORM meter_move(s.scope, s.id, least(r.slot, present), u.m, u.r, u.b, 0)
	FROM unnest(seqs, receipts, messages, recipients, bytes) u (seq, receipt, m, r, b),
		receipt_parsed(u.receipt) r, unnest(r.subjects) s
	WHERE u.receipt <> '' AND u.seq = ANY (fresh);
	RETURN counted + (SELECT count(*) FROM unnest(seqs, receipts) u (seq, receipt)
		WHERE u.receipt <> '' AND u.seq = ANY (fresh));
END
$$;

CREATE FUNCTION charges(node bigint, seqs bigint[], receipts text[], accounts bigint[], credentials bigint[],
	domains text[], messages int[], recipients int[], bytes bigint[]) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN charges_at(node, seqs, receipts, accounts, credentials, domains, messages, recipients, bytes, NULL);
END
$$;

-- -------------------------------------------------------------------- sessions

-- How many sessions a node has of each account: absolute, for 90 s, renewed each 30 s.  Granted when all
-- nodes' together are within the account's limit, and always when they are not more than before; 0 ends it.
CREATE FUNCTION sessions_hold(node bigint, accounts bigint[], counts int[])
	RETURNS TABLE (number int, granted boolean, session_limit bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	one record;
	before int;
	others bigint;
	moment timestamptz := clock_timestamp();
BEGIN
	IF cardinality(accounts) IS DISTINCT FROM cardinality(counts)
		OR (0 <= ALL (counts)) IS NOT TRUE OR node IS NULL THEN
		RAISE EXCEPTION 'counts must not be negative, one an account' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOR one IN SELECT u.account, u.sessions, u.number FROM unnest(accounts, counts) WITH ORDINALITY
		u (account, sessions, number) ORDER BY u.account, u.number
	LOOP
		number := one.number;
		SELECT coalesce(a.limits[18], p.limits[18], -1) INTO session_limit
		FROM account a JOIN plan p ON p.plan_id = a.plan_id WHERE a.account_id = one.account;
		granted := FOUND;
		session_limit := coalesce(session_limit, 0);
		IF granted AND one.sessions > 0 AND session_limit >= 0 THEN
			SELECT h.sessions INTO before FROM session_hold h
			WHERE h.account_id = one.account AND h.node = node AND h.expires_at > moment;
			IF one.sessions > coalesce(before, 0) THEN
				PERFORM FROM account a WHERE a.account_id = one.account FOR NO KEY UPDATE;
				SELECT coalesce(sum(h.sessions), 0) INTO others FROM session_hold h
				WHERE h.account_id = one.account AND h.node <> node AND h.expires_at > moment;
				granted := others + one.sessions <= session_limit;
			END IF;
			IF granted THEN
				INSERT INTO session_hold AS h (account_id, node, sessions, expires_at)
				VALUES (one.account, node, one.sessions, moment + interval '90 s')
				ON CONFLICT ON CONSTRAINT session_hold_pkey
				DO UPDATE SET sessions = excluded.sessions, expires_at = excluded.expires_at;
			END IF;
		ELSE
			DELETE FROM session_hold h WHERE h.account_id = one.account AND h.node = node;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;

-- --------------------------------------------------------------------- look-up

-- As it was, and of the limits: sessions at a time and of a node's own minute, -1 unlimited; how much more
-- of each quantity may be granted while the database is away, the least of what the limits of its chain say,
-- 0 nothing, -1 none of them is limited; whether its takes want the exact number of octets, and the hashes of
-- recipients; whether lease_take() can lease.  Credentials and domains count as if all were in the chain.
DROP FUNCTION account_lookup(text);
CREATE FUNCTION account_lookup(wanted text)
	RETURNS TABLE (account_id bigint, version bigint, login text, password_hash text, enabled boolean,
		recipients int, message_bytes bigint, senders text[], sender_count int, from_policy text, token text,
		password_version bigint, sessions bigint, burst_messages bigint, burst_recipients bigint,
		grace_messages bigint, grace_recipients bigint, grace_bytes bigint, wants_bytes boolean,
		wants_recipients boolean, leasable boolean)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	known text := lower(account_lookup.wanted COLLATE "C");
BEGIN
	-- Kept in tables of somebody else's: see 0011_source.sql.
	IF account_source_name() IS NOT NULL THEN
		known := account_mirror(known);
	END IF;
	RETURN QUERY
	SELECT a.account_id, greatest(a.version, p.version, n.version, t.version), a.login, a.password_hash,
		a.status = 'enabled' AND coalesce(a.blocked_until <= clock_timestamp(), true) AND coalesce(t.enabled, true),
		greatest(coalesce(a.limits[16], p.limits[16]), 0)::int, -- the numbers are limit_kind's
		greatest(coalesce(a.limits[17], p.limits[17]), 0),
		coalesce(s.list[1:32], '{}'), coalesce(cardinality(s.list), 0),
		a.from_policy, a.token, a.password_version,
		coalesce(a.limits[18], p.limits[18], -1), coalesce(a.limits[19], p.limits[19], -1),
		coalesce(a.limits[20], p.limits[20], -1), w.messages, w.recipients, w.bytes, w.octets, w.people,
		NOT w.people
	FROM account a
	JOIN plan p ON p.plan_id = a.plan_id
	CROSS JOIN limit_state n
	CROSS JOIN LATERAL (
		SELECT array_agg(CASE kind WHEN 'any' THEN '*' ELSE left(kind, 1) || ':' || value END) AS list
		FROM (
			SELECT kind, value FROM sender
			WHERE sender.account_id = a.account_id
			ORDER BY kind, value LIMIT 33
		) first
	) s
	CROSS JOIN LATERAL (
		SELECT max(greatest(t.version, tp.version)) AS version, bool_and(t.enabled) AS enabled
		FROM tenant_chain c JOIN tenant t ON t.tenant_id = ANY (c.chain) LEFT JOIN plan tp ON tp.plan_id = t.plan_id
		WHERE c.tenant_id = a.tenant_id
	) t
	CROSS JOIN LATERAL (
		SELECT coalesce(min(l.grace) FILTER (WHERE l.quantity = 1), -1) AS messages,
			coalesce(min(l.grace) FILTER (WHERE l.quantity IN (2, 4, 5)), -1) AS recipients,
			coalesce(min(l.grace) FILTER (WHERE l.quantity = 3), -1) AS bytes,
			coalesce(bool_or(l.quantity = 3), false) AS octets, coalesce(bool_or(l.quantity > 3), false) AS people
		FROM (
			SELECT coalesce(u.own, u.planned) AS most, coalesce(u.grace, 0) AS grace, u.quantity
			FROM unnest(a.limits, p.limits, p.grace, n.quantities) u (own, planned, grace, quantity)
			UNION ALL
			SELECT u.own, coalesce(u.grace, 0), u.quantity
			FROM credential c CROSS JOIN LATERAL unnest(c.limits, p.grace, n.quantities) u (own, grace, quantity)
			WHERE c.account_id = a.account_id AND c.limits IS NOT NULL AND c.revoked_at IS NULL
			UNION ALL
			SELECT coalesce(u.own, u.planned), coalesce(u.grace, 0), u.quantity
			FROM tenant_chain c JOIN tenant t ON t.tenant_id = ANY (c.metered)
			LEFT JOIN plan tp ON tp.plan_id = t.plan_id
			CROSS JOIN LATERAL unnest(t.limits, tp.limits, tp.grace, n.quantities) u (own, planned, grace, quantity)
			WHERE c.tenant_id = a.tenant_id
			UNION ALL
			SELECT 0, u.grace, u.quantity FROM unnest(n.domains, n.quantities) u (grace, quantity)
			WHERE u.grace IS NOT NULL
		) l
		WHERE l.most >= 0
	) w
	WHERE a.login = known;
END
$$;

GRANT EXECUTE ON FUNCTION account_lookup(text), node_alive(bigint, text),
	lease_take(bigint, bigint, bigint, bigint, text, int, int, bigint, int, int, bigint, int),
	lease_return(bigint[], int[], int[], bigint[]),
	charges(bigint, bigint[], text[], bigint[], bigint[], text[], int[], int[], bigint[]),
	sessions_hold(bigint, bigint[], int[])
TO postern_service;
