# SPDX-License-Identifier: ISC
"""Plays sessions against a running Postern and judges them: each reply by the reference, each message
by what the backend has, all of them together by the meters and the log."""

import asyncio
import json
import re
import time

from generate import FREE, NEVER, TIGHT, login_of
from content import headed, normalised, unstuffed
from reference import DOMAIN, Illegal, Reference
from wire import Malformed, Wire

SESSION_SECONDS = 60
LEASES_S = 30
TRACE = re.compile(rb"Received: by submit\.example\.test[^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*")
ACCOUNTS = {login_of(n): ("tight" if n == TIGHT else "never" if n == NEVER else "free") for n in range(FREE + 2)}
DOMAINS = {login: login.partition("@")[2] for login in ACCOUNTS}


class Player:
    """One session of a client."""

    def __init__(self, stage, session):
        self.stage = stage
        self.session = session
        self.truth = stage.backend.expect(session.seed, session)
        self.reference = Reference(
            tls=session.port == "submissions", passwords={login: login for login in ACCOUNTS}, domains=DOMAINS,
            policies=ACCOUNTS, truth=self.truth, weather=stage.backend.weather,
            reject=session.port == "submission", strict=session.port == "submissions")
        self.wire = Wire(stage.tls)
        self.findings = []
        self.left = False  # the client went without waiting for an answer

    def event(self, text):
        self.truth.events.append(text)

    def finding(self, text):
        self.event(f"!!! {text}")
        self.findings.append(text)

    async def play(self):
        try:
            await asyncio.wait_for(self.run(), SESSION_SECONDS)
        except (Illegal, Malformed) as error:
            self.finding(str(error))
        except asyncio.TimeoutError:
            self.finding(f"no reply within {SESSION_SECONDS} s; owed for {self.reference.unit!r}")
        except (OSError, EOFError) as error:
            self.finding(f"the connection failed: {error!r}")
        finally:
            self.wire.close()

    async def run(self):
        await self.wire.connect(self.stage.ports[self.session.port])
        if self.session.port == "submissions":
            await self.wire.handshake()
        await self.catch_up()
        for step in self.session.steps:
            if not await self.step(step):
                break
        await self.end()

    async def step(self, step):
        """False: the dialogue is over."""
        reference = self.reference
        if reference.mode == "closed":
            return False
        if step.when == "tls":
            if reference.mode == "tls" and not reference.pending:
                self.event("C handshake")
                await self.wire.handshake()
                reference.secured()
            return reference.mode != "tls"
        if reference.mode == "tls":
            return False
        if step.when in ("body", "sasl") and reference.mode != step.when:
            return True
        begin = 0
        for cut in (*step.cuts, len(step.data)):
            piece = step.data[begin:cut]
            begin = cut
            if piece:
                self.event(f"C {show(piece)}{'' if step.wait else ' ...'}")
                reference.feed(piece)
                await self.wire.send(piece)
                await asyncio.sleep(step.pause)
        if step.wait:
            await self.catch_up()
        return True

    async def catch_up(self):
        while self.reference.owes():
            reply = await self.read()
            if reply is None:
                raise Illegal(f"closed in place of the reply to {self.reference.unit!r}")

    async def read(self):
        reply = await self.wire.reply()
        self.event(f"    S {reply!r}")
        if reply is not None:
            self.reference.reply(reply)
        return reply

    async def end(self):
        reference, ending = self.reference, self.session.ending
        self.event(f"C ({ending})")
        if reference.mode == "tls" or (reference.mode != "closed" and ending != "half-close"):
            self.left = True
            if ending == "reset":
                self.wire.reset()
            return
        if reference.mode != "closed":
            await self.wire.half_close()
        while reference.mode != "tls" and await self.read() is not None:
            pass
        if reference.owes() and not reference.gives_up():
            raise Illegal(f"closed in place of the reply to {reference.unit!r}")

    # -------------------------------------------------------------------- judging
    def judge(self):
        """What the backend has against what the client was told; once all is quiet."""
        truth, reference = self.truth, self.reference
        if truth.connections and not self.left and not self.findings and not reference.authenticated:
            self.finding("a backend connection without a log-in")
        committed = {number for number, _, _ in truth.committed}
        if len(committed) != len(truth.committed):
            self.finding(f"a message twice: {[number for number, _, _ in truth.committed]}")
        for number, code in reference.told.items():
            early = truth.answer("early", number)
            lied = early is not None and early.code is not None and early.code // 100 == 2
            lied |= truth.confused(number)
            if code // 100 == 2 and number not in committed and not lied:
                self.finding(f"told {code} for transaction {number}, which the backend did not take")
            if code // 100 != 2 and number in committed and not truth.confused(number):
                self.finding(f"told {code} for transaction {number}, which the backend took")
        for number in committed - set(reference.told):
            if not self.left and not self.findings:
                self.finding(f"not told about transaction {number}, which the backend took")
        for number, (recipients, body) in truth.ends.items():
            self.judge_message(number, recipients, body)

    def judge_message(self, number, recipients, body):
        sent = self.reference.bodies.get(number)
        if sent is None:
            if not self.left and not self.findings:
                self.finding(f"an end of data for transaction {number}, which the client did not send")
            return
        trace = TRACE.match(body)
        chunks = number not in self.reference.ended
        domain = DOMAINS[login_of(self.session.account)]
        want, faults = headed(normalised(sent, chunks), domain, self.reference.strict, chunks)
        got = body if trace is None else body[trace.end():]
        if chunks and not self.truth.chunking(number):
            got = unstuffed(got)
        if trace is None:
            self.finding(f"no trace line on top of transaction {number}: {body[:200]!r}")
        elif got != want:
            self.finding(f"transaction {number} was changed: sent {show(sent)}, got {show(got)}, want {show(want)}")
        if faults:
            self.finding(f"transaction {number} may not end with the author that it has: {show(sent)}")
        if self.reference.accepted.get(number) != len(recipients):
            self.finding(f"transaction {number}: {self.reference.accepted.get(number)} recipients accepted, "
                         f"the backend has {len(recipients)}")

    def dialogue(self):
        return "\n".join(self.truth.events)


