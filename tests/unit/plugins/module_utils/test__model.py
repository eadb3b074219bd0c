# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and their canonical form. What is refused stands in tests/data/bad_inputs.py; see test__options.py."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    InvalidValue,
    RealServer,
    RealServerKey,
    ServiceKey,
    SyncDaemon,
    Timeouts,
    Tunnel,
    VirtualService,
)
from tests.unit import tables

TCP = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
KEY = ServiceKey("ipv4", "tcp", "192.0.2.10", 80)
MARK = ServiceKey("ipv4", fwmark=7)
GUE = Tunnel("gue", 6080, "csum")


# -- each value has one form ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("192.0.2.10", "192.0.2.10"),
        ("0.0.0.1", "0.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("223.255.255.255", "223.255.255.255"),
        ("2001:DB8:F::10", "2001:db8:f::10"),
        ("2001:0db8:000f:0000:0000:0000:0000:0010", "2001:db8:f::10"),
        ("2001:db8::0:1", "2001:db8::1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("::1", "::1"),
        ("::192.0.2.10", "::192.0.2.10"),
        ("64:ff9b::192.0.2.10", "64:ff9b::c000:20a"),
    ],
)
def test_an_address_is_written_as_inet_ntop_does(written, canonical):
    assert model.address("address", written) == canonical
    assert model.address("address", canonical) == canonical


@given(st.text(max_size=20) | st.ip_addresses().map(str))
def test_an_address_is_refused_or_has_one_form(written):
    try:
        canonical = model.address("address", written)
    except InvalidValue:
        return
    family = socket.AF_INET6 if ":" in written else socket.AF_INET
    assert canonical == socket.inet_ntop(family, socket.inet_pton(family, written))


@pytest.mark.parametrize("written", ["192.0.2.10", "2001:db8:f::10"])
def test_an_address_is_plain_text_whatever_its_words_were(written):
    """Ansible's own texts know more of themselves than a table is to carry."""
    tagged = type("Tagged", (str,), {})(written)
    assert type(model.address("address", tagged)) is str


@pytest.mark.parametrize(
    ("written", "number"), [(0, 0), ("0", 0), (65535, 65535), ("080", 80), ("-5", -5), (-5, -5), ("00000", 0)]
)
def test_digits_are_an_integer_as_templates_make_them(written, number):
    result = model.integer("weight", written, -5, 65535)
    assert (result, type(result)) == (number, int)


WIDE = st.integers(-(2**40), 2**40)


@given(WIDE, WIDE, WIDE, st.sampled_from([int, str]))
def test_the_bounds_of_an_integer_are_included(number, one, other, write):
    low, high = min(one, other), max(one, other)
    assert model.integer("weight", write(low), low, high) == low
    assert model.integer("weight", write(high), low, high) == high
    if low <= number <= high:
        assert model.integer("weight", write(number), low, high) == number
    else:
        with pytest.raises(InvalidValue, match="^weight: "):
            model.integer("weight", write(number), low, high)


@pytest.mark.parametrize("word", [True, 1, "yes", "Yes", "Y", "on", "TRUE", "true", "t", "1"])
def test_words_for_true(word):
    assert model.boolean("one_packet", word) is True


@pytest.mark.parametrize("word", [False, 0, "no", "NO", "n", "Off", "false", "F", "0"])
def test_words_for_false(word):
    assert model.boolean("one_packet", word) is False


@pytest.mark.parametrize(
    ("given", "key", "text"),
    [
        (TCP, KEY, "tcp 192.0.2.10:80"),
        ({**TCP, "family": "ipv4", "fwmark": None}, KEY, "tcp 192.0.2.10:80"),
        ({**TCP, "port": "80", "scheduler": object()}, KEY, "tcp 192.0.2.10:80"),
        (
            {"protocol": "sctp", "address": "2001:DB8::10", "port": 65535, "family": "ipv6"},
            ServiceKey("ipv6", "sctp", "2001:db8::10", 65535),
            "sctp [2001:db8::10]:65535",
        ),
        ({**TCP, "protocol": "udp", "port": 0}, ServiceKey("ipv4", "udp", "192.0.2.10", 0), "udp 192.0.2.10:0"),
        ({"fwmark": 7}, MARK, "fwmark 7 ipv4"),
        ({"fwmark": "4294967295", "port": None}, ServiceKey("ipv4", fwmark=2**32 - 1), "fwmark 4294967295 ipv4"),
        ({"fwmark": 7, "family": "ipv6"}, ServiceKey("ipv6", fwmark=7), "fwmark 7 ipv6"),
    ],
)
def test_the_key_of_a_service(given, key, text):
    assert model.service_key(given) == key
    assert str(key) == text


