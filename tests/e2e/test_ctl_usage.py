# SPDX-License-Identifier: ISC
"""posternctl usage, log, explain, top and limits advise, against books that are known to the octet."""
import csv
import io
import itertools
import os
import signal
import subprocess

import psycopg
import pytest

import usage_rows
import pg
from usage_rows import id_text, message, put, refusal, refuse
from test_ctl import CTL, DATA, NO_USER, USAGE, Control, Terminal, run

HOUR_MS = 3_600_000
AT = 1_795_600_000_000  # 2026-11-25T09:46:40Z, no later than what the tests put
tids = itertools.count(1)


class Books(Control):
    """With accounts, and what nodes put."""

    def __init__(self, server):
        super().__init__(server)
        self.service = psycopg.connect(server.dsn(self.name, "postern_service"), autocommit=True)
        self.seqs = itertools.count(1)

    def account(self, login, *limits):
        self("account", "add", login, "--no-password")
        if limits:
            self("limits", "set", login, *limits)
        return self.sql("SELECT account_id FROM postern.account WHERE login = %s", login)[0][0]

    def put(self, *messages):
        assert put(self.service, next(self.seqs), messages)

    def refuse(self, *refusals):
        refuse(self.service, refusals)

    def sql_do(self, statement):
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture
def kept():
    """Books of its own."""
    made = Books(pg.shared())
    yield made
    made.service.close()


@pytest.fixture(scope="module")
def sold():
    """Two accounts of tenants, one without, one that is deleted; three days."""
    made = Books(pg.shared())
    made("tenant", "add", "acme")
    made("tenant", "add", "child", "parent=acme")
    ids = {login: made.account(login) for login in ("alice@example.test", "bob@example.test", "carol@example.test")}
    made("account", "tenant", "alice@example.test", "acme")
    made("account", "tenant", "bob@example.test", "child")
    day = 24 * HOUR_MS
    made.put(*[message(next(tids), ids["alice@example.test"], at=AT + n * day, bytes=2 ** 60 + n) for n in range(3)],
             message(next(tids), ids["bob@example.test"], at=AT, recipients=5, unknown=True),
             message(next(tids), ids["carol@example.test"], at=AT + 20 * day, bytes=1),
             message(next(tids), 4711, at=AT, recipients=1, bytes=10))
    yield made, ids
    made.service.close()


# ------------------------------------------------------------------------ usage
def total(messages, recipients, octets, unknown=0, unknown_recipients=0, unknown_bytes=0):
    return {"messages": messages, "recipients": recipients, "bytes": octets, "unknown": unknown,
            "unknown_recipients": unknown_recipients, "unknown_bytes": unknown_bytes}


ALL = total(6, 14, 3 * 2 ** 60 + 3 + 1000 + 1 + 10, 1, 5, 1000)


def test_usage_by_day_is_exact(sold):
    told = sold[0].json("usage")
    assert told["total"] == ALL
    assert told["rows"] == [
        {"day": "2026-11-25", **total(3, 8, 2 ** 60 + 1010, 1, 5, 1000)},
        {"day": "2026-11-26", **total(1, 2, 2 ** 60 + 1)},
        {"day": "2026-11-27", **total(1, 2, 2 ** 60 + 2)},
        {"day": "2026-12-15", **total(1, 2, 1)}]


def test_usage_by_month(sold):
    told = sold[0].json("usage", "--by", "month")
    assert [(row["month"], row["messages"]) for row in told["rows"]] == [("2026-11", 5), ("2026-12", 1)]
    assert told["total"] == ALL


def test_usage_by_account_names_those_who_are_gone_by_their_id(sold):
    ctl, ids = sold
    told = ctl.json("usage", "--by", "account")
    assert told["total"] == ALL
    assert [(row["login"], row["account_id"], row["messages"]) for row in told["rows"]] == [
        *[(login, ids[login], count) for login, count in
          (("alice@example.test", 3), ("bob@example.test", 1), ("carol@example.test", 1))], (None, 4711, 1)]


def test_usage_by_tenant(sold):
    told = sold[0].json("usage", "--by", "tenant")
    assert told["total"] == ALL
    assert [(row["tenant"], row["messages"]) for row in told["rows"]] == [("acme", 3), ("child", 1), (None, 2)]


