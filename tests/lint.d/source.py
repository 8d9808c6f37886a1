# SPDX-License-Identifier: ISC
"""What the rules share: the files of the tree, C without comments and strings, and findings.

Not a rule itself (it is not executable).
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("common", "proxy", "auth", "probe", "admin", "master", "ctl")

_findings = []


def files(*endings):
    """Paths below the root of all files under version control, or not ignored, with these endings."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
    else:  # an archive of the tree
        names = [os.path.relpath(os.path.join(top, name), ROOT)
                 for top, _, inside in os.walk(ROOT) if "/build" not in top and "/.git" not in top for name in inside]
    found = sorted(name for name in set(names)
                   if name.endswith(endings) and os.path.isfile(os.path.join(ROOT, name))
                   and not name.startswith("tests/fuzz/corpus/"))
    if "Makefile" not in names:
        sys.exit("the tree was not found: a rule that sees nothing proves nothing")
    return found


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def scripts(*interpreters):
    """Files whose first line names one of the interpreters."""
    found = []
    for name in files(""):
        with open(os.path.join(ROOT, name), "rb") as file:
            first = file.readline(200).decode("ascii", "replace")
        if first.startswith("#!") and re.search(r"\b(%s)\d*\s*$" % "|".join(interpreters), first.strip()):
            found.append(name)
    return found


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code(text):
    """C with comments blanked and strings emptied; line numbers stay."""
    def blank(match):
        token = match.group(0)
        return token[0] * 2 if token[0] in "\"'" else re.sub(r"[^\n]", " ", token)
    return _TOKEN.sub(blank, text)


def finding(name, line, text):
    _findings.append((name, line, text))


def finish():
    for name, line, text in sorted(_findings):
        print(f"{name}:{line}: {text}")
    sys.exit(1 if _findings else 0)
