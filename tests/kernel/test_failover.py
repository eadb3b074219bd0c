# SPDX-License-Identifier: GPL-3.0-or-later
"""What the planned switch does on the director that gives the addresses away, whatever happens to it in between."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel

from .conftest import eventually, run_module

PLAYBOOK = Path(__file__).resolve().parents[2] / "playbooks" / "failover.yml"
SETTINGS = Path("/proc/sys/net/ipv4/vs")
VIP = "192.0.2.10"


def switch(hold: Path, pause: float = 0.5, bound: float = 20, rest: float = 0.5) -> str:
    """The task's command, its variables filled in."""
    plays = yaml.safe_load(PLAYBOOK.read_text())
    (play,) = [play for play in plays if play["name"] == "Give the virtual addresses away"]
    (task,) = play["tasks"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["quote"] = shlex.quote
    words: dict[str, Any] = {
        "__failover_vip": VIP,
        "__failover_pause": pause,
        "__failover_bound": bound,
        "__failover_rest": rest,
        "keepalived_hold_file": str(hold),
    }
    words["__failover_here"] = environment.from_string(play["vars"]["__failover_here"]).render(words)
    return environment.from_string(task["ansible.builtin.raw"]).render(words)


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    # It is there once the module is loaded.
    run_module("table", services=[])
    (SETTINGS / "drop_packet").write_text("1")
    (SETTINGS / "am_droprate").write_text("7")
    file = tmp_path / "it is held"
    file.write_text("0\n")
    return file


@contextlib.contextmanager
def begun(command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sh", "-c", command]) as running:
        try:
            yield running
        finally:
            running.kill()


def ended(command: str) -> tuple[int, str]:
    """Its status, and what it says."""
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout + done.stderr


def drops() -> bool:
    return (SETTINGS / "drop_packet").read_text() == "3\n"


def put_back() -> bool:
    return [(SETTINGS / name).read_text() for name in ("drop_packet", "am_droprate")] == ["1\n", "7\n"]


@pytest.mark.parametrize("interface", ["front", "lvs-vip"])
def test_it_waits_for_the_address_to_go_from_where_keepalived_has_it(hold: Path, interface: str) -> None:
    # By the other one, of the role real_server, nobody on the link hears of it.
    subprocess.run(["ip", "link", "add", interface, "type", "dummy"], check=True)
    subprocess.run(["ip", "address", "add", f"{VIP}/32", "dev", interface], check=True)
    with begun(switch(hold)) as running:
        eventually(lambda: hold.read_text() == "1\n")
        if interface == "front":
            time.sleep(1)
            assert drops()
            subprocess.run(["ip", "address", "del", f"{VIP}/32", "dev", interface], check=True)
        eventually(put_back, 3)
        assert running.wait(10) == 0
    assert hold.read_text() == "0\n"
    # Nothing of it is left: it can be done again at once.
    assert ended(switch(hold)) == (0, "")


def test_a_switch_that_is_killed_drops_no_longer_than_it_would_have_taken(hold: Path) -> None:
    with begun(switch(hold, pause=5, bound=3)):
        eventually(drops)
        hold.write_text("1\n")
    assert drops()
    # Another one would take that for what there was before.
    assert ended(switch(hold)) == (1, "Another switch is under way, or was killed a moment ago\n")
    eventually(put_back)
    eventually(lambda: hold.read_text() == "0\n")
    eventually(lambda: ended("flock --nonblock /run/lvs-failover.lock true")[0] == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_switch_that_is_ended_puts_all_back(hold: Path, number: signal.Signals) -> None:
    with begun(switch(hold, pause=1)) as running:
        eventually(drops)
        running.send_signal(number)
        running.wait(10)
    assert put_back()
    assert hold.read_text() == "0\n"


def test_a_switch_and_who_changes_the_table_wait_for_each_other(hold: Path) -> None:
    with Kernel() as kernel, contextlib.ExitStack() as stack:
        with kernel.alone():
            running = stack.enter_context(begun(switch(hold, pause=1)))
            time.sleep(1)  # a spell in which it must not begin: the lock is held
            assert not drops()
        eventually(drops)
        with kernel.alone():
            assert put_back()
        assert running.wait(10) == 0
