# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests against a real IPVS. Each test has a network namespace, and so a table, of its own.

They need root and a kernel with IPVS, no more: `tests/kernel/run` brings three such kernels
to any machine, and where there is one already (a host of the lab) pytest may be started directly.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import io
import json
import os
import re
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from hypothesis import HealthCheck, Phase, settings

from . import words

# Fixtures are made for one example and reset by the tests themselves (netns()); a virtual machine knows no deadline.
kernel = settings(
    max_examples=100,
    deadline=None,
    # Without "explain", which runs a failure hundreds of times more to say what of it does not matter.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# The same tables in each run, so that what fails was changed; the soak looks for new ones.
settings.register_profile("kernel", kernel, derandomize=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="10,000 generated tables in place of 100, and others each time"
    )
    parser.addoption(
        "--tables", type=int, default=10_000, metavar="N", help="so many with --soak (default: %(default)s)"
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("kernel")
    if config.getoption("soak"):
        settings.register_profile("soak", kernel, max_examples=config.getoption("tables"))
        settings.load_profile("soak")
    config.addinivalue_line("markers", "own_kernel: takes IPVS out of the kernel, and so runs in user-mode Linux only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text():
        away = [item for item in items if item.get_closest_marker("own_kernel")]
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]


#: How often a generated table has become another one as it should.
transitions = Counter[str]()


@pytest.fixture
def count_transition() -> Callable[[], None]:
    """To be called for each; their number is told in the end."""
    return lambda: transitions.update([os.uname().release])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for release, counted in transitions.items():
        terminalreporter.write_line(f"{counted:,} transitions from one generated table to another, on Linux {release}")


SYS_DELETE_MODULE = 176  # x86_64
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def eventually(what: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until it is so; it is asked as an assertion asks."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter_fresh_namespace() -> None:
    """Leave for a new network namespace, with its loopback up: without it no address is a unicast one."""
    _check(libc.unshare(CLONE_NEWNET))
    up, ifreq = 0x1, "16sh14x"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack(ifreq, b"lo", up))  # SIOCSIFFLAGS


@pytest.fixture(autouse=True)
def netns() -> Iterator[Callable[[], None]]:
    """A pristine namespace; calling the fixture's value gives another."""
    with open("/proc/self/ns/net") as home:
        enter_fresh_namespace()
        yield enter_fresh_namespace
        _check(libc.setns(home.fileno(), CLONE_NEWNET))


@pytest.fixture
def without_ipvs() -> Iterator[None]:
    """A kernel that has no IPVS, nor gets it: its modules are unloaded, and modprobe(8) is out of reach."""
    loader = Path("/proc/sys/kernel/modprobe")
    found = loader.read_text()
    loader.write_text("/nowhere")
    try:
        unload_ipvs()
        yield
    finally:
        loader.write_text(found)


def unload_ipvs() -> None:
    def loaded() -> list[str]:
        names = (line.split()[0] for line in Path("/proc/modules").read_text().splitlines())
        return [name for name in names if name.startswith("ip_vs")]

    # The tables of namespaces that were left hold schedulers until the kernel has cleaned up behind them.
    deadline = time.monotonic() + 30
    while names := loaded():
        assert time.monotonic() < deadline, f"in use: {names}"
        for name in names:
            libc.syscall(SYS_DELETE_MODULE, name.encode(), os.O_NONBLOCK)
        time.sleep(0.02)


@pytest.fixture
def ipvsadm() -> Callable[..., str]:
    """The real ipvsadm(8): its output, or an error with what it said."""

    def run(*args: str, stdin: str | None = None) -> str:
        done = subprocess.run(["ipvsadm", *args], input=stdin, capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            raise RuntimeError(f"ipvsadm {' '.join(args)}: {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    return run


@pytest.fixture
def table(ipvsadm: Callable[..., str]) -> Callable[[], tuple[list[str], list[str]]]:
    """What ipvsadm says of the table, as `words.seen()` puts it."""

    def read() -> tuple[list[str], list[str]]:
        listing = ipvsadm("-Ln", "--thresholds").splitlines()[3:]
        entries = (re.match(r" +(-> \S+) +(\d+) +(\d+) ", line) for line in listing)
        return sorted(ipvsadm("-Sn").splitlines()), sorted(" ".join(entry.groups()) for entry in entries if entry)

    return read


class ModuleFailed(Exception):
    """A module that ended with fail_json: its message, and all it returned."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(result["msg"])
        self.result = result


def run_module(name: str, /, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
    """Run a module's main() in this process, as Ansible would run it elsewhere; what it returns."""
    module = importlib.import_module(f"ansible_collections.lvs.ipvs.plugins.modules.{name}")
    output = io.StringIO()
    with (
        patch_module_args({**options, "_ansible_check_mode": check, "_ansible_diff": diff}),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    result: dict[str, Any] = json.loads(output.getvalue())
    if result.get("failed"):
        raise ModuleFailed(result)
    return result


@pytest.fixture
def module() -> Callable[..., dict[str, Any]]:
    return run_module


@pytest.fixture
def apply() -> Callable[..., dict[str, Any]]:
    """The module lvs.ipvs.table."""

    def run(services: list[words.Words], purge: str = "all", **options: Any) -> dict[str, Any]:
        return run_module("table", services=services, purge=purge, **options)

    return run


# Of enum IPVS_CMD_*: NEW, SET and DEL of services and real servers, NEW and DEL of daemons, SET_CONFIG, ZERO, FLUSH.
WRITES = {1, 2, 3, 5, 6, 7, 9, 10, 12, 16, 17}
# How _kernel.py asks for a scheduler: the kernel refuses this service for another reason, or knows no such scheduler.
PROBE = socket.inet_pton(socket.AF_INET6, "2001:db8::")


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The commands of the messages to IPVS that change something, in the order in which they leave this process."""
    sent: list[int] = []

    class Spy(socket.socket):
        def send(self, data: Any, *args: Any) -> int:
            at = 0
            while at + 20 <= len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                # 0x10 is the controller, which is asked for the family.
                if kind > 0x10 and data[at + 16] in WRITES and PROBE not in data[at : at + size]:
                    sent.append(data[at + 16])
                at += (size + 3) & ~3
            return super().send(data, *args)

    monkeypatch.setattr(socket, "socket", Spy)
    return sent
