# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which real servers have to prove that they answer before they get weight, and by what. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._drain import DrainKey
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    IPIP,
    Entry,
    InvalidValue,
    RealServer,
    ServiceKey,
    Table,
    Tunnel,
)

#: Seconds.
TIMEOUT_MAX = 60


class Proof(t.NamedTuple):
    """What a real server has to answer. Several services may ask the same."""

    #: The address of the real server.
    server: str
    forwarding: str
    tunnel: Tunnel
    #: Whom to ask: the virtual address, or the real server itself where its packets are masqueraded.
    address: str
    #: The TCP port; None asks for an ICMP echo, which proves the way and not what listens at its end.
    port: int | None

    def __str__(self) -> str:
        return "an ICMP echo request" if self.port is None else f"a SYN to {model.endpoint(self.address, self.port)}"


class Demand(t.NamedTuple):
    """What is to be proven, and who gets weight without, for there is nothing that could be asked."""

    proofs: dict[DrainKey, Proof]
    beyond: list[DrainKey]


class Marked(t.NamedTuple):
    """Packets that a service by firewall mark is for."""

    protocol: str
    address: str
    #: 0 where all ports are.
    port: int


class Wishes(t.NamedTuple):
    """What the user says of it."""

    timeout: float
    on_failure: str
    marked: dict[ServiceKey, Marked]


def spec() -> options.ArgumentSpec:
    """The suboptions of a probe."""
    marked: options.ArgumentSpec = {
        "fwmark": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": list(model.PROTOCOLS), "required": True},
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
    }
    return {
        "on_failure": {"type": "str", "choices": ["continue", "fail"], "default": "continue"},
        "timeout": {"type": "float", "default": 2},
        "marked": {"type": "list", "elements": "dict", "default": [], "options": marked},
    }


def parse_wishes(given: t.Mapping[str, t.Any] | None, path: str = "probe") -> Wishes | None:
    """From the user's words; None if nothing is to be proven."""
    if given is None:
        return None
    marked: dict[ServiceKey, Marked] = {}
    if not 0 < given["timeout"] <= TIMEOUT_MAX:
        raise InvalidValue(f"{path}.timeout", f"{given['timeout']} is not above 0, and at most {TIMEOUT_MAX}")
    for index, words in enumerate(given["marked"] or []):
        try:
            example = model.service_key({option: words[option] for option in ("protocol", "address", "port")})
            key = model.service_key({"fwmark": words["fwmark"], "family": example.family})
        except InvalidValue as error:
            raise error.under(f"{path}.marked[{index}]") from None
        marked.setdefault(key, Marked(*(t.cast(t.Any, part) for part in example[1:4])))
    return Wishes(given["timeout"], given["on_failure"], marked)


def demand(have: Table, want: Table, marked: t.Mapping[ServiceKey, Marked]) -> Demand:
    """What real servers have to prove that are to get weight and have none.

    Who is drained is held at weight 0 in ``want``, or has weight already.
    """
    asked = Demand({}, [])
    for key, entry in want.items():
        there = have.get(key)
        if there == entry:
            continue
        for server_key, server in entry.real_servers.items():
            before = there.real_servers.get(server_key) if there else None
            if not server.weight or (before and before.weight):
                continue
            proof = _proof(key, entry, server, marked)
            if proof is None:
                asked.beyond.append((key, server_key))
            else:
                asked.proofs[key, server_key] = proof
    return asked


def _proof(key: ServiceKey, entry: Entry, server: RealServer, marked: t.Mapping[ServiceKey, Marked]) -> Proof | None:
    example = marked.get(key) if key.fwmark is not None else Marked(*(t.cast(t.Any, part) for part in key[1:4]))
    if example is None:
        return None
    tcp = example.protocol == "tcp" and not entry.service.one_packet
    if server.forwarding == "masquerade":
        # Port 0 means that of the packet.
        port = server.key.port or example.port
        return Proof(server.key.address, "masquerade", IPIP, server.key.address, port) if tcp and port else None
    tunnel = server.tunnel if server.forwarding == "tunnel" else IPIP
    return Proof(server.key.address, server.forwarding, tunnel, example.address, (tcp and example.port) or None)


def without_weight(table: Table, keys: t.Iterable[DrainKey]) -> Table:
    """A table in which these real servers have weight 0."""
    changed = dict(table)
    for service, server in keys:
        entry = changed[service]
        if entry is table[service]:
            entry = changed[service] = Entry(entry.service, dict(entry.real_servers))
        entry.real_servers[server] = entry.real_servers[server]._replace(weight=0)
    return changed


def irreplaceable(have: Table, then: Table, failures: t.Iterable[DrainKey], drained: t.Container[DrainKey]) -> Table:
    """Who has weight in services that nobody would serve any more, while those that failed do not answer."""
    kept: Table = {}
    for key in dict.fromkeys(service for service, _server in failures):
        if key not in have or any(server.weight for server in then[key].real_servers.values()):
            continue
        serving = {
            server_key: server
            for server_key, server in have[key].real_servers.items()
            if server.weight and (key, server_key) not in drained
        }
        if serving:
            kept[key] = Entry(then[key].service, serving)
    return kept


def parse_failures(given: t.Iterable[t.Mapping[str, t.Any]]) -> dict[DrainKey, str]:
    """What format_failures() made."""
    failures = {}
    for words in given:
        service = model.service_key(words["service"])
        failures[service, model.real_server_key(words, service)] = words["reason"]
    return failures


def format_failures(failures: t.Mapping[DrainKey, str]) -> list[dict[str, t.Any]]:
    """Those that did not prove it, and why, in the user's words."""
    return [
        {"service": options.format_key(service), "address": server.address, "port": server.port, "reason": reason}
        for (service, server), reason in failures.items()
    ]
