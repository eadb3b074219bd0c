# SPDX-License-Identifier: GPL-3.0-or-later
"""The module lvs.ipvs.connection_info against the kernel, with ipvsadm(8) as the second opinion."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .traffic import CLIENT, CLIENT6, REAL, REAL6, VIRTUAL, VIRTUAL6, Traffic
from .words import Words

Apply = Callable[..., dict[str, Any]]
Module = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]

KEY = {"protocol": "tcp", "address": VIRTUAL, "port": 80}
SERVERS = [{"address": address, "port": 8080} for address in REAL]
PERSISTENT = {"persistence_timeout": 60}
SERVICES: list[Words] = [
    {**KEY, "scheduler": "rr", "real_servers": SERVERS},
    {**KEY, "port": 81, **PERSISTENT, "persistence_netmask": 24, "real_servers": SERVERS[:1]},
    {**KEY, "address": VIRTUAL6, **PERSISTENT, "real_servers": [{"address": REAL6, "port": 8080}]},
    {"fwmark": 7, **PERSISTENT, "real_servers": [{"address": REAL[0]}]},
    {"fwmark": 2**32 - 1, "family": "ipv6", **PERSISTENT, "real_servers": [{"address": REAL6}]},
    {
        "protocol": "udp",
        "address": VIRTUAL,
        "port": 5060,
        **PERSISTENT,
        "persistence_engine": "sip",
        "real_servers": [{"address": REAL[0]}],
    },
]
INVITE = b"INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5\r\nCall-ID: abc123@example.org\r\n\r\n"


@pytest.fixture
def traffic(netns: Callable[[], None], apply: Apply) -> Iterator[Traffic]:
    """Connections of every kind, most of them established."""
    with Traffic() as traffic:
        for address, port in [*((address, 8080) for address in (*REAL, REAL6)), (REAL[0], 1234), (REAL6, 1234)]:
            traffic.listen(address, port)
        traffic.receive(REAL[0], 5060)
        apply(SERVICES)
        for _turn in range(4):
            traffic.connect(VIRTUAL, 80)
        traffic.connect(VIRTUAL, 80).close()
        traffic.connect(VIRTUAL, 81)
        traffic.connect(VIRTUAL6, 80)
        traffic.connect(VIRTUAL, 1234, mark=7)
        traffic.connect(VIRTUAL6, 1234, mark=2**32 - 1)
        traffic.send(VIRTUAL, 5060, INVITE)
        yield traffic


Row = tuple[str, ...]


def theirs(ipvsadm: Ipvsadm) -> list[Row]:
    """Protocol, state, client, virtual and real endpoint of each line of ipvsadm, and what a persistence engine said."""
    rows = []
    for line in ipvsadm("-Lnc", "--persistent-conn").splitlines()[2:]:
        protocol, _expire, state, *rest = line.split()
        rows.append((protocol.lower(), state, *rest))
    return sorted(rows)


def endpoint(words: Words) -> str:
    return f"[{words['address']}]:{words['port']}" if ":" in words["address"] else f"{words['address']}:{words['port']}"


def ours(connection: Words) -> Row:
    service = connection["service"]
    if "fwmark" in service:
        # As ipvsadm writes them: an address that begins with the mark.
        mark = ".".join(str(byte) for byte in service["fwmark"].to_bytes(4, "big"))
        virtual = f"{mark}:0" if service["family"] == "ipv4" else "[ffff:ffff::]:0"
        protocol = "ip"
    else:
        virtual, protocol = endpoint(service), service["protocol"]
    engine = [connection["persistence_engine"], connection["persistence_data"]] * bool(connection["persistence_engine"])
    sides = (endpoint(connection["client"]), virtual, endpoint(connection["real_server"]))
    return (protocol, connection["state"], *sides, *engine)


def is_template(row: Row) -> bool:
    return row[2].endswith(":0")


def test_the_list_is_that_of_ipvsadm(traffic: Traffic, module: Module, ipvsadm: Ipvsadm) -> None:
    result = module("connection_info", limit=100)
    rows = theirs(ipvsadm)
    assert sorted(map(ours, result["connections"])) == rows
    assert sorted(ours(one) for one in result["connections"] if one["template"]) == sorted(filter(is_template, rows))
    assert (result["connection_count"], result["template_count"], result["omitted_count"]) == (10, 5, 0)
    assert ("udp", "NONE", f"{CLIENT}:0", f"{VIRTUAL}:5060", f"{REAL[0]}:5060", "sip", "abc123@example.org") in rows
    assert ("tcp", "ASSURED", "203.0.113.0:0", f"{VIRTUAL}:81", f"{REAL[0]}:8080") in rows
    assert all(0 < one["expires_in"] <= 900 for one in result["connections"])


def test_the_counts_are_those_of_ipvsadm(traffic: Traffic, module: Module, ipvsadm: Ipvsadm) -> None:
    result = module("connection_info")
    assert "connections" not in result
    rows = [row for row in theirs(ipvsadm) if not is_template(row)]
    assert Counter(result["states"]) == Counter(row[1] for row in rows)
    for service in result["services"]:
        if "fwmark" in service:
            assert (service["connection_count"], service["template_count"]) == (0, 1)
            continue
        mine = [row for row in rows if (row[0], row[3]) == (service["protocol"], endpoint(service))]
        assert service["connection_count"] == len(mine) > 0
        for server in service["real_servers"]:
            states = Counter(row[1] for row in mine if row[4] == endpoint(server))
            assert Counter(server["states"]) == states
            assert server["connection_count"] == states.total()


@pytest.mark.parametrize(
    ("given", "connections", "templates"),
    [
        ({"service": KEY}, 5, 0),
        ({"service": {"protocol": "tcp", "address": VIRTUAL6}}, 2, 1),
        ({"service": {"protocol": "udp"}}, 1, 1),
        ({"service": {"fwmark": 7}}, 0, 1),
        ({"service": {"fwmark": 2**32 - 1, "family": "ipv6"}}, 0, 1),
        ({"service": {"fwmark": 7, "family": "ipv6"}}, 0, 0),
        ({"service": KEY, "states": ["ESTABLISHED"]}, 4, 0),
        ({"states": ["UDP"]}, 1, 0),
        ({"client": CLIENT}, 8, 2),
        ({"client": "203.0.113.0/24"}, 8, 3),
        ({"client": f"{CLIENT6}/64"}, 2, 2),
        ({"client": "203.0.113.6"}, 0, 0),
        ({"real_server": {"address": REAL6}}, 2, 2),
        ({"real_server": {"port": 5060}}, 1, 1),
    ],
)
def test_filters(given: Words, connections: int, templates: int, traffic: Traffic, module: Module) -> None:
    result = module("connection_info", limit=2, **given)
    assert (result["connection_count"], result["template_count"]) == (connections, templates)
    assert len(result["connections"]) == min(2, connections + templates)
    assert result["omitted_count"] == max(0, connections + templates - 2)


def test_a_template_that_is_made_invalid_is_left_out(traffic: Traffic, module: Module, ipvsadm: Ipvsadm) -> None:
    """As it is when its real server is quiesced, and a client comes again."""
    Path("/proc/sys/net/ipv4/vs/expire_quiescent_template").write_text("1")
    ipvsadm("-e", "-t", f"{VIRTUAL}:81", "-r", f"{REAL[0]}:8080", "-m", "-w", "0")
    with pytest.raises(ConnectionRefusedError):
        traffic.connect(VIRTUAL, 81)
    assert re.search(r"ASSURED +203\.0\.113\.0:0 .*:65535$", ipvsadm("-Lnc"), re.MULTILINE)
    result = module("connection_info", service={**KEY, "port": 81})
    assert (result["connection_count"], result["template_count"]) == (1, 0)
    assert module("connection_info")["template_count"] == 4


def test_the_file_is_open_to_all(module: Module) -> None:
    """So counting needs no privilege. Without ip_vs there would be no file; the module loads nothing to ask."""
    assert module("connection_info")["connection_count"] == 0
    assert Path("/proc/net/ip_vs_conn").stat().st_mode & 0o444 == 0o444


def test_a_thousand_connections_of_one_template(netns: Callable[[], None], module: Module, apply: Apply) -> None:
    with Traffic() as traffic:
        traffic.receive(REAL[0], 53)
        key = {"protocol": "udp", "address": VIRTUAL, "port": 53}
        apply([{**key, **PERSISTENT, "real_servers": [{"address": REAL[0]}]}])
        for port in range(10_000, 11_000):
            traffic.send(VIRTUAL, 53, from_port=port).close()
        result = module("connection_info", limit=10)
        assert (result["connection_count"], result["template_count"]) == (1000, 1)
        assert len(result["connections"]) == 10
        assert result["omitted_count"] == 991
        assert (
            subprocess.run(["wc", "-l", "/proc/net/ip_vs_conn"], capture_output=True, check=True).stdout[:5] == b"1002 "
        )
