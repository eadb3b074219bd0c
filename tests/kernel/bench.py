#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long big tables take, against ipvsadm(8) in the same kernel, as a table in markdown.

`tests/kernel/run --bench` runs this inside. `bench.py --tasks HOST` runs outside: what tasks take on a host of the
lab. `bench.py --into FILE` prints what another one printed to its standard input, and replaces the like in a file.
"""

from __future__ import annotations

import argparse
import cProfile
import ctypes
import importlib.metadata
import io
import json
import os
import platform
import pstats
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from ansible_collections.lvs.ipvs.plugins.module_utils import _run
from ansible_collections.lvs.ipvs.plugins.modules import table

SERVICES, SERVERS = 4000, 10
FEW_SERVICES, FEW_SERVERS = 5, 9
LAB = Path(__file__).resolve().parents[1] / "lab"

# Of the module's options.
DEFAULTS = {name: option.get("default") for name, option in yaml.safe_load(table.DOCUMENTATION)["options"].items()}

Words = list[dict[str, Any]]
Runs = list[float]


def services(count: int, servers: int, own: bool = False) -> Words:
    """From JSON, as a module has them: each word and each larger number has its own place in memory.

    Up to 256 services have the same real servers, as those of one cluster have, unless each is to have its ``own``.
    """
    words = [
        {
            "protocol": "tcp",
            "address": f"192.0.{number >> 8}.{number & 255}",
            "port": 80,
            "scheduler": SCHEDULER,
            "real_servers": [{"address": f"{network}.{n + 1}", "port": 8080} for n in range(servers)],
        }
        for number in range(1, count + 1)
        for network in (f"10.{number >> 8}.{number & 255}" if own else f"198.18.{number >> 8}",)
    ]
    made: Words = json.loads(json.dumps(words))
    return made


def rules(words: Words) -> list[str]:
    """The same for ipvsadm -R."""
    lines = []
    for service in words:
        key = f"-t {service['address']}:{service['port']}"
        lines.append(f"-A {key} -s {service['scheduler']}")
        lines += [f"-a {key} -r {server['address']}:{server['port']} -m -w 1" for server in service["real_servers"]]
    return lines


# --- one measurement each -----------------------------------------------------------

SCHEDULER = "rr"


def users(scheduler: str) -> int:
    """How many services of this kernel, whatever their network namespace, use a scheduler."""
    listing = Path("/proc/modules")  # which a kernel without modules has not
    found = listing.exists() and re.search(rf"^ip_vs_{scheduler} \d+ (\d+)", listing.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


OTHERS = users(SCHEDULER)


def counters_memory() -> int:
    """KB of what the kernel has once for each processor, as the counters of services and real servers are."""
    found = re.search(r"^Percpu: +(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def empty_table() -> None:
    """A new network namespace, once the kernel has cleaned up behind the old one.

    Tables that stay take memory, and the kernel goes through the counters of all of them every two seconds; and
    to be rid of one meanwhile would take time from what is measured.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    # Without its loopback, no address is a unicast one.
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    deadline = time.monotonic() + 300
    # The counters of an entry go after it.
    before, now = -1, counters_memory()
    while users(SCHEDULER) > OTHERS or now != before:
        assert time.monotonic() < deadline, "the kernel does not clean up behind a network namespace"
        time.sleep(0.2)
        before, now = now, counters_memory()


