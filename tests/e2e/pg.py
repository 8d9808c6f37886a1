# SPDX-License-Identifier: ISC
"""A private PostgreSQL for tests: one cluster a session, UNIX socket only, gone afterwards.

Owns starting and ending it; knows nothing of Postern's schema.  initdb refuses root, so as root the
server runs as the user postgres.  KEEP=1 leaves the directory.
"""
import atexit
import functools
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg

SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "sql")
USER = "postgres"  # of the server's account when root, and of the cluster's superuser always


def bin_directory():
    found = shutil.which("initdb")
    if found:
        return os.path.dirname(os.path.realpath(found))
    versions = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if not versions:
        raise RuntimeError("no initdb: run deploy/dependencies test")
    return os.path.dirname(max(versions, key=lambda path: int(path.split("/")[4])))


class Server:
    """A running cluster.  server.dsn(dbname, user) is a libpq connection string."""

    def __init__(self):
        self.bin = bin_directory()
        self.directory = tempfile.mkdtemp(prefix="pg", dir="/tmp")  # short: a socket path has 107 octets
        self.process = None
        self.databases = 0
        if os.getuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self.directory, account.pw_uid, account.pw_gid)

    def _command(self, *words):
        if os.getuid() == 0:
            return ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", *words]
        return list(words)

    def start(self):
        data = os.path.join(self.directory, "data")
        if not os.path.isdir(data):
            subprocess.run(
                self._command(os.path.join(self.bin, "initdb"), "--no-sync", "-A", "trust", "-U", USER,
                              "-E", "UTF8", "--locale=C.UTF-8", "-D", data),
                check=True, cwd="/", stdout=subprocess.DEVNULL)
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(
                self._command(os.path.join(self.bin, "postgres"), "-D", data, "-k", self.directory,
                              "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60",
                              "-c", "shared_buffers=32MB"),
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.dsn("postgres")).close()
                return self
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as log:
                        raise RuntimeError("PostgreSQL did not start:\n" + log.read()) from None
                time.sleep(0.02)

    def stop(self):
        """Ends it at once, dropping connections; start() brings it back with its data."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(30)
        self.process = None

    def destroy(self):
        self.stop()
        if os.environ.get("KEEP") != "1":
            shutil.rmtree(self.directory)

    def dsn(self, dbname, user=USER):
        return f"host={self.directory} dbname={dbname} user={user}"

    def create_database(self, owner=USER):
        """A fresh database; returns its name."""
        self.databases += 1
        name = f"test{self.databases}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0")
        return name


@functools.lru_cache(maxsize=None)
def shared():
    """The session's server, started by the first caller and ended with the interpreter."""
    server = Server()
    atexit.register(server.destroy)
    return server.start()


def apply_migrations(dsn):
    """What posternctl db migrate does, without posternctl: each file in a transaction of its own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for path in sorted(glob.glob(os.path.join(SQL, "[0-9][0-9][0-9][0-9]_*.sql"))):
            with open(path, encoding="utf-8") as file, connection.transaction():
                connection.execute(file.read())
