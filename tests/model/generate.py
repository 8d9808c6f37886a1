# SPDX-License-Identifier: ISC
"""Sessions out of a seed: what a client sends, in which pieces, and what the backend does meanwhile.

The same seed gives the same session, whatever runs beside it.  Half of it is sane; the rest is every
kind of nonsense that the reference (reference.py) has an opinion about.
"""

import base64
import dataclasses
import random

from backend import KEYWORDS, Action, Plan, Weather
from reference import BAD_MAIL, BAD_RCPT, DOMAIN

FREE = 6  # accounts without a limit
TIGHT = FREE  # an account whose meter runs empty
NEVER = FREE + 1  # an account that may send nothing
BATCH = 100  # sessions under the same weather


@dataclasses.dataclass(frozen=True)
class Step:
    """Octets that leave together, cut at `cuts`; wait: for all replies afterwards.

    when: always; body: only while a body is asked for; sasl: only within AUTH; tls: STARTTLS' handshake.
    """
    name: str
    data: bytes = b""
    wait: bool = True
    when: str = "always"
    cuts: tuple = ()
    pause: float = 0.0


@dataclasses.dataclass(frozen=True)
class Session:
    seed: int
    port: str
    account: int
    steps: tuple
    plans: dict
    ending: str  # quit, half-close, close, reset

    def without(self, keep):
        return dataclasses.replace(self, steps=tuple(self.steps[i] for i in keep))


def login_of(account):
    return f"m{account}@m{account}.{DOMAIN}"


def plain(login, password, authzid=""):
    return base64.b64encode(f"{authzid}\0{login}\0{password}".encode())


# ------------------------------------------------------------------------ weather
NO_PIPELINING = tuple(word for word in KEYWORDS if word != "PIPELINING")
NO_CHUNKING = tuple(word for word in KEYWORDS if word != "CHUNKING")
POOR = ("SIZE 20000",)
FINE = (Action(code=220), Action(code=220))
WEATHERS = (
    Weather(),
    Weather("no pipelining", (NO_PIPELINING, NO_PIPELINING)),
    Weather("no chunking", (NO_CHUNKING, NO_CHUNKING)),
    Weather("one server refuses", greeting=(Action(code=554), Action(code=220))),
    Weather("poor servers", (POOR, POOR)),
    Weather("HELO only", ehlo=(Action(code=502), Action(code=500))),
    Weather(),
    Weather("both refuse", greeting=(Action(code=421), Action("close", 220))),
    Weather("neither", (("SIZE 1000000", "8BITMIME", "DSN", "SMTPUTF8"),) * 2),
    Weather("flaky", (KEYWORDS, NO_PIPELINING), (Action("garble", 220, garbage=3), Action("reset", 220)),
            (Action(), Action("close")), flaky=3),
    Weather("slow to greet", greeting=(Action(code=220, delay=0.03), Action(code=220))),
    Weather("EHLO refused for now", ehlo=(Action(code=451), Action())),
    Weather("HELO refused too", ehlo=(Action(code=500), Action(code=500)), helo=(Action(code=550), Action("garble"))),
)


