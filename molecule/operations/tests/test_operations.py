# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that is worked on while its clients use it. The tests build on one another, in this order."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from lvs_testing import VIP, begin, declared, do, end, host, inventory_without, ipvsadm, site

DIRECTORS = ("lb1", "lb2")
SERVERS = {"web1": "198.51.100.21", "web2": "198.51.100.22", "web3": "198.51.100.23"}
FILES = Path(__file__).resolve().parents[1] / "files"

REQUESTS = 5000
# Of web1, too, which is drained: what others made is left alone.
OTHERS = [
    "-A -t 192.0.2.99:99 -s wrr -p 60",
    "-a -t 192.0.2.99:99 -r 198.51.100.21:99 -m -w 3",
    "-A -f 99 -s sh",
    "-a -f 99 -r 198.51.100.99:0 -g -w 1",
]

# A transfer that goes on slowly until it is told to end, and then has to be complete.
HOLD = """
import os, socket, time
held = socket.socket()
held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
held.connect(("192.0.2.10", 80))
held.sendall(b"GET /10M HTTP/1.1\\r\\nHost: lab\\r\\nRange: bytes=0-4999999\\r\\nConnection: close\\r\\n\\r\\n")
print(held.getsockname()[1], flush=True)
got = 0
while more := held.recv(4096):
    got += len(more)
    if not os.path.exists("/run/hold.end"):
        time.sleep(0.2)
print(got > 5000000, flush=True)
"""


def table(scheduler: str, *servers: str, drained: str = "") -> list[str]:
    """The table as ipvsadm saves it."""
    ours = [
        f"-a -t {VIP}:80 -r {SERVERS[server]}:80 -m -w {0 if server == drained else 1}" for server in servers or SERVERS
    ]
    return sorted([f"-A -t {VIP}:80 -s {scheduler}", *ours, *OTHERS])


def with_scheduler(scheduler: str) -> list[dict[str, t.Any]]:
    return [{**service, "scheduler": scheduler} for service in declared()]


def counts() -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(do("client", "cat /run/load/counts.json")))


def put(name: str, path: str, text: str) -> str:
    """The command that writes a file, and then goes on."""
    return f"cat > {path} <<'END OF {name}'\n{text}\nEND OF {name}\n"


@pytest.fixture(scope="module")
def load() -> Iterator[None]:
    """Clients that ask all the time, and some that load slowly."""
    program = (FILES / "load.py").read_text(encoding="utf-8")
    do(
        "client",
        f"rm -rf /run/load; mkdir /run/load; {put('PROGRAM', '/run/load/load.py', program)}"
        f"nohup python3 /run/load/load.py {VIP} /run/load >/run/load/out 2>&1 </dev/null &\n"
        "for try in $(seq 60); do grep -sq 'running.: [1-9]' /run/load/counts.json && break; sleep 1; done",
    )
    yield
    do("client", "touch /run/load/stop")


@pytest.fixture(scope="module", autouse=True)
def others() -> Iterator[None]:
    """Services that somebody else made by hand, before any of our runs."""
    for director in DIRECTORS:
        do(director, "ipvsadm -R <<'END'\n" + "\n".join(OTHERS) + "\nEND")
    yield
    for director in DIRECTORS:
        do(director, "ipvsadm -D -t 192.0.2.99:99 && ipvsadm -D -f 99")


def test_others_have_services_of_their_own() -> None:
    for director in DIRECTORS:
        assert ipvsadm(director) == table("lc")


@pytest.mark.usefixtures("load")
def test_a_rolling_update() -> None:
    update: dict[str, t.Any] = {"lvs_update_tasks": str(FILES / "update.yml"), "lvs_update_serial": [1, 2]}
    run = end(begin("rolling_update", lvs_servers="web", lvs_drain_wait_for=["active"], **update))
    updated = [(name, result["stdout"]) for name, task, result in run.tasks if task == "Stop, and start again"]
    # The first alone, and none with connections of clients.
    assert [name for name, _told in updated] == ["web1", "web2", "web3"]
    assert [told for _name, told in updated] == ["", "", ""]
    for director in DIRECTORS:
        assert ipvsadm(director) == table("lc")
    assert counts()["faults"] == []


@pytest.mark.usefixtures("load")
def test_a_server_leaves_as_the_scheduler_changes(tmp_path: Path) -> None:
    end(begin("drain", lvs_servers="web2", lvs_drain_wait_for=["active"]))
    for director in DIRECTORS:
        assert ipvsadm(director) == table("lc", drained="web2")
    site(with_scheduler("rr"), inventory=inventory_without(tmp_path, "web", "web2"))
    for director in DIRECTORS:
        assert ipvsadm(director) == table("rr", "web1", "web3")
    assert counts()["faults"] == []


