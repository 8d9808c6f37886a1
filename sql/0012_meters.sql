-- SPDX-License-Identifier: ISC
-- Limits: kinds, who has them, their meters, and takes against all of them in one call.
--
-- Replaces what 0004 and 0006 kept: a limit is an element of an array, by the number of its kind, so that a
-- row of limit_kind adds one; a meter belongs to an account, a credential, the domain of a sender or a
-- tenant.  The rules are those of 0004: a window holds the present slot and the full slots before it, what
-- was taken counts for the window at the least and for one slot more at the most, a clock that goes back
-- errs on the strict side, and what is given back goes to the slot that it was charged to.
-- Leases, charges after the fact, nodes and sessions are in 0014, what the administrator calls in 0015.

SET LOCAL ROLE postern_owner;
SET LOCAL search_path = postern, pg_catalog, pg_temp;

-- ----------------------------------------------------------------------- kinds

-- A ring of the meter has slots and first; counted from the rows of recipient are those of distinct;
-- the rest have no meter here: of one message, of a node's own minute, and sessions (session_hold).
CREATE TABLE limit_kind (
	number int PRIMARY KEY CHECK (number BETWEEN 1 AND 60),
	name text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[a-z]+(_[a-z]+)*$'),
	label text NOT NULL CHECK (octet_length(label) BETWEEN 1 AND 29),
	quantity text COLLATE "C" NOT NULL
		CHECK (quantity IN ('messages', 'recipients', 'bytes', 'new_recipients', 'distinct', 'sessions')),
	window_s int CHECK (window_s > 0),           -- NULL: of one message, or at any time
	slots int CHECK (slots BETWEEN 1 AND 366),
	slot_s int CHECK (slot_s % 150 = 0),         -- a multiple of the shortest, which meter.slot counts
	first int UNIQUE CHECK (first > 0),          -- where its marks begin: slots + 1 of them
	CHECK (num_nulls(slots, slot_s, first) IN (0, 3)),
	CHECK (first IS NULL OR (slots * slot_s = window_s AND quantity NOT IN ('distinct', 'sessions')))
);

INSERT INTO limit_kind (number, name, label, quantity, window_s, slots, slot_s, first) VALUES
	(1, 'messages_hour', 'messages per hour', 'messages', 3600, 24, 150, 1),
	(2, 'messages_day', 'messages per day', 'messages', 86400, 48, 1800, 26),
	(3, 'messages_month', 'messages per month', 'messages', 2592000, 60, 43200, 75),
	(4, 'recipients_hour', 'recipients per hour', 'recipients', 3600, 24, 150, 136),
	(5, 'recipients_day', 'recipients per day', 'recipients', 86400, 48, 1800, 161),
	(6, 'recipients_month', 'recipients per month', 'recipients', 2592000, 60, 43200, 210),
	(7, 'bytes_hour', 'octets per hour', 'bytes', 3600, 24, 150, 271),
	(8, 'bytes_day', 'octets per day', 'bytes', 86400, 48, 1800, 296),
	(9, 'bytes_month', 'octets per month', 'bytes', 2592000, 60, 43200, 345),
	(10, 'new_recipients_hour', 'new recipients per hour', 'new_recipients', 3600, 24, 150, 406),
	(11, 'new_recipients_day', 'new recipients per day', 'new_recipients', 86400, 48, 1800, 431),
	(12, 'new_recipients_month', 'new recipients per month', 'new_recipients', 2592000, 60, 43200, 480),
	(13, 'distinct_hour', 'distinct recipients per hour', 'distinct', 3600, NULL, NULL, NULL),
	(14, 'distinct_day', 'distinct recipients per day', 'distinct', 86400, NULL, NULL, NULL),
	(15, 'distinct_month', 'distinct recipients per month', 'distinct', 2592000, NULL, NULL, NULL),
	(16, 'recipients_message', 'recipients of a message', 'recipients', NULL, NULL, NULL, NULL),
	(17, 'message_bytes', 'octets of a message', 'bytes', NULL, NULL, NULL, NULL),
	(18, 'sessions', 'sessions at a time', 'sessions', NULL, NULL, NULL, NULL),
	(19, 'messages_minute', 'messages per minute', 'messages', 60, NULL, NULL, NULL),
	(20, 'recipients_minute', 'recipients per minute', 'recipients', 60, NULL, NULL, NULL);