@pytest.mark.parametrize(
    ("family", "written", "canonical"),
    [
        ("ipv4", 32, 32),
        ("ipv4", "24", 24),
        ("ipv4", "255.255.255.0", 24),
        ("ipv4", "255.255.255.255", 32),
        ("ipv4", "128.0.0.0", 1),
        ("ipv4", "255.0.255.0", "255.0.255.0"),
        ("ipv4", "0.0.0.1", "0.0.0.1"),
        ("ipv6", 128, 128),
        ("ipv6", "64", 64),
        ("ipv6", 1, 1),
    ],
)
def test_a_netmask_is_a_prefix_length_where_it_is_one(family, written, canonical):
    service = model.virtual_service(
        {"fwmark": 7, "family": family, "persistence_timeout": 60, "persistence_netmask": written}
    )
    assert service.persistence_netmask == canonical
    assert type(service.persistence_netmask) is type(canonical)


@pytest.mark.parametrize(
    ("scheduler", "written", "canonical"),
    [
        ("sh", ["sh-port", "sh-fallback"], ("sh-fallback", "sh-port")),
        ("sh", ["flag-2"], ("sh-port",)),
        ("sh", ["sh-port", "flag-2", "sh-port"], ("sh-port",)),
        ("sh", ("flag-3",), ("flag-3",)),
        ("mh", ["mh-port", "flag-1"], ("mh-fallback", "mh-port")),
        ("wlc", ["flag-3", "flag-1"], ("flag-1", "flag-3")),
        ("wlc", [], ()),
    ],
)
def test_flags_have_the_names_and_the_order_of_the_scheduler(scheduler, written, canonical):
    words = {**TCP, "scheduler": scheduler, "scheduler_flags": written}
    assert model.virtual_service(words).scheduler_flags == canonical


# -- a service -----------------------------------------------------------------------------------


def test_a_new_service_has_the_defaults():
    assert model.virtual_service(TCP) == VirtualService(KEY, "wlc", (), 0, 32, "", False)
    assert model.virtual_service({"fwmark": 7, "family": "ipv6"}).persistence_netmask == 128


HAD = VirtualService(KEY, "sh", ("sh-fallback", "sh-port"), 300, 24, "sip", False)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ({}, {}),
        ({"scheduler": None, "scheduler_flags": None, "persistence_timeout": None, "one_packet": None}, {}),
        ({"scheduler": "sh"}, {}),
        # The same bits have other names.
        ({"scheduler": "mh"}, {"scheduler": "mh", "scheduler_flags": ("mh-fallback", "mh-port")}),
        ({"scheduler": "rr"}, {"scheduler": "rr", "scheduler_flags": ("flag-1", "flag-2")}),
        ({"scheduler_flags": []}, {"scheduler_flags": ()}),
        ({"scheduler": "wlc", "scheduler_flags": []}, {"scheduler": "wlc", "scheduler_flags": ()}),
        ({"persistence_timeout": 60}, {"persistence_timeout": 60}),
        # The network of clients goes with persistence.
        ({"persistence_timeout": 0}, {"persistence_timeout": 0, "persistence_netmask": 32}),
        ({"persistence_netmask": 32}, {"persistence_netmask": 32}),
        ({"persistence_engine": ""}, {"persistence_engine": ""}),
        ({"one_packet": False}, {}),
    ],
)
def test_what_is_absent_stays_as_it_is_on_a_service(words, changed):
    assert model.virtual_service({**TCP, **words}, HAD) == HAD._replace(**changed)


def test_every_port_goes_with_persistence_that_is_there():
    had = VirtualService(ServiceKey("ipv4", "tcp", "192.0.2.10", 0), persistence_timeout=300)
    assert model.virtual_service({**TCP, "port": 0, "scheduler": "rr"}, had).persistence_timeout == 300
    with pytest.raises(InvalidValue, match="^port: 0, which means every port, needs persistence_timeout"):
        model.virtual_service({**TCP, "port": 0, "persistence_timeout": 0}, had)


@given(tables.services())
def test_a_service_is_its_own_normal_form(service):
    words = {**service._asdict(), **service.key._asdict()}
    del words["key"]
    if not service.persistence_timeout:
        del words["persistence_netmask"]
    assert model.virtual_service(words) == service
    assert model.virtual_service(service.key._asdict(), service) == service


# -- a real server -------------------------------------------------------------------------------

R4 = {"address": "198.51.100.21"}


