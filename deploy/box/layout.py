# SPDX-License-Identifier: ISC
"""Where things lie in a sandbox's directory, and the file `env` that tells others.

    env postern.conf     for people and tests
    pepper               the key of generated credentials
    tls/ mail/ log/      certificates, captured messages, logs
    run/ pids/           Postern's runtime directory; which processes were started
    spool/               Postern's spool
    postgres/            data and socket (or a link, see private_directory())
    postfix/             with --backend postfix
"""

import os
import pwd
import shlex
import shutil
import stat
import tempfile

from . import Failure
from .process import Process

SOCKET_PATH_MAX = 107 - len("/.s.PGSQL.5432.lock")
MARK = "sandbox"  # an empty file that says that the directory is ours to clear


class Layout:
    def __init__(self, directory):
        self.top = os.path.abspath(directory)

    def path(self, *parts):
        return os.path.join(self.top, *parts)

    def process(self, name):
        return Process(name, self.path("pids", name))

    @property
    def exists(self):
        return os.path.exists(self.path(MARK))

    def create(self):
        """Makes the directory, or clears what an earlier sandbox left there; touches nothing else's."""
        if self.exists:
            self.clear()
        elif os.path.isdir(self.top) and os.listdir(self.top):
            raise Failure(f"{self.top} is neither empty nor a sandbox: choose another --dir")
        os.makedirs(self.top, exist_ok=True)
        for name in ("tls", "log", "run", "pids"):
            os.mkdir(self.path(name))
        with open(self.path(MARK), "w", encoding="ascii"):
            pass

    def clear(self):
        self.bring_home()
        for name in os.listdir(self.top):
            path = self.path(name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def private_directory(self, name, user):
        """Makes D/name for another user's process; returns the path that this process should use.

        That user must be able to reach it, and a socket's path in it must fit into 107 bytes.  Where
        D does not allow that, the directory is made under /tmp and D/name is a link to it until
        bring_home().
        """
        path = self.path(name)
        if len(path) + len("/socket") <= SOCKET_PATH_MAX and reachable(self.top, user):
            os.mkdir(path)
        else:
            path = tempfile.mkdtemp(prefix="postern-", dir="/tmp")
            os.symlink(path, self.path(name))
        os.chmod(path, 0o755)
        if user:
            entry = pwd.getpwnam(user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def bring_home(self):
        """Moves what lies under /tmp to its place in D, once nothing runs there any more."""
        for name in os.listdir(self.top):
            link = self.path(name)
            if os.path.islink(link) and os.readlink(link).startswith("/tmp/postern-"):
                target = os.readlink(link)
                os.unlink(link)
                if os.path.isdir(target):
                    shutil.move(target, link)

    def write_env(self, values):
        descriptor = os.open(self.path("env"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            for name, value in values.items():
                file.write(f"{name}={shlex.quote(str(value))}\nexport {name}\n")

    def read_env(self):
        values = {}
        try:
            with open(self.path("env"), encoding="utf-8") as file:
                for line in file:
                    name, sep, value = line.rstrip("\n").partition("=")
                    if sep:
                        values[name] = shlex.split(value)[0]
        except FileNotFoundError:
            pass
        return values

    def tail(self, name, lines=15):
        """The last lines of a log, indented; "" when there is none."""
        try:
            with open(self.path("log", name), encoding="utf-8", errors="replace") as file:
                return "".join(f"    {line}" for line in file.readlines()[-lines:])
        except FileNotFoundError:
            return ""


def reachable(path, user):
    """Whether user (None: ourselves) may enter path and every directory above it."""
    if user is None:
        return True
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    while True:
        info = os.stat(path)
        if info.st_uid == entry.pw_uid:
            allowed = info.st_mode & stat.S_IXUSR
        elif info.st_gid in groups:
            allowed = info.st_mode & stat.S_IXGRP
        else:
            allowed = info.st_mode & stat.S_IXOTH
        if not allowed:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)
