# SPDX-License-Identifier: ISC
"""What a synchronous standby promises: whatever a node was answered, the server that takes over knows.

An answer that rests on another's commit is the trap: a transaction that only reads waits for no standby.
"""

import re
import threading

import psycopg
import pytest

import harness
from box.layout import Layout
from box.standby import Pair

NODE = 7
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'call' AND wait_event = 'SyncRep'"
PUT = """SELECT postern.usage_put(%(node)s, 1, %(seq)s, '{1}', '{1}', ARRAY[%(account)s], '{0}', '{a@example.test}', '{1}',
    '{100}', '{127.0.0.1}', '{backend}', '{Q1}', '{1700000000000}', '{1700000000000}', '{f}')"""
CHARGE = """SELECT postern.charges(%(node)s, ARRAY[%(seq)s]::bigint[], '{""}', ARRAY[%(account)s], '{0}', '{""}', '{1}', '{1}',
    '{0}')"""
EVENTS = "SELECT count(*) FROM usage_event"
CHARGED = "SELECT messages FROM meter WHERE scope = 1"


class Call(threading.Thread):
    """One call of a node's, in a connection of its own."""

    def __init__(self, dsn, sql, values):
        super().__init__()
        self.dsn, self.sql, self.values = dsn, sql, values
        self.answer = self.error = None
        self.start()

    def run(self):
        try:
            with psycopg.connect(self.dsn, autocommit=True, application_name="call") as connection:
                self.answer = connection.execute(self.sql, self.values).fetchone()[0]
        except psycopg.OperationalError as error:
            self.error = error


@pytest.fixture(scope="module")
def box(make_sandbox):
    return make_sandbox(standby="synchronous")


@pytest.mark.parametrize("sql, counted, first, again", [(PUT, EVENTS, True, False), (CHARGE, CHARGED, 1, 0)],
                         ids=["usage_put", "charges"])
def test_what_is_known_already_is_told_when_it_lasts(box, sql, counted, first, again):
    """The first call was never answered, and its commit never left the primary; the second learns that it is
    known.  If it were answered at once, the node would forget what the standby never had."""
    pair = Pair(Layout(box.directory), synchronous=True)
    dsn = re.sub(r"host=(\S+),\S+ port=(\d+),\d+", r"host=\1 port=\2", box.service_dsn)
    account = int(pair.primary.query(f"SELECT account_id FROM postern.account WHERE login = '{box.user}'"))
    values = {"node": NODE, "seq": 1, "account": account}

    def count():
        return pair.primary.query(f"SET search_path = postern; {counted}")

    def call():
        made = Call(dsn, sql, values)
        harness.wait_until(lambda: made.answer is not None or made.error or pair.asks(WAITING) == "1", "the call's wait")
        assert (made.answer, made.error) == (None, None)
        return made

    made = Call(dsn, sql, {**values, "seq": 2})
    made.join()
    assert made.answer == first
    with pair.without_standby():
        unanswered = call()
        pair.restart()
        unanswered.join()
        assert unanswered.error is not None and unanswered.answer is None
        assert count() == "2"
        repeated = call()
    repeated.join()
    assert (repeated.answer, repeated.error, count()) == (again, None, "2")
