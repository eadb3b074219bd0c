# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.drain with connections that are really there, and lvs.ipvs.table beside it."""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel
from ansible_collections.lvs.ipvs.plugins.module_utils._model import RealServerKey
from ansible_collections.lvs.ipvs.plugins.module_utils._options import read_services
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import ADD, Step

from .conftest import ModuleFailed, run_module
from .words import Words, normal, seen

Apply = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]
Table = Callable[[], tuple[list[str], list[str]]]

VIRTUAL = "192.0.2.10"
FIRST, SECOND, THIRD = REAL = [f"198.51.100.{n}" for n in (21, 22, 23)]
FIRST6 = "2001:db8:b::21"
CLIENTS = [f"203.0.113.{n}" for n in range(1, 9)]
SETTING = Path("/proc/sys/net/ipv4/vs/expire_quiescent_template")


def web(*servers: Words, **options: Any) -> Words:
    return {"protocol": "tcp", "address": VIRTUAL, "port": 80, "scheduler": "rr", "real_servers": [*servers], **options}


def server(address: str, **options: Any) -> Words:
    return {"address": address, "port": 8080, **options}


WEB = web(server(FIRST, weight=3), server(SECOND, weight=2))
OTHERS: list[Words] = [
    {"protocol": "udp", "address": VIRTUAL, "port": 80, "real_servers": [server(FIRST), server(SECOND)]},
    {"fwmark": 7, "real_servers": [{"address": FIRST, "weight": 5}, {"address": THIRD}]},
    {
        "protocol": "tcp",
        "address": "2001:db8:f::10",
        "port": 80,
        "real_servers": [server(FIRST6, weight=4, upper_threshold=9), server("2001:db8:b::22")],
    },
]


def of_web(action: str, *addresses: str) -> list[str]:
    return [f"{action} real server {address}:8080 of service tcp 192.0.2.10:80" for address in addresses]


def on(value: int) -> str:
    return f"set net.ipv4.vs.expire_quiescent_template to {value}"


class Net:
    """Servers that listen in this namespace and serve only as they are told to, and their clients."""

    def __init__(self) -> None:
        self.open: list[socket.socket] = []
        for address in (VIRTUAL, *REAL, *CLIENTS):
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        self.tcp = {self._keep(socket.create_server((address, 8080))): address for address in REAL}
        self.udp = {self._keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)): address for address in REAL}
        for datagrams, address in self.udp.items():
            datagrams.bind((address, 8080))

    def _keep(self, opened: socket.socket) -> socket.socket:
        self.open.append(opened)
        return opened

    def connect(self, client: str = CLIENTS[0]) -> Connection:
        opened = self._keep(socket.create_connection((VIRTUAL, 80), timeout=10, source_address=(client, 0)))
        (listener,) = select.select(list(self.tcp), [], [], 10)[0]
        return Connection(opened, self._keep(listener.accept()[0]), self.tcp[listener])

    def reach(self, server: str) -> Connection:
        """A connection to one of the servers."""
        return next(made for made in map(self.connect, CLIENTS) if made.server == server)

    def send(self, client: socket.socket) -> str:
        """The server that a datagram reaches."""
        client.sendto(b"?", (VIRTUAL, 80))
        (at,) = select.select(list(self.udp), [], [], 10)[0]
        at.recv(1)
        return self.udp[at]

    def udp_client(self) -> socket.socket:
        return self._keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


class Connection:
    """A connection to the virtual service, both ends of it."""

    def __init__(self, client: socket.socket, end: socket.socket, server: str) -> None:
        self.client, self.end, self.server = client, end, server

    def works(self) -> bool:
        self.client.sendall(b"?")
        asked = self.end.recv(1)
        self.end.sendall(b"!")
        return (asked, self.client.recv(1)) == (b"?", b"!")

    def close(self) -> None:
        """The client, then the server: what is left is an inactive connection of two minutes."""
        self.client.close()
        self.end.close()

    def reset(self) -> None:
        """What is left is an inactive connection of ten seconds."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()


@pytest.fixture
def net(netns: Callable[[], None]) -> Iterator[Net]:
    made = Net()
    yield made
    for opened in made.open:
        opened.close()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "drains.json"


@pytest.fixture
def drain(record: Path) -> Apply:
    """The module lvs.ipvs.drain, in a hurry."""

    def run(*addresses: str, check: bool = False, **options: Any) -> dict[str, Any]:
        words: Words = {"wait_interval": 0.1, "wait_retries": 5, **options}
        return run_module("drain", check=check, diff=True, real_servers=[*addresses], record=str(record), **words)

    return run


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens elsewhere while the module sleeps: at each time the next of these, then nothing."""
    acts: list[Callable[[], object]] = []
    sleep = time.sleep

    def nap(seconds: float) -> None:
        sleep(seconds)
        if acts:
            acts.pop(0)()

    monkeypatch.setattr(time, "sleep", nap)
    return acts


