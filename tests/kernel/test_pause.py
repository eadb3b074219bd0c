# SPDX-License-Identifier: GPL-3.0-or-later
"""While a scheduler changes nobody is refused: what would begin a connection is dropped, and sent again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _pause, _restore
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import Step

from .words import Words

WEB: Words = {
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 80,
    "scheduler": "rr",
    "real_servers": [{"address": "198.51.100.21", "weight": 0}],
}


def settings() -> tuple[str, ...]:
    return tuple(Path(path).read_text().strip() for path in (_pause.MODE, _pause.RATE))


def connect() -> None:
    socket.create_connection(("192.0.2.10", 80), timeout=0.5).close()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """Of each datagram that changes something, how many messages it has and what the settings are meanwhile."""
    batches = []
    send = Kernel._send

    def watched(kernel: Kernel, batch: list[Step]) -> dict[int, int]:
        batches.append((len(batch), settings()))
        return send(kernel, batch)

    monkeypatch.setattr(Kernel, "_send", watched)
    return batches


PLAIN, PAUSED = ("0", "10"), ("3", "1")


def test_only_another_scheduler_of_a_service_in_use_is_worth_a_pause(
    apply: Callable[..., dict[str, Any]], seen: list[tuple[int, tuple[str, ...]]]
) -> None:
    empty: Words = {**WEB, "port": 81, "real_servers": []}
    for services in (
        [WEB, empty],
        [{**WEB, "persistence_timeout": 60}, {**empty, "scheduler": "lc"}],
        [{**WEB, "scheduler": "lc", "persistence_timeout": 60}, {**empty, "scheduler": "lc"}],
    ):
        assert apply(services)["changed"]
        assert settings() == PLAIN
    assert seen == [(3, PLAIN), (2, PLAIN), (1, PAUSED)]


def test_what_else_a_long_plan_does_is_not_worth_a_pause(
    apply: Callable[..., dict[str, Any]], seen: list[tuple[int, tuple[str, ...]]]
) -> None:
    apply([WEB])
    many = [{"address": f"198.51.100.{number}", "weight": 0} for number in range(21, 171)]
    apply([{**WEB, "scheduler": "lc", "real_servers": many}, {**WEB, "port": 81, "real_servers": many}])
    # 149 and 151 are new; the scheduler is changed behind them.
    assert seen == [(2, PLAIN), (250, PLAIN), (51, PAUSED)]
    assert settings() == PLAIN


def test_a_scheduler_that_comes_back_as_recorded_is_worth_a_pause_too(
    apply: Callable[..., dict[str, Any]], seen: list[tuple[int, tuple[str, ...]]], tmp_path: Path
) -> None:
    record = str(tmp_path / "record")
    apply([{**WEB, "scheduler": "lc"}], record=record)
    apply([WEB])
    del seen[:]
    _restore.table(record)
    assert seen == [(1, PAUSED)]
    assert settings() == PLAIN


def test_in_a_pause_nobody_is_refused(apply: Callable[..., dict[str, Any]]) -> None:
    subprocess.run(["ip", "address", "add", "192.0.2.10/32", "dev", "lo"], check=True)
    apply([WEB])
    with pytest.raises(ConnectionRefusedError):
        connect()
    with _pause.nobody_begins(), pytest.raises(TimeoutError):
        connect()
    with pytest.raises(ConnectionRefusedError):
        connect()


def test_a_pause_ends_though_its_process_is_killed(apply: Callable[..., dict[str, Any]]) -> None:
    """And all of its process group, as Ansible does with a task whose time as ``async`` is over."""
    apply([WEB])
    Path(_pause.RATE).write_text("7")
    paused = os.fork()
    if not paused:
        os.setpgid(0, 0)
        with _pause.nobody_begins():
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(paused, os.WUNTRACED)
    assert settings() == ("3", "1")
    os.killpg(paused, signal.SIGKILL)
    os.waitpid(paused, 0)
    deadline = time.monotonic() + 60
    while settings() != ("0", "7"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
