# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The variables by which an operator shapes a drain, a way back and a rolling update. Pure.

They are judged before anything is changed, and a name that is not one of them is a mistake in one of them.
"""

from __future__ import annotations

import math
import re
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _drain, _model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue

#: (variable, value) -> what is meant; raises InvalidValue.
Judge = t.Callable[[str, t.Any], t.Any]


def settings(given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Every setting by its name without ``lvs_``, from the variables that are said. Raises InvalidValue."""
    for variable in given:
        if variable not in _SETTINGS:
            raise InvalidValue(variable, f"there is no such variable: there are {', '.join(_SETTINGS)}")
    return {
        variable.partition("_")[2]: judge(variable, given[variable]) if given.get(variable) is not None else default
        for variable, (judge, default) in _SETTINGS.items()
    }


def _number(low: float, high: float = math.inf, above: bool = False) -> Judge:
    """A number, of a command line as text; ``above`` leaves out the lower bound, the upper is as large as can be told."""

    def judge(variable: str, value: t.Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if low <= number <= high and math.isfinite(number) and not (above and number == low):
            return number
        least = f"above {low:g}" if above else f"of {low:g} or more"
        raise InvalidValue(
            variable, f"{value!r} is not a number {least if high == math.inf else f'from {low:g} to {high:g}'}"
        )

    return judge


def _integer(low: int, high: int) -> Judge:
    return lambda variable, value: _model.integer(variable, value, low, high)


def _choice(*choices: str) -> Judge:
    return lambda variable, value: _model.choice(variable, value, choices)


def _kinds(variable: str, value: t.Any) -> list[str]:
    listed = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)):
        raise InvalidValue(variable, f"{value!r} is not a list of {', '.join(_drain.KINDS)}")
    return [_model.choice(variable, word, _drain.KINDS) for word in listed]


def _batches(variable: str, value: t.Any) -> t.Any:
    for size in value if isinstance(value, (list, tuple)) and value else [value]:
        found = None if isinstance(size, bool) else re.fullmatch(r"([1-9][0-9]*)(%?)", str(size))
        if not found or (found[2] and int(found[1]) > 100):
            raise InvalidValue(variable, f"{size!r} is neither a number of hosts nor a percentage such as '25%'")
    return value


def _text(variable: str, value: t.Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidValue(variable, f"{value!r} is not the path of a file")
    return str(value)


#: What docs/operations.md says of each.
_SETTINGS: dict[str, tuple[Judge, t.Any]] = {
    "lvs_drain_wait_for": (_kinds, list(_drain.KINDS)),
    "lvs_drain_timeout": (_number(0), 600.0),
    "lvs_drain_on_timeout": (_choice("fail", "continue"), "fail"),
    "lvs_drain_interval": (_number(0, above=True), 5.0),
    "lvs_drain_minimum_servers": (_integer(0, _model.INT_MAX), 1),
    "lvs_drain_minimum_weight": (_integer(0, 100), 0),
    "lvs_slow_start": (_number(0), 0.0),
    "lvs_update_tasks": (_text, ""),
    "lvs_update_director_tasks": (_text, ""),
    "lvs_update_serial": (_batches, [1, "25%"]),
    "lvs_update_max_fail_percentage": (_number(0, 100), 0.0),
    "lvs_update_timeout": (_number(0), 60.0),
}
