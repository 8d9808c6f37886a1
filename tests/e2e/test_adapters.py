# SPDX-License-Identifier: ISC
"""Accounts in tables of PostfixAdmin, iRedMail and Dovecot: the adapters of sql/adapters/, and what holds them up."""

import base64
import hashlib
import os
import re
import subprocess
import time

import psycopg
import pytest
from psycopg import errors

import harness
import observe
import pg
from rig import CONTENT, RECIPIENT, Rig
from test_revocation import COST, SOON, ended, owner
from test_sql import HASH, Database, lookup, one

ADAPTERS = os.path.join(pg.SQL, "adapters")
BETTER = HASH.replace("t=1", "t=2")
EXTRA = "$2y$05$" + "a" * 53

# The tables as these programs make them, of their columns those that matter here.
POSTFIXADMIN = """
CREATE TABLE domain (
    domain varchar(255) PRIMARY KEY, description varchar(255) NOT NULL DEFAULT '', aliases int NOT NULL DEFAULT 0,
    mailboxes int NOT NULL DEFAULT 0, transport varchar(255), backupmx boolean NOT NULL DEFAULT false,
    created timestamptz DEFAULT now(), modified timestamptz DEFAULT now(), active boolean NOT NULL DEFAULT true);
CREATE TABLE alias (
    address varchar(255) PRIMARY KEY, goto text NOT NULL, domain varchar(255) NOT NULL REFERENCES domain,
    created timestamptz DEFAULT now(), modified timestamptz DEFAULT now(), active boolean NOT NULL DEFAULT true);
CREATE TABLE mailbox (
    username varchar(255) PRIMARY KEY, password varchar(255) NOT NULL DEFAULT '', name varchar(255) NOT NULL DEFAULT '',
    maildir varchar(255) NOT NULL DEFAULT '', quota bigint NOT NULL DEFAULT 0,
    domain varchar(255) NOT NULL REFERENCES domain, local_part varchar(255) NOT NULL DEFAULT '',
    created timestamptz DEFAULT now(), modified timestamptz DEFAULT now(), active boolean NOT NULL DEFAULT true);
"""
IREDMAIL = """
CREATE TABLE domain (
    domain varchar(255) NOT NULL DEFAULT '' PRIMARY KEY, description text NOT NULL DEFAULT '',
    transport varchar(255) NOT NULL DEFAULT 'dovecot', settings text NOT NULL DEFAULT '',
    backupmx int2 NOT NULL DEFAULT 0, expired timestamp NOT NULL DEFAULT '9999-12-31 01:01:01',
    active int2 NOT NULL DEFAULT 1);
CREATE TABLE mailbox (
    username varchar(255) NOT NULL PRIMARY KEY, password varchar(255) NOT NULL DEFAULT '',
    name varchar(255) NOT NULL DEFAULT '', quota int8 NOT NULL DEFAULT 0, domain varchar(255) NOT NULL DEFAULT '',
    enablesmtp int2 NOT NULL DEFAULT 1, enablesmtpsecured int2 NOT NULL DEFAULT 1, allow_nets text,
    passwordlastchange timestamp NOT NULL DEFAULT now(), active int2 NOT NULL DEFAULT 1);
CREATE INDEX idx_mailbox_domain ON mailbox (domain);
CREATE TABLE forwardings (
    id serial PRIMARY KEY, address varchar(255) NOT NULL DEFAULT '', forwarding varchar(255) NOT NULL DEFAULT '',
    domain varchar(255) NOT NULL DEFAULT '', dest_domain varchar(255) NOT NULL DEFAULT '',
    is_maillist int2 NOT NULL DEFAULT 0, is_list int2 NOT NULL DEFAULT 0, is_forwarding int2 NOT NULL DEFAULT 0,
    is_alias int2 NOT NULL DEFAULT 0, active int2 NOT NULL DEFAULT 1);
CREATE INDEX idx_forwardings_forwarding ON forwardings (forwarding);
CREATE UNIQUE INDEX idx_forwardings_address_forwarding ON forwardings (address, forwarding);
"""
DOVECOT = """
CREATE TABLE users (
    userid varchar(128) NOT NULL, domain varchar(128) NOT NULL, password varchar(255) NOT NULL,
    home varchar(255) NOT NULL DEFAULT '', uid int NOT NULL DEFAULT 0, gid int NOT NULL DEFAULT 0,
    active char(1) NOT NULL DEFAULT 'Y');
"""


