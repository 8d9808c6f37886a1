# SPDX-License-Identifier: ISC
"""What stands behind Postern in a sandbox: `capture`, `postfix`, or something of the caller's."""

import grp
import os
import pwd
import shutil
import socket
import time

from . import Failure
from .process import clean_environment, run

CAPTURE_USER = 61006
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(HERE)


class Backend:
    """host, port: where it listens.  source: the address that Postern connects from, the only one that
    the backend relays for; "" when it is not ours to say.  maildir: where the messages end."""

    def __init__(self, host, port, source="", maildir=""):
        self.host = host
        self.port = port
        self.source = source
        self.maildir = maildir


# A direct sender connects from 127.0.0.1, which is therefore not the one.
POSTERN_ADDRESS = "127.0.0.2"


def wait_for_port_file(path, process):
    deadline = time.monotonic() + 20
    while True:
        try:
            with open(path, encoding="ascii") as file:
                text = file.read()
            if text.endswith("\n"):
                return int(text)
        except FileNotFoundError:
            pass
        if process.pid is None or time.monotonic() > deadline:
            raise Failure(f"the {process.name} backend does not start")
        time.sleep(0.01)


def start_capture(layout, allow, options=()):
    process = layout.process("capture")
    port_file = layout.path("pids", "capture.port")
    maildir = layout.path("mail")
    process.start(["/usr/bin/python3", os.path.join(HERE, "capture.py"), "--maildir", maildir,
                   "--port-file", port_file, "--allow", allow, "--user", str(CAPTURE_USER),
                   "--log", layout.path("log", "capture.log"), *options],
                  output=layout.path("log", "capture.err"))
    return Backend("127.0.0.1", wait_for_port_file(port_file, process), POSTERN_ADDRESS, maildir)


def external(address):
    """HOST:PORT; it need not be there yet.  On loopback Postern still has an address of its own."""
    host, sep, port = address.rpartition(":")
    host = host.strip("[]")
    if not sep or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise Failure(f"--backend: not capture, postfix or HOST:PORT: {address!r}")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failure(f"--backend: {host}: {error.strerror}") from None
    numeric = sorted((entry[4][0] for entry in found), key=lambda text: ":" in text)[0]
    return Backend(numeric, int(port), POSTERN_ADDRESS if numeric.startswith("127.") else "")


# --------------------------------------------------------------------------- Postfix
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/data
command_directory = {root}/usr/sbin
daemon_directory = {root}/usr/lib/postfix/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {root}/etc/postfix
sendmail_path = {root}/usr/sbin/sendmail
mailq_path = {root}/usr/bin/mailq
newaliases_path = {root}/usr/bin/newaliases
import_environment = MAIL_CONFIG LD_LIBRARY_PATH PATH
export_environment = LD_LIBRARY_PATH PATH
mail_owner = {owner}
setgid_group = {group}
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
myhostname = postfix.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
# The one kind of trust that it knows.
mynetworks = {source}/32
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtp_host_lookup = native
smtp_dns_support_level = disabled
default_transport = smtp:[127.0.0.1]:{sink}
relay_transport = smtp:[127.0.0.1]:{sink}
# What arrives is to be compared byte for byte.
message_size_limit = 104857600
mailbox_size_limit = 0
smtp_line_length_limit = 0
disable_mime_output_conversion = yes
local_header_rewrite_clients =
smtpd_client_connection_count_limit = 0
default_process_limit = 200
smtp_tls_security_level = none
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
"""


def postfix_root():
    """The unpacked package (tests/tools/mta-fetch), fetched now if need be."""
    root = os.path.join(ROOT, "build", "mta", "postfix")
    if not os.path.exists(os.path.join(root, ".complete")):
        run([os.path.join(ROOT, "tests", "tools", "mta-fetch")])
    return root


def library_path(root):
    found = [f"{root}/usr/lib/postfix"]
    for base in (f"{root}/usr/lib", f"{root}/lib"):
        if os.path.isdir(base):
            found += [f"{base}/{name}" for name in sorted(os.listdir(base)) if "-linux-" in name]
    return ":".join(found)


def first_known(lookup, names):
    for name in names:
        try:
            lookup(name)
            return name
        except KeyError:
            continue
    raise Failure(f"Postfix needs one of these: {' '.join(names)}")


def start_postfix(layout, ports):
    """Postfix that relays for Postern's address only, and hands all it accepts to a capture server."""
    if os.geteuid() != 0:
        raise Failure("--backend postfix: Postfix wants to be started as root")
    root = postfix_root()
    sink = start_capture(layout, "127.0.0.1")
    # Users that are on every Debian system and own no process there.
    owner = first_known(pwd.getpwnam, ("uucp", "news", "games"))
    group = first_known(grp.getgrnam, ("games", "news", "staff"))
    home = layout.private_directory("postfix", owner)
    shutil.chown(home, "root", "root")
    os.symlink("../postfix/maillog", layout.path("log", "postfix.log"))
    port = ports.take()
    for name in ("etc", "spool", "data"):
        os.mkdir(os.path.join(home, name))
    shutil.chown(os.path.join(home, "data"), owner)
    values = {"home": home, "root": root, "owner": owner, "group": group, "source": POSTERN_ADDRESS,
              "sink": sink.port, "port": port}
    for name, content in (("main.cf", MAIN_CF), ("master.cf", MASTER_CF)):
        with open(os.path.join(home, "etc", name), "w", encoding="utf-8") as file:
            file.write(content.format(**values))
    environment = {**clean_environment(), "MAIL_CONFIG": f"{home}/etc",
                   "LD_LIBRARY_PATH": library_path(root)}
    run([f"{root}/usr/sbin/postfix", "check"], environment=environment)
    process = layout.process("postfix")
    process.start([f"{root}/usr/lib/postfix/sbin/master", "-d"], environment=environment,
                  output=layout.path("log", "postfix.err"))
    wait_for_banner(port, process)
    return Backend("127.0.0.1", port, POSTERN_ADDRESS, sink.maildir)


def wait_for_banner(port, process):
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                if sock.recv(512).startswith(b"220"):
                    sock.sendall(b"QUIT\r\n")
                    return
        except OSError:
            pass
        if process.pid is None or time.monotonic() > deadline:
            raise Failure("Postfix does not start")
        time.sleep(0.02)
