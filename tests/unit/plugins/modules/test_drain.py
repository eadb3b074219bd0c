# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.drain and the record, the sysctl and the kernel, each of which may refuse. The rest is proven by tests/kernel."""

from __future__ import annotations

import errno
import fcntl
import json
import pathlib
import typing as t
from collections.abc import Callable

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain_record, _draining, _run
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    RealServer,
    RealServerKey,
    ServiceKey,
    Timeouts,
)

from .conftest import FakeKernel

R1, R2 = ({"address": f"198.51.100.2{number}", "weight": 3} for number in (1, 2))
WEB = {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "persistence_timeout": 60, "real_servers": [R1, R2]}
DNS = {"protocol": "udp", "address": "192.0.2.10", "port": 53, "real_servers": [R1, R2]}
OF_WEB = "edit real server 198.51.100.21:80 of service tcp 192.0.2.10:80"
OF_DNS = "edit real server 198.51.100.21:53 of service udp 192.0.2.10:53"
ON, OFF = (f"set net.ipv4.vs.expire_quiescent_template to {value}" for value in (1, 0))


class BusyKernel(FakeKernel):
    """A kernel whose real servers have connections."""

    def __init__(self) -> None:
        super().__init__()
        #: Those of every real server, one look after the other; the last one stays.
        self.looks = [Connections(0, 0, 0)]

    def connections(self, key: ServiceKey) -> dict[RealServerKey, tuple[RealServer, Connections]]:
        now = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {server: (words, now) for server, words in self.read()[key].real_servers.items()}

    def timeouts(self) -> Timeouts:
        return Timeouts(900, 120, 300)


@pytest.fixture
def kernel(monkeypatch) -> BusyKernel:
    fake = BusyKernel()
    for floor in (_run, _draining):
        monkeypatch.setattr(floor, "Kernel", fake.open)
    fake.has(WEB, DNS)
    return fake


@pytest.fixture
def setting(monkeypatch, tmp_path) -> pathlib.Path:
    path = tmp_path / "expire_quiescent_template"
    path.write_text("0\n")
    monkeypatch.setattr(_drain_record, "SETTING", str(path))
    return path


@pytest.fixture
def record(tmp_path) -> pathlib.Path:
    return tmp_path / "var" / "drains.json"


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)
    return naps


@pytest.fixture
def drain(run, record, setting, slept) -> Callable[..., dict[str, t.Any]]:
    def call(check: bool = False, **given: t.Any) -> dict[str, t.Any]:
        words = {"real_servers": ["198.51.100.21"], "record": str(record), **given}
        return run("drain", check=check, diff=True, **words)

    return call


def weights(kernel: FakeKernel) -> list[int]:
    return [server["weight"] for service in kernel.words for server in service["real_servers"]]


def test_the_record_then_the_sysctl_then_the_weights(drain, kernel, record, setting):
    found = []

    def look() -> None:
        words = json.loads(record.read_text())
        found.append((len(words["drains"]), words["expire_quiescent_template"], setting.read_text(), weights(kernel)))

    kernel.before_apply = look
    assert drain()["steps"] == [ON, OF_WEB, OF_DNS]
    assert found == [(2, 0, "1\n", [3, 3, 3, 3])]
    assert weights(kernel) == [0, 3, 0, 3]
    assert drain(state="enabled")["steps"] == [OF_WEB, OF_DNS, OFF]
    # It is needed until the weights are back, and known until it is put back.
    assert found[1] == (2, 0, "1\n", [0, 3, 0, 3])
    assert json.loads(record.read_text()) == {"drains": []}


def test_the_record_is_locked_while_weights_change_and_free_while_it_waits(drain, kernel, record, monkeypatch):
    seen: list[str] = []

    def state(when: str) -> Callable[..., None]:
        def look(_seconds: float = 0) -> None:
            with open(f"{record}.lock", "a", encoding="utf-8") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    seen.append(f"{when}: locked")
                else:
                    seen.append(f"{when}: free")

        return look

    kernel.before_apply = state("change")
    monkeypatch.setattr("time.sleep", state("wait"))
    kernel.looks = [Connections(1, 0, 0), Connections(1, 0, 0), Connections(0, 0, 0)]
    drain(wait=True, remove=True)
    assert seen == ["change: locked", "wait: free", "change: locked"]


