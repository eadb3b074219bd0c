# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From the table that is there and the table that is wanted to the steps between them. Pure.

A step is one message to the kernel. Their order keeps a live table serving: first what is new, then
weights that rise, then other edits, then weights that fall, and removals last.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Entry,
    RealServer,
    RealServerKey,
    ServiceKey,
    SyncDaemon,
    SyncDaemons,
    Table,
    VirtualService,
)

ADD, EDIT, REMOVE = "add", "edit", "remove"
START, STOP = "start", "stop"


class Step(t.NamedTuple):
    """One message: ``action`` on a service, or on one of its real servers."""

    action: str
    service: VirtualService
    real_server: RealServer | None = None

    @property
    def takes_away(self) -> bool:
        """Whether clients may have fewer real servers after it."""
        if self.action == EDIT:
            return self.real_server is not None and self.real_server.weight == 0
        return self.action == REMOVE

    def __str__(self) -> str:
        if self.real_server is None:
            return f"{self.action} service {self.service.key}"
        return f"{self.action} real server {self.real_server.key} of service {self.service.key}"


def plan(have: Table, want: Table, disposable: Table) -> list[Step]:
    """The fewest steps after which every entry of ``want`` is there as wanted.

    Of what ``want`` lacks, only that goes which ``disposable`` lists: pass ``{}`` to keep it all, or
    ``have`` to end with exactly ``want``. A service stays while it has real servers that are neither
    wanted nor disposable, since removing it would remove them.
    """
    new: list[Step] = []
    rising: list[Step] = []
    editing: list[Step] = []
    falling: list[Step] = []
    gone: list[Step] = []
    unchanged: set[ServiceKey] = set()

    for key, entry in want.items():
        service = entry.service
        there = have.get(key)
        if there is None:
            new.append(Step(ADD, service))
            # Of tens of thousands, a tuple is made in half the time that its own class takes.
            new += [tuple.__new__(Step, (ADD, service, server)) for server in entry.real_servers.values()]
            continue
        if there == entry:
            unchanged.add(key)
            continue
        if there.service != service:
            editing.append(Step(EDIT, service))
        present = there.real_servers
        for server_key, server in entry.real_servers.items():
            before = present.get(server_key)
            if before is None:
                new.append(Step(ADD, service, server))
            elif before.weight < server.weight:
                rising.append(Step(EDIT, service, server))
            elif before.weight > server.weight:
                falling.append(Step(EDIT, service, server))
            elif before != server:
                editing.append(Step(EDIT, service, server))

    for key, unneeded in disposable.items():
        there = have.get(key)
        if there is None or key in unchanged:
            continue
        wanted = want.get(key)
        kept = wanted.real_servers if wanted else {}
        going = [
            server
            for server_key, server in there.real_servers.items()
            if server_key in unneeded.real_servers and server_key not in kept
        ]
        if wanted is None and len(going) == len(there.real_servers):
            # The kernel removes the real servers with their service.
            gone.append(Step(REMOVE, there.service))
        else:
            gone.extend(Step(REMOVE, there.service, server) for server in going)

    return new + rising + editing + falling + gone


def after(have: Table, steps: t.Iterable[Step]) -> Table:
    """The table that ``steps`` make of ``have``, which stays as it is."""
    table = dict(have)
    copied: dict[ServiceKey, dict[RealServerKey, RealServer]] = {}
    owner: VirtualService | None = None
    for action, service, server in steps:
        if server is None:
            owner = None
            key = service.key
            if action == REMOVE:
                table.pop(key, None)
                copied.pop(key, None)
            else:
                there = table.get(key)
                table[key] = Entry(service, there.real_servers if there else {})
            continue
        # Most steps are about the same service as the one before.
        if service is not owner:
            owner, key = service, service.key
            if key not in copied:
                entry = table[key]
                copied[key] = dict(entry.real_servers)
                table[key] = Entry(entry.service, copied[key])
            servers = copied[key]
        if action == REMOVE:
            servers.pop(server.key, None)
        else:
            servers[server.key] = server
    return table


def reschedules(have: Table, steps: t.Iterable[Step]) -> bool:
    """Whether a service that serves gets another scheduler."""
    return any(
        step.action == EDIT
        and step.real_server is None
        and bool(have[step.service.key].real_servers)
        and have[step.service.key].service.scheduler != step.service.scheduler
        for step in steps
    )


def emptied(have: Table, then: Table, disposable: Table) -> tuple[list[ServiceKey], int]:
    """What a purge takes from clients: the services that go, or lose their last real server, and of how many.

    Counted are the services that are there and that ``disposable`` lists.
    """
    ours = [key for key in disposable if key in have]
    lost = [key for key in ours if key not in then or (have[key].real_servers and not then[key].real_servers)]
    return lost, len(ours)


def touched(table: Table, steps: t.Iterable[Step]) -> Table:
    """The part of a table that ``steps`` are about: what a diff has to show."""
    keys = {step.service.key for step in steps}
    return {key: entry for key, entry in table.items() if key in keys}


def union(first: Table, second: Table) -> Table:
    """All entries of two tables; where both have one, the second's."""
    both = {**first, **second}
    for key in first.keys() & second.keys():
        both[key] = Entry(second[key].service, {**first[key].real_servers, **second[key].real_servers})
    return both


def present(table: Table, result: Table) -> Table:
    """The entries of a table whose keys another has too."""
    return {
        key: Entry(
            entry.service,
            {
                server_key: server
                for server_key, server in entry.real_servers.items()
                if server_key in result[key].real_servers
            },
        )
        for key, entry in table.items()
        if key in result
    }


class DaemonStep(t.NamedTuple):
    """One message: ``action`` on a sync daemon."""

    action: str
    daemon: SyncDaemon

    def __str__(self) -> str:
        return f"{self.action} sync daemon {self.daemon.role} on {self.daemon.interface}"


def plan_daemons(have: SyncDaemons, want: SyncDaemons, disposable: t.Container[str]) -> list[DaemonStep]:
    """The fewest steps after which every daemon of ``want`` runs as wanted, and none other of the disposable roles."""
    steps = [DaemonStep(STOP, daemon) for role, daemon in have.items() if role in disposable and role not in want]
    for role, daemon in want.items():
        there = have.get(role)
        if there == daemon:
            continue
        if there:
            # A daemon cannot be edited.
            steps.append(DaemonStep(STOP, there))
        steps.append(DaemonStep(START, daemon))
    return steps


def daemons_after(have: SyncDaemons, steps: t.Iterable[DaemonStep]) -> SyncDaemons:
    """The daemons that run after ``steps``."""
    daemons = dict(have)
    for action, daemon in steps:
        if action == STOP:
            daemons.pop(daemon.role, None)
        else:
            daemons[daemon.role] = daemon
    return daemons
