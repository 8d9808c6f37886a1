#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""How long a client waits for each reply of a message, and what of it is the take.  Prints a table.

    POSTERN_BUILD=build/release tests/bench/bench_latency.py [--scale F]

One node, one message at a time and a pause between, so that nothing queues: an account with limits and one
without send in turns, message by message.  RCPT goes to the backend and back and asks nobody else, DATA does
the same and takes: what it needs longer is the take, with its wait for others to be taken along, its way to
auth and, where the account is too quiet for a lease, to the database.  Nothing here is an assertion.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "e2e"), os.path.join(TESTS, "bench")]

import harness  # noqa: E402
import observe  # noqa: E402
import smtp  # noqa: E402
from bench_sessions import BODY_4K, RECIPIENT, SETTINGS, start_sink, table  # noqa: E402

LIMITS = ("messages_hour", "messages_day", "recipients_hour", "recipients_day")  # set by the sandbox's plan
WARM = 20
PACES = (("busy: from a lease", 800, 0.01), ("quiet: from the database", 150, 0.15))  # messages of each, seconds between
WORDS = ("MAIL", "RCPT", "DATA", "end of data", "take")


class Sender:
    """One session of one account, and its waits by the word waited for, in ms."""

    def __init__(self, box, login):
        self.login = login
        self.client = box.session(user=login, password=login)
        self.body = smtp.transparent(BODY_4K)
        self.waits = {word: [] for word in WORDS}

    def wait(self, word, ask, code):
        begun = time.perf_counter()
        ask()
        self.client.reply(code)
        self.waits[word].append(1e3 * (time.perf_counter() - begun))

    def message(self):
        client = self.client
        self.wait("MAIL", lambda: client.send(f"MAIL FROM:<{self.login}>\r\n"), 250)
        self.wait("RCPT", lambda: client.send(f"RCPT TO:<{RECIPIENT}>\r\n"), 250)
        self.wait("DATA", lambda: client.send("DATA\r\n"), 354)
        self.wait("end of data", lambda: client.send(self.body), 250)
        self.waits["take"].append(self.waits["DATA"][-1] - self.waits["RCPT"][-1])


def rows(senders):
    yield ("wait for", *(f"{name}, {point}" for name in senders for point in ("p50", "p99")))
    for word in WORDS:
        figures = []
        for sender in senders.values():
            cuts = statistics.quantiles(sender.waits[word], n=100)
            figures += [f"{cuts[49]:.2f} ms", f"{cuts[98]:.2f} ms"]
        yield (word if word != "take" else "DATA less RCPT: the take", *figures)


def play(senders, messages, gap):
    """The first few are not counted."""
    for number in range(messages + WARM):
        if number == WARM:
            for sender in senders.values():
                sender.waits = {word: [] for word in WORDS}
        for sender in senders.values():
            time.sleep(random.uniform(0, 2 * gap))
            sender.message()


def accounts(box):
    for name in ("with limits", "unlimited"):
        login = f"{name.replace(' ', '.')}@example.test"
        box.add_account(login, login)
        if name == "unlimited":
            box.ctl("limits", "set", login, *(f"{limit}=unlimited" for limit in LIMITS))
        yield name, Sender(box, login)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of messages")
    options = parser.parse_args()
    box = None
    with tempfile.TemporaryDirectory() as directory:
        sink, port = start_sink(directory)
        try:
            box = harness.Sandbox(backend=f"127.0.0.1:{port}", settings=SETTINGS).up()
            observe.wait_ready(box)
            senders = dict(accounts(box))
            print(f"{os.path.basename(harness.BUILD)} build, one worker, {os.cpu_count()} CPUs with a load of {os.getloadavg()[0]:.1f}")
            for name, messages, gap in PACES:
                play(senders, max(20, int(messages * options.scale)), gap)
                print(f"\n{name}; {len(senders['unlimited'].waits['MAIL'])} messages of 4 KB of each account, {gap * 1e3:g} ms between two\n")
                table(list(rows(senders)))
            for sender in senders.values():
                sender.client.quit()
            observe.settle(box)
        finally:
            if box is not None:
                box.down()
            sink.kill()
            sink.wait()


if __name__ == "__main__":
    main()
