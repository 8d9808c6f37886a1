# SPDX-License-Identifier: ISC
"""Completion in real shells: what is offered after which words."""
import os
import subprocess

import pytest

import test_ctl

BASH = """
set -u
source "$SCRIPT"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_posternctl
printf '%s\\n' "${COMPREPLY[@]+${COMPREPLY[@]}}"
"""
# Without zsh's own completion system: its three functions tell what they were given.
ZSH = """
compdef() { [ "$1 $2" = "_posternctl posternctl" ] || exit 9 }
_files() { print -l FILES }
compadd() { shift; print -l -- ${(M)@:#${words[CURRENT]}*} }
source "$SCRIPT"
words=("$@"); CURRENT=$#
_posternctl
"""


@pytest.fixture(scope="module", params=["bash", "zsh"])
def offered(request, tmp_path_factory):
    """A function: what the shell offers for the last of the words."""
    shell = request.param
    done = test_ctl.run("completion", shell)
    assert done.returncode == 0 and done.stderr == ""
    script = tmp_path_factory.mktemp(shell) / "script"
    script.write_text(done.stdout)
    flags = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[shell]

    def ask(*words):
        program = {"bash": BASH, "zsh": ZSH}[shell]
        asked = subprocess.run([shell, *flags, "-c", program, shell, "posternctl", *words], text=True, timeout=30,
                               capture_output=True, check=False, env={**os.environ, "SCRIPT": str(script)})
        assert asked.stderr == "", asked.stderr
        return [line for line in asked.stdout.split("\n") if line]

    return ask


def test_nouns_verbs_and_options(offered):
    assert "account" in offered("") and "db" in offered("")
    assert offered("acc") == ["account"]
    assert offered("account", "pas") == ["passwd"]
    assert "--no-password" in offered("account", "add", "alice@example.net", "--")
    assert offered("account", "add", "--pl") == ["--plan"]
    assert "--rotate" not in offered("account", "add", "--")


def test_the_value_of_an_option_is_no_word(offered):
    assert offered("--dsn", "account", "acc") == ["account"]
    assert offered("account", "add", "--plan", "") == []


def test_every_command_is_offered(offered):
    listed = test_ctl.run("--help").stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    for words in (line.split() for line in listed):
        assert words[0] in offered("")
        if len(words) > 1 and words[1].islower():
            assert words[1] in offered(words[0], "")