-- What takes and look-ups want to know without reading whole tables; triggers keep it.
CREATE TABLE limit_state (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	version bigint NOT NULL DEFAULT 0,           -- of the domains, which are in everybody's chain
	-- By number: 1 messages, 2 recipients, 3 bytes, 4 new recipients, 5 distinct ones, 0 has no meter here.
	quantities int[] NOT NULL DEFAULT '{}',
	domains bigint[] NOT NULL DEFAULT '{}'       -- by number: NULL no domain is limited, else the least grace
);
INSERT INTO limit_state DEFAULT VALUES;

CREATE FUNCTION limit_kind_changed() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	UPDATE limit_state SET quantities = ARRAY(
		SELECT CASE WHEN k.first IS NULL AND k.quantity <> 'distinct' THEN 0
			ELSE coalesce(array_position('{messages,recipients,bytes,new_recipients,distinct}', k.quantity), 0) END
		FROM generate_series(1, (SELECT max(number) FROM limit_kind)) n LEFT JOIN limit_kind k ON k.number = n
		ORDER BY n);
	RETURN NULL;
END
$$;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON limit_kind
	FOR EACH STATEMENT EXECUTE FUNCTION limit_kind_changed();
UPDATE limit_kind SET number = number;

-- The limits that hold: a subject's own, where it has none the plan's.
CREATE FUNCTION limits_merged(own bigint[], planned bigint[]) RETURNS bigint[]
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN ARRAY(SELECT coalesce(o, p) FROM unnest(own, planned) WITH ORDINALITY u (o, p, n) ORDER BY n);
END
$$;

-- Whether anything in them is counted here.
CREATE FUNCTION limits_metered(limits bigint[]) RETURNS boolean
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN EXISTS (SELECT FROM limit_state s CROSS JOIN LATERAL unnest(limits, s.quantities) u (most, quantity)
		WHERE u.most >= 0 AND u.quantity > 0);
END
$$;

-- ------------------------------------------------------ who has limits, and which

ALTER TABLE plan DISABLE TRIGGER USER;
ALTER TABLE account DISABLE TRIGGER USER;
ALTER TABLE credential DISABLE TRIGGER USER;

-- By number of the kind; NULL: in a plan unlimited, elsewhere the plan's.  -1: unlimited.
ALTER TABLE plan ADD COLUMN limits bigint[] NOT NULL DEFAULT '{}' CHECK (-1 <= ALL (limits));
ALTER TABLE plan ADD COLUMN on_exceed text COLLATE "C" NOT NULL DEFAULT 'defer'
	CHECK (on_exceed IN ('defer', 'reject'));
ALTER TABLE plan ADD COLUMN warn_percent int CHECK (warn_percent BETWEEN 1 AND 100);
-- How much more a node may grant by itself while the database is away; NULL: nothing.
ALTER TABLE plan ADD COLUMN grace bigint[] NOT NULL DEFAULT '{}' CHECK (0 <= ALL (grace));
ALTER TABLE account ADD COLUMN limits bigint[] CHECK (-1 <= ALL (limits));
ALTER TABLE credential ADD COLUMN limits bigint[] CHECK (-1 <= ALL (limits));

-- The order of limit_kind; what was not a limit then is NULL.
UPDATE plan SET limits = ARRAY[nullif(messages_hour, -1), nullif(messages_day, -1), NULL,
	nullif(recipients_hour, -1), nullif(recipients_day, -1), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
	NULL, nullif(recipients_message, -1), nullif(message_bytes, -1)];
