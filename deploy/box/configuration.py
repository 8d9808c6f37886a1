# SPDX-License-Identifier: ISC
"""Postern's configuration file for a sandbox: a tree of options, changed by --set, written out."""

import re

from . import Failure

WORD = re.compile(r"[A-Za-z0-9_.+-]+")
# Numbers need no entry in /etc/passwd and belong to nobody else.
USERS = {"auth": 61001, "hash": 61002, "proxy": 61003, "probe": 61004, "admin": 61005}
TITLED = ("listen", "certificate", "backend")


def quoted(value):
    """A value as libconfuse reads it.  "${" would be expanded and "\\" begins an escape in quotes."""
    text = str(value)
    if WORD.fullmatch(text) or text[:1] in ('"', "{"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


class List(list):
    def __str__(self):
        return "{" + ", ".join('"' + item + '"' for item in self) + "}"


def addresses(port, ipv6):
    return List([f"127.0.0.1:{port}"] + ([f"[::1]:{port}"] if ipv6 else []))


def host_port(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Configuration:
    """Sections are (name, title) with title "" where there is none; the file itself is ("", "")."""

    def __init__(self):
        self.sections = {("", ""): {}}

    def section(self, name, title=""):
        return self.sections.setdefault((name, title), {})

    def set(self, assignment):
        """key=value, section.key=value or section.title.key=value."""
        path, sep, value = assignment.partition("=")
        parts = path.strip().split(".")
        if not sep or not all(parts) or len(parts) > 3:
            raise Failure(f"--set: not key=value, section.key=value or section.title.key=value: {assignment!r}")
        if (len(parts) == 3) != (parts[0] in TITLED):
            raise Failure(f"--set: {parts[0]!r} takes {'a' if parts[0] in TITLED else 'no'} title: {assignment!r}")
        *where, key = parts
        name, title = (where + ["", ""])[:2]
        self.section(name, title)[key] = value.strip()

    def get(self, name, key):
        """What an option without a title was set to; None: left at its default."""
        return self.sections.get((name, ""), {}).get(key)

    def text(self):
        lines = ["# Written by deploy/sandbox."]
        for (name, title), options in self.sections.items():
            indent = "\t" if name else ""
            if name:
                lines += ["", name + (f' "{title}"' if title else "") + " {"]
            lines += [f"{indent}{key} = {quoted(value)}" for key, value in options.items()]
            if name:
                lines.append("}")
        return "\n".join(lines) + "\n"


def make(layout, *, ports, dsn, pepper, backend, as_root):
    """The sandbox's own settings; ports: smtps, submission, admin, ipv6."""
    conf = Configuration()
    conf.section("").update(hostname="submit.example.test", workers=2, runtime_directory=layout.path("run"))
    conf.section("spool").update(directory=layout.path("spool"))
    if as_root:
        conf.section("users").update(USERS)
    conf.section("log").update(file=layout.path("log", "postern.log"), level="debug")
    conf.section("database").update(dsn=dsn)
    conf.section("credential").update(pepper=List([pepper]))
    conf.section("certificate", "default").update(chain=layout.path("tls", "server.pem"),
                                                  key=layout.path("tls", "server.key"))
    for name, mode in (("submissions", "implicit"), ("submission", "starttls")):
        port = ports["smtps" if mode == "implicit" else "submission"]
        conf.section("listen", name).update(address=addresses(port, ports["ipv6"]), tls=mode)
    conf.section("backend", "default").update(server=List([host_port(backend.host, backend.port)]))
    if backend.source:
        conf.section("backend", "default").update(source=List([backend.source]))
    conf.section("admin").update(listen=f"127.0.0.1:{ports['admin']}")
    return conf
