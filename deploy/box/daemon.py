# SPDX-License-Identifier: ISC
"""Postern itself in a sandbox: its accounts, its start, and whether it is ready."""

import http.client
import json
import os
import secrets
import string
import time

from . import Failure
from .process import clean_environment, run

DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
CAROL = f"carol@{DOMAIN}"
START_SECONDS = 60  # of a daemon under sanitizers on a busy machine


class Control:
    """posternctl with the admin role."""

    def __init__(self, program, dsn):
        self.program = program
        self.dsn = dsn

    def __call__(self, *arguments, text=""):
        return run([self.program, *arguments], text=text,
                   environment={**clean_environment(), "POSTERN_DSN": self.dsn})


def new_password():
    # Nothing in it that a shell, a URL or an option's first character could take amiss.
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))


# More than a sandbox sends, but metered all the same.
GENEROUS = {"messages_hour": 10**6, "messages_day": 10**7, "recipients_hour": 10**7,
            "recipients_day": 10**8}


class Accounts:
    """Made with posternctl; cost: its options for the price of a hash."""

    def __init__(self, control, database, cost):
        self.control = control
        self.database = database
        self.cost = cost
        database.query(f"SELECT postern.plan_set('generous', '{json.dumps(GENEROUS)}')")

    def add(self, login, password, **limits):
        """With itself as its only sender, as posternctl does; limits beside those of the plan."""
        self.control("account", "add", login, "--plan", "generous", *self.cost, text=password + "\n")
        if limits:
            self.control("limits", "set", login, *[f"{name}={value}" for name, value in limits.items()])

    def add_many(self, count, password):
        """user1 ... userN, all with the hash of the first: one Argon2id, not a million.

        Without triggers: they check references and draw versions anew, which new accounts do not need.
        """
        first = f"user1@{DOMAIN}"
        self.add(first, password)
        self.database.query(f"""
            SET session_replication_role = replica;
            SELECT postern.accounts_add_many(
                (SELECT array_agg('user' || n || '@{DOMAIN}') FROM generate_series(2, {count}) AS n),
                (SELECT password_hash FROM postern.account WHERE login = '{first}'), 'generous');
            ANALYZE postern.account, postern.sender""")


def get(port, path):
    """(status, body) of a GET from the admin process; (0, reason) when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def wait_until_ready(process, port, *, backend_expected):
    """Returns "" when Postern is ready, or why it is not yet when only that may be: a backend that is
    still to come."""
    deadline = time.monotonic() + START_SECONDS
    reason = "it has not answered yet"
    while time.monotonic() < deadline:
        if process.pid is None:
            raise Failure("Postern ended during its start")
        status, body = get(port, "/readyz")
        if status == 200:
            return ""
        reason = body or reason
        only_backend = bool(body) and all(line.startswith("backend:") for line in body.splitlines())
        if status == 503 and only_backend and not backend_expected and get(port, "/healthz")[0] == 200:
            return reason
        time.sleep(0.02)
    raise Failure(f"Postern is not ready after {START_SECONDS} s: {reason}")


def start(layout, program):
    conf = layout.path("postern.conf")
    run([program, "-t", "-c", conf])
    process = layout.process("postern")
    process.start([program, "-c", conf], output=layout.path("log", "postern.err"), cwd=layout.top)
    return process


def programs(build):
    found = {name: os.path.join(os.path.abspath(build), name) for name in ("postern", "posternctl")}
    for path in found.values():
        if not os.access(path, os.X_OK):
            raise Failure(f"{path} is not there: run make")
    return found
