# SPDX-License-Identifier: ISC
"""Revoked means revoked: what changes in the database reaches every node, by word, by poll, by failover."""

import base64
import hashlib
import os
import random
import re
import signal
import threading
import time

import psycopg
import pytest

import harness
import observe
from box.layout import Layout
from box.standby import Pair
from rig import CONTENT, RECIPIENT, Rig
from scripted import Scripted, Stall

REVOKED = "421 4.7.0 The account was changed or disabled; log in again"
COST = ("--memory", "8MiB", "--passes", "1")
SOON = 1.0  # seconds: the promise.  A poll, every 5 s, would keep it one time in five
FEED = "SELECT pid FROM pg_stat_activity WHERE usename = 'postern_service' AND query LIKE '%changes_since%'"


class Nodes:
    """Two nodes on one database, the second with a backend that does as it is told."""

    def __init__(self, make):
        self.backend = Scripted()
        self.first = make(settings=["probe.interval=1h"])
        self.second = make(settings=["probe.interval=1h"], backend=self.backend.address, beside=self.first)
        self.both = (self.first, self.second)
        self.count = 0
        for node in self.both:
            observe.wait_ready(node)
            harness.wait_until(lambda node=node: observe.metric(node, "feed_up") == 1, "the feed")

    def account(self, *limits):
        self.count += 1
        login = f"node{self.count}@example.test"
        self.first.add_account(login, login)
        if limits:
            self.first.ctl("limits", "set", login, *limits)
        return login

    def sessions(self, login):
        return [node.session(user=login, password=login) for node in self.both]


@pytest.fixture(scope="module")
def nodes(make_sandbox):
    made = Nodes(make_sandbox)
    yield made
    made.backend.close()


@pytest.fixture(autouse=True)
def backend_as_usual(request):
    if "nodes" in request.fixturenames:
        request.getfixturevalue("nodes").backend.reset()
    yield


def owner(box):
    """A connection as the superuser."""
    with open(box.path("pgpass"), encoding="ascii") as file:
        password = file.read().strip().rpartition(":")[2]
    return psycopg.connect(re.sub(r"user=\S+ password=\S+", f"user=postgres password={password}", box.dsn),
                           autocommit=True)


def ended(client, since):
    """Waits for the 421; returns how long after `since` it came."""
    assert client.reply().text == REVOKED
    took = time.monotonic() - since
    client.expect_end()
    client.close()
    return took


# ---------------------------------------------------------------------- by word
@pytest.mark.threat("C24")
@pytest.mark.parametrize("change", [
    ("account", "disable", "{login}"),
    ("account", "passwd", "{login}", *COST),
    ("limits", "set", "{login}", "recipients_message=5"),
    ("limits", "set", "{login}", "message_bytes=1000"),
], ids=["disable", "passwd", "recipients", "bytes"])
def test_a_change_ends_the_sessions_on_both_nodes_at_once(nodes, change, record_property):
    login = nodes.account()
    clients = nodes.sessions(login)
    bystanders = [node.session() for node in nodes.both]
    told = [observe.Change(node) for node in nodes.both]
    nodes.first.ctl(*[word.format(login=login) for word in change],
                    text="another\n" if "passwd" in change else None)
    since = time.monotonic()
    times = [ended(client, since) for client in clients]
    record_property("seconds", times)
    assert max(times) < SOON, times
    for node, changed, bystander in zip(nodes.both, told, bystanders):
        assert changed("feed_notifications_total") >= 1
        assert changed("sessions_revoked_total") == 1
        assert any("session-revoked" in line for line in node.log_lines())
        bystander.command("NOOP", 250)
        bystander.quit()


def test_every_way_out_in_a_row_is_by_word_and_not_by_poll(nodes):
    """Six times within a second each: a poll brings that once in 15,000 runs."""
    for _ in range(6):
        login = nodes.account()
        clients = nodes.sessions(login)
        nodes.first.ctl("account", "disable", login)
        since = time.monotonic()
        times = [ended(client, since) for client in clients]
        assert max(times) < SOON, times


