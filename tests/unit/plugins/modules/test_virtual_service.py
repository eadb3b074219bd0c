# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.virtual_service: one service, in which what is absent stays as it is."""

from __future__ import annotations

import errno

import pytest

KEY = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
R1, R2, R3 = ({"address": f"198.51.100.2{number}"} for number in (1, 2, 3))
WEB = {
    **KEY,
    "scheduler": "sh",
    "scheduler_flags": ["sh-port"],
    "persistence_timeout": 300,
    "persistence_netmask": 24,
    "persistence_engine": "sip",
    "real_servers": [{**R1, "weight": 0, "forwarding": "direct", "upper_threshold": 9}, {**R2, "weight": 5}],
}
OTHER = {"fwmark": 7, "real_servers": [R1]}
NAME = "service tcp 192.0.2.10:80"


def servers(action: str, *numbers: int) -> list[str]:
    return [f"{action} real server 198.51.100.2{number}:80 of {NAME}" for number in numbers]


@pytest.fixture(autouse=True)
def others_stay(kernel):
    """No run of this module may touch another service."""
    yield
    assert not any("fwmark 7 ipv4" in step for step in kernel.done)


# -- the grid ------------------------------------------------------------------------------------


def test_idempotency_empty(settles, kernel):
    kernel.has(OTHER)
    settles("virtual_service", [], **KEY, state="absent")


@pytest.mark.parametrize(
    "given",
    [
        {},
        WEB,
        {"real_servers": []},
        {"real_servers": [R2, R1], "purge": "all"},
        {"purge": "all"},
        # The defaults of real servers are for what is new.
        {"forwarding": "tunnel", "tunnel": {"type": "gre"}, "real_servers": [R1, R2]},
    ],
)
def test_idempotency_present(settles, kernel, given):
    """What is absent stays as it is, weight 0 and all."""
    kernel.has(WEB, OTHER)
    settles("virtual_service", [], **{**KEY, **given})


def test_add(settles, kernel):
    kernel.has(OTHER)
    result = settles(
        "virtual_service",
        [f"add {NAME}", *servers("add", 1, 2)],
        **KEY,
        forwarding="direct",
        real_servers=[R1, {**R2, "forwarding": "masquerade", "weight": 0}],
    )
    assert result["diff"] == {
        "before": "",
        "after": """\
- protocol: tcp
  address: 192.0.2.10
  port: 80
  scheduler: wlc
  real_servers:
    - {address: 198.51.100.21, port: 80, weight: 1, forwarding: direct}
    - {address: 198.51.100.22, port: 80, weight: 0, forwarding: masquerade}
""",
    }


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ({"fwmark": 8}, "fwmark 8 ipv4"),
        ({"fwmark": 7, "family": "ipv6"}, "fwmark 7 ipv6"),
        ({"protocol": "udp", "address": "2001:DB8::10", "port": "53"}, "udp [2001:db8::10]:53"),
    ],
)
def test_add_by_each_kind_of_key(run, kernel, key, name):
    assert run("virtual_service", **key)["steps"] == [f"add service {name}"]
    assert not run("virtual_service", **key)["changed"]


@pytest.mark.parametrize(
    "change",
    [
        {"scheduler": "mh", "scheduler_flags": ["mh-port"]},
        {"scheduler_flags": []},
        {"persistence_timeout": 60},
        {"persistence_netmask": "255.255.255.255"},
        {"persistence_engine": ""},
    ],
)
def test_change_one_attribute_and_leave_the_others(settles, kernel, change):
    kernel.has(WEB, OTHER)
    (before,) = [words for words in kernel.words if "protocol" in words]
    settles("virtual_service", [f"edit {NAME}"], **KEY, **change)
    (after,) = [words for words in kernel.words if "protocol" in words]
    expected = {**before, **change}
    if "persistence_netmask" in change:
        expected["persistence_netmask"] = 32
    assert after == expected


def test_flags_stay_with_another_scheduler(run, kernel):
    kernel.has(WEB)
    run("virtual_service", **KEY, scheduler="rr")
    assert kernel.words[0]["scheduler_flags"] == ["flag-2"]


def test_add_and_change_real_servers_and_leave_the_others(settles, kernel):
    kernel.has(WEB, OTHER)
    settles(
        "virtual_service",
        [*servers("add", 3), *servers("edit", 1)],
        **KEY,
        real_servers=[{**R1, "upper_threshold": 10}, R3],
    )
    (words,) = [words for words in kernel.words if "protocol" in words]
    first, second, third = words["real_servers"]
    assert (first["weight"], first["forwarding"], first["upper_threshold"]) == (0, "direct", 10)
    assert second["weight"] == 5
    assert (third["weight"], third["forwarding"]) == (1, "masquerade")


def test_purge_all_removes_the_real_servers_that_are_not_listed(settles, kernel):
    kernel.has(WEB, OTHER)
    settles("virtual_service", [*servers("add", 3), *servers("remove", 1)], **KEY, real_servers=[R2, R3], purge="all")


