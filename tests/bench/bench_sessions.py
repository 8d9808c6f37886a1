#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What a session, a message, a gigabyte and an idle session cost Postern.  Prints a table.

    POSTERN_BUILD=build/release tests/bench/bench_sessions.py [--rounds N] [--scale F]

CPU time is what /proc/PID/schedstat says of all of Postern's processes (PostgreSQL's beside it), taken
over N units of work, in rounds that take turns; the median counts and the span stands beside it.  It does
not depend on how fast the generator is, so that one in Python will do.  Nothing here is an assertion.
"""

import argparse
import base64
import concurrent.futures
import os
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "e2e"))

import harness  # noqa: E402
import observe  # noqa: E402
import smtp  # noqa: E402

THREADS = 8
BODY_4K = b"Subject: bench\r\n\r\n" + (b"x" * 78 + b"\r\n") * 50
BODY_10M = (b"Subject: bench\r\n\r\n" + (b"x" * 998 + b"\r\n") * 10000)
SETTINGS = ["workers=1", "log.level=info", "limits.connections_per_prefix=20000", "limits.unauthenticated_per_prefix=20000",
            "limits.unauthenticated=20000", "probe.interval=1h"]
RECIPIENT = "friend@example.net"


# ---------------------------------------------------------------------------- CPU
def run_seconds(pid):
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def tree(pid):
    found = [pid]
    for child in harness.children_of(pid):
        found += tree(child)
    return found


def cpu(pids):
    total = 0.0
    for pid in pids:
        try:
            total += run_seconds(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


class Meter:
    """CPU seconds since it was made: of all of Postern, of auth within it, and of PostgreSQL."""

    def __init__(self, box):
        self.groups = [list(observe.processes(box).values()), [box.child("auth")], tree(box.process("postgres").pid)]
        self.before = [cpu(group) for group in self.groups]

    def read(self):
        return [cpu(group) - before for group, before in zip(self.groups, self.before)]


# ------------------------------------------------------------------------- clients
class Clients:
    def __init__(self, box):
        self.box = box
        self.context = ssl.create_default_context(cafile=box.ca)
        token = base64.b64encode(f"\0{box.user}\0{box.password}".encode()).decode()
        self.login = f"AUTH PLAIN {token}"
        self.envelope = f"MAIL FROM:<{box.user}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n"
        self.body = {body: smtp.transparent(body) for body in (BODY_4K, BODY_10M)}

    def open(self):
        client = self.box.connect(context=self.context)
        client.command("EHLO bench.example", 250)
        client.command(self.login, 235)
        return client

    def message(self, client, body=BODY_4K):
        for line, code in zip(self.envelope.split("\r\n"), (250, 250, 354)):
            client.command(line, code)
        client.send(self.body[body])
        client.reply(250)

    def session(self, _number=0):
        with self.open() as client:
            self.message(client)
            client.command("QUIT", 221)

    def messages(self, count, body=BODY_4K):
        with self.open() as client:
            for _ in range(count):
                self.message(client, body)
            client.command("QUIT", 221)

    def pipelined(self, count):
        """Two writes a message: the envelope, and the body together with the next envelope."""
        with self.open() as client:
            client.send(self.envelope)
            for number in range(count):
                for code in (250, 250, 354):
                    client.reply(code)
                last = number == count - 1
                client.send(self.body[BODY_4K] + (b"" if last else self.envelope.encode()))
                client.reply(250)
            client.command("QUIT", 221)


def spread(function, count):
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(function, range(count)):
            pass


# ------------------------------------------------------------------------- figures
class Figure:
    """Rounds of some work; each tells the cost of one unit."""

    def __init__(self, name, unit, scale, work):
        self.name, self.unit, self.scale, self.work = name, unit, scale, work
        self.postern, self.auth, self.database = [], [], []

    def round(self, box):
        meter = Meter(box)
        units = self.work()
        observe.settle(box)
        for values, seconds in zip((self.postern, self.auth, self.database), meter.read()):
            values.append(seconds * self.scale / units)

    def row(self):
        median = statistics.median
        return (self.name, f"{median(self.postern):.3g} {self.unit}", f"{min(self.postern):.3g}-{max(self.postern):.3g}",
                f"{median(self.auth):.3g} {self.unit}", f"{median(self.database):.3g} {self.unit}")


def figures(clients, scale):
    sessions, senders = max(20, int(300 * scale)), max(2, int(8 * scale))

    def run_sessions():
        spread(clients.session, sessions)
        return sessions

    def run_messages():
        spread(lambda _: clients.messages(100), senders)
        return senders * 100

    def run_pipelined():
        spread(lambda _: clients.pipelined(100), senders)
        return senders * 100

    def run_bulk():
        spread(lambda _: clients.messages(3, BODY_10M), 4)
        return 4 * 3 * len(BODY_10M) / 1e9
    return [Figure("S: a session (full handshake, hot log-in, one message of 4 KB)", "ms", 1e3, run_sessions),
            Figure("M0: a message of 4 KB, 100 a session, one command at a time", "us", 1e6, run_messages),
            Figure("M1: the same, pipelined", "us", 1e6, run_pipelined),
            Figure("B: a gigabyte, in messages of 10 MB", "s", 1, run_bulk)]


def idle_kib(box, clients, count):
    """Proportional set size of all processes, one idle authenticated session."""
    def total():
        return sum(observe.pss_kib(pid) for pid in observe.processes(box).values())
    before = total()
    held = []
    spread(lambda _: held.append(clients.open()), count)
    each = (total() - before) / count
    for client in held:
        client.close()
    observe.settle(box)
    return each


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def start_sink(directory):
    path = os.path.join(directory, "port")
    sink = subprocess.Popen([sys.executable, "-B", os.path.join(TESTS, "bench", "sink.py"), path])
    harness.wait_until(lambda: os.path.exists(path), "the sink")
    with open(path, encoding="ascii") as file:
        return sink, file.read().strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the work in a round")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as directory:
        sink, port = start_sink(directory)
        box = None
        try:
            box = harness.Sandbox(backend=f"127.0.0.1:{port}", settings=SETTINGS).up()
            observe.wait_ready(box)
            clients = Clients(box)
            count = max(100, int(1000 * options.scale))
            spread(clients.session, 50)
            each = idle_kib(box, clients, count)
            measured = figures(clients, options.scale)
            for _ in range(options.rounds):
                for figure in measured:
                    figure.round(box)
        finally:
            if box is not None:
                box.down()
            sink.kill()
            sink.wait()
    print(f"{os.path.basename(harness.BUILD)} build, {options.rounds} rounds, one worker, {os.cpu_count()} CPUs, {ssl.OPENSSL_VERSION}\n")
    table([("CPU time of", "Postern, median", "span", "auth's part", "PostgreSQL"), *[figure.row() for figure in measured]])
    print(f"\nI: an idle authenticated session: {each:.1f} KiB (PSS of all processes, {count} sessions)")


if __name__ == "__main__":
    main()