@pytest.mark.parametrize("change", [
    ("sender", "add", "{login}", "new@example.test"),
    ("limits", "set", "{login}", "messages_hour=7"),
    ("limits", "set", "{login}", "recipients_message=unlimited"),
], ids=["sender", "meter", "looser"])
def test_other_changes_leave_sessions_alone(nodes, change):
    login = nodes.account("recipients_message=10")
    clients = nodes.sessions(login)
    told = [observe.Change(node) for node in nodes.both]
    nodes.first.ctl(*[word.format(login=login) for word in change])
    for changed in told:
        harness.wait_until(lambda changed=changed: changed("feed_changes_total") >= 1, "the change")
    harness.wait_until(lambda: all(observe.metric(node, "feed_unchecked") == 0 for node in nodes.both), "the check")
    for client in clients:
        client.command("NOOP", 250)
        client.quit()
    assert [changed("sessions_revoked_total") for changed in told] == [0, 0]


def test_a_sender_taken_away_is_refused_at_once(nodes):
    """A row that is remembered for minutes is forgotten in time."""
    login = nodes.account()
    nodes.first.ctl("sender", "add", login, "other@example.test")
    clients = nodes.sessions(login)
    for client in clients:
        client.command("MAIL FROM:<other@example.test>", 250)
        client.command("RSET", 250)
    told = [observe.Change(node) for node in nodes.both]
    nodes.first.ctl("sender", "del", login, "other@example.test")
    since = time.monotonic()
    for changed in told:
        harness.wait_until(lambda changed=changed: changed("feed_changes_total") >= 1, "the change")
    assert time.monotonic() - since < SOON
    for client in clients:
        client.command("MAIL FROM:<other@example.test>", 550)
        client.command(f"MAIL FROM:<{login}>", 250)
        client.quit()


def sent(client, login):
    """The reply that decides on a message."""
    for command, good in ((f"MAIL FROM:<{login}>", 250), (f"RCPT TO:<{RECIPIENT}>", 250), ("DATA", 354)):
        reply = client.command(command)
        if reply.code != good:
            client.command("RSET", 250)
            return reply
    client.send(CONTENT + b".\r\n")
    return client.reply()


def test_a_limit_set_on_one_node_binds_on_all(nodes):
    """Tighter, and then looser: at the next message of sessions that are open, within a second."""
    login = nodes.account()
    clients = nodes.sessions(login)
    assert [sent(client, login).code for client in clients] == [250, 250]
    nodes.first.ctl("limits", "set", login, "messages_hour=2")
    since = time.monotonic()
    for client in clients:
        assert sent(client, login).text.startswith("450 4.7.1 Limit reached: 2 messages per hour")
    assert time.monotonic() - since < SOON
    nodes.first.ctl("limits", "set", login, "messages_hour=100")
    since = time.monotonic()
    for client in clients:
        harness.wait_until(lambda client=client: sent(client, login).code == 250, "room")
        client.quit()
    assert time.monotonic() - since < SOON


def test_a_row_is_remembered_while_the_feed_is_up(nodes):
    """Beyond the 10 s that are trusted without one; a hash of the same password costs no look-up either."""
    login = nodes.account()
    with nodes.first.session(user=login, password=login) as client:
        changed = observe.Change(nodes.first)
        polls = observe.metric(nodes.first, "feed_polls_total")
        harness.wait_until(lambda: observe.metric(nodes.first, "feed_polls_total") >= polls + 3, "10 s of polls")
        client.command(f"MAIL FROM:<{login}>", 250)
        assert changed("account_lookups_total") == 0
        client.quit()


def credential(box, login):
    """A generated secret of an account, as posternctl would make one: its public id, all of it."""
    def letters(count):
        return "".join(random.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(count))
    public = letters(12)
    text = f"pst_{public}_{letters(32)}"
    with open(box.pepper, encoding="ascii") as file:
        pepper = bytes.fromhex(file.read().strip())
    keyed = [hashlib.blake2b(what, key=pepper, digest_size=32) for what in (b"postern pepper", text.encode())]
    with owner(box) as database:
        database.execute("SELECT postern.credential_add(%s, %s, %s, %s)",
                         (login, public, keyed[0].hexdigest()[:16], keyed[1].digest()))
    return public, text


