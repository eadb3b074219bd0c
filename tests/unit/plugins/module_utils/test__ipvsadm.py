# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of ipvsadm-save(8): what it says, what it may not say, and that nothing is lost on the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given

from ansible_collections.lvs.ipvs.plugins.module_utils import _ipvsadm, _options
from ansible_collections.lvs.ipvs.plugins.module_utils._ipvsadm import (
    InvalidText,
    format_text,
    parse_text,
    reservations,
)
from tests.unit import tables

PORTS = {("http", "tcp"): 80, ("domain", "udp"): 53, ("m3ua", "sctp"): 2905}


def port_of(name: str, protocol: str) -> int | None:
    return PORTS.get((name, protocol))


def words(text: str) -> list[dict]:
    return _options.format_services(parse_text(text, port_of))


WEB = "-A -t 192.0.2.10:80\n"
ADD = "-a -t 192.0.2.10:80 -r 198.51.100.21"

SERVICES = [
    ("-A -t 192.0.2.10:80", {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "scheduler": "wlc"}),
    ("-A -t 192.0.2.10:http", {"protocol": "tcp", "port": 80}),
    ("-A -u 192.0.2.10:domain", {"protocol": "udp", "port": 53}),
    ("-A --sctp-service 192.0.2.10:m3ua", {"protocol": "sctp", "port": 2905}),
    ("-A -t [2001:db8::10]:443", {"address": "2001:db8::10", "port": 443}),
    ("-A -t [2001:0db8::0010]:443", {"address": "2001:db8::10"}),
    ("-A -t 2001:db8::10 -p", {"address": "2001:db8::10", "port": 0}),
    ("-A -t 192.0.2.10 -p 60", {"port": 0, "persistence_timeout": 60}),
    ("-A -f 7", {"fwmark": 7, "family": "ipv4"}),
    ("-A -f 7 -6", {"fwmark": 7, "family": "ipv6"}),
    ("-A -6 -f 7", {"fwmark": 7, "family": "ipv6"}),
    ("-A -f -1", {"fwmark": 4294967295}),
    ("-A -f 4294967295", {"fwmark": 4294967295}),
    ("-A -f 7 -s rr", {"scheduler": "rr"}),
    ("-A -f 7 -p", {"persistence_timeout": 360, "persistence_netmask": 32}),
    ("-A -f 7 -p -o", {"persistence_timeout": 360, "one_packet": True}),
    ("-A -f 7 -p 300 -M 255.255.255.0", {"persistence_timeout": 300, "persistence_netmask": 24}),
    ("-A -f 7 -M 255.0.255.0 -p 300", {"persistence_netmask": "255.0.255.0"}),
    ("-A -f 7 -6 -p 300 -M 64", {"persistence_netmask": 64}),
    ("-A -f 7 -p 300 --pe sip", {"persistence_engine": "sip"}),
    ("-A -f 7 -s sh -b sh-port,sh-fallback", {"scheduler_flags": ["sh-fallback", "sh-port"]}),
    ("-A -f 7 -b flag-1 -s mh", {"scheduler_flags": ["mh-fallback"]}),
    # As ipvsadm-save writes it.
    ("-A -f 7 -s sh -b ", {"scheduler_flags": ["flag-3"]}),
    ("-A -f 7 -b flag-3", {"scheduler_flags": ["flag-3"]}),
]

# Spellings of the same line.
SPELLINGS = [
    "-A -u 192.0.2.10:53 -s rr -p 60 -o",
    "-A -u 192.0.2.10:53 -s rr -op 60",
    "-Au 192.0.2.10:53 -srr -p60 -o",
    "-Au192.0.2.10:53 -s=rr -p=60 -o",
    "ipvsadm -A -o -p 60 -s rr -u 192.0.2.10:53",
    "/sbin/ipvsadm -A -o -p 60 -s rr -u 192.0.2.10:53",
    "--add-service --udp-service 192.0.2.10:53 --scheduler rr --persistent 60 --ops",
    "--add-service --udp-service=192.0.2.10:53 --scheduler=rr --persistent=60 --ops",
    "\t-A -u 192.0.2.10:53  -s rr\t-p 60 -o   # a comment -s wlc",
    "-A -u 192.0.2.10:domain -s rr -p 60 -o",
]

