# SPDX-License-Identifier: ISC
"""Bounds and ends that no other test would miss: planted faults (tests/mutants) took each away unnoticed."""

import socket
import time

import pytest

import harness
import observe
import rawtls
from rig import RECIPIENT, Rig

TIMEOUT = "421 4.4.2 Timeout; closing connection"
TOO_MANY = "421 4.7.0 Too many errors; closing connection"
ERRORS, JUNK = 20, 100  # limits.errors' default; harmless commands in a row that are no error


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=["timeouts.unauthenticated=2s", "timeouts.login=4s"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


def test_a_stranger_that_keeps_talking_meets_the_deadline_of_the_login(rig):
    with rawtls.connect(rig.box) as client:
        client.ehlo()
        started = time.monotonic()
        answer = client.command("NOOP")
        while answer.code == 250:
            assert time.monotonic() - started < 10
            client.sock.settimeout(0.3)
            try:
                answer = client.reply()  # nothing is owed: only the deadline speaks
            except socket.timeout:
                client.sock.settimeout(30)
                answer = client.command("NOOP")
        answer.check(TIMEOUT)
        assert time.monotonic() - started > 2.5
        client.expect_end()


@pytest.mark.parametrize("command", ["NOOP", "RSET", "VRFY <a@b.test>", "HELP", "EHLO x"])
def test_harmless_commands_have_an_end_though_every_reply_is_read(rig, command):
    with rig.session() as client:
        client.message(rig.box.user, [RECIPIENT], b"a: b\r\n\r\n")
        answers = [client.command(command)]
        while answers[-1].code != 421:
            assert len(answers) <= JUNK + ERRORS + 2
            try:
                answers.append(client.command(command))
            except AssertionError:  # it came behind the last reply
                break
        assert len(answers) > JUNK


def test_refusals_that_nobody_reads_are_bounded(rig):
    """Recipients beyond the limit are refused by a reply five times as long, and are no error."""
    client = rig.session(receive_buffer=4096)
    client.command(f"MAIL FROM:<{rig.box.user}>", 250)
    for _ in range(100):
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
    client.command(f"RCPT TO:<{RECIPIENT}>", 452)
    client.sock.setblocking(False)
    most = 0
    deadline = time.monotonic() + 5
    flood = b"RCPT TO:<a@b.test>\r\n" * 200
    while time.monotonic() < deadline and most < 1024 * 1024:
        try:
            client.send(flood)
        except (BlockingIOError, OSError):
            most = max(most, observe.metric(rig.box, "queued_bytes"))
    client.reset()
    harness.wait_until(lambda: observe.metric(rig.box, "sessions") == 0, "the session's end")
    assert 0 < most < 256 * 1024


def test_a_changed_password_ends_the_sessions_of_the_old_one(rig):
    """A row that changed otherwise leaves them alone."""
    login = rig.account("changing@example.test")

    def mail(client):
        answer = client.command(f"MAIL FROM:<{login}>")
        if answer.code == 250:  # a message: a MAIL and a RSET would be junk after some time
            client.command(f"RCPT TO:<{RECIPIENT}>", 250)
            client.command("DATA", 354)
            client.send(b"a: b\r\n\r\n.\r\n")
            client.reply(250)
        return answer
    with rig.session(user=login, password=login) as client:
        mail(client).check(250)
        rig.box.ctl("sender", "add", login, "other@example.test")
        harness.wait_until(lambda: rig.session(user=login, password=login).message(
            "other@example.test", [RECIPIENT], b"a: b\r\n\r\n"), "the row that changed")
        mail(client).check(250)
        rig.box.ctl("account", "passwd", login, "--memory", "8MiB", "--passes", "1", text="after\n")
        last = harness.wait_until(lambda: next((a for a in [mail(client)] if a.code != 250), None), "the end", timeout=15)
        last.check("421 4.7.0 The account was changed or disabled; log in again")
        client.expect_end()
