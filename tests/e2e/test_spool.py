# SPDX-License-Identifier: ISC
"""Every 250 is in the books, once: whatever ends between the intent and the outcome, and while the database
takes nothing.

What the spool does with its files is in tests/unit/test_spool.c; docs/spool.md says what it promises.
"""

import os
import re
import signal
import threading

import psycopg
import pytest

import harness
import observe
import smtp
from rig import CONTENT, RECIPIENT, Rig
from test_auth import stop_postgres
from test_faults import Traffic, kill

NOT_RECORDED = "451 4.3.0"
GRACE = 60  # seconds: SPOOL_GRACE_MS of auth/spool.h


def books(box):
    """A connection as the superuser."""
    with open(box.path("pgpass"), encoding="ascii") as file:
        password = file.read().strip().rpartition(":")[2]
    return psycopg.connect(re.sub(r"user=\S+ password=\S+", f"user=postgres password={password}", box.dsn),
                           autocommit=True)


def entries(box):
    """(queue id, state) of each message in the books."""
    with books(box) as connection:
        return connection.execute("SELECT queue_id, state FROM postern.usage_event").fetchall()


def wait_uploaded(box, count):
    """As many messages are in the books, and nothing waits; returns them as entries() does."""
    observe.wait_ready(box)
    harness.wait_until(lambda: len(entries(box)) >= count, f"{count} messages in the books", timeout=60)
    harness.wait_until(lambda: observe.metric(box, "open_takes") == 0
                       and observe.metric(box, "spool_records_waiting") == 0, "an empty spool", timeout=60)
    found = entries(box)
    assert len(found) == count
    return found


def let_put(box, allowed):
    """Whether the database takes anything into the books."""
    with books(box) as connection:
        signature, = connection.execute("SELECT 'postern.usage_put'::regproc::regprocedure").fetchone()
        connection.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO postern_service" if allowed else
                           f"REVOKE EXECUTE ON FUNCTION {signature} FROM postern_service")


def sums_agree(box):
    """The sums of the days are those of the messages."""
    with books(box) as connection:
        return connection.execute(
            """SELECT (SELECT coalesce(sum(messages), 0) FROM postern.usage_day)
                    = (SELECT count(*) FROM postern.usage_event)""").fetchone()[0]


def stop_postern(box, number):
    """Ends all of it; returns a function that starts it again."""
    pid = box.master_pid
    children = list(box.children().values())
    with open(f"/proc/{pid}/exe", "rb"):
        program = os.readlink(f"/proc/{pid}/exe")
    os.kill(pid, number)
    harness.wait_until(lambda: all(harness.start_time(one) is None for one in [pid, *children]), "its end",
                       timeout=60)
    os.waitpid(pid, 0)

    def start():
        box.process("postern").start([program, "-c", box.conf], output=box.path("log", "postern.err"),
                                     cwd=box.directory)
        observe.wait_ready(box)
    return start


def test_each_message_is_in_the_books_as_the_backend_took_it(make_sandbox):
    box = make_sandbox()
    with box.session() as client:
        client.message(box.user, [RECIPIENT, "other@example.net"], CONTENT.decode())
    wait_uploaded(box, 1)
    message = box.messages()[-1]
    with books(box) as connection:
        row = connection.execute(
            """SELECT login, sender, recipients, bytes, host(client), backend, queue_id, state, credential_id,
                      accepted_at >= taken_at, accepted_at > now() - interval '1 minute'
               FROM postern.usage_event""").fetchall()
    assert row == [(box.user, box.user, 2, len(CONTENT), "127.0.0.1", f"127.0.0.1:{box.backend_port}",
                    message.name, "accepted", None, True, True)]
    assert sums_agree(box)


def test_kills_of_auth_during_traffic_lose_and_double_nothing(make_sandbox):
    box = make_sandbox(settings=["limits.connections_per_prefix=1000"])
    traffic = Traffic(box, 6)
    for _ in range(3):
        traffic.wait_for(30)
        back = kill(box, "auth")
        harness.wait_until(back, "another auth")
    traffic.wait_for(30)
    traffic.stop()
    traffic.check()
    found = wait_uploaded(box, len(box.messages()))
    accepted = [queue_id for queue_id, state in found if state == "accepted"]
    assert len(accepted) == len(set(accepted)), "none twice"
    assert set(accepted) == {message.name for message in box.messages()}
    assert len(found) == len(accepted), "the proxies lived, and repeated what they knew"
    assert sums_agree(box)


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox)
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


class Held:
    """A backend that has the whole message, and answers when it is told to."""

    def __init__(self, rig, client, answer):
        self.gate = threading.Event()
        rig.backend.on("body", lambda _session, _argument: self.gate.wait(30) and answer)
        client.mail(rig.box.user, [RECIPIENT])
        client.command("DATA", 354)
        client.send(smtp.transparent(CONTENT.decode()))
        harness.wait_until(lambda: any(session.bodies for session in rig.backend.mail_sessions()), "the end of data")

    def let_go(self):
        self.gate.set()


def test_auth_killed_between_intent_and_outcome(rig):
    """The proxy knows the outcome, and tells the next auth."""
    with rig.session() as client:
        before = len(entries(rig.box))
        held = Held(rig, client, "250 2.0.0 Ok: queued as KILLED1")
        back = kill(rig.box, "auth")
        harness.wait_until(back, "another auth")
        observe.wait_ready(rig.box)
        held.let_go()
        client.reply(250)
    found = wait_uploaded(rig.box, before + 1)
    assert ("KILLED1", "accepted") in found
    assert sums_agree(rig.box)


