# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A table as a declaration for the inventory: lvs_services that make this table again. Pure.

The declaration is to be read and kept by people: what goes without saying is left out, and what all real
servers of a service share is said once, at the service.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Entry, RealServer, RealServerKey, Table

Words = dict[str, t.Any]


def services(table: Table) -> list[Words]:
    """What lvs_services is to hold, in a fixed order."""
    return [_service(table[key]) for key in sorted(table, key=options.sort_key)]


def _service(entry: Entry) -> Words:
    service, servers = entry
    key = service.key
    plain = options.format_service(model.virtual_service({**options.format_key(key), "persistence_timeout": 1}))
    words = {
        option: word
        for option, word in options.format_service(service).items()
        # Whoever reads the declaration wants to know the scheduler.
        if option in (*model.KEY_OPTIONS, "scheduler", "persistence_timeout") or word != plain[option]
    }
    if not service.persistence_timeout:
        del words["persistence_timeout"]
    shared = {(server.forwarding, server.tunnel) for server in servers.values()}
    base = RealServer(RealServerKey("", key.port or 0))
    if len(shared) == 1:
        forwarding, tunnel = shared.pop()
        base = base._replace(forwarding=forwarding, tunnel=tunnel)
        words["forwarding"] = forwarding
        if tunnel != model.IPIP:
            words["tunnel"] = tunnel._asdict()
    words["real_servers"] = [_real_server(server, base) for _key, server in sorted(servers.items())]
    return words


def _real_server(server: RealServer, base: RealServer) -> Words:
    """What is other than in ``base``."""
    usual = options.format_real_server(base)
    return {
        option: word
        for option, word in options.format_real_server(server).items()
        if option == "address" or word != usual.get(option)
    }