REAL_SERVERS = [
    (":80 -m -w 1", {"address": "198.51.100.21", "port": 80, "weight": 1, "forwarding": "masquerade"}),
    ("", {"port": 80, "weight": 1, "forwarding": "direct"}),
    (":8080 -m", {"port": 8080}),
    # ipvsadm gives these the port of the service, whatever is said.
    (":8080", {"port": 80, "forwarding": "direct"}),
    (":8080 -i", {"port": 80, "forwarding": "tunnel"}),
    (" -g -w 0", {"weight": 0, "forwarding": "direct"}),
    (" -m -w 3 -x 100 -y 50", {"weight": 3, "upper_threshold": 100, "lower_threshold": 50}),
    (" -i", {"tunnel": {"type": "ipip", "port": 0, "checksum": "none"}}),
    (" -i --tun-type gue --tun-port 6080", {"tunnel": {"type": "gue", "port": 6080, "checksum": "none"}}),
    (" -i --tun-type gue --tun-port 6080 --tun-remcsum", {"tunnel": {"type": "gue", "port": 6080, "checksum": "remcsum"}}),
    (" --tun-csum --tun-type=gre --ipip", {"tunnel": {"type": "gre", "port": 0, "checksum": "csum"}}),
    (" -i --tun-type gre --tun-nocsum", {"tunnel": {"type": "gre", "port": 0, "checksum": "none"}}),
    (" --masquerading --weight 2 --u-threshold 5 --l-threshold=4", {"weight": 2, "upper_threshold": 5, "lower_threshold": 4}),
    (" -mw2", {"forwarding": "masquerade", "weight": 2}),
]  # fmt: skip

WRONG = [
    ("-E -t 192.0.2.10:80 -s rr", "line 1: -E is not for a table that is read"),
    ("-D -t 192.0.2.10:80", "line 1: -D is not"),
    ("-e -t 192.0.2.10:80 -r 198.51.100.21", "line 1: -e is not"),
    ("-d -t 192.0.2.10:80 -r 198.51.100.21", "line 1: -d is not"),
    ("-C", "line 1: -C is not"),
    ("--clear", "line 1: --clear is not"),
    ("--set 1 2 3", "line 1: .*'1' is not an option"),
    ("--start-daemon", "line 1: --start-daemon is not"),
    ("-t 192.0.2.10:80 -A", "line 1: -t is no command"),
    ("hello", "line 1: 'hello' is not an option"),
    ("-A", "line 1: there is no service"),
    ("-A -t", "line 1: -t needs a value"),
    ("-A -t 192.0.2.10:80 -s", "line 1: -s needs a value"),
    ("-A -t 192.0.2.10:80 -A", "line 1: -A is not for -A"),
    ("-A -t 192.0.2.10:80 -w 3", "line 1: -w is not for -A"),
    ("-A -t 192.0.2.10:80 -n", "line 1: there is no option -n"),
    ("-A -t 192.0.2.10:80 --schedule rr", "line 1: there is no option --schedule"),
    ("-A -t 192.0.2.10:80 -scheduler rr", "line 1: 'rr' is not an option"),
    ("-A -t 192.0.2.10:80 rr", "line 1: 'rr' is not an option"),
    ("-A -t 192.0.2.10:80 -t 192.0.2.10:81", "line 1: -t is one too many: there is one service already"),
    ("-A -t 192.0.2.10:80 -f 7", "line 1: -f is one too many"),
    ("-A -t 192.0.2.10:80 -o=1", "line 1: -o takes no value"),
    ("-A -t 192.0.2.10:80 --ops=1", "line 1: --ops takes no value|line 1: -o takes no value"),
    ("-A -t 192.0.2.10:80 -", "line 1: there is no option -"),
    ("-A -t www.example.org:80", "line 1: address: 'www.example.org' is a name"),
    ("-A -t [2001:db8::10]", "line 1: address: .* is not .ADDRESS.:PORT"),
    ("-A -t [2001:db8::10:80", "line 1: address: .* is not .ADDRESS.:PORT"),
    ("-A -t 2001:db8::zz", "line 1: address: '2001:db8::zz' is not an IPv4 or IPv6 address"),
    ("-A -t 80", "line 1: address: '80' is not"),
    ("-A -t 192.0.2.10:nosuch", "line 1: port: 'nosuch' is neither a number nor"),
    ("-A -t 192.0.2.10:domain", "line 1: port: 'domain' is neither"),
    ("-A -t 192.0.2.10:", "line 1: port: '' is neither"),
    ("-A -t 192.0.2.10:65536", "line 1: port: '65536' is not an integer from 0 to 65535"),
    ("-A -t 192.0.2.10:0", "line 1: port: 0, which means every port, needs persistence_timeout"),
    ("-A -t 192.0.2.10:80 -6", "line 1: -6 is for -f only"),
    ("-A -f 0", "line 1: fwmark: '0' is not an integer"),
    ("-A -f -4294967296", "line 1: fwmark: '0' is not an integer"),
    ("-A -f x", "line 1: fwmark: 'x' is not an integer"),
    ("-A -f 7 -p 0", "line 1: persistence_timeout: '0' is not an integer from 1 to 2678400"),
    ("-A -f 7 -p 60 -M 24", "line 1: persistence_netmask: '24' is not an IPv4 netmask such as"),
    ("-A -f 7 -6 -p 60 -M 255.255.255.0", "line 1: persistence_netmask: '255.255.255.0' is not an integer"),
    ("-A -f 7 -b sh-port", r"line 1: scheduler_flags\[0\]: 'sh-port' is not a flag of the scheduler wlc"),
    ("-A -t 192.0.2.10:80 -o", "line 1: one_packet: is for udp and fwmark services"),
    (ADD, "line 1: there is no -A -t 192.0.2.10:80 above"),
    (f"{WEB}-a -t 192.0.2.10:80", "line 2: there is no real server: -r"),
    (f"{WEB}-a -r 198.51.100.21", "line 2: there is no service"),
    (f"{WEB}{WEB}", "line 2: it is added already, in line 1"),
    (f"{WEB}{ADD} -m\n\n{ADD} -g", "line 4: it is added already, in line 2"),
    (f"{WEB}{ADD} -s rr", "line 2: -s is not for -a"),
    (f"{WEB}{ADD} -m -g", "line 2: -g is one too many: there is one forwarding already"),
    (f"{WEB}{ADD} -i --tun-type gre --tun-csum --tun-nocsum", "line 2: --tun-nocsum is one too many"),
    (f"{WEB}{ADD} -m --tun-type ipip", "line 2: tunnel: has no effect .* there is no -i"),
    (f"{WEB}{ADD} -i --tun-type gue", "line 2: tunnel.port: a gue tunnel needs a UDP port"),
    (f"{WEB}{ADD} -i --tun-type foo", "line 2: tunnel.type: 'foo' is not one of"),
    (f"{WEB}{ADD} -w -1", "line 2: weight: '-1' is not an integer"),
    (f"{WEB}{ADD} -m -y 5", "line 2: lower_threshold: 5 is above the upper_threshold 0"),
    (f"{WEB}-a -t 192.0.2.10:80 -r [2001:db8::21]:80 -m", "line 2: address: .* is not of the service's family"),
]