def show(data, most=300):
    return repr(data if len(data) <= most else data[:most // 2] + b" ... " + data[-most // 2:])[1:]


# ------------------------------------------------------------------- all of them together
LOG = re.compile(r"event=transaction\b.*")
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')
TAG = re.compile(r"s(\d+)\.(\d+)@")


def transactions_in(log):
    """The canonical lines: dictionaries."""
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = {name: value.strip('"') for name, value in FIELD.findall(line)}
            if fields.get("event") == "transaction" or " transaction " in line:
                yield fields


def balance(box, players):
    """Takes granted less takes returned are the messages that the backend has; a list of findings.

    Postern's log names each transaction's end: accepted must be those that the backend took, unknown
    only those whose end of data was sent; both stay charged, and nothing else does.
    """
    findings, charged = [], {login: [0, 0] for login in ACCOUNTS}
    truths = {player.session.seed: player.truth for player in players}
    accepted = []
    for fields in transactions_in(box.log):
        tag = TAG.match(fields.get("from", ""))
        if tag is None or fields["reason"] not in ("accepted", "unknown"):
            continue
        number, seed = int(tag[1]), int(tag[2])
        charged[fields["login"]][0] += 1
        charged[fields["login"]][1] += int(fields["nrcpt"])
        truth = truths[seed]
        if fields["reason"] == "accepted":
            accepted.append((seed, number))
        elif not truth.confused(number) and any(n == number for n, _, _ in truth.committed):
            findings.append(f"session {seed}, transaction {number}: logged as unknown, the backend took it")
    committed = [(seed, number) for seed, truth in truths.items() for number, _, _ in truth.committed]
    early = {(seed, step[1]) for seed, truth in truths.items() for step, answer in truth.answers.items()
             if step[0] == "early" and answer.code is not None and answer.code // 100 == 2}
    lied = early | {(seed, number) for seed, truth in truths.items() for number in truth.carriers if truth.confused(number)}
    if wrong := (set(accepted) ^ set(committed)) - lied:
        findings.append(f"logged as accepted, or taken by the backend, but not both: {sorted(wrong)[:20]}")
    return findings + meters(box, charged)


def used_by(box, login):
    used = {row["limit"]: row["used"] for row in json.loads(box.ctl("account", "show", login, "--json"))["limits"]}
    return [used["messages_hour"], used["recipients_hour"]]


def meters(box, charged):
    """What was leased and not spent comes back when it is idle; then the database has what was sent."""
    deadline = time.monotonic() + LEASES_S
    while (wrong := [login for login in ACCOUNTS if used_by(box, login) != charged[login]]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [f"{login}: charged with {used_by(box, login)}, want {charged[login]} messages and recipients" for login in wrong]


def set_up(box):
    for login, policy in ACCOUNTS.items():
        box.add_account(login, login, senders=[f"@{DOMAINS[login]}"])
        if policy == "never":
            box.ctl("limits", "set", login, "messages_hour=0")
        if policy == "tight":
            box.ctl("limits", "set", login, "messages_hour=20")
    assert DOMAIN in login_of(0)
