# SPDX-License-Identifier: ISC
"""A primary and its standby: two servers of a sandbox, of which either may become the other.

Synchronous: what the service role was answered, the standby has been handed (`remote_write`).
Asynchronous: a promotion forgets what the standby had not received.  Owns who follows whom; the servers
themselves are database.py's.
"""

import contextlib
import os
import shutil
import signal
import time

from . import Failure
from .database import PORT, Database, private_file
from .process import clean_environment, kill_group, reap, run, start_time

PATIENCE = 60


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"not within {PATIENCE} s: {what}")
        time.sleep(0.02)


def both_hosts(dsn, socket):
    """A connection string that finds whichever of the two is the primary."""
    return dsn.replace(f"host={socket} port={PORT}", f"host={socket},{socket} port={PORT},{PORT + 1}") + \
        " target_session_attrs=read-write"


class Pair:
    def __init__(self, layout, *, synchronous, durable=False):
        self.synchronous = synchronous
        self.primary, self.standby = (Database(layout, name, durable) for name in ("postgres", "standby"))

    # ---------------------------------------------------------------- replication
    def follow(self):
        """(Re)makes the standby from the primary; whatever it had is gone."""
        standby, primary = self.standby, self.primary
        shutil.rmtree(standby.data, ignore_errors=True)
        passwords = os.path.join(primary.home, "pgpass")
        with open(primary.layout.path("pgpass"), encoding="ascii") as file:
            private_file(passwords, file.read(), primary.user)
        run([f"{primary.programs}/pg_basebackup", "-h", primary.socket, "-p", str(primary.port), "-U", "postgres",
             "-D", standby.data, "-R", "-c", "fast", "--no-sync"], user=standby.user,
            environment={**clean_environment(), "PGPASSFILE": passwords})
        standby.start()
        # It has the primary's settings; when it takes over there is nobody to wait for.
        alter(standby, "synchronous_standby_names = ''")
        wait_for(lambda: self.asks("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1",
                 "the standby follows")
        if self.synchronous:
            self.primary.query("ALTER ROLE postern_service SET synchronous_commit = 'remote_write'")
            alter(self.primary, "synchronous_standby_names = '*'")
            wait_for(lambda: self.asks("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1",
                     "the standby is synchronous")

    def asks(self, sql):
        return self.primary.query(sql, database="postgres")

    def wait_for_standby(self):
        """Until it has replayed what the primary has now."""
        position = self.asks("SELECT pg_current_wal_lsn()")
        wait_for(lambda: self.standby.query(f"SELECT pg_last_wal_replay_lsn() >= '{position}'", database="postgres") == "t",
                 "replication")

    def cut_off(self):
        """From now on the standby receives nothing: what it lacks is the lag of an asynchronous one."""
        alter(self.standby, "primary_conninfo = ''")
        wait_for(lambda: self.standby.query("SELECT count(*) FROM pg_stat_wal_receiver", database="postgres") == "0",
                 "the standby is cut off")

    # --------------------------------------------------------------------- faults
    def kill(self):
        """SIGKILL to the primary and all its processes; returns when they are gone."""
        kill_tree(self.primary.process.pid)

    def restart(self):
        self.kill()
        self.primary.start()

    @contextlib.contextmanager
    def frozen(self):
        """The primary stands still: it takes what it is sent, and says nothing."""
        postmaster = self.primary.process.pid
        stopped = [postmaster]
        os.kill(postmaster, signal.SIGSTOP)
        stopped += children_of(postmaster)
        for pid in stopped[1:]:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def without_standby(self):
        """It is killed: a synchronous primary answers no commit until it is back."""
        kill_tree(self.standby.process.pid)
        try:
            yield
        finally:
            self.standby.start()

    def promote(self):
        """The primary is killed and the standby takes over."""
        self.kill()
        self.standby.query("SELECT pg_promote(true, 60)", database="postgres")
        self.primary, self.standby = self.standby, self.primary


def alter(server, setting):
    server.query(f"ALTER SYSTEM SET {setting}", database="postgres")
    server.query("SELECT pg_reload_conf()", database="postgres")


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


def kill_tree(pid):
    """SIGKILL to a process and to all below it, and waits for their end; the process stood still meanwhile, so
    that it makes no more.  Returns how many there were."""
    tree = [pid]
    os.kill(pid, signal.SIGSTOP)
    for each in tree:
        tree += children_of(each)
    for each in tree:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass
    kill_group(pid)
    wait_for(lambda: all(start_time(each) is None for each in tree), f"the end of {pid}")
    for each in tree:
        reap(each)  # a server does not start while a dead one has its PID
    return len(tree)
