# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.real_server: one real server of one service, in which what is absent stays as it is."""

from __future__ import annotations

import errno

import pytest

KEY = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
R1, R2 = ({"address": f"198.51.100.2{number}"} for number in (1, 2))
GUE = {"type": "gue", "port": 6080, "checksum": "csum"}
WEB = {
    **KEY,
    "scheduler": "rr",
    "real_servers": [
        {**R1, "weight": 0, "forwarding": "tunnel", "tunnel": GUE, "upper_threshold": 9, "lower_threshold": 5},
        {**R2, "weight": 3},
    ],
}
NAME = "real server 198.51.100.21:80 of service tcp 192.0.2.10:80"


def first(kernel):
    return kernel.words[0]["real_servers"][0]


@pytest.fixture(autouse=True)
def others_stay(kernel):
    """No run of this module may touch another real server, or the service."""
    yield
    assert not any("198.51.100.22" in step or " service" in step.split("of")[0] for step in kernel.done)


# -- the grid ------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [(), (WEB,), ({**KEY, "real_servers": []},)])
def test_idempotency_empty(settles, kernel, there):
    kernel.has(*there)
    settles("real_server", [], service=KEY, address="198.51.100.29", state="absent")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"weight": 0},
        {"tunnel": {"type": "gue"}},
        {"tunnel": {}},
        {"forwarding": "tunnel", "tunnel": GUE, "upper_threshold": 9, "lower_threshold": 5},
        {"port": 80},
    ],
)
def test_idempotency_present(settles, kernel, given):
    """What is absent stays as it is, weight 0 and all."""
    kernel.has(WEB)
    settles("real_server", [], service=KEY, **R1, **given)


def test_add(settles, kernel):
    kernel.has({**WEB, "real_servers": [R2]})
    result = settles("real_server", [f"add {NAME}"], service=KEY, **R1)
    assert first(kernel) == {
        **R1,
        "port": 80,
        "weight": 1,
        "forwarding": "masquerade",
        "upper_threshold": 0,
        "lower_threshold": 0,
    }
    assert (
        result["diff"]["after"]
        == """\
- protocol: tcp
  address: 192.0.2.10
  port: 80
  scheduler: rr
  real_servers:
    - {address: 198.51.100.21, port: 80, weight: 1, forwarding: masquerade}
    - {address: 198.51.100.22, port: 80, weight: 1, forwarding: masquerade}
"""
    )


def test_add_with_every_option(settles, kernel):
    kernel.has({**WEB, "real_servers": []})
    options = {"weight": 0, "forwarding": "tunnel", "tunnel": GUE, "upper_threshold": 9, "lower_threshold": 5}
    settles("real_server", [f"add {NAME}"], service=KEY, **R1, **options)
    assert first(kernel) == {**R1, "port": 80, **options}


@pytest.mark.parametrize(
    ("key", "given", "name"),
    [
        ({"fwmark": 7}, R1, "198.51.100.21:0 of service fwmark 7 ipv4"),
        ({"fwmark": 7}, {**R1, "port": 8080}, "198.51.100.21:8080 of service fwmark 7 ipv4"),
        (
            {"fwmark": 7, "family": "ipv6"},
            {"address": "2001:DB8:B::21"},
            "[2001:db8:b::21]:0 of service fwmark 7 ipv6",
        ),
        ({**KEY, "protocol": "udp"}, {**R1, "port": 81}, "198.51.100.21:81 of service udp 192.0.2.10:80"),
    ],
)
def test_add_to_each_kind_of_service(run, kernel, key, given, name):
    kernel.has(key)
    assert run("real_server", service=key, **given)["steps"] == [f"add real server {name}"]
    assert not run("real_server", service=key, **given)["changed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": 5}, {}),
        ({"upper_threshold": 0, "lower_threshold": 0}, {}),
        ({"lower_threshold": 9}, {}),
        ({"tunnel": {"port": 6081}}, {"tunnel": {**GUE, "port": 6081}}),
        ({"tunnel": {"type": "gre"}}, {"tunnel": {"type": "gre", "port": 0, "checksum": "none"}}),
        ({"tunnel": {"type": "ipip"}}, {"tunnel": {"type": "ipip", "port": 0, "checksum": "none"}}),
        ({"forwarding": "direct"}, {"tunnel": None}),
    ],
)
def test_change_one_attribute_and_leave_the_others(settles, kernel, change, words):
    kernel.has(WEB)
    before = first(kernel)
    settles("real_server", [f"edit {NAME}"], service=KEY, **R1, **change)
    expected = {**before, **change, **words}
    assert first(kernel) == {option: word for option, word in expected.items() if word is not None}