def test_the_wait_is_as_long_as_it_was_said_to_be(drain, kernel, slept):
    kernel.looks = [Connections(1, 0, 0)]
    result = drain(wait=True, wait_interval=7, wait_retries=3)
    assert slept == [7, 7, 7]
    assert len(result["samples"]) == 4
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["steps"] == [ON, OF_WEB, OF_DNS, OF_WEB, OF_DNS, OFF]
    assert weights(kernel) == [3, 3, 3, 3]
    slept.clear()
    assert not drain(wait=True, wait_retries=0, on_timeout="continue")["drained"]
    assert slept == []


def test_who_waits_for_the_drain_of_another_run_fails_with_the_numbers_and_leaves_it(drain, kernel):
    kernel.looks = [Connections(1, 0, 0)]
    drain()
    result = drain(wait=True, wait_retries=1)
    assert (result["failed"], result["changed"], result["steps"]) == (True, False, [])
    assert result["msg"].endswith("53 of service udp 192.0.2.10:53 still has 1 active connection")
    assert [row["waits_for"] for row in result["real_servers"]] == [{"active_connections": 1}] * 2
    assert len(result["samples"]) == 2
    assert weights(kernel) == [0, 3, 0, 3]


def unfinished(record: pathlib.Path, value: bool) -> None:
    """What a run that waits, or was killed while it did, leaves in the record; or what it writes at its end."""
    words = json.loads(record.read_text())
    record.write_text(json.dumps({**words, "drains": [{**one, "unfinished": value} for one in words["drains"]]}))


def test_what_the_other_run_finished_meanwhile_is_left_to_it(drain, kernel, record, monkeypatch):
    kernel.looks = [Connections(1, 0, 0)]
    drain()
    unfinished(record, True)
    monkeypatch.setattr("time.sleep", lambda _seconds: unfinished(record, False))
    result = drain(wait=True, wait_retries=1)
    assert (result["failed"], result["changed"], result["steps"]) == (True, False, [])
    assert weights(kernel) == [0, 3, 0, 3]
    assert len(json.loads(record.read_text())["drains"]) == 2


def test_what_the_other_run_finished_is_put_back_to_that(drain, kernel, record, monkeypatch):
    drain()
    unfinished(record, True)
    kernel.looks = [Connections(1, 0, 0), Connections(0, 0, 0)]
    monkeypatch.setattr("time.sleep", lambda _seconds: unfinished(record, False))
    kernel.refuses = {OF_DNS.replace("edit", "remove"): errno.ENOMEM}
    result = drain(wait=True, wait_retries=1, remove=True)
    assert (result["failed"], result["changed"]) == (True, False)
    assert kernel.done[-2:] == [OF_WEB.replace("edit", "remove"), OF_WEB.replace("edit", "add")]
    drains = json.loads(record.read_text())["drains"]
    assert [(one["held_weight"], one["unfinished"]) for one in drains] == [(0, False), (0, False)]


def test_what_a_dead_run_left_is_put_back_though_this_one_has_finished_it(drain, kernel, record):
    drain()
    unfinished(record, True)
    kernel.refuses = {OF_WEB.replace("edit", "remove"): errno.ENOMEM}
    result = drain(wait=True, remove=True)
    assert (result["failed"], result["changed"]) == (True, False)
    assert weights(kernel) == [3, 3, 3, 3]
    assert json.loads(record.read_text()) == {"drains": []}


def test_whose_drain_a_run_began_is_told(drain, kernel):
    assert drain(check=True)["began"] == ["198.51.100.21"]
    assert drain()["began"] == ["198.51.100.21"]
    assert drain(real_servers=["198.51.100.21", "198.51.100.22"], minimum_servers=0)["began"] == ["198.51.100.22"]
    # Neither a service more nor a weight that something else gave makes it a new drain.
    kernel.has(WEB, DNS, {**DNS, "port": 54})
    assert drain()["began"] == []
    drain(state="enabled")
    assert drain()["began"] == ["198.51.100.21"]


