# SPDX-License-Identifier: ISC
"""The reference: what Postern may answer, by its documented rules, to octets as they come.

It reads the client's stream like a server would, and keeps the set of states in which Postern can be:
more than one where the documents leave the order of two events open (the backend's connection breaks
while commands are on their way).  Each reply must be legal in one of them; those in which it is not are
dropped.  What the backend said is known (Truth): a reply of the backend's must carry that very token.

Long: one machine, whose states do not come apart.
"""

import base64
import binascii
import re
import typing

from backend import Answer
from content import find_end, has_bare, headed, normalised

DOMAIN = "model.test"
MESSAGE_LIMIT = 64 * 1024
RECIPIENT_LIMIT = 100
ERROR_LIMIT = 20
PIPELINE_MAX = 128
JUNK_LIMIT = 100
LOGIN_FAILURES = 3
LINE_MAX = 4096
AUTH_LINE_MAX = 12288

BAD_MAIL = {
    b"": (501, "5.5.4"),
    b"FROM:<a b@x.test>": (501, "5.1.7"), b"FROM:<a@@x.test>": (501, "5.1.7"), b"FROM:<a>": (501, "5.1.7"),
    b"FROM:a@x.test": (501, "5.1.7"), b"FROM:<a@x.test": (501, "5.1.7"), b"FROM:<a@x..test>": (501, "5.1.7"),
    b"FROM": (501, "5.5.4"), b"TO:<a@x.test>": (501, "5.5.4"), b"FROM:<a@x.test>SIZE=1": (501, "5.5.4"),
    b"FROM:<a@x.test> FOO=1": (555, "5.5.4"), b"FROM:<a@x.test> AUTH=+4": (501, "5.5.4"),
    b"FROM:<a@x.test> AUTH=<> AUTH=<>": (555, "5.5.4"), b"FROM:<\xc3\xa9@x.test>": (553, "5.6.7"),
    b"FROM:<" + b"l" * 65 + b"@x.test>": (501, "5.1.7"), b"FROM:<\"\"@x.test>": (501, "5.1.7"),
    b"FROM:<a@x.test> =": (501, "5.5.4"),
}
BAD_RCPT = {
    b"": (501, "5.5.4"),
    b"TO:<>": (501, "5.1.3"), b"TO:<a@>": (501, "5.1.3"), b"TO:<a b@x.test>": (501, "5.1.3"), b"TO:a@x.test": (501, "5.1.3"),
    b"FROM:<a@x.test>": (501, "5.5.4"), b"TO": (501, "5.5.4"), b"TO:<a@x.test> FOO": (555, "5.5.4"),
    b"TO:<a@x.test> SIZE=1": (555, "5.5.4"), b"TO:<a@x.test>x": (501, "5.5.4"), b"TO:<\xff@x.test>": (553, "5.6.7"),
}
UNIMPLEMENTED = {b"EXPN", b"TURN", b"ETRN", b"XCLIENT", b"XFORWARD", b"BURL", b"SEND", b"WIZ"}
FOREIGN = {b"GET", b"POST", b"CONNECT"}
SENDER = re.compile(rb"FROM: *<(s(\d+)\.\d+@([\w.-]+))>((?: +[!-~]+)*) *", re.I)
RECIPIENT = re.compile(rb"TO: *<r(\d+)\.(\d+)\.\d+@rcpt\.test>((?: +[!-~]+)*) *", re.I)
NEEDS = {b"BODY": "8BITMIME", b"SMTPUTF8": "SMTPUTF8", b"RET": "DSN", b"ENVID": "DSN", b"NOTIFY": "DSN", b"ORCPT": "DSN",
         b"SIZE": "SIZE"}
LOST = (451, "4.4.2")
CHUNK = re.compile(rb"BDAT +(\d+)( LAST)?", re.I)
DROPPED_MAX = MESSAGE_LIMIT + 1024 * 1024  # octets of chunks that are dropped, and not the session
DROPPED_STRANGER = 64 * 1024


class Illegal(AssertionError):
    pass


