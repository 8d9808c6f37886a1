# SPDX-License-Identifier: ISC
"""posternctl plan, tenant, domain and limits: what they set, what they show, and what bars look like on a terminal."""
import json
import os
import pty
import re
import subprocess
import termios

import pytest

import pg
from test_ctl import CANNOT_CREATE, CTL, DATA, NO_USER, USAGE, Control, run

BLOCKS = "█▏▎▍▌▋▊▉░"


class Limited(Control):
    """With meters to fill."""

    def __init__(self, server):
        super().__init__(server)
        self.made = 0

    def account(self, *limits, plan="default"):
        """A fresh login."""
        self.made += 1
        login = f"limited{self.made}@example.test"
        self("account", "add", login, "--no-password", "--plan", plan)
        if limits:
            self("limits", "set", login, *limits)
        return login

    def take(self, login, messages=1, recipients=1, octets=1000, domain="", credential=None):
        number = self.sql("SELECT postern.credential_number(%s)", credential)[0][0] if credential else 0
        rows = self.sql("SELECT t.result FROM postern.account a, postern.takes(0, 0, ARRAY[a.account_id], ARRAY[%s::bigint],"
                        " ARRAY[%s], ARRAY[%s::int], ARRAY[%s::int], ARRAY[%s::bigint], ARRAY[0], '{}') t"
                        " WHERE a.login = %s", number, domain, messages, recipients, octets, login)
        return rows[0][0]

    def limits(self, login, scope="account"):
        return {row["limit"]: row for row in self.json("limits", "show", login) if row["scope"] == scope}

    def drawn(self, *words, columns=100, locale="C.UTF-8", term="xterm", **environment):
        """What it prints on a terminal."""
        leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, columns))
        base = {name: value for name, value in os.environ.items()
                if not name.startswith(("PG", "POSTERN_", "LC_", "LANG", "NO_COLOR"))}
        done = subprocess.run([CTL, *words, "--dsn", self.dsn], stdin=subprocess.DEVNULL, stdout=follower,
                              stderr=subprocess.PIPE, timeout=30, check=False,
                              env={**base, "TERM": term, "LC_ALL": locale, **environment})
        os.close(follower)
        shown = b""
        while True:
            try:
                read = os.read(leader, 65536)
            except OSError:  # EIO: nobody holds the other end
                break
            if not read:
                break
            shown += read
        os.close(leader)
        assert done.returncode == 0 and done.stderr == b"", done.stderr
        return shown.decode("utf-8" if "UTF-8" in locale else "ascii").replace("\r\n", "\n")


@pytest.fixture(name="ctl", scope="module")
def ctl_fixture():
    return Limited(pg.shared())


@pytest.fixture(name="name")
def name_fixture(ctl):
    ctl.made += 1
    return f"name{ctl.made}"


def settings(ctl, noun, name):
    return ctl.json(noun, "show", name)["settings"]


# ------------------------------------------------------------------------ plans
def test_a_plan_is_made_changed_and_shown(ctl, name):
    assert ctl("plan", "add", name, "messages_hour=100", "message_bytes=25MiB").stdout == f"plan {name}: added\n"
    assert ctl.json("plan", "set", name, "messages_hour=50", "on_exceed=reject", "warn_percent=80",
                    "grace.messages_hour=20", "bytes_month=3GiB") == {"plan": name, "result": "changed"}
    got = ctl.json("plan", "show", name)
    assert (got["plan"], got["accounts"]) == (name, 0)
    want = {"messages_hour": 50, "message_bytes": 25 << 20, "bytes_month": 3 << 30, "on_exceed": "reject",
            "warn_percent": 80, "grace": {"messages_hour": 20}}
    assert {key: got["settings"].get(key) for key in want} == want
    lines = dict(line.split(None, 1) for line in ctl("plan", "show", name).stdout.splitlines())
    assert (lines["plan"], lines["messages_hour"], lines["message_bytes"]) == (name, "50", "25MiB")
    assert (lines["bytes_month"], lines["grace.messages_hour"], lines["on_exceed"]) == ("3GiB", "20", "reject")


def test_what_was_set_can_be_taken_back(ctl, name):
    ctl("plan", "add", name, "messages_hour=1", "on_exceed=reject", "warn_percent=80", "grace.messages_hour=20")
    ctl("plan", "set", name, "messages_hour=unlimited", "on_exceed=defer", "warn_percent=none", "grace.messages_hour=none")
    got = settings(ctl, "plan", name)
    assert got.get("messages_hour", "unlimited") == "unlimited" and got["on_exceed"] == "defer"
    assert got.get("warn_percent") is None and not (got.get("grace") or {}).get("messages_hour")