def test_a_long_wait_is_told_in_few_samples(drain, kernel):
    kernel.looks = [Connections(n, 0, 0) for n in range(2000, -1, -1)]
    result = drain(wait=True, wait_retries=5000, wait_for=["active"])
    counts = [sample["active_connections"] for sample in result["samples"]]
    assert 50 < len(counts) <= 100
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_check_mode_waits_for_nothing_and_says_how_many_are_left(drain, kernel, slept, record):
    kernel.looks = [Connections(5, 0, 0)]
    result = drain(check=True, wait=True, remove=True)
    assert slept == []
    assert kernel.done == []
    assert not record.parent.exists()
    assert not result["drained"]
    assert result["waits_for"][0].endswith("21:80 of service tcp 192.0.2.10:80 still has 5 active connections")
    removals = [OF_WEB.replace("edit", "remove"), OF_DNS.replace("edit", "remove")]
    assert result["steps"] == [ON, OF_WEB, OF_DNS, *removals, OFF]
    # Without a wait, what is there now is not removed.
    assert drain(check=True, remove=True)["steps"] == [ON, OF_WEB, OF_DNS]


def test_a_sysctl_that_cannot_be_set_stops_before_the_weights(drain, kernel, setting, record):
    setting.unlink()
    result = drain()
    assert "expire_quiescent_template" in result["msg"]
    assert (result["failed"], result["changed"], kernel.done) == (True, False, [])
    assert not record.exists()
    # Where no service is persistent, it does not matter.
    kernel.has(DNS)
    assert drain()["steps"] == [OF_DNS]


def test_a_refusal_half_way_puts_back_what_was_done(drain, kernel, setting, record):
    kernel.refuses = {OF_DNS: errno.ENOMEM}
    result = drain()
    assert result["msg"].startswith(f"the kernel refused to {OF_DNS}: Cannot allocate memory; 2 steps were done before")
    assert result["msg"].endswith("; what was changed is put back")
    assert result["steps"] == [ON, OF_WEB, OF_WEB, OFF]
    assert (result["changed"], kernel.done, weights(kernel)) == (False, [OF_WEB, OF_WEB], [3, 3, 3, 3])
    assert setting.read_text() == "0\n"
    assert json.loads(record.read_text()) == {"drains": []}


def test_a_refusal_of_that_too_is_told_and_repaired_by_enabled(drain, kernel, setting, record):
    kernel.looks = [Connections(1, 0, 0)]

    def refuse_from_now_on() -> None:
        if kernel.applied == 2:
            kernel.refuses = {OF_DNS: errno.ENOMEM}

    kernel.before_apply = refuse_from_now_on
    result = drain(wait=True)
    assert result["msg"].startswith("not drained after 0 seconds: real server 198.51.100.21:80 ")
    assert "to put back what was changed failed too: the kernel refused" in result["msg"]
    assert result["changed"]
    assert weights(kernel) == [3, 3, 0, 3]
    kernel.refuses = {}
    assert drain(state="enabled")["steps"] == [OF_DNS, OFF]
    assert weights(kernel) == [3, 3, 3, 3]
    assert setting.read_text() == "0\n"
    assert json.loads(record.read_text()) == {"drains": []}


def test_a_way_back_that_stops_is_gone_on_with(drain, kernel, setting):
    drain()
    kernel.refuses = {OF_DNS: errno.ENOMEM}
    result = drain(state="enabled", slow_start=10, slow_start_steps=2)
    assert (result["failed"], result["changed"], result["steps"]) == (True, True, [OF_WEB])
    assert "running again takes up from there" in result["msg"]
    kernel.refuses = {}
    assert drain(state="enabled")["steps"] == [OF_WEB, OF_DNS, OFF]
    assert weights(kernel) == [3, 3, 3, 3]


