#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What a message's limits cost the database: CPU time of its processes for each message granted.

A private PostgreSQL (tests/e2e/pg.py), one client on a local socket; the ways to take, side by side and in
turns, so that a busy machine meets all of them: one take a call, batches of 32 accounts, and leases of 50
messages of which 40 are spent.  For the ratio both single takes are measured: the one of the release before
on its own schema (migrations up to 0011), and today's.  Prints a table; asserts nothing.

Figures are of CPU time (/proc/PID/schedstat of the postmaster's children), not of wall time: on a shared
machine only those can be compared.
"""
import argparse
import glob
import os
import random
import sys

import psycopg

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import pg  # noqa: E402  pylint: disable=wrong-import-position

ACCOUNTS = 2000
BATCH = 32
LEASE, SPENT = 50, 40
OLD = "0011"  # the last migration of the release before
LIMITS = '{"messages_hour": 1000000, "messages_day": 10000000, "recipients_hour": 2000000, "recipients_day": 20000000}'


def cpu_ns(server):
    """What the server's processes used so far; those that ended are in their parent's account alone."""
    total = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            if int(fields[1]) == server.process.pid:
                with open(os.path.dirname(path) + "/schedstat", encoding="utf-8") as file:
                    total += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


class Bench:
    """One database: a client as the service, and its accounts."""

    def __init__(self, server, accounts, until="9999"):
        self.server = server
        self.name = server.create_database()
        with psycopg.connect(server.dsn(self.name), autocommit=True) as owner:
            for path in sorted(glob.glob(os.path.join(pg.SQL, "[0-9][0-9][0-9][0-9]_*.sql"))):
                if os.path.basename(path)[:4] <= until:
                    with open(path, encoding="utf-8") as file, owner.transaction():
                        owner.execute(file.read())
            owner.execute("SELECT postern.plan_set('default', %s)", (LIMITS,))
            owner.execute("SELECT postern.accounts_add_many(array_agg('a' || i || '@example.test'))"
                          " FROM generate_series(1, %s) i", (accounts,))
            self.accounts = [row[0] for row in owner.execute("SELECT account_id FROM postern.account")]
            for account in self.accounts:
                owner.execute("SELECT postern.quota_take(%s, 1, 1)", (account,))
            owner.execute("VACUUM ANALYZE")
        self.client = psycopg.connect(server.dsn(self.name, "postern_service"), autocommit=True,
                                      prepare_threshold=0)
        self.seq = 0

    def many(self, count):
        return random.sample(self.accounts, count)

    def call(self, sql, *values):
        self.seq += 1
        return self.client.execute(sql, values).fetchall()

    def quota_take(self):
        """The function of the release before: its own, or today's wrapper."""
        row = self.call("SELECT * FROM postern.quota_take(%s, 1, 1)", random.choice(self.accounts))[0]
        return row[0] == 0

    def takes(self, count):
        ones = [1] * count
        rows = self.call("SELECT * FROM postern.takes(1, %s, %s, %s, %s, %s, %s, %s, %s, '{}')", self.seq,
                         self.many(count), [0] * count, ["example.test"] * count, ones, ones, [20000] * count,
                         [0] * count)
        return sum(1 for row in rows if row[1] == 0)

    def lease(self, accounts):
        account = random.choice(self.accounts[:accounts])
        row = self.call("SELECT * FROM postern.lease_take(1, %s, %s, 0, 'example.test', 1, 1, 20000, %s, %s, %s, 30)",
                        self.seq, account, LEASE, LEASE, LEASE * 20000)[0]
        if row[7] != 0:
            self.call("SELECT * FROM postern.lease_return(%s::bigint[], %s::int[], %s::int[], %s::bigint[])", [row[7]],
                      [LEASE - SPENT], [LEASE - SPENT], [(LEASE - SPENT) * 20000])
        return SPENT if row[7] != 0 else 1


def measure(bench, way, want_ns):
    """Repeats a way until the server used so much time: messages granted, and the time."""
    for _ in range(20):
        way()
    granted, before, used = 0, cpu_ns(bench.server), 0
    while used < want_ns:
        for _ in range(50):
            granted += way()
        used = cpu_ns(bench.server) - before
    return granted, used


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of CPU a way and round")
    arguments = parser.parse_args()
    server = pg.Server().start()
    try:
        before, now = Bench(server, arguments.accounts, OLD), Bench(server, arguments.accounts)
        ways = [
            ("one take a call, the release before", before, before.quota_take),
            ("one take a call, quota_take() today", now, now.quota_take),
            ("one take a call, takes() of one", now, lambda: now.takes(1)),
            (f"batches of {BATCH} accounts", now, lambda: now.takes(BATCH)),
            (f"lease of {LEASE}, {SPENT} spent", now, lambda: now.lease(len(now.accounts))),
            ("the same of one hot account", now, lambda: now.lease(1)),
        ]
        totals = [[0, 0] for _ in ways]
        for _ in range(arguments.rounds):
            for total, (_, bench, way) in zip(totals, ways):
                granted, used = measure(bench, way, arguments.seconds * 1e9)
                total[0] += granted
                total[1] += used
        rates = [granted / used * 1e9 for granted, used in totals]
        print(f"{'way':40} {'messages per CPU second':>24} {'us each':>8} {'x before':>9} {'x takes(1)':>11}")
        for (name, _, _), rate in zip(ways, rates):
            print(f"{name:40} {rate:24,.0f} {1e6 / rate:8.1f} {rate / rates[0]:9.1f} {rate / rates[2]:11.1f}")
    finally:
        server.destroy()


if __name__ == "__main__":
    main()
