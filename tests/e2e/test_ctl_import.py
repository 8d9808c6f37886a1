# SPDX-License-Identifier: ISC
"""posternctl account import and export: rows in and out, bad ones by line, ended runs that go on."""
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time

import psycopg
import pytest

import pg
import test_ctl

HASH = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
OTHER = HASH.replace("m=8", "m=16")
GENERATED = "pst_abcdefghij23_" + "a" * 32
CHEAP = test_ctl.CHEAP


@pytest.fixture
def ctl():
    return test_ctl.Control(pg.shared())


@pytest.fixture
def load(ctl, tmp_path):
    """A function: imports text, and gives the summary and what was said of bad rows."""
    def run(text, *words, status=0):
        path = tmp_path / "accounts.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        done = ctl("account", "import", str(path), "--json", *CHEAP, *words, status=status)
        bad = [json.loads(line) for line in done.stderr.splitlines()]
        return (json.loads(done.stdout) if done.stdout else None), bad

    return run


def show(ctl, login):
    return ctl.json("account", "show", login)


def counts(added=0, changed=0, unchanged=0, bad=0):
    return {"added": added, "changed": changed, "unchanged": unchanged, "bad": bad}


# ------------------------------------------------------------------------- rows
def test_every_column(ctl, load):
    ctl.sql("SELECT postern.plan_set('basic')")
    done, bad = load(
        "\ufefflogin,password,hash,plan,senders,enabled\r\n"
        f'Alice@Example.net,"s3,cret""x",,basic,"@example.org;a@example.com  b@example.com",yes\r\n'
        f'bob,,"{HASH}",,,no\r\n'
        "\r\n"
        "carol@example.net,,,,,\r\n"
        "dave@example.net,,,,-,1\r\n")
    assert (done, bad) == (counts(added=4), [])
    alice = show(ctl, "alice@example.net")
    assert alice["senders"] == ["a@example.com", "b@example.com", "@example.org"] and alice["plan"] == "basic"
    assert ctl.stored_hash("alice@example.net").startswith("$argon2id$v=19$m=8,t=1,p=1$")
    bob = show(ctl, "bob")
    assert (bob["enabled"], bob["senders"], bob["plan"]) == (False, [], "default")
    assert ctl.stored_hash("bob") == HASH
    carol = show(ctl, "carol@example.net")
    assert (carol["senders"], carol["password"], carol["enabled"]) == (["carol@example.net"], False, True)
    assert show(ctl, "dave@example.net")["senders"] == []


def test_the_password_that_was_imported_matches(ctl, load):
    load("login,password\nmatch,correct horse\n")
    done, _ = load("login,password\nmatch,correct horse\n", "--update")
    assert done == counts(unchanged=1)
    done, _ = load("login,password\nmatch,wrong horse\n", "--update")
    assert done == counts(changed=1)


@pytest.mark.parametrize("row, said", [
    (",x,,,,", "the login is empty"), ("a\tb,,,,,", "not a login"), ("a,b,h,,,", "a password and a hash"),
    ("a,,hash,,,", "a hash of a scheme that is not known"), ("a,,$argon2id$x,,,", "a malformed hash"),
    (f'a,,"{HASH.replace("m=8", "m=9999999")}",,,', "costs too much"), ("a,b", "fewer fields"),
    ("a,b,,,,,", "more fields"), ("a,,,nonsense,,", 'there is no plan "nonsense"'), ("a,,,,nobody,", "not a sender"),
    ("a,,,,ok@example.net nobody,", "not a sender"), ("a,,,,,maybe", "enabled is yes or no"),
    (f"a,{GENERATED},,,,", "generated credential"), ('a"b,,,,,', "a quote within a field"), ("a\rb,,,,,", "carriage return"),
    (b"a,,,,\xff@example.net,", "invalid byte sequence"), (b"\xff,,,,,", "not a login"),
    (b"a,,,\xc3\x28,,", "invalid byte sequence"), ("a," + "x" * 1025 + ",,,,", "not a password"),
    ("a,,,," + "x" * 400 + "@example.net,", "not a sender"), ("b" * 321 + ",,,,,", "not a login"),
])
def test_a_bad_row_is_named_and_the_others_are_done(ctl, load, row, said):
    row = row if isinstance(row, bytes) else row.encode()
    done, bad = load(b"login,password,hash,plan,senders,enabled\ngood1,,,,,\n" + row + b"\ngood2,x,,,,\n",
                     status=test_ctl.DATA)
    assert done == counts(added=2, bad=1)
    assert [one["line"] for one in bad] == [3] and said in bad[0]["error"]
    assert [one["login"] for one in ctl.json("account", "list")] == ["good1", "good2"]


