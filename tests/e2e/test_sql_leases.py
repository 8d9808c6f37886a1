# SPDX-License-Identifier: ISC
"""What nodes hold: leases, sessions, charges after the fact, and what the reaper forgets."""
from collections import namedtuple

import pytest
from psycopg import errors

import pg
from test_sql import HOUR, NOW, db, one  # noqa: F401
from test_sql_meters import account_of, give_back, plan_of, shown, take, tenant_of
from test_sql_quota import run_writers

Lease = namedtuple("Lease", "result meter limit used reset receipt warned lease messages recipients bytes ttl")
LEASE = "SELECT * FROM postern.lease_take_at(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s))"
SEQ = iter(range(1, 10 ** 6))


@pytest.fixture(autouse=True)
def no_other_node(db):  # noqa: F811
    db.owner.execute("DELETE FROM postern.node")


def lease(db, account, at=NOW, need=(1, 1, 0), want=(20, 20, 0), ttl=30, node=7, domain=""):
    row = db.owner.execute(LEASE, (node, next(SEQ), account, 0, domain, *need, *want, ttl, at)).fetchone()
    return Lease(*row)


def give(db, one_of, messages, recipients=None, octets=0):
    return db.service.execute("SELECT returned FROM postern.lease_return(%s, %s, %s, %s)",
                              ([one_of], [messages], [messages if recipients is None else recipients],
                               [octets])).fetchone()[0]


def used(db, account, name="messages_hour"):
    """Of a meter, whatever the present time is."""
    quantity = name.split("_")[0]
    return one(db.owner, f"SELECT {quantity} FROM postern.meter WHERE scope = 1 AND id = %s", account)


# ----------------------------------------------------------------------- leases
def recorded(db, node):
    """The numbers of its batches that the database has."""
    return [row[0] for row in db.owner.execute("SELECT seq FROM postern.grant_batch WHERE node = %s ORDER BY 1", (node,))]


def test_a_lease_is_its_share_of_what_is_left(db):
    account = db.account('{"messages_hour": 100, "recipients_hour": 1000}')
    got = lease(db, account, want=(80, 90, 0))
    assert got[:2] == (0, None) and got.lease > 0
    assert (got.messages, got.recipients, got.bytes, got.ttl) == (50, 90, 0, 30)
    assert used(db, account) == 50
    assert lease(db, account, want=(80, 90, 0)).messages == 25
    for node in range(1, 6):
        assert one(db.service, "SELECT postern.node_alive(%s, 'node')", node) == node
    assert lease(db, account, want=(80, 90, 0)).messages == 2  # 25 left, of ten shares


def test_a_lease_is_never_less_than_the_need_nor_more_than_wanted(db):
    account = db.account('{"messages_hour": 30}')
    assert lease(db, account, need=(20, 1, 0), want=(25, 5, 0))[7:10] == (0, 20, 1)
    got = lease(db, account, need=(1, 1, 0), want=(2, 5, 0))
    assert (got.lease > 0, got.messages, got.recipients) == (True, 2, 5)
    assert lease(db, account, need=(9, 1, 0))[:5] == (1, "messages per hour", 30, 22, NOW + 150 + HOUR)
    assert lease(db, account, need=(31, 1, 0))[:2] == (2, "messages per hour")
    assert lease(db, 2 ** 60).result == 3
    assert lease(db, account, need=(8, 1, 0))[7:9] == (0, 8)


def test_unlimited_is_leased_as_wanted(db):
    account = account_of(db, plan=plan_of(db, "{}"))
    assert lease(db, account, want=(1000, 1000, 10 ** 9))[8:11] == (1000, 1000, 10 ** 9)


