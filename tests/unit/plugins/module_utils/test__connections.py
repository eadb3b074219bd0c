# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of /proc/net/ip_vs_conn, as Linux 6.1 and 7.2 write them."""

from __future__ import annotations

import tracemalloc

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._connections import (
    Connection,
    Endpoint,
    Filter,
    MalformedLine,
    parse_filter,
    survey,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._model import InvalidValue, ServiceKey

HEADING = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
V6 = "2001:0db8:000f:0000:0000:0000:0000:00"
LINES = {
    "first": "TCP CB007105 E47E C000020A 0050 C6336415 1F90 ESTABLISHED     899\n",
    "second": "TCP CB007106 E47A C000020A 0050 C6336416 1F90 FIN_WAIT        59\n",
    "third": "TCP CB007105 E47C C000020A 0050 C6336416 1F90 ESTABLISHED     899\n",
    "other service": "TCP CB007205 C18E C000020B 01BB C6336415 01BB ESTABLISHED     899\n",
    "udp": "UDP CB007205 930A C000020A 13C4 C6336415 13C4 UDP             299\n",
    "sctp": "SCTP CB007205 930A C000020A 0050 C6336415 0050 COOKIE_ECHOED     9\n",
    "v6": f"TCP {V6}64 855E {V6}10 0050 2001:0db8:000b:0000:0000:0000:0000:0021 1F90 ESTABLISHED     899\n",
    "v6 behind v4": "TCP CB007105 0400 C000020C 0050 2001:0db8:000b:0000:0000:0000:0000:0021 0050 SYN_RECV        59\n",
    "template": "TCP CB007100 0000 C000020A 0050 C6336415 1F90 ASSURED          59\n",
    "template of old kernels": "TCP CB007200 0000 C000020A 0050 C6336416 1F90 NONE             59\n",
    "template of a mark": "IP  CB007105 0000 00000007 0000 C6336415 0000 ASSURED          59\n",
    "template of a mark v6": f"IP  {V6}64 0000 ffff:ffff:0000:0000:0000:0000:0000:0000 0000 {V6}21 0000 ASSURED          59\n",
    "template of sip": "UDP CB007105 0000 C000020A 13C4 C6336415 13C4 NONE             59 sip abc 123@example.org\n",
    "invalid template of 6.1": "TCP CB007100 0000 C000020A FFFF C6336415 FFFF ASSURED          59\n",
    "invalid template of 7.2": "TCP CB007100 0000 C000020A 0050 C6336415 FFFF ASSURED          59\n",
    # The helper of FTP knows the port of a data connection only when it is there.
    "expected": "TCP CB007105 0000 C000020A 0014 C6336415 0014 LISTEN          59\n",
}
INVALID = {name for name in LINES if name.startswith("invalid")}
TEMPLATES = {name for name in LINES if name.startswith("template")}
FILE = [HEADING, *LINES.values()]
LIMIT = 1000


def listed(wanted: Filter) -> list[Connection]:
    return survey(FILE, wanted, LIMIT).listed


def one(name: str) -> Connection:
    (connection,) = survey([HEADING, LINES[name]], Filter(), 1).listed
    return connection


WEB = ServiceKey("ipv4", "tcp", "192.0.2.10", 80)
CLIENT, SERVER = Endpoint("203.0.113.5", 58494), Endpoint("198.51.100.21", 8080)
V6_SERVER = Endpoint("2001:db8:b::21", 8080)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("first", Connection(WEB, CLIENT, SERVER, "ESTABLISHED", 899, False, "", "")),
        (
            "v6",
            Connection(
                ServiceKey("ipv6", "tcp", "2001:db8:f::10", 80),
                Endpoint("2001:db8:f::64", 34142),
                V6_SERVER,
                "ESTABLISHED",
                899,
                False,
                "",
                "",
            ),
        ),
        (
            "sctp",
            Connection(
                WEB._replace(protocol="sctp"),
                Endpoint("203.0.114.5", 37642),
                SERVER._replace(port=80),
                "COOKIE_ECHOED",
                9,
                False,
                "",
                "",
            ),
        ),
        ("template", Connection(WEB, Endpoint("203.0.113.0", 0), SERVER, "ASSURED", 59, True, "", "")),
        (
            "template of sip",
            Connection(
                ServiceKey("ipv4", "udp", "192.0.2.10", 5060),
                Endpoint("203.0.113.5", 0),
                SERVER._replace(port=5060),
                "NONE",
                59,
                True,
                "sip",
                "abc 123@example.org",
            ),
        ),
    ],
)
def test_a_line(name, expected):
    assert one(name) == expected


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("template of a mark", ServiceKey("ipv4", fwmark=7)),
        ("template of a mark v6", ServiceKey("ipv6", fwmark=2**32 - 1)),
    ],
)
def test_the_template_of_a_mark(name, key):
    assert one(name).service == key


