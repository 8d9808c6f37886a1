# SPDX-License-Identifier: ISC
"""How a node asks for takes: many in one call, hot senders by lease, without the database by grace; and the
limits that it counts itself or with the others: a minute's, and sessions."""

import concurrent.futures
import threading
import time

import pytest

import harness
import observe
import smtp
from rig import CONTENT, RECIPIENT, Rig
from test_auth import stop_postgres
from test_limits import attempt
from test_revocation import owner

AWAY = 451


@pytest.fixture(scope="module")
def shared(make_sandbox):
    rig = Rig(make_sandbox, settings=["limits.connections_per_prefix=1000"])
    yield rig
    rig.close()


@pytest.fixture
def rig(shared):
    return shared.reset()


def session(rig, login):
    return rig.box.session(user=login, password=login)


def used(box, login, name="messages_hour"):
    with owner(box) as database:
        row = database.execute("SELECT used FROM postern.limits_show(%s) WHERE scope = 'account' AND name = %s",
                               (login, name)).fetchone()
    return row and row[0]


def plan(box, name, settings, *logins):
    with owner(box) as database:
        database.execute("SELECT postern.plan_set(%s, %s)", (name, settings))
        for login in logins:
            database.execute("UPDATE postern.account SET plan_id = (SELECT plan_id FROM postern.plan WHERE name = %s)"
                             " WHERE login = %s", (name, login))


def until_refused(rig, login, most=400):
    """Sends until a limit refuses; the number of messages that were accepted."""
    accepted = 0
    with session(rig, login) as client:
        for _ in range(most):
            code = attempt(client, login).code
            accepted += code == 250
            if code == 450:
                return accepted
    raise AssertionError(f"no refusal in {most} messages")


def returned(rig):
    """Waits until no lease is out and nothing is open."""
    observe.settle(rig.box)
    harness.wait_until(lambda: observe.metric(rig.box, "leases") == 0, "the leases' return")


