# SPDX-License-Identifier: GPL-3.0-or-later
"""From the user's words to a table and back."""

from __future__ import annotations

import copy
import importlib
import json
import pathlib
from collections import UserDict

import pytest
import yaml
from hypothesis import given

from ansible_collections.lvs.ipvs.plugins.doc_fragments.options import ModuleDocFragment
from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Entry,
    InvalidValue,
    RealServer,
    RealServerKey,
    ServiceKey,
    Tunnel,
    VirtualService,
)
from tests.data.bad_inputs import BAD_INPUTS
from tests.unit import tables

TCP = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
KEY = ServiceKey("ipv4", "tcp", "192.0.2.10", 80)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.path)
def test_a_bad_input_is_refused_by_its_path_and_reason(bad):
    with pytest.raises(InvalidValue) as caught:
        options.parse_services(bad.services)
    assert caught.value.path == bad.path
    assert bad.reason in caught.value.reason


def test_there_are_many_bad_inputs_and_no_two_alike():
    written = [json.dumps(bad.services, sort_keys=True) for bad in BAD_INPUTS]
    assert len(set(written)) == len(written) >= 200
    assert [json.loads(text) for text in written] == [bad.services for bad in BAD_INPUTS]


@pytest.mark.parametrize("given", [None, "web", {"protocol": "tcp"}, 7, True])
def test_a_table_is_a_list(given):
    with pytest.raises(InvalidValue, match="^services: .* is not a list$"):
        options.parse_services(given)


@pytest.mark.parametrize("given", ["web", None, 7, [TCP]])
def test_a_table_is_a_list_of_dictionaries(given):
    with pytest.raises(InvalidValue, match=r"^services\[1\]: .* is not a dictionary$"):
        options.parse_services([TCP, given])


def test_errors_are_named_below_the_path_of_the_list():
    with pytest.raises(InvalidValue, match=r"^r\.json: services\[0\]\.port: -1 is not an integer from 0 to 65535$"):
        options.parse_services([{**TCP, "port": -1}], "r.json: services")
    with pytest.raises(InvalidValue, match=r"^there\[1\]: tcp 192\.0\.2\.10:80 is listed already, as there\[0\]$"):
        options.parse_services([TCP, TCP], "there")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({**TCP, "weight": 1}, ""),
        ({"port": 80}, "protocol"),
        ({**TCP, "real_servers": [{"address": "x"}]}, "real_servers[0].address"),
        ({**TCP, "real_servers": {}}, "real_servers"),
    ],
)
def test_the_options_of_one_service_have_no_prefix(words, path):
    """Nor are others refused: they are the module's own."""
    if not path:
        options.parse_service(words)
        return
    with pytest.raises(InvalidValue) as caught:
        options.parse_service(words)
    assert caught.value.path == path


# -- services that are alike ---------------------------------------------------------------------

TWO = [{"address": "198.51.100.21"}, {"address": "198.51.100.22", "weight": 2}]


def shared(*services):
    """Whether the services have one dictionary of real servers; each has what it has alone."""
    table = options.parse_services(list(services))
    for service in services:
        ((key, alone),) = options.parse_services([service]).items()
        assert table[key] == alone
    first, *others = (id(entry.real_servers) for entry in table.values())
    return {other == first for other in others} == {True}


def test_the_same_real_servers_of_several_services_are_checked_once():
    words = [{**TCP, "address": f"192.0.2.{number}", "real_servers": copy.deepcopy(TWO)} for number in (10, 11, 12)]
    assert shared(*words)
    # None at all, too.
    assert shared(*({**service, "real_servers": []} for service in words))


@pytest.mark.parametrize(
    "other",
    [
        {"port": 81},
        {"protocol": None, "address": None, "port": None, "fwmark": 1},
        {"forwarding": "direct"},
        {"forwarding": "tunnel"},
        {"real_servers": TWO[::-1]},
        {"real_servers": [TWO[0], {"address": "198.51.100.22", "weight": 3}]},
    ],
)
def test_real_servers_that_would_not_become_the_same_are_checked_each(other):
    other = {**TCP, "address": "192.0.2.11", "real_servers": TWO, **other}
    assert not shared({**TCP, "real_servers": TWO}, other)


