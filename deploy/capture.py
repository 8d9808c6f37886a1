#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The embedded backend: an SMTP server that relays for known addresses only and keeps what it gets.

Like the servers that Postern stands in front of, it knows one kind of trust: the client's IP address.
An address that was not allowed gets 554 5.7.1 at RCPT.  Each message becomes NAME.eml, exactly the
bytes between DATA and the end of data after undoing the dots, with its envelope in NAME.json; the
.json is there before the .eml.  Only CRLF . CRLF ends the data.  Every connection and command is
logged.  It delivers nothing, knows no TLS and no AUTH, and is for sandboxes and tests only.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import sys
import time

EXTENSIONS = "PIPELINING,SIZE,8BITMIME,SMTPUTF8,DSN,ENHANCEDSTATUSCODES"
LINE_MAX = 65536
PATH = re.compile(rb'<((?:"(?:\\.|[^"\\])*"|[^">])*)>((?: +[^ ]+)*) *$')
STEPS = ("connect", "ehlo", "helo", "mail", "rcpt", "data", "body", "rset", "noop", "quit")
END_OF_DATA = b"\r\n.\r\n"


def text_of(octets):
    """Octets as text that JSON can carry: UTF-8, or lone surrogates for what is none."""
    return octets.decode("utf-8", "surrogateescape")


class Log:
    """One line an event: a time stamp, a word, key=value."""

    def __init__(self, stream):
        self.stream = stream

    def __call__(self, word, **values):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        pairs = "".join(f" {key}={json.dumps(value) if isinstance(value, str) else value}"
                        for key, value in values.items())
        self.stream.write(f"{stamp} {word}{pairs}\n")
        self.stream.flush()


class Script:
    """What the command line says to answer instead of the usual, and how late.

    A rule is STEP=REPLY or STEP:TEXT=REPLY; the latter applies where the command's line (for `body`,
    any recipient) contains TEXT.  REPLY may be several lines joined by \\n, or `close` (no answer,
    FIN), `reset` (no answer, RST), `hang` (no answer ever, nothing read any more).
    """

    def __init__(self, replies, delays):
        self.replies = [self.parse(rule) for rule in replies]
        self.delays = [self.parse(rule) for rule in delays]

    @staticmethod
    def parse(rule):
        where, sep, value = rule.partition("=")
        step, _, text = where.partition(":")
        if not sep or step not in STEPS:
            raise argparse.ArgumentTypeError(f"not STEP[:TEXT]=VALUE: {rule!r}")
        return step, text, value.replace("\\n", "\n")

    @staticmethod
    def find(rules, step, line):
        for rule_step, text, value in rules:
            if rule_step == step and text in line:
                return value
        return None

    def reply(self, step, line, usual):
        found = self.find(self.replies, step, line)
        return usual if found is None else found

    def delay(self, step, line):
        return float(self.find(self.delays, step, line) or 0)


class Mailbox:
    """The directory of messages: the current directory of the process, so that no path is needed."""

    def __init__(self):
        self.last = max((int(name.split(".")[0]) for name in os.listdir(".")
                         if re.fullmatch(r"\d+\.eml", name)), default=0)

    def next_name(self):
        self.last += 1
        return f"{self.last:08d}"


class Body:
    """One message on its way into its file: finds the end of data, undoes the dots."""

    def __init__(self, name):
        self.name = name
        self.file = open(f".{name}.tmp", "wb")
        self.size = 0
        # The start of the data counts as the start of a line; these two are not part of it.
        self.pending = b"\r\n"
        self.virtual = 2

    def write(self, octets):
        octets = octets.replace(b"\r\n.", b"\r\n")
        if self.virtual and octets:
            octets, self.virtual = octets[self.virtual:], 0
        self.size += len(octets)
        self.file.write(octets)

    def take(self, octets):
        """Returns None when more is needed, else the octets after the end of data."""
        octets = self.pending + octets
        end = octets.find(END_OF_DATA)
        if end >= 0:
            self.write(octets[:end + 2])
            return octets[end + len(END_OF_DATA):]
        cut = max(0, len(octets) - len(END_OF_DATA) + 1)
        if octets[:cut].endswith(b"\r"):
            cut -= 1
        elif octets[:cut].endswith(b"\r\n"):
            cut -= 2
        self.write(octets[:cut])
        self.pending = octets[cut:]
        return None

    def keep(self, envelope):
        self.file.close()
        with open(f".{self.name}.json.tmp", "w", encoding="ascii") as file:
            json.dump(envelope, file, indent=1)
            file.write("\n")
        os.rename(f".{self.name}.json.tmp", f"{self.name}.json")
        os.rename(f".{self.name}.tmp", f"{self.name}.eml")

    def drop(self):
        self.file.close()
        os.unlink(f".{self.name}.tmp")


