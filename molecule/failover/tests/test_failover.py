# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls two directors, under load, and what clients see of it. The tests build on one another, in this order."""

from __future__ import annotations

import re
import time

import pytest
from lvs_testing import VIP, do, ipvsadm
from two_directors import (
    DIRECTORS,
    TABLE,
    TRANSFERS,
    Load,
    daemons,
    eventually,
    findings,
    holders,
    lab,
    measured,
    now,
    playbook,
    transitions,
)

BOTH = ["backup", "master"]
#: Between the directors, and nobody else.
CUT = (
    "nft add table inet cut; nft add chain inet cut in '{{ type filter hook input priority 0; }}';"
    " nft add rule inet cut in ip saddr {{ 192.0.2.{0}, 198.51.100.{0} }} drop"
)


def settled() -> None:
    """Both directors are as they are to be, one of them with the address."""
    eventually(lambda: len(holders()) == 1 and all(daemons(name) == BOTH for name in DIRECTORS), 120)


def test_nothing_happens_when_nothing_is_wrong() -> None:
    settled()
    assert holders() == ["lb1"]
    before = {name: transitions(name) for name in DIRECTORS}
    with Load() as load:
        time.sleep(15)
    measured("nothing", load.words)
    assert {name: transitions(name) for name in DIRECTORS} == before
    assert load.failed == []
    assert load.broken == []


def test_two_masters_are_told_and_become_one() -> None:
    for name, peer in (("lb1", 12), ("lb2", 11)):
        do(name, CUT.format(peer))
    eventually(lambda: holders() == [*DIRECTORS])
    run = playbook("verify")
    assert run.returncode != 0
    for name, other in (("lb1", "lb2"), ("lb2", "lb1")):
        assert f"{name}: address {VIP}: is here and on {other}: there are two masters" in run.stdout
    healed = now()
    for name in DIRECTORS:
        do(name, "nft delete table inet cut")
    told = do("lb2", f"while ip -oneline address show to {VIP} | grep -q .; do sleep 0.05; done; date +%s.%N")
    measured("link between the directors cut, and healed", f"one master again after {float(told) - healed:.1f} s")
    assert holders() == ["lb1"]


def test_tables_that_differ_are_told_and_no_switch_is_made() -> None:
    do("lb2", f"ipvsadm -E -t {VIP}:80 -s wlc")
    run = playbook("failover")
    assert run.returncode != 0
    assert findings(run) == [f"lb2: web (tcp {VIP}:80): scheduler: is wlc, the inventory says rr"]
    assert holders() == ["lb1"]
    do("lb2", f"ipvsadm -E -t {VIP}:80 -s rr")


def test_a_planned_switch_and_back_costs_nobody_anything() -> None:
    away = []
    with Load() as load:
        for wanted in ("lb2", "lb1"):
            run = playbook("failover")
            assert run.returncode == 0, run.stdout + run.stderr
            away += re.findall(rf"{VIP} is on {wanted}, and was away for (\S+) s", run.stdout)
            assert holders() == [wanted]
    measured("planned switch, and back", f"address away for {' and '.join(away)} s; {load.words}")
    assert len(away) == 2
    assert load.failed == []
    assert load.broken == []


def test_the_master_crashes() -> None:
    with Load() as load:
        before = now()
        lab("kill", "lb1")
        after = now()
        eventually(lambda: VIP in do("lb2", f"ip -oneline address show to {VIP}"))
        time.sleep(10)
    measured("the master crashes", load.words)
    lab("reboot", "lb1")
    settled()
    assert holders() == ["lb2"]
    assert min(load.under_way(before), load.under_way(after)) >= 0.8 * TRANSFERS
    assert load.broken == []
    assert load.away <= 1.0


def test_keepalived_crashes_on_the_master() -> None:
    before = ipvsadm("lb2")
    with Load() as load:
        told = do(
            "lb2",
            "killed=$(date +%s.%N); systemctl kill --signal=KILL keepalived;"
            " until systemctl is-active -q keepalived; do sleep 0.05; done; echo $killed $(date +%s.%N)",
        )
        assert ipvsadm("lb2") == before
        eventually(lambda: holders() == ["lb1"])
        time.sleep(2)
        first = transitions("lb1")[-1]
    killed, back = map(float, told.split())
    measured("keepalived crashes on the master", f"running again after {back - killed:.1f} s; {load.words}")
    assert "MASTER" in first
    assert ipvsadm("lb2") == before
    assert load.broken == []
    # The address moves, or keepalived is back.
    assert min(load.away, back - killed) <= 3.0


def test_both_directors_restart_at_once() -> None:
    before = {name: ipvsadm(name) for name in DIRECTORS}
    with Load(transfers=0) as load:
        lab("reboot", *DIRECTORS)
        settled()
    measured("both directors restart at the same moment", load.words)
    assert {name: ipvsadm(name) for name in DIRECTORS} == before
    assert load.requests[-1][1] != "TimeoutError"


def test_the_table_of_all_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("", *(f"| {fault} | {words} |" for fault, words in TABLE), sep="\n")
    assert len(TABLE) == 6
