# SPDX-License-Identifier: ISC
"""The schema by itself: privileges, look-up, versions, administration."""
import collections
import threading
import time
from collections import namedtuple

import psycopg
import pytest
from psycopg import errors

import pg

HASH = "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
NOW = 1_800_000_000  # the start of a slot of 150 s, and of one of 30 min
HOUR, DAY = 3600, 86400
Take = namedtuple("Take", "result meter limit reset taken")

SERVICE_FUNCTIONS = {"contract", "account_lookup", "sender_owned", "account_rehash", "quota_take", "quota_give_back",
                     "changes_since", "changes_clean", "db_epoch",
                     "credential_lookup", "credential_used", "credential_take", "credential_give_back",
                     "blocks", "block_put", "guard_load", "guard_save", "takes", "takes_give_back", "lease_take",
                     "lease_return", "charges", "node_alive", "sessions_hold"}
ADMIN_FUNCTIONS = {"contract", "db_epoch", "account_add", "accounts_add_many", "account_set_password",
                   "account_set_enabled", "account_set_plan", "account_set_from_policy", "account_by_token", "account_rotate_token",
                   "account_list", "account_show", "sender_add", "sender_del", "sender_list",
                   "limits_set", "limits_show", "plan_set", "plan_list", "credential_add", "credential_list",
                   "credential_show", "credential_keys", "credential_revoke",
                   "account_hashes", "account_delete", "account_rename", "audit_list",
                   "account_export", "account_import", "account_known",
                   "account_auth", "credential_auth", "block_of", "block_add", "block_del", "block_list", "account_source_name", "account_fetch",
                   "account_source_problems", "schema_versions", "plan_add", "tenant_set", "tenant_list", "tenant_del",
                   "account_set_tenant", "domain_set", "domain_list", "domain_del", "limit_kinds", "limits_warnings"}

# The books.
SERVICE_FUNCTIONS |= {"usage_put", "refusals_put", "usage_maintain"}
ADMIN_FUNCTIONS |= {"usage_report", "usage_log", "usage_top", "usage_keep", "usage_maintain", "refusal_explain",
                    "limits_advise"}

INVOKERS = {"account_source_watch", "account_source_unwatch"}  # triggers are the owner's of their table to make


class Database:
    """A migrated database with one connection a role."""

    def __init__(self, server):
        self.server = server
        self.name = server.create_database()
        pg.apply_migrations(server.dsn(self.name))
        self.owner = self.connect(pg.USER)
        self.admin = self.connect("postern_admin")
        self.service = self.connect("postern_service")
        self.count = 0

    def connect(self, user):
        return psycopg.connect(self.server.dsn(self.name, user), autocommit=True)

    def account(self, limits="{}", login=None):
        """A new account; returns its id."""
        self.count += 1
        login = login or f"account{self.count}@example.test"
        account_id = one(self.admin, "SELECT postern.account_add(%s, %s)", login, HASH)
        self.admin.execute("SELECT postern.limits_set(%s, %s)", (login, limits))
        return account_id

    def login(self, account_id):
        return one(self.owner, "SELECT login FROM postern.account WHERE account_id = %s", account_id)

    def take(self, account_id, messages, recipients, at):
        row = self.owner.execute("SELECT * FROM postern.quota_take_at(%s, %s, %s, to_timestamp(%s))",
                                 (account_id, messages, recipients, at)).fetchone()
        return Take(*row)

    def give_back(self, account_id, taken, messages, recipients):
        return one(self.service, "SELECT postern.quota_give_back(%s, %s, %s, %s)",
                   account_id, taken, messages, recipients)

    def version(self, login):
        return one(self.service, "SELECT version FROM postern.account_lookup(%s)", login)

    def close(self):
        for connection in (self.owner, self.admin, self.service):
            connection.close()


def one(connection, sql, *values):
    row = connection.execute(sql, values).fetchone()
    return row[0] if row else None


@pytest.fixture(scope="module")
def db():
    database = Database(pg.shared())
    yield database
    database.close()


