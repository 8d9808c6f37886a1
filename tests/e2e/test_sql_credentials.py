# SPDX-License-Identifier: ISC
"""Generated credentials in the database: what the functions take, and limits beside the account's."""
import random
import string
import threading
from collections import namedtuple
from datetime import datetime, timezone

import psycopg
import pytest
from psycopg import errors

import pg
from test_sql import NOW, Take, db, in_thread, one, wait_until_blocked  # noqa: F401
from test_sql_quota import run_writers, worst_window

ALPHABET = string.ascii_lowercase + "234567"
KEY_ID = "00112233445566aa"
HASH = bytes(range(32))
HOUR, DAY = 3600, 86400
Credential = namedtuple("Credential", "account id public")


def new_id():
    return "".join(random.choice(ALPHABET) for _ in range(12))


def number(public):
    value = 0
    for letter in public:
        value = value * 32 + ALPHABET.index(letter)
    return value


def add(db, login, **options):
    """Calls credential_add() with an id of its own unless told; returns the public id."""
    options = {"login": login, "public_id": new_id(), "key_id": KEY_ID, "hash": HASH, **options}
    one(db.admin, "SELECT postern.credential_add(%s)" % ", ".join(f"{name} => %s" for name in options),
        *options.values())
    return options["public_id"]


def credential(db, limits="{}", **options):
    account = db.account(limits)
    public = add(db, db.login(account), **options)
    return Credential(account, number(public), public)


def take(db, who, messages, recipients, at):
    return Take(*db.owner.execute("SELECT * FROM postern.credential_take_at(%s, %s, %s, %s, to_timestamp(%s))",
                                  (who.account, who.id, messages, recipients, at)).fetchone())


def give_back(db, who, taken, messages, recipients):
    return one(db.service, "SELECT postern.credential_give_back(%s, %s, %s, %s, %s)",
               who.account, who.id, taken, messages, recipients)


def used(db, who):
    """Messages and recipients that were taken: the account's meter, then its credentials'."""
    return db.owner.execute("SELECT messages, recipients FROM postern.meter m WHERE (scope = 1 AND id = %s)"
                            " OR (scope = 2 AND id IN (SELECT credential_id FROM postern.credential"
                            " WHERE account_id = %s)) ORDER BY scope, id", (who.account, who.account)).fetchall()


# --------------------------------------------------------------------- the rows
def test_what_a_look_up_brings(db):
    account = db.account()
    public = add(db, db.login(account), label="printer", networks=["192.0.2.0/24", "2001:db8::1"],
                 senders=["A@Example.test", "@example.ORG"],
                 expires_at=datetime(2099, 1, 1, tzinfo=timezone.utc))
    row = db.service.execute("SELECT * FROM postern.credential_lookup(%s)", (public,)).fetchone()
    assert row[:2] == (number(public), account)
    assert row[3:] == (KEY_ID, HASH, True, 4070908800, ["192.0.2.0/24", "2001:db8::1/128"],
                       ["d:example.org", "a:a@example.test"], "printer")


def test_without_options_it_is_as_wide_as_the_account(db):
    public = add(db, db.login(db.account()))
    row = db.service.execute("SELECT enabled, expires_s, networks, senders, label"
                             " FROM postern.credential_lookup(%s)", (public,)).fetchone()
    assert row == (True, 0, [], [], "")


@pytest.mark.parametrize("public", ["aaaaaaaaaaab", "", "short", "AAAAAAAAAAAB", "aaaaaaaaaaa1", "aaaaaaaaaaaaa",
                                    "aaaaaaaaaaab\n", None])
def test_no_row_for_what_is_not_there(db, public):
    assert db.service.execute("SELECT * FROM postern.credential_lookup(%s)", (public,)).fetchall() == []


