# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls two directors, under load, and what clients see of it. The tests build on one another, in this order."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lvs_testing import VIP, do, ipvsadm, requests_through
from two_directors import (
    DIRECTORS,
    METHODS,
    PACE,
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


#: Whether a director has the virtual address, in its own words.
HERE = f"ip -oneline address show to {VIP} | grep -q ."


def everybody_serves() -> None:
    for port in (80, 8080):
        # In turn, but for those that the other director sent somewhere just now.
        assert requests_through("client", VIP, 9, port=port).keys() == METHODS.keys()


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
    told = do("lb2", f"while {HERE}; do sleep 0.05; done; date +%s.%N")
    measured("link between the directors cut, and healed", f"one master again after {float(told) - healed:.1f} s")
    assert holders() == ["lb1"]
    everybody_serves()


def test_tables_that_differ_are_told_and_no_switch_is_made() -> None:
    do("lb2", f"ipvsadm -E -t {VIP}:80 -s wlc")
    run = playbook("failover")
    assert run.returncode != 0
    assert findings(run) == [f"lb2: web (tcp {VIP}:80): scheduler: is wlc, the inventory says rr"]
    assert holders() == ["lb1"]
    do("lb2", f"ipvsadm -E -t {VIP}:80 -s rr")


def test_a_switch_that_would_lose_connections_is_refused() -> None:
    """Connections that lb2 was not told of."""
    sync_id = do("lb2", "ipvsadm -Ln --daemon | sed -n 's/^backup .*syncid=\\([0-9]*\\).*/\\1/p'").strip()
    do("lb2", "ipvsadm --stop-daemon backup")
    # They say nothing from then on.
    do(
        "client",
        f"bash -c 'for number in $(seq 40); do exec {{idle}}<>/dev/tcp/{VIP}/80; done; echo $$ >/run/idle; exec sleep 50'"
        " >/dev/null 2>&1 & until [ -s /run/idle ]; do sleep 0.1; done",
    )
    do("lb2", f"ipvsadm --start-daemon backup --mcast-interface back --syncid {sync_id}")
    run = playbook("failover")
    do("client", "kill $(cat /run/idle); rm /run/idle")
    assert run.returncode != 0
    assert re.search(r"lb2: connections: \d are known, on lb1 4\d are established", run.stdout), run.stdout
    assert holders() == ["lb1"]


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
        do("lb2", f"until {HERE}; do sleep 0.05; done")
        time.sleep(10)
    survived = load.survived(before, after)
    told = ", ".join(f"{survived[method]} {method}" for method in METHODS.values())
    measured("the master crashes", f"{load.words}; of those that were under way {told} came to a good end")
    lab("reboot", "lb1")
    settled()
    assert holders() == ["lb2"]
    # The others had just come to their end, or just begun.
    assert min(survived[method] for method in METHODS.values()) >= 0.8 * TRANSFERS / len(METHODS)
    assert load.broken == []
    assert load.away <= 1.0


def test_keepalived_crashes_on_the_master() -> None:
    before = ipvsadm("lb2")
    with Load() as load, ThreadPoolExecutor() as threads:
        move = threads.submit(do, "lb1", f"until {HERE}; do sleep 0.05; done; date +%s.%N")
        # The table is looked at all the time, too.
        told = do(
            "lb2",
            "date +%s.%N; systemctl kill --signal=KILL keepalived;"
            " until ipvsadm -Sn | sort | sha256sum; systemctl is-active -q keepalived; do :; done; date +%s.%N",
        ).splitlines()
        moved = float(move.result())
        eventually(lambda: holders() == ["lb1"])
        time.sleep(2)
    killed, back = float(told[0]), float(told[-1])
    measured(
        "keepalived is killed on the master",
        f"the address was on the other director after {moved - killed:.1f} s,"
        f" keepalived running again after {back - killed:.1f} s; {load.words}",
    )
    assert min(moved, back) - killed <= 3.0
    assert len(set(told[1:-1])) == 1
    assert ipvsadm("lb2") == before
    assert load.failed == []
    assert load.broken == [], (killed, moved, back)


def test_both_directors_restart_at_once() -> None:
    before = {name: ipvsadm(name) for name in DIRECTORS}
    with Load(transfers=0) as load:
        began = now()
        lab("reboot", *DIRECTORS)
        settled()
        again = now()
    served = max(moment for moment, _word in load.failed) - began
    measured(
        "both directors restart at the same moment", f"requests are served again after {served:.0f} s; {load.words}"
    )
    assert {name: ipvsadm(name) for name in DIRECTORS} == before
    words = [word for moment, word in load.requests if moment > again]
    assert len(words) >= PACE
    assert [word for word in words if isinstance(word, str)] == []
    everybody_serves()


def test_the_table_of_all_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("", *(f"| {fault} | {words} |" for fault, words in TABLE), sep="\n")
    assert len(TABLE) == 6
