# SPDX-License-Identifier: ISC
"""A sandbox as tests see it: brought up and down by deploy/sandbox, and looked over when it ends."""

import ctypes
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time

import smtp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "deploy"))

from box.process import Process, start_time  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("POSTERN_BUILD", "build/release"))
KEEP = os.environ.get("KEEP") == "1"
# Cheap hashes: what is tested is the way of a log-in, not its price.
CHEAP = ("password.memory=8MiB", "password.passes=1")
# Most tests are about other things than a header, and send none; test_header.py is about it.
ANY_AUTHOR = ("listen.submissions.from=off", "listen.submission.from=off")
# Tests try wrong passwords from one address all the time; those about the guard say what it does.
NO_GUARD = ("guard.enabled=false",)
# No test may leave one of these behind.
ALARMS = re.compile(r"Sanitizer|runtime error:|broken:|\bpanic\b|Assertion|\bABORT|dumped core|SIGSYS|signal=(SEGV|BUS|ILL|FPE|SYS)\b")
FD_SLACK = 8  # connections that a process may open after its start and keep

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Daemons that deploy/sandbox leaves become our children, so that we learn how they ended."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hear_signals():
    """A shell's background job is born deaf to Ctrl-C, and so would be all that a test starts on a pty."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nor does one under nohup hear that its terminal went


def take_terminal(descriptor):
    """Makes a terminal the controlling one of a new session (in a child, before exec)."""
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def wait_until(condition, what="", timeout=30.0):
    """Calls condition until it returns something true, and returns that; fails at the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.01)


def run(argv, *, text=None, timeout=300, **options):
    """The finished command, with its output as text."""
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False,
                          **({} if text is not None else {"stdin": subprocess.DEVNULL}), **options)


class Message:
    """What the capture backend kept."""

    def __init__(self, path):
        self.name = os.path.basename(path)[:-4]
        with open(path, "rb") as file:
            self.content = file.read()
        with open(path[:-4] + ".json", encoding="ascii") as file:
            self.envelope = json.load(file)

    @property
    def sender(self):
        return self.envelope["mail_from"]

    @property
    def recipients(self):
        return [recipient["address"] for recipient in self.envelope["rcpt_to"]]

    @property
    def received(self):
        """The trace lines on top, unfolded."""
        head = re.match(rb"(?:Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*", self.content)[0]
        return [line.decode() for line in re.sub(rb"\r\n[ \t]+", b" ", head).splitlines()]

    @property
    def body(self):
        """All below the trace lines that servers put on top: what the client sent."""
        head = re.match(rb"(?:Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*", self.content)[0]
        return self.content[len(head):]


living = []  # sandboxes that are not down yet