def test_a_real_server_of_another_family():
    assert one("v6 behind v4").service.family == "ipv4"
    assert one("v6 behind v4").real_server == V6_SERVER._replace(port=80)


def test_templates_are_told_from_connections():
    assert {name for name in LINES if name not in INVALID and one(name).template} == TEMPLATES


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, LINES.keys() - INVALID),
        (
            {"service": None, "real_server": None, "client": None, "states": None},
            LINES.keys() - INVALID,
        ),
        ({"service": {}}, LINES.keys() - INVALID),
        ({"service": {"protocol": "udp"}}, {"udp", "template of sip"}),
        ({"service": {"protocol": "sctp", "address": "192.0.2.10", "port": 80}}, {"sctp"}),
        (
            {"service": {"protocol": "tcp", "address": "192.0.2.10", "port": 80}},
            {"first", "second", "third", "template", "template of old kernels"},
        ),
        ({"service": {"address": "192.0.2.11"}}, {"other service"}),
        ({"service": {"address": "2001:DB8:F::10"}}, {"v6"}),
        ({"service": {"port": 443}}, {"other service"}),
        ({"service": {"fwmark": 7}}, {"template of a mark"}),
        ({"service": {"fwmark": 7, "family": "ipv6"}}, set()),
        ({"service": {"fwmark": 2**32 - 1, "family": "ipv6"}}, {"template of a mark v6"}),
        ({"real_server": {"address": "198.51.100.22"}}, {"second", "third", "template of old kernels"}),
        ({"real_server": {"address": "2001:db8:b::21"}}, {"v6", "v6 behind v4"}),
        ({"real_server": {"address": "198.51.100.21", "port": 8080}}, {"first", "template"}),
        ({"client": "203.0.113.6"}, {"second"}),
        (
            {"client": "203.0.113.0/24"},
            {
                "first",
                "second",
                "third",
                "v6 behind v4",
                "template",
                "template of a mark",
                "template of sip",
                "expected",
            },
        ),
        ({"client": "203.0.113.77/24", "service": {"port": 5060}}, {"template of sip"}),
        ({"client": "2001:db8:f::/64"}, {"v6", "template of a mark v6"}),
        ({"client": "2001:db8:f::65"}, set()),
        ({"client": "128.0.0.0/0", "states": ["UDP"]}, {"udp"}),
        ({"states": ["FIN_WAIT", "SYN_RECV"]}, {"second", "v6 behind v4"}),
        ({"states": ["ASSURED"]}, {"template", "template of a mark", "template of a mark v6"}),
    ],
)
def test_filters(given, names):
    expected = [one(name) for name in LINES if name in names]
    assert len(expected) == len(names)
    assert listed(parse_filter(given)) == expected
    total = survey(FILE, parse_filter(given), 0).total
    assert total.connections == len(names - TEMPLATES)
    assert total.templates == len(names & TEMPLATES)


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"service": {"protocol": "icmp"}}, "^service.protocol: 'icmp' is not one of tcp, udp, sctp$"),
        ({"service": {"address": "www"}}, "^service.address: 'www' is not an IPv4 or IPv6 address$"),
        ({"service": {"port": 65536}}, "^service.port: 65536 is not"),
        ({"service": {"family": "ipv4"}}, "^service.family: is for a service by fwmark$"),
        ({"service": {"fwmark": 7, "port": 80}}, "^service.port: a service is given by fwmark, or by"),
        ({"service": {"fwmark": 0}}, "^service.fwmark: 0 is not"),
        ({"real_server": {"address": "0.0.0.0"}}, "^real_server.address: '0.0.0.0' is not a unicast address$"),
        ({"real_server": {"port": -1}}, "^real_server.port: -1 is not"),
        ({"client": "web"}, "^client: 'web' is not"),
        ({"client": "203.0.113.0/33"}, "^client: '203.0.113.0/33' has no prefix length from 0 to 32$"),
        ({"client": "2001:db8::/x"}, "^client: .* has no prefix length from 0 to 128$"),
        ({"client": "203.0.113.0/255.255.255.0"}, "^client: .* has no prefix length"),
        ({"states": ["ESTABLISHED", "established"]}, r"^states\[1\]: 'established' is not one of"),
    ],
)
def test_bad_filters(given, finding):
    with pytest.raises(InvalidValue, match=finding):
        parse_filter(given)


