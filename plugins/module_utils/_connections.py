# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The lines of /proc/net/ip_vs_conn: which are wanted, what they say, and how many there are of each kind. Pure.

There may be millions of lines. They are looked at one by one, as the words that they consist of; only
those that are listed, and one of each kind, are made values of. Format: ip_vs_conn_seq_show() of ip_vs_conn.c.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Given, InvalidValue, ServiceKey

#: What a connection of TCP, UDP or SCTP may be in (tcp_state_name_table and its like).
STATES = (
    *("NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK"),
    *("LISTEN", "SYNACK", "UDP", "INIT1", "INIT", "COOKIE_SENT", "COOKIE_REPLIED", "COOKIE_WAIT", "COOKIE"),
    *("COOKIE_ECHOED", "SHUTDOWN_SENT", "SHUTDOWN_RECEIVED", "SHUTDOWN_ACK_SENT", "REJECTED", "CLOSED", "ASSURED"),
)
#: What a persistence template may be in; before Linux 4.19 it is always the first.
_TEMPLATE_STATES = frozenset(("NONE", "ASSURED"))

# The words of a line. What follows them is the name of a persistence engine, and what it keeps.
_PROTOCOL, _CLIENT, _CLIENT_PORT, _VIRTUAL, _VIRTUAL_PORT, _REAL, _REAL_PORT, _STATE, _EXPIRES, _ENGINE = range(10)
#: In the place of the protocol: the virtual address is the mark of a service.
_MARK = "IP"


class MalformedLine(Exception):
    """The kernel wrote what this code does not understand."""


class Endpoint(t.NamedTuple):
    """An address and a port."""

    address: str
    port: int


class Connection(t.NamedTuple):
    """One line."""

    #: By mark, only of a persistence template; the kernel does not say so of connections.
    service: ServiceKey
    #: Of a template a network, with port 0.
    client: Endpoint
    real_server: Endpoint
    state: str
    #: Seconds.
    expires_in: int
    #: No connection, but the memory of where a client's next connection goes.
    template: bool
    persistence_engine: str
    persistence_data: str


class Network(t.NamedTuple):
    """A network of clients; without a family, all."""

    family: str = ""
    #: The address as a number, without the bits of a host.
    number: int = 0
    host_bits: int = 0


class Filter(t.NamedTuple):
    """Which lines are wanted."""

    #: Places in a line, and the words that have to stand there.
    words: tuple[tuple[int, str], ...] = ()
    states: frozenset[str] = frozenset()
    clients: Network = Network()

    def takes(self, line: list[str]) -> bool:
        """Whether a line, in its words, is wanted."""
        for place, word in self.words:
            if line[place] != word:
                return False
        if self.states and line[_STATE] not in self.states:
            return False
        family, number, host_bits = self.clients
        client = line[_CLIENT]
        return not family or (
            model.family_of(client) == family and int(client.replace(":", ""), 16) >> host_bits == number
        )


# -- from the user's words -------------------------------------------------------------------------------


def parse_filter(given: Given) -> Filter:
    """The filter that a module's options ask for."""
    words: list[tuple[int, str]] = []
    for option, parse in (("service", _service_words), ("real_server", _real_server_words)):
        if given.get(option) is not None:
            try:
                words.extend(parse(given[option]))
            except InvalidValue as error:
                raise error.under(option) from None
    states = given.get("states") or ()
    for index, state in enumerate(states):
        model.choice(f"states[{index}]", state, STATES)
    client = given.get("client")
    return Filter(tuple(words), frozenset(states), Network() if client is None else _network("client", client))


def _service_words(given: Given) -> t.Iterator[tuple[int, str]]:
    if given.get("fwmark") is not None:
        key = model.service_key(given)
        yield _PROTOCOL, _MARK
        yield _VIRTUAL, _mark_word(key)
        return
    if given.get("family") is not None:
        raise InvalidValue("family", "is for a service by fwmark")
    if given.get("protocol") is not None:
        yield _PROTOCOL, model.choice("protocol", given["protocol"], model.PROTOCOLS).upper()
    yield from _endpoint_words(given, _VIRTUAL, _VIRTUAL_PORT)


def _real_server_words(given: Given) -> t.Iterator[tuple[int, str]]:
    return _endpoint_words(given, _REAL, _REAL_PORT)


def _endpoint_words(given: Given, address: int, port: int) -> t.Iterator[tuple[int, str]]:
    if given.get("address") is not None:
        yield address, _address_word(model.address("address", given["address"]))
    if given.get("port") is not None:
        yield port, f"{model.integer('port', given['port'], 0, 65535):04X}"


