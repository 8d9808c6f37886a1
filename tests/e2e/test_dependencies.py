# SPDX-License-Identifier: ISC
"""deploy/dependencies: silent when nothing is missing, and what it must never do.  apt is a stand-in."""

import os
import subprocess

import pytest

import harness

SCRIPT = os.path.join(harness.ROOT, "deploy", "dependencies")


def stand_in(directory, name, script):
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path):
    """A machine whose package tools are ours: apt-get notes its calls; nothing is installed but curl."""
    stand_in(tmp_path, "dpkg-query", "case $* in *' curl') echo -n installed ;; *) exit 1 ;; esac")
    stand_in(tmp_path, "apt-get", f"""echo "$*" >>{tmp_path}/calls
case $* in *-s*) cat {tmp_path}/plan ;; *install*) ls /usr/sbin/policy-rc.d >>{tmp_path}/calls ;; esac""")
    (tmp_path / "plan").write_text("Inst gcc (12)\n")
    return tmp_path


def run(machine, *groups, uid="0"):
    stand_in(machine, "id", f"echo {uid}")
    return harness.run([SCRIPT, *groups], env={**os.environ, "PATH": f"{machine}:/usr/bin:/bin"})


def calls(machine):
    path = machine / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_silent_and_idle_when_all_is_there():
    done = harness.run([SCRIPT, "build", "demo", "test"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_says_what_it_installs_and_forbids_services_meanwhile(machine):
    before = os.path.exists("/usr/sbin/policy-rc.d")
    done = run(machine, "build")
    assert done.returncode == 0, done.stderr
    assert "installing gcc libc6-dev libconfuse-dev" in done.stdout
    update, plan, install, policy = calls(machine)
    assert update.endswith("update") and plan.startswith("-s install")
    assert " install " in f" {install} " and "--no-install-recommends" in install
    assert policy == "/usr/sbin/policy-rc.d"
    assert os.path.exists("/usr/sbin/policy-rc.d") == before
    assert not os.path.exists("/etc/postgresql-common/createcluster.d/postern.conf")


def test_never_removes_a_package(machine):
    (machine / "plan").write_text("Inst gcc (12)\nRemv exim4-daemon-light [4.96]\n")
    done = run(machine, "build")
    assert done.returncode == 1
    assert "Remv exim4-daemon-light" in done.stderr
    assert len(calls(machine)) == 2, "an update and a simulation, no installation"


def test_without_root_and_sudo_it_says_what_to_run(machine):
    done = run(machine, "build", uid="1000")
    assert done.returncode == 77
    assert f"run as root:  {SCRIPT} build" in done.stderr
    assert calls(machine) == []


def test_an_unknown_group_is_an_error(machine):
    assert run(machine, "nonsense").returncode == 64
    assert subprocess.run([SCRIPT], capture_output=True, check=False).returncode == 64