@pytest.mark.parametrize(
    ("service", "words", "key", "text"),
    [
        (KEY, R4, ("198.51.100.21", 80), "198.51.100.21:80"),
        (KEY, {**R4, "port": None}, ("198.51.100.21", 80), "198.51.100.21:80"),
        (KEY, {**R4, "port": 0}, ("198.51.100.21", 0), "198.51.100.21:0"),
        (KEY, {**R4, "port": "8080"}, ("198.51.100.21", 8080), "198.51.100.21:8080"),
        (MARK, R4, ("198.51.100.21", 0), "198.51.100.21:0"),
        (MARK, {**R4, "port": 80}, ("198.51.100.21", 80), "198.51.100.21:80"),
        (MARK, {"address": "2001:DB8:B::21"}, ("2001:db8:b::21", 0), "[2001:db8:b::21]:0"),
        (MARK, {"address": "fec0::1"}, ("fec0::1", 0), "[fec0::1]:0"),
    ],
)
def test_the_key_of_a_real_server(service, words, key, text):
    result = model.real_server_key(words, service)
    assert result == RealServerKey(*key)
    assert str(result) == text


def test_a_new_real_server_has_the_defaults():
    assert model.real_server(R4, KEY) == RealServer(
        RealServerKey("198.51.100.21", 80), 1, "masquerade", Tunnel("ipip", 0, "none"), 0, 0
    )


def test_weight_zero_stays_zero():
    quiesced = RealServer(RealServerKey("198.51.100.21", 80), weight=0)
    assert model.real_server({**R4, "weight": 0}, KEY).weight == 0
    assert model.real_server({**R4, "weight": "0"}, KEY).weight == 0
    assert model.real_server(R4, KEY, quiesced).weight == 0
    assert model.real_server({**R4, "weight": None}, KEY, quiesced).weight == 0
    assert model.real_server({**R4, "weight": 0}, KEY, quiesced._replace(weight=5)).weight == 0


TUNNELLED = RealServer(RealServerKey("198.51.100.21", 80), 5, "tunnel", GUE, 100, 50)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ({}, {}),
        ({"weight": None, "forwarding": None, "tunnel": None, "upper_threshold": None}, {}),
        ({"weight": 7}, {"weight": 7}),
        ({"upper_threshold": 0, "lower_threshold": 0}, {"upper_threshold": 0, "lower_threshold": 0}),
        ({"lower_threshold": 100}, {"lower_threshold": 100}),
        # A tunnel goes with its forwarding method.
        ({"forwarding": "direct"}, {"forwarding": "direct", "tunnel": model.IPIP}),
        ({"forwarding": "tunnel"}, {}),
        ({"tunnel": {}}, {}),
        ({"tunnel": {"type": "gue"}}, {}),
        ({"tunnel": {"port": 6081}}, {"tunnel": Tunnel("gue", 6081, "csum")}),
        ({"tunnel": {"checksum": "remcsum", "port": None}}, {"tunnel": Tunnel("gue", 6080, "remcsum")}),
        # Port and checksum are those of another kind of tunnel.
        ({"tunnel": {"type": "gre"}}, {"tunnel": Tunnel("gre", 0, "none")}),
        ({"tunnel": {"type": "gre", "checksum": "csum"}}, {"tunnel": Tunnel("gre", 0, "csum")}),
        ({"tunnel": {"type": "ipip"}}, {"tunnel": model.IPIP}),
    ],
)
def test_what_is_absent_stays_as_it_is_on_a_real_server(words, changed):
    assert model.real_server({**R4, **words}, KEY, TUNNELLED) == TUNNELLED._replace(**changed)


def test_what_others_set_beyond_our_bounds_stays_where_it_is_not_named():
    # Kernels up to 6.1.176 and 6.12.101 take any threshold, and all of them any timeout.
    server = TUNNELLED._replace(upper_threshold=2**31, lower_threshold=2**31)
    assert model.real_server({**R4, "weight": 3}, KEY, server) == server._replace(weight=3)
    service = HAD._replace(persistence_timeout=42949671)
    assert model.virtual_service({**TCP, "scheduler": "rr"}, service).persistence_timeout == 42949671
    with pytest.raises(InvalidValue, match="^upper_threshold: "):
        model.real_server({**R4, "upper_threshold": 2**31}, KEY, server)


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({"upper_threshold": 49}, "lower_threshold"),
        ({"lower_threshold": 101}, "lower_threshold"),
        ({"forwarding": "masquerade", "tunnel": {"type": "gre"}}, "tunnel"),
        ({"tunnel": {"port": 0}}, "tunnel.port"),
        ({"tunnel": {"type": "ipip", "checksum": "csum"}}, "tunnel.checksum"),
    ],
)
def test_what_is_there_takes_part_in_the_rules(words, path):
    with pytest.raises(InvalidValue) as caught:
        model.real_server({**R4, **words}, KEY, TUNNELLED)
    assert caught.value.path == path


