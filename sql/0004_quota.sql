-- SPDX-License-Identifier: ISC
-- Limits: strict rolling windows.  In no 60 minutes and in no 24 hours more than the limit.
--
-- Time is cut into slots: 150 s for the hour, 30 min for the day (12 of the former).  A meter holds
-- the present slot and the 24 (48) full slots before it.  All of them count: 24 slots of 150 s are 60
-- minutes by themselves, so that what was taken at any moment is counted for 60 minutes at the least
-- and for 62.5 at the most (24 hours and 24.5).  One that counted only 24 slots with the present one
-- would forget the older part of its oldest slot up to 150 s too early.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- One row an account, made by its first take, and one for each of its credentials that has limits of
-- its own.  Whoever locks several begins with the account's.  The scalars of the usual take come first and the arrays
-- last; no index on what changes, and room in the page: updates stay HOT and their WAL short.
CREATE TABLE meter (
	account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
	credential_id bigint NOT NULL DEFAULT 0,    -- 0: the account's own
	slot int NOT NULL,                          -- the present one: unix time / 150
	hour_messages bigint NOT NULL DEFAULT 0,        -- in the present slot
	hour_messages_past bigint NOT NULL DEFAULT 0,   -- the sum of the slots before
	hour_recipients bigint NOT NULL DEFAULT 0,
	hour_recipients_past bigint NOT NULL DEFAULT 0,
	day_messages bigint NOT NULL DEFAULT 0,         -- likewise, the present slot is slot / 12
	day_messages_past bigint NOT NULL DEFAULT 0,
	day_recipients bigint NOT NULL DEFAULT 0,
	day_recipients_past bigint NOT NULL DEFAULT 0,
	hour_messages_slots int[] NOT NULL DEFAULT array_fill(0, ARRAY[24]), -- [1]: the slot before the present
	hour_recipients_slots int[] NOT NULL DEFAULT array_fill(0, ARRAY[24]),
	day_messages_slots int[] NOT NULL DEFAULT array_fill(0, ARRAY[48]),
	day_recipients_slots int[] NOT NULL DEFAULT array_fill(0, ARRAY[48]),
	PRIMARY KEY (account_id, credential_id)
) WITH (fillfactor = 60);

CREATE FUNCTION slot_of(moment timestamptz) RETURNS int
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN floor(date_part('epoch', moment) / 150)::int;
END
$$;

-- One ring, moved on by some slots.  Backwards (the clock was set back, or another server took over):
-- whatever the ring holds counts as taken in the present slot, which errs on the strict side.
CREATE FUNCTION ring_turn(INOUT present bigint, INOUT past bigint, INOUT slots int[], steps int)
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	size int := cardinality(slots);
BEGIN
	IF steps = 0 THEN
		RETURN;
	ELSIF steps < 0 THEN
		present := present + past;
		past := 0;
		slots := array_fill(0, ARRAY[size]);
	ELSIF steps > size THEN
		present := 0;
		past := 0;
		slots := array_fill(0, ARRAY[size]);
	ELSE
		slots := array_fill(0, ARRAY[steps - 1]) || least(present, 2147483647)::int || slots[1:size - steps];
		present := 0;
		past := (SELECT sum(n) FROM unnest(slots) n);
	END IF;
END
$$;

-- The unix second in which `excess` of what the ring holds has left the window.
CREATE FUNCTION ring_reset(slots int[], excess bigint, slot int, slot_s int) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	size int := cardinality(slots);
	remaining bigint := excess;
BEGIN
	FOR age IN REVERSE size..1 LOOP
		remaining := remaining - slots[age];
		IF remaining <= 0 THEN
			RETURN (slot - age + size + 1)::bigint * slot_s;
		END IF;
	END LOOP;
	RETURN (slot + size + 1)::bigint * slot_s;
END
$$;

-- Brings a meter to a slot; makes it where there is none.  Its row is locked afterwards.
CREATE FUNCTION meter_turn(account_id bigint, credential_id bigint, slot int) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	m meter;
	hours int;
	days int;