def weights(ipvsadm: Ipvsadm) -> dict[str, int]:
    """The weight of each real server of the web service."""
    return {m[1]: int(m[2]) for m in re.finditer(r"-a -t 192.0.2.10:80 -r (\S+):8080 -m -w (\d+)", ipvsadm("-Sn"))}


def recorded(record: Path) -> list[dict[str, Any]]:
    drains: list[dict[str, Any]] = json.loads(record.read_text())["drains"]
    return drains


def rows(result: dict[str, Any], *values: str) -> list[list[Any]]:
    return [[row[value] for value in values] for row in result["real_servers"]]


# --- draining -----------------------------------------------------------------------


def test_every_service_in_which_the_host_serves(drain: Apply, apply: Apply, table: Table, record: Path) -> None:
    apply([WEB, *OTHERS])
    expected = json.loads(json.dumps([WEB, *OTHERS]))
    for service in expected:
        service["real_servers"][0]["weight"] = 0
    result = drain(FIRST, FIRST6)
    assert result["changed"]
    assert result["step_count"] == 4
    assert table() == seen(normal(expected))
    assert sorted(rows(result, "weight", "configured_weight")) == [[0, 1], [0, 3], [0, 4], [0, 5]]
    assert record.stat().st_mode & 0o777 == 0o600

    again = drain(FIRST, FIRST6, wait=True)
    assert (again["changed"], again["steps"], again["drained"]) == (False, [], True)

    back = drain(FIRST, FIRST6, state="enabled")
    assert back["step_count"] == 4
    assert table() == seen(normal([WEB, *OTHERS]))
    assert recorded(record) == []
    assert not drain(FIRST, FIRST6, state="enabled")["changed"]


def test_what_no_option_says_is_left_alone_and_the_record_is_read_again(
    drain: Apply, apply: Apply, module: Apply, record: Path
) -> None:
    """Programs that speak netlink can make what ipvsadm cannot: direct forwarding to another port."""
    apply([WEB])
    with Kernel() as kernel:
        (entry,) = kernel.read().values()
        ours = entry.real_servers[RealServerKey(FIRST, 8080)]
        odd = ours._replace(key=RealServerKey(FIRST, 8081), forwarding="direct")
        kernel.apply([Step(ADD, entry.service, odd)])
    result = drain(FIRST, wait=True)
    assert result["steps"] == of_web("edit", FIRST)
    assert result["left_alone"] == [f"real server {FIRST}:8081 of service tcp 192.0.2.10:80"]
    assert len(recorded(record)) == 1
    # To verify and status it is what the kernel says.
    services = module("table_info")["services"]
    assert odd in read_services(services)[entry.service.key].real_servers.values()
    assert drain(FIRST, state="enabled")["steps"] == of_web("edit", FIRST)


def test_what_is_drained_already_gets_no_message_and_no_new_record(
    drain: Apply, apply: Apply, messages: list[int], record: Path
) -> None:
    apply([WEB])
    drain(FIRST, wait=True)
    before = record.stat().st_ino, record.read_text()
    messages.clear()
    assert drain(FIRST, wait=True, wait_retries=0)["diff"] == {"before": "", "after": ""}
    assert messages == []
    assert (record.stat().st_ino, record.read_text()) == before


def test_connections_live_on_new_ones_go_elsewhere_and_the_end_is_waited_for(
    drain: Apply, apply: Apply, net: Net, asleep: list[Callable[[], object]], ipvsadm: Ipvsadm
) -> None:
    apply([web(server(FIRST), server(SECOND))])
    old = net.reach(FIRST)

    def meanwhile() -> None:
        assert weights(ipvsadm) == {FIRST: 0, SECOND: 1}
        assert old.works()
        assert {net.connect().server for _ in range(4)} == {SECOND}
        old.reset()

    asleep += [meanwhile]
    began = time.monotonic()
    result = drain(FIRST, wait=True, wait_retries=300)
    # The kernel keeps what was reset for ten seconds.
    assert time.monotonic() - began > 5
    assert result["drained"]
    assert result["steps"] == of_web("edit", FIRST)
    counts = [
        (sample["active_connections"], sample["inactive_connections"], sample["persistent_connections"])
        for sample in result["samples"]
    ]
    assert counts[0] == (1, 0, 0)
    assert counts[-1] == (0, 0, 0)
    assert set(counts) == {(1, 0, 0), (0, 1, 0), (0, 0, 0)}
    assert len(counts) <= 100
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 1}


