# SPDX-License-Identifier: ISC
"""The books by themselves: batches that are put once, sums, partitions, retention, erasure, reports."""
import datetime
import itertools
import threading

import psycopg
import pytest
from psycopg import errors

import usage_rows
import pg
from usage_rows import message, put, refusal, refuse
from test_sql import Database, one

DAY_MS = 86400 * 1000
AT = 1_795_600_000_000  # 2026-11-25 09:46:40 UTC
seqs = itertools.count(1)
tids = itertools.count(1000)


@pytest.fixture(scope="module")
def db():
    database = Database(pg.shared())
    yield database
    database.close()


def sums(db, account):
    return db.owner.execute(
        "SELECT sum(messages)::int, sum(recipients)::int, sum(bytes)::int, sum(unknown)::int,"
        " sum(unknown_recipients)::int, sum(unknown_bytes)::int FROM postern.usage_day WHERE account_id = %s",
        (account,)).fetchone()


def events(db, account):
    return db.owner.execute("SELECT login, sender, host(client), recipients, bytes, state, queue_id"
                            " FROM postern.usage_event WHERE account_id = %s ORDER BY tid", (account,)).fetchall()


# ------------------------------------------------------------------------ batches
def test_a_batch_is_put_once(db):
    account = db.account()
    batch = [message(next(tids), account), message(next(tids), account, recipients=3, unknown=True, queue_id="")]
    seq = next(seqs)
    assert put(db.service, seq, batch) is True
    assert put(db.service, seq, batch) is False
    assert sums(db, account) == (2, 5, 2000, 1, 3, 1000)
    login = db.login(account)
    assert events(db, account) == [
        (login, "alice@example.test", "192.0.2.7", 2, 1000, "accepted", batch[0].queue_id),
        (login, "alice@example.test", "192.0.2.7", 3, 1000, "unknown", None)]


def test_the_same_number_of_another_boot_is_another_batch(db):
    account = db.account()
    seq = next(seqs)
    assert put(db.service, seq, [message(next(tids), account)])
    assert put(db.service, seq, [message(next(tids), account)], boot=2)
    assert sums(db, account)[0] == 2


def test_a_batch_that_fails_is_not_known(db):
    account = db.account()
    seq = next(seqs)
    with pytest.raises(errors.InvalidTextRepresentation):
        put(db.service, seq, [message(next(tids), account, client="nonsense")])
    assert events(db, account) == []
    assert put(db.service, seq, [message(next(tids), account)])


def test_an_empty_batch_is_known_too(db):
    seq = next(seqs)
    assert put(db.service, seq, []) is True
    assert put(db.service, seq, []) is False


def test_two_that_put_the_same_batch_at_once(db):
    """The second waits for the first, and adds nothing."""
    account = db.account()
    seq = next(seqs)
    batch = [message(next(tids), account)]
    answers = []
    with db.connect("postern_service") as first, db.connect("postern_service") as second:
        first.autocommit = False
        answers.append(put(first, seq, batch))
        other = threading.Thread(target=lambda: answers.append(put(second, seq, batch)))
        other.start()
        first.commit()
        other.join(10)
    assert answers == [True, False]
    assert sums(db, account)[0] == 1


def test_many_at_once_sum_exactly(db):
    """Four writers, the same accounts in other orders: no deadlock, nothing lost."""
    accounts = [db.account() for _ in range(10)]
    failures = []

    def write(number):
        try:
            with db.connect("postern_service") as connection:
                for i in range(10):
                    order = accounts[number:] + accounts[:number]
                    put(connection, 1000 * (number + 1) + i, [message(next(tids), a, bytes=7) for a in order], boot=9)
        except psycopg.Error as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not failures
    assert [sums(db, account)[:3] for account in accounts] == [(40, 80, 280)] * 10


def test_what_a_deleted_account_sent_is_billed_by_its_id(db):
    assert put(db.service, next(seqs), [message(next(tids), 999_999)])
    assert sums(db, 999_999)[:3] == (1, 2, 1000)
    assert events(db, 999_999)[0][:3] == (None, None, None)