def test_plans_are_listed_with_their_accounts(ctl, name):
    ctl("plan", "add", name, "recipients_day=7", "bytes_hour=1KiB", "grace.recipients_day=2")
    login = ctl.account()
    assert ctl("account", "plan", login, name).stdout == f"{login}: changed plan {name}\n"
    row = next(row for row in ctl.json("plan", "list") if row["plan"] == name)
    assert row["accounts"] == 1 and row["settings"]["recipients_day"] == 7
    line = next(line for line in ctl("plan", "list").stdout.splitlines() if line.startswith(name + " "))
    assert " recipients_day=7 bytes_hour=1KiB" in line and line.endswith("grace.recipients_day=2")
    assert ctl("plan", "list").stdout.split()[:3] == ["plan", "accounts", "settings"]
    assert ctl.limits(login)["recipients_day"]["source"] == f"plan {name}"


def test_a_list_of_settings_is_what_set_takes(ctl, name):
    """So that one plan is made after another."""
    ctl("plan", "add", name, "messages_hour=5", "bytes_day=1536KiB", "warn_percent=70", "grace.bytes_day=1MiB")
    line = next(line for line in ctl("plan", "list").stdout.splitlines() if line.startswith(name + " "))
    words = line.split()[2:]
    ctl("plan", "add", name + "-copy", *words)
    assert settings(ctl, "plan", name + "-copy") == settings(ctl, "plan", name)


def test_plans_that_are_there_or_are_not(ctl, name):
    ctl("plan", "add", name, "messages_hour=1")
    done = ctl("plan", "add", name, "messages_hour=2", status=CANNOT_CREATE)
    assert "already" in done.stderr
    assert settings(ctl, "plan", name)["messages_hour"] == 1
    for words in (("plan", "set", name + "x", "messages_hour=1"), ("plan", "show", name + "x")):
        done = ctl(*words, status=DATA)
        assert f'there is no plan "{name}x"' in done.stderr and "plan list" in done.stderr and done.stdout == ""
    assert name + "x" not in [row["plan"] for row in ctl.json("plan", "list")]
    assert "no plan" in ctl("account", "plan", ctl.account(), name + "x", status=DATA).stderr


@pytest.mark.parametrize("word, status, said", [
    ("messages_hour=-1", USAGE, "not negative"), ("messages_hour=", USAGE, "whole number"),
    ("messages_hour", USAGE, "no value"), ("messages_hour=plan", USAGE, "whole number"),
    ("messages_hour=1KiB", USAGE, "whole number"), ("message_bytes=1KB", USAGE, "KiB"),
    ("messages_year=1", USAGE, "no such limit"), ("=1", USAGE, "no such limit"), ("plan=default", USAGE, "no such limit"),
    ("parent=x", USAGE, "no such limit"), ("on_exceed=bounce", USAGE, "defer or reject"),
    ("warn_percent=most", USAGE, "whole number"), ("warn_percent=-1", USAGE, "not negative"),
    ("grace.messages_hour=-1", USAGE, "not negative"), ("grace.messages_year=1", USAGE, "no such limit"),
    ("grace.=1", USAGE, "no such limit"), ("grace=1", USAGE, "no such limit"), ("messages_day=2", USAGE, "before"),
    ("messages_hour=1000000000000001", DATA, "messages_hour"), ("warn_percent=101", DATA, "warn_percent"),
    ("warn_percent=0", DATA, "warn_percent"), ('messages_hour=1,"on_exceed":"reject"', USAGE, "whole number"),
    ("messages_hour=99999999999999999999", USAGE, "whole number"),
])
def test_wrong_settings_change_nothing(ctl, name, word, status, said):
    ctl("plan", "add", name, "messages_hour=3")
    before = ctl.json("plan", "show", name)
    done = ctl("plan", "set", name, "messages_day=7", word, status=status)
    assert said in done.stderr and done.stdout == ""
    assert ctl.json("plan", "show", name) == before
    ctl("plan", "add", name + "-new", "messages_day=7", word, status=status)
    assert ctl("plan", "show", name + "-new", status=DATA)


def test_a_key_that_does_not_exist_is_answered_with_those_that_do(ctl):
    done = ctl("limits", "set", ctl.account(), "messages_year=1", status=USAGE)
    for key in ("messages_hour", "recipients_month", "bytes_day", "distinct_hour", "new_recipients_day", "sessions",
                "messages_minute"):
        assert key in done.stderr
    assert "on_exceed" not in done.stderr and "plan." in done.stderr


