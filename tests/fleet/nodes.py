# SPDX-License-Identifier: ISC
"""Three nodes on one database with a standby, and one server behind them; what may happen to each.

Owns the processes and their faults, and the accounts; judges nothing.
"""

import base64
import dataclasses
import hashlib
import json
import os
import re
import secrets
import signal
import time

import psycopg

import harness
import observe
from books import Limit, Strike
from box import daemon
from box.layout import Layout
from box.standby import Pair, kill_tree
from wire import Tls

NODES = 3
SETTINGS = ("log.level=info", "probe.interval=1h", "limits.connections_per_prefix=5000",
            "limits.unauthenticated_per_prefix=5000", "limits.unauthenticated=5000", "limits.errors=1000")


@dataclasses.dataclass(frozen=True)
class Account:
    """credentials: the limits of each; tenant, domain: whom it shares limits with."""
    name: str
    limits: dict
    credentials: tuple = ({},)
    tenant: str = ""
    domain: str = "fleet.test"

    @property
    def login(self):
        return f"{self.name}@{self.domain}"


@dataclasses.dataclass(frozen=True)
class Identity:
    """Who a writer is: one credential of an account."""
    login: str
    name: str
    number: int
    secret: str
    limits: tuple


# Some run into their limit within seconds, some late, one never: so there are takes at every moment, and
# takes at a limit from its first second on.
TENANTS = {"resale": ({"recipients_hour": 900}, ""), "pool": ({"messages_hour": 260}, "resale")}
DOMAINS = {"shared.test": {"messages_hour": 150}}
ACCOUNTS = (
    Account("free", {"messages_hour": 1000000}),
    Account("tight", {"messages_hour": 40, "recipients_day": 100}),
    Account("wide", {"messages_day": 300, "recipients_hour": 500}),
    Account("octets", {"bytes_hour": 60000}),
    Account("strangers", {"distinct_day": 50}),
    Account("guest", {}, domain="shared.test"),
    Account("visitor", {"recipients_day": 120}, domain="shared.test"),
    Account("first", {"messages_hour": 220}, tenant="pool"),
    Account("second", {}, tenant="pool"),
    Account("third", {"recipients_hour": 300}, tenant="resale"),
    Account("device", {"messages_hour": 200}, credentials=({}, {"messages_hour": 45})),
)
HOUR = 3600
SLOTS = 24  # of an hour
DAY = 24
# Where the database's functions know how long a slot is, and what to write there for one of {0} seconds.
SLOT_SECONDS = {"slot_of": ("/ 150)", "/ {0})"), "lease_take_at": ("* 150::bigint", "* {0}::bigint"),
                "meter_reset": ("* k.slot_s;", "* (k.slot_s / 150 * {0});"), "recipients_reset": ("* 150", "* {0}")}


STILL = 3.0  # seconds: more than a node waits for an answer


