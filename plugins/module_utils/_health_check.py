# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The words of ``health_check`` -> the words of keepalived.conf(5). Pure. docs/health_checks.md explains them.

Each word is judged here, so that an error names the option of the inventory; what a host alone can
know (does the script exist, may the user run it) is judged there, by ``keepalived --config-test``.
"""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.lvs.ipvs.plugins.module_utils import _model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue

#: (option, value) -> what stands after keepalived's keyword; raises InvalidValue.
Judge = t.Callable[[str, t.Any], str]
#: Puts what a real server is called into a text.
Fill = t.Callable[[str], str]


class Block(t.NamedTuple):
    """``head { lines }``, as keepalived.conf(5) nests them."""

    head: str
    lines: tuple[t.Any, ...]  # of str and Block


def render(lines: t.Iterable[t.Any], indent: str = "") -> str:
    """Lines and blocks as text."""
    text = ""
    for line in lines:
        if isinstance(line, Block):
            text += f"{indent}{line.head} {{\n{render(line.lines, indent + '    ')}{indent}}}\n"
        else:
            text += f"{indent}{line}\n"
    return text


# -- single words ------------------------------------------------------------------------------------------

#: What keepalived's parser takes as one word, whatever stands around it.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:,=%&?+*~^-]+")
#: Parameters that keepalived defines itself; one cannot be escaped.
_PARAMETER = re.compile(r"\$\{?_")


def printable(option: str, value: t.Any) -> str:
    """Text on one line. The error does not repeat it: it may be a secret."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidValue(option, "is not a text on one line")
    if _PARAMETER.search(value):
        raise InvalidValue(option, "holds '$_' or '${_', where keepalived would put a value of its own")
    return str(value)


def word(option: str, value: t.Any) -> str:
    """One word of keepalived.conf, in quotes where it needs them. Plain strings know no escape."""
    text = printable(option, value)
    if _PLAIN_WORD.fullmatch(text):
        return text
    if '"' in text or "\\" in text:
        raise InvalidValue(option, "holds a double quote or a backslash, which keepalived cannot read here")
    if text.strip() in ("{", "}"):
        raise InvalidValue(option, "is a brace, which keepalived takes for that of a block, in quotes too")
    return f'"{text}"'


def escaped(option: str, value: t.Any) -> str:
    """A quoted string where keepalived knows escapes: scripts and regular expressions.

    But what first looks at the line does not know them, so that there must be no quote within the quotes.
    """
    text = printable(option, value)
    return '"' + text.replace("\\", "\\\\").replace('"', "\\042") + '"'


def arguments(option: str, value: t.Any) -> list[str]:
    """A command: a list of arguments, or text with the quotes of a shell. There is no shell, though."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise InvalidValue(option, f"is not a command: {error}") from None
    if isinstance(value, (bytes, dict)) or not isinstance(value, t.Sequence) or not value:
        raise InvalidValue(option, "is not a command: text, or a list of arguments")
    listed = [printable(f"{option}[{index}]", argument) for index, argument in enumerate(value)]
    if not listed[0].startswith("/"):
        raise InvalidValue(option, "does not begin with an absolute path")
    return listed


def command(option: str, value: t.Any, fill: Fill = str) -> str:
    """A command as keepalived reads it: it takes the quotes off twice."""
    inner = " ".join(
        argument if _PLAIN_WORD.fullmatch(argument) else "'" + argument.replace("\\", "\\\\").replace("'", "\\'") + "'"
        for argument in map(fill, arguments(option, value))
    )
    return escaped(option, inner)


def user(option: str, value: t.Any) -> str:
    """``user`` or ``user group``."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][\w.-]*( [A-Za-z_][\w.-]*)?", value):
        raise InvalidValue(option, f"{value!r} is not 'USER' or 'USER GROUP'")
    return str(value)


def single_user(option: str, value: t.Any) -> str:
    """``user``, who is made if need be."""
    if not isinstance(value, str) or " " in user(option, value):
        raise InvalidValue(option, f"{value!r} is not the name of one user")
    return value


def script(option: str, value: t.Any, fill: Fill = str) -> str:
    """A script to be told of something: a command, or ``{command: ..., user: ...}``."""
    if not isinstance(value, t.Mapping):
        return command(option, value, fill)
    given = known(option, value, ("command", "user"))
    if "command" not in given:
        raise InvalidValue(f"{option}.command", "is required")
    words = command(f"{option}.command", given["command"], fill)
    return f"{words} {user(f'{option}.user', given['user'])}" if "user" in given else words


