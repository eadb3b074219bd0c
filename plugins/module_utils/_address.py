# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Virtual addresses on interfaces: values, words, and the steps from what is there to what is wanted. Pure.

Ownership is kept in a record. What a plan adds is ours from then on; what was there before it is not, and
goes only when the user names it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue

#: What identifies an address to the kernel: interface, address, prefix length.
Place = tuple[str, str, int]


class Address(t.NamedTuple):
    """An address on an interface."""

    interface: str
    address: str
    prefix: int
    #: Whether the kernel may choose it as the source of what the host itself sends.
    source: bool = True
    #: False where its lifetime is finite, as with DHCP or router advertisements.
    permanent: bool = True

    @property
    def place(self) -> Place:
        return self[:3]

    @property
    def family(self) -> str:
        return model.family_of(self.address)

    def __str__(self) -> str:
        """The address as the user writes it: with its prefix length where that is not the full one."""
        if self.prefix == model.FULL_PREFIX[self.family]:
            return self.address
        return f"{self.address}/{self.prefix}"


class Link(t.NamedTuple):
    """A network interface."""

    name: str
    #: What `ip -d link` shows: ``dummy``, ``veth``...; empty for hardware and lo.
    kind: str = ""
    up: bool = True
    #: Whether it can have IPv6 addresses.
    ipv6: bool = True
    #: Whether neighbours are asked for MAC addresses; a dummy interface asks nobody, and answers nobody.
    arp: bool = True


class Host(t.NamedTuple):
    """The interfaces and addresses of a host."""

    links: dict[str, Link]
    addresses: tuple[Address, ...]
    #: Whether a new interface can have IPv6 addresses.
    ipv6: bool = True


class Owned(t.NamedTuple):
    """What a record holds: the addresses and dummy interfaces that we put there."""

    addresses: tuple[Address, ...] = ()
    dummies: tuple[str, ...] = ()


CREATE, SET_UP, ADD, CHANGE, REMOVE, DELETE = "create", "set up", "add", "change", "remove", "delete"


class Step(t.NamedTuple):
    """One message to the kernel, about an address or, without one, about a dummy interface."""

    action: str
    interface: str
    address: Address | None = None

    def __str__(self) -> str:
        if self.address is None:
            return f"{self.action} dummy interface {self.interface}"
        where = {ADD: "to", REMOVE: "from"}.get(self.action, "on")
        return f"{self.action} {self.address} {where} {self.interface}"


class Plan(t.NamedTuple):
    """What is to be done.

    The record has to say ``intent`` before the first step is done, so that the next run finishes what
    a crash cut off, and ``outcome`` after the last one.
    """

    steps: list[Step]
    intent: Owned
    outcome: Owned
    #: What it is about, before and after, as YAML.
    before: str
    after: str


# -- from words to values --


def parse_address(given: t.Any, interface: str, source: bool = True) -> Address:
    """``ADDR`` or ``ADDR/PREFIX``; without a prefix length, the full one."""
    text, slash, length = given.partition("/") if isinstance(given, str) else (given, "", "")
    address = model.address("", text)
    full = model.FULL_PREFIX[model.family_of(address)]
    try:
        prefix = model.integer("", length, 1, full) if slash else full
    except InvalidValue:
        raise InvalidValue("", f"{given!r} has no prefix length from 1 to {full}") from None
    if not source and prefix < 32 == full:
        # Its route to the subnet would name it as the source, whatever its scope.
        raise InvalidValue(
            "", f"{given!r} has a subnet, and would be the source of what goes there: leave its prefix out"
        )
    return Address(interface, address, prefix, source)


def parse_addresses(given: t.Any, interface: str, source: bool = True, path: str = "addresses") -> list[Address]:
    """The addresses that a user lists for one interface, in their order."""
    if not isinstance(given, (list, tuple)):
        raise InvalidValue(path, f"{given!r} is not a list")
    addresses: list[Address] = []
    places: dict[str, int] = {}
    for index, words in enumerate(given):
        try:
            address = parse_address(words, interface, source)
        except InvalidValue as error:
            raise error.under(f"{path}[{index}]") from None
        first = places.setdefault(address.address, index)
        if first != index:
            raise InvalidValue(f"{path}[{index}]", f"{address.address} is listed already, as {path}[{first}]")
        addresses.append(address)
    return addresses


# -- from values to words --