def _address_word(address: str) -> str:
    """``C000020A``, or ``2001:0db8:000f:0000:0000:0000:0000:0010``."""
    if ":" in address:
        digits = inet_pton(AF_INET6, address).hex()
        return ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    return inet_pton(AF_INET, address).hex().upper()


def _mark_word(key: ServiceKey) -> str:
    """The mark in the first four bytes of an address."""
    if key.family == "ipv6":
        digits = f"{key.fwmark:08x}".ljust(32, "0")
        return ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    return f"{key.fwmark:08X}"


def _network(option: str, value: str) -> Network:
    text, slash, length = value.partition("/")
    address = model.address(option, text)
    family = model.family_of(address)
    full = model.FULL_PREFIX[family]
    try:
        prefix = model.integer(option, length, 0, full) if slash else full
    except InvalidValue:
        raise InvalidValue(option, f"{value!r} has no prefix length from 0 to {full}") from None
    host_bits = full - prefix
    return Network(family, int(_address_word(address).replace(":", ""), 16) >> host_bits, host_bits)


# -- from lines to values --------------------------------------------------------------------------------


def _endpoint(address: str, port: str) -> Endpoint:
    packed = bytes.fromhex(address.replace(":", ""))
    return Endpoint(inet_ntop(AF_INET6 if ":" in address else AF_INET, packed), int(port, 16))


def _service_key(protocol: str, address: str, port: str) -> ServiceKey:
    family = model.family_of(address)
    if protocol == _MARK:
        return ServiceKey(family, fwmark=int(address.replace(":", "")[:8], 16))
    return ServiceKey(family, protocol.lower(), *_endpoint(address, port))


def _connection(words: list[str]) -> Connection:
    engine, _blank, data = words[_ENGINE].strip().partition(" ") if len(words) > _ENGINE else ("", "", "")
    return Connection(
        _service_key(words[_PROTOCOL], words[_VIRTUAL], words[_VIRTUAL_PORT]),
        _endpoint(words[_CLIENT], words[_CLIENT_PORT]),
        _endpoint(words[_REAL], words[_REAL_PORT]),
        words[_STATE],
        int(words[_EXPIRES]),
        _is_template(words),
        engine,
        data,
    )


def _is_template(words: list[str]) -> bool:
    # The data connection that FTP's helper expects has no client port either; its state is another.
    return words[_CLIENT_PORT] == "0000" and words[_STATE] in _TEMPLATE_STATES


class Count:
    """How many connections there are in each state, and how many persistence templates."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.templates = 0

    def add(self, state: str, number: int) -> None:
        """An empty state stands for templates."""
        if state:
            self.states[state] += number
        else:
            self.templates += number

    @property
    def connections(self) -> int:
        """The number of connections in any state."""
        return sum(self.states.values())


class Survey(t.NamedTuple):
    """What there is of the connections that are wanted."""

    total: Count
    services: dict[ServiceKey, tuple[Count, dict[Endpoint, Count]]]
    #: The first of them.
    listed: list[Connection]


def survey(lines: t.Iterable[str], wanted: Filter, limit: int) -> Survey:
    """Count the lines that are wanted, and list the first of them up to a limit.

    The memory that it takes depends on the numbers of services, real servers and states, and not on that
    of connections. Raises MalformedLine.
    """
    kinds: Counter[tuple[str, str, str, str, str, str]] = Counter()
    listed: list[Connection] = []
    for line in lines:
        words = line.split(None, _ENGINE)
        if len(words) < _ENGINE:
            raise MalformedLine(repr(line))
        if words[_PROTOCOL] == "Pro":  # the heading
            continue
        template = _is_template(words)
        # The port of a real server that a template no longer leads to: the kernel only waits for its end.
        if (template and words[_REAL_PORT] == "FFFF") or not wanted.takes(words):
            continue
        protocol, _client, _client_port, virtual, virtual_port, real, real_port, state = words[:_EXPIRES]
        kinds[protocol, virtual, virtual_port, real, real_port, "" if template else state] += 1
        if len(listed) < limit:
            listed.append(_connection(words))

    total = Count()
    services: dict[ServiceKey, tuple[Count, dict[Endpoint, Count]]] = {}
    for (protocol, virtual, virtual_port, real, real_port, state), number in kinds.items():
        key = _service_key(protocol, virtual, virtual_port)
        of_service, servers = services.setdefault(key, (Count(), {}))
        of_server = servers.setdefault(_endpoint(real, real_port), Count())
        for count in (total, of_service, of_server):
            count.add(state, number)
    return Survey(total, services, listed)