def seconds(low: float, high: float = 86400.0) -> Judge:
    """A number of seconds; keepalived counts microseconds."""

    def judge(option: str, value: t.Any) -> str:
        number = value
        if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            number = float(value)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not low <= number <= high:
            raise InvalidValue(option, f"{value!r} is not a number of seconds from {low:g} to {high:g}")
        return f"{number:.6f}".rstrip("0").rstrip(".")

    return judge


def integer(low: int, high: int) -> Judge:
    return lambda option, value: str(_model.integer(option, value, low, high))


def boolean(option: str, value: t.Any) -> str:
    return "true" if _model.boolean(option, value) else "false"


def choice(*choices: str) -> Judge:
    return lambda option, value: _model.choice(option, value, choices)


def interface(option: str, value: t.Any) -> str:
    """The name of an interface that needs no quotes: not everywhere does keepalived take them."""
    name = _model.interface_name(option, value)
    if not _PLAIN_WORD.fullmatch(name):
        raise InvalidValue(option, f"{value!r} is not the name of an interface that keepalived can read")
    return name


def hexadecimal(option: str, value: t.Any) -> str:
    """Bytes in hexadecimal; digits alone are a number to YAML, unless quoted."""
    if not isinstance(value, str) or not re.fullmatch(r"([0-9A-Fa-f]{2} ?)+", value):
        raise InvalidValue(option, f"{value!r} is not a text of bytes in hexadecimal such as '0a 1b'")
    return str(value).strip()


def hexadecimal_mask(option: str, value: t.Any) -> str:
    """As hexadecimal, with X for four bits that may be anything."""
    if not isinstance(value, str) or not re.fullmatch(r"([0-9A-Fa-fXx]{2} ?)+", value):
        raise InvalidValue(option, f"{value!r} is not a text of bytes in hexadecimal such as '0a XX'")
    return str(value).strip()


def statuses(option: str, value: t.Any) -> str:
    """HTTP status codes: 200, '200-299', or a list of these."""
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    if not listed:
        raise InvalidValue(option, "names no status")
    found = []
    for one in listed:
        bounds = str(one).split("-") if isinstance(one, (int, str)) and not isinstance(one, bool) else []
        codes = [int(code) for code in bounds if re.fullmatch(r"[1-5][0-9][0-9]", code)]
        if len(codes) != len(bounds) or len(codes) not in (1, 2) or codes != sorted(codes):
            raise InvalidValue(option, f"{one!r} is not a status from 100 to 599, or a range such as '200-299'")
        found.append("-".join(bounds))
    return " ".join(found)


def known(path: str, given: t.Any, options: t.Container[str]) -> dict[str, t.Any]:
    """A dictionary of the user's words without what is left to its default; nothing at all is one too."""
    if given is None:
        return {}
    if not isinstance(given, t.Mapping):
        raise InvalidValue(path, "is not a dictionary")
    found = {}
    for option in given:
        where = f"{path}.{option}" if path else str(option)
        if option not in options:
            raise InvalidValue(where, "there is no such option here")
        try:
            value = given[option]
            bool(value)  # as in _cluster: what a template cannot give may show itself here only
        except Exception as error:  # pylint: disable=broad-except  # templates raise anything
            raise InvalidValue(where, str(error)) from None
        if value is not None:
            found[option] = value
    return found


# -- the checks --------------------------------------------------------------------------------------------


class Server(t.NamedTuple):
    """The real server that a check is about."""

    #: Its name in the inventory, or its address.
    host: str
    value: _model.RealServer

    def fill(self, text: str) -> str:
        """Put in what a script or a file has to know."""
        key = self.value.key
        for name, value in (("{host}", self.host), ("{address}", key.address), ("{port}", str(key.port))):
            text = text.replace(name, value)
        return text


#: When to look, and when to believe it: keepalived's keyword and the bounds. For all checks of a service,
#: or for one of them.
_TIMES: dict[str, tuple[str, Judge]] = {
    "interval": ("delay_loop", seconds(0.1)),
    "timeout": ("connect_timeout", seconds(0.1, 3600)),
    "retries": ("retry", integer(0, 1000)),
    "delay_before_retry": ("delay_before_retry", seconds(0)),
    "warmup": ("warmup", seconds(0)),
}
#: Down within interval + delay_before_retry when the server refuses. keepalived's own defaults (60 s, 5 s;
#: retries that differ from check to check) are those of another time.
_TIME_DEFAULTS = {"interval": 2, "timeout": 2, "retries": 1, "delay_before_retry": 0.5}

