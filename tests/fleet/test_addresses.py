# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has the virtual addresses of a cluster whose directors are simulated."""

from __future__ import annotations

from .fleet import Fleet, played, services


def test_nobody_lets_go_of_the_virtual_addresses_for_one_who_cannot_take_them() -> None:
    fleet = Fleet(2)
    first, second = fleet.names
    vip = "192.0.0.1"
    fleet.declare(lvs_services=services(1, 1))

    def holder(name: str) -> list[str]:
        return ["-e", f"director_vip_holder={name}", "-e", "lvs_cluster=one"]

    def holders() -> list[str]:
        return [
            host for host in fleet.names if vip in fleet.enter(host, "ip", "-oneline", "address", "show", "to", vip)
        ]

    def connect(host: str, address: str) -> None:
        fleet.enter(host, "ip", "link", "add", "front", "type", "dummy")
        fleet.enter(host, "ip", "link", "set", "front", "up")
        fleet.enter(host, "ip", "address", "add", address, "dev", "front")

    connect(first, "192.0.0.11/24")
    played(fleet, "site", *holder(first))
    assert holders() == [first]

    # What only the other one's host can tell, and only once its table is ready.
    connect(second, "192.0.0.12/24")
    fleet.enter(second, "ip", "address", "add", f"{vip}/32", "dev", "lo")
    refused = fleet.play("site", *holder(second))
    assert f"addresses[0]: {vip} is on the interface lo already" in refused.output
    fleet.enter(second, "ip", "address", "del", f"{vip}/32", "dev", "lo")
    assert holders() == [first]

    left = played(fleet, "site", *holder(second), "--limit", first)
    assert f"{first} keeps the virtual addresses that it has until a run has had {second}, too" in left.output
    assert holders() == [first]

    checked = played(fleet, "site", *holder(second), "--check")
    assert [checked.recap[host]["changed"] for host in fleet.names] == [1, 1], checked.output
    assert holders() == [first]
    run = played(fleet, "site", *holder(second))
    assert [run.recap[host]["changed"] for host in fleet.names] == [1, 1], run.output
    assert holders() == [second]
    assert run.output.index("TASK [lvs.ipvs.director : Let go") < run.output.index(
        "TASK [lvs.ipvs.director : Hold the virt"
    )