UPDATE account SET limits = ARRAY[messages_hour, messages_day, NULL, recipients_hour, recipients_day, NULL, NULL,
	NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, recipients_message, message_bytes]
WHERE num_nonnulls(messages_hour, messages_day, recipients_hour, recipients_day, recipients_message,
	message_bytes) > 0;
UPDATE credential SET limits = ARRAY[messages_hour, messages_day, NULL, recipients_hour, recipients_day]
WHERE num_nonnulls(messages_hour, messages_day, recipients_hour, recipients_day) > 0;

ALTER TABLE plan DROP COLUMN messages_hour, DROP COLUMN messages_day, DROP COLUMN recipients_hour,
	DROP COLUMN recipients_day, DROP COLUMN recipients_message, DROP COLUMN message_bytes;
ALTER TABLE account DROP COLUMN messages_hour, DROP COLUMN messages_day, DROP COLUMN recipients_hour,
	DROP COLUMN recipients_day, DROP COLUMN recipients_message, DROP COLUMN message_bytes;
ALTER TABLE credential DROP COLUMN messages_hour, DROP COLUMN messages_day, DROP COLUMN recipients_hour,
	DROP COLUMN recipients_day;

ALTER TABLE plan ENABLE TRIGGER USER;
ALTER TABLE account ENABLE TRIGGER USER;
ALTER TABLE credential ENABLE TRIGGER USER;

-- Accounts that share limits: those of the tenant, of its parent, and so on up to eight.
CREATE TABLE tenant (
	tenant_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	version bigint NOT NULL DEFAULT nextval('postern.version_number'),
	name text COLLATE "C" NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
	parent_id bigint REFERENCES tenant CHECK (parent_id <> tenant_id),
	plan_id bigint REFERENCES plan,              -- NULL: only what is in limits
	enabled boolean NOT NULL DEFAULT true,
	created_at timestamptz NOT NULL DEFAULT now(),
	limits bigint[] CHECK (-1 <= ALL (limits))
);
CREATE INDEX tenant_parent ON tenant (parent_id);
ALTER TABLE account ADD COLUMN tenant_id bigint REFERENCES tenant;
CREATE INDEX account_tenant ON account (tenant_id) WHERE tenant_id IS NOT NULL;

-- Limits of whoever sends as addresses of a domain.
CREATE TABLE domain (
	domain_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	version bigint NOT NULL DEFAULT nextval('postern.version_number'),
	name text COLLATE "C" NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 255 AND name = lower(name)),
	plan_id bigint REFERENCES plan,
	created_at timestamptz NOT NULL DEFAULT now(),
	limits bigint[] CHECK (-1 <= ALL (limits))
);

-- Of each tenant: itself and its parents; which of these have a meter; whether all are enabled.
CREATE TABLE tenant_chain (
	tenant_id bigint PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
	chain bigint[] NOT NULL,
	metered bigint[] NOT NULL,
	enabled boolean NOT NULL
);