def timed(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def library(words: Words) -> dict[str, Any]:
    """All that the module does between Ansible's handing over of its options and the result."""
    params = {**DEFAULTS, "services": words, "purge": "all"}
    module: Any = SimpleNamespace(params=params, check_mode=False, _diff=False)
    with _run.without_collection():
        return _run.table(module)


#: Starts a module, and prints the seconds that it took and its peak memory in KB behind what it says. The kernel
#: counts to a process what the one had that started it, up to its exec: this one is small, a benchmark is not.
STARTER = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen([sys.executable, "-m", sys.argv[1]])
_pid, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
process.returncode = os.waitstatus_to_exitcode(status)
sys.exit(process.returncode)
"""


def module_process(words: Words) -> tuple[float, float, int]:
    """The module in a process of its own, from its start to its end: seconds, peak memory in MB, number of steps.

    Options come on its standard input, as a developer may give them, and as bytes, as Ansible's wrapper has them.
    """
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as said:
        json.dump({"ANSIBLE_MODULE_ARGS": {"services": words, "purge": "all"}}, given)
        given.seek(0)
        call = [sys.executable, "-c", STARTER, table.__name__]
        done = subprocess.run(call, stdin=given, stdout=said, check=False)
        said.seek(0)
        lines = said.read().splitlines()
    assert not done.returncode, lines
    took, memory = map(float, lines[-1].split())
    return took, memory / 1024, json.loads("".join(lines[:-1]))["step_count"]


def ipvsadm(*arguments: str, stdin: str | None = None) -> None:
    with tempfile.TemporaryFile("w+") as given:
        given.write(stdin or "")
        given.seek(0)
        subprocess.run(["ipvsadm", *arguments], stdin=given, stdout=subprocess.DEVNULL, check=True)


def datagrams(job: Callable[[], object]) -> list[int]:
    """The sizes of the datagrams to the kernel."""
    sent: list[int] = []
    real = socket.socket

    class Spy(real):  # type: ignore[misc, valid-type]  # mypy wants a class by its own name
        def send(self, data: Any, *args: Any) -> int:
            sent.append(len(data))
            return int(super().send(data, *args))

    socket.socket = Spy  # type: ignore[misc]  # until the job is done
    try:
        job()
    finally:
        socket.socket = real  # type: ignore[misc]  # as it was
    return sent


class Here:
    """Ansible and the host that it manages are one, in this kernel."""

    name = "localhost"
    call = ("-c", "local", "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}")
    empty_table = staticmethod(empty_table)


class LabHost:
    """A host of the lab, managed from here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.call = ("-i", str(LAB / "inventory.yml"))

    def run(self, *command: str) -> str:
        call = [str(LAB / "lab"), "exec", self.name, "--", *command]
        return subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True).stdout

    def empty_table(self) -> None:
        self.run("ipvsadm", "-C")


