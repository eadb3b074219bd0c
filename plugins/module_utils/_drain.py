# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What it means to drain real servers and to bring them back. Pure.

A drain holds one real server of one service below its configured weight. The configured weight stays the
inventory's: a record keeps it beside the weight that is held, so that whoever applies the services
meanwhile can tell the one from the other.

Where keepalived owns the service, it is keepalived that gives the weight: a file for each address, which it
watches by a FILE_CHECK of weight 1, says what is added to the weights of that address.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    Entry,
    Given,
    InvalidValue,
    RealServer,
    RealServerKey,
    ServiceKey,
    Table,
    VirtualService,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import Step, after, plan

#: Makes the kernel forget which clients a persistent service had sent to a real server of weight 0.
SYSCTL = "expire_quiescent_template"

KINDS = Connections._fields

#: What the file of a drained address holds. Weights end at 0; one less, and keepalived takes the server to be ill.
DRAINED = -model.INT_MAX

#: A real server in one service.
DrainKey = tuple[ServiceKey, RealServerKey]


class Drain(t.NamedTuple):
    """One real server of one service, held below its configured weight."""

    #: As configured: what it comes back as.
    server: RealServer
    #: The weight that it is held at: 0, or more while it comes back slowly. None while it is removed.
    held: int | None
    #: When its weight became 0, in seconds since the epoch.
    since: float
    #: The run that waits for its connections has not ended: if it died, the next one answers for it.
    unfinished: bool = False
    #: Where keepalived gives the weight, the file that it goes by.
    file: str = ""


Drains = dict[DrainKey, Drain]


class Register(t.NamedTuple):
    """What the record of drains holds."""

    drains: Drains
    #: What the sysctl was before the drains needed it, to be put back after them; None if they do not.
    setting: int | None = None


class Checked(t.NamedTuple):
    """Real servers whose weights keepalived gives, and how it is told."""

    servers: t.Mapping[DrainKey, RealServer] = {}
    #: The weight below which keepalived takes a service to be down.
    quorums: t.Mapping[ServiceKey, int] = {}
    #: The folder of the files.
    folder: str = ""
    #: What the files hold; an address without one has 0.
    values: t.Mapping[str, int] = {}

    def weight(self, key: DrainKey, values: t.Mapping[str, int]) -> int:
        """What keepalived makes of a real server that is well, by these files."""
        return max(0, self.servers[key].weight + values.get(key[1].address, 0))


NOTHING_CHECKED = Checked()


def file_of(folder: str, address: str) -> str:
    """The file of an address."""
    return f"{folder.rstrip('/')}/{address}"


def parse_checked(given: t.Any, folder: str, path: str = "health_checked") -> Checked:
    """The services of keepalived: in the words of lvs.ipvs.table, and a ``quorum``."""
    listed = given if isinstance(given, (list, tuple)) else [given]
    plain, quorums = [], []
    for index, words in enumerate(listed):
        if not isinstance(words, t.Mapping):
            raise InvalidValue(f"{path}[{index}]", f"{words!r} is not a dictionary")
        plain.append({option: value for option, value in words.items() if option != "quorum"})
        quorums.append(model.integer(f"{path}[{index}].quorum", words.get("quorum", 1), 1, model.INT_MAX))
    table = options.parse_services(plain, path)
    servers = {(service, key): server for service, entry in table.items() for key, server in entry.real_servers.items()}
    return Checked(servers, dict(zip(table, quorums)), folder)


def told(key: DrainKey) -> str:
    """A real server and its service, as steps name them."""
    return f"real server {key[1]} of service {key[0]}"


# -- the record ------------------------------------------------------------------------------------------


def parse_register(record: Given, path: str) -> Register:
    """The register from the record; errors name the record and the place in it."""
    listed = record.get("drains", [])
    setting = record.get(SYSCTL)
    try:
        if not isinstance(listed, list):
            raise InvalidValue("drains", f"{listed!r} is not a list")
        drains = dict(_parse_drain(words, f"drains[{index}]") for index, words in enumerate(listed))
        return Register(drains, None if setting is None else model.integer(SYSCTL, setting, 0, model.INT_MAX))
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error.path}", error.reason) from None