-- What tenants, domains and plans imply; a trigger after each statement on one of them.
CREATE FUNCTION policy_changed() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	deepest int;
BEGIN
	PERFORM policy_lock();
	IF TG_TABLE_NAME <> 'domain' THEN
		WITH RECURSIVE up AS (
			SELECT tenant_id, tenant_id AS link, 1 AS depth FROM tenant
			UNION ALL
			SELECT u.tenant_id, t.parent_id, u.depth + 1
			FROM up u JOIN tenant t ON t.tenant_id = u.link
			WHERE t.parent_id IS NOT NULL AND u.depth <= 8
		), fresh AS (
			SELECT u.tenant_id, array_agg(u.link ORDER BY u.depth) AS chain,
				coalesce(array_agg(u.link ORDER BY u.depth)
					FILTER (WHERE limits_metered(limits_merged(t.limits, p.limits))), '{}') AS metered,
				bool_and(t.enabled) AS enabled, max(u.depth) AS depth
			FROM up u JOIN tenant t ON t.tenant_id = u.link LEFT JOIN plan p ON p.plan_id = t.plan_id
			GROUP BY 1
		), written AS (
			INSERT INTO tenant_chain AS c (tenant_id, chain, metered, enabled)
			SELECT tenant_id, chain, metered, enabled FROM fresh
			ON CONFLICT (tenant_id) DO UPDATE
			SET chain = excluded.chain, metered = excluded.metered, enabled = excluded.enabled
			WHERE (c.chain, c.metered, c.enabled) IS DISTINCT FROM
				(excluded.chain, excluded.metered, excluded.enabled)
		)
		SELECT max(depth) INTO deepest FROM fresh;
		IF deepest > 8 THEN
			RAISE EXCEPTION 'tenants are nested deeper than eight, or in a circle'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
	END IF;
	IF TG_TABLE_NAME = 'domain' OR (TG_TABLE_NAME = 'plan' AND EXISTS (SELECT FROM domain WHERE plan_id IS NOT NULL)) THEN
		UPDATE limit_state SET version = nextval('postern.version_number'), domains = ARRAY(
			SELECT (SELECT min(coalesce(p.grace[n], 0)) FROM domain d LEFT JOIN plan p ON p.plan_id = d.plan_id
				WHERE coalesce(d.limits[n], p.limits[n]) >= 0)
			FROM generate_subscripts(quantities, 1) n ORDER BY n);
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON tenant
	FOR EACH STATEMENT EXECUTE FUNCTION policy_changed();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON domain
	FOR EACH STATEMENT EXECUTE FUNCTION policy_changed();
CREATE TRIGGER changed AFTER UPDATE ON plan FOR EACH STATEMENT EXECUTE FUNCTION policy_changed();

-- -------------------------------------------------------------------- versions

-- A look-up tells the greatest of the versions of the account, its plan, its tenants, their plans and the
-- domains.  For it to grow with every change they are drawn in the order of the commits: who changes what
-- several accounts share waits for those who change an account, and they for him.
CREATE FUNCTION policy_lock() RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended('postern.policy', 0));
END
$$;

CREATE FUNCTION policy_bump() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	PERFORM policy_lock();
	NEW.version := nextval('postern.version_number');
	RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION account_bump() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(hashtextextended('postern.policy', 0));
	NEW.version := nextval('postern.version_number');
	IF NEW.password_hash IS DISTINCT FROM OLD.password_hash
		AND current_setting('postern.same_password', true) IS DISTINCT FROM 'on' THEN
		NEW.password_version := NEW.version;
	END IF;
	RETURN NEW;
END
$$;

-- The limits of its credentials say what an account's node must count.
CREATE FUNCTION credential_limits_changed() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	UPDATE account SET version = version WHERE account_id = NEW.account_id;
	RETURN NULL;
END
$$;

DROP TRIGGER bump ON plan;
CREATE TRIGGER bump BEFORE UPDATE ON plan FOR EACH ROW EXECUTE FUNCTION policy_bump();
CREATE TRIGGER bump BEFORE UPDATE ON tenant FOR EACH ROW EXECUTE FUNCTION policy_bump();
CREATE TRIGGER bump BEFORE UPDATE ON domain FOR EACH ROW EXECUTE FUNCTION policy_bump();
CREATE TRIGGER limits_insert AFTER INSERT ON credential FOR EACH ROW WHEN (NEW.limits IS NOT NULL)
	EXECUTE FUNCTION credential_limits_changed();
CREATE TRIGGER limits_update AFTER UPDATE ON credential FOR EACH ROW
	WHEN (NEW.limits IS DISTINCT FROM OLD.limits) EXECUTE FUNCTION credential_limits_changed();

-- ---------------------------------------------------------------------- meters