def test_the_tunnel_that_the_service_gives_is_part_of_the_check():
    plain = {**TCP, "forwarding": "tunnel", "real_servers": TWO}
    assert not shared(plain, {**plain, "address": "192.0.2.11", "tunnel": {"type": "gre"}})


def test_every_port_is_another_than_none_at_all():
    """Behind a mark, a real server that is reached directly may be given any port."""
    direct = {"forwarding": "direct", "real_servers": [{"address": "198.51.100.21", "port": 8080}]}
    every = {**TCP, "port": 0, "persistence_timeout": 5, **direct}
    with pytest.raises(InvalidValue, match=r"^services\[1\]\.real_servers\[0\]\.port: 8080 is not the service's 0"):
        options.parse_services([{"fwmark": 1, **direct}, every])


def test_the_same_words_are_the_same_whether_or_not_they_are_one_object():
    address = "198.51.100.21"
    one = [{"address": address, "port": 81}, {"address": address, "port": 82}]
    assert shared(
        {**TCP, "real_servers": one}, {**TCP, "address": "192.0.2.11", "real_servers": json.loads(json.dumps(one))}
    )


def test_the_family_of_the_service_is_part_of_the_check():
    with pytest.raises(
        InvalidValue, match=r"^services\[1\]\.real_servers\[0\]\.address: .* is not of the service's family"
    ):
        options.parse_services([{**TCP, "real_servers": TWO}, {**TCP, "address": "2001:db8::1", "real_servers": TWO}])


@pytest.mark.parametrize("one", [True, 1.0])
def test_what_is_equal_and_of_another_type_is_checked_each(one):
    first, second = ([{"address": "198.51.100.21", "weight": weight}] for weight in (1, one))
    assert first == second
    with pytest.raises(InvalidValue, match=r"^services\[1\]\.real_servers\[0\]\.weight: (True|1\.0) is not an integer"):
        options.parse_services(
            [{**TCP, "real_servers": first}, {**TCP, "address": "192.0.2.11", "real_servers": second}]
        )


def test_types_that_others_made_are_checked_each():
    class Text(str):
        __slots__ = ()

    service = {**TCP, "real_servers": [{"address": Text("198.51.100.21")}, UserDict(address="198.51.100.22")]}
    assert not shared(service, {**service, "address": "192.0.2.11"})


# -- what is meant -------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [[], (), None])
def test_a_service_may_have_no_real_server(listed):
    assert options.parse_services([{**TCP, "real_servers": listed}]) == {KEY: Entry(VirtualService(KEY), {})}


def test_an_empty_list_is_an_empty_table():
    assert options.parse_services([]) == {}


def test_the_order_of_the_list_is_kept():
    table = options.parse_services([{"fwmark": mark} for mark in (3, 1, 2)])
    assert [key.fwmark for key in table] == [3, 1, 2]


def test_a_service_gives_defaults_to_its_real_servers():
    words = {
        **TCP,
        "forwarding": "tunnel",
        "tunnel": {"type": "gue", "port": 6080},
        "real_servers": [
            {"address": "198.51.100.21"},
            {"address": "198.51.100.22", "tunnel": {"port": 6081}},
            {"address": "198.51.100.23", "tunnel": {"type": "gre"}},
            {"address": "198.51.100.24", "forwarding": "masquerade", "port": 8080, "weight": 0},
        ],
    }
    servers = options.parse_services([words])[KEY].real_servers
    assert list(servers.values()) == [
        RealServer(RealServerKey("198.51.100.21", 80), 1, "tunnel", Tunnel("gue", 6080)),
        RealServer(RealServerKey("198.51.100.22", 80), 1, "tunnel", Tunnel("gue", 6081)),
        RealServer(RealServerKey("198.51.100.23", 80), 1, "tunnel", Tunnel("gre")),
        RealServer(RealServerKey("198.51.100.24", 8080), 0),
    ]


