-- SPDX-License-Identifier: ISC
-- Takes: messages, recipients and octets against all limits of all subjects, or none of them; what is given
-- back; and the takes of the release before.
--
-- A batch is resolved first, without a lock: who is charged, and by which limits.  Meters that are missing
-- are made then, in their order, while nothing else is held; after that all are locked once, in the same
-- order, and only then decided.  Whoever waits for a meter that is being made holds no lock that its maker
-- wants, so batches that overlap meet no deadlock.

-- The batches of takes are arrays of any length: plans for one more length each time cost more than takes.
ALTER ROLE postern_service SET plan_cache_mode = 'force_generic_plan';

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- Who is charged, and how much.
CREATE TYPE take_subject AS (
	scope int,          -- as of meter
	id bigint,
	messages bigint,
	recipients bigint,
	bytes bigint,
	fresh bigint,
	limits bigint[],
	warn int,           -- at so many percent of a limit
	reject boolean,     -- what exceeds is refused for good
	name text,          -- of a domain or a tenant
	stamp bigint        -- the version of the limits; NULL: they are not asked for
);

-- The meter's name as a refusal tells it, at most 48 octets.
CREATE FUNCTION meter_name(label text, scope int, name text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	told text := label || CASE scope WHEN 2 THEN ' of this credential' WHEN 3 THEN ' of the domain ' || name
		WHEN 4 THEN ' of the tenant ' || name ELSE '' END;
BEGIN
	told := left(told, 48);
	WHILE octet_length(told) > 48 LOOP
		told := left(told, -1);
	END LOOP;
	RETURN told;
END
$$;

-- What cannot be taken or given back by anybody.
CREATE FUNCTION amounts_check(elements int, messages int[], recipients int[], bytes bigint[]) RETURNS void
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF (elements, elements, elements) IS DISTINCT FROM
		(cardinality(messages), cardinality(recipients), cardinality(bytes)) OR elements > 4096 THEN
		RAISE EXCEPTION 'arrays of a batch must have the same length, at most 4096'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF (0 <= ALL (messages) AND 1000000 >= ALL (messages) AND 0 <= ALL (recipients) AND 1000000 >= ALL (recipients)
		AND 0 <= ALL (bytes) AND 1000000000000000 >= ALL (bytes)) IS NOT TRUE THEN
		RAISE EXCEPTION 'messages and recipients must be from 0 to 1000000, bytes from 0 to 10^15'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$$;

-- Whom each element of a batch charges.  subjects: in the order of their meters, with all that the elements
-- want of them.  good: the element may be taken at all (checked: status, credential, tenants as they are now;
-- else that there is such an account).  keys: "scope:id scope:id ...", of an element.
--
-- Most batches charge one meter an element, each another: these are read by a short statement, and only the
-- others by the one below it.
CREATE FUNCTION takes_resolve(accounts bigint[], credentials bigint[], domains text[], messages int[],
	recipients int[], bytes bigint[], moment timestamptz, checked boolean,
	OUT subjects take_subject[], OUT good boolean[], OUT keys text[])
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present timestamptz := coalesce(takes_resolve.moment, clock_timestamp());
	others boolean;
BEGIN
	SELECT array_agg(ROW(1, e.account_id, e.messages, e.recipients, e.bytes, 0, e.limits, e.warn_percent,
			e.on_exceed = 'reject', NULL, e.stamp)::take_subject ORDER BY e.account_id) FILTER (WHERE e.good),
		array_agg(e.good ORDER BY e.number), array_agg('1:' || e.account_id ORDER BY e.number),
		count(DISTINCT e.account_id) < count(e.account_id) OR bool_or(e.others)
	INTO subjects, good, keys, others
	FROM (
		SELECT e.number, e.messages, e.recipients, e.bytes, a.account_id, p.warn_percent, p.on_exceed,
			greatest(a.version, p.version) AS stamp,
			CASE WHEN a.limits IS NULL THEN p.limits ELSE limits_merged(a.limits, p.limits) END AS limits,
			a.account_id IS NOT NULL AND (NOT takes_resolve.checked OR (a.status = 'enabled'
				AND coalesce(a.blocked_until <= present, true) AND coalesce(t.enabled, true)
				AND (e.credential = 0 OR (c.credential_id IS NOT NULL AND c.revoked_at IS NULL
					AND coalesce(c.expires_at > present, true))))) AS good,
			c.limits IS NOT NULL OR coalesce(t.metered <> '{}', false)
				OR EXISTS (SELECT FROM domain d WHERE d.name = lower(e.domain COLLATE "C")) AS others
		FROM unnest(takes_resolve.accounts, takes_resolve.credentials, takes_resolve.domains,
			takes_resolve.messages, takes_resolve.recipients, takes_resolve.bytes)
			WITH ORDINALITY e (account, credential, domain, messages, recipients, bytes, number)
		-- LIMIT: looked up one by one; a join would read all of a small table for a batch of one.
		LEFT JOIN LATERAL (SELECT * FROM account a WHERE a.account_id = e.account LIMIT 1) a ON true
		LEFT JOIN plan p ON p.plan_id = a.plan_id
		LEFT JOIN LATERAL (SELECT * FROM credential c WHERE c.credential_id = e.credential
			AND c.account_id = e.account LIMIT 1) c ON true
		LEFT JOIN tenant_chain t ON t.tenant_id = a.tenant_id
	) e;
	IF NOT others THEN
		RETURN;
	END IF;

	WITH link AS MATERIALIZED (
		SELECT e.number, e.messages, e.recipients, e.bytes, l.*
		FROM unnest(takes_resolve.accounts, takes_resolve.credentials, takes_resolve.domains,
			takes_resolve.messages, takes_resolve.recipients, takes_resolve.bytes, good)
			WITH ORDINALITY e (account, credential, domain, messages, recipients, bytes, good, number)
		CROSS JOIN LATERAL (
			SELECT 1 AS scope, a.account_id AS id, limits_merged(a.limits, p.limits) AS limits, p.warn_percent,
				p.on_exceed, NULL AS name, greatest(a.version, p.version) AS stamp
			FROM account a JOIN plan p ON p.plan_id = a.plan_id WHERE a.account_id = e.account
			UNION ALL
			SELECT 2, c.credential_id, c.limits, p.warn_percent, p.on_exceed, NULL, greatest(c.version, p.version)
			FROM credential c JOIN account a ON a.account_id = c.account_id JOIN plan p ON p.plan_id = a.plan_id
			WHERE c.credential_id = e.credential AND c.account_id = e.account AND c.limits IS NOT NULL
			UNION ALL
			SELECT 3, d.domain_id, m.limits, p.warn_percent, p.on_exceed, d.name, greatest(d.version, p.version)
			FROM domain d LEFT JOIN plan p ON p.plan_id = d.plan_id
			CROSS JOIN LATERAL limits_merged(d.limits, p.limits) m (limits)
			WHERE d.name = lower(e.domain COLLATE "C") AND limits_metered(m.limits)
			UNION ALL
			SELECT 4, t.tenant_id, limits_merged(t.limits, p.limits), p.warn_percent, p.on_exceed, t.name,
				greatest(t.version, p.version)
			FROM account a JOIN tenant_chain h ON h.tenant_id = a.tenant_id
			JOIN tenant t ON t.tenant_id = ANY (h.metered) LEFT JOIN plan p ON p.plan_id = t.plan_id
			WHERE a.account_id = e.account
		) l
		WHERE e.good
	)
	SELECT (
		SELECT array_agg(ROW(s.scope, s.id, s.messages, s.recipients, s.bytes, 0, s.limits, s.warn_percent,
			coalesce(s.on_exceed, '') = 'reject', s.name, s.stamp)::take_subject ORDER BY s.scope, s.id)
		FROM (
			SELECT l.scope, l.id, sum(l.messages) AS messages, sum(l.recipients) AS recipients,
				sum(l.bytes) AS bytes, l.limits, l.warn_percent, l.on_exceed, l.name, l.stamp
			FROM link l GROUP BY l.scope, l.id, l.limits, l.warn_percent, l.on_exceed, l.name, l.stamp
		) s), array_agg(k.keys ORDER BY e.number)
	INTO subjects, keys
	FROM generate_subscripts(good, 1) e (number) LEFT JOIN (
		SELECT l.number, string_agg(l.scope || ':' || l.id, ' ' ORDER BY l.scope, l.id) AS keys
		FROM link l GROUP BY l.number
	) k ON k.number = e.number;
END
$$;

-- Makes meters that are not there, in their order.  Nothing is made for somebody who is gone meanwhile.
CREATE FUNCTION meters_make(subjects take_subject[], slot int) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	s record;
	there boolean;
BEGIN
	FOR s IN
		SELECT u.scope, u.id FROM unnest(meters_make.subjects) u
		WHERE NOT EXISTS (SELECT FROM meter m WHERE m.scope = u.scope AND m.id = u.id) ORDER BY 1, 2
	LOOP
		CASE s.scope
		WHEN 1 THEN PERFORM FROM account a WHERE a.account_id = s.id FOR KEY SHARE;
		WHEN 2 THEN PERFORM FROM credential c WHERE c.credential_id = s.id FOR KEY SHARE;
		WHEN 3 THEN PERFORM FROM domain d WHERE d.domain_id = s.id FOR KEY SHARE;
		WHEN 4 THEN PERFORM FROM tenant t WHERE t.tenant_id = s.id FOR KEY SHARE;
		END CASE;
		there := FOUND;
		INSERT INTO meter (scope, id, slot, marks)
		SELECT s.scope, s.id, meters_make.slot,
			array_fill(0::bigint, ARRAY[(SELECT max(k.first + k.slots) FROM limit_kind k)]) WHERE there
		ON CONFLICT DO NOTHING;
	END LOOP;
END
$$;

-- Locks the meters of a batch and brings them to one slot: the present, or the one ahead of our time where
-- a meter is there already (somebody else turned it while we waited, or the clock was set back a little),
-- which errs on the strict side.  moment NULL: the database's clock, read when all locks are held.
-- tight: the subjects that must be looked at element by element: all of it would not fit, or would cross a
-- line of warning, or who the recipients are matters.  room: how much more there is below the lowest tops.
-- gone: a subject has no meter, and cannot have one.
CREATE FUNCTION meters_lock(subjects take_subject[], moment timestamptz, OUT slot int, OUT tight int[],
	OUT room_messages bigint, OUT room_recipients bigint, OUT room_bytes bigint, OUT gone boolean)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	locked bigint;
	lowest int;
	highest int;
	stale int[];
BEGIN
	IF EXISTS (SELECT FROM unnest(meters_lock.subjects) s
		WHERE NOT EXISTS (SELECT FROM meter m WHERE m.scope = s.scope AND m.id = s.id)) THEN
		PERFORM meters_make(meters_lock.subjects, slot_of(coalesce(meters_lock.moment, clock_timestamp())));
	END IF;
	FOR attempt IN 1..6 LOOP
		SELECT count(*), min(l.slot), max(l.slot), array_agg(l.number) FILTER (WHERE l.stamp <> l.wanted),
			array_agg(l.number ORDER BY l.number) FILTER (WHERE l.messages + l.more_messages > l.top_messages
				OR l.recipients + l.more_recipients > l.top_recipients OR l.bytes + l.more_bytes > l.top_bytes),
			min(l.top_messages - l.messages), min(l.top_recipients - l.recipients), min(l.top_bytes - l.bytes)
		INTO locked, lowest, highest, stale, tight, room_messages, room_recipients, room_bytes
		FROM (
			SELECT s.number::int AS number, s.messages AS more_messages, s.recipients AS more_recipients,
				s.bytes AS more_bytes, s.stamp AS wanted, m.slot, m.messages, m.recipients, m.bytes, m.stamp,
				m.top_messages, m.top_recipients, m.top_bytes
			FROM unnest(meters_lock.subjects) WITH ORDINALITY s (scope, id, messages, recipients, bytes, fresh,
				limits, warn, reject, name, stamp, number)
			JOIN meter m ON m.scope = s.scope AND m.id = s.id
			ORDER BY m.scope, m.id
			FOR NO KEY UPDATE OF m
		) l;
		gone := locked < cardinality(meters_lock.subjects);
		slot := slot_of(coalesce(meters_lock.moment, clock_timestamp()));
		IF highest = slot + 1 THEN
			slot := slot + 1;
		END IF;
		EXIT WHEN locked = 0 OR (lowest = slot AND highest = slot AND stale IS NULL);
		IF lowest = slot AND highest = slot THEN
			PERFORM meter_refresh(subjects[n], meters_lock.slot) FROM unnest(stale) n;
		ELSE
			PERFORM meter_refresh(s, meters_lock.slot) FROM unnest(meters_lock.subjects) s;
		END IF;
	END LOOP;
END
$$;

-- Brings a locked meter to a slot, and its tops to the limits of now.
CREATE FUNCTION meter_refresh(s take_subject, slot int) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	m meter;
BEGIN
	SELECT * INTO m FROM meter t WHERE t.scope = s.scope AND t.id = s.id
	AND (t.slot <> slot OR t.stamp <> s.stamp);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF m.slot <> slot THEN
		m := meter_turned(m, slot);
	END IF;
	IF s.stamp IS NOT NULL THEN
		m := meter_topped(m, s.limits, s.warn, s.stamp);
	END IF;
	UPDATE meter t SET slot = m.slot, stamp = m.stamp, top_messages = m.top_messages,
		top_recipients = m.top_recipients, top_bytes = m.top_bytes, begun_messages = m.begun_messages,
		begun_recipients = m.begun_recipients, begun_bytes = m.begun_bytes, begun_fresh = m.begun_fresh,
		marks = CASE WHEN t.slot = m.slot THEN t.marks ELSE m.marks END
	WHERE t.scope = s.scope AND t.id = s.id;
END
$$;

-- Whether one element fits its subjects, whose meters are locked; their amounts are what the batch took of
-- them before.  Of several limits that refuse, the one that never lets it through, then the one that is full
-- longest; the request fits when that one has room again.
CREATE FUNCTION take_decide(subjects take_subject[], messages bigint, recipients bigint, bytes bigint,
	hashes bigint[], slot int,
	OUT result int, OUT meter text, OUT meter_limit bigint, OUT used bigint, OUT reset_s bigint, OUT warned text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	full_or_near record;
BEGIN
	SELECT r.*, CASE WHEN r.over AND r.need <= r.most THEN
		CASE WHEN (r.k).first IS NULL
			THEN recipients_reset(r.scope, r.id, take_decide.hashes, take_decide.slot - (r.k).window_s / 150,
				r.used + r.need - r.most, (r.k).window_s / 150)
			ELSE meter_reset(r.m, r.k, r.sum + r.need - r.most) END END AS reset
	INTO full_or_near
	FROM (
		SELECT q.*, q.used + q.need > q.most AS over, meter_name((q.k).label, q.scope, q.name) AS told
		FROM (
			SELECT s.scope, s.id, s.name, s.reject, s.warn, k, m, l.most, l.number, v.sum,
				CASE WHEN k.quantity = 'distinct' THEN (SELECT count(DISTINCT r.hash) FROM recipient r
					WHERE r.scope = s.scope AND r.id = s.id AND r.slot >= take_decide.slot - k.window_s / 150)
					ELSE v.sum - coalesce(m.marks[k.first + k.slots], v.sum) END AS used,
				CASE k.quantity WHEN 'messages' THEN take_decide.messages
					WHEN 'recipients' THEN take_decide.recipients WHEN 'bytes' THEN take_decide.bytes
					WHEN 'new_recipients' THEN recipients_unknown(s.scope, s.id, take_decide.hashes, 0)
					ELSE recipients_unknown(s.scope, s.id, take_decide.hashes, take_decide.slot - k.window_s / 150)
				END AS need
			FROM unnest(take_decide.subjects) s
			JOIN meter m ON m.scope = s.scope AND m.id = s.id
			CROSS JOIN LATERAL unnest(s.limits) WITH ORDINALITY l (most, number)
			JOIN limit_kind k ON k.number = l.number AND (k.first IS NOT NULL OR k.quantity = 'distinct')
			CROSS JOIN LATERAL (VALUES (meter_sum(m, k.quantity) + CASE k.quantity WHEN 'messages' THEN s.messages
				WHEN 'recipients' THEN s.recipients WHEN 'bytes' THEN s.bytes ELSE s.fresh END)) v (sum)
			WHERE l.most >= 0
		) q
		WHERE q.need > 0 AND (q.used + q.need > q.most
			OR (q.used < q.warn * q.most / 100.0 AND q.used + q.need >= q.warn * q.most / 100.0))
	) r
	ORDER BY r.over DESC, r.need > r.most DESC, reset DESC NULLS LAST, r.scope, r.number, r.id
	LIMIT 1;
	result := 0;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	meter_limit := full_or_near.most;
	IF NOT full_or_near.over THEN
		warned := full_or_near.told;
		used := full_or_near.used + full_or_near.need;
		RETURN;
	END IF;
	meter := full_or_near.told;
	used := full_or_near.used;
	reset_s := coalesce(full_or_near.reset, 0);
	result := CASE WHEN full_or_near.need > full_or_near.most THEN 2 WHEN full_or_near.reject THEN 4 ELSE 1 END;
END
$$;

-- Adds what was granted to the meters, which are locked.
CREATE FUNCTION meters_add(subjects take_subject[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	UPDATE meter m SET messages = m.messages + s.messages, recipients = m.recipients + s.recipients,
		bytes = m.bytes + s.bytes, fresh = m.fresh + s.fresh
	FROM unnest(meters_add.subjects) s
	WHERE m.scope = s.scope AND m.id = s.id AND s.messages + s.recipients + s.bytes + s.fresh > 0;
END
$$;

-- Whether a subject limits whom it writes to.
CREATE FUNCTION limits_of_people(limits bigint[]) RETURNS boolean
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN EXISTS (SELECT FROM limit_state s CROSS JOIN LATERAL unnest(limits, s.quantities) u (most, quantity)
		WHERE u.most >= 0 AND u.quantity > 3);
END
$$;

-- Of an element that charges `subjects`: remembers its recipients and adds it up.
CREATE FUNCTION take_grant(INOUT subjects take_subject[], messages bigint, recipients bigint, bytes bigint,
	hashes bigint[], slot int)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	s take_subject;
BEGIN
	FOR i IN 1..cardinality(subjects) LOOP
		s := subjects[i];
		s.messages := s.messages + messages;
		s.recipients := s.recipients + recipients;
		s.bytes := s.bytes + bytes;
		IF hashes <> '{}' AND limits_of_people(s.limits) THEN
			s.fresh := s.fresh + recipients_put(s.scope, s.id, hashes, slot);
		END IF;
		subjects[i] := s;
	END LOOP;
END
$$;

-- Resolves a batch and locks its meters; subjects is NULL when nobody may take anything.
CREATE FUNCTION takes_begin(accounts bigint[], credentials bigint[], domains text[], messages int[],
	recipients int[], bytes bigint[], moment timestamptz,
	OUT subjects take_subject[], OUT good boolean[], OUT keys text[], OUT slot int, OUT tight int[],
	OUT room_messages bigint, OUT room_recipients bigint, OUT room_bytes bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	gone boolean;
BEGIN
	FOR attempt IN 1..3 LOOP
		SELECT r.subjects, r.good, r.keys INTO subjects, good, keys
		FROM takes_resolve(accounts, credentials, domains, messages, recipients, bytes, moment, true) r;
		IF subjects IS NULL THEN
			RETURN;
		END IF;
		SELECT l.* INTO slot, tight, room_messages, room_recipients, room_bytes, gone
		FROM meters_lock(subjects, moment) l;
		IF NOT gone THEN
			RETURN;
		END IF;
	END LOOP;
	RAISE EXCEPTION 'an account of the batch keeps vanishing' USING ERRCODE = 'serialization_failure';
END
$$;

-- takes() with the time passed in, for tests; NULL: the database's clock.
CREATE FUNCTION takes_at(node bigint, seq bigint, accounts bigint[], credentials bigint[], domains text[],
	messages int[], recipients int[], bytes bigint[], hash_counts int[], hashes bigint[], moment timestamptz)
	RETURNS TABLE (number int, result int, meter text, meter_limit bigint, used bigint, reset_s bigint,
		receipt text, warned text)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	elements int := cardinality(accounts);
	subjects take_subject[];
	good boolean[];
	keys text[];
	slot int;
	tight int[];
	granted boolean := false;
BEGIN
	PERFORM amounts_check(elements, messages, recipients, bytes);
	IF (cardinality(credentials), cardinality(domains), cardinality(hash_counts)) IS DISTINCT FROM
		(elements, elements, elements) OR array_position(accounts, NULL) IS NOT NULL
		OR array_position(credentials, NULL) IS NOT NULL OR (0 <= ALL (hash_counts)) IS NOT TRUE
		OR (SELECT coalesce(sum(c), 0) FROM unnest(hash_counts) c) IS DISTINCT FROM cardinality(hashes) THEN
		RAISE EXCEPTION 'accounts, credentials, domains and hashes do not fit one another'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT b.subjects, b.good, b.keys, b.slot, b.tight INTO subjects, good, keys, slot, tight
	FROM takes_begin(accounts, credentials, domains, messages, recipients, bytes, moment) b;
	IF subjects IS NULL OR tight IS NULL THEN
		IF subjects IS NOT NULL THEN
			PERFORM meters_add(subjects);
			granted := true;
		END IF;
		RETURN QUERY SELECT u.number::int, CASE WHEN u.good THEN 0 ELSE 3 END, NULL::text, NULL::bigint,
			NULL::bigint, NULL::bigint, CASE WHEN u.good THEN slot || ' ' || u.key END, NULL::text
		FROM unnest(good, keys) WITH ORDINALITY u (good, key, number);
	ELSE
		FOR number, result, meter, meter_limit, used, reset_s, receipt, warned IN
			SELECT d.number, d.result, d.meter, d.meter_limit, d.used, d.reset_s,
				CASE d.result WHEN 0 THEN slot || ' ' || keys[d.number] END, d.warned
			FROM takes_decide(subjects, good, keys, tight, slot, messages, recipients, bytes, hash_counts, hashes) d
		LOOP
			granted := granted OR result = 0;
			RETURN NEXT;
		END LOOP;
	END IF;
	IF granted AND node <> 0 THEN
		INSERT INTO grant_batch (node, seq) VALUES (node, seq);
	END IF;
END
$$;

-- A batch in which not everything fits, in the order of its elements.
CREATE FUNCTION takes_decide(subjects take_subject[], good boolean[], keys text[], tight int[], slot int,
	messages int[], recipients int[], bytes bigint[], hash_counts int[], hashes bigint[])
	RETURNS TABLE (number int, result int, meter text, meter_limit bigint, used bigint, reset_s bigint, warned text)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	places jsonb := (SELECT jsonb_object_agg(s.scope || ':' || s.id, s.ordinality)
		FROM unnest(subjects) WITH ORDINALITY s);
	mine int[];
	sums take_subject[];
	s take_subject;
	people bigint[];
	offset_now int := 0;
	crossed boolean := false;
BEGIN
	FOR i IN 1..cardinality(subjects) LOOP
		s := subjects[i];
		s.messages := 0;
		s.recipients := 0;
		s.bytes := 0;
		subjects[i] := s;
	END LOOP;
	FOR i IN 1..cardinality(good) LOOP
		number := i;
		people := hashes[offset_now + 1:offset_now + hash_counts[i]];
		offset_now := offset_now + hash_counts[i];
		result := CASE WHEN good[i] THEN 0 ELSE 3 END;
		meter := NULL;
		meter_limit := NULL;
		used := NULL;
		reset_s := NULL;
		warned := NULL;
		IF good[i] THEN
			mine := ARRAY(SELECT (places ->> k)::int FROM unnest(string_to_array(keys[i], ' ')) k);
			sums := ARRAY(SELECT subjects[m] FROM unnest(mine) m);
			IF mine && tight THEN
				-- Nobody said who they are: each is somebody else.
				IF people = '{}' AND recipients[i] > 0
					AND EXISTS (SELECT FROM unnest(sums) u WHERE limits_of_people(u.limits)) THEN
					people := ARRAY(SELECT (random() * 9e18)::bigint FROM generate_series(1, recipients[i]));
				END IF;
				SELECT d.* INTO result, meter, meter_limit, used, reset_s, warned
				FROM take_decide(sums, messages[i], recipients[i], bytes[i], people, slot) d;
				crossed := crossed OR warned IS NOT NULL;
			END IF;
			IF result = 0 THEN
				sums := take_grant(sums, messages[i], recipients[i], bytes[i], people, slot);
				FOR j IN 1..cardinality(mine) LOOP
					subjects[mine[j]] := sums[j];
				END LOOP;
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
	PERFORM meters_add(subjects);
	-- Above a line of warning the next top is another.
	IF crossed THEN
		UPDATE meter m SET stamp = 0 FROM unnest(subjects) u WHERE m.scope = u.scope AND m.id = u.id
		AND u.warn IS NOT NULL;
	END IF;
END
$$;

-- One row an element, decided in their order, all in one call.  result: 0 granted, 1 refused for now, 2 can
-- never fit, 3 the account, its tenant or its credential is disabled, revoked or gone, 4 refused for now by a
-- plan that rejects.  For 1, 2 and 4: the meter that refuses, its limit, what is used of it, and (but for 2)
-- the unix second in which this element would fit if nothing else is taken meanwhile.  For 0 a receipt,
-- which takes_give_back() wants to see again, and, where the take crossed a line of warning, whose.
-- credentials: 0 by password; domains: of the sender, '' none; hashes: of the recipients, all elements' one
-- after another, as many of each as hash_counts says; needed where account_lookup() says wants_recipients.
CREATE FUNCTION takes(node bigint, seq bigint, accounts bigint[], credentials bigint[], domains text[],
	messages int[], recipients int[], bytes bigint[], hash_counts int[], hashes bigint[])
	RETURNS TABLE (number int, result int, meter text, meter_limit bigint, used bigint, reset_s bigint,
		receipt text, warned text)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY SELECT * FROM takes_at(node, seq, accounts, credentials, domains, messages, recipients, bytes,
		hash_counts, hashes, NULL);
END
$$;

-- ------------------------------------------------------------------- give-back

-- A receipt read: the slot, and whom it charged.  Fails where it is none.  A credential's id has 60 bits.
CREATE FUNCTION receipt_parsed(receipt text, OUT slot int, OUT subjects take_subject[])
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF (receipt ~ '^[0-9]{1,9}( [1-4]:1?[0-9]{1,18}){1,11}$') IS NOT TRUE THEN
		RAISE EXCEPTION 'not a receipt' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	slot := split_part(receipt, ' ', 1)::int;
	subjects := ARRAY(SELECT ROW(left(u, 1)::int, substr(u, 3)::bigint, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL)::take_subject
		FROM unnest((string_to_array(receipt, ' '))[2:]) u ORDER BY 1);
END
$$;

-- Moves a locked meter by amounts in a slot; negative ones are given back.  false: the slot has left every
-- window, or has not come yet, or there is no such meter.
CREATE FUNCTION meter_move(scope int, id bigint, taken int, messages bigint, recipients bigint, bytes bigint,
	fresh bigint) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	m meter;
	one record;
	shifted record; -- meter m, boolean known
	counted boolean := false;
BEGIN
	-- The usual case, and the marks stay as they are: the slot is still the present one.
	UPDATE meter t SET messages = t.messages + greatest(messages, t.begun_messages - t.messages),
		recipients = t.recipients + greatest(recipients, t.begun_recipients - t.recipients),
		bytes = t.bytes + greatest(bytes, t.begun_bytes - t.bytes),
		fresh = t.fresh + greatest(fresh, t.begun_fresh - t.fresh)
	WHERE t.scope = meter_move.scope AND t.id = meter_move.id AND t.slot = taken;
	IF FOUND THEN
		RETURN true;
	END IF;
	SELECT * INTO m FROM meter t WHERE t.scope = meter_move.scope AND t.id = meter_move.id FOR NO KEY UPDATE;
	IF m.slot IS NULL OR m.slot < taken THEN
		RETURN false;
	END IF;
	FOR one IN
		SELECT v.quantity, v.n FROM (VALUES ('messages', messages), ('recipients', recipients), ('bytes', bytes),
			('new_recipients', fresh)) v (quantity, n) WHERE v.n <> 0 OR v.quantity = 'messages'
	LOOP
		SELECT * INTO shifted FROM meter_shifted(m, one.quantity, taken, one.n);
		m := shifted.m;
		counted := counted OR shifted.known;
	END LOOP;
	IF counted THEN
		UPDATE meter t SET messages = m.messages, recipients = m.recipients, bytes = m.bytes, fresh = m.fresh,
			stamp = m.stamp, begun_messages = m.begun_messages, begun_recipients = m.begun_recipients,
			begun_bytes = m.begun_bytes, begun_fresh = m.begun_fresh, marks = m.marks
		WHERE t.scope = meter_move.scope AND t.id = meter_move.id;
	END IF;
	RETURN counted;
END
$$;

-- Locks the meters that are there, in their order; one alone is locked when it is written.
CREATE FUNCTION meters_hold(subjects take_subject[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF cardinality(subjects) > 1 THEN
		PERFORM FROM meter m WHERE (m.scope, m.id) IN (SELECT s.scope, s.id FROM unnest(subjects) s)
		ORDER BY m.scope, m.id FOR NO KEY UPDATE;
	END IF;
END
$$;

-- Credits the slots that takes were charged to, where they still count, and no other slot or subject: not
-- more than they hold.  returned: whether anything still counts it.  The caller sees to it that nothing is
-- given back twice, and may give back a part.
CREATE FUNCTION takes_give_back(receipts text[], messages int[], recipients int[], bytes bigint[],
	hash_counts int[], hashes bigint[])
	RETURNS TABLE (number int, returned boolean)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	elements int := cardinality(receipts);
	all_of take_subject[] := '{}';
	mine record;
	s take_subject;
	people bigint[];
	fresh bigint;
	offset_now int := 0;
BEGIN
	PERFORM amounts_check(elements, messages, recipients, bytes);
	IF cardinality(hash_counts) IS DISTINCT FROM elements OR (0 <= ALL (hash_counts)) IS NOT TRUE
		OR (SELECT coalesce(sum(c), 0) FROM unnest(hash_counts) c) IS DISTINCT FROM cardinality(hashes) THEN
		RAISE EXCEPTION 'receipts and hashes do not fit one another' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOR i IN 1..elements LOOP
		all_of := all_of || (SELECT r.subjects FROM receipt_parsed(receipts[i]) r);
	END LOOP;
	PERFORM meters_hold(all_of);
	FOR i IN 1..elements LOOP
		number := i;
		returned := false;
		people := hashes[offset_now + 1:offset_now + hash_counts[i]];
		offset_now := offset_now + hash_counts[i];
		SELECT * INTO mine FROM receipt_parsed(receipts[i]);
		FOREACH s IN ARRAY mine.subjects LOOP
			fresh := CASE WHEN people <> '{}' THEN recipients_forget(s.scope, s.id, people, mine.slot) ELSE 0 END;
			returned := meter_move(s.scope, s.id, mine.slot, -messages[i], -recipients[i], -bytes[i], -fresh)
				OR returned;
		END LOOP;
		RETURN NEXT;
	END LOOP;
END
$$;

-- ------------------------------------------------- what the release before calls

-- Of one account and, by a credential, of that; a plan that rejects refuses for now.
CREATE FUNCTION credential_take_at(account_id bigint, credential_id bigint, messages int, recipients int,
	moment timestamptz,
	OUT result int, OUT meter text, OUT meter_limit bigint, OUT reset_s bigint, OUT taken_s bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	SELECT CASE t.result WHEN 4 THEN 1 ELSE t.result END, t.meter, CASE WHEN t.result <> 0 THEN t.meter_limit END,
		t.reset_s, split_part(t.receipt, ' ', 1)::bigint * 150
	INTO result, meter, meter_limit, reset_s, taken_s
	FROM takes_at(0, 0, ARRAY[account_id], ARRAY[credential_id], '{""}', ARRAY[messages], ARRAY[recipients], '{0}',
		'{0}', '{}', moment) t;
END
$$;

CREATE FUNCTION quota_take_at(account_id bigint, messages int, recipients int, moment timestamptz,
	OUT result int, OUT meter text, OUT meter_limit bigint, OUT reset_s bigint, OUT taken_s bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	SELECT t.* INTO result, meter, meter_limit, reset_s, taken_s
	FROM credential_take_at(account_id, 0, messages, recipients, moment) t;
END
$$;

-- It knows no receipts: what a tenant or a domain was charged stays charged until it leaves the window.
CREATE FUNCTION meter_give_back(account_id bigint, credential_id bigint, taken_s bigint, messages int,
	recipients int) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	slot int := least(taken_s / 150, 999999999);
	subjects take_subject[] := ARRAY[ROW(1, account_id, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL)::take_subject,
		ROW(2, credential_id, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL)::take_subject];
	done boolean;
BEGIN
	IF (least(messages, recipients, taken_s) >= 0 AND num_nulls(messages, recipients, taken_s) = 0) IS NOT TRUE THEN
		RAISE EXCEPTION 'taken_s, messages and recipients must not be negative'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM meters_hold(subjects);
	done := meter_move(1, account_id, slot, -messages, -recipients, 0, 0);
	IF credential_id <> 0 THEN
		PERFORM meter_move(2, credential_id, slot, -messages, -recipients, 0, 0);
	END IF;
	RETURN done;
END
$$;

CREATE OR REPLACE FUNCTION quota_give_back(account_id bigint, taken_s bigint, messages int, recipients int)
	RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN meter_give_back(account_id, 0, taken_s, messages, recipients);
END
$$;

CREATE OR REPLACE FUNCTION credential_give_back(account_id bigint, credential_id bigint, taken_s bigint,
	messages int, recipients int) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN meter_give_back(account_id, credential_id, taken_s, messages, recipients);
END
$$;

GRANT EXECUTE ON FUNCTION takes(bigint, bigint, bigint[], bigint[], text[], int[], int[], bigint[], int[], bigint[]),
	takes_give_back(text[], int[], int[], bigint[], int[], bigint[])
TO postern_service;
