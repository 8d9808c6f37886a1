# SPDX-License-Identifier: ISC
"""Processes and servers killed while mail flows: what was answered 250 is at the backend, once; limits
hold; sessions live on where they can; and all is well again by itself.

How each process heals when nothing happens, and how all end, is in test_processes.py.
"""

import itertools
import os
import re
import signal
import threading
import time

import pytest

import harness
import observe
import rawtls
import smtp
from rig import CONTENT, RECIPIENT
from test_auth import stop_postgres

AWAY = "454 4.7.0 Authentication not possible at present; try again later"
UNAVAILABLE = "451 4.3.0 Cannot check the account's limits at present; try again later"
REVOKED = "421 4.7.0 The account was changed or disabled; log in again"


@pytest.fixture(scope="module")
def box(make_sandbox):
    return make_sandbox(settings=["limits.connections_per_prefix=1000", "limits.unauthenticated_per_prefix=1000",
                                  "probe.interval=1s"])


def kill(box, title):
    """kill -9; returns when another has taken its place."""
    old = box.child(title)
    os.kill(old, signal.SIGKILL)
    return lambda: box.children().get(title, old) != old


GRACE = 100  # seconds: what a dead process left open is given up after 60


class Traffic:
    """Clients that send numbered messages one after the other until they are stopped; each knows which of
    its messages were answered 250 (accepted), which got another answer, and which none (lost)."""

    instances = itertools.count()

    def __init__(self, box, clients, user=None, password=None):
        self.box = box
        self.numbers = itertools.count()
        self.name = f"traffic{next(self.instances)}"
        self.user, self.password = user or box.user, password or box.password
        self.accepted, self.refused, self.lost, self.answers = set(), set(), set(), set()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.failures = []
        self.connects = 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.one_session()
        except Exception as failure:  # noqa: BLE001 - told by stop()
            self.failures.append(failure)

    def note(self, where, number, answer=""):
        with self.lock:
            where.add(number)
            self.answers.add(answer)

    def one_session(self):
        number = None
        try:
            with self.box.secured() as client:
                self.connects += 1
                answer = client.login(self.user, self.password, want=None)
                if answer.code != 235:
                    self.note(self.refused, None, answer.text)
                    self.stopping.wait(0.01)
                    return
                while not self.stopping.is_set():
                    number = f"<{next(self.numbers)}@{self.name}>"
                    self.one_message(client, number)
                    number = None
        except (smtp.Closed, OSError):
            if number is not None:
                self.note(self.lost, number, "closed")

    def one_message(self, client, number):
        for line in (f"MAIL FROM:<{self.user}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
            answer = client.command(line)
            if answer.code not in (250, 354):
                self.note(self.refused, number, answer.text)
                if not line.startswith("MAIL"):
                    client.command("RSET", 250)
                self.stopping.wait(0.005)
                return
        client.send(smtp.transparent(f"Message-Id: {number}\r\n\r\n{'x' * 2000}\r\n"))
        answer = client.reply()
        self.note(self.accepted if answer.code == 250 else self.refused, number, answer.text)

    def wait_for(self, more):
        """Waits until so many more messages were accepted."""
        target = len(self.accepted) + more
        harness.wait_until(lambda: len(self.accepted) >= target or self.failures, f"{more} more accepted messages; {self.answers}",
                           timeout=60)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.failures, self.failures

    def check(self, unknown_may_be_there=True):
        """All that was accepted is at the backend, once; nothing that was refused is."""
        found = []
        for message in self.box.messages():
            match = re.search(f"Message-Id: (<[0-9]+@{self.name}>)".encode(), message.content)
            if match:
                found.append(match[1].decode())
        there = set(found)
        assert len(found) == len(there), "no message twice"
        assert self.accepted <= there, "what was answered 250 is there"
        extra = there - self.accepted
        assert extra <= (self.lost if unknown_may_be_there else set()), "only what got no answer may be there besides"
        return len(found)


@pytest.mark.row("39", "59")
@pytest.mark.threat("C23")
def test_kill_of_auth_during_traffic(box):
    """Sessions live on, nothing accepted is lost, AUTH is 454 until auth is back and never 535."""
    with box.session() as idle, box.session() as in_body:
        in_body.mail(box.user, [RECIPIENT])
        in_body.command("DATA", 354)
        in_body.send(b"Subject: half\r\n\r\n")
        traffic = Traffic(box, 6)
        for _ in range(2):
            traffic.wait_for(30)
            harness.wait_until(kill(box, "auth"), "another auth")
        traffic.wait_for(30)
        traffic.stop()
        assert idle.command("NOOP").code == 250, "a session that was idle meanwhile"
        assert idle.message(box.user, [RECIPIENT], CONTENT).code == 250
        in_body.send(b"the rest\r\n.\r\n")
        assert in_body.reply().code == 250, "a message that was on its way meanwhile"
    traffic.check()
    assert not any(answer.startswith("535") for answer in traffic.answers), traffic.answers
    assert traffic.lost == set(), "no session ended"
    observe.wait_ready(box)
    observe.settle(box, GRACE)


@pytest.mark.row("59")
@pytest.mark.threat("C23")
def test_log_in_while_auth_is_away(box):
    """The master cannot start another while it stands still itself."""
    with box.secured() as client, box.session() as logged_in:
        os.kill(box.master_pid, signal.SIGSTOP)
        try:
            auth = box.child("auth")
            os.kill(auth, signal.SIGKILL)
            harness.wait_until(lambda: harness.start_time(auth) is None, "the end of auth")
            token = "AGFsaWNlQGV4YW1wbGUudGVzdAB4"
            harness.wait_until(lambda: client.command(f"AUTH PLAIN {token}").text == AWAY, "454")
            assert client.command(f"AUTH PLAIN {token}").text == AWAY
            assert logged_in.command(f"MAIL FROM:<{box.user}>").text == UNAVAILABLE
            client.command("NOOP", 250)
        finally:
            os.kill(box.master_pid, signal.SIGCONT)
        # /readyz may not have heard of it at all.
        harness.wait_until(lambda: client.login(box.user, box.password, want=None).code == 235, "log-ins again")
        assert client.message(box.user, [RECIPIENT], CONTENT).code == 250
        assert logged_in.message(box.user, [RECIPIENT], CONTENT).code == 250


@pytest.mark.threat("C23")
def test_auth_that_does_not_answer_is_not_waited_for(box):
    """It stands still, and its channels with it: 451 at MAIL after three seconds; then it goes on."""
    auth = box.child("auth")
    with box.session() as client:
        os.kill(auth, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            assert client.command(f"MAIL FROM:<{box.user}>").text == UNAVAILABLE
            assert 2 < time.monotonic() - begin < 8
        finally:
            os.kill(auth, signal.SIGCONT)
        harness.wait_until(lambda: client.command(f"MAIL FROM:<{box.user}>").code == 250, "MAIL again")
        client.command("RSET", 250)
        assert client.message(box.user, [RECIPIENT], CONTENT).code == 250


@pytest.mark.row("39")
def test_kill_of_a_proxy_during_traffic(box):
    """Its own sessions end; those of the other go on; nothing accepted is lost, nothing is sent twice."""
    traffic = Traffic(box, 8)
    for title in ("proxy 0", "proxy 1"):
        traffic.wait_for(30)
        harness.wait_until(kill(box, title), f"another {title}")
    traffic.wait_for(30)
    traffic.stop()
    traffic.check()
    assert len(traffic.lost) <= 16
    observe.wait_ready(box)
    observe.settle(box, GRACE)


def test_kill_of_hash_probe_and_admin_during_traffic(box):
    """Nobody who sends notices."""
    traffic = Traffic(box, 4)
    for title in ("hash 0", "probe", "admin", "hash 1"):
        traffic.wait_for(15)
        harness.wait_until(kill(box, title), f"another {title}")
    traffic.wait_for(15)
    traffic.stop()
    traffic.check(unknown_may_be_there=False)
    assert traffic.refused == set() and traffic.lost == set(), traffic.answers
    harness.wait_until(lambda: observe.get(box, "/readyz")[0] == 200, "readiness")


@pytest.mark.threat("F05")
def test_limit_holds_through_crashes(box):
    """auth and PostgreSQL's processes killed again and again: never more than the limit."""
    box.add_account("strict@example.test", "strict")
    box.ctl("limits", "set", "strict@example.test", "messages_hour=60")
    traffic = Traffic(box, 6, "strict@example.test", "strict")
    harness.wait_until(lambda: len(traffic.accepted) > 0, "traffic")
    harness.wait_until(kill(box, "auth"), "another auth")
    harness.wait_until(lambda: any("450 4.7.1" in answer for answer in traffic.answers), f"the limit's refusal; {traffic.answers}")
    harness.wait_until(kill(box, "auth"), "another auth")
    traffic.stop()
    assert 50 <= traffic.check() <= 60
    observe.settle(box, GRACE)


@pytest.mark.threat("C24")
def test_account_disabled_while_auth_was_away(box):
    """The new auth looks again: the idle are told, a message on its way is not delivered."""
    box.add_account("gone@example.test", "gone")
    before = box.message_names()
    with box.session(user="gone@example.test", password="gone") as idle, \
            box.session(user="gone@example.test", password="gone") as sending:
        sending.mail("gone@example.test", [RECIPIENT])
        sending.command("DATA", 354)
        sending.send(b"Subject: never\r\n\r\n")
        box.ctl("account", "disable", "gone@example.test")
        harness.wait_until(kill(box, "auth"), "another auth")
        assert idle.reply().text == REVOKED
        idle.expect_end()
        harness.wait_until(lambda: observe.metric(box, "backend_connections") == 0, "the end of the backend connection")
        sending.send(b"the rest\r\n.\r\n")
        assert sending.reply().text == REVOKED
        sending.expect_end()
    assert box.message_names() == before


@pytest.mark.threat("C24")
def test_account_disabled_before_the_take(box):
    """No crash at all: the take reads the account anew."""
    box.add_account("later@example.test", "later")
    with box.session(user="later@example.test", password="later") as client:
        assert client.message("later@example.test", [RECIPIENT], CONTENT).code == 250
        client.mail("later@example.test", [RECIPIENT])
        box.ctl("account", "disable", "later@example.test")
        assert client.command("DATA").text == REVOKED
        client.expect_end()


@pytest.mark.row("39")
@pytest.mark.threat("C23")
def test_database_killed_during_traffic(disposable_sandbox):
    """A crash of PostgreSQL's, its recovery, and mail again; no restart of ours."""
    box = disposable_sandbox(settings=["limits.connections_per_prefix=1000"])
    traffic = Traffic(box, 4)
    traffic.wait_for(20)
    start_again = stop_postgres(box, signal.SIGQUIT)
    harness.wait_until(lambda: any(answer.startswith("451 4.3.0") for answer in traffic.answers), "451")
    start_again()
    traffic.wait_for(20)
    traffic.stop()
    traffic.check()
    assert not any(answer.startswith(("535", "550")) for answer in traffic.answers), traffic.answers
    assert traffic.lost == set()
    observe.wait_ready(box)
    assert observe.metric(box, "process_restarts_total") == 0


@pytest.mark.row("39")
@pytest.mark.threat("E06")
def test_backend_killed_during_traffic(disposable_sandbox):
    """451 until it is back; what was answered 250 was kept by it."""
    box = disposable_sandbox(settings=["probe.interval=1s"])
    traffic = Traffic(box, 4)
    traffic.wait_for(20)
    process = box.process("capture")
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        argv = [word.decode() for word in file.read().split(b"\0")[:-1]]
    os.kill(process.pid, signal.SIGKILL)
    harness.wait_until(lambda: any(answer.startswith("451 4.4.1") for answer in traffic.answers), "451")
    harness.wait_until(lambda: observe.get(box, "/readyz")[0] == 503, "not ready")
    assert "backend" in observe.get(box, "/readyz")[1]
    harness.wait_until(lambda: process.pid is None, "its end")
    process.start([*argv, "--port", str(box.backend_port)], output=box.path("log", "capture.err"))
    traffic.wait_for(20)
    traffic.stop()
    traffic.check()
    assert traffic.lost == set()
    observe.wait_ready(box)


def test_everything_dies_once_and_mail_goes_on(box):
    traffic = Traffic(box, 6)
    for title in ("auth", "proxy 0", "probe", "hash 0", "proxy 1", "admin", "hash 1"):
        traffic.wait_for(5)
        harness.wait_until(kill(box, title), f"another {title}")
    traffic.wait_for(20)
    traffic.stop()
    traffic.check()
    observe.wait_ready(box)
    observe.settle(box, GRACE)


def test_connections_that_are_reset_at_random(box):
    """Clients that vanish in the middle of anything, while others send."""
    traffic = Traffic(box, 4)
    for number in range(120):
        client = rawtls.connect(box)
        client.send(b"EHLO x\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB4\r\nNOOP\r\n"[:number % 60])
        (client.reset if number % 2 else client.close)()
    traffic.wait_for(10)
    traffic.stop()
    traffic.check(unknown_may_be_there=False)
    assert traffic.lost == set() and traffic.refused == set(), traffic.answers
    observe.settle(box)