def test_what_is_absent_stays_as_in_the_entry_that_is_there():
    there = options.parse_services(
        [
            {
                **TCP,
                "scheduler": "rr",
                "persistence_timeout": 60,
                "real_servers": [
                    {"address": "198.51.100.21", "weight": 0, "upper_threshold": 9},
                    {"address": "198.51.100.22", "weight": 7},
                ],
            }
        ]
    )[KEY]
    entry = options.parse_service(
        {
            **TCP,
            "one_packet": None,
            "persistence_timeout": 90,
            "forwarding": "direct",
            "real_servers": [{"address": "198.51.100.21"}, {"address": "198.51.100.23"}],
        },
        there,
    )
    assert entry.service == VirtualService(KEY, "rr", persistence_timeout=90)
    # The forwarding of the service is a default for what is new.
    assert list(entry.real_servers.values()) == [
        RealServer(RealServerKey("198.51.100.21", 80), 0, upper_threshold=9),
        RealServer(RealServerKey("198.51.100.23", 80), 1, "direct"),
    ]


# -- and back ------------------------------------------------------------------------------------

FULL = {
    **TCP,
    "scheduler": "sh",
    "scheduler_flags": ["sh-fallback"],
    "persistence_timeout": 300,
    "persistence_netmask": 24,
    "persistence_engine": "sip",
    "one_packet": False,
    "real_servers": [
        {
            "address": "198.51.100.21",
            "port": 80,
            "weight": 0,
            "forwarding": "tunnel",
            "tunnel": {"type": "gue", "port": 6080, "checksum": "csum"},
            "upper_threshold": 9,
            "lower_threshold": 5,
        },
        {
            "address": "198.51.100.22",
            "port": 8080,
            "weight": 1,
            "forwarding": "masquerade",
            "upper_threshold": 0,
            "lower_threshold": 0,
        },
    ],
}
PLAIN = {
    "fwmark": 7,
    "family": "ipv6",
    "scheduler": "wlc",
    "scheduler_flags": [],
    "persistence_timeout": 0,
    "persistence_netmask": 128,
    "persistence_engine": "",
    "one_packet": True,
    "real_servers": [],
}


def test_every_option_is_written_out_and_a_tunnel_where_there_is_one():
    assert options.format_services(options.parse_services([PLAIN, FULL])) == [FULL, PLAIN]


def test_services_and_real_servers_are_sorted():
    def key(**words):
        return {"protocol": "tcp", "address": "192.0.2.10", "port": 80, **words}

    ordered = [
        key(),
        key(port=443),
        key(address="192.0.2.9"),
        key(protocol="udp"),
        key(address="2001:db8:f::10"),
        {"fwmark": 1, "family": "ipv4"},
        {"fwmark": 1, "family": "ipv6"},
        {"fwmark": 2, "family": "ipv4"},
    ]
    for order in (ordered, ordered[::-1], ordered[3:] + ordered[:3]):
        table = options.parse_services(order)
        assert [options.format_key(service) for service in sorted(table, key=options.sort_key)] == ordered
        words = options.format_services(table)
        assert [
            {option: service[option] for option in first} for service, first in zip(words, ordered, strict=True)
        ] == ordered
    servers = [{"address": "198.51.100.22"}, {"address": "198.51.100.21", "port": 90}, {"address": "198.51.100.21"}]
    (service,) = options.format_services(options.parse_services([{**TCP, "real_servers": servers}]))
    assert [(server["address"], server["port"]) for server in service["real_servers"]] == [
        ("198.51.100.21", 80),
        ("198.51.100.21", 90),
        ("198.51.100.22", 80),
    ]


@given(tables.tables())
def test_what_is_formatted_parses_to_the_same(table):
    words = options.format_services(table)
    assert options.parse_services(words) == table
    # As words come back from a record, or through a template.
    assert options.parse_services(json.loads(json.dumps(words))) == table
    assert options.format_services(options.parse_services(words)) == words


@given(tables.tables())
def test_what_others_made_is_read_as_it_was_formatted(table):
    key = ServiceKey("ipv4", "99", "192.0.2.9", 0)
    server = RealServer(RealServerKey("198.51.100.21", 8080), 3, "tunnel", Tunnel("9", 0, "7"), 2, 1)
    table[key] = Entry(VirtualService(key, "rr", ("flag-1",), 60, 0), {server.key: server})
    words = json.loads(json.dumps(options.format_services(table)))
    with pytest.raises(InvalidValue):
        options.parse_services(words)
    assert options.read_services(words) == table


