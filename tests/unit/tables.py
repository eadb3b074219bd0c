# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated values of the model, for the properties that hold for every table."""

from __future__ import annotations

import ipaddress
import socket

from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Entry,
    RealServer,
    RealServerKey,
    ServiceKey,
    Table,
    Tunnel,
    VirtualService,
)

PORTS = st.one_of(st.sampled_from([80, 443]), st.integers(1, 65535))
COUNTS = st.one_of(st.integers(0, 3), st.integers(0, model.INT_MAX))
FAMILIES = st.sampled_from(model.FAMILIES)


def _acceptable(text: str) -> bool:
    try:
        model.real_server_key({"address": text}, ServiceKey("ipv4", fwmark=1))
    except model.InvalidValue:
        return False
    return True


def addresses(family: str) -> st.SearchStrategy[str]:
    """Addresses in canonical form: often one of a few, so that tables overlap, else any that a real server may have."""
    few = {
        "ipv4": ["192.0.2.10", "198.51.100.21", "198.51.100.22"],
        "ipv6": ["2001:db8:f::10", "2001:db8:b::21", "1:2:3:4:5:6:7:8", "2001:db8::"],
    }
    if family == "ipv4":
        some = st.integers(1, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
    else:
        some = st.integers(1, 2**128 - 1).map(
            lambda number: socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
        )
    return st.one_of(st.sampled_from(few[family]), some.filter(_acceptable))


@st.composite
def service_keys(draw: st.DrawFn) -> ServiceKey:
    family = draw(FAMILIES)
    if draw(st.booleans()):
        return ServiceKey(family, fwmark=draw(st.one_of(st.sampled_from([1, 7]), st.integers(1, 2**32 - 1))))
    port = draw(st.one_of(st.just(0), PORTS))
    return ServiceKey(family, draw(st.sampled_from(model.PROTOCOLS)), draw(addresses(family)), port)


def _netmasks(family: str) -> st.SearchStrategy[int | str]:
    prefixes = st.integers(1, model.FULL_PREFIX[family])
    return st.one_of(prefixes, st.sampled_from(["255.0.255.0", "0.0.0.1"])) if family == "ipv4" else prefixes


@st.composite
def services(draw: st.DrawFn, key: ServiceKey | None = None) -> VirtualService:
    key = key or draw(service_keys())
    scheduler = draw(st.sampled_from(["wlc", "rr", "sh", "mh", "none", "my_own-2"]))
    flags = model.scheduler_flag_names(scheduler)
    timeout = draw(st.integers(1 if key.port == 0 else 0, model.PERSISTENCE_TIMEOUT_MAX))
    one_packet = key.fwmark is not None or key.protocol == "udp"
    return VirtualService(
        key,
        scheduler,
        tuple(flag for flag in flags if draw(st.booleans())),
        timeout,
        draw(_netmasks(key.family)) if timeout else model.FULL_PREFIX[key.family],
        draw(st.sampled_from(["", "sip"])),
        draw(st.booleans()) if one_packet else False,
    )


TUNNELS = st.one_of(
    st.just(model.IPIP),
    st.builds(Tunnel, st.just("gue"), PORTS, st.sampled_from(model.TUNNEL_CHECKSUMS)),
    st.builds(Tunnel, st.just("gre"), st.just(0), st.sampled_from(["none", "csum"])),
)


@st.composite
def real_servers(draw: st.DrawFn, service: ServiceKey, key: RealServerKey | None = None) -> RealServer:
    """A real server of a service; with the given key, another one in its place."""
    methods = list(model.FORWARDINGS)
    if key is None:
        family = draw(FAMILIES)
        key = RealServerKey(draw(addresses(family)), draw(st.one_of(st.just(service.port or 0), st.integers(0, 65535))))
    if model.family_of(key.address) != service.family:
        methods = ["tunnel"]
    if service.fwmark is None and key.port != service.port:
        if methods == ["tunnel"]:
            key = RealServerKey(key.address, service.port or 0)
        else:
            methods = ["masquerade"]
    forwarding = draw(st.sampled_from(methods))
    upper = draw(COUNTS)
    return RealServer(
        key,
        draw(COUNTS),
        forwarding,
        draw(TUNNELS) if forwarding == "tunnel" else model.IPIP,
        upper,
        draw(st.integers(0, upper)),
    )


@st.composite
def entries(draw: st.DrawFn, key: ServiceKey | None = None) -> Entry:
    service = draw(services(key))
    servers = draw(st.lists(real_servers(service.key), max_size=4))
    return Entry(service, {server.key: server for server in servers})


def tables(max_size: int = 4) -> st.SearchStrategy[Table]:
    return st.lists(entries(), max_size=max_size).map(lambda listed: {entry.service.key: entry for entry in listed})


@st.composite
def edited(draw: st.DrawFn, table: Table) -> Table:
    """The same table with some entries gone, changed, or new."""
    result = draw(tables(2))
    for key, (service, servers) in table.items():
        if draw(st.booleans()):
            continue
        kept = {
            server_key: server if draw(st.booleans()) else draw(real_servers(key, server_key))
            for server_key, server in servers.items()
            if draw(st.booleans())
        }
        more = {server.key: server for server in draw(st.lists(real_servers(key), max_size=2))}
        result[key] = Entry(draw(st.one_of(st.just(service), services(key))), {**more, **kept})
    return result


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Table, Table]:
    """What is there and what is wanted, with something in common."""
    have = draw(tables())
    return have, draw(st.one_of(st.just(have), edited(have), tables()))
