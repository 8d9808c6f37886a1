# SPDX-License-Identifier: ISC
"""Mail servers as clients: each hands on to the target, as its smarthost, what its sendmail is given.

Each runs in a root of its own (tests/tools/mtabox.py) with as little configuration as it takes.  They
are told of a target by files and look at these again for each message, so one box serves all targets.
"""

import os
import time

from bodies import SENDER
from clients import Client, Failed, unix
from mtabox import Box

SERVER, SUBMITTER = 61011, 61012


class Smarthost(Client):
    private = ()
    users = ()
    sendmail = "/usr/sbin/sendmail"

    def __init__(self, directory):
        super().__init__(directory)
        self.box = Box(self.package, directory, private=self.private, users=self.users)
        self.told = None
        self.configure()
        if self.command:
            self.box.start(self.command)
            self.wait_ready()

    @property
    def version(self):
        return self.box.version

    def close(self):
        self.box.stop()

    # What a server of its own has to say.
    command = "sleep infinity"
    queue = ()

    def configure(self):
        raise NotImplementedError

    def tell(self, target):
        raise NotImplementedError

    def wait_ready(self):
        """The first process inside must have begun to run what it was told."""
        deadline = time.monotonic() + 30
        while self.box.first_process() is None or self.box.enter(["test", "-d", "/box/home"]).returncode != 0:
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} does not start: {self.box.log_tail()}")
            time.sleep(0.02)

    def queued(self):
        return [name for directory in self.queue for _, _, names in os.walk(self.box.inside(directory))
                for name in names]

    def send(self, target, mail):
        """Returns when the message has left the queue."""
        if self.told is not target:
            if target.ca:
                with open(target.ca, encoding="ascii") as file:
                    self.box.write("/box/ca.pem", file.read())
            self.tell(target)
            self.told = target
        self.submit(mail)
        deadline = time.monotonic() + 120
        while self.queued():
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} keeps it in its queue: {self.box.log_tail()[-3000:]}")
            time.sleep(0.02)

    def submit(self, mail):
        done = self.box.enter([self.sendmail, *self.options, "-f", SENDER, mail.recipient],
                              input=unix(mail.whole), timeout=120)
        if done.returncode != 0:
            raise Failed(f"sendmail ended with {done.returncode}: {(done.stdout + done.stderr).decode()}")

    options = ("-i",)


class Postfix(Smarthost):
    name = "Postfix"
    package = "postfix"
    private = ("/etc/postfix", "/var/lib/postfix")
    users = (("postfix", SERVER), ("postdrop", SUBMITTER))
    queue = tuple(f"/var/spool/postfix/{name}" for name in ("incoming", "active", "deferred", "maildrop"))
    command = "/usr/lib/postfix/sbin/master -d"
    main_cf = """
compatibility_level = 3.6
myhostname = box.test
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
smtp_dns_support_level = disabled
message_size_limit = 104857600
maillog_file = /box/maillog
maillog_file_prefixes = /box
smtp_tls_CAfile = /box/ca.pem
smtp_sasl_password_maps = texthash:/etc/postfix/login
smtp_sasl_security_options = noanonymous
smtp_sasl_tls_security_options = noanonymous
"""

    def configure(self):
        box = self.box
        with open(f"{box.package}/usr/share/postfix/master.cf.dist", encoding="utf-8") as file:
            # It listens nowhere.
            services = [line for line in file if not line.startswith("smtp      inet")]
        box.write("/etc/postfix/master.cf", "".join(services).replace("       y       ", "       n       "))
        box.write("/etc/postfix/main.cf", self.main_cf)
        box.write("/etc/postfix/login", "")
        box.make_directory("/var/lib/postfix", SERVER)
        box.setup("cp /usr/share/postfix/dynamicmaps.cf /etc/postfix/; postfix check;"
                  "chgrp postdrop /usr/sbin/postdrop /usr/sbin/postqueue;"
                  "chmod g+s /usr/sbin/postdrop /usr/sbin/postqueue")

    def tell(self, target):
        host = f"[{target.host}]:{target.port}"
        self.box.write("/etc/postfix/login", f"{host} {target.user}:{target.password}\n", mode=0o600)
        self.box.write("/etc/postfix/main.cf", self.main_cf + f"""
relayhost = {host}
smtp_tls_security_level = {"secure" if target.tls else "none"}
smtp_tls_secure_cert_match = localhost
smtp_tls_wrappermode = {"yes" if target.tls == "implicit" else "no"}
smtp_sasl_auth_enable = {"yes" if target.mechanism else "no"}
smtp_sasl_mechanism_filter = {target.mechanism.lower()}
""")
        self.box.enter(["postfix", "reload"])