def adapt(dsn, name, environment=None):
    """Runs the adapter as an operator would."""
    done = subprocess.run([os.path.join(pg.bin_directory(), "psql"), "-X", "-q", "-d", dsn,
                           "-f", os.path.join(ADAPTERS, f"{name}.sql")],
                          text=True, capture_output=True, timeout=30, check=False,
                          env={**os.environ, **(environment or {})})
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr


class Adapted(Database):
    """A migrated database with somebody else's tables, which belong to the role `shop`."""

    def __init__(self, tables, name, rows):
        super().__init__(pg.shared())
        self.name_of_source = name
        self.owner.execute("DO $$ BEGIN CREATE ROLE shop LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        self.owner.execute("GRANT CREATE, USAGE ON SCHEMA public TO shop")
        self.shop = self.connect("shop")
        self.shop.execute(tables)
        self.shop.execute(rows)
        self.adapt(name)
        self.cursor = None
        self.changes()

    def adapt(self, name):
        adapt(self.server.dsn(self.name), name)

    def lookup(self, login):
        return self.service.execute("SELECT enabled, password_hash, senders, password_version, account_id"
                                    " FROM postern.account_lookup(%s)", (login,)).fetchone()

    def changes(self):
        """The accounts that changed since the last call; "everything"."""
        row = self.service.execute("SELECT cursor, everything, accounts FROM postern.changes_since(%s)",
                                   (self.cursor,)).fetchone()
        self.cursor = row[0]
        return "everything" if row[1] else row[2]

    def close(self):
        self.shop.close()
        super().close()


@pytest.fixture(scope="module", name="postfixadmin")
def postfixadmin_fixture():
    database = Adapted(POSTFIXADMIN, "postfixadmin", f"""
        INSERT INTO domain (domain) VALUES ('example.test'), ('other.test');
        INSERT INTO mailbox (username, domain, local_part, password)
        SELECT u || '@example.test', 'example.test', u, '{HASH}' FROM unnest('{{ann,bob,cy,dee,eve,fay,gus}}'::text[]) u;
        INSERT INTO mailbox (username, domain, password) VALUES ('zoe@other.test', 'other.test', '{HASH}');
        INSERT INTO alias (address, goto, domain)
        SELECT username, username, domain FROM mailbox;
        INSERT INTO alias (address, goto, domain) VALUES ('sales@example.test', 'Ann@example.test,bob@example.test', 'example.test'),
            ('@example.test', 'ann@example.test', 'example.test')""")
    yield database
    database.close()


# ------------------------------------------------------------------ PostfixAdmin
def test_a_mailbox_is_an_account_with_its_aliases(postfixadmin):
    enabled, stored, senders, _, _ = postfixadmin.lookup("ann@example.test")
    assert enabled and stored == HASH
    assert sorted(senders) == ["a:ann@example.test", "a:sales@example.test"], "and not all of the domain"
    assert postfixadmin.lookup("ANN@example.test")[4] == postfixadmin.lookup("ann@example.test")[4]
    assert postfixadmin.lookup("nobody@example.test") is None
    assert postfixadmin.lookup("sales@example.test") is None
    account_id = postfixadmin.lookup("bob@example.test")[4]
    for address, owned in (("sales@example.test", True), ("cy@example.test", False)):
        assert one(postfixadmin.service, "SELECT postern.sender_owned(%s, %s)", account_id, address) is owned


def test_a_look_up_writes_once(postfixadmin):
    postfixadmin.lookup("zoe@other.test")
    before = postfixadmin.version("zoe@other.test")
    postfixadmin.changes()
    assert postfixadmin.version("zoe@other.test") == before
    assert postfixadmin.changes() == []


@pytest.mark.parametrize("change, login, check", [
    (f"UPDATE mailbox SET password = '{BETTER}' WHERE username = 'cy@example.test'", "cy@example.test",
     lambda was, now: now[1] == BETTER and now[3] > was[3]),
    ("UPDATE mailbox SET active = false WHERE username = 'cy@example.test'", "cy@example.test",
     lambda was, now: not now[0] and now[3] == was[3]),
    ("UPDATE mailbox SET active = true WHERE username = 'cy@example.test'", "cy@example.test",
     lambda was, now: now[0] and now[3] == was[3]),
    ("UPDATE domain SET active = false WHERE domain = 'other.test'", "zoe@other.test", lambda was, now: not now[0]),
    ("UPDATE domain SET active = true WHERE domain = 'other.test'", "zoe@other.test", lambda was, now: now[0]),
    ("INSERT INTO alias (address, goto, domain) VALUES ('new@example.test', 'cy@example.test', 'example.test')",
     "cy@example.test", lambda was, now: "a:new@example.test" in now[2]),
    ("UPDATE alias SET goto = 'dee@example.test' WHERE address = 'new@example.test'", "cy@example.test",
     lambda was, now: now[2] == ["a:cy@example.test"]),
    ("DELETE FROM mailbox WHERE username = 'cy@example.test'", "cy@example.test", lambda was, now: now is None),
], ids=["password", "inactive", "active", "domain-inactive", "domain-active", "alias", "alias-moved", "deleted"])
def test_what_changes_there_is_told_at_once(postfixadmin, change, login, check):
    was = postfixadmin.lookup(login)
    postfixadmin.changes()
    postfixadmin.shop.execute(change)
    assert was[4] in postfixadmin.changes()
    status = one(postfixadmin.owner, "SELECT status FROM postern.account WHERE account_id = %s", was[4])
    assert check(was, postfixadmin.lookup(login))
    assert status == ("enabled" if (postfixadmin.lookup(login) or [False])[0] else "disabled"), "takes read it"


@pytest.mark.parametrize("change", [
    "UPDATE mailbox SET quota = quota + 1", "UPDATE domain SET description = 'ours'",
    "UPDATE alias SET modified = now()",
    f"INSERT INTO mailbox (username, domain, password) VALUES ('late@example.test', 'example.test', '{HASH}')"])
def test_what_does_not_concern_us_is_not_told(postfixadmin, change):
    postfixadmin.lookup("dee@example.test")
    postfixadmin.changes()
    postfixadmin.shop.execute(change)
    assert postfixadmin.changes() == []


def test_a_change_that_is_rolled_back_is_none(postfixadmin):
    postfixadmin.lookup("dee@example.test")
    postfixadmin.changes()
    with postfixadmin.shop.transaction(force_rollback=True):
        postfixadmin.shop.execute("UPDATE mailbox SET active = false WHERE username = 'dee@example.test'")
    assert postfixadmin.changes() == []
    assert postfixadmin.lookup("dee@example.test")[0]


def test_a_login_that_somebody_else_gets_has_none_of_the_old_credentials(postfixadmin):
    account_id = postfixadmin.lookup("eve@example.test")[4]
    postfixadmin.admin.execute("SELECT postern.credential_add('eve@example.test', 'abcdefghijkl', %s, %s)",
                               ("0" * 16, b"x" * 32))
    take = "SELECT result FROM postern.credential_take(%s, postern.credential_number('abcdefghijkl'), 1, 1)"
    assert one(postfixadmin.owner, take, account_id) == 0
    postfixadmin.shop.execute("DELETE FROM mailbox WHERE username = 'eve@example.test'")
    assert one(postfixadmin.service, "SELECT result FROM postern.quota_take(%s, 1, 1)", account_id) == 3
    postfixadmin.shop.execute("INSERT INTO mailbox (username, domain, password)"
                              f" VALUES ('eve@example.test', 'example.test', '{BETTER}')")
    assert postfixadmin.lookup("eve@example.test")[0]
    assert one(postfixadmin.service, "SELECT enabled FROM postern.credential_lookup('abcdefghijkl')") is False
    assert one(postfixadmin.owner, take, account_id) == 3


def test_limits_and_plans_are_posterns(postfixadmin):
    login = "fay@example.test"
    postfixadmin.admin.execute("SELECT postern.plan_set('small', '{\"recipients_message\": 7}')")
    assert one(postfixadmin.admin, "SELECT postern.account_fetch(%s)", login) is True
    postfixadmin.admin.execute("SELECT postern.limits_set(%s, '{\"messages_hour\": 1}')", (login,))
    postfixadmin.admin.execute("SELECT postern.account_set_plan(%s, 'small')", (login,))
    row = lookup(postfixadmin, login)
    assert row["recipients"] == 7
    take = "SELECT result, meter FROM postern.quota_take(%s, 1, 1)"
    assert postfixadmin.service.execute(take, (row["account_id"],)).fetchone()[0] == 0
    assert postfixadmin.service.execute(take, (row["account_id"],)).fetchone() == (1, "messages per hour")
    postfixadmin.shop.execute("UPDATE mailbox SET password = 'x' WHERE username = %s", (login,))
    assert lookup(postfixadmin, login)["recipients"] == 7


@pytest.mark.parametrize("statement", [
    "SELECT postern.account_add('new@example.test')",
    "SELECT postern.accounts_add_many(ARRAY['new@example.test'])",
    f"SELECT postern.account_set_password('gus@example.test', '{HASH}')",
    "SELECT postern.account_set_enabled('gus@example.test', false)",
    "SELECT postern.account_rename('gus@example.test', 'gustav@example.test')",
    "SELECT postern.sender_add('gus@example.test', '*')",
    "SELECT postern.sender_del('gus@example.test', 'gus@example.test')",
    "SELECT * FROM postern.account_import('[{\"login\": \"gus@example.test\", \"enabled\": false}]', true)",
])
def test_what_is_managed_elsewhere_is_not_changed_here(postfixadmin, statement):
    was = postfixadmin.lookup("gus@example.test")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="managed elsewhere: postfixadmin"):
        postfixadmin.admin.execute(statement)
    assert postfixadmin.lookup("gus@example.test") == was


