#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""docs/conformance.md and docs/threats.md, made of the tests themselves.

    conformance.py BUILD     runs every test that proves a row, then writes both pages  (make conformance)

The rows are in tests/conformance.tsv and tests/threats.tsv.  What proves them: end-to-end tests marked
with pytest.mark.row("9", ...) or pytest.mark.threat("A07", ...), found here by reading the sources, and
the unit tests and lint rules that a row names.  Each row has evidence, or says why it has none yet, or
both.  The lint rule conformance-rows compares the committed pages with what would be written if all
tests passed; only a run of them writes the pages.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
E2E = os.path.join("tests", "e2e")
RESULTS = "POSTERN_CONFORMANCE"  # the file that Recorder writes to

SECTIONS = {
    "conformance": [
        (1, "SMTP (RFC 5321)"), (40, "Submission (RFC 6409, 8314, 8997)"), (52, "AUTH (RFC 4954, 4616)"),
        (76, "STARTTLS and TLS (RFC 3207, 9325)"), (91, "Extensions, enhanced codes (RFC 2920 and others)"),
        (116, "The header (RFC 5322)")],
    "threats": [
        ("A", "Line ends and the end of data"), ("B", "TLS and STARTTLS"), ("C", "AUTH"), ("D", "Commands"),
        ("E", "Backends that are broken or hostile"), ("F", "Identity and policy"), ("G", "Exhaustion"),
        ("H", "Processes, database, secrets, logs, libraries")],
}
INTRODUCTION = {
    "conformance": "# Conformance\n\nWhat the RFCs ask of a submission server, a row a requirement, and the tests that hold Postern to it.\n",
    "threats": "# Threats\n\nWhat servers and proxies of this kind have fallen to, a row an attack, and the tests that try it on Postern.\n",
}
GENERATED = """
Made by `make conformance`, which runs the tests and writes down what came of it; do not edit. Each test
names the octets that are sent and the replies that must come. "Not yet" says what is missing.
"""


class Row:
    def __init__(self, page, number, level, reference, requirement, also, reason):
        self.page = page
        self.id = number
        self.level = level
        self.reference = reference
        self.requirement = requirement
        self.also = also.split()
        self.reason = reason


def rows(page):
    """The rows of a page, in order, from its table."""
    found = []
    with open(os.path.join(ROOT, "tests", f"{page}.tsv"), encoding="utf-8") as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            fields = line.rstrip("\n").split("\t")
            if page == "threats":
                fields.insert(1, "")
            found.append(Row(page, *fields, *[""] * (6 - len(fields))))
    return found


# -------------------------------------------------------------------- evidence
def marks_of(function):
    """The ids in pytest.mark.row(...) and pytest.mark.threat(...) among a function's decorators."""
    for decorator in function.decorator_list:
        for node in ast.walk(decorator):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.mark.row", "pytest.mark.threat"):
                for argument in node.args:
                    yield ("conformance" if node.func.attr == "row" else "threats",
                           ast.literal_eval(argument), node.lineno)


def marked():
    """(page, id, "test_smtp.py::test_x", line) of every mark in the end-to-end tests."""
    found = []
    for name in sorted(os.listdir(os.path.join(ROOT, E2E))):
        if not re.fullmatch(r"test_\w+\.py", name):
            continue
        with open(os.path.join(ROOT, E2E, name), encoding="utf-8") as file:
            tree = ast.parse(file.read(), name)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found += [(page, number, f"{name}::{node.name}", line) for page, number, line in marks_of(node)]
    return found


def evidence():
    """(page, id) -> what proves it: "test_smtp.py::test_x", "unit:test_body/test_x", "lint:calls"."""
    table = {}
    for page, number, test, _line in marked():
        table.setdefault((page, number), []).append(test)
    for page in SECTIONS:
        for row in rows(page):
            table.setdefault((page, row.id), []).extend(row.also)
    return table


def source_of(proof):
    """(path, word that must stand in it) of a piece of evidence."""
    if proof.startswith("unit:"):
        program, test = proof[len("unit:"):].split("/")
        return os.path.join("tests", "unit", f"{program}.c"), f"static void {test}(void **"
    if proof.startswith("lint:"):
        return os.path.join("tests", "lint.d", proof[len("lint:"):]), ""
    name, test = proof.split("::")
    return os.path.join(E2E, name), f"def {test}("


