# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program of lvs.ipvs.restore_unit brings back in a fresh namespace, as a boot makes one; ipvsadm(8) tells."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import run_module

Module = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]
Restore = Callable[..., "subprocess.CompletedProcess[str]"]

SERVICES = [
    {
        "protocol": "tcp",
        "address": "192.0.2.10",
        "port": 80,
        "scheduler": "mh",
        "scheduler_flags": ["mh-port"],
        "real_servers": [
            {"address": "198.51.100.21", "port": 8080, "weight": 3, "upper_threshold": 100, "lower_threshold": 50},
            {"address": "198.51.100.22", "weight": 0},
        ],
    },
    {
        "fwmark": 7,
        "family": "ipv6",
        "persistence_timeout": 60,
        "persistence_netmask": 64,
        "forwarding": "tunnel",
        "tunnel": {"type": "gue", "port": 6080, "checksum": "csum"},
        "real_servers": [{"address": "2001:db8:b::21"}, {"address": "2001:db8:b::22", "weight": 5}],
    },
    {"protocol": "udp", "address": "192.0.2.10", "port": 53, "one_packet": True, "real_servers": []},
]


@pytest.fixture
def records(tmp_path: Path) -> dict[str, Any]:
    names = ("table", "drains", "timeouts", "sync_daemons", "addresses", "nftables")
    return {name: str(tmp_path / name) for name in names}


@pytest.fixture
def restore(tmp_path: Path, records: dict[str, Any]) -> Restore:
    """The program as the module installs it, run as the unit runs it, but where importing Ansible fails."""
    files: dict[str, Any] = {"program": str(tmp_path / "restore.pyz"), "unit": str(tmp_path / "unit")}
    run_module("restore_unit", **records, **files)
    unit = (tmp_path / "unit").read_text()
    command = next(line.split("=", 1)[1] for line in unit.splitlines() if line.startswith("ExecStart="))
    python, isolated, program, *arguments = command.split()
    assert python == sys.executable
    start = f"import runpy, sys; sys.modules['ansible'] = None; runpy.run_path({program!r}, run_name='__main__')"

    def run() -> subprocess.CompletedProcess[str]:
        command = [python, isolated, "-c", start, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def dummy(*names: str) -> None:
    for name in names:
        subprocess.run(["ip", "link", "add", name, "up", "type", "dummy"], check=True)


def seen(ipvsadm: Ipvsadm) -> dict[str, Any]:
    """The host as tools that are none of ours tell it."""
    quiescent = Path("/proc/sys/net/ipv4/vs/expire_quiescent_template")
    return {
        "table": sorted(ipvsadm("-Sn").splitlines()),
        "thresholds": sorted(ipvsadm("-Ln", "--thresholds").splitlines()),
        "timeouts": ipvsadm("-L", "--timeout"),
        "daemons": sorted(ipvsadm("-L", "--daemon").splitlines()),
        "quiescent": quiescent.read_text(),
        "addresses": subprocess.run(["ip", "-o", "address", "show", "dev", "front"], capture_output=True, text=True)
        .stdout.replace("tentative ", "")
        .splitlines(),
    }


def prepare(records: dict[str, Any]) -> None:
    run_module("table", services=SERVICES, record=records["table"], drains=records["drains"])
    run_module("drain", real_servers=["2001:db8:b::22"], record=records["drains"])
    run_module("timeouts", tcp=100, udp=30, record=records["timeouts"])
    # A daemon would have to be stopped before a namespace may go.
    vips = ["192.0.2.10", "2001:db8:f::10"]
    run_module("virtual_address", addresses=vips, interface="front", record=records["addresses"])


def test_all_that_was_recorded_comes_back(
    records: dict[str, Any], restore: Restore, ipvsadm: Ipvsadm, netns: Callable[[], None]
) -> None:
    dummy("front")
    prepare(records)
    before = seen(ipvsadm)
    assert any("2001:db8:b::22" in line and "-w 0" in line for line in before["table"])
    assert before["quiescent"] == "1\n"

    netns()
    dummy("front")
    assert ipvsadm("-Sn") == ""
    done = restore()
    assert (done.returncode, done.stderr) == (0, "")
    # Addresses come last.
    steps = done.stdout.splitlines()
    assert [step for step in steps if " to front" in step] == steps[-2:]
    after = seen(ipvsadm)
    assert before["addresses"]
    # Interfaces and lifetimes are numbered anew.
    before["addresses"], after["addresses"] = (
        [line.split()[3] for line in told["addresses"] if " fe80:" not in line] for told in (before, after)
    )
    assert after == before


def test_a_second_run_sends_nothing(records: dict[str, Any], restore: Restore, ipvsadm: Ipvsadm) -> None:
    dummy("front")
    prepare(records)
    # What others made stays.
    ipvsadm("-A", "-t", "192.0.2.99:80", "-s", "rr")
    before = seen(ipvsadm)
    done = restore()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert seen(ipvsadm) == before


def test_only_the_difference_is_sent(records: dict[str, Any], restore: Restore, ipvsadm: Ipvsadm) -> None:
    dummy("front")
    prepare(records)
    before = seen(ipvsadm)
    ipvsadm("-e", "-t", "192.0.2.10:80", "-r", "198.51.100.21:8080", "-m", "-w", "9", "-x", "100", "-y", "50")
    done = restore()
    assert done.stdout == "edit real server 198.51.100.21:8080 of service tcp 192.0.2.10:80\n"
    assert seen(ipvsadm) == before


def test_sync_daemons_come_back(
    records: dict[str, Any], restore: Restore, ipvsadm: Ipvsadm, netns: Callable[[], None]
) -> None:
    dummy("front", "back")
    daemons = [{"role": "master", "interface": "front", "id": 7}, {"role": "backup", "interface": "back", "id": 8}]
    run_module("sync_daemon", daemons=daemons, record=records["sync_daemons"])
    before = seen(ipvsadm)["daemons"]
    assert len(before) == 2
    try:
        netns()
        dummy("front", "back")
        assert restore().returncode == 0
        assert seen(ipvsadm)["daemons"] == before
    finally:
        run_module("sync_daemon", daemons=[], purge="all")


def test_what_is_missing_fails_and_the_rest_comes_back(
    records: dict[str, Any], restore: Restore, ipvsadm: Ipvsadm, netns: Callable[[], None]
) -> None:
    dummy("front")
    prepare(records)
    before = seen(ipvsadm)["table"]
    netns()
    done = restore()
    assert done.returncode == 1
    assert done.stderr == f"addresses of {records['addresses']}: interface: there is no interface 'front'\n"
    assert seen(ipvsadm)["table"] == before


def test_a_table_that_the_kernel_refuses_keeps_the_addresses_away(
    records: dict[str, Any], restore: Restore, ipvsadm: Ipvsadm, netns: Callable[[], None]
) -> None:
    dummy("front")
    prepare(records)
    path = Path(records["table"])
    path.write_text(path.read_text().replace('"mh"', '"nosuch"').replace('"mh-port"', '"flag-2"'))
    netns()
    dummy("front")
    done = restore()
    assert done.returncode == 1
    assert done.stderr.startswith(f"table of {records['table']}: ")
    assert "nosuch" in done.stderr or "service tcp 192.0.2.10:80" in done.stderr
    assert "192.0.2.10" not in "".join(seen(ipvsadm)["addresses"])
