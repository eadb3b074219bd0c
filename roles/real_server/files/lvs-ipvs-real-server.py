#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a real server, made as its configuration says; run by the role and at each boot.

Replies of masqueraded services must leave through the director, whatever the host's default route is:
packets *from* the address the directors know are routed by a table of their own, which holds the
network of that address and a default route to the director. A client on another network of the host
is answered through the director too, for the director alone knows the virtual address to put back.

Rules and routes carry a routing protocol number of their own: what has it and is not wanted goes away,
and nothing else is touched. What is right already is left alone, so traffic never notices a second run.

Each command of ip(8) that was needed is printed. Needs Python 3.9, iproute2 and nothing else.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import subprocess
import sys
import time
import typing as t
from pathlib import Path

Words = dict[str, t.Any]


class Problem(Exception):
    """What the administrator has to mend."""


class Route(t.NamedTuple):
    table: int
    destination: str
    device: str
    gateway: str = ""

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{self.destination}{via} dev {self.device} table {self.table}"


class Rule(t.NamedTuple):
    priority: int
    source: str
    table: int

    def __str__(self) -> str:
        return f"priority {self.priority} from {self.source} table {self.table}"


def wanted(masquerade: Words, links: list[Words]) -> tuple[list[Route], list[Rule]]:
    """The routes and rules of one family; ``links`` is what ``ip -j addr`` tells."""
    table = masquerade["table"]
    gateway = masquerade["gateway"]
    routes: list[Route] = []
    rules: list[Rule] = []
    devices: list[str] = []
    for address in masquerade["addresses"]:
        device, network = _place(address, links)
        if gateway == address:
            raise Problem(f"gateway {gateway}: is this host's own address")
        routes.append(Route(table, str(network), device))
        rules.append(Rule(masquerade["priority"], address, table))
        if ipaddress.ip_address(gateway) in network:
            devices.append(device)
    if not devices:
        raise Problem(f"gateway {gateway}: is not on the network of {' or '.join(masquerade['addresses'])}")
    return [*dict.fromkeys(routes), Route(table, "default", devices[0], gateway)], rules


def _place(address: str, links: list[Words]) -> tuple[str, t.Any]:
    """The device of an address, and the network on that link."""
    for link in links:
        for info in link.get("addr_info", ()):
            if info.get("local") == address:
                network = ipaddress.ip_network(f"{address}/{info['prefixlen']}", strict=False)
                return link["ifname"], network
    raise Problem(f"address {address}: no interface of this host has it")


def parse_routes(told: list[Words]) -> list[Route]:
    """The routes that ``ip -j -N route show table all proto NUMBER`` tells: it leaves the number out."""
    return [Route(int(route["table"]), route["dst"], route.get("dev", ""), route.get("gateway", "")) for route in told]


def parse_rules(told: list[Words], protocol: int) -> list[Rule]:
    """Our rules among those that ``ip -j -N rule`` tells."""
    return [
        Rule(rule["priority"], rule["src"], int(rule["table"]))
        for rule in told
        if str(rule.get("protocol")) == str(protocol)
    ]


def plan(have: tuple[list[Route], list[Rule]], want: tuple[list[Route], list[Rule]], protocol: int) -> list[str]:
    """The commands that make ``want`` of ``have``: a rule never points to a table that is not complete."""
    routes, rules = have
    # ``replace`` puts a route in the place of that to the same destination.
    places = {(route.table, route.destination) for route in want[0]}
    return [
        *(f"route replace {route} proto {protocol}" for route in want[0] if route not in routes),
        *(f"rule add {rule} protocol {protocol}" for rule in want[1] if rule not in rules),
        *(f"rule del {rule} protocol {protocol}" for rule in rules if rule not in want[1]),
        *(f"route del {route} proto {protocol}" for route in routes if (route.table, route.destination) not in places),
    ]


def ask(family: str, *question: str) -> list[Words]:
    """What ip(8) tells."""
    run = subprocess.run(["ip", "-j", "-N", family, *question], capture_output=True, text=True, check=False)
    if run.returncode:
        raise Problem(run.stderr.strip() or f"ip {' '.join(question)}: exit status {run.returncode}")
    # An empty entry stands for one that a filter hid.
    return [entry for entry in json.loads(run.stdout or "[]") if entry]


def steps_for(family: str, masquerade: Words | None, protocol: int) -> list[str]:
    """The commands that one family needs."""
    want: tuple[list[Route], list[Rule]] = ([], [])
    if masquerade and masquerade["addresses"]:
        want = wanted(masquerade, ask(family, "addr", "show"))
    have = (
        parse_routes(ask(family, "route", "show", "table", "all", "proto", str(protocol))),
        parse_rules(ask(family, "rule", "show"), protocol),
    )
    return plan(have, want, protocol)


def apply(family: str, steps: list[str]) -> None:
    """Have ip(8) do the commands, in one process."""
    run = subprocess.run(
        ["ip", family, "-batch", "-"], input="\n".join(steps) + "\n", capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise Problem(f"{run.stderr.strip()} in:\n" + "\n".join(steps))


def converge(configuration: Words, check: bool) -> list[str]:
    """Make the network as the configuration says; all is read before the first change."""
    protocol = configuration["protocol"]
    plans = {
        family: steps_for(family, configuration["masquerade"].get(name), protocol)
        for family, name in (("-4", "ipv4"), ("-6", "ipv6"))
    }
    for family, steps in plans.items():
        if steps and not check:
            apply(family, steps)
    return [f"ip {family} {step}" for family, steps in plans.items() for step in steps]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="lvs-ipvs-real-server", description="Make the network of a real server as its configuration says."
    )
    parser.add_argument("configuration", help="the configuration file, or its text, which begins with {")
    parser.add_argument("--check", action="store_true", help="change nothing, only print what would be done")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for the host's addresses")
    arguments = parser.parse_args()
    text = arguments.configuration
    if not text.startswith("{"):
        text = Path(text).read_text(encoding="utf-8")
    configuration = json.loads(text)
    deadline = time.monotonic() + arguments.wait
    while True:
        try:
            for step in converge(configuration, arguments.check):
                print(step)
            return 0
        except Problem as problem:
            # At boot an address may come some time after the network is said to be there.
            if time.monotonic() >= deadline:
                print(f"{parser.prog}: {problem}", file=sys.stderr)
                return 1
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
