# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's virtual machine: options, ports, and which process is whose."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.lvs.ipvs.tests.lab._lab import fleet, machine, report


def options(*, share: bool = True) -> list[str]:
    place = Path("/p")
    return machine.command_line(
        accel="tcg", image=place, memory=place, share=share, disk="d", state=place, forwards=["hostfwd=x"]
    )


def test_network_is_closed_but_for_the_forwards():
    netdev = options()[options().index("-netdev") + 1]
    assert netdev == "user,id=net,ipv6=off,restrict=on,hostfwd=x"


def test_making_and_restoring_differ_only_in_the_memorys_sharing():
    made, restored = options(share=True), options(share=False)
    assert [(a, b) for a, b in zip(made, restored, strict=True) if a != b] == [
        (
            "memory-backend-file,id=ram,size=2G,mem-path=/p,share=on",
            "memory-backend-file,id=ram,size=2G,mem-path=/p,share=off",
        )
    ]


def test_clock_shortcuts_are_for_emulation_only():
    assert "tsc=reliable" in machine.kernel_command_line("tcg")
    assert "tsc" not in machine.kernel_command_line("kvm")


def test_free_ports_are_distinct_and_free():
    ports = machine.free_ports()
    assert set(ports) == set(fleet.octets())
    assert len(set(ports.values())) == len(ports)
    for port in ports.values():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


def test_accelerator_can_be_chosen(monkeypatch):
    monkeypatch.setenv("LAB_ACCEL", "tcg")
    assert machine.accelerator(Path("/nowhere")) == "tcg"
    monkeypatch.setenv("LAB_ACCEL", "xen")
    with pytest.raises(report.LabError, match="LAB_ACCEL=xen: choose one of kvm, tcg"):
        machine.accelerator(Path("/nowhere"))


@pytest.fixture
def process():
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as started:
        yield started
        started.kill()


@pytest.fixture
def known(process, tmp_path):
    """A machine whose run folder says that the process is its QEMU."""
    facts = {"pid": process.pid, "birth": machine.birth(process.pid)}
    (tmp_path / "machine.json").write_text(json.dumps(facts))
    return machine.Machine(tmp_path)


def test_stop_ends_our_process(known, process):
    assert known.facts()
    assert known.stop()
    assert machine.birth(process.pid) is None
    assert known.facts() is None
    assert not known.stop()


def test_another_process_with_our_pid_is_left_alone(known, process):
    facts = known.facts()
    (known.state / "machine.json").write_text(json.dumps(facts | {"birth": facts["birth"] - 1}))
    assert known.facts() is None
    assert not known.stop()
    assert process.poll() is None


def test_nothing_runs_in_an_empty_or_garbled_folder(tmp_path):
    assert machine.Machine(tmp_path).facts() is None
    (tmp_path / "machine.json").write_text('{"pid":')
    assert machine.Machine(tmp_path).facts() is None


def test_a_zombie_is_gone():
    child = os.fork()
    if not child:
        os._exit(0)
    deadline = time.monotonic() + 10
    while machine.birth(child) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert machine.birth(child) is None
    os.waitpid(child, 0)


def test_the_last_words_are_told(tmp_path):
    (tmp_path / "qemu.log").write_text("out of memory\n")
    (tmp_path / "console.log").write_text("\n".join(str(number) for number in range(100)))
    lines = machine.Machine(tmp_path).console(lines=3).split()
    assert lines == ["out", "of", "memory", "97", "98", "99"]


def fake_kvm(folder: Path, script: str) -> str:
    """A QEMU that does what the script says; its path."""
    program = folder / "qemu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "works"),
    [
        ("echo 'Kernel panic: VFS: Unable to mount root fs on unknown-block'", True),
        ("echo 'kvm: No such file'; exit 1", False),
        ("exec sleep 1000", False),
    ],
    ids=["boots", "aborts", "hangs"],
)
def test_kvm_is_used_only_when_a_boot_has_shown_it(monkeypatch, tmp_path, script, works):
    monkeypatch.setattr(machine, "QEMU", fake_kvm(tmp_path, script))
    monkeypatch.setattr(machine, "_PROBE_SECONDS", 1)
    assert machine._kvm_boots(tmp_path) is works
