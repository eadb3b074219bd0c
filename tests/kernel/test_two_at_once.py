# SPDX-License-Identifier: GPL-3.0-or-later
"""Others change the same table at the same time: runs of ours wait for each other, and are told of ipvsadm's."""

from __future__ import annotations

import functools
import itertools
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _record

from .conftest import ModuleFailed
from .words import Words, normal, seen

Apply = Callable[..., dict[str, Any]]
Table = Callable[[], tuple[list[str], list[str]]]
Module = Callable[..., dict[str, Any]]


def web(number: int, servers: range, **options: Any) -> Words:
    return {
        "protocol": "tcp",
        "address": f"192.0.2.{number}",
        "port": 80,
        "real_servers": [{"address": f"198.51.100.{n}", **options} for n in servers],
    }


START = [web(10, range(1, 9)), web(11, range(1, 9)), web(12, range(1, 9))]
ONE = [web(10, range(5, 13)), web(11, range(1, 9), weight=3), web(13, range(1, 5))]
OTHER = [web(10, range(1, 13), weight=2), web(12, range(5, 7)), web(13, range(3, 9)), web(14, range(1, 5))]


def started(job: Callable[[], object], told: Path) -> int:
    """A child that does a job, and pauses around each datagram so that another can come between; what it fails of is told."""
    child = os.fork()
    if child:
        return child

    class Slow(socket.socket):
        def send(self, data: Any, *args: Any) -> int:
            time.sleep(0.001)
            size = super().send(data, *args)
            time.sleep(0.001)
            return size

    status = 1
    try:
        socket.socket = Slow  # type: ignore[misc]  # in this child only
        job()
        status = 0
    except ModuleFailed as error:
        told.write_text(str(error))
    except BaseException:
        told.write_text(traceback.format_exc())
    finally:
        os._exit(status)


@pytest.mark.parametrize("round_", range(8))
def test_of_two_tables_the_later_is_there_whole(round_: int, apply: Apply, table: Table, tmp_path: Path) -> None:
    apply(START)
    jobs = {"one": ONE, "other": OTHER}
    if round_ % 2:
        jobs = dict(reversed(jobs.items()))
    children = [started(functools.partial(apply, services), tmp_path / name) for name, services in jobs.items()]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert [path.read_text() for path in tmp_path.iterdir()] == []
    assert codes == [0, 0]
    assert table() in (seen(normal(ONE)), seen(normal(OTHER)))
    apply(ONE)
    assert table() == seen(normal(ONE))


def test_two_that_add_do_not_lose_what_the_other_added(
    apply: Apply, module: Module, table: Table, tmp_path: Path
) -> None:
    service = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}

    def add(numbers: range) -> None:
        for number in numbers:
            module("real_server", service=service, address=f"198.51.100.{number}")

    apply([web(10, range(1, 2))])
    children = [
        started(functools.partial(add, numbers), tmp_path / str(numbers.start))
        for numbers in (range(1, 12), range(6, 17))
    ]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert table() == seen(normal([web(10, range(1, 17))]))


# What somebody does by hand while a run of ours is on its way from START to ONE.
MEANWHILE = {
    "adds what we add": "-A -t 192.0.2.13:80 -s rr\n-a -t 192.0.2.13:80 -r 198.51.100.1:80 -g -w 7\n",
    "removes what we edit": "-d -t 192.0.2.11:80 -r 198.51.100.2:80\n",
    "removes what we remove": "-D -t 192.0.2.12:80\n",
    "removes what we add to": "-D -t 192.0.2.10:80\n",
    "edits what we edit": "-e -t 192.0.2.11:80 -r 198.51.100.2:80 -m -w 9\n",
    "adds a service of its own": "-A -t 192.0.2.99:80 -s rr\n",
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_ipvsadm_between_any_two_datagrams(
    what: str,
    netns: Callable[[], None],
    apply: Apply,
    table: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = set()
    for before in itertools.count(1):
        netns()
        apply(START)
        sent = itertools.count(1)

        class Interrupted(socket.socket):
            def send(self, data: Any, *args: Any, sent: Any = sent, before: int = before) -> int:
                if next(sent) == before:
                    # Late, it is the one that is refused.
                    subprocess.run(["ipvsadm", "-R"], input=MEANWHILE[what], text=True, check=False)
                return super().send(data, *args)

        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Interrupted)
            try:
                apply(ONE)
            except ModuleFailed as error:
                assert "something else changes this table at the same time" in str(error)
                assert "running again takes up from there" in str(error)
                failures.add(str(error))
        count = next(sent) - 1
        apply(ONE)
        assert table() == seen(normal(ONE))
        assert not apply(ONE)["changed"]
        if count < before:  # it came to no word any more
            break
    assert before > 6
    assert bool(failures) == (what in ("adds what we add", "removes what we edit", "removes what we add to"))


def test_a_user_who_locks_all_that_users_can_holds_nobody_up(apply: Apply, table: Table, tmp_path: Path) -> None:
    record = tmp_path / "state" / "table.json"
    apply(START, record=str(record))
    tmp_path.chmod(0o755)
    locking = """
import fcntl, glob, os, sys, time
os.setuid(65534)
held = []
for path in ["/proc/self/ns/net", "/run", *sys.argv[1:], *glob.glob("/run/lvs.ipvs/*")]:
    try:
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX)
    except PermissionError:
        pass
print(len(held), flush=True)
time.sleep(600)
"""
    words = [sys.executable, "-I", "-c", locking, str(record.parent), f"{record}.lock"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as user:
        try:
            assert user.stdout
            assert int(user.stdout.readline()) >= 2
            apply(ONE, record=str(record))
        finally:
            user.kill()
    assert table() == seen(normal(ONE))


def test_who_holds_the_table_for_ever_is_named(apply: Apply, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(START)
    (lock,) = Path("/run/lvs.ipvs").glob(f"{os.stat('/proc/self/ns/net').st_ino}.lock")
    monkeypatch.setattr(_record, "PATIENCE", 0.2)
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            holder.stdout.readline()
            with pytest.raises(
                ModuleFailed, match=rf"^the lock {lock} was not .*: process {holder.pid} \(flock {lock} sh"
            ):
                apply(ONE)
        finally:
            subprocess.run(["pkill", "-P", str(holder.pid)], check=True)
    assert table() == seen(normal(START))
