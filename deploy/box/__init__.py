# SPDX-License-Identifier: ISC
"""The parts of deploy/sandbox: one file a thing that a sandbox is made of."""


class Failure(Exception):
    """What went wrong, in a sentence for the person who ran the command."""