def test_what_was_not_formatted_keeps_its_error():
    for services in (7, [{"protocol": "tcp"}], [{**TCP, "port": 65536}]):
        with pytest.raises(InvalidValue, match=r"^services"):
            options.read_services(services)
    with pytest.raises(InvalidValue, match=r"^daemons\[0\]\.interface: is required"):
        options.read_sync_daemons([{"role": "master"}])


def as_text(value):
    """A value as a template may give it: each number and boolean a string."""
    if isinstance(value, dict):
        return {option: as_text(word) for option, word in value.items()}
    return [as_text(word) for word in value] if isinstance(value, list) else str(value)


@given(tables.tables())
def test_words_from_templates_mean_the_same(table):
    assert options.parse_services(as_text(options.format_services(table))) == table


# -- the text of a diff --------------------------------------------------------------------------


def test_a_diff_leaves_out_defaults_and_gives_a_real_server_one_line():
    assert (
        options.services_text(options.parse_services([PLAIN, FULL, {**TCP, "port": 81}]))
        == """\
- protocol: tcp
  address: 192.0.2.10
  port: 80
  scheduler: sh
  scheduler_flags: [sh-fallback]
  persistence_timeout: 300
  persistence_netmask: 24
  persistence_engine: sip
  real_servers:
    - {address: 198.51.100.21, port: 80, weight: 0, forwarding: tunnel, tunnel: {type: gue, port: 6080, checksum: csum}, upper_threshold: 9, lower_threshold: 5}
    - {address: 198.51.100.22, port: 8080, weight: 1, forwarding: masquerade}
- protocol: tcp
  address: 192.0.2.10
  port: 81
  scheduler: wlc
  real_servers: []
- fwmark: 7
  family: ipv6
  scheduler: wlc
  one_packet: true
  real_servers: []
"""
    )
    assert options.services_text({}) == ""


@given(tables.tables())
def test_a_diff_is_yaml_that_means_the_table(table):
    assert options.parse_services(yaml.safe_load(options.services_text(table)) or []) == table


@given(tables.pairs())
def test_a_diff_differs_where_tables_do(pair):
    first, second = pair
    assert (options.services_text(first) == options.services_text(second)) == (first == second)


# -- twins ---------------------------------------------------------------------------------------


def described(suboptions):
    """What documentation says of options, in the form of an argument_spec; suboptions are parsed by us, not declared."""
    spec = {}
    for option, text in suboptions.items():
        said = {word: text[word] for word in ("type", "elements", "choices", "required") if word in text}
        spec[option] = said
    return spec


@pytest.mark.parametrize(
    ("fragment", "spec"),
    [
        ("SERVICE_KEY", options.service_key_spec()),
        ("SERVICE", options.service_spec()),
        ("FORWARDING", options.forwarding_spec()),
    ],
)
def test_an_argument_spec_is_the_twin_of_its_fragment(fragment, spec):
    assert described(yaml.safe_load(getattr(ModuleDocFragment, fragment))["options"]) == spec


def test_the_fragment_of_a_real_server_is_the_twin_of_its_spec_less_forwarding():
    spec = options.real_server_spec()
    assert {option: spec.pop(option) for option in options.forwarding_spec()} == options.forwarding_spec()
    assert described(yaml.safe_load(ModuleDocFragment.REAL_SERVER)["options"]) == spec


@pytest.mark.parametrize("module", ["table", "virtual_service"])
def test_lists_that_are_taken_apart_here_are_documented_in_full(module):
    path = f"ansible_collections.lvs.ipvs.plugins.modules.{module}"
    documented = yaml.safe_load(importlib.import_module(path).DOCUMENTATION)["options"]
    if module == "table":
        documented = documented["services"]["suboptions"]
        assert documented.keys() == options.SERVICE_OPTIONS
    assert described(documented["real_servers"]["suboptions"]) == options.real_server_spec()


def test_the_specs_have_the_options_of_the_model(checkout: pathlib.Path):
    assert tuple(options.service_key_spec()) == model.KEY_OPTIONS
    assert tuple(options.service_spec()) == model.SERVICE_OPTIONS
    assert set(options.real_server_spec()) == set(model.REAL_SERVER_OPTIONS)
    described_tunnel = yaml.safe_load(ModuleDocFragment.FORWARDING)["options"]["tunnel"]["suboptions"]
    assert tuple(described_tunnel) == model.TUNNEL_OPTIONS
