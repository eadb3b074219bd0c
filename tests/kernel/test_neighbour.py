# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual addresses that another host on the link has already: two namespaces joined by a wire."""

from __future__ import annotations

import contextlib
import errno
import os
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
MINE, MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def other() -> Iterator[Callable[..., str]]:
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
        ip("link", "add", "front", "address", MINE, "type", "veth", "peer", "name", "wire", "address", MAC)
        ip("link", "set", "wire", "netns", str(host.pid))

        def run(*command: str) -> str:
            words = ["nsenter", "--net", "--target", str(host.pid), *command]
            return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout

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


def test_who_answers_is_found(other: Callable[..., str]) -> None:
    for address in ("192.0.2.10/32", "2001:db8:f::10/128"):
        other("ip", "address", "add", address, "dev", "wire", *(["nodad"] if ":" in address else []))
    asked = ["192.0.2.10", "192.0.2.9", "2001:db8:f::10", "2001:db8:f::9"]
    assert _neighbour.holders("front", asked) == {"192.0.2.10": MAC, "2001:db8:f::10": MAC}


@pytest.mark.parametrize("vip", ["192.0.2.10", "2001:db8:f::10"])
def test_an_address_in_use_is_refused_before_anything_is_added(
    vip: str, other: Callable[..., str], module: Module
) -> None:
    other("ip", "address", "add", vip, "dev", "wire", *(["nodad"] if ":" in vip else []))
    vips = ["192.0.2.9", vip]
    for check in (True, False):
        with pytest.raises(
            ModuleFailed, match=rf"^addresses\[1\]: {vip} is in use: {MAC} answers for it on the link of f"
        ):
            module("virtual_address", check=check, addresses=vips, interface="front", probe=True)
    assert "192.0.2.9" not in ip("address", "show", "dev", "front")


def test_who_does_not_answer_does_not_have_it(
    other: Callable[..., str], module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server behind direct forwarding has the address, and is silent about it."""
    other("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore")
    for address in ("192.0.2.10", "2001:db8:f::10"):
        other("ip", "address", "add", address, "dev", "lo")
    vips = ["192.0.2.10", "2001:db8:f::10"]
    assert module("virtual_address", addresses=vips, interface="front", probe=True)["step_count"] == 2
    # What is there already is not asked for, so that nobody waits.
    monkeypatch.delattr(_neighbour, "holders")
    assert not module("virtual_address", addresses=vips, interface="front", probe=True)["changed"]


def test_a_link_of_nobody(module: Module) -> None:
    assert module("virtual_address", addresses=["192.0.2.10"], interface="lo", probe=True)["changed"]


@pytest.mark.parametrize("vip", ["192.0.2.10", "2001:db8:f::10"])
def test_a_boot_leaves_out_what_another_has_by_now(
    vip: str, other: Callable[..., str], module: Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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


# -- announcements --

VIPS = ["192.0.2.10", "2001:db8:f::10"]
FORMER = "02:00:00:00:00:99"


def remember(other: Callable[..., str]) -> None:
    """The other host is a router that has just sent packets to who had the addresses before."""
    for vip in VIPS:
        other("ip", "neighbour", "replace", vip, "lladdr", FORMER, "dev", "wire", "nud", "reachable")


def remembered(other: Callable[..., str]) -> list[str]:
    """The MAC addresses by which the other host knows the addresses."""
    lines = [other("ip", "neighbour", "show", "to", vip, "dev", "wire") for vip in VIPS]
    return [line.split()[line.split().index("lladdr") + 1] for line in lines]


def test_neighbours_learn_of_an_address_that_has_moved_here(other: Callable[..., str], module: Module) -> None:
    remember(other)
    module("virtual_address", addresses=VIPS, interface="front")
    assert remembered(other) == [MINE] * 2
    # What is there already is not told again.
    remember(other)
    assert not module("virtual_address", addresses=VIPS, interface="front")["changed"]
    assert remembered(other) == [FORMER] * 2


def test_neighbours_learn_of_an_address_that_a_boot_brings_back(
    other: Callable[..., str], module: Module, tmp_path: Path
) -> None:
    record = tmp_path / "addresses.json"
    module("virtual_address", addresses=VIPS, interface="front", record=str(record))
    for vip in VIPS:
        ip("address", "del", vip, "dev", "front")
    remember(other)
    assert _restore.main(["--addresses", str(record)]) == 0
    assert remembered(other) == [MINE] * 2


def test_what_cannot_be_told_hides_nothing_else(
    other: Callable[..., str],
    module: Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = tmp_path / "addresses.json"
    module("virtual_address", addresses=[*VIPS, "192.0.2.9"], interface="front", record=str(record))
    for vip in (*VIPS, "192.0.2.9"):
        ip("address", "del", vip, "dev", "front")
    other("ip", "address", "add", "192.0.2.9", "dev", "wire")

    def announce(interface: str, addresses: list[str]) -> None:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    monkeypatch.setattr(_neighbour, "announce", announce)
    assert _restore.main(["--addresses", str(record)]) == 1
    assert "192.0.2.9 is in use" in capsys.readouterr().err
    for vip in VIPS:
        ip("address", "del", vip, "dev", "front")
    other("ip", "address", "del", "192.0.2.9", "dev", "wire")
    assert _restore.main(["--addresses", str(record)]) == 1
    assert "the new addresses are on front, but its neighbours could not be told (No buffer" in capsys.readouterr().err


def test_each_announcement_is_sent_several_times(other: Callable[..., str], module: Module) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003)) as packets:  # ETH_P_ALL
        packets.bind(("front", 0x0003))
        packets.setblocking(False)
        module("virtual_address", addresses=VIPS, interface="front")
        sent = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_interface, protocol, _kind, _hardware, _source) = packets.recvfrom(2048)
                sent.append((protocol, data))
    vip, vip6 = (socket.inet_pton(socket.AF_INET6 if ":" in vip else socket.AF_INET, vip) for vip in VIPS)
    ours = bytes.fromhex(MINE.replace(":", ""))
    # A question for the very address that asks (RFC 5227, section 3).
    announcement = bytes.fromhex("0001080006040001") + ours + vip + bytes(6) + vip
    assert [data for protocol, data in sent if protocol == 0x0806] == [announcement] * _neighbour.ANNOUNCEMENTS
    # To all nodes, from this link, unsolicited, to override (RFC 4861, section 7.2.6).
    advertised = [data for protocol, data in sent if protocol == 0x86DD and data[40] == 136 and data[48:64] == vip6]
    assert len(advertised) == _neighbour.ANNOUNCEMENTS
    for data in advertised:
        assert data[7] == 255
        assert data[24:40] == socket.inet_pton(socket.AF_INET6, "ff02::1")
        assert data[44:48] == bytes.fromhex("20000000")
        assert data[64:] == b"\2\1" + ours


@pytest.mark.parametrize("where", ["no source", "lo", "without arp"])
def test_who_does_not_answer_clients_announces_nothing(where: str, other: Callable[..., str], module: Module) -> None:
    """A real server behind direct forwarding has the addresses of its director."""
    remember(other)
    if where == "without arp":
        ip("link", "set", "front", "arp", "off")
    interface = "lo" if where == "lo" else "front"
    assert module("virtual_address", addresses=VIPS, interface=interface, source=where != "no source")["changed"]
    assert remembered(other) == [FORMER] * 2