@pytest.mark.parametrize("name", ["", "Upper", "a b", "x" * 64, "ä", "-a", "a'b"])
def test_what_is_no_name(ctl, name):
    assert ctl("plan", "add", "--", name, status=DATA).stdout == ""
    assert ctl("tenant", "add", "--", name, status=DATA).stdout == ""


def test_a_row_more_is_a_key_more(server_of_its_own):
    """No release knows this limit, and yet it is set and shown."""
    ctl = server_of_its_own
    ctl.sql("INSERT INTO postern.limit_kind (number, name, label, quantity, window_s) VALUES"
            " (50, 'messages_century', 'messages per century', 'messages', 1000000) RETURNING 1")
    ctl("plan", "set", "default", "messages_century=9")
    login = ctl.account()
    assert ctl.limits(login)["messages_century"]["max"] == 9
    ctl("limits", "set", login, "messages_century=8")
    assert ctl.limits(login)["messages_century"]["max"] == 8
    assert "at most 8" in row(ctl.drawn("limits", "show", login), "messages per century")


@pytest.fixture(name="server_of_its_own")
def server_of_its_own_fixture():
    return Limited(pg.shared())


# ---------------------------------------------------------------------- tenants
def test_a_tenant_is_made_changed_shown_and_deleted(ctl, name):
    ctl("plan", "add", name, "messages_day=1000")
    assert ctl("tenant", "add", name + "-top").stdout == f"tenant {name}-top: added\n"
    ctl("tenant", "add", name, f"plan={name}", f"parent={name}-top", "messages_hour=10")
    got = ctl.json("tenant", "show", name)
    assert got == {"tenant": name, "parent": name + "-top", "plan": name, "enabled": True, "accounts": 0,
                   "settings": {"messages_hour": 10}}
    lines = dict(line.split() for line in ctl("tenant", "show", name).stdout.splitlines())
    assert (lines["parent"], lines["enabled"], lines["messages_hour"]) == (name + "-top", "yes", "10")
    assert ctl.json("tenant", "set", name, "enabled=no", "plan=none", "parent=none", "messages_hour=plan") == {
        "tenant": name, "result": "changed"}
    assert ctl.json("tenant", "show", name) == {"tenant": name, "parent": None, "plan": None, "enabled": False,
                                                "accounts": 0, "settings": {}}
    assert ctl("tenant", "del", name, "--dry-run").stdout == f"tenant {name}: deleted (dry run: nothing was changed)\n"
    assert ctl("tenant", "show", name).stdout.split()[:2] == ["tenant", name]
    assert ctl("tenant", "del", name).stdout == f"tenant {name}: deleted\n"
    assert name not in [row["tenant"] for row in ctl.json("tenant", "list")]


def test_accounts_are_put_into_a_tenant(ctl, name):
    login, other = ctl.account(), ctl.account()
    ctl("tenant", "add", name, "messages_hour=3")
    assert ctl("account", "tenant", login, name).stdout == f"{login}: changed tenant {name}\n"
    ctl("account", "tenant", other, name)
    row = next(row for row in ctl.json("tenant", "list") if row["tenant"] == name)
    assert row["accounts"] == 2
    assert [ctl.take(login), ctl.take(other), ctl.take(login), ctl.take(other)] == [0, 0, 0, 1]
    shown = ctl.limits(login, f"tenant {name}")["messages_hour"]
    assert (shown["used"], shown["max"], shown["source"]) == (3, 3, "own")
    ctl("tenant", "del", name, status=DATA)
    ctl("account", "tenant", login, "none")
    assert ctl.limits(login, f"tenant {name}") == {} and ctl.take(login) == 0
    assert "no tenant" in ctl("account", "tenant", login, name + "x", status=DATA).stderr
    ctl("account", "tenant", "nobody@example.test", name, status=NO_USER)


def test_the_parents_limits_are_shown(ctl, name):
    ctl("tenant", "add", name + "-top", "messages_day=9")
    ctl("tenant", "add", name, f"parent={name}-top")
    login = ctl.account()
    ctl("account", "tenant", login, name)
    assert ctl.limits(login, f"tenant {name}-top")["messages_day"]["max"] == 9