def test_a_look_is_enough_for_who_polls(drain: Apply, apply: Apply, net: Net) -> None:
    apply([web(server(FIRST), server(SECOND))])
    old = net.reach(FIRST)
    result = drain(FIRST, wait_for=["active"])
    assert (result["changed"], result["drained"]) == (True, False)
    assert rows(result, "active_connections", "waits_for") == [[1, {"active_connections": 1}]]
    again = drain(FIRST, wait_for=["active"])
    assert (again["changed"], again["drained"]) == (False, False)
    old.close()
    last = drain(FIRST, wait_for=["active"])
    assert (last["changed"], last["drained"]) == (False, True)
    assert rows(last, "active_connections", "inactive_connections") == [[0, 1]]


# --- the deadline, and other failures -----------------------------------------------


@pytest.mark.parametrize("persistence_timeout", [0, 60])
def test_past_the_deadline_all_is_as_it_was(
    drain: Apply, apply: Apply, net: Net, table: Table, record: Path, persistence_timeout: int
) -> None:
    services = [
        web(server(FIRST, weight=3), server(SECOND), persistence_timeout=persistence_timeout),
        *OTHERS,
    ]
    apply(services)
    old = net.reach(FIRST)
    before = table()
    with pytest.raises(ModuleFailed) as failed:
        drain(FIRST, wait=True, wait_for=["active"])
    result = failed.value.result
    assert re.fullmatch(
        r"not drained after \S+ seconds: real server 198\.51\.100\.21:8080 of service tcp 192\.0\.2\.10:80 "
        r"still has 1 active connection; what was changed is put back",
        result["msg"],
    )
    assert not result["changed"]
    assert len(result["samples"]) == 6
    assert table() == before
    assert SETTING.read_text() == "0\n"
    assert json.loads(record.read_text()) == {"drains": []}
    assert old.works()


def test_past_the_deadline_it_may_go_on(drain: Apply, apply: Apply, net: Net, ipvsadm: Ipvsadm, record: Path) -> None:
    apply([web(server(FIRST), server(SECOND))])
    old = [net.connect(), net.connect()]
    result = drain(FIRST, wait=True, on_timeout="continue")
    assert (result["changed"], result["drained"]) == (True, False)
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 1}
    assert [drain["unfinished"] for drain in recorded(record)] == [False]
    assert all(connection.works() for connection in old)


def test_what_an_earlier_run_drained_is_not_put_back(drain: Apply, apply: Apply, net: Net, ipvsadm: Ipvsadm) -> None:
    apply([web(*map(server, REAL))])
    _old = [net.connect() for _ in REAL]
    drain(FIRST)
    with pytest.raises(ModuleFailed, match="not drained"):
        drain(FIRST, SECOND, wait=True)
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 1, THIRD: 1}


def test_a_message_that_the_kernel_refuses_puts_the_others_back(
    drain: Apply, apply: Apply, table: Table, ipvsadm: Ipvsadm, monkeypatch: pytest.MonkeyPatch, record: Path
) -> None:
    apply([web(*map(server, REAL), persistence_timeout=60), *OTHERS])
    real = Kernel.apply

    def just_before(kernel: Kernel, steps: list[Any]) -> None:
        monkeypatch.setattr(Kernel, "apply", real)
        ipvsadm("-d", "-t", "192.0.2.10:80", "-r", f"{SECOND}:8080")
        kernel.apply(steps)

    monkeypatch.setattr(Kernel, "apply", just_before)
    with pytest.raises(
        ModuleFailed, match=rf"refused to edit real server {SECOND}:8080 .*what was changed is put back"
    ):
        drain(FIRST, SECOND, minimum_servers=0)
    expected = [web(server(FIRST), server(SECOND), server(THIRD), persistence_timeout=60), *OTHERS]
    assert table() == seen(normal(expected))
    assert json.loads(record.read_text()) == {"drains": []}
    assert SETTING.read_text() == "0\n"


