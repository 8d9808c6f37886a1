# SPDX-License-Identifier: ISC
"""What tells a change: versions of passwords, and the log of changes that nodes follow."""

import random
import re
from collections import namedtuple

import pytest
from psycopg import errors

import pg
from test_sql import HASH, Database, lookup, one


@pytest.fixture(scope="module")
def db():
    database = Database(pg.shared())
    yield database
    database.close()


# ------------------------------------------------------------------- passwords
PASSWORDS = "SELECT password_version FROM postern.account_lookup(%s)"


@pytest.mark.parametrize("change, new", [
    ("SELECT postern.account_set_password('{login}', '{other}')", True),
    ("SELECT postern.account_set_password('{login}', NULL)", True),
    ("UPDATE postern.account SET password_hash = '{other}' WHERE login = '{login}'", True),
    ("SELECT postern.account_set_password('{login}', '{hash}')", False),
    ("SELECT postern.account_set_enabled('{login}', false)", False),
    ("SELECT postern.limits_set('{login}', '{{\"messages_hour\": 1}}')", False),
    ("SELECT postern.account_rotate_token('{login}')", False),
    ("SELECT postern.sender_add('{login}', 'new@example.test')", False),
])
def test_a_new_password_alone_has_a_new_version(db, change, new):
    login = db.login(db.account())
    before = one(db.service, PASSWORDS, login)
    by = db.owner if change.startswith("UPDATE") else db.admin
    by.execute(change.format(login=login, hash=HASH, other=HASH[:-2] + "zz"))
    assert (one(db.service, PASSWORDS, login) > before) == new


def test_a_better_hash_is_the_same_password(db):
    account_id = db.account()
    login = db.login(account_id)
    better = HASH.replace("t=1", "t=2")
    before = one(db.service, PASSWORDS, login), db.version(login)
    rehash = "SELECT postern.account_rehash(%s, %s, %s, %s)"
    assert one(db.service, rehash, account_id, before[1], HASH, better) is True
    assert lookup(db, login)["password_hash"] == better
    assert one(db.service, PASSWORDS, login) == before[0]
    assert db.version(login) > before[1]
    # Somebody else was faster, or the password is another one meanwhile.
    assert one(db.service, rehash, account_id, before[1], HASH, HASH) is False
    assert lookup(db, login)["password_hash"] == better
    # What its function sets ends with it.
    db.admin.execute("SELECT postern.account_set_password(%s, %s)", (login, HASH))
    assert one(db.service, PASSWORDS, login) > before[0]


@pytest.mark.parametrize("new_hash", [None, "", "secret"])
def test_a_rehash_stores_a_hash_or_nothing(db, new_hash):
    account_id = db.account()
    with pytest.raises(errors.InvalidParameterValue):
        db.service.execute("SELECT postern.account_rehash(%s, 1, %s, %s)", (account_id, HASH, new_hash))
    assert lookup(db, db.login(account_id))["password_hash"] == HASH


# --------------------------------------------------------------- the log of changes
Changes = namedtuple("Changes", "cursor everything accounts credentials blocks epoch")
NOTHING = (False, [], [], False)


class Follower:
    """A node: it hears, and asks for what came since it asked last."""

    def __init__(self, db):
        self.connection = db.connect("postern_service")
        self.notes = []
        self.connection.add_notify_handler(lambda note: self.notes.append(note.payload))
        self.connection.execute("LISTEN postern_change")
        self.cursor = None
        self.poll()

    def poll(self):
        changes = Changes(*self.connection.execute("SELECT * FROM postern.changes_since(%s)",
                                                   (self.cursor,)).fetchone())
        self.cursor = changes.cursor
        return changes[1:5]

    def heard(self):
        """The payloads that have come."""
        self.connection.execute("SELECT 1")
        heard, self.notes = self.notes, []
        return heard

    def close(self):
        self.connection.close()


@pytest.fixture
def node(db):
    follower = Follower(db)
    yield follower
    follower.close()


def test_who_asks_for_the_first_time_gets_everything(db):
    row = Changes(*db.service.execute("SELECT * FROM postern.changes_since(NULL)").fetchone())
    assert row[1:5] == (True, [], [], True)
    assert re.fullmatch(r"\d+/0000000[1-9]", row.epoch)