DROP FUNCTION quota_take_at(bigint, int, int, timestamptz), credential_take_at(bigint, bigint, int, int, timestamptz),
	meter_refusal(meter, bigint[], text, bigint, bigint), account_limits(account, plan), meter_turn(bigint, bigint, int),
	meter_give_back(bigint, bigint, bigint, int, int), ring_turn(bigint, bigint, int[], int),
	ring_give_back(bigint, bigint, int[], int, int), ring_reset(int[], bigint, int, int), quota_check(int, int);
ALTER TABLE meter RENAME TO meter_before;
ALTER TABLE meter_before RENAME CONSTRAINT meter_pkey TO meter_before_pkey;

-- One row a subject.  Of each quantity one sum that only grows, and of each ring its marks: what the sum was
-- when the present slot began, when the one before began, and so on to the oldest slot that counts, whose
-- mark is the floor: a window holds sum - floor.  What limits make of the floors stands in the tops: how high
-- a sum may come without a closer look.  So a take compares and adds to three numbers, however many windows
-- there are, and leaves the marks alone, which come last and are mostly stored apart.  No index on what
-- changes, and room in the page: updates stay HOT and their WAL short.
CREATE TABLE meter (
	scope int NOT NULL CHECK (scope BETWEEN 1 AND 4), -- 1 account, 2 credential, 3 domain, 4 tenant
	slot int NOT NULL,                           -- the present one: unix time / 150
	id bigint NOT NULL,
	messages bigint NOT NULL DEFAULT 0,
	recipients bigint NOT NULL DEFAULT 0,
	bytes bigint NOT NULL DEFAULT 0,
	fresh bigint NOT NULL DEFAULT 0,             -- new recipients
	stamp bigint NOT NULL DEFAULT 0,             -- the version of the limits that the tops were made of
	top_messages bigint NOT NULL DEFAULT 0,
	top_recipients bigint NOT NULL DEFAULT 0,
	top_bytes bigint NOT NULL DEFAULT 0,
	begun_messages bigint NOT NULL DEFAULT 0,    -- the sums when the present slot began
	begun_recipients bigint NOT NULL DEFAULT 0,
	begun_bytes bigint NOT NULL DEFAULT 0,
	begun_fresh bigint NOT NULL DEFAULT 0,
	marks bigint[] NOT NULL,
	PRIMARY KEY (scope, id)
) WITH (fillfactor = 60, toast_tuple_target = 512);

-- Whom a subject that limits distinct or new recipients wrote to.  hash: what the node makes of account and
-- address.  Its meter's lock is that of these rows.
CREATE TABLE recipient (
	scope int NOT NULL,
	id bigint NOT NULL,
	hash bigint NOT NULL,
	slot int NOT NULL,
	uses int NOT NULL CHECK (uses > 0),
	fresh boolean NOT NULL,                      -- counted as new in this slot
	PRIMARY KEY (scope, id, hash, slot)
);

-- Which batches of takes were granted: see charges().
CREATE TABLE grant_batch (
	node bigint NOT NULL,
	seq bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (node, seq)
);
CREATE INDEX grant_batch_at ON grant_batch USING brin (at);

-- What the meters before counted: hours and days as they are, and of the month what the day holds, as if
-- it were of the present slot.
CREATE FUNCTION meter_converted(present bigint, past bigint, total bigint, slots int[]) RETURNS bigint[]
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN (total - present) || ARRAY(SELECT total - present - sum(n) OVER (ORDER BY age)
		FROM unnest(slots) WITH ORDINALITY u (n, age) ORDER BY age)::bigint[];
END
$$;

INSERT INTO meter (scope, id, slot, messages, recipients, begun_messages, begun_recipients, marks)
SELECT CASE m.credential_id WHEN 0 THEN 1 ELSE 2 END, CASE m.credential_id WHEN 0 THEN m.account_id ELSE m.credential_id END,
	m.slot, t.messages, t.recipients,
	greatest(t.messages - m.hour_messages, t.messages - m.day_messages),
	greatest(t.recipients - m.hour_recipients, t.recipients - m.day_recipients),
	meter_converted(m.hour_messages, m.hour_messages_past, t.messages, m.hour_messages_slots)
		|| meter_converted(m.day_messages, m.day_messages_past, t.messages, m.day_messages_slots)
		|| array_fill(0::bigint, ARRAY[61])
		|| meter_converted(m.hour_recipients, m.hour_recipients_past, t.recipients, m.hour_recipients_slots)
		|| meter_converted(m.day_recipients, m.day_recipients_past, t.recipients, m.day_recipients_slots)
		|| array_fill(0::bigint, ARRAY[61 + 270])
