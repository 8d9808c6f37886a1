# SPDX-License-Identifier: ISC
"""The real posternctl against a private PostgreSQL: verbs, output, exit statuses, passwords."""
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import termios
import time

import psycopg
import pytest

import pg

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CTL = os.path.join(ROOT, os.environ.get("POSTERN_BUILD", "build/release"), "posternctl")
CHEAP = ("--memory", "8KiB", "--passes", "1")
USAGE, DATA, NO_INPUT, NO_USER, UNAVAILABLE, CANNOT_CREATE, TRY_LATER, NO_PERMISSION, CONFIG = (
    64, 65, 66, 67, 69, 73, 75, 77, 78)


def run(*words, dsn="", stdin="", environment=None):
    """posternctl's status, output and errors."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "POSTERN_"))}
    done = subprocess.run([CTL, *words], input=stdin, text=True, capture_output=True, timeout=30, check=False,
                          env={**base, "POSTERN_DSN": dsn, **(environment or {})})
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done


class Control:
    """A migrated database, and posternctl with the admin role on it."""

    def __init__(self, server):
        self.server = server
        self.name = server.create_database()
        self.superuser = server.dsn(self.name)
        self.dsn = server.dsn(self.name, "postern_admin")
        done = run("db", "migrate", dsn=self.superuser)
        assert done.returncode == 0, done.stderr

    def __call__(self, *words, stdin="", status=0):
        done = run(*words, dsn=self.dsn, stdin=stdin)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words, stdin=""):
        return json.loads(self("--json", *words, stdin=stdin).stdout)

    def sql(self, statement, *values):
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def stored_hash(self, login):
        return self.sql("SELECT password_hash FROM postern.account WHERE login = %s", login)[0][0]


@pytest.fixture(scope="module")
def ctl():
    return Control(pg.shared())


# ------------------------------------------------------------------------ usage
def test_help_of_every_command_shows_its_options():
    everything = run("--help")
    assert everything.returncode == 0
    commands = [line.split()[:2] for line in everything.stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()]
    assert ["db", "migrate"] in commands and ["limits", "set"] in commands and ["completion", "zsh"] in commands
    for words in commands:
        done = run(*words, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: posternctl " + " ".join(words))
        assert "--json" in done.stdout and "--dsn" in done.stdout


def test_help_of_a_noun_lists_its_verbs():
    done = run("sender", "--help")
    assert done.returncode == 0
    assert "sender add" in done.stdout and "sender del" in done.stdout and "account" not in done.stdout


@pytest.mark.parametrize("words", [
    (), ("nonsense",), ("account",), ("account", "nonsense"), ("account", "add"), ("account", "add", "a", "b"),
    ("account", "show", "a", "--nonsense"), ("account", "show", "a", "--plan", "x"), ("account", "list", "a"),
    ("account", "add", "a", "--plan"), ("account", "add", "a", "--no-password=1"), ("account", "list", "--limit", "0"),
    ("account", "list", "--limit", "-1"), ("account", "add", "a", "--memory", "64"), ("limits", "set", "a"),
    ("account", "add", "a", "--memory", "2GiB"), ("account", "add", "a", "--passes", "0"),
    ("account", "add", "a", "--passes", "11"), ("account", "add", "a", "--memory", "lots"),
    ("account", "add", "a", "--memory", "1GiB", "--passes", "2"), ("-x",), ("sender", "add", "a"),
    ("account", "add", *["a"] * 100), ("account", "from", "a"), ("account", "from", "a", "off", "b"), ("account", "token"),
    ("account", "whose"), ("account", "whose", "a", "--rotate"), ("account", "token", "a", "--rotate=yes"),
])
def test_wrong_usage_is_64_and_says_what_to_do(words):
    done = run(*words, dsn="host=/nonexistent")
    assert done.returncode == USAGE
    assert done.stderr.startswith("posternctl: ") and "--help" in done.stderr or "memory" in done.stderr
    assert done.stdout == ""


def test_without_a_dsn_it_says_how_to_give_one():
    done = run("account", "list")
    assert done.returncode == USAGE
    assert "--dsn" in done.stderr and "POSTERN_DSN" in done.stderr


def test_the_option_beats_the_environment(ctl):
    assert run("account", "list", "--dsn", ctl.dsn, dsn="host=/nonexistent").returncode == 0
    assert run("account", "list", f"--dsn={ctl.dsn}", dsn="host=/nonexistent").returncode == 0


def test_no_server_is_69():
    done = run("account", "list", dsn="host=/nonexistent dbname=x")
    assert done.returncode == UNAVAILABLE
    assert "Is the server up" in done.stderr


def test_an_error_as_json():
    done = run("--json", "account", "list", dsn="host=/nonexistent dbname=x")
    error = json.loads(done.stderr)
    assert error["status"] == UNAVAILABLE == done.returncode
    assert error["error"] and error["hint"]


def test_full_output_is_not_success(ctl):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([CTL, "account", "list", "--dsn", ctl.dsn], stdout=full, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, timeout=30, check=False)
    assert done.returncode == 74


# -------------------------------------------------------------------- migration
def test_migrate_says_what_it_does_and_is_idempotent():
    server = pg.shared()
    dsn = server.dsn(server.create_database())
    first = run("db", "migrate", dsn=dsn)
    assert first.returncode == 0
    names = sorted(name for name in os.listdir(os.path.join(ROOT, "sql")) if name.endswith(".sql"))
    assert first.stdout.splitlines() == [f"applied {name}" for name in names] + [
        f"the schema is at version {len(names)}"]
    again = run("db", "migrate", dsn=dsn)
    assert (again.returncode, again.stdout) == (0, f"the schema is at version {len(names)}: nothing to do\n")
    as_json = run("--json", "db", "migrate", dsn=dsn)
    assert json.loads(as_json.stdout) == {"applied": [], "version": len(names)}
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT version, name FROM postern.schema_version ORDER BY 1").fetchall()
    assert rows == list(enumerate(names, 1))


def test_migrate_at_once_from_several(tmp_path):
    server = pg.shared()
    dsn = server.dsn(server.create_database())
    running = [subprocess.Popen([CTL, "--json", "db", "migrate", "--dsn", dsn], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) for _ in range(4)]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * 4, outputs
    applied = [name for output, _ in outputs for name in json.loads(output)["applied"]]
    assert len(applied) == len(set(applied)) == json.loads(outputs[0][0])["version"]


def migrations(directory, files):
    for name, text in files.items():
        (directory / name).write_text(text)
    return str(directory)


FIRST = "CREATE SCHEMA postern; CREATE TABLE postern.schema_version (version int PRIMARY KEY, name text, checksum text);"


def test_a_failing_migration_leaves_nothing_of_itself(tmp_path):
    server = pg.shared()
    dsn = server.dsn(server.create_database())
    directory = migrations(tmp_path, {
        "0001_first.sql": FIRST, "0002_second.sql": "CREATE TABLE postern.a (a int);\n\n-- ä\nCREATE TABLE nonsense;",
        "README": "not one", "0003_x.sql.orig": "nonsense"})
    done = run("db", "migrate", "--sql", directory, dsn=dsn)
    assert done.returncode == 70
    assert "0002_second.sql:4: syntax error" in done.stderr
    assert done.stdout == "applied 0001_first.sql\n"
    failed = run("--json", "db", "migrate", "--sql", directory, dsn=dsn)
    assert json.loads(failed.stdout) == {"applied": [], "version": 1}
    assert json.loads(failed.stderr)["status"] == 70
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('postern.a')").fetchone()[0] is None
    migrations(tmp_path, {"0002_second.sql": "CREATE TABLE postern.a (a int);"})
    done = run("db", "migrate", dsn=dsn, environment={"POSTERN_SQL": directory})
    assert (done.returncode, done.stdout) == (0, "applied 0002_second.sql\nthe schema is at version 2\n")


def test_a_changed_migration_is_noticed(tmp_path):
    server = pg.shared()
    dsn = server.dsn(server.create_database())
    directory = migrations(tmp_path, {"0001_first.sql": FIRST})
    assert run("db", "migrate", "--sql", directory, dsn=dsn).returncode == 0
    migrations(tmp_path, {"0001_first.sql": FIRST + " "})
    done = run("db", "migrate", "--sql", directory, dsn=dsn)
    assert done.returncode == 0
    assert "0001_first.sql is not what was applied" in done.stderr


def test_a_newer_schema_is_left_alone(tmp_path):
    server = pg.shared()
    dsn = server.dsn(server.create_database())
    directory = migrations(tmp_path, {"0001_a.sql": FIRST, "0002_b.sql": "SELECT 1"})
    assert run("db", "migrate", "--sql", directory, dsn=dsn).returncode == 0
    os.unlink(tmp_path / "0002_b.sql")
    done = run("db", "migrate", "--sql", directory, dsn=dsn)
    assert done.returncode == 0
    assert "newer" in done.stdout


@pytest.mark.parametrize("files, said", [
    ({}, "no migrations"), ({"0002_a.sql": FIRST}, "gap"), ({"0001_a.sql": FIRST, "0003_b.sql": ""}, "gap"),
    ({"0001_a.sql": FIRST, "0001_b.sql": ""}, "twice"), ({"0001_a.sql": "SELECT 1\0"}, "NUL"),
])
def test_bad_directories_of_migrations_are_66(tmp_path, ctl, files, said):
    done = run("db", "migrate", "--sql", migrations(tmp_path, files), dsn=ctl.superuser)
    assert done.returncode == NO_INPUT
    assert said in done.stderr


def test_no_directory_of_migrations_is_66(ctl):
    assert run("db", "migrate", "--sql", "/nonexistent", dsn=ctl.superuser).returncode == NO_INPUT


def test_migrations_are_found_from_where_it_is_installed(tmp_path):
    server = pg.shared()
    dsn = server.dsn(server.create_database())
    (tmp_path / "bin").mkdir()
    share = tmp_path / "share" / "postern" / "sql"
    share.mkdir(parents=True)
    migrations(share, {"0001_installed.sql": FIRST})
    shutil.copy(CTL, tmp_path / "bin" / "posternctl")
    done = subprocess.run([tmp_path / "bin" / "posternctl", "db", "migrate", "--dsn", dsn], text=True,
                          capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    assert done.stdout.startswith("applied 0001_installed.sql"), done.stderr


def test_the_admin_role_cannot_migrate(ctl):
    server = pg.shared()
    done = run("db", "migrate", dsn=server.dsn(server.create_database(), "postern_admin"))
    assert done.returncode == NO_PERMISSION
    assert "superuser" in done.stderr
    assert run("db", "migrate", dsn=ctl.dsn).returncode == NO_PERMISSION


def test_a_database_that_was_not_migrated_is_78():
    server = pg.shared()
    done = run("account", "list", dsn=server.dsn(server.create_database(), "postern_admin"))
    assert done.returncode == CONFIG
    assert "db migrate" in done.stderr


def test_the_service_role_may_not_administer(ctl):
    done = run("account", "list", dsn=ctl.server.dsn(ctl.name, "postern_service"))
    assert done.returncode == NO_PERMISSION
    assert "postern_admin" in done.stderr


# --------------------------------------------------------------------- accounts
def test_account_life(ctl):
    done = ctl("account", "add", "Alice@Example.TEST", *CHEAP, stdin="secret one\n")
    assert done.stdout == "alice@example.test: added\n"
    first = ctl.stored_hash("alice@example.test")
    assert first.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert ctl("account", "passwd", "ALICE@example.test", *CHEAP, stdin="two").stdout == (
        "alice@example.test: password changed\n")
    assert ctl.stored_hash("alice@example.test") not in (first, None)
    assert ctl.json("account", "disable", "alice@example.test") == {
        "login": "alice@example.test", "result": "disabled"}
    assert ctl.json("account", "show", "alice@example.test")["enabled"] is False
    assert ctl.json("account", "enable", "alice@example.test")["result"] == "enabled"
    ctl("account", "passwd", "alice@example.test", "--no-password")
    assert ctl.stored_hash("alice@example.test") is None


def test_the_hash_costs_64_mib_and_two_passes_by_default(ctl):
    ctl("account", "add", "costly@example.test", stdin="pw\n")
    assert ctl.stored_hash("costly@example.test").startswith("$argon2id$v=19$m=65536,t=2,p=1$")


def test_show_as_json_is_stable(ctl):
    ctl("account", "add", "show@example.test", "--no-password")
    ctl("sender", "add", "show@example.test", "@example.org")
    ctl("limits", "set", "show@example.test", "messages_hour=3")
    account_id = ctl.sql("SELECT account_id FROM postern.account WHERE login = 'show@example.test'")[0][0]
    ctl.sql("SELECT postern.quota_take(%s, 2, 5)", account_id)
    shown = ctl.json("account", "show", "show@example.test")
    assert list(shown) == ["account_id", "login", "enabled", "password", "plan", "created_at", "version",
                           "from_policy", "token", "sender_count", "tenant", "senders", "limits"]
    assert shown["account_id"] == account_id
    assert (shown["login"], shown["enabled"], shown["password"]) == ("show@example.test", True, False)
    assert (shown["plan"], shown["sender_count"]) == ("default", 2)
    assert time.strptime(shown["created_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert shown["from_policy"] == "listener"
    assert shown["token"] == ctl.sql("SELECT token FROM postern.account WHERE account_id = %s", account_id)[0][0]
    assert shown["senders"] == ["show@example.test", "@example.org"]
    limits = {row["limit"]: (row["max"], row["source"], row["used"]) for row in shown["limits"]}
    assert limits["messages_hour"] == (3, "own", 2)
    assert limits["message_bytes"] == (None, "plan default", None)


def test_show_for_people(ctl):
    ctl("account", "add", "people@example.test", "--no-password")
    text = ctl("account", "show", "people@example.test").stdout
    lines = text.splitlines()
    assert "login         people@example.test" in lines
    assert "password      no" in lines
    assert "from_policy   listener" in lines
    assert any(line.split()[1:5] == ["messages_hour", "0", "500", "3600"] for line in lines)


def test_list_pages_through_everything(ctl):
    ctl.sql("SELECT postern.accounts_add_many(array_agg('list' || i)) FROM generate_series(1, 2500) i")
    listed = ctl.json("account", "list")
    logins = [row["login"] for row in listed]
    assert len(logins) == len(set(logins)) == ctl.sql("SELECT count(*) FROM postern.account")[0][0]
    assert logins == sorted(logins)
    assert list(listed[0]) == ["login", "enabled", "password", "plan", "created_at", "account_id", "from_policy",
                               "token"]
    assert len({row["token"] for row in listed}) == len(listed)
    assert [row["login"] for row in ctl.json("account", "list", "--after", "list1", "--limit", "2")] == [
        "list10", "list100"]
    assert len(ctl.json("account", "list", "--limit", "1001")) == 1001
    assert ctl.json("account", "list", "--after", "zzzz") == []
    table = ctl("account", "list", "--limit", "1001").stdout.splitlines()
    assert table[0].split() == ["login", "enabled", "password", "plan", "created_at", "account_id"]
    assert len(table) == 1002


def test_a_policy_for_from(ctl):
    login = "from@example.test"
    ctl("account", "add", login, "--no-password")
    for policy in ("off", "observe", "reject", "rewrite"):
        assert ctl("account", "from", login.upper(), policy).stdout == f"{login}: changed from {policy}\n"
        assert ctl.json("account", "show", login)["from_policy"] == policy
        assert ctl.sql("SELECT from_policy FROM postern.account WHERE login = %s", login) == [(policy,)]
    listed = ctl.json("account", "list", "--after", login[:-1], "--limit", "1")
    assert (listed[0]["login"], listed[0]["from_policy"]) == (login, "rewrite")
    assert ctl.json("account", "from", login, "listener") == {"login": login, "result": "changed", "from": "listener"}
    assert ctl.sql("SELECT from_policy FROM postern.account WHERE login = %s", login) == [(None,)]


@pytest.mark.parametrize("policy", ["", "Reject", "none", "default", "null", "off "])
def test_what_is_no_policy_changes_nothing(ctl, policy):
    login = "nopolicy@example.test"
    if not ctl.sql("SELECT FROM postern.account WHERE login = %s", login):
        ctl("account", "add", login, "--no-password")
        ctl("account", "from", login, "observe")
    done = ctl("account", "from", login, policy, status=DATA)
    assert "off, observe, reject or rewrite" in done.stderr
    assert ctl.json("account", "show", login)["from_policy"] == "observe"


def test_whose_token_it_is(ctl):
    login = "token@example.test"
    ctl("account", "add", login, "--no-password")
    told = ctl.json("account", "token", login)
    assert told == {"login": login, "result": "has", "token": ctl.json("account", "show", login)["token"]}
    first = told["token"]
    assert ctl("account", "token", login).stdout == f"{login}: has token {first}\n"
    account_id = ctl.sql("SELECT account_id FROM postern.account WHERE login = %s", login)[0][0]
    for spelt in (first, first.upper()):
        assert ctl.json("account", "whose", spelt) == {"login": login, "enabled": True, "account_id": account_id}
    table = [line.split() for line in ctl("account", "whose", first).stdout.splitlines()]
    assert table == [["login", "enabled", "account_id"], [login, "yes", str(account_id)]]

    second = ctl.json("account", "token", login, "--rotate")["token"]
    assert second != first
    assert ctl.json("account", "whose", second)["login"] == login
    done = ctl("account", "whose", first, status=NO_USER)
    assert done.stdout == "" and "no account has this token" in done.stderr


@pytest.mark.parametrize("words, status", [
    (("account", "from", "nobody@example.test", "off"), NO_USER), (("account", "whose", ""), NO_USER),
    (("account", "token", "nobody@example.test"), NO_USER), (("account", "whose", "'; --"), NO_USER),
    (("account", "token", "nobody@example.test", "--rotate"), NO_USER), (("account", "from", "a\tb", "off"), DATA),
    (("account", "show", "nobody@example.test"), NO_USER), (("account", "disable", "nobody@example.test"), NO_USER),
    (("account", "passwd", "nobody@example.test", "--no-password"), NO_USER),
    (("sender", "add", "nobody@example.test", "*"), NO_USER),
    (("limits", "set", "nobody@example.test", "messages_hour=1"), NO_USER),
    (("account", "add", "a\tb", "--no-password"), DATA), (("account", "add", "", "--no-password"), DATA),
    (("account", "add", "x" * 321, "--no-password"), DATA), (("account", "show", "a\x85"), DATA),
    (("account", "add", "new@example.test", "--no-password", "--plan", "nosuch"), DATA),
], ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else str(value))
def test_what_is_not_there_or_not_valid(ctl, words, status):
    done = ctl(*words, status=status)
    assert done.stdout == ""
    assert done.stderr.startswith("posternctl: ")


def test_invalid_utf8_is_no_login(ctl):
    done = subprocess.run([CTL, "account", "show", b"a\xff", "--dsn", ctl.dsn], capture_output=True, timeout=30,
                          check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == DATA


def test_an_account_is_added_once(ctl):
    ctl("account", "add", "once@example.test", "--no-password")
    done = ctl("account", "add", "Once@example.test", "--no-password", status=CANNOT_CREATE)
    assert "already" in done.stderr and "passwd" in done.stderr


@pytest.mark.parametrize("login", ["o'hara", "'or'1=1--", '"quoted"', "back\\slash", "$1", "%s%n", "jörg@example.test",
                                   "*", "a;b", "z" * 320], ids=lambda login: login[:20])
def test_odd_logins_travel_unharmed(ctl, login):
    ctl("account", "add", login, *CHEAP, stdin="pw\n")
    assert ctl.json("account", "show", login)["login"] == login
    assert ctl.json("account", "disable", login)["login"] == login


def test_a_login_that_looks_like_an_option(ctl):
    ctl("account", "add", "--no-password", "--", "--json")
    assert ctl.json("account", "show", "--", "--json")["login"] == "--json"


def test_control_characters_do_not_reach_the_terminal(ctl):
    done = ctl("account", "show", "\x1b[2Jx", status=DATA)
    assert "\x1b" not in done.stderr
    done = ctl("sender", "add", "nobody", "\x1b[2J", status=DATA)
    assert "\x1b" not in done.stdout + done.stderr


# ----------------------------------------------------------- senders and limits
def test_senders(ctl):
    login = "senders@example.test"
    ctl("account", "add", login, "--no-password")
    assert ctl("sender", "add", login, "Sales@Example.org").stdout == f"{login}: added sender Sales@Example.org\n"
    assert ctl.json("sender", "add", login, "sales@example.org") == {
        "login": login, "result": "unchanged", "sender": "sales@example.org"}
    assert ctl.json("sender", "add", login, "*")["result"] == "added"
    assert ctl.json("account", "show", login)["senders"] == ["sales@example.org", login, "*"]
    assert ctl.json("sender", "del", login, "SALES@example.org")["result"] == "removed"
    assert "no such sender" in ctl("sender", "del", login, "sales@example.org", status=DATA).stderr
    assert "not a sender" in ctl("sender", "add", login, "example.org", status=DATA).stderr


@pytest.mark.parametrize("arguments, want", [
    (["messages_hour=3"], {"messages_hour": (3, "own")}),
    (["messages_hour=0", "recipients_day=unlimited"], {"messages_hour": (0, "own"),
                                                       "recipients_day": (None, "own")}),
    (["messages_hour=plan"], {"messages_hour": (500, "plan default")}),
    (["message_bytes=25MiB", "recipients_message=7"], {"message_bytes": (25 << 20, "own"),
                                                       "recipients_message": (7, "own")}),
])
def test_limits(ctl, arguments, want):
    login = "limits@example.test"
    if run("account", "show", login, dsn=ctl.dsn).returncode != 0:
        ctl("account", "add", login, "--no-password")
    ctl("limits", "set", login, *arguments)
    shown = {row["limit"]: (row["max"], row["source"]) for row in ctl.json("account", "show", login)["limits"]}
    assert {name: shown[name] for name in want} == want


@pytest.mark.parametrize("argument, status", [
    ("messages_hour=-1", USAGE), ("messages_hour=", USAGE), ("messages_hour", USAGE), ("messages=1", USAGE),
    ("=1", USAGE), ("messages_hour=1.5", USAGE), ("messages_hour=1e3", USAGE), ("messages_hour=Unlimited", USAGE),
    ("messages_hour=99999999999999999999", USAGE), ("messages_hour= 1", USAGE), ("messages_hour=1,000", USAGE),
    ("recipients_message=0", DATA), ("message_bytes=0", DATA), ("recipients_message=2147483648", DATA),
    ('messages_hour=1,"messages_day":0', USAGE),
])
def test_wrong_limits_change_nothing(ctl, argument, status):
    login = "nolimits@example.test"
    if run("account", "show", login, dsn=ctl.dsn).returncode != 0:
        ctl("account", "add", login, "--no-password")
    before = ctl.json("account", "show", login)
    assert ctl("limits", "set", login, "messages_day=7", argument, status=status).stderr
    assert ctl.json("account", "show", login) == before


def test_a_limit_given_twice_is_refused(ctl):
    assert "before" in ctl("limits", "set", "a", "messages_hour=1", "messages_hour=2", status=USAGE).stderr


# -------------------------------------------------------------------- passwords
@pytest.mark.parametrize("stdin, status", [
    ("\n", DATA), ("", NO_INPUT), ("x" * 1024 + "\n", 0), ("x" * 1025 + "\n", DATA), ("a\0b\n", DATA),
    ("x" * 100_000, DATA), ("no line feed", 0), ("first\nsecond\n", 0), (" spaces and ünïcode \n", 0),
], ids=["empty", "nothing", "longest", "too-long", "nul", "much-too-long", "no-line-feed", "two-lines", "unicode"])
def test_passwords_from_standard_input(ctl, stdin, status, request):
    login = request.node.callspec.id
    ctl("account", "add", login, *CHEAP, stdin=stdin, status=status)
    assert (run("account", "show", login, dsn=ctl.dsn).returncode == 0) == (status == 0)


class Terminal:
    """posternctl on a terminal of its own."""

    def __init__(self, ctl, *words, program=CTL):
        environment = {**os.environ, "POSTERN_DSN": ctl.dsn, "PS1": "ready> ", "TERM": "dumb"}
        self.shown = b""
        self.echo_after = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(program, [program, *words], environment)

    def echo(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def expect(self, text):
        deadline = time.monotonic() + 20
        while text not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, self.shown
            try:
                read = os.read(self.fd, 4096)
            except OSError:
                read = b""
            assert read, self.shown
            self.shown += read
        self.shown = self.shown.split(text, 1)[1]

    def type(self, text):
        os.write(self.fd, text)

    def end(self):
        """Its wait status, and whatever it still printed."""
        deadline = time.monotonic() + 20
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            ready, _, _ = select.select([self.fd], [], [], 0.02)
            if ready:
                try:
                    self.shown += os.read(self.fd, 4096)
                except OSError:
                    pass
            if pid:
                self.echo_after = self.echo()
                os.close(self.fd)
                return status
            assert time.monotonic() < deadline, self.shown


def test_a_terminal_is_asked_twice_without_echo(ctl):
    terminal = Terminal(ctl, "account", "add", "terminal@example.test", *CHEAP)
    terminal.expect(b"Password: ")
    assert not terminal.echo()
    terminal.type(b"typed secret\n")
    terminal.expect(b"Again: ")
    assert not terminal.echo()
    terminal.type(b"typed secret\n")
    terminal.expect(b"terminal@example.test: added")
    assert terminal.end() == 0
    assert b"typed" not in terminal.shown
    assert ctl.stored_hash("terminal@example.test").startswith("$argon2id$")


def test_two_different_passwords_change_nothing(ctl):
    terminal = Terminal(ctl, "account", "add", "differ@example.test", *CHEAP)
    terminal.expect(b"Password: ")
    terminal.type(b"one\n")
    terminal.expect(b"Again: ")
    terminal.type(b"two\n")
    terminal.expect(b"differ")
    assert os.waitstatus_to_exitcode(terminal.end()) == DATA
    ctl("account", "show", "differ@example.test", status=NO_USER)


def test_end_of_file_at_the_prompt(ctl):
    terminal = Terminal(ctl, "account", "add", "eof@example.test", *CHEAP)
    terminal.expect(b"Password: ")
    terminal.type(b"\x04")
    terminal.expect(b"no password was given")
    assert os.waitstatus_to_exitcode(terminal.end()) == NO_INPUT


@pytest.mark.parametrize("typed, number", [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT),
                                           (None, signal.SIGTERM), (None, signal.SIGHUP)])
def test_a_signal_at_the_prompt_restores_the_echo(ctl, typed, number):
    terminal = Terminal(ctl, "account", "add", "signal@example.test", *CHEAP)
    terminal.expect(b"Password: ")
    assert not terminal.echo()
    terminal.type(b"half a pass")
    if typed:
        terminal.type(typed)
    else:
        os.kill(terminal.pid, number)
    status = terminal.end()
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == number
    assert terminal.echo_after
    assert b"half" not in terminal.shown
    ctl("account", "show", "signal@example.test", status=NO_USER)


def test_stopped_and_continued_it_asks_again(ctl):
    shell = Terminal(ctl, "--norc", "--noprofile", "--noediting", "-i", program="/bin/bash")
    shell.expect(b"ready> ")
    shell.type(f"{CTL} account add stopped@example.test {' '.join(CHEAP)}\n".encode())
    shell.expect(b"Password: ")
    shell.type(b"half\x1a")
    shell.expect(b"Stopped")
    shell.expect(b"ready> ")
    assert shell.echo()
    shell.type(b"fg\n")
    shell.expect(b"Password: ")
    assert not shell.echo()
    shell.type(b"whole\n")
    shell.expect(b"Again: ")
    shell.type(b"whole\n")
    shell.expect(b"stopped@example.test: added")
    shell.expect(b"ready> ")
    shell.type(b"exit\n")
    assert shell.end() == 0


def test_the_process_that_holds_a_password_dumps_no_core(ctl):
    terminal = Terminal(ctl, "account", "add", "limits-of-process", *CHEAP)
    terminal.expect(b"Password: ")
    with open(f"/proc/{terminal.pid}/limits", encoding="ascii") as limits:
        core = next(line for line in limits if line.startswith("Max core file size")).split()
    assert core[4:6] == ["0", "0"]
    terminal.type(b"\x03")
    assert os.WTERMSIG(terminal.end()) == signal.SIGINT