def test_tenants_that_are_there_or_are_not(ctl, name):
    ctl("tenant", "add", name, "messages_hour=1")
    assert "already" in ctl("tenant", "add", name, "messages_hour=2", status=CANNOT_CREATE).stderr
    assert settings(ctl, "tenant", name)["messages_hour"] == 1
    for words in (("set", name + "x", "messages_hour=1"), ("show", name + "x"), ("del", name + "x")):
        assert "no tenant" in ctl("tenant", *words, status=DATA).stderr
    for word, status in ((f"parent={name}x", DATA), ("plan=nosuch", DATA), ("enabled=maybe", USAGE), ("plan=", USAGE),
                         (f"parent={name}", DATA), ("on_exceed=reject", USAGE), ("messages_hour=-1", USAGE)):
        before = ctl.json("tenant", "show", name)
        assert ctl("tenant", "set", name, "messages_day=5", word, status=status).stderr
        assert ctl.json("tenant", "show", name) == before, word


# ---------------------------------------------------------------------- domains
def test_a_domain_is_made_changed_shown_and_deleted(ctl, name):
    domain = f"{name}.Example.test"
    ctl("domain", "add", domain, "messages_hour=2")
    assert "already" in ctl("domain", "add", domain.lower(), "messages_hour=3", status=CANNOT_CREATE).stderr
    login, other = ctl.account(), ctl.account()
    assert [ctl.take(who, domain=domain.lower()) for who in (login, other, login)] == [0, 0, 1]
    ctl("domain", "set", domain.upper(), "messages_hour=4", "plan=default")
    assert ctl.json("domain", "show", domain) == {"domain": domain.lower(), "plan": "default",
                                                  "settings": {"messages_hour": 4}}
    assert domain.lower() in ctl("domain", "list").stdout
    assert ctl.json("domain", "del", domain, "--dry-run") == {"domain": domain, "result": "deleted", "dry_run": True}
    assert ctl("domain", "del", domain).stdout == f"domain {domain}: deleted\n"
    for words in (("set", domain, "messages_hour=1"), ("show", domain), ("del", domain)):
        assert "no domain" in ctl("domain", *words, status=DATA).stderr
    assert ctl.take(other, domain=domain.lower()) == 0


def test_what_is_no_domain(ctl):
    for domain in ("", "a b", "x" * 256, "a@b.test"):
        assert ctl("domain", "add", domain, "messages_hour=1", status=DATA).stdout == ""
    assert ctl("domain", "add", "a.test", "parent=x", status=USAGE).stdout == ""


# ----------------------------------------------------------------------- limits
def test_limits_show_as_json(ctl):
    login = ctl.account("messages_hour=4", "recipients_hour=unlimited")
    ctl.take(login, 3, 5)
    shown = ctl.limits(login)
    hour = shown["messages_hour"]
    assert sorted(hour) == ["action", "frees_at", "limit", "max", "scope", "source", "used", "window_s"]
    assert (hour["used"], hour["max"], hour["window_s"], hour["source"]) == (3, 4, 3600, "own")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", hour["frees_at"])
    assert (shown["recipients_hour"]["max"], shown["recipients_hour"]["used"]) == (None, 5)
    assert shown["messages_day"]["source"] == "plan default" and shown["messages_day"]["used"] == 3
    assert shown["recipients_message"] | {"scope": "", "source": "", "action": ""} == {
        "scope": "", "limit": "recipients_message", "used": None, "max": 100, "window_s": None, "frees_at": None,
        "source": "", "action": ""}


def test_limits_show_as_a_table(ctl):
    login = ctl.account("messages_hour=4")
    ctl.take(login, 3, 5)
    lines = [re.split("  +", line.strip()) for line in ctl("limits", "show", login).stdout.splitlines()]
    assert lines[0] == ["scope", "limit", "used", "max", "window_s", "frees_at", "source", "action"]
    rows = {line[1]: line for line in lines[1:]}
    assert rows["messages_hour"][:5] == ["account", "messages_hour", "3", "4", "3600"]
    assert rows["recipients_message"][2:6] == ["-", "100", "-", "-"]
    assert "bytes_hour" not in rows
    assert "bytes_hour" in ctl("limits", "show", login, "--all").stdout
    assert "\x1b" not in ctl("limits", "show", login).stdout


def test_nothing_that_is_limited(ctl, name):
    ctl("plan", "add", name)
    done = ctl("limits", "show", ctl.account(plan=name))
    assert "Nothing is limited" in done.stderr and len(done.stdout.splitlines()) == 1