FROM meter_before m CROSS JOIN LATERAL (
	SELECT greatest(m.hour_messages + m.hour_messages_past, m.day_messages + m.day_messages_past) AS messages,
		greatest(m.hour_recipients + m.hour_recipients_past, m.day_recipients + m.day_recipients_past) AS recipients
) t
WHERE m.credential_id = 0 OR EXISTS (SELECT FROM credential c WHERE c.credential_id = m.credential_id);

DROP TABLE meter_before;
DROP FUNCTION meter_converted(bigint, bigint, bigint, int[]);

-- A meter goes with whom it is of.
CREATE FUNCTION meter_gone() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	ids bigint[];
BEGIN
	EXECUTE format('SELECT array_agg(%I) FROM gone', TG_ARGV[1]) INTO ids;
	DELETE FROM meter WHERE scope = TG_ARGV[0]::int AND id = ANY (ids);
	DELETE FROM recipient WHERE scope = TG_ARGV[0]::int AND id = ANY (ids);
	RETURN NULL;
END
$$;
CREATE TRIGGER meter_gone AFTER DELETE ON account REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION meter_gone(1, 'account_id');
CREATE TRIGGER meter_gone AFTER DELETE ON credential REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION meter_gone(2, 'credential_id');
CREATE TRIGGER meter_gone AFTER DELETE ON domain REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION meter_gone(3, 'domain_id');
CREATE TRIGGER meter_gone AFTER DELETE ON tenant REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION meter_gone(4, 'tenant_id');

-- -------------------------------------------------------------------- one meter

-- Which of a meter's sums a ring counts.
CREATE FUNCTION meter_sum(m meter, quantity text) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
BEGIN
	RETURN CASE quantity WHEN 'messages' THEN m.messages WHEN 'recipients' THEN m.recipients
		WHEN 'bytes' THEN m.bytes ELSE m.fresh END;
END
$$;

-- A meter as it is in another slot.  Backwards: whatever a ring holds counts as of the present slot.  A
-- kind that was added since begins here.
CREATE FUNCTION meter_turned(INOUT m meter, target int)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	k limit_kind;
	total bigint;
	marks bigint[] := m.marks;
	base bigint;
	steps int;
	quantity int;
	begun bigint[] := '{0,0,0,0}';
BEGIN
	FOR k IN SELECT * FROM limit_kind l WHERE l.first IS NOT NULL ORDER BY l.first LOOP
		total := meter_sum(m, k.quantity);
		steps := target / (k.slot_s / 150) - m.slot / (k.slot_s / 150);
		base := marks[k.first + k.slots];
		IF base IS NULL OR steps > k.slots THEN
			marks[k.first:k.first + k.slots] := array_fill(total, ARRAY[k.slots + 1]);
		ELSIF steps < 0 THEN
			marks[k.first:k.first + k.slots] := array_fill(base, ARRAY[k.slots + 1]);
		ELSIF steps > 0 THEN
			marks[k.first:k.first + k.slots] := array_fill(total, ARRAY[steps])
				|| marks[k.first:k.first + k.slots - steps];
		END IF;
		quantity := array_position('{messages,recipients,bytes,new_recipients}', k.quantity);
		begun[quantity] := greatest(begun[quantity], marks[k.first]);
	END LOOP;
	m.slot := target;
	m.marks := marks;
	m.stamp := 0;
	m.begun_messages := begun[1];
	m.begun_recipients := begun[2];
	m.begun_bytes := begun[3];
	m.begun_fresh := begun[4];