@pytest.mark.parametrize("options", [
    {"public_id": "UPPERCASE234"}, {"public_id": "aaaaaaaaaaaa"}, {"public_id": "short"}, {"public_id": None},
    {"key_id": "1"}, {"key_id": None}, {"hash": b"short"}, {"hash": None},
    {"label": "x" * 101}, {"label": "a\x1bb"}, {"networks": ["192.0.2.1/24"]}, {"networks": ["10"]},
    {"networks": ["192.168/16"]}, {"networks": ["192.0.2.0/33"]}, {"networks": ["example.test"]}, {"networks": [""]},
    {"networks": ["fe80::1%eth0"]}, {"networks": [f"192.0.2.{i}" for i in range(33)]},
    {"senders": ["*"]}, {"senders": ["no-address"]}, {"senders": [f"a{i}@example.test" for i in range(33)]},
    {"expires_at": datetime(2001, 1, 1, tzinfo=timezone.utc)},
    {"messages_hour": -1}, {"messages_day": -1}, {"recipients_hour": -1}, {"recipients_day": -1},
])
def test_what_cannot_be_added(db, options):
    login = db.login(db.account())
    with pytest.raises(errors.InvalidParameterValue):
        add(db, login, **options)
    assert db.admin.execute("SELECT * FROM postern.credential_list(%s)", (login,)).fetchall() == []


def test_a_public_id_exists_once(db):
    public = add(db, db.login(db.account()))
    with pytest.raises(errors.UniqueViolation):
        add(db, db.login(db.account()), public_id=public)


def test_an_account_that_is_not_there(db):
    with pytest.raises(errors.NoDataFound):
        add(db, "nobody@example.test")
    with pytest.raises(errors.NoDataFound):
        db.admin.execute("SELECT * FROM postern.credential_list('nobody@example.test')")


def test_list_pages_and_show(db):
    login = db.login(db.account())
    ids = sorted(add(db, login, label=f"number {i}") for i in range(5))
    page = db.admin.execute("SELECT public_id FROM postern.credential_list(%s, '', 2)", (login,)).fetchall()
    rest = db.admin.execute("SELECT public_id FROM postern.credential_list(%s, %s)",
                            (login, page[-1][0])).fetchall()
    assert [row[0] for row in page + rest] == ids
    shown = db.admin.execute("SELECT credential, login, state, used_at FROM postern.credential_show(%s)",
                             (ids[0],)).fetchone()
    assert shown == (ids[0], login, "live", None)


def test_revoked_is_for_good_and_draws_a_version(db):
    public = add(db, db.login(db.account()))
    lookup = "SELECT enabled, version FROM postern.credential_lookup(%s)"
    enabled, version = db.service.execute(lookup, (public,)).fetchone()
    assert enabled
    assert one(db.admin, "SELECT postern.credential_revoke(%s)", public) is True
    assert one(db.admin, "SELECT postern.credential_revoke(%s)", public) is False
    enabled, later = db.service.execute(lookup, (public,)).fetchone()
    assert not enabled and later > version
    assert one(db.admin, "SELECT state FROM postern.credential_show(%s)", public) == "revoked"
    with pytest.raises(errors.NoDataFound):
        db.admin.execute("SELECT postern.credential_revoke('aaaaaaaaaaab')")


def test_it_goes_with_its_account(db):
    who = credential(db, messages_hour=5)
    assert take(db, who, 1, 1, NOW).result == 0
    db.service.execute("SELECT postern.credential_used(%s, %s, %s, %s)", ([who.id], [NOW], ["192.0.2.1"], ["a"]))
    db.owner.execute("DELETE FROM postern.account WHERE account_id = %s", (who.account,))
    for table, column in (("credential", "credential_id"), ("credential_use", "credential_id"), ("meter", "id")):
        assert one(db.owner, f"SELECT count(*) FROM postern.{table} WHERE {column} = %s", who.id) == 0