def _parse_drain(words: t.Any, path: str) -> tuple[DrainKey, Drain]:
    try:
        for option in ("service", "real_server"):
            if not isinstance(words, t.Mapping) or not isinstance(words.get(option), t.Mapping):
                raise InvalidValue(option, "is not there")
        service = model.service_key(words["service"])
        server = model.real_server(words["real_server"], service)
        held, since = words.get("held_weight"), words.get("since")
        if isinstance(since, bool) or not isinstance(since, (int, float)):
            raise InvalidValue("since", f"{since!r} is not a time")
        return (service, server.key), Drain(
            server,
            None if held is None else model.integer("held_weight", held, 0, model.INT_MAX),
            since,
            model.boolean("unfinished", words.get("unfinished", False)),
            str(words.get("file", "")),
        )
    except InvalidValue as error:
        raise error.under(path) from None


def format_register(register: Register) -> dict[str, t.Any]:
    """The register as parse_register() takes it."""
    drains = [
        {
            "service": options.format_key(service),
            "real_server": options.format_real_server(drain.server),
            "held_weight": drain.held,
            "since": drain.since,
            "unfinished": drain.unfinished,
            **({"file": drain.file} if drain.file else {}),
        }
        for (service, _server), drain in sorted(
            register.drains.items(), key=lambda item: (options.sort_key(item[0][0]), item[0][1])
        )
    ]
    return {"drains": drains, **({} if register.setting is None else {SYSCTL: register.setting})}


# -- changes ---------------------------------------------------------------------------------------------


class Move(t.NamedTuple):
    """A decision: the drains that are recorded before the kernel is changed, and after, and what comes between."""

    intent: Drains
    outcome: Drains
    steps: list[Step]
    #: What the files of these addresses are to hold.
    files: t.Mapping[str, int] = {}


class SettingStep(t.NamedTuple):
    """A new value for the sysctl, and the one that it has."""

    value: int
    old: int

    def __str__(self) -> str:
        return f"set net.ipv4.vs.{SYSCTL} to {self.value}"


class FileStep(t.NamedTuple):
    """What a file is to hold, and what it does."""

    path: str
    value: int
    old: int

    def __str__(self) -> str:
        return f"write {self.value} to {self.path}" if self.value else f"remove {self.path}"


class Change(t.NamedTuple):
    """A move with all that goes with it, in order: record, sysctl, files, messages, sysctl, record."""

    intent: Register
    before: list[SettingStep]
    files: list[FileStep]
    steps: list[Step]
    behind: list[SettingStep]
    outcome: Register
    table: Table

    @property
    def done(self) -> list[object]:
        """Everything that changes, in order."""
        return [*self.before, *self.files, *self.steps, *self.behind]


def concerns_setting(register: Register, move: Move, have: Table, checked: Checked = NOTHING_CHECKED) -> bool:
    """Whether the value of the sysctl has to be known for a move."""
    needed = _needs_setting(move.intent, have) or _needs_setting(move.outcome, moved(have, move, checked))
    return needed or register.setting is not None


def moved(have: Table, move: Move, checked: Checked) -> Table:
    """The table after a move, and after keepalived has read what concerns it."""
    then = dict(after(have, move.steps))
    values = {**checked.values, **move.files}
    for key, server in checked.servers.items():
        there = live(then, key)
        if there is None or values.get(server.key.address) == checked.values.get(server.key.address):
            continue
        weight = checked.weight(key, values)
        # Who has another weight than that of its file is ill, or weighed by its check.
        if there.weight != checked.weight(key, checked.values):
            weight = min(weight, there.weight)
        entry = then[key[0]]
        then[key[0]] = Entry(entry.service, {**entry.real_servers, key[1]: there._replace(weight=weight)})
    return then


def change(register: Register, move: Move, have: Table, setting: int, checked: Checked = NOTHING_CHECKED) -> Change:
    """All of a change, where the sysctl is ``setting`` now.

    It is switched on before a real server of a persistent service gets weight 0, and as it was when none is
    held there any more. A value that is on already needs nothing.
    """
    then = moved(have, move, checked)
    before, behind = [], []
    kept = register.setting
    needed_then = _needs_setting(move.outcome, then)
    if (needed_then or _needs_setting(move.intent, have)) and not setting:
        before = [SettingStep(1, setting)]
        kept, setting = setting if kept is None else kept, 1
    intent = Register(move.intent, kept)
    if kept is not None and not needed_then:
        behind = [] if kept == setting else [SettingStep(kept, setting)]
        kept = None
    files = [
        FileStep(file_of(checked.folder, address), value, old)
        for address, value in move.files.items()
        for old in (checked.values.get(address, 0),)
        if value != old
    ]
    return Change(intent, before, files, move.steps, behind, Register(move.outcome, kept), then)


