# SPDX-License-Identifier: ISC
"""Limits: what they refuse and with which words, what is given back and what is not, and that they
hold when many sessions want the same."""

import concurrent.futures
import hashlib
import re
import threading
import time

import pytest

import harness
import observe
import rawtls
import smtp
from rig import CONTENT, RECIPIENT, Rig
from scripted import Close, Reset

REFUSED = re.compile(r"450 4\.7\.1 Limit reached: (\d+) (messages|recipients) per (hour|day); "
                     r"it frees at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) \(id [0-9a-z]{12,13}\)")
NEVER = re.compile(r"550 5\.7\.1 More than the limit itself allows: (\d+) (messages|recipients) per (hour|day) \(id [0-9a-z]{12,13}\)")
LOST = "451 4.4.2 Connection to the mail server behind was lost; try again later"


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=["limits.connections_per_prefix=1000", "timeouts.data=1s"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


@pytest.fixture
def login(request, rig):
    """An account of the test's own, three messages an hour."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return rig.account(f"{name}@example.test", "messages_hour=3")


def session(rig, login):
    return rig.box.session(user=login, password=login)


def attempt(client, login, recipients=(RECIPIENT,)):
    """A message up to where it is taken or refused: the refusal, or the last reply."""
    answer = client.command(f"MAIL FROM:<{login}>")
    if answer.code != 250:
        return answer
    for recipient in recipients:
        client.command(f"RCPT TO:<{recipient}>", 250)
    answer = client.command("DATA")
    if answer.code != 354:
        client.command("RSET", 250)
        return answer
    client.send(smtp.transparent(CONTENT))
    return client.reply()


def room(rig, login):
    """How many messages still fit; uses them up."""
    with session(rig, login) as client:
        count = 0
        answer = attempt(client, login)
        while answer.code == 250:
            count += 1
            assert count < 100
            answer = attempt(client, login)
        assert answer.code == 450, answer
    return count


class GivenBack:
    """given_back(n): waits until n messages have been taken, and all of them returned."""

    def __init__(self, rig):
        self.change = observe.Change(rig.box)

    def __call__(self, count):
        harness.wait_until(lambda: self.change("takes_granted_total") == count == self.change("takes_returned_total"),
                           f"{count} takes and their return")


@pytest.fixture
def given_back(rig):
    return GivenBack(rig)


def refused(answer, limit, what, period):
    """Checks the words of a refusal; returns the seconds until it frees."""
    match = REFUSED.fullmatch(answer.text)
    assert match, answer
    assert (match[1], match[2], match[3]) == (str(limit), what, period)
    frees = time.mktime(time.strptime(match[4] + "UTC", "%Y-%m-%dT%H:%M:%SZ%Z")) - time.timezone
    return frees - time.time()


# ------------------------------------------------------------------------ refusals
@pytest.mark.threat("F04")
def test_fourth_message_of_carol_is_refused(rig):
    box = rig.box
    with box.session(user=box.limited_user, password=box.limited_password) as client:
        for _ in range(3):
            assert attempt(client, box.limited_user).code == 250
        assert 0 < refused(attempt(client, box.limited_user), 3, "messages", "hour") <= 3600 + 150
        assert 0 < refused(attempt(client, box.limited_user), 3, "messages", "hour") <= 3600 + 150, "at MAIL by now"
        client.command("NOOP", 250)
        client.quit()
    with box.session(user=box.limited_user.upper(), password=box.limited_password, port="submission") as client:
        refused(attempt(client, box.limited_user), 3, "messages", "hour")
    [sent] = rig.backend.mail_sessions()
    assert len(sent.complete) == 3


@pytest.mark.threat("F04")
def test_refusal_at_data_leaves_nothing_at_the_backend(rig, login):
    """The take is refused after the backend said 354: its connection is dropped, no end of data is sent."""
    with session(rig, login) as one, session(rig, login) as two:
        for client in (one, two):
            client.mail(login, [RECIPIENT])
        for _ in range(2):
            two.command("DATA", 354)
            two.send(smtp.transparent(CONTENT))
            two.reply(250)
            two.mail(login, [RECIPIENT])
        two.command("DATA", 354)
        refused(one.command("DATA"), 3, "messages", "hour")
        assert one.command("DATA").code == 503
        two.send(smtp.transparent(CONTENT))
        two.reply(250)
    observe.settle(rig.box)
    assert sum(len(session.complete) for session in rig.backend.mail_sessions()) == 3


def test_messages_per_day(rig):
    login = rig.account("day@example.test", "messages_day=2")
    with session(rig, login) as client:
        assert [attempt(client, login).code for _ in range(2)] == [250, 250]
        assert 3600 < refused(attempt(client, login), 2, "messages", "day") <= 86400 + 1800


def test_recipients_per_hour(rig):
    login = rig.account("recipients@example.test", "recipients_hour=5")
    many = [f"r{number}@example.net" for number in range(6)]
    with session(rig, login) as client:
        assert NEVER.fullmatch(attempt(client, login, many).text)
        assert attempt(client, login, many[:3]).code == 250
        refused(attempt(client, login, many[:3]), 5, "recipients", "hour")
        assert attempt(client, login, many[:2]).code == 250
        refused(attempt(client, login, many[:1]), 5, "recipients", "hour")


def test_recipients_per_day(rig):
    login = rig.account("rcptday@example.test", "recipients_day=2")
    with session(rig, login) as client:
        assert attempt(client, login, ["a@example.net", "b@example.net"]).code == 250
        refused(attempt(client, login), 2, "recipients", "day")


def test_recipients_of_one_message(rig):
    login = rig.account("each@example.test", "recipients_message=2")
    with session(rig, login) as client:
        client.command(f"MAIL FROM:<{login}>", 250)
        codes = [client.command(f"RCPT TO:<r{number}@example.net>").code for number in range(4)]
        assert codes == [250, 250, 452, 452]
        client.command("DATA", 354)
        client.send(smtp.transparent(CONTENT))
        client.reply(250)


@pytest.mark.row("101")
def test_message_bytes_of_the_account(rig):
    login = rig.account("small@example.test", "message_bytes=1000")
    with session(rig, login) as client:
        assert client.ehlo() and client.extensions["SIZE"] == "1000"
        client.command(f"MAIL FROM:<{login}> SIZE=1001", 552)
        client.mail(login, [RECIPIENT])
        client.command("DATA", 354)
        client.send(smtp.transparent(b"x" * 998 + b"\r\n\r\n"))
        client.reply(552)
        assert attempt(client, login).code == 250


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_small_limits(rig, limit):
    login = rig.account(f"small{limit}@example.test", f"messages_hour={limit}")
    with session(rig, login) as client:
        for _ in range(limit):
            assert attempt(client, login).code == 250
        assert attempt(client, login).code == (450 if limit else 550)


def test_limits_set_binds_at_the_next_take(rig, login):
    """Also for a session that goes on: the take reads the limits where they are kept."""
    with session(rig, login) as client:
        assert attempt(client, login).code == 250
        rig.box.ctl("limits", "set", login, "messages_hour=5")
        assert [attempt(client, login).code for _ in range(3)] == [250] * 3
        rig.box.ctl("limits", "set", login, "messages_hour=unlimited")
        assert [attempt(client, login).code for _ in range(4)] == [250] * 4
        rig.box.ctl("limits", "set", login, "messages_hour=8")
        refused(attempt(client, login), 8, "messages", "hour")


# ----------------------------------------------------------------------- give-backs
def test_given_back_when_the_backend_refuses_data(rig, login, given_back):
    rig.backend.on("DATA", "451 4.3.1 Not now")
    with session(rig, login) as client:
        for number in range(1, 11):
            assert attempt(client, login).text == "451 4.3.1 Not now"
            given_back(number)
    rig.backend.on("DATA", None)
    assert room(rig, login) == 3


@pytest.mark.parametrize("reply", ["554 5.7.1 Spam", "451 4.3.0 Later"])
def test_given_back_when_the_backend_refuses_the_message(rig, login, given_back, reply):
    rig.backend.on("body", reply)
    with session(rig, login) as client:
        for number in range(1, 11):
            assert attempt(client, login).text == reply
            given_back(number)
    rig.backend.on("body", None)
    assert room(rig, login) == 3


BREAKS = {"refusal-in-mid-body": lambda session, argument: b"354 Go\r\n552 5.3.4 Enough\r\n",
          "loss-at-data": lambda session, argument: Close(),
          "reset-at-data": lambda session, argument: Reset(),
          "nonsense-at-data": lambda session, argument: "250 2.0.0 As you like",
          "rubbish-at-data": lambda session, argument: b"\0\xff nothing like a reply\r\n"}


@pytest.mark.parametrize("how", BREAKS)
def test_given_back_when_the_backend_breaks_off_before_the_end_of_data(rig, login, given_back, how):
    """Whether or not the take was still under way."""
    rig.backend.on("DATA", BREAKS[how])
    for number in range(1, 9):
        with session(rig, login) as client:
            assert attempt(client, login).code in (451, 552)
        given_back(number)
    rig.backend.on("DATA", None)
    assert room(rig, login) == 3


def test_given_back_when_the_backend_is_lost_in_mid_body(rig, login, given_back):
    rig.backend.on("DATA", lambda session, argument: session.sock.sendall(b"354 Go\r\n") or Close())
    for number in range(1, 6):
        with session(rig, login) as client:
            client.mail(login, [RECIPIENT])
            client.send("DATA\r\n")
            first = client.reply()
            if first.code == 354:
                client.send(CONTENT)
                harness.wait_until(lambda: observe.metric(rig.box, "backend_connections") == 0, "the loss")
                client.send(b".\r\n")
                assert client.reply().text == LOST
            else:
                assert first.text == LOST, "before the take was granted"
        given_back(number)
    rig.backend.on("DATA", None)
    assert room(rig, login) == 3


def test_not_taken_when_recipients_are_refused(rig, login):
    rig.backend.on("RCPT", "550 5.1.1 Nobody")
    change = observe.Change(rig.box)
    with session(rig, login) as client:
        for _ in range(10):
            client.command(f"MAIL FROM:<{login}>", 250)
            client.command(f"RCPT TO:<{RECIPIENT}>", 550)
            client.command("DATA", 554)
            client.command("RSET", 250)
    assert change("takes_granted_total") == 0
    rig.backend.on("RCPT", None)
    assert room(rig, login) == 3


def test_refused_recipients_do_not_count(rig):
    login = rig.account("refusedrcpt@example.test", "recipients_hour=2")
    rig.backend.on("RCPT", lambda session, line: "550 5.1.1 Nobody" if "nobody" in line else None)
    with session(rig, login) as client:
        client.command(f"MAIL FROM:<{login}>", 250)
        for number in range(5):
            client.command(f"RCPT TO:<nobody{number}@example.net>", 550)
        for number in range(2):
            client.command(f"RCPT TO:<r{number}@example.net>", 250)
        client.command("DATA", 354)
        client.send(smtp.transparent(CONTENT))
        client.reply(250)


def leave(client, how):
    (client.reset if how == "reset" else client.close)()


@pytest.mark.threat("F04", "G01")
@pytest.mark.parametrize("how", ["close", "reset", "rset-instead", "silence"])
def test_given_back_when_the_client_aborts(rig, login, given_back, how):
    for number in range(1, 6):
        client = rawtls.session(rig.box, user=login, password=login)
        client.mail(login, [RECIPIENT])
        if how == "rset-instead":
            client.command("RSET", 250)
            client.close()
            continue
        client.command("DATA", 354)
        client.send(b"Subject: half\r\n\r\nhalf")
        if how == "silence":
            assert client.reply().text == "421 4.4.2 Timeout; closing connection"
            client.expect_end()
            given_back(1)
            break
        leave(client, how)
        given_back(number)
    assert room(rig, login) == 3


@pytest.mark.row("39")
@pytest.mark.threat("E06")
def test_not_given_back_when_the_outcome_is_unknown(rig, login):
    """The connection is lost after the end of data: it may have been accepted, and stays charged."""
    rig.backend.on("body", Close())
    change = observe.Change(rig.box)
    for _ in range(2):
        with session(rig, login) as client:
            assert attempt(client, login).text == LOST
    rig.backend.on("body", None)
    assert change("messages_unknown_total") == 2
    assert room(rig, login) == 1


# ---------------------------------------------------------------------- many at once
@pytest.mark.threat("F04")
def test_many_sessions_never_exceed_the_limit(rig):
    """24 sessions on both workers, all at once, again and again: exactly the limit arrives."""
    login = rig.account("many@example.test", "messages_hour=50")
    barrier = threading.Barrier(24)

    def run(_number):
        with session(rig, login) as client:
            barrier.wait(30)
            return [attempt(client, login).code for _ in range(5)]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        codes = [code for result in pool.map(run, range(24)) for code in result]
    assert set(codes) == {250, 450}
    assert codes.count(250) == 50
    assert sum(len(session.complete) for session in rig.backend.mail_sessions()) == 50
    observe.settle(rig.box)


@pytest.mark.threat("F04")
def test_aborts_and_refusals_among_many_leave_the_meter_right(rig):
    """Some are refused by the backend, some leave, some send: what is left is what was not sent."""
    login = rig.account("mixed@example.test", "messages_hour=20")
    change = observe.Change(rig.box)
    rig.backend.on("body", lambda session, argument: "554 5.7.1 No" if b"refuse" in session.bodies[-1] else None)

    def run(number):
        with session(rig, login) as client:
            client.mail(login, [RECIPIENT])
            client.command("DATA", 354)
            if number % 3 == 1:
                return None
            client.send(smtp.transparent(b"refuse\r\n" if number % 3 == 2 else CONTENT))
            return client.reply().code
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(run, range(18)))
    assert codes == [250, None, 554] * 6
    harness.wait_until(lambda: change("takes_granted_total") == 18 and change("takes_returned_total") == 12, "12 returns")
    assert room(rig, login) == 14