# ---------------------------------------------------------------- who used it
def test_the_last_use_is_kept_and_no_version_is_drawn(db):
    first, second = credential(db), credential(db)
    version = one(db.service, "SELECT version FROM postern.credential_lookup(%s)", first.public)
    call = "SELECT postern.credential_used(%s, %s, %s, %s)"
    gone = number(new_id())
    assert one(db.service, call, [second.id, gone, first.id], [NOW, NOW, NOW + 5],
               ["192.0.2.1", "192.0.2.2", "2001:db8::1"], ["one", "two", 'th"r\\ee,{}']) == 2
    assert one(db.service, call, [first.id], [NOW + 4], ["192.0.2.9"], ["older"]) == 0
    row = db.admin.execute("SELECT extract(epoch FROM used_at)::int, host(used_address), used_client"
                           " FROM postern.credential_show(%s)", (first.public,)).fetchone()
    assert row == (NOW + 5, "2001:db8::1", 'th"r\\ee,{}')
    assert one(db.service, "SELECT version FROM postern.credential_lookup(%s)", first.public) == version


# -------------------------------------------------------------------- its limits
def test_without_limits_the_accounts_meter_alone_is_charged(db):
    who = credential(db, '{"messages_hour": 2}')
    assert [take(db, who, 1, 1, NOW).result for _ in range(3)] == [0, 0, 1]
    assert used(db, who) == [(2, 2)]


@pytest.mark.parametrize("limits, result, meter", [
    ({"messages_hour": 1}, 1, "messages per hour of this credential"),
    ({"messages_day": 1}, 1, "messages per day of this credential"),
    ({"recipients_hour": 3}, 1, "recipients per hour of this credential"),
    ({"recipients_day": 3}, 1, "recipients per day of this credential"),
    ({"recipients_day": 1}, 2, "recipients per day of this credential"),
    ({"messages_hour": 0}, 2, "messages per hour of this credential"),
])
def test_each_limit_of_its_own_refuses_and_charges_nothing(db, limits, result, meter):
    who = credential(db, **limits)
    if result == 1:
        assert take(db, who, 1, 2, NOW).result == 0
    before = used(db, who)
    refused = take(db, who, 1, 2, NOW)
    assert refused[:2] == (result, meter)
    assert len(meter) <= 48  # what a frame holds
    assert used(db, who) == (before or [(0, 0), (0, 0)])


def test_the_accounts_limit_holds_for_all_its_credentials_together(db):
    account = db.account('{"messages_hour": 3}')
    login = db.login(account)
    first, second = (Credential(account, number(public), public)
                     for public in (add(db, login, messages_hour=2) for _ in range(2)))
    assert [take(db, first, 1, 1, NOW).result for _ in range(2)] == [0, 0]
    assert take(db, first, 1, 1, NOW).meter == "messages per hour of this credential"
    assert take(db, second, 1, 1, NOW).result == 0
    assert take(db, second, 1, 1, NOW).meter == "messages per hour"
    assert used(db, first) == [(3, 3), *sorted([(2, 2), (1, 1)], reverse=first.id < second.id)]


def test_what_the_account_took_by_password_does_not_count_for_the_credential(db):
    who = credential(db, messages_hour=1)
    assert [db.take(who.account, 1, 1, NOW).result for _ in range(3)] == [0, 0, 0]
    assert take(db, who, 1, 1, NOW).result == 0
    assert take(db, who, 1, 1, NOW).result == 1
    assert db.take(who.account, 1, 1, NOW).result == 0


