# SPDX-License-Identifier: ISC
"""Limits in SQL: the meter, its strictness under concurrent takes, and what is given back."""
import random
import threading

import psycopg
import pytest
from psycopg import errors

import pg
from test_sql import DAY, HOUR, NOW, Database, Take, in_thread, one, wait_until_blocked


@pytest.fixture(scope="module")
def db():
    database = Database(pg.shared())
    yield database
    database.close()


# ------------------------------------------------------------------- the meter
def test_a_limit_holds_and_tells_when_there_is_room(db):
    account_id = db.account('{"messages_hour": 3}')
    for second in (0, 160, 310):
        assert db.take(account_id, 1, 1, NOW + second)[:4] == (0, None, None, None)
    refused = db.take(account_id, 1, 1, NOW + 400)
    assert refused[:3] == (1, "messages per hour", 3)
    assert refused.taken is None
    assert refused.reset == NOW + 150 + HOUR  # the end of the first slot, and an hour
    assert db.take(account_id, 1, 1, refused.reset - 1).reset == refused.reset
    assert db.take(account_id, 1, 1, refused.reset).result == 0
    assert db.take(account_id, 1, 1, refused.reset).reset == NOW + 300 + HOUR


@pytest.mark.parametrize("meter, limits, messages, recipients, window, slot", [
    ("messages per hour", '{"messages_hour": 5}', 5, 5, HOUR, 150),
    ("recipients per hour", '{"recipients_hour": 5}', 1, 5, HOUR, 150),
    ("messages per day", '{"messages_day": 5}', 5, 5, DAY, 1800),
    ("recipients per day", '{"recipients_day": 5}', 1, 5, DAY, 1800),
])
def test_boundaries_of_each_meter(db, meter, limits, messages, recipients, window, slot):
    for offset in (0, 1, slot // 2, slot - 1, slot - 0.001):
        account_id = db.account(limits)
        taken = NOW + 7 * slot + offset
        assert db.take(account_id, messages, recipients, taken).result == 0
        for later in (0, 1, window - slot, window - 1, window - 0.001, window):
            got = db.take(account_id, messages, recipients, taken + later)
            want_refused = later < window or (taken + later) // slot == taken // slot + window // slot
            assert (got.result == 1) == want_refused, (offset, later)
            if not want_refused:
                break
            assert got[:3] == (1, meter, 5)
            assert got.reset == NOW + 8 * slot + window
        assert db.take(account_id, messages, recipients, NOW + 8 * slot + window).result == 0


def worst_window(granted, window):
    """The most that any window of this length holds; both ends count."""
    worst = 0
    for end, _ in granted:
        worst = max(worst, sum(n for at, n in granted if end - window <= at <= end))
    return worst


@pytest.mark.parametrize("limits, window, slot, seed", [
    ('{"messages_hour": 20}', HOUR, 150, 1), ('{"messages_hour": 20}', HOUR, 150, 2),
    ('{"messages_day": 20}', DAY, 1800, 3), ('{"messages_day": 20}', DAY, 1800, 4),
])
def test_no_window_holds_more_than_the_limit(db, limits, window, slot, seed):
    """Random takes, among them right at the ends of slots; and no refusal that was not due."""
    rng = random.Random(seed)
    account_id = db.account(limits)
    at, granted, refused = float(NOW), [], 0
    for _ in range(400):
        at += rng.choice((0, 0.001, 1, slot / 3, slot, window / 20, window / 8))
        if rng.random() < 0.2:
            at = (at // slot + 1) * slot - rng.choice((0, 0.001, 1))
        n = rng.choice((1, 1, 1, 2, 5))
        got = db.take(account_id, n, 1, at)
        if got.result == 0:
            granted.append((at, n))
        else:
            refused += 1
            counted = sum(k for when, k in granted if when // slot >= at // slot - window // slot)
            assert counted + n > 20, "refused although it would have fitted"
    assert refused > 20 and len(granted) > 50
    assert worst_window(granted, window) <= 20


def test_reset_is_the_first_moment_that_fits(db):
    rng = random.Random(7)
    account_id = db.account('{"messages_hour": 30, "messages_day": 60}')
    at, seen = NOW, set()
    for _ in range(150):
        at += rng.choice((1, 100, 400))
        n = rng.choice((1, 3, 9))
        got = db.take(account_id, n, 1, at)
        if got.result == 0:
            continue
        seen.add(got.meter)
        assert db.take(account_id, n, 1, got.reset - 1).result == 1
        at = got.reset
        assert db.take(account_id, n, 1, at).result == 0
    assert seen == {"messages per hour", "messages per day"}


def test_the_meter_that_is_empty_longest_is_named(db):
    account_id = db.account('{"messages_hour": 1, "recipients_hour": 1, "messages_day": 1, "recipients_day": 1}')
    assert db.take(account_id, 1, 1, NOW).result == 0
    assert db.take(account_id, 1, 1, NOW)[:4] == (1, "messages per day", 1, NOW + 1800 + DAY)
    assert db.take(account_id, 0, 1, NOW)[:4] == (1, "recipients per day", 1, NOW + 1800 + DAY)


def test_a_refusal_takes_nothing(db):
    account_id = db.account('{"messages_hour": 10, "recipients_hour": 3}')
    assert db.take(account_id, 1, 4, NOW)[:4] == (2, "recipients per hour", 3, 0)
    assert db.take(account_id, 1, 3, NOW).result == 0
    for _ in range(20):
        assert db.take(account_id, 1, 1, NOW)[:2] == (1, "recipients per hour")
    assert db.take(account_id, 9, 0, NOW).result == 0


@pytest.mark.parametrize("limits, messages, meter", [
    ('{"messages_hour": 0}', 1, "messages per hour"), ('{"messages_day": 4}', 5, "messages per day"),
])
def test_what_never_fits_is_told(db, limits, messages, meter):
    account_id = db.account(limits)
    got = db.take(account_id, messages, 1, NOW)
    assert (got.result, got.meter) == (2, meter)


def test_unlimited_is_counted_and_never_refused(db):
    account_id = db.account('{"messages_hour": "unlimited", "messages_day": "unlimited",'
                            ' "recipients_hour": "unlimited", "recipients_day": "unlimited"}')
    for step in range(5):
        assert db.take(account_id, 1_000_000, 1_000_000, NOW + step * 200).result == 0
    db.admin.execute("SELECT postern.limits_set(%s, %s)", (db.login(account_id), '{"messages_hour": 5000000}'))
    assert db.take(account_id, 1, 1, NOW + 1000)[:3] == (1, "messages per hour", 5_000_000)


def test_limits_count_at_once_when_they_change(db):
    account_id = db.account('{"messages_hour": 2}')
    login = db.login(account_id)
    assert [db.take(account_id, 1, 1, NOW).result for _ in range(3)] == [0, 0, 1]
    db.admin.execute("SELECT postern.limits_set(%s, %s)", (login, '{"messages_hour": 3}'))
    assert [db.take(account_id, 1, 1, NOW).result for _ in range(2)] == [0, 1]
    db.admin.execute("SELECT postern.limits_set(%s, %s)", (login, '{"messages_hour": null}'))
    assert db.take(account_id, 1, 1, NOW).result == 0


def test_a_lower_limit_binds_a_meter_that_is_in_use(db):
    account_id = db.account('{"messages_hour": 9}')
    assert [db.take(account_id, 1, 1, NOW + second).result for second in (0, 150, 151)] == [0, 0, 0]
    db.admin.execute("SELECT postern.limits_set(%s, %s)", (db.login(account_id), '{"messages_hour": 3}'))
    assert db.take(account_id, 1, 1, NOW + 152)[:3] == (1, "messages per hour", 3)
    db.admin.execute("SELECT postern.limits_set(%s, %s)", (db.login(account_id), '{"messages_hour": null}'))
    db.admin.execute("SELECT postern.plan_set('lower', '{\"recipients_day\": 3}')")
    db.admin.execute("SELECT postern.account_set_plan(%s, 'lower')", (db.login(account_id),))
    assert db.take(account_id, 1, 1, NOW + 153)[:3] == (1, "recipients per day", 3)


def test_disabled_or_gone_is_told(db):
    account_id = db.account()
    db.admin.execute("SELECT postern.account_set_enabled(%s, false)", (db.login(account_id),))
    assert db.take(account_id, 1, 1, NOW) == (3, None, None, None, None)
    db.admin.execute("SELECT postern.account_set_enabled(%s, true)", (db.login(account_id),))
    assert db.take(account_id, 1, 1, NOW).result == 0
    db.owner.execute("DELETE FROM postern.account WHERE account_id = %s", (account_id,))
    assert db.take(account_id, 1, 1, NOW).result == 3


def test_an_account_that_took_before_is_told_when_it_is_disabled(db):
    account_id = db.account()
    assert db.take(account_id, 1, 1, NOW).result == 0
    db.admin.execute("SELECT postern.account_set_enabled(%s, false)", (db.login(account_id),))
    assert db.take(account_id, 1, 1, NOW).result == 3


def test_a_take_counts_until_its_slot_has_left_the_window(db):
    """24 full slots behind the present one count; the hour is over at the earliest then."""
    for late, result in ((0, 1), (HOUR - 1, 1), (HOUR, 1), (HOUR + 149, 1), (HOUR + 150, 0)):
        account_id = db.account('{"messages_hour": 1}')
        assert db.take(account_id, 1, 1, NOW).result == 0
        assert db.take(account_id, 1, 1, NOW + late).result == result, late
    for late, result in ((DAY, 1), (DAY + 1799, 1), (DAY + 1800, 0)):
        account_id = db.account('{"messages_day": 1}')
        assert db.take(account_id, 1, 1, NOW).result == 0
        assert db.take(account_id, 1, 1, NOW + late).result == result, late


@pytest.mark.threat("G07")
def test_a_clock_that_goes_back_errs_on_the_strict_side(db):
    for back in (1, 149, 150, 151, 1800, 3600, 7200, 86400 * 400):
        account_id = db.account('{"messages_hour": 2, "messages_day": 4}')
        assert db.take(account_id, 2, 1, NOW).result == 0
        assert db.take(account_id, 1, 1, NOW - back).result == 1, back
        assert db.take(account_id, 1, 1, NOW - back + HOUR - 150).result == 1, back
        assert db.take(account_id, 2, 1, NOW - back + HOUR + 450).result == 0, back
        assert db.take(account_id, 1, 1, NOW - back + DAY - 1800)[1] == "messages per day", back
        assert db.take(account_id, 1, 1, NOW - back + DAY + HOUR + 3600).result == 0, back


def test_arguments_out_of_range_are_refused(db):
    account_id = db.account()
    for messages, recipients in ((-1, 1), (1, -1), (1_000_001, 1), (1, 1_000_001), (None, 1), (1, None)):
        with pytest.raises(errors.InvalidParameterValue):
            db.service.execute("SELECT postern.quota_take(%s, %s, %s)", (account_id, messages, recipients))
    for taken, messages, recipients in ((-1, 1, 1), (NOW, -1, 1), (NOW, 1, -1), (None, 1, 1)):
        with pytest.raises(errors.InvalidParameterValue):
            db.give_back(account_id, taken, messages, recipients)


def test_the_services_take_uses_the_databases_clock(db):
    account_id = db.account('{"messages_hour": 1}')
    before = one(db.service, "SELECT floor(extract(epoch FROM clock_timestamp()) / 150)::bigint * 150")
    row = Take(*db.service.execute("SELECT * FROM postern.quota_take(%s, 1, 1)", (account_id,)).fetchone())
    assert row.result == 0
    assert row.taken in (before, before + 150)
    row = Take(*db.service.execute("SELECT * FROM postern.quota_take(%s, 1, 1)", (account_id,)).fetchone())
    assert row[:3] == (1, "messages per hour", 1)
    assert row.reset in (before + 150 + HOUR, before + 300 + HOUR)


def test_takes_stay_hot_and_leave_the_arrays_alone(db):
    account_id = db.account()
    assert db.take(account_id, 1, 1, NOW).result == 0
    arrays = "SELECT begun_messages, marks FROM postern.meter WHERE scope = 1 AND id = %s"
    before = db.owner.execute(arrays, (account_id,)).fetchone()
    counts = ("SELECT pg_stat_get_xact_tuples_updated('postern.meter'::regclass),"
              " pg_stat_get_xact_tuples_hot_updated('postern.meter'::regclass)")
    with db.connect(pg.USER) as connection, connection.transaction():
        for _ in range(5):
            assert connection.execute("SELECT result FROM postern.quota_take_at(%s, 1, 1, to_timestamp(%s))",
                                      (account_id, NOW + 1)).fetchone()[0] == 0
        assert connection.execute(counts).fetchone() == (5, 5)
    assert db.owner.execute(arrays, (account_id,)).fetchone() == before


# ------------------------------------------------------------ concurrent takes
def run_writers(db, user, count, work):
    connections = [db.connect(user) for _ in range(count)]
    barrier, results, failures = threading.Barrier(count), [[] for _ in range(count)], []

    def run(index):
        barrier.wait(10)
        try:
            work(connections[index], results[index], random.Random(index))
        except psycopg.Error as failure:
            failures.append(failure)
    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for connection in connections:
        connection.close()
    assert failures == []
    return [item for result in results for item in result]


@pytest.mark.threat("F04")
def test_concurrent_takes_grant_the_limit_exactly(db):
    account_id = db.account('{"messages_hour": 100, "recipients_hour": 1000}')

    def work(connection, results, _rng):
        for _ in range(40):
            results.append(connection.execute("SELECT result FROM postern.quota_take(%s, 1, 3)",
                                              (account_id,)).fetchone()[0])
    results = run_writers(db, "postern_service", 8, work)
    assert results.count(0) == 100
    assert results.count(1) == 220


def test_concurrent_first_takes_make_one_meter(db):
    account_id = db.account('{"messages_hour": 4}')

    def work(connection, results, _rng):
        results.append(connection.execute("SELECT result FROM postern.quota_take(%s, 1, 1)",
                                          (account_id,)).fetchone()[0])
    assert sorted(run_writers(db, "postern_service", 8, work)) == [0] * 4 + [1] * 4


def test_concurrent_takes_over_moving_time_never_exceed(db):
    """Writers whose clocks differ by less than a slot cross many of them in step."""
    account_id = db.account('{"messages_hour": 50}')
    barrier = threading.Barrier(4)

    def work(connection, results, rng):
        for step in range(200):
            barrier.wait(30)
            result, taken = connection.execute(
                "SELECT result, taken_s FROM postern.quota_take_at(%s, 1, 1, to_timestamp(%s))",
                (account_id, NOW + step * 60 + rng.randrange(80))).fetchone()
            if result == 0:
                results.append((taken, 1))
    granted = sorted(run_writers(db, pg.USER, 4, work))
    assert len(granted) >= 150
    assert worst_window(granted, HOUR) == 50


def test_concurrent_takes_and_give_backs_balance(db):
    account_id = db.account('{"messages_hour": 10}')

    def work(connection, results, _rng):
        for _ in range(30):
            result, taken = connection.execute("SELECT result, taken_s FROM postern.quota_take(%s, 1, 1)",
                                               (account_id,)).fetchone()
            results.append(result)
            if result == 0:
                assert connection.execute("SELECT postern.quota_give_back(%s, %s, 1, 1)",
                                          (account_id, taken)).fetchone()[0]
    results = run_writers(db, "postern_service", 6, work)
    assert results.count(0) > 10
    assert set(results) <= {0, 1}
    used = db.admin.execute("SELECT name, used FROM postern.limits_show(%s)", (db.login(account_id),)).fetchall()
    assert dict(used)["messages_hour"] == 0


@pytest.mark.parametrize("commits, want", [(True, 1), (False, 0)])
def test_a_take_that_waited_decides_on_what_it_finds(db, commits, want):
    account_id = db.account('{"messages_hour": 1}')
    db.service.execute("SELECT postern.quota_take(%s, 0, 0)", (account_id,))  # the row is there
    with db.connect("postern_service") as first, db.connect("postern_service") as second:
        with first.transaction(force_rollback=not commits):
            assert first.execute("SELECT result FROM postern.quota_take(%s, 1, 1)", (account_id,)).fetchone()[0] == 0
            join = in_thread(lambda: second.execute("SELECT result FROM postern.quota_take(%s, 1, 1)",
                                                    (account_id,)).fetchone()[0])
            wait_until_blocked(db, first)
        assert join() == want


def test_a_take_does_not_wait_longer_than_the_lock_timeout(db):
    account_id = db.account()
    db.service.execute("SELECT postern.quota_take(%s, 1, 1)", (account_id,))
    with db.connect(pg.USER) as holder, db.connect("postern_service") as waiter:
        with holder.transaction():
            holder.execute("SELECT FROM postern.meter WHERE scope = 1 AND id = %s FOR UPDATE", (account_id,))
            with pytest.raises(errors.LockNotAvailable):
                waiter.execute("SELECT postern.quota_take(%s, 1, 1)", (account_id,))


# ------------------------------------------------------------------- give-back
def test_give_back_in_the_present_slot(db):
    account_id = db.account('{"messages_hour": 1, "recipients_day": 5}')
    taken = db.take(account_id, 1, 5, NOW + 10).taken
    assert taken == NOW
    assert db.take(account_id, 1, 1, NOW + 20).result == 1
    assert db.give_back(account_id, taken, 1, 5) is True
    assert db.take(account_id, 1, 5, NOW + 30).result == 0


def test_give_back_credits_the_slot_that_was_charged(db):
    """Back into an older slot: what was taken later still counts until its own time has come."""
    account_id = db.account('{"messages_hour": 2}')
    first = db.take(account_id, 1, 1, NOW).taken
    assert db.take(account_id, 1, 1, NOW + 1000).result == 0
    assert db.give_back(account_id, first, 1, 1) is True
    assert db.take(account_id, 1, 1, NOW + 1100).result == 0
    refused = db.take(account_id, 1, 1, NOW + 1200)
    assert refused.reset == NOW + 1050 + HOUR


def test_give_back_never_goes_below_zero(db):
    account_id = db.account('{"messages_hour": 3}')
    old = db.take(account_id, 1, 1, NOW).taken
    new = db.take(account_id, 1, 1, NOW + 500).taken
    for taken in (old, new, old, new):
        assert db.give_back(account_id, taken, 100, 100) is True
    assert [db.take(account_id, 1, 1, NOW + 510).result for _ in range(4)] == [0, 0, 0, 1]


def test_give_back_after_the_hour_credits_the_day_alone(db):
    account_id = db.account('{"messages_hour": 2, "messages_day": 2}')
    taken = db.take(account_id, 1, 1, NOW).taken
    assert db.take(account_id, 1, 1, NOW + 2 * HOUR).result == 0
    assert db.take(account_id, 1, 1, NOW + 2 * HOUR).meter == "messages per day"
    assert db.give_back(account_id, taken, 1, 1) is True
    assert [db.take(account_id, 1, 1, NOW + 2 * HOUR).result for _ in range(2)] == [0, 1]


def test_give_back_beyond_the_ring_or_ahead_of_it_does_nothing(db):
    account_id = db.account('{"messages_hour": 1}')
    taken = db.take(account_id, 1, 1, NOW).taken
    assert db.take(account_id, 1, 1, NOW + 32 * DAY).result == 0
    assert db.give_back(account_id, taken, 1, 1) is False
    assert db.give_back(account_id, NOW + 33 * DAY, 1, 1) is False
    assert db.give_back(account_id, 0, 1, 1) is False
    assert db.give_back(account_id, 2 ** 62, 1, 1) is False
    assert db.give_back(2 ** 62, taken, 1, 1) is False
    assert db.take(account_id, 1, 1, NOW + 32 * DAY).result == 1