def test_what_came_before_a_refused_message_is_told(run, drain, kernel, record, setting, tmp_path):
    """The sysctl, which is needed as soon as a service in which somebody is drained becomes persistent."""
    kernel.has({**WEB, "persistence_timeout": 0}, DNS)
    drain()
    edit = "edit service tcp 192.0.2.10:80"
    kernel.refuses = {edit: errno.ENOMEM}
    result = run("table", services=[WEB, DNS], drains=str(record))
    assert result["msg"].startswith(f"the kernel refused to {edit}: Cannot allocate memory; 1 steps were done before")
    assert (result["failed"], result["changed"], result["steps"]) == (True, True, [ON])
    assert setting.read_text() == "1\n"


def test_what_came_before_a_record_that_cannot_be_written_is_told(drain, kernel, record, monkeypatch):
    drain()

    def full(*_given: t.Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kernel.before_apply = lambda: monkeypatch.setattr(_drain_record, "write_record", full)
    result = drain(state="enabled")
    assert "No space left on device; 3 steps were done before" in result["msg"]
    assert (result["failed"], result["changed"], result["steps"]) == (True, True, [OF_WEB, OF_DNS, OFF])


def test_a_slow_start_takes_its_time(drain, slept):
    drain()
    result = drain(state="enabled", slow_start=60, slow_start_steps=4)
    assert slept == [20, 20, 20]
    # 1 at once, 1 still, 2, 3; as soon as none is at 0, nothing needs the sysctl.
    assert result["steps"] == [OF_WEB, OF_DNS, OFF, OF_WEB, OF_DNS, OF_WEB, OF_DNS]
    slept.clear()
    drain()
    drain(state="enabled")
    assert slept == []


def test_the_table_keeps_what_is_drained_while_others_lose_theirs(run, drain, kernel, record, tmp_path):
    drain()
    other = {**WEB, "real_servers": [R1, {**R2, "weight": 5}]}
    given = {"services": [other, DNS], "purge": "owned", "record": str(tmp_path / "table.json"), "drains": str(record)}
    assert run("table", **given)["steps"] == [OF_WEB.replace("100.21", "100.22")]
    assert weights(kernel) == [0, 5, 0, 3]
    # What is ours is written as the inventory has it.
    services = json.loads((tmp_path / "table.json").read_text())["services"]
    assert [server["weight"] for service in services for server in service["real_servers"]] == [3, 5, 3, 3]
    assert run("table", **{**given, "services": [WEB, DNS]}, check=True)["held"] == [
        "real server 198.51.100.21:80 of service tcp 192.0.2.10:80",
        "real server 198.51.100.21:53 of service udp 192.0.2.10:53",
    ]
    result = run("table", **{**given, "services": [DNS]}, diff=True)
    assert result["steps"] == ["remove service tcp 192.0.2.10:80", OFF]
    assert result["diff"]["before"].endswith("- sysctl: net.ipv4.vs.expire_quiescent_template\n  value: 1\n")
    assert len(json.loads(record.read_text())["drains"]) == 1


def test_without_drains_nothing_is_said_of_them(run, kernel, record):
    assert "held" not in run("table", services=[WEB])
    assert not record.parent.exists()


# -- what keepalived owns ------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path) -> pathlib.Path:
    return tmp_path / "drains.d"


def test_the_record_then_the_files_then_the_weights(drain, kernel, record, files):
    seen = []

    def look() -> None:
        held = {entry["service"]["port"]: entry.get("file") for entry in json.loads(record.read_text())["drains"]}
        seen.append((held, [path.read_text() for path in files.iterdir()]))
        # As keepalived does.
        kernel.has({**WEB, "real_servers": [{**R1, "weight": 0}, R2]}, DNS)

    kernel.before_apply = look
    file = str(files / "198.51.100.21")
    result = drain(health_checked=[{**WEB, "quorum": 1}], drain_files=str(files))
    assert result["steps"] == [ON, f"write -2147483647 to {file}", OF_DNS]
    assert seen == [({80: file, 53: None}, ["-2147483647\n"])]
    assert weights(kernel) == [0, 3, 0, 3]


def test_a_file_that_nobody_heeds_is_taken_back(drain, kernel, record, files, setting, monkeypatch):
    monkeypatch.setattr(_draining, "PATIENCE", 0)
    result = drain(health_checked=[WEB], drain_files=str(files))
    assert result["msg"].startswith(
        "keepalived does not do as the files say: real server 198.51.100.21:80 of service tcp"
    )
    assert result["msg"].endswith("; what was changed is put back")
    assert (result["failed"], result["changed"], weights(kernel)) == (True, False, [3, 3, 3, 3])
    assert list(files.iterdir()) == []
    assert setting.read_text() == "0\n"
    assert json.loads(record.read_text()) == {"drains": []}


def test_a_file_that_the_other_run_finished_is_left_to_it(drain, kernel, record, files, monkeypatch):
    of_keepalived = {"health_checked": [WEB], "drain_files": str(files)}
    kernel.before_apply = lambda: kernel.has({**WEB, "real_servers": [{**R1, "weight": 0}, R2]}, DNS)
    drain(**of_keepalived)
    unfinished(record, True)
    kernel.looks = [Connections(1, 0, 0)]
    monkeypatch.setattr("time.sleep", lambda _seconds: unfinished(record, False))
    result = drain(wait=True, wait_retries=1, **of_keepalived)
    assert (result["failed"], result["changed"], result["steps"]) == (True, False, [])
    assert (files / "198.51.100.21").read_text() == "-2147483647\n"


def test_a_slow_start_ends_when_the_last_file_is_gone(drain, kernel, files, slept):
    light, dns = ({**service, "real_servers": [{**R1, "weight": 1}, R2]} for service in (WEB, DNS))
    of_keepalived = {"health_checked": [light], "drain_files": str(files)}
    kernel.has(light, dns)
    kernel.before_apply = lambda: kernel.has({**light, "real_servers": [{**R1, "weight": 0}, R2]}, dns)
    drain(**of_keepalived)
    kernel.before_apply = lambda: kernel.has(light, {**DNS, "real_servers": [{**R1, "weight": 0}, R2]})
    slept.clear()
    # Nobody of weight 1 can begin with less.
    steps = drain(state="enabled", slow_start=600, slow_start_steps=10, **of_keepalived)["steps"]
    assert steps == [f"remove {files / '198.51.100.21'}", OF_DNS, OFF]
    assert slept == []


def test_a_file_that_was_removed_before_a_refused_message_is_told(drain, kernel, files):
    of_keepalived = {"health_checked": [WEB], "drain_files": str(files)}
    kernel.before_apply = lambda: kernel.has({**WEB, "real_servers": [{**R1, "weight": 0}, R2]}, DNS)
    drain(**of_keepalived)
    kernel.before_apply = lambda: None
    kernel.refuses = {OF_DNS: errno.ENOMEM}
    result = drain(state="enabled", **of_keepalived)
    assert (result["failed"], result["changed"]) == (True, True)
    assert result["steps"] == [f"remove {files / '198.51.100.21'}"]


def test_without_the_folder_nobody_could_tell_keepalived(drain, kernel):
    result = drain(health_checked=[WEB])
    assert result["msg"] == "drain_files: is required with health_checked: by them keepalived is told"
    assert kernel.done == []


def test_who_was_drained_by_a_file_comes_back_by_it(drain, kernel, files, record):
    kernel.before_apply = lambda: kernel.has({**WEB, "real_servers": [{**R1, "weight": 0}, R2]}, DNS)
    drain(health_checked=[WEB], drain_files=str(files))
    kernel.before_apply = lambda: None
    # The inventory no longer says that the service is keepalived's.
    result = drain(state="enabled")
    assert result["msg"].startswith("drain_files: is required: real server 198.51.100.21:80 of service tcp")
    steps = drain(state="enabled", drain_files=str(files), check=True)["steps"]
    assert steps == [f"remove {files / '198.51.100.21'}", OF_DNS, OFF]
    # Somebody removed it by hand: to keepalived, it is not drained.
    (files / "198.51.100.21").unlink()
    assert drain(state="enabled", drain_files=str(files))["steps"] == [OF_DNS, OFF]
