# SPDX-License-Identifier: ISC
"""A mail server from its Debian package, run as shipped, in a root of its own.  Needs root.

A copy of the package as tests/tools/mta-fetch unpacked it lies over this machine's file system
(overlayfs, in a mount namespace of its own), so that every path that is compiled in exists, and
nothing that is written leaves the box's directory.  Process, host name and mount namespaces are the box's; the network
is the machine's, and only loopback is used.  DNS answers nothing.

    D/upper          the package, and what is written
    D/private/PATH   directories that show nothing of the machine, the package's files copied in
    D/box            /box inside; D/log its output
"""

import os
import shutil
import signal
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MTA = os.path.join(ROOT, "build", "mta")
HOSTNAME = "box.test"

INSIDE = """\
set -e
mount -t overlay overlay -o "lowerdir=/,upperdir=$D/upper,workdir=$D/work" "$D/root"
mount -t proc proc "$D/root/proc"
# Devices of its own: what a package's scripts do to /dev must not reach the machine's.
mount -t tmpfs -o mode=755 tmpfs "$D/root/dev"
for device in null:3 zero:5 full:7 random:8 urandom:9; do
	mknod -m 666 "$D/root/dev/${device%:*}" c 1 "${device#*:}"
done
ln -s /proc/self/fd "$D/root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$D/root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$D/root/run"
mount --bind "$D/box" "$D/root/box"
for path in $PRIVATE; do
	mount --bind "$D/private$path" "$D/root$path"
done
hostname "$HOSTNAME"
exec chroot "$D/root" /bin/sh -c "$COMMAND"
"""


def fetch(*names):
    subprocess.run([os.path.join(ROOT, "tests", "tools", "mta-fetch"), *names], check=True,
                   stdout=subprocess.DEVNULL)


class Box:
    """users: (name, number) to be known inside, each with a group of that name and number."""

    def __init__(self, package, directory, *, private=(), users=()):
        fetch(package)
        self.package = os.path.join(MTA, package)
        self.directory = directory
        self.private = ["/var/spool", "/var/mail", *private]
        self.process = None
        self.unpack()
        for name in ("upper/etc", "upper/box", "work", "root", "box"):
            os.makedirs(self.path(name), exist_ok=True)
        os.chmod(directory, 0o755)
        for path in self.private:
            self.make_private(path)
        self.know(users)
        self.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.0.1 {HOSTNAME} box\n")
        self.write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self.write("/etc/mailname", f"{HOSTNAME}\n")
        self.write("/etc/aliases", "")

    @property
    def version(self):
        with open(os.path.join(self.package, ".versions"), encoding="ascii") as file:
            lines = dict(line.split() for line in file)
        return next(version for name, version in lines.items() if not name.startswith("lib"))

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def unpack(self):
        for name in os.listdir(self.package):
            source, target = os.path.join(self.package, name), self.path("upper", name)
            if os.path.islink(f"/{name}"):  # /lib is /usr/lib, and must stay so
                target = self.path("upper", os.readlink(f"/{name}").lstrip("/"))
            if os.path.isdir(source):
                shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)

    def make_private(self, path):
        source, target = self.package + path, self.path("private" + path)
        if os.path.isdir(source):
            shutil.copytree(source, target, symlinks=True)
        else:
            os.makedirs(target)
        os.makedirs(self.path("upper" + path), exist_ok=True)

    def inside(self, path):
        """Where a path of the box lies outside of it."""
        if path.startswith("/box/"):
            return self.path(path[1:])
        base = "private" if any(f"{path}/".startswith(f"{private}/") for private in self.private) else "upper"
        return self.path(base + path)

    def write(self, path, content, mode=0o644):
        target = self.inside(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(target, mode)

    def make_directory(self, path, owner=0, group=None, mode=0o755):
        target = self.inside(path)
        os.makedirs(target, exist_ok=True)
        os.chown(target, owner, owner if group is None else group)
        os.chmod(target, mode)
        return target

    def know(self, users):
        """The machine's own entries of these names give way."""
        names = {name for name, _ in users}
        for path, entry in (("/etc/passwd", "{0}:x:{1}:{1}::/box/home:/usr/sbin/nologin"),
                            ("/etc/group", "{0}:x:{1}:")):
            with open(path, encoding="utf-8") as file:
                kept = [line for line in file if line.partition(":")[0] not in names]
            self.write(path, "".join(kept) + "".join(entry.format(*user) + "\n" for user in users))
        self.make_directory("/box/home")

    # ------------------------------------------------------------------ running
    def unshare(self, command):
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "LC_ALL": "C.UTF-8", "D": self.directory,
                       "PRIVATE": " ".join(self.private), "HOSTNAME": HOSTNAME, "COMMAND": command}
        return {"args": ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--",
                         "/bin/sh", "-c", INSIDE], "env": environment}

    def setup(self, command):
        """Runs a shell command inside, before start(); its output."""
        done = subprocess.run(**self.unshare(command), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, command):
        """Runs a shell command inside until stop(); a shell stays as the first process, and reaps."""
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(**self.unshare(f"{command} & wait"), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)

    def first_process(self):
        """The PID, outside, of what is process 1 inside; None when it is gone."""
        try:
            path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
            with open(path, encoding="ascii") as file:
                return int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return None

    def enter(self, argv, **options):
        """A command inside of a box that runs, finished; its output as octets."""
        return subprocess.run(["nsenter", "--target", str(self.first_process()), "--mount", "--pid", "--uts",
                               "--root", "--wd", "--", *argv], capture_output=True, check=False,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                                   "HOME": "/box/home"}, **options)

    def stop(self):
        """Everything inside dies with its first process."""
        if self.process is not None:
            first = self.first_process()
            if first:
                os.kill(first, signal.SIGKILL)
            else:
                self.process.kill()
            self.process.wait()
            self.process = None

    def log_tail(self):
        found = []
        for name in ("log", "box/maillog", "box/mainlog"):
            if os.path.exists(self.path(name)):
                with open(self.path(name), encoding="utf-8", errors="replace") as file:
                    found += file.readlines()[-20:]
        return "".join(found)