class Session(asyncio.Protocol):
    """One client.  `held` is true while a delayed answer is outstanding: nothing is read from it then."""

    def __init__(self, server):
        self.server = server
        self.input = b""
        self.held = False
        self.body = None
        self.commands = 0
        self.messages = 0
        self.helo = ""
        self.reset_transaction()

    def reset_transaction(self):
        self.mail_from = None
        self.mail_parameters = []
        self.recipients = []

    # ---------------------------------------------------------------- transport
    def connection_made(self, transport):
        self.transport = transport
        self.peer, self.peer_port = transport.get_extra_info("peername")[:2]
        self.trusted = self.peer in self.server.options.allow
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.log("connect", client=self.peer, port=self.peer_port)
        self.server.sessions += 1
        self.answer("connect", "", f"220 {self.server.options.name} ESMTP capture")

    def connection_lost(self, error):
        if self.body is not None:
            self.server.log("lost", client=self.peer, port=self.peer_port, octets=self.body.size)
            self.body.drop()
        self.server.sessions -= 1
        self.server.log("close", client=self.peer, port=self.peer_port, helo=self.helo,
                        commands=self.commands, messages=self.messages)

    def data_received(self, data):
        self.input += data
        self.process()

    def process(self):
        while not self.held and not self.transport.is_closing():
            if not (self.take_body() if self.body is not None else self.take_line()):
                return

    # ------------------------------------------------------------------ answers
    def answer(self, step, line, usual):
        """Sends the scripted or the usual reply; returns it, so that the caller can follow it."""
        reply = self.server.script.reply(step, line, usual)
        delay = self.server.script.delay(step, line)
        if delay:
            self.hold()
            asyncio.get_running_loop().call_later(delay, self.resume, reply)
        else:
            self.send(reply)
        return reply

    def hold(self):
        self.held = True
        self.transport.pause_reading()

    def resume(self, reply):
        if self.transport.is_closing():
            return
        self.held = False
        self.transport.resume_reading()
        self.send(reply)
        self.process()

    def send(self, reply):
        if reply == "close":
            self.transport.close()
        elif reply == "reset":
            self.transport.abort()
        elif reply == "hang":
            self.hold()
        else:
            lines = reply.split("\n")
            self.transport.write("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n")
            if lines[-1].startswith(("221", "421")):
                self.transport.close()

    # ----------------------------------------------------------------- commands
    def take_line(self):
        end = self.input.find(b"\r\n")
        if end < 0:
            if len(self.input) > LINE_MAX:
                self.send("421 4.7.0 Line too long")
            return False
        line, self.input = self.input[:end], self.input[end + 2:]
        self.commands += 1
        verb, _, rest = line.partition(b" ")
        self.server.log("command", client=self.peer, port=self.peer_port, line=text_of(line))
        handler = self.VERBS.get(verb.upper())
        if b"\r" in line or b"\n" in line or b"\0" in line:
            self.send("500 5.5.2 Bare CR, LF or NUL in a command")
        elif handler is None:
            self.send("502 5.5.2 Command not recognized")
        else:
            handler(self, text_of(line), rest)
        return True

    def on_ehlo(self, line, rest):
        options = self.server.options
        if options.no_ehlo:
            self.send("502 5.5.1 Command not implemented")
            return
        lines = [options.name]
        for extension in filter(None, options.extensions.split(",")):
            lines.append(f"SIZE {options.size}" if extension == "SIZE" else extension)
        usual = "\n".join([f"250-{text}" for text in lines[:-1]] + [f"250 {lines[-1]}"])
        if self.answer("ehlo", line, usual).startswith("250"):
            self.helo = text_of(rest)
            self.reset_transaction()

    def on_helo(self, line, rest):
        if self.answer("helo", line, f"250 {self.server.options.name}").startswith("250"):
            self.helo = text_of(rest)
            self.reset_transaction()

    def on_mail(self, line, rest):
        path = PATH.match(rest[5:].lstrip()) if rest[:5].upper() == b"FROM:" else None
        if self.mail_from is not None:
            self.send("503 5.5.1 Nested MAIL command")
        elif path is None:
            self.send("501 5.1.7 Bad sender address syntax")
        elif self.answer("mail", line, "250 2.1.0 Ok").startswith("2"):
            self.mail_from = text_of(path[1])
            self.mail_parameters = text_of(path[2]).split()

    def on_rcpt(self, line, rest):
        path = PATH.match(rest[3:].lstrip()) if rest[:3].upper() == b"TO:" else None
        if self.mail_from is None:
            self.send("503 5.5.1 Need MAIL command")
        elif path is None:
            self.send("501 5.1.3 Bad recipient address syntax")
        elif not self.trusted:
            self.server.log("refused", client=self.peer, port=self.peer_port, rcpt=text_of(path[1]))
            self.send(f"554 5.7.1 <{text_of(path[1])}>: Relay access denied")
        elif self.answer("rcpt", line, "250 2.1.5 Ok").startswith("2"):
            self.recipients.append({"address": text_of(path[1]),
                                    "parameters": text_of(path[2]).split()})

    def on_data(self, line, rest):
        if self.mail_from is None:
            self.send("503 5.5.1 Need MAIL command")
        elif not self.recipients:
            self.send("554 5.5.1 No valid recipients")
        elif self.answer("data", line, "354 End data with <CR><LF>.<CR><LF>").startswith("3"):
            self.body = Body(self.server.mailbox.next_name())

    def take_body(self):
        rest = self.body.take(self.input)
        if rest is None:
            self.input = b""
            return False
        self.input, body, self.body = rest, self.body, None
        everyone = " ".join(recipient["address"] for recipient in self.recipients)
        usual = f"250 2.0.0 Ok: queued as {body.name}"
        if body.size > self.server.options.size:
            usual = "552 5.3.4 Message size exceeds fixed limit"
        reply = self.server.script.reply("body", everyone, usual)
        # Kept before it is answered: who read the 250 finds the file.
        if reply.startswith("2"):
            body.keep({"client": self.peer, "helo": self.helo, "mail_from": self.mail_from,
                       "mail_parameters": self.mail_parameters, "rcpt_to": self.recipients,
                       "octets": body.size})
            self.messages += 1
        else:
            body.drop()
        self.server.log("message", client=self.peer, port=self.peer_port, name=body.name,
                        octets=body.size, reply=reply)
        self.reset_transaction()
        self.answer("body", everyone, usual)
        return True

    def on_rset(self, line, rest):
        self.reset_transaction()
        self.answer("rset", line, "250 2.0.0 Ok")

    def on_noop(self, line, rest):
        self.answer("noop", line, "250 2.0.0 Ok")

    def on_vrfy(self, line, rest):
        self.send("252 2.0.0 Cannot VRFY user")

    def on_quit(self, line, rest):
        self.answer("quit", line, "221 2.0.0 Bye")

    VERBS = {b"EHLO": on_ehlo, b"HELO": on_helo, b"MAIL": on_mail, b"RCPT": on_rcpt, b"DATA": on_data,
             b"RSET": on_rset, b"NOOP": on_noop, b"VRFY": on_vrfy, b"QUIT": on_quit}


