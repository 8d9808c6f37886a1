#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What log-ins cost: cold against raw libsodium, hot, and what a flood of wrong passwords does to others.

    POSTERN_BUILD=build/release tests/bench/bench_logins.py [--rounds N] [--seconds S]

Rounds of what is compared take turns (raw, cold, raw, cold; quiet, flood, quiet, flood), so that a busy
moment of the machine meets both.  Hashes are the default's: 64 MiB, 2 passes.  Nothing here is an assertion.
"""

import argparse
import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "e2e"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
import observe  # noqa: E402
from bench_sessions import Clients, cpu, start_sink, table  # noqa: E402

MEMORY, PASSES = 64 << 20, 2
CORES = os.cpu_count()
FLOOD = 32  # connections
ROOMY = ["limits.connections_per_prefix=20000", "limits.unauthenticated_per_prefix=20000", "limits.errors=10000",
         "log.level=info", "probe.interval=1h", f"password.processes={CORES}", "workers=1"]


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else float("nan")


# ---------------------------------------------------------------------- raw hashes
def hash_until(deadline, results):
    """One process of what the library can do, as nice as Postern's own."""
    os.nice(19)
    sodium = ctypes.CDLL("libsodium.so.23")
    made = ctypes.create_string_buffer(128)
    sodium.crypto_pwhash_str(made, b"right", ctypes.c_ulonglong(5), ctypes.c_ulonglong(PASSES), ctypes.c_size_t(MEMORY))
    count, begin = 0, time.monotonic()
    while time.monotonic() < deadline:
        sodium.crypto_pwhash_str_verify(made, b"wrong", ctypes.c_ulonglong(5))
        count += 1
    results.put(count / (time.monotonic() - begin))


