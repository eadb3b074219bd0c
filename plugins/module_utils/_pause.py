# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Lets no connection begin for a moment, and refuses none: whoever began sends its first packet again.

To change a scheduler, the kernel takes the old one off and waits for all processors before it puts the new one on
(ip_vs_edit_service()). A connection that would begin in between is refused as if there were no real server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils._model import Table
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import Step, reschedules

#: Each network namespace has its own, while ip_vs is loaded.
MODE, RATE = "/proc/sys/net/ipv4/vs/drop_packet", "/proc/sys/net/ipv4/vs/am_droprate"
#: Of each so many packets that would begin a connection one is dropped, whatever memory there is.
_ALWAYS, _EVERY = 3, 1


def while_rescheduled(have: Table) -> t.Callable[[list[Step]], t.ContextManager[None]]:
    """What to put around steps on this table: nobody_begins() if they change the scheduler of a service that serves."""
    return lambda steps: nobody_begins() if reschedules(have, steps) else contextlib.nullcontext()


@contextlib.contextmanager
def nobody_begins() -> t.Iterator[None]:
    """Drop what would begin a connection, of whatever service, for as long as the block lasts.

    Where the settings cannot be written, as in some containers, the block runs without.
    """
    try:
        mode, rate = _read(MODE), _read(RATE)
        _set(mode, rate)
    except OSError:
        yield
        return
    with _kept(mode, rate):
        try:
            _set(_ALWAYS, _EVERY)
            yield
        finally:
            _set(mode, rate)


@contextlib.contextmanager
def _kept(mode: int, rate: int) -> t.Iterator[None]:
    """See that the settings come back even if this process is killed: to its child a pipe tells of its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            os.close(writing)
            os.read(reading, 1)
            _set(mode, rate)
        finally:
            os._exit(0)
    # Out of the group before anything is set: Ansible kills all of it when the time of an asynchronous task is over.
    os.setpgid(child, child)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def _read(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _set(mode: int, rate: int) -> None:
    # The rate is looked at when the mode changes.
    for path, value in ((RATE, rate), (MODE, 0), (MODE, mode)):
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
