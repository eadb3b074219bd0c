# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.virtual_service, lvs.ipvs.real_server and lvs.ipvs.table_info against the kernel.

An option that is absent leaves what is there as it is: that is what sets these two apart from the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .words import Words, normal, seen

Module = Callable[..., dict[str, Any]]
Apply = Callable[..., dict[str, Any]]
Table = Callable[[], tuple[list[str], list[str]]]

KEY: Words = {"protocol": "udp", "address": "192.0.2.10", "port": 53}
# Every attribute at another value than its default.
FULL: Words = {
    **KEY,
    "scheduler": "sh",
    "scheduler_flags": ["sh-port"],
    "persistence_timeout": 60,
    "persistence_netmask": 24,
    "persistence_engine": "sip",
    "one_packet": True,
    "real_servers": [
        {
            "address": "198.51.100.21",
            "weight": 7,
            "forwarding": "tunnel",
            "tunnel": {"type": "gue", "port": 6080, "checksum": "remcsum"},
            "upper_threshold": 100,
            "lower_threshold": 50,
        },
        {"address": "198.51.100.22", "weight": 0},
    ],
}
OTHER: Words = {
    "protocol": "tcp",
    "address": "2001:db8:f::10",
    "port": 80,
    "real_servers": [{"address": "2001:db8:b::21"}],
}

SERVICE_EDITS: dict[str, Words] = {
    "scheduler": {"scheduler": "mh", "scheduler_flags": ["mh-fallback"]},
    "scheduler_flags": {"scheduler_flags": []},
    "persistence_timeout": {"persistence_timeout": 120},
    "persistence_netmask": {"persistence_netmask": 32},
    "persistence_engine": {"persistence_engine": ""},
    "one_packet": {"one_packet": False},
}
SERVER_EDITS: dict[str, Words] = {
    "weight": {"weight": 0},
    "forwarding": {"forwarding": "direct"},
    "tunnel": {"tunnel": {"type": "gre", "checksum": "csum"}},
    "upper_threshold": {"upper_threshold": 200},
    "lower_threshold": {"lower_threshold": 0},
}


def with_first(**options: Any) -> Words:
    """FULL, its first real server with other options."""
    first, second = FULL["real_servers"]
    changed = {**first, **options}
    if changed["forwarding"] != "tunnel":
        del changed["tunnel"]
    return {**FULL, "real_servers": [changed, second]}


@pytest.mark.parametrize("option", SERVICE_EDITS)
def test_one_option_of_a_service_is_set_and_all_else_stays(
    option: str, module: Module, apply: Apply, table: Table, messages: list[int]
) -> None:
    apply([FULL, OTHER])
    messages.clear()
    for expected in ([{**FULL, **SERVICE_EDITS[option]}, OTHER],) * 2:
        module("virtual_service", **KEY, **SERVICE_EDITS[option])
        assert table() == seen(normal(expected))
        assert len(messages) == 1  # also after the second time


@pytest.mark.parametrize("option", SERVER_EDITS)
def test_one_option_of_a_real_server_is_set_and_all_else_stays(
    option: str, module: Module, apply: Apply, table: Table, messages: list[int]
) -> None:
    apply([FULL, OTHER])
    messages.clear()
    for expected in ([with_first(**SERVER_EDITS[option]), OTHER],) * 2:
        module("real_server", service=KEY, address="198.51.100.21", **SERVER_EDITS[option])
        assert table() == seen(normal(expected))
        assert len(messages) == 1


@pytest.mark.parametrize("option", SERVER_EDITS)
def test_the_same_through_the_service(
    option: str, module: Module, apply: Apply, table: Table, messages: list[int]
) -> None:
    apply([FULL, OTHER])
    messages.clear()
    module("virtual_service", **KEY, real_servers=[{"address": "198.51.100.21", **SERVER_EDITS[option]}])
    assert table() == seen(normal([with_first(**SERVER_EDITS[option]), OTHER]))
    assert len(messages) == 1