BEGIN
	FOR attempt IN 1..2 LOOP
		SELECT * INTO m FROM meter
		WHERE account_id = meter_turn.account_id AND credential_id = meter_turn.credential_id FOR UPDATE;
		EXIT WHEN FOUND;
		INSERT INTO meter (account_id, credential_id, slot)
		VALUES (meter_turn.account_id, meter_turn.credential_id, meter_turn.slot)
		ON CONFLICT DO NOTHING;
		IF FOUND THEN
			RETURN;
		END IF; -- somebody else made it meanwhile, and we have no lock on it yet
	END LOOP;
	IF m.slot IS NULL THEN
		RETURN; -- and its account is gone again
	END IF;
	hours := meter_turn.slot - m.slot;
	days := meter_turn.slot / 12 - m.slot / 12;
	IF hours IN (0, -1) THEN -- somebody else was here before us
		RETURN;
	END IF;
	SELECT * INTO m.hour_messages, m.hour_messages_past, m.hour_messages_slots
		FROM ring_turn(m.hour_messages, m.hour_messages_past, m.hour_messages_slots, hours);
	SELECT * INTO m.hour_recipients, m.hour_recipients_past, m.hour_recipients_slots
		FROM ring_turn(m.hour_recipients, m.hour_recipients_past, m.hour_recipients_slots, hours);
	SELECT * INTO m.day_messages, m.day_messages_past, m.day_messages_slots
		FROM ring_turn(m.day_messages, m.day_messages_past, m.day_messages_slots, days);
	SELECT * INTO m.day_recipients, m.day_recipients_past, m.day_recipients_slots
		FROM ring_turn(m.day_recipients, m.day_recipients_past, m.day_recipients_slots, days);
	UPDATE meter SET slot = meter_turn.slot,
		hour_messages = m.hour_messages, hour_messages_past = m.hour_messages_past,
		hour_recipients = m.hour_recipients, hour_recipients_past = m.hour_recipients_past,
		day_messages = m.day_messages, day_messages_past = m.day_messages_past,
		day_recipients = m.day_recipients, day_recipients_past = m.day_recipients_past,
		hour_messages_slots = m.hour_messages_slots, hour_recipients_slots = m.hour_recipients_slots,
		day_messages_slots = m.day_messages_slots, day_recipients_slots = m.day_recipients_slots
	WHERE account_id = meter_turn.account_id AND credential_id = meter_turn.credential_id;
END
$$;

-- The limits of an account's meter, in the order of meter_refusal(); -1: unlimited.
CREATE FUNCTION account_limits(a account, p plan) RETURNS bigint[]
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN ARRAY[coalesce(a.messages_hour, p.messages_hour), coalesce(a.recipients_hour, p.recipients_hour),
		coalesce(a.messages_day, p.messages_day), coalesce(a.recipients_day, p.recipients_day)];
END
$$;

