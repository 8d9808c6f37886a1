# SPDX-License-Identifier: ISC
"""The clients of the interop suite: how each is told to send one message to one server.

A client is given a Target and a Mail, and either sends it or raises Failed with what it said.  Nothing
is done for it: what it makes of the message is its own, and is found out at a plain server first.
"""

import os
import shutil
import smtplib
import ssl
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
for folder in (HERE, os.path.join(os.path.dirname(HERE), "e2e"), os.path.join(os.path.dirname(HERE), "tools")):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from bodies import HEADERS, SENDER  # noqa: E402
from smtp import transparent  # noqa: E402

NPM = os.path.join(ROOT, "build", "npm")
SECONDS = 300


class Failed(Exception):
    pass


class Target:
    """tls: "", "implicit" or "starttls".  mechanism: "", "PLAIN" or "LOGIN"."""

    def __init__(self, port, *, host="localhost", tls="", mechanism="", user="", password="", ca=""):
        self.host = host
        self.port = port
        self.tls = tls
        self.mechanism = mechanism
        self.user = user
        self.password = password
        self.ca = ca


class Mail:
    """One message for one recipient; body has CRLF line ends.  directory: for the files it needs."""

    def __init__(self, body, recipient, directory):
        self.body = body
        self.recipient = recipient
        self.directory = directory

    def file(self, name, content):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o600)
        return path

    @property
    def whole(self):
        return HEADERS + self.body


def unix(content):
    return content.replace(b"\r\n", b"\n")


def run(argv, *, stdin=b"", environment=None):
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=SECONDS, check=False,
                              env=environment)
    except subprocess.TimeoutExpired:
        raise Failed(f"{argv[0]}: not done in {SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stdout[-2000:] + done.stderr[-2000:]).decode("utf-8", "replace")
        raise Failed(f"{argv[0]} ended with {done.returncode}: {said.strip()}")
    return done.stdout


class Client:
    """mechanisms: those that it can be told to use.  composes: it takes a text, not a whole message."""

    name = package = ""
    mechanisms = ("PLAIN", "LOGIN")
    composes = False

    def __init__(self, directory):
        self.directory = directory

    @property
    def version(self):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", self.package], capture_output=True,
                              text=True, check=False)
        return done.stdout

    def close(self):
        pass

    def send(self, target, mail):
        raise NotImplementedError


class Swaks(Client):
    name = package = "swaks"

    def send(self, target, mail):
        # It ends the data itself, and leaves the rest alone when told to.
        data = mail.file("message", transparent(mail.whole)[:-2])
        argv = ["swaks", "--server", target.host, "--port", str(target.port), "--helo", "client.test",
                "--from", SENDER, "--to", mail.recipient, "--no-data-fixup", "--suppress-data",
                "--data", f"@{data}"]
        if target.tls:
            argv += ["--tls-on-connect" if target.tls == "implicit" else "--tls", "--tls-verify",
                     "--tls-ca-path", target.ca]
        if target.mechanism:
            argv += ["--auth", target.mechanism, "--auth-user", target.user, "--auth-password",
                     target.password]
        run(argv)


class Curl(Client):
    name = package = "curl"

    def send(self, target, mail):
        scheme = "smtps" if target.tls == "implicit" else "smtp"
        argv = ["curl", "-sSv", f"{scheme}://{target.host}:{target.port}/client.test", "--mail-from", SENDER,
                "--mail-rcpt", mail.recipient, "--upload-file", mail.file("message", mail.whole)]
        if target.tls:
            argv += ["--ssl-reqd", "--cacert", target.ca]
        if target.mechanism:
            argv += ["--user", f"{target.user}:{target.password}", "--login-options",
                     f"AUTH={target.mechanism}"]
        run(argv)