def test_the_null_sender_and_no_client(db):
    account = db.account()
    put(db.service, next(seqs), [message(next(tids), account, sender="", client="", backend="")])
    assert events(db, account)[0][1:3] == ("", None)


def test_days_are_days_of_utc(db):
    account = db.account()
    midnight = AT - AT % DAY_MS
    with db.connect("postern_service") as connection:
        connection.execute("SET TimeZone = 'Pacific/Auckland'")
        put(connection, next(seqs), [message(next(tids), account, at=midnight - 1),
                                     message(next(tids), account, at=midnight)])
    days = db.owner.execute("SELECT day::text, messages FROM postern.usage_day WHERE account_id = %s ORDER BY 1",
                            (account,)).fetchall()
    assert days == [("2026-11-24", 1), ("2026-11-25", 1)]


@pytest.mark.parametrize("at", [0, -5, 9_000_000_000_000_000, AT - 3000 * DAY_MS])
def test_a_clock_that_is_wrong_holds_up_no_batch(db, at):
    account = db.account()
    fields = message(next(tids), account)._replace(accepted_ms=at, taken_ms=at)
    assert put(db.service, next(seqs), [fields])
    assert sums(db, account)[0] == 1
    one(db.service, "SELECT postern.usage_maintain()")
    assert one(db.owner, "SELECT count(*) FROM postern.usage_event_default WHERE account_id = %s", account) == 1


def test_the_tenant_is_that_of_the_time(db):
    account = db.account()
    login = db.login(account)
    db.admin.execute("SELECT postern.tenant_set('then', '{}'), postern.tenant_set('later', '{}')")
    db.admin.execute("SELECT postern.account_set_tenant(%s, 'then')", (login,))
    put(db.service, next(seqs), [message(next(tids), account)])
    db.admin.execute("SELECT postern.account_set_tenant(%s, 'later')", (login,))
    put(db.service, next(seqs), [message(next(tids), account), message(next(tids), account)])
    told = dict(db.admin.execute("SELECT name, messages FROM postern.usage_report('tenant')").fetchall())
    assert (told["then"], told["later"]) == (1, 2)


