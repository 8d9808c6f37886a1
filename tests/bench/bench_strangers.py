#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What 2,000 strangers that dribble octets cost a customer.  Prints two tables.

    POSTERN_BUILD=build/release tests/bench/bench_strangers.py [--rounds N] [--together] [--prefer NICE] ...

A customer logs in, sends a message of 4 KB and quits, again and again; in rounds that take turns he has the
house to himself, or strangers.py holds its connections.  Twice: with limits that admit all the strangers, and
with the default limits, where half of them are outside at any time and come again.  His time is the wall
clock's, from connect to the reply to QUIT.  The generator shares the machine, so its CPU time stands beside.
Nothing here is an assertion.
"""

import argparse
import gc
import json
import os
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import bench_sessions as bench  # finds the next three

import harness
import observe
import smtp
from strangers import KINDS

STRANGERS = 2000
ADMITTED = ["limits.unauthenticated=20000"]
SETTINGS = ["workers=1", "log.level=info", "probe.interval=1h", "guard.enabled=true"]
SERIES = [("submissions", "hot"), ("submissions", "cold"), ("submission", "hot"), ("submission", "cold")]
PORTS = {"submissions": "465", "submission": "587"}


def queued_seconds(pids):
    """How long they stood in the kernel's run queue: ready to go on, and no CPU for them."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[1])
    return total / 1e9


class Customer:
    """One session at a time.  Hot: a password that was verified lately; cold: an account never seen before."""

    def __init__(self, box):
        self.box = box
        self.hashers = [pid for title, pid in box.children().items() if title.startswith("hash ")]
        self.context = ssl.create_default_context(cafile=box.ca)
        self.body = smtp.transparent(bench.BODY_4K)
        self.fresh = 0

    def login(self, heat):
        if heat == "hot":
            return self.box.user, self.box.password
        self.fresh += 1
        return f"user{self.fresh}@example.test", self.box.users_password

    def session(self, port, heat):
        """Its seconds, and those of them in which the hash at nice 19 waited for a CPU."""
        user, password = self.login(heat)
        queued, begin = queued_seconds(self.hashers), time.perf_counter()
        with self.box.connect(port, context=self.context) as client:
            client.ehlo()
            if port == "submission":
                client.starttls()
                client.ehlo()
            client.login(user, password)
            client.mail(user, [bench.RECIPIENT])
            client.command("DATA", 354)
            client.send(self.body)
            client.reply(250)
            client.command("QUIT", 221)
            took = time.perf_counter() - begin
        return took, queued_seconds(self.hashers) - queued


