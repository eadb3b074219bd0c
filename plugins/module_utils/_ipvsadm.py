# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Model <-> the text of ipvsadm-save(8), which ipvsadm-restore(8) takes. Pure.

The grammar is that of ipvsadm 1.31 (parse_options() of ipvsadm.c, with popt): one command in a line, its
options short, long, or several short ones in one word, in any order behind the command.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Entry,
    InvalidValue,
    RealServer,
    ServiceKey,
    Table,
    VirtualService,
)

#: The port that a service name such as ``http`` stands for with a protocol, or None.
PortOf = t.Callable[[str, str], t.Optional[int]]

#: Seconds of -p without a value (IPVS_SVC_PERSISTENT_TIMEOUT of libipvs.h; the manual page says 300).
DEFAULT_PERSISTENCE_TIMEOUT = 360
#: What ipvsadm as its authors release it takes; Debian's takes any weight that the kernel does.
WEIGHT_MAX_ELSEWHERE = 65535


class InvalidText(ValueError):
    """All that is wrong with a text, a line each, which begins with the number of the text's line."""

    def __init__(self, findings: t.Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


class Option(t.NamedTuple):
    """An option of ipvsadm."""

    #: Of options with the same subject, a line has one.
    subject: str
    short: str = ""
    takes_value: bool = True
    value_optional: bool = False


#: By their long names: what identifies a service, then what -A has, then what -a has.
_KEY = {
    "tcp-service": Option("service", "t"),
    "udp-service": Option("service", "u"),
    "sctp-service": Option("service"),
    "fwmark-service": Option("service", "f"),
    "ipv6": Option("ipv6", "6", takes_value=False),
}
_SERVICE = {
    "scheduler": Option("scheduler", "s"),
    "persistent": Option("persistent", "p", value_optional=True),
    "netmask": Option("netmask", "M"),
    "ops": Option("ops", "o", takes_value=False),
    "pe": Option("pe"),
    # With a value, or ipvsadm does not read it; without one, as it writes it: see _service().
    "sched-flags": Option("sched-flags", "b", value_optional=True),
}
_REAL_SERVER = {
    "real-server": Option("real-server", "r"),
    "masquerading": Option("forwarding", "m", takes_value=False),
    "gatewaying": Option("forwarding", "g", takes_value=False),
    "ipip": Option("forwarding", "i", takes_value=False),
    "weight": Option("weight", "w"),
    "u-threshold": Option("u-threshold", "x"),
    "l-threshold": Option("l-threshold", "y"),
    "tun-type": Option("tun-type"),
    "tun-port": Option("tun-port"),
    "tun-nocsum": Option("checksum", takes_value=False),
    "tun-csum": Option("checksum", takes_value=False),
    "tun-remcsum": Option("checksum", takes_value=False),
}
#: What a line may be about; a table is made by the first two.
_COMMANDS = {
    name: Option("command", short, takes_value=False)
    for name, short in [
        *[("add-service", "A"), ("add-server", "a"), ("edit-service", "E"), ("edit-server", "e")],
        *[("delete-service", "D"), ("delete-server", "d"), ("clear", "C"), ("list", "L"), ("zero", "Z")],
        *[("restore", "R"), ("save", "S"), ("set", ""), ("start-daemon", ""), ("stop-daemon", "")],
    ]
}
_OPTIONS = {**_COMMANDS, **_KEY, **_SERVICE, **_REAL_SERVER}
_SHORT = {option.short: name for name, option in _OPTIONS.items() if option.short}
_TAKEN = {
    "add-service": frozenset((*_KEY, *_SERVICE)),
    "add-server": frozenset((*_KEY, *_REAL_SERVER)),
}

_PROTOCOLS = {"tcp-service": "tcp", "udp-service": "udp", "sctp-service": "sctp"}
_FORWARDINGS = {"masquerading": "masquerade", "gatewaying": "direct", "ipip": "tunnel"}
_CHECKSUMS = {"tun-nocsum": "none", "tun-csum": "csum", "tun-remcsum": "remcsum"}


# -- from text -----------------------------------------------------------------------------------------


def parse_text(text: str, port_of: PortOf) -> Table:
    """The table that a text makes of an empty one. Comments and blank lines count for nothing."""
    table: Table = {}
    places: dict[t.Any, int] = {}
    findings = []
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line)
        if not words:
            continue
        try:
            command, given = _command(words)
            key = _service_key(given, port_of)
            if command == "add-service":
                service = _service(key, given)
                place: t.Any = key
            else:
                server = _real_server(key, given, port_of)
                place = (key, server.key)
                if key not in table:
                    raise InvalidValue("", f"there is no -A {_service_option(key)} above, or it is wrong")
            if place in places:
                raise InvalidValue("", f"it is added already, in line {places[place]}")
        except InvalidValue as error:
            findings.append(f"line {number}: {error}")
            continue
        places[place] = number
        if command == "add-service":
            table[key] = Entry(service, {})
        else:
            table[key].real_servers[server.key] = server
    if findings:
        raise InvalidText(findings)
    return table


