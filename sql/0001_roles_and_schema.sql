-- SPDX-License-Identifier: ISC
-- Roles, the schema, and who may do what by default.
--
-- Runs as a superuser, or as the owner of the database with CREATEROLE.  Roles belong to the whole
-- cluster: they may be there already, from another database or made by hand.

DO $roles$
DECLARE
	super boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
BEGIN
	IF (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()) <> 'UTF8' THEN
		RAISE EXCEPTION 'database "%" is not encoded in UTF8', current_database()
			USING HINT = 'Create one with: createdb --encoding UTF8 --template template0 NAME';
	END IF;

	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postern_owner') THEN
		CREATE ROLE postern_owner NOLOGIN;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postern_service') THEN
		CREATE ROLE postern_service LOGIN NOINHERIT;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postern_admin') THEN
		CREATE ROLE postern_admin LOGIN NOINHERIT;
	END IF;
	ALTER ROLE postern_owner NOLOGIN;

	IF EXISTS (SELECT FROM pg_roles WHERE rolname IN ('postern_service', 'postern_admin') AND rolsuper) THEN
		RAISE EXCEPTION 'postern_service or postern_admin is a superuser'
			USING HINT = 'ALTER ROLE ... NOSUPERUSER, or drop the role, and migrate again.';
	END IF;
	IF NOT super THEN
		EXECUTE format('GRANT postern_owner TO %I', current_user);
	END IF;

	-- Nobody but the owner of a temporary object needs one, and pg_temp is where functions are shadowed.
	EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
	EXECUTE format('GRANT CONNECT ON DATABASE %I TO postern_service, postern_admin', current_database());
	IF has_database_privilege('postern_service', current_database(), 'TEMPORARY') THEN
		RAISE EXCEPTION 'could not revoke TEMPORARY on database "%"', current_database()
			USING HINT = 'Migrate as the owner of the database, or as a superuser.';
	END IF;

	-- Before PostgreSQL 15 everybody may create objects in public.
	IF to_regnamespace('public') IS NOT NULL AND has_schema_privilege('postern_service', 'public', 'CREATE') THEN
		REVOKE CREATE ON SCHEMA public FROM PUBLIC;
		IF has_schema_privilege('postern_service', 'public', 'CREATE') THEN
			RAISE WARNING 'postern_service may create objects in schema public'
				USING HINT = 'As a superuser: REVOKE CREATE ON SCHEMA public FROM PUBLIC';
		END IF;
	END IF;
END
$roles$;

-- A query of the service that takes longer is an outage, and is answered as one.  The caller has its
-- own deadline besides: statement_timeout does not cover a wait for a synchronous standby.
ALTER ROLE postern_service SET statement_timeout = '2s';
ALTER ROLE postern_service SET lock_timeout = '1s';
ALTER ROLE postern_service SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE postern_service SET jit = off;
-- A take decides on the row as it is after a wait for its lock, and a grant must outlive a crash.
ALTER ROLE postern_service SET default_transaction_isolation = 'read committed';
ALTER ROLE postern_service SET synchronous_commit = on;
ALTER ROLE postern_service SET search_path = '';
ALTER ROLE postern_admin SET lock_timeout = '10s';
ALTER ROLE postern_admin SET jit = off;
ALTER ROLE postern_admin SET search_path = '';

CREATE SCHEMA postern AUTHORIZATION postern_owner;

SET LOCAL ROLE postern_owner;

-- For the owner as such, not for a schema: per-schema defaults can only add to PUBLIC's EXECUTE.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
REVOKE ALL ON SCHEMA postern FROM PUBLIC;
GRANT USAGE ON SCHEMA postern TO postern_service, postern_admin;

-- What has run; posternctl db migrate adds a row in the transaction of each file.
CREATE TABLE postern.schema_version (
	version int PRIMARY KEY CHECK (version > 0),
	name text NOT NULL,
	checksum text NOT NULL, -- of the file: BLAKE2b-256 in hexadecimal
	applied_at timestamptz NOT NULL DEFAULT now()
);