def test_who_raises_the_weight_meanwhile_is_told_of(
    drain: Apply, apply: Apply, net: Net, ipvsadm: Ipvsadm, asleep: list[Callable[[], object]], record: Path
) -> None:
    apply([web(server(FIRST), server(SECOND))])
    _old = [net.connect(), net.connect()]
    asleep += [lambda: ipvsadm("-e", "-t", "192.0.2.10:80", "-r", f"{FIRST}:8080", "-m", "-w", "5")]
    with pytest.raises(ModuleFailed, match=r"was given the weight 5 by something else"):
        drain(FIRST, wait=True)
    assert weights(ipvsadm) == {FIRST: 1, SECOND: 1}
    assert recorded(record) == []


class Killed(BaseException):
    """As good as SIGKILL: nothing is cleaned up."""


def killed(drain: Apply, asleep: list[Callable[[], object]], *addresses: str, **options: Any) -> None:
    def kill() -> None:
        raise Killed

    asleep.append(kill)
    with pytest.raises(Killed):
        drain(*addresses, **options)


PERSISTENT = web(server(FIRST, weight=3), server(SECOND, weight=2), persistence_timeout=60)


@pytest.mark.parametrize("next_run", ["enabled", "past the deadline", "drained", "table"])
def test_the_next_run_answers_for_one_that_was_killed(
    next_run: str, drain: Apply, apply: Apply, net: Net, ipvsadm: Ipvsadm, asleep: list[Any], record: Path
) -> None:
    apply([PERSISTENT])
    net.reach(FIRST)
    killed(drain, asleep, FIRST, wait=True)
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 2}
    assert SETTING.read_text() == "1\n"
    assert [entry["unfinished"] for entry in recorded(record)] == [True]
    if next_run == "enabled":
        drain(FIRST, state="enabled")
    elif next_run == "past the deadline":
        with pytest.raises(ModuleFailed, match="not drained"):
            drain(FIRST, wait=True)
    elif next_run == "drained":
        assert not drain(FIRST, wait=True, on_timeout="continue")["changed"]
        assert [entry["unfinished"] for entry in recorded(record)] == [False]
        drain(FIRST, state="enabled")
    else:
        assert not apply([PERSISTENT], drains=str(record))["changed"]
        drain(FIRST, state="enabled")
    assert weights(ipvsadm) == {FIRST: 3, SECOND: 2}
    assert json.loads(record.read_text()) == {"drains": []}
    assert SETTING.read_text() == "0\n"


# --- floors -------------------------------------------------------------------------

FLOORS: dict[str, tuple[list[str], Words, str | None]] = {
    "the last server": ([FIRST, SECOND, THIRD], {}, "would keep 0 of 3 real servers in use, not 1"),
    "the last server, wanted": ([FIRST, SECOND, THIRD], {"minimum_servers": 0}, None),
    "two of three": ([FIRST, SECOND], {"minimum_servers": 1}, None),
    "fewer servers": ([FIRST, SECOND], {"minimum_servers": 2}, "would keep 1 of 3 real servers in use, not 2"),
    "less weight": ([FIRST], {"minimum_weight": 41}, "would keep a weight of 4 of 10, not 41 percent"),
    "enough weight": ([FIRST], {"minimum_weight": 40}, None),
}  # fmt: skip


@pytest.mark.parametrize("check", [False, True], ids=["really", "check mode"])
@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_is_kept_before_anything_changes(
    name: str, check: bool, drain: Apply, apply: Apply, messages: list[int], record: Path, table: Table
) -> None:
    addresses, options, reason = FLOORS[name]
    apply([web(server(FIRST, weight=6), server(SECOND, weight=3), server(THIRD)), *OTHERS[2:]])
    before = table()
    messages.clear()
    if reason is None:
        assert drain(*addresses, check=check, **options)["steps"] == of_web("edit", *addresses)
    else:
        option = "minimum_weight" if "minimum_weight" in options else "minimum_servers"
        with pytest.raises(ModuleFailed, match=rf"^{option}: service tcp 192\.0\.2\.10:80 {reason}$"):
            drain(*addresses, check=check, **options)
    if check or reason:
        assert messages == []
        assert table() == before
        assert not record.exists()