class Server:
    def __init__(self, options):
        self.options = options
        self.script = Script(options.reply, options.delay)
        self.log = Log(options.log)
        self.sessions = 0
        self.mailbox = None

    def bind(self):
        family = socket.AF_INET6 if ":" in self.options.address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.options.address, self.options.port))
        sock.listen(1024)
        return sock

    async def serve(self, sock):
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        server = await loop.create_server(lambda: Session(self), sock=sock, backlog=1024)
        await stopped.wait()
        server.close()


def enter_directory(options):
    """Makes the directory the current one, and only then gives up root: nobody else needs to reach it."""
    os.makedirs(options.maildir, exist_ok=True)
    os.chdir(options.maildir)
    if options.user is not None and os.geteuid() == 0:
        os.chown(".", options.user, options.user)
        os.setgroups([])
        os.setresgid(options.user, options.user, options.user)
        os.setresuid(options.user, options.user, options.user)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--maildir", required=True, help="where the messages go")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any")
    parser.add_argument("--port-file", help="written with the port once it listens")
    parser.add_argument("--allow", action="append", default=[], help="relay for this address")
    parser.add_argument("--name", default="capture.test")
    parser.add_argument("--extensions", default=EXTENSIONS, help=f"default {EXTENSIONS}")
    parser.add_argument("--size", type=int, default=100 * 1024 * 1024, help="largest message")
    parser.add_argument("--no-ehlo", action="store_true", help="502 to EHLO, as old appliances do")
    parser.add_argument("--reply", action="append", default=[], metavar="STEP[:TEXT]=REPLY")
    parser.add_argument("--delay", action="append", default=[], metavar="STEP[:TEXT]=SECONDS")
    parser.add_argument("--user", type=int, help="a number to run as, when started as root")
    parser.add_argument("--log", type=argparse.FileType("a"), default=sys.stderr)
    return parser.parse_args(arguments)


def main():
    options = parse_arguments(sys.argv[1:])
    server = Server(options)
    sock = server.bind()
    port_file = open(options.port_file, "w", encoding="ascii") if options.port_file else None
    enter_directory(options)
    server.mailbox = Mailbox()
    if port_file:
        with port_file:
            port_file.write(f"{sock.getsockname()[1]}\n")
    server.log("listen", address=options.address, port=sock.getsockname()[1])
    asyncio.run(server.serve(sock))
    server.log("end")


if __name__ == "__main__":
    main()