def test_a_tunnel_that_wraps_nothing_may_be_given_with_any_forwarding():
    assert model.real_server({**R4, "tunnel": {"type": "ipip"}}, KEY).tunnel == model.IPIP
    assert model.real_server({**R4, "forwarding": "direct", "tunnel": {"port": 0}}, KEY).tunnel == model.IPIP


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (KEY, {**R4, "port": 8080}),
        (KEY, {"address": "2001:db8:b::21", "forwarding": "tunnel"}),
        (ServiceKey("ipv6", fwmark=7), {**R4, "forwarding": "tunnel", "port": 1}),
        (MARK, {**R4, "forwarding": "direct", "port": 8080}),
    ],
)
def test_forwarding_that_can_do_it_may_change_port_or_family(service, words):
    model.real_server(words, service)


def test_a_method_that_others_set_may_stay_but_not_be_asked_for():
    had = RealServer(RealServerKey("198.51.100.21", 80), forwarding="localnode")
    assert model.real_server({**R4, "weight": 0}, KEY, had) == had._replace(weight=0)
    with pytest.raises(InvalidValue, match="^forwarding: 'bypass' is not one of masquerade, direct, tunnel"):
        model.real_server({**R4, "forwarding": "bypass"}, KEY, had)


@given(st.data())
def test_a_real_server_is_its_own_normal_form(data):
    service = data.draw(tables.service_keys())
    server = data.draw(tables.real_servers(service))
    words = {**server._asdict(), **server.key._asdict(), "tunnel": server.tunnel._asdict()}
    del words["key"]
    assert model.real_server(words, service) == server
    assert model.real_server(server.key._asdict(), service, server) == server


def test_the_defaults_that_a_service_gives_its_real_servers():
    assert model.real_server_defaults({}) == RealServer(RealServerKey("", 0))
    defaults = model.real_server_defaults(
        {"forwarding": "tunnel", "tunnel": {"type": "gue", "port": 6080, "checksum": "csum"}}
    )
    assert model.real_server(R4, KEY, defaults) == RealServer(
        RealServerKey("198.51.100.21", 80), forwarding="tunnel", tunnel=GUE
    )
    assert model.real_server({**R4, "forwarding": "masquerade", "port": 8080}, KEY, defaults) == RealServer(
        RealServerKey("198.51.100.21", 8080)
    )


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "path", "whole"),
    [
        ("services[2]", "port", "services[2].port"),
        ("services[2]", "", "services[2]"),
        ("", "port", "port"),
        ("", "", ""),
    ],
)
def test_an_error_seen_from_above(prefix, path, whole):
    error = InvalidValue(path, "is wrong").under(prefix)
    assert (error.path, error.reason) == (whole, "is wrong")
    assert str(error) == (f"{whole}: is wrong" if whole else "is wrong")


# -- what stands beside the table ----------------------------------------------------------------

HAVE = Timeouts(900, 120, 300)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, HAVE),
        ({"tcp": None, "tcpfin": None, "udp": None}, HAVE),
        ({"tcp": 1}, Timeouts(1, 120, 300)),
        ({"tcp": "600", "tcpfin": 60, "udp": 2147483}, Timeouts(600, 60, 2147483)),
    ],
)
def test_timeouts_that_are_absent_stay(given, expected):
    assert model.timeouts(given, HAVE) == expected


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"tcp": 0}, "^tcp: 0 is not a timeout; what is to stay as it is, is left out$"),
        ({"udp": -1}, "^udp: -1 is not an integer from 1 to 2147483$"),
        # INT_MAX / HZ where HZ is 1000; the kernel would say no more than EINVAL.
        ({"tcpfin": 2147484}, "^tcpfin: 2147484 is not an integer"),
        ({"tcp": "1h"}, "^tcp: '1h' is not an integer"),
    ],
)
def test_bad_timeouts(given, finding):
    with pytest.raises(InvalidValue, match=finding):
        model.timeouts(given, HAVE)


def test_a_timeout_of_a_protocol_that_the_kernel_lacks():
    assert model.timeouts({"tcp": 5}, Timeouts(900, 120, 0)) == Timeouts(5, 120, 0)
    with pytest.raises(InvalidValue, match="^udp: this kernel's IPVS was built without"):
        model.timeouts({"udp": 5}, Timeouts(900, 120, 0))


