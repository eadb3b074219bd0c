# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of two directors say often: load from the client host, faults, and a table of what was measured."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time
import typing as t
from collections import Counter
from collections.abc import Callable

import yaml
from lvs_testing import CHECKOUT, INVENTORY, LAB, VIP, do

DIRECTORS = ("lb1", "lb2")
INVENTORIES = (INVENTORY, CHECKOUT / "molecule" / "shared" / "directors" / "hosts.yml")
#: How the inventory has the servers of the service on port 80 reached.
METHODS = {"web1": "masquerade", "web2": "direct", "web3": "tunnel"}
#: Requests a second, and transfers at a time.
PACE, TRANSFERS = 25, 51

Word = float | str


class Load:
    """Requests and transfers from the client host, for as long as the block lasts; then what they met."""

    def __init__(self, transfers: int = TRANSFERS, port: int = 80) -> None:
        self.transfers = transfers
        self.port = port
        self.seen: dict[str, t.Any] = {}

    def __enter__(self) -> Load:
        self.process = subprocess.Popen(
            [
                *("ssh", "-F", LAB / ".run" / "ssh_config", "client"),
                f"python3 /usr/local/sbin/load {VIP} {self.port} {PACE} {self.transfers}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"
        # Something to compare with.
        time.sleep(2)
        return self

    def __exit__(self, *error: object) -> None:
        time.sleep(2)
        # With the end of its input it comes to an end.
        told, _ = self.process.communicate(timeout=120)
        self.seen = json.loads(told)

    @property
    def requests(self) -> list[tuple[float, Word]]:
        return [(began, word) for began, word, _lost in self.seen["requests"]]

    @property
    def failed(self) -> list[tuple[float, Word]]:
        """Requests without an answer in five seconds, or with another than that of a web server."""
        return [(began, word) for began, word in self.requests if isinstance(word, str)]

    @property
    def away(self) -> float:
        """For how many seconds, in sum, new connections could not be made at once: each request stands for the time to the next.

        A connection whose first packet is lost is not broken, it comes a second later. The client's kernel tells of it, so
        that an answer that is late because the machine is slow does not count.
        """
        by_time = sorted(self.seen["requests"])
        return float(
            sum(
                following[0] - began
                for (began, word, lost), following in itertools.pairwise(by_time)
                if isinstance(word, str) or lost
            )
        )

    @property
    def again(self) -> int:
        """How many requests had an answer, but for a connection whose first packet was lost."""
        return sum(1 for _began, word, lost in self.seen["requests"] if lost and not isinstance(word, str))

    @property
    def broken(self) -> list[str]:
        return [
            f"{word}, by {METHODS.get(server)}, from {began:.2f} to {ended:.2f}"
            for began, ended, word, server in self.seen["transfers"]
            if word
        ]

    def survived(self, *moments: float) -> Counter[str]:
        """How many transfers were under way at all of these moments, and came to a good end, by method."""
        return Counter(
            METHODS[server]
            for began, ended, word, server in self.seen["transfers"]
            if all(began < moment < ended for moment in moments) and not word
        )

    @property
    def words(self) -> str:
        """What was measured."""
        slowest = max(word for _began, word in self.requests if not isinstance(word, str))
        stalls = self.seen["stalls"]
        return (
            f"{len(self.failed)} of {len(self.requests)} requests failed, {self.again} had to begin again, for"
            f" {self.away:.2f} s in sum; slowest answer {slowest:.2f} s; {len(self.broken)} of {len(self.seen['transfers'])} transfers broken"
            + (
                f"; the client stood still {len(stalls)} times, {max(late for _, late in stalls):.1f} s"
                if stalls
                else ""
            )
        )


#: The fault, and what was measured, a line each.
TABLE: list[tuple[str, str]] = []


def measured(fault: str, words: str) -> None:
    TABLE.append((fault, words))


def now() -> float:
    """By the clock of the lab, which is one for all of its hosts."""
    return float(do("client", "date +%s.%N"))


def lab(*words: str) -> None:
    subprocess.run([LAB / "lab", *words], check=True)


def eventually(what: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def holders() -> list[str]:
    """The directors that have the virtual address."""
    return [name for name in DIRECTORS if VIP in do(name, f"ip -oneline address show to {VIP}")]


def transitions(director: str) -> list[str]:
    """How its part changed since keepalived runs, one line each."""
    told = do(director, "journalctl --unit keepalived --output cat --grep 'Entering (MASTER|BACKUP|FAULT)' || true")
    return [line for line in told.splitlines() if "Entering" in line]


def daemons(director: str) -> list[str]:
    """The sync daemons that run."""
    return sorted(
        line.split()[0] for line in do(director, "ipvsadm -Ln --daemon").splitlines() if "sync daemon" in line
    )


def services() -> list[dict[str, t.Any]]:
    """The services of the inventory."""
    text = (INVENTORIES[1].parent / "group_vars" / "all" / "lvs.yml").read_text(encoding="utf-8")
    return t.cast("list[dict[str, t.Any]]", yaml.safe_load(text)["lvs_services"])


def playbook(name: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the collection as a user does."""
    return subprocess.run(
        [
            "ansible-playbook",
            *(f"--inventory={inventory}" for inventory in INVENTORIES),
            f"--extra-vars={json.dumps(variables)}",
            f"lvs.ipvs.{name}",
        ],
        cwd=CHECKOUT,
        # molecule asks for colours, which would stand between the words.
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false"},
        capture_output=True,
        text=True,
        check=False,
    )


def findings(run: subprocess.CompletedProcess[str]) -> list[str]:
    """What verify.yml found, as it says it: a line each."""
    return sorted(re.findall(r"^failed: \[\w+\] \(item=(.*)\) =>", run.stdout, re.MULTILINE))
