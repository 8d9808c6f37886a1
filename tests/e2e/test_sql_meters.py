# SPDX-License-Identifier: ISC
"""Takes in batches: every kind of limit, every subject, and what the administrator sets and sees.

Long: one rule after the other, with the same helpers; read by name.
"""
import glob
import os
import random
import threading
from collections import namedtuple

import psycopg
import pytest
from psycopg import errors

import pg
from test_sql import DAY, HOUR, NOW, db, in_thread, one, wait_until_blocked  # noqa: F401
from test_sql_credentials import add, number
from test_sql_quota import run_writers, worst_window

MONTH = 30 * DAY
Row = namedtuple("Row", "number result meter limit used reset receipt warned")
TAKES = "SELECT * FROM postern.takes_at(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s))"


def takes(db, elements, at, node=0, seq=0):
    """elements: dicts of account and, unless told, one message to one recipient of no octets."""
    def column(name, default):
        return [element.get(name, default) for element in elements]
    hashes = column("hashes", [])
    values = (node, seq, column("account", None), column("credential", 0), column("domain", ""),
              column("messages", 1), column("recipients", 1), column("bytes", 0),
              [len(one_of) for one_of in hashes], [h for one_of in hashes for h in one_of])
    return [Row(*row) for row in db.owner.execute(TAKES, (*values, at)).fetchall()]


def take(db, account, at=NOW, **element):
    return takes(db, [{"account": account, **element}], at)[0]


def give_back(db, receipt, messages=1, recipients=1, octets=0, hashes=()):
    return db.service.execute("SELECT returned FROM postern.takes_give_back(%s, %s, %s, %s, %s, %s)",
                              ([receipt], [messages], [recipients], [octets], [len(hashes)],
                               list(hashes))).fetchone()[0]


def fresh(db, what):
    db.count += 1
    return f"{what}{db.count}"


def account_of(db, limits="{}", plan=None, tenant=None):
    account = db.account(limits)
    if plan is not None:
        db.admin.execute("SELECT postern.account_set_plan(%s, %s)", (db.login(account), plan))
    if tenant is not None:
        db.admin.execute("SELECT postern.account_set_tenant(%s, %s)", (db.login(account), tenant))
    return account


def plan_of(db, settings):
    name = fresh(db, "plan")
    db.admin.execute("SELECT postern.plan_add(%s, %s)", (name, settings))
    return name


def tenant_of(db, settings):
    name = fresh(db, "tenant")
    db.admin.execute("SELECT postern.tenant_set(%s, %s)", (name, settings))
    return name


def meters(db):
    return one(db.owner, "SELECT count(*) FROM postern.meter WHERE scope > 1")


def shown(db, account):
    rows = db.admin.execute("SELECT * FROM postern.limits_show(%s)", (db.login(account),)).fetchall()
    return {(row[0], row[1]): row for row in rows}


# ---------------------------------------------------------------------- windows
@pytest.mark.parametrize("quantity, element, label", [
    ("messages", {"messages": 5}, "messages"), ("recipients", {"recipients": 5}, "recipients"),
    ("bytes", {"bytes": 5}, "octets"), ("new_recipients", {"hashes": [1, 2, 3, 4, 5]}, "new recipients"),
])
@pytest.mark.parametrize("unit, window, slot", [("hour", HOUR, 150), ("day", DAY, 1800), ("month", MONTH, 43200)])
def test_the_edges_of_every_window(db, quantity, element, label, unit, window, slot):
    start = NOW // 43200 * 43200
    for offset in (0, 1, slot - 1):
        account = db.account('{"%s_%s": 5}' % (quantity, unit))
        taken = start + 7 * slot + offset
        assert take(db, account, taken, **element).result == 0
        again = dict(element, hashes=[h + 10 for h in element["hashes"]]) if "hashes" in element else element
        for later in (taken, taken + window - 1, taken + window, start + 8 * slot + window - 1):
            got = take(db, account, later, **again)
            assert got[1:6] == (1, f"{label} per {unit}", 5, 5, start + 8 * slot + window), (offset, later - taken)
        assert take(db, account, start + 8 * slot + window, **again).result == 0


@pytest.mark.parametrize("unit, window", [("hour", HOUR), ("day", DAY), ("month", MONTH)])
def test_distinct_recipients_count_until_they_leave_the_window(db, unit, window):
    account = db.account('{"distinct_%s": 3}' % unit)
    assert take(db, account, NOW, hashes=[1, 2, 3], recipients=3).result == 0
    assert take(db, account, NOW + window, hashes=[3, 2, 1], recipients=3).result == 0
    got = take(db, account, NOW + window + 149, hashes=[1, 4], recipients=2)
    assert got[1:6] == (1, f"distinct recipients per {unit}", 3, 3, NOW + window + 150 + window)
    assert take(db, account, got.reset - 1, hashes=[1, 4]).result == 1
    assert take(db, account, got.reset, hashes=[1, 4]).result == 0
    assert take(db, account, got.reset, hashes=[5, 6, 7, 8]).result == 2


