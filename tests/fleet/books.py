# SPDX-License-Identifier: ISC
"""The books: what the server behind kept, what the ledger has, what the clients were told, what the meters
were charged; and whether all of it agrees.

Pure: rows in, findings and tables out.  What must hold after every fault:

1. Every message that the server kept stands in the ledger once, under its transaction's id: as accepted, with
   the server's own queue id, or, where the server never said so or the node could not hear it, as unknown.
2. The ledger has nothing else, but for unknown ones that a fault explains.
3. A client's 250 is one that the server gave; what the server gave a 250 for was never refused to a client
   that could be told.
4. In no window of taken_at is there more than a limit, the unknown ones included.
5. The meters were charged with at least what the ledger has; without a fault, with no more.
"""

import collections
import dataclasses

HEARING = 30.0  # seconds from its take in which a message ends, one way or another
CLOCK = 0.005  # taken_at has milliseconds
EVER = 1e9
CUT = 0.5  # a take's call begins before it is charged, and its end comes after
UPLOAD = 10.0  # the ledger has a row so long after its message


@dataclasses.dataclass(frozen=True)
class Event:
    """A row of the ledger."""
    tid: int
    node: int
    login: str
    credential: int
    tenant: str
    recipients: int
    octets: int
    state: str
    queue_id: str
    taken_at: float
    accepted_at: float
    addresses: tuple = ()  # of its recipients, which the server tells


@dataclasses.dataclass(frozen=True)
class Limit:
    """covers: the logins that it holds for; credential: of this one alone, 0 of all.  charged: what the meter
    says is used in a window that began before everything; None: there is none that long."""
    label: str
    quantity: str
    window_s: float
    most: int
    covers: frozenset
    credential: int = 0
    charged: int | None = None

    def amount(self, event):
        return {"messages": 1, "recipients": event.recipients, "bytes": event.octets, "distinct": 0}[self.quantity]

    def events(self, events):
        return [event for event in events if event.login in self.covers and self.credential in (0, event.credential)]


@dataclasses.dataclass(frozen=True)
class Strike:
    """A fault that a node did not survive whole; node: its name, "" the database's.  cost: at most so many
    messages were on their way through it."""
    at: float
    what: str
    node: str = ""
    cost: int = 0