@pytest.mark.parametrize("change", [
    "SELECT postern.account_set_password('{login}', NULL)",
    "SELECT postern.account_set_enabled('{login}', false)",
    "SELECT postern.account_set_from_policy('{login}', 'observe')",
    "SELECT postern.limits_set('{login}', '{{\"messages_hour\": 1}}')",
    "SELECT postern.sender_add('{login}', 'new@example.test')",
    "SELECT postern.sender_del('{login}', '{login}')",
    "DELETE FROM postern.account WHERE login = '{login}'",
    "UPDATE postern.sender SET value = 'x@y.test' WHERE account_id = {id}",
])
def test_a_change_is_told_once(db, node, change):
    account_id = db.account()
    node.poll()
    node.heard()
    by = db.admin if change.startswith("SELECT") else db.owner
    by.execute(change.format(login=db.login(account_id), id=account_id))
    assert node.heard() == [f"a:{account_id}"]
    assert node.poll() == (False, [account_id], [], False)
    assert node.poll() == NOTHING


@pytest.mark.parametrize("action", [
    "SELECT postern.account_add('{fresh}')",
    "SELECT * FROM postern.account_lookup('{login}')",
    "SELECT * FROM postern.quota_take({id}, 1, 1)",
    "SELECT postern.account_rehash({id}, 1, '{hash}', '{hash}')",
    "SELECT postern.plan_set('unused')",
    "SELECT postern.sender_del('{login}', 'nobody@example.test')",
    "UPDATE postern.account SET status = 'disabled' WHERE false",
    "UPDATE postern.plan SET limits = limits",
])
def test_what_concerns_no_memory_is_told_to_nobody(db, node, action):
    account_id = db.account()
    node.poll()
    node.heard()
    db.owner.execute(action.format(login=db.login(account_id), id=account_id, hash=HASH,
                                   fresh=f"fresh{account_id}@example.test"))
    assert node.heard() == []
    assert node.poll() == NOTHING


@pytest.mark.parametrize("change", [
    "SELECT postern.credential_revoke('{public}')",
    "UPDATE postern.credential SET networks = '{{192.0.2.0/24}}' WHERE public_id = '{public}'",
    "DELETE FROM postern.credential WHERE public_id = '{public}'",
])
def test_a_changed_credential_is_told_with_its_account(db, node, change):
    account_id = db.account()
    public = "".join(random.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(12))
    node.poll()
    node.heard()
    number = one(db.admin, "SELECT postern.credential_add(%s, %s, %s, %s)", db.login(account_id), public,
                 "00112233445566aa", bytes(32))
    assert (node.heard(), node.poll()) == ([], NOTHING)
    by = db.admin if change.startswith("SELECT") else db.owner
    by.execute(change.format(public=public))
    assert node.heard() == ["?"]
    assert node.poll() == (False, [account_id], [number], False)


def test_a_plan_changes_its_accounts(db, node):
    db.admin.execute("SELECT postern.plan_set('few')")
    ids = [db.account() for _ in range(3)]
    for account_id in ids[:2]:
        db.admin.execute("SELECT postern.account_set_plan(%s, 'few')", (db.login(account_id),))
    node.poll()
    db.admin.execute("""SELECT postern.plan_set('few', '{"recipients_message": 5}')""")
    assert node.poll() == (False, ids[:2], [], False)


def test_more_than_a_thousand_are_everything(db, node):
    db.admin.execute("SELECT postern.plan_set('many')")
    db.admin.execute("SELECT postern.accounts_add_many(ARRAY(SELECT 'many' || n || '@example.test'"
                     " FROM generate_series(1, 1001) n), NULL, 'many')")
    assert (node.heard(), node.poll()) == ([], NOTHING)
    several = "UPDATE postern.account SET status = 'enabled' WHERE login IN" \
              " (SELECT login FROM postern.account WHERE login ~ '^many' ORDER BY account_id LIMIT {})"
    db.owner.execute(several.format(1000))
    assert len(node.heard()) == 1
    changes = node.poll()
    assert (changes[0], len(changes[1])) == (False, 1000)
    for change in (several.format(1001), "UPDATE postern.plan SET limits = '{NULL,7}' WHERE name = 'many'"):
        db.owner.execute(change)
        assert node.heard() == ["*"]
        assert node.poll() == (True, [], [], True)
        assert node.poll() == NOTHING
    # Two statements of a thousand each.
    db.owner.execute(several.format(1000))
    db.owner.execute(several.format(1001).replace("LIMIT", "OFFSET 600 LIMIT"))
    assert node.poll()[0] is True


