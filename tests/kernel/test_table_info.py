# SPDX-License-Identifier: GPL-3.0-or-later
"""What table_info says of the kernel itself. Services are read in test_generated.py, counters in test_counters.py."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _capabilities

from .words import SCHEDULERS, kernel_schedulers

Apply = Callable[..., dict[str, Any]]
Module = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]


@pytest.fixture
def capabilities(module: Module, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """Where this kernel's modules are is known to its modprobe; in user-mode Linux it is not /lib/modules."""
    modprobe = Path(Path("/proc/sys/kernel/modprobe").read_text().strip())
    elsewhere = re.search(r" -d (\S+)", modprobe.read_text(errors="replace"))
    if elsewhere:
        monkeypatch.setattr(_capabilities, "MODULES", f"{elsewhere[1]}/lib/modules")

    def read() -> dict[str, Any]:
        result: dict[str, Any] = module("table_info", gather=["capabilities"])["capabilities"]
        return result

    return read


def loaded() -> set[str]:
    return {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}


def test_the_schedulers_are_those_that_ipvsadm_can_use(
    capabilities: Callable[[], dict[str, Any]], ipvsadm: Ipvsadm
) -> None:
    ipvsadm("-L")  # loads ip_vs
    before = loaded()
    told = capabilities()
    assert loaded() == before, "asking loads no scheduler"
    assert told["kernel"] == os.uname().release
    assert set(told["schedulers"]) & set(SCHEDULERS) == set(kernel_schedulers())
    assert {"rr", "wlc", "sh", "mh"} <= set(told["schedulers"])
    for scheduler in told["schedulers"]:
        ipvsadm("-A", "-f", "7", "-s", scheduler)
        ipvsadm("-D", "-f", "7")
    assert told["persistence_engines"] == ["sip"]
    ipvsadm("-A", "-f", "7", "-p", "--pe", "sip")
    assert capabilities()["schedulers"] == told["schedulers"]


def test_the_schedulers_that_are_loaded_are_known_without_the_files_of_modules(
    module: Module, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_capabilities, "MODULES", "/nowhere")
    apply([{"fwmark": 7, "scheduler": "sed"}])
    assert "sed" in module("table_info", gather=["capabilities"])["capabilities"]["schedulers"]


def test_the_sysctls_are_those_that_there_are(capabilities: Callable[[], dict[str, Any]]) -> None:
    folder = Path("/proc/sys/net/ipv4/vs")
    sysctls = capabilities()["sysctls"]
    assert sysctls.keys() == {path.name for path in folder.iterdir()}
    assert (sysctls["expire_nodest_conn"], sysctls["sync_threshold"]) == (0, "3 50")
    (folder / "expire_nodest_conn").write_text("1")
    assert capabilities()["sysctls"]["expire_nodest_conn"] == 1


def test_version_and_size_are_those_of_ipvsadm(module: Module, apply: Apply, ipvsadm: Ipvsadm) -> None:
    for services in ([], [{"fwmark": 7}]):
        apply(services)
        found = re.search(r"version ([\d.]+) \(size=(\d+)\)", ipvsadm("-Ln"))
        assert found
        told = module("table_info", gather=[])
        assert (told["version"], told["connection_table_size"]) == (found[1], int(found[2]))