def _words(line: str) -> list[str]:
    """The words of a line, as far as a comment, without the name of the program that scripts have."""
    words = line.split()
    for index, word in enumerate(words):
        if word.startswith("#"):
            del words[index:]
            break
    if words and (words[0] == "ipvsadm" or words[0].endswith("/ipvsadm")):
        del words[0]
    return words


def _command(words: list[str]) -> tuple[str, dict[str, str]]:
    """The command of a line, and the values of its options by their long names."""
    pairs = list(_split(words))
    command = pairs[0][0]
    if command not in _COMMANDS:
        raise InvalidValue("", f"{words[0]} is no command: -A or -a has to come first")
    if command not in _TAKEN:
        raise InvalidValue("", f"{words[0]} is not for a table that is read: -A and -a are")
    given: dict[str, str] = {}
    subjects = set()
    for name, value in pairs[1:]:
        if name not in _TAKEN[command]:
            raise InvalidValue("", f"{_spell(name)} is not for {_spell(command)}")
        subject = _OPTIONS[name].subject
        if subject in subjects:
            raise InvalidValue("", f"{_spell(name)} is one too many: there is one {subject} already")
        subjects.add(subject)
        given[name] = value
    return command, given


def _spell(name: str) -> str:
    return f"-{_OPTIONS[name].short}" if _OPTIONS[name].short else f"--{name}"


def _split(words: list[str]) -> t.Iterator[tuple[str, str]]:
    """The options of a line by their long names, with their values, as popt(3) finds them."""
    rest = words[::-1]
    while rest:
        word = rest.pop()
        if word.startswith("--"):
            name, attached, value = word[2:].partition("=")
        elif word.startswith("-"):
            name, attached = _SHORT.get(word[1:2], word[1:2]), word[2:]
            value = attached[1:] if attached.startswith("=") else attached
        else:
            raise InvalidValue("", f"{word!r} is not an option, nor the value of one")
        option = _OPTIONS.get(name)
        if option is None:
            raise InvalidValue("", f"there is no option {word}")
        if not option.takes_value and attached:
            if attached.startswith("=") or word.startswith("--"):
                raise InvalidValue("", f"{_spell(name)} takes no value")
            # More options in the same word.
            rest.append(f"-{attached}")
            value = ""
        elif option.takes_value and not attached:
            if rest and not (option.value_optional and rest[-1].startswith("-")):
                value = rest.pop()
            elif not option.value_optional:
                raise InvalidValue("", f"{_spell(name)} needs a value")
        yield name, value


def _service_key(given: dict[str, str], port_of: PortOf) -> ServiceKey:
    if "fwmark-service" in given:
        mark = given["fwmark-service"]
        # What is above 2^31 - 1, ipvsadm writes as a negative number.
        if mark.startswith("-") and mark[1:].isdecimal():
            mark = str(int(mark) + 2**32)
        return model.service_key({"fwmark": mark, "family": "ipv6" if "ipv6" in given else "ipv4"})
    if "ipv6" in given:
        raise InvalidValue("", "-6 is for -f only")
    for option, protocol in _PROTOCOLS.items():
        if option in given:
            address, port = _endpoint(given[option], protocol, port_of)
            return model.service_key({"protocol": protocol, "address": address, "port": port or 0})
    raise InvalidValue("", "there is no service: -t, -u, --sctp-service or -f")


def _endpoint(text: str, protocol: str, port_of: PortOf) -> tuple[str, int | None]:
    """``192.0.2.10:80``, ``[2001:db8::10]:80``, and both without a port."""
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        if not bracket or not port.startswith(":"):
            raise InvalidValue("address", f"{text!r} is not [ADDRESS]:PORT")
        port = port[1:]
    elif text.count(":") > 1:
        return model.address("address", text), None
    else:
        address, colon, port = text.partition(":")
        if not colon:
            return _address(address), None
    if port.isascii() and port.isdecimal():
        return _address(address), model.integer("port", port, 0, 65535)
    number = port_of(port, protocol)
    if number is None:
        raise InvalidValue("port", f"{port!r} is neither a number nor the name of a service of {protocol}")
    return _address(address), number


def _address(text: str) -> str:
    if any(letter.isalpha() for letter in text) and ":" not in text:
        raise InvalidValue("address", f"{text!r} is a name: only addresses are taken, which ipvsadm-save -n writes")
    return model.address("address", text)