@pytest.mark.parametrize("how", ["revoked", "expired", "foreign", "disabled"])
@pytest.mark.parametrize("limits", [{}, {"messages_hour": 5}])
def test_a_credential_that_no_longer_holds_takes_nothing(db, how, limits):
    who = credential(db, expires_at=datetime.fromtimestamp(NOW + 500, timezone.utc), **limits)
    assert take(db, who, 1, 1, NOW + 499).result == 0
    before = used(db, who)
    at = NOW + 400
    if how == "revoked":
        db.admin.execute("SELECT postern.credential_revoke(%s)", (who.public,))
    elif how == "disabled":
        db.admin.execute("SELECT postern.account_set_enabled(%s, false)", (db.login(who.account),))
    elif how == "expired":
        at = NOW + 500
    else:
        before, who = [], Credential(db.account(), who.id, who.public)
    assert take(db, who, 1, 1, at) == (3, None, None, None, None)
    assert used(db, who) == before


def test_both_are_given_back(db):
    who = credential(db, '{"messages_hour": 2}', messages_hour=1)
    taken = take(db, who, 1, 1, NOW + 10).taken
    assert taken == NOW
    assert take(db, who, 1, 1, NOW + 500).result == 1
    assert give_back(db, who, taken, 1, 1) is True
    assert take(db, who, 1, 1, NOW + 500).result == 0
    assert db.take(who.account, 1, 1, NOW + 500).result == 0
    assert db.take(who.account, 1, 1, NOW + 500).result == 1


def test_meters_of_different_slots_are_brought_together(db):
    """The account's is one slot ahead of the credential's: another took there meanwhile."""
    who = credential(db, messages_hour=3)
    assert take(db, who, 1, 1, NOW).taken == NOW
    assert db.take(who.account, 1, 1, NOW + 150).taken == NOW + 150
    late = take(db, who, 1, 1, NOW + 149)
    assert (late.result, late.taken) == (0, NOW + 150)
    assert give_back(db, who, late.taken, 1, 1) is True
    assert [take(db, who, 1, 1, NOW + 151).result for _ in range(3)] == [0, 0, 1]


def test_its_windows_end_as_the_accounts_do(db):
    for window, limit, slot in ((HOUR, "messages_hour", 150), (DAY, "messages_day", 1800)):
        who = credential(db, **{limit: 1})
        assert take(db, who, 1, 1, NOW).result == 0
        assert take(db, who, 1, 1, NOW + window + slot - 1).result == 1
        assert take(db, who, 1, 1, NOW + window + slot).result == 0


def test_a_clock_that_goes_back_errs_on_the_strict_side_here_too(db):
    for back in (1, 150, 151, 3600, 86400 * 30):
        who = credential(db, messages_hour=2)
        assert take(db, who, 2, 1, NOW).result == 0
        assert take(db, who, 1, 1, NOW - back).result == 1, back
        assert take(db, who, 1, 1, NOW - back + HOUR - 150).result == 1, back


def test_random_takes_never_exceed_any_window_of_either(db):
    """A reference of its own: every window of an hour, for the account and for each credential."""
    account = db.account('{"messages_hour": 40}')
    login = db.login(account)
    all_of = [Credential(account, number(public), public)
              for public in (add(db, login, messages_hour=limit) for limit in (10, 25))]
    rng, at, granted = random.Random(4), NOW, {0: [], all_of[0].id: [], all_of[1].id: []}
    for _ in range(600):
        at += rng.choice((0, 1, 20, 90, 200))
        who, messages = rng.choice((None, *all_of)), rng.randrange(1, 4)
        if who is None:
            row = db.take(account, messages, 1, at)
        else:
            row = take(db, who, messages, 1, at)
        if row.result == 0 and rng.random() < 0.2:
            if who is None:
                assert db.give_back(account, row.taken, messages, 1)
            else:
                assert give_back(db, who, row.taken, messages, 1)
        elif row.result == 0:
            granted[0].append((at, messages))
            if who is not None:
                granted[who.id].append((at, messages))
    for key, limit in ((0, 40), (all_of[0].id, 10), (all_of[1].id, 25)):
        assert limit - 3 <= worst_window(sorted(granted[key]), HOUR) <= limit, key