def test_one_that_is_gone_there_can_be_erased_here(postfixadmin):
    postfixadmin.shop.execute("INSERT INTO mailbox (username, domain) VALUES ('gone@example.test', 'example.test')")
    account_id = postfixadmin.lookup("gone@example.test")[4]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is enabled"):
        postfixadmin.admin.execute("SELECT postern.account_delete('gone@example.test')")
    postfixadmin.shop.execute("DELETE FROM mailbox WHERE username = 'gone@example.test'")
    assert one(postfixadmin.admin, "SELECT postern.account_delete('gone@example.test')") == account_id


def test_no_hash_is_made_better_in_tables_of_others(postfixadmin):
    _, stored, _, version, account_id = postfixadmin.lookup("gus@example.test")
    assert one(postfixadmin.service, "SELECT postern.account_rehash(%s, %s, %s, %s)",
               account_id, version, stored, BETTER) is False
    assert one(postfixadmin.shop, "SELECT password FROM mailbox WHERE username = 'gus@example.test'") == HASH
    assert postfixadmin.lookup("gus@example.test")[1] == HASH


def test_the_service_reads_none_of_the_foreign_tables(postfixadmin):
    for table in ("mailbox", "alias", "domain"):
        with pytest.raises(errors.InsufficientPrivilege):
            postfixadmin.service.execute(f"SELECT * FROM public.{table}")
    with pytest.raises(errors.InsufficientPrivilege):
        postfixadmin.service.execute("SELECT * FROM postern.account_source('gus@example.test')")