END
$$;

-- A meter of the present slot with the tops that follow from limits.  A line of warning that is still ahead
-- is a top; whoever limits who the recipients are has each take looked at.
CREATE FUNCTION meter_topped(INOUT m meter, limits bigint[], warn int, version bigint)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	k limit_kind;
	total bigint;
	base bigint;
	line bigint;
	tops bigint[] := array_fill(9000000000000000000, ARRAY[3]);
	marks bigint[] := m.marks;
BEGIN
	FOR k IN SELECT * FROM limit_kind l
		WHERE l.number <= cardinality(limits) AND (l.first IS NOT NULL OR l.quantity = 'distinct')
	LOOP
		CONTINUE WHEN (limits[k.number] >= 0) IS NOT TRUE;
		IF k.quantity IN ('new_recipients', 'distinct') THEN
			tops := '{-1,-1,-1}';
			EXIT;
		END IF;
		total := meter_sum(m, k.quantity);
		base := coalesce(marks[k.first + k.slots], total);
		line := coalesce(ceil(warn * limits[k.number] / 100.0)::bigint, 0);
		line := CASE WHEN total - base < line THEN line - 1 ELSE limits[k.number] END;
		tops[array_position('{messages,recipients,bytes}', k.quantity)] :=
			least(tops[array_position('{messages,recipients,bytes}', k.quantity)], base + line);
	END LOOP;
	m.stamp := version;
	m.top_messages := tops[1];
	m.top_recipients := tops[2];
	m.top_bytes := tops[3];
END
$$;

-- The unix second in which a ring's window has room again: when its floor has come up to `wanted`.
CREATE FUNCTION meter_reset(m meter, k limit_kind, wanted bigint) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
DECLARE
	slot bigint := m.slot / (k.slot_s / 150);
BEGIN
	FOR age IN REVERSE k.slots..0 LOOP
		IF m.marks[k.first + age] >= wanted THEN
			RETURN (slot - age + k.slots) * k.slot_s;
		END IF;
	END LOOP;
	RETURN (slot + k.slots + 1) * k.slot_s;
END
$$;

-- A meter with n more (or less) of a quantity in the slot `taken`, as if it had been taken then.  Less: no
-- more than any of the rings that still count that slot holds there.  known: one of them does.
CREATE FUNCTION meter_shifted(INOUT m meter, quantity text, taken int, n bigint, OUT known boolean)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	k limit_kind;
	sum bigint := meter_sum(m, quantity);
	marks bigint[] := m.marks;
	moved bigint := n;
	age int;
BEGIN
	known := false;
	FOR k IN SELECT * FROM limit_kind l WHERE l.first IS NOT NULL AND l.quantity = meter_shifted.quantity LOOP
		age := m.slot / (k.slot_s / 150) - taken / (k.slot_s / 150);
		IF age <= k.slots AND marks[k.first + k.slots] IS NOT NULL THEN
			known := true;
			IF n < 0 THEN
				moved := -least(-moved, greatest(0,
					CASE age WHEN 0 THEN sum ELSE marks[k.first + age - 1] END - marks[k.first + age]));
			END IF;
		END IF;
	END LOOP;
	IF NOT known OR moved = 0 THEN
		RETURN;
	END IF;
	FOR k IN SELECT * FROM limit_kind l WHERE l.first IS NOT NULL AND l.quantity = meter_shifted.quantity LOOP
		age := m.slot / (k.slot_s / 150) - taken / (k.slot_s / 150);
		IF age > 0 AND marks[k.first + k.slots] IS NOT NULL THEN
			FOR i IN k.first..k.first + least(age - 1, k.slots) LOOP
				marks[i] := marks[i] + moved;
			END LOOP;
		END IF;
	END LOOP;
	m.marks := marks;
	m.stamp := 0; -- floors may have moved
	CASE quantity
	WHEN 'messages' THEN m.messages := sum + moved;
	WHEN 'recipients' THEN m.recipients := sum + moved;
	WHEN 'bytes' THEN m.bytes := sum + moved;
	ELSE m.fresh := sum + moved;
	END CASE;
	IF m.slot > taken THEN
		CASE quantity
		WHEN 'messages' THEN m.begun_messages := m.begun_messages + moved;
		WHEN 'recipients' THEN m.begun_recipients := m.begun_recipients + moved;
		WHEN 'bytes' THEN m.begun_bytes := m.begun_bytes + moved;
		ELSE m.begun_fresh := m.begun_fresh + moved;
		END CASE;
	END IF;