def test_bad_rows_for_people(ctl):
    done = ctl("account", "import", "-", stdin="login\n\na\tb\n", status=test_ctl.DATA)
    assert done.stderr == "line 3: not a login\n"
    assert done.stdout == "0 added, 0 changed, 0 unchanged, 1 bad\n"


@pytest.mark.parametrize("text, said", [
    ("", "the file is empty"), ("\n\n", "the file is empty"), ("name\na\n", 'no column "name"'),
    ("password\na\n", 'no column "login"'), ("login,LOGIN\na,b\n", "there twice"), ("login,\na,b\n", 'no column ""'),
])
def test_what_has_no_header_is_not_read(ctl, load, text, said):
    done, bad = load(text, status=test_ctl.DATA)
    assert done is None and said in bad[0]["error"] and ctl.json("account", "list") == []


def test_a_file_that_cannot_be_read_is_66(ctl, tmp_path):
    ctl("account", "import", str(tmp_path / "nothing"), status=test_ctl.NO_INPUT)
    ctl("account", "import", str(tmp_path), status=test_ctl.NO_INPUT)


def test_a_bad_row_that_only_a_constraint_knows_is_found_among_many(ctl, load):
    """The whole call fails, so it is found by halves."""
    with psycopg.connect(ctl.superuser, autocommit=True) as connection:
        connection.execute("ALTER TABLE postern.account ADD CONSTRAINT luck CHECK (login <> 'r700')")
    done, bad = load("login\n" + "".join(f"r{n}\n" for n in range(1500)), status=test_ctl.DATA)
    assert done == counts(added=1499, bad=1)
    assert bad[0]["line"] == 702 and "luck" in bad[0]["error"]


# ---------------------------------------------------------------- again, and changes
def test_again_changes_nothing_and_costs_no_hash(ctl, load):
    text = "login,password\n" + "".join(f"a{n}@example.net,secret{n}\n" for n in range(50))
    assert load(text)[0] == counts(added=50)
    before = ctl.sql("SELECT account_id, version, password_hash FROM postern.account ORDER BY 1")
    began = time.monotonic()
    # A hash of a second each: 50 of them would take much longer than this may.
    done = ctl("account", "import", "-", "--json", "--memory", "512MiB", "--passes", "2", stdin=text)
    assert json.loads(done.stdout) == counts(unchanged=50)
    assert time.monotonic() - began < 10
    assert ctl.sql("SELECT account_id, version, password_hash FROM postern.account ORDER BY 1") == before


def test_update_changes_what_is_given_and_nothing_else(ctl, load):
    ctl.sql("SELECT postern.plan_set('basic')")
    load(f'login,hash,senders\nup@example.net,"{HASH}",up@example.net @example.org\n')
    ctl("account", "disable", "up@example.net")
    assert load("login,plan\nup@example.net,basic\n")[0] == counts(unchanged=1)
    assert show(ctl, "up@example.net")["plan"] == "default"
    assert load("login,plan\nup@example.net,basic\n", "--update")[0] == counts(changed=1)
    now = show(ctl, "up@example.net")
    assert (now["plan"], now["enabled"], len(now["senders"])) == ("basic", False, 2)
    assert ctl.stored_hash("up@example.net") == HASH
    assert load("login,senders\nup@example.net,@example.org;*\n", "--update")[0] == counts(changed=1)
    assert show(ctl, "up@example.net")["senders"] == ["*", "@example.org"]
    assert load("login,senders,enabled\nup@example.net,,yes\n", "--update")[0] == counts(changed=1)
    assert show(ctl, "up@example.net")["senders"] == ["*", "@example.org"]
    assert load(f'login,hash\nup@example.net,"{OTHER}"\n', "--update")[0] == counts(changed=1)
    before = show(ctl, "up@example.net")["version"]
    assert load(f'login,hash,senders\nup@example.net,"{OTHER}",* @example.org\n', "--update")[0] == counts(unchanged=1)
    assert show(ctl, "up@example.net")["version"] == before


