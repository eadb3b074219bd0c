# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that no table may hold: each is one clear line with the option's path, and the kernel hears nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import ModuleFailed, run_module
from .words import Words

Table = Callable[[], tuple[list[str], list[str]]]
Case = tuple[str, Words]

TCP: Words = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
TCP6: Words = {**TCP, "address": "2001:db8:f::10"}
UDP: Words = {**TCP, "protocol": "udp"}
MARK: Words = {"fwmark": 7}
SERVER: Words = {"address": "198.51.100.21"}
SERVER6: Words = {"address": "2001:db8:b::21"}
TUNNEL: Words = {**TCP, "forwarding": "tunnel"}

NO_INTEGER = ["many", "", "1.5", 1.5, "0x50", "1e3", "٣", [1], {"a": 1}, True]
NO_ADDRESS = ["", "here", "192.0.2", "192.0.2.256", "192.0.2.010", "192.0.2.10/32", "192.0.2.10:80", " 192.0.2.10",
              "2001:db8::1::2", "2001:db8:g::1", "[2001:db8::1]", "fe80::1%lo", 3221225994, ["192.0.2.10"], True]  # fmt: skip
NO_UNICAST = ["0.0.0.0", "224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1", "::", "ff02::1"]
NO_NAME = ["", "a b", "../rr", "rr\n", "a" * 16, "wlc;", "ü", ["rr"], 5.5]


def each(option: str, values: list[Any], given: Words) -> Iterator[Case]:
    """A service with each of the values for an option."""
    for value in values:
        yield option, {**given, option: value}


def each_server(option: str, values: list[Any], server: Words, given: Words) -> Iterator[Case]:
    """A service whose second real server has each of the values for an option."""
    first = {"address": "198.51.100.99"} if ":" not in given.get("address", "") else {"address": "2001:db8:b::99"}
    for value in values:
        yield f"real_servers[1].{option}", {**given, "real_servers": [first, {**server, option: value}]}


def each_tunnel(option: str, values: list[Any], tunnel: Words) -> Iterator[Case]:
    for value in values:
        yield from each_server("tunnel", [{**tunnel, option: value}], SERVER, TUNNEL)


def at(path: str, pairs: Iterator[Case]) -> Iterator[tuple[str, Words]]:
    """The same words, of which the error names another option."""
    for _path, words in pairs:
        yield path, words