class Sandbox:
    def __init__(self, *, backend="capture", accounts=0, settings=(), directory=None, cheap=True, author=False,
                 prefix=(), build=BUILD, beside=None, standby=None):
        self.backend = backend
        self.accounts = accounts
        guarded = any(setting.startswith("guard.") for setting in settings)
        self.settings = [*(CHEAP if cheap else ()), *(() if author else ANY_AUTHOR), *(() if guarded else NO_GUARD),
                         *settings]
        self.parent = None if directory else tempfile.mkdtemp(prefix="postern-e2e-")
        if self.parent:
            os.chmod(self.parent, 0o755)
        self.directory = directory or os.path.join(self.parent, "d")
        self.prefix = list(prefix)
        self.build = build
        self.beside = beside  # another Sandbox, whose database this one uses
        self.standby = standby  # "synchronous" or "asynchronous": its database has one
        self.env = {}
        self.baseline = {}
        self.expect_exit = 0
        self.ended = False

    # ------------------------------------------------------------- up and down
    def script(self, command, *arguments):
        return run([*self.prefix, os.path.join(ROOT, "deploy", "sandbox"), command, "--dir",
                    self.directory, *arguments])

    def up(self):
        arguments = ["--build", self.build, "--backend", self.backend]
        if self.accounts:
            arguments += ["--accounts", str(self.accounts)]
        if self.beside:
            arguments += ["--beside", self.beside.directory]
        if self.standby:
            arguments += ["--standby", self.standby]
        for setting in self.settings:
            arguments += ["--set", setting]
        done = self.script("up", *arguments)
        assert done.returncode == 0, f"sandbox up failed:\n{done.stdout}{done.stderr}"
        living.append(self)
        self.env = read_env(os.path.join(self.directory, "env"))
        self.baseline = {name: len(fds) for name, fds in self.descriptors().items()}
        return self

    def down(self):
        """Ends it and looks it over; raises AssertionError with all that is wrong.  Again: nothing."""
        if self.ended:
            return
        self.ended = True
        if self in living:
            living.remove(self)
        wrong = self.leaked_descriptors() if self.master_pid else []
        master = self.process("postern").read()
        done = self.script("down") if os.path.isdir(self.directory) else run(["true"])
        if done.returncode != 0:
            wrong.append(f"sandbox down: {done.stderr.strip()}")
        wrong += self.exit_status(master)
        wrong += self.alarms()
        if self.parent and not wrong and not KEEP:
            shutil.rmtree(self.parent)
        assert not wrong, f"left in {self.directory}:\n" + "\n".join(wrong)

    def exit_status(self, master):
        if master is None:
            return []
        try:
            pid, status = os.waitpid(master[0], os.WNOHANG)
        except ChildProcessError:
            return []
        if pid == 0:
            return ["postern still runs after down"]
        code = os.waitstatus_to_exitcode(status)
        return [] if code == self.expect_exit else [f"postern ended with {code}, want {self.expect_exit}"]

    def log_tail(self, lines=30):
        found = []
        for name in ("postern.err", "postern.log"):
            path = self.path("log", name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    found += [f"{name}: {line.rstrip()}" for line in file.readlines()[-lines:]]
        return "\n".join(found)

    def alarms(self):
        found = []
        for name in ("postern.err", "postern.log"):
            path = self.path("log", name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    found += [f"{name}: {line.rstrip()}" for line in file if ALARMS.search(line)]
        return found[:50]

    # ------------------------------------------------------------- its processes
    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def process(self, name):
        return Process(name, self.path("pids", name))

    @property
    def master_pid(self):
        return self.process("postern").pid

    def children(self):
        """Title -> PID of the processes below the master: "auth", "hash 0", "proxy 1", ..."""
        found = {}
        parents = [self.master_pid]
        while parents:
            for pid in children_of(parents.pop()):
                title = title_of(pid)
                if title:
                    found[title] = pid
                parents.append(pid)
        return found

    def child(self, title):
        return wait_until(lambda: self.children().get(title), f"a process {title!r}")

    def descriptors(self):
        """Title -> what each open descriptor is, of the master and the processes below it."""
        table = {}
        for title, pid in {"master": self.master_pid, **self.children()}.items():
            try:
                names = os.listdir(f"/proc/{pid}/fd")
                table[title] = [os.readlink(f"/proc/{pid}/fd/{name}") for name in names]
            except (FileNotFoundError, PermissionError):
                pass
        return table

    def leaked_descriptors(self):
        """Processes that have kept more than they had at their start, once sessions have had time to end."""
        def excess():
            return {title: names for title, names in self.descriptors().items()
                    if title in self.baseline and len(names) > self.baseline[title] + FD_SLACK}
        try:
            wait_until(lambda: not excess(), "descriptors back to what they were", timeout=10)
            return []
        except AssertionError:
            return [f"{title} holds {len(names)} descriptors, {self.baseline[title]} at its start: "
                    f"{' '.join(sorted(set(names))[:20])}" for title, names in excess().items()]

    # ------------------------------------------------------------------- its use
    def __getattr__(self, name):
        """sandbox.smtps_port is POSTERN_SMTPS_PORT of the env file, and so on."""
        try:
            value = self.__dict__["env"][f"POSTERN_{name.upper()}"]
        except KeyError:
            raise AttributeError(name) from None
        return int(value) if name.endswith(("_port", "pid")) else value

    def connect(self, port="submissions", host="127.0.0.1", **options):
        """A raw client of port "submissions" (TLS at once) or "submission" (still in the clear)."""
        if port == "submissions":
            return smtp.Client(host, self.smtps_port, ca=self.ca, tls="implicit", **options)
        return smtp.Client(host, self.submission_port, ca=self.ca, **options)

    def secured(self, port="submissions", **options):
        """The same, after TLS and EHLO."""
        client = self.connect(port, **options)
        if port == "submission":
            client.ehlo()
            client.starttls()
        client.ehlo()
        return client

    def session(self, port="submissions", user=None, password=None, mechanism="PLAIN", **options):
        """The same, logged in; as alice when nobody is named."""
        client = self.secured(port, **options)
        client.login(user or self.user, password or self.password, mechanism)
        return client

    def ctl(self, *arguments, text=None, ok=True):
        """posternctl with the sandbox's admin role; returns its standard output."""
        done = run([self.env["POSTERN_CTL"], *arguments], text=text,
                   env={**os.environ, "POSTERN_DSN": self.dsn})
        if not ok:
            return done
        assert done.returncode == 0, f"posternctl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def add_account(self, login, password, senders=(), plan="generous"):
        """Its own address is a sender of it already."""
        self.ctl("account", "add", login, "--plan", plan, "--memory", "8MiB", "--passes", "1",
                 text=f"{password}\n")
        for sender in senders:
            self.ctl("sender", "add", login, sender)

    def messages(self):
        names = sorted(name for name in os.listdir(self.maildir) if re.fullmatch(r"\d+\.eml", name))
        return [Message(os.path.join(self.maildir, name)) for name in names]

    def message_names(self):
        return {name for name in os.listdir(self.maildir) if re.fullmatch(r"\d+\.eml", name)}

    def new_messages(self, before, count=1):
        """Waits for as many more messages than message_names() gave before; returns them."""
        names = wait_until(lambda: len(self.message_names() - before) >= count
                           and self.message_names() - before, f"{count} messages at the backend")
        return [Message(os.path.join(self.maildir, name)) for name in sorted(names)]

    def log_lines(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def backend_log(self):
        with open(self.path("log", "capture.log"), encoding="utf-8") as file:
            return file.read().splitlines()


def read_env(path):
    values = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, sep, value = line.rstrip("\n").partition("=")
            if sep:
                values[name] = shlex.split(value)[0]
    return values


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


def title_of(pid):
    """"proxy 0" of "postern: proxy 0"; None when it is gone or a zombie."""
    if start_time(pid) is None:
        return None
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return words.partition("postern: ")[2] or words or None
