# SPDX-License-Identifier: ISC
"""The kinds of log-ins that are refused, and a client that takes the time of each.

Two groups: what is a password, and what has the form of a generated secret (decided by its keyed hash
alone).  Within a group no kind may be told from another by octets or time.
"""

import base64
import crypt
import secrets
import time

import smtp
from test_auth import superuser

MALFORMED = "$argon2id$v=19$m=8192,t=1,p=1$!!!!$????"
ATTEMPTS = 3  # a session; a fourth is 421
LONG = 1024   # octets: the longest password that is one
PASSWORD = "right-password"


def plain(login, password, authzid=""):
    return b"AUTH PLAIN " + base64.b64encode(f"{authzid}\0{login}\0{password}".encode()) + b"\r\n"


def bcrypt(rounds):
    return crypt.crypt(PASSWORD, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=2**rounds))


def store(box, rows):
    """Hashes as no function would store them: login -> hash."""
    with superuser(box) as database:
        database.execute("ALTER TABLE postern.account DISABLE TRIGGER USER")
        for (constraint,) in database.execute("SELECT conname FROM pg_constraint WHERE conrelid = 'postern.account'::regclass "
                                              "AND contype = 'c'").fetchall():
            database.execute(f'ALTER TABLE postern.account DROP CONSTRAINT "{constraint}"')
        for login, row in rows.items():
            database.execute("UPDATE postern.account SET password_hash = %s WHERE login = %s", (row, login))
        database.execute("ALTER TABLE postern.account ENABLE TRIGGER USER")


def prepare(box):
    """Makes the accounts."""
    names = ("known", "disabled", "malformed", "empty", "cheaper", "dearer")
    for name in names:
        box.add_account(f"{name}@example.test", PASSWORD)
    box.ctl("account", "disable", "disabled@example.test")
    store(box, {"malformed@example.test": MALFORMED, "empty@example.test": None,
                "cheaper@example.test": bcrypt(4), "dearer@example.test": bcrypt(8)})


def wrong():
    return secrets.token_hex(8)


def form():
    """Of a generated secret."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    text = "".join(secrets.choice(letters) for _ in range(32))
    # The first character of a public id of 60 bits says no more than its other eleven.
    return f"pst_{''.join(secrets.choice(letters) for _ in range(12))}_{text}"


def groups(credential):
    """Group -> kind -> what makes a command of that kind; credential: one of the account known, without its secret."""
    def of(name, password):
        return lambda: plain(f"{name}@example.test", password())
    passwords = {
        "unknown": lambda: plain(f"nobody{secrets.randbelow(10**6)}@example.test", wrong()),
        "unknown, again": of("nobody", wrong),
        "wrong": of("known", wrong),
        "disabled": of("disabled", lambda: PASSWORD),
        "malformed hash": of("malformed", wrong),
        "no password": of("empty", wrong),
        "foreign authzid": lambda: plain("known@example.test", PASSWORD, "carol@example.test"),
        "1024 octets": of("known", lambda: "x" * LONG),
        "1024, unknown": of("nobody", lambda: "x" * LONG),
        "bcrypt, cheaper": of("cheaper", wrong),
        "bcrypt, dearer": of("dearer", wrong),
        "1024, bcrypt": of("dearer", lambda: "x" * LONG),
    }
    generated = {
        "known": of("known", form),
        "unknown": of("nobody", form),
        "disabled": of("disabled", form),
        "known, real id": of("known", lambda: credential + form()[-32:]),
        "unknown, real id": of("nobody", lambda: credential + form()[-32:]),
    }
    return {"passwords": passwords, "generated secrets": generated}


class Stopwatch:
    """Sends commands, three a session, and takes the time to each answer."""

    def __init__(self, box):
        self.box = box
        self.client = None
        self.left = 0

    def close(self):
        if self.client is not None:
            self.client.close()

    def take(self, command):
        """(octets of the reply, milliseconds)."""
        if self.left == 0:
            self.close()
            self.client = self.box.secured()
            self.left = ATTEMPTS
        self.left -= 1
        begin = time.perf_counter_ns()
        self.client.send(command)
        reply = self.client.read_line()
        return reply, (time.perf_counter_ns() - begin) / 1e6


def over_long(box):
    """What is too long to be a password at all: the replies, of a known and an unknown name."""
    replies = set()
    for name in ("known", "nobody"):
        with box.secured() as client:
            client.send(plain(f"{name}@example.test", "x" * (LONG + 1)))
            replies.add(client.read_line())
    return replies


def measure(box, kinds, samples, random):
    """Kind -> milliseconds, and the set of all replies.  Each round is every kind once, in another order."""
    times = {name: [] for name in kinds}
    replies = set()
    watch = Stopwatch(box)
    order = list(kinds)
    for number in range(samples + max(10, samples // 20)):
        random.shuffle(order)
        for name in order:
            reply, ms = watch.take(kinds[name]())
            replies.add(reply)
            if number >= max(10, samples // 20):  # the first rounds warm up
                times[name].append(ms)
    watch.close()
    return times, replies