# ------------------------------------------------------------------------- batches
def test_accounts_side_by_side_are_exact_and_share_calls(rig):
    logins = [rig.account(f"beside{number}@example.test", "messages_hour=5") for number in range(12)]
    change = observe.Change(rig.box)
    barrier = threading.Barrier(2 * len(logins))

    def run(login):
        with session(rig, login) as client:
            barrier.wait(60)
            return [attempt(client, login).code for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(2 * len(logins)) as pool:
        codes = list(pool.map(run, logins * 2))
    for number, login in enumerate(logins):
        mine = codes[number] + codes[number + len(logins)]
        assert mine.count(250) == 5 and mine.count(450) == 7, (login, mine)
        assert used(rig.box, login) == 5
    assert change("takes_granted_total") == 5 * len(logins)
    assert 0 < change("take_batches_total") < change("takes_granted_total") + change("takes_refused_total")


# -------------------------------------------------------------------------- leases
def test_a_hot_account_is_leased_and_exact(rig):
    """Four sessions at full speed; every fifth message is refused by the server behind, and not counted."""
    login = rig.account("hot@example.test", "messages_hour=150", "recipients_hour=400")
    change = observe.Change(rig.box)
    rig.backend.on("body", lambda session, argument: "554 5.7.1 No" if b"refuse" in session.bodies[-1] else None)

    def run(_number):
        codes = []
        with session(rig, login) as client:
            while 450 not in codes:
                answer = client.command(f"MAIL FROM:<{login}>")
                if answer.code == 250:
                    client.command(f"RCPT TO:<{RECIPIENT}>", 250)
                    answer = client.command("DATA")
                    if answer.code == 354:
                        client.send(smtp.transparent(b"refuse\r\n" if len(codes) % 5 == 4 else CONTENT))
                        answer = client.reply()
                    else:
                        client.command("RSET", 250)
                codes.append(answer.code)
                assert len(codes) < 400
        return codes
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        codes = [code for result in pool.map(run, range(4)) for code in result]
    assert set(codes) == {250, 450, 554}
    assert codes.count(250) <= 150
    assert change("leases_granted_total") > 0 and change("lease_takes_total") > 20
    returned(rig)
    assert used(rig.box, login) == codes.count(250)
    rig.backend.on("body", None)
    # What a lease held for a moment may have been refused to others: it is there again.
    assert codes.count(250) + until_refused(rig, login) == 150
    returned(rig)
    assert used(rig.box, login) == 150
    assert sum(len(session.complete) for session in rig.backend.mail_sessions()) == 150 + codes.count(554)


def test_what_a_lease_has_left_goes_back(rig):
    login = rig.account("brief@example.test", "messages_hour=1000")
    change = observe.Change(rig.box)
    with session(rig, login) as client:
        count = 0
        while change("leases_granted_total") == 0:
            assert attempt(client, login).code == 250
            count += 1
            assert count < 200
        assert observe.metric(rig.box, "leases") == 1
        assert used(rig.box, login) > count, "the lease is charged as a whole"
    returned(rig)
    assert used(rig.box, login) == count
    assert change("lease_messages_returned_total") > 0


def test_a_limit_binds_a_leased_account_within_a_second(rig):
    login = rig.account("bound@example.test", "messages_hour=100000")
    change = observe.Change(rig.box)
    with session(rig, login) as client:
        while change("lease_takes_total") == 0:
            assert attempt(client, login).code == 250
        with owner(rig.box) as database:
            database.execute("SELECT postern.limits_set(%s, '{\"messages_hour\": 1}')", (login,))
        since = time.monotonic()
        while attempt(client, login).code == 250:
            assert time.monotonic() - since < 1
        assert attempt(client, login).code == 450


def test_a_disabled_account_spends_no_lease(rig):
    login = rig.account("leaving@example.test", "messages_hour=100000")
    change = observe.Change(rig.box)
    with session(rig, login) as client:
        while change("lease_takes_total") == 0:
            assert attempt(client, login).code == 250
        rig.box.ctl("account", "disable", login)
        since = time.monotonic()
        answer = attempt(client, login)
        while answer.code == 250:
            assert time.monotonic() - since < 1
            answer = attempt(client, login)
        assert answer.code == 421
    returned(rig)


# --------------------------------------------------------------------------- a minute
def test_messages_of_a_minute(rig):
    login = rig.account("minute@example.test", "messages_minute=3")
    change = observe.Change(rig.box)
    rig.backend.on("body", "554 5.7.1 No")
    with session(rig, login) as client:
        for number in range(1, 6):
            assert attempt(client, login).code == 554
            harness.wait_until(lambda: change("takes_returned_total") == number, "the return")
        rig.backend.on("body", None)
        assert [attempt(client, login).code for _ in range(3)] == [250] * 3
        answer = attempt(client, login)
        assert answer.code == 450 and "3 messages per minute" in answer.text
        assert used(rig.box, login) in (3, None)
    assert change("bursts_refused_total") == 1


# -------------------------------------------------------------------------- warnings
def test_a_limit_that_is_nearly_reached_is_told(rig):
    login = rig.account("near@example.test")
    plan(rig.box, "near", '{"messages_hour": 10, "warn_percent": 80}', login)
    change = observe.Change(rig.box)
    with session(rig, login) as client:
        for _ in range(9):
            assert attempt(client, login).code == 250
    assert change("limit_warnings_total") == 1
    [line] = [line for line in rig.box.log_lines() if "limit-warning" in line and login in line]
    assert 'meter="messages per hour"' in line and "used=8" in line and "limit=10" in line


def test_a_plan_that_rejects(rig):
    login = rig.account("strict@example.test")
    plan(rig.box, "strict", '{"messages_hour": 1, "on_exceed": "reject"}', login)
    with session(rig, login) as client:
        assert attempt(client, login).code == 250
        assert attempt(client, login).code == 550
        assert attempt(client, login).code == 550, "at MAIL by now"


# -------------------------------------------------------------------------- sessions
def test_sessions_of_an_account(rig):
    login = rig.account("busy@example.test", "sessions=2")
    change = observe.Change(rig.box)
    with session(rig, login) as first, session(rig, login):
        with rig.box.secured() as third:
            assert third.login(login, login, want=None).code == 421
            third.expect_end()
        assert change("holds_refused_total") == 1
        assert attempt(first, login).code == 250
        first.quit()
        with session(rig, login) as again:
            assert attempt(again, login).code == 250
            again.quit()


def test_sessions_that_begin_at_once(rig):
    login = rig.account("rush@example.test", "sessions=3")
    done = threading.Event()
    barrier = threading.Barrier(8)

    def run(_number):
        with rig.box.secured() as client:
            barrier.wait(30)
            code = client.login(login, login, want=None).code
            if code == 235:
                done.wait(30)
            return code
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(run, number) for number in range(8)]
        harness.wait_until(lambda: sum(future.done() for future in futures) == 5, "five refusals")
        done.set()
        codes = [future.result() for future in futures]
    assert sorted(codes) == [235] * 3 + [421] * 5