@pytest.mark.parametrize("change", [
    "SELECT postern.credential_revoke('{public}')",
    "UPDATE postern.credential SET expires_at = now() WHERE public_id = '{public}'",
    "UPDATE postern.credential SET networks = '{{192.0.2.0/24}}' WHERE public_id = '{public}'",
    "DELETE FROM postern.credential WHERE public_id = '{public}'",
], ids=["revoked", "expired", "network", "deleted"])
def test_a_credential_ends_its_sessions_and_no_others(nodes, change):
    login = nodes.account()
    (public, secret), (_, other) = credential(nodes.first, login), credential(nodes.first, login)
    clients = [node.session(user=login, password=secret) for node in nodes.both]
    stay = [node.session(user=login, password=text) for node in nodes.both for text in (other, login)]
    with owner(nodes.first) as database:
        database.execute(change.format(public=public))
    since = time.monotonic()
    times = [ended(client, since) for client in clients]
    assert max(times) < SOON, times
    for client in stay:
        client.command(f"MAIL FROM:<{login}>", 250)
        client.quit()
    for node in nodes.both:
        with node.secured() as client:
            client.login(login, secret, want=535)


def test_a_new_password_leaves_credentials_alone(nodes):
    login = nodes.account()
    _, secret = credential(nodes.first, login)
    clients = nodes.sessions(login)
    stay = [node.session(user=login, password=secret) for node in nodes.both]
    nodes.first.ctl("account", "passwd", login, *COST, text="another\n")
    since = time.monotonic()
    assert max(ended(client, since) for client in clients) < SOON
    for client in stay:
        client.command(f"MAIL FROM:<{login}>", 250)
        client.quit()


def test_a_deleted_account_ends(nodes):
    login = nodes.account()
    clients = nodes.sessions(login)
    with owner(nodes.first) as database:
        database.execute("DELETE FROM postern.account WHERE login = %s", (login,))
    since = time.monotonic()
    assert max(ended(client, since) for client in clients) < SOON


def test_a_renamed_account_ends_and_logs_in_by_its_new_name_alone(nodes):
    login = nodes.account()
    clients = nodes.sessions(login)
    nodes.first.ctl("account", "rename", login, f"new.{login}")
    since = time.monotonic()
    assert max([ended(client, since) for client in clients]) < SOON
    for node in nodes.both:
        with node.secured() as client:
            client.login(login, login, want=535)
        session = node.session(user=f"new.{login}", password=login)
        assert session.command(f"MAIL FROM:<{login}>").code >= 500
        session.command(f"MAIL FROM:<new.{login}>", 250)
        session.quit()


def test_the_log_in_that_was_being_hashed(nodes):
    """Its row was good when it was looked up: it may get 235, and then it ends all the same."""
    login = nodes.account()
    nodes.first.ctl("account", "passwd", login, "--memory", "64MiB", "--passes", "10", text=f"{login}\n")
    with nodes.first.secured() as client:
        changed = observe.Change(nodes.first)
        token = base64.b64encode(f"\0{login}\0{login}".encode()).decode()
        client.send(f"AUTH PLAIN {token}\r\n")
        harness.wait_until(lambda: changed("account_lookups_total") >= 1, "the look-up")
        nodes.first.ctl("account", "disable", login)
        answer = client.reply()
        if answer.code == 235:
            assert client.reply().text == REVOKED
            client.expect_end()
        else:
            answer.check(535)


# ------------------------------------------------------- in the middle of a message
def test_mid_body_the_message_is_not_delivered(nodes):
    login = nodes.account()
    with nodes.second.session(user=login, password=login) as client:
        client.mail(login, [RECIPIENT])
        client.command("DATA", 354)
        client.send(b"Subject: never\r\n\r\nsome")
        session = harness.wait_until(nodes.backend.mail_sessions, "the backend's session")[0]
        nodes.first.ctl("account", "disable", login)
        harness.wait_until(lambda: observe.metric(nodes.second, "backend_connections") == 0, "its end")
        client.send(b"thing\r\n.\r\n")
        assert client.reply().text == REVOKED
        client.expect_end()
    assert session.complete == []
    observe.settle(nodes.second)


def test_a_client_that_never_comes_to_its_end_of_data(nodes):
    """It is read on for 2 s."""
    login = nodes.account()
    with nodes.second.session(user=login, password=login) as client:
        client.mail(login, [RECIPIENT])
        client.command("DATA", 354)
        client.send(b"Subject: never\r\n\r\nsome")
        nodes.first.ctl("account", "disable", login)
        since = time.monotonic()
        assert 1 < ended(client, since) < 5
    observe.settle(nodes.second)