class Smtplib(Client):
    name = "Python smtplib"
    package = "python3"

    def send(self, target, mail):
        context = ssl.create_default_context(cafile=target.ca or None)
        kind = smtplib.SMTP_SSL if target.tls == "implicit" else smtplib.SMTP
        options = {"context": context} if target.tls == "implicit" else {}
        try:
            with kind(target.host, target.port, "client.test", timeout=SECONDS, **options) as client:
                if target.tls == "starttls":
                    client.starttls(context=context)
                client.ehlo()
                if target.mechanism:
                    client.user, client.password = target.user, target.password
                    client.auth(target.mechanism,
                                client.auth_plain if target.mechanism == "PLAIN" else client.auth_login)
                client.sendmail(SENDER, [mail.recipient], mail.whole, ["BODY=8BITMIME"])
        except (OSError, smtplib.SMTPException) as error:
            raise Failed(f"smtplib: {error}") from None


class Msmtp(Client):
    name = package = "msmtp"

    def send(self, target, mail):
        lines = ["account default", f"host {target.host}", f"port {target.port}", f"from {SENDER}",
                 "domain client.test"]
        if target.tls:
            lines += ["tls on", f"tls_starttls {'on' if target.tls == 'starttls' else 'off'}",
                      f"tls_trust_file {target.ca}"]
        if target.mechanism:
            lines += [f"auth {target.mechanism.lower()}", f"user {target.user}",
                      f"password {target.password}"]
        rc = mail.file("msmtprc", "\n".join(lines + [""]).encode())
        run(["msmtp", "-C", rc, mail.recipient], stdin=unix(mail.whole))


class Mutt(Client):
    name = package = "mutt"
    composes = True

    def send(self, target, mail):
        scheme = "smtps" if target.tls == "implicit" else "smtp"
        user = f"{target.user.replace('@', '%40')}@" if target.mechanism else ""
        lines = [f'set smtp_url = "{scheme}://{user}{target.host}:{target.port}/"', f"set from = {SENDER}",
                 "set use_envelope_from = yes", "set copy = no", "set allow_8bit = yes",
                 "set charset = utf-8", 'set send_charset = "us-ascii:utf-8"', "set hostname = client.test",
                 "set ssl_usesystemcerts = no", "set abort_nosubject = no",
                 f"set ssl_starttls = {'yes' if target.tls == 'starttls' else 'no'}",
                 f"set ssl_force_tls = {'yes' if target.tls else 'no'}"]
        if target.tls:
            lines.append(f"set certificate_file = {target.ca}")
        if target.mechanism:
            lines += [f'set smtp_pass = "{target.password}"',
                      f'set smtp_authenticators = "{target.mechanism.lower()}"']
        rc = mail.file("muttrc", "\n".join(lines + [""]).encode())
        run(["mutt", "-n", "-F", rc, "-s", "Byte for byte", "--", mail.recipient], stdin=unix(mail.body),
            environment=environment(mail))


class Snail(Client):
    name = package = "s-nail"
    composes = True

    def send(self, target, mail):
        scheme = "smtps" if target.tls == "implicit" else "smtp"
        login = f"{target.user.replace('@', '%40')}:{target.password}@" if target.mechanism else ""
        lines = ["set v15-compat", f"set from={SENDER} hostname=client.test", "set ttycharset=utf-8",
                 "set mime-encoding=8bit", "set sendcharsets=utf-8", "unset save",
                 f"set mta={scheme}://{login}{target.host}:{target.port}",
                 f"set smtp-auth={target.mechanism.lower() or 'none'}"]
        if target.tls:
            lines += [f"set tls-ca-file={target.ca} tls-ca-no-defaults tls-verify=strict"]
        if target.tls == "starttls":
            lines.append("set smtp-use-starttls")
        rc = mail.file("mailrc", "\n".join(lines + [""]).encode())
        run(["s-nail", "-:/", "-X", f"source {rc}", "-s", "Byte for byte", mail.recipient],
            stdin=unix(mail.body), environment=environment(mail))


def environment(mail):
    """A home of its own: no configuration of whoever runs this."""
    return {"PATH": "/usr/bin:/bin", "HOME": mail.directory, "LC_ALL": "C.UTF-8", "TERM": "dumb"}