@pytest.mark.parametrize(("line", "expected"), SERVICES, ids=[line for line, _ in SERVICES])
def test_a_service(line, expected):
    (service,) = words(line)
    assert {option: service[option] for option in expected} == expected


@pytest.mark.parametrize("line", SPELLINGS)
def test_all_spellings_are_the_same(line):
    assert words(line) == words(SPELLINGS[0])
    assert words(line)[0]["persistence_timeout"] == 60


@pytest.mark.parametrize(("options", "expected"), REAL_SERVERS, ids=[line for line, _ in REAL_SERVERS])
def test_a_real_server(options, expected):
    (server,) = words(f"{WEB}{ADD}{options}")[0]["real_servers"]
    assert {option: server[option] for option in expected} == expected


def test_the_real_servers_of_a_mark_have_any_port():
    text = "-A -f 7\n-a -f 7 -r 198.51.100.21 -g\n-a -f 7 -r 198.51.100.22:8080 -g\n-a -f 7 -r 198.51.100.23:http -m\n"
    assert [server["port"] for server in words(text)[0]["real_servers"]] == [0, 8080, 80]


def test_comments_and_blank_lines_count_for_nothing():
    assert words("") == words("# nothing\n\n   \n  # -A -t 192.0.2.10:80\nipvsadm\n") == []


@pytest.mark.parametrize(("text", "finding"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_line_is_named(text, finding):
    with pytest.raises(InvalidText, match=f"^({finding})") as caught:
        parse_text(text, port_of)
    assert len(caught.value.findings) == 1


def test_all_wrong_lines_are_named_at_once():
    with pytest.raises(InvalidText) as caught:
        parse_text(f"-C\n{WEB}\n-A -f 0\n# fine\n{ADD} -w x\n", port_of)
    assert [finding.split(":")[0] for finding in caught.value.findings] == ["line 1", "line 4", "line 6"]


def test_the_text_of_a_table():
    text = (
        "-A -u 192.0.2.10:53 -s sh -p 60 -M 255.255.255.0 --pe sip -o -b sh-port,flag-3\n"
        "-a -u 192.0.2.10:53 -r 198.51.100.21:53 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum -x 9 -y 8\n"
        "-a -u 192.0.2.10:53 -r 198.51.100.22:53 -g -w 0\n"
        "-A -f 4294967295 -6 -s wlc -p 60 -M 64\n"
        "-a -f 4294967295 -6 -r [2001:db8::21]:0 -m -w 1\n"
    )
    assert format_text(parse_text(text, port_of)) == text


@given(tables.tables())
def test_there_and_back(table):
    assert parse_text(format_text(table), port_of) == table


def test_a_weight_that_not_all_take_is_told():
    table = parse_text(f"{WEB}{ADD}:1 -m -w 65535\n{ADD}:2 -m -w 65536\n", port_of)
    (reservation,) = reservations(table)
    assert "198.51.100.21:2 of service tcp 192.0.2.10:80: weight 65536" in reservation


def test_every_command_and_option_of_ipvsadm_is_known():
    assert len(_ipvsadm._SHORT) == sum(1 for option in _ipvsadm._OPTIONS.values() if option.short)