def _service(key: ServiceKey, given: dict[str, str]) -> VirtualService:
    words: dict[str, t.Any] = {**key._asdict(), "one_packet": "ops" in given}
    for option, name in (("scheduler", "scheduler"), ("pe", "persistence_engine")):
        if option in given:
            words[name] = given[option]
    if "sched-flags" in given:
        # For the third flag of sh and mh, ipvsadm has no name; where it is the only one, -b has no value.
        words["scheduler_flags"] = [flag for flag in given["sched-flags"].split(",") if flag] or ["flag-3"]
    if "persistent" in given:
        words["persistence_timeout"] = model.integer(
            "persistence_timeout", given["persistent"] or DEFAULT_PERSISTENCE_TIMEOUT, 1, model.PERSISTENCE_TIMEOUT_MAX
        )
    if "netmask" in given:
        mask = given["netmask"]
        # ipvsadm would take 24 for 0.0.0.24.
        if key.family == "ipv4" and "." not in mask:
            raise InvalidValue("persistence_netmask", f"{mask!r} is not an IPv4 netmask such as 255.255.255.0")
        words["persistence_netmask"] = mask
    return model.virtual_service(words)


def _real_server(key: ServiceKey, given: dict[str, str], port_of: PortOf) -> RealServer:
    if "real-server" not in given:
        raise InvalidValue("", "there is no real server: -r")
    address, port = _endpoint(given["real-server"], key.protocol or "tcp", port_of)
    forwarding = next((word for option, word in _FORWARDINGS.items() if option in given), "direct")
    if forwarding != "masquerade" and key.fwmark is None:
        # As ipvsadm does: these cannot change the port.
        port = None
    words: dict[str, t.Any] = {"address": address, "port": port, "forwarding": forwarding}
    for option, name in (("weight", "weight"), ("u-threshold", "upper_threshold"), ("l-threshold", "lower_threshold")):
        if option in given:
            words[name] = given[option]
    tunnel = {word: given[option] for option, word in (("tun-type", "type"), ("tun-port", "port")) if option in given}
    for option, checksum in _CHECKSUMS.items():
        if option in given:
            tunnel["checksum"] = checksum
    if tunnel and forwarding != "tunnel":
        raise InvalidValue("tunnel", f"has no effect on a real server whose forwarding is {forwarding}: there is no -i")
    return model.real_server({**words, "tunnel": tunnel or None}, key)


# -- to text -------------------------------------------------------------------------------------------


def format_text(table: Table) -> str:
    """The lines that make a table of an empty one.

    As ``ipvsadm -Sn`` writes them, and with what it leaves out although ``ipvsadm -R`` takes it: thresholds,
    flags of a scheduler by number, and marks above 2^31 - 1 as positive numbers.
    """
    lines = []
    for service, servers in table.values():
        lines.append(f"-A {_service_option(service.key)}{_service_options(service)}\n")
        lines.extend(
            f"-a {_service_option(service.key)} -r {server.key}{_real_server_options(server)}\n"
            for server in servers.values()
        )
    return "".join(lines)


def reservations(table: Table) -> list[str]:
    """What not every ipvsadm takes, although the kernel does."""
    return [
        f"real server {server.key} of service {key}: weight {server.weight} is taken by Debian's ipvsadm; others take "
        f"at most {WEIGHT_MAX_ELSEWHERE}"
        for key, entry in table.items()
        for server in entry.real_servers.values()
        if server.weight > WEIGHT_MAX_ELSEWHERE
    ]


_PROTOCOL_OPTIONS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
_FORWARDING_OPTIONS = {"masquerade": "-m", "direct": "-g", "tunnel": "-i"}
_CHECKSUM_OPTIONS = {word: f"--{option}" for option, word in _CHECKSUMS.items()}


def _service_option(key: ServiceKey) -> str:
    if key.fwmark is not None:
        return f"-f {key.fwmark}{' -6' if key.family == 'ipv6' else ''}"
    where = model.endpoint(t.cast(str, key.address), t.cast(int, key.port))
    return f"{_PROTOCOL_OPTIONS[t.cast(str, key.protocol)]} {where}"


def _service_options(service: VirtualService) -> str:
    text = f" -s {service.scheduler}"
    if service.persistence_timeout:
        text += f" -p {service.persistence_timeout}"
        if service.persistence_netmask != model.FULL_PREFIX[service.key.family]:
            text += f" -M {_netmask(service)}"
    if service.persistence_engine:
        text += f" --pe {service.persistence_engine}"
    if service.one_packet:
        text += " -o"
    if service.scheduler_flags:
        text += f" -b {','.join(service.scheduler_flags)}"
    return text


def _netmask(service: VirtualService) -> int | str:
    """An IPv6 prefix length, or a dotted IPv4 mask."""
    mask = service.persistence_netmask
    return mask if service.key.family == "ipv6" else model.dotted_netmask(mask)


def _real_server_options(server: RealServer) -> str:
    text = f" {_FORWARDING_OPTIONS[server.forwarding]} -w {server.weight}"
    if server.forwarding == "tunnel":
        tunnel = server.tunnel
        text += f" --tun-type {tunnel.type}"
        if tunnel.type == "gue":
            text += f" --tun-port {tunnel.port}"
        if tunnel.type != "ipip":
            text += f" {_CHECKSUM_OPTIONS[tunnel.checksum]}"
    if server.upper_threshold:
        text += f" -x {server.upper_threshold}"
    if server.lower_threshold:
        text += f" -y {server.lower_threshold}"
    return text
