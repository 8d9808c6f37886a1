# SPDX-License-Identifier: ISC
"""Fixtures of the end-to-end tests.

    sandbox             one for the whole run, capture backend; leave it as you found it
    make_sandbox        a factory, Sandbox(...) options; they live as long as the module's tests
    disposable_sandbox  the same for one test: kill and break what you like
    scripted            a programmable backend (tests/tools/scripted.py) in this process

POSTERN_BUILD names the build directory (build/release).  KEEP=1 leaves the directories.  Run as root:
Postfix, privileges and the separation of users can be tried in no other way.
"""

import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))

import conformance  # noqa: E402
import harness  # noqa: E402
from scripted import Scripted  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "long: minutes; only with POSTERN_LONG=1 (make check-long)")
    config.addinivalue_line("markers", "row(id, ...): proves these rows of tests/conformance.tsv")
    config.addinivalue_line("markers", "threat(id, ...): proves these rows of tests/threats.tsv")
    conformance.Recorder.register(config)
    harness.adopt_orphans()
    harness.hear_signals()


def pytest_collection_modifyitems(config, items):
    if os.environ.get("POSTERN_LONG"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The ends of the logs go with a failure: the directory is gone when its reader comes."""
    report = (yield).get_result()
    if report.failed:
        for box in harness.living:
            report.sections.append((f"logs in {box.directory}", box.log_tail()))


def factory():
    """Yields a function that makes sandboxes, and ends all of them."""
    made = []

    def make(**options):
        box = harness.Sandbox(**options)
        made.append(box)
        return box.up()

    yield make
    wrong = []
    for box in reversed(made):
        try:
            box.down()
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n\n".join(wrong)


@pytest.fixture(scope="session")
def sandbox():
    makers = factory()
    box = next(makers)()
    yield box
    for _ in makers:
        pass


@pytest.fixture(scope="module")
def make_sandbox():
    yield from factory()


@pytest.fixture
def disposable_sandbox():
    yield from factory()


@pytest.fixture
def scripted():
    backend = Scripted()
    yield backend
    backend.close()
