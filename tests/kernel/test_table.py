# SPDX-License-Identifier: GPL-3.0-or-later
"""The module lvs.ipvs.table against the kernel, with ipvsadm(8) as the second opinion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import words
from .conftest import ModuleFailed
from .words import Words, kernel_schedulers, messages_between, normal, seen

Apply = Callable[..., dict[str, Any]]
Table = Callable[[], tuple[list[str], list[str]]]

WEB: Words = {
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 80,
    "scheduler": "rr",
    "real_servers": [{"address": f"198.51.100.{n}"} for n in (21, 22, 23)],
}


def service(family: str = "ipv4", **options: Any) -> Words:
    """A service with one real server; the options are those of the service."""
    key: Words = {"protocol": "tcp", "address": words.VIRTUAL[family][0], "port": 80}
    return {**key, "real_servers": [{"address": words.REAL[family][0]}], **options}


def one_server(**options: Any) -> Words:
    """A service whose real server has these options."""
    return service(real_servers=[{"address": "198.51.100.21", **options}])


CASES = {
    **{f"{protocol} {family}": service(family, protocol=protocol) for protocol in ("tcp", "udp", "sctp") for family in ("ipv4", "ipv6")},
    **{f"weight {weight}": one_server(weight=weight) for weight in (0, 1, 2, 65535, 65536, words.INT_MAX)},
    **{f"{forwarding} {family}": service(family, forwarding=forwarding) for forwarding in ("masquerade", "direct", "tunnel") for family in ("ipv4", "ipv6")},
    **{f"persistence of {timeout} s": service(persistence_timeout=timeout) for timeout in (1, 300, 31 * 24 * 3600)},
    **{f"persistence over /{prefix}": service(persistence_timeout=60, persistence_netmask=prefix) for prefix in (1, 24, 31, 32)},
    **{f"persistence over v6 /{prefix}": service("ipv6", persistence_timeout=60, persistence_netmask=prefix) for prefix in (1, 64, 127, 128)},
    "persistence over an uneven mask": service(persistence_timeout=60, persistence_netmask="255.0.255.0"),
    "every port": service(port=0, persistence_timeout=60, forwarding="direct"),
    "another port": one_server(port=8080),
    "no real servers": service(real_servers=[]),
    "the highest ports": service(port=65535, real_servers=[{"address": "198.51.100.21", "port": 65535}]),
    "sip": service(protocol="udp", port=5060, persistence_timeout=60, persistence_engine="sip"),
    "one packet": service(protocol="udp", one_packet=True),
    "mark": {"fwmark": 7, "real_servers": [{"address": "198.51.100.21"}]},
    "mark, port": {"fwmark": 2**32 - 1, "real_servers": [{"address": "198.51.100.21", "port": 80}]},
    "mark of ipv6": {"fwmark": 1, "family": "ipv6", "real_servers": [{"address": "2001:db8:b::21"}]},
    "sh with its flags": service(scheduler="sh", scheduler_flags=["sh-fallback", "sh-port"]),
    "mh with its flags": service(scheduler="mh", scheduler_flags=["mh-port"]),
    "flags by number": service(scheduler="rr", scheduler_flags=["flag-1", "flag-3"]),
    "thresholds": one_server(upper_threshold=100, lower_threshold=50),
    "the highest threshold": one_server(upper_threshold=words.INT_MAX),
    "gue": service(forwarding="tunnel", tunnel={"type": "gue", "port": 6080}),
    "gue, remote checksum": service(forwarding="tunnel", tunnel={"type": "gue", "port": 1, "checksum": "remcsum"}),
    "gre": service(forwarding="tunnel", tunnel={"type": "gre", "checksum": "csum"}),
    "v6 behind v4": service(forwarding="tunnel", real_servers=[{"address": "2001:db8:b::21"}]),
    "v4 behind v6": service("ipv6", forwarding="tunnel", real_servers=[{"address": "198.51.100.21"}]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_ipvsadm_shows_what_was_asked_for_and_asking_again_sends_nothing(
    name: str, apply: Apply, table: Table, messages: list[int]
) -> None:
    wanted = [CASES[name]]
    expected = normal(wanted)

    first = apply(wanted)
    assert table() == seen(expected)
    assert first["changed"]
    assert len(messages) == first["step_count"] == messages_between({}, expected)

    messages.clear()
    again = apply(wanted)
    assert (again["changed"], again["step_count"], messages) == (False, 0, [])


@pytest.mark.parametrize("scheduler", words.SCHEDULERS)
def test_each_scheduler_is_set_or_refused_before_anything_changes(
    scheduler: str, apply: Apply, table: Table, messages: list[int]
) -> None:
    apply([WEB])
    before = table()
    messages.clear()
    wanted = [WEB, service(port=443, scheduler=scheduler)]
    if scheduler in kernel_schedulers():
        apply(wanted)
        assert table() == seen(normal(wanted))
        assert not apply(wanted)["changed"]
    else:
        with pytest.raises(Exception, match=rf"^services\[1\]\.scheduler: .*'{scheduler}'"):
            apply(wanted)
        assert table() == before
        assert not messages


def test_the_kernels_know_all_schedulers_but_twos() -> None:
    assert set(words.SCHEDULERS) - set(kernel_schedulers()) <= {"twos"}


def test_check_mode_says_what_would_be_done_and_does_not(apply: Apply, table: Table, messages: list[int]) -> None:
    said = apply([WEB], check=True, diff=True)
    assert (table(), messages) == (([], []), [])
    done = apply([WEB], diff=True)
    assert said == done
    assert said["step_count"] == 4


CHANGES = {
    "weight": lambda web: web["real_servers"][1].update(weight=5),
    "weight 0": lambda web: web["real_servers"][1].update(weight=0),
    "forwarding": lambda web: web["real_servers"][1].update(forwarding="direct"),
    "tunnel": lambda web: web["real_servers"][1].update(forwarding="tunnel", tunnel={"type": "gue", "port": 6080}),
    "thresholds": lambda web: web["real_servers"][1].update(upper_threshold=10, lower_threshold=5),
    "scheduler": lambda web: web.update(scheduler="lc"),
    "persistence": lambda web: web.update(persistence_timeout=60),
    "flags": lambda web: web.update(scheduler_flags=["flag-2"]),
    "a real server more": lambda web: web["real_servers"].append({"address": "198.51.100.24"}),
    "a real server less": lambda web: web["real_servers"].pop(1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_change_is_one_message_there_and_back(name: str, apply: Apply, table: Table, messages: list[int]) -> None:
    other = service("ipv6", real_servers=[{"address": address} for address in words.REAL["ipv6"]])
    changed: Words = {**WEB, "real_servers": [dict(server) for server in WEB["real_servers"]]}
    CHANGES[name](changed)
    apply([WEB, other])
    for wanted in ([changed, other], [WEB, other]):
        messages.clear()
        result = apply(wanted)
        assert len(messages) == result["step_count"] == 1
        assert table() == seen(normal(wanted))


# --- what a purge takes -------------------------------------------------------------


def test_without_purge_what_is_not_named_stays(apply: Apply, table: Table) -> None:
    other = service(port=443)
    apply([WEB, other], purge="none")
    fewer = {**WEB, "real_servers": WEB["real_servers"][:1]}
    result = apply([fewer], purge="none")
    assert not result["changed"]
    assert table() == seen(normal([WEB, other]))


def test_purge_of_all_takes_also_what_others_made(apply: Apply, table: Table, ipvsadm: Callable[..., str]) -> None:
    ipvsadm("-A", "-u", "192.0.2.99:53")
    ipvsadm("-a", "-u", "192.0.2.99:53", "-r", "198.51.100.99:53")
    result = apply([WEB], purge="all")
    assert table() == seen(normal([WEB]))
    assert result["steps"][-1] == "remove service udp 192.0.2.99:53"


def test_purge_of_owned_takes_what_was_applied_and_nothing_else(
    apply: Apply, table: Table, ipvsadm: Callable[..., str], tmp_path: Path
) -> None:
    record = str(tmp_path / "record.json")
    second = service(port=443)
    ipvsadm("-A", "-u", "192.0.2.99:53", "-s", "rr")
    apply([WEB, second], purge="owned", record=record)
    # Someone else adds a real server to a service of ours.
    ipvsadm("-a", "-t", "192.0.2.10:80", "-r", "198.51.100.99:80", "-m")

    fewer = {**WEB, "real_servers": WEB["real_servers"][:1]}
    result = apply([fewer], purge="owned", record=record)
    theirs: Words = {**WEB, "real_servers": [WEB["real_servers"][0], {"address": "198.51.100.99"}]}
    dns: Words = {"protocol": "udp", "address": "192.0.2.99", "port": 53, "scheduler": "rr"}
    assert table() == seen(normal([theirs, dns]))
    assert result["step_count"] == 3

    # Our last service goes but for the real server of others, which holds it.
    apply([], purge="owned", record=record)
    theirs["real_servers"].pop(0)
    assert table() == seen(normal([theirs, dns]))
    assert not apply([], purge="owned", record=record)["changed"]


def test_what_is_released_keeps_its_counters_and_is_not_purged(
    apply: Apply, table: Table, messages: list[int], tmp_path: Path
) -> None:
    options: Words = {"purge": "owned", "record": str(tmp_path / "record.json")}
    other = service(port=443)
    apply([WEB, other], **options)
    before = table()
    messages.clear()
    assert not apply([other], released=[WEB], **options)["changed"]
    assert (table(), messages) == (before, [])
    # And is nobody's that a purge knows, until it is listed again.
    assert not apply([other], **options)["changed"]
    assert table() == before
    apply([WEB, other], **options)
    assert messages == []
    assert apply([other], **options)["steps"] == ["remove service tcp 192.0.2.10:80"]


def test_what_is_released_is_made_as_declared_a_last_time(apply: Apply, table: Table, tmp_path: Path) -> None:
    options: Words = {"purge": "owned", "record": str(tmp_path / "record.json")}
    apply([WEB], **options)
    theirs: Words = {**WEB, "scheduler": "lc", "real_servers": [*WEB["real_servers"][1:], {"address": "198.51.100.24"}]}
    assert apply([], released=[theirs], **options)["step_count"] == 3
    assert table() == seen(normal([theirs]))
    assert not apply([], released=[WEB], **options)["changed"]


@pytest.mark.parametrize("purge", ["owned", "all"])
def test_a_purge_of_more_than_its_limit_changes_nothing(
    apply: Apply, table: Table, ipvsadm: Callable[..., str], tmp_path: Path, purge: str
) -> None:
    options: Words = {"purge": purge, "purge_limit": 50, "record": str(tmp_path / "record.json")}
    if purge == "owned":
        ipvsadm("-A", "-u", "192.0.2.99:53", "-s", "rr")
    services = [service(port=port) for port in (80, 81, 82, 83)]
    apply(services, **options)
    before = table()
    with pytest.raises(
        ModuleFailed, match="purge_limit: 3 of 4 services would go .* more than 50 percent: tcp 192.0.2.10:81, "
    ):
        apply([*services[:1], service(port=443)], **options)
    assert table() == before
    # Up to it nothing is said, and who means it says so.
    assert apply(services[:2], **options)["step_count"] == 2
    apply([*services[:2], *(service(port=port) for port in (84, 85))], **options)
    assert apply([], **{**options, "purge_limit": 100})["step_count"] == 4