def settings_text(steps: t.Iterable[object]) -> tuple[str, str]:
    """The sysctl and the files as YAML for a diff, before and after; empty where nothing changes."""
    values: dict[str, tuple[int, int]] = {}
    for step in steps:
        if isinstance(step, (SettingStep, FileStep)):
            what = f"file: {step.path}" if isinstance(step, FileStep) else f"sysctl: net.ipv4.vs.{SYSCTL}"
            values[what] = (values.get(what, (step.old, 0))[0], step.value)
    changed = {what: both for what, both in values.items() if both[0] != both[1]}
    before, behind = (
        "".join(f"- {what}\n  value: {both[side]}\n" for what, both in changed.items()) for side in (0, 1)
    )
    return before, behind


def _needs_setting(drains: Drains, table: Table) -> bool:
    return any(
        drain.held == 0
        and service in table
        and server in table[service].real_servers
        and table[service].service.persistence_timeout > 0
        for (service, server), drain in drains.items()
    )


def live(table: Table, key: DrainKey) -> RealServer | None:
    """The real server as a table has it."""
    entry = table.get(key[0])
    return entry.real_servers.get(key[1]) if entry else None


def _steps(have: Table, servers: t.Mapping[DrainKey, RealServer]) -> list[Step]:
    """The messages after which these real servers are so; where their service is gone, there are none."""
    want: Table = {}
    for (service, server), wanted in servers.items():
        if service in have:
            want.setdefault(service, Entry(have[service].service, {})).real_servers[server] = wanted
    return plan(have, want, {})


def begin(
    register: Register,
    keys: t.Collection[DrainKey],
    have: Table,
    now: float,
    unfinished: bool,
    checked: Checked = NOTHING_CHECKED,
) -> Move:
    """Hold these real servers, each of which is in the table, in the register or watched by keepalived, at weight 0."""
    drains = dict(register.drains)
    lowered = {}
    for key in keys:
        there, drain, of_keepalived = live(have, key), drains.get(key), checked.servers.get(key)
        if there is not None and of_keepalived is None:
            lowered[key] = there._replace(weight=0)
        if drain is None:
            drains[key] = Drain(of_keepalived or t.cast(RealServer, there), 0, now, unfinished)
        elif there is None and of_keepalived is None:
            drains[key] = drain._replace(held=None if drain.held is None else 0, unfinished=False)
        elif (there and there.weight) or drain.held != 0:
            drains[key] = drain._replace(held=0, since=now, unfinished=unfinished)
        elif not unfinished:
            drains[key] = drain._replace(unfinished=False)
        if of_keepalived is not None:
            drains[key] = drains[key]._replace(server=of_keepalived, file=file_of(checked.folder, key[1].address))
    # Of every drained address, so that it stays drained where a service becomes keepalived's.
    files = {key[1].address: DRAINED for key in keys} if checked.folder else {}
    return Move(drains, drains, _steps(have, lowered), files)


def finish(register: Register, keys: t.Collection[DrainKey], have: Table, remove: bool) -> Move:
    """End the run that drains: its real servers are drained, and removed if so wished and not keepalived's."""
    drains = dict(register.drains)
    disposable: Table = {}
    for key in keys:
        drain, there = drains.get(key), live(have, key)
        if drain is None or drain.held:
            continue  # something else has brought it back
        removes = remove and not drain.file
        drains[key] = drain._replace(held=None if removes else drain.held, unfinished=False)
        if removes and there is not None:
            entry = Entry(have[key[0]].service, {})
            disposable.setdefault(key[0], entry).real_servers[key[1]] = there
    kept = {service: Entry(entry.service, {}) for service, entry in disposable.items()}
    return Move(drains, drains, plan(have, kept, disposable))


def undo(
    register: Register,
    prior: t.Mapping[DrainKey, Drain | None],
    have: Table,
    prior_values: t.Mapping[str, int] | None = None,
) -> Move:
    """Put drains, and the files of their addresses, back to what they were: ``prior``, where None is one that was not there."""
    intent, outcome = dict(register.drains), dict(register.drains)
    servers = {}
    files = {}
    for key, earlier in prior.items():
        drain, there = intent.get(key), live(have, key)
        if drain is None or drain.held:
            continue  # something else has brought it back
        held = earlier.held if earlier else drain.server.weight
        intent[key] = drain._replace(held=held)
        if earlier:
            outcome[key] = earlier
        else:
            del outcome[key]
        if prior_values and key[1].address in prior_values:
            files[key[1].address] = prior_values[key[1].address]
        if held is not None and not drain.file:
            servers[key] = (there or drain.server)._replace(weight=held)
    return Move(intent, outcome, _steps(have, servers), files)