# --------------------------------------------------------------------------- states
class Mail(typing.NamedTuple):
    """A transaction.  kind: open; lost (the backend's connection is known to be gone); drowning (commands are on
    their way to a backend that is gone); refused (MAIL was, RCPTs are on their way)."""
    kind: str
    number: int = 0
    given: int = 0  # recipients that the backend heard of
    accepted: int = 0
    chunks: str = ""  # going, or told: the message has failed, and the client knows it


class State(typing.NamedTuple):
    tls: bool
    helo: bool = False
    offered: frozenset = frozenset()
    auth: bool = False
    failures: int = 0
    errors: int = 0
    junk: int = 0
    over: int = 0  # replies since the errors were too many
    early: bool = False  # DATA was refused, and octets stood behind it
    refused: bool = False  # DATA was, and nothing came since
    step: str = ""  # within AUTH: plain, user, password
    login: bytes = b""
    mail: "Mail | None" = None


class Legal(typing.NamedTuple):
    """A reply that may come, and the state after it.  token: must be in its text.

    then: close, body, sasl, tls; told: it decides transaction `number`, as chunks make it.
    """
    code: int
    enhanced: str | None
    state: State
    then: str = ""
    token: str = ""
    number: int = 0


def is_error(code):
    return 500 <= code <= 504 or code in (530, 538, 555)


def own(state, code, enhanced, then="", **changes):
    """A reply of Postern's own, which counts as an error when it is one."""
    state = state._replace(**changes)
    if is_error(code):
        state = state._replace(errors=state.errors + 1)
    return Legal(code, enhanced, state, then)