# ------------------------------------------------------------------- concurrency
def test_concurrent_takes_of_both_kinds_grant_each_limit_exactly(db):
    account = db.account('{"messages_hour": 60}')
    public = add(db, db.login(account), messages_hour=25)
    counter, lock = iter(range(8)), threading.Lock()

    def work(connection, results, _rng):
        with lock:
            by_credential = next(counter) % 2 == 0
        for _ in range(40):
            if by_credential:
                row = connection.execute("SELECT result, meter FROM postern.credential_take(%s, %s, 1, 1)",
                                         (account, number(public))).fetchone()
            else:
                row = connection.execute("SELECT result, meter FROM postern.quota_take(%s, 1, 1)",
                                         (account,)).fetchone()
            results.append((by_credential, *row))
    results = run_writers(db, "postern_service", 8, work)
    granted = [row[0] for row in results if row[1] == 0]
    assert len(granted) == 60
    assert granted.count(True) <= 25
    meters = used(db, Credential(account, number(public), public))
    assert [meter[0] for meter in meters] == [60, granted.count(True)]


def test_concurrent_first_takes_make_one_pair_of_meters(db):
    who = credential(db, messages_hour=4)

    def work(connection, results, _rng):
        results.append(connection.execute("SELECT result FROM postern.credential_take(%s, %s, 1, 1)",
                                          (who.account, who.id)).fetchone()[0])
    assert sorted(run_writers(db, "postern_service", 8, work)) == [0] * 4 + [1] * 4
    assert used(db, who) == [(4, 4), (4, 4)]


def test_takes_and_give_backs_of_two_credentials_meet_no_deadlock_and_balance(db):
    account = db.account('{"messages_hour": 10}')
    login = db.login(account)
    ids = [number(add(db, login, messages_hour=6)) for _ in range(2)]

    def work(connection, results, rng):
        for _ in range(30):
            which = rng.choice(ids)
            result, taken = connection.execute("SELECT result, taken_s FROM postern.credential_take(%s, %s, 1, 1)",
                                               (account, which)).fetchone()
            results.append(result)
            if result == 0:
                assert connection.execute("SELECT postern.credential_give_back(%s, %s, %s, 1, 1)",
                                          (account, which, taken)).fetchone()[0]
    results = run_writers(db, "postern_service", 6, work)
    assert set(results) <= {0, 1} and results.count(0) > 10
    assert used(db, Credential(account, 0, None)) == [(0, 0)] * 3


@pytest.mark.parametrize("commits, want", [(True, 1), (False, 0)])
def test_a_take_that_waited_decides_on_what_it_finds(db, commits, want):
    who = credential(db, messages_hour=1)
    call = "SELECT result FROM postern.credential_take(%s, %s, 1, 1)"
    db.service.execute("SELECT postern.credential_take(%s, %s, 0, 0)", (who.account, who.id))  # the rows are there
    with db.connect("postern_service") as first, db.connect("postern_service") as second:
        with first.transaction(force_rollback=not commits):
            assert first.execute(call, (who.account, who.id)).fetchone()[0] == 0
            join = in_thread(lambda: second.execute(call, (who.account, who.id)).fetchone()[0])
            wait_until_blocked(db, first)
        assert join() == want


def test_who_may_not_send_takes_no_lock(db):
    who = credential(db, messages_hour=5)
    assert take(db, who, 1, 1, NOW).result == 0
    db.admin.execute("SELECT postern.credential_revoke(%s)", (who.public,))
    with psycopg.connect(db.server.dsn(db.name, pg.USER)) as holder:
        holder.execute("SELECT FROM postern.meter WHERE scope = 1 AND id = %s FOR UPDATE", (who.account,))
        with db.connect(pg.USER) as other:
            other.execute("SET lock_timeout = '1s'")
            row = other.execute("SELECT result FROM postern.credential_take_at(%s, %s, 1, 1, to_timestamp(%s))",
                                (who.account, who.id, NOW)).fetchone()
            assert row == (3,)
