# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role keepalived writes, with a real keepalived over the real IPVS: who owns what, what a crash leaves,
what a reload disturbs, and two directors in network namespaces of their own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _keepalived
from tests.data import services as examples

from .conftest import ModuleFailed, eventually, run_module
from .words import Words, kernel_schedulers

Apply = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]
Table = Callable[[], tuple[list[str], list[str]]]

ROLE = pathlib.Path(__file__).resolve().parents[2] / "roles" / "keepalived"
REAL = ["198.51.100.21", "198.51.100.22"]


def command() -> list[str]:
    """How the role has systemd start keepalived."""
    started = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["_keepalived_command"]
    # Where its children say their numbers is the test's to say.
    return shlex.split(re.sub(r"--\w+={{.*?}}", "", started))


def state(pid: int) -> str:
    """A letter, of proc_pid_stat(5)."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Keepalived:
    """One keepalived: its file, its processes, its log."""

    def __init__(self, folder: pathlib.Path, namespace: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "keepalived.conf"
        self.prefix = ["ip", "netns", "exec", namespace] if namespace else []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *only: str) -> None:
        for file in self.folder.glob("*.pid"):
            file.unlink()
        self.forget()
        words = [*command(), *only, "--log-console", "--log-detail", "--no-syslog", "--use-file", str(self.file)]
        words += [f"--{name}={self.folder / name}.pid" for name in ("pid", "vrrp_pid", "checkers_pid")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*self.prefix, *words], stdout=log, stderr=log, start_new_session=True)
        eventually(lambda: self.said("Startup complete") or self.process is None or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def said(self, text: str) -> bool:
        return text in self.log()

    def forget(self) -> None:
        (self.folder / "log").write_text("")

    def reload(self) -> None:
        assert self.process
        self.forget()
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.said("Reload finished") or self.said("Reload complete") or self.said("Reloading"))

    def stop(self) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait(timeout=30)

    def crash(self, whole: bool = True) -> None:
        """SIGKILL; by default to all of its processes at once, as nobody then can tidy up."""
        assert self.process
        pids = [self.process.pid]
        if whole:
            pids = [int(file.read_text()) for file in self.folder.glob("*.pid")]
            assert len(pids) > 1, "no children"
        # None may see another die: it would begin to tidy up. Who is killed while it forks takes user-mode Linux 6.12
        # with it: flush_tlb_mm() of arch/um/kernel/tlb.c reads the mark that dup_mmap() leaves where it gave up.
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        eventually(lambda: all(state(pid) == "T" for pid in pids))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.stop()


@pytest.fixture
def keepalived(tmp_path: pathlib.Path) -> Iterator[Callable[..., Keepalived]]:
    made: list[Keepalived] = []

    def make(name: str = "lb1", namespace: str | None = None) -> Keepalived:
        made.append(Keepalived(tmp_path / name, namespace))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(params=[0, 1])
def expire_nodest_conn(request: pytest.FixtureRequest, ipvsadm: Ipvsadm) -> int:
    """As the kernel has it, and as the role director does."""
    ipvsadm("-L")  # with it comes the setting
    pathlib.Path("/proc/sys/net/ipv4/vs/expire_nodest_conn").write_text(str(request.param))
    return int(request.param)


def takeover(one: Keepalived) -> None:
    """What the role has systemd do before a start."""
    subprocess.run(["sh", ROLE / "files" / "takeover.sh", one.file], check=True)


# -- one director ----------------------------------------------------------------------------------------------


def web(check: Words | None = None, **words: Any) -> Words:
    service = {"name": "web", "protocol": "tcp", "address": "192.0.2.10", "port": 80}
    return {**service, "real_servers": [{"address": address} for address in REAL], **words} | (
        {} if check is None else {"health_check": check}
    )


def written(services: list[Words], drain_files: str = "", **options: Any) -> str:
    """The configuration of a director without addresses to move."""
    groups = {"all": ["lb1"], "directors": ["lb1"]}
    cluster = _cluster.services(services, groups, {"lb1": {}})
    interfaces = {"lo": ["127.0.0.1/8", "192.0.2.1/24", "2001:db8:f::1/64"]}
    told = {"script_user": "nobody", **options}
    return _keepalived.configuration(cluster, "lb1", groups, {"lb1": {}}, interfaces, told, drain_files).text


#: A check that takes every server to be well.
FINE: Words = {"file": {"path": "/run/ill"}}


@pytest.fixture
def judge(tmp_path: pathlib.Path) -> Callable[[str, bool], None]:
    """Say whether a real server is well."""

    def say(address: str, well: bool) -> None:
        (tmp_path / f"ill-{address}").write_text("" if well else "ill")

    return say


@pytest.fixture
def watch(tmp_path: pathlib.Path) -> Callable[..., Words]:
    """A health check whose opinion is the fixture judge's."""

    def check(**words: Any) -> Words:
        command = ["/usr/bin/test", "!", "-s", f"{tmp_path}/ill-{{host}}"]
        return {"script": {"command": command, "user": "root"}, "interval": 0.2, "warmup": 0, **words}

    return check


def every_service(check: Words | None = None) -> list[Words]:
    """A service for every option, of those that this kernel can have."""
    schedulers = kernel_schedulers()
    return [service for service in examples.every_service(check) if service.get("scheduler", "wlc") in schedulers]


def words_of_modules(declared: list[Words]) -> list[Words]:
    """The same for lvs.ipvs.table, as the role director has it."""
    return _cluster.director_services(_cluster.services(declared, {"directors": ["lb1"]}, {"lb1": {}}))