def test_an_old_password_is_never_written_over_a_new_one(postfixadmin):
    """A look-up that read before a change commits meets the row's lock, and reads again."""
    login = "gus@example.test"
    postfixadmin.lookup(login)
    with postfixadmin.connect(pg.USER) as slow, postfixadmin.connect("postern_service") as reader:
        # What differs makes the look-up write: it waits for the change, whose trigger has the row.
        slow.execute("SELECT set_config('postern.mirror', 'on', false)")
        slow.execute("UPDATE postern.account SET status = 'disabled' WHERE login = %s", (login,))
        slow.autocommit = False
        slow.execute(f"UPDATE public.mailbox SET password = '{BETTER}' WHERE username = %s", (login,))
        with reader.pipeline():
            answer = reader.execute("SELECT password_hash FROM postern.account_lookup(%s)", (login,))
            harness.wait_until(lambda: one(postfixadmin.owner, "SELECT count(*) FROM pg_stat_activity WHERE"
                                           " usename = 'postern_service' AND wait_event_type = 'Lock'") == 1, "a wait")
            slow.commit()
            assert answer.fetchone()[0] == BETTER
    assert one(postfixadmin.owner, "SELECT password_hash FROM postern.account WHERE login = %s", login) == BETTER


def test_problems_are_counted(postfixadmin):
    postfixadmin.shop.execute("""
        INSERT INTO mailbox (username, domain, password) VALUES ('des@example.test', 'example.test', 'abJnggxhB/yWI'),
            ('long@example.test', 'example.test', repeat('x', 255)), ('Upper@example.test', 'example.test', 'x')""")
    rows = postfixadmin.admin.execute("SELECT kind, detail, accounts FROM postern.account_source_problems()").fetchall()
    assert ("login", None, 1) in rows
    assert [row[2] for row in rows if row[:2] == ("hash", "unknown")][0] >= 3, rows
    enabled, stored, _, _, _ = postfixadmin.lookup("long@example.test")
    assert enabled and stored == "x" * 255