def test_a_limit_of_zero_lets_nothing_through(ctl):
    login = ctl.account("messages_hour=0")
    assert ctl.take(login) == 2
    assert ctl.limits(login)["messages_hour"]["max"] == 0
    assert "0 of 0  100 %" in ctl.drawn("limits", "show", login)


# ------------------------------------------------------------------------- bars
def row(shown, label):
    return next(line for line in shown.splitlines() if line.strip().startswith(label))


def test_bars_on_a_terminal(ctl):
    login = ctl.account("messages_hour=4", "bytes_hour=4KiB")
    ctl.take(login, 2, 2, 1536)
    shown = ctl.drawn("limits", "show", login, NO_COLOR="1")
    assert shown.splitlines()[0] == "account" and "\x1b" not in shown
    hour = row(shown, "messages per hour ")
    bar = re.search(f"[{BLOCKS}]+", hour).group()
    assert bar.count("█") == len(bar) // 2 and set(bar[len(bar) // 2 + 1:]) == {"░"}
    assert "2 of 4" in hour and "50 %" in hour and re.search(r"frees in \d+ min", hour) and hour.endswith(" own")
    assert "1.5 KiB of 4 KiB" in row(shown, "octets per hour")
    assert "at most 100" in row(shown, "recipients of a message")
    assert "unlimited" not in shown
    assert "1.5 KiB, unlimited" in row(ctl.drawn("limits", "show", login, "--all"), "octets per day")


def test_no_utf8_no_blocks(ctl):
    login = ctl.account("messages_hour=2")
    ctl.take(login)
    for environment in ({"locale": "C"}, {"locale": "nonsense"}):
        bar = re.search(r"\[(#+)(\.+)\]", ctl.drawn("limits", "show", login, **environment))
        assert abs(len(bar.group(1)) - len(bar.group(2))) <= 1


@pytest.mark.parametrize("taken, colour", [(7, 32), (8, 33), (9, 33), (10, 31)])
def test_colours(ctl, taken, colour):
    login = ctl.account("messages_hour=10")
    ctl.take(login, taken)
    assert f"\x1b[{colour}m" in row(ctl.drawn("limits", "show", login), "messages per hour ")
    assert "\x1b" not in ctl.drawn("limits", "show", login, term="dumb")
    assert "\x1b" not in ctl.drawn("limits", "show", login, NO_COLOR="yes")
    assert "\x1b" in ctl.drawn("limits", "show", login, NO_COLOR="")


@pytest.mark.parametrize("columns", [1, 40, 60, 72, 80, 100, 132, 999])
def test_a_line_fits_the_terminal(ctl, columns):
    login = ctl.account("messages_hour=1000000000000000", "bytes_month=999GiB")
    ctl.take(login)
    lines = ctl.drawn("limits", "show", login, columns=columns, NO_COLOR="1").splitlines()
    widest = max(len(line) for line in lines)
    assert widest < columns or columns < 72, (widest, lines)
    assert all(len(re.search(f"[{BLOCKS}]+", line).group()) >= 8 for line in lines if "%" in line)
    assert columns < 132 or any(line.endswith(" own") for line in lines)


def test_json_on_a_terminal_is_json(ctl):
    login = ctl.account("messages_hour=4")
    assert {line["limit"] for line in json.loads(ctl.drawn("limits", "show", login, "--json"))} >= {"messages_hour"}


# ------------------------------------------------------- accounts and credentials
def test_account_show_has_the_limits(ctl, name):
    ctl("tenant", "add", name, "messages_month=6")
    login = ctl.account("messages_hour=4")
    ctl("account", "tenant", login, name)
    ctl.take(login)
    assert ctl.json("account", "show", login)["limits"] == ctl.json("limits", "show", login)
    plain = ctl("account", "show", login).stdout
    assert plain.endswith(ctl("limits", "show", login).stdout) and f"tenant {name}" in plain
    drawn = ctl.drawn("account", "show", login)
    assert "█" in drawn and f"\ntenant {name}\n" in drawn


@pytest.fixture(name="pepper", scope="module")
def pepper_fixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pepper") / "pepper"
    path.write_text("5f" * 32 + "\n")
    path.chmod(0o600)
    return str(path)


