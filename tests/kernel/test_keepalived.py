# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role keepalived writes, with a real keepalived over the real IPVS: who owns what, what a crash leaves,
what a reload disturbs, and two directors in network namespaces of their own."""

from __future__ import annotations

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

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _keepalived

from .words import SCHEDULERS, Words

Apply = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]
Table = Callable[[], tuple[list[str], list[str]]]

ROLE = pathlib.Path(__file__).resolve().parents[2] / "roles" / "keepalived"
REAL = ["198.51.100.21", "198.51.100.22"]


def command() -> list[str]:
    """How the role has systemd start keepalived."""
    lines = (ROLE / "vars" / "main.yml").read_text().splitlines()
    started = next(line.strip() for line in lines if "ExecStart=/" in line).removeprefix("ExecStart=")
    return [word for word in shlex.split(started) if not word.startswith("$")]


def eventually(what: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until it is so; it is asked as an assertion asks."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


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
        if whole:
            pids = [int(file.read_text()) for file in self.folder.glob("*.pid")]
            assert len(pids) > 1, "no children"
            # None may see another die: it would begin to tidy up.
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        else:
            self.process.kill()
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


def takeover(one: Keepalived) -> None:
    """What the role has systemd do before a start."""
    subprocess.run(["sh", ROLE / "files" / "takeover.sh", one.file], check=True)


# -- one director ----------------------------------------------------------------------------------------------


def web(check: Words | None = None, **words: Any) -> Words:
    service = {"name": "web", "protocol": "tcp", "address": "192.0.2.10", "port": 80}
    return {**service, "real_servers": [{"address": address} for address in REAL], **words} | (
        {} if check is None else {"health_check": check}
    )


def written(services: list[Words], **options: Any) -> str:
    """The configuration of a director without addresses to move."""
    groups = {"all": ["lb1"], "directors": ["lb1"]}
    cluster = _cluster.services(services, groups, {"lb1": {}})
    interfaces = {"lo": ["127.0.0.1/8", "192.0.2.1/24", "2001:db8:f::1/64"]}
    told = {"script_user": "nobody", **options}
    return _keepalived.configuration(cluster, "lb1", groups, {"lb1": {}}, interfaces, told).text


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


EVERY: dict[str, Words] = {
    **{f"scheduler {name}": {"scheduler": name} for name in SCHEDULERS if name != "twos"},
    "udp": {"protocol": "udp"},
    "sctp": {"protocol": "sctp"},
    "ipv6": {"address": "2001:db8:f::10", "real_servers": [{"address": "2001:db8:b::21"}]},
    "sh": {"scheduler": "sh", "scheduler_flags": ["sh-fallback", "sh-port"]},
    "mh": {"scheduler": "mh", "scheduler_flags": ["mh-port"]},
    "flags": {"scheduler": "rr", "scheduler_flags": ["flag-1", "flag-3"]},
    "one packet": {"protocol": "udp", "one_packet": True},
    "persistent": {"persistence_timeout": 2678400, "persistence_netmask": 24},
    "persistent, uneven": {"persistence_timeout": 1, "persistence_netmask": "255.0.255.0"},
    "persistent, ipv6": {"address": "2001:db8:f::10", "persistence_timeout": 60, "persistence_netmask": 64, "real_servers": [{"address": "2001:db8:b::21"}]},
    "sip": {"protocol": "udp", "persistence_timeout": 60, "persistence_engine": "sip"},
    "direct": {"forwarding": "direct"},
    "ipip": {"forwarding": "tunnel"},
    **{f"gue {checksum}": {"forwarding": "tunnel", "tunnel": {"type": "gue", "port": 6080, "checksum": checksum}} for checksum in ("none", "csum", "remcsum")},
    **{f"gre {checksum}": {"forwarding": "tunnel", "tunnel": {"type": "gre", "checksum": checksum}} for checksum in ("none", "csum")},
    "a tunnel to the other family": {"forwarding": "tunnel", "real_servers": [{"address": "2001:db8:b::21"}]},
    "servers of all kinds": {
        "real_servers": [
            {"address": "198.51.100.31", "port": 8080, "weight": 2147483647, "upper_threshold": 9, "lower_threshold": 3},
            {"address": "198.51.100.32", "forwarding": "direct", "weight": 0},
            {"address": "198.51.100.33", "forwarding": "tunnel", "tunnel": {"type": "gue", "port": 1}},
        ]
    },
    "mark": {"fwmark": 7, "real_servers": [{"address": "198.51.100.31", "port": 8080}]},
    "mark, direct": {"fwmark": 8, "forwarding": "direct"},
    "mark, ipv6": {"fwmark": 4294967295, "family": "ipv6", "real_servers": [{"address": "2001:db8:b::21"}]},
}  # fmt: skip


def every_service(check: Words | None) -> list[Words]:
    services = []
    for number, (name, words) in enumerate(EVERY.items()):
        service = web(check, **{"port": 1000 + number, **words, "name": name})
        if "fwmark" in words:
            for option in ("protocol", "address", "port"):
                del service[option]
        services.append(service)
    services.append(web(check, name="every port", address="192.0.2.11", port=0, persistence_timeout=60))
    return services


def test_the_same_service_is_the_same_entry_whoever_owns_it(
    apply: Apply,
    table: Table,
    netns: Callable[[], None],
    keepalived: Callable[..., Keepalived],
) -> None:
    plain = [{key: value for key, value in service.items() if key != "name"} for service in every_service(None)]
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
    theirs = {key: value for key, value in web(port=81).items() if key != "name"}
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


def test_a_takeover_of_what_is_right_changes_nothing(table: Table, keepalived: Callable[..., Keepalived]) -> None:
    one = keepalived()
    # Whatever it would say, it says it in an hour or so.
    later = {"script": {"command": "/usr/bin/true"}, "interval": 3600, "warmup": 3600}
    one.file.write_text(written(every_service(later)))
    one.start("--check")
    eventually(lambda: len(table()[1]) == sum(len(service["real_servers"]) for service in every_service(None)))
    one.crash()
    before = table()
    takeover(one)
    assert table() == before


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