# --------------------------------------------------------------------- partitions
def partitions(db, parent):
    return {row[0] for row in db.owner.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = ('postern.' || %s)::regclass", (parent,))}


def name_of(parent, days):
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"{parent}_{today + datetime.timedelta(days=days):%Y%m%d}"


@pytest.mark.parametrize("parent", ["usage_event", "refusal_event"])
def test_partitions_are_made_ahead(db, parent):
    for days in (0, 7):
        db.owner.execute(f"DROP TABLE IF EXISTS postern.{name_of(parent, days)}")
    assert one(db.service, "SELECT postern.usage_maintain()") is True
    there = partitions(db, parent)
    assert {name_of(parent, days) for days in range(-1, 8)} | {f"{parent}_default"} <= there


def test_what_went_astray_moves_into_its_partition(db):
    account = db.account()
    db.owner.execute(f"DROP TABLE postern.{name_of('usage_event', 0)}")
    put(db.service, next(seqs), [message(next(tids), account)])
    where = "SELECT tableoid::regclass::text FROM postern.usage_event WHERE account_id = %s"
    assert one(db.owner, where, account) == "postern.usage_event_default"
    assert one(db.service, "SELECT postern.usage_maintain()") is True
    assert one(db.owner, where, account) == "postern." + name_of("usage_event", 0)
    assert len(events(db, account)) == 1


def test_one_maintains_at_a_time(db):
    with db.connect("postern_service") as first:
        first.autocommit = False
        assert one(first, "SELECT postern.usage_maintain()") is True
        assert one(db.service, "SELECT postern.usage_maintain()") is False
        first.rollback()
    assert one(db.service, "SELECT postern.usage_maintain()") is True


def test_what_is_old_is_dropped_and_its_sums_stay(db):
    account = db.account()
    old_ms = usage_rows.now_ms() - 3 * DAY_MS
    for parent, key in (("usage_event", "accepted_at"), ("refusal_event", "refused_at")):
        db.owner.execute("SELECT postern.usage_partition(%s, %s, %s::date)",
                         (parent, key, datetime.datetime.fromtimestamp(old_ms / 1000, datetime.timezone.utc).date()))
    put(db.service, next(seqs), [message(next(tids), account, at=old_ms), message(next(tids), account)])
    refuse(db.service, [refusal(next(tids), account, at_ms=old_ms), refusal(next(tids), account)])
    assert db.admin.execute("SELECT * FROM postern.usage_keep(2, 2)").fetchone() == (2, 2)
    try:
        assert one(db.service, "SELECT postern.usage_maintain()") is True
    finally:
        assert db.admin.execute("SELECT * FROM postern.usage_keep(400, 30)").fetchone() == (400, 30)
    assert len(events(db, account)) == 1
    assert one(db.owner, "SELECT count(*) FROM postern.refusal_event WHERE account_id = %s", account) == 1
    assert name_of("usage_event", -3) not in partitions(db, "usage_event")
    assert name_of("refusal_event", -3) not in partitions(db, "refusal_event")
    assert sums(db, account)[0] == 2


@pytest.mark.parametrize("days", [(0, 1), (1, 0), (4001, None), (None, -3)])
def test_what_is_no_time_to_keep_books(db, days):
    with pytest.raises(errors.InvalidParameterValue, match="1 to 4000 days"):
        db.admin.execute("SELECT * FROM postern.usage_keep(%s, %s)", days)


# -------------------------------------------------------------------------- erasure
def test_a_deletion_erases_who_it_was_and_leaves_the_amounts(db):
    account, other = db.account(), db.account()
    login = db.login(account)
    put(db.service, next(seqs), [message(next(tids), account), message(next(tids), other)])
    refuse(db.service, [
        refusal(next(tids), account, rule="meter", meter="messages per hour of the domain secret.example", limit=5)])
    before = sums(db, account)
    db.admin.execute("SELECT postern.account_set_enabled(%s, false)", (login,))
    db.admin.execute("SELECT postern.account_delete(%s)", (login,))
    assert events(db, account)[0][:5] == (None, None, None, 2, 1000)
    assert sums(db, account) == before
    assert db.owner.execute("SELECT login, sender, client, meter, meter_limit FROM postern.refusal_event"
                            " WHERE account_id = %s", (account,)).fetchall() == [
        (None, None, None, "messages per hour of the domain", 5)]
    assert events(db, other)[0][0] == db.login(other)
    found = db.owner.execute("SELECT count(*) FROM postern.usage_event e WHERE e::text LIKE %s", (f"%{login}%",))
    assert found.fetchone()[0] == 0


def test_what_was_being_put_meanwhile_is_erased_later(db):
    account = db.account()
    login = db.login(account)
    with db.connect("postern_service") as slow:
        slow.autocommit = False
        put(slow, next(seqs), [message(next(tids), account)])
        db.owner.execute("DELETE FROM postern.account WHERE account_id = %s", (account,))
        slow.commit()
    assert events(db, account)[0][0] == login
    db.owner.execute("UPDATE postern.usage_erased SET erased_at = erased_at - interval '2 minutes'")
    assert one(db.service, "SELECT postern.usage_maintain()") is True
    assert events(db, account)[0][:3] == (None, None, None)
    assert one(db.owner, "SELECT count(*) FROM postern.usage_erased WHERE account_id = %s", account) == 0


def test_what_is_being_put_may_still_be_under_way(db):
    account = db.account()
    db.owner.execute("DELETE FROM postern.account WHERE account_id = %s", (account,))
    assert one(db.service, "SELECT postern.usage_maintain()") is True
    assert one(db.owner, "SELECT count(*) FROM postern.usage_erased WHERE account_id = %s", account) == 1


# -------------------------------------------------------------------------- reports
def test_reports_agree_with_each_other(db):
    accounts = [db.account() for _ in range(3)]
    batch = [message(next(tids), accounts[i % 3], at=AT + i * 7_000_000, bytes=10 ** 12 + i, unknown=i % 5 == 0)
             for i in range(60)]
    put(db.service, next(seqs), batch)
    for account in accounts:
        of_account = [m for m in batch if m.account == account]
        want = (len(of_account), sum(m.recipients for m in of_account), sum(m.bytes for m in of_account),
                sum(m.unknown for m in of_account))
        for grouped in ("day", "month", "account", "tenant", "credential"):
            assert db.admin.execute(
                "SELECT sum(messages)::bigint, sum(recipients)::bigint, sum(bytes)::bigint, sum(unknown)::bigint"
                " FROM postern.usage_report(%s, account_id => %s)", (grouped, account)).fetchone() == want, grouped


def test_a_report_has_since_and_before_until(db):
    account = db.account()
    start = AT - AT % DAY_MS
    put(db.service, next(seqs), [message(next(tids), account, at=start + day * DAY_MS) for day in range(5)])
    for grouped in ("day", "credential"):
        rows = db.admin.execute("SELECT sum(messages)::int FROM postern.usage_report(%s, '2026-11-26', '2026-11-28', %s)",
                                (grouped, db.login(account))).fetchone()
        assert rows == (2,), grouped


def test_a_tenant_has_those_below_it_in_its_filter_and_not_in_its_row(db):
    db.admin.execute("SELECT postern.tenant_set('top', '{}'), postern.tenant_set('below', '{\"parent\": \"top\"}')")
    for tenant, count in (("top", 1), ("below", 2)):
        account = db.account()
        db.admin.execute("SELECT postern.account_set_tenant(%s, %s)", (db.login(account), tenant))
        put(db.service, next(seqs), [message(next(tids), account) for _ in range(count)])
    told = db.admin.execute("SELECT name, messages FROM postern.usage_report('tenant', tenant => 'top')").fetchall()
    assert told == [("below", 2), ("top", 1)]
    with pytest.raises(errors.NoDataFound, match='no tenant "nobody"'):
        db.admin.execute("SELECT * FROM postern.usage_report('day', tenant => 'nobody')")


@pytest.mark.parametrize("call", [
    "usage_report('hour')", "usage_report(NULL)", "usage_top('sender')", "usage_top(NULL)",
    "usage_top('account', 0)", "usage_log(page => 0)", "usage_log(page => 100001)", "usage_log(id => 'short')",
    "usage_log(id => 'ilouilouilou')", "refusal_explain('0123456789abc')"])
def test_what_is_no_question(db, call):
    with pytest.raises(errors.InvalidParameterValue) as caught:
        db.admin.execute(f"SELECT * FROM postern.{call}")
    assert "_" not in caught.value.diag.message_primary


@pytest.mark.parametrize("tid", [0, 1, 31, 32, 2 ** 59 + 12345, 2 ** 60 - 1])
def test_ids_are_written_as_everywhere(db, tid):
    assert one(db.owner, "SELECT postern.tid_text(%s)", tid) == usage_rows.id_text(tid)
    assert one(db.owner, "SELECT postern.tid_number(%s)", usage_rows.id_text(tid)) == tid


def test_log_uses_an_index_in_every_partition(db):
    """By account, by queue id, by id: no scan of all that was ever sent."""
    with db.connect(pg.USER) as connection:
        connection.execute("SET enable_seqscan = off")
        for condition in ("account_id = 5 ORDER BY accepted_at DESC LIMIT 10", "tid = 5", "queue_id = 'Q'",
                          "true ORDER BY accepted_at DESC LIMIT 10"):
            plan = "\n".join(row[0] for row in connection.execute(
                f"EXPLAIN SELECT * FROM postern.usage_event WHERE {condition}"))
            assert "Seq Scan" not in plan and " Sort " not in plan.replace("Sort Key", ""), plan


# --------------------------------------------------------------------------- advice
@pytest.mark.parametrize("n,want", [(0, 10), (1, 10), (10, 10), (11, 12), (99, 100), (101, 120), (1000, 1000),
                                    (1001, 1200), (123_456, 150_000), (10 ** 12 + 1, 1_200_000_000_000)])
def test_numbers_that_people_would_write(db, n, want):
    assert one(db.owner, "SELECT postern.round_up(%s)", n) == want


def hours(account, counts, start_ms):
    for hour, count in enumerate(counts):
        for _ in range(count):
            yield message(next(tids), account, at=start_ms + hour * 3_600_000)


def advice(db, account):
    rows = db.admin.execute("SELECT name, periods, p50, p99, max, meter_limit, source, advised, outlier"
                            " FROM postern.limits_advise(%s)", (db.login(account),)).fetchall()
    return {row[0]: row[1:] for row in rows}


def test_advice_is_twice_p99_and_not_below_the_most(db):
    account = db.account('{"messages_day": 7000}')
    start = usage_rows.now_ms() - usage_rows.now_ms() % 3_600_000 - 100 * 3_600_000
    put(db.service, next(seqs), list(hours(account, [1 + i % 20 for i in range(80)], start)))
    told = advice(db, account)
    assert told["messages_hour"] == (80, 10, 20, 20, 500, "plan default", 40, False)
    assert told["recipients_hour"][:4] == (80, 20, 40, 40) and told["recipients_hour"][6] == 80
    assert told["messages_day"][4:6] == (7000, "own")
    assert list(told) == ["messages_hour", "messages_day", "recipients_hour", "recipients_day"]


def test_an_hour_far_above_the_others_does_not_count(db):
    account = db.account()
    start = usage_rows.now_ms() - usage_rows.now_ms() % 3_600_000 - 250 * 3_600_000
    put(db.service, next(seqs), list(hours(account, [2] * 200 + [400], start)))
    periods, p50, p99, most, _, _, advised, outlier = advice(db, account)["messages_hour"]
    assert (periods, p50, p99, most, advised, outlier) == (201, 2, 2, 400, 10, True)


def test_without_anything_sent_there_is_no_advice(db):
    told = advice(db, db.account())
    assert told["messages_hour"] == (0, None, None, None, 500, "plan default", None, False)


def test_what_is_older_than_thirty_days_is_no_advice(db):
    account = db.account()
    put(db.service, next(seqs), [message(next(tids), account, at=usage_rows.now_ms() - 31 * DAY_MS)])
    assert advice(db, account)["messages_hour"][0] == 0


# ------------------------------------------------------------------------ privileges
@pytest.mark.threat("H02", "H03")
@pytest.mark.parametrize("statement", [
    "SELECT * FROM postern.usage_event", "SELECT * FROM postern.usage_day", "SELECT * FROM postern.refusal_event",
    "DELETE FROM postern.usage_batch", "UPDATE postern.usage_day SET messages = 0",
    "SELECT * FROM postern.usage_log()", "SELECT * FROM postern.usage_report('day')",
    "SELECT postern.usage_erase('{1}')", "SELECT postern.usage_partition('usage_event', 'accepted_at', '2020-01-01')",
    "SELECT * FROM postern.usage_keep(1, 1)"])
def test_the_service_writes_the_books_and_cannot_read_them(db, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        db.service.execute(statement)


@pytest.mark.parametrize("statement", [
    "DELETE FROM postern.usage_event", "UPDATE postern.usage_day SET messages = 0",
    "DELETE FROM postern.refusal_event", "SELECT postern.usage_erase('{1}')"])
def test_the_administrator_reads_the_books_and_cannot_write_them(db, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        db.admin.execute(statement)
    with pytest.raises(errors.InsufficientPrivilege):
        put(db.admin, next(seqs), [])
