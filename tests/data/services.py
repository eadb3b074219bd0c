# SPDX-License-Identifier: GPL-3.0-or-later
"""A service for every option that a service and a real server have, as lvs_services has them.

Each says how it differs from the first. The two engines are to make the same entry of it, and keepalived is to be content with
what is written for it. tests/unit/roles/keepalived finds options and values that no service here has.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _keepalived

Words = dict[str, t.Any]

SERVICES: dict[str, Words] = {
    "web": {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": [{"address": "198.51.100.21"}, {"address": "198.51.100.22"}]},
    **{f"scheduler {name}": {"scheduler": name} for name in _keepalived.SCHEDULERS},
    **{f"{protocol} ipv6": {"protocol": protocol, "address": "2001:db8:f::10", "real_servers": [{"address": "2001:db8:b::21"}]} for protocol in ("tcp", "udp", "sctp")},
    "udp": {"protocol": "udp"},
    "sctp": {"protocol": "sctp"},
    "sh": {"scheduler": "sh", "scheduler_flags": ["sh-fallback", "sh-port", "flag-3"]},
    "mh": {"scheduler": "mh", "scheduler_flags": ["mh-fallback", "mh-port"]},
    "one flag": {"scheduler": "mh", "scheduler_flags": ["mh-port"]},
    "flags": {"scheduler": "rr", "scheduler_flags": ["flag-1", "flag-2", "flag-3"]},
    "some flags": {"scheduler": "wlc", "scheduler_flags": ["flag-1", "flag-3"]},
    "one packet": {"protocol": "udp", "one_packet": True},
    "persistent": {"persistence_timeout": 2678400, "persistence_netmask": 24},
    "persistent, uneven": {"persistence_timeout": 1, "persistence_netmask": "255.0.255.0"},
    "persistent, ipv6": {"address": "2001:db8:f::10", "persistence_timeout": 60, "persistence_netmask": 64, "real_servers": [{"address": "2001:db8:b::21"}]},
    "sip": {"protocol": "udp", "persistence_timeout": 60, "persistence_engine": "sip"},
    "every port": {"address": "192.0.2.11", "port": 0, "persistence_timeout": 60},
    "direct": {"forwarding": "direct"},
    "ipip": {"forwarding": "tunnel"},
    **{f"gue {checksum}": {"forwarding": "tunnel", "tunnel": {"type": "gue", "port": 6080, "checksum": checksum}} for checksum in ("none", "csum", "remcsum")},
    **{f"gre {checksum}": {"forwarding": "tunnel", "tunnel": {"type": "gre", "checksum": checksum}} for checksum in ("none", "csum")},
    "a tunnel to the other family": {"forwarding": "tunnel", "real_servers": [{"address": "2001:db8:b::21"}]},
    "servers of all kinds": {
        "real_servers": [
            {"address": "198.51.100.31", "port": 8080, "weight": 2147483647, "upper_threshold": 9, "lower_threshold": 3},
            {"address": "198.51.100.32", "forwarding": "direct", "weight": 0},
            {"address": "198.51.100.33", "forwarding": "tunnel", "tunnel": {"type": "gue", "port": 1}},
        ]
    },
    "mark": {"fwmark": 7, "family": "ipv4", "real_servers": [{"address": "198.51.100.31", "port": 8080}]},
    "mark, direct": {"fwmark": 8, "forwarding": "direct", "mark": [{"protocol": "tcp", "address": "192.0.2.12", "ports": [80, "8000-8010"]}]},
    "mark, tunnel": {"fwmark": 9, "family": "ipv6", "forwarding": "tunnel", "persistence_timeout": 60, "persistence_netmask": 64, "one_packet": True, "real_servers": [{"address": "2001:db8:b::21"}]},
    "mark, persistent": {"fwmark": 10, "forwarding": "direct", "persistence_timeout": 60, "persistence_netmask": 24},
    "mark, ipv6": {"fwmark": 4294967295, "family": "ipv6", "real_servers": [{"address": "2001:db8:b::21"}]},
}  # fmt: skip


def every_service(check: t.Any = None) -> list[Words]:
    """All of them side by side: each on a port of its own, where it has a port. With ``check`` they are keepalived's."""
    services = []
    for number, (name, differs) in enumerate(SERVICES.items()):
        service = {**SERVICES["web"], **differs, "name": name}
        if service["port"]:
            service["port"] = 1000 + number
        if "fwmark" in service:
            for option in ("protocol", "address", "port"):
                del service[option]
        services.append(service if check is None else {**service, "health_check": check})
    return services
