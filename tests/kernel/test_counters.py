# SPDX-License-Identifier: GPL-3.0-or-later
"""What table_info says of counters, and zero_counters, with ipvsadm(8) as the second opinion."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import ModuleFailed
from .traffic import REAL, REAL6, VIRTUAL, VIRTUAL6, Traffic
from .words import Words

Apply = Callable[..., dict[str, Any]]
Module = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]
# By endpoint, as ipvsadm writes it, five numbers or three.
Numbers = dict[str, tuple[int, ...]]

WEB: Words = {
    "protocol": "tcp",
    "address": VIRTUAL,
    "port": 80,
    "scheduler": "rr",
    "real_servers": [{"address": address, "port": 8080} for address in REAL],
}
WEB6: Words = {
    "protocol": "tcp",
    "address": VIRTUAL6,
    "port": 80,
    "persistence_timeout": 60,
    "real_servers": [{"address": REAL6, "port": 8080}],
}
KEY6 = {"protocol": "tcp", "address": VIRTUAL6, "port": 80}


@pytest.fixture
def traffic(netns: Callable[[], None], apply: Apply) -> Iterator[Traffic]:
    """Three connections to two real servers, and one to one of IPv6."""
    with Traffic() as traffic:
        for address in (*REAL, REAL6):
            traffic.listen(address, 8080)
        apply([WEB, WEB6])
        for _turn in range(3):
            traffic.connect(VIRTUAL, 80).sendall(b"hello")
        traffic.connect(VIRTUAL6, 80)
        yield traffic


def listed(text: str) -> Numbers:
    """The services and real servers of a listing of ipvsadm, and the numbers behind them."""
    found = re.findall(r"^(?:TCP|  ->) +(\S+:\d+) +(?:Masq +)?([\d ]+)$", text, re.MULTILINE)
    return {endpoint: tuple(map(int, numbers.split())) for endpoint, numbers in found}


def endpoint(words: Words) -> str:
    return f"[{words['address']}]:{words['port']}" if ":" in words["address"] else f"{words['address']}:{words['port']}"


def told(module: Module) -> list[Words]:
    counters: list[Words] = module("table_info", gather=["counters"])["counters"]
    return counters


def numbers(counters: list[Words], kind: str) -> Numbers:
    return {
        endpoint(entry): tuple(entry[kind].values())
        for service in counters
        for entry in (service, *service["real_servers"])
    }


def agree(read: Callable[[], Any], ipvsadm: Callable[[], Any]) -> Any:
    """What both say. The kernel changes the numbers every two seconds, so it has to say it before and after."""
    for _attempt in range(20):
        before, ours, after = ipvsadm(), read(), ipvsadm()
        if before == after:
            assert ours == before
            return ours
    raise AssertionError("the numbers do not rest")


def await_counters(ipvsadm: Ipvsadm, wanted: dict[str, int]) -> None:
    """Until so many connections are counted, which takes two seconds."""
    deadline = time.monotonic() + 30
    while (now := {name: row[0] for name, row in listed(ipvsadm("-Ln", "--stats", "--exact")).items()}) != wanted:
        assert time.monotonic() < deadline, now
        time.sleep(0.2)


COUNTED = {
    "192.0.2.10:80": 3,
    "198.51.100.21:8080": 1,
    "198.51.100.22:8080": 2,
    "[2001:db8:f::10]:80": 1,
    "[2001:db8:b::21]:8080": 1,
}
ODD = {**COUNTED, "198.51.100.21:8080": 2, "198.51.100.22:8080": 1}


def await_traffic(ipvsadm: Ipvsadm) -> None:
    """The first turn of rr is that of either real server."""
    first = listed(ipvsadm("-Ln"))["198.51.100.21:8080"][1]
    await_counters(ipvsadm, COUNTED if first == 1 else ODD)


def test_counters_and_rates_are_those_of_ipvsadm(traffic: Traffic, module: Module, ipvsadm: Ipvsadm) -> None:
    await_traffic(ipvsadm)
    total = agree(lambda: numbers(told(module), "total"), lambda: listed(ipvsadm("-Ln", "--stats", "--exact")))
    assert len(total) == 5
    connections, packets_in, packets_out, bytes_in, bytes_out = total["192.0.2.10:80"]
    assert connections == 3
    # Syn, ack, data; syn-ack and an ack of the data.
    assert packets_in >= 9
    assert packets_out >= 6
    assert bytes_in > packets_in * 40
    assert bytes_out >= packets_out * 40
    rates = agree(lambda: numbers(told(module), "per_second"), lambda: listed(ipvsadm("-Ln", "--rate", "--exact")))
    assert rates.keys() == total.keys()


def test_connections_are_those_of_ipvsadm(traffic: Traffic, module: Module, ipvsadm: Ipvsadm) -> None:
    traffic.close()  # the connections end, and are remembered

    def ours() -> Numbers:
        return {
            endpoint(server): (
                server["persistent_connections"],
                server["active_connections"],
                server["inactive_connections"],
            )
            for service in told(module)
            for server in service["real_servers"]
        }

    def theirs() -> Numbers:
        # Of a real server they are: weight, persistent, active, inactive.
        rows = listed(ipvsadm("-Ln", "--persistent-conn"))
        return {name: row[1:] for name, row in rows.items() if len(row) == 4}

    seen = agree(ours, theirs)
    assert len(seen) == 3
    assert seen["[2001:db8:b::21]:8080"][0] == 1
    assert sum(active + inactive for _persistent, active, inactive in seen.values()) == 4


def test_services_and_counters_have_the_same_order(traffic: Traffic, module: Module) -> None:
    result = module("table_info", gather=["services", "counters"])
    assert [endpoint(service) for service in result["services"]] == [endpoint(entry) for entry in result["counters"]]
    for service, entry in zip(result["services"], result["counters"], strict=True):
        servers, counted = service["real_servers"], entry["real_servers"]
        assert list(map(endpoint, servers)) == list(map(endpoint, counted))


def test_marks_are_told_by_their_keys(module: Module, apply: Apply) -> None:
    apply([{"fwmark": 7, "family": "ipv6"}, {"fwmark": 7}])
    keys = [{option: entry[option] for option in ("fwmark", "family")} for entry in told(module)]
    assert keys == [{"fwmark": 7, "family": "ipv4"}, {"fwmark": 7, "family": "ipv6"}]


def test_one_service_is_zeroed_and_the_other_goes_on(traffic: Traffic, module: Module, ipvsadm: Ipvsadm) -> None:
    await_traffic(ipvsadm)
    counted = listed(ipvsadm("-Ln", "--stats", "--exact"))

    checked = module("zero_counters", check=True, **KEY6)
    assert listed(ipvsadm("-Ln", "--stats", "--exact"))["[2001:db8:f::10]:80"][0] == 1
    assert module("zero_counters", **KEY6) == checked
    now = listed(ipvsadm("-Ln", "--stats", "--exact"))
    assert now["[2001:db8:f::10]:80"] == now["[2001:db8:b::21]:8080"] == (0, 0, 0, 0, 0)
    for name in ("192.0.2.10:80", "198.51.100.21:8080"):
        assert now[name] >= counted[name]

    traffic.connect(VIRTUAL6, 80)
    await_counters(ipvsadm, {name: row[0] for name, row in counted.items()})


def test_all_services_are_zeroed(traffic: Traffic, module: Module, ipvsadm: Ipvsadm) -> None:
    await_traffic(ipvsadm)
    before = ipvsadm("-Ln")
    assert module("zero_counters")["changed"]
    assert set(listed(ipvsadm("-Ln", "--stats", "--exact")).values()) == {(0, 0, 0, 0, 0)}
    assert module("zero_counters")["changed"]
    # The connections and the table stay.
    assert ipvsadm("-Ln") == before


def test_a_service_that_is_not_there_cannot_be_zeroed(module: Module) -> None:
    for check in (True, False):
        with pytest.raises(ModuleFailed, match="^there is no virtual service tcp 192.0.2.10:81$"):
            module("zero_counters", check=check, protocol="tcp", address="192.0.2.10", port=81)