def test_what_is_drained_already_counts_for_the_floor(drain: Apply, apply: Apply, ipvsadm: Ipvsadm) -> None:
    apply([web(*map(server, REAL))])
    drain(FIRST, minimum_servers=2)
    with pytest.raises(ModuleFailed, match=r"would keep 1 of 3 real servers in use, not 2"):
        drain(SECOND, minimum_servers=2)
    # Of three, one third is left.
    with pytest.raises(ModuleFailed, match=r"a weight of 1 of 3, not 34 percent"):
        drain(SECOND, minimum_weight=34)
    drain(SECOND, minimum_weight=33)
    # No weight is lost by this, so nothing is refused.
    assert not drain(FIRST, SECOND, minimum_servers=3)["changed"]


# --- persistence --------------------------------------------------------------------


def test_persistent_clients_go_elsewhere(drain: Apply, apply: Apply, net: Net, record: Path) -> None:
    apply([web(server(FIRST), server(SECOND), persistence_timeout=60)])
    home = net.connect().server
    assert {net.connect().server for _ in range(3)} == {home}
    away = SECOND if home == FIRST else FIRST
    said = drain(home, check=True)
    assert SETTING.read_text() == "0\n"
    result = drain(home)
    assert said["steps"] == result["steps"] == [on(1), *of_web("edit", home)]
    assert result["diff"]["after"].endswith("- sysctl: net.ipv4.vs.expire_quiescent_template\n  value: 1\n")
    assert rows(result, "active_connections", "persistent_connections") == [[4, 1]]
    assert SETTING.read_text() == "1\n"
    assert {net.connect().server for _ in range(3)} == {away}
    # The other one needs it too, until it is back.
    drain(home, away, minimum_servers=0)
    drain(home, state="enabled")
    assert SETTING.read_text() == "1\n"
    last = drain(away, state="enabled")
    assert last["steps"] == [*of_web("edit", away), on(0)]
    assert SETTING.read_text() == "0\n"
    assert json.loads(record.read_text()) == {"drains": []}


def test_a_setting_that_is_on_stays_on(drain: Apply, apply: Apply) -> None:
    apply([PERSISTENT])
    SETTING.write_text("1")
    assert drain(FIRST)["steps"] == of_web("edit", FIRST)
    assert drain(FIRST, state="enabled")["steps"] == of_web("edit", FIRST)
    assert SETTING.read_text() == "1\n"


def test_the_setting_is_repaired_while_it_is_needed(drain: Apply, apply: Apply, record: Path) -> None:
    apply([PERSISTENT])
    drain(FIRST)
    SETTING.write_text("0")  # as a reboot does
    assert apply([PERSISTENT], drains=str(record))["steps"] == [on(1)]
    SETTING.write_text("0")
    assert drain(FIRST)["steps"] == [on(1)]
    assert drain(FIRST, state="enabled")["steps"] == [*of_web("edit", FIRST), on(0)]


# --- UDP ----------------------------------------------------------------------------


def test_udp_is_not_waited_for_longer_than_its_timeout(drain: Apply, apply: Apply, net: Net, asleep: list[Any]) -> None:
    apply([{**WEB, "protocol": "udp"}])
    run_module("timeouts", udp=3)
    talker = net.udp_client()
    while net.send(talker) != FIRST:
        talker = net.udp_client()
    reached = []
    asleep += [lambda: reached.append(net.send(talker))] * 1000
    began = time.monotonic()
    result = drain(FIRST, wait=True, wait_interval=0.2, wait_retries=100)
    assert 2.5 < time.monotonic() - began < 15
    assert result["drained"]
    # It goes on, and its client with it.
    assert set(reached) == {FIRST}
    assert rows(result, "inactive_connections", "waits_for") == [[1, {}]]


def test_udp_that_falls_silent_is_waited_for(drain: Apply, apply: Apply, net: Net) -> None:
    apply([{**WEB, "protocol": "udp"}])
    run_module("timeouts", udp=3)
    while net.send(net.udp_client()) != FIRST:
        pass
    result = drain(FIRST, wait=True, wait_interval=0.2, wait_retries=100)
    assert result["drained"]
    assert result["samples"][0]["inactive_connections"] == 1


# --- together with the table --------------------------------------------------------