_EACH: dict[str, tuple[str, Judge]] = {
    **_TIMES,
    "alpha": ("alpha", boolean),
    "log_all_failures": ("log_all_failures", boolean),
}
_CONNECTION: dict[str, tuple[str, Judge]] = {
    "address": ("connect_ip", _model.address),
    "port": ("connect_port", integer(1, 65535)),
    "source_address": ("bindto", _model.address),
    "source_interface": ("bind_if", interface),
    "source_port": ("bind_port", integer(1, 65535)),
    "fwmark": ("fwmark", integer(1, 2**32 - 1)),
}
_URL: dict[str, tuple[str, Judge]] = {
    "path": ("path", word),
    "status": ("status_code", statuses),
    "host": ("virtualhost", word),
    "digest": ("digest", word),
    "regex": ("regex", escaped),
}


class Kind(t.NamedTuple):
    """A kind of check: keepalived's block, and the user's options that are keywords of it."""

    block: str
    options: dict[str, tuple[str, Judge]]
    #: Options that become something other than "keyword value".
    special: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "tcp": Kind("TCP_CHECK", {**_CONNECTION, **_EACH}),
    "http": Kind("HTTP_GET", {**_CONNECTION, **_EACH}, ("version", "regex_no_match", *_URL)),
    "https": Kind("SSL_GET", {**_CONNECTION, **_EACH}, ("version", "regex_no_match", "sni", *_URL)),
    "dns": Kind(
        "DNS_CHECK",
        {
            "type": ("type", choice("A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA")),
            "name": ("name", word),
            **_CONNECTION,
            **_EACH,
        },
    ),
    "udp": Kind(
        "UDP_CHECK",
        {
            "payload": ("payload", hexadecimal),
            "min_reply_length": ("min_reply_length", integer(0, 65535)),
            "max_reply_length": ("max_reply_length", integer(0, 65535)),
            **_CONNECTION,
            **_EACH,
        },
        ("reply",),
    ),
    "ping": Kind("PING_CHECK", {**{o: spec for o, spec in _CONNECTION.items() if "port" not in o}, **_EACH}),
    "smtp": Kind("SMTP_CHECK", {"helo": ("helo_name", word), **_CONNECTION, **_EACH}),
    "script": Kind(
        "MISC_CHECK",
        {option: spec for option, spec in _EACH.items() if option not in ("timeout", "log_all_failures")},
        ("command", "timeout", "user", "dynamic"),
    ),
    "file": Kind("FILE_CHECK", {}, ("path", "weight")),
}
#: Those that need a port to talk to.
_PORTED = ("tcp", "http", "https", "dns", "udp", "smtp")

_SCRIPTS = ("quorum_up", "quorum_down", "notify_up", "notify_down")
_FLAGS = ("inhibit_on_failure", "alpha", "omega", "ha_suspend")
OPTIONS = (*KINDS, *_TIMES, *_FLAGS, *_SCRIPTS, "quorum", "hysteresis", "sorry_server", "sorry_server_inhibit")