def rise(
    register: Register,
    keys: t.Collection[DrainKey],
    have: Table,
    part: int,
    parts: int,
    checked: Checked = NOTHING_CHECKED,
    addresses: t.Iterable[str] = (),
) -> Move:
    """Bring real servers back, to ``part`` of ``parts`` of their weights; who has all of it is no longer held.

    Nothing is lowered on the way. Where the service is gone there is nothing to bring back. The real servers of
    keepalived at one address have one file between them: it goes by the largest of their weights, and the smaller
    ones come later.
    """
    intent, outcome = dict(register.drains), dict(register.drains)
    servers = {}
    files = {}
    for address in addresses:
        value = checked.values.get(address, 0)
        largest = max(
            (server.weight for key, server in checked.servers.items() if key[1].address == address), default=0
        )
        if value:
            files[address] = min(0, max(1 - largest, largest * part // parts - largest, value))
    values = {**checked.values, **files}
    for key in keys:
        if key not in intent:
            continue
        drain, there = intent[key], live(have, key)
        if key in checked.servers:
            full, weight = checked.servers[key].weight, checked.weight(key, values)
        else:
            full = drain.server.weight
            # At least 1: to serve nobody is no start.
            weight = min(full, max(1, full * part // parts, drain.held or 0, there.weight if there else 0))
            servers[key] = (there or drain.server)._replace(weight=weight)
        intent[key] = outcome[key] = drain._replace(held=weight, unfinished=False)
        if weight == full or key[0] not in have:
            del outcome[key]
    return Move(intent, outcome, _steps(have, servers), files)


# -- what the table has to respect -----------------------------------------------------------------------


def held(want: Table, drains: Drains) -> Table:
    """The table that is wanted, with what is drained held where it is."""
    table = dict(want)
    for service, server in drains:
        if server not in table.get(service, _NOTHING).real_servers:
            continue
        entry = table[service] = Entry(table[service].service, dict(table[service].real_servers))
        weight = drains[service, server].held
        if weight is None:
            del entry.real_servers[server]
        else:
            wanted = entry.real_servers[server]
            entry.real_servers[server] = wanted._replace(weight=min(weight, wanted.weight))
    return table


_NOTHING = Entry(VirtualService(ServiceKey("ipv4")), {})


def joined(drains: Drains, want: Table, have: Table) -> Drains:
    """The drains with what is new in ``want`` of hosts that are drained: a host is drained in every service."""
    hosts = {server.address: drain for (_service, server), drain in drains.items() if not drain.held}
    if not hosts:
        return drains
    new = {
        (service, key): hosts[key.address]._replace(server=server, unfinished=False, file="")
        for service, entry in want.items()
        for key, server in entry.real_servers.items()
        if key.address in hosts and (service, key) not in drains and live(have, (service, key)) is None
    }
    return {**drains, **new}


def learned(drains: Drains, want: Table, then: Table, complete: bool, released: t.Container[ServiceKey] = ()) -> Drains:
    """The drains after ``want`` was applied and made the table ``then``.

    They come back as is wanted now. Where ``want`` is all that is ours, what it lacks and the table has no
    more is forgotten, unless it is keepalived's: that may be ill.
    """
    known = {}
    for key, drain in drains.items():
        wanted = live(want, key)
        if wanted is not None:
            known[key] = drain._replace(server=wanted, file="")
        elif drain.file or key[0] in released or live(then, key) is not None or not complete:
            known[key] = drain
    return known


def with_removed(table: Table, drains: Drains) -> Table:
    """A table with the real servers that are removed for as long as they are drained."""
    both = dict(table)
    for (service, server), drain in drains.items():
        if drain.held is None and service in both:
            both[service] = Entry(both[service].service, {**both[service].real_servers, server: drain.server})
    return both


# -- who is meant, and whether it may be -----------------------------------------------------------------


def parse_addresses(given: t.Sequence[t.Any], path: str = "real_servers") -> dict[str, int]:
    """The place of each address in a list."""
    places: dict[str, int] = {}
    for index, word in enumerate(given):
        places.setdefault(model.address(f"{path}[{index}]", word), index)
    return places


class Selection(t.NamedTuple):
    """The real servers that are meant."""

    keys: list[DrainKey]
    #: In services that are not ours, or such as the record cannot hold.
    left_alone: list[DrainKey]
    #: The addresses that serve nothing, or nothing of ours.
    unknown: list[str]


def select(
    addresses: t.Collection[str],
    register: Register,
    have: Table,
    ours: t.Container[ServiceKey] | None,
    checked: Checked = NOTHING_CHECKED,
) -> Selection:
    """What the addresses serve: of the services that are ``ours`` (None: all), of keepalived's, and of what is drained already."""
    keys: set[DrainKey] = {key for key in (*register.drains, *checked.servers) if key[1].address in addresses}
    left_alone: set[DrainKey] = set()
    for service, entry in have.items():
        for key, server in entry.real_servers.items():
            if key.address in addresses and (service, key) not in keys:
                is_ours = (ours is None or service in ours) and _can_be_recorded((service, key), server)
                (keys if is_ours else left_alone).add((service, key))
    known = {server.address for _service, server in keys} | checked.values.keys()
    return Selection(
        sorted(keys, key=_order),
        sorted(left_alone, key=_order),
        [address for address in addresses if address not in known],
    )


def _can_be_recorded(key: DrainKey, server: RealServer) -> bool:
    """Whether a record of its drain could be read again: others can make what no option says."""
    register = Register({key: Drain(server, 0, 0.0)})
    try:
        return parse_register(format_register(register), "") == register
    except InvalidValue:
        return False


def _order(key: DrainKey) -> tuple[t.Any, ...]:
    return (*options.sort_key(key[0]), *key[1])


def floors(
    have: Table, move: Move, drains: Drains, servers: int, percent: int, checked: Checked = NOTHING_CHECKED
) -> list[str]:
    """What forbids a drain: the services that it would leave with too little.

    Only services that lose weight are looked at. ``percent`` is of the weight that the real servers of the
    live table have when none is drained.
    """
    then = moved(have, move, checked)
    faults = []
    losing = {key[0] for key in move.outcome if _weight(then, key) < _weight(have, key)}
    for service in sorted(losing, key=options.sort_key):
        left = [server.weight for server in then[service].real_servers.values() if server.weight]
        full = {key: server.weight for key, server in have[service].real_servers.items()}
        full.update({key[1]: drain.server.weight for key, drain in drains.items() if key[0] == service})
        total = sum(full.values())
        if len(left) < servers:
            there = len(have[service].real_servers)
            faults.append(
                f"minimum_servers: service {service} would keep {len(left)} of {there} real servers in use, not {servers}"
            )
        elif sum(left) * 100 < percent * total:
            faults.append(
                f"minimum_weight: service {service} would keep a weight of {sum(left)} of {total}, not {percent} percent"
            )
        elif 0 < sum(left) < checked.quorums.get(service, 0):
            faults.append(
                f"quorum: service {service} would keep a weight of {sum(left)} of {total}, and keepalived takes it"
                f" to be down below {checked.quorums[service]}"
            )
    return faults


def _weight(table: Table, key: DrainKey) -> int:
    there = live(table, key)
    return there.weight if there else 0


# -- waiting ---------------------------------------------------------------------------------------------


def outstanding(
    drain: Drain,
    service: VirtualService,
    connections: Connections,
    kinds: t.Container[str],
    now: float,
    udp_timeout: int,
) -> dict[str, int]:
    """The connections of a drained real server that are worth waiting for, by their kind.

    With UDP, those that outlive the timeout are kept alive by their clients, for as long as they like.
    """
    left = {kind: count for kind, count in zip(KINDS, connections) if kind in kinds and count}
    if service.key.protocol == "udp":
        patience = dict.fromkeys(KINDS, udp_timeout)
        patience["persistent"] += service.persistence_timeout
        left = {kind: count for kind, count in left.items() if now - drain.since < patience[kind]}
    return left


def count(connections: t.Mapping[str, int]) -> str:
    """``1 active and 2 inactive connections``."""
    many = sum(connections.values()) != 1
    return " and ".join(f"{number} {kind}" for kind, number in connections.items()) + f" connection{'s' * many}"
