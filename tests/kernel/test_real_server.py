# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that makes the network of a real server, on real devices, rules and sysctls; ip(8) and /proc tell.

The kernels of user-mode Linux know nftables without any family of tables, so something else remembers the rules there.
On a host of the lab (`tests/kernel/run --lab web1`) it is nft(8).
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "roles" / "real_server" / "files" / "lvs-ipvs-real-server.py"
SPEC = importlib.util.spec_from_file_location("lvs_ipvs_real_server", FILE)
assert SPEC
assert SPEC.loader
program = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(program)

Words = dict[str, t.Any]

#: A part of the family's own each: where the server is, and the directors.
ENDS = {
    "ipv4": {"server_address": "198.51.100.21", "directors": ["198.51.100.11", "198.51.100.12"]},
    "ipv6": {"server_address": "2001:db8:b::21", "directors": ["2001:db8:b::11"]},
}
IPV4 = ("all/arp_ignore", "all/arp_announce", "all/rp_filter", "back/rp_filter", "front/rp_filter")


def service(address: str, kind: str = "", over: str = "", overhead: int = 20, checksum: str = "none") -> Words:
    family = "ipv6" if ":" in address else "ipv4"
    tunnel = {"type": kind, "port": 6080 if kind == "gue" else 0, "checksum": checksum, "overhead": overhead}
    return {
        "name": f"{kind} {address}",
        "family": family,
        "addresses": [address],
        "tunnel": tunnel if kind else None,
        **ENDS[over or family],
    }


def configuration(
    direct: t.Sequence[Words] = (), tunnel: t.Sequence[Words] = (), masquerade: t.Sequence[str] | None = None
) -> Words:
    def way(address: str, gateway: str) -> Words:
        # By these ports, or by all of them if there are none.
        addresses = {} if masquerade is None else {address: list(masquerade)}
        return {"addresses": addresses, "gateway": gateway, "table": 4780, "priority": 4780}

    return {
        "mark": 76,
        "direct": direct,
        "tunnel": tunnel,
        "mtu": 0,
        "masquerade": {
            "ipv4": way("198.51.100.21", "198.51.100.11"),
            "ipv6": way("2001:db8:b::21", "2001:db8:b::11"),
        },
    }


NOTHING = configuration()
#: Each method, and each kind of tunnel.
ALL = configuration(
    [service("192.0.2.10"), service("2001:db8:f::10")],
    [
        service("192.0.2.31", "ipip"),
        service("192.0.2.32", "gue", overhead=32),
        service("192.0.2.33", "gre", overhead=28, checksum="csum"),
        service("2001:db8:f::31", "ipip", overhead=40),
        service("2001:db8:f::32", "gue", overhead=52),
        service("2001:db8:f::34", "ipip", over="ipv4"),
    ],
    masquerade=["tcp 80"],
)
#: By other methods.
OTHERS = configuration(
    [service("192.0.2.31")], [service("192.0.2.10", "gue", overhead=32), service("192.0.2.33", "ipip")]
)


#: Remembers the rules of a namespace where the kernel cannot, and tells them as nft(8) does: a rule to the line.
NFT = """#!/bin/sh
rules=$(dirname "$0")/$(readlink /proc/self/ns/net)
case "$1 $2" in
"list table") exec cat "$rules" ;;
"list ruleset") [ ! -e "$rules" ] || exec cat "$rules"; exit ;;
esac
told=$(cat)
case "$told" in
"delete table "*) exec rm "$rules" ;;
*)
  echo "$told" | sed 's/.*delete table [^;]*; //; s/{ chain/{\\nchain/g; s/{ type/{\\ntype/g; s/accept; /accept;\\n/g; s/drop; /drop\\n/g
    s/\\(size set [0-9]*\\); /\\1\\n/g; s/}; /}\\n/g' > "$rules" ;;
esac
"""