def test_the_table_leaves_drained_what_is_drained(
    drain: Apply, apply: Apply, ipvsadm: Ipvsadm, messages: list[int], record: Path, tmp_path: Path
) -> None:
    options: Words = {"purge": "owned", "record": str(tmp_path / "table.json"), "drains": str(record)}
    apply([WEB], **options)
    drain(FIRST)
    messages.clear()
    same = apply([WEB], **options)
    assert (same["changed"], messages) == (False, [])
    assert same["held"] == [f"real server {FIRST}:8080 of service tcp 192.0.2.10:80"]

    # The inventory changes; what is held learns of it.
    heavier = web(server(FIRST, weight=7, upper_threshold=100), server(SECOND, weight=9))
    result = apply([heavier], diff=True, **options)
    assert sorted(result["steps"]) == of_web("edit", FIRST, SECOND)
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 9}
    drain(FIRST, state="enabled")
    assert weights(ipvsadm) == {FIRST: 7, SECOND: 9}
    assert not apply([heavier], **options)["changed"]


def test_a_drained_host_gets_no_weight_in_a_new_service_either(
    drain: Apply, apply: Apply, table: Table, record: Path
) -> None:
    apply([WEB])
    drain(FIRST)
    assert len(apply([WEB, *OTHERS], drains=str(record))["held"]) == 3
    expected = json.loads(json.dumps([WEB, *OTHERS]))
    for service in expected[:3]:
        service["real_servers"][0]["weight"] = 0
    assert table() == seen(normal(expected))
    assert not apply([WEB, *OTHERS], drains=str(record))["changed"]
    drain(FIRST, state="enabled")
    assert table() == seen(normal([WEB, *OTHERS]))


def test_without_the_record_of_drains_the_table_is_as_it_says(
    drain: Apply, apply: Apply, ipvsadm: Ipvsadm, record: Path
) -> None:
    apply([WEB])
    drain(FIRST)
    assert apply([WEB])["steps"] == of_web("edit", FIRST)


@pytest.mark.parametrize("removed", [False, True])
def test_who_leaves_the_inventory_while_drained_is_purged_and_forgotten(
    removed: bool, drain: Apply, apply: Apply, ipvsadm: Ipvsadm, record: Path, tmp_path: Path
) -> None:
    options: Words = {"purge": "owned", "record": str(tmp_path / "table.json"), "drains": str(record)}
    apply([PERSISTENT], **options)
    drain(FIRST, remove=removed)
    fewer = web(server(SECOND, weight=2), persistence_timeout=60)
    # A table of which not all is given forgets nothing.
    apply([fewer], purge="none", drains=str(record))
    assert len(recorded(record)) == 1
    apply([fewer], **options)
    assert weights(ipvsadm) == {SECOND: 2}
    assert json.loads(record.read_text()) == {"drains": []}
    assert SETTING.read_text() == "0\n"
    assert FIRST not in (tmp_path / "table.json").read_text()
    assert not drain(FIRST, state="enabled")["changed"]


def test_who_is_drained_in_a_service_that_is_released_stays_so(
    drain: Apply, apply: Apply, ipvsadm: Ipvsadm, messages: list[int], record: Path, tmp_path: Path
) -> None:
    options: Words = {"purge": "owned", "record": str(tmp_path / "table.json"), "drains": str(record)}
    apply([WEB], **options)
    drain(FIRST)
    messages.clear()
    for _ in range(2):
        assert not apply([], released=[WEB], **options)["changed"]
    assert (messages, weights(ipvsadm)[FIRST], len(recorded(record))) == ([], 0, 1)
    # Whoever has it now takes out who is ill.
    ipvsadm("-d", "-t", "192.0.2.10:80", "-r", f"{FIRST}:8080")
    apply([], released=[WEB], **options)
    assert len(recorded(record)) == 1
    apply([], **options)
    assert len(recorded(record)) == 0


def test_others_may_work_while_connections_are_waited_for(
    drain: Apply, apply: Apply, net: Net, ipvsadm: Ipvsadm, asleep: list[Any], record: Path
) -> None:
    services = [web(server(FIRST), server(SECOND), server(THIRD, weight=2))]
    apply(services)
    old = net.reach(FIRST)
    heavier = [web(server(FIRST, weight=4), server(SECOND), server(THIRD, weight=2))]
    asleep += [
        lambda: apply(heavier, drains=str(record)),
        lambda: drain(THIRD),
        old.close,
    ]
    result = drain(FIRST, wait=True, wait_for=["active"], wait_retries=50)
    assert result["drained"]
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 1, THIRD: 0}
    drain(FIRST, THIRD, state="enabled")
    assert weights(ipvsadm) == {FIRST: 4, SECOND: 1, THIRD: 2}