def test_usage_by_credential(kept):
    account = kept.account("dave@example.test")
    number = kept.sql("SELECT postern.credential_number('aaaaaaaaaaab')")[0][0]
    kept.sql_do("INSERT INTO postern.credential (credential_id, account_id, public_id, key_id, hash, label) VALUES"
                f" ({number}, {account}, 'aaaaaaaaaaab', '0123456789abcdef', decode(repeat('00', 32), 'hex'), 'printer')")
    kept.put(message(next(tids), account), message(next(tids), account, credential=number, bytes=5),
             message(next(tids), account, credential=number, bytes=6))
    told = kept.json("usage", "--by", "credential")
    assert told == {"rows": [
        {"login": "dave@example.test", "account_id": account, "credential": None, "label": None, **total(1, 2, 1000)},
        {"login": "dave@example.test", "account_id": account, "credential": "aaaaaaaaaaab", "label": "printer",
         **total(2, 4, 11)}], "total": total(3, 6, 1011)}


@pytest.mark.parametrize("words,messages", [
    (("--account", "alice@example.test"), 3), (("--account", "ALICE@example.test"), 3), (("--id", "4711"), 1),
    (("--id", "1234567"), 0), (("--tenant", "acme"), 4), (("--tenant", "child"), 1),
    (("--since", "2026-11-26"), 3), (("--until", "2026-11-26"), 3),
    (("--since", "2026-11-26", "--until", "2026-11-27"), 1), (("--account=bob@example.test", "--since", "2026-11-26"), 0),
])
@pytest.mark.parametrize("grouped", ["day", "account", "credential"])
def test_usage_of_some(sold, words, messages, grouped):
    assert sold[0].json("usage", "--by", grouped, *words)["total"]["messages"] == messages


def test_usage_as_a_table_ends_with_the_total(sold):
    lines = sold[0]("usage", "--by", "account").stdout.splitlines()
    assert lines[0].split() == ["login", "account_id", "messages", "recipients", "bytes", "unknown"]
    assert lines[-1].split() == ["total", "-", "6", "14", str(ALL["bytes"]), "1"]
    assert len(lines) == 6


def test_usage_as_csv_adds_up_to_the_total(sold):
    rows = list(csv.DictReader(io.StringIO(sold[0]("usage", "--by", "account", "--csv").stdout, newline="")))
    assert len(rows) == 4
    for name, want in ALL.items():
        assert sum(int(row[name]) for row in rows) == want, name


def test_usage_of_nothing(kept):
    assert kept.json("usage") == {"rows": [], "total": total(0, 0, 0)}
    assert kept("usage", "--csv").stdout == "day,messages,recipients,bytes,unknown,unknown_recipients,unknown_bytes\n"


@pytest.mark.parametrize("words,status", [
    (("usage", "x"), USAGE), (("usage", "--by", "hour"), USAGE), (("usage", "--by", "address"), USAGE),
    (("usage", "--account", ""), USAGE), (("usage", "--account", "a", "--tenant", "b"), USAGE),
    (("usage", "--account", "a", "--id", "1"), USAGE),
    (("usage", "--id", "x"), USAGE), (("usage", "--limit", "5"), USAGE), (("usage", "--client", "192.0.2.1"), USAGE),
    (("usage", "--account", "nobody@example.test"), NO_USER), (("usage", "--tenant", "nobody"), NO_USER),
    (("usage", "--account", "a b"), DATA), (("usage", "--since", "someday"), DATA), (("usage", "--until", "2026-13-01"), DATA),
    (("log", "a", "b"), USAGE), (("log", "--limit", "0"), USAGE), (("log", "--limit", "100001"), USAGE),
    (("log", "--by", "day"), USAGE), (("log", "--from"), USAGE), (("log", "nobody@example.test"), NO_USER),
    (("log", ""), DATA), (("log", "--client", "everywhere"), DATA), (("log", "--client", "192.0.2.0/33"), DATA),
    (("log", "--id", "4711"), DATA), (("log", "--id", "ilouilouilou"), DATA), (("log", "--since", "someday"), DATA),
    (("explain",), USAGE), (("explain", "a", "b"), USAGE), (("explain", "a", "--id", "b"), USAGE),
    (("explain", "nonsense"), DATA), (("explain", ""), DATA), (("explain", "0123456789ab"), NO_USER),
    (("top", "a"), USAGE), (("top", "--by", "day"), USAGE), (("top", "--interval", "2"), USAGE),
    (("top", "--interval", "0s"), USAGE), (("top", "--interval", "2h"), USAGE), (("top", "--once=1"), USAGE),
    (("top", "--limit", "10001"), USAGE), (("top", "--since", "today"), USAGE),
    (("limits", "advise"), USAGE), (("limits", "advise", "a", "b"), USAGE), (("limits", "advise", "nobody@x"), NO_USER),
    (("limits", "advise", "a b"), DATA), (("audit", "--id", "x"), USAGE), (("audit", "--queue-id", "x"), USAGE),
])
def test_what_is_wrong_says_what_to_do(sold, words, status):
    done = sold[0](*words, status=status)
    assert done.stdout == "" and done.stderr.startswith("posternctl: "), done.stderr
    assert "CONTEXT" not in done.stderr and "postern." not in done.stderr


