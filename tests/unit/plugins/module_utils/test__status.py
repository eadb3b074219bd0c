# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lvs.ipvs.plugins.filter.parity import FilterModule
from ansible_collections.lvs.ipvs.plugins.module_utils import _status
from ansible_collections.lvs.ipvs.plugins.module_utils._options import format_services, parse_services

GROUPS = {"all": ["lb1", "lb2", "web1", "web2"], "directors": ["lb1", "lb2"], "web": ["web1", "web2"]}
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "lb1": {"lvs_address": "198.51.100.11"},
    "lb2": {"lvs_address": "198.51.100.12"},
    "web1": {"lvs_address": "198.51.100.21"},
    "web2": {"lvs_address": "198.51.100.22", "lvs_weight": 4},
}
VIP = "192.0.2.10"
KEY = {"protocol": "tcp", "address": VIP, "port": 80}
CHECKED = {"protocol": "tcp", "address": VIP, "port": 443}
DECLARED = [
    {**KEY, "name": "web", "scheduler": "rr", "real_servers": [{"group": "web"}]},
    {**CHECKED, "name": "checked", "real_servers": [{"group": "web"}], "health_check": {"tcp": {}}},
]


def rates(connections: int, bytes_out: int = 0) -> dict[str, int]:
    return {"connections": connections, "packets_in": 0, "packets_out": 0, "bytes_in": 0, "bytes_out": bytes_out}


def table(weights: dict[str, int], **more: t.Any) -> dict[str, t.Any]:
    servers = [
        {"address": address, "port": more.get("port", 80), "weight": weight} for address, weight in weights.items()
    ]
    return {**KEY, "scheduler": "rr", "real_servers": servers, **more}


def counted(active: dict[str, int], per_second: int = 0, **key: t.Any) -> dict[str, t.Any]:
    return {
        **KEY,
        **key,
        "per_second": rates(per_second * len(active)),
        "real_servers": [
            {
                "address": address,
                "port": key.get("port", 80),
                "active_connections": number,
                "inactive_connections": 1,
                "persistent_connections": 0,
                "per_second": rates(per_second, 2000),
            }
            for address, number in active.items()
        ],
    }


RIGHT = {"198.51.100.21": 1, "198.51.100.22": 4}


def reading(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "services": [table(RIGHT), table(RIGHT, port=443, scheduler="wlc")],
        "counters": [counted({"198.51.100.21": 3, "198.51.100.22": 5}, 7), counted(RIGHT, port=443)],
        "sync_daemons": [],
        "addresses": [VIP],
        **changes,
    }


def drained(held: int | None) -> dict[str, t.Any]:
    server = {"address": "198.51.100.22", "port": 80, "weight": 4}
    return {"drains": [{"service": KEY, "real_server": server, "held_weight": held, "since": 1}]}


def status(host: str, readings: t.Any, **options: t.Any) -> dict[str, t.Any]:
    hostvars = {name: {"keepalived_sync": False, **told} for name, told in HOSTVARS.items()}
    return FilterModule().filters()["status"](DECLARED, host, GROUPS, hostvars, readings, True, **options)


def test_a_director_with_all_that_it_does() -> None:
    view = status("lb1", {"lb1": reading(), "lb2": reading(addresses=[])})
    assert view["findings"] == []
    assert (view["answers"], view["role"], view["addresses"], view["drain_count"]) == (True, "master", [VIP], 0)
    assert (view["active_connections"], view["inactive_connections"]) == (3 + 5 + 1 + 4, 4)
    assert view["per_second"]["connections"] == 14
    web, checked = view["services"]
    assert (web["name"], web["service"], web["scheduler"], web["owner"]) == ("web", f"tcp {VIP}:80", "rr", "table")
    assert checked["owner"] == "keepalived"
    assert web["real_servers"][1] == {
        "name": "web2",
        "real_server": "198.51.100.22:80",
        "weight": 4,
        "configured_weight": 4,
        "shown_weight": "4",
        "findings": [],
        "state": "",
        "active_connections": 5,
        "inactive_connections": 1,
        "persistent_connections": 0,
        "per_second": rates(7, 2000),
    }


def test_the_one_without_addresses_is_the_backup_and_the_one_without_answer_is_neither() -> None:
    readings = {"lb1": reading(addresses=[]), "lb2": {}}
    assert status("lb1", readings)["role"] == "backup"
    silent = status("lb2", readings)
    assert (silent["answers"], silent["role"], silent["services"]) == (False, "", [])
    assert silent["findings"] == ["cannot be reached"]
    assert silent["per_second"]["bytes_out"] == 0