# ---------------------------------------------------------------- iRedMail, Dovecot
def test_iredmail():
    db = Adapted(IREDMAIL, "iredmail", f"""
        INSERT INTO domain (domain) VALUES ('example.test');
        INSERT INTO mailbox (username, domain, password) VALUES ('ann@example.test', 'example.test', '{{SSHA512}}{"A" * 96}'),
            ('bob@example.test', 'example.test', '{{CRYPT}}{EXTRA}');
        INSERT INTO forwardings (address, forwarding, domain, dest_domain, is_forwarding) VALUES
            ('ann@example.test', 'ann@example.test', 'example.test', 'example.test', 1);
        INSERT INTO forwardings (address, forwarding, domain, dest_domain, is_alias) VALUES
            ('anna@example.test', 'ann@example.test', 'example.test', 'example.test', 1);
        INSERT INTO forwardings (address, forwarding, domain, dest_domain, is_list) VALUES
            ('all@example.test', 'ann@example.test', 'example.test', 'example.test', 1)""")
    enabled, stored, senders, version, account_id = db.lookup("ann@example.test")
    assert enabled and stored == "{SSHA512}" + "A" * 96
    assert sorted(senders) == ["a:ann@example.test", "a:anna@example.test"]
    assert db.lookup("bob@example.test")[1] == "{CRYPT}" + EXTRA
    assert one(db.admin, "SELECT count(*) FROM postern.account_source_problems()") == 0
    db.changes()
    for change, check in (
            ("UPDATE mailbox SET password = '{SSHA512}' || repeat('B', 96) WHERE username = 'ann@example.test'",
             lambda now: now[3] > version),
            ("UPDATE mailbox SET enablesmtpsecured = 0 WHERE username = 'ann@example.test'", lambda now: not now[0]),
            ("UPDATE mailbox SET enablesmtpsecured = 1", lambda now: now[0]),
            ("UPDATE domain SET active = 0", lambda now: not now[0]),
            ("UPDATE domain SET active = 1", lambda now: now[0]),
            ("DELETE FROM forwardings WHERE is_alias = 1", lambda now: now[2] == ["a:ann@example.test"]),
            ("TRUNCATE mailbox", lambda now: now is None)):
        db.shop.execute(change)
        assert account_id in db.changes(), change
        assert check(db.lookup("ann@example.test")), change
    db.close()


def test_dovecot_and_an_adapter_that_takes_better_hashes():
    db = Adapted(DOVECOT, "dovecot", f"INSERT INTO users (userid, domain, password) VALUES ('ann', 'example.test', '{HASH}'),"
                 f" ('bob', 'example.test', '{HASH}')")
    enabled, stored, senders, version, account_id = db.lookup("ann@example.test")
    assert (enabled, stored, senders) == (True, HASH, ["a:ann@example.test"])
    assert db.lookup("ann") is None and db.lookup("@") is None and db.lookup("ann@other.test") is None

    db.owner.execute("""
        GRANT UPDATE (password) ON public.users TO postern_owner;
        CREATE OR REPLACE FUNCTION postern.account_source_rehash(wanted text, old_hash text, new_hash text)
            RETURNS boolean
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = postern, pg_catalog, pg_temp AS $$
        BEGIN
            UPDATE public.users SET password = new_hash
            WHERE userid || '@' || domain = wanted AND password = old_hash;
            RETURN FOUND;
        END
        $$""")
    db.changes()
    rehash = "SELECT postern.account_rehash(%s, 1, %s, %s)"
    assert one(db.service, rehash, account_id, HASH, BETTER) is True
    assert db.lookup("ann@example.test")[1:4] == (BETTER, senders, version), "the same password"
    assert one(db.shop, "SELECT password FROM users WHERE userid = 'ann'") == BETTER
    assert db.changes() == [], "no session ends"
    assert one(db.service, rehash, account_id, HASH, BETTER) is False

    db.shop.execute("UPDATE users SET active = 'N' WHERE userid = 'ann'")
    assert db.changes() == [account_id]
    assert not db.lookup("ann@example.test")[0]
    db.close()