def test_only_services_that_are_ours(
    drain: Apply, apply: Apply, ipvsadm: Ipvsadm, record: Path, tmp_path: Path, table: Table
) -> None:
    ours = str(tmp_path / "table.json")
    apply([WEB], purge="owned", record=ours)
    apply(OTHERS, purge="none")
    result = drain(FIRST, table_record=ours)
    assert result["steps"] == of_web("edit", FIRST)
    assert result["left_alone"] == [
        f"real server {FIRST}:8080 of service udp 192.0.2.10:80",
        f"real server {FIRST}:0 of service fwmark 7 ipv4",
    ]
    quiet = web(server(FIRST, weight=0), server(SECOND, weight=2))
    assert table() == seen(normal([quiet, *OTHERS]))
    with pytest.raises(
        ModuleFailed, match=rf"^real_servers\[1\]: {THIRD} is a real server of no service that .*table.json"
    ):
        drain(FIRST, THIRD, table_record=ours, fail_on_not_found=True)
    assert not drain(THIRD, table_record=ours)["changed"]


# --- and back -----------------------------------------------------------------------


def test_a_configured_weight_of_0_stays_0(drain: Apply, apply: Apply, ipvsadm: Ipvsadm, record: Path) -> None:
    apply([web(server(FIRST, weight=0), server(SECOND))])
    assert not drain(FIRST, wait=True)["changed"]
    assert [entry["real_server"]["weight"] for entry in recorded(record)] == [0]
    assert not drain(FIRST, state="enabled")["changed"]
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 1}
    assert recorded(record) == []
    drain(FIRST, remove=True)
    drain(FIRST, state="enabled")
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 1}


@pytest.mark.parametrize("state", ["drain", "enabled"])
def test_who_is_not_found(state: str, drain: Apply, apply: Apply) -> None:
    apply([WEB])
    assert not drain(THIRD, state=state)["changed"]
    with pytest.raises(
        ModuleFailed, match=rf"^real_servers\[1\]: {THIRD} is a real server of no service of this table"
    ):
        drain(FIRST, THIRD, state=state, fail_on_not_found=True)
    # Who serves and is not drained is brought back already.
    assert not drain(FIRST, state="enabled", fail_on_not_found=True)["changed"]


def test_removed_and_added_again_as_it_was(
    drain: Apply, apply: Apply, net: Net, table: Table, ipvsadm: Ipvsadm, record: Path, tmp_path: Path
) -> None:
    options: Words = {"purge": "owned", "record": str(tmp_path / "table.json"), "drains": str(record)}
    full = web(
        server(FIRST, weight=3, upper_threshold=100, lower_threshold=50),
        server(SECOND, weight=2),
        persistence_timeout=60,
    )
    apply([full], **options)
    old = net.reach(FIRST)
    assert not drain(FIRST, remove=True, wait_for=["active"])["drained"]
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 2}
    old.close()
    said = drain(FIRST, remove=True, wait_for=["active"], check=True)
    result = drain(FIRST, remove=True, wait_for=["active"])
    # What is not there needs no setting.
    assert said["steps"] == result["steps"] == [*of_web("remove", FIRST), on(0)]
    assert rows(result, "weight", "configured_weight") == [[None, 3]]
    assert weights(ipvsadm) == {SECOND: 2}
    assert not drain(FIRST, remove=True)["changed"]

    # The inventory still has it. It stays away, and stays ours.
    assert not apply([full], **options)["changed"]
    assert FIRST in (tmp_path / "table.json").read_text()
    assert drain(FIRST, state="enabled")["steps"] == of_web("add", FIRST)
    assert table() == seen(normal([full]))
    assert not apply([full], **options)["changed"]


def test_removed_in_one_call(drain: Apply, apply: Apply, ipvsadm: Ipvsadm) -> None:
    apply([WEB])
    said = drain(FIRST, wait=True, remove=True, check=True)
    result = drain(FIRST, wait=True, remove=True)
    assert said["steps"] == result["steps"] == [*of_web("edit", FIRST), *of_web("remove", FIRST)]
    assert said["diff"] == result["diff"]
    assert weights(ipvsadm) == {SECOND: 2}


