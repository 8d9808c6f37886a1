# SPDX-License-Identifier: ISC
"""What tells a change: versions of passwords, and the log of changes that nodes follow."""

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