def cases() -> Iterator[Case]:
    # What a service is
    yield from each("protocol", ["icmp", "TCP", "tcp,udp", "", "6", 6, True, ["tcp"], None], TCP)
    yield from each("address", [*NO_ADDRESS, *NO_UNICAST, None], TCP)
    yield from each("port", [0, -1, 65536, 70000, 10**20, None, *NO_INTEGER], TCP)
    yield from each("fwmark", [0, -1, 2**32, *NO_INTEGER], {})
    yield from each("family", ["inet", "IPv4", "4", 4, ["ipv4"], "ipv6"], TCP)
    yield from each("family", ["ipv4"], TCP6)
    yield from each("family", ["ip"], MARK)
    for option in TCP:
        yield from each(option, [TCP[option]], MARK)
    for option in TCP:
        yield option, {other: TCP[other] for other in TCP if other != option}
    yield "protocol", {}
    yield from each("sheduler", ["rr"], TCP)
    yield from each("weight", [1], TCP)
    yield from each("1", [1], TCP)
    # What it does
    yield from each("scheduler", ["fastest", *NO_NAME], TCP)
    yield from each("persistence_engine", ["nosuch", *NO_NAME[1:]], TCP)
    yield from each("scheduler_flags", ["sh-port", {"sh-port": True}, 1], {**TCP, "scheduler": "sh"})
    for flags in (["mh-port"], ["port"], [1], [None], [["sh-port"]]):
        yield "scheduler_flags[0]", {**TCP, "scheduler": "sh", "scheduler_flags": flags}
    yield "scheduler_flags[1]", {**TCP, "scheduler": "rr", "scheduler_flags": ["flag-1", "flag-4"]}
    yield "scheduler_flags[0]", {**TCP, "scheduler": "rr", "scheduler_flags": ["sh-port"]}
    yield from each("persistence_timeout", [-1, 31 * 24 * 3600 + 1, 2**32 - 1, *NO_INTEGER], TCP)
    persistent = {**TCP, "persistence_timeout": 60}
    yield from each(
        "persistence_netmask", [0, 33, -1, "0.0.0.0", "255.255.255", "255.255.255.256", "all", [24]], persistent
    )
    yield from each("persistence_netmask", [0, 129, "255.255.255.0", "ffff::"], {**TCP6, "persistence_timeout": 60})
    yield from each("persistence_netmask", [24], TCP)
    yield from each("one_packet", ["maybe", 2, "", [True]], UDP)
    yield from each("one_packet", [True], TCP)
    yield from each("one_packet", [True], {**TCP, "protocol": "sctp"})
    yield from each("forwarding", ["nat", "gatewaying", "MASQUERADE", "", 0, ["direct"]], TCP)
    yield from each("tunnel", ["gue", ["gue"], 1], TUNNEL)
    # Where it leads
    yield from each("real_servers", ["198.51.100.21", {"address": "198.51.100.21"}, 1], TCP)
    for entry in ("198.51.100.21", 1, None, ["198.51.100.21"]):
        yield "real_servers[0]", {**TCP, "real_servers": [entry]}
    yield from each_server("address", [*NO_ADDRESS, *NO_UNICAST, None], SERVER, TCP)
    yield from each_server("address", ["fe80::1", "febf::1"], SERVER6, TCP6)
    yield from each_server("port", [-1, 65536, *NO_INTEGER], SERVER, TCP)
    yield from each_server("weight", [-1, 2**31, *NO_INTEGER], SERVER, TCP)
    yield from each_server("forwarding", ["route", "Direct", "", 3], SERVER, TCP)
    yield from each_server("upper_threshold", [-1, 2**31, *NO_INTEGER], SERVER, TCP)
    yield from each_server("lower_threshold", [-1, 2**31, 1, *NO_INTEGER], SERVER, TCP)
    yield from each_server("lower_threshold", [11], {**SERVER, "upper_threshold": 10}, TCP)
    yield from each_server("wieght", [1], SERVER, TCP)
    yield from each_server("scheduler", ["rr"], SERVER, TCP)
    yield "real_servers[0].address", {**TCP, "real_servers": [{"weight": 1}]}
    # What does not go together
    yield "real_servers[0].address", {**TCP, "real_servers": [SERVER6]}
    yield "real_servers[0].address", {**TCP6, "real_servers": [SERVER]}
    yield "real_servers[0].address", {**TCP, "forwarding": "direct", "real_servers": [SERVER6]}
    yield "real_servers[0].address", {"fwmark": 7, "real_servers": [SERVER6]}
    yield "real_servers[0].address", {"fwmark": 7, "family": "ipv6", "real_servers": [SERVER]}
    yield from each_server("port", [8080], {**SERVER, "forwarding": "direct"}, TCP)
    yield from each_server("port", [8080], SERVER, TUNNEL)
    yield "real_servers[1]", {**TCP, "real_servers": [SERVER, {**SERVER, "port": 80}]}
    yield "real_servers[1]", {**TCP6, "real_servers": [SERVER6, {"address": "2001:DB8:B:0::21", "weight": 2}]}
    # How packets are wrapped
    yield from at("real_servers[1].tunnel.type", each_tunnel("type", ["vxlan", "GUE", "", 1, ["gue"]], {}))
    yield from at(
        "real_servers[1].tunnel.port", each_tunnel("port", [0, None, -1, 65536, *NO_INTEGER], {"type": "gue"})
    )
    yield from at("real_servers[1].tunnel.port", each_tunnel("port", [6080], {"type": "gre"}))
    yield from at("real_servers[1].tunnel.port", each_tunnel("port", [6080], {}))
    gue = {"type": "gue", "port": 6080}
    yield from at("real_servers[1].tunnel.checksum", each_tunnel("checksum", ["yes", "", 1, True, "CSUM"], gue))
    yield from at("real_servers[1].tunnel.checksum", each_tunnel("checksum", ["remcsum"], {"type": "gre"}))
    yield from at("real_servers[1].tunnel.checksum", each_tunnel("checksum", ["csum", "remcsum"], {}))
    yield from at("real_servers[1].tunnel.kind", each_tunnel("kind", ["gue"], {}))
    yield from each_server("tunnel", [{"type": "gue", "port": 6080}], SERVER, TCP)
    yield from each_server("tunnel", ["gue", ["gue"]], {**SERVER, "forwarding": "tunnel"}, TCP)


CASES = list(cases())
GOOD: Words = {**UDP, "port": 53, "scheduler": "rr", "real_servers": [SERVER]}


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 200


@pytest.fixture
def refused(table: Table, messages: list[int]) -> Iterator[Callable[..., str]]:
    """Run a module that has to fail, after some table is there; what it says. In the end the table is as it was."""
    run_module("table", services=[GOOD])
    before = table()
    messages.clear()

    def run(name: str, **options: Any) -> str:
        with pytest.raises(ModuleFailed) as failed:
            run_module(name, **options)
        assert messages == []
        said = str(failed.value)
        assert "\n" not in said
        assert "Traceback" not in said
        return said

    yield run
    assert table() == before


def some(cases: list[Case]) -> list[Any]:
    """A score of cases at a time, by the path of their first: ipvsadm(8) is asked for each score."""
    return [
        pytest.param(cases[first : first + 20], id=f"{cases[first][0]}-{first}") for first in range(0, len(cases), 20)
    ]


@pytest.mark.parametrize("cases", some(CASES))
def test_in_a_table(cases: list[Case], refused: Callable[..., str]) -> None:
    # Before anything is sent: also what the good entries before it would have changed.
    other = {**GOOD, "scheduler": "lc"}
    for path, words in cases:
        said = refused("table", services=[other, {**TCP6, "port": 81}, words], purge="all")
        assert said.startswith(f"services[2].{path}: ")


def ansible_answers_first(path: str, words: Words) -> bool:
    """Whether the option has a type in the module's own specification, for which Ansible converts or complains."""
    return path.split(".")[-1] in ("tunnel", "real_servers", "real_servers[0]", "scheduler_flags") or any(
        number in repr(words) for number in ("1e3", "\u0663")
    )


@pytest.mark.parametrize("cases", some([case for case in CASES if not ansible_answers_first(*case)]))
def test_in_a_service(cases: list[Case], refused: Callable[..., str]) -> None:
    for path, words in cases:
        said = refused("virtual_service", **words)
        if "." in path:
            assert said.startswith(f"{path}: ")
        else:
            # Ansible itself refuses what is not of the option's type or choices.
            assert path.split("[")[0] in said