def test_an_outcome_while_there_is_no_auth(rig):
    """The client has its 250; the proxy keeps the outcome until there is somebody to tell."""
    box = rig.box
    with rig.session() as client:
        before = len(entries(box))
        held = Held(rig, client, "250 2.0.0 Ok: queued as ALONE1")
        back = kill(box, "auth")
        held.let_go()
        client.reply(250)
        harness.wait_until(back, "another auth")
    found = wait_uploaded(box, before + 1)
    assert ("ALONE1", "accepted") in found
    assert sums_agree(box)


def test_the_database_away_while_a_message_is_under_way(rig):
    """Nothing of it is needed between the grant and the 250; the books get it when there are any."""
    box = rig.box
    before = len(entries(box))
    with rig.session() as client:
        client.mail(box.user, [RECIPIENT])
        client.command("DATA", 354)
        start_again = stop_postgres(box)
        try:
            rig.backend.on("body", "250 2.0.0 Ok: queued as AWAY1")
            client.send(smtp.transparent(CONTENT.decode()))
            client.reply(250)
            harness.wait_until(lambda: observe.metric(box, "spool_records_waiting") == 1, "one that waits")
            back = kill(box, "auth")
            harness.wait_until(back, "another auth")
            harness.wait_until(lambda: observe.metric(box, "spool_records_waiting") == 1, "one that still waits")
        finally:
            start_again()
    found = wait_uploaded(box, before + 1)
    assert ("AWAY1", "accepted") in found
    assert sums_agree(box)


def test_a_restart_while_the_books_take_nothing(rig):
    box = rig.box
    before = len(entries(box))
    let_put(box, False)
    try:
        with rig.session() as client:
            for _ in range(3):
                client.message(box.user, [RECIPIENT], CONTENT.decode())
        harness.wait_until(lambda: observe.metric(box, "spool_records_waiting") == 3, "three that wait")
        harness.wait_until(lambda: observe.metric(box, "usage_repeated_total") > 0, "one that is sent again")
        for number in (signal.SIGTERM, signal.SIGKILL):
            start = stop_postern(box, number)
            start()
            harness.wait_until(lambda: observe.metric(box, "spool_records_waiting") == 3, "three that wait")
    finally:
        let_put(box, True)
    wait_uploaded(box, before + 3)
    assert any("usage-refused" in line for line in box.log_lines())
    assert sums_agree(box)


def test_all_killed_between_intent_and_outcome_is_unknown(rig):
    """Nobody is left who could know: it is charged, and marked."""
    box = rig.box
    before = entries(box)
    client = rig.session()
    held = Held(rig, client, "250 2.0.0 Ok: nobody hears it")
    start = stop_postern(box, signal.SIGKILL)
    held.let_go()
    client.close()
    start()
    assert len(entries(box)) == len(before)
    harness.wait_until(lambda: len(entries(box)) == len(before) + 1, "an entry", timeout=GRACE + 30)
    unknown = [queue_id for queue_id, state in wait_uploaded(box, len(before) + 1) if state == "unknown"]
    assert unknown.count(None) >= 1
    assert any("message-unknown" in line for line in box.log_lines())
    assert observe.metric(box, "usage_unknown_total") == 1
    assert sums_agree(box)


def test_a_take_is_given_back_after_a_crash_of_auth(rig):
    """The proxy tells the next auth that nothing was sent: the limit has it again."""
    box = rig.box
    before = len(entries(box))
    login = rig.account("crash@example.test", "messages_hour=2")
    with rig.session(user=login, password=login) as client:
        client.mail(login, [RECIPIENT])
        client.command("DATA", 354)
        back = kill(box, "auth")
        harness.wait_until(back, "another auth")
        observe.wait_ready(box)
        client.reset()
    observe.settle(box)
    with rig.session(user=login, password=login) as client:
        for want in (250, 250):
            client.message(login, [RECIPIENT], CONTENT.decode(), want=want)
        client.command(f"MAIL FROM:<{login}>")
        assert client.command(f"RCPT TO:<{RECIPIENT}>").code in (250, 450, 503)
        assert client.command("DATA").code in (450, 503), "two an hour, and one was given back"
    wait_uploaded(box, before + 2)


def flood(box, stop, answers):
    with box.session() as client:
        while not stop.is_set():
            client.mail(box.user, [RECIPIENT])
            client.command("DATA", 354)
            client.send(smtp.transparent(CONTENT.decode()))
            answer = client.reply()
            answers.append(answer)
            if answer.code != 250:
                stop.set()


def test_a_full_spool_is_451_and_recovers(make_sandbox):
    box = make_sandbox(settings=["spool.size=1MiB", "spool.sync=os"])
    let_put(box, False)
    stop, answers = threading.Event(), []
    threads = [threading.Thread(target=flood, args=(box, stop, answers), daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    accepted = sum(answer.code == 250 for answer in answers)
    refused = [answer for answer in answers if answer.code != 250]
    assert accepted > 1000
    assert refused and all(answer.text.startswith(NOT_RECORDED) for answer in refused), refused
    assert observe.metric(box, "spool_refused_total") >= len(refused)
    # Not all of it: segments of messages that were refused are free again.
    assert observe.metric(box, "spool_bytes") > 0.5 * 2**20
    for verb in ("spool-filling", "spool-full"):
        harness.wait_until(lambda verb=verb: any(verb in line for line in box.log_lines()), verb)
    assert len(box.message_names()) == accepted, "what is refused never left"
    let_put(box, True)
    wait_uploaded(box, accepted)
    with box.session() as client:
        client.message(box.user, [RECIPIENT], CONTENT.decode())
    found = wait_uploaded(box, accepted + 1)
    assert {queue_id for queue_id, state in found if state == "accepted"} == {message.name for message in box.messages()}
    assert sums_agree(box)
    harness.wait_until(lambda: any("spool-has-room" in line for line in box.log_lines()), "room again")
