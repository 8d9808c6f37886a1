#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What 2,000 strangers who dribble bytes do to a customer: his log-in and message, with and without them.

    POSTERN_BUILD=build/release tests/bench/bench_strangers.py [--strangers N] [--rounds N] [--customers N]

The strangers come from a thousand loopback addresses, stand in the TLS handshake, in a command and in an
AUTH exchange, send a byte a second each and come again when they are closed.  Twice: with limits that
admit them all, and with the limits as they ship, where the door pushes them out.  Quiet and loud rounds
take turns; a customer is one session: connect, TLS, log in, one message of 4 KB, QUIT.  The generator is
niced and on the same cores: its own share of the CPU is told.  Nothing here is an assertion.
"""

import argparse
import os
import random
import selectors
import signal
import socket
import ssl
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
import observe  # noqa: E402
from bench_sessions import Clients, cpu, run_seconds, start_sink, table  # noqa: E402

ADMIT = ["limits.connections_per_prefix=5000", "limits.unauthenticated_per_prefix=5000", "limits.unauthenticated=10000"]
TICK_S = 1.0


# ---------------------------------------------------------------------- strangers
class Stranger:
    """One of them: connects, sends a byte when it is told to, and connects anew when it was closed."""

    HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)  # a handshake that never ends
    COMMAND = b"EHLO " + b"x" * 250
    AUTH = b"AUTH LOGIN " + b"QUJD" * 60

    def __init__(self, number, box, context):
        self.kind = (self.HELLO, self.COMMAND, self.AUTH)[0 if number % 5 < 2 else 1 if number % 5 < 4 else 2]
        self.source = f"127.{20 + number % 50}.{number % 20}.{number % 250 + 1}"
        self.port = box.submission_port if self.kind is self.COMMAND else box.smtps_port
        self.context = context
        self.sock = None

    def connect(self):
        self.sock = socket.socket()
        self.sock.settimeout(2)
        self.sock.bind((self.source, 0))
        self.sock.connect(("127.0.0.1", self.port))
        if self.kind is self.AUTH:
            self.sock = self.context.wrap_socket(self.sock, server_hostname="localhost")
            self.sock.sendall(b"EHLO stranger.example\r\n")
        self.sock.setblocking(False)
        self.at = 0

    def dribble(self):
        """False: it is closed."""
        try:
            self.sock.send(self.kind[self.at % len(self.kind):][:1])
            self.at += 1
            return True
        except (BlockingIOError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False

    def drain(self):
        """Reads and drops; False: the end."""
        try:
            return self.sock.recv(4096) != b""
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def crowd(box, count):
    """The child: until it is killed.  A hundredth of them every hundredth of the tick."""
    os.nice(10)
    context = ssl.create_default_context(cafile=box.ca)
    strangers = [Stranger(number, box, context) for number in range(count)]
    selector = selectors.DefaultSelector()
    steps = 100
    step = 0
    while True:
        until = time.monotonic() + TICK_S / steps
        for stranger in strangers[step::steps]:
            if stranger.sock is None:
                try:
                    stranger.connect()
                    selector.register(stranger.sock, selectors.EVENT_READ, stranger)
                except OSError:
                    stranger.close()
            elif not stranger.dribble():
                selector.unregister(stranger.sock)
                stranger.close()
        step = (step + 1) % steps
        for key, _ in selector.select(max(0.0, until - time.monotonic())):
            if not key.data.drain():
                selector.unregister(key.fileobj)
                key.data.close()
        time.sleep(max(0.0, until - time.monotonic()))


class Crowd:
    def __init__(self, box, count):
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                crowd(box, count)
            finally:
                os._exit(1)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


# ---------------------------------------------------------------------- customers
def customer(clients, user=None):
    """(log-in, message) in milliseconds; the log-in is all from connect to 235."""
    begin = time.perf_counter()
    if user:
        client = clients.box.session(user=user, password=clients.box.env["POSTERN_USERS_PASSWORD"], context=clients.context)
    else:
        client = clients.open()
    middle = time.perf_counter()
    with client:
        if not user:
            clients.message(client)
        end = time.perf_counter()
        client.command("QUIT", 221)
    return (middle - begin) * 1e3, (end - middle) * 1e3


class Series:
    def __init__(self):
        self.login, self.message, self.cold = [], [], []

    def run(self, clients, count, users):
        for _ in range(count):
            login, message = customer(clients)
            self.login.append(login)
            self.message.append(message)
            time.sleep(random.uniform(0, 0.02))
        for user in users:
            self.cold.append(customer(clients, user)[0])


def p(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def measure(box, options):
    clients = Clients(box)
    customer(clients)
    quiet, loud = Series(), Series()
    users = iter(f"user{number}@example.test" for number in range(1, options.accounts + 1))
    some = options.accounts // (2 * options.rounds)
    held, shares, bytes_cpu = [], [], []
    for _ in range(options.rounds):
        quiet.run(clients, options.customers, [next(users) for _ in range(some)])
        strangers = Crowd(box, options.strangers)
        time.sleep(6)  # until they stand there, or have been pushed out for a while
        pids = list(observe.processes(box).values())
        before, wall, own = cpu(pids), time.monotonic(), run_seconds(strangers.pid)
        time.sleep(3)
        bytes_cpu.append((cpu(pids) - before) / (time.monotonic() - wall))
        loud.run(clients, options.customers, [next(users) for _ in range(some)])
        held.append(observe.metric(box, "sessions") - observe.metric(box, "sessions_authenticated"))
        shares.append((run_seconds(strangers.pid) - own) / (time.monotonic() - wall))
        strangers.end()
        observe.settle(box)
    rows = []
    for name in ("login", "cold", "message"):
        a, b = getattr(quiet, name), getattr(loud, name)
        if a:
            rows.append(({"login": "log-in, hot", "cold": "log-in, cold", "message": "message"}[name],
                         f"{p(a, 50):.1f} / {p(a, 99):.1f}", f"{p(b, 50):.1f} / {p(b, 99):.1f}",
                         f"{p(b, 99) - p(a, 99):+.1f}"))
    return rows, statistics.median(held), statistics.median(shares), statistics.median(bytes_cpu)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strangers", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--customers", type=int, default=150, help="sessions a round")
    parser.add_argument("--accounts", type=int, default=120, help="cold log-ins in all")
    options = parser.parse_args()
    for title, settings in (("admitted, all of them", ADMIT), ("limits as they ship", [])):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            sink, port = start_sink(directory)
            box = harness.Sandbox(backend=f"127.0.0.1:{port}", cheap=False, accounts=options.accounts,
                                  settings=[*settings, "log.level=info"])
            try:
                box.up()
                observe.wait_ready(box)
                rows, held, share, busy = measure(box, options)
                print(f"\n{options.strangers} strangers, {title}: {held:.0f} held; Postern {busy:.2f} CPUs for them, "
                      f"the generator {share:.2f}")
                table([("milliseconds, p50 / p99", "quiet", "with strangers", "p99 more"), *rows])
            finally:
                box.down()
                sink.terminate()
                sink.wait()


if __name__ == "__main__":
    main()
