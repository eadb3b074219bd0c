# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain, _options, _proof
from ansible_collections.lvs.ipvs.plugins.module_utils._model import IPIP, Table, Tunnel

VIP, SERVER = "192.0.2.10", "198.51.100.21"
GUE = Tunnel("gue", 6080, "csum")


def asked(weight_now: int | None = None, **changes: t.Any) -> list[str | _proof.Proof]:
    """What one real server has to prove; the text of those who have nothing to."""
    service = {"protocol": "tcp", "address": VIP, "port": 80, "real_servers": [{"address": SERVER}], **changes}
    want = _options.parse_services([{option: word for option, word in service.items() if word is not None}])
    have = {}
    if weight_now is not None:
        have = _proof.without_weight(want, [(key, server) for key in want for server in want[key].real_servers])
        have = {
            key: entry._replace(
                real_servers={server: there._replace(weight=weight_now) for server, there in entry.real_servers.items()}
            )
            for key, entry in have.items()
        }
    marked = {"fwmark": 7, "protocol": "tcp", "address": VIP, "port": 443}
    wishes = _proof.parse_wishes({"timeout": 1, "on_failure": "fail", "marked": [marked]})
    assert wishes
    demand = _proof.demand(have, want, wishes.marked)
    return [*demand.proofs.values(), *map(_drain.told, demand.beyond)]


def proof(forwarding: str, address: str, port: int | None, tunnel: Tunnel = IPIP) -> list[_proof.Proof]:
    return [_proof.Proof(SERVER, forwarding, tunnel, address, port)]


MARK = {"protocol": None, "address": None, "port": None, "fwmark": 7}
OTHER = {**MARK, "fwmark": 8}
SERVERS = {"real_servers": [{"address": SERVER, "port": 8080}]}
EVERY = {"port": 0, "persistence_timeout": 60}


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, proof("masquerade", SERVER, 80)),
        (SERVERS, proof("masquerade", SERVER, 8080)),
        ({"forwarding": "direct"}, proof("direct", VIP, 80)),
        ({"forwarding": "tunnel"}, proof("tunnel", VIP, 80)),
        ({"forwarding": "tunnel", "tunnel": GUE._asdict()}, proof("tunnel", VIP, 80, GUE)),
        (MARK, proof("masquerade", SERVER, 443)),
        ({**MARK, "forwarding": "direct"}, proof("direct", VIP, 443)),
        # Without a TCP port, the way is proven.
        ({"protocol": "udp", "forwarding": "direct"}, proof("direct", VIP, None)),
        ({"protocol": "udp", "one_packet": True, "forwarding": "tunnel"}, proof("tunnel", VIP, None)),
        ({"protocol": "sctp", "forwarding": "direct"}, proof("direct", VIP, None)),
        ({**EVERY, "forwarding": "direct"}, proof("direct", VIP, None)),
        ({**MARK, "one_packet": True, "forwarding": "direct"}, proof("direct", VIP, None)),
        # Nothing to ask by.
        ({"protocol": "udp"}, [f"real server {SERVER}:80 of service udp {VIP}:80"]),
        (EVERY, [f"real server {SERVER}:0 of service tcp {VIP}:0"]),
        (OTHER, [f"real server {SERVER}:0 of service fwmark 8 ipv4"]),
        ({**OTHER, "forwarding": "direct"}, [f"real server {SERVER}:0 of service fwmark 8 ipv4"]),
        # Nothing to prove.
        ({"real_servers": [{"address": SERVER, "weight": 0}]}, []),
    ],
)
def test_what_is_asked(service: dict[str, t.Any], expected: list[t.Any]) -> None:
    assert asked(**service) == asked(0, **service) == expected
    assert asked(1, **service) == []


def test_a_mark_is_of_the_family_of_its_address() -> None:
    wishes = _proof.parse_wishes(
        {
            "timeout": 1,
            "on_failure": "fail",
            "marked": [{"fwmark": 7, "protocol": "tcp", "address": "2001:db8:f::10", "port": 80}],
        }
    )
    assert wishes
    assert [str(key) for key in wishes.marked] == ["fwmark 7 ipv6"]


def weighing(**weights: int) -> Table:
    """A table with one service; its real servers by the last digits of their addresses."""
    servers = [{"address": f"198.51.100.{name[1:]}", "weight": weight} for name, weight in weights.items()]
    return _options.parse_services([{"protocol": "tcp", "address": VIP, "port": 80, "real_servers": servers}])


@pytest.mark.parametrize(
    ("have", "then", "drained", "kept"),
    [
        ({}, {"r21": 0}, [], []),
        ({"r22": 0}, {"r21": 0}, [], []),
        ({"r22": 1, "r23": 2, "r24": 0}, {"r21": 0, "r22": 0}, [], ["22", "23"]),
        ({"r22": 1}, {"r21": 0, "r24": 1}, [], []),
        # A drain takes more than the weight of others.
        ({"r22": 1, "r23": 1}, {"r21": 0, "r22": 0}, ["22"], ["23"]),
        ({"r22": 1}, {"r21": 0, "r22": 0}, ["22"], []),
    ],
)
def test_who_cannot_be_replaced(
    have: dict[str, int], then: dict[str, int], drained: list[str], kept: list[str]
) -> None:
    before, behind = weighing(**have) if have else {}, weighing(**then)
    named = {server.address[-2:]: (key, server) for key in before for server in before[key].real_servers}
    failures = [(key, server) for key in behind for server in behind[key].real_servers if server.address == SERVER]
    found = _proof.irreplaceable(before, behind, failures, [named[name] for name in drained])
    assert [server.address[-2:] for entry in found.values() for server in entry.real_servers] == kept
    assert _proof.irreplaceable(before, behind, [], []) == {}
