# SPDX-License-Identifier: ISC
"""Hashes that others made, and names beyond ASCII: in the database, and through a log-in."""
import os
import re
import unicodedata

import pytest
from psycopg import errors

from test_auth import FAILED, superuser
from test_sql import HASH, db, one  # noqa: F401

VECTORS = os.path.join(os.path.dirname(__file__), "..", "unit", "password_vectors.h")
STRING = r'"((?:[^"\\]|\\.)*)"'


def octets(literals):
    """The text of C's string literals, as the compiler joins them."""
    return "".join(re.findall(STRING, literals)).encode().decode("unicode_escape").encode("latin-1").decode()


def vectors():
    """(secret, hash), from the unit tests' table."""
    with open(VECTORS, encoding="ascii") as file:
        text = file.read()
    secrets = {name: octets(literal) for name, literal in re.findall(r"#define (\w+) (\".*\")", text)}
    rows = re.findall(rf"^\t\{{{STRING}, {STRING}, (\w+),\s+((?:\"(?:[^\"\\]|\\.)*\"\s*)+)\}},$", text, re.MULTILINE)
    return [(secrets[row[2]], octets(row[3])) for row in rows]


@pytest.fixture(scope="module")
def box(make_sandbox):
    return make_sandbox(settings=["limits.connections_per_prefix=1000", "limits.unauthenticated_per_prefix=1000",
                                  "limits.errors=1000"])


# ------------------------------------------------------------------------- hashes
def test_what_others_made_is_stored(db):
    stored = vectors()
    assert len(stored) > 50
    login = db.login(db.account())
    for _, password_hash in stored:
        db.admin.execute("SELECT postern.account_set_password(%s, %s)", (login, password_hash))
        assert one(db.admin, "SELECT password_hash FROM postern.account_auth(%s)", login) == password_hash


TAG43, TAG86 = "a" * 43, "a" * 86


@pytest.mark.parametrize("password_hash", [
    "{MD5}$1$12345678$" + "a" * 22, "{SMD5}X03MO1qnZdYdgyfeuILPmWFiY2Q=", "{CRYPT}abJnggxhB/yWI", "abJnggxhB/yWI",
    "$2b$14$" + "a" * 53, "$2b$03$" + "a" * 53, "$2x$10$" + "a" * 53, "$2b$10$" + "a" * 52, "$6$salt$" + TAG43,
    "$6$rounds=999$salt$" + TAG86, "$5$sa:lt$" + TAG43, "$y$k9T$abcd$" + TAG43, "$7$abcd$" + TAG43, "{SHA.b32}" + TAG43,
    "{PLAIN}", "{PLAIN}a\tb", "{NTLM}8846f7eaee8fb117ad06bdd830b7586c", "{PBKDF2}$2$salt$1000$" + "0" * 40,
    "$pbkdf2-sha256$0$AAAA$" + TAG43, HASH.replace("t=1", "t=11"), "x" + HASH, HASH + "\n"])
def test_what_is_no_hash_is_not_stored(db, password_hash):
    login = db.login(db.account())
    with pytest.raises(errors.InvalidParameterValue) as raised:
        db.admin.execute("SELECT postern.account_set_password(%s, %s)", (login, password_hash))
    assert "docs/passwords.md" in raised.value.diag.message_hint


def test_accounts_from_elsewhere_log_in(box):
    stored = vectors()
    with superuser(box) as database:
        for number, (_, password_hash) in enumerate(stored):
            database.execute("SELECT postern.account_add(%s, %s, 'generous')", (f"moved{number}@example.test", password_hash))
    for number, (secret, password_hash) in enumerate(stored):
        with box.secured() as client:
            assert client.login(f"moved{number}@example.test", secret, want=235), password_hash
    with box.secured() as client:
        assert client.login("moved0@example.test", "another", want=535).text == FAILED


# -------------------------------------------------------------------------- names
def test_a_name_of_any_spelling_is_one_account(box):
    name = "Jörg.ÅNGSTRÖM@Bücher.example"
    box.add_account(name, "grüße " + "\u00a0" + "한")
    composed = unicodedata.normalize("NFC", name).lower()
    with superuser(box) as database:
        assert database.execute("SELECT count(*) FROM postern.account WHERE login = %s", (composed,)).fetchone() == (1,)
    for form in ("NFC", "NFD"):
        for spelling in (name, name.lower(), name.replace("B", "\uff22")):
            with box.secured() as client:
                client.login(unicodedata.normalize(form, spelling), unicodedata.normalize(form, "grüße  한"), want=235)
    with box.secured() as client:
        assert client.login(composed, "GRÜßE  한", want=535).text == FAILED


def test_a_password_in_latin1_is_compared_as_it_is(box):
    """A hash from elsewhere, of a client's octets."""
    with superuser(box) as database:
        database.execute("SELECT postern.account_add('latin1@example.test', '{PLAIN.hex}70e47373', 'generous')")
    with box.secured() as client:
        client.login("latin1@example.test", b"p\xe4ss", want=235)
    with box.secured() as client:
        client.login("latin1@example.test", "päss", want=535)


def test_the_database_composes_and_lowers_ascii(db):
    login = "ANNA-" + "o\u0308" + "@Example.Test"
    db.admin.execute("SELECT postern.account_add(%s)", (login,))
    rows = db.admin.execute("SELECT account FROM postern.account_show(%s)", ("anna-\u00f6@example.test",)).fetchall()
    assert rows == [("anna-\u00f6@example.test",)]


@pytest.mark.parametrize("login", ["two words", " x", "x ", "no\u00a0break", "tab\tbed", "c1\u0085", "",
                                   pytest.param("\u0958" * 60, id="longer-in-nfc")])
def test_what_is_no_login_is_refused_by_the_database(db, login):
    with pytest.raises(errors.InvalidParameterValue):
        db.admin.execute("SELECT postern.account_add(%s)", (login,))


def test_posternctl_refuses_what_is_no_login(box):
    for login in ("two words", "henry\u2163", "a\u2665b", "mixed\u05d0@example.test", "soft\u00adhyphen"):
        done = box.ctl("account", "add", login, "--no-password", ok=False)
        assert done.returncode == 65, login
