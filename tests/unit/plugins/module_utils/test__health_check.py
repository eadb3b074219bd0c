# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of health_check, kind by kind, and what keepalived gets for them."""

from __future__ import annotations

import pathlib
import textwrap
from typing import Any

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _health_check, _model
from ansible_collections.lvs.ipvs.plugins.module_utils._health_check import HealthCheck, Server

SERVICE = _model.virtual_service({"protocol": "tcp", "address": "192.0.2.10", "port": 80})


def server(host: str = "web1", address: str = "198.51.100.21", **words: Any) -> Server:
    return Server(host, _model.real_server({"address": address, **words}, SERVICE.key))


def health_check(words: Any, servers: list[Server] | None = None) -> HealthCheck:
    defaults = _model.real_server_defaults({})
    check = HealthCheck(words, SERVICE, defaults, servers if servers is not None else [server()])
    # Everything is judged at the latest when it is written.
    check.service_lines()
    for one in check.servers:
        check.server_lines(one)
    return check


def checks_of(words: Any, one: Server | None = None) -> str:
    """What stands in real_server."""
    one = one or server()
    return _health_check.render(health_check(words, [one]).server_lines(one))


URL = "    url {\n        path /\n        status_code 200\n    }\n"

KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "tcp": ({"tcp": {}}, "TCP_CHECK {\n}\n"),
    "tcp, nothing behind it": ({"tcp": None}, "TCP_CHECK {\n}\n"),
    "tcp, all": (
        {
            "tcp": {
                "address": "198.51.100.99",
                "port": 8080,
                "source_address": "198.51.100.11",
                "source_interface": "back",
                "source_port": 4000,
                "fwmark": 7,
                "interval": 1,
                "timeout": 0.5,
                "retries": 3,
                "delay_before_retry": 0,
                "warmup": 0,
                "alpha": True,
                "log_all_failures": True,
            }
        },
        """\
        TCP_CHECK {
            connect_ip 198.51.100.99
            connect_port 8080
            bindto 198.51.100.11
            bind_if back
            bind_port 4000
            fwmark 7
            delay_loop 1
            connect_timeout 0.5
            retry 3
            delay_before_retry 0
            warmup 0
            alpha true
            log_all_failures true
        }
        """,
    ),
    "http": ({"http": {}}, f"HTTP_GET {{\n{URL}}}\n"),
    "http, all": (
        {
            "http": {
                "path": "/healthz?full=1",
                "status": [200, "300-399"],
                "host": "www.example.org",
                "digest": "9b3a0c85a887a256d6939da88aabd8cd",
                "regex": 'say "\\d"',
                "regex_no_match": True,
                "version": 1.1,
            }
        },
        """\
        HTTP_GET {
            http_protocol 1.1
            url {
                path /healthz?full=1
                status_code 200 300-399
                virtualhost www.example.org
                digest 9b3a0c85a887a256d6939da88aabd8cd
                regex "say \\042\\\\d\\042"
                regex_no_match
            }
        }
        """,
    ),
    "a digest is enough": (
        {"http": {"digest": "9b3a0c85a887a256d6939da88aabd8cd"}},
        "HTTP_GET {\n    url {\n        path /\n        digest 9b3a0c85a887a256d6939da88aabd8cd\n    }\n}\n",
    ),
    "several of a kind": (
        {"http": [{"path": "/a b"}, {"port": 8080}]},
        'HTTP_GET {\n    url {\n        path "/a b"\n        status_code 200\n    }\n}\n'
        f"HTTP_GET {{\n{URL}    connect_port 8080\n}}\n",
    ),
    "https": ({"https": {}}, f"SSL_GET {{\n{URL}}}\n"),
    "https sends the name of its host": (
        {"https": {"host": "www.example.org"}},
        "SSL_GET {\n    enable_sni\n    url {\n        path /\n        status_code 200\n        virtualhost www.example.org\n    }\n}\n",
    ),
    "https without": (
        {"https": {"host": "www.example.org", "sni": False, "status": "200-204"}},
        "SSL_GET {\n    url {\n        path /\n        status_code 200-204\n        virtualhost www.example.org\n    }\n}\n",
    ),
    "dns": ({"dns": {}}, "DNS_CHECK {\n}\n"),
    "dns, all": (
        {"dns": {"type": "AAAA", "name": "www.example.org", "retries": 0}},
        "DNS_CHECK {\n    type AAAA\n    name www.example.org\n    retry 0\n}\n",
    ),
    "udp": ({"udp": {}}, "UDP_CHECK {\n}\n"),
    "udp, some answer": ({"udp": {"reply": True}}, "UDP_CHECK {\n    require_reply\n}\n"),
    "udp, all": (
        {"udp": {"payload": "00 0a", "reply": "00XX", "min_reply_length": 2, "max_reply_length": 512}},
        """\
        UDP_CHECK {
            require_reply 00XX
            payload 00 0a
            min_reply_length 2
            max_reply_length 512
        }
        """,
    ),
    "ping": ({"ping": {"timeout": 1}}, "PING_CHECK {\n    connect_timeout 1\n}\n"),
    "smtp": ({"smtp": {"helo": "lb.example.org"}}, "SMTP_CHECK {\n    helo_name lb.example.org\n}\n"),
    "script": (
        {"script": {"command": "/usr/bin/check --host {address} -p {port} {host}"}},
        'MISC_CHECK {\n    misc_path "/usr/bin/check --host 198.51.100.21 -p 80 web1"\n    misc_timeout 2\n}\n',
    ),
    "script, all": (
        {
            "script": {
                "command": ["/opt/check it", "it's", 'a "b" \\c', "#!"],
                "timeout": 5,
                "user": "nobody nogroup",
                "dynamic": True,
                "interval": 10,
            }
        },
        """\
        MISC_CHECK {
            misc_path "'/opt/check it' 'it\\\\'s' 'a \\042b\\042 \\\\\\\\c' '#!'"
            misc_timeout 5
            misc_dynamic
            user nobody nogroup
            delay_loop 10
        }
        """,
    ),
    "file": (
        {"file": {"path": "/run/lvs/{host}"}},
        "FILE_CHECK {\n    track_file /run/lvs/web1\n    weight 0\n}\n",
    ),
    "file with weight": (
        {"file": {"path": "/run/lvs/{host}", "weight": -2}},
        "FILE_CHECK {\n    track_file /run/lvs/web1\n    weight -2\n}\n",
    ),
    "all at once, in one order": (
        {"ping": {}, "tcp": {}, "notify_up": "/usr/bin/up {host}", "notify_down": {"command": ["/d"], "user": "nobody"}},
        'notify_up "/usr/bin/up web1"\nnotify_down "/d" nobody\nTCP_CHECK {\n}\nPING_CHECK {\n}\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_check(name: str) -> None:
    words, text = KINDS[name]
    assert checks_of(words) == textwrap.dedent(text)


def test_every_kind_has_a_case() -> None:
    assert {kind for words, dummy in KINDS.values() for kind in words} >= set(_health_check.KINDS)


SERVICE_WORDS: dict[str, tuple[dict[str, Any], str]] = {
    "defaults": ({}, "delay_loop 2\nconnect_timeout 2\nretry 1\ndelay_before_retry 0.5\n"),
    "times": (
        {"interval": 0.25, "timeout": "1.5", "retries": 2, "delay_before_retry": 1, "warmup": 0},
        "delay_loop 0.25\nconnect_timeout 1.5\nretry 2\ndelay_before_retry 1\nwarmup 0\n",
    ),
    "no retry is said in each check": ({"retries": 0}, "delay_loop 2\nconnect_timeout 2\ndelay_before_retry 0.5\n"),
    "flags": (
        {"inhibit_on_failure": True, "alpha": True, "omega": True, "ha_suspend": "yes"},
        "delay_loop 2\nconnect_timeout 2\nretry 1\ndelay_before_retry 0.5\ninhibit_on_failure\nalpha\nomega\nha_suspend\n",
    ),
    "quorum": (
        {"quorum": 2, "hysteresis": 1, "quorum_up": "/u", "quorum_down": {"command": "/d x", "user": "nobody"}},
        "delay_loop 2\nconnect_timeout 2\nretry 1\ndelay_before_retry 0.5\n"
        'quorum 2\nhysteresis 1\nquorum_up "/u"\nquorum_down "/d x" nobody\n',
    ),
    "sorry server": (
        {"sorry_server": {"address": "198.51.100.99", "port": 8080}, "sorry_server_inhibit": True},
        "delay_loop 2\nconnect_timeout 2\nretry 1\ndelay_before_retry 0.5\n"
        "sorry_server 198.51.100.99 8080\nsorry_server_inhibit\nsorry_server_lvs_method NAT\n",
    ),
    "sorry server by a tunnel": (
        {
            "sorry_server": {
                "address": "2001:db8::99",
                "forwarding": "tunnel",
                "tunnel": {"type": "gue", "port": 6080, "checksum": "remcsum"},
            }
        },
        "delay_loop 2\nconnect_timeout 2\nretry 1\ndelay_before_retry 0.5\n"
        "sorry_server 2001:db8::99 80\nsorry_server_lvs_method TUN type gue port 6080 remcsum\n",
    ),
}


@pytest.mark.parametrize("name", SERVICE_WORDS)
def test_what_the_service_gets(name: str) -> None:
    words, text = SERVICE_WORDS[name]
    check = health_check({"tcp": {}, **words}, [server(weight=3)])
    assert _health_check.render(check.service_lines()) == text


def test_no_retry_reaches_every_check_that_has_one() -> None:
    words = {"retries": 0, "tcp": {}, "ping": {"retries": 2}, "script": {"command": "/c"}, "file": {"path": "/f"}}
    assert checks_of(words) == (
        "TCP_CHECK {\n    retry 0\n}\n"
        "PING_CHECK {\n    retry 2\n}\n"
        'MISC_CHECK {\n    misc_path "/c"\n    retry 0\n    misc_timeout 2\n}\n'
        "FILE_CHECK {\n    track_file /f\n    weight 0\n}\n"
    )


def test_each_server_has_a_check_of_its_own() -> None:
    servers = [server("web1", "198.51.100.21"), server("web2", "198.51.100.22")]
    check = health_check({"file": [{"path": "/run/{host}"}, {"path": "/run/all"}]}, servers)
    assert check.files() == ["/run/web1", "/run/web2", "/run/all"]


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ({"tcp": {}}, False),
        ({"script": {"command": "/c --password x"}}, True),
        ({"tcp": {}, "quorum_down": "/page --token x"}, True),
    ],
)
def test_arguments_of_scripts_are_not_for_eyes(words: Any, secret: bool) -> None:
    assert health_check(words).secret == secret


