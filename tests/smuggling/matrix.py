# SPDX-License-Identifier: ISC
"""The smuggling matrix: sends every variant in every split through Postern to a server, and counts.

One case is one message that a client means to send.  What must come of it: the server delivers exactly
that message and no other, and the client reads exactly one reply to it; or Postern refuses it with a
documented code, and the server delivers nothing.  Everything else is counted against Postern.
"""

import collections
import concurrent.futures
import itertools
import os
import re
import select
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in (HERE, os.path.join(os.path.dirname(HERE), "e2e"), os.path.join(os.path.dirname(HERE), "tools")):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import harness  # noqa: E402
import observe  # noqa: E402
import rawtls  # noqa: E402
import smtp  # noqa: E402
from lenient import Lenient  # noqa: E402
from servers import SERVERS, SOURCE  # noqa: E402
from variants import DOMAIN, SPLITS, Payload, whole  # noqa: E402

CLIENTS = 8
# In the trace lines that every server puts on top.  What a message says of itself is the client's.
ENVELOPE = re.compile(rb"\bfor <?(good|forged)-(\d+)@example\.net")
PATIENCE = 30
TRIES = 3
BUSY = "451 4.3.0 Cannot check the account's limits"


# ----------------------------------------------------------------------------- modes
class Mode:
    """How a body travels.  send(client, parts, gap) does it and returns the reply to it.

    port: of the sandbox.  refusals: codes for what is not CRLF alone; None: normalised.
    """

    def __init__(self, name, send, *, port="submissions", refusals=None, needs=None, splits=SPLITS):
        self.name = name
        self.send = send
        self.port = port
        self.refusals = refusals
        self.needs = needs
        self.splits = splits


def hear(client, seconds):
    """Lets the server have its say before the next octets come; keeps it for the client to read."""
    deadline = time.monotonic() + seconds
    while select.select([client.sock], [], [], max(0, deadline - time.monotonic()))[0]:
        data = client.receive()
        if not data:
            return
        client.buffer += data


def send_parts(client, parts, gap):
    for part in parts:
        client.send(part)
        if gap:
            hear(client, gap)


def by_data(client, parts, gap):
    client.command("DATA", 354)
    send_parts(client, parts, gap)
    return client.reply()


def by_bdat(client, parts, gap):
    """One chunk, however it is cut on its way."""
    client.send(b"BDAT %d LAST\r\n" % sum(len(part) for part in parts))
    send_parts(client, parts, gap)
    return client.reply()


def by_chunks(client, parts, gap):
    """Each part a chunk, pipelined."""
    for part in parts[:-1]:
        send_parts(client, [b"BDAT %d\r\n" % len(part), part], gap)
    client.send(b"BDAT %d LAST\r\n" % len(parts[-1]) + parts[-1])
    replies = [client.reply() for _ in parts]
    refused = [reply for reply in replies if reply.code != 250]
    # Once a chunk was refused there is no message any more (RFC 3030 2).
    assert refused in ([], replies[len(replies) - len(refused):]), replies
    return (refused or replies[-1:])[0]


ONCE = (SPLITS[0], SPLITS[2])
# A row for each way that a body can go.
MODES = (
    Mode("DATA", by_data),
    Mode("DATA, line_endings = reject", by_data, port="submission", refusals=("550 5.5.2",), splits=ONCE),
    Mode("BDAT", by_bdat, needs="CHUNKING"),
    Mode("BDAT in chunks", by_chunks, needs="CHUNKING", splits=(SPLITS[0], SPLITS[2], SPLITS[3])),
)


# ----------------------------------------------------------------------------- cases
class Case:
    def __init__(self, number, mode, variant, split, way, gap):
        self.number = number
        self.mode = mode
        self.variant = variant
        self.split = split
        self.way = way
        self.gap = gap
        self.reply = ""
        self.trouble = ""

    def refused(self, server):
        """The code and what follows it, when the reply is a refusal that is documented for such a message."""
        allowed = self.variant.refusals + (self.mode.refusals or ()) + server.refusals
        return next((text for text in allowed if self.reply.startswith(text)), None)

    @property
    def where(self):
        return f"{self.mode.name}, {self.variant.threat} {self.variant.name}, {self.split}, case {self.number}"


def make_cases(modes, variants, numbers):
    cases = []
    for mode, variant in itertools.product(modes, variants):
        if variant.legal and mode.needs:
            continue  # a chunk has no end of data
        for name, split, gap in mode.splits:
            count = len(split(Payload(variant, 0)))
            cases += [Case(next(numbers), mode, variant, name, way, gap) for way in range(count)]
    return cases


