# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record of what was last applied to a host: a JSON file of its own for each kind of thing.

It says what belongs to us, so that a purge removes nothing of others, and what to bring back after a
reboot. That of what a purge may remove is written twice in a run: before the kernel is changed with all that was ours
and all that will be, and after it with what is; a run that dies in between leaves nothing that the next one does not
know. What there is one of each in the kernel (timeouts, sync daemons) is written once, after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
import typing as t

#: Seconds after which whoever holds a lock is taken for stuck: no run holds one as long.
PATIENCE = 300


class UnreadableRecord(Exception):
    """A record that is there but cannot be used: to guess would be to purge too much or too little."""


@contextlib.contextmanager
def locked_record(path: str) -> t.Iterator[None]:
    """Keep other runs that use the same record waiting: theirs would be of a table that is changing."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
    with locked(f"{path}.lock"):
        yield


@contextlib.contextmanager
def locked(path: str) -> t.Iterator[None]:
    """Hold the lock that a file is. Raises TimeoutError, which names the holder, and OSError."""
    # Who may open a file may lock it, so nobody else may.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(lock, 0o600)
        deadline = time.monotonic() + PATIENCE
        while not _taken(lock):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the lock {path} was not to be had for {PATIENCE} seconds: {_holder(lock)} holds it; "
                    "end that if it hangs, and run again"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: int) -> str:
    """Who holds a lock, as far as the kernel tells."""
    inode = str(os.fstat(lock).st_ino)
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            _number, kind, _advisory, _mode, process, place, *_range = line.split()
            if kind == "FLOCK" and place.rpartition(":")[2] == inode:
                with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as command:
                    return f"process {process} ({command.read().replace(chr(0), ' ').strip()})"
    return "another process"


def read_record(path: str) -> dict[str, t.Any]:
    """What the record says; empty if there is none yet. Raises UnreadableRecord, OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UnreadableRecord(
            f"the record {path} is damaged ({error}): mend it, or remove it to own nothing"
        ) from error
    if not isinstance(record, dict):
        raise UnreadableRecord(f"the record {path} is not a JSON object: mend it, or remove it to own nothing")
    return record


def write_record(path: str, record: t.Mapping[str, t.Any]) -> None:
    """Replace the record in one step, readable by its owner alone, in a folder that exists. Raises OSError."""
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    replace_file(path, text.encode(), 0o600)


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Replace a file in one step, in a folder that exists: who reads it reads the last one or this. Raises OSError."""
    # systemd and keepalived take no file of a hidden name for one of theirs.
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
