#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the time of playbooks/site.yml grows with directors and with services, as a table in markdown.

`make bench-fleet` runs this inside user-mode Linux, controller and directors alike. Sizes grow until the next one
would, by what the last one took, be too long; what was not measured is not in the table.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fleet.fleet import Fleet, Run, services
from tests.kernel.bench import block  # found by the line above

DIRECTORS = (1, 4, 16, 64, 256)
SERVICES = (1, 100, 1000, 4000)
FEW = 10


class Measured(NamedTuple):
    directors: int
    services: int
    rollout: Run
    unchanged: Run

    @property
    def seconds(self) -> float:
        return self.rollout.seconds + self.unchanged.seconds

    @property
    def calls(self) -> str:
        """To each director, in the run that changes nothing."""
        found = {count for count in self.unchanged.calls.values() if count}
        return " or ".join(map(str, sorted(found)))


def measure(directors: int, count: int) -> Measured:
    """A rollout to new directors, and the same again."""
    fleet = Fleet(directors)
    fleet.declare(lvs_services=services(count))
    runs = [fleet.play("site") for _ in range(2)]
    for number, run in enumerate(runs):
        counts = [run.recap[name] for name in fleet.names]
        wrong = any(
            found["failed"] or found["unreachable"] or bool(found["changed"]) == bool(number) for found in counts
        )
        assert not wrong, run.output
    print(f"{directors} directors, {count} services: {runs[0].seconds:.1f} s, {runs[1].seconds:.1f} s", file=sys.stderr)
    return Measured(directors, count, *runs)


def sweep(sizes: list[tuple[int, int]], seconds: float) -> list[Measured]:
    """As many sizes as there is time for, the smallest always."""
    began = time.monotonic()
    found = [measure(*sizes[0])]
    for last, size in itertools.pairwise(sizes):
        # Each director costs the same. Of the services, most of the first one's cost is not its own.
        grown = size[0] / last[0] * (1 if size[1] == last[1] else 2)
        if time.monotonic() - began + found[-1].seconds * grown > seconds:
            break
        found.append(measure(*size))
    return found


def rows(found: list[Measured]) -> list[list[str]]:
    first = found[0]
    return [
        [
            f"{one.directors:,}",
            f"{one.services:,}",
            f"{one.rollout.seconds / first.rollout.seconds:.1f} x",
            f"{one.unchanged.seconds / first.unchanged.seconds:.1f} x",
            f"{one.unchanged.seconds / one.rollout.seconds:.2f} x",
            one.calls,
        ]
        for one in found
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Times of a fleet, as markdown.")
    parser.add_argument("--minutes", type=float, default=9, help="for all of it, about (default: %(default)s)")
    options = parser.parse_args()
    half = options.minutes * 30
    by_services = sweep([(1, count) for count in SERVICES], half)
    by_directors = sweep([(count, FEW) for count in DIRECTORS], half)
    head = ["directors", "services", "rollout", "no change", "no change / rollout", "calls to each, no change"]
    lines = [f"Linux {platform.release()} (user-mode Linux), Python {platform.python_version()}."]
    for found in (by_services, by_directors):
        first = found[0]
        lines += [
            "",
            f"1 x is {first.rollout.seconds:.0f} s for the rollout and {first.unchanged.seconds:.0f} s with nothing to do.",
            "",
        ]
        lines += ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows(found))]
    print(block("fleet", "\n".join(lines)))


if __name__ == "__main__":
    main()