def counts(templates: int = 0, **states: int) -> dict:
    return {"connection_count": sum(states.values()), "template_count": templates, "states": states}


def test_counts_by_service_real_server_and_state():
    vip = {"address": "192.0.2.10", "port": 80}
    first, second = "198.51.100.21", "198.51.100.22"
    report = options.format_survey(survey(FILE, parse_filter({"service": vip}), 0))
    assert report == {
        **counts(2, COOKIE_ECHOED=1, ESTABLISHED=2, FIN_WAIT=1),
        "services": [
            {
                "protocol": "sctp",
                **vip,
                **counts(COOKIE_ECHOED=1),
                "real_servers": [{"address": first, "port": 80, **counts(COOKIE_ECHOED=1)}],
            },
            {
                "protocol": "tcp",
                **vip,
                **counts(2, ESTABLISHED=2, FIN_WAIT=1),
                "real_servers": [
                    {"address": first, "port": 8080, **counts(1, ESTABLISHED=1)},
                    {"address": second, "port": 8080, **counts(1, ESTABLISHED=1, FIN_WAIT=1)},
                ],
            },
        ],
    }


@pytest.mark.parametrize("limit", [0, 1, 2, LIMIT])
def test_the_first_are_listed_and_all_are_counted(limit):
    everything = listed(Filter())
    result = survey(FILE, Filter(), limit)
    assert result.listed == everything[:limit]
    assert result.total.connections + result.total.templates == len(everything)


@pytest.mark.parametrize(
    "line", ["TCP CB007105 E47E\n", "\n", "TCP CB007105 E47E C000020A 0050 C6336415 1F90 ESTABLISHED\n"]
)
def test_a_line_that_is_cut_off(line):
    with pytest.raises(MalformedLine):
        survey([HEADING, line], Filter(), 0)


def test_an_empty_file():
    for lines in ([], [HEADING]):
        assert options.format_survey(survey(lines, Filter(), 5)) == {**counts(), "services": []}


def test_counting_takes_no_more_memory_for_more_connections():
    def lines(number):
        for client in range(number):
            yield f"TCP {0xCB000000 + client:08X} 0400 C000020A 0050 C63364{client % 8:02X} 1F90 ESTABLISHED     899\n"

    def peak(number):
        tracemalloc.start()
        try:
            assert survey(lines(number), Filter(), 3).total.connections == number
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Not one byte for each, where to keep a reference takes eight; other threads of the test run may take some meanwhile.
    assert peak(40_000) - peak(1_000) < 39_000
