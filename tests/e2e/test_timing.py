# SPDX-License-Identifier: ISC
"""The short form of `make timing`, and that its arithmetic notices a difference."""

import os
import random
import sys

import pytest

import harness

TIMING = os.path.join(harness.ROOT, "tests", "timing")
sys.path.insert(0, TIMING)

import statistics_of as figures  # noqa: E402


def samples(more, count=2000):
    """Two kinds with the noise of a busy machine; the second takes so much more."""
    generator = random.Random(1)
    return {name: [20 + plus + generator.expovariate(1 / 2) + (generator.random() < 0.05) * 100 for _ in range(count)]
            for name, plus in (("one", 0), ("other", more))}


def test_kinds_of_the_same_time_are_not_told_apart():
    assert [pair.told_apart for pair in figures.pairs(samples(0))] == [False]


@pytest.mark.parametrize("more", [0.5, 1, 5, 50])
def test_a_kind_that_takes_longer_is_told_apart(more):
    for pair in figures.pairs(samples(more)):
        assert pair.told_apart, (pair.t, pair.medians_apart)


@pytest.mark.threat("C18", "C19")
def test_refusals_cannot_be_told_apart():
    """C18, C19: twelve kinds, by octets and time, and five of generated secrets."""
    done = harness.run([os.path.join(TIMING, "run"), "--build", harness.BUILD, "--samples", "30", "--seed", "1"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all replies the same octets") >= 2