def test_an_empty_list_is_a_value_and_an_absent_one_is_none(settles, kernel, run):
    kernel.has(WEB, OTHER)
    assert not run("virtual_service", **KEY, purge="all")["changed"]
    assert not run("virtual_service", **KEY, real_servers=None, purge="all")["changed"]
    settles("virtual_service", servers("remove", 1, 2), **KEY, real_servers=[], purge="all")


def test_remove(settles, kernel):
    kernel.has(WEB, OTHER)
    # What else is said of the service does not matter.
    result = settles("virtual_service", [f"remove {NAME}"], **KEY, state="absent", scheduler="lc", real_servers=[R1])
    assert result["diff"]["after"] == ""
    assert [words["fwmark"] for words in kernel.words] == [7]


def test_a_service_by_mark_and_one_by_address_are_two(run, kernel):
    kernel.has(WEB)
    assert not run("virtual_service", fwmark=7, state="absent")["changed"]


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "protocol: is required: a service is given by protocol, address and port, or by fwmark"),
        ({"protocol": "tcp", "address": "192.0.2.10"}, "port: is required"),
        ({**KEY, "fwmark": 7}, "protocol: a service is given by fwmark, or by protocol, address and port"),
        ({**KEY, "address": "192.0.2.256"}, "address: '192.0.2.256' is not an IPv4 or IPv6 address"),
        ({**KEY, "port": 65536}, "port: 65536 is not an integer from 0 to 65535"),
        ({"fwmark": 0}, "fwmark: 0 is not an integer from 1 to 4294967295"),
        ({**KEY, "family": "ipv6"}, "family: 'ipv6' is not the family of the address 192.0.2.10"),
        ({**KEY, "scheduler": ""}, "scheduler: '' is not the name of a scheduler"),
        ({**KEY, "scheduler_flags": ["mh-port"]}, "scheduler_flags[0]: 'mh-port' is not a flag of the scheduler sh"),
        ({**KEY, "one_packet": True}, "one_packet: is for udp and fwmark services, not for tcp"),
        ({**KEY, "persistence_timeout": -1}, "persistence_timeout: -1 is not an integer from 0 to 2678400"),
        # The netmask of an entry that is there is of no use where persistence goes.
        (
            {**KEY, "persistence_timeout": 0, "persistence_netmask": "24"},
            "persistence_netmask: has no effect without persistence_timeout",
        ),
        ({**KEY, "forwarding": "tunnel", "tunnel": {"type": "gue"}}, "tunnel.port: a gue tunnel needs a UDP port"),
        (
            {**KEY, "real_servers": [R1, {**R2, "weight": -1}]},
            "real_servers[1].weight: -1 is not an integer from 0 to 2147483647",
        ),
        (
            {**KEY, "real_servers": [R1, R2, R1]},
            "real_servers[2]: 198.51.100.21:80 is listed already, as real_servers[0]",
        ),
        # What is there takes part in the rules: this one is direct.
        (
            {**KEY, "real_servers": [{**R1, "tunnel": {"type": "gre"}}]},
            "real_servers[0].tunnel: has no effect on a real server whose forwarding is direct",
        ),
        ({**KEY, "real_servers": [{}]}, "real_servers[0].address: is required"),
        ({**KEY, "real_servers": [{**R1, "wieght": 1}]}, "real_servers[0].wieght: there is no such option here"),
        ({**KEY, "protocol": "icmp"}, "value of protocol must be one of: tcp, udp, sctp, got: icmp"),
        ({**KEY, "purge": "owned"}, "value of purge must be one of: none, all, got: owned"),
        # A scheduler and an engine that the kernel lacks.
        ({**KEY, "scheduler": "twos"}, "scheduler: this kernel has no scheduler 'twos'"),
        ({**KEY, "persistence_engine": "dns"}, "persistence_engine: this kernel has no persistence engine 'dns'"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_is_refused_changes_nothing(run, kernel, given, message, check):
    kernel.has(WEB)
    result = run("virtual_service", check=check, **given)
    assert result["failed"]
    assert message in result["msg"]
    # An option of the module itself stands at the beginning.
    assert not result["msg"].startswith(".")
    assert (kernel.done, kernel.applied) == ([], 0)


def test_absent_needs_no_more_than_the_key(run, kernel):
    kernel.has(WEB)
    assert run("virtual_service", **KEY, state="absent", scheduler="twos", port_is=None)["failed"]
    assert run("virtual_service", **KEY, state="absent", scheduler="twos")["changed"]


def test_a_failure_half_way_reports_what_was_done(run, kernel):
    kernel.refuses = dict.fromkeys(servers("add", 2), errno.EINVAL)
    given = {**KEY, "real_servers": [R1, R2, R3]}
    result = run("virtual_service", **given)
    assert (result["failed"], result["changed"]) == (True, True)
    assert result["steps"] == [f"add {NAME}", *servers("add", 1)]
    assert result["msg"] == (
        f"the kernel refused to add real server 198.51.100.22:80 of {NAME}: Invalid argument; "
        "2 steps were done before, 2 were not: running again takes up from there"
    )
    kernel.refuses = {}
    assert run("virtual_service", **given)["steps"] == servers("add", 2, 3)