class Exim(Smarthost):
    name = "Exim"
    package = "exim"
    private = ("/etc/exim4", "/var/log")
    users = (("Debian-exim", SERVER),)
    queue = ("/var/spool/exim4/input",)
    sendmail = "/usr/sbin/exim4"
    options = ("-i", "-odi")
    conf = """
primary_hostname = box.test
trusted_users = root
log_file_path = /box/%slog
message_size_limit = 100M
begin routers
smarthost:
  driver = manualroute
  route_list = * {host}::{port} byname
  transport = smarthost
  self = send
begin transports
smarthost:
  driver = smtp
  allow_localhost
  hosts_require_auth = {auth}
  hosts_try_auth = {auth}
  hosts_require_tls = {starttls}
  hosts_avoid_tls = {avoid}
  protocol = {protocol}
  tls_verify_certificates = /box/ca.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames = localhost
  # Its own limit of 998 is what it is told to let go, as other clients have none.
  message_linelength_limit = 100000
begin authenticators
{authenticators}
"""
    authenticators = {"PLAIN": "plain:\n  driver = plaintext\n  public_name = PLAIN\n"
                               "  client_send = ^{user}^{password}\n",
                      "LOGIN": "login:\n  driver = plaintext\n  public_name = LOGIN\n"
                               "  client_send = : {user} : {password}\n", "": ""}

    def configure(self):
        self.box.make_directory("/var/spool/exim4", SERVER, mode=0o750)
        self.box.write("/box/ca.pem", "")
        # The log is written as the user of the server.
        os.chmod(self.box.path("box"), 0o777)

    def tell(self, target):
        login = self.authenticators[target.mechanism].format(user=target.user, password=target.password)
        self.box.write("/etc/exim4/exim4.conf", self.conf.format(
            host=target.host, port=target.port, auth="*" if target.mechanism else ":",
            starttls="*" if target.tls == "starttls" else ":", avoid=":" if target.tls else "*",
            protocol="smtps" if target.tls == "implicit" else "smtp", authenticators=login))


class Nullmailer(Smarthost):
    name = package = "nullmailer"
    private = ("/etc/nullmailer",)
    users = (("mail", SERVER),)
    queue = ("/var/spool/nullmailer/queue", "/var/spool/nullmailer/tmp")
    options = ()
    command = "nullmailer-send >/box/maillog 2>&1"

    def configure(self):
        box = self.box
        for name in ("queue", "tmp", "failed"):
            box.make_directory(f"/var/spool/nullmailer/{name}", mode=0o700)
        box.write("/etc/nullmailer/me", "box.test\n")
        box.write("/etc/nullmailer/defaultdomain", "box.test\n")
        box.write("/etc/nullmailer/pausetime", "1\n")
        box.write("/etc/nullmailer/sendtimeout", "120\n")
        box.write("/etc/nullmailer/remotes", "localhost smtp --port=1\n")
        box.setup("mkfifo /var/spool/nullmailer/trigger; chmod 622 /var/spool/nullmailer/trigger")

    def tell(self, target):
        words = [target.host, "smtp", f"--port={target.port}"]
        if target.tls:
            words += ["--tls" if target.tls == "implicit" else "--starttls", "--x509cafile=/box/ca.pem"]
        if target.mechanism:
            words += [f"--user={target.user}", f"--pass={target.password}"]
        if target.mechanism == "LOGIN":
            words.append("--auth-login")
        self.box.write("/etc/nullmailer/remotes", " ".join(words) + "\n", mode=0o600)

    def queued(self):
        return [name for name in super().queued() if name != "trigger"]

    def send(self, target, mail):
        super().send(target, mail)
        failed = os.listdir(self.box.inside("/var/spool/nullmailer/failed"))
        if failed:
            raise Failed(f"nullmailer gave it up: {self.box.log_tail()[-3000:]}")


class Dma(Smarthost):
    name = package = "dma"
    private = ("/etc/dma",)
    users = (("mail", SERVER),)
    queue = ("/var/spool/dma",)
    mechanisms = ("LOGIN",)  # it knows no other but CRAM-MD5
    sendmail = "/usr/sbin/dma"
    # Delivers before it returns.
    options = ("-i", "-D")

    def configure(self):
        self.box.make_directory("/var/spool/dma", SERVER, mode=0o2775)
        self.box.write("/etc/dma/auth.conf", "", mode=0o640)

    def tell(self, target):
        lines = [f"SMARTHOST {target.host}", f"PORT {target.port}", "MAILNAME box.test"]
        if target.tls:
            lines.append("SECURETRANSFER")
        if target.tls == "starttls":
            lines.append("STARTTLS")
        if target.mechanism:
            lines.append("AUTHPATH /etc/dma/auth.conf")
            self.box.write("/etc/dma/auth.conf", f"{target.user}|{target.host}:{target.password}\n", mode=0o640)
        self.box.write("/etc/dma/dma.conf", "\n".join(lines + [""]))

    def queued(self):
        return [name for name in super().queued() if name != "flush"]


SMARTHOSTS = (Postfix, Exim, Nullmailer, Dma)