def playbook(host: Here | LabHost, tasks: list[dict[str, Any]]) -> float:
    """Seconds of ansible-playbook with these tasks."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([{"hosts": host.name, "gather_facts": False, "tasks": tasks}], file)
        file.flush()
        call = ["ansible-playbook", *host.call, file.name]
        # Its own pipes: an ssh that is kept open leaves ours non-blocking, which Ansible does not take.
        began = time.perf_counter()
        done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        took = time.perf_counter() - began
        assert not done.returncode, done.stdout + done.stderr
        return took


# --- the table ----------------------------------------------------------------------


def spread(runs: Runs, unit: str = "s") -> str:
    digits = 0 if unit == "MB" else 2
    text = f"{statistics.median(runs):.{digits}f} {unit}"
    return text if len(runs) < 2 else f"{text} ({min(runs):.{digits}f} to {max(runs):.{digits}f})"


def ratio(runs: Runs, others: Runs) -> float:
    return statistics.median(runs) / statistics.median(others)


def measure(count: int, repeat: int, with_playbooks: bool) -> list[list[str]]:
    """The rows. Of each repetition every figure is taken in turn, so that a disturbance meets all of them."""
    words = services(count, SERVERS)
    own = services(count, SERVERS, own=True)
    rules_in_all = count * (1 + SERVERS)
    text = "\n".join(rules(words)) + "\n"
    runs: dict[str, Runs] = defaultdict(list)

    changed = json.loads(json.dumps(words))
    for _ in range(repeat):
        empty_table()
        runs["load own"].append(timed(lambda: library(own)))
        runs["ipvsadm -Sn own"].append(timed(lambda: ipvsadm("-Sn")))
        runs["same own"].append(timed(lambda: library(own)))
        _took, memory, steps = module_process(own)
        assert steps == 0
        runs["memory own"].append(memory)

        empty_table()
        runs["ipvsadm -R"].append(timed(lambda: ipvsadm("-R", stdin=text)))
        empty_table()
        runs["start"].append(module_process([])[0])
        took, memory, steps = module_process(words)
        assert steps == rules_in_all
        runs["load module"].append(took)
        runs["memory"].append(memory)
        empty_table()
        runs["load"].append(timed(lambda: library(words)))

        runs["ipvsadm -Sn"].append(timed(lambda: ipvsadm("-Sn")))
        runs["same"].append(timed(lambda: library(words)))
        changed[count // 2]["real_servers"][3]["weight"] = 2
        runs["one"].append(timed(lambda: library(changed)))

        took, memory, steps = module_process(changed)
        assert steps == 0
        runs["same module"].append(took)
        runs["memory same"].append(memory)
        changed[count // 2]["real_servers"][3]["weight"] = 3
        took, memory, steps = module_process(changed)
        assert steps == 1
        runs["one module"].append(took)
    quiet = len(datagrams(lambda: library(changed)))
    changed[count // 2]["real_servers"][3]["weight"] = 4
    messages = len(datagrams(lambda: library(changed))) - quiet

    def row(what: str, target: str, ours: Runs, theirs: Runs, limit: float) -> list[str]:
        found = ratio(ours, theirs)
        return [what, target, f"{found:.2f} x", spread(ours), spread(theirs), "yes" if found <= limit else "**no**"]

    load, same, change = (
        f"load {count:,} services x {SERVERS} real servers into an empty table",
        "read and diff that table when nothing is to do",
        f"change one real server of {rules_in_all:,} rules",
    )
    rows = [
        row(f"{load}: library", "<= 0.2 x `ipvsadm -R`", runs["load"], runs["ipvsadm -R"], 0.2),
        row(f"{load}, no two real servers the same: library", "", runs["load own"], runs["ipvsadm -R"], 0.2),
        row(f"{load}: module process", "", runs["load module"], runs["ipvsadm -R"], 0.2),
        row(f"{same}: library", "<= 1.0 x `ipvsadm -Sn`", runs["same"], runs["ipvsadm -Sn"], 1),
        row(f"{same}, no two real servers the same: library", "", runs["same own"], runs["ipvsadm -Sn own"], 1),
        row(f"{same}: module process", "", runs["same module"], runs["ipvsadm -Sn"], 1),
        row(f"{change}: library", "<= 1.1 x the same with nothing to do", runs["one"], runs["same"], 1.1),
        row(f"{change}: module process", "", runs["one module"], runs["same module"], 1.1),
        [f"{change}: messages", "exactly 1", str(messages), "", "", "yes" if messages == 1 else "**no**"],
    ]
    rows.append(["module process without services, in an empty table", "", "", spread(runs["start"]), "", ""])
    for name, what in (
        ("memory", "that loads them"),
        ("memory same", "with nothing to do"),
        ("memory own", "with nothing to do, no two real servers the same"),
    ):
        peak = max(runs[name])
        met = "yes" if peak <= 200 else "**no**"
        ours = spread(runs[name], "MB")
        rows.append([f"peak memory of the module process {what}", "<= 200 MB", f"{peak:.0f} MB", ours, "", met])
    if with_playbooks:
        rows += few_rules(Here())
    return rows


def weighted(words: Words, weight: int) -> Words:
    return [
        {**service, "real_servers": [{**server, "weight": weight} for server in service["real_servers"]]}
        for service in words
    ]


def few_rules(host: Here | LabHost) -> list[list[str]]:
    """One task against many: the task alone in its playbook, and where others went before, whose start it shares."""
    words = services(FEW_SERVICES, FEW_SERVERS)
    commands = [{"ansible.builtin.command": f"ipvsadm {rule}"} for rule in rules(words)]
    calls = [{"lvs.ipvs.table": {"services": weighted(words, weight)}} for weight in (1, 2, 3, 4)]
    none: list[dict[str, Any]] = []
    start = statistics.median(playbook(host, none) for _ in range(3))
    host.empty_table()
    fifty = playbook(host, commands) - start
    alone, further = [], []
    for _ in range(3):
        host.empty_table()
        alone.append(playbook(host, calls[:1]) - start)
        host.empty_table()
        further.append((playbook(host, calls) - start - alone[-1]) / (len(calls) - 1))
    host.empty_table()
    what = f"{len(commands)} rules by one `table` task against {len(commands)} `command: ipvsadm` tasks"
    rows = []
    for ours, how in (
        (alone, f"alone in a playbook, less the {start:.1f} s of one without tasks"),
        (further, "not the first of its playbook"),
    ):
        faster = fifty / statistics.median(ours)
        met = "yes" if faster >= 30 else "**no**"
        rows.append([f"{what}: {how}", ">= 30 x faster", f"{faster:.0f} x", spread(ours), spread([fifty]), met])
    return rows


def profile() -> str:
    """Where the time goes, in the library."""
    words = services(SERVICES, SERVERS)
    empty_table()
    out = io.StringIO()
    for _ in ("load", "same"):
        profiler = cProfile.Profile()
        profiler.runcall(library, words)
        pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(14)
    return re.sub(r"\S*/(\w+\.py)", r"\1", out.getvalue())


def in_user_mode() -> bool:
    return "User Mode Linux" in Path("/proc/cpuinfo").read_text()


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    version = subprocess.run(["ipvsadm", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    where = "user-mode Linux" if in_user_mode() else f"{cpu[1] if cpu else 'unknown'}, {os.cpu_count()} processors"
    return (
        f"Linux {platform.release()} ({where}), Python {platform.python_version()}, "
        f"pyroute2 {importlib.metadata.version('pyroute2')}, ipvsadm {version}"
    )


def block(name: str, text: str) -> str:
    return f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->"


def put(file: Path) -> None:
    """What comes in goes out, and its blocks into the file."""
    text = sys.stdin.read()
    print(text, end="")
    whole = file.read_text()
    for found in re.finditer(r"<!-- begin (.+) -->.*?<!-- end \1 -->", text, re.S):
        pattern = rf"<!-- begin {re.escape(found[1])} -->.*?<!-- end {re.escape(found[1])} -->"
        assert re.search(pattern, whole, re.S), f"{file} has no place for {found[1]}"
        before, after = re.split(pattern, whole, maxsplit=1, flags=re.S)
        whole = before + found[0] + after
    file.write_text(whole)


def as_table(rows: list[list[str]]) -> str:
    head = ["what", "target", "found", "ours", "theirs", "met"]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def main() -> None:
    parser = argparse.ArgumentParser(description="Times of big tables, as markdown.")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each figure (default: %(default)s)")
    parser.add_argument("--services", type=int, default=SERVICES, help="so many, of 10 each (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="where the time goes, in place of the figures")
    parser.add_argument("--no-playbooks", action="store_true", help="without the runs of ansible-playbook")
    parser.add_argument("--tasks", metavar="HOST", help="only those, from here on a host of the lab")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="replace a block of a file by that of the standard input"
    )
    options = parser.parse_args()
    if options.into:
        put(options.into)
    elif options.profile:
        print(profile())
    elif options.tasks:
        print(block("tasks in the lab", as_table(few_rules(LabHost(options.tasks)))))
    else:
        with_playbooks = not options.no_playbooks and shutil.which("ansible-playbook") is not None
        head = "One run of each figure."
        if options.repeat > 1:
            head = f"Each figure is the median of {options.repeat} runs, with the least and the most."
        head = f"{head} {machine()}."
        rows = as_table(measure(options.services, options.repeat, with_playbooks))
        print(block("user-mode Linux" if in_user_mode() else "the lab", f"{head}\n\n{rows}"))


if __name__ == "__main__":
    main()