@pytest.mark.usefixtures("load")
def test_two_controllers_at_once_bring_it_back() -> None:
    runs = [begin("site", lvs_services=with_scheduler("wlc")) for _ in range(2)]
    steps = [told.steps(director) for told in [end(run) for run in runs] for director in DIRECTORS]
    # Between them they did what was to be done, and nothing twice.
    assert sorted(map(len, steps)) == [0, 0, 2, 2]
    for director in DIRECTORS:
        assert ipvsadm(director) == table("wlc")


@pytest.mark.usefixtures("load")
def test_no_client_has_noticed() -> None:
    do(
        "client",
        "while [ ! -e /run/load/ended ] &&"
        f" [ $(grep -o 'requests.: [0-9]*' /run/load/counts.json | tr -dc 0-9) -lt {REQUESTS} ]; do sleep 2; done",
    )
    # Transfers that run are to come to their end.
    do("client", "touch /run/load/stop; while [ ! -e /run/load/ended ]; do sleep 1; done")
    found = counts()
    assert found["faults"] == []
    assert found["requests"] >= REQUESTS
    assert found["transfers"] >= 10
    assert set(found["answered"]) == set(SERVERS)


@pytest.fixture(scope="module")
def held() -> str:
    """A server with an open transfer."""
    told = do(
        "client",
        f"rm -f /run/hold.*; {put('PROGRAM', '/run/hold.py', HOLD)}nohup python3 /run/hold.py >/run/hold.told 2>&1 </dev/null &\n"
        "for try in $(seq 60); do [ -s /run/hold.told ] && break; sleep 0.5; done; cat /run/hold.told",
    )
    (line,) = [line for line in do("lb1", "ipvsadm -Lnc").splitlines() if f":{told.strip()} " in line]
    return next(name for name, address in SERVERS.items() if f" {address}:80" in line)


def failed(playbook: str, **options: t.Any) -> str:
    """What a playbook said that has to fail."""
    with pytest.raises(AssertionError) as caught:
        end(begin(playbook, **options))
    return str(caught.value)


def test_past_the_deadline_the_weights_are_back(held: str) -> None:
    told = failed("drain", lvs_servers=held, lvs_drain_wait_for=["active"], lvs_drain_timeout=1)
    assert f"{held}: not drained; the weights are back as they were" in told
    assert f"lb1: real server {SERVERS[held]}:80 of service tcp {VIP}:80 still has 1 active connection" in told
    for director in DIRECTORS:
        assert ipvsadm(director) == table("wlc")


def test_a_drain_waits_for_an_open_transfer(held: str) -> None:
    run = begin("drain", lvs_servers=held, lvs_drain_wait_for=["active"])
    for director in DIRECTORS:
        do(director, f"while ! ipvsadm -Sn | grep -q '{SERVERS[held]}:80 -m -w 0'; do sleep 1; done")
    # More than a look later it still waits.
    time.sleep(20)
    assert run.poll() is None
    do("client", "touch /run/hold.end; while [ $(wc -l </run/hold.told) -lt 2 ]; do sleep 1; done")
    end(run)
    assert do("client", "cat /run/hold.told").split()[1] == "True"
    for director in DIRECTORS:
        assert ipvsadm(director) == table("wlc", drained=held)


def test_a_drain_that_leaves_too_little_is_refused(held: str) -> None:
    others = [name for name in SERVERS if name != held]
    told = failed("drain", lvs_servers=others)
    assert f"minimum_servers: service tcp {VIP}:80 would keep 0 of 3 real servers in use, not 1" in told
    for director in DIRECTORS:
        assert ipvsadm(director) == table("wlc", drained=held)
    end(begin("restore", lvs_servers="web"))
    for director in DIRECTORS:
        assert ipvsadm(director) == table("wlc")


def test_a_director_that_does_not_come_out_right_is_the_last_one() -> None:
    do(
        "lb2",
        f"(while sleep 0.1; do ipvsadm -E -t {VIP}:80 -s sed; done) >/dev/null 2>&1 </dev/null & echo $! >/run/other",
    )
    try:
        told = failed("site", lvs_services=with_scheduler("rr"))
    finally:
        do("lb2", "kill $(cat /run/other)")
    assert f"web (tcp {VIP}:80): scheduler: is sed, the inventory says rr" in told
    assert ipvsadm("lb1") == table("wlc")
    assert host("lb1").run(f"ip -o address show to {VIP}").stdout