def test_errors_are_json_wherever_the_option_stands(sold):
    assert "CSV or as JSON" in sold[0]("usage", "--csv", "--json", status=USAGE).stderr
    for words in (("--json", "usage", "--by", "hour"), ("usage", "--by", "hour", "--json")):
        done = sold[0](*words, status=USAGE)
        assert done.stderr.startswith('{"error":"not a value for this option: --by"'), done.stderr


# -------------------------------------------------------------------------- log
@pytest.fixture(scope="module")
def told():
    made = Books(pg.shared())
    alice, bob = made.account("alice@example.test"), made.account("bob@example.test")
    made.put(message(1, alice, at=AT, queue_id="A1"), message(2, bob, at=AT + 1000, sender="Bob@Example.test"),
             message(3, alice, at=AT + 2000, sender="", client="2001:db8::9", unknown=True, queue_id=""))
    made.refuse(refusal(4, alice, at_ms=AT + 3000, sender="mallory@other.test"),
                refusal(5, bob, at_ms=AT + 4000, rule="meter", code=450, meter="messages per hour", limit=5, used=5,
                        reset_s=AT // 1000 + 60, client="198.51.100.3"))
    yield made
    made.service.close()


@pytest.mark.parametrize("words,ids", [
    ((), [5, 4, 3, 2, 1]), (("alice@example.test",), [4, 3, 1]), (("BOB@example.test",), [5, 2]),
    (("--from", "alice@example.test"), [5, 1]), (("--from", "bob@example.test"), [2]), (("--from", "@example.test"), [5, 2, 1]),
    (("--from", ""), [3]), (("--from", "@test"), []), (("--queue-id", "A1"), [1]), (("--queue-id", "a1"), []),
    (("--id", id_text(2)), [2]), (("--id", id_text(4).upper()), [4]), (("--id", id_text(99)), []),
    (("--client", "192.0.2.0/24"), [4, 2, 1]), (("--client", "2001:db8::9"), [3]), (("--client", "2001:db8::/32"), [3]),
    (("--client", "0.0.0.0/0"), [5, 4, 2, 1]),
    (("--since", "2026-11-25T09:46:42Z"), [5, 4, 3]), (("--until", "2026-11-25T09:46:42Z"), [2, 1]),
    (("--limit", "2"), [5, 4]), (("alice@example.test", "--client", "192.0.2.7", "--limit", "1"), [4]),
    (("bob@example.test", "--id", id_text(1)), []),
])
def test_log_finds(told, words, ids):
    assert [row["id"] for row in told.json("log", *words)] == [id_text(tid) for tid in ids]


def test_log_in_json(told):
    alice = told.sql("SELECT account_id FROM postern.account WHERE login = 'alice@example.test'")[0][0]
    common = {"login": "alice@example.test", "account_id": alice, "credential": None}
    assert told.json("log", "--id", id_text(1)) == [
        {"at": "2026-11-25T09:46:40Z", "state": "accepted", "id": id_text(1), **common, "from": "alice@example.test",
         "recipients": 2, "bytes": 1000, "client": "192.0.2.7", "backend": "127.0.0.1:25", "queue_id": "A1",
         "rule": None, "code": None, "meter": None, "limit": None, "used": None}]
    assert told.json("log", "--id", id_text(4)) == [
        {"at": "2026-11-25T09:46:43Z", "state": "refused", "id": id_text(4), **common, "from": "mallory@other.test",
         "recipients": None, "bytes": None, "client": "192.0.2.7", "backend": None, "queue_id": None,
         "rule": "sender", "code": 550, "meter": None, "limit": None, "used": None}]


def test_log_as_a_table(told):
    lines = told("log").stdout.splitlines()
    assert lines[0].split() == ["at", "state", "id", "login", "from", "recipients", "bytes", "client", "detail"]
    assert "refused" in lines[1] and lines[1].endswith("450 messages per hour")
    assert "  unknown  " in lines[3] and "  <>  " in lines[3]
    assert lines[5].split()[-1] == "A1"


def test_log_of_nobody_is_empty(kept):
    assert kept.json("log") == []
    assert kept("log").stdout.splitlines()[0].startswith("at")


def test_a_deleted_account_leaves_amounts_in_the_log(kept):
    account = kept.account("gone@example.test")
    tid = next(tids)
    kept.put(message(tid, account))
    kept("account", "disable", "gone@example.test")
    kept("account", "delete", "gone@example.test")
    row, = kept.json("log")
    assert (row["id"], row["login"], row["account_id"], row["from"], row["client"], row["bytes"]) == (
        id_text(tid), None, account, None, None, 1000)
    assert kept.json("usage", "--by", "account")["rows"][0]["account_id"] == account
    explained = kept("explain", id_text(tid)).stdout
    assert f"{account}, deleted since" in explained and "gone@" not in explained


# ---------------------------------------------------------------------- explain
def explained(kept, tid):
    return kept("explain", id_text(tid)).stdout, kept.json("explain", id_text(tid))


def test_explain_a_sender_that_is_not_owned(kept):
    account = kept.account("erin@example.test")
    kept("sender", "add", "erin@example.test", "@erin.example")
    tid = next(tids)
    kept.refuse(refusal(tid, account, sender="ceo@example.test"))
    text, (row,) = explained(kept, tid)
    assert (row["state"], row["rule"], row["code"], row["from"]) == ("refused", "sender", 550, "ceo@example.test")
    assert row["senders"].split() == ["erin@example.test", "@erin.example"] and row["sender_count"] == 2
    assert "refused with 550" in text and "may not send as the address of MAIL FROM" in text
    assert "ceo@example.test" in text and "erin@example.test @erin.example" in text


def test_explain_says_that_there_are_more_senders(kept):
    account = kept.account("many@example.test")
    kept.sql_do("INSERT INTO postern.sender SELECT account_id, 'address', 's' || n || '@example.test'"
                " FROM postern.account, generate_series(1, 40) n")
    tid = next(tids)
    kept.refuse(refusal(tid, account))
    text, (row,) = explained(kept, tid)
    assert row["sender_count"] == 41 and len(row["senders"].split()) == 32
    assert "and others" in text


def test_explain_a_limit_and_where_it_comes_from(kept):
    account = kept.account("frank@example.test")
    tid = next(tids)
    kept.refuse(refusal(tid, account, rule="meter", code=450, meter="messages per hour", limit=400, used=399,
                        reset_s=AT // 1000))
    text, (row,) = explained(kept, tid)
    assert (row["meter"], row["limit"], row["used"], row["frees_at"]) == (
        "messages per hour", 400, 399, "2026-11-25T09:46:40Z")
    assert (row["scope"], row["source"], row["limit_now"], row["used_now"]) == ("account", "plan default", 500, 0)
    assert "the limit of 400 messages per hour, of which 399 were used" in text
    assert "500, 0 used; from plan default, of: account" in text and "2026-11-25T09:46:40Z" in text
    kept("limits", "set", "frank@example.test", "messages_hour=7")
    text, (row,) = explained(kept, tid)
    assert (row["source"], row["limit_now"]) == ("own", 7)
    assert "7, 0 used; from a limit of its own: account" in text


def test_explain_a_limit_of_a_tenant(kept):
    account = kept.account("gil@example.test")
    kept("tenant", "add", "acme", "messages_day=10")
    kept("account", "tenant", "gil@example.test", "acme")
    tid = next(tids)
    kept.refuse(refusal(tid, account, rule="meter", code=550, meter="messages per day of the tenant acme", limit=10))
    text, (row,) = explained(kept, tid)
    assert (row["scope"], row["source"], row["limit_now"]) == ("tenant acme", "own", 10)
    assert "never: the message wants more than the limit itself" in text


def test_explain_a_limit_that_is_no_more(kept):
    account = kept.account("hal@example.test")
    tid = next(tids)
    kept.refuse(refusal(tid, account, rule="meter", code=450, meter="messages per hour of the tenant sold", limit=10))
    text, (row,) = explained(kept, tid)
    assert row["scope"] is None and "no such limit any more" in text


@pytest.mark.parametrize("rule,code,words", [
    ("from-header", 550, "the header From"), ("revoked", 421, "disabled, blocked or changed"),
    ("unavailable", 451, "trouble of ours"), ("sessions", 421, "as many sessions"),
    ("burst", 450, "in a minute on one node"), ("grace", 451, "without it was used up")])
def test_explain_every_rule(kept, rule, code, words):
    account = kept.account("ida@example.test")
    tid = next(tids)
    kept.refuse(refusal(tid, account, rule=rule, code=code))
    text, (row,) = explained(kept, tid)
    assert (row["rule"], row["code"]) == (rule, code)
    assert f"refused with {code}" in text and words in text


def test_explain_a_message_that_went(kept):
    account = kept.account("joe@example.test")
    tid = next(tids)
    kept.put(message(tid, account, queue_id="4XyZ", unknown=True, backend="192.0.2.25:25"))
    kept("account", "disable", "joe@example.test")
    text, (row,) = explained(kept, tid)
    assert (row["state"], row["queue_id"], row["backend"], row["enabled"]) == ("unknown", "4XyZ", "192.0.2.25:25", False)
    for word in ("joe@example.test, disabled now", "4XyZ", "192.0.2.25:25", "may have accepted it"):
        assert word in text


def test_explain_what_the_client_wrote_cannot_drive_a_terminal(kept):
    account = kept.account("kim@example.test")
    tid = next(tids)
    kept.refuse(refusal(tid, account, sender="\x1b[2J\u0085@example.test"))
    assert "\x1b" not in kept("explain", id_text(tid)).stdout
    assert "\x1b" not in kept("log").stdout


# -------------------------------------------------------------------------- top
def busy(kept):
    now = usage_rows.now_ms()
    first, second = kept.account("first@example.test"), kept.account("second@example.test")
    kept("tenant", "add", "acme")
    kept("account", "tenant", "first@example.test", "acme")
    kept.put(*[message(next(tids), first, at=now - 10_000) for _ in range(3)],
             *[message(next(tids), first, at=now - 600_000) for _ in range(57)],
             message(next(tids), second, at=now - 5000, client="198.51.100.1"),
             message(next(tids), second, at=now - 2 * HOUR_MS))
    kept.refuse(*[refusal(next(tids), second, client="198.51.100.1", at_ms=now - 1000) for _ in range(6)],
                refusal(next(tids), 0, at_ms=now - 600_000, client="203.0.113.9"))
    return first, second


def test_top_in_json(kept):
    first, second = busy(kept)
    told = kept.json("top")
    assert told["total"] == {"messages_minute": 4, "recipients_minute": 8, "refusals_minute": 6, "messages_hour": 61,
                             "recipients_hour": 122, "refusals_hour": 7}
    assert [(row["login"], row["account_id"], row["messages_minute"], row["refusals_minute"], row["messages_hour"])
            for row in told["rows"]] == [("second@example.test", second, 1, 6, 1), ("first@example.test", first, 3, 0, 60),
                                         ("not logged in", None, 0, 0, 0)]
    assert [(row["tenant"], row["messages_hour"]) for row in kept.json("top", "--by", "tenant")["rows"]] == [
        ("none", 1), ("acme", 60)]
    assert [(row["address"], row["refusals_hour"]) for row in kept.json("top", "--by", "address")["rows"]] == [
        ("198.51.100.1", 6), ("192.0.2.7", 0), ("203.0.113.9", 1)]
    assert len(kept.json("top", "--limit", "1")["rows"]) == 1


def test_top_is_a_table_where_there_is_no_terminal(kept):
    busy(kept)
    for words in (("top",), ("top", "--once")):
        lines = kept(*words).stdout.splitlines()
        assert lines[0].startswith("login") and "messages/min" in lines[0]
        assert lines[1].split() == ["all", "4", "8", "6", "1.0", "2.0", "0.1"]
        assert lines[2].split()[:4] == ["second@example.test", "1", "2", "6"]
    assert "\x1b" not in kept("top").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_top_draws_anew_until_it_is_ended(kept, number):
    first, _ = busy(kept)
    terminal = Terminal(kept, "top", "--interval", "1s")
    terminal.expect(b"By account, every 1 s")
    terminal.expect(b"first@example.test")
    kept.put(*[message(next(tids), first) for _ in range(77)])
    terminal.expect(b"81 ")  # of all
    if number == signal.SIGINT:
        terminal.type(b"\x03")
    else:
        os.kill(terminal.pid, number)
    status = terminal.end()
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"\x1b[?25h" in terminal.shown  # the cursor is back


def test_top_ends_at_once_however_long_the_pause(kept):
    terminal = Terminal(kept, "top", "--interval", "1h")
    terminal.expect(b"refusals/min 1h")
    terminal.type(b"\x03")
    status = terminal.end()
    assert os.waitstatus_to_exitcode(status) == 0


def test_top_once_on_a_terminal_moves_no_cursor(kept):
    terminal = Terminal(kept, "top", "--once")
    terminal.expect(b"login")
    status = terminal.end()
    assert os.waitstatus_to_exitcode(status) == 0 and b"\x1b" not in terminal.shown


def test_top_ends_when_the_database_goes(kept):
    terminal = Terminal(kept, "top", "--interval", "1s")
    terminal.expect(b"login")
    kept.sql_do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'posternctl'"
                " AND datname = current_database()")
    status = terminal.end()
    assert os.waitstatus_to_exitcode(status) == 69 and b"\x1b[?25h" in terminal.shown


# ----------------------------------------------------------------------- advise
def test_advice_is_a_command_that_can_be_run(kept):
    account = kept.account("lea@example.test")
    start = usage_rows.now_ms() - usage_rows.now_ms() % HOUR_MS - 60 * HOUR_MS
    kept.put(*[message(next(tids), account, at=start + hour * HOUR_MS) for hour in range(50) for _ in range(1 + hour % 10)])
    rows = {row["limit"]: row for row in kept.json("limits", "advise", "lea@example.test")}
    hour = rows["messages_hour"]
    assert (hour["periods"], hour["p50"], hour["p99"], hour["most"], hour["max"], hour["source"], hour["advised"]) == (
        50, 5, 10, 10, 500, "plan default", 20)
    text = kept("limits", "advise", "lea@example.test").stdout
    command = text.splitlines()[-1].split()
    assert command[:4] == ["posternctl", "limits", "set", "lea@example.test"] and "messages_hour=20" in command
    assert subprocess.run([CTL, *command[1:]], env={**os.environ, "POSTERN_DSN": kept.dsn}, check=False,
                          stdout=subprocess.DEVNULL, timeout=30).returncode == 0
    assert {row["limit"]: row["max"] for row in kept.json("limits", "advise", "lea@example.test")} == {
        name: row["advised"] for name, row in rows.items()}


def test_advice_points_at_the_hour_that_is_far_above_the_rest(kept):
    account = kept.account("max@example.test")
    start = usage_rows.now_ms() - usage_rows.now_ms() % HOUR_MS - 200 * HOUR_MS
    kept.put(*[message(next(tids), account, at=start + hour * HOUR_MS) for hour in range(150)],
             *[message(next(tids), account, at=start + 150 * HOUR_MS) for _ in range(300)])
    row = kept.json("limits", "advise", "max@example.test")[0]
    assert (row["outlier"], row["most"], row["advised"]) == (True, 300, 10)
    text = kept("limits", "advise", "max@example.test").stdout
    assert f"messages_hour: 300 at {row['most_at']} is far above the rest" in text


def test_no_advice_without_anything_sent(kept):
    kept.account("new@example.test")
    text = kept("limits", "advise", "new@example.test").stdout
    assert "nothing to go by" in text and "limits set" not in text
    assert {row["advised"] for row in kept.json("limits", "advise", "new@example.test")} == {None}


def test_the_service_may_not_ask(kept):
    for words in (("usage",), ("log",), ("top", "--once"), ("explain", "0123456789ab")):
        assert run(*words, dsn=kept.server.dsn(kept.name, "postern_service")).returncode == 77, words
