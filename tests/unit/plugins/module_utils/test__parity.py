# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from hypothesis import given

from ansible_collections.lvs.ipvs.plugins.filter.parity import FilterModule
from ansible_collections.lvs.ipvs.plugins.module_utils import _adopt, _cluster, _parity
from ansible_collections.lvs.ipvs.plugins.module_utils._model import RealServer, Table, VirtualService
from ansible_collections.lvs.ipvs.plugins.module_utils._options import format_services, parse_services
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import plan
from tests.unit import tables

GROUPS = {"all": ["lb1", "lb2", "web1", "web2"], "directors": ["lb1", "lb2"], "web": ["web1", "web2"]}
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "lb1": {"lvs_address": "198.51.100.11", "lvs_gateway": "198.51.100.1"},
    "lb2": {"lvs_address": "198.51.100.12", "lvs_gateway": "198.51.100.1"},
    "web1": {"lvs_address": "198.51.100.21"},
    "web2": {"lvs_address": "198.51.100.22"},
}
VIP, GATEWAY = "192.0.2.10", "198.51.100.1"
WEB = {
    "name": "web",
    "protocol": "tcp",
    "address": VIP,
    "port": 80,
    "scheduler": "rr",
    "real_servers": [{"group": "web"}],
}
CHECKED = {
    **WEB,
    "name": "checked",
    "port": 443,
    "health_check": {"tcp": {}, "sorry_server": {"address": "198.51.100.99"}},
}
DAEMON = {"interface": "back", "id": 7, "multicast_group": "224.0.0.81", "multicast_port": 8848}
MASTER, BACKUP = {**DAEMON, "role": "master"}, {**DAEMON, "role": "backup"}


def entry(port: int) -> dict[str, t.Any]:
    servers = [{"address": f"198.51.100.{octet}", "port": port, "weight": 1} for octet in (21, 22)]
    return {"protocol": "tcp", "address": VIP, "port": port, "scheduler": "rr", "real_servers": servers}


def right() -> dict[str, t.Any]:
    """What both directors have when all is well."""
    return copy.deepcopy(
        {
            "lb1": {"services": [entry(80), entry(443)], "sync_daemons": [MASTER, BACKUP], "addresses": [VIP, GATEWAY]},
            "lb2": {"services": [entry(80), entry(443)], "sync_daemons": [MASTER, BACKUP], "addresses": []},
        }
    )


def found(readings: t.Any, keepalived: t.Any = True, hostvars: t.Any = None, **options: t.Any) -> list[str]:
    parity = FilterModule().filters()["parity"]
    declared = [WEB, CHECKED]
    return [
        finding["text"]
        for name in GROUPS["directors"]
        for finding in parity(declared, name, GROUPS, hostvars or HOSTVARS, readings, keepalived, **options)
    ]


