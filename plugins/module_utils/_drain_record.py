# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record of drains, and the sysctl that goes with them: what is drained is known to each run that follows."""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain as drain
from ansible_collections.lvs.ipvs.plugins.module_utils._drain import Change, Move, Register, SettingStep
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Table
from ansible_collections.lvs.ipvs.plugins.module_utils._record import locked_record, read_record, write_record

#: Each network namespace has its own, while ip_vs is loaded.
SETTING = f"/proc/sys/net/ipv4/vs/{drain.SYSCTL}"


class DrainRecord:
    """The drains of a host."""

    def __init__(self, path: str) -> None:
        self.path = path

    def locked(self) -> t.ContextManager[None]:
        """Keep other runs from changing weights while this one does."""
        return locked_record(self.path)

    def read(self) -> Register:
        """The register. Raises InvalidValue, UnreadableRecord, OSError."""
        return drain.parse_register(read_record(self.path), self.path)

    def prepare(self, register: Register, move: Move, have: Table, setting: int | None = None) -> Change:
        """All that a move is to change, where the sysctl is ``setting`` (None: as it is now). Raises OSError."""
        if setting is None:
            setting = _setting() if drain.concerns_setting(register, move, have) else 0
        return drain.change(register, move, have, setting)

    def carry_out(self, register: Register, change: Change, apply: t.Callable[[], None]) -> None:
        """Make a change, intent first; ``apply`` sends the messages. Raises OSError and what ``apply`` does."""
        if change.intent != register:
            self._write(change.intent)
        _set(change.before)
        apply()
        _set(change.behind)
        if change.outcome != change.intent:
            self._write(change.outcome)

    def _write(self, register: Register) -> None:
        write_record(self.path, drain.format_register(register))


def _setting() -> int:
    with open(SETTING, encoding="ascii") as file:
        return int(file.read())


def _set(steps: t.Iterable[SettingStep]) -> None:
    for step in steps:
        with open(SETTING, "w", encoding="ascii") as file:
            file.write(f"{step.value}\n")