@pytest.fixture(autouse=True)
def _nft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if "User Mode Linux" in Path("/proc/cpuinfo").read_text():
        (tmp_path / "nft").write_text(NFT)
        (tmp_path / "nft").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two networks, and a strict reverse path filter."""
    monkeypatch.setattr(program, "FILE", tmp_path / "state.json")
    # A module in some kernels, and a part of others.
    subprocess.run(["modprobe", "--quiet", "ipv6"], check=False)
    subprocess.run(
        ["ip", "-batch", "-"],
        input="".join(
            f"link add {name} type dummy\nlink set {name} up\naddress add {four}/24 dev {name}\naddress add {six}/64 dev {name} nodad\n"
            for name, four, six in (
                ("front", "192.0.2.21", "2001:db8:f::21"),
                ("back", "198.51.100.21", "2001:db8:b::21"),
            )
        ),
        text=True,
        check=True,
    )
    Path("/proc/sys/net/ipv4/conf/back/rp_filter").write_text("1")


def seen() -> list[str]:
    """All that the program could have made."""
    told = subprocess.run(
        "ip -o -d address show; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; nft list ruleset; cat "
        + " ".join(f"/proc/sys/net/ipv4/conf/{name}" for name in IPV4)
        + "; [ ! -e /sys/module/fou ] || ip fou show; grep . /proc/sys/net/ipv4/conf/lvs-*/rp_filter || true",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Neither numbers that count up, nor names that the next free number is part of, nor what a module brings for good.
    lines = (re.sub(r"^\d+: |\bindex \d+|lvs-\w+?\d*\b(?=\\)", "", line).strip() for line in told.splitlines())
    return sorted(line for line in lines if not re.match(r"(tunl0|gre0|gretap0|erspan0|sit0|ip6tnl0|ip6gre0)\b", line))


def test_rules_follow_the_services_and_there_is_no_moment_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def way(protocol: str, port: int) -> str:
        asked = f"ip -o route get 203.0.113.9 from 198.51.100.21 ipproto {protocol} sport {port} dport 40000"
        told = subprocess.run(asked.split(), capture_output=True, text=True, check=False).stdout
        return " ".join(told.partition(" via ")[2].split()[:1])

    def apply(planned: list[str]) -> None:
        for step in planned:
            take([step])
            assert not begun or way("tcp", 80) == "198.51.100.11", step

    take = program.apply
    monkeypatch.setattr(program, "apply", apply)
    subprocess.run("ip route add default via 192.0.2.1", shell=True, check=True)
    pristine = seen()
    begun = False
    # The way of an earlier version of the role.
    program.converge(configuration(masquerade=[]))
    assert any("4780:\tfrom 198.51.100.21 lookup 4780" in line for line in seen())
    begun = True
    ways = [
        configuration(masquerade=["tcp 80"]),
        configuration(masquerade=["tcp 22", "tcp 80-82", "udp 53"]),
        configuration(masquerade=[]),
    ]
    for first, second in zip(ways, [*ways[1:], ways[0]], strict=True):
        program.converge(first)
        # A run that had no end, and then another opinion.
        program.converge(second, keep=True)
        program.converge(first)
        assert program.converge(first) == []
        assert way("tcp", 22) == ("192.0.2.1" if first is ways[0] else "198.51.100.11")
    begun = False
    program.converge(NOTHING)
    assert seen() == pristine


@pytest.mark.parametrize("wanted", [ALL, OTHERS], ids=["all", "others"])
def test_the_next_run_finds_all_of_it_right(wanted: Words) -> None:
    assert program.converge(wanted)
    assert program.converge(wanted) == []
    assert program.converge(wanted, keep=True) == []


def rules() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def test_while_directors_change_rules_are_for_the_old_way_and_the_new() -> None:
    def sizes() -> list[str]:
        return re.findall(r"saddr.* 192.0.2.10 .* size set (\d+)", rules())

    by_gue = service("192.0.2.10", "gue", overhead=32)
    by_ipip = {**service("192.0.2.10", "ipip"), "directors": ["198.51.100.11", "198.51.100.13"]}
    program.converge(configuration(tunnel=[by_gue]))
    assert sizes() == ["1428"]
    program.converge(configuration(tunnel=[by_ipip]), keep=True)
    assert sorted(sizes()) == ["1428", "1440"]
    assert "udp dport 6080 ip saddr != { 198.51.100.11, 198.51.100.12 } drop" in rules()
    assert re.search(r"l4proto \S+ ip saddr != \{ 198.51.100.11, 198.51.100.12, 198.51.100.13 \} drop", rules())
    told = program.converge(configuration(tunnel=[by_ipip]), keep=True)
    assert [step for step in told if not step.startswith("kept: ")] == []
    program.converge(configuration(tunnel=[by_ipip]))
    assert sizes() == ["1440"]
    assert "6080" not in rules()
    assert re.search(r"l4proto \S+ ip saddr != \{ 198.51.100.11, 198.51.100.13 \} drop", rules())


def test_a_host_may_have_thousands_of_services() -> None:
    numbers = range(2000)
    many = configuration(
        [service("192.0.2.10") | {"addresses": [f"10.1.{number // 250}.{number % 250 + 1}" for number in numbers]}],
        [
            service("192.0.2.31", "ipip")
            | {"addresses": [f"10.2.{number // 250}.{number % 250 + 1}" for number in numbers]}
        ],
    )
    assert len(program.converge(many)) > 2 * len(numbers)
    # In one rule, which the kernel finds an address in at once.
    assert len(rules()) > 128 * 1024 // 8
    assert rules().count("maxseg") == 1
    assert program.converge(many) == []
    program.converge(NOTHING)


def killed_after(steps: int, wanted: Words, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Begin to make what is wanted, and tell whether the end came first."""
    take = program.apply
    left = iter(range(steps))

    def apply(planned: list[str]) -> None:
        for step in planned:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            take([step])

    child = os.fork()
    if not child:
        monkeypatch.setattr(program, "apply", apply)
        try:
            program.converge(wanted)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to one way, to another, and to nothing."""
    ways = [
        configuration([service("192.0.2.10")], [service("2001:db8:f::31", "gue", overhead=52)], masquerade=["tcp 80"]),
        configuration([service("2001:db8:f::31")], [service("192.0.2.10", "gue", overhead=32)]),
        NOTHING,
    ]
    pristine = seen()
    undisturbed = []
    for way in ways:
        program.converge(way)
        undisturbed.append(seen())
    assert undisturbed[-1] == pristine
    assert len(set(map(str, undisturbed))) == len(ways)
    runs = 0
    for way, wanted in zip(ways, undisturbed, strict=True):
        # Each run gets a step or a few further than the one before.
        while killed_after(1 + runs % 5, way, monkeypatch):
            runs += 1
            assert runs < 100
        assert seen() == wanted
    assert runs > 10
    assert not program.FILE.exists()


def test_another_checksum_is_refused_and_nothing_changes() -> None:
    program.converge(configuration(tunnel=[service("192.0.2.33", "gre", overhead=28, checksum="csum")]))
    before = seen()
    without = configuration(tunnel=[service("192.0.2.33", "gre", overhead=24)], masquerade=["tcp 80"])
    with pytest.raises(program.Problem, match=r"tunnel\.checksum: lvs-gre takes packets with at 198\.51\.100\.21"):
        program.converge(without)
    assert seen() == before
    # The way round it.
    program.converge(configuration(tunnel=[service("192.0.2.33", "ipip")]))
    program.converge(without)
    assert program.converge(without) == []
