# SPDX-License-Identifier: ISC
"""A private PostgreSQL: no TCP, a socket of its own, passwords by SCRAM, run by a user that is not root."""

import os
import pwd
import secrets
import shutil
import time

from . import Failure
from .process import clean_environment, run

PORT = 5432
# Enough for a sandbox; a million accounts are loaded without waiting for checkpoints.
SETTINGS = {"listen_addresses": "", "max_connections": 100, "shared_buffers": "128MB",
            "max_wal_size": "4GB", "wal_level": "replica", "jit": "off", "log_min_messages": "warning",
            "log_line_prefix": "%m [%p] %u ", "unix_socket_permissions": "0777",
            "dynamic_shared_memory_type": "mmap", "wal_retrieve_retry_interval": "200ms"}
# A sandbox's data is worth nothing after a power cut.  --durable leaves these alone.
FAST = {"fsync": "off", "full_page_writes": "off"}


def server_directory():
    """The newest server's programs, or those in PATH."""
    base = "/usr/lib/postgresql"
    if os.path.isdir(base):
        for version in sorted((v for v in os.listdir(base) if v.isdigit()), key=int, reverse=True):
            if os.path.exists(f"{base}/{version}/bin/initdb"):
                return f"{base}/{version}/bin"
    for directory in os.environ.get("PATH", "").split(":"):
        if os.path.exists(os.path.join(directory, "initdb")):
            return directory
    raise Failure("no PostgreSQL server found: run deploy/dependencies demo")


def server_user():
    """Whom the server runs as: PostgreSQL refuses root and wants a user with a name."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    raise Failure("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def private_file(path, content, user=None):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(content)
    if user:
        shutil.chown(path, user)


class Database:
    """A server of the sandbox's: "postgres", or with --standby a second one that stands by the first.  Both
    have their sockets in one directory, and a port each; who is the primary may change."""

    PORTS = {"postgres": PORT, "standby": PORT + 1}

    def __init__(self, layout, name="postgres", durable=False):
        self.layout = layout
        self.name = name
        self.durable = durable
        self.port = self.PORTS[name]
        self.process = layout.process(name)
        self.programs = server_directory()
        self.user = server_user()

    @property
    def home(self):
        path = self.layout.path("postgres")
        return os.readlink(path) if os.path.islink(path) else path

    @property
    def socket(self):
        return os.path.join(self.home, "socket")

    @property
    def data(self):
        return os.path.join(self.home, "data" if self.name == "postgres" else self.name)

    def create(self):
        home = self.layout.private_directory("postgres", self.user)
        password = secrets.token_urlsafe(18)
        private_file(self.layout.path("pgpass"), f"*:*:*:postgres:{password}\n")
        password_file = os.path.join(home, "password")
        private_file(password_file, password, self.user)
        run(["mkdir", self.socket], user=self.user)
        run([f"{self.programs}/initdb", "-D", self.data, "-U", "postgres", "-E", "UTF8", "--no-locale",
             "--no-sync", "-A", "scram-sha-256", f"--pwfile={password_file}"], user=self.user)
        os.unlink(password_file)
        self.start()

    def start(self):
        settings = {**SETTINGS, "port": self.port, "unix_socket_directories": self.socket,
                    **({} if self.durable else FAST)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process.start([f"{self.programs}/postgres", "-D", self.data, *options], user=self.user,
                           output=self.layout.path("log", f"{self.name}.log"))
        deadline = time.monotonic() + 60
        while True:
            try:
                self.query("SELECT 1", database="postgres")
                return
            except Failure as failure:
                if self.process.pid is None or time.monotonic() > deadline:
                    raise Failure(f"PostgreSQL does not start: {failure}") from None
            time.sleep(0.02)

    def query(self, sql, *, database="postern"):
        """Runs SQL as the superuser; returns the rows unaligned, without headings."""
        return run([f"{self.programs}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                    "-h", self.socket, "-p", str(self.port), "-U", "postgres", "-d", database, "-f", "-"],
                   text=sql, environment={**clean_environment(),
                                          "PGPASSFILE": self.layout.path("pgpass")}).strip()

    def superuser_dsn(self):
        with open(self.layout.path("pgpass"), encoding="ascii") as file:
            return self.dsn("postgres", file.read().strip().rpartition(":")[2])

    def dsn(self, role, password):
        return f"host={self.socket} port={self.port} dbname=postern user={role} password={password}"

    def let_log_in(self, role):
        """Gives a role of the migrations a password; returns its DSN."""
        password = secrets.token_urlsafe(18)
        self.query(f"ALTER ROLE {role} LOGIN PASSWORD '{password}'")
        return self.dsn(role, password)