# ------------------------------------------------------------------ privileges
@pytest.mark.threat("H02", "H03")
@pytest.mark.parametrize("statement", [
    "SELECT * FROM postern.account",
    "SELECT password_hash FROM postern.account",
    "SELECT * FROM postern.sender",
    "SELECT * FROM postern.plan",
    "SELECT * FROM postern.meter",
    "SELECT * FROM postern.schema_version",
    "UPDATE postern.meter SET messages = 0",
    "DELETE FROM postern.meter",
    "INSERT INTO postern.plan (name) VALUES ('mine')",
    "TRUNCATE postern.account CASCADE",
    "SELECT nextval('postern.version_number')",
    "SELECT postern.quota_take_at(1, 1, 1, now())",
    "SELECT postern.takes_at(1, 1, '{1}', '{0}', '{}', '{1}', '{1}', '{1}', '{0}', '{}', now())",
    "SELECT postern.meter_move(1, 1, 1, -1, -1, 0, 0)",
    "SELECT * FROM postern.tenant",
    "SELECT * FROM postern.domain",
    "SELECT * FROM postern.recipient",
    "UPDATE postern.limit_kind SET window_s = 1",
    "DELETE FROM postern.lease",
    "SELECT * FROM postern.session_hold",
    "SELECT postern.plan_set('default', '{}')",
    "SELECT postern.tenant_set('mine', '{}')",
    "SELECT postern.domain_set('mine.test', '{}')",
    "SELECT * FROM postern.credential",
    "SELECT hash FROM postern.credential",
    "UPDATE postern.credential SET revoked_at = NULL",
    "SELECT * FROM postern.credential_use",
    "SELECT postern.credential_take_at(1, 1, 1, 1, now())",
    "SELECT * FROM postern.credential_list('a')",
    "SELECT postern.credential_revoke('a')",
    "SELECT postern.account_set_password('a', NULL)",
    "SELECT postern.account_add('mallory')",
    "SELECT postern.account_set_from_policy('a', 'off')",
    "SELECT * FROM postern.account_by_token('a')",
    "SELECT postern.account_rotate_token('a')",
    "SELECT postern.token_new()",
    "SELECT * FROM postern.account_list()",
    "SELECT postern.limits_set('a', '{}')",
    "CREATE TEMP TABLE shadow (a int)",
    "CREATE TABLE postern.mine (a int)",
    "CREATE TABLE public.mine (a int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION postern.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER FUNCTION postern.contract() RENAME TO other",
    "SET ROLE postern_owner",
    "SET ROLE postern_admin",
    "SET SESSION AUTHORIZATION postern_owner",
    "GRANT postern_owner TO postern_service",
    "ALTER ROLE postern_admin NOLOGIN",
    "COPY postern.account TO STDOUT",
    "SELECT rolpassword FROM pg_authid",
])
def test_service_role_is_refused(db, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        db.service.execute(statement)


@pytest.mark.parametrize("statement", [
    "SELECT * FROM postern.account",
    "UPDATE postern.account SET status = 'enabled'",
    "SELECT * FROM postern.account_lookup('a')",
    "SELECT postern.quota_take(1, 1, 1)",
    "CREATE TEMP TABLE shadow (a int)",
    "SET ROLE postern_owner",
])
def test_admin_role_is_refused(db, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        db.admin.execute(statement)


def test_each_role_executes_its_functions_and_no_other(db):
    for role, wanted in (("postern_service", SERVICE_FUNCTIONS), ("postern_admin", ADMIN_FUNCTIONS)):
        rows = db.owner.execute("SELECT proname FROM pg_proc WHERE pronamespace = 'postern'::regnamespace"
                                " AND has_function_privilege(%s, oid, 'EXECUTE')", (role,)).fetchall()
        assert {row[0] for row in rows} == wanted, role


def test_every_function_is_pinned(db):
    rows = db.owner.execute(
        "SELECT proname, lanname, prosecdef, proconfig, proowner::regrole::text,"
        " has_function_privilege('public', p.oid, 'EXECUTE')"
        " FROM pg_proc p JOIN pg_language l ON l.oid = prolang"
        " WHERE pronamespace = 'postern'::regnamespace").fetchall()
    assert len(rows) > 20
    for name, language, definer, config, owner, public in rows:
        assert owner == "postern_owner" and not public, name
        if name == "account_source_name":  # a constant, to be inlined
            assert (language, definer, config) == ("sql", False, None)
            continue
        if name in INVOKERS:
            assert not definer, name
            definer = True
        assert language == "plpgsql", name
        assert definer, name
        assert config[0] == "search_path=postern, pg_catalog, pg_temp", name
        assert set(config[1:]) <= {"plan_cache_mode=force_custom_plan", "lock_timeout=500ms"}, name


def test_a_later_function_is_not_public_either(db):
    with db.owner.transaction(force_rollback=True):
        db.owner.execute("SET LOCAL ROLE postern_owner")
        db.owner.execute("CREATE FUNCTION postern.later() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'")
        assert not one(db.owner, "SELECT has_function_privilege('postern_service', 'postern.later()', 'EXECUTE')")


def test_owner_cannot_log_in(db):
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        db.connect("postern_owner")


def test_service_settings(db):
    shown = {name: one(db.service, f"SHOW {name}") for name in (
        "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "jit",
        "default_transaction_isolation", "synchronous_commit")}
    assert shown == {"statement_timeout": "2s", "lock_timeout": "1s",
                     "idle_in_transaction_session_timeout": "5s", "jit": "off",
                     "default_transaction_isolation": "read committed", "synchronous_commit": "on"}


def test_contract(db):
    assert one(db.service, "SELECT postern.contract()") == 1


# --------------------------------------------------------------------- look-up
def lookup(db, login):
    cursor = db.service.execute("SELECT * FROM postern.account_lookup(%s)", (login,))
    names = [column.name for column in cursor.description]
    rows = cursor.fetchall()
    assert len(rows) <= 1
    return dict(zip(names, rows[0])) if rows else None


def test_lookup_gives_the_contract(db):
    account_id = db.account(login="Alice@Example.TEST")
    row = lookup(db, "aLICE@example.test")
    assert list(row) == ["account_id", "version", "login", "password_hash", "enabled", "recipients",
                         "message_bytes", "senders", "sender_count", "from_policy", "token",
                         "password_version", "sessions", "burst_messages", "burst_recipients", "grace_messages",
                         "grace_recipients", "grace_bytes", "wants_bytes", "wants_recipients", "leasable"]
    assert row["account_id"] == account_id
    assert row["login"] == "alice@example.test"
    assert row["password_hash"] == HASH
    assert row["enabled"] is True
    assert (row["recipients"], row["message_bytes"]) == (100, 0)
    assert (row["senders"], row["sender_count"]) == (["a:alice@example.test"], 1)
    assert row["from_policy"] is None
    assert row["token"] == one(db.owner, "SELECT token FROM postern.account WHERE account_id = %s", account_id)


@pytest.mark.threat("H03")
@pytest.mark.parametrize("login", ["", "nobody", "' OR 1=1--", "' OR ''='", "\\", "\\'", "$1", "%", "_", "*",
                                   "alice@example.test'--", "alice@example.test ", " alice@example.test",
                                   "x" * 320, "x" * 321, "x" * 100_000, "{alice@example.test}"],
                         ids=lambda login: f"{len(login)}:{login[:20]}")
def test_lookup_of_the_unknown_gives_no_row(db, login):
    if lookup(db, "alice@example.test") is None:
        db.account(login="alice@example.test")
    assert lookup(db, login) is None


@pytest.mark.threat("H03")
@pytest.mark.parametrize("login", ["o'brien", "'or'1=1--", 'a"b', "back\\slash", "$1", "100%", "under_score",
                                   "y" * 320, "{brace}", "jörg@example.test", "пример@example.test"],
                         ids=lambda login: login[:20])
def test_odd_logins_are_found_and_only_they(db, login):
    account_id = db.account(login=login)
    assert lookup(db, login)["account_id"] == account_id
    assert lookup(db, login[:-1]) is None


def test_only_ascii_is_folded(db):
    account_id = db.account(login="JÖRG")
    assert lookup(db, "jÖrg")["account_id"] == account_id
    assert lookup(db, "jörg") is None


@pytest.mark.threat("H03")
@pytest.mark.parametrize("octets", [b"\xff", b"a\xc3", b"\xc0\xaf", b"\xed\xa0\x80"])
def test_invalid_utf8_is_an_error_and_the_connection_goes_on(db, octets):
    result = db.service.pgconn.exec_params(b"SELECT * FROM postern.account_lookup($1)", [octets])
    assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"22021"
    assert one(db.service, "SELECT postern.contract()") == 1


def test_lookup_of_a_disabled_account_without_password(db):
    login = "nopassword@example.test"
    db.admin.execute("SELECT postern.account_add(%s)", (login,))
    db.admin.execute("SELECT postern.account_set_enabled(%s, false)", (login,))
    row = lookup(db, login)
    assert row["password_hash"] is None
    assert row["enabled"] is False


def test_lookup_tells_limits_of_one_message(db):
    account_id = db.account('{"recipients_message": 7, "message_bytes": 1000}')
    row = lookup(db, db.login(account_id))
    assert (row["recipients"], row["message_bytes"]) == (7, 1000)
    db.admin.execute("SELECT postern.limits_set(%s, %s)",
                     (db.login(account_id), '{"recipients_message": "unlimited", "message_bytes": null}'))
    row = lookup(db, db.login(account_id))
    assert (row["recipients"], row["message_bytes"]) == (0, 0)


# ---------------------------------------------------------- the header From, tokens
def test_lookup_tells_the_policy_of_from(db):
    login = db.login(db.account())
    for policy in ("off", "observe", "reject", "rewrite", None):
        db.admin.execute("SELECT postern.account_set_from_policy(%s, %s)", (login, policy))
        assert lookup(db, login)["from_policy"] == policy


@pytest.mark.parametrize("policy", ["", "OFF", "listener", "rejected", "off "])
def test_what_is_no_policy_of_from_is_refused(db, policy):
    login = db.login(db.account())
    db.admin.execute("SELECT postern.account_set_from_policy(%s, 'reject')", (login,))
    with pytest.raises(errors.InvalidParameterValue):
        db.admin.execute("SELECT postern.account_set_from_policy(%s, %s)", (login, policy))
    assert lookup(db, login)["from_policy"] == "reject"
    with pytest.raises(errors.CheckViolation):
        db.owner.execute("UPDATE postern.account SET from_policy = %s WHERE login = %s", (policy, login))


def test_a_policy_of_from_for_nobody(db):
    with pytest.raises(errors.NoDataFound):
        db.admin.execute("SELECT postern.account_set_from_policy('nobody@example.test', 'off')")


def test_tokens_are_of_75_random_bits(db):
    tokens = [row[0] for row in db.owner.execute("SELECT postern.token_new() FROM generate_series(1, 4000)")]
    assert len(set(tokens)) == 4000
    for place in range(15):
        seen = collections.Counter(token[place] for token in tokens)
        assert set(seen) == set("abcdefghijklmnopqrstuvwxyz234567"), place
        assert max(seen.values()) < 250, place  # 125 is the mean, 11 the deviation
    assert {len(token) for token in tokens} == {15}


def test_a_token_names_its_account(db):
    account_id = db.account()
    login = db.login(account_id)
    first = lookup(db, login)["token"]
    for spelt in (first, first.upper()):
        rows = db.admin.execute("SELECT * FROM postern.account_by_token(%s)", (spelt,)).fetchall()
        assert rows == [(account_id, login, True)]
    second = one(db.admin, "SELECT postern.account_rotate_token(%s)", login)
    assert lookup(db, login)["token"] == second != first
    assert one(db.admin, "SELECT login FROM postern.account_by_token(%s)", second) == login
    for nobodys in (first, "", None, second + "a", "%", "_" * 15):
        with pytest.raises(errors.NoDataFound):
            db.admin.execute("SELECT * FROM postern.account_by_token(%s)", (nobodys,))
    with pytest.raises(errors.NoDataFound):
        db.admin.execute("SELECT postern.account_rotate_token('nobody@example.test')")


def test_a_token_is_one_accounts_only(db):
    token = lookup(db, db.login(db.account()))["token"]
    with pytest.raises(errors.UniqueViolation):
        db.owner.execute("UPDATE postern.account SET token = %s WHERE account_id = %s", (token, db.account()))


# --------------------------------------------------------------------- senders
def test_lookup_tells_32_senders_and_that_there_are_more(db):
    login = db.login(db.account())
    for n in range(31):
        assert one(db.admin, "SELECT postern.sender_add(%s, %s)", login, f"s{n:02}@example.test") is True
    row = lookup(db, login)
    assert (len(row["senders"]), row["sender_count"]) == (32, 32)
    db.admin.execute("SELECT postern.sender_add(%s, '*')", (login,))
    db.admin.execute("SELECT postern.sender_add(%s, '@big.test')", (login,))
    row = lookup(db, login)
    assert (len(row["senders"]), row["sender_count"]) == (32, 33)
    assert one(db.service, "SELECT postern.sender_owned(%s, 'anybody@else.test')", row["account_id"]) is True


def test_lookup_spells_the_kinds(db):
    login = "kinds"  # not an address: no sender of its own
    db.admin.execute("SELECT postern.account_add(%s)", (login,))
    assert lookup(db, login)["senders"] == []
    for sender in ("*", "@Example.TEST", "Bob@example.test"):
        db.admin.execute("SELECT postern.sender_add(%s, %s)", (login, sender))
    assert sorted(lookup(db, login)["senders"]) == ["*", "a:bob@example.test", "d:example.test"]


@pytest.mark.parametrize("address, owned", [
    ("me@own.test", True), ("ME@Own.Test", True), ("you@own.test", False), ("me@own.test ", False),
    ("any@dom.test", True), ("ANY@DOM.TEST", True), ("any@sub.dom.test", False), ("any@xdom.test", False),
    ("any@dom.test.evil", False), ("@dom.test", True), ('"a@b"@dom.test', True), ("any@dom.test@evil.test", False),
    ("dom.test", False), ("", False), ("*", False), ("@", False), ("' OR 1=1--", False), ("%@dom.tes_", False),
])
def test_sender_owned(db, address, owned):
    login = "senders@owner.test"
    if lookup(db, login) is None:
        db.account(login=login)
        db.admin.execute("SELECT postern.sender_add(%s, 'me@own.test')", (login,))
        db.admin.execute("SELECT postern.sender_add(%s, '@dom.test')", (login,))
    account_id = lookup(db, login)["account_id"]
    assert one(db.service, "SELECT postern.sender_owned(%s, %s)", account_id, address) is owned


def test_a_sender_is_one_accounts_alone(db):
    mine, theirs = db.account(), db.account()
    db.admin.execute("SELECT postern.sender_add(%s, 'only@mine.test')", (db.login(mine),))
    assert one(db.service, "SELECT postern.sender_owned(%s, 'only@mine.test')", mine) is True
    assert one(db.service, "SELECT postern.sender_owned(%s, 'only@mine.test')", theirs) is False


@pytest.mark.parametrize("sender", ["", "alice", "@", "a@", "a@b c", "@@b.test", "a\n@b.test", "a@b.test\r", "@b.test@c",
                                    "a@.test", "a@b..test", "a@b.", "**", "x" * 320 + "@a.test", None],
                         ids=lambda sender: str(sender)[:20])
def test_what_is_no_sender_is_refused(db, sender):
    login = db.login(db.account())
    with pytest.raises(errors.InvalidParameterValue):
        db.admin.execute("SELECT postern.sender_add(%s, %s)", (login, sender))


def test_sender_add_and_del_tell_whether_they_did_anything(db):
    login = db.login(db.account())
    assert one(db.admin, "SELECT postern.sender_add(%s, 'a@b.test')", login) is True
    assert one(db.admin, "SELECT postern.sender_add(%s, 'A@B.test')", login) is False
    assert one(db.admin, "SELECT postern.sender_del(%s, 'A@b.TEST')", login) is True
    assert one(db.admin, "SELECT postern.sender_del(%s, 'a@b.test')", login) is False


def test_sender_list_pages(db):
    login = "pages"
    db.admin.execute("SELECT postern.account_add(%s)", (login,))
    senders = ["a@x.test", "b@x.test", "*", "@y.test", "@z.test"]
    for sender in reversed(senders):
        db.admin.execute("SELECT postern.sender_add(%s, %s)", (login, sender))
    after, seen = None, []
    while True:
        page = db.admin.execute("SELECT * FROM postern.sender_list(%s, %s, 2)", (login, after)).fetchall()
        if not page:
            break
        seen += [row[0] for row in page]
        after = seen[-1]
    assert seen == senders


# -------------------------------------------------------------------- versions
@pytest.mark.parametrize("change", [
    "SELECT postern.account_set_password('{login}', NULL)",
    "SELECT postern.account_set_enabled('{login}', false)",
    "SELECT postern.account_set_plan('{login}', 'other')",
    "SELECT postern.account_set_from_policy('{login}', 'observe')",
    "SELECT postern.account_rotate_token('{login}')",
    "SELECT postern.limits_set('{login}', '{{\"messages_hour\": 1}}')",
    "SELECT postern.sender_add('{login}', 'new@example.test')",
    "SELECT postern.sender_del('{login}', '{login}')",
    "SELECT postern.plan_set('default', '{{\"messages_day\": 5000}}')",
])
def test_every_change_raises_the_version(db, change):
    db.admin.execute("SELECT postern.plan_set('other')")
    login = db.login(db.account())
    before = db.version(login)
    db.admin.execute(change.format(login=login))
    assert db.version(login) > before


@pytest.mark.parametrize("change", [
    "UPDATE postern.account SET status = 'disabled' WHERE account_id = {id}",
    "INSERT INTO postern.sender VALUES ({id}, 'any', '*')",
    "UPDATE postern.sender SET value = 'x@y.test' WHERE account_id = {id}",
    "DELETE FROM postern.sender WHERE account_id = {id}",
])
def test_a_change_by_hand_raises_the_version_too(db, change):
    account_id = db.account()
    login = db.login(account_id)
    before = db.version(login)
    db.owner.execute(change.format(id=account_id))
    assert db.version(login) > before


def test_a_sender_that_moves_raises_both_versions(db):
    old, new = db.account(), db.account()
    versions = db.version(db.login(old)), db.version(db.login(new))
    db.owner.execute("UPDATE postern.sender SET account_id = %s WHERE account_id = %s", (new, old))
    assert db.version(db.login(old)) > versions[0]
    assert db.version(db.login(new)) > versions[1]


def test_a_change_of_another_account_does_not(db):
    login, other = db.login(db.account()), db.login(db.account())
    before = db.version(login)
    db.admin.execute("SELECT postern.account_set_enabled(%s, false)", (other,))
    db.admin.execute("SELECT postern.sender_add(%s, '*')", (other,))
    assert db.version(login) == before


def test_takes_do_not_raise_the_version(db):
    account_id = db.account()
    before = db.version(db.login(account_id))
    assert db.take(account_id, 1, 1, NOW).result == 0
    assert db.version(db.login(account_id)) == before


def test_a_recreated_account_has_another_version_and_id(db):
    account_id = db.account(login="again@example.test")
    before = db.version("again@example.test")
    db.owner.execute("DELETE FROM postern.account WHERE account_id = %s", (account_id,))
    assert db.account(login="again@example.test") != account_id
    assert db.version("again@example.test") > before


def wait_until_blocked(db, connection):
    """Until another connection waits for a lock that this one holds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if one(db.owner, "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
               connection.info.backend_pid):
            return
    raise AssertionError("nobody waits")


def in_thread(function):
    result = {}

    def run():
        try:
            result["value"] = function()
        except psycopg.Error as error:
            result["error"] = error
    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join(10)
        assert not thread.is_alive()
        if "error" in result:
            raise result["error"]
        return result.get("value")
    return join


def test_versions_are_drawn_in_the_order_of_commits(db):
    """A plan's change that began first and ends last must not hide below the account's version."""
    login = db.login(db.account())
    with db.connect("postern_admin") as first, db.connect("postern_admin") as second:
        with first.transaction():
            first.execute("SELECT postern.plan_set('default', '{\"messages_day\": 5000}')")
            join = in_thread(lambda: second.execute("SELECT postern.account_set_enabled(%s, false)", (login,)))
            wait_until_blocked(db, first)
            before = db.version(login)
        join()
        assert db.version(login) > before
        with second.transaction():
            second.execute("SELECT postern.account_set_enabled(%s, true)", (login,))
            join = in_thread(lambda: first.execute("SELECT postern.plan_set('default', '{\"messages_day\": 5000}')"))
            wait_until_blocked(db, second)
        between = one(db.owner, "SELECT version FROM postern.account WHERE login = %s", login)
        join()
        assert db.version(login) > between


# --------------------------------------------------------------- administration
def test_account_add_refuses(db):
    db.account(login="taken@example.test")
    for login, want in (("TAKEN@example.test", errors.UniqueViolation), ("", errors.InvalidParameterValue),
                        ("x" * 321, errors.InvalidParameterValue), ("a\tb", errors.InvalidParameterValue),
                        ("a\x7f", errors.InvalidParameterValue), ("a\x85", errors.InvalidParameterValue),
                        (None, errors.InvalidParameterValue)):
        with pytest.raises(want):
            db.admin.execute("SELECT postern.account_add(%s)", (login,))
    with pytest.raises(errors.UndefinedObject):
        db.admin.execute("SELECT postern.account_add('b@example.test', NULL, 'nosuchplan')")


@pytest.mark.parametrize("password_hash", ["", "secret", "$2b$12$abcdefghijklmnopqrstuv", HASH[:-30], HASH + "=",
                                           HASH.replace("p=1", "p=4"), HASH.replace("argon2id", "argon2i"), "x" * 300])
def test_what_cannot_be_verified_is_not_stored(db, password_hash):
    login = db.login(db.account())
    with pytest.raises(errors.InvalidParameterValue):
        db.admin.execute("SELECT postern.account_set_password(%s, %s)", (login, password_hash))


@pytest.mark.parametrize("limits", ['{"messages_hour": -1}', '{"messages_hour": -500}', '{"messages_hour": 1.5}',
                                    '{"messages_hour": "500"}', '{"messages_hour": 1e30}', '{"messages_hour": true}',
                                    '{"messages_hour": "Unlimited"}', '{"messages_year": 1}',
                                    '{"messages_hour": 1000000000000001}', '{"sessions": 2147483648}', "[]", "3", '"x"',
                                    '{"recipients_message": 0}', '{"message_bytes": 0}',
                                    '{"recipients_message": 2147483648}'])
def test_what_is_no_limit_is_refused(db, limits):
    login = db.login(db.account())
    before = db.admin.execute("SELECT * FROM postern.limits_show(%s)", (login,)).fetchall()
    with pytest.raises(errors.InvalidParameterValue):
        db.admin.execute("SELECT postern.limits_set(%s, %s)", (login, limits))
    assert db.admin.execute("SELECT * FROM postern.limits_show(%s)", (login,)).fetchall() == before


def test_limits_show_tells_where_from_and_what_is_used(db):
    account_id = db.account('{"messages_hour": 7, "messages_day": "unlimited"}')
    db.service.execute("SELECT postern.quota_take(%s, 2, 3)", (account_id,))
    rows = db.admin.execute("SELECT * FROM postern.limits_show(%s)", (db.login(account_id),)).fetchall()
    shown = {row[1]: (row[0], *row[3:7]) for row in rows}
    assert list(shown) == [row[0] for row in db.owner.execute("SELECT name FROM postern.limit_kind ORDER BY number")]
    assert shown["messages_hour"] == ("account", 7, "own", 2, HOUR)
    assert shown["messages_day"] == ("account", -1, "own", 2, DAY)
    assert shown["recipients_hour"] == ("account", 1000, "plan default", 3, HOUR)
    assert shown["bytes_month"] == ("account", -1, "plan default", 0, 30 * DAY)
    assert shown["distinct_day"] == ("account", -1, "plan default", None, DAY)
    assert shown["recipients_message"] == ("account", 100, "plan default", None, None)


def test_what_left_the_window_is_not_shown_as_used(db):
    account_id = db.account()
    assert db.take(account_id, 5, 5, NOW - 400 * DAY).result == 0
    rows = db.admin.execute("SELECT name, used FROM postern.limits_show(%s)", (db.login(account_id),)).fetchall()
    assert dict(rows)["messages_hour"] == 0
    assert dict(rows)["recipients_day"] == 0


def test_plans(db):
    db.admin.execute("SELECT postern.plan_set('small', '{\"messages_hour\": 1, \"message_bytes\": 5000}')")
    login = "small@example.test"
    db.admin.execute("SELECT postern.account_add(%s, NULL, 'small')", (login,))
    account_id = lookup(db, login)["account_id"]
    assert lookup(db, login)["message_bytes"] == 5000
    assert [db.take(account_id, 1, 1, NOW).result for _ in range(2)] == [0, 1]
    db.admin.execute("SELECT postern.plan_set('small', '{\"messages_hour\": 2}')")
    assert [db.take(account_id, 1, 1, NOW).result for _ in range(2)] == [0, 1]
    plans = db.admin.execute("SELECT * FROM postern.plan_list()").fetchall()
    assert ("small", 1, {"messages_hour": 2, "message_bytes": 5000, "on_exceed": "defer", "warn_percent": None,
                         "grace": {}}) in plans


def test_accounts_add_many(db):
    count = one(db.admin, "SELECT postern.accounts_add_many(array_agg('User' || i || '@many.test'), %s)"
                          " FROM generate_series(1, 2000) i", HASH)
    assert count == 2000
    again = one(db.admin, "SELECT postern.accounts_add_many(%s, NULL)", ["user2000@many.test", "user2001@many.test"])
    assert again == 1
    row = lookup(db, "user2000@many.test")
    assert (row["password_hash"], row["senders"]) == (HASH, ["a:user2000@many.test"])
    assert one(db.owner, "SELECT count(DISTINCT token) FROM postern.account WHERE login LIKE '%%@many.test'") == 2001


def test_account_list_pages(db):
    db.admin.execute("SELECT postern.accounts_add_many(%s)", (["zz-a", "zz-b", "zz-c", "zz-d", "zz-e"],))
    everything = [row[0] for row in db.admin.execute("SELECT login FROM postern.account_list('', 10000)")]
    assert everything == sorted(everything, key=lambda login: login.encode())
    seen, after = [], ""
    while True:
        page = db.admin.execute("SELECT login FROM postern.account_list(%s, 400)", (after,)).fetchall()
        if not page:
            break
        seen += [row[0] for row in page]
        after = seen[-1]
    assert seen == everything
    assert {"zz-a", "zz-e"} <= set(seen)
    for page in (0, -1, 10001, None):
        with pytest.raises(errors.InvalidParameterValue):
            db.admin.execute("SELECT postern.account_list('', %s)", (page,))


# -------------------------------------------------------------------- migration
def test_migrations_run_as_the_databases_owner_with_createrole():
    server = pg.Server().start()  # of its own: roles belong to the cluster
    try:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE provider LOGIN CREATEROLE")
        for _ in range(2):  # the second finds the roles
            name = server.create_database("provider")
            pg.apply_migrations(server.dsn(name, "provider"))
            with psycopg.connect(server.dsn(name, "postern_admin"), autocommit=True) as admin:
                admin.execute("SELECT postern.account_add('alice@example.test')")
            with psycopg.connect(server.dsn(name, "postern_service"), autocommit=True) as service:
                assert one(service, "SELECT login FROM postern.account_lookup('alice@example.test')")
                with pytest.raises(errors.InsufficientPrivilege):
                    service.execute("CREATE TEMP TABLE shadow (a int)")
    finally:
        server.destroy()


def test_migrating_as_somebody_else_is_refused_whole():
    server = pg.shared()
    name = server.create_database()
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE stranger LOGIN CREATEROLE")
    with pytest.raises(psycopg.Error, match="could not revoke TEMPORARY"):
        pg.apply_migrations(server.dsn(name, "stranger"))
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        assert one(connection, "SELECT to_regnamespace('postern')") is None