def test_a_login_that_is_there_twice_is_an_account_that_exists(ctl, load):
    text = f'login,hash\ntwice,"{HASH}"\nTWICE,"{OTHER}"\n'
    assert load(text)[0] == counts(added=1, unchanged=1)
    assert ctl.stored_hash("twice") == HASH
    assert load(text, "--update")[0] == counts(changed=1, unchanged=1)
    assert ctl.stored_hash("twice") == OTHER


def test_the_plan_of_rows_without_one(ctl, load):
    ctl.sql("SELECT postern.plan_set('basic')")
    load("login,plan\nx,\ny,default\n", "--plan", "basic")
    assert (show(ctl, "x")["plan"], show(ctl, "y")["plan"]) == ("basic", "default")


def test_a_dry_run_tells_all_and_changes_nothing(ctl, load):
    load("login\nthere\n")
    before = ctl.sql("SELECT * FROM postern.account") + ctl.sql("SELECT * FROM postern.audit")
    done, bad = load("login,password,plan\nnew@example.net,x,\nthere,y,\nbad,,nonsense\n", "--dry-run",
                     status=test_ctl.DATA)
    assert done == {**counts(added=1, unchanged=1, bad=1), "dry_run": True} and bad[0]["line"] == 4
    assert ctl.sql("SELECT * FROM postern.account") + ctl.sql("SELECT * FROM postern.audit") == before