MASTER = {"role": "master", "interface": "eth1"}
BACKUP = {"role": "backup", "interface": "eth1"}
GROUP6 = {"multicast_group": "ff02:0::81"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (MASTER, SyncDaemon("master", "eth1", 0, None, "224.0.0.81", 8848, 1)),
        ({**BACKUP, "id": None, "maximum_length": None}, SyncDaemon("backup", "eth1")),
        ({**MASTER, **GROUP6, "id": "255"}, SyncDaemon("master", "eth1", 255, multicast_group="ff02::81")),
        (
            {**MASTER, "maximum_length": 1, "multicast_port": 65535, "multicast_ttl": 255},
            SyncDaemon("master", "eth1", 0, 1, "224.0.0.81", 65535, 255),
        ),
        ({**BACKUP, "maximum_length": 1024}, SyncDaemon("backup", "eth1", 0, 1024)),
        ({**MASTER, "maximum_length": 65507}, SyncDaemon("master", "eth1", 0, 65507)),
        ({**MASTER, **GROUP6, "maximum_length": 65487}, SyncDaemon("master", "eth1", 0, 65487, "ff02::81")),
        ({**MASTER, "multicast_group": "239.255.255.255"}, SyncDaemon("master", "eth1", 0, None, "239.255.255.255")),
    ],
)
def test_a_sync_daemon(given, expected):
    assert model.sync_daemon(given) == expected
    assert model.sync_daemon(expected._asdict()) == expected


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"interface": "eth1"}, "^role: is required$"),
        ({"role": "slave", "interface": "eth1"}, "^role: 'slave' is not one of master, backup$"),
        ({"role": "master"}, "^interface: is required$"),
        ({**MASTER, "interface": ""}, "^interface: '' is not the name of an interface$"),
        ({**MASTER, "interface": "sixteen_letters_"}, "^interface: "),
        ({**MASTER, "id": 256}, "^id: 256 is not an integer from 0 to 255$"),
        ({**MASTER, "id": -1}, "^id: "),
        ({**MASTER, "maximum_length": 0}, "^maximum_length: 0 is not an integer from 1 to 65507$"),
        ({**MASTER, "maximum_length": 65508}, "^maximum_length: "),
        ({**MASTER, **GROUP6, "maximum_length": 65488}, "^maximum_length: 65488 is not an integer from 1 to 65487$"),
        ({**BACKUP, "maximum_length": 1023}, "^maximum_length: 1023 is not an integer from 1024 to 65507$"),
        ({**MASTER, "multicast_group": "192.0.2.1"}, "^multicast_group: '192.0.2.1' is not an IPv4 or IPv6 multicast"),
        ({**MASTER, "multicast_group": "240.0.0.1"}, "^multicast_group: "),
        ({**MASTER, "multicast_group": "255.0.0.1"}, "^multicast_group: "),
        ({**MASTER, "multicast_group": "e000::1"}, "^multicast_group: "),
        ({**MASTER, "multicast_group": "all"}, "^multicast_group: "),
        ({**MASTER, "multicast_group": 81}, "^multicast_group: "),
        ({**MASTER, "multicast_port": 0}, "^multicast_port: 0 is not an integer from 1 to 65535$"),
        ({**MASTER, "multicast_ttl": 0}, "^multicast_ttl: 0 is not an integer from 1 to 255$"),
        ({**MASTER, "multicast_ttl": 256}, "^multicast_ttl: "),
        ({**MASTER, "syncid": 1}, "^syncid: there is no such option here$"),
    ],
)
def test_a_bad_sync_daemon(given, finding):
    with pytest.raises(InvalidValue, match=finding):
        model.sync_daemon(given)


@pytest.mark.parametrize(
    ("given", "mtu", "length"),
    [
        (MASTER, 9000, 1472),
        (MASTER, 576, 1472),
        ({**MASTER, **GROUP6}, 9000, 1452),
        (BACKUP, 9000, 8972),
        (BACKUP, 1280, 1472),
        (BACKUP, 65536, 65507),
        ({**BACKUP, **GROUP6}, 9000, 8952),
        ({**BACKUP, "maximum_length": 2000}, 9000, 2000),
    ],
)
def test_the_length_that_the_kernel_chooses(given, mtu, length):
    """As it was read from the kernels 6.1, 6.12 and 7.2; tests/kernel/test_sync_daemon.py asks them again."""
    settled = model.with_length(model.sync_daemon(given), mtu)
    assert settled.maximum_length == length
    assert model.with_length(settled, 1500) == settled