def test_drift_is_at_the_service_or_the_real_server_that_has_it() -> None:
    services = [table({**RIGHT, "198.51.100.21": 9, "198.51.100.99": 1}, scheduler="lc")]
    view = status("lb1", {"lb1": reading(services=services), "lb2": reading(addresses=[])})
    web, checked = view["services"]
    assert web["findings"] == [f"web (tcp {VIP}:80): scheduler: is lc, the inventory says rr"]
    states = {server["real_server"]: (server["shown_weight"], server["state"]) for server in web["real_servers"]}
    assert states == {
        "198.51.100.21:80": ("9 of 1", "drift"),
        "198.51.100.22:80": ("4", ""),
        "198.51.100.99:80": ("1", "drift"),
    }
    assert checked["findings"] == [f"checked (tcp {VIP}:443): is not in the table"]
    assert [server["shown_weight"] for server in checked["real_servers"]] == ["none of 1", "none of 4"]
    at_places = [
        finding
        for service in view["services"]
        for part in (service, *service["real_servers"])
        for finding in part["findings"]
    ]
    assert sorted(at_places) == sorted(view["findings"])


def test_what_others_entered_is_shown_behind_what_is_declared() -> None:
    view = status("lb1", {"lb1": reading(services=[table({"198.51.100.9": 2}, port=25)]), "lb2": reading(addresses=[])})
    assert [service["owner"] for service in view["services"]] == ["table", "keepalived", ""]
    assert view["services"][2]["findings"] == [f"tcp {VIP}:25: is in the table, and not in the inventory"]


def test_so_is_what_no_option_says() -> None:
    services = format_services(parse_services(reading()["services"]))
    services.append({**services[0], "protocol": "99"})
    counters = [*reading()["counters"], counted({"198.51.100.21": 2}, protocol="99")]
    view = status("lb1", {"lb1": reading(services=services, counters=counters), "lb2": reading(addresses=[])})
    assert view["findings"] == [f"99 {VIP}:80: is in the table, and not in the inventory"]
    assert (view["services"][2]["service"], view["services"][2]["active_connections"]) == (f"99 {VIP}:80", 2)


@pytest.mark.parametrize(
    ("held", "weight", "active", "word"),
    [(0, 0, 5, "draining"), (0, 0, 0, "drained"), (2, 2, 5, "returning"), (None, None, 0, "removed")],
)
def test_a_drain_is_no_drift(held: int | None, weight: int | None, active: int, word: str) -> None:
    weights = {"198.51.100.21": 1, **({} if weight is None else {"198.51.100.22": weight})}
    numbers = counted({"198.51.100.21": 3})
    if active or weight is not None:
        numbers = counted({"198.51.100.21": 3, "198.51.100.22": active})
        numbers["real_servers"][1]["inactive_connections"] = 0
    mine = reading(services=[table(weights), reading()["services"][1]], counters=[numbers], drains=drained(held))
    view = status("lb1", {"lb1": mine, "lb2": reading(addresses=[])})
    server = view["services"][0]["real_servers"][1]
    assert view["findings"] == []
    assert (server["state"], view["drain_count"]) == (word, 1)
    assert server["shown_weight"] == f"{'none' if weight is None else weight} of 4"


def test_what_the_checks_took_out_is_no_drift() -> None:
    services = [table(RIGHT), table({"198.51.100.22": 0}, port=443, scheduler="wlc")]
    view = status("lb1", {"lb1": reading(services=services), "lb2": {}})
    checked = view["services"][1]
    assert [server["state"] for server in checked["real_servers"]] == ["out of rotation"] * 2
    assert view["findings"] == []


def test_the_terminal_has_columns() -> None:
    services = [table({**RIGHT, "198.51.100.21": 9}), reading()["services"][1]]
    readings = {"lb1": reading(services=services), "lb2": {}}
    views = [status(host, readings) for host in ("lb1", "lb2")]
    lines = FilterModule().filters()["status_lines"](views)
    assert lines == [
        "lb1: master, has 192.0.2.10",
        "  web tcp 192.0.2.10:80 rr                       weight  active  inactive  conn/s  in B/s  out B/s",
        "    web1 198.51.100.21:80                        9 of 1       3         1       7       0     2.0k  drift",
        "    web2 198.51.100.22:80                             4       5         1       7       0     2.0k",
        "  checked tcp 192.0.2.10:443 wlc, of keepalived  weight  active  inactive  conn/s  in B/s  out B/s",
        "    web1 198.51.100.21:443                            1       1         1       0       0     2.0k",
        "    web2 198.51.100.22:443                            4       4         1       0       0     2.0k",
        "  ! web (tcp 192.0.2.10:80): real server web1 (198.51.100.21:80): weight: is 9, is to be 1",
        "lb2",
        "  ! cannot be reached",
    ]
    assert FilterModule().filters()["status_lines"]([]) == []


@pytest.mark.parametrize(
    ("number", "word"), [(0, "0"), (999, "999"), (1000, "1.0k"), (34_567, "35k"), (10**7, "10M"), (10**13, "10000G")]
)
def test_amounts_are_short(number: int, word: str) -> None:
    assert _status.amount(number) == word