class GitSendEmail(Client):
    name = "git send-email"
    package = "git-email"

    def send(self, target, mail):
        message = mail.file("0001-message.patch", unix(mail.whole))
        argv = ["git", "send-email", "--smtp-server", target.host, "--smtp-server-port", str(target.port),
                "--smtp-domain", "client.test", "--from", SENDER, "--to", mail.recipient, "--confirm=never",
                "--suppress-cc=all", "--no-validate", "--transfer-encoding=8bit", "--quiet",
                "--no-xmailer"]
        if target.tls:
            argv += ["--smtp-encryption", "ssl" if target.tls == "implicit" else "tls",
                     "--smtp-ssl-cert-path", target.ca]
        if target.mechanism:
            argv += ["--smtp-user", target.user, "--smtp-pass", target.password, "--smtp-auth",
                     target.mechanism]
        run(argv + [message], environment={**environment(mail), "GIT_CONFIG_NOSYSTEM": "1"})


class Helper(Client):
    """A small program in the client's language: lines of name, TAB, value on its standard input."""

    argv = ()
    file_ends = staticmethod(lambda content: content)

    def send(self, target, mail):
        content = self.file_ends(mail.body if self.composes else mail.whole)
        job = {"host": target.host, "port": target.port, "tls": target.tls, "mechanism": target.mechanism,
               "user": target.user, "password": target.password, "ca": target.ca, "from": SENDER,
               "to": mail.recipient, "file": mail.file("message", content)}
        text = "".join(f"{name}\t{value}\n" for name, value in job.items())
        run([*self.argv, *self.more()], stdin=text.encode(),
            environment={**environment(mail), "NODEMAILER": os.path.join(NPM, "node_modules", "nodemailer")})

    def more(self):
        return ()


class PerlNetSmtp(Helper):
    name = "Perl Net::SMTP"
    package = "perl"
    argv = ("perl", os.path.join(HERE, "helpers", "netsmtp.pl"))
    file_ends = staticmethod(unix)


class PhpMailer(Helper):
    name = "PHPMailer"
    package = "libphp-phpmailer"
    composes = True
    argv = ("php", os.path.join(HERE, "helpers", "phpmailer.php"))


class Nodemailer(Helper):
    name = "nodemailer"
    argv = ("node", os.path.join(HERE, "helpers", "nodemailer.js"))

    def __init__(self, directory):
        super().__init__(directory)
        if not os.path.exists(os.path.join(NPM, "node_modules", "nodemailer")):
            os.makedirs(NPM, exist_ok=True)
            shutil.copy(os.path.join(HERE, "package.json"), NPM)
            run(["npm", "install", "--prefix", NPM, "--no-audit", "--no-fund", "--ignore-scripts"])

    @property
    def version(self):
        return run(["node", "-p", f"require('{NPM}/node_modules/nodemailer/package.json').version"]).decode().strip()


class RubyNetSmtp(Helper):
    name = "Ruby net/smtp"
    package = "ruby3.1"
    argv = ("ruby", os.path.join(HERE, "helpers", "netsmtp.rb"))


class JavaMail(Helper):
    name = "JavaMail"
    package = "libmail-java"
    jars = ":".join(f"/usr/share/java/{name}.jar" for name in ("javax.mail", "javax.activation"))

    def __init__(self, directory):
        super().__init__(directory)
        run(["javac", "-cp", self.jars, "-d", directory, os.path.join(HERE, "helpers", "Mailer.java")])

    @property
    def argv(self):
        return ("java", "-XX:TieredStopAtLevel=1", "-Xmx1g", "-cp", f"{self.jars}:{self.directory}", "Mailer")


PROGRAMS = (Swaks, Curl, Smtplib, Msmtp, Mutt, Snail, GitSendEmail, PerlNetSmtp, PhpMailer, Nodemailer,
            RubyNetSmtp, JavaMail)