-- Which window of a meter refuses: meter is NULL when none does.  Where several do, the one that is
-- full longest: the request fits when that one has room again.  whose ends the name that it is told by.
CREATE FUNCTION meter_refusal(m meter, limits bigint[], whose text, messages bigint, recipients bigint,
	OUT result int, OUT meter text, OUT meter_limit bigint, OUT reset_s bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	SELECT CASE WHEN r.wanted > r.max THEN 2 ELSE 1 END, r.name || meter_refusal.whose, r.max,
		CASE WHEN r.wanted > r.max THEN 0
			ELSE ring_reset(r.slots, r.used + r.wanted - r.max, r.slot, r.slot_s) END AS reset
	INTO result, meter, meter_limit, reset_s
	FROM (VALUES
		(1, 'messages per hour', meter_refusal.limits[1], meter_refusal.messages,
			m.hour_messages + m.hour_messages_past, m.hour_messages_slots, m.slot, 150),
		(2, 'recipients per hour', meter_refusal.limits[2], meter_refusal.recipients,
			m.hour_recipients + m.hour_recipients_past, m.hour_recipients_slots, m.slot, 150),
		(3, 'messages per day', meter_refusal.limits[3], meter_refusal.messages,
			m.day_messages + m.day_messages_past, m.day_messages_slots, m.slot / 12, 1800),
		(4, 'recipients per day', meter_refusal.limits[4], meter_refusal.recipients,
			m.day_recipients + m.day_recipients_past, m.day_recipients_slots, m.slot / 12, 1800)
	) AS r (number, name, max, wanted, used, slots, slot, slot_s)
	WHERE r.max <> -1 AND r.wanted > 0 AND r.used + r.wanted > r.max
	ORDER BY r.wanted > r.max DESC, reset DESC, r.number
	LIMIT 1;
END
$$;

-- What cannot be taken or given back by anybody.
CREATE FUNCTION quota_check(messages int, recipients int) RETURNS void
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	IF messages IS NULL OR messages NOT BETWEEN 0 AND 1000000
		OR recipients IS NULL OR recipients NOT BETWEEN 0 AND 1000000 THEN
		RAISE EXCEPTION 'messages and recipients must be from 0 to 1000000'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$$;

-- quota_take() with the time passed in, for tests; NULL: the database's clock, read again when the
-- statement had to wait for a lock.
--
-- The row may be one slot ahead of our time (another take turned it while we waited, or the clock was
-- set back a little): what is taken is then charged to that slot, which again errs on the strict side.
CREATE FUNCTION quota_take_at(account_id bigint, messages int, recipients int, moment timestamptz,
	OUT result int, OUT meter text, OUT meter_limit bigint, OUT reset_s bigint, OUT taken_s bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	found_now record; -- account a, plan p, meter m
	present int;
BEGIN
	PERFORM quota_check(quota_take_at.messages, quota_take_at.recipients);
	FOR attempt IN 1..5 LOOP
		-- The one statement that grants.  In READ COMMITTED its conditions are checked again on
		-- the row as it is after a wait for its lock.
		UPDATE meter m SET
			hour_messages = m.hour_messages + quota_take_at.messages,
			hour_recipients = m.hour_recipients + quota_take_at.recipients,
			day_messages = m.day_messages + quota_take_at.messages,
			day_recipients = m.day_recipients + quota_take_at.recipients
		FROM account a JOIN plan p ON p.plan_id = a.plan_id
		WHERE m.account_id = quota_take_at.account_id AND m.credential_id = 0
		AND a.account_id = quota_take_at.account_id AND a.status = 'enabled'
		AND coalesce(a.blocked_until <= clock_timestamp(), true)
		AND m.slot - floor(date_part('epoch', coalesce(quota_take_at.moment, clock_timestamp())) / 150)::int
			IN (0, 1)
		AND (coalesce(a.messages_hour, p.messages_hour) = -1 OR quota_take_at.messages = 0
			OR m.hour_messages + m.hour_messages_past + quota_take_at.messages
				<= coalesce(a.messages_hour, p.messages_hour))
		AND (coalesce(a.recipients_hour, p.recipients_hour) = -1 OR quota_take_at.recipients = 0
			OR m.hour_recipients + m.hour_recipients_past + quota_take_at.recipients
				<= coalesce(a.recipients_hour, p.recipients_hour))
		AND (coalesce(a.messages_day, p.messages_day) = -1 OR quota_take_at.messages = 0
			OR m.day_messages + m.day_messages_past + quota_take_at.messages
				<= coalesce(a.messages_day, p.messages_day))
		AND (coalesce(a.recipients_day, p.recipients_day) = -1 OR quota_take_at.recipients = 0
			OR m.day_recipients + m.day_recipients_past + quota_take_at.recipients
				<= coalesce(a.recipients_day, p.recipients_day))
		RETURNING m.slot::bigint * 150 INTO taken_s;
		IF FOUND THEN
			result := 0;
			RETURN;
		END IF;

		-- Why not?  This only reads: a client that is over its limit costs no lock and no WAL.
		SELECT a, p, m INTO found_now
		FROM account a
		JOIN plan p ON p.plan_id = a.plan_id
		LEFT JOIN meter m ON m.account_id = a.account_id AND m.credential_id = 0
		WHERE a.account_id = quota_take_at.account_id;
		IF NOT FOUND OR (found_now.a).status <> 'enabled'
			OR coalesce((found_now.a).blocked_until > clock_timestamp(), false) THEN
			result := 3;
			RETURN;
		END IF;
		present := slot_of(coalesce(quota_take_at.moment, clock_timestamp()));
		IF (found_now.m).slot IS NULL OR (found_now.m).slot - present NOT IN (0, 1) THEN
			PERFORM meter_turn(quota_take_at.account_id, 0, present);
			CONTINUE;
		END IF;
		SELECT r.result, r.meter, r.meter_limit, r.reset_s INTO result, meter, meter_limit, reset_s
		FROM meter_refusal(found_now.m, account_limits(found_now.a, found_now.p), '',
			quota_take_at.messages, quota_take_at.recipients) r;
		IF meter IS NOT NULL THEN
			RETURN;
		END IF;
		-- The row changed between the two statements: again.
	END LOOP;
	RAISE EXCEPTION 'the meter of account % keeps changing', quota_take_at.account_id
		USING ERRCODE = 'serialization_failure';
END
$$;

-- Takes messages and recipients against all limits of the account, or none of them.  result: 0
-- granted, 1 refused for now, 2 can never fit, 3 the account is disabled or gone.  For 1 and 2: the
-- meter that refuses and its limit; for 1 reset_s, the unix second in which this request would fit if
-- nothing else is taken meanwhile.  For 0 taken_s, which quota_give_back() wants to see again.
CREATE FUNCTION quota_take(account_id bigint, messages int, recipients int)
	RETURNS TABLE (result int, meter text, meter_limit bigint, reset_s bigint, taken_s bigint)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	SELECT t.result, t.meter, t.meter_limit, t.reset_s, t.taken_s
	INTO result, meter, meter_limit, reset_s, taken_s
	FROM quota_take_at(quota_take.account_id, quota_take.messages, quota_take.recipients, NULL) t;
	RETURN NEXT;
END
$$;

-- Takes n out of one slot of a ring, never below 0: age 0 is the present slot; beyond the ring nothing.
CREATE FUNCTION ring_give_back(INOUT present bigint, INOUT past bigint, INOUT slots int[], age int, n int)
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	credit int;
BEGIN
	IF age = 0 THEN
		present := greatest(present - n, 0);
	ELSIF age BETWEEN 1 AND cardinality(slots) THEN
		credit := least(slots[age], n);
		slots[age] := slots[age] - credit;
		past := past - credit;
	END IF;
END
$$;

-- Credits the slots of one meter that a take was charged to, where they still count; no other slot.
-- false: they have left every window, or there is no such meter.
CREATE FUNCTION meter_give_back(account_id bigint, credential_id bigint, taken_s bigint,
	messages int, recipients int) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	m meter;
	taken bigint := meter_give_back.taken_s / 150;
	hours bigint;
	days bigint;
BEGIN
	IF meter_give_back.messages IS NULL OR meter_give_back.messages < 0
		OR meter_give_back.recipients IS NULL OR meter_give_back.recipients < 0
		OR meter_give_back.taken_s IS NULL OR meter_give_back.taken_s < 0 THEN
		RAISE EXCEPTION 'taken_s, messages and recipients must not be negative'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT * INTO m FROM meter
	WHERE account_id = meter_give_back.account_id AND credential_id = meter_give_back.credential_id
	FOR UPDATE;
	hours := m.slot - taken;
	days := m.slot / 12 - taken / 12;
	IF m.slot IS NULL OR hours < 0 OR days > 48 THEN
		RETURN false;
	END IF;
	hours := least(hours, 25); -- into an int
	SELECT * INTO m.hour_messages, m.hour_messages_past, m.hour_messages_slots
		FROM ring_give_back(m.hour_messages, m.hour_messages_past, m.hour_messages_slots,
			hours::int, meter_give_back.messages);
	SELECT * INTO m.hour_recipients, m.hour_recipients_past, m.hour_recipients_slots
		FROM ring_give_back(m.hour_recipients, m.hour_recipients_past, m.hour_recipients_slots,
			hours::int, meter_give_back.recipients);
	SELECT * INTO m.day_messages, m.day_messages_past, m.day_messages_slots
		FROM ring_give_back(m.day_messages, m.day_messages_past, m.day_messages_slots,
			days::int, meter_give_back.messages);
	SELECT * INTO m.day_recipients, m.day_recipients_past, m.day_recipients_slots
		FROM ring_give_back(m.day_recipients, m.day_recipients_past, m.day_recipients_slots,
			days::int, meter_give_back.recipients);
	UPDATE meter SET
		hour_messages = m.hour_messages, hour_messages_past = m.hour_messages_past,
		hour_recipients = m.hour_recipients, hour_recipients_past = m.hour_recipients_past,
		day_messages = m.day_messages, day_messages_past = m.day_messages_past,
		day_recipients = m.day_recipients, day_recipients_past = m.day_recipients_past,
		hour_messages_slots = m.hour_messages_slots, hour_recipients_slots = m.hour_recipients_slots,
		day_messages_slots = m.day_messages_slots, day_recipients_slots = m.day_recipients_slots
	WHERE account_id = meter_give_back.account_id AND credential_id = meter_give_back.credential_id;
	RETURN true;
END
$$;

-- Credits what a take of the account was charged.  false: it has left every window, or the account is
-- gone.  The caller sees to it that a take is given back once.
CREATE FUNCTION quota_give_back(account_id bigint, taken_s bigint, messages int, recipients int) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN meter_give_back(quota_give_back.account_id, 0, quota_give_back.taken_s,
		quota_give_back.messages, quota_give_back.recipients);
END
$$;

GRANT EXECUTE ON FUNCTION quota_take(bigint, int, int) TO postern_service;
GRANT EXECUTE ON FUNCTION quota_give_back(bigint, bigint, int, int) TO postern_service;