# ------------------------------------------------------------------- adopting
def test_adapting_twice_and_back_with_connections_that_stay():
    """The plans of a service that stays connected follow: what is adapted is a constant in them."""
    server = pg.shared()
    db = Database(server)
    db.account(login="own@example.test")
    assert lookup(db, "own@example.test")["password_hash"] == HASH
    db.owner.execute(DOVECOT)
    db.owner.execute("INSERT INTO users (userid, domain, password) VALUES ('ann', 'example.test', %s)", (HASH,))
    for _ in range(2):
        adapt(server.dsn(db.name), "dovecot")
    assert one(db.admin, "SELECT postern.account_source_name()") == "dovecot"
    assert lookup(db, "own@example.test") is None
    first = lookup(db, "ann@example.test")
    assert first["password_hash"] == HASH
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass"
    assert one(db.owner, triggers) == 4

    db.owner.execute("ALTER TABLE users DISABLE TRIGGER USER")
    db.owner.execute("UPDATE users SET password = %s", (BETTER,))
    for _ in range(2):
        adapt(server.dsn(db.name), "undo")
    assert one(db.admin, "SELECT postern.account_source_name()") is None
    assert lookup(db, "own@example.test")["password_hash"] == HASH
    again = lookup(db, "ann@example.test")
    assert (again["account_id"], again["password_hash"]) == (first["account_id"], BETTER), "as it was there at the end"
    assert one(db.owner, triggers) == 0
    assert not one(db.owner, "SELECT has_column_privilege('postern_owner', 'users', 'password', 'SELECT')")
    db.admin.execute("SELECT postern.account_set_enabled('ann@example.test', false)")
    db.close()


def test_release_without_keeping_disables_what_came_from_there():
    db = Adapted(DOVECOT, "dovecot", f"INSERT INTO users (userid, domain, password) VALUES ('ann', 'example.test', '{HASH}')")
    assert db.lookup("ann@example.test")[0]
    db.shop.execute("DROP TABLE users")
    with pytest.raises(errors.UndefinedTable):
        db.lookup("ann@example.test")
    db.owner.execute("SELECT postern.account_source_release(false)")
    assert db.lookup("ann@example.test")[0] is False
    db.close()


@pytest.mark.parametrize("flaw, error", [
    ("SECURITY INVOKER", "SECURITY DEFINER"), ("RESET search_path", "search_path"), ("OWNER TO CURRENT_USER", "belong")])
def test_a_function_that_is_not_safe_is_not_adopted(flaw, error):
    db = Database(pg.shared())
    db.owner.execute(f"ALTER FUNCTION postern.account_source(text) {flaw}")
    with pytest.raises(errors.InvalidFunctionDefinition, match=error):
        db.owner.execute("SELECT postern.account_source_adopt('mine')")
    assert one(db.admin, "SELECT postern.account_source_name()") is None
    for by in (db.admin, db.service):
        with pytest.raises(errors.InsufficientPrivilege):
            by.execute("SELECT postern.account_source_adopt('mine')")
    db.close()


