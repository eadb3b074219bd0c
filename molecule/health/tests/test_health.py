# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that keepalived watches, under load. The tests build on one another, in this order."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lvs_testing import VIP, counters, do, ipvsadm, requests_through
from two_directors import DIRECTORS, TABLE, Load, measured, playbook, services, transitions

SERVERS = {"web1": "198.51.100.21", "web2": "198.51.100.22", "web3": "198.51.100.23"}
#: The interval of the check in the inventory, and what the promise adds.
INTERVAL, BOUND = 1.0, 1.0


def entries(port: int, **servers: str) -> list[str]:
    """A service and its real servers: as ipvsadm has the method of each."""
    real_servers = [f"-a -t {VIP}:{port} -r {SERVERS[server]}:{port} {how}" for server, how in servers.items()]
    return sorted([f"-A -t {VIP}:{port} -s rr", *real_servers])


#: The modules' service, and keepalived's.
OURS = entries(80, web1="-m -w 1", web2="-g -w 1", web3="-i -w 1 --tun-type ipip")
THEIRS = dict.fromkeys(SERVERS, "-m -w 1")


@pytest.mark.parametrize("director", DIRECTORS)
def test_both_owners_services_are_in_the_table(director: str) -> None:
    assert ipvsadm(director) == sorted([*OURS, *entries(8080, **THEIRS)])
    for port in (80, 8080):
        assert requests_through("client", VIP, 6, port=port) == {"web1": 2, "web2": 2, "web3": 2}


def changed(director: str, until: str) -> float:
    """When web3 came into the table of keepalived's service, or was out of it, by the clock of the lab."""
    ask = f"ipvsadm -Ln -t {VIP}:8080 | grep -q {SERVERS['web3']}"
    return float(do(director, f"{until} {ask}; do sleep 0.05; done; date +%s.%N"))


def test_a_web_server_that_stops_is_out_and_comes_back() -> None:
    with Load(transfers=0, port=8080) as load, ThreadPoolExecutor() as threads:
        out = [threads.submit(changed, director, "while") for director in DIRECTORS]
        stopped = float(do("web3", "date +%s.%N; systemctl kill --signal=KILL --kill-whom=all nginx"))
        gone = [seen.result() - stopped for seen in out]
        for director in DIRECTORS:
            # The other service is the modules', who look at nobody's health.
            assert ipvsadm(director) == sorted([*OURS, *entries(8080, web1=THEIRS["web1"], web2=THEIRS["web2"])])
        back = [threads.submit(changed, director, "until") for director in DIRECTORS]
        started = float(do("web3", "systemctl restart nginx; date +%s.%N"))
        returned = [seen.result() - started for seen in back]
        time.sleep(2)
    failed = [began - stopped for began, _word in load.failed]
    measured(
        f"a web server's nginx is killed, check of {INTERVAL:g} s",
        f"out of rotation after {max(gone):.1f} s, back {max(returned):.1f} s after its return; {load.words},"
        f" within {max(failed, default=0):.1f} s",
    )
    # Whoever was sent there just before it was out is the last.
    assert max(failed, default=0) < max(gone) + 0.2
    assert max(gone) <= INTERVAL + BOUND
    assert requests_through("client", VIP, 6, port=8080) == {"web1": 2, "web2": 2, "web3": 2}


def test_a_server_is_drained_in_services_of_either_owner_and_comes_back() -> None:
    whole = sorted([*OURS, *entries(8080, **THEIRS)])
    drained = [line.replace(" -w 1", " -w 0") if SERVERS["web3"] in line else line for line in whole]
    with Load(transfers=0, port=8080) as load:
        for name, table in (("drain", drained), ("restore", whole)):
            run = playbook(name, lvs_servers="web3", lvs_drain_wait_for=["active"])
            assert run.returncode == 0, run.stdout + run.stderr
            for director in DIRECTORS:
                assert ipvsadm(director) == table
    assert load.failed == []
    assert requests_through("client", VIP, 6, port=8080) == {"web1": 2, "web2": 2, "web3": 2}


def test_a_service_more_moves_nothing() -> None:
    before = {name: transitions(name) for name in DIRECTORS}
    counted = {name: counters(name) for name in DIRECTORS}
    more = {**services()[1], "name": "more", "port": 8081, "real_servers": [{"group": "web", "port": 8080}]}
    with Load(port=8080) as load:
        run = playbook("site", lvs_services=[*services(), more])
        assert run.returncode == 0, run.stdout + run.stderr
    measured("a service more: keepalived reloads", load.words)
    moved = [name for name in DIRECTORS if transitions(name) != before[name]]
    assert moved == [], "\n".join(
        do(name, "journalctl --unit keepalived --output short-precise --lines 100") for name in moved
    )
    assert load.failed == []
    assert load.broken == []
    for name in DIRECTORS:
        after = counters(name)
        assert f"TCP {VIP}:8081" in after
        # By this the role knows that it has nothing to be told.
        do(name, "cmp /etc/keepalived/keepalived.conf /run/keepalived.running.conf")
        # No limit on a realtime process: keepalived 2.2.7 gives it back late in a reload, and the kernel may kill it before.
        vrrp = do(name, "pgrep --newest --parent $(systemctl show --property=MainPID --value keepalived)")
        assert "SCHED_RR" in do(name, f"chrt --pid {vrrp}")
        limit = do(name, f"grep '^Max realtime timeout' /proc/{vrrp.strip()}/limits").split()
        assert limit[3:5] == ["unlimited", "unlimited"]
        for entry, counts in counted[name].items():
            assert all(now >= then for now, then in zip(after[entry], counts, strict=True)), entry
    assert counters("lb1")[f"TCP {VIP}:8080"].connections >= len(load.requests)


def test_the_table_of_all_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("", *(f"| {fault} | {words} |" for fault, words in TABLE), sep="\n")
    assert len(TABLE) == 2