@pytest.mark.parametrize("count, named", [(2, True), (235, True), (236, False), (1000, False)])
def test_a_payload_has_less_than_4000_octets(db, node, count, named):
    ids = [10**15 + n for n in range(count)]
    db.owner.execute("SELECT postern.changes_note('account', %s::bigint[])", (ids,))
    assert node.heard() == ["a:" + ",".join(map(str, ids)) if named else "?"]
    assert node.poll() == (False, ids, [], False)


def test_one_notification_a_statement(db, node):
    ids = sorted(db.account() for _ in range(3))
    node.poll()
    node.heard()
    with db.owner.transaction():
        db.owner.execute("UPDATE postern.account SET status = 'disabled' WHERE account_id = ANY (%s)", (ids,))
        assert node.heard() == []
    payload, = node.heard()
    assert sorted(int(number) for number in payload[2:].split(",")) == ids
    assert sorted(node.poll()[1]) == ids


def test_an_earlier_transaction_that_commits_later_is_not_lost(db, node):
    first, second = db.account(), db.account()
    disable = "UPDATE postern.account SET status = 'disabled' WHERE account_id = %s"
    slow = db.connect(pg.USER)
    try:
        node.poll()
        with slow.transaction():
            slow.execute(disable, (first,))
            db.owner.execute(disable, (second,))
            assert node.poll() == (False, [second], [], False)
            assert node.poll() == NOTHING  # and the second is not told again meanwhile
        assert node.poll() == (False, [first], [], False)
        assert node.poll() == NOTHING
    finally:
        slow.close()


def test_what_is_rolled_back_is_told_to_nobody(db, node):
    account_id = db.account()
    node.poll()
    node.heard()
    with db.owner.transaction(force_rollback=True):
        db.owner.execute("DELETE FROM postern.account WHERE account_id = %s", (account_id,))
    assert (node.heard(), node.poll()) == ([], NOTHING)


def test_a_long_snapshot_is_a_short_cursor(db, node):
    """Nothing is lost by it, and something may be told twice."""
    account_id = db.account()
    node.poll()
    others = [db.connect(pg.USER) for _ in range(40)]
    try:
        for other in others:
            other.autocommit = False
            other.execute("SELECT pg_current_xact_id()")
        db.owner.execute("SELECT postern.account_set_enabled(%s, false)", (db.login(account_id),))
        assert node.poll()[1] == [account_id]
        assert re.fullmatch(r"(\d+):\1:", node.cursor)
        assert node.poll()[0] is False
    finally:
        for other in others:
            other.close()


def test_a_table_of_credentials_and_one_of_blocks(db, node):
    """As the triggers of other tables use it."""
    db.owner.execute("SELECT postern.changes_note('credential', ARRAY[4, 5, 4]::bigint[], ARRAY[7, 8, 9]::bigint[])")
    assert node.heard() == ["?"]
    assert node.poll() == (False, [4, 5], [7, 8, 9], False)
    db.owner.execute("SELECT postern.changes_note('block')")
    assert node.poll() == (False, [], [], True)


def test_old_changes_are_forgotten_and_their_reader_gets_everything(db, node):
    account_id = db.account()
    late = Follower(db)
    try:
        node.poll()
        db.owner.execute("SELECT postern.account_set_enabled(%s, false)", (db.login(account_id),))
        assert one(db.service, "SELECT postern.changes_clean()") == 0
        assert node.poll() == (False, [account_id], [], False)
        db.owner.execute("UPDATE postern.change_log SET at = at - interval '61 minutes'")
        assert one(db.service, "SELECT postern.changes_clean()") > 0
        assert one(db.owner, "SELECT count(*) FROM postern.change_log") == 0
        assert one(db.service, "SELECT postern.changes_clean()") == 0
        assert node.poll() == NOTHING
        assert late.poll()[0] is True
        assert late.poll() == NOTHING
    finally:
        late.close()


def test_one_cleans_at_a_time(db):
    with db.owner.transaction():
        assert one(db.owner, "SELECT postern.changes_clean()") is not None
        assert one(db.service, "SELECT postern.changes_clean()") is None


@pytest.mark.parametrize("since", ["", "x", "5", "1:2", "-1:1:", "1:1:'; DROP TABLE postern.account"])
def test_a_cursor_is_a_snapshot(db, since):
    with pytest.raises(errors.InvalidTextRepresentation):
        db.service.execute("SELECT * FROM postern.changes_since(%s)", (since,))
