# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door to the variables of the operations; the filter is documented in the .yml of its name."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.lvs.ipvs.plugins.module_utils import _operation
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue
from ansible_collections.lvs.ipvs.plugins.plugin_utils._lazy import accept_lazy_markers


@accept_lazy_markers
def operation_settings(given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The settings of a drain, a way back and a rolling update."""
    try:
        return _operation.settings(given)
    except InvalidValue as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible asks a filter file for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"operation_settings": operation_settings}