def test_a_lease_ends_with_its_slot(db):
    for before_end, ttl in ((150, 30), (31, 30), (30, 30), (12.5, 12), (1, 1), (0.5, 0)):
        account = db.account('{"messages_hour": 100}')
        got = lease(db, account, NOW + 150 - before_end)
        assert (got.ttl, got.lease > 0) == (ttl, ttl > 0), before_end
        assert got.receipt.split()[0] == str(NOW // 150)


def test_a_lease_is_charged_to_the_tenant_too(db):
    tenant = tenant_of(db, '{"messages_hour": 20}')
    first, second = account_of(db, tenant=tenant), account_of(db, tenant=tenant)
    got = lease(db, first)
    assert got.messages == 10
    assert lease(db, second).messages == 5
    assert take(db, second, messages=6)[1:3] == (1, f"messages per hour of the tenant {tenant}")
    assert give(db, got.lease, 9)
    assert take(db, second, messages=14).result == 0
    assert take(db, second).result == 1


def test_a_lease_is_returned_once(db):
    account = db.account('{"messages_hour": 100}')
    got = lease(db, account)
    assert give(db, got.lease, 15) is True
    assert used(db, account) == 5
    assert give(db, got.lease, 15) is False
    assert used(db, account) == 5
    assert give(db, 2 ** 60, 15) is False


def test_no_more_is_returned_than_was_leased(db):
    account = db.account('{"messages_hour": 100}')
    assert take(db, account, messages=10, recipients=10).result == 0
    assert give(db, lease(db, account).lease, 1000) is True
    assert (used(db, account), used(db, account, "recipients_hour")) == (10, 10)


def test_a_lease_is_returned_to_the_slot_that_it_was_charged_to(db):
    account = db.account('{"messages_hour": 40}')
    got = lease(db, account)
    assert take(db, account, NOW + 300, messages=20).result == 0
    assert give(db, got.lease, 20)
    assert take(db, account, NOW + HOUR + 150, messages=20).result == 0
    assert take(db, account, NOW + HOUR + 150, messages=1).result == 1


def test_a_lease_that_ended_counts_as_used(db):
    account = db.account('{"messages_hour": 100}')
    one_of, other = lease(db, account), lease(db, account)
    db.owner.execute("UPDATE postern.lease SET expires_at = clock_timestamp() - interval '11 s' WHERE lease_id = %s",
                     (one_of.lease,))
    db.owner.execute("UPDATE postern.lease SET expires_at = clock_timestamp() + interval '60 s' WHERE lease_id = %s",
                     (other.lease,))
    db.service.execute("SELECT postern.node_alive(7, 'node')")
    assert give(db, one_of.lease, 20) is False
    assert used(db, account) == 40
    assert give(db, other.lease, 20) is True
    assert used(db, account) == 20


@pytest.mark.parametrize("limits", ['{"new_recipients_hour": 50}', '{"distinct_hour": 50}'])
def test_who_limits_its_recipients_gets_the_need_alone(db, limits):
    account = db.account(limits)
    got = lease(db, account)
    assert (got.result, got.lease, got.messages, got.ttl) == (0, 0, 1, 0)


def test_a_lease_stays_below_a_line_of_warning_and_the_take_that_crosses_it_tells(db):
    account = account_of(db, plan=plan_of(db, '{"messages_hour": 100, "warn_percent": 50}'))
    taken, warned = 0, []
    for _ in range(60):
        got = lease(db, account, want=(100, 100, 0))
        taken += got.messages
        if got.warned:
            warned.append((taken, got.warned, got.lease))
        if taken > 60:
            break
    assert warned == [(50, "messages per hour", 0)]


@pytest.mark.parametrize("change", [{"need": (-1, 1, 0)}, {"need": (1, -1, 0)}, {"want": (1, 1, -1)}, {"ttl": 31},
                                    {"ttl": -1}, {"ttl": None}, {"account": None}, {"want": (10 ** 7, 1, 0)}])
def test_what_is_no_lease_is_refused(db, change):
    with pytest.raises(errors.InvalidParameterValue):
        lease(db, **{"account": db.account(), **change})
    with pytest.raises(errors.InvalidParameterValue):
        db.service.execute("SELECT * FROM postern.lease_return('{1}', '{-1}', '{0}', '{0}')")


# --------------------------------------------------------------------- charges
def charge(db, node, elements, at=NOW):
    """elements: (seq, receipt, account, messages)."""
    return one(db.owner, "SELECT postern.charges_at(%s, %s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s))", node,
               [e[0] for e in elements], [e[1] for e in elements], [e[2] for e in elements], [0] * len(elements),
               [""] * len(elements), [e[3] for e in elements], [1] * len(elements), [0] * len(elements), at)


def test_charges_go_above_the_limit_and_are_idempotent(db):
    tenant = tenant_of(db, '{"messages_hour": 4}')
    account = account_of(db, '{"messages_hour": 2}', tenant=tenant)
    node = 1000 + account
    assert charge(db, node, [(1, "", account, 3), (2, "", account, 2), (2, "", account, 1)]) == 3
    assert used(db, account) == 6
    assert charge(db, node, [(1, "", account, 3), (2, "", account, 2)]) == 0
    assert used(db, account) == 6
    assert charge(db, node, [(2, "", account, 3), (3, "", account, 1), (4, "", 2 ** 60, 1)]) == 1
    assert used(db, account) == 7
    assert take(db, account).result == 1
    assert recorded(db, node) == [1, 2, 3, 4]


def test_grants_that_a_new_server_does_not_know_are_asserted_again(db):
    account = db.account('{"messages_hour": 10}')
    node = 1000 + account
    kept = db.owner.execute("SELECT receipt FROM postern.takes_at(%s, 1, %s, '{0}', '{\"\"}', '{2}', '{2}', '{0}',"
                            " '{0}', '{}', to_timestamp(%s))", (node, [account], NOW)).fetchone()[0]
    lost = kept  # of another batch, that the server forgot
    assert recorded(db, node) == [1]
    assert charge(db, node, [(1, kept, account, 2), (2, lost, account, 3)], NOW + 300) == 1
    assert charge(db, node, [(1, kept, account, 2), (2, lost, account, 3)], NOW + 300) == 0
    assert take(db, account, NOW + 300, messages=6).result == 1
    assert take(db, account, NOW + 300, messages=5).result == 0
    # It counts in its own slot, and is given back there.
    assert take(db, account, NOW + HOUR + 150, messages=5).result == 0
    assert give_back(db, lost, 3, 2)


def test_a_charge_ahead_of_the_servers_clock_counts_now(db):
    account = db.account('{"messages_hour": 3}')
    receipt = f"{NOW // 150 + 4} 1:{account}"
    assert charge(db, 1000 + account, [(1, receipt, account, 3)]) == 1
    assert take(db, account).result == 1


def test_a_batch_is_never_taken_twice(db):
    account = db.account()
    call = "SELECT * FROM postern.takes(99, 5, %s, '{0}', '{\"\"}', '{1}', '{1}', '{0}', '{0}', '{}')"
    db.service.execute(call, ([account],))
    with pytest.raises(errors.UniqueViolation):
        db.service.execute(call, ([account],))
    assert used(db, account) == 1


def test_a_batch_of_which_nothing_was_granted_is_not_known(db):
    account = db.account('{"messages_hour": 0}')
    db.service.execute("SELECT * FROM postern.takes(98, 5, %s, '{0}', '{\"\"}', '{1}', '{1}', '{0}', '{0}', '{}')",
                       ([account],))
    assert recorded(db, 98) == []


def test_what_is_no_charge_is_refused(db):
    for arguments in (("{1}", '{"x"}', "{1}", "{1}"), ("{1}", '{""}', "{1}", "{-1}"), ("{1,2}", '{""}', "{1}", "{1}")):
        with pytest.raises(errors.InvalidParameterValue):
            db.service.execute("SELECT postern.charges(97, %s, %s, %s, '{0}', '{\"\"}', %s, '{1}', '{0}')", arguments)
    assert recorded(db, 97) == []


# -------------------------------------------------------------------- sessions
def hold(db, node, *accounts):
    """accounts: (account, count).  Whether each was granted."""
    rows = db.service.execute("SELECT * FROM postern.sessions_hold(%s, %s, %s) ORDER BY number",
                              (node, [a for a, _ in accounts], [n for _, n in accounts])).fetchall()
    return [row[1] for row in rows]


def test_sessions_are_held_over_all_nodes(db):
    account = db.account('{"sessions": 5}')
    assert hold(db, 1, (account, 3)) == [True]
    assert hold(db, 2, (account, 3)) == [False]
    assert hold(db, 2, (account, 2)) == [True]
    assert hold(db, 1, (account, 4)) == [False]
    assert hold(db, 1, (account, 3)) == [True]  # a renewal
    assert hold(db, 1, (account, 0)) == [True]
    assert hold(db, 2, (account, 5)) == [True]
    assert shown(db, account)["account", "sessions"][5] == 5
    db.admin.execute("SELECT postern.limits_set(%s, '{\"sessions\": 1}')", (db.login(account),))
    assert hold(db, 2, (account, 4)) == [True]  # fewer than before
    assert hold(db, 2, (account, 5)) == [False]


def test_a_hold_that_was_not_renewed_ends(db):
    account = db.account('{"sessions": 1}')
    assert hold(db, 1, (account, 1)) == [True]
    assert hold(db, 2, (account, 1)) == [False]
    left = one(db.owner, "SELECT expires_at - clock_timestamp() FROM postern.session_hold WHERE account_id = %s", account)
    assert 80 < left.total_seconds() <= 90
    db.owner.execute("UPDATE postern.session_hold SET expires_at = clock_timestamp() WHERE account_id = %s", (account,))
    assert hold(db, 2, (account, 1)) == [True]
    db.service.execute("SELECT postern.node_alive(2, 'two')")
    assert db.owner.execute("SELECT node FROM postern.session_hold WHERE account_id = %s", (account,)).fetchall() == [(2,)]


def test_sessions_without_a_limit_cost_no_row(db):
    account = db.account()
    assert hold(db, 1, (account, 1000), (2 ** 60, 1)) == [True, False]
    assert one(db.owner, "SELECT count(*) FROM postern.session_hold WHERE account_id = %s", account) == 0
    for counts in ("{-1}", "{1,2}", "{NULL}"):
        with pytest.raises(errors.InvalidParameterValue):
            db.service.execute("SELECT * FROM postern.sessions_hold(1, %s, %s)", ([account], counts))


def test_concurrent_holds_never_exceed(db):
    accounts = [db.account('{"sessions": 10}') for _ in range(3)]
    nodes = iter(range(201, 209))

    def work(connection, results, rng):
        node = next(nodes)
        for count in range(1, 8):
            for account in rng.sample(accounts, 3):
                row = connection.execute("SELECT granted FROM postern.sessions_hold(%s, %s, %s)",
                                         (node, [account], [count])).fetchone()
                results.append(row[0])
    results = run_writers(db, "postern_service", 8, work)
    assert False in results
    held = db.owner.execute("SELECT sum(sessions) FROM postern.session_hold WHERE account_id = ANY (%s)"
                            " GROUP BY account_id", (accounts,)).fetchall()
    assert held == [(10,)] * 3


# ----------------------------------------------------------------------- nodes
def test_nodes_that_are_silent_are_not_counted(db):
    assert one(db.service, "SELECT postern.node_alive(1, 'one')") == 1
    assert one(db.service, "SELECT postern.node_alive(2, 'two')") == 2
    db.owner.execute("UPDATE postern.node SET seen_at = seen_at - interval '31 s' WHERE node = 1")
    assert one(db.service, "SELECT postern.node_alive(2, 'two')") == 1


def test_what_is_old_is_reaped(db):
    account = db.account('{"distinct_day": 5}')
    db.owner.execute("INSERT INTO postern.grant_batch VALUES (55, 1, now() - interval '11 min'), (55, 2, now())")
    assert take(db, account, NOW - 3000 * 86400, hashes=[1]).result == 0
    db.service.execute("SELECT postern.node_alive(1, 'one')")
    assert recorded(db, 55) == [2]
    assert one(db.owner, "SELECT count(*) FROM postern.recipient WHERE id = %s", account) == 0


def test_reaping_waits_for_nobody(db):
    with db.connect(pg.USER) as other, other.transaction():
        other.execute("SELECT postern.nodes_reap()")
        db.owner.execute("INSERT INTO postern.grant_batch VALUES (56, 1, now() - interval '11 min')")
        assert one(db.service, "SELECT postern.node_alive(1, 'one')") == 1
        assert recorded(db, 56) == [1]
