# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual addresses that another host on the link has already: two namespaces joined by a wire."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _neighbour, _restore

from .conftest import ModuleFailed

Module = Callable[..., dict[str, Any]]
MAC = "02:00:00:00:00:02"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def other() -> Iterator[Callable[..., None]]:
    """Another host at the end of the interface ``front``; runs a command there."""
    # Who asks for IPv6 has the kernel load it.
    socket.socket(socket.AF_INET6).close()
    host = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        here = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True, check=True).stdout
        there = here
        while there == here:
            time.sleep(0.02)
            there = subprocess.run(
                ["readlink", f"/proc/{host.pid}/ns/net"], capture_output=True, text=True, check=True
            ).stdout
        ip("link", "add", "front", "type", "veth", "peer", "name", "wire", "address", MAC)
        ip("link", "set", "wire", "netns", str(host.pid))

        def run(*command: str) -> None:
            subprocess.run(["nsenter", "--net", "--target", str(host.pid), *command], check=True)

        run("ip", "link", "set", "wire", "up")
        run("ip", "link", "set", "lo", "up")
        ip("link", "set", "front", "up")
        ip("address", "add", "192.0.2.11/24", "dev", "front")
        # A link-local address without duplicate address detection, to ask from.
        ip("address", "add", "fe80::11/64", "dev", "front", "nodad")
        yield run
    finally:
        host.kill()
        host.wait()


def test_who_answers_is_found(other: Callable[..., None]) -> None:
    for address in ("192.0.2.10/32", "2001:db8:f::10/128"):
        other("ip", "address", "add", address, "dev", "wire", *(["nodad"] if ":" in address else []))
    asked = ["192.0.2.10", "192.0.2.9", "2001:db8:f::10", "2001:db8:f::9"]
    assert _neighbour.holders("front", asked) == {"192.0.2.10": MAC, "2001:db8:f::10": MAC}


@pytest.mark.parametrize("vip", ["192.0.2.10", "2001:db8:f::10"])
def test_an_address_in_use_is_refused_before_anything_is_added(
    vip: str, other: Callable[..., None], module: Module
) -> None:
    other("ip", "address", "add", vip, "dev", "wire", *(["nodad"] if ":" in vip else []))
    vips = ["192.0.2.9", vip]
    for check in (True, False):
        with pytest.raises(
            ModuleFailed, match=rf"^addresses\[1\]: {vip} is in use: {MAC} answers for it on the link of f"
        ):
            module("virtual_address", check=check, addresses=vips, interface="front", probe=True)
    assert "192.0.2.9" not in ip("address", "show", "dev", "front")


def test_who_does_not_answer_does_not_have_it(other: Callable[..., None], module: Module) -> None:
    """A real server behind direct forwarding has the address, and is silent about it."""
    other("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore")
    for address in ("192.0.2.10", "2001:db8:f::10"):
        other("ip", "address", "add", address, "dev", "lo")
    vips = ["192.0.2.10", "2001:db8:f::10"]
    assert module("virtual_address", addresses=vips, interface="front", probe=True)["step_count"] == 2
    # What is there already is not asked for, so that nobody waits.
    before = time.monotonic()
    assert not module("virtual_address", addresses=vips, interface="front", probe=True)["changed"]
    assert time.monotonic() - before < _neighbour.PATIENCE


def test_a_link_of_nobody(module: Module) -> None:
    assert module("virtual_address", addresses=["192.0.2.10"], interface="lo", probe=True)["changed"]


@pytest.mark.parametrize("vip", ["192.0.2.10", "2001:db8:f::10"])
def test_a_boot_leaves_out_what_another_has_by_now(
    vip: str, other: Callable[..., None], module: Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "addresses.json"
    module("virtual_address", addresses=[vip, "192.0.2.9"], interface="front", record=str(record))
    for address in (vip, "192.0.2.9"):
        ip("address", "del", address, "dev", "front")
    other("ip", "address", "add", vip, "dev", "wire", *(["nodad"] if ":" in vip else []))
    for steps in (1, 0):
        assert _restore.main(["--addresses", str(record)]) == 1
        failure = capsys.readouterr().err
        assert failure == (
            f"addresses of {record}: {vip} is in use: {MAC} answers for it on the link of front: this host stays without;"
            f" {steps} steps were done\n"
        )
    # It is still known: the boot after the other has let go brings it back.
    other("ip", "address", "del", vip, "dev", "wire")
    assert _restore.main(["--addresses", str(record)]) == 0
    assert capsys.readouterr().out == f"add {vip} to front\n"
    assert vip in ip("address", "show", "dev", "front")
