# SPDX-License-Identifier: GPL-3.0-or-later
"""Services by firewall mark: which packets are theirs is said in the inventory, and nothing else marks them."""

from __future__ import annotations

import pytest
from lvs_testing import CLIENT, CLIENT6, VIP, VIP6, client_seen, do, ipvsadm, url

SERVERS = {"web1": "21", "web2": "22", "web3": "23"}
#: Addresses of the client host, one for each client that there seems to be.
CLIENTS = [f"192.0.2.{number}" for number in range(101, 107)]


@pytest.mark.parametrize("director", ["lb1", "lb2"])
def test_each_family_is_a_service(director: str) -> None:
    table = ipvsadm(director)
    four = [f"-a -f 7 -r 198.51.100.{octet}:0 -m -w 1" for octet in SERVERS.values()]
    six = [f"-a -f 7 -6 -r [2001:db8:b::{octet}]:0 -m -w 1" for octet in SERVERS.values()]
    expected = {"-A -f 7 -s rr -p 300", "-A -f 7 -6 -s rr -p 300", *four, *six}
    assert {line for line in table if " -f " in line} == expected


def test_the_rules_are_in_a_table_of_their_own() -> None:
    assert do("lb1", "nft list tables").splitlines() == ["table inet lvs_ipvs"]


def answers(*urls: str, client: str = "") -> list[str]:
    """Who answered; ``-`` for nobody."""
    source = f"--interface {client} " if client else ""
    one = f"curl -s --max-time 5 {source}"
    return do("client", "; ".join(f"{one}'{asked}' || echo -" for asked in urls)).split()


@pytest.mark.parametrize(
    ("address", "ports", "others"), [(VIP, [80, 443, 8000, 8005, 8010], [8080]), (VIP6, [80, 8005], [8080])]
)
def test_a_client_has_one_server_for_all_ports_of_the_service(
    address: str, ports: list[int], others: list[int]
) -> None:
    told = answers(*(url(address, port) for port in ports))
    assert len(told) == len(ports)
    assert len(set(told)) == 1, told
    assert told[0] in SERVERS
    # What is not marked is not balanced, though the real servers listen there as well.
    assert answers(*(url(address, port) for port in others)) == ["-"] * len(others)


def test_clients_are_spread_and_seen() -> None:
    do("client", "; ".join(f"ip address replace {client}/32 dev front" for client in CLIENTS))
    told = do(
        "client",
        "; ".join(
            f"curl -s --max-time 5 --interface {client} '{url(VIP, port)}'"
            for client in CLIENTS
            for port in (443, 8005)
        ),
    ).split()
    first, second = told[::2], told[1::2]
    # Each client keeps its server, and each server has two of the six.
    assert first == second
    assert sorted(first) == sorted([*SERVERS, *SERVERS])
    assert client_seen("client", VIP) == CLIENT
    assert client_seen("client", VIP6) == CLIENT6


def test_rules_outlive_the_firewall_of_the_host() -> None:
    """Each of these flushes all rules."""
    told = do(
        "lb1",
        "for what in start reload restart; do systemctl $what nftables && nft list tables; done;"
        " systemctl stop nftables; nft --file /etc/lvs-ipvs-marks.nft; nft list tables",
    )
    ours = "table inet lvs_ipvs"
    assert told.splitlines() == [*["table inet filter", ours] * 3, ours]
    assert answers(url(VIP, 443)) != ["-"]