class Reference:
    """tls: whether it begins in TLS.  policy: free, tight, never.  truth: the backend's.  weather: backend.Weather."""

    def __init__(self, *, tls, passwords, domains, policies, truth, weather, reject, strict):
        self.states = {State(tls)}
        self.passwords = passwords  # login -> password
        self.domains = domains  # login -> the domain it may use
        self.policies = policies  # login -> free, tight, never
        self.truth = truth
        self.weather = weather
        self.reject = reject  # line_endings
        self.strict = strict  # from = reject, else off
        self.pending = b""
        self.mode = "greeting"  # line, sasl, body, tls, closed
        self.unit = b""  # the line or body that is owed a reply; None: nothing is
        self.skipping = False
        self.want = 0  # octets of the chunk at hand that have not come
        self.octets = b""  # of it
        self.dropped = 0  # octets of a stranger's chunks
        self.chunks = {}  # N -> octets of all of its chunks so far
        self.number = 0  # of the transaction whose body is read
        self.told = {}  # N -> the code after the end of data
        self.accepted = {}  # N -> recipients when the body was asked for
        self.bodies = {}  # N -> octets as the client sent them
        self.ended = set()  # N whose body ended as DATA does
        self.authenticated = False

    # --------------------------------------------------------------------- octets
    def feed(self, data):
        self.pending += data
        self.cut()

    def gives_up(self):
        """Whether a client that will send nothing more may be left without the reply that is owed."""
        return self.mode == "sasl" or self.unit[:5].upper() == b"AUTH "

    def owes(self):
        """A reply is owed for what came so far."""
        return self.unit is not None and self.want == 0 and self.mode not in ("closed", "tls")

    def cut(self):
        """Takes the next line, with its chunk, or body off the stream, if it is whole."""
        self.cut_chunk()
        while self.unit is None and self.mode in ("line", "sasl", "body"):
            if self.mode == "body":
                end = find_end(self.pending)
                if end == -1:
                    return
                self.unit, self.pending = self.pending[:end], self.pending[end + 3:]
                self.bodies[self.number] = self.unit
                self.ended.add(self.number)
                return
            if not self.cut_line():
                return
            self.cut_chunk()

    def cut_chunk(self):
        if self.want and len(self.pending) >= self.want:
            self.octets, self.pending, self.want = self.pending[:self.want], self.pending[self.want:], 0

    def cut_line(self):
        end = self.pending.find(b"\r\n")
        if self.skipping:
            if end == -1:
                return False
            self.pending, self.skipping = self.pending[end + 2:], False
            return True
        sasl = self.mode == "sasl" or self.pending[:5].upper() == b"AUTH "
        limit = AUTH_LINE_MAX + 32 if sasl else LINE_MAX
        if end == -1 and len(self.pending) <= limit + 1:
            return False
        if end == -1 or end > limit:
            self.unit, self.skipping = b"\xff too long", True
            self.pending = self.pending[limit:]
            return True
        self.unit, self.pending = self.pending[:end], self.pending[end + 2:]
        self.octets, self.want = b"", self.wanted(self.unit) if self.mode == "line" else 0
        return True

    def secured(self):
        self.states = {state._replace(tls=True, helo=False, offered=frozenset(), errors=0) for state in self.states}
        self.mode = "line"
        self.cut()

    # -------------------------------------------------------------------- replies
    def reply(self, reply):
        """Checks a reply against what is owed; raises Illegal."""
        if self.mode == "closed":
            raise Illegal(f"{reply} after the last reply")
        legal = [option for state in self.states for option in self.options(state)]
        chosen = [option for option in legal if matches(option, reply)]
        if not chosen:
            wanted = sorted({f"{option.code} {option.enhanced or ''} {option.token}".strip() for option in legal})
            raise Illegal(f"{reply!r} to {describe(self.unit)}; legal: {', '.join(wanted) or 'nothing'}")
        self.settle(chosen, reply)

    def settle(self, chosen, reply):
        thens = {option.then for option in chosen}
        then = "" if "" in thens else thens.pop()
        if reply.code == 530:
            self.dropped += len(self.octets)
        if then == "told":
            self.told[chosen[0].number] = reply.code
        if self.mode == "body":
            self.told[self.number] = reply.code
            chosen = [option._replace(state=option.state._replace(mail=None)) for option in chosen]
        self.states = {option.state for option in chosen if option.then == then}
        if then == "body":
            mail = next(iter(self.states)).mail
            self.number = mail.number
            self.accepted[self.number] = mail.accepted
        if reply.code == 250 and "\n" in reply.text and self.unit[:4].upper() == b"EHLO":
            words = frozenset(line.split(" ")[0] for line in reply.text.split("\n")[1:])
            self.states = {state._replace(offered=words) for state in self.states}
        self.authenticated = all(state.auth for state in self.states)
        self.unit = None
        self.mode = {"": "line", "told": "line", "close": "closed", "body": "body", "sasl": "sasl", "tls": "tls"}[then]
        self.cut()

    def options(self, state):
        """Every legal reply in this state."""
        found = []
        early = state.early
        if self.owes():
            clean = state._replace(early=False, refused=False)
            found = [option._replace(state=overdue(option.state)) for option in self.answers(clean)]
            if state.refused and self.mode == "line" and not self.is_command(self.unit):
                found, early = [], True
        # Errors are counted when their reply leaves, which may wait behind the backend's, and looked
        # at with the next line at the latest.
        if state.errors > ERROR_LIMIT:
            found = found if state.over <= PIPELINE_MAX else []
            found.append(Legal(421, "4.7.0", state, "close"))
        # RFC 2920 3.1: what came behind DATA was meant as a body.
        if early:
            found.append(Legal(554, "5.5.0", state, "close"))
        return found

    def answers(self, state):
        if self.mode == "greeting":
            return [Legal(220, "", state)]
        if self.mode == "body":
            return list(self.end(state, self.unit))
        return [option for close in self.closure(state) for option in self.line(close, self.unit)]

    def closure(self, state):
        """The state, and what it may have become without a word."""
        yield state
        mail = state.mail
        if mail is None:
            return
        if mail.kind == "open" and self.truth.broken(mail.number):
            yield state._replace(mail=mail._replace(kind="lost"))
        if mail.kind in ("drowning", "refused") and not mail.chunks:
            yield state._replace(mail=None)

    # ---------------------------------------------------------------------- lines
    def line(self, state, line):
        if self.mode == "sasl":
            return list(self.response(state._replace(step=""), state.step, line))
        if line == b"\xff too long":
            sasl = self.mode == "sasl"
            return [own(state, 500, "5.5.6" if sasl else "5.5.2")]
        if b"\r" in line or b"\n" in line or b"\0" in line:
            return [own(state, 500, "5.5.2", "close" if line[:4].upper() == b"BDAT" else "")]
        text = line.rstrip(b" \t")
        verb, _, args = text.partition(b" ")
        verb, args = verb.upper(), args.lstrip(b" ")
        handler = getattr(self, "verb_" + verb.decode("latin-1").lower(), None) if verb.isalpha() else None
        if handler is not None:
            return list(handler(state, args))
        if verb in FOREIGN:
            return [Legal(421, "4.7.0", state, "close")]
        if verb in UNIMPLEMENTED:
            return [own(state, 502, "5.5.1") if state.tls else own(state, 530, "5.7.0")]
        return [own(state, 500, "5.5.2")]

    def is_command(self, line):
        if any(octet in line for octet in b"\r\n\0") or line == b"\xff too long":
            return False
        verb = line.rstrip(b" \t").partition(b" ")[0].upper()
        known = verb.isalpha() and hasattr(self, "verb_" + verb.decode("latin-1").lower())
        return known or verb in FOREIGN or verb in UNIMPLEMENTED

    @staticmethod
    def junk(state):
        state = state._replace(junk=state.junk + 1)
        return state._replace(errors=state.errors + 1) if state.junk > JUNK_LIMIT else state

    def needs(self, state, *, hello=False):
        """The refusal before anything else; None: go on."""
        if not state.tls:
            return own(state, 530, "5.7.0")
        if not state.auth:
            return own(state, 530, "5.7.0")
        if hello and not state.helo:
            return own(state, 503, "5.5.1")
        return None

    def hello(self, state, args, offered):
        state = self.junk(state)
        if not 0 < len(args) < 256 or any(octet < 32 or octet > 126 for octet in args):
            yield own(state, 501, "5.5.4")
        else:
            yield Legal(250, None, state._replace(helo=True, offered=frozenset(), mail=None))

    def verb_ehlo(self, state, args):
        return self.hello(state, args, True)

    def verb_helo(self, state, args):
        return self.hello(state, args, False)

    def verb_noop(self, state, args):
        yield Legal(250, "2.0.0", self.junk(state))

    def verb_rset(self, state, args):
        state = self.junk(state)
        yield own(state, 501, "5.5.4") if args else Legal(250, "2.0.0", state._replace(mail=None))

    def verb_vrfy(self, state, args):
        state = self.junk(state)
        yield self.needs(state) or (Legal(252, "2.1.5", state) if args else own(state, 501, "5.5.4"))

    def verb_help(self, state, args):
        state = self.junk(state)
        yield Legal(214, "2.0.0", state) if state.tls else own(state, 530, "5.7.0")

    def verb_quit(self, state, args):
        yield own(state, 501, "5.5.4") if args else Legal(221, "2.0.0", state, "close")

    def verb_starttls(self, state, args):
        if args:
            yield own(state, 501, "5.5.4")
        elif state.tls:
            yield own(state, 503, "5.5.1")
        else:
            if self.pending:  # octets behind it: an injection, if they are there yet
                yield Legal(554, "5.5.0", state, "close")
            yield Legal(220, "2.0.0", state, "tls")

    # ----------------------------------------------------------------------- AUTH
    def verb_auth(self, state, args):
        if not state.tls:
            yield own(state, 538, "5.7.11")
        elif state.auth or state.mail is not None or not state.helo:
            yield own(state, 503, "5.5.1")
        elif state.failures >= LOGIN_FAILURES:
            yield Legal(421, "4.7.0", state, "close")
        else:
            yield from self.auth(state, args)

    def auth(self, state, args):
        name, _, initial = args.partition(b" ")
        if not name or b" " in initial.lstrip(b" "):
            yield own(state, 501, "5.5.4")
        elif name.upper() not in (b"PLAIN", b"LOGIN"):
            yield own(state, 504, "5.5.4")
        elif initial:
            initial = b"" if initial == b"=" else initial
            yield from self.response(state, "plain" if name.upper() == b"PLAIN" else "user", initial)
        else:
            yield Legal(334, "", state._replace(step="plain" if name.upper() == b"PLAIN" else "user"), "sasl")

    def response(self, state, step, line):
        """A response of the client; step: what was asked for."""
        if line == b"\xff too long":
            yield own(state, 500, "5.5.6")
        elif b"\r" in line or b"\n" in line or b"\0" in line or (line == b"*" and step):
            yield own(state, 501, "5.7.0") if line == b"*" else own(state, 500, "5.5.2")
        elif (message := decoded(line)) is None:
            yield own(state, 500, "5.5.6") if len(line) > AUTH_LINE_MAX else own(state, 501, "5.5.2")
        elif step == "plain":
            parts = message.split(b"\0")
            if len(parts) != 3 or not parts[1] or not parts[2]:
                yield own(state, 501, "5.5.2")
            else:
                yield self.verdict(state, parts[1], parts[2], parts[0] not in (b"", parts[1]))
        elif not message:
            yield own(state, 501, "5.5.2")
        elif step == "user":
            yield Legal(334, "", state._replace(step="password", login=message), "sasl")
        else:
            yield self.verdict(state, state.login, message, False)

    def verdict(self, state, login, password, differs):
        name = login.decode("utf-8", "replace").lower()
        right = not differs and self.passwords.get(name) == password.decode("utf-8", "replace")
        if right:
            return Legal(235, "2.7.0", state._replace(auth=True, login=name.encode()))
        return Legal(535, "5.7.8", state._replace(failures=state.failures + 1, login=b""))

    # ----------------------------------------------------------------------- MAIL
    def verb_mail(self, state, args):
        refusal = self.needs(state, hello=True)
        if refusal is None and state.mail is not None and (state.mail.kind in ("open", "lost") or state.mail.chunks):
            refusal = own(state, 503, "5.5.1")
        if refusal is None:
            yield from self.mail(state._replace(mail=None), args)
        else:
            yield refusal

    def mail(self, state, args):
        found = SENDER.fullmatch(args)
        if args in BAD_MAIL:
            yield own(state, *BAD_MAIL[args])
        elif found is None:
            yield from nonsense(state, "5.1.7")
        elif (bad := bad_parameters(found[4], state.offered, b"AUTH")) is not None:
            yield own(state, *bad)
        elif size_of(found[4]) > MESSAGE_LIMIT:
            yield own(state, 552, "5.3.4")
        else:
            yield from self.policy(state, int(found[2]), found[3].decode(), found[4])

    def policy(self, state, number, domain, parameters):
        login = state.login.decode()
        if self.policies[login] == "tight":
            yield Legal(450, "4.7.1", state)
        if domain != self.domains[login]:
            yield Legal(550, "5.7.1", state)
            return
        yield from self.at_backend(state, number, parameters)

    def at_backend(self, state, number, parameters):
        """The connection, and MAIL on it."""
        weather, answer = self.weather, self.truth.answer("mail", number)
        if weather.may_fail():
            yield Legal(451, "4.4.1", state)
        missing = needed(parameters)
        if answer is None:
            if any(weather.lacks(word) for word in missing - {"8BITMIME"}):
                yield own(state, 555, "5.5.4")
            if "8BITMIME" in missing and weather.lacks("8BITMIME"):
                yield Legal(554, "5.6.3", state)
            if any(size_of(parameters) > size for size in weather.sizes()):
                yield Legal(552, "5.3.4", state)
        if self.truth.broken(number):
            yield drowned(state, *LOST)
        yield from self.relayed(state, answer, Mail("open", number), Mail("refused", number))

    def relayed(self, state, answer, taken, refused):
        """The backend's reply to MAIL or RCPT is the client's."""
        said = self.truth.tokens()
        if answer is not None:
            said[answer.token] = answer.code
        for token, code in said.items():
            if code is not None and misplaced(code):
                yield drowned(state, 451, "4.3.0")
            elif code is not None:
                yield Legal(code, None, state._replace(mail=taken if code // 100 == 2 else refused),
                            "close" if code == 421 else "", token)

    # ----------------------------------------------------------------------- RCPT
    def verb_rcpt(self, state, args):
        refusal = self.needs(state)
        if refusal is None and state.mail is None:
            refusal = own(state, 503, "5.5.1")
        if refusal is not None:
            yield refusal
            return
        kind, number, given, accepted, chunks = state.mail
        if chunks:
            yield own(state, 503, "5.5.1")
            return
        if kind == "lost":
            yield own(state, *LOST)
            return
        found = RECIPIENT.fullmatch(args)
        if args in BAD_RCPT:
            yield own(state, *BAD_RCPT[args])
        elif found is None:
            yield from nonsense(state, "5.1.3")
        elif (bad := bad_parameters(found[3], state.offered)) is not None:
            yield own(state, *bad)
        elif kind == "drowning":
            yield own(state, *LOST)
            if int(found[1]) >= RECIPIENT_LIMIT:  # as many may have been on their way
                yield Legal(452, "4.5.3", state)
        else:
            yield from self.recipient(state, found, kind, number, given, accepted)

    def recipient(self, state, found, kind, number, given, accepted):
        answer = self.truth.answer("rcpt", int(found[2]), int(found[1]))
        if given >= RECIPIENT_LIMIT:
            yield Legal(452, "4.5.3", state)
        if needed(found[3]) and self.weather.lacks("DSN"):
            yield own(state, 555, "5.5.4")
        if self.truth.broken(number):
            yield drowned(state, *LOST)
        for option in self.relayed(state, answer, Mail(kind, number, given + 1, accepted + 1),
                                   Mail(kind, number, given + 1, accepted)):
            yield option
            if option.state.mail.kind == "drowning":  # nothing else was on its way: the sender stands
                yield option._replace(state=state._replace(mail=Mail("lost", number, given + 1, accepted)))

    # ----------------------------------------------------------------------- DATA
    def verb_data(self, state, args):
        refusal = self.needs(state)
        if refusal is None and args:
            refusal = own(state, 501, "5.5.4")
        if refusal is None and state.mail is None:
            refusal = own(state, 503, "5.5.1")
        if refusal is not None:
            yield from self.refused(refusal)
            return
        kind, number, given, accepted, chunks = state.mail
        done = state._replace(mail=None)
        if chunks:
            yield from self.refused(own(state, 503, "5.5.1"))
        elif given == 0 and kind in ("open", "lost"):
            yield from self.refused(own(state, 503, "5.5.1"))
        elif kind in ("lost", "drowning"):
            yield from self.refused(own(done, *LOST))
            if kind == "drowning":  # it was given before any RCPT, whose replies are still to come
                yield from self.refused(own(state, 503, "5.5.1"))
        elif kind == "refused" and given == 0:
            yield from self.refused(own(state, 503, "5.5.1"))
            yield from self.data(state, done, number, accepted)
        else:
            yield from self.data(state, done, number, accepted)

    def data(self, state, done, number, accepted):
        answer = self.truth.answer("data", number)
        if self.truth.broken(number) or (answer is not None and (answer.code is None or
                                    (answer.code < 400 and answer.code != 354))):
            yield from self.refused(own(done, *LOST))
        for token, code in self.truth.tokens().items():
            if code is not None and code >= 400:
                yield from self.refused(Legal(code, None, done, "close" if code == 421 else "", token))
        if accepted == 0:
            yield from self.refused(Legal(554, "5.5.1", done))
            return
        policy = self.policies[state.login.decode()]
        if policy == "never":
            yield from self.refused(Legal(550, "5.7.1", done))
            return
        if policy == "tight":
            yield from self.refused(Legal(450, "4.7.1", done))
        if answer is None or answer.code is None:
            return
        if answer.code == 354:
            yield Legal(354, "", state, "body")
        elif answer.code // 100 > 3:
            yield from self.refused(Legal(answer.code, None, done, "close" if answer.code == 421 else "", answer.token))

    def refused(self, option):
        """DATA was; a body that came already, or begins now, must not be run as commands."""
        yield option._replace(state=option.state._replace(early=bool(self.pending), refused=True))

    # ----------------------------------------------------------------------- BDAT
    def wanted(self, line):
        """How many octets follow a line as its chunk; a chunk that is not dropped for its size is not waited for."""
        found = CHUNK.fullmatch(line.rstrip(b" \t"))
        most = DROPPED_MAX if any(state.auth for state in self.states) else DROPPED_STRANGER - self.dropped
        return int(found[1]) if found and int(found[1]) <= most else 0

    def verb_bdat(self, state, args):
        found = CHUNK.fullmatch(self.unit.rstrip(b" \t"))
        if found is None or int(found[1]) >= 2**63:
            yield own(state, 501, "5.5.4", "close")
            return
        size, last = int(found[1]), bool(found[2])
        refusal = self.needs(state)
        if refusal is not None:
            yield refusal._replace(then="close" if self.dropped + size > DROPPED_STRANGER else "")
        elif size > DROPPED_MAX:
            yield own(state, 552, "5.3.4", "close")
        elif state.mail is None:
            yield own(state, 503, "5.5.1")
        elif state.mail.chunks == "told":
            yield Legal(503, "5.5.1", state)
        elif state.mail.given == 0 and state.mail.kind in ("open", "lost"):
            yield own(state._replace(mail=state.mail._replace(chunks="told")), 503, "5.5.1")
        else:
            yield from self.chunk(state, size, last)

    def chunk(self, state, size, last):
        """A chunk of a message that has not failed so far, as far as the client knows."""
        kind, number, _, accepted, chunks = state.mail
        failed = state._replace(mail=None if last else state.mail._replace(chunks="told"))

        def fails(option):
            return option._replace(then=option.then or "told", number=number)
        so_far = self.chunks.get(number, b"")
        if kind in ("lost", "drowning"):
            yield fails(own(failed, *LOST))
            return
        if self.truth.broken(number):
            yield fails(own(failed, *LOST))
        if len(so_far) + size > min([MESSAGE_LIMIT, *self.weather.sizes()]):
            yield fails(own(failed, 552, "5.3.4"))
        if not chunks:
            yield from map(fails, self.first_chunk(failed, number, accepted))
        for answer in self.truth.within(number):
            if answer.code // 100 > 3:
                yield fails(Legal(answer.code, None, failed, "close" if answer.code == 421 else "", answer.token))
            elif answer.code != 250 or answer is self.truth.answer("early", number):
                yield fails(own(failed, 451, "4.3.0"))
                yield fails(own(failed, *LOST))
                yield from map(fails, self.final(failed, answer))  # the end had been sent already
        yield from map(fails, self.shifted(failed))
        if chunks or self.goes(state, number, accepted):
            yield from self.taken(state, failed, so_far + self.octets, last, fails)

    def shifted(self, failed):
        """Where the backend said a thing twice, that may answer a piece: no code tells them apart."""
        said = self.truth.tokens()
        if said:
            yield own(failed, 451, "4.3.0")
        for token, code in said.items():
            if code is not None and not misplaced(code):
                yield from self.final(failed, Answer(code, token))

    def goes(self, state, number, accepted):
        """The first chunk may be taken."""
        answer = self.truth.answer("data", number)
        ready = self.truth.chunking(number) or (answer is not None and answer.code == 354)
        return ready and accepted > 0 and self.policies[state.login.decode()] != "never"

    def first_chunk(self, failed, number, accepted):
        """The refusals that wait for it, as they do for DATA."""
        answer = self.truth.answer("data", number)
        policy = self.policies[failed.login.decode()]
        if accepted == 0:
            yield Legal(554, "5.5.1", failed)
        elif policy == "never":
            yield Legal(550, "5.7.1", failed)
        elif policy == "tight":
            yield Legal(450, "4.7.1", failed)
        if answer is not None and answer.code is not None and answer.code // 100 > 3:
            yield Legal(answer.code, None, failed, "close" if answer.code == 421 else "", answer.token)
        elif answer is not None and answer.code != 354:
            yield own(failed, *LOST)

    def taken(self, state, failed, octets, last, fails):
        number = state.mail.number
        content = list(self.content(failed, octets, True, last))
        yield from map(fails, content)
        if not last:
            self.chunks[number] = octets  # a chunk that fails is the last that is looked at
            yield Legal(250, "2.0.0", state._replace(mail=state.mail._replace(chunks="going")))
            return
        self.bodies[number] = octets
        self.accepted[number] = state.mail.accepted
        answer = self.truth.answer("end", number)
        if answer is not None and not content:
            lost = answer.code is None or misplaced(answer.code)
            yield from map(fails, [own(failed, *LOST)] if lost else self.final(failed, answer))

    # ------------------------------------------------------------------------ end
    def end(self, state, body):
        number = state.mail.number
        content = list(self.content(state, body))
        yield from content
        early = self.truth.answer("early", number)
        if self.truth.broken(number):
            yield own(state, *LOST)
        if early is not None and early.code is not None:
            yield from self.final(state, early)
            if early.code // 100 < 4:
                yield own(state, 451, "4.3.0")
                yield own(state, *LOST)
        if self.truth.tokens():  # a reply too many may come within the body
            yield own(state, 451, "4.3.0")
        answer = self.truth.answer("end", number)
        if answer is not None and not content:
            if answer.code is None or misplaced(answer.code):
                yield own(state, *LOST)
            else:
                yield from self.final(state, answer)

    def final(self, state, answer):
        if answer.code // 100 == 2:
            state = state._replace(errors=0, junk=0)
        yield Legal(answer.code, None, state, "close" if answer.code == 421 else "", answer.token)

    def content(self, state, body, chunks=False, whole=True):
        """What is refused for its octets; whole: all of them are there."""
        domain = self.domains[state.login.decode()]
        for fault in headed(normalised(body, chunks), domain, self.strict, chunks, whole)[1]:
            yield Legal(*fault, state)
        if b"\0" in body:
            yield own(state, 550, "5.6.0")
        if self.reject and has_bare(body, chunks):
            yield own(state, 550, "5.5.2")
        if len(body) > min([MESSAGE_LIMIT, *self.weather.sizes()]):
            yield own(state, 552, "5.3.4")


# ---------------------------------------------------------------------------- helpers
def nonsense(state, address):
    """Octets of a body that were read as a command: something is wrong with them, the model does not say what."""
    for code, enhanced in ((501, address), (501, "5.5.4"), (555, "5.5.4"), (553, "5.6.7")):
        yield own(state, code, enhanced)


def misplaced(code):
    """A reply of another command than MAIL, RCPT or the end of a message."""
    return code // 100 == 3 or code in (211, 214, 220, 221, 235)


def drowned(state, code, enhanced):
    """The connection went with a reply owed: this one, and those behind it, are 451."""
    return Legal(code, enhanced, state._replace(mail=Mail("drowning")))


def overdue(state):
    """A state after one more reply."""
    return state._replace(over=state.over + 1) if state.errors > ERROR_LIMIT else state._replace(over=0)


def matches(option, reply):
    return (option.code == reply.code and option.enhanced in (None, reply.enhanced)
            and option.token in reply.text)


def describe(unit):
    return "nothing" if unit is None else repr(unit if len(unit) < 200 else unit[:100] + b"..." + unit[-40:])


def decoded(text):
    try:
        message = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return message if base64.b64encode(message) == text else None


def words_of(parameters):
    return [word.upper().partition(b"=") for word in parameters.split()]


def needed(parameters):
    """The extensions without which these parameters cannot go on."""
    return {NEEDS[name] for name, _, value in words_of(parameters)
            if name in NEEDS and name != b"SIZE" and (name, value) != (b"BODY", b"7BIT")}


def bad_parameters(parameters, offered, *known):
    seen = set()
    for name, _, _ in words_of(parameters):
        if name in seen or (name not in known and NEEDS[name] not in offered):
            return (555, "5.5.4")
        seen.add(name)
    return None


def size_of(parameters):
    return next((int(value) for name, _, value in words_of(parameters) if name == b"SIZE"), 0)