def wait_until(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_run_that_was_killed_goes_on(ctl, tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("login,password,senders\n" + "".join(
        f"k{n}@example.net,secret{n},k{n}@example.net @k{n}.example.net\n" for n in range(400)))
    words = [test_ctl.CTL, "account", "import", str(path), "--json", "--memory", "16MiB", "--passes", "1"]
    environment = {**os.environ, "POSTERN_DSN": ctl.dsn}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        wait_until(lambda: ctl.sql("SELECT count(*) FROM postern.account")[0][0] >= 16, "nothing was imported")
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=30)
    done = ctl.sql("SELECT count(*) FROM postern.account")[0][0]
    assert done < 400
    # Whatever is there is whole.
    assert ctl.sql("SELECT count(*) FROM postern.sender")[0][0] == 2 * done
    again = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(again.stdout) == counts(added=400 - done, unchanged=done)
    assert ctl.sql("SELECT count(*) FROM postern.sender")[0][0] == 800


def test_two_at_once_share_the_work(ctl, tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("login\n" + "".join(f"t{n}@example.net\n" for n in range(5000)))
    environment = {**os.environ, "POSTERN_DSN": ctl.dsn}
    both = [subprocess.Popen([test_ctl.CTL, "account", "import", str(path), "--json"], env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    summaries = [json.loads(one.communicate(timeout=60)[0]) for one in both]
    assert sum(one["added"] for one in summaries) == 5000
    assert all(one["added"] + one["unchanged"] == 5000 for one in summaries)


def test_the_server_goes_away_meanwhile(tmp_path):
    server = pg.Server().start()
    try:
        ctl = test_ctl.Control(server)
        path = tmp_path / "many.csv"
        path.write_text("login,password\n" + "".join(f"g{n}@example.net,secret{n}\n" for n in range(400)))
        words = [test_ctl.CTL, "account", "import", str(path), "--memory", "16MiB", "--passes", "1"]
        with subprocess.Popen(words, env={**os.environ, "POSTERN_DSN": ctl.dsn}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            wait_until(lambda: ctl.sql("SELECT count(*) FROM postern.account")[0][0] >= 16, "nothing was imported")
            server.stop()
            _, errors = running.communicate(timeout=60)
        assert running.returncode == test_ctl.UNAVAILABLE and errors.startswith("posternctl: ")
        server.start()
        again = test_ctl.run(*words[1:], dsn=ctl.dsn)
        assert again.returncode == 0 and ctl.sql("SELECT count(*) FROM postern.account")[0][0] == 400
    finally:
        server.destroy()


# ---------------------------------------------------------------------- progress
def test_the_bar_is_for_terminals(ctl, tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("login,password\n" + "".join(f"b{n}@example.net,secret{n}\n" for n in range(100)) + "a\tb,\n")
    main, terminal = pty.openpty()
    seen = []

    def read():
        try:
            while True:
                seen.append(os.read(main, 4096))
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run([test_ctl.CTL, "account", "import", str(path), "--memory", "16MiB", "--passes", "2"],
                          env={**os.environ, "POSTERN_DSN": ctl.dsn}, stdout=subprocess.PIPE, stderr=terminal,
                          timeout=120, check=False)
    os.close(terminal)
    reader.join(30)
    os.close(main)
    text = b"".join(seen).decode()
    assert done.returncode == test_ctl.DATA and done.stdout.startswith(b"100 added")
    assert re.search(r"\r\[#*\.*\] +[0-9]+ %, [0-9]+ rows, [0-9]+\.[0-9]/s, [0-9:]+ (s|min|h) left\x1b\[K", text), text
    # The bar makes room for the line, and is gone at the end.
    assert re.search(r"(^|\r\x1b\[K)line 102: not a login\r\n", text), text
    assert re.search(r"(not a login\r\n|\r\x1b\[K)$", text), text


# ------------------------------------------------------------------------ export
def test_what_was_exported_is_imported(ctl, load):
    ctl.sql("SELECT postern.plan_set('basic')")
    load("login,hash,plan,senders,enabled\n"
         f'z@example.net,"{HASH}",basic,* @example.org z@example.net,no\n'
         'y@example.net,,,-,\n"odd,""login""",,,,\nx@example.net,,,,\n')
    text = ctl("account", "export").stdout
    assert text.splitlines()[0] == "login,hash,plan,senders,enabled" and HASH in text
    assert [line.split("@")[0] for line in text.splitlines()[2:]] == ["x", "y", "z"]
    other = test_ctl.Control(pg.shared())
    other.sql("SELECT postern.plan_set('basic')")
    assert json.loads(other("account", "import", "-", "--json", stdin=text).stdout) == counts(added=4)
    assert other("account", "export").stdout == text
    assert json.loads(ctl("account", "import", "-", "--json", "--update", stdin=text).stdout) == counts(unchanged=4)


def test_export_by_pages(ctl):
    ctl.sql("SELECT postern.accounts_add_many(ARRAY(SELECT 'e' || n FROM generate_series(1, 2500) n))")
    everything = ctl("account", "export").stdout.splitlines()
    assert len(everything) == 2501 and everything[1:] == sorted(everything[1:])
    assert ctl("account", "export", "--limit", "3", "--after", "e1").stdout.splitlines()[1:] == everything[2:5]


def test_the_service_role_neither_imports_nor_exports(ctl):
    for words in (("export",), ("import", "-")):
        done = test_ctl.run("account", *words, dsn=ctl.server.dsn(ctl.name, "postern_service"), stdin="login\na\n")
        assert done.returncode == test_ctl.NO_PERMISSION


# --------------------------------------------------------------------------- SQL
@pytest.mark.parametrize("rows", ["{}", "null", '"a"', '[{"login": "a"}, {"login": "A"}]'])
def test_what_the_function_refuses_as_a_whole(ctl, rows):
    with psycopg.connect(ctl.dsn) as connection, pytest.raises(psycopg.errors.InvalidParameterValue):
        connection.execute("SELECT * FROM postern.account_import(%s::jsonb)", (None if rows == "null" else rows,))


def test_the_function_tells_of_each_row(ctl):
    rows = [{"login": "one"}, {}, 5, {"login": "two", "senders": "x"}, {"login": "three", "enabled": "perhaps"},
            {"login": "four", "hash": "x"}, {"login": "one-more", "senders": ["@example.net"]}]
    with psycopg.connect(ctl.dsn) as connection:
        got = connection.execute("SELECT number, result FROM postern.account_import(%s::jsonb)",
                                 (json.dumps(rows),)).fetchall()
    assert got == [(1, "added"), (2, "bad"), (3, "bad"), (4, "bad"), (5, "bad"), (6, "bad"), (7, "added")]


def test_a_password_in_the_form_of_a_credential_is_refused(ctl):
    done = ctl("account", "add", "gen", *CHEAP, stdin=GENERATED + "\n", status=test_ctl.DATA)
    assert "generated credential" in done.stderr
    ctl("account", "add", "gen", *CHEAP, stdin=GENERATED + "x\n")
    ctl("account", "passwd", "gen", *CHEAP, stdin=GENERATED + "\n", status=test_ctl.DATA)
    ctl("account", "passwd", "gen", *CHEAP, stdin=GENERATED[:-1] + "1\n")