@pytest.mark.parametrize("answer, code", [("250 2.0.0 Ok: queued as LAST", 250), ("554 5.6.0 No", 554)])
def test_the_end_of_data_was_sent_the_reply_comes_first(nodes, answer, code):
    login = nodes.account()
    decide = threading.Event()

    def body(_session, _argument):
        decide.wait(30)
        return answer
    nodes.backend.on("body", body)
    with nodes.second.session(user=login, password=login) as client:
        changed = observe.Change(nodes.second)
        client.mail(login, [RECIPIENT])
        client.command("DATA", 354)
        client.send(CONTENT + b".\r\n")
        harness.wait_until(lambda: any(session.complete for session in nodes.backend.mail_sessions()), "the body")
        nodes.first.ctl("account", "disable", login)
        harness.wait_until(lambda: changed("sessions_revoked_total") == 1, "the revocation")
        decide.set()
        client.reply(code)
        assert client.reply().text == REVOKED
        client.expect_end()
    observe.settle(nodes.second)


def test_the_end_of_data_came_with_the_revocation(nodes):
    """Both wait for the proxy when it wakes up: the server behind is not told of the end."""
    for _ in range(3):
        login = nodes.account()
        nodes.backend.reset()
        with nodes.second.session(user=login, password=login) as client:
            changed = observe.Change(nodes.second)
            client.mail(login, [RECIPIENT])
            client.command("DATA", 354)
            client.send(b"Subject: never\r\n\r\nsome")
            session = harness.wait_until(nodes.backend.mail_sessions, "the backend's session")[0]
            harness.wait_until(lambda session=session: b"some" in session.received or b"Subject" in session.received,
                               "the body's start")
            proxies = observe.proxies(nodes.second).values()
            for pid in proxies:
                os.kill(pid, signal.SIGSTOP)
            try:
                client.send(b"thing\r\n.\r\n")
                nodes.first.ctl("account", "disable", login)
                harness.wait_until(lambda changed=changed: changed("sessions_revoked_total") == 1, "the revocation")
            finally:
                for pid in proxies:
                    os.kill(pid, signal.SIGCONT)
            assert client.reply().text == REVOKED
            client.expect_end()
        assert session.complete == []
        observe.settle(nodes.second)


@pytest.mark.parametrize("pending", ["MAIL", "RCPT", "DATA"])
def test_between_the_commands_of_a_transaction(nodes, pending):
    """The backend is slow with a reply, or a transaction is open: 421, and nothing more."""
    login = nodes.account()
    steps = [f"MAIL FROM:<{login}>", f"RCPT TO:<{RECIPIENT}>", "DATA"]
    nodes.backend.on(pending, Stall())
    with nodes.second.session(user=login, password=login) as client:
        for step in steps:
            if step.startswith(pending):
                client.send(f"{step}\r\n")
                break
            client.command(step, 250)
        harness.wait_until(lambda: any(pending in session.verbs for session in nodes.backend.sessions), "the stall")
        nodes.first.ctl("account", "disable", login)
        since = time.monotonic()
        assert ended(client, since) < SOON
    nodes.backend.release()
    observe.settle(nodes.second)


# ---------------------------------------------------------------------- by poll
def test_the_listener_is_killed_during_a_change(nodes):
    """It comes back, asks for what it missed, and nobody loses his connection over it."""
    login = nodes.account()
    clients = nodes.sessions(login)
    bystanders = [node.session() for node in nodes.both]
    with owner(nodes.first) as database, database.transaction():
        database.execute("UPDATE postern.account SET status = 'disabled' WHERE login = %s", (login,))
        killed = database.execute(f"SELECT pg_terminate_backend(pid) FROM ({FEED}) feed").fetchall()
        assert len(killed) == 2
    since = time.monotonic()
    assert max(ended(client, since) for client in clients) < 5
    for node, bystander in zip(nodes.both, bystanders):
        bystander.command("NOOP", 250)
        bystander.quit()
        assert observe.metric(node, "feed_up") == 1
    # And they hear again.
    login = nodes.account()
    clients = nodes.sessions(login)
    told = [observe.Change(node) for node in nodes.both]
    nodes.first.ctl("account", "disable", login)
    for client in clients:
        ended(client, time.monotonic())
    assert all(changed("feed_notifications_total") >= 1 for changed in told)


def test_a_notification_that_was_lost(nodes):
    """The poll brings it within its 5 s."""
    login = nodes.account()
    clients = nodes.sessions(login)
    told = [observe.Change(node) for node in nodes.both]
    with owner(nodes.first) as database, database.transaction():
        # As the trigger does, but for the notification.
        database.execute("SET LOCAL session_replication_role = replica")
        database.execute("WITH changed AS (UPDATE postern.account SET status = 'disabled' WHERE login = %s"
                         " RETURNING account_id) INSERT INTO postern.change_log (kind, account_id)"
                         " SELECT 'account', account_id FROM changed", (login,))
    since = time.monotonic()
    assert max(ended(client, since) for client in clients) < 6
    assert [changed("feed_notifications_total") for changed in told] == [0, 0]


