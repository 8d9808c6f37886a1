#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What the books cost: messages put by a node in batches, one writer and two, and what they take on disk.

    tests/bench/bench_books.py [--rounds N] [--batch N] [--accounts N]

Two rates: by the clock, which has this program in it, and a second of the server's processor.  It syncs
nothing (tests/e2e/pg.py), so that a disk plays no part.  Nothing here is an assertion.
"""

import argparse
import os
import random
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "e2e"))

import psycopg  # noqa: E402

import usage_rows  # noqa: E402
import pg  # noqa: E402

BATCHES = 40  # a writer and round


def server_seconds(server):
    """Processor time of the server, its children, and those that it has waited for."""
    ticks = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(name) == server.process.pid:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == server.process.pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def batches(accounts, size):
    return [[usage_rows.message(random.getrandbits(60), random.choice(accounts), queue_id=f"{random.getrandbits(48):012X}")
             for _ in range(size)] for _ in range(BATCHES)]


def write(dsn, boot, work):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for seq, batch in enumerate(work):
            assert usage_rows.put(connection, seq, batch, boot=boot)


def measure(server, dsn, accounts, size, writers, boot):
    work = [batches(accounts, size) for _ in range(writers)]
    threads = [threading.Thread(target=write, args=(dsn, boot + number, work[number])) for number in range(writers)]
    before, began = server_seconds(server), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = writers * BATCHES * size
    return rows / (time.monotonic() - began), rows / max(server_seconds(server) - before, 0.01)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--accounts", type=int, default=1000)
    wanted = parser.parse_args()
    server = pg.shared()
    name = server.create_database()
    pg.apply_migrations(server.dsn(name))
    with psycopg.connect(server.dsn(name), autocommit=True) as owner:
        owner.execute("SELECT postern.accounts_add_many(ARRAY(SELECT 'u' || n || '@example.test'"
                      " FROM generate_series(1, %s) n))", (wanted.accounts,))
        accounts = [row[0] for row in owner.execute("SELECT account_id FROM postern.account")]
        rates = {1: [], 2: []}
        boot = 1
        for _ in range(wanted.rounds):
            for writers, found in rates.items():
                found.append(measure(server, server.dsn(name, "postern_service"), accounts, wanted.batch, writers, boot))
                boot += writers
        for writers, found in rates.items():
            clock, processor = (statistics.median(column) for column in zip(*found))
            print(f"{writers} writer(s), batches of {wanted.batch}: {clock:,.0f} rows/s,"
                  f" {processor:,.0f} a second of the server's processor")
        octets, count = owner.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)), (SELECT count(*) FROM postern.usage_event)"
            " FROM pg_inherits WHERE inhparent = 'postern.usage_event'::regclass").fetchone()
        print(f"{octets / count:,.0f} octets a row with its indexes, {count:,} rows")


if __name__ == "__main__":
    main()