@dataclasses.dataclass
class Books:
    deliveries: list
    events: list
    attempts: list
    limits: list
    strikes: list
    nodes: dict  # number in the ledger -> name

    def findings(self):
        return [*self.ledger(), *self.clients(), *self.windows(), *self.charges()]

    # ------------------------------------------------------- the server and the ledger
    def ledger(self):
        rows = collections.defaultdict(list)
        for event in self.events:
            rows[event.tid].append(event)
        deliveries = {delivery.tid: delivery for delivery in self.deliveries}
        kept = collections.Counter(delivery.tid for delivery in self.deliveries if delivery.kept)
        names = collections.Counter(delivery.message_id for delivery in self.deliveries if delivery.kept)
        yield from (f"at the server {count} times: {name}" for name, count in names.items() if count > 1)
        yield from (f"transaction {tid:x} brought {count} messages" for tid, count in kept.items() if count > 1)
        for tid, found in rows.items():
            if len(found) > 1:
                yield f"in the ledger {len(found)} times: {describe(found[0])}"
            yield from self.row(found[0], deliveries.get(tid))
        for tid, delivery in deliveries.items():
            if delivery.kept and tid not in rows:
                yield f"not in the ledger: {describe(delivery)}"
        yield from self.few()

    def row(self, event, delivery):
        if event.state == "accepted":
            if delivery is None or not delivery.told:
                yield f"accepted in the ledger, not by the server: {describe(event)}, {describe(delivery)}"
            elif event.queue_id != delivery.queue_id:
                yield f"another queue id than the server's {delivery.queue_id}: {describe(event)}"
        elif not self.explained(event, delivery):
            yield f"unknown for no reason: {describe(event)}, {describe(delivery)}"
        if delivery is not None and (delivery.sender, len(delivery.recipients)) != (event.login, event.recipients):
            yield f"other than at the server: {describe(event)}, {describe(delivery)}"

    def strike_of(self, event):
        """The first fault of its node that may have cut it off from its outcome."""
        name = self.nodes.get(event.node, "")
        return next((strike for strike in self.strikes if strike.node and strike.node == name
                     and event.taken_at - 1 <= strike.at <= event.taken_at + HEARING), None)

    def explained(self, event, delivery):
        return (delivery is not None and delivery.fate in ("hung", "dropped")) or self.strike_of(event) is not None

    def unknown_by_strike(self):
        """Strike -> the unknown ones that only it explains."""
        fates = {delivery.tid: delivery.fate for delivery in self.deliveries}
        found = collections.defaultdict(list)
        for event in self.events:
            if event.state == "unknown" and fates.get(event.tid) not in ("hung", "dropped"):
                found[self.strike_of(event)].append(event)
        return found

    def few(self):
        for strike, events in self.unknown_by_strike().items():
            if strike is not None and len(events) > strike.cost:
                yield f"{len(events)} unknown after {strike.what}, which {strike.cost} connections saw"

    # -------------------------------------------------------------------- the clients
    def clients(self):
        told = collections.defaultdict(list)
        for delivery in self.deliveries:
            told[delivery.message_id].append(delivery)
        for attempt in self.attempts:
            found = told.get(attempt.message_id, [])
            given = any(delivery.told for delivery in found)
            if attempt.where != "body" and found:
                yield f"at the server without an end of data: {attempt}"
            elif attempt.code // 100 == 2 and attempt.where == "body" and not given:
                yield f"told {attempt.code}, which the server did not say: {attempt}"
            elif given and attempt.code // 100 in (4, 5) and not self.struck(attempt):
                yield f"refused, and the server kept it: {attempt}"
        sent = {attempt.message_id for attempt in self.attempts}
        yield from (f"at the server, and nobody sent it: {name}" for name in told if name not in sent)

    def struck(self, attempt):
        """A fault of its node was between: the node could not know what the server said."""
        return any(strike.node == f"node{attempt.node}.test" and attempt.begun <= strike.at <= attempt.ended
                   for strike in self.strikes)

    # ------------------------------------------------------- after a loss of the standby's
    def whole(self):
        """The ledger, and what is missing there as the server has it."""
        rows = {event.tid for event in self.events}
        lost = [delivery for delivery in self.deliveries if delivery.kept and delivery.tid not in rows]
        return [*self.events, *(Event(delivery.tid, 0, delivery.sender, 0, "", len(delivery.recipients), delivery.octets,
                                      "lost", "", delivery.at, delivery.at, delivery.recipients) for delivery in lost)]

    def excess(self, cuts):
        """(limit, the most in any window, what was taken while the standby received nothing), of each limit of
        more than one credential."""
        events = self.whole()
        for limit in self.limits:
            if not limit.credential:
                unseen = [event for event in limit.events(events)
                          if any(begin - CUT <= event.taken_at <= end + CUT for begin, end in cuts)]
                yield limit, greatest(limit, events), greatest(dataclasses.replace(limit, window_s=EVER), unseen)

    def findings_after_loss(self, cuts):
        """What no setting may cost: a message twice, a 250 that was none, more above a limit or missing in the
        ledger than the standby did not receive."""
        yield from self.clients()
        for finding in self.ledger():
            if not finding.startswith("not in the ledger"):
                yield finding
        for event in self.whole():
            if event.state == "lost" and not any(begin - UPLOAD <= event.taken_at <= end + CUT for begin, end in cuts):
                yield f"not in the ledger, and no fault of the standby: {describe(event)}"
        for limit, most, unseen in self.excess(cuts):
            if most - limit.most > unseen:
                yield f"{limit.label}: {most - limit.most} above the limit, and only {unseen} were unseen"

    # --------------------------------------------------------------------- the limits
    def windows(self):
        for limit in self.limits:
            most = greatest(limit, self.events)
            if most > limit.most:
                yield f"{limit.label}: {most} {limit.quantity} in {limit.window_s:g} s, the limit is {limit.most}"

    def charges(self):
        for limit in self.limits:
            events = limit.events(self.events)
            used = sum(limit.amount(event) for event in events)
            # A client may declare more octets than it sends; they stay charged.
            exact = not self.strikes and limit.quantity != "bytes"
            if limit.charged is not None and (limit.charged < used or (exact and limit.charged > used)):
                yield f"{limit.label}: charged with {limit.charged}, the ledger has {used} {limit.quantity}"


