# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab says while it works, and the one exception it ends with."""

from __future__ import annotations

import sys
import time

_START = time.monotonic()


class LabError(Exception):
    """Something the user has to know. The text says what went wrong and what to do about it."""


def say(text: str) -> None:
    """A line of progress, with the seconds since the command was given. stdout stays for results."""
    print(f"lab {time.monotonic() - _START:6.1f} s  {text}", file=sys.stderr, flush=True)