def test_nothing_is_found_where_all_is_well() -> None:
    assert found(right()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scheduler": "wlc"}, ["scheduler: is wlc, the inventory says rr"]),
        ({"persistence_timeout": 60}, ["persistence_timeout: is 60, the inventory says 0"]),
        (
            {"scheduler": "mh", "scheduler_flags": ["mh-port", "mh-fallback"]},
            [
                "scheduler: is mh, the inventory says rr",
                "scheduler_flags: is mh-fallback, mh-port, the inventory says none",
            ],
        ),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_an_attribute_of_a_service_is_named(place: int, change: dict[str, t.Any], told: list[str]) -> None:
    readings = right()
    readings["lb2"]["services"][place].update(change)
    name = ("web (tcp 192.0.2.10:80)", "checked (tcp 192.0.2.10:443)")[place]
    assert found(readings) == [f"lb2: {name}: {finding}" for finding in told]


def test_an_attribute_of_a_real_server_is_named_whoever_owns_it() -> None:
    readings = right()
    for service in readings["lb2"]["services"]:
        service["real_servers"][1]["upper_threshold"] = 9
    readings["lb2"]["services"][0]["real_servers"][0]["weight"] = 3
    assert found(readings) == [
        "lb2: web (tcp 192.0.2.10:80): real server web1 (198.51.100.21:80): weight: is 3, is to be 1",
        "lb2: web (tcp 192.0.2.10:80): real server web2 (198.51.100.22:80): upper_threshold: is 9, is to be 0",
        "lb2: checked (tcp 192.0.2.10:443): real server web2 (198.51.100.22:443): upper_threshold: is 9,"
        " the inventory says 0",
    ]


@pytest.mark.parametrize("state", ["inactive", "failed", "activating"])
def test_keepalived_has_to_run_where_it_is_wanted(state: str) -> None:
    readings = right()
    readings["lb1"]["keepalived"] = "reloading"
    readings["lb2"]["keepalived"] = state
    assert found(readings) == [f"lb2: keepalived: is {state}, is to run"]
    del readings["lb1"]["addresses"][1]
    assert found(readings, False, vip_holder="lb1") == []


def test_what_is_missing_and_what_is_left_over_is_named() -> None:
    readings = right()
    del readings["lb1"]["services"][0]["real_servers"][0]
    readings["lb1"]["services"][1]["real_servers"] += [
        {"address": "198.51.100.99", "port": 443},  # the sorry server
        {"address": "198.51.100.98", "port": 443},
    ]
    readings["lb2"]["services"] = [entry(80), entry(81)]
    assert found(readings) == [
        "lb1: web (tcp 192.0.2.10:80): real server web1 (198.51.100.21:80): is not in the table",
        "lb1: checked (tcp 192.0.2.10:443): real server 198.51.100.98:443: is in the table, and not in the inventory",
        "lb2: checked (tcp 192.0.2.10:443): is not in the table",
        "lb2: tcp 192.0.2.10:81: is in the table, and not in the inventory",
    ]


def test_what_others_made_and_no_option_says_is_a_finding_and_no_end() -> None:
    readings = right()
    readings["lb1"]["sync_daemons"] = [MASTER, {**BACKUP, "id": 300}]
    services = format_services(parse_services(readings["lb1"]["services"]))
    services[0]["real_servers"][0]["forwarding"] = "1"
    services[0]["real_servers"].append({**services[0]["real_servers"][1], "forwarding": "direct", "port": 8080})
    readings["lb1"]["services"] = [*services, {**services[1], "protocol": "99"}]
    web = "lb1: web (tcp 192.0.2.10:80): real server"
    assert found(readings) == [
        f"{web} web1 (198.51.100.21:80): forwarding: is 1, is to be masquerade",
        f"{web} 198.51.100.22:8080: is in the table, and not to be there",
        "lb1: 99 192.0.2.10:443: is in the table, and not in the inventory",
        "lb2: sync daemon: id: is 7, on lb1 it is 300",
    ]


def test_a_real_server_that_failed_its_check_on_both_is_right_and_on_one_is_not() -> None:
    readings = right()
    del readings["lb1"]["services"][1]["real_servers"][0]
    told = "lb2: checked (tcp 192.0.2.10:443): real server web1 (198.51.100.21:443): weight: is 1, on lb1 it is none"
    assert found(readings) == [f"{told}: their checks differ"]
    del readings["lb2"]["services"][1]["real_servers"][0]
    assert found(readings) == []


def test_who_is_drained_is_to_have_the_weight_it_is_held_at() -> None:
    readings = right()
    readings["lb1"]["services"][0]["real_servers"][0]["weight"] = 0
    readings["lb1"]["drains"] = {
        "drains": [
            {
                "service": {"protocol": "tcp", "address": VIP, "port": 80},
                "real_server": {"address": "198.51.100.21", "port": 80},
                "held_weight": 0,
                "since": 0,
            }
        ]
    }
    assert found(readings) == []
    readings["lb1"]["services"][0]["real_servers"][0]["weight"] = 1
    assert len(found(readings)) == 1


def test_who_is_drained_through_keepalived_is_no_finding_as_long_as_it_is_at_0() -> None:
    readings = right()
    drained = {
        "service": {"protocol": "tcp", "address": VIP, "port": 443},
        "real_server": {"address": "198.51.100.21", "port": 443},
        "held_weight": 0,
        "since": 0,
        "file": "/var/lib/lvs.ipvs/drains.d/198.51.100.21",
    }
    for name in ("lb1", "lb2"):
        readings[name]["services"][1]["real_servers"][0]["weight"] = 0
        readings[name]["drains"] = {"drains": [drained]}
    assert found(readings) == []
    whom = "checked (tcp 192.0.2.10:443): real server web1 (198.51.100.21:443)"
    # On one of them only, which is what its own record says.
    readings["lb1"]["drains"] = {}
    readings["lb1"]["services"][1]["real_servers"][0]["weight"] = 1
    assert found(readings) == []
    # keepalived does not heed the file.
    readings["lb2"]["services"][1]["real_servers"][0]["weight"] = 1
    assert found(readings) == [f"lb2: {whom}: weight: is 1, is to be 0: it is drained"]
    # Of a host that is drained elsewhere, too: the file is for all services of its address.
    readings["lb2"]["drains"]["drains"][0] = {**drained, "service": {"protocol": "tcp", "address": VIP, "port": 99}}
    assert found(readings) == [f"lb2: {whom}: weight: is 1, is to be 0: it is drained"]


def test_two_masters_are_found_by_both() -> None:
    readings = right()
    readings["lb2"].update(addresses=[VIP, GATEWAY])
    there_are = "there are two masters"
    assert found(readings) == [
        f"lb1: address {VIP}: is here and on lb2: {there_are}",
        f"lb1: address {GATEWAY}: is here and on lb2: {there_are}",
        f"lb2: address {VIP}: is here and on lb1: {there_are}",
        f"lb2: address {GATEWAY}: is here and on lb1: {there_are}",
    ]


def test_no_master_is_found_once_and_addresses_that_are_apart() -> None:
    readings = right()
    readings["lb1"].update(addresses=[])
    assert found(readings) == [f"lb1: address {address}: no director has it" for address in (VIP, GATEWAY)]
    readings["lb2"].update(addresses=[GATEWAY])
    readings["lb1"].update(addresses=[VIP])
    assert found(readings) == [
        f"lb1: address {GATEWAY}: is on lb2, while others are here",
        f"lb2: address {VIP}: is on lb1, while others are here",
    ]


def test_every_director_sends_and_receives_with_one_id() -> None:
    readings = right()
    readings["lb1"]["sync_daemons"] = []
    readings["lb2"]["sync_daemons"] = [MASTER]
    assert found(readings) == [
        "lb1: sync daemon: role: is none, is to be backup, master",
        "lb2: sync daemon: role: is master, is to be backup, master",
    ]
    readings = right()
    readings["lb2"]["sync_daemons"] = [{**MASTER, "id": 8}, {**BACKUP, "id": 8}]
    assert found(readings) == [
        "lb1: sync daemon: id: is 7, on lb2 it is 8",
        "lb2: sync daemon: id: is 8, on lb1 it is 7",
    ]
    readings = right()
    readings["lb1"]["sync_daemons"] = readings["lb2"]["sync_daemons"] = []
    # As a command line gives it.
    hostvars = {name: {**told, "keepalived_sync": "false"} for name, told in HOSTVARS.items()}
    assert found(readings, hostvars=hostvars) == []


def test_a_director_that_serves_as_well_sends_or_receives() -> None:
    readings = right()
    readings["lb1"]["sync_daemons"] = [MASTER]
    groups = {**GROUPS, "web": ["web1", "lb1"]}
    parity = FilterModule().filters()["parity"]

    def of(name: str) -> list[str]:
        told = parity([{**WEB, "forwarding": "direct"}], name, groups, HOSTVARS, readings, True)
        return [finding["text"] for finding in told if finding["kind"] == "sync"]

    assert of("lb1") == of("lb2") == []
    readings["lb2"].update(addresses=[VIP, GATEWAY])
    readings["lb1"].update(addresses=[])
    assert of("lb1") == ["lb1: sync daemon: role: is master, is to be backup"]


def test_playbooks_tell_findings_apart_by_their_kind() -> None:
    readings = right()
    (web, _checked) = readings["lb1"]["services"]
    web["scheduler"] = "wlc"
    web["real_servers"] = [
        {**web["real_servers"][0], "weight": 2},
        {**web["real_servers"][0], "address": "198.51.100.99"},
    ]
    readings["lb1"]["services"] = [web, {**entry(443), "port": 444}]
    readings["lb1"]["sync_daemons"] = []
    parity = FilterModule().filters()["parity"]
    told = parity([WEB, CHECKED], "lb1", GROUPS, HOSTVARS, readings, True)
    kinds = [(finding["kind"], finding["text"].partition(": ")[2].rpartition(": ")[0]) for finding in told]
    assert kinds == [
        ("sync", "sync daemon: role"),
        ("attribute", f"web (tcp {VIP}:80): scheduler"),
        ("attribute", f"web (tcp {VIP}:80): real server web1 (198.51.100.21:80): weight"),
        ("missing", f"web (tcp {VIP}:80): real server web2 (198.51.100.22:80)"),
        ("extra", f"web (tcp {VIP}:80): real server 198.51.100.99:80"),
        ("missing", f"checked (tcp {VIP}:443)"),
        ("extra", f"tcp {VIP}:444"),
    ]
    (silent,) = parity([WEB], "lb1", GROUPS, HOSTVARS, {}, True)
    assert silent["kind"] == "silent"


def test_without_keepalived_one_director_is_to_have_the_addresses() -> None:
    readings = right()
    readings["lb1"].update(addresses=[VIP], sync_daemons=[])
    assert found(readings, keepalived=False) == []
    assert found(readings, keepalived="false") == []
    assert found(readings, keepalived=False, vip_holder="") == []
    assert found(readings, keepalived=False, vip_holder="lb2") == [
        f"lb1: address {VIP}: is here, lb2 is to have it",
        f"lb2: address {VIP}: is not here, lb2 is to have it",
    ]


def test_a_director_that_does_not_answer_is_a_finding_and_no_obstacle() -> None:
    readings = right()
    readings["lb1"] = None
    assert found(readings) == [
        "lb1: cannot be reached",
        f"lb2: address {VIP}: no director has it",
        f"lb2: address {GATEWAY}: no director has it",
    ]


def test_directors_of_another_cluster_are_not_compared() -> None:
    hostvars = {**HOSTVARS, "lb2": {**HOSTVARS["lb2"], "lvs_cluster": "other"}}
    assert found({"lb1": right()["lb1"]}, hostvars=hostvars) == ["lb2: cannot be reached"]
    # Each has the addresses of its own cluster, if its declaration does not say otherwise.
    readings = right()
    readings["lb1"].update(addresses=[VIP], sync_daemons=[])
    assert found(readings, keepalived=False, hostvars=hostvars) == [
        f"lb2: address {VIP}: is not here, lb2 is to have it",
    ]


def test_addresses_that_move_are_told_in_three_forms() -> None:
    cluster = _cluster.services([WEB], GROUPS, HOSTVARS)
    told = _parity.floating(cluster, {"a": "2001:DB8::1/64", "b": [{"address": "198.51.100.2"}, VIP], "c": None})
    assert told == [VIP, "2001:db8::1", "198.51.100.2"]


def differences(have: Table, want: Table) -> int:
    """One for each attribute that differs, and for each entry that is there or is not."""
    count = 0
    for key in have.keys() | want.keys():
        if key not in have or key not in want:
            count += 1
            continue
        pairs: list[tuple[VirtualService | RealServer | None, VirtualService | RealServer | None]]
        theirs, ours = have[key].real_servers, want[key].real_servers
        pairs = [(have[key].service, want[key].service)]
        pairs += [(theirs.get(server), ours.get(server)) for server in theirs.keys() | ours.keys()]
        for one, other in pairs:
            count += 1 if one is None or other is None else sum(a != b for a, b in zip(one, other, strict=True))
    return count


@given(tables.pairs())
def test_a_line_for_each_difference_and_none_where_the_next_run_has_nothing_to_do(pair: tuple[Table, Table]) -> None:
    have, want = pair
    groups = {"all": ["lb1"], "directors": ["lb1"]}
    cluster = _cluster.services(_adopt.services(want), groups, {"lb1": {}})
    reading = _parity.Reading(have, {}, frozenset(), {})
    lines = _parity.findings(_parity.Expected(cluster, ["lb1"], [], "", False), "lb1", {"lb1": reading})
    assert len({str(line) for line in lines}) == len(lines) == differences(have, want)
    assert bool(lines) == bool(plan(have, want, have))


# -- who did not answer ------------------------------------------------------------------------------------

SILENT = {
    "service": {"protocol": "tcp", "address": VIP, "port": 80},
    "address": "198.51.100.21",
    "port": 80,
    "reason": "connection refused",
}


def test_who_did_not_answer_a_moment_ago_is_to_have_no_weight() -> None:
    readings = right()
    readings["lb2"]["services"][0]["real_servers"][0]["weight"] = 0
    expected = "lb2: web (tcp 192.0.2.10:80): real server web1 (198.51.100.21:80): weight: is 0, is to be 1"
    assert found(readings) == [expected]
    readings["lb2"]["unanswered"] = [SILENT, {**SILENT, "address": "198.51.100.77"}]
    assert found(readings) == []
    readings["lb2"]["services"][0]["real_servers"][0]["weight"] = 1
    assert found(readings) == [expected.replace("is 0, is to be 1", "is 1, is to be 0")]


def test_who_did_not_answer_is_told_by_name() -> None:
    elsewhere = {**WEB, "name": "elsewhere", "port": 81, "real_servers": [{"address": "203.0.113.9"}]}
    service = {"protocol": "tcp", "address": VIP, "port": 81}
    unknown = {**SILENT, "service": service, "address": "203.0.113.9", "port": 81}
    tell = FilterModule().filters()["unanswered"]
    assert tell([WEB, elsewhere], GROUPS, HOSTVARS, [SILENT, unknown]) == [
        "web (tcp 192.0.2.10:80): real server web1 (198.51.100.21:80): stays at weight 0: connection refused",
        "elsewhere (tcp 192.0.2.10:81): real server 203.0.113.9:81: stays at weight 0: connection refused",
    ]
    # A wrong declaration was refused before; nothing is read for nothing.
    assert tell(None, GROUPS, HOSTVARS, []) == []