# ----------------------------------------------------------------------------- outage
def test_a_grace_is_spent_and_reported(disposable_sandbox):
    rig = Rig(disposable_sandbox)
    box = rig.box
    plan(box, "gracious", '{"messages_hour": 20, "recipients_day": 100,'
                          ' "grace": {"messages_hour": 4, "recipients_day": 50}}')
    granted = rig.account("granted@example.test")
    deferred = rig.account("deferred@example.test", "messages_hour=20")
    plan(box, "gracious", "{}", granted)
    with session(rig, granted) as client, session(rig, deferred) as other:
        assert attempt(client, granted).code == 250
        assert attempt(other, deferred).code == 250
        start_again = stop_postgres(box)
        harness.wait_until(lambda: observe.metric(box, "database_up") == 0, "the loss")
        change = observe.Change(box)
        answers = [attempt(client, granted).code for _ in range(3)]
        rig.backend.on("body", "554 5.7.1 No")
        answers.append(attempt(client, granted).code)
        rig.backend.on("body", None)
        answers += [attempt(client, granted).code for _ in range(3)]
        assert answers == [250, 250, 250, 554, 250, AWAY, AWAY]
        assert attempt(other, deferred).code == AWAY
        assert change("grace_grants_total") == 5
        start_again()
        harness.wait_until(lambda: observe.metric(box, "database_up") == 1, "the database", timeout=60)
        harness.wait_until(lambda: used(box, granted) == 5, "the report")
        assert attempt(client, granted).code == 250
        assert attempt(other, deferred).code == 250
        assert used(box, deferred) == 2
    rig.close()


# ---------------------------------------------------------------------- octets, domains
def test_octets_beyond_what_was_declared(rig):
    login = rig.account("octets@example.test", "bytes_hour=10000")
    with session(rig, login) as client:
        client.command(f"MAIL FROM:<{login}> SIZE=100", 250)
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        client.command("DATA", 354)
        client.send(smtp.transparent(b"x" * 900 + b"\r\n"))
        client.reply(250)
        assert 900 <= used(rig.box, login, "bytes_hour") < 2000
        client.command(f"MAIL FROM:<{login}> SIZE=100", 250)
        client.command(f"RCPT TO:<{RECIPIENT}>", 250)
        client.command("DATA", 354)
        client.send(smtp.transparent((b"x" * 900 + b"\r\n") * 11))
        assert client.reply().code in (450, 550)
    observe.settle(rig.box)
    assert 900 <= used(rig.box, login, "bytes_hour") < 2000


def test_new_recipients(rig):
    login = rig.account("fresh@example.test", "new_recipients_hour=3")
    with session(rig, login) as client:
        assert attempt(client, login, ["a@example.net", "b@example.net"]).code == 250
        assert attempt(client, login, ["a@example.net", "b@example.net"]).code == 250
        assert attempt(client, login, ["c@example.net", "d@example.net"]).code == 450
        assert attempt(client, login, ["c@example.net", "a@example.net"]).code == 250
        assert attempt(client, login, ["d@example.net"]).code == 450


def test_a_domain_is_limited_whoever_sends_for_it(rig):
    first = rig.account("first@limited.test")
    second = rig.account("second@limited.test")
    with owner(rig.box) as database:
        database.execute("SELECT postern.domain_set('limited.test', '{\"messages_hour\": 3}')")
    with session(rig, first) as one, session(rig, second) as other:
        codes = [attempt(*pair).code for pair in ((one, first), (other, second), (one, first.upper()))]
        assert codes == [250] * 3
        answer = attempt(other, second)
        assert answer.code == 450 and "of the domain limited.test" in answer.text