def test_quiesce(settles, kernel):
    kernel.has({**WEB, "real_servers": [{**R1, "weight": 5, "upper_threshold": 9}, R2]})
    result = settles("real_server", [f"edit {NAME}"], service=KEY, **R1, weight=0)
    assert (first(kernel)["weight"], first(kernel)["upper_threshold"]) == (0, 9)
    assert "weight: 5" in result["diff"]["before"]
    assert "weight: 0" in result["diff"]["after"]


def test_remove(settles, kernel):
    kernel.has(WEB)
    # What else is said of it does not matter.
    result = settles("real_server", [f"remove {NAME}"], service=KEY, **R1, state="absent", weight=7)
    assert "198.51.100.21" in result["diff"]["before"]
    assert "198.51.100.21" not in result["diff"]["after"]
    assert [server["address"] for server in kernel.words[0]["real_servers"]] == ["198.51.100.22"]


def test_remove_the_last_one_and_keep_the_service(settles, kernel):
    kernel.has({**WEB, "real_servers": [R1]})
    settles("real_server", [f"remove {NAME}"], service=KEY, **R1, state="absent")
    assert len(kernel.words) == 1


def test_a_port_is_part_of_which_one_is_meant(run, kernel):
    kernel.has(WEB)
    assert not run("real_server", service=KEY, **R1, port=81, state="absent")["changed"]
    assert run("real_server", service=KEY, **R1, port=81)["steps"] == [
        NAME.replace("21:80", "21:81").join(("add ", ""))
    ]


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"service": {"fwmark": 7}}, "service: there is no virtual service fwmark 7 ipv4 for the real server to be of"),
        ({"service": {}}, "service.protocol: is required: a service is given by protocol, address and port"),
        ({"service": {**KEY, "port": 99999}}, "service.port: 99999 is not an integer from 0 to 65535"),
        ({"service": {**KEY, "fwmark": 7}}, "service.protocol: a service is given by fwmark, or by"),
        ({"service": {"fwmark": 7, "family": "inet"}}, "value of family must be one of: ipv4, ipv6, got: inet"),
        ({"service": None}, "service"),
        ({"address": "web1"}, "address: 'web1' is not an IPv4 or IPv6 address"),
        ({"address": "224.0.0.1"}, "address: '224.0.0.1' is not a unicast address"),
        ({"address": "fe80::1"}, "address: 'fe80::1' is link-local"),
        ({"address": "2001:db8::1"}, "address: 2001:db8::1 is not of the service's family ipv4"),
        ({"port": -1}, "port: -1 is not an integer from 0 to 65535"),
        ({"weight": -1}, "weight: -1 is not an integer from 0 to 2147483647"),
        ({"weight": 2**31}, "weight: 2147483648 is not an integer from 0 to 2147483647"),
        ({"weight": "many"}, "argument 'weight' is of type"),
        ({"forwarding": "nat"}, "value of forwarding must be one of: masquerade, direct, tunnel, got: nat"),
        ({"upper_threshold": 4}, "lower_threshold: 5 is above the upper_threshold 4"),
        ({"lower_threshold": 10}, "lower_threshold: 10 is above the upper_threshold 9"),
        ({"tunnel": {"port": 0}}, "tunnel.port: a gue tunnel needs a UDP port from 1 to 65535"),
        ({"tunnel": {"type": "gre", "checksum": "remcsum"}}, "tunnel.checksum: a tunnel of type gre has no remote"),
        ({"forwarding": "direct", "tunnel": GUE}, "tunnel: has no effect on a real server whose forwarding is direct"),
        ({"forwarding": "direct", "port": 81}, "port: 81 is not the service's 80: forwarding direct cannot change"),
        ({"address": None}, "address"),
        ({"group": "web"}, "module: group. Supported parameters include:"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_is_refused_changes_nothing(run, kernel, given, message, check):
    kernel.has(WEB)
    result = run("real_server", check=check, **{"service": KEY, **R1, **given})
    assert result["failed"]
    assert message in result["msg"]
    assert not result["msg"].startswith(".")
    assert (kernel.done, kernel.applied) == ([], 0)


def test_a_failure_changed_nothing_and_says_why(run, kernel):
    kernel.has(WEB)
    kernel.refuses = {f"edit {NAME}": errno.ENOENT}
    result = run("real_server", service=KEY, **R1, weight=1)
    assert (result["failed"], result["changed"], result["steps"]) == (True, False, [])
    assert result["msg"] == (
        f"the kernel refused to edit {NAME}: it is not there any more; something else changes this table at the same "
        "time; 0 steps were done before, 1 were not: running again takes up from there"
    )