def test_the_octets_of_a_month_hold_more_than_an_int(db):
    account = db.account('{"bytes_month": 1000000000000000}')
    for _ in range(10):
        assert take(db, account, bytes=10 ** 14).result == 0
    assert take(db, account, bytes=1)[1:5] == (1, "octets per month", 10 ** 15, 10 ** 15)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_window_of_the_month_holds_more_than_its_limit(db, seed):
    rng, account, at, granted = random.Random(seed), db.account('{"messages_month": 20, "bytes_day": 40}'), NOW, []
    octets = []
    for _ in range(300):
        at += rng.choice((0, 1, 1800, 43200, MONTH // 8))
        n, size = rng.choice((1, 2, 5)), rng.choice((1, 10))
        if take(db, account, at, messages=n, bytes=size).result == 0:
            granted.append((at, n))
            octets.append((at, size))
    assert 15 < worst_window(granted, MONTH) <= 20
    assert worst_window(octets, DAY) <= 40


def test_a_row_adds_a_meter(db):
    with db.connect(pg.USER) as owner, owner.transaction(force_rollback=True):
        account = db.account()
        old = take(db, account)
        owner.execute("INSERT INTO postern.limit_kind VALUES (21, 'messages_week', 'messages per week', 'messages',"
                      " 604800, 56, 10800, 541)")
        owner.execute("SELECT postern.limits_set(%s, '{\"messages_week\": 3}')", (db.login(account),))

        def at(moment, messages=1):
            return Row(*owner.execute(TAKES, (0, 0, [account], [0], [""], [messages], [1], [0], [0], [],
                                              moment)).fetchone())
        assert old.result == 0
        later = NOW + 10800  # it begins to count with the next slot of the shortest
        assert [at(later).result for _ in range(3)] == [0, 0, 0]
        assert at(later)[1:4] == (1, "messages per week", 3)
        assert at(later)[5] == (later // 10800 + 57) * 10800
        assert at((later // 10800 + 57) * 10800).result == 0
        rows = owner.execute("SELECT name, used FROM postern.limits_show(%s)", (db.login(account),)).fetchall()
        assert "messages_week" in dict(rows)


# --------------------------------------------------------------- plans, exceeding
def test_overrides_and_the_plan(db):
    plan = plan_of(db, '{"messages_hour": 2, "messages_day": 4}')
    account = account_of(db, plan=plan)
    assert [take(db, account).result for _ in range(3)] == [0, 0, 1]
    login = db.login(account)
    db.admin.execute("SELECT postern.limits_set(%s, '{\"messages_hour\": \"unlimited\"}')", (login,))
    assert [take(db, account)[1:3] for _ in range(3)] == [(0, None), (0, None), (1, "messages per day")]
    assert shown(db, account)["account", "messages_hour"][3:5] == (-1, "own")
    assert shown(db, account)["account", "messages_day"][3:5] == (4, f"plan {plan}")
    db.admin.execute("SELECT postern.limits_set(%s, '{\"messages_hour\": null}')", (login,))
    db.admin.execute("SELECT postern.plan_set(%s, '{\"messages_hour\": 5, \"messages_day\": null}')", (plan,))
    assert [take(db, account)[1:3] for _ in range(2)] == [(0, None), (1, "messages per hour")]


def test_defer_reject_and_never(db):
    for exceed, result in (("defer", 1), ("reject", 4)):
        account = account_of(db, plan=plan_of(db, '{"messages_hour": 2, "on_exceed": "%s"}' % exceed))
        assert take(db, account, messages=3)[1:6] == (2, "messages per hour", 2, 0, 0)
        assert take(db, account, messages=2).result == 0
        assert take(db, account)[1:6] == (result, "messages per hour", 2, 2, NOW + 150 + HOUR)
        assert shown(db, account)["account", "messages_hour"][8] == exceed


def test_a_line_of_warning_is_told_once(db):
    account = account_of(db, plan=plan_of(db, '{"messages_hour": 10, "warn_percent": 80}'))
    told = [take(db, account) for _ in range(11)]
    assert [row.result for row in told] == [0] * 10 + [1]
    assert [row.number for row in told if row.warned] == [1]
    assert told[7][2:5] == (None, 10, 8) and told[7].warned == "messages per hour"
    for _ in range(2):  # and in a batch, to the element that crosses it
        account = account_of(db, plan=plan_of(db, '{"messages_hour": 10, "warn_percent": 50}'))
        rows = takes(db, [{"account": account, "messages": 2}] * 4, NOW)
        assert [row.warned for row in rows] == [None, None, "messages per hour", None]


def test_a_top_up_takes_octets_alone(db):
    account = db.account('{"messages_hour": 1, "recipients_hour": 1, "bytes_hour": 100}')
    first = take(db, account, bytes=60)
    assert first.result == 0
    assert take(db, account, messages=0, recipients=0, bytes=41)[1:5] == (1, "octets per hour", 100, 60)
    more = take(db, account, messages=0, recipients=0, bytes=40)
    assert more.result == 0
    assert give_back(db, first.receipt, octets=60) and give_back(db, more.receipt, 0, 0, 40)
    assert take(db, account, bytes=100).result == 0


# ---------------------------------------------------------------------- subjects
def test_unlimited_costs_no_row(db):
    before = meters(db)
    tenant = tenant_of(db, '{}')
    account = account_of(db, '{"messages_hour": "unlimited"}', tenant=tenant)
    public = add(db, db.login(account))
    db.admin.execute("SELECT postern.domain_set('roomy.test', '{\"messages_day\": \"unlimited\"}')")
    assert take(db, account, credential=number(public), domain="roomy.test").receipt.count(":") == 1
    assert meters(db) == before
    db.admin.execute("SELECT postern.domain_del('roomy.test')")


def test_a_tenant_and_its_parents_share_their_limits(db):
    top = tenant_of(db, '{"messages_hour": 5}')
    middle = tenant_of(db, '{"parent": "%s"}' % top)
    low = tenant_of(db, '{"parent": "%s", "messages_hour": 3}' % middle)
    first, second, third = (account_of(db, tenant=name) for name in (low, low, middle))
    assert [take(db, account).result for account in (first, second, first)] == [0, 0, 0]
    assert take(db, second)[1:4] == (1, f"messages per hour of the tenant {low}", 3)
    assert [take(db, third).result for _ in range(2)] == [0, 0]
    assert take(db, third)[1:4] == (1, f"messages per hour of the tenant {top}", 5)
    assert shown(db, first)[f"tenant {top}", "messages_hour"][5] == 5
    assert (f"tenant {middle}", "messages_hour") not in shown(db, first)


def test_a_refusal_by_one_subject_charges_none(db):
    tenant = tenant_of(db, '{"recipients_day": 3}')
    account = account_of(db, tenant=tenant)
    assert take(db, account, recipients=4).result == 2
    assert take(db, account, recipients=2).result == 0
    for _ in range(3):
        assert take(db, account, recipients=2).result == 1
    rows = shown(db, account)
    assert rows["account", "messages_day"][5] == 1 and rows["account", "recipients_day"][5] == 2


def test_a_domain_limits_whoever_sends_as_it(db):
    db.admin.execute("SELECT postern.domain_set('Example.NET', '{\"messages_hour\": 2}')")
    first, second = db.account(), db.account()
    assert take(db, first, domain="EXAMPLE.net").result == 0
    assert take(db, second, domain="example.net").result == 0
    assert take(db, first, domain="example.net")[1:4] == (1, "messages per hour of the domain example.net", 2)
    # The null sender has the login's domain, or none.
    assert take(db, first, domain="").result == 0
    assert take(db, first, domain="sub.example.net").result == 0
    db.admin.execute("SELECT postern.sender_add(%s, '@example.net')", (db.login(first),))
    assert shown(db, first)["domain example.net", "messages_hour"][3:6] == (2, "own", 2)
    assert one(db.admin, "SELECT postern.domain_del('example.net')")
    assert take(db, first, domain="example.net").result == 0


def test_a_meters_name_is_at_most_48_octets(db):
    long_name = "a" * 60 + ".test"
    db.admin.execute("SELECT postern.domain_set(%s, '{\"messages_hour\": 0}')", (long_name,))
    told = take(db, db.account(), domain=long_name).meter
    assert told == ("messages per hour of the domain " + long_name)[:48]
    db.admin.execute("SELECT postern.domain_del(%s)", (long_name,))
    assert len(one(db.owner, "SELECT postern.meter_name(label, 2, NULL) FROM postern.limit_kind"
                             " ORDER BY octet_length(label) DESC LIMIT 1")) == 48


def test_status_is_read_anew(db):
    top = tenant_of(db, '{}')
    tenant = tenant_of(db, '{"parent": "%s"}' % top)
    account = account_of(db, tenant=tenant)
    login, public = db.login(account), add(db, db.login(account))
    changes = [
        ("SELECT postern.account_set_enabled(%s, false)", "SELECT postern.account_set_enabled(%s, true)", login),
        ("SELECT postern.block_add(%s, 1000)", "SELECT postern.block_del(%s)", login),
        ("SELECT postern.tenant_set(%s, '{\"enabled\": false}')",
         "SELECT postern.tenant_set(%s, '{\"enabled\": true}')", top),
        ("SELECT postern.credential_revoke(%s)", None, public),
    ]
    for change, back, of in changes:
        call = "SELECT result FROM postern.takes(0, 0, %s, %s, '{\"\"}', '{1}', '{1}', '{0}', '{0}', '{}')"
        assert one(db.service, call, [account], [number(public)]) == 0
        db.admin.execute(change, (of,))
        assert one(db.service, call, [account], [number(public)]) == 3, change
        if back:
            db.admin.execute(back, (of,))
    assert take(db, 2 ** 60).result == 3
    assert one(db.service, "SELECT enabled FROM postern.account_lookup(%s)", login)
    db.admin.execute(changes[2][0], (top,))
    assert not one(db.service, "SELECT enabled FROM postern.account_lookup(%s)", login)


# -------------------------------------------------------------------- recipients
def test_new_recipients_are_counted_once(db):
    account = db.account('{"new_recipients_day": 3}')
    first = take(db, account, hashes=[1, 2], recipients=2)
    assert first.result == 0
    assert take(db, account, hashes=[1, 2, 3, 1], recipients=4).result == 0
    assert take(db, account, hashes=[4])[1:5] == (1, "new recipients per day", 3, 3)
    assert take(db, account, hashes=[3, 2, 1]).result == 0
    assert take(db, account, NOW + 3 * DAY, hashes=[1, 4, 5, 6]).result == 0
    assert take(db, account, NOW + 3 * DAY, hashes=[7]).result == 1


def test_recipients_given_back_are_new_again(db):
    account = db.account('{"new_recipients_day": 2, "distinct_day": 2}')
    got = take(db, account, hashes=[1, 2], recipients=2)
    assert take(db, account, hashes=[3]).result == 1
    assert give_back(db, got.receipt, 1, 2, 0, [1, 2])
    second = take(db, account, hashes=[3, 1], recipients=2)
    assert second.result == 0
    third = take(db, account, NOW + 200, hashes=[1])
    assert third.result == 0
    # Used once more since: it stays known, and counted.
    assert give_back(db, second.receipt, 1, 2, 0, [3, 1])
    assert take(db, account, NOW + 200, hashes=[4])[1:5] == (0, None, None, None)
    assert take(db, account, NOW + 200, hashes=[5]).result == 1


def test_a_message_coalesced_with_others_is_given_back_by_itself(db):
    account = db.account('{"messages_hour": 3, "distinct_hour": 3}')
    got = take(db, account, messages=3, recipients=4, hashes=[1, 2, 3, 1])
    assert give_back(db, got.receipt, 1, 1, 0, [1])
    assert take(db, account, hashes=[4]).result == 1
    assert give_back(db, got.receipt, 1, 1, 0, [1])
    assert take(db, account, hashes=[4]).result == 0


def test_recipients_that_nobody_named_are_all_others(db):
    account = db.account('{"distinct_hour": 3, "new_recipients_hour": 5}')
    assert take(db, account, recipients=2).result == 0
    assert take(db, account, recipients=2)[1:3] == (1, "distinct recipients per hour")
    assert take(db, account, hashes=[1]).result == 0


def test_recipients_cost_nothing_where_nobody_limits_them(db):
    account = db.account()
    before = one(db.owner, "SELECT count(*) FROM postern.recipient")
    assert take(db, account, hashes=[1, 2, 3]).result == 0
    assert one(db.owner, "SELECT count(*) FROM postern.recipient") == before


# ----------------------------------------------------------------------- batches
def test_a_batch_is_decided_in_the_order_of_its_elements(db):
    small, large = db.account('{"messages_hour": 3}'), db.account('{"messages_hour": 100}')
    rows = takes(db, [{"account": small, "messages": 2}, {"account": large}, {"account": small, "messages": 2},
                      {"account": 2 ** 60}, {"account": small}, {"account": small}], NOW, 1, 1)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.result for row in rows] == [0, 0, 1, 3, 0, 1]
    assert [row.receipt is not None for row in rows] == [True, True, False, False, True, False]
    assert rows[2].used == 2 and rows[5].used == 3
    assert all(len(row.receipt) <= 255 for row in rows if row.receipt)


def test_batches_and_single_takes_decide_alike(db):
    """The same takes one by one and in batches, against twins: the same results."""
    rng = random.Random(5)
    limits = '{"messages_hour": 6, "recipients_day": 30, "bytes_hour": 60, "distinct_day": 9}'
    twins = []
    for _ in range(2):
        tenant = tenant_of(db, '{"messages_hour": 15}')
        twins.append([account_of(db, limits, tenant=tenant) for _ in range(4)])
    at = NOW
    for _ in range(40):
        at += rng.choice((1, 200, 900))
        wanted = [(rng.randrange(4), {"messages": rng.randrange(3), "recipients": rng.randrange(5),
                                      "bytes": rng.randrange(20), "hashes": [rng.randrange(12)]})
                  for _ in range(rng.randrange(1, 6))]
        together = takes(db, [{"account": twins[0][i], **element} for i, element in wanted], at)
        alone = [take(db, twins[1][i], at, **element) for i, element in wanted]
        assert [row.result for row in together] == [row.result for row in alone]
        assert [row.used for row in together] == [row.used for row in alone]


@pytest.mark.parametrize("change", [
    {"accounts": [1, 2]}, {"accounts": [None]}, {"credentials": []}, {"domains": []}, {"messages": [-1]},
    {"messages": [None]}, {"messages": [1000001]}, {"recipients": [-1]}, {"bytes": [-1]}, {"bytes": [10 ** 15 + 1]},
    {"hash_counts": [1]}, {"hash_counts": [-1]}, {"hashes": [1]}, {"hashes": None}, {"accounts": None}])
def test_what_is_no_batch_is_refused(db, change):
    values = {"node": 1, "seq": 1, "accounts": [1], "credentials": [0], "domains": [""], "messages": [1],
              "recipients": [1], "bytes": [0], "hash_counts": [0], "hashes": [], **change}
    with pytest.raises(errors.InvalidParameterValue):
        db.service.execute("SELECT * FROM postern.takes(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", list(values.values()))


# --------------------------------------------------------------------- give-back
def test_give_back_credits_every_subject_that_was_charged(db):
    tenant = tenant_of(db, '{"messages_hour": 1}')
    account = account_of(db, '{"messages_hour": 1}', tenant=tenant)
    public = add(db, db.login(account), messages_hour=1)
    db.admin.execute("SELECT postern.domain_set('back.test', '{\"messages_hour\": 1}')")
    for later in (0, 1000, 5000):
        got = take(db, account, NOW, credential=number(public), domain="back.test")
        assert got.result == 0 and got.receipt.count(":") == 4
        if later:
            assert take(db, account, NOW + later, messages=0).result == 0  # turns the account's alone
        assert give_back(db, got.receipt)
        got = take(db, account, NOW + later, credential=number(public), domain="back.test")
        assert got.result == 0
        assert give_back(db, got.receipt)
        db.owner.execute("DELETE FROM postern.meter")
    db.admin.execute("SELECT postern.domain_del('back.test')")


@pytest.mark.parametrize("public", ["7" * 12, "a" * 11 + "b"], ids=["the greatest id", "the least"])
def test_give_back_by_a_credential_of_any_id(db, public):
    account = account_of(db)
    add(db, db.login(account), public_id=public, messages_hour=1)
    got = take(db, account, NOW, credential=number(public))
    assert got.result == 0 and f" 2:{number(public)}" in got.receipt
    assert take(db, account, NOW, credential=number(public)).result == 1
    assert give_back(db, got.receipt)
    assert take(db, account, NOW, credential=number(public)).result == 0


def test_give_back_never_mints(db):
    """A limit set between the take and its give-back: whoever was not charged is not credited."""
    tenant = tenant_of(db, '{}')
    first, second = account_of(db, tenant=tenant), account_of(db, tenant=tenant)
    got = take(db, first)
    db.admin.execute("SELECT postern.tenant_set(%s, '{\"messages_hour\": 2}')", (tenant,))
    assert [take(db, second).result for _ in range(3)] == [0, 0, 1]
    assert give_back(db, got.receipt)
    assert take(db, second).result == 1
    assert give_back(db, got.receipt, 100, 100, 100) is True
    assert take(db, second).result == 1
    rows = shown(db, first)
    assert rows["account", "messages_hour"][5] == 0


@pytest.mark.parametrize("receipt", ["", "x", "12000000", "12000000 5:1", "12000000 1:-1", "12000000 1:1,1:2", None,
                                     "12000000 1:1; DROP", "9999999999 1:1", "12000000 1:" + "9" * 19])
def test_what_is_no_receipt_is_refused(db, receipt):
    with pytest.raises(errors.InvalidParameterValue):
        give_back(db, receipt)


# ------------------------------------------------------------------- concurrency
@pytest.mark.threat("F04")
def test_saturating_nodes_grant_the_limits_exactly(db):
    """Four connections with overlapping batches and leases against a tenant: 500 are granted, no deadlock."""
    tenant = tenant_of(db, '{"messages_hour": 500}')
    accounts = [account_of(db, '{"messages_hour": 200}', tenant=tenant) for _ in range(6)]
    counter, lock = iter(range(1, 5)), threading.Lock()

    def work(connection, results, rng):
        with lock:
            node = 100 + next(counter)
        for seq in range(1, 120):
            if seq % 4 == 0:
                row = connection.execute(
                    "SELECT lease, messages FROM postern.lease_take(%s, %s, %s, 0, '', 1, 1, 0, 20, 20, 0, 30)",
                    (node, seq, rng.choice(accounts))).fetchone()
                results.append(row[1])
                if row[0] and rng.random() < 0.5:
                    unused = rng.randrange(row[1])
                    back = connection.execute("SELECT returned FROM postern.lease_return(%s, %s, %s, '{0}')",
                                              ([row[0]], [unused], [unused])).fetchone()[0]
                    results.append(-unused if back else 0)
            else:
                batch = rng.sample(accounts, rng.randrange(1, 6))
                n = len(batch)
                rows = connection.execute(
                    "SELECT result, receipt FROM postern.takes(%s, %s, %s, %s, %s, %s, %s, %s, %s, '{}')",
                    (node, seq, batch, [0] * n, [""] * n, [1] * n, [1] * n, [0] * n, [0] * n)).fetchall()
                granted = [row[1] for row in rows if row[0] == 0]
                results.append(len(granted))
                if granted and rng.random() < 0.2:
                    n = len(granted)
                    connection.execute("SELECT * FROM postern.takes_give_back(%s, %s, %s, %s, %s, '{}')",
                                       (granted, [1] * n, [1] * n, [0] * n, [0] * n))
                    results.append(-n)
    granted = run_writers(db, "postern_service", 4, work)
    assert sum(granted) == 500
    rows = shown(db, accounts[0])
    assert rows[f"tenant {tenant}", "messages_hour"][5] == 500


def test_first_takes_of_overlapping_batches_meet_no_deadlock(db):
    for _ in range(5):
        accounts = [db.account('{"messages_hour": 100}') for _ in range(12)]

        def work(connection, results, rng, accounts=accounts):
            for _ in range(6):
                batch = rng.sample(accounts, 8)
                rows = connection.execute("SELECT result FROM postern.takes(0, 0, %s, %s, %s, %s, %s, %s, %s, '{}')",
                                          (batch, [0] * 8, [""] * 8, [1] * 8, [1] * 8, [0] * 8, [0] * 8)).fetchall()
                results += [row[0] for row in rows]
        assert run_writers(db, "postern_service", 4, work) == [0] * 192
        used = [shown(db, account)["account", "messages_hour"][5] for account in accounts]
        assert sum(used) == 192


def test_a_batch_locks_its_meters_in_order(db):
    """While the second of three is held by somebody else, a batch waits with the first locked and not the third."""
    accounts = sorted(db.account() for _ in range(3))
    call = ("SELECT result FROM postern.takes(0, 0, %s, '{0,0,0}', '{\"\",\"\",\"\"}', '{1,1,1}', '{1,1,1}', '{0,0,0}',"
            " '{0,0,0}', '{}')")
    db.service.execute(call, (accounts,))
    lock = "SELECT id FROM postern.meter WHERE scope = 1 AND id = %s FOR UPDATE SKIP LOCKED"
    for order in (accounts, accounts[::-1], accounts[1:] + accounts[:1]):
        with db.connect(pg.USER) as holder, db.connect("postern_service") as batch:
            with holder.transaction():
                holder.execute(lock, (accounts[1],))
                join = in_thread(lambda order=order, batch=batch: batch.execute(call, (order,)).fetchall())
                wait_until_blocked(db, holder)
                assert db.owner.execute(lock, (accounts[0],)).fetchall() == []
                assert db.owner.execute(lock, (accounts[2],)).fetchall() == [(accounts[2],)]
            assert join() == [(0,)] * 3


def test_limits_that_change_meanwhile_are_never_exceeded(db):
    account = db.account('{"messages_hour": 10}')
    login = db.login(account)

    def work(connection, results, rng):
        for _ in range(40):
            if rng.random() < 0.1:
                db_limit = rng.choice((5, 10, 15))
                with db.connect("postern_admin") as admin:
                    admin.execute("SELECT postern.limits_set(%s, %s)", (login, '{"messages_hour": %d}' % db_limit))
            row = connection.execute("SELECT result FROM postern.takes(0, 0, %s, '{0}', '{\"\"}', '{1}', '{1}', '{0}',"
                                     " '{0}', '{}')", ([account],)).fetchone()
            results.append(row[0])
    results = run_writers(db, "postern_service", 4, work)
    assert results.count(0) <= 15


# ------------------------------------------------------------------------ admin
@pytest.mark.parametrize("settings", [
    '{"messages_hour": -1}', '{"messages_hour": 1e16}', '{"messages_year": 1}', '{"on_exceed": "drop"}',
    '{"warn_percent": 0}', '{"warn_percent": 101}', '{"warn_percent": "80"}', '{"warn_percent": 80.5}',
    '{"grace": {"messages_hour": "unlimited"}}', '{"grace": {"sessions": 1}}', '{"grace": {"x": 1}}',
    '{"grace": 5}', '[]', 'null', '{"message_bytes": 0}'])
def test_what_is_no_plan_is_refused(db, settings):
    before = db.admin.execute("SELECT * FROM postern.plan_list()").fetchall()
    with pytest.raises(errors.InvalidParameterValue):
        db.admin.execute("SELECT postern.plan_set('bad', %s)", (settings,))
    assert db.admin.execute("SELECT * FROM postern.plan_list()").fetchall() == before


def test_an_unknown_limit_is_told_with_those_that_there_are(db):
    with pytest.raises(errors.InvalidParameterValue, match='there is no limit "mesages_hour"') as failure:
        db.admin.execute("SELECT postern.limits_set(%s, '{\"mesages_hour\": 1}')", (db.login(db.account()),))
    assert "messages_hour, messages_day" in failure.value.diag.message_hint


@pytest.mark.parametrize("call, error", [
    ("tenant_set('UPPER', '{}')", errors.InvalidParameterValue),
    ("tenant_set('t-bad', '{\"sessions\": 3}')", errors.InvalidParameterValue),
    ("tenant_set('t-bad', '{\"plan\": \"nosuch\"}')", errors.UndefinedObject),
    ("tenant_set('t-bad', '{\"parent\": \"nosuch\"}')", errors.UndefinedObject),
    ("tenant_set('t-bad', '{\"parent\": \"t-bad\"}')", errors.InvalidParameterValue),
    ("tenant_set('t-bad', '{\"enabled\": 1}')", errors.InvalidParameterValue),
    ("tenant_del('nosuch')", errors.UndefinedObject),
    ("account_set_tenant('nobody@example.test', NULL)", errors.NoDataFound),
    ("domain_set('no domain', '{}')", errors.InvalidParameterValue),
    ("domain_set('a@b.test', '{}')", errors.InvalidParameterValue),
    ("domain_set('b.test', '{\"message_bytes\": 3}')", errors.InvalidParameterValue),
    ("plan_add('default', '{}')", errors.UniqueViolation),
])
def test_what_the_administrator_cannot_do(db, call, error):
    with pytest.raises(error):
        db.admin.execute(f"SELECT postern.{call}")
    assert one(db.owner, "SELECT count(*) FROM postern.tenant WHERE name = 't-bad'") == 0


def test_tenants_are_nested_eight_deep_and_in_no_circle(db):
    chain = [tenant_of(db, '{}')]
    for _ in range(7):
        chain.append(tenant_of(db, '{"parent": "%s"}' % chain[-1]))
    for name, parent in ((fresh(db, "deep"), chain[-1]), (chain[0], chain[3])):
        with pytest.raises(errors.InvalidParameterValue, match="deeper than eight"):
            db.admin.execute("SELECT postern.tenant_set(%s, %s)", (name, '{"parent": "%s"}' % parent))
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        db.admin.execute("SELECT postern.tenant_del(%s)", (chain[3],))
    db.admin.execute("SELECT postern.tenant_del(%s)", (chain[-1],))


def test_lists_tell_what_was_set(db):
    plan = plan_of(db, '{"messages_hour": 7, "sessions": 3, "on_exceed": "reject", "warn_percent": 90,'
                       ' "grace": {"messages_hour": 20}}')
    tenant = tenant_of(db, '{"plan": "%s", "bytes_day": 5, "messages_day": "unlimited"}' % plan)
    account_of(db, plan=plan, tenant=tenant)
    plans = {row[0]: row[1:] for row in db.admin.execute("SELECT * FROM postern.plan_list()")}
    assert plans[plan] == (1, {"messages_hour": 7, "sessions": 3, "on_exceed": "reject", "warn_percent": 90,
                               "grace": {"messages_hour": 20}})
    tenants = {row[0]: row[1:] for row in db.admin.execute("SELECT * FROM postern.tenant_list()")}
    assert tenants[tenant] == (None, plan, True, 1, {"bytes_day": 5, "messages_day": "unlimited"})
    db.admin.execute("SELECT postern.domain_set('listed.test', %s)", ('{"plan": "%s"}' % plan,))
    assert ("listed.test", plan, {}) in db.admin.execute("SELECT * FROM postern.domain_list()").fetchall()
    assert one(db.admin, "SELECT postern.domain_del('listed.test')") is True
    assert one(db.admin, "SELECT postern.domain_del('listed.test')") is False


def test_the_audit_shows_limits_by_name(db):
    account = db.account('{"messages_hour": 3}')
    db.admin.execute("SELECT postern.limits_set(%s, '{\"messages_hour\": null, \"sessions\": 4}')", (db.login(account),))
    tenant = tenant_of(db, '{"bytes_day": 9}')
    rows = db.admin.execute("SELECT before, after FROM postern.audit_list(%s)", (db.login(account),)).fetchall()
    assert rows[0] == ({"messages_hour": 3, "sessions": None}, {"messages_hour": None, "sessions": 4})
    newest = db.admin.execute("SELECT object, after FROM postern.audit_list(NULL, NULL, NULL, NULL, NULL, 1)").fetchone()
    assert newest == ("tenant", {"name": tenant, "bytes_day": 9})


# ----------------------------------------------------------------- look-up, feed
def wanted(db, account):
    cursor = db.service.execute("SELECT * FROM postern.account_lookup(%s)", (db.login(account),))
    return dict(zip([column.name for column in cursor.description], cursor.fetchone()))


def test_the_look_up_tells_what_takes_need(db):
    plan = plan_of(db, '{"messages_hour": 5, "sessions": 3, "messages_minute": 7,'
                       ' "grace": {"messages_hour": 20}}')
    tenant = tenant_of(db, '{}')
    account = account_of(db, plan=plan, tenant=tenant)

    def told(*names):
        row = wanted(db, account)
        return tuple(row[name] for name in names)
    assert told("sessions", "burst_messages", "burst_recipients") == (3, 7, -1)
    assert told("grace_messages", "grace_recipients", "grace_bytes") == (20, -1, -1)
    assert told("wants_bytes", "wants_recipients", "leasable") == (False, False, True)
    version = told("version")
    db.admin.execute("SELECT postern.tenant_set(%s, '{\"bytes_day\": 5}')", (tenant,))
    assert told("wants_bytes", "grace_bytes", "leasable") == (True, 0, True)
    assert told("version") > version
    db.admin.execute("SELECT postern.domain_set('wants.test', '{\"distinct_day\": 5}')")
    assert told("wants_recipients", "grace_recipients", "leasable") == (True, 0, False)
    db.admin.execute("SELECT postern.domain_del('wants.test')")
    assert told("wants_recipients", "leasable") == (False, True)
    add(db, db.login(account), limits='{"new_recipients_day": 5}')
    assert told("wants_recipients", "leasable") == (True, False)


@pytest.mark.parametrize("change", [
    "SELECT postern.tenant_set('{tenant}', '{{\"messages_day\": 5}}')",
    "SELECT postern.tenant_set('{top}', '{{\"messages_day\": 5}}')",
    "SELECT postern.tenant_set('{tenant}', '{{\"parent\": null}}')",
    "SELECT postern.plan_set('{plan}', '{{\"messages_day\": 5}}')",
    "SELECT postern.account_set_tenant('{login}', NULL)",
    "SELECT postern.domain_set('feed.test', '{{\"messages_day\": 5}}')",
    "SELECT postern.domain_del('feed.test')",
])
def test_a_change_above_the_account_raises_its_version_and_is_fed(db, change):
    plan = plan_of(db, '{"messages_hour": 5}')
    top = tenant_of(db, '{"plan": "%s"}' % plan)
    tenant = tenant_of(db, '{"parent": "%s"}' % top)
    account = account_of(db, tenant=tenant)
    other = account_of(db)
    if "del" in change:
        db.admin.execute("SELECT postern.domain_set('feed.test', '{}')")
    version = wanted(db, account)["version"]
    cursor = one(db.service, "SELECT cursor FROM postern.changes_since(NULL)")
    db.admin.execute(change.format(plan=plan, top=top, tenant=tenant, login=db.login(account)))
    assert wanted(db, account)["version"] > version
    everything, accounts = db.service.execute("SELECT everything, accounts FROM postern.changes_since(%s)",
                                              (cursor,)).fetchone()
    assert everything or (account in accounts and other not in accounts)
    assert everything == ("domain" in change)


def test_versions_of_tenants_are_drawn_in_the_order_of_commits(db):
    plan = plan_of(db, '{"messages_hour": 5}')
    account = account_of(db, tenant=tenant_of(db, '{"plan": "%s"}' % plan))
    with db.connect("postern_admin") as first, db.connect("postern_admin") as second:
        second.execute("SET lock_timeout = '200ms'")
        with first.transaction():
            first.execute("SELECT postern.plan_set(%s, '{\"messages_hour\": 6}')", (plan,))
            with pytest.raises(errors.LockNotAvailable):
                second.execute("SELECT postern.account_set_enabled(%s, true)", (db.login(account),))


# ----------------------------------------------------------------- the migration
def test_what_the_release_before_counted_is_kept():
    """Limits and meters of a database of 0011, with takes in two slots, are the same after the migration."""
    server = pg.shared()
    name = server.create_database()
    files = sorted(glob.glob(os.path.join(pg.SQL, "[0-9][0-9][0-9][0-9]_*.sql")))

    def migrate(owner, when):
        for path in files:
            if when(os.path.basename(path)):
                with open(path, encoding="utf-8") as file, owner.transaction():
                    owner.execute(file.read())
    with psycopg.connect(server.dsn(name), autocommit=True) as owner:
        migrate(owner, lambda file: file < "0012")
        owner.execute("SELECT postern.account_add('old@example.test'), postern.account_add('none@example.test')")
        owner.execute("SELECT postern.limits_set('old@example.test', '{\"messages_hour\": 9, \"messages_day\": 12,"
                      " \"message_bytes\": 77}')")
        account = one(owner, "SELECT account_id FROM postern.account WHERE login = 'old@example.test'")
        owner.execute("SELECT postern.credential_add('old@example.test', 'abcdefghijkl', '00112233445566aa',"
                      " decode(repeat('00', 32), 'hex'), messages_hour => 4)")
        credential = number("abcdefghijkl")
        call = "SELECT postern.credential_take_at(%s, %s, %s, 1, to_timestamp(%s))"
        owner.execute("SELECT postern.quota_take_at(%s, 4, 1, to_timestamp(%s))", (account, NOW))
        owner.execute(call, (account, credential, 3, NOW + HOUR))
        versions = owner.execute("SELECT login, version FROM postern.account_lookup('old@example.test')").fetchall()
        migrate(owner, lambda file: file >= "0012")
        assert owner.execute("SELECT login, version FROM postern.account_lookup('old@example.test')").fetchall() == versions
        assert one(owner, "SELECT message_bytes FROM postern.account_lookup('old@example.test')") == 77
        assert one(owner, "SELECT recipients FROM postern.account_lookup('none@example.test')") == 100

        def taken(who, messages, at):
            return owner.execute("SELECT result, meter FROM postern.credential_take_at(%s, %s, %s, 1,"
                                 " to_timestamp(%s))", (account, who, messages, at)).fetchone()
        assert taken(credential, 2, NOW + HOUR) == (1, "messages per hour of this credential")
        assert taken(0, 3, NOW + HOUR) == (1, "messages per hour")
        assert taken(0, 2, NOW + HOUR) == (0, None)
        assert taken(0, 3, NOW + HOUR + 150) == (0, None)  # the first four left the hour
        assert taken(0, 1, NOW + HOUR + 150) == (1, "messages per day")
        assert taken(0, 4, NOW + DAY + 1800) == (0, None)
        assert one(owner, "SELECT postern.quota_give_back(%s, %s, 3, 0)", account, NOW + HOUR) is True
