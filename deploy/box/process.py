# SPDX-License-Identifier: ISC
"""Processes of a sandbox: started in a session of their own, found again by PID and start time.

A PID alone could meanwhile belong to somebody else; with the start time of /proc/PID/stat it cannot.
"""

import os
import select
import signal
import subprocess

from . import Failure


def start_time(pid):
    """Clock ticks since boot at which it started; None when there is no such process (or a zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


class Process:
    """One started process and the file that remembers it."""

    def __init__(self, name, pid_file):
        self.name = name
        self.pid_file = pid_file

    def start(self, argv, *, output, user=None, environment=None, cwd="/"):
        """Runs argv with its output appended to a file; user is a name, and needs root."""
        identity = {"user": user, "group": user, "extra_groups": []} if user else {}
        with open(output, "ab") as log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd,
                                     env=environment or clean_environment(), start_new_session=True,
                                     **identity)
        with open(self.pid_file, "w", encoding="ascii") as file:
            file.write(f"{child.pid} {start_time(child.pid) or 0}\n")
        # Popen's own bookkeeping would complain about a child that outlives this program.
        child.returncode = 0
        return child.pid

    def read(self):
        """(pid, start time), or None when it was never started."""
        try:
            with open(self.pid_file, encoding="ascii") as file:
                pid, started = file.read().split()
        except FileNotFoundError:
            return None
        return int(pid), int(started)

    @property
    def pid(self):
        """Its PID while it runs, else None."""
        known = self.read()
        if known is None or start_time(known[0]) != known[1]:
            return None
        return known[0]

    def stop(self, *, number=signal.SIGTERM, patience=30):
        """Signals it, waits for its end, kills it when it takes too long.  True: it ended by itself."""
        pid = self.pid
        gentle = True
        if pid is not None:
            gentle = end(pid, number, patience)
            # Whatever it left in its session (children of a killed master) goes with it.
            kill_group(pid)
        if os.path.exists(self.pid_file):
            os.unlink(self.pid_file)
        return gentle


def end(pid, number, patience):
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(descriptor, number)
        gentle = bool(select.select([descriptor], [], [], patience)[0])
        if not gentle:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], 10)
    except ProcessLookupError:
        gentle = True
    finally:
        os.close(descriptor)
    reap(pid)
    return gentle


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def reap(pid):
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def clean_environment():
    """What a daemon gets: a path and no more, apart from options for the sanitizers."""
    kept = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
            **kept}


def run(argv, *, user=None, environment=None, text=None, cwd="/"):
    """Runs a command to its end and returns its output; Failure with what it said when it fails."""
    identity = {"user": user, "group": user, "extra_groups": []} if user else {}
    done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          cwd=cwd, env=environment or clean_environment(), check=False, **identity,
                          **({"stdin": subprocess.DEVNULL} if text is None else {}))
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()
        raise Failure(f"{os.path.basename(argv[0])} failed with {done.returncode}:\n{said}")
    return done.stdout