def test_the_same_service_is_the_same_entry_whoever_owns_it(
    apply: Apply,
    table: Table,
    netns: Callable[[], None],
    keepalived: Callable[..., Keepalived],
) -> None:
    plain = words_of_modules(every_service())
    apply(plain)
    wanted = table()
    netns()
    one = keepalived()
    one.file.write_text(written(every_service(FINE)))
    one.start("--check")
    eventually(lambda: table() == wanted)
    # And the modules see nothing to do.
    assert not apply(plain)["changed"]


def test_both_engines_on_one_director_leave_each_other_alone(
    apply: Apply,
    table: Table,
    keepalived: Callable[..., Keepalived],
    tmp_path: pathlib.Path,
) -> None:
    record = str(tmp_path / "record.json")
    (theirs,) = words_of_modules([web(port=81)])
    apply([theirs], purge="owned", record=record)
    ours = table()
    one = keepalived()
    one.file.write_text(written([web(FINE)]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 2 * len(ours[0]))
    both = table()
    apply([theirs], purge="owned", record=record)
    assert table() == both
    apply([], purge="owned", record=record)
    assert table()[0] == sorted(set(both[0]) - set(ours[0]))
    apply([theirs], purge="owned", record=record)
    # A service that loses its check is gone from keepalived's hands, and others' is still there.
    one.file.write_text(written([{**web(FINE), "port": 82}]))
    one.reload()
    eventually(lambda: not any(":80 " in line for line in table()[0]))
    assert [line for line in table()[0] if ":81 " in line] == ours[0]


def test_a_server_that_is_ill_is_out_and_comes_back(
    table: Table, keepalived: Callable[..., Keepalived], watch: Callable[..., Words], judge: Callable[[str, bool], None]
) -> None:
    one = keepalived()
    one.file.write_text(written([web(watch())]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 3)
    judge(REAL[0], False)
    eventually(lambda: len(table()[0]) == 2)
    assert REAL[1] in table()[0][1]
    judge(REAL[0], True)
    eventually(lambda: len(table()[0]) == 3)


# -- what is left in the kernel --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "crash", "crash of the parent"])
def test_the_table_stays_when_keepalived_ends(end: str, table: Table, keepalived: Callable[..., Keepalived]) -> None:
    one = keepalived()
    one.file.write_text(written([web(FINE)]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 3)
    before = table()
    checker = int((one.folder / "checkers_pid.pid").read_text())
    {"stop": one.stop, "crash": one.crash, "crash of the parent": lambda: one.crash(whole=False)}[end]()
    eventually(lambda: not pathlib.Path(f"/proc/{checker}/exe").exists())
    assert table() == before


@pytest.mark.usefixtures("expire_nodest_conn")
def test_a_start_puts_right_what_a_crash_left(
    table: Table,
    ipvsadm: Ipvsadm,
    keepalived: Callable[..., Keepalived],
    watch: Callable[..., Words],
    judge: Callable[[str, bool], None],
) -> None:
    ipvsadm("-A", "-t", "192.0.2.99:80", "-s", "rr")
    ipvsadm("-a", "-t", "192.0.2.99:80", "-r", "198.51.100.77:80", "-m", "-w", "0")
    one = keepalived()
    stale = web(watch(inhibit_on_failure=True), real_servers=[{"address": a} for a in (*REAL, "198.51.100.29")])
    one.file.write_text(written([stale]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 6)
    judge(REAL[0], False)
    eventually(lambda: any(REAL[0] in line and line.endswith("-w 0") for line in table()[0]))
    one.crash()
    # While keepalived is away the server recovers, another leaves the inventory, and thresholds and scheduler change.
    judge(REAL[0], True)
    servers = [{"address": REAL[0]}, {"address": REAL[1], "upper_threshold": 9, "lower_threshold": 3, "weight": 5}]
    wanted = web(watch(inhibit_on_failure=True), scheduler="rr", real_servers=servers)
    one.file.write_text(written([wanted]))

    takeover(one)
    one.start("--check")

    assert table() == (
        [
            "-A -t 192.0.2.10:80 -s rr",
            "-A -t 192.0.2.99:80 -s rr",
            "-a -t 192.0.2.10:80 -r 198.51.100.21:80 -m -w 1",
            "-a -t 192.0.2.10:80 -r 198.51.100.22:80 -m -w 5",
            "-a -t 192.0.2.99:80 -r 198.51.100.77:80 -m -w 0",
        ],
        ["-> 198.51.100.21:80 0 0", "-> 198.51.100.22:80 9 3", "-> 198.51.100.77:80 0 0"],
    )
    # From here on it is keepalived's as ever.
    judge(REAL[0], False)
    eventually(lambda: any(REAL[0] in line and line.endswith("-w 0") for line in table()[0]))


@pytest.mark.usefixtures("expire_nodest_conn")
def test_a_takeover_of_what_is_right_changes_nothing(table: Table, keepalived: Callable[..., Keepalived]) -> None:
    one = keepalived()
    # Whatever it would say, it says it in an hour or so.
    later = {"script": {"command": "/usr/bin/true"}, "interval": 3600, "warmup": 3600}
    one.file.write_text(written(every_service(later)))
    one.start("--check")
    eventually(lambda: len(table()[1]) == sum(len(service["real_servers"]) for service in every_service()))
    one.crash()
    before = table()
    takeover(one)
    assert table() == before


@pytest.mark.usefixtures("expire_nodest_conn")
@pytest.mark.parametrize(
    "check", [{"tcp": {}, "alpha": True}, {"tcp": {"alpha": True}}, {"file": {"path": "/run/ill"}}]
)
def test_a_takeover_trusts_no_server_that_keepalived_does_not(
    check: Words, table: Table, keepalived: Callable[..., Keepalived], ipvsadm: Ipvsadm
) -> None:
    one = keepalived()
    one.file.write_text(written([web(check)]))
    ipvsadm("-A", "-t", "192.0.2.10:80", "-s", "wlc")
    ipvsadm("-a", "-t", "192.0.2.10:80", "-r", "198.51.100.21:80", "-m")
    takeover(one)
    assert table()[0] == ["-A -t 192.0.2.10:80 -s wlc"]


def test_a_takeover_before_the_first_start(table: Table, keepalived: Callable[..., Keepalived]) -> None:
    one = keepalived()
    one.file.write_text(written([web({"tcp": {}})]))
    takeover(one)
    assert table() == ([], [])


# -- draining --------------------------------------------------------------------------------------------------


@pytest.fixture
def drains(tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder of the files by which keepalived is told."""
    folder = tmp_path / "drains.d"
    folder.mkdir()
    return folder


def weights(table: Table) -> dict[str, int]:
    """The weight of each real server of the web service."""
    return {m[1]: int(m[2]) for line in table()[0] if (m := re.search(r" -r (\S+):80 -m -w (\d+)", line))}


def heavy(check: Words | None = None, *weights: int, **words: Any) -> Words:
    """A service whose real servers have weights to rise to."""
    servers = [{"address": a, "weight": w} for a, w in zip(REAL, weights or (100, 50), strict=True)]
    return web(check, **{"real_servers": servers, **words})


DRAINED = str(-(2**31 - 1))


def test_a_file_takes_weight_away_and_gives_it_back(
    table: Table,
    keepalived: Callable[..., Keepalived],
    drains: pathlib.Path,
    judge: Callable[[str, bool], None],
    watch: Callable[..., Words],
) -> None:
    one = keepalived()
    most = 2**31 - 1
    # A quorum that is lost would be an end of it, and weights as large as can be.
    one.file.write_text(written([heavy(watch(), most, most), web(FINE, name="more", port=81)], str(drains)))
    one.start("--check")
    eventually(lambda: len(weights(table)) == 2)
    for text, weight in ((DRAINED, 0), ("-1", most - 1), ("0", most), ("-40", most - 40), (None, most)):
        if text is None:
            (drains / REAL[0]).unlink()
        else:
            (drains / "new").write_text(text)
            (drains / "new").rename(drains / REAL[0])
        eventually(lambda weight=weight: weights(table) == {REAL[0]: weight, REAL[1]: most})  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        # It is taken out of no service.
        assert len(table()[0]) == 6


def test_who_is_drained_stays_so_whatever_becomes_of_keepalived(
    table: Table,
    keepalived: Callable[..., Keepalived],
    drains: pathlib.Path,
    watch: Callable[..., Words],
    judge: Callable[[str, bool], None],
) -> None:
    one = keepalived()
    seen: set[int] = set()

    def look() -> dict[str, int]:
        """What the weights are now. At no look has the drained one any."""
        found = weights(table)
        seen.update(weight for address, weight in found.items() if address == REAL[0])
        return found

    (drains / REAL[0]).write_text(DRAINED)
    one.file.write_text(written([heavy(watch())], str(drains)))
    one.start("--check")
    eventually(lambda: look() == {REAL[0]: 0, REAL[1]: 50})
    # A reload, with other weights.
    one.file.write_text(written([heavy(watch(), 70, 60)], str(drains)))
    one.reload()
    eventually(lambda: look() == {REAL[0]: 0, REAL[1]: 60})
    # Ill, and well again.
    judge(REAL[0], False)
    eventually(lambda: look() == {REAL[1]: 60})
    judge(REAL[0], True)
    eventually(lambda: look() == {REAL[0]: 0, REAL[1]: 60})
    # A crash, and in the meantime it is drained no more, or another one is.
    one.crash()
    takeover(one)
    assert weights(table) == {REAL[0]: 0, REAL[1]: 60}
    (drains / REAL[0]).write_text("-30\n")
    (drains / REAL[1]).write_text(DRAINED)
    takeover(one)
    assert weights(table) == {REAL[0]: 40, REAL[1]: 0}
    (drains / REAL[0]).write_text(DRAINED)
    (drains / REAL[1]).unlink()
    takeover(one)
    one.start("--check")
    assert look() == {REAL[0]: 0, REAL[1]: 60}
    assert seen == {0}
    (drains / REAL[0]).unlink()
    eventually(lambda: weights(table) == {REAL[0]: 70, REAL[1]: 60})


def test_ipv6_and_every_other_service_can_be_drained_and_taken_over(
    table: Table, keepalived: Callable[..., Keepalived], drains: pathlib.Path
) -> None:
    later = {"script": {"command": "/usr/bin/true"}, "interval": 3600, "warmup": 3600}
    services = every_service(later)
    one = keepalived()
    one.file.write_text(written(services, str(drains)))
    one.start("--check")
    count = sum(len(service["real_servers"]) for service in services)
    eventually(lambda: len(table()[1]) == count)
    before = table()
    for address in (REAL[0], "2001:db8:b::21", "198.51.100.31", "198.51.100.33"):
        (drains / address).write_text(DRAINED)

    def quiet(lines: list[str]) -> list[str]:
        drained = re.compile(r"( -r (?:198.51.100.(?:21|31|33)|\[2001:db8:b::21\]):.* -w )\d+")
        return [drained.sub(r"\g<1>0", line) for line in lines]

    assert quiet(before[0]) != before[0]
    eventually(lambda: table() == (quiet(before[0]), before[1]))
    one.crash()
    takeover(one)
    assert table() == (quiet(before[0]), before[1])
    for file in drains.iterdir():
        file.unlink()
    takeover(one)
    assert table() == before


Drain = Callable[..., dict[str, Any]]


@pytest.fixture
def drain(tmp_path: pathlib.Path, drains: pathlib.Path) -> Drain:
    """The module, told what the playbooks tell it."""

    def run(*addresses: str, services: list[Words], check: bool = False, **options: Any) -> dict[str, Any]:
        groups = {"all": ["lb1", "web1", "web2"], "directors": ["lb1"]}
        hosts: dict[str, Any] = {"lb1": {}, "web1": {"lvs_address": REAL[0]}, "web2": {"lvs_address": REAL[1]}}
        named = [f"web{1 + REAL.index(address)}" for address in addresses]
        told = _cluster.named_real_servers(_cluster.services(services, groups, hosts), named, groups, hosts)
        record = str(tmp_path / "drains.json")
        table_record = tmp_path / "table.json"
        words = {
            "real_servers": told["addresses"],
            "health_checked": told["health_checked"],
            "drain_files": str(drains),
            "record": record,
            "wait_interval": 0.1,
            "wait_retries": 5,
            **({"table_record": str(table_record)} if table_record.exists() else {}),
        }
        return run_module("drain", check=check, diff=True, **{**words, **options})

    return run


def test_one_call_drains_in_services_of_both_owners(
    apply: Apply,
    table: Table,
    keepalived: Callable[..., Keepalived],
    drain: Drain,
    drains: pathlib.Path,
    tmp_path: pathlib.Path,
    ipvsadm: Ipvsadm,
) -> None:
    ours = heavy(port=82, name="ours", persistence_timeout=60)
    services = [heavy(FINE), ours]
    record, drained = str(tmp_path / "table.json"), str(tmp_path / "drains.json")
    plain = {word: value for word, value in ours.items() if word != "name"}
    apply([plain], purge="owned", record=record, drains=drained)
    ipvsadm("-A", "-t", "192.0.2.99:80", "-s", "rr")
    ipvsadm("-a", "-t", "192.0.2.99:80", "-r", f"{REAL[0]}:80", "-i", "-w", "9")
    one = keepalived()
    one.file.write_text(written(services, str(drains)))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 8)
    before = table()
    file = drains / REAL[0]
    steps = [
        "set net.ipv4.vs.expire_quiescent_template to 1",
        f"write {DRAINED} to {file}",
        f"edit real server {REAL[0]}:82 of service tcp 192.0.2.10:82",
    ]
    said = drain(REAL[0], services=services, check=True, wait=True)
    assert (table(), file.exists()) == (before, False)
    result = drain(REAL[0], services=services, wait=True)
    # By the time that it returns, keepalived has done its part.
    now = table()
    assert said["steps"] == result["steps"] == steps
    assert said["diff"] == result["diff"]
    assert f"- file: {file}\n  value: {DRAINED}\n" in result["diff"]["after"]
    assert (result["drained"], result["began"]) == (True, [REAL[0]])
    assert result["left_alone"] == [f"real server {REAL[0]}:80 of service tcp 192.0.2.99:80"]
    assert [(row["weight"], row["configured_weight"]) for row in result["real_servers"]] == [(0, 100), (0, 100)]
    lowered = re.compile(rf"( -r {REAL[0]}:8[02] -m -w )\d+")
    assert now == ([lowered.sub(r"\g<1>0", line) for line in before[0]], before[1])
    # Again it changes nothing, nor does who applies the services.
    assert drain(REAL[0], services=services, wait=True)["step_count"] == 0
    assert not apply([plain], purge="owned", record=record, drains=drained)["changed"]
    one.reload()
    assert table() == now
    # To remove is not keepalived's.
    assert drain(REAL[0], services=services, wait=True, remove=True)["steps"] == [
        f"remove real server {REAL[0]}:82 of service tcp 192.0.2.10:82",
        "set net.ipv4.vs.expire_quiescent_template to 0",
    ]
    said = drain(REAL[0], services=services, check=True, state="enabled")
    back = drain(REAL[0], services=services, state="enabled")
    assert said["steps"] == back["steps"]
    assert table() == before
    assert list(drains.iterdir()) == []
    assert not drain(REAL[0], services=services, state="enabled")["changed"]


def test_what_keepalived_owns_waits_is_refused_and_put_back_like_the_rest(
    table: Table, keepalived: Callable[..., Keepalived], drain: Drain, drains: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for address in ("192.0.2.10", *REAL):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    services = [heavy({**FINE, "quorum": 20, "sorry_server": {"address": "198.51.100.99"}}, 100, 10)]
    one = keepalived()
    one.file.write_text(written(services, str(drains)))
    one.start("--check")
    eventually(lambda: len(weights(table)) == 2)
    before = table()

    def refused(*addresses: str, **options: Any) -> str:
        with pytest.raises(ModuleFailed) as failed:
            drain(*addresses, services=services, **options)
        assert not failed.value.result.get("changed")
        assert (table(), [*drains.iterdir()]) == (before, [])
        return str(failed.value)

    assert "minimum_servers: service tcp 192.0.2.10:80 would keep 0 of 2 real servers in use" in refused(*REAL)
    assert "minimum_weight: service tcp 192.0.2.10:80 would keep a weight of 10 of 110" in refused(
        REAL[0], minimum_weight=50
    )
    # keepalived would take the sorry server in place of all.
    assert "keepalived takes it to be down below 20" in refused(REAL[0])
    with (
        socket.create_server((REAL[1], 80)),
        socket.create_server((REAL[0], 80)),
        contextlib.ExitStack() as clients,
    ):
        for _ in range(30):
            clients.enter_context(socket.create_connection(("192.0.2.10", 80), timeout=10))
        told = refused(REAL[1], wait=True)
        assert re.search(r"still has \d+ active connections?; what was changed is put back$", told)
        slow = drain(REAL[1], services=services, wait=True, on_timeout="continue")
        assert (slow["drained"], weights(table)) == (False, {REAL[0]: 100, REAL[1]: 0})
        drain(REAL[1], services=services, state="enabled")
        assert table()[0] == before[0]
    # keepalived is gone: nobody heeds the file.
    one.stop()
    assert (
        "keepalived does not do as the files say: real server 198.51.100.22:80 of service tcp 192.0.2.10:80 still has the weight 10"
        in refused(REAL[1])
    )


def test_who_is_ill_when_it_is_restored_is_kept_out_and_told(
    table: Table,
    keepalived: Callable[..., Keepalived],
    drain: Drain,
    drains: pathlib.Path,
    watch: Callable[..., Words],
    judge: Callable[[str, bool], None],
) -> None:
    services = [heavy(watch())]
    one = keepalived()
    one.file.write_text(written(services, str(drains)))
    one.start("--check")
    eventually(lambda: len(weights(table)) == 2)
    # It falls ill in the middle of it, and is drained all the same when it is well again.
    judge(REAL[0], False)
    eventually(lambda: weights(table) == {REAL[1]: 50})
    assert drain(REAL[0], services=services, wait=True, minimum_servers=1)["drained"]
    judge(REAL[0], True)
    eventually(lambda: weights(table) == {REAL[0]: 0, REAL[1]: 50})
    judge(REAL[0], False)
    eventually(lambda: weights(table) == {REAL[1]: 50})
    assert [row["address"] for row in drain(REAL[0], services=services, state="enabled")["kept_out"]] == [REAL[0]]
    assert list(drains.iterdir()) == []
    with pytest.raises(ModuleFailed, match=rf"^without weight from keepalived after .*: real server {REAL[0]}:80 of"):
        drain(REAL[0], services=services, state="enabled", wait=True)
    judge(REAL[0], True)
    well = drain(REAL[0], services=services, state="enabled", wait=True, wait_retries=300)
    assert (well["kept_out"], weights(table)) == ([], {REAL[0]: 100, REAL[1]: 50})


def test_weights_rise_together_whoever_gives_them(
    apply: Apply,
    table: Table,
    keepalived: Callable[..., Keepalived],
    drain: Drain,
    drains: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    light = [{"address": REAL[0], "weight": 30}, {"address": REAL[1], "weight": 5}]
    services = [heavy(FINE), heavy(port=82, name="ours"), web(FINE, name="light", port=83, real_servers=light)]
    apply([{word: value for word, value in services[1].items() if word != "name"}])
    one = keepalived()
    one.file.write_text(written(services, str(drains)))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 9)
    before = table()
    drain(*REAL, services=services, minimum_servers=0)
    seen = []
    sleep = time.sleep

    def nap(seconds: float) -> None:
        if seconds == 0.5:
            found = (re.search(rf"{REAL[0]}:(\d+) -m -w (\d+)", line) for line in table()[0])
            seen.append({m[1]: int(m[2]) for m in found if m})
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", nap)
    drain(*REAL, services=services, state="enabled", slow_start=2, slow_start_steps=5)
    # The light one has the same taken off, and so comes last.
    assert seen == [{"80": w, "82": w, "83": max(0, w - 70)} for w in (20, 40, 60, 80)]
    assert table() == before
    assert list(drains.iterdir()) == []


def test_a_drain_stays_where_a_service_changes_its_owner(
    apply: Apply,
    table: Table,
    keepalived: Callable[..., Keepalived],
    drain: Drain,
    drains: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    plain = {word: value for word, value in heavy().items() if word != "name"}
    drained, record = str(tmp_path / "drains.json"), str(tmp_path / "table.json")
    apply([plain], drains=drained)
    drain(REAL[0], services=[heavy()])
    assert weights(table) == {REAL[0]: 0, REAL[1]: 50}
    # keepalived's from now on, with one service more.
    services = [heavy(FINE), heavy(FINE, name="more", port=81)]
    one = keepalived()
    one.file.write_text(written(services, str(drains)))
    takeover(one)
    one.start("--check")
    eventually(lambda: len(table()[0]) == 6)
    quiet = [line for line in table()[0] if REAL[0] in line]
    assert [line[-5:] for line in quiet] == [" -w 0"] * 2
    assert drain(REAL[0], services=services, check=True)["step_count"] == 0
    # And the modules' again.
    one.stop()
    apply([plain], purge="owned", record=record, drains=drained)
    assert weights(table)[REAL[0]] == 0
    drain(REAL[0], services=[heavy()], state="enabled")
    assert weights(table) == {REAL[0]: 100, REAL[1]: 50}


# -- what a reload disturbs ------------------------------------------------------------------------------------


def counted(ipvsadm: Ipvsadm) -> dict[str, int]:
    """Connections of each service and real server."""
    text = ipvsadm("-Ln", "--stats", "--exact")
    return {found[1]: int(found[2]) for found in re.finditer(r"(\d+\.\d+\.\d+\.\d+:\d+) +(\d+)", text)}


def test_a_reload_with_a_service_more_goes_on_counting(
    ipvsadm: Ipvsadm, table: Table, keepalived: Callable[..., Keepalived]
) -> None:
    for address in ("192.0.2.10", REAL[0]):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    one = keepalived()
    first = web(FINE, real_servers=[{"address": REAL[0]}])
    one.file.write_text(written([first]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 2)
    with (
        socket.create_server((REAL[0], 80)) as listener,
        socket.create_connection(("192.0.2.10", 80), timeout=10) as client,
        listener.accept()[0] as answering,
    ):
        eventually(lambda: counted(ipvsadm) == {"192.0.2.10:80": 1, f"{REAL[0]}:80": 1})
        one.file.write_text(written([first, web(FINE, name="more", port=81)]))
        one.reload()
        eventually(lambda: len(table()[0]) == 5)
        seen = counted(ipvsadm)
        assert (seen["192.0.2.10:80"], seen["192.0.2.10:81"]) == (1, 0)
        client.sendall(b"still there")
        assert answering.recv(100) == b"still there"
    # By this the role knows how it was started.
    assert one.process
    words = pathlib.Path(f"/proc/{one.process.pid}/cmdline").read_text().split("\0")
    assert words[: len(command())] == command()


def renewed(one: Keepalived, *takeover: str | pathlib.Path) -> int:
    """Have the checker replaced, as the role does when services become the modules'; the status of the program."""
    assert one.process
    takeover = takeover or ("sh", ROLE / "files" / "takeover.sh", one.file)
    arguments = (str(one.process.pid), one.folder / "checkers_pid.pid", *takeover)
    return subprocess.run(["sh", ROLE / "files" / "renew.sh", *arguments], check=False).returncode


class Connected:
    """A connection through a service of this host to a listener of this host, which goes on."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server((REAL[0], port))
        self.client = socket.create_connection(("192.0.2.10", port), timeout=10)
        self.answering, _peer = self.listener.accept()

    def goes_on(self) -> None:
        self.client.sendall(b"still there")
        assert self.answering.recv(100) == b"still there"

    def is_over(self) -> None:
        self.client.sendall(b"still there")
        with pytest.raises(ConnectionResetError):
            self.client.recv(100)

    def close(self) -> None:
        for end in (self.client, self.answering, self.listener):
            end.close()


@pytest.fixture
def connected() -> Iterator[Callable[[int], Connected]]:
    for address in ("192.0.2.10", REAL[0]):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    made: list[Connected] = []

    def connect(port: int) -> Connected:
        made.append(Connected(port))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def test_which_connections_outlive_keepalived(
    expire_nodest_conn: int,
    table: Table,
    keepalived: Callable[..., Keepalived],
    connected: Callable[[int], Connected],
    watch: Callable[..., Words],
) -> None:
    """As docs/health_checks.md has it."""
    # Scripts now and then only, see below.
    checks = {80: watch(interval=1), 81: watch(interval=1, alpha=True), 82: FINE}
    services = [
        web(check, name=f"on {port}", port=port, real_servers=[{"address": REAL[0]}]) for port, check in checks.items()
    ]
    one = keepalived()
    one.file.write_text(written(services))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 6)
    before = table()
    trusted, looked_at, by_file = map(connected, checks)
    one.crash()
    takeover(one)
    one.start("--check")
    eventually(lambda: table() == before)
    trusted.goes_on()
    for distrusted in (looked_at, by_file):
        if expire_nodest_conn:
            distrusted.is_over()
        else:
            distrusted.goes_on()


@pytest.mark.parametrize("expire_nodest_conn", [1], indirect=True)
@pytest.mark.usefixtures("expire_nodest_conn")
@pytest.mark.parametrize("inhibited", [True, False])
def test_which_connections_outlive_a_server_that_is_ill(
    inhibited: bool,
    table: Table,
    keepalived: Callable[..., Keepalived],
    connected: Callable[[int], Connected],
    watch: Callable[..., Words],
    judge: Callable[[str, bool], None],
) -> None:
    one = keepalived()
    check = watch(interval=1, inhibit_on_failure=inhibited)
    one.file.write_text(written([web(check, real_servers=[{"address": REAL[0]}])]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 2)
    connection = connected(80)
    before = table()
    judge(REAL[0], False)
    eventually(lambda: table() != before)
    judge(REAL[0], True)
    eventually(lambda: table() == before)
    if inhibited:
        connection.goes_on()
    else:
        connection.is_over()


def test_a_service_that_gains_a_check_goes_on(
    apply: Apply,
    ipvsadm: Ipvsadm,
    table: Table,
    keepalived: Callable[..., Keepalived],
    connected: Callable[[int], Connected],
    tmp_path: pathlib.Path,
) -> None:
    first, more = (web(None, port=port, real_servers=[{"address": REAL[0]}]) for port in (80, 81))
    plain = [{key: value for key, value in service.items() if key != "name"} for service in (first, more)]
    options: Words = {"purge": "owned", "record": str(tmp_path / "record.json")}
    apply(plain, **options)
    one = keepalived()
    other = web(FINE, name="other", port=82)
    one.file.write_text(written([other]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 7)
    before = table()
    connection = connected(80)
    eventually(lambda: counted(ipvsadm)["192.0.2.10:80"] == 1)

    assert not apply(plain[1:], released=plain[:1], **options)["changed"]
    one.file.write_text(written([other, {**first, "health_check": FINE}]))
    one.reload()
    eventually(lambda: one.said("Reload finished") or one.said("Reload complete"))
    apply(plain[1:], released=plain[:1], **options)

    assert table() == before
    assert counted(ipvsadm)["192.0.2.10:80"] == 1
    connection.goes_on()


def test_a_service_that_loses_its_check_goes_on(
    apply: Apply,
    ipvsadm: Ipvsadm,
    table: Table,
    keepalived: Callable[..., Keepalived],
    connected: Callable[[int], Connected],
    watch: Callable[..., Words],
    judge: Callable[[str, bool], None],
    tmp_path: pathlib.Path,
) -> None:
    one = keepalived()
    first = web(FINE, real_servers=[{"address": REAL[0]}])
    # A script now and then only: user-mode Linux does not survive a signal to one that forks.
    other = web(watch(inhibit_on_failure=True, interval=1), name="other", port=82)
    one.file.write_text(written([first, other]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 5)
    before = table()
    judge(REAL[1], False)
    eventually(lambda: any(line.endswith("-w 0") for line in table()[0]))
    connection = connected(80)
    eventually(lambda: counted(ipvsadm)["192.0.2.10:80"] == 1)
    checker = (one.folder / "checkers_pid.pid").read_text()

    # Now it is the modules', and has a server more.
    del first["health_check"]
    plain = {**first, "real_servers": [*first["real_servers"], {"address": REAL[1]}]}
    plain.pop("name")
    options: Words = {"purge": "owned", "record": str(tmp_path / "record.json")}
    apply([plain], **options)
    one.file.write_text(written([first, other]))
    one.forget()
    assert renewed(one) == 0

    assert (one.folder / "checkers_pid.pid").read_text() != checker
    assert one.process is not None
    assert one.process.poll() is None
    assert not one.said("Removing Virtual Server")
    assert not apply([plain], **options)["changed"]
    assert counted(ipvsadm)["192.0.2.10:80"] == 1
    connection.goes_on()
    # The new one watches the other service, and knows nothing of this one.
    eventually(lambda: any(line.endswith("-w 0") for line in table()[0]))
    judge(REAL[1], True)
    eventually(lambda: table()[0] == sorted([*before[0], f"-a -t 192.0.2.10:80 -r {REAL[1]}:80 -m -w 1"]))
    one.forget()
    one.reload()
    eventually(lambda: one.said("Reload finished") or one.said("Reload complete"))
    assert not apply([plain], **options)["changed"]


def test_a_checker_that_cannot_be_replaced_reloads(table: Table, keepalived: Callable[..., Keepalived]) -> None:
    one = keepalived()
    one.file.write_text(written([web(FINE), web(FINE, name="other", port=82)]))
    one.start("--check")
    eventually(lambda: len(table()[0]) == 6)
    checker = (one.folder / "checkers_pid.pid").read_text()
    one.file.write_text(written([web(FINE, name="other", port=82)]))
    one.forget()
    assert renewed(one, "false") != 0
    # The service is gone, as by any reload, for the playbook to apply it again.
    eventually(lambda: len(table()[0]) == 3)
    assert (one.folder / "checkers_pid.pid").read_text() == checker
    # Nor is anything done to a process of another.
    (one.folder / "checkers_pid.pid").write_text(f"{os.getpid()}\n")
    assert renewed(one) != 0
    (one.folder / "checkers_pid.pid").write_text(checker)


# -- two directors ---------------------------------------------------------------------------------------------

GROUPS = {"all": ["lb1", "lb2"], "directors": ["lb1", "lb2"]}
VIPS = {"192.0.2.10", "2001:db8:f::10", "198.51.100.1"}


class Director:
    """A director in a network namespace of its own."""

    def __init__(self, number: int, one: Keepalived) -> None:
        self.number = number
        self.namespace = f"lb{number}"
        self.keepalived = one
        self.hold_file = one.folder / "hold"

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *words], capture_output=True, text=True, check=True
        )
        return done.stdout

    def write(self, services: list[Words], **options: Any) -> None:
        hosts = {
            f"lb{n}": {
                "lvs_address": f"198.51.100.1{n}",
                "lvs_address6": f"2001:db8:b::1{n}",
                "lvs_gateway": "198.51.100.1",
            }
            for n in (1, 2)
        }
        n = self.number
        interfaces = {
            "front": [f"192.0.2.1{n}/24", f"2001:db8:f::1{n}/64"],
            "back": [f"198.51.100.1{n}/24", f"2001:db8:b::1{n}/64"],
        }
        told = {"script_user": "nobody", "hold_file": str(self.hold_file), **options}
        cluster = _cluster.services(services, GROUPS, hosts)
        result = _keepalived.configuration(cluster, self.namespace, GROUPS, hosts, interfaces, told)
        self.keepalived.file.write_text(result.text)

    def addresses(self) -> set[str]:
        """Those of the cluster that are here."""
        shown = self.run("ip", "-brief", "address", "show")
        return {word.split("/")[0] for word in shown.split()} & {*VIPS, "192.0.2.20"}

    def sync(self) -> str:
        """master, backup, both, or nothing; the interface and id of each are checked."""
        shown = self.run("ipvsadm", "-Ln", "--daemon")
        found = re.findall(r"(master|backup) sync daemon \(mcast=(\w+), syncid=(\d+)", shown)
        assert {(link, number) for _state, link, number in found} <= {("back", "40")}, shown
        return " ".join(state for state, *_rest in found)


@pytest.fixture
def directors(keepalived: Callable[..., Keepalived]) -> Iterator[list[Director]]:
    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    # IPv6 comes with ip_vs, where it is a module.
    subprocess.run(["ipvsadm", "-L"], check=True, capture_output=True)
    two = [Director(number, keepalived(f"lb{number}", f"lb{number}")) for number in (1, 2)]
    try:
        for one in two:
            ip("netns", "add", one.namespace)
            ip("-n", one.namespace, "link", "set", "lo", "up")
        for link in ("front", "back"):
            ip("-n", "lb1", "link", "add", link, "type", "veth", "peer", "name", link, "netns", "lb2")
        for one in two:
            for link, four, six in (("front", "192.0.2", "2001:db8:f"), ("back", "198.51.100", "2001:db8:b")):
                ip("-n", one.namespace, "link", "set", link, "up")
                ip("-n", one.namespace, "address", "add", f"{four}.1{one.number}/24", "dev", link)
                ip("-n", one.namespace, "address", "add", f"{six}::1{one.number}/64", "dev", link, "nodad")
        yield two
    finally:
        for one in two:
            one.keepalived.end()
            ip("netns", "delete", one.namespace)


#: Nothing but addresses that move, so that the sync daemons are the module's.
BOTH: list[Words] = [
    {"name": "web", "protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": []},
    {"name": "web6", "protocol": "tcp", "address": "2001:db8:f::10", "port": 80, "real_servers": []},
]
#: The directors serve as well: keepalived has a daemon for the role that each has.
SERVING: list[Words] = [{**BOTH[0], "real_servers": [{"group": "directors"}], "forwarding": "direct"}, BOTH[1]]
#: A virtual machine that shares its processor is late at times.
CALM = {"advert_interval": 0.5}


def test_two_directors(directors: list[Director]) -> None:
    lb1, lb2 = directors
    for one in directors:
        one.write(SERVING, **CALM)
    lb1.keepalived.start()
    eventually(lambda: lb1.addresses() == VIPS)
    lb2.keepalived.start()
    eventually(lambda: (lb1.sync(), lb2.sync()) == ("master", "backup"))
    assert lb2.addresses() == set()

    # A planned switch, and the one that was held back does not take the addresses again by itself.
    lb1.hold_file.write_text("1\n")
    eventually(lambda: (lb1.addresses(), lb2.addresses()) == (set(), VIPS))
    eventually(lambda: (lb1.sync(), lb2.sync()) == ("backup", "master"))
    lb1.keepalived.forget()
    lb1.hold_file.write_text("0\n")
    eventually(lambda: lb1.keepalived.said("Entering BACKUP STATE"))
    assert (lb1.addresses(), lb2.addresses()) == (set(), VIPS)

    # Services come and go, one director after the other, backup first; nobody moves.
    for services, moving in (
        ([*SERVING, {**SERVING[0], "name": "more", "address": "192.0.2.20"}], {*VIPS, "192.0.2.20"}),
        ([SERVING[1], {**SERVING[0], "name": "more", "address": "192.0.2.20"}], VIPS - {"192.0.2.10"} | {"192.0.2.20"}),
    ):
        for one in directors:
            one.write(services, **CALM)
            for each in directors:
                each.keepalived.forget()
            one.keepalived.reload()
            # Longer than it takes a backup to miss the master.
            time.sleep(4 * CALM["advert_interval"])
            for each in directors:
                assert not re.search(r"Entering (MASTER|BACKUP|FAULT) STATE|expected \d+ VIPs", each.keepalived.log())
        eventually(lambda moving=moving: (lb1.addresses(), lb2.addresses()) == (set(), moving))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert (lb1.sync(), lb2.sync()) == ("backup", "master")

    # A checker is replaced, which is not VRRP's business.
    for one in directors:
        one.keepalived.forget()
    lb2.write([{**SERVING[0], "health_check": FINE, "name": "checked", "port": 443}, *services], **CALM)
    lb2.keepalived.reload()
    eventually(lambda: "192.0.2.10:443" in lb2.run("ipvsadm", "-Sn"))
    lb2.write(services, **CALM)
    assert renewed(lb2.keepalived, "true") == 0
    time.sleep(4 * CALM["advert_interval"])
    for one in directors:
        assert not re.search(r"Entering (MASTER|BACKUP|FAULT) STATE", one.keepalived.log())
    assert "192.0.2.10:443" in lb2.run("ipvsadm", "-Sn")

    # The master crashes: the other takes over. When it is back, it keeps nothing of what it had.
    moving = lb2.addresses()
    lb2.keepalived.crash()
    eventually(lambda: lb1.addresses() == moving)
    assert lb2.addresses() == moving, "a crash cannot tidy up"
    lb2.keepalived.start()
    eventually(lambda: (lb1.addresses(), lb2.addresses()) == (moving, set()))

    # An orderly stop hands over.
    lb1.keepalived.stop()
    eventually(lambda: (lb1.addresses(), lb2.addresses()) == (set(), moving))
    eventually(lambda: (lb1.sync(), lb2.sync()) == ("", "master"))


def test_directors_that_lose_sight_of_each_other_are_both_master_and_one_again(directors: list[Director]) -> None:
    lb1, lb2 = directors
    for one in directors:
        one.write(BOTH, **CALM)
        # As the role has it; keepalived is to leave them alone.
        for role in ("master", "backup"):
            one.run("ipvsadm", "--start-daemon", role, "--mcast-interface", "back", "--syncid", "40")
    lb1.keepalived.start()
    eventually(lambda: lb1.addresses() == VIPS)
    lb2.keepalived.start()
    eventually(lambda: lb2.keepalived.said("Entering BACKUP STATE"))

    # To a hardware address that nobody has.
    peers = [(lb1, "198.51.100.12"), (lb1, "2001:db8:b::12"), (lb2, "198.51.100.11"), (lb2, "2001:db8:b::11")]
    for one, peer in peers:
        one.run("ip", "neighbour", "replace", peer, "dev", "back", "lladdr", "02:00:00:00:00:01", "nud", "permanent")
    eventually(lambda: lb1.addresses() == lb2.addresses() == VIPS)
    for one, peer in peers:
        one.run("ip", "neighbour", "delete", peer, "dev", "back")
    eventually(lambda: sorted([lb1.addresses(), lb2.addresses()], key=len) == [set(), VIPS])
    for one in directors:
        one.keepalived.stop()
    assert (lb1.sync(), lb2.sync()) == ("master backup", "master backup")