def test_nothing_but_the_key_changes_nothing(module: Module, apply: Apply, table: Table, messages: list[int]) -> None:
    apply([FULL, OTHER])
    messages.clear()
    assert not module("virtual_service", **KEY)["changed"]
    assert not module("real_server", service=KEY, address="198.51.100.21")["changed"]
    assert not module("real_server", service=KEY, address="198.51.100.22")["changed"]
    assert messages == []
    assert table() == seen(normal([FULL, OTHER]))


def test_a_new_service_and_a_new_real_server_have_the_defaults(module: Module, table: Table) -> None:
    assert module("virtual_service", **KEY)["step_count"] == 1
    assert module("real_server", service=KEY, address="198.51.100.21")["step_count"] == 1
    assert table() == seen(normal([{**KEY, "real_servers": [{"address": "198.51.100.21"}]}]))


def test_a_service_with_everything_in_one_call(module: Module, table: Table) -> None:
    assert module("virtual_service", **FULL)["step_count"] == 3
    assert table() == seen(normal([FULL]))
    assert not module("virtual_service", **FULL)["changed"]


def test_real_servers_that_are_not_listed_stay_unless_purged(module: Module, apply: Apply, table: Table) -> None:
    apply([FULL, OTHER])
    listed = [{"address": "198.51.100.22"}]
    assert not module("virtual_service", **KEY, real_servers=listed)["changed"]
    assert not module("virtual_service", **KEY, purge="all")["changed"], "no list is no empty list"
    module("virtual_service", **KEY, real_servers=listed, purge="all")
    assert table() == seen(normal([{**FULL, "real_servers": FULL["real_servers"][1:]}, OTHER]))
    module("virtual_service", **KEY, real_servers=[], purge="all")
    assert table() == seen(normal([{**FULL, "real_servers": []}, OTHER]))


def test_absent(module: Module, apply: Apply, table: Table, messages: list[int]) -> None:
    apply([FULL, OTHER])
    messages.clear()
    for _ in range(2):
        module("real_server", service=KEY, address="198.51.100.22", state="absent")
        assert table() == seen(normal([{**FULL, "real_servers": FULL["real_servers"][:1]}, OTHER]))
        assert len(messages) == 1
    for _ in range(2):
        module("virtual_service", **KEY, state="absent")
        assert table() == seen(normal([OTHER]))
        assert len(messages) == 2
    assert not module("real_server", service=KEY, address="198.51.100.22", state="absent")["changed"]


def test_a_real_server_of_no_service_is_refused(
    module: Module, apply: Apply, table: Table, messages: list[int]
) -> None:
    apply([OTHER])
    messages.clear()
    with pytest.raises(Exception, match=r"^service: .*udp 192\.0\.2\.10:53"):
        module("real_server", service=KEY, address="198.51.100.21")
    assert table() == seen(normal([OTHER]))
    assert messages == []


def test_check_mode(module: Module, apply: Apply, table: Table, messages: list[int]) -> None:
    apply([FULL])
    messages.clear()
    before = table()
    said = [
        module("virtual_service", check=True, diff=True, **KEY, scheduler="rr"),
        module("real_server", check=True, diff=True, service=KEY, address="198.51.100.23"),
        module("virtual_service", check=True, diff=True, **KEY, state="absent"),
    ]
    assert table() == before
    assert messages == []
    assert [answer["changed"] for answer in said] == [True] * 3
    assert "scheduler: rr" in said[0]["diff"]["after"]
    assert "198.51.100.23" in said[1]["diff"]["after"]
    assert said[2]["diff"]["after"] == ""


def test_table_info_is_what_table_takes(
    module: Module,
    apply: Apply,
    table: Table,
    messages: list[int],
    ipvsadm: Callable[..., str],
    netns: Callable[[], None],
) -> None:
    assert module("table_info")["services"] == []
    ipvsadm("-A", "-f", "7", "-6", "-s", "lblcr", "-p", "300", "-M", "64")
    ipvsadm("-a", "-f", "7", "-6", "-r", "198.51.100.21", "-i", "--tun-type", "gre", "--tun-csum", "-w", "3")
    apply([FULL, OTHER], purge="none")
    made = table()
    messages.clear()
    info = module("table_info")
    assert not apply(info["services"])["changed"]
    netns()
    apply(info["services"])
    assert table() == made
    assert info["version"] == "1.2.1"
    assert isinstance(info["connection_table_size"], int)
