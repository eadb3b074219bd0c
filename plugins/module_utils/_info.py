# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the modules that only read do."""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _capabilities
from ansible_collections.lvs.ipvs.plugins.module_utils import _connections as connections
from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._kernel import Kernel, KernelError
from ansible_collections.lvs.ipvs.plugins.module_utils._run import Result

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

#: There is no netlink message for connections.
CONNECTIONS = "/proc/net/ip_vs_conn"

#: What table_info can read, and how.
GATHER: dict[str, t.Callable[[Kernel], t.Any]] = {
    "services": lambda kernel: options.format_services(kernel.read()),
    "counters": lambda kernel: options.format_counters(kernel.counters()),
    "timeouts": lambda kernel: kernel.timeouts()._asdict(),
    "sync_daemons": lambda kernel: options.format_sync_daemons(kernel.sync_daemons()),
    "capabilities": lambda _kernel: _capabilities.read()._asdict(),
}


def table_info(module: AnsibleModule) -> Result:
    """The body of the module table_info."""
    with Kernel() as kernel:
        version, connection_table_size = kernel.info()
        result: Result = {"version": version, "connection_table_size": connection_table_size}
        for subject in module.params["gather"]:
            result[subject] = GATHER[subject](kernel)
        return result


def connection_info(module: AnsibleModule) -> Result:
    """The body of the module connection_info."""
    limit = model.integer("limit", module.params["limit"], 0, model.INT_MAX)
    wanted = connections.parse_filter(module.params)
    try:
        # What a persistence engine keeps is what clients sent.
        with open(CONNECTIONS, encoding="utf-8", errors="backslashreplace") as lines:
            survey = connections.survey(lines, wanted, limit)
    except FileNotFoundError:
        # Without ip_vs in the kernel, there are none.
        survey = connections.survey((), wanted, limit)
    except connections.MalformedLine as error:
        raise KernelError(f"{CONNECTIONS} has a line that is not understood: {error}") from error
    result = options.format_survey(survey)
    if limit:
        result["connections"] = [options.format_connection(connection) for connection in survey.listed]
        result["omitted_count"] = survey.total.connections + survey.total.templates - len(survey.listed)
    return result
