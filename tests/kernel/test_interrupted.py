# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed between any two datagrams: no service is without real servers meanwhile, and the next run completes it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _kernel

from .words import Words, edited, normal, seen, tables

Apply = Callable[..., dict[str, Any]]
Table = Callable[[], tuple[list[str], list[str]]]
Ipvsadm = Callable[..., str]


def killed(after: int, job: Callable[[], object]) -> bool:
    """Do a job in a child that dies right after so many datagrams: whether it was alive so long."""
    child = os.fork()
    if not child:
        sent = itertools.count(1)

        class Mortal(socket.socket):
            def send(self, data: Any, *args: Any) -> int:
                # The kernel has worked through the datagram when this returns.
                size = super().send(data, *args)
                if next(sent) == after:
                    os.kill(os.getpid(), signal.SIGKILL)
                return size

        status = 1
        try:
            socket.socket = Mortal  # type: ignore[misc]  # in this child only
            job()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def every_kill(start: Callable[[], object], job: Callable[[], object]) -> Iterator[None]:
    """The states in which a job may be killed, each from the start."""
    for after in itertools.count(1):
        start()
        if not killed(after, job):
            return
        yield


def in_use(table: list[str]) -> set[str]:
    """The services of `ipvsadm -Sn` that have a real server for new connections."""
    words = (line.partition(" -r ") for line in table if line.startswith("-a ") and " -w 0" not in line)
    return {service.removeprefix("-a ") for service, _r, _server in words}


def web(address: str, first: int, count: int, **options: Any) -> Words:
    servers = [{"address": str(IPv4Address("198.18.0.0") + first + n)} for n in range(count)]
    return {"protocol": "tcp", "address": address, "port": 80, "real_servers": servers, **options}


# Every real server is replaced in the first two, in several datagrams; the others are edited, removed and added.
BEFORE = [
    web("192.0.2.10", 1, 130, scheduler="rr"),
    web("192.0.2.11", 1, 130, scheduler="wrr"),
    web("192.0.2.12", 1, 3),
    web("192.0.2.13", 1, 3),
]
AFTER = [
    web("192.0.2.10", 1001, 130, scheduler="rr"),
    web("192.0.2.11", 1001, 130, scheduler="wlc"),
    {**web("192.0.2.12", 1, 0), "real_servers": [{"address": "198.18.0.1", "weight": 0}, {"address": "198.18.0.2"}]},
    web("192.0.2.14", 1, 3),
]
STAY = {"-t 192.0.2.10:80", "-t 192.0.2.11:80", "-t 192.0.2.12:80"}


def test_a_big_change(netns: Callable[[], None], apply: Apply, table: Table, monkeypatch: Any) -> None:
    monkeypatch.setattr(_kernel, "BATCH", 100)

    def start() -> None:
        netns()
        apply(BEFORE)

    met = set()
    for _ in every_kill(start, lambda: apply(AFTER)):
        now = table()
        assert in_use(now[0]) >= STAY
        met.add(tuple(now[0]))
        apply(AFTER)
        assert table() == seen(normal(AFTER))
        assert not apply(AFTER)["changed"]
    # At least what was, four states while 260 come, three while 260 go, and what is to be.
    assert len(met) >= 7
    assert tuple(seen(normal(BEFORE))[0]) in met
    assert tuple(seen(normal(AFTER))[0]) in met


def test_with_a_record_the_next_run_knows_what_is_ours(
    netns: Callable[[], None],
    apply: Apply,
    table: Table,
    ipvsadm: Ipvsadm,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(_kernel, "BATCH", 1)
    record = tmp_path / "table.json"
    before = [web("192.0.2.10", 1, 3), web("192.0.2.11", 1, 2), web("192.0.2.12", 1, 2)]
    after = [web("192.0.2.10", 4, 3), web("192.0.2.11", 2, 1), web("192.0.2.13", 1, 2)]
    others = [web("192.0.2.20", 1, 1)]

    def run(services: list[Words]) -> dict[str, Any]:
        return apply(services, purge="owned", record=str(record))

    def start() -> None:
        netns()
        record.unlink(missing_ok=True)
        ipvsadm("-R", stdin="-A -t 192.0.2.20:80 -s wlc\n-a -t 192.0.2.20:80 -r 198.18.0.1:80 -m -w 1\n")
        run(before)

    met = set()
    for _ in every_kill(start, lambda: run(after)):
        now = table()
        assert in_use(now[0]) >= {"-t 192.0.2.10:80", "-t 192.0.2.11:80", "-t 192.0.2.20:80"}
        met.add(tuple(now[0]))
        run(after)
        assert table() == seen(normal([*after, *others]))
        assert normal(json.loads(record.read_text())["services"]) == normal(after)
        assert not run(after)["changed"]
        assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [record.name]
    # Six messages add, five remove.
    assert len(met) == 12


# Each takes as long as a score of plain ones; a soak has hours for the latter.
@settings(settings(), max_examples=min(settings().max_examples // 10, 300))
@given(data=st.data())
def test_after_any_message_of_any_plan(
    data: st.DataObject, netns: Callable[[], None], apply: Apply, table: Table, ipvsadm: Ipvsadm
) -> None:
    first: list[Words] = data.draw(tables(4), "first")
    second: list[Words] = data.draw(st.one_of(edited(first), tables(4)), "second")
    have, want = seen(normal(first)), seen(normal(second))
    staying = in_use(have[0]) & in_use(want[0])

    def start() -> None:
        netns()
        apply(first)

    was, _kernel.BATCH = _kernel.BATCH, 1
    try:
        for _ in every_kill(start, lambda: apply(second)):
            assert in_use(table()[0]) >= staying
            apply(second)
            assert table() == want
    finally:
        _kernel.BATCH = was
