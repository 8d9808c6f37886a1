# SPDX-License-Identifier: ISC
"""deploy/demo: what a newcomer sees first."""

import glob
import os
import pty
import re
import subprocess

import harness

DEMO = os.path.join(harness.ROOT, "deploy", "demo")
ENVIRONMENT = {**os.environ, "POSTERN_BUILD": harness.BUILD, "TERM": "dumb"}


def directories():
    return set(glob.glob("/tmp/postern-demo.*"))


def check_scenes(text):
    assert "NOT AS IT MUST BE" not in text, text
    for scene in "abcdef":
        assert f"({scene}) " in text
    for reply in (r"< 554 5\.7\.1 ", r"< 530 5\.7\.0 ", r"< 535 5\.7\.8 ", r"< 235 2\.7\.0 ", r"< 450 4\.7\.1 "):
        assert re.search(reply, text), f"no {reply!r} in:\n{text}"


def test_demo_without_a_terminal_ends_with_0_and_leaves_nothing():
    before = directories()
    done = harness.run(["bash", DEMO], env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    check_scenes(done.stdout)
    assert done.stdout.rstrip().endswith("All was as it must be.")
    assert directories() == before


def test_demo_on_a_terminal_stays_up_until_ctrl_c():
    before = directories()
    master, slave = pty.openpty()
    process = subprocess.Popen(["bash", DEMO], stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT,
                               preexec_fn=lambda: (os.setsid(), harness.take_terminal(0)))
    os.close(slave)
    text = ""
    try:
        while "until you press Ctrl-C" not in text:
            text += os.read(master, 65536).decode("utf-8", "replace")
        check_scenes(text)
        [directory] = directories() - before
        values = harness.read_env(os.path.join(directory, "sandbox", "env"))
        assert harness.start_time(int(values["POSTERN_PID"])) is not None
        os.write(master, b"\x03")
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        os.close(master)
    assert harness.start_time(int(values["POSTERN_PID"])) is None
    assert directories() == before