class Strangers:
    def __init__(self, box, options):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "strangers.py")
        self.process = subprocess.Popen(
            [sys.executable, "-B", program, "--submissions", str(box.smtps_port), "--submission", str(box.submission_port),
             "--count", str(STRANGERS), "--rate", str(options.rate), "--reconnects", str(options.reconnects),
             "--kinds", options.kinds, *(["--together"] if options.together else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Load:
    """What strangers did, and what that cost, between begin() and end()."""

    def __init__(self, box, strangers):
        self.strangers, self.proxy = strangers, box.child("proxy 0")
        self.seconds = self.postern = 0.0
        self.told = {"octets": 0, "reconnects": 0, "cpu": 0.0}
        self.held = []

    def begin(self):
        self.before = self.strangers.ask("tell")
        self.start, self.used = time.monotonic(), bench.run_seconds(self.proxy)

    def end(self, word="tell"):
        after = self.strangers.ask(word)
        self.seconds += time.monotonic() - self.start
        self.postern += bench.run_seconds(self.proxy) - self.used
        for name in self.told:
            self.told[name] += after[name] - self.before[name]
        self.held.append(after["held"])

    def row(self, name, alone):
        """What an octet costs is told where nothing else was done."""
        told, seconds = self.told, self.seconds
        return (name, f"{statistics.mean(self.held):.0f}", f"{told['octets'] / seconds:.0f}", f"{told['reconnects'] / seconds:.0f}",
                f"{told['cpu'] / seconds * 100:.1f} %", f"{self.postern / seconds * 100:.1f} %",
                f"{self.postern / told['octets'] * 1e6:.0f} us" if alone else "")


def prefer(pids, nice):
    """Puts whole sessions of processes before or behind others; within one, their own nice values count as ever."""
    for pid in pids:
        path = f"/proc/{pid}/autogroup"
        if nice is not None and os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.write(str(nice))


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


class Scenario:
    def __init__(self, name, limits, options):
        self.name, self.limits, self.options = name, limits, options
        self.each = max(2, int(50 * options.scale))  # sessions of a series in a round
        self.times = {(series, loaded): [] for series in SERIES for loaded in (False, True)}
        self.loads = []

    def round(self, customer, loaded):
        for _ in range(self.each):
            for series in SERIES:
                self.times[series, loaded].append(customer.session(*series))

    def measure(self, box, strangers):
        customer = Customer(box)
        calm, busy = Load(box, strangers), Load(box, strangers)
        for series in SERIES * 5:
            customer.session(*series)
        for number in range(self.options.rounds):
            observe.settle(box)
            self.round(customer, False)
            strangers.ask("up")
            if number == 0:
                calm.begin()
                calm.end("hold")
            busy.begin()
            self.round(customer, True)
            busy.end()
            strangers.ask("down")
        observe.settle(box)
        self.loads = [calm.row(f"{self.name}, no customer", True), busy.row(f"{self.name}, with the customer", False)]

    def run(self, port):
        accounts = (self.each * self.options.rounds * 2 + 10) * 2
        box = harness.Sandbox(backend=f"127.0.0.1:{port}", settings=SETTINGS + self.limits, accounts=accounts, cheap=False)
        strangers = None
        try:
            observe.wait_ready(box.up())
            strangers = Strangers(box, self.options)
            prefer([os.getpid(), box.master_pid, *box.children().values(), box.process("postgres").pid], self.options.prefer)
            gc.disable()
            self.measure(box, strangers)
        finally:
            gc.enable()
            if self.options.prefer is not None:
                prefer([os.getpid()], 0)
            if strangers is not None:
                strangers.end()
            box.down()

    def rows(self):
        for series in SERIES:
            quiet, loaded = (self.times[series, state] for state in (False, True))
            marks = [percentile([took for took, _ in times], part) * 1e3 for times in (quiet, loaded) for part in (0.5, 0.99)]
            served = [percentile([took - queued for took, queued in times], 0.99) * 1e3 for times in (quiet, loaded)]
            yield (self.name, f"{PORTS[series[0]]}, {series[1]}", *(f"{mark:.1f}" for mark in marks), f"{marks[3] - marks[1]:+.1f} ms",
                   f"{served[1] - served[0]:+.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=6, help="of each kind, a scenario")
    parser.add_argument("--scale", type=float, default=1.0, help="of the work in a round")
    parser.add_argument("--rate", type=int, default=2000, help="octets a second, of all strangers")
    parser.add_argument("--reconnects", type=int, default=200, help="a second, at most")
    parser.add_argument("--together", action="store_true", help="all octets of a round of the strangers at one instant")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of strangers")
    parser.add_argument("--series", default="hot,cold", help="of the customer's")
    parser.add_argument("--prefer", type=int, metavar="NICE", help="of all its sessions' autogroups, where other work keeps the CPUs busy; as root")
    options = parser.parse_args()
    SERIES[:] = [series for series in SERIES if series[1] in options.series.split(",")]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scenarios = [Scenario("admitted", ADMITTED, options), Scenario("default limits", [], options)]
    with tempfile.TemporaryDirectory() as directory:
        sink, port = bench.start_sink(directory)
        try:
            for scenario in scenarios:
                scenario.run(port)
        finally:
            sink.kill()
            sink.wait()
    print(f"{os.path.basename(harness.BUILD)} build, {options.rounds} rounds of {scenarios[0].each} sessions a series, quiet and loaded in "
          f"turn, one worker, {os.cpu_count()} CPUs, load {os.getloadavg()[1]:.1f}\n")
    bench.table([("strangers", "port, password", "quiet p50", "p99", "loaded p50", "p99", "p99's difference", "without the hash's queueing"),
                 *[row for scenario in scenarios for row in scenario.rows()]])
    print()
    bench.table([("strangers", "dribbling", "octets/s", "coming again/s", "CPU of the generator", "of the proxy", "of the proxy, an octet"),
                 *[row for scenario in scenarios for row in scenario.loads]])


if __name__ == "__main__":
    main()