REFUSED = [
    ({}, "names no check: one of tcp, http, https, dns, udp, ping, smtp, script, file is needed"),
    (True, "is not a dictionary"),
    ("tcp", "is not a dictionary"),
    ({"tpc": {}}, "tpc: there is no such option here"),
    ({"tcp": 80}, "tcp: is not a dictionary"),
    ({"tcp": [{}, {"prot": 1}]}, "tcp[1].prot: there is no such option here"),
    ({"tcp": {"port": 0}}, "tcp.port: 0 is not an integer from 1 to 65535"),
    ({"tcp": {"address": "www"}}, "tcp.address: 'www' is not an IPv4 or IPv6 address"),
    ({"tcp": {"source_interface": "a b"}}, "tcp.source_interface: 'a b' is not the name of an interface"),
    ({"tcp": {"alpha": "perhaps"}}, "tcp.alpha: 'perhaps' is not a boolean"),
    ({"tcp": {}, "interval": 0}, "interval: 0 is not a number of seconds from 0.1 to 86400"),
    ({"tcp": {}, "timeout": "2s"}, "timeout: '2s' is not a number of seconds from 0.1 to 3600"),
    ({"tcp": {}, "retries": -1}, "retries: -1 is not an integer from 0 to 1000"),
    ({"tcp": {}, "warmup": True}, "warmup: True is not a number of seconds from 0 to 86400"),
    ({"http": {"path": "healthz"}}, "http.path: 'healthz' does not begin with a slash"),
    ({"http": {"path": '/"'}}, "http.path: holds a double quote or a backslash"),
    ({"http": {"host": "{"}}, "http.host: is a brace"),
    ({"http": {"path": "/a\nb"}}, "http.path: is not a text on one line"),
    ({"http": {"path": "/${_PWD}"}}, "http.path: holds '$_' or '${_'"),
    ({"http": {"status": 99}}, "http.status: 99 is not a status from 100 to 599"),
    ({"http": {"status": "299-200"}}, "http.status: '299-200' is not a status"),
    ({"http": {"status": []}}, "http.status: names no status"),
    ({"http": {"status": True}}, "http.status: True is not a status"),
    ({"http": {"digest": "abc"}}, "http.digest: 'abc' is not an MD5 sum"),
    ({"http": {"version": 2}}, "http.version: '2' is not one of 1.0, 1.0C, 1.1"),
    ({"http": {"regex_no_match": True}}, "http.regex_no_match: has no effect without regex"),
    ({"http": {"sni": True}}, "http.sni: there is no such option here"),
    ({"https": {"sni": True}}, "https.sni: needs host"),
    ({"dns": {"type": "PTR"}}, "dns.type: 'PTR' is not one of A, NS"),
    ({"udp": {"payload": "0g"}}, "udp.payload: '0g' is not a text of bytes in hexadecimal"),
    ({"udp": {"payload": 10}}, "udp.payload: 10 is not a text of bytes in hexadecimal"),
    ({"udp": {"reply": "XXX"}}, "udp.reply: 'XXX' is not a text of bytes"),
    ({"udp": {"min_reply_length": 256}}, "udp.min_reply_length: 256 is above max_reply_length 255"),
    ({"ping": {"port": 80}}, "ping.port: there is no such option here"),
    ({"script": {}}, "script.command: is required"),
    ({"script": {"command": "check"}}, "script.command: does not begin with an absolute path"),
    ({"script": {"command": "/a 'b"}}, "script.command: is not a command: No closing quotation"),
    ({"script": {"command": ["/a", "b\nc"]}}, "script.command[1]: is not a text on one line"),
    ({"script": {"command": {"a": 1}}}, "script.command: is not a command"),
    ({"script": {"command": "/a", "timeout": 0.5}}, "script.timeout: 0.5 is not an integer from 1 to 86400"),
    ({"script": {"command": "/a", "user": "a b c"}}, "script.user: 'a b c' is not 'USER' or 'USER GROUP'"),
    ({"file": {}}, "file.path: is required, and is absolute"),
    ({"file": {"path": "a"}}, "file.path: is required, and is absolute"),
    ({"file": {"path": "/a", "weight": 1.5}}, "file.weight: 1.5 is not an integer"),
    ({"tcp": {}, "quorum": 0}, "quorum: 0 is not an integer from 1"),
    ({"tcp": {}, "quorum": 2}, "quorum: 2 is above 1, the sum of all weights"),
    ({"tcp": {}, "hysteresis": 1}, "hysteresis: 1 is not an integer from 0 to 0"),
    ({"tcp": {}, "quorum_up": ["page"]}, "quorum_up: does not begin with an absolute path"),
    ({"tcp": {}, "notify_up": {"user": "nobody"}}, "notify_up.command: is required"),
    ({"tcp": {}, "notify_up": {"command": "/a", "group": "b"}}, "notify_up.group: there is no such option here"),
    ({"tcp": {}, "sorry_server": {"port": 80}}, "sorry_server.address: is required"),
    (
        {"tcp": {}, "sorry_server": {"address": "2001:db8::1"}},
        "sorry_server.address: 2001:db8::1 is not of the service",
    ),
    ({"tcp": {}, "sorry_server": {"address": "198.51.100.9", "weight": 2}}, "sorry_server.weight: there is no such"),
    ({"tcp": {}, "sorry_server_inhibit": True}, "sorry_server_inhibit: has no effect without sorry_server"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[message for dummy, message in REFUSED])
def test_a_wrong_word_is_refused_with_its_path(words: Any, message: str) -> None:
    with pytest.raises(_model.InvalidValue) as caught:
        health_check(words)
    assert str(caught.value).startswith(message)


def test_a_secret_is_not_told_in_an_error() -> None:
    with pytest.raises(_model.InvalidValue) as caught:
        health_check({"script": {"command": ["/a", "s3cret\n"]}})
    assert "s3cret" not in str(caught.value)


def test_a_value_that_cannot_be_templated_is_named() -> None:
    class Broken:
        def __bool__(self) -> bool:
            raise RuntimeError("'port' is undefined")

    with pytest.raises(_model.InvalidValue, match=r"^tcp\.port: 'port' is undefined$"):
        health_check({"tcp": {"port": Broken()}})


@pytest.mark.parametrize("kind", ["tcp", "http", "https", "dns", "udp", "smtp"])
def test_a_server_without_a_port_needs_one_in_the_check(kind: str) -> None:
    mark = _model.virtual_service({"fwmark": 7})
    one = Server("web1", _model.real_server({"address": "198.51.100.21"}, mark.key))
    defaults = _model.real_server_defaults({})
    with pytest.raises(_model.InvalidValue, match=rf"^{kind}\.port: is required: real server web1 has no port"):
        HealthCheck({kind: {}}, mark, defaults, [one])
    assert HealthCheck({kind: {"port": 80}}, mark, defaults, [one]).server_lines(one)


def test_a_service_whose_servers_all_have_weight_0_is_refused() -> None:
    with pytest.raises(_model.InvalidValue, match="needs a real server whose weight is not 0"):
        health_check({"tcp": {}}, [server(weight=0)])


def test_every_word_is_documented(checkout: pathlib.Path) -> None:
    text = (checkout / "docs" / "health_checks.md").read_text()
    rows = {row.split("`")[1]: row for row in text.splitlines() if row.startswith("| `")}
    connection = {"address", "port", "source_address", "source_interface", "source_port", "fwmark"}
    for option in _health_check.OPTIONS:
        assert f"`{option}`" in text, option
    for kind, spec in _health_check.KINDS.items():
        for option in {*spec.options, *spec.special} - connection:
            row = rows["http"] + rows[kind] if kind == "https" else rows[kind]
            assert f"`{option}" in row or f"`{option}`" in text.split("## When")[1], f"{kind}.{option}"
    for option in connection:
        assert f"`{option}`" in text.split("*Connection*")[1].split("\n\n")[0]
    for option, default in _health_check._TIME_DEFAULTS.items():
        assert f"| `{option}` | {default} |" in text


def test_the_error_in_the_documentation_is_a_real_one(checkout: pathlib.Path) -> None:
    with pytest.raises(_model.InvalidValue) as caught:
        health_check({"http": {"status": 42}})
    error = str(caught.value.under("lvs_services[0] (web).health_check"))
    assert f"`{error}`" in " ".join((checkout / "docs" / "health_checks.md").read_text().split())