class HealthCheck:
    """The health check of one service, judged and ready to be written for each of its real servers.

    Paths of errors begin below ``health_check``.
    """

    def __init__(
        self, given: t.Any, service: _model.VirtualService, defaults: _model.RealServer, servers: t.Sequence[Server]
    ) -> None:
        self.given = known("", given, OPTIONS)
        # "tcp:" with nothing behind it is a check all the same.
        self.given.update({kind: {} for kind in KINDS if kind not in self.given and kind in (given or ())})
        self.servers = servers
        self.service = service
        self.defaults = defaults
        self.checks = list(self._checks())
        if not self.checks:
            raise InvalidValue("", f"names no check: one of {', '.join(KINDS)} is needed")
        self.times = {
            option: judge(option, self.given.get(option, _TIME_DEFAULTS.get(option)))
            for option, (dummy, judge) in _TIMES.items()
            if option in self.given or option in _TIME_DEFAULTS
        }
        self._quorum()
        #: Commands may carry credentials: their arguments are not for eyes.
        self.secret = any(option in self.given for option in (*_SCRIPTS, "script"))
        #: Whether keepalived, when it starts, takes every server to be well until a check fails. If not, it adds
        #: none that is ill, and does not look whether it is in the kernel already.
        self.trusting = not any(
            kind == "file" or _model.boolean(f"{path}.alpha", given.get("alpha", self.given.get("alpha", False)))
            for kind, given, path in self.checks
        )

    def service_lines(self) -> list[t.Any]:
        """What stands in ``virtual_server``."""
        lines: list[t.Any] = [
            f"{_TIMES[option][0]} {value}"
            for option, value in self.times.items()
            # keepalived has "retry 0" for a check, not for a service.
            if (option, value) != ("retries", "0")
        ]
        lines += [flag for flag in _FLAGS if _model.boolean(flag, self.given.get(flag, False))]
        lines += [f"{option} {self.given[option]}" for option in ("quorum", "hysteresis") if option in self.given]
        lines += [f"{o} {script(o, self.given[o])}" for o in ("quorum_up", "quorum_down") if o in self.given]
        return lines + self._sorry_server()

    def server_lines(self, server: Server) -> list[t.Any]:
        """What stands in ``real_server``."""
        lines: list[t.Any] = [
            f"{option} {script(option, self.given[option], server.fill)}"
            for option in ("notify_up", "notify_down")
            if option in self.given
        ]
        return lines + [self._block(kind, given, path, server) for kind, given, path in self.checks]

    def files(self) -> list[str]:
        """The files that are watched, each once, as words of keepalived.conf."""
        watched = [(given, path) for kind, given, path in self.checks if kind == "file"]
        return list(
            dict.fromkeys(
                _watched(_addressed(given, path, server), path) for given, path in watched for server in self.servers
            )
        )

    # -- words judged ------------------------------------------------------------------------------------

    def _checks(self) -> t.Iterator[tuple[str, dict[str, t.Any], str]]:
        """Each check as (kind, options, path)."""
        for kind, spec in KINDS.items():
            if kind not in self.given:
                continue
            told = self.given[kind]
            listed = list(told) if isinstance(told, (list, tuple)) else [told]
            for index, one in enumerate(listed):
                path = f"{kind}[{index}]" if isinstance(told, (list, tuple)) else kind
                given = known(path, one, (*spec.options, *spec.special))
                for server in self.servers:
                    if kind in _PORTED and not server.value.key.port and "port" not in given:
                        raise InvalidValue(
                            f"{path}.port", f"is required: real server {server.host} has no port of its own"
                        )
                yield kind, given, path

    def _quorum(self) -> None:
        total = sum(server.value.weight for server in self.servers)
        quorum = _model.integer("quorum", self.given.get("quorum", 1), 1, _model.INT_MAX)
        if not total:
            raise InvalidValue("", "keepalived needs a real server whose weight is not 0")
        if quorum > total:
            raise InvalidValue(
                "quorum", f"{quorum} is above {total}, the sum of all weights: it could never be reached"
            )
        _model.integer("hysteresis", self.given.get("hysteresis", 0), 0, quorum - 1)

    def _sorry_server(self) -> list[t.Any]:
        told = self.given.get("sorry_server")
        inhibit = _model.boolean("sorry_server_inhibit", self.given.get("sorry_server_inhibit", False))
        if told is None:
            if inhibit:
                raise InvalidValue("sorry_server_inhibit", "has no effect without sorry_server")
            return []
        given = known("sorry_server", told, ("address", "port", "forwarding", "tunnel"))
        try:
            server = _model.real_server(given, self.service.key, self.defaults)
            where = endpoint(server, self.service)
        except InvalidValue as error:
            raise error.under("sorry_server") from None
        return [
            f"sorry_server {where}",
            *(["sorry_server_inhibit"] if inhibit else []),
            f"sorry_server_lvs_method {method(server)}",
        ]

    # -- words written -----------------------------------------------------------------------------------

    def _block(self, kind: str, given: dict[str, t.Any], path: str, server: Server) -> Block:
        spec = KINDS[kind]
        given = _addressed(given, path, server)
        lines: list[t.Any] = list(_SPECIAL[kind](given, path)) if kind in _SPECIAL else []
        for option, (keyword, judge) in spec.options.items():
            if option in given:
                lines.append(f"{keyword} {judge(f'{path}.{option}', given[option])}")
        if self.times["retries"] == "0" and "retries" in spec.options and "retries" not in given:
            lines.append("retry 0")
        if kind == "script" and "timeout" not in given:
            # keepalived gives a script whole seconds, and by default as long as the interval.
            lines.append(f"misc_timeout {max(1, round(float(self.times['timeout'])))}")
        return Block(spec.block, tuple(lines))


def _addressed(given: dict[str, t.Any], path: str, server: Server) -> dict[str, t.Any]:
    """The words of a check with what they say of each server put in."""
    if "command" in given:
        listed = arguments(f"{path}.command", given["command"])
        return {**given, "command": [server.fill(argument) for argument in listed]}
    if isinstance(given.get("path"), str):
        return {**given, "path": server.fill(given["path"])}
    return given