def test_the_weight_rises_in_steps(
    drain: Apply, apply: Apply, ipvsadm: Ipvsadm, asleep: list[Any], record: Path
) -> None:
    services = [web(server(FIRST, weight=10), server(SECOND, weight=2), server(THIRD, weight=1))]
    apply(services)
    drain(*REAL, minimum_servers=0)
    seen_weights: list[list[int]] = []

    def look() -> None:
        seen_weights.append([*weights(ipvsadm).values()])
        # Who applies the services meanwhile does not disturb it.
        assert not apply(services, drains=str(record))["changed"]

    said = drain(*REAL, state="enabled", slow_start=1, slow_start_steps=5, check=True)
    asleep += [look] * 10
    began = time.monotonic()
    result = drain(*REAL, state="enabled", slow_start=1, slow_start_steps=5)
    assert time.monotonic() - began > 1
    assert seen_weights == [[2, 1, 1], [4, 1, 1], [6, 1, 1], [8, 1, 1]]
    assert weights(ipvsadm) == dict(zip(REAL, (10, 2, 1), strict=True))
    assert said["steps"] == result["steps"]
    assert result["step_count"] == 3 + 1 + 1 + 1 + 2
    assert recorded(record) == []


def test_a_rise_that_was_killed_goes_on(
    drain: Apply, apply: Apply, ipvsadm: Ipvsadm, asleep: list[Any], record: Path
) -> None:
    apply([web(server(FIRST, weight=10), server(SECOND))])
    drain(FIRST)
    asleep.append(lambda: None)
    rise: Words = {"state": "enabled", "slow_start": 0.1, "slow_start_steps": 5}
    killed(drain, asleep, FIRST, **rise)
    assert weights(ipvsadm) == {FIRST: 4, SECOND: 1}
    lighter = [web(server(FIRST, weight=8), server(SECOND))]
    assert not apply(lighter, drains=str(record))["changed"]
    drain(FIRST, **rise)
    assert weights(ipvsadm) == {FIRST: 8, SECOND: 1}


def test_who_drains_again_while_it_rises_has_the_last_word(
    drain: Apply, apply: Apply, ipvsadm: Ipvsadm, asleep: list[Any]
) -> None:
    apply([web(server(FIRST, weight=10), server(SECOND))])
    drain(FIRST)
    asleep.append(lambda: drain(FIRST))
    with pytest.raises(ModuleFailed, match="drained again by something else"):
        drain(FIRST, state="enabled", slow_start=0.1, slow_start_steps=5)
    assert weights(ipvsadm) == {FIRST: 0, SECOND: 1}


# --- what it says beforehand --------------------------------------------------------


def test_check_mode_says_what_would_be_done_and_does_not(
    drain: Apply, apply: Apply, table: Table, messages: list[int], record: Path
) -> None:
    apply([PERSISTENT, *OTHERS])
    before = table()
    messages.clear()
    said = drain(FIRST, check=True)
    assert (table(), messages, record.exists(), SETTING.read_text()) == (before, [], False, "0\n")
    done = drain(FIRST)
    assert (said["steps"], said["diff"]) == (done["steps"], done["diff"])
    assert said["diff"]["before"] != said["diff"]["after"]
    before = table()
    said = drain(FIRST, state="enabled", check=True)
    assert table() == before
    done = drain(FIRST, state="enabled")
    assert (said["steps"], said["diff"]) == (done["steps"], done["diff"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("real_servers[0]", ["here"]),
        ("wait_interval", 0),
        ("wait_retries", -1),
        ("minimum_servers", -1),
        ("minimum_weight", 101),
        ("slow_start", -1),
        ("slow_start_steps", 1),
    ],
)
def test_bad_options(option: str, value: Any, record: Path, messages: list[int]) -> None:
    words = {"real_servers": [FIRST], "record": str(record), option.split("[")[0]: value}
    with pytest.raises(ModuleFailed, match=rf"^{re.escape(option)}: "):
        run_module("drain", **words)
    assert messages == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ('{"drains": 5}', "drains: 5 is not a list"),
        ('{"drains": [5]}', r"drains\[0\].service: is not there"),
        ('{"drains": [], "expire_quiescent_template": "no"}', "expire_quiescent_template: 'no' is not an integer"),
    ],
)
def test_a_damaged_record_is_no_reason_to_guess(
    text: str, message: str, drain: Apply, apply: Apply, record: Path, messages: list[int]
) -> None:
    apply([WEB])
    record.write_text(text)
    messages.clear()
    with pytest.raises(ModuleFailed, match=f"{record}.*{message}"):
        drain(FIRST)
    with pytest.raises(ModuleFailed, match=f"{record}.*{message}"):
        apply([WEB], drains=str(record))
    assert messages == []