class Gate:
    """Postern in front of one server: a sandbox."""

    def __init__(self, server, make_sandbox):
        self.server = server
        self.box = make_sandbox(backend=f"127.0.0.1:{server.port}",
                                settings=["probe.interval=1h", "listen.submission.line_endings=reject"])
        # The forged sender is the client's own to use: were Postern to take a variant for the end of
        # data, nothing else of it would stand in the way.
        self.box.ctl("sender", "add", self.box.user, f"@{DOMAIN}")
        observe.wait_ready(self.box)
        with self.box.secured() as client:
            self.extensions = client.extensions

    def client(self, port):
        number = self.box.smtps_port if port == "submissions" else self.box.submission_port
        tls = "implicit" if port == "submissions" else None
        client = rawtls.Client("127.0.0.1", number, ca=self.box.ca, tls=tls, timeout=PATIENCE)
        client.ehlo()
        if not tls:
            client.starttls()
            client.ehlo()
        client.login(self.box.user, self.box.password)
        return client

    def run(self, case):
        """As a client would that is asked to come back: what a busy machine answers is no result."""
        for _ in range(TRIES):
            self.attempt(case)
            if BUSY not in case.trouble + case.reply:
                break
        return case

    def attempt(self, case):
        """Sends one message and says good-bye; notes the reply to it, and whatever else was said."""
        case.reply = case.trouble = ""
        payload = Payload(case.variant, case.number)
        split = next(split for name, split, _ in case.mode.splits if name == case.split)
        parts = split(payload)[case.way]
        try:
            with self.client(case.mode.port) as client:
                client.mail(f"alice@{DOMAIN}", [f"good-{case.number}@example.net"])
                answer = case.mode.send(client, parts, case.gap)
                case.reply = answer.text.partition("\n")[0]
                if case.variant.legal:
                    self.second(client)
                client.quit()
        except (AssertionError, OSError) as error:
            case.trouble = f"{type(error).__name__}: {error}"

    @staticmethod
    def second(client):
        """The replies to what follows a true end of data."""
        for want in (250, 250, 354, 250):
            client.reply(want)


# --------------------------------------------------------------------------- counting
class Cell:
    """What came of all the ways of one variant."""

    def __init__(self):
        self.intended = self.delivered = self.forged = 0
        self.refused = collections.Counter()
        self.wrong = []

    def add(self, case, found, server):
        self.intended += 1
        good, forged = found["good", case.number], found["forged", case.number]
        self.delivered += good
        refused = case.refused(server)
        if case.variant.legal:
            self.delivered += forged
            self.intended += 1
            forged = 0 if forged == 1 else 1
        self.forged += forged
        if case.trouble:
            self.wrong.append(f"{case.where}: {case.trouble}")
        elif forged or good > 1:
            self.wrong.append(f"{case.where}: {good} delivered, {forged} forged")
        elif case.reply.startswith("250"):
            if good != 1:
                self.wrong.append(f"{case.where}: {case.reply!r}, but {good} delivered")
        elif good or refused is None:
            self.wrong.append(f"{case.where}: {case.reply!r}, {good} delivered")
        else:
            self.refused[" ".join(refused.split()[:2])] += 1

    @property
    def text(self):
        if self.wrong:
            return f"**{self.forged} of {self.intended}, {len(self.wrong)} wrong**"
        refused = "".join(f", {code}" for code in self.refused)
        return f"{self.forged} of {self.intended}{refused}"


def sort_out(messages):
    """(kind, number) -> how many; and what belongs to no case."""
    found, strange = collections.Counter(), []
    for message in messages:
        match = ENVELOPE.search(message)
        if match:
            found[match[1].decode(), int(match[2])] += 1
        else:
            strange.append(message[:300])
    return found, strange


class Result:
    def __init__(self, server):
        self.server = server
        self.cells = {}  # (mode's name, variant) -> Cell
        self.direct = {}  # variant -> forged messages
        self.wrong = []
        self.seconds = 0.0
        self.missing = set()

    def add(self, cases, messages):
        found, strange = sort_out(messages)
        for case in cases:
            cell = self.cells.setdefault((case.mode.name, case.variant), Cell())
            cell.add(case, found, self.server)
        self.wrong += [f"{self.server.name} delivered what nobody sent: {message!r}" for message in strange]

    @property
    def failures(self):
        return [f"{self.server.name}: {line}" for cell in self.cells.values() for line in cell.wrong] + self.wrong


def through_postern(server, make_sandbox, modes, variants, numbers):
    begin = time.monotonic()
    result = Result(server)
    gate = Gate(server, make_sandbox)
    usable = [mode for mode in modes if mode.needs is None or mode.needs in gate.extensions]
    result.missing = {mode.name for mode in modes} - {mode.name for mode in usable}
    cases = make_cases(usable, variants, numbers)
    before = len(server.messages())
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(gate.run, cases))
    accepted = sum(case.reply.startswith("250") + case.variant.legal for case in cases)
    server.settle(before + accepted)
    result.add(cases, server.messages()[before:])
    result.seconds = time.monotonic() - begin
    return result


# ------------------------------------------------------------------------------ direct
def send_direct(server, variant, number, paused):
    """What the server does alone, with a client whose address it trusts."""
    payload = Payload(variant, number)
    parts = [payload.octets[:payload.last], *payload.steps] if paused else whole(payload)[0]
    client = smtp.Client("127.0.0.1", server.port, source=SOURCE, timeout=PATIENCE)
    with client:
        client.ehlo()
        client.mail(f"alice@{DOMAIN}", [f"good-{number}@example.net"])
        client.command("DATA", 354)
        try:
            # A server that looks whether one talks too early sees nothing.
            send_parts(client, parts, 0.1 if paused else 0)
            client.send(b"QUIT\r\n")
            client.sock.shutdown(socket.SHUT_WR)
            while client.receive():
                pass
        except OSError:
            pass  # it has had enough


def directly(server, variants, numbers):
    """Variant -> how many forged messages the server delivers at most, all in one or step by step."""
    tries = [(variant, next(numbers), paused) for variant in variants for paused in (False, True)]
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda each: send_direct(server, *each), tries))
    server.settle(0, timeout=30)
    found, _ = sort_out(server.messages())
    most = dict.fromkeys(variants, 0)
    for variant, number, _ in tries:
        most[variant] = max(most[variant], found["forged", number])
    return most


def start(name, directory, port):
    if name == "lenient":
        return Lenient(directory, port)
    if name == "lenient, CHUNKING":
        server = Lenient(directory, port, chunking=True)
        server.name = name
        return server
    return SERVERS[name](directory, port)
