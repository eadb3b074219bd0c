# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record of drains, and the sysctl and the files that go with them: what is drained is known to each run that follows."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain as drain
from ansible_collections.lvs.ipvs.plugins.module_utils._drain import (
    NOTHING_CHECKED,
    Change,
    Checked,
    FileStep,
    Move,
    Register,
    SettingStep,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import KernelError, Stopped
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Table
from ansible_collections.lvs.ipvs.plugins.module_utils._record import (
    locked_record,
    read_record,
    replace_file,
    write_record,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._wire import MalformedMessage

#: Each network namespace has its own, while ip_vs is loaded.
SETTING = f"/proc/sys/net/ipv4/vs/{drain.SYSCTL}"


class Broken(Stopped):
    """A change that ended half way by something else than a refused message."""

    def __init__(self, done: t.Sequence[object], reason: Exception) -> None:
        super().__init__(done, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}; {len(self.done)} steps were done before: running again takes up from there"


class DrainRecord:
    """The drains of a host."""

    def __init__(self, path: str) -> None:
        self.path = path

    def locked(self) -> t.ContextManager[None]:
        """Keep other runs from changing weights while this one does."""
        return locked_record(self.path)

    def read(self) -> Register:
        """The register. Raises InvalidValue, UnreadableRecord, OSError.

        To keepalived the file is the truth: who is drained by one that is gone is no longer drained.
        """
        drains, setting = drain.parse_register(read_record(self.path), self.path)
        return Register({key: one for key, one in drains.items() if not one.file or os.path.exists(one.file)}, setting)

    def prepare(
        self,
        register: Register,
        move: Move,
        have: Table,
        setting: int | None = None,
        checked: Checked = NOTHING_CHECKED,
    ) -> Change:
        """All that a move is to change, where the sysctl is ``setting`` (None: as it is now). Raises OSError."""
        if setting is None:
            setting = _setting() if drain.concerns_setting(register, move, have, checked) else 0
        return drain.change(register, move, have, setting, checked)

    def carry_out(self, register: Register, change: Change, apply: t.Callable[[], None]) -> None:
        """Make a change, intent first; ``apply`` sends the messages, with the files written.

        Raises OSError and what ``apply`` does, if nothing was done, and else a Stopped that knows all that was.
        """
        done: list[object] = []
        try:
            if change.intent != register:
                self._write(change.intent)
            for setting in change.before:
                _set(setting)
                done.append(setting)
            for file in change.files:
                _write_file(file)
                done.append(file)
            apply()
            done += change.steps
            for setting in change.behind:
                _set(setting)
                done.append(setting)
            if change.outcome != change.intent:
                self._write(change.outcome)
        except Stopped as error:
            error.done = [*done, *error.done]
            raise
        except (KernelError, MalformedMessage, OSError) as error:
            if not done:
                raise
            raise Broken(done, error) from error

    def _write(self, register: Register) -> None:
        write_record(self.path, drain.format_register(register))


def _setting() -> int:
    with open(SETTING, encoding="ascii") as file:
        return int(file.read())


def _set(step: SettingStep) -> None:
    with open(SETTING, "w", encoding="ascii") as file:
        file.write(f"{step.value}\n")


def read_values(folder: str, addresses: t.Iterable[str]) -> dict[str, int]:
    """What the files of addresses hold, of those that hold something. Raises OSError."""
    values = {}
    for address in addresses:
        with contextlib.suppress(FileNotFoundError):
            with open(drain.file_of(folder, address), encoding="utf-8", errors="replace") as file:
                text = file.read()
            # What is no number is 0 to keepalived.
            with contextlib.suppress(ValueError):
                values[address] = int(text, 0)
    return {address: value for address, value in values.items() if value}


def _write_file(step: FileStep) -> None:
    """Replace or remove a file in one step: keepalived is told of each and reads it at once."""
    if not step.value:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(step.path)
        return
    os.makedirs(os.path.dirname(step.path), mode=0o755, exist_ok=True)
    replace_file(step.path, f"{step.value}\n".encode(), 0o600)