def weather_of(seed):
    return WEATHERS[seed // BATCH % len(WEATHERS)]


# -------------------------------------------------------------------------- plans
REFUSALS = (450, 451, 452, 421, 499, 500, 550, 551, 552, 553, 554, 555, 571)


class Planner:
    def __init__(self, rng):
        self.rng = rng

    def action(self, good, trouble):
        """Mostly good; trouble: how often not."""
        rng = self.rng
        delay = rng.choice((0, 0, 0, 0, 0.002, 0.01, 0.03)) if rng.random() < 0.3 else 0
        style = dict(delay=delay, lines=rng.choice((1, 1, 1, 2, 5)), enhanced=rng.random() < 0.7)
        if rng.random() >= trouble:
            return Action(code=good, **style)
        kind = rng.choices(("say", "odd", "bye", "twice", "garble", "close", "reset"), (50, 8, 8, 6, 10, 12, 6))[0]
        if kind == "odd":
            return Action(code=rng.choice((250, 354, 200, 334, 221)), **style)
        code = good if kind in ("bye", "twice") and rng.random() < 0.7 else rng.choice(REFUSALS)
        return Action(kind, code, garbage=rng.randrange(100), **style)

    def plan(self, recipients):
        rng = self.rng
        rough = rng.random() < 0.35
        early = None
        if rng.random() < 0.06:
            early = self.action(rng.choice(REFUSALS), 0.3)
        return Plan(
            mail=self.action(250, 0.12 if rough else 0.02),
            rcpt=tuple(self.action(rng.choice((250, 250, 250, 251)), 0.3 if rough else 0.04)
                       for _ in range(recipients)),
            data=self.action(354, 0.2 if rough else 0.02),
            chunk=self.action(250, 0.2 if rough else 0.02),
            early=early,
            end=self.action(rng.choice((250, 250, 250, 250, 200, 299)), 0.35 if rough else 0.05),
            rset=self.action(250, 0.2 if rough else 0.02))


# --------------------------------------------------------------------------- bodies
PIECES = (b"Subject: x\r\n", b"hello world\r\n", b"\r\n", b"..\r\n", b"..x\r\n", b".x\r\n", b"...\r\n", b"a" * 998 + b"\r\n",
          b"QUIT\r\n", b"RSET\r\n", b"NOOP\r\n", b"DATA\r\n", b"\xc3\xa9\xff\x80\r\n", b"x" * 300, b" ", b"From nobody\r\n")
ROUGH = (b"\n", b"\r", b".\n", b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r.\r", b"\r\n.\r",
         b"\n.\r", b"\r.\n", b".\r", b"\n..\n", b"\r" * 300, b"\r" * 256 + b"\n", b"\n.\n.\n")


def smuggled(seed):
    return b"MAIL FROM:<s90.%d@m0.%s>\r\nRCPT TO:<r0.90.%d@rcpt.test>\r\nDATA\r\nevil\r\n" % (
        seed, DOMAIN.encode(), seed)


def header_of(rng, sender):
    """Most often what the account may write; its empty line with it, most often."""
    domain = sender.partition(b"@")[2]
    author = rng.choices((
        b"From: <%s>\r\n" % sender, b'From: "A. User"\r\n <other@%s>\r\n' % domain, b"from :<x@%s>\r\n" % domain,
        b".From: <%s>\r\n" % sender, b"From: <x@elsewhere.test>\r\n", b"From: <%s>\r\nFrom: <%s>\r\n" % (sender, sender),
        b"", b" folded: first\r\nFrom: <%s>\r\n" % sender, b"From nobody\r\nFrom: <%s>\r\n" % sender,
        b"hello\r\nFrom: <%s>\r\n" % sender), (60, 15, 8, 4, 4, 2, 3, 1, 1, 2))[0]
    before = rng.choice((b"", b"", b"Subject: x\r\n", b"X-Long: a\r\n\tb\r\n", b"Authentication-Results: forged\r\n\tpass\r\n",
                         b"x-postern-token: y\r\n", b"Received: from nowhere\r\n"))
    after = rng.choice((b"", b"Date: now\r\n", b"To: <x@y.test>\r\n"))
    return before * (not author.startswith((b" ", b"From n"))) + author + after + b"\r\n" * (rng.random() < 0.95)


def body_of(rng, seed, sender):
    """Octets without their end."""
    pieces = [header_of(rng, sender)]
    rough = rng.random() < 0.35
    for _ in range(rng.choice((0, 1, 3, 8, 20))):
        kind = rng.random()
        if rough and kind < 0.5:
            pieces.append(rng.choice(ROUGH))
        elif rough and kind < 0.55:
            pieces.append(smuggled(seed))
        else:
            pieces.append(rng.choice(PIECES))
    if rng.random() < 0.03:
        pieces.insert(rng.randrange(len(pieces) + 1), rng.choice((b"\0", b"\r\n\0.\r\n", b"\r\n.\0\r\n")))
    if rng.random() < 0.04:
        pieces.append((b"b" * 70 + b"\r\n") * rng.choice((300, 900, 1000)))
    body = b"".join(pieces)
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    # Nothing in it may be the end: what follows would be commands (which is a session of another kind).
    while (at := (b"\r\n" + body).find(b"\r\n.\r\n")) != -1:
        body = body[:at] + b"." + body[at:]
    return body


# ------------------------------------------------------------------------- sessions
SILLY = (b"EXPN x", b"TURN", b"ETRN x", b"XCLIENT LOGIN=root", b"XFORWARD NAME=x", b"BURL", b"SEND FROM:<a@b.c>", b"WIZ",
         b"FOO", b"", b" ", b"\xff\xfe", b"MAILX", b"NO\rOP", b"NOOP\nRSET", b"NO\0OP", b"x" * 4096, b"y" * 4097, b"z" * 9000,
         b"DATA x", b"RSET x", b"QUIT x", b"STARTTLS x", b"VRFY", b"EHLO", b"HELO", b"AUTH", b"AUTH FOO", b"AUTH PLAIN AAAA",
         b"AUTH PLAIN =", b"AUTH PLAIN a b", b"AUTH PLAIN YWJjZB==", b"AUTH LOGIN =", b"STARTTLS", b"MAIL", b"RCPT", b"mail FROM",
         b"EHLO \xff", b"EHLO " + b"e" * 256, b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 0x10", b"BDAT 5 LASTX", b"BDAT 5\rLAST",
         b"BDAT 0", b"BDAT 0 LAST", b"bdat 4 last\r\nRSET")
HARMLESS = (b"NOOP", b"NOOP x", b"RSET", b"rset ", b"VRFY <a@b.c>", b"HELP", b"HELP me", b"EHLO again.test", b"HELO again.test",
            b"noop  ", b"STARTTLS")


class Generator:
    def __init__(self, seed):
        self.seed = seed
        self.rng = random.Random(f"postern {seed}")
        self.planner = Planner(self.rng)
        self.steps = []
        self.plans = {}
        self.number = 0

    def add(self, name, data=b"", **options):
        self.steps.append(Step(name, data, **options))

    def line(self, text, **options):
        self.add(text[:60].decode("latin-1"), text + b"\r\n", **options)

    # ------------------------------------------------------------------ beginning
    def hello(self):
        self.line(self.rng.choice((b"EHLO client.test", b"EHLO client.test", b"EHLO [127.0.0.1]", b"ehlo x", b"HELO client.test")))

    def secure(self):
        if self.rng.random() < 0.9:
            self.hello()
        if self.rng.random() < 0.2:
            self.junk(3)
        if self.rng.random() < 0.03:
            self.line(b"STARTTLS\r\nEHLO injected", wait=True)
            return
        self.line(b"STARTTLS")
        self.add("handshake", when="tls")

    def credentials(self, account):
        rng, login = self.rng, login_of(account)
        wrong = rng.random()
        if wrong < 0.04:
            return login, "wrong"
        if wrong < 0.06:
            return "nobody@nowhere.test", login
        if wrong < 0.1:
            return login.upper(), login
        return login, login

    def login(self, account):
        rng = self.rng
        login, password = self.credentials(account)
        way = rng.random()
        if way < 0.6:
            authzid = rng.choice(("", "", "", "", login, "m1@elsewhere.test")) if rng.random() < 0.2 else ""
            self.line(b"AUTH PLAIN " + plain(login, password, authzid), wait=rng.random() < 0.8)
        elif way < 0.75:
            self.line(b"auth plain", wait=True)
            self.answer(plain(login, password))
        else:
            if rng.random() < 0.5:
                self.line(b"AUTH LOGIN " + base64.b64encode(login.encode()))
            else:
                self.line(b"AUTH LOGIN")
                self.answer(base64.b64encode(login.encode()))
            self.answer(base64.b64encode(password.encode()))

    def answer(self, right):
        rng = self.rng
        if rng.random() < 0.04:
            right = rng.choice((b"*", b"* ", b"*x", b"", b"=", b"EHLO x", b"A", b"AAA=BBB", b"\x80\x81", b"AAAA", b"x" * 13000))
        self.line(right, when="sasl" if rng.random() < 0.97 else "always")

    # ---------------------------------------------------------------- transactions
    def parameters(self, offered):
        rng = self.rng
        words = [b"SIZE=%d" % rng.choice((0, 10, 5000, 30000, 65536, 65537, 10**9, 10**19)), b"BODY=8BITMIME", b"BODY=7BIT",
                 b"SMTPUTF8", b"RET=HDRS", b"ENVID=ab+2Bcd", b"AUTH=<>", b"AUTH=e+3Dmc2@x.test", b"body=8bitmime"]
        rng.shuffle(words)
        return b"".join(b" " + word for word in words[:rng.choice((0, 0, 0, 1, 1, 2, 3))])

    def transaction(self, account):
        rng = self.rng
        self.number += 1
        count = rng.choice((1, 1, 1, 2, 2, 3, 5)) if rng.random() < 0.97 else rng.choice((0, 101, 140))
        self.plans[self.number] = self.planner.plan(count)
        domain = f"m{account}.{DOMAIN}".encode()
        if rng.random() < 0.05:
            domain = rng.choice((b"m%d.%s" % ((account + 1) % FREE, DOMAIN.encode()), b"elsewhere.test"))
        sender = b"s%d.%d@%s" % (self.number, self.seed, domain)
        group = [b"MAIL FROM:<%s>%s" % (sender, self.parameters(True) if rng.random() < 0.3 else b"")]
        if rng.random() < 0.04:
            group[0] = b"MAIL " + rng.choice(list(BAD_MAIL))
        for index in range(count):
            extra = rng.choice((b"", b" NOTIFY=NEVER", b" ORCPT=rfc822;a@b.c", b" notify=success,delay")) if rng.random() < 0.1 else b""
            group.append(b"RCPT TO:<r%d.%d.%d@rcpt.test>%s" % (index, self.number, self.seed, extra))
            if rng.random() < 0.05:
                group.append(b"RCPT " + rng.choice(list(BAD_RCPT)))
        pipelined = rng.random() < 0.6
        if rng.random() < 0.3:
            self.disturb(group)
            for text in group:
                self.line(text, wait=not pipelined or rng.random() < 0.1)
            self.chunks(body_of(rng, self.seed, sender), pipelined)
            return
        group.append(b"DATA")
        self.disturb(group)
        body = body_of(rng, self.seed, sender) + b".\r\n"
        for text in group:
            self.line(text, wait=not pipelined or rng.random() < 0.1)
        self.end_group(body)

    def chunks(self, body, pipelined):
        """The body in some chunks; now and then with something between them, or a size that is a lie."""
        rng = self.rng
        if rng.random() < 0.2:
            body = body.removesuffix(b"\r\n")
        cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((0, 0, 1, 1, 2, 4))))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        if rng.random() < 0.1:
            pieces.append(b"")
        for index, piece in enumerate(pieces):
            last = b" LAST" if index == len(pieces) - 1 and rng.random() < 0.97 else b""
            size = len(piece)
            if rng.random() < 0.03:
                size = rng.choice((size + 1, max(size - 1, 0), 0, 70000, 1200000, 2**62, 10**19))
            self.add(f"BDAT {size}", b"BDAT %d%s\r\n%s" % (size, last, piece), wait=not pipelined or rng.random() < 0.1)
            if rng.random() < 0.06:
                self.line(rng.choice((b"RSET", b"NOOP", b"EHLO again.test", b"DATA", b"RCPT TO:<r99.%d.%d@rcpt.test>" % (
                    self.number, self.seed), b"MAIL FROM:<a>", b"QUIT")), wait=rng.random() < 0.5)
        self.steps[-1] = dataclasses.replace(self.steps[-1], wait=rng.random() < 0.8)

    def disturb(self, group):
        rng = self.rng
        if rng.random() < 0.12:
            group.insert(rng.randrange(len(group)), rng.choice(HARMLESS))
        if rng.random() < 0.08:
            group.insert(rng.randrange(len(group)), rng.choice(SILLY))
        if rng.random() < 0.06:
            del group[rng.randrange(len(group))]
        if rng.random() < 0.02:
            rng.shuffle(group)

    def end_group(self, body):
        """DATA was the last: a sane client waits for 354."""
        rng = self.rng
        eager = rng.random() < 0.05
        last = dataclasses.replace(self.steps[-1], wait=not eager)
        self.steps[-1] = last
        cuts = tuple(sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((0, 0, 1, 3)))))
        if len(body) < 60 and rng.random() < 0.1:
            cuts = tuple(range(1, len(body)))
        self.add("body", body, when="always" if eager else "body", wait=rng.random() < 0.8, cuts=cuts,
                 pause=rng.choice((0, 0, 0.001, 0.005)))

    def junk(self, most):
        for _ in range(self.rng.randrange(1, most)):
            text = self.rng.choice(SILLY if self.rng.random() < 0.5 else HARMLESS)
            self.line(text, wait=self.rng.random() < 0.6)

    # ------------------------------------------------------------------- a session
    def session(self):
        rng = self.rng
        port = "submission" if rng.random() < 0.2 else "submissions"
        account = rng.choice((TIGHT, NEVER)) if rng.random() < 0.08 else rng.randrange(FREE)
        if port == "submission":
            self.secure()
        if rng.random() < 0.96:
            self.hello()
        if rng.random() < 0.1:
            self.junk(4)
        if rng.random() < 0.05:
            self.transaction(account)  # before AUTH: nothing of it may reach the backend
        if rng.random() < 0.97:
            self.login(account)
        if rng.random() < 0.12:
            self.login(account)
        if rng.random() < 0.3:
            self.hello()
        for _ in range(rng.choice((1, 1, 2, 2, 3, 5))):
            if rng.random() < 0.1:
                self.junk(4)
            self.transaction(account)
        if rng.random() < 0.02:
            for _ in range(rng.choice((22, 30))):
                self.line(rng.choice(SILLY), wait=False)
        ending = rng.choices(("quit", "half-close", "close", "reset"), (70, 12, 9, 9))[0]
        steps = [self.split(step) for step in self.steps]
        if ending in ("close", "reset", "half-close") and rng.random() < 0.6:
            steps = self.cut_off(steps)
        if ending == "quit":
            steps.append(Step("QUIT", b"QUIT\r\n"))
        return Session(self.seed, port, account, tuple(steps), self.plans, ending)

    def split(self, step):
        rng = self.rng
        if step.cuts or len(step.data) < 2 or rng.random() > 0.1:
            return step
        return dataclasses.replace(step, cuts=(rng.randrange(1, len(step.data)),), pause=rng.choice((0, 0.001, 0.003)))

    def cut_off(self, steps):
        """Ends anywhere, in the middle of a line as well."""
        rng = self.rng
        at = rng.randrange(len(steps))
        last = steps[at]
        keep = rng.randrange(len(last.data) + 1)
        return [*steps[:at], dataclasses.replace(last, data=last.data[:keep], wait=False,
                                                 cuts=tuple(cut for cut in last.cuts if cut < keep))]


def generate(seed):
    return Generator(seed).session()