END
$$;

-- ------------------------------------------------------------------ recipients

-- How many of these have no row since a slot: of somebody who is new, since ever.
CREATE FUNCTION recipients_unknown(scope int, id bigint, hashes bigint[], since int) RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	RETURN (SELECT count(DISTINCT h) FROM unnest(hashes) h
		WHERE NOT EXISTS (SELECT FROM recipient r
			WHERE r.scope = scope AND r.id = id AND r.hash = h AND r.slot >= since));
END
$$;

-- The unix second in which `excess` of those who are counted since a slot count no more, but for these.
CREATE FUNCTION recipients_reset(scope int, id bigint, hashes bigint[], since int, excess bigint, span int)
	RETURNS bigint
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	RETURN (SELECT (max(r.slot) + span + 1)::bigint * 150 FROM recipient r
		WHERE r.scope = scope AND r.id = id AND r.slot >= since AND r.hash <> ALL (hashes)
		GROUP BY r.hash ORDER BY 1 OFFSET greatest(excess - 1, 0) LIMIT 1);
END
$$;

-- Remembers them, and how many of them are new.
CREATE FUNCTION recipients_put(scope int, id bigint, hashes bigint[], slot int) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	added bigint;
BEGIN
	WITH put AS (
		INSERT INTO recipient AS known (scope, id, hash, slot, uses, fresh)
		SELECT scope, id, h.hash, slot, count(*), NOT EXISTS (
			SELECT FROM recipient r WHERE r.scope = scope AND r.id = id AND r.hash = h.hash)
		FROM unnest(hashes) h (hash) GROUP BY h.hash
		ON CONFLICT ON CONSTRAINT recipient_pkey DO UPDATE SET uses = known.uses + excluded.uses
		RETURNING known.fresh AND known.xmax = 0 AS fresh
	)
	SELECT count(*) FILTER (WHERE p.fresh) INTO added FROM put p;
	-- What is behind the longest window says no more than the row that there is now.
	DELETE FROM recipient r
	WHERE r.scope = scope AND r.id = id AND r.hash = ANY (hashes)
	AND r.slot < slot - 1 - (SELECT max(k.window_s) / 150 FROM limit_kind k);
	RETURN added;
END
$$;

-- Forgets them in the slot that they were taken in; how many of them were new there and are unknown now.
CREATE FUNCTION recipients_forget(scope int, id bigint, hashes bigint[], slot int) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	forgotten bigint[];
BEGIN
	WITH gone AS (
		DELETE FROM recipient r USING (SELECT h.hash, count(*) AS uses FROM unnest(hashes) h (hash) GROUP BY 1) h
		WHERE r.scope = scope AND r.id = id AND r.hash = h.hash AND r.slot = slot AND r.uses <= h.uses
		RETURNING r.hash, r.fresh
	), fewer AS (
		UPDATE recipient r SET uses = r.uses - h.uses
		FROM (SELECT h.hash, count(*) AS uses FROM unnest(hashes) h (hash) GROUP BY 1) h
		WHERE r.scope = scope AND r.id = id AND r.hash = h.hash AND r.slot = slot AND r.uses > h.uses
	)
	SELECT array_agg(g.hash) INTO forgotten FROM gone g WHERE g.fresh;
	RETURN recipients_unknown(scope, id, forgotten, 0);
END
$$;