def greatest(limit, events):
    """The most in any window of its length, wherever it begins."""
    rows = sorted(limit.events(events), key=lambda event: event.taken_at)
    within = collections.Counter()  # addresses
    most = total = first = 0
    for event in rows:
        total += limit.amount(event)
        within.update(event.addresses)
        while event.taken_at - rows[first].taken_at >= limit.window_s - CLOCK:
            total -= limit.amount(rows[first])
            within -= collections.Counter(rows[first].addresses)
            first += 1
        most = max(most, len(within) if limit.quantity == "distinct" else total)
    return most


def describe(thing):
    if thing is None:
        return "the server never saw its end"
    if isinstance(thing, Event):
        return f"{thing.state} {thing.tid:x} of {thing.login} at {thing.taken_at:.3f}"
    return f"{thing.fate} {thing.tid:x} of {thing.sender} by {thing.node} at {thing.at:.3f}"


# ------------------------------------------------------------------------- evidence
def table(rows):
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def message_table(books):
    fates = collections.Counter(delivery.fate for delivery in books.deliveries)
    states = collections.Counter(event.state for event in books.events)
    codes = collections.Counter(attempt.code for attempt in books.attempts if attempt.where == "body")
    kept = [delivery for delivery in books.deliveries if delivery.kept]
    rows = {event.tid for event in books.events}
    by_strike = sum(len(events) for events in books.unknown_by_strike().values())
    return table([
        ("messages", "number"),
        ("begun by clients", len(books.attempts)),
        ("refused by a limit", sum(attempt.by_limit for attempt in books.attempts)),
        ("told 250", codes[250]),
        ("ends of data at the server", len(books.deliveries)),
        ("of these kept, 250 said", fates["kept"] + fates["slow"]),
        ("kept, and the connection closed", fates["hung"]),
        ("not kept, and the connection closed", fates["dropped"]),
        ("refused after the end of data", fates["refused"] + fates["later"]),
        ("kept, and not in the ledger", sum(delivery.tid not in rows for delivery in kept)),
        ("accepted in the ledger", states["accepted"]),
        ("unknown in the ledger", states["unknown"]),
        ("of these because of a fault", by_strike),
        ("in the ledger more than once", len(books.events) - len(rows)),
    ])


def limit_table(books):
    rows = [("limit", "window", "most", "in any window", "in all", "charged")]
    for limit in books.limits:
        rows.append((limit.label, f"{limit.window_s:g} s", limit.most, greatest(limit, books.events),
                     greatest(dataclasses.replace(limit, window_s=EVER), books.events),
                     "-" if limit.charged is None else limit.charged))
    return table(rows)


def excess_table(books, cuts):
    rows = [("limit", "most", "in any window", "above it", "taken unseen by the standby")]
    for limit, most, unseen in books.excess(cuts):
        rows.append((limit.label, limit.most, most, max(0, most - limit.most), unseen))
    return table(rows)


def strike_table(books, begun):
    unknown = books.unknown_by_strike()
    return table([("at", "fault", "where", "unknown by it"),
                  *((f"{strike.at - begun:.1f} s", strike.what, strike.node or "database",
                     len(unknown.get(strike, [])) if strike.node else "-") for strike in books.strikes)])
