# SPDX-License-Identifier: ISC
"""The mail servers behind Postern in the smuggling matrix, as Debian ships them.

Each trusts one address, SOURCE, and keeps every message that it accepts, for whomever it is, in one
directory: what would be forged mail in the world is one more file here.  Apart from that, the port and
the host's name, their configuration is Debian's.  Needs root.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))

from mtabox import Box  # noqa: E402

SOURCE = "127.0.0.2"
KEEPER = 61010  # owns the messages
SERVER, SUBMITTER = 61011, 61012
SPOOL_QUIET = 1.0  # an empty queue must stay so for as long


class Server:
    """host, port: where it listens.  messages(): what it has delivered, each as octets.

    refusals: how it begins to refuse, by a rule of its own, what is sent in the matrix.
    """

    name = package = ""
    private = ()
    users = ()
    refusals = ()

    def __init__(self, directory, port):
        self.host = "127.0.0.1"
        self.port = port
        self.box = Box(self.package, directory, private=self.private,
                       users=[*self.users, ("keeper", KEEPER)])
        for part in ("", "/cur", "/new", "/tmp"):
            self.box.make_directory(f"/box/mail{part}", KEEPER, mode=0o700)
        self.configure()
        self.box.start(self.command)
        self.wait_for_banner()

    @property
    def version(self):
        return self.box.version

    def wait_for_banner(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection((self.host, self.port), timeout=5) as sock:
                    if sock.recv(512).startswith(b"220"):
                        sock.sendall(b"QUIT\r\n")
                        return
            except OSError:
                pass
            if self.box.process.poll() is not None or time.monotonic() > deadline:
                self.box.stop()
                raise RuntimeError(f"{self.name} does not start:\n{self.box.log_tail()}")
            time.sleep(0.02)

    # ------------------------------------------------------------------ its mail
    def messages(self):
        directory = self.box.path("box/mail/new")
        found = []
        for name in sorted(os.listdir(directory)):
            with open(os.path.join(directory, name), "rb") as file:
                found.append(file.read())
        return found

    def count(self):
        return len(os.listdir(self.box.path("box/mail/new")))

    def queued(self):
        """How many messages it has accepted and not yet delivered."""
        return sum(bool(re.search(self.queue_name, name)) for directory in self.queue
                   for _, _, names in os.walk(self.box.inside(directory)) for name in names)

    def settle(self, expected, timeout=90):
        """Waits until as many messages are there, and until nothing is on its way any more."""
        deadline = time.monotonic() + timeout
        quiet_since = None
        while time.monotonic() < deadline:
            if self.queued() or self.count() < expected:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > SPOOL_QUIET:
                return
            time.sleep(0.02)

    def stop(self):
        self.box.stop()


class Postfix(Server):
    name = "Postfix"
    package = "postfix"
    private = ("/etc/postfix", "/var/lib/postfix")
    users = (("postfix", SERVER), ("postdrop", SUBMITTER))
    queue = tuple(f"/var/spool/postfix/{name}" for name in ("incoming", "active", "deferred", "maildrop"))
    queue_name = "."
    command = "/usr/lib/postfix/sbin/master -d"
    # What the package's postinst sets, and below what is the box's own.
    main_cf = """
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = box.test
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
mydestination = $myhostname, localhost
relayhost =
mynetworks = {source}/32
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = 127.0.0.1
inet_protocols = ipv4

default_transport = virtual
virtual_mailbox_domains =
virtual_mailbox_base = /box
virtual_mailbox_maps = static:mail/
virtual_uid_maps = static:{keeper}
virtual_gid_maps = static:{keeper}
maillog_file = /box/maillog
maillog_file_prefixes = /box
"""

    def configure(self):
        box = self.box
        with open(f"{box.package}/usr/share/postfix/main.cf.debian", encoding="utf-8") as file:
            box.write("/etc/postfix/main.cf",
                      file.read() + self.main_cf.format(source=SOURCE, keeper=KEEPER))
        with open(f"{box.package}/usr/share/postfix/master.cf.dist", encoding="utf-8") as file:
            services = file.read()
        # The port; no chroot, which Debian's start script would fill with copies of files of /etc.
        services = re.sub(r"(?m)^smtp( +inet)", rf"127.0.0.1:{self.port}\1", services)
        services = re.sub(r"(?m)^(\S+ +\S+ +\S+ +\S+ +)y", r"\1n", services)
        box.write("/etc/postfix/master.cf", services)
        box.make_directory("/var/lib/postfix", SERVER)
        box.setup("cp /usr/share/postfix/dynamicmaps.cf /etc/postfix/; newaliases; postfix check;"
                  "chgrp postdrop /usr/sbin/postdrop /usr/sbin/postqueue;"
                  "chmod g+s /usr/sbin/postdrop /usr/sbin/postqueue")


class Exim(Server):
    name = "Exim"
    package = "exim"
    private = ("/etc/exim4", "/var/lib/exim4", "/var/log")
    users = (("Debian-exim", SERVER),)
    queue = ("/var/spool/exim4/input",)
    queue_name = "-[DH]$"
    refusals = ("550 5.0.0 maximum allowed line length",)

    @property
    def command(self):
        return f"exim4 -bdf -q30m -oX '[127.0.0.1]:{self.port}'"

    def configure(self):
        box = self.box
        box.write("/etc/exim4/update-exim4.conf.conf", f"""\
dc_eximconfig_configtype='internet'
dc_other_hostnames='box.test'
dc_local_interfaces='127.0.0.1'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='false'
dc_relay_nets='{SOURCE}'
dc_smarthost=''
CFILEMODE='644'
dc_use_split_config='true'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
""")
        # Debian's default adds this machine itself.
        box.write("/etc/exim4/conf.d/main/000_localmacros", f"MAIN_RELAY_NETS = {SOURCE}\n")
        box.write("/etc/exim4/conf.d/router/050_keep", "keep:\n  driver = accept\n  transport = keep\n")
        box.write("/etc/exim4/conf.d/transport/50_keep", """\
