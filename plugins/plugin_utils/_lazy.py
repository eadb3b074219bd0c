# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""For filters whose input may have undefined variables in it: they are met where they are read, and named there."""

from __future__ import annotations

import typing as t

__all__ = ("accept_lazy_markers",)

try:
    from ansible.template import accept_lazy_markers
except ImportError:  # before ansible-core 2.19 an undefined variable raises when it is read
    _TCallable = t.TypeVar("_TCallable", bound=t.Callable[..., t.Any])

    def accept_lazy_markers(plugin: _TCallable) -> _TCallable:
        return plugin