def format_owned(owned: Owned) -> dict[str, t.Any]:
    """The record as it is kept in a file."""
    return {
        "addresses": [
            {"interface": address.interface, "address": str(address), "source": address.source}
            for address in owned.addresses
        ],
        "dummies": list(owned.dummies),
    }


def parse_owned(given: t.Any) -> Owned:
    """The inverse of format_owned(); nothing is owned while there is no record."""
    if not given:
        return Owned()
    try:
        return Owned(
            tuple(
                parse_address(
                    words["address"],
                    model.interface_name("interface", words["interface"]),
                    model.boolean("source", words["source"]),
                )
                for words in given["addresses"]
            ),
            tuple(model.interface_name("dummies", name) for name in given["dummies"]),
        )
    except (InvalidValue, KeyError, TypeError):
        raise InvalidValue("record", "is not a record of virtual addresses") from None


def _text(host: Host, places: t.Container[Place], dummies: t.Container[str]) -> str:
    """The addresses at these places, and the dummy interfaces of these names, as YAML for a diff."""
    groups: dict[tuple[str, bool, bool], list[Address]] = {}
    for address in sorted(host.addresses, key=_order):
        if address.place in places:
            groups.setdefault((address.interface, not address.source, not address.permanent), []).append(address)
    for name in host.links:
        if name in dummies and not any(interface == name for interface, _source, _permanent in groups):
            groups[name, False, False] = []
    text = ""
    for (name, no_source, expiring), addresses in sorted(groups.items()):
        text += f"- interface: {name}\n"
        if name in dummies:
            text += "  dummy: true\n"
            if not host.links[name].up:
                text += "  up: false\n"
        if no_source:
            text += "  source: false\n"
        if expiring:
            text += "  permanent: false\n"
        text += "  addresses:\n" if addresses else "  addresses: []\n"
        text += "".join(f"    - {_yaml(str(address))}\n" for address in addresses)
    return text


def _yaml(text: str) -> str:
    """YAML reads a colon at either end of a word as its own."""
    return f'"{text}"' if text.startswith(":") or text.endswith(":") else text


def _order(address: Address) -> tuple[t.Any, ...]:
    """IPv4 first, then by text: any order that does not depend on the kernel's."""
    return (address.family, address.address, address.prefix)


# -- plans --


def plan_present(
    host: Host, owned: Owned, want: t.Sequence[Address], dummies: t.Collection[str] = (), purge: bool = False
) -> Plan:
    """The steps after which every address of ``want`` is there as wanted.

    An interface named in ``dummies`` is created where it is missing. An address of ours at another place
    than the wanted one moves. With ``purge``, what is ours and not wanted goes.
    """
    have = {address.place: address for address in host.addresses}
    ours = {address.place for address in owned.addresses}
    wanted = {address.place: address for address in want}
    elsewhere: dict[str, list[Address]] = {address.address: [] for address in want}
    moving: dict[str, list[Address]] = {address.address: [] for address in want}
    for there in host.addresses:
        if there.address in elsewhere and there.place not in wanted:
            (moving if there.place in ours else elsewhere)[there.address].append(there)

    for index, address in enumerate(want):
        _check(host, address, f"addresses[{index}]", dummies)
        _refuse_conflict(address, elsewhere[address.address], index)

    steps: list[Step] = []
    created: list[str] = []
    for name in sorted({address.interface for address in want}.intersection(dummies)):
        link = host.links.get(name)
        if link is None:
            created.append(name)
            steps.append(Step(CREATE, name))
        if link is None or not link.up:
            steps.append(Step(SET_UP, name))

    gone: list[Address] = []
    for address in want:
        for there in moving[address.address]:
            if address.family == "ipv6" and there.interface == address.interface:
                # The kernel takes an IPv6 address once on an interface, whatever its prefix length.
                steps.append(Step(REMOVE, there.interface, there))
            else:
                gone.append(there)
        steps.extend(_put(address, have.get(address.place)))
    if purge:
        gone.extend(there for there in host.addresses if there.place in ours and there.address not in moving)
    steps.extend(Step(REMOVE, there.interface, there) for there in gone)

    kept = [
        address
        for address in owned.addresses
        if not purge and address.place not in wanted and address.address not in moving
    ]
    addresses = [address for address in want if address.place in ours or address.place not in have]
    return _plan(host, owned, steps, (*addresses, *kept), created, wanted, release_dummies=purge)