def test_a_sender_of_which_nothing_was_heard_yet_is_no_ground_to_refuse(nodes):
    """A remembered row may lack what was added a moment ago: before a refusal it is read again."""
    login = nodes.account()
    with nodes.first.session(user=login, password=login) as client:
        client.command(f"MAIL FROM:<{login}>", 250)
        client.command("RSET", 250)
        with owner(nodes.first) as database, database.transaction():
            database.execute("SET LOCAL session_replication_role = replica")  # no trigger: no log, no notification
            database.execute("INSERT INTO postern.sender (account_id, kind, value)"
                             " SELECT account_id, 'address', 'silent@example.test' FROM postern.account WHERE login = %s",
                             (login,))
        client.command("MAIL FROM:<silent@example.test>", 250)
        client.quit()


def test_a_change_of_everything(nodes):
    """More than a thousand accounts at once: all sessions are looked at, and those concerned end."""
    gone, stays = nodes.account(), nodes.account()
    with owner(nodes.first) as database:
        database.execute("SELECT postern.plan_set('crowd')")
        database.execute("SELECT postern.accounts_add_many(ARRAY(SELECT 'crowd' || n || '@example.test'"
                         " FROM generate_series(1, 1100) n), NULL, 'crowd')")
        leaving = nodes.sessions(gone)
        staying = nodes.sessions(stays)
        told = [observe.Change(node) for node in nodes.both]
        database.execute("UPDATE postern.account SET status = 'disabled' WHERE login = %s OR plan_id ="
                         " (SELECT plan_id FROM postern.plan WHERE name = 'crowd')", (gone,))
    since = time.monotonic()
    assert max(ended(client, since) for client in leaving) < SOON
    assert [changed("feed_resyncs_total") for changed in told] == [1, 1]
    for client in staying:
        client.command("NOOP", 250)
        client.quit()


def test_without_the_database_memory_is_soon_not_trusted(disposable_sandbox):
    box = disposable_sandbox()
    observe.wait_ready(box)
    with box.session() as client:
        harness.wait_until(lambda: observe.metric(box, "feed_up") == 1, "the feed")
        postmaster = box.process("postgres").pid
        frozen = [postmaster, *harness.children_of(postmaster)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            since = time.monotonic()
            client.command(f"MAIL FROM:<{box.user}>", re.compile("250 .*"))
            harness.wait_until(lambda: observe.metric(box, "feed_up") == 0, "the loss")
            assert 3 < time.monotonic() - since < 13
            client.command("RSET", 250)
            harness.wait_until(lambda: time.monotonic() - since > 10.5, "the row's end")
            client.command(f"MAIL FROM:<{box.user}>", 451)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        harness.wait_until(lambda: observe.metric(box, "feed_up") == 1, "the feed")
        client.command(f"MAIL FROM:<{box.user}>", 250)


# ------------------------------------------------------------------ by failover
def test_failover_to_a_standby(disposable_sandbox):
    """What the old primary had not passed on never happened: whoever logged in by it ends."""
    box = disposable_sandbox(standby="asynchronous")
    for login in ("kept@example.test", "changed@example.test"):
        box.add_account(login, "before")
    pair = Pair(Layout(box.directory), synchronous=False)
    node = disposable_sandbox(beside=box)
    harness.wait_until(lambda: observe.metric(node, "feed_up") == 1, "the feed")
    pair.wait_for_standby()
    pair.cut_off()
    box.ctl("account", "passwd", "changed@example.test", *COST, text="after\n")
    kept = node.session(user="kept@example.test", password="before")
    lost = node.session(user="changed@example.test", password="after")
    resyncs = observe.Change(node)
    since = time.monotonic()
    pair.promote()
    assert ended(lost, since) < 15
    assert resyncs("feed_resyncs_total") == 1
    assert any("epoch-changed" in line for line in node.log_lines())
    kept.command("MAIL FROM:<kept@example.test>", 250)
    kept.quit()
    observe.wait_ready(node)
    node.session(user="changed@example.test", password="before").quit()
    with node.secured() as client:
        client.login("changed@example.test", "after", want=535)