def hash_on_all_cores(deadline, results):
    """A session of its own, as Postern is: the kernel shares the cores among sessions first (autogroup)."""
    os.setsid()
    workers = [multiprocessing.Process(target=hash_until, args=(deadline, results)) for _ in range(CORES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def raw_rate(seconds):
    """Verifications a second on all cores."""
    results = multiprocessing.Queue()
    leader = multiprocessing.Process(target=hash_on_all_cores, args=(time.monotonic() + seconds, results))
    leader.start()
    rates = [results.get() for _ in range(CORES)]
    leader.join()
    return sum(rates)


# ------------------------------------------------------------------------ log-ins
def cold_rate(box, users, password, seconds):
    """Log-ins a second of names that nobody has verified yet, on sessions that stand already."""
    clients = [box.secured() for _ in range(4 * CORES)]
    lock, counts = threading.Lock(), []
    begin = time.monotonic()

    def work(client):
        count, current = 0, client
        while time.monotonic() - begin < seconds:
            with lock:
                user = next(users)
            current.login(user, password)
            count += 1
            current.close()
            current = box.secured()
        current.close()
        counts.append((count, time.monotonic()))
    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(count for count, _ in counts) / (max(end for _, end in counts) - begin)


def hot(clients, seconds):
    """(log-ins a second, CPU milliseconds each of the proxy, of auth): handshake, log-in, QUIT."""
    groups = [list(observe.proxies(clients.box).values()), [clients.box.child("auth")]]
    before = [cpu(group) for group in groups]
    count, begin = 0, time.monotonic()
    while time.monotonic() - begin < seconds:
        with clients.open() as client:
            client.command("QUIT", 221)
        count += 1
    wall = time.monotonic() - begin
    return [count / wall, *((cpu(group) - was) * 1e3 / count for group, was in zip(groups, before))]


# -------------------------------------------------------------------------- flood
def flood(box, number):
    """A child until it is killed: a connection, three wrong passwords, the next one."""
    os.nice(10)

    def one(at):
        for attempt in itertools.count():
            try:
                with box.secured(source=f"127.{40 + at}.{number % 200}.{1 + attempt % 250}", timeout=30) as client:
                    for guess in range(3):
                        client.login(f"victim{attempt % 50}@example.test", f"wrong{at}.{attempt}.{guess}", want=None)
            except (OSError, AssertionError):
                time.sleep(0.05)
    for at in range(FLOOD - 1):
        threading.Thread(target=one, args=(at,), daemon=True).start()
    one(FLOOD - 1)


@contextlib.contextmanager
def flooded(box, number):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            flood(box, number)
        finally:
            os._exit(1)
    try:
        time.sleep(2)  # until all of them stand there
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class Series:
    def __init__(self):
        self.message, self.login = [], []

    def run(self, clients, logged_in, seconds):
        """Messages of sessions that are logged in already; between them a log-in from where its owner always is."""
        begin = time.monotonic()
        for number in itertools.count():
            if time.monotonic() - begin >= seconds:
                break
            at = time.perf_counter()
            clients.message(logged_in[number % len(logged_in)])
            self.message.append((time.perf_counter() - at) * 1e3)
            if number % 4 == 0:
                with clients.box.secured(context=clients.context) as client:
                    at = time.perf_counter()
                    client.command(clients.login, 235)
                    self.login.append((time.perf_counter() - at) * 1e3)
            time.sleep(0.01)


def measure_flood(box, rounds, seconds):
    clients = Clients(box)
    logged_in = [clients.open() for _ in range(8)]
    quiet, loud = Series(), Series()
    attempts = []
    for number in range(rounds):
        quiet.run(clients, logged_in, seconds)
        with flooded(box, number):
            before, begin = guesses(box), time.monotonic()
            loud.run(clients, logged_in, seconds)
            attempts.append((guesses(box) - before) / (time.monotonic() - begin))
    for client in logged_in:
        client.close()
    return quiet, loud, statistics.median(attempts)


def guesses(box):
    """Log-ins that were answered otherwise than by success."""
    values = observe.metrics(box)
    return sum(values.get(f"postern_{name}", 0) for name in ("auth_failed_total", "auth_unavailable_total", "guard_held_total"))


def flood_rows(quiet, loud):
    for name, title in (("message", "a message, logged in before"), ("login", "right password, known network")):
        a, b = getattr(quiet, name), getattr(loud, name)
        yield (title, *(f"{percentile(x, 50):.1f} / {percentile(x, 99):.1f}" for x in (a, b)),
               f"{percentile(b, 99) / percentile(a, 99):.2f}", f"{len(a)} + {len(b)}")


# --------------------------------------------------------------------------- main
@contextlib.contextmanager
def sandbox(settings, accounts=0):
    with tempfile.TemporaryDirectory() as directory:
        sink, port = start_sink(directory)
        box = harness.Sandbox(backend=f"127.0.0.1:{port}", cheap=False, accounts=accounts, settings=[*ROOMY, *settings])
        try:
            box.up()
            observe.wait_ready(box)
            yield box
        finally:
            box.down()
            sink.terminate()
            sink.wait()


def measure_logins(options):
    raw, cold, hots = [], [], []
    accounts = int(options.rounds * options.seconds * 30 * CORES)
    with sandbox([], accounts) as box:
        users = iter(f"user{number}@example.test" for number in range(1, accounts + 1))
        clients = Clients(box)
        clients.session()
        for _ in range(options.rounds):
            raw.append(raw_rate(options.seconds))
            cold.append(cold_rate(box, users, box.users_password, options.seconds))
            hots.append(hot(clients, options.seconds))
    ratio = statistics.median(ours / theirs for ours, theirs in zip(cold, raw))
    print(f"cold log-ins: {statistics.median(cold):.1f}/s, raw libsodium on {CORES} cores {statistics.median(raw):.1f}/s, "
          f"ratio {ratio:.2f} (of {', '.join(f'{ours / theirs:.2f}' for ours, theirs in zip(cold, raw))})")
    rate, proxy, auth = (statistics.median(column) for column in zip(*hots))
    print(f"hot log-ins: {rate:.0f}/s of one client in turn, CPU {proxy:.2f} ms proxy, {auth:.3f} ms auth\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement in a round")
    options = parser.parse_args()
    measure_logins(options)
    for title, settings in (("without the guard", ["guard.enabled=false"]), ("with the guard", ["guard.enabled=true"])):
        with sandbox(settings) as box:
            quiet, loud, rate = measure_flood(box, options.rounds, options.seconds)
        print(f"flood of wrong passwords, {FLOOD} connections, {title}: {rate:.0f} answered a second")
        table([("milliseconds, p50 / p99", "quiet", "flood", "p99 ratio", "samples"), *flood_rows(quiet, loud)])
        print(flush=True)


if __name__ == "__main__":
    main()