def plan_absent(host: Host, owned: Owned, unwanted: t.Sequence[Address]) -> Plan:
    """The steps after which no address of ``unwanted`` is there."""
    have = {address.place: address for address in host.addresses}
    steps: list[Step] = []
    for index, address in enumerate(unwanted):
        there = have.get(address.place)
        if there is not None:
            steps.append(Step(REMOVE, there.interface, there))
            continue
        others = [
            other
            for other in host.addresses
            if (other.interface, other.address) == (address.interface, address.address)
        ]
        _refuse_conflict(address, others, index)
    places = {address.place: address for address in unwanted}
    kept = tuple(address for address in owned.addresses if address.place not in places)
    return _plan(host, owned, steps, kept, [], places, release_dummies=True)


def _check(host: Host, address: Address, path: str, dummies: t.Collection[str]) -> None:
    """Refuse an interface that cannot have the address."""
    name = address.interface
    link = host.links.get(name)
    if link is None and name not in dummies:
        raise InvalidValue("interface", f"there is no interface {name!r}")
    if link is not None and name in dummies and link.kind != "dummy":
        raise InvalidValue("interface", f"{name!r} exists and is not a dummy interface")
    if address.family == "ipv6" and not (host.ipv6 if link is None else link.ipv6):
        raise InvalidValue(path, f"IPv6 is disabled on {name}, which cannot have {address}")


def _refuse_conflict(address: Address, others: t.Sequence[Address], index: int) -> None:
    """Refuse an address that others keep at another place of the host."""
    for there in others:
        if there.interface == address.interface:
            raise InvalidValue(
                f"addresses[{index}]",
                f"{there.address} is on {there.interface} with the prefix length {there.prefix}, not {address.prefix}",
            )
        # One link-local address may be on every interface.
        if not address.address.startswith("fe80:"):
            raise InvalidValue(f"addresses[{index}]", f"{there.address} is on the interface {there.interface} already")


def _put(want: Address, there: Address | None) -> list[Step]:
    """The steps that make one address what it shall be."""
    if there == want:
        return []
    if there is None:
        return [Step(ADD, want.interface, want)]
    if want.family == "ipv4" and there.source != want.source:
        # The kernel does not edit the scope of an IPv4 address.
        return [Step(REMOVE, there.interface, there), Step(ADD, want.interface, want)]
    return [Step(CHANGE, want.interface, want)]


def _plan(
    host: Host,
    owned: Owned,
    steps: list[Step],
    addresses: t.Sequence[Address],
    created: t.Sequence[str],
    named: t.Mapping[Place, Address],
    release_dummies: bool,
) -> Plan:
    """Complete a plan: dummies of ours that have no address any more, the record, the diff."""
    after = _after(host, steps)
    used = {address.interface for address in addresses}
    if release_dummies:
        # An IPv6 link-local address is the kernel's own, and comes and goes with the interface.
        busy = used.union(address.interface for address in after.addresses if not address.address.startswith("fe80:"))
        for name in owned.dummies:
            link = host.links.get(name)
            if link is not None and link.kind == "dummy" and name not in busy:
                steps.append(Step(DELETE, name))
        after = _after(host, steps)
    dummies = tuple(dict.fromkeys(name for name in (*owned.dummies, *created) if name in used or name in after.links))
    outcome = Owned(tuple(sorted(addresses)), dummies)
    places = {address.place for address in outcome.addresses}
    intent = Owned(
        tuple(sorted((*outcome.addresses, *(a for a in owned.addresses if a.place not in places)))),
        tuple(dict.fromkeys((*owned.dummies, *created))),
    )
    shown = {*named, *(address.place for address in owned.addresses)}
    shown.update(step.address.place for step in steps if step.address is not None)
    links = {*owned.dummies, *(step.interface for step in steps if step.address is None)}
    return Plan(steps, intent, outcome, _text(host, shown, links), _text(after, shown, links))


def _after(host: Host, steps: t.Iterable[Step]) -> Host:
    """The host that ``steps`` make of ``host``, which stays as it is."""
    links = dict(host.links)
    addresses = {address.place: address for address in host.addresses}
    for action, name, address in steps:
        if address is not None:
            if action == REMOVE:
                addresses.pop(address.place, None)
            else:
                addresses[address.place] = address
        elif action == DELETE:
            del links[name]
            addresses = {place: there for place, there in addresses.items() if there.interface != name}
        else:
            links[name] = Link(name, "dummy", action == SET_UP, host.ipv6)
    return Host(links, tuple(addresses.values()), host.ipv6)