def _http(given: dict[str, t.Any], path: str) -> t.Iterator[t.Any]:
    told = {"path": "/", **given}
    if "digest" not in told:
        told.setdefault("status", 200)
    if "digest" in told and not re.fullmatch(r"[0-9A-Fa-f]{32}", str(told["digest"])):
        raise InvalidValue(f"{path}.digest", f"{told['digest']!r} is not an MD5 sum in hexadecimal")
    if isinstance(told["path"], str) and not told["path"].startswith("/"):
        raise InvalidValue(f"{path}.path", f"{told['path']!r} does not begin with a slash")
    url = [f"{keyword} {judge(f'{path}.{o}', told[o])}" for o, (keyword, judge) in _URL.items() if o in told]
    if _model.boolean(f"{path}.regex_no_match", told.get("regex_no_match", False)):
        if "regex" not in told:
            raise InvalidValue(f"{path}.regex_no_match", "has no effect without regex")
        url.append("regex_no_match")
    if "version" in told:
        # YAML reads 1.1 as a number.
        yield f"http_protocol {choice('1.0', '1.0C', '1.1')(f'{path}.version', str(told['version']))}"
    yield Block("url", tuple(url))


def _https(given: dict[str, t.Any], path: str) -> t.Iterator[t.Any]:
    # keepalived sends the host as the name of the server.
    sni = _model.boolean(f"{path}.sni", given.get("sni", "host" in given))
    if sni and "host" not in given:
        raise InvalidValue(f"{path}.sni", "needs host: that is the name it sends")
    if sni:
        yield "enable_sni"
    yield from _http({option: value for option, value in given.items() if option != "sni"}, path)


def _udp(given: dict[str, t.Any], path: str) -> t.Iterator[t.Any]:
    lengths = [_model.integer(f"{path}.{o}", given.get(o, d), 0, 65535) for o, d in _REPLY_LENGTHS.items()]
    if lengths[0] > lengths[1]:
        raise InvalidValue(f"{path}.min_reply_length", f"{lengths[0]} is above max_reply_length {lengths[1]}")
    reply = given.get("reply", False)
    if isinstance(reply, bool):
        if reply:
            yield "require_reply"
    else:
        yield f"require_reply {hexadecimal_mask(f'{path}.reply', reply)}"


_REPLY_LENGTHS = {"min_reply_length": 0, "max_reply_length": 255}


def _script(given: dict[str, t.Any], path: str) -> t.Iterator[t.Any]:
    if "command" not in given:
        raise InvalidValue(f"{path}.command", "is required")
    yield f"misc_path {command(f'{path}.command', given['command'])}"
    if "timeout" in given:
        yield f"misc_timeout {_model.integer(f'{path}.timeout', given['timeout'], 1, 86400)}"
    if _model.boolean(f"{path}.dynamic", given.get("dynamic", False)):
        yield "misc_dynamic"
    if "user" in given:
        yield f"user {user(f'{path}.user', given['user'])}"


def _file(given: dict[str, t.Any], path: str) -> t.Iterator[t.Any]:
    yield f"track_file {_watched(given, path)}"
    yield f"weight {_model.integer(f'{path}.weight', given.get('weight', 0), -_model.INT_MAX, _model.INT_MAX)}"


def _watched(given: dict[str, t.Any], path: str) -> str:
    """A watched file; its path is its name, too."""
    told = given.get("path")
    if not isinstance(told, str) or not told.startswith("/"):
        raise InvalidValue(f"{path}.path", "is required, and is absolute")
    return word(f"{path}.path", told)


_SPECIAL: dict[str, t.Callable[[dict[str, t.Any], str], t.Iterator[t.Any]]] = {
    "http": _http,
    "https": _https,
    "udp": _udp,
    "script": _script,
    "file": _file,
}


# -- what a health check and its service have in common ----------------------------------------------------

_METHODS = {"masquerade": "NAT", "direct": "DR", "tunnel": "TUN"}
_CHECKSUMS = {"none": "nocsum", "csum": "csum", "remcsum": "remcsum"}


def method(server: _model.RealServer) -> str:
    """The forwarding method in keepalived's words."""
    words = [_METHODS[server.forwarding]]
    if server.forwarding == "tunnel":
        words += ["type", server.tunnel.type]
        if server.tunnel.port:
            words += ["port", str(server.tunnel.port)]
        if server.tunnel.type != "ipip":
            words.append(_CHECKSUMS[server.tunnel.checksum])
    return " ".join(words)


def endpoint(server: _model.RealServer, service: _model.VirtualService) -> str:
    """``ADDRESS PORT``; the port is left out where there is none."""
    address, port = server.key
    if service.key.fwmark is not None and server.forwarding != "masquerade" and port:
        raise InvalidValue(
            "port", f"{port}: forwarding {server.forwarding} leaves a fwmark service's ports as they are"
        )
    return f"{address} {port}" if port else address