# ----------------------------------------------------------- through Postern itself
class Site:
    """A sandbox whose accounts are PostfixAdmin's."""

    def __init__(self, make):
        self.rig = Rig(make)
        self.box = self.rig.box
        harness.wait_until(lambda: observe.metric(self.box, "feed_up") == 1, "the feed")
        self.sql = owner(self.box)
        self.sql.execute("CREATE ROLE postfixadmin; GRANT CREATE, USAGE ON SCHEMA public TO postfixadmin")
        self.sql.execute("SET ROLE postfixadmin; " + POSTFIXADMIN)
        self.sql.execute("INSERT INTO domain (domain) VALUES ('example.test')")
        self.sql.execute("RESET ROLE")
        info = self.sql.info
        adapt(f"host={info.host} port={info.port} dbname={info.dbname} user={info.user}", "postfixadmin",
              {"PGPASSWORD": info.password})
        self.sql.execute("SET ROLE postfixadmin")
        self.count = 0

    def mailbox(self, password="secret"):
        self.count += 1
        login = f"user{self.count}@example.test"
        self.sql.execute("INSERT INTO mailbox (username, domain, password) VALUES (%s, 'example.test', %s)",
                         (login, stored(password)))
        self.sql.execute("INSERT INTO alias (address, goto, domain) VALUES (%s, %s, 'example.test'), (%s, %s, 'example.test')",
                         (login, login, f"alias{self.count}@example.test", login))
        return login

    def refused(self, login, password):
        with self.box.secured() as client:
            client.login(login, password, want=535)


def stored(password):
    salt = os.urandom(8)
    return "{SSHA512}" + base64.b64encode(hashlib.sha512(password.encode() + salt).digest() + salt).decode()


@pytest.fixture(scope="module")
def site(make_sandbox):
    made = Site(make_sandbox)
    yield made
    made.sql.close()
    made.rig.close()


@pytest.mark.parametrize("change, password", [
    ("UPDATE mailbox SET password = %(stored)s WHERE username = %(login)s", "another"),
    ("UPDATE mailbox SET active = false WHERE username = %(login)s", None),
    ("DELETE FROM mailbox WHERE username = %(login)s", None),
], ids=["password", "inactive", "deleted"])
def test_a_change_in_postfixadmin_ends_sessions_at_once(site, change, password):
    login, bystander = site.mailbox(), site.mailbox()
    client, other = site.box.session(user=login, password="secret"), site.box.session(user=bystander, password="secret")
    client.message(login, [RECIPIENT], CONTENT)
    site.sql.execute(change, {"stored": stored("another"), "login": login})
    since = time.monotonic()
    assert ended(client, since) < SOON
    site.refused(login, "secret")
    if password:
        site.box.session(user=login, password=password).quit()
    other.command("NOOP", 250)
    other.quit()


def test_senders_are_the_aliases(site):
    login = site.mailbox()
    with site.box.session(user=login, password="secret") as client:
        client.mail(f"alias{site.count}@example.test", [RECIPIENT])
        client.command("RSET", 250)
        client.command("MAIL FROM:<somebody@example.test>", 550)
    site.refused(f"alias{site.count}@example.test", "secret")


def test_limits_hold_before_the_first_log_in(site):
    login = site.mailbox()
    site.box.ctl("limits", "set", login, "messages_hour=1")
    with site.box.session(user=login, password="secret") as client:
        client.message(login, [RECIPIENT], CONTENT)
        client.mail(login, [RECIPIENT])
        client.command("DATA", 450)


@pytest.mark.parametrize("words", [
    ("account", "add", "new@example.test", *COST), ("account", "passwd", "{login}", *COST), ("account", "disable", "{login}"),
    ("account", "rename", "{login}", "x@example.test"), ("sender", "add", "{login}", "*")])
def test_posternctl_says_who_manages_the_accounts(site, words):
    login = site.mailbox()
    done = site.box.ctl(*[word.format(login=login) for word in words], text="pw\n", ok=False)
    assert done.returncode == 65
    assert "managed elsewhere: postfixadmin" in done.stderr
    site.box.session(user=login, password="secret").quit()


def test_posternctl_knows_accounts_that_never_logged_in(site):
    login = site.mailbox()
    shown = site.box.ctl("account", "show", login)
    assert re.search(r"^enabled +yes$", shown, re.M) and login in shown
    tested = site.box.ctl("auth-test", login, text="secret\n")
    assert "accepted" in tested
    gone = site.box.ctl("account", "show", "nobody@example.test", ok=False)
    assert gone.returncode == 67