def pass_time(seconds):
    """The length of a fault, during which the clients go on."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)


class Node:
    def __init__(self, number, box, build):
        self.number = number
        self.name = f"node{number}.test"
        self.box = box
        self.program = os.path.join(os.path.abspath(build), "postern")
        self.port = box.smtps_port
        self.tls = Tls(box.ca)
        self.writers = 0

    def ready(self):
        return observe.get(self.box, "/readyz")[0] == 200

    def open(self):
        """What has not ended yet, of what ends when the clients have gone."""
        values = observe.metrics(self.box)
        return {name: values[f"postern_{name}"] for name in ("sessions", "backend_connections", "open_takes")
                if values[f"postern_{name}"] != 0}

    def kill(self, title):
        """SIGKILL to one process; returns when another stands in its place."""
        pid = self.box.child(title)
        os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda: self.box.children().get(title) not in (None, pid) and self.ready(),
                           f"another {title}", timeout=60)

    def kill_all(self):
        """SIGKILL to the master and all below it, at one moment; then a new start."""
        kill_tree(self.box.master_pid)
        self.start()

    def start(self):
        daemon.start(Layout(self.box.directory), self.program)
        harness.wait_until(self.ready, f"{self.name} to be back", timeout=60)


class Fleet:
    """synchronous: whether the standby has what was answered.  lag: of one that has not, in seconds.  hour: so
    many seconds, for windows that come to their end while one looks on."""

    def __init__(self, build, address, *, synchronous=True, lag=0.0, hour=HOUR):
        self.hour = hour
        self.lag = 0.0 if synchronous else lag
        self.strikes = []
        self.cuts = []  # (since, until): what was granted then, an asynchronous standby never saw
        self.nodes = []
        self.identities = []
        try:
            for number in range(1, NODES + 1):
                first = self.nodes[0].box if self.nodes else None
                kind = "synchronous" if synchronous else "asynchronous"
                box = harness.Sandbox(backend=address, build=build, settings=[*SETTINGS, f"hostname=node{number}.test"],
                                      beside=first, standby=None if first else kind).up()
                self.nodes.append(Node(number, box, build))
            self.pair = Pair(Layout(self.box.directory), synchronous=synchronous)
            if hour != HOUR:
                self.hasten()
            self.people()
            for node in self.nodes:
                observe.wait_ready(node.box)
        except BaseException:
            self.down()
            raise

    @property
    def box(self):
        """The one that has the database."""
        return self.nodes[0].box

    # --------------------------------------------------------------------- database
    def database(self):
        """A connection as the superuser, to whichever server is the primary."""
        with open(self.box.path("pgpass"), encoding="ascii") as file:
            password = file.read().strip().rpartition(":")[2]
        return psycopg.connect(re.sub(r"user=\S+ password=\S+", f"user=postgres password={password}", self.box.dsn),
                               autocommit=True)

    def rows(self, sql, parameters=()):
        with self.database() as database:
            return database.execute(sql, parameters).fetchall()

    def hasten(self):
        """Makes the slots of all meters shorter, in the functions that know how long one is."""
        with self.database() as database:
            for name, (old, new) in SLOT_SECONDS.items():
                text, = database.execute("SELECT pg_get_functiondef(%s::regproc)", (f"postern.{name}",)).fetchone()
                if old not in text:
                    raise AssertionError(f"{name}() has no {old!r} any more: say here how long a slot is")
                database.execute(text.replace(old, new.format(self.hour // SLOTS)))

    def people(self):
        with self.database() as database:
            database.execute("SELECT postern.plan_set('fleet')")
            for name, (limits, parent) in TENANTS.items():
                settings = {**limits, **({"parent": parent} if parent else {})}
                database.execute("SELECT postern.tenant_set(%s, %s::jsonb)", (name, json.dumps(settings)))
            for name, limits in DOMAINS.items():
                database.execute("SELECT postern.domain_set(%s, %s::jsonb)", (name, json.dumps(limits)))
            for account in ACCOUNTS:
                database.execute("SELECT postern.account_add(%s, NULL, 'fleet')", (account.login,))
                database.execute("SELECT postern.limits_set(%s, %s::jsonb)", (account.login, json.dumps(account.limits)))
                if account.tenant:
                    database.execute("SELECT postern.account_set_tenant(%s, %s)", (account.login, account.tenant))
                for limits in account.credentials:
                    self.identities.append(self.credential(database, account.login, limits))

    def credential(self, database, login, limits):
        """A generated one, hashed here as docs/credentials.md has it."""
        public, secret = (base64.b32encode(secrets.token_bytes(20)).decode().lower()[:size] for size in (12, 32))
        if limits:
            public = "7" + public[1:]  # one of the longest ids, as numbers
        text = f"pst_{public}_{secret}"
        with open(self.box.pepper, encoding="ascii") as file:
            pepper = bytes.fromhex(file.read().strip())
        key = hashlib.blake2b(b"postern pepper", key=pepper, digest_size=32).digest()[:8].hex()
        number = database.execute(
            "SELECT postern.credential_add(%s, %s, %s, %s, messages_hour => %s)",
            (login, public, key, hashlib.blake2b(text.encode(), key=pepper, digest_size=32).digest(),
             limits.get("messages_hour"))).fetchone()[0]
        return Identity(login, public, number, text, tuple(limits.items()))

    # ----------------------------------------------------------------------- limits
    def limits(self):
        """Every limit that was set, with what its meter was charged."""
        meters = {(scope, number): amounts for scope, number, *amounts in
                  self.rows("SELECT scope, id, messages, recipients, bytes FROM postern.meter")}
        ids = dict(self.rows("SELECT login, account_id FROM postern.account"))
        tenants = dict(self.rows("SELECT name, tenant_id FROM postern.tenant"))
        domains = dict(self.rows("SELECT name, domain_id FROM postern.domain"))
        found = []
        for account in ACCOUNTS:
            found += self.limits_of(account.name, account.limits, {account.login}, meters.get((1, ids[account.login])))
        for identity in self.identities:
            found += self.limits_of(f"credential of {identity.login.partition('@')[0]}", dict(identity.limits),
                               {identity.login}, meters.get((2, identity.number)), identity.number)
        for name, limits in DOMAINS.items():
            found += self.limits_of(f"domain {name}", limits, {account.login for account in ACCOUNTS if account.domain == name},
                               meters.get((3, domains[name])))
        for name, (limits, _) in TENANTS.items():
            found += self.limits_of(f"tenant {name}", limits, {account.login for account in ACCOUNTS if below(account.tenant, name)},
                               meters.get((4, tenants[name])))
        return found

    def limits_of(self, label, limits, covers, meter, credential=0):
        windows = {"hour": float(self.hour), "day": float(self.hour * DAY)}
        for name, most in limits.items():
            quantity, _, window = name.partition("_")
            charged = None
            if meter is not None and quantity != "distinct":
                charged = meter[("messages", "recipients", "bytes").index(quantity)]
            yield Limit(f"{label}: {name}", quantity, windows[window], most, frozenset(covers), credential, charged)

    # ----------------------------------------------------------------------- faults
    def strike(self, what, node=None):
        """Does it, and comes back when all is as before; one at a time."""
        if what != "loss":
            self.note(what, node)
        if what == "auth":
            node.kill("auth")
        elif what == "node":
            node.kill_all()
        elif what == "proxy":
            node.kill(sorted(title for title in node.box.children() if title.startswith("proxy "))[0])
        elif what == "database":
            self.pair.restart()
        elif what == "frozen":
            with self.pair.frozen():
                pass_time(STILL)
        elif what == "standby":
            with self.pair.without_standby():
                pass_time(STILL)
        elif what == "promotion":
            self.promote()
        elif what == "loss":
            self.promote(node)
        else:
            raise ValueError(what)
        harness.wait_until(lambda: all(each.ready() for each in self.nodes), "all nodes ready", timeout=60)

    def note(self, what, node):
        self.strikes.append(Strike(time.time(), what, node.name if node else "", node.writers if node else 0))

    def promote(self, node=None):
        """node: one that is lost at the same time, and can tell nobody what it was granted."""
        if self.lag:
            self.pair.cut_off()
            begun = time.time()
            pass_time(self.lag)
            self.cuts.append((begun, time.time()))
        if node is not None:
            self.note("loss", node)
            kill_tree(node.box.master_pid)
        self.pair.promote()
        if node is not None:
            node.start()
        self.pair.follow()

    def down(self):
        """Ends all; returns what is wrong with the processes that ended."""
        wrong = []
        for node in reversed(self.nodes):
            try:
                node.box.down()
            except AssertionError as error:
                wrong.append(str(error))
        return wrong


def below(tenant, name):
    """Whether a tenant is another, or has it above itself."""
    while tenant and tenant != name:
        tenant = TENANTS[tenant][1]
    return tenant == name