class Recorder:
    """A pytest plugin: how each marked test function came out, over all its parameters."""

    def __init__(self, path):
        self.path = path
        self.outcomes = {}

    @classmethod
    def register(cls, config):
        """In the process that hears of all tests, not in pytest-xdist's workers."""
        if os.environ.get(RESULTS) and not hasattr(config, "workerinput"):
            config.pluginmanager.register(cls(os.environ[RESULTS]), "conformance")

    def pytest_runtest_logreport(self, report):
        path, name = report.nodeid.split("[")[0].rsplit("::", 1)
        key = f"{os.path.basename(path)}::{name}"
        if report.outcome != "passed":
            self.outcomes[key] = "FAILED"
        elif report.when == "call":
            self.outcomes.setdefault(key, "passed")

    def pytest_sessionfinish(self):
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(self.outcomes, file, indent=1, sort_keys=True)


# ------------------------------------------------------------------------- pages
def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def linked(proof):
    path, _ = source_of(proof)
    name = proof.rpartition("::")[2].rpartition("/")[2].rpartition(":")[2]
    return f"[{name}](../{path})"


def result_of(row, proofs, results):
    said = []
    if proofs:
        said.append("FAILED" if any(results.get(proof) != "passed" for proof in proofs) else "passed")
    if row.reason:
        said.append(f"not yet: {cell(row.reason)}")
    return "; ".join(said)


def section_of(page, number):
    """Its index in SECTIONS."""
    starts = [start for start, _ in SECTIONS[page]]
    if page == "threats":
        return starts.index(number[0])
    return max(at for at, start in enumerate(starts) if start <= int(number))


def page_text(page, table, results):
    everything = rows(page)
    proven = [row for row in everything if table.get((page, row.id))]
    partly = [row for row in proven if row.reason]
    lines = [INTRODUCTION[page] + GENERATED,
             f"{len(everything)} rows: {len(proven)} proven by tests, {len(partly)} of them in part; "
             f"{len(everything) - len(proven)} not yet."]
    level = " level |" if page == "conformance" else ""
    for at, (_, title) in enumerate(SECTIONS[page]):
        lines += ["", f"## {title}", "", f"| row |{level} reference | what must be seen | tests | result |",
                  f"| --- |{' --- |' if level else ''} --- | --- | --- | --- |"]
        for row in everything:
            if section_of(page, row.id) != at:
                continue
            proofs = table.get((page, row.id), [])
            cells = [row.id, *([row.level] if level else []), cell(row.reference), cell(row.requirement),
                     ", ".join(linked(proof) for proof in proofs), result_of(row, proofs, results)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


# ----------------------------------------------------------------------- running
def run_e2e(build):
    path = os.path.join(ROOT, "build", "conformance.json")
    if os.path.exists(path):
        os.remove(path)
    subprocess.run([sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--timeout=300",
                    "-n", os.environ.get("E2E_JOBS", "3"), "--dist", "loadfile", "-m", "row or threat", E2E], cwd=ROOT, check=False,
                   env={**os.environ, "POSTERN_BUILD": build, RESULTS: path})
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def run_unit(build, program):
    """Test name -> outcome, from cmocka's JUnit files: one a group of tests."""
    outcomes = {}
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([os.path.join(ROOT, build, "unit", program)], cwd=ROOT, check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "XML",
                                                       "CMOCKA_XML_FILE": os.path.join(directory, "%g.xml")})
        for name in os.listdir(directory):
            for case in xml.etree.ElementTree.parse(os.path.join(directory, name)).getroot().iter("testcase"):
                outcomes[case.get("name")] = "FAILED" if len(case) else "passed"
    return outcomes


def run_all(build, table):
    """Evidence -> "passed" or "FAILED"; what did not run at all is not in it."""
    results = run_e2e(build)
    named = sorted({proof for proofs in table.values() for proof in proofs if ":" in proof and "::" not in proof})
    outcomes = {}
    for proof in named:
        kind, _, name = proof.partition(":")
        if kind == "lint":
            done = subprocess.run([os.path.join(ROOT, "tests", "lint"), name], check=False, stdout=subprocess.DEVNULL)
            results[proof] = "passed" if done.returncode == 0 else "FAILED"
            continue
        program, test = name.split("/")
        if program not in outcomes:
            outcomes[program] = run_unit(build, program)
        results[proof] = outcomes[program].get(test, "FAILED")
    return results


def main():
    build = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    table = evidence()
    results = run_all(build, table)
    failed = 0
    for page in SECTIONS:
        text = page_text(page, table, results)
        with open(os.path.join(ROOT, "docs", f"{page}.md"), "w", encoding="utf-8") as file:
            file.write(text)
        failed += text.count("FAILED")
        print(f"docs/{page}.md: {text.count('| passed')} rows passed, {text.count('FAILED')} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