keep:
  driver = appendfile
  directory = /box/mail
  maildir_format
  user = keeper
""")
        box.make_directory("/var/spool/exim4", SERVER, mode=0o750)
        box.make_directory("/var/log/exim4", SERVER, mode=0o750)
        box.setup("update-exim4.conf && exim4 -bV")


class OpenSmtpd(Server):
    name = "OpenSMTPD"
    package = "opensmtpd"
    private = ("/var/lib/opensmtpd",)
    users = (("opensmtpd", SERVER), ("opensmtpq", SUBMITTER))
    queue = ("/var/spool/smtpd/queue", "/var/spool/smtpd/incoming")
    queue_name = "."
    # A line of more than 64 KiB; a header that is none.
    refusals = ("500 5.0.0 Line too long", "550 5.7.1 Delivery not authorized")
    command = "smtpd -d"

    def configure(self):
        box = self.box
        box.write("/etc/smtpd.conf", f"""\
table aliases file:/etc/aliases
table everyone {{ "@" = "keeper" }}
listen on 127.0.0.1 port {self.port}
action "keep" maildir "/box/mail" virtual <everyone>
match from src {SOURCE} for any action "keep"
""")
        box.make_directory("/var/lib/opensmtpd/empty")
        box.make_directory("/var/spool/smtpd", mode=0o711)
        for name, owner, mode in (("corrupt", SERVER, 0o700), ("incoming", SERVER, 0o700),
                                  ("offline", 0, 0o770), ("purge", SUBMITTER, 0o700),
                                  ("queue", SUBMITTER, 0o700), ("temporary", SUBMITTER, 0o700)):
            box.make_directory(f"/var/spool/smtpd/{name}", owner, 0, mode=mode)
        os.chown(box.inside("/var/spool/smtpd/offline"), 0, SUBMITTER)
        box.setup("smtpd -n")


class Sendmail(Server):
    name = "Sendmail"
    package = "sendmail"
    private = ("/etc/mail", "/var/lib/sendmail")
    users = (("smmta", SERVER), ("smmsp", SUBMITTER))
    queue = ("/var/spool/mqueue",)
    queue_name = "^(qf|df|tf|xf)"
    refusals = ("552 5.6.0 Headers too large",)
    # -bD: a daemon that stays in the foreground.
    command = "/usr/libexec/sendmail/sendmail -bD -q10m"
    keep = """\
#!/bin/sh
name=$(cat /proc/sys/kernel/random/uuid)
cat >/box/mail/tmp/$name && mv /box/mail/tmp/$name /box/mail/new/$name
"""

    def configure(self):
        box = self.box
        with open(f"{box.package}/usr/share/sendmail/cf/debian/sendmail.mc", encoding="utf-8") as file:
            config = file.read()
        # The port; and all that is accepted goes to one program.
        config = re.sub(r"(?m)^DAEMON_OPTIONS.*Name=MTA-v4.*$",
                        f"DAEMON_OPTIONS(`Family=inet, Name=MTA-v4, Port={self.port}, Addr=127.0.0.1')dnl",
                        config)
        config = re.sub(r"(?m)^DAEMON_OPTIONS.*Name=MSP-v4.*\n", "", config)
        # Thousands of sessions from one address, on a busy machine.
        config = re.sub(r"(?m)^(define\(`confCONNECTION_RATE_THROTTLE', )`15'", r"\1`0'", config)
        config = config.replace("MAILER_DEFINITIONS", "define(`confQUEUE_LA', `999')dnl\n"
                                "define(`confREFUSE_LA', `999')dnl\n"
                                # There is no DNS here.
                                "FEATURE(`accept_unresolvable_domains')dnl\nMAILER_DEFINITIONS", 1)
        config += f"""
MAILER_DEFINITIONS
Mkeep, P=/box/keep, F=lsDFMunhP, S=EnvFromL/HdrFromL, R=EnvToL/HdrToL, T=DNS/RFC822/X-Unix, U=keeper:keeper, A=keep $u
LOCAL_RULE_0
R$+ < @ $+ >	$#keep $@ keep $: $1
"""
        box.write("/etc/mail/sendmail.mc", config)
        for name in ("m4/dialup.m4", "m4/provider.m4", "sasl/sasl.m4", "tls/starttls.m4"):
            box.write(f"/etc/mail/{name}", "")
        box.write("/etc/mail/service.switch", "aliases files\nhosts files\n")
        box.write("/etc/mail/relay-domains", f"{SOURCE}\n")
        box.write("/etc/mail/local-host-names", "box.test\n")
        box.write("/etc/mail/trusted-users", "")
        box.write("/box/keep", self.keep, mode=0o755)
        box.make_directory("/var/spool/mqueue", SERVER, SUBMITTER, mode=0o2750)
        box.make_directory("/var/lib/sendmail/host_status")
        # Debian's default relays for this machine itself as well.
        box.write("/etc/mail/access", "Connect:127.0.0.1\tREJECT\n" +
                  "".join(f"{limit}:{SOURCE}\t0\n"
                                              for limit in ("GreetPause", "ClientRate", "ClientConn")))
        box.setup("cd /etc/mail && /usr/libexec/sendmail/makemap -C /dev/null hash access <access && "
                  "m4 sendmail.mc >sendmail.cf && /usr/libexec/sendmail/sendmail -bi")


SERVERS = {"postfix": Postfix, "exim": Exim, "opensmtpd": OpenSmtpd, "sendmail": Sendmail}