def test_a_credential_with_limits(ctl, pepper):
    login = ctl.account()
    made = ctl.json("credential", "add", login, "--pepper", pepper, "--limit", "messages_hour=2", "--limit=bytes_day=1MiB",
                    "--messages-day", "9", "--limit", "new_recipients_day=unlimited")
    shown = ctl.json("credential", "show", made["credential"])
    scope = f"credential {made['credential']}"
    assert {line["scope"] for line in shown["limits"]} == {scope}
    assert {line["limit"]: line["max"] for line in shown["limits"] if line["max"] is not None} == {
        "messages_hour": 2, "bytes_day": 1 << 20, "messages_day": 9}
    assert [ctl.take(login, credential=made["credential"]) for _ in range(3)] == [0, 0, 1]
    assert ctl.limits(login, scope)["messages_hour"]["used"] == 2
    plain = ctl("credential", "show", made["credential"]).stdout
    assert re.search(rf"{scope} +messages_hour +2 +2 ", plain)
    assert scope in ctl.drawn("credential", "show", "pst_" + made["credential"])


def test_a_credential_without_limits(ctl, pepper):
    login = ctl.account()
    made = ctl.json("credential", "add", login, "--pepper", pepper)
    assert [line for line in ctl.json("credential", "show", made["credential"])["limits"] if line["max"] is not None] == []
    assert ctl("credential", "show", made["credential"]).stdout.splitlines()[-1].startswith("senders")


@pytest.mark.parametrize("words, status", [
    (("--limit", "messages_hour=-1"), USAGE), (("--limit", "messages_year=1"), USAGE), (("--limit", "5"), USAGE),
    (("--limit", "messages_hour=1", "--messages-hour", "2"), USAGE), (("--limit", "messages_hour=plan"), USAGE),
    (("--limit", "=1"), USAGE), (("--messages-hour", "1KiB"), USAGE), (("--limit", "messages_hour=1000000000000001"), DATA),
    (("--limit",), USAGE), (("--limit", "on_exceed=reject"), USAGE),
])
def test_wrong_limits_make_no_credential(ctl, pepper, words, status):
    login = ctl.account()
    assert ctl("credential", "add", login, "--pepper", pepper, *words, status=status).stdout == ""
    assert ctl.json("credential", "list", login) == []


def test_the_two_forms_of_the_option_limit(ctl):
    assert len(ctl.json("account", "list", "--limit", "1")) == 1
    done = run("account", "list", "--limit", "messages_hour=1", dsn=ctl.dsn)
    assert done.returncode == USAGE and "not a value for this option: --limit" in done.stderr
    done = run("account", "list", "--limit", "-1", dsn=ctl.dsn)
    assert done.returncode == USAGE and "not a value" in done.stderr
    assert "--limit N" in run("account", "list", "--help").stdout
    assert "--limit KEY=VALUE" in run("credential", "add", "--help").stdout
    assert "--limit N" not in run("credential", "add", "--help").stdout


# ------------------------------------------------------------------------ usage
@pytest.mark.parametrize("words", [
    ("plan",), ("plan", "add"), ("plan", "set", "a"), ("plan", "show"), ("plan", "list", "a"), ("plan", "del", "a"),
    ("tenant", "add"), ("tenant", "set", "a"), ("tenant", "del"), ("domain", "add"), ("domain", "set", "a"),
    ("limits", "show"), ("limits", "show", "a", "b"), ("account", "plan", "a"), ("account", "tenant", "a"),
    ("limits", "set", "a", "messages_hour=1", "--all"), ("plan", "set", "a", "messages_hour=1", "--dry-run"),
    ("plan", "add", *["a=1"] * 100),
])
def test_wrong_usage(words):
    done = run(*words, dsn="host=/nonexistent")
    assert done.returncode == USAGE and done.stdout == "" and "--help" in done.stderr


def test_hostile_names_do_not_reach_the_terminal(ctl):
    for words in (("plan", "show", "\x1b[2J"), ("tenant", "del", "\x1b[2J"), ("domain", "show", "\x1b[2J"),
                  ("plan", "add", "a", "\x1b[2J=1"), ("limits", "set", ctl.account(), "\x1b=1")):
        done = run(*words, dsn=ctl.dsn)
        assert done.returncode in (USAGE, DATA) and "\x1b" not in done.stdout + done.stderr
    for name in ("'; DROP TABLE postern.plan; --", '"', "\\", "$1", "%s%n"):
        for noun in ("plan", "tenant", "domain"):
            assert ctl(noun, "show", name, status=DATA).stderr.startswith("posternctl: there is no")


def test_what_is_changed_is_in_the_audit(ctl, name):
    ctl("plan", "add", name, "messages_hour=1")
    ctl("plan", "set", name, "messages_hour=2")
    change = ctl.json("audit", "--limit", "1")[0]
    assert (change["object"], change["via"]) == ("plan", "plan_set")
    assert "messages_hour" in json.dumps(change["after"])
