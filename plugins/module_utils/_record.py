# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record of what was last applied to a host: a JSON file of its own for each kind of thing.

It says what belongs to us, so that a purge removes nothing of others, and what to bring back after a
reboot. It is written twice in a run: before the kernel is changed with all that was ours and all that
will be, and after it with what is; a run that dies in between leaves nothing that the next one does not know.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import typing as t


class UnreadableRecord(Exception):
    """A record that is there but cannot be used: to guess would be to purge too much or too little."""


@contextlib.contextmanager
def locked_record(path: str) -> t.Iterator[None]:
    """Keep other runs that use the same record waiting: theirs would be of a table that is changing."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
    with open(f"{path}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
    folder = os.path.dirname(path) or "."
    # mkstemp() makes it 0600.
    handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
