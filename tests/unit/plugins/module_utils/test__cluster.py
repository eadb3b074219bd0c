# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _drain, _options

GROUPS = {
    "all": ["lb1", "lb2", "web1", "web2", "web3", "database"],
    "directors": ["lb1", "lb2"],
    "web": ["web1", "web2", "web3"],
    "storage": ["database"],
    "nobody": [],
}
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "lb1": {"lvs_address": "198.51.100.11", "lvs_address6": "2001:db8:b::11"},
    "lb2": {"lvs_address": "198.51.100.12", "lvs_address6": "2001:db8:b::12"},
    "web1": {"lvs_address": "198.51.100.21", "lvs_address6": "2001:db8:b::21"},
    "web2": {"lvs_address": "198.51.100.22", "lvs_address6": "2001:db8:b::22", "lvs_weight": 0},
    "web3": {"lvs_address": "198.51.100.23", "lvs_weight": 3},
    "database": {},
}
WEB = {
    "name": "web",
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 80,
    "scheduler": "lc",
    "real_servers": [{"group": "web"}],
}


def web(**changes: t.Any) -> dict[str, t.Any]:
    return {**WEB, **changes}


def read(*declared: dict[str, t.Any], groups: t.Any = None, hostvars: t.Any = None) -> list[_cluster.Service]:
    return _cluster.services(list(declared), groups or GROUPS, hostvars or HOSTVARS)


def findings(*declared: t.Any, groups: t.Any = None, hostvars: t.Any = None) -> tuple[str, ...]:
    with pytest.raises(_cluster.ClusterError) as caught:
        read(*declared, groups=groups, hostvars=hostvars)
    return caught.value.findings


def test_a_group_becomes_its_hosts_with_their_addresses_and_weights() -> None:
    assert _cluster.director_services(read(WEB)) == [
        {
            "protocol": "tcp",
            "address": "192.0.2.10",
            "port": 80,
            "scheduler": "lc",
            "real_servers": [
                {"address": "198.51.100.21"},
                {"address": "198.51.100.22", "weight": 0},
                {"address": "198.51.100.23", "weight": 3},
            ],
        }
    ]


def test_the_table_accepts_what_the_director_needs() -> None:
    everything = web(
        scheduler="mh",
        scheduler_flags=["mh-port"],
        persistence_timeout=60,
        persistence_netmask=24,
        forwarding="tunnel",
        tunnel={"type": "gue", "port": 6080},
        real_servers=[{"group": "web", "upper_threshold": 9}, {"address": "203.0.113.9", "forwarding": "direct"}],
    )
    table = _options.parse_services(
        _cluster.director_services(read(everything, web(name="v6", address="2001:db8:f::10", real_servers=[])))
    )
    (entry, empty) = table.values()
    assert [server.forwarding for server in entry.real_servers.values()] == ["tunnel"] * 3 + ["direct"]
    assert [server.tunnel.port for server in entry.real_servers.values()] == [6080] * 3 + [0]
    assert empty.real_servers == {}


def test_an_entry_applies_its_options_to_each_host_of_its_group() -> None:
    (service,) = _cluster.director_services(read(web(real_servers=[{"group": "web", "port": 8080, "weight": 7}])))
    assert [(server["port"], server["weight"]) for server in service["real_servers"]] == [(8080, 7)] * 3


def test_an_option_left_to_its_default_is_not_passed_on() -> None:
    (service,) = _cluster.director_services(read(web(persistence_engine=None, fwmark=None)))
    assert "persistence_engine" not in service
    assert "fwmark" not in service


def test_keepalived_owns_the_services_with_a_health_check() -> None:
    checked = web(name="checked", port=443, health_check={"tcp": {}})
    cluster = read(WEB, checked)
    assert [service["port"] for service in _cluster.director_services(cluster)] == [80]
    (service,) = _cluster.health_checked_services(cluster)
    assert (service["name"], service["health_check"], len(service["real_servers"])) == ("checked", {"tcp": {}}, 3)


@pytest.mark.parametrize("health_check", [{}, []])
def test_an_empty_health_check_is_one(health_check: t.Any) -> None:
    assert _cluster.director_services(read(web(health_check=health_check))) == []


def test_virtual_addresses_are_listed_once_in_canonical_form() -> None:
    cluster = read(
        WEB,
        web(name="tls", port=443),
        web(name="v6", address="2001:DB8:F:0::10", real_servers=[]),
        {"name": "marked", "fwmark": 7, "real_servers": [{"group": "web"}]},
    )
    assert _cluster.vips(cluster) == ["192.0.2.10", "2001:db8:f::10"]


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        ({"address": "2001:db8:f::10"}, ["2001:db8:b::21", "2001:db8:b::22"]),
        (
            {"fwmark": 7, "family": "ipv6", "protocol": None, "address": None, "port": None},
            ["2001:db8:b::21", "2001:db8:b::22"],
        ),
    ],
)
def test_a_service_gets_the_addresses_of_its_family(options: dict[str, t.Any], addresses: list[str]) -> None:
    groups = {**GROUPS, "web": ["web1", "web2"]}
    (service,) = _cluster.director_services(read(web(**options), groups=groups))
    assert [server["address"] for server in service["real_servers"]] == addresses


def test_a_tunnel_may_cross_families() -> None:
    (service,) = _cluster.director_services(read(web(address="2001:db8:f::10", forwarding="tunnel")))
    assert [server["address"] for server in service["real_servers"]] == [
        "2001:db8:b::21",
        "2001:db8:b::22",
        "198.51.100.23",
    ]


def test_forwarding_methods_are_told_by_family() -> None:
    mixed = web(real_servers=[{"group": "web"}, {"address": "203.0.113.9", "forwarding": "tunnel"}])
    six = web(name="six", address="2001:db8:f::10", forwarding="direct", real_servers=[{"address": "2001:db8::1"}])
    assert _cluster.forwarding_methods(read(mixed, six)) == {"ipv4": ["masquerade", "tunnel"], "ipv6": ["direct"]}
    assert _cluster.forwarding_methods(read(web(real_servers=[]))) == {"ipv4": [], "ipv6": []}


def test_a_real_server_learns_its_end_and_the_directors_end() -> None:
    cluster = read(WEB, web(name="other", port=81, real_servers=[{"address": "198.51.100.22"}]))
    assert _cluster.real_server_services(cluster, "web1", GROUPS, HOSTVARS) == [
        {
            "name": "web",
            "family": "ipv4",
            "protocol": "tcp",
            "address": "192.0.2.10",
            "addresses": ["192.0.2.10"],
            "port": 80,
            "fwmark": None,
            "forwarding": "masquerade",
            "tunnel": None,
            "server_address": "198.51.100.21",
            "server_port": 80,
            "directors": ["198.51.100.11", "198.51.100.12"],
            "gateway": "198.51.100.11",
        }
    ]


def test_a_host_that_is_listed_by_its_address_serves_too() -> None:
    cluster = read(
        web(real_servers=[{"address": "2001:db8:b:0::22", "forwarding": "tunnel", "tunnel": {"type": "gre"}}])
    )
    (service,) = _cluster.real_server_services(cluster, "web2", GROUPS, HOSTVARS)
    assert service["tunnel"] == {"type": "gre", "port": 0, "checksum": "none", "overhead": 44}
    assert service["directors"] == ["2001:db8:b::11", "2001:db8:b::12"]


def test_who_serves_nothing_gets_nothing() -> None:
    assert _cluster.real_server_services(read(WEB), "database", GROUPS, HOSTVARS) == []


OPTIONS = {"gateway": "", "gateway6": "2001:db8:b::1", "route_table": "4780", "rule_priority": 4780, "tunnel_mtu": 0}


def test_the_program_of_a_real_server_reads_everything_once() -> None:
    def others(name: str, number: int, forwarding: str, **more: t.Any) -> dict[str, t.Any]:
        members = [{"group": "web", "forwarding": forwarding, **more}]
        return web(name=name, address=f"192.0.2.{number}", real_servers=members)

    cluster = read(
        *(
            web(name=f"port {port}", port=port, real_servers=[{"group": "web", "port": server}])
            for port, server in ((80, 8001), (81, 8000), (82, 8002), (83, 8002), (84, 9000))
        ),
        web(name="dns", protocol="udp", port=53),
        others("direct", 11, "direct"),
        others("direct too", 12, "direct"),
        others("tunnel", 13, "tunnel"),
        others("other tunnel", 13, "tunnel", tunnel={"type": "gre"}) | {"port": 81},
        others("tunnel too", 14, "tunnel"),
        others("the same", 14, "tunnel") | {"port": 81},
    )
    serves = _cluster.real_server_services(cluster, "web1", GROUPS, HOSTVARS)
    told = _cluster.real_server_configuration(serves, OPTIONS)
    assert told["masquerade"] == {
        "ipv4": {
            "addresses": {"198.51.100.21": ["tcp 8000-8002", "tcp 9000", "udp 53"]},
            "gateway": "198.51.100.11",
            "table": 4780,
            "priority": 4780,
        },
        "ipv6": {"addresses": {}, "gateway": "2001:db8:b::1", "table": 4780, "priority": 4780},
    }
    assert [(part["name"], part["addresses"]) for part in told["direct"]] == [("direct", ["192.0.2.11", "192.0.2.12"])]
    assert [(part["name"], part["addresses"], part["tunnel"]["type"]) for part in told["tunnel"]] == [
        ("tunnel", ["192.0.2.13", "192.0.2.14"], "ipip"),
        ("other tunnel", ["192.0.2.13"], "gre"),
    ]
    assert told["tunnel"][0]["directors"] == ["198.51.100.11", "198.51.100.12"]


@pytest.mark.parametrize("service", [{"port": 0, "persistence_timeout": 60}, {"fwmark": 7}])
def test_every_port_of_a_real_server_is_said_by_none(service: dict[str, t.Any]) -> None:
    every = {"name": "every", "real_servers": [{"group": "web"}], "scheduler": "rr", **service}
    every |= {} if "fwmark" in service else {"protocol": "tcp", "address": "192.0.2.11"}
    serves = _cluster.real_server_services(read(WEB, every), "web1", GROUPS, HOSTVARS)
    told = _cluster.real_server_configuration(serves, OPTIONS)
    assert told["masquerade"]["ipv4"]["addresses"] == {"198.51.100.21": []}


def test_health_checked_services_are_served_like_the_others() -> None:
    cluster = read(web(health_check={"tcp": {}}))
    assert len(_cluster.real_server_services(cluster, "web1", GROUPS, HOSTVARS)) == 1


def test_the_holder_of_the_virtual_addresses_is_the_gateway() -> None:
    for holder, gateway in ((None, "198.51.100.11"), ("lb2", "198.51.100.12"), ("", None)):
        (service,) = _cluster.real_server_services(read(WEB), "web1", GROUPS, HOSTVARS, holder)
        assert service["gateway"] == gateway


@pytest.mark.parametrize("told_by", ["lb1", "web1"])
@pytest.mark.parametrize(
    "told", ["198.51.100.1", ["198.51.100.1/24"], [{"address": "198.51.100.1", "interface": "eth1"}]]
)
def test_a_gateway_that_moves_goes_before_that_of_one_director(told_by: str, told: t.Any) -> None:
    hostvars = {**HOSTVARS, told_by: {**HOSTVARS[told_by], "lvs_gateway": told}}
    [service] = _cluster.real_server_services(read(WEB), "web1", GROUPS, hostvars, vip_holder="")
    assert service["gateway"] == "198.51.100.1"


def test_a_gateway_that_is_no_address_is_refused() -> None:
    hostvars = {**HOSTVARS, "lb2": {**HOSTVARS["lb2"], "lvs_gateway": "gateway"}}
    with pytest.raises(_cluster.ClusterError, match="host lb2: lvs_gateway: "):
        _cluster.real_server_services(read(WEB), "web1", GROUPS, hostvars)


def test_a_holder_that_is_no_director_is_refused() -> None:
    with pytest.raises(_cluster.ClusterError, match='director_vip_holder: host "web1" is not in the group "directors"'):
        _cluster.real_server_services(read(WEB), "web1", GROUPS, HOSTVARS, "web1")


TWO_GROUPS = {"all": ["lb1", "lb2", "lb3", "web1", "web2"], "directors": ["lb1", "lb2", "lb3"], "web": ["web1", "web2"]}


def two_clusters(*, web2: t.Any = "b") -> dict[str, dict[str, t.Any]]:
    """lb1 and lb2 are of a cluster that has no name, lb3 is of another."""
    return {
        **HOSTVARS,
        "lb3": {"lvs_address": "198.51.100.13", "lvs_cluster": "b"},
        "web2": {**HOSTVARS["web2"], "lvs_cluster": web2},
    }


def test_a_host_has_the_directors_of_its_cluster() -> None:
    names = {host: _cluster.directors(host, TWO_GROUPS, two_clusters()) for host in TWO_GROUPS["all"]}
    assert names == {
        **{host: ["lb1", "lb2"] for host in ("lb1", "lb2", "web1")},
        **{host: ["lb3"] for host in ("lb3", "web2")},
    }
    # Where there is only one cluster, real servers need not say which.
    named = {**HOSTVARS, **{name: {**HOSTVARS[name], "lvs_cluster": "a"} for name in ("lb1", "lb2")}}
    assert _cluster.directors("web1", GROUPS, named) == ["lb1", "lb2"]
    (service,) = _cluster.real_server_services(read(WEB), "web1", GROUPS, named)
    assert service["gateway"] == "198.51.100.11"


def test_a_real_server_answers_by_its_own_cluster_and_lets_in_no_other() -> None:
    hostvars = two_clusters()
    hostvars["lb1"] = {**hostvars["lb1"], "lvs_gateway": "198.51.100.1"}
    cluster = read(WEB, groups=TWO_GROUPS, hostvars=hostvars)
    (service,) = _cluster.real_server_services(cluster, "web2", TWO_GROUPS, hostvars)
    assert (service["directors"], service["gateway"]) == (["198.51.100.13"], "198.51.100.13")
    (service,) = _cluster.real_server_services(cluster, "web1", TWO_GROUPS, hostvars)
    assert (service["directors"], service["gateway"]) == (["198.51.100.11", "198.51.100.12"], "198.51.100.1")


@pytest.mark.parametrize("forwarding", ["masquerade", "direct", "tunnel"])
@pytest.mark.parametrize("checked", [{}, {"health_check": {"tcp": {}}}])
@pytest.mark.parametrize("member", [{"group": "two"}, {"address": "198.51.100.22"}])
def test_a_real_server_of_another_cluster_is_refused(
    member: dict[str, t.Any], checked: dict[str, t.Any], forwarding: str
) -> None:
    groups, hostvars = {**TWO_GROUPS, "two": ["web2"]}, two_clusters()
    declared = [web(forwarding=forwarding, real_servers=[member], **checked)]
    assert len(_cluster.services(declared, groups, hostvars, "lb3")) == 1
    for director in ("lb1", "lb2"):
        with pytest.raises(_cluster.ClusterError) as error:
            _cluster.services(declared, groups, hostvars, director)
        assert error.value.findings == (
            f"lvs_services (web).real_servers: host web2: lvs_cluster: it is of another cluster than {director}, "
            "and a real server serves only the directors of its own",
        )


def test_a_real_server_that_names_no_cluster_is_of_the_one_without_a_name() -> None:
    hostvars = two_clusters()
    declared = [web(real_servers=[{"address": "198.51.100.21"}])]
    assert len(_cluster.services(declared, TWO_GROUPS, hostvars, "lb1")) == 1
    with pytest.raises(_cluster.ClusterError, match="host web1: lvs_cluster: it is of another cluster than lb3"):
        _cluster.services(declared, TWO_GROUPS, hostvars, "lb3")


@pytest.mark.parametrize(
    "member",
    [
        # No host of the inventory.
        {"address": "203.0.113.9"},
        # Of no director's cluster, which is the role real_server's to refuse where it serves.
        {"address": "198.51.100.22"},
        # A director of another cluster, as the second of two tiers.
        {"address": "198.51.100.13"},
    ],
)
def test_who_has_no_other_directors_may_serve(member: dict[str, t.Any]) -> None:
    declared = [web(real_servers=[member])]
    assert len(_cluster.services(declared, TWO_GROUPS, two_clusters(web2="c"), "lb1")) == 1


def test_a_holder_of_another_cluster_is_refused() -> None:
    hostvars = two_clusters()
    cluster = read(WEB, groups=TWO_GROUPS, hostvars=hostvars)
    message = (
        'director_vip_holder: host "lb1" is not in the group "directors", '
        "or not of the cluster of web2, whose directors are lb3"
    )
    with pytest.raises(_cluster.ClusterError) as error:
        _cluster.real_server_services(cluster, "web2", TWO_GROUPS, hostvars, "lb1")
    assert error.value.findings == (message,)


def test_a_real_server_of_no_cluster_is_refused_where_there_are_several() -> None:
    hostvars = two_clusters(web2="c")
    cluster = read(WEB, groups=TWO_GROUPS, hostvars=hostvars)
    with pytest.raises(
        _cluster.ClusterError, match="host web2: lvs_cluster: no director is of its cluster, and they are"
    ):
        _cluster.real_server_services(cluster, "web2", TWO_GROUPS, hostvars)
    # Who serves nothing need not say which.
    nothing = read(web(real_servers=[]), groups=TWO_GROUPS, hostvars=hostvars)
    assert _cluster.real_server_services(nothing, "web2", TWO_GROUPS, hostvars) == []


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (
            web(real_servers=[{"group": "wbe"}]),
            'lvs_services[0] (web).real_servers[0].group: there is no group "wbe" in the inventory',
        ),
        (
            web(real_servers=[{"group": ["web"]}]),
            "lvs_services[0] (web).real_servers[0].group: there is no group \"['web']\" in the inventory",
        ),
        (
            web(real_servers=[{"group": "storage"}]),
            'lvs_services[0] (web).real_servers[0]: host database of group "storage" has no lvs_address or lvs_address6 with an ipv4 address',
        ),
        (
            web(forwarding="tunnel", real_servers=[{"group": "storage"}]),
            'lvs_services[0] (web).real_servers[0]: host database of group "storage" has no lvs_address or lvs_address6',
        ),
        (
            web(address="2001:db8:f::10"),
            'lvs_services[0] (web).real_servers[0]: host web3 of group "web" has no lvs_address or lvs_address6 with an ipv6 address',
        ),
        (web(real_servers=[{}]), "lvs_services[0] (web).real_servers[0]: needs either group or address"),
        (
            web(real_servers=[{"group": "web", "address": "203.0.113.9"}]),
            "lvs_services[0] (web).real_servers[0]: needs either group or address",
        ),
        (
            web(real_servers=[{"group": "web", "wieght": 1}]),
            "lvs_services[0] (web).real_servers[0].wieght: there is no such option here",
        ),
        (web(real_servers=["web"]), "lvs_services[0] (web).real_servers[0]: must be a dictionary"),
        (web(real_servers="web"), "lvs_services[0] (web).real_servers: must be a list"),
        (
            web(real_servers=[{"group": "web"}, {"address": "198.51.100.22"}]),
            "lvs_services[0] (web).real_servers[1]: host web2, 198.51.100.22:80, is in lvs_services[0] (web).real_servers[0] already",
        ),
        (
            web(real_servers=[{"address": "203.0.113.9"}] * 2),
            "lvs_services[0] (web).real_servers[1]: 203.0.113.9:80 is in lvs_services[0] (web).real_servers[0] already",
        ),
        (web(schedular="rr"), "lvs_services[0].schedular: there is no such option here"),
        (web(port=70000), "lvs_services[0] (web).port: 70000 is not an integer from 0 to 65535"),
        (web(name=None, address="nowhere"), "lvs_services[0].address: 'nowhere' is not an IPv4 or IPv6 address"),
        (web(forwarding="nat"), "lvs_services[0] (web).forwarding: 'nat' is not one of masquerade, direct, tunnel"),
        (
            web(tunnel={"type": "gue"}),
            "lvs_services[0] (web).tunnel.port: a gue tunnel needs a UDP port from 1 to 65535",
        ),
        (
            web(real_servers=[{"group": "web", "weight": -1}]),
            "lvs_services[0] (web).real_servers[0] (host web1).weight: -1 is not an integer from 0 to 2147483647",
        ),
        (web(name=7), "lvs_services[0].name: 7 is not a name"),
        ("web", "lvs_services[0]: must be a dictionary"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(declared: t.Any, expected: str) -> None:
    assert expected in findings(declared)


def test_all_findings_are_told_at_once() -> None:
    told = findings(web(port=-1), web(name="b", port=81, real_servers=[{"group": "wbe"}]), web(name="c", port=82, x=1))
    assert [line.split(":")[0] for line in told] == [
        "lvs_services[0] (web).port",
        "lvs_services[1] (b).real_servers[0].group",
        "lvs_services[2].x",
    ]


def test_two_services_with_one_key_are_named_both() -> None:
    assert findings(WEB, web(name="other", port=81), web(name="again")) == (
        "lvs_services[2]: is the same service as lvs_services[0]: tcp 192.0.2.10:80",
    )


def test_a_service_of_keepalived_may_not_be_a_service_of_the_modules_too() -> None:
    assert findings(WEB, web(name="checked", health_check={})) == (
        "lvs_services[1]: is the same service as lvs_services[0]: tcp 192.0.2.10:80",
    )


def test_two_services_with_one_name_are_refused() -> None:
    assert findings(WEB, web(port=81)) == ("lvs_services[1].name: 'web' is the name of lvs_services[0] already",)


def test_a_service_without_a_name_is_named_after_its_key() -> None:
    assert read(web(name=None))[0].name == "tcp 192.0.2.10:80"


@pytest.mark.parametrize("declared", ["web", {"web": {}}, None, 3])
def test_the_declaration_must_be_a_list(declared: t.Any) -> None:
    with pytest.raises(_cluster.ClusterError, match=r"^lvs_services: must be a list of services$"):
        _cluster.services(declared, GROUPS, HOSTVARS)


def test_one_host_twice_under_two_ports_is_two_real_servers() -> None:
    declared = web(real_servers=[{"group": "web"}, {"group": "web", "port": 8080}])
    assert len(_cluster.director_services(read(declared))[0]["real_servers"]) == 6


def test_a_cluster_without_directors_is_refused() -> None:
    assert findings(WEB, groups={**GROUPS, "directors": []}) == ('groups: there is no host in the group "directors"',)


def test_one_address_on_two_hosts_is_refused() -> None:
    hostvars = {**HOSTVARS, "web3": HOSTVARS["web1"]}
    assert "host web3: 198.51.100.21 is the address of host web1 already" in findings(WEB, hostvars=hostvars)


def test_an_address_that_is_none_is_refused_with_the_host() -> None:
    hostvars = {**HOSTVARS, "web3": {"lvs_address": "198.51.100.0/24"}}
    assert "host web3: lvs_address: '198.51.100.0/24' is not an IPv4 or IPv6 address" in findings(
        WEB, hostvars=hostvars
    )


class Lazy(dict):
    """Variables that are templated as they are read, as Ansible's are."""

    def __getitem__(self, key: str) -> t.Any:
        value = super().__getitem__(key)
        if value == "{{ nothing }}":
            raise RuntimeError("'nothing' is undefined")
        return value

    def get(self, key: str, default: t.Any = None) -> t.Any:
        return self[key] if super().__contains__(key) else default


@pytest.mark.parametrize("variable", ["lvs_address", "lvs_weight"])
def test_a_host_variable_that_cannot_be_templated_is_named(variable: str) -> None:
    hostvars = {**HOSTVARS, "web1": Lazy({**HOSTVARS["web1"], variable: "{{ nothing }}"})}
    assert f"host web1: {variable}: 'nothing' is undefined" in findings(WEB, hostvars=hostvars)


def test_an_option_that_cannot_be_templated_is_named() -> None:
    assert findings(Lazy(web(port="{{ nothing }}"))) == ("lvs_services[0].port: 'nothing' is undefined",)


def test_hosts_that_no_service_names_may_say_what_they_like() -> None:
    hostvars = {**HOSTVARS, "database": Lazy({"lvs_address": "{{ nothing }}"})}
    assert len(read(WEB, hostvars=hostvars)) == 1


def test_an_empty_group_and_an_empty_list_are_values() -> None:
    for declared in (web(real_servers=[{"group": "nobody"}]), web(real_servers=[])):
        assert _cluster.director_services(read(declared))[0]["real_servers"] == []


# -- services by firewall mark --


def marked(*mark: t.Any, **changes: t.Any) -> dict[str, t.Any]:
    return {"name": "shop", "fwmark": 7, "mark": list(mark), "real_servers": [{"group": "web"}], **changes}


HTTP = {"protocol": "tcp", "address": "192.0.2.10", "ports": [443, "80", "8000-8010"]}


def test_what_is_marked_is_read_and_its_addresses_are_virtual_ones() -> None:
    dns = {"protocol": "udp", "address": "192.0.2.11"}
    cluster = read(marked(HTTP, dns), WEB)
    assert cluster[0].marks == (
        ("tcp", "192.0.2.10", ((80, 80), (443, 443), (8000, 8010))),
        ("udp", "192.0.2.11", ()),
    )
    assert _cluster.vips(cluster) == ["192.0.2.10", "192.0.2.11"]
    assert "mark" not in _cluster.director_services(cluster)[0]
    serves = _cluster.real_server_services(cluster, "web1", GROUPS, HOSTVARS)
    assert [(service["address"], service["addresses"]) for service in serves] == [
        (None, ["192.0.2.10", "192.0.2.11"]),
        ("192.0.2.10", ["192.0.2.10"]),
    ]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (web(mark=[HTTP]), "lvs_services[0] (web).mark: is for services by fwmark"),
        (marked(mark="http"), "lvs_services[0] (shop).mark: must be a list"),
        (marked({"protocol": "tcp"}), "lvs_services[0] (shop).mark[0].address: is required"),
        (marked({"address": "192.0.2.1"}), "lvs_services[0] (shop).mark[0].protocol: is required"),
        (marked({**HTTP, "port": 80}), "lvs_services[0] (shop).mark[0].port: there is no such option here"),
        (marked(HTTP, family="ipv6", real_servers=[]), "192.0.2.10 is not of the service's family, ipv6"),
        (marked({**HTTP, "ports": 80}), "lvs_services[0] (shop).mark[0].ports: must be a list"),
        (marked({**HTTP, "ports": [0]}), "lvs_services[0] (shop).mark[0].ports[0]: 0 is not"),
        (marked({**HTTP, "ports": [80, "90-80"]}), ".mark[0].ports[1]: '90-80' ends before it begins"),
        (marked({**HTTP, "ports": ["80-"]}), ".mark[0].ports[0]: '' is not"),
        (marked({**HTTP, "protocol": "icmp"}), ".mark[0].protocol: "),
    ],
)
def test_a_wrong_mark_is_found(service: dict[str, t.Any], expected: str) -> None:
    assert [found for found in findings(service) if expected in found]


@pytest.mark.parametrize(
    ("ports", "found"),
    [([8005], "8005"), (["8010-9000"], "8010"), ([], "80"), (["1-65535"], "80")],
)
def test_a_packet_has_one_mark(ports: list[t.Any], found: str) -> None:
    other = marked({**HTTP, "ports": ports}, name="other", fwmark=8)
    told = findings(marked(HTTP), other)[0]
    assert told.startswith(f"lvs_services: tcp 192.0.2.10:{found} is marked twice, for ")
    assert {"shop", "other"} <= set(told.replace(",", "").split())
    read(marked(HTTP), marked({**HTTP, "protocol": "udp"}, name="other", fwmark=8))
    read(marked(HTTP), marked({**HTTP, "ports": [8011, "81-442"]}, name="other", fwmark=8))


# -- whom an operator names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "hosts"),
    [
        ("web1", ["web1"]),
        ("web3, web1", ["web3", "web1"]),
        (["web1", "web"], ["web1", "web2", "web3"]),
        # Of a group, those that serve.
        ("all", ["web1", "web2", "web3"]),
    ],
)
def test_real_servers_are_named_by_hosts_and_groups(named: t.Any, hosts: list[str]) -> None:
    told = _cluster.named_real_servers(read(WEB), named, GROUPS, HOSTVARS)
    assert told["hosts"] == hosts
    if hosts == ["web3", "web1"]:
        # All that a host is known by, whether or not it is in use.
        assert told["addresses"] == ["198.51.100.23", "198.51.100.21", "2001:db8:b::21"]
    assert told["health_checked"] == []


def test_of_named_real_servers_it_is_told_what_keepalived_has_of_them() -> None:
    checked = web(name="tls", port=443, health_check={"tcp": {}}, real_servers=[{"address": "198.51.100.23"}])
    cluster = read(WEB, checked)
    words = {"protocol": "tcp", "address": checked["address"], "port": 443, "quorum": 1}
    server = {"address": "198.51.100.23", "port": 443, "weight": 1}
    server |= {"forwarding": "masquerade", "upper_threshold": 0, "lower_threshold": 0}
    for named, found in (("web", [server]), ("web3", [server]), ("web1,web2", [])):
        told = _cluster.named_real_servers(cluster, named, GROUPS, HOSTVARS)["health_checked"]
        assert told == ([{**words, "real_servers": found}] if found else [])
        # It is what the module takes.
        assert len(_drain.parse_checked(told, "/drains").servers) == len(found)


@pytest.mark.parametrize(
    ("check", "quorum"),
    [({"quorum": 3}, 3), ({"quorum": "3", "hysteresis": "2"}, 1), ({"quorum": "many"}, 1), ("{{ tcp }}", 1)],
)
def test_the_quorum_of_a_check(check: t.Any, quorum: int) -> None:
    cluster = read(web(health_check=check))
    (told,) = _cluster.named_real_servers(cluster, "web", GROUPS, HOSTVARS)["health_checked"]
    assert told["quorum"] == quorum


@pytest.mark.parametrize(
    ("named", "finding"),
    [
        ("", "says no host and no group of the inventory, such as web1,web2"),
        (None, "says no host and no group of the inventory, such as web1,web2"),
        ([], "says no host and no group of the inventory, such as web1,web2"),
        ("web1,wbe2", 'there is no host and no group "wbe2" in the inventory'),
        ("database", "database is a real server of no service of lvs_services"),
        ("nobody", "nobody is a real server of no service of lvs_services"),
        ("lb1", "lb1 is a real server of no service of lvs_services"),
    ],
)
def test_who_cannot_be_meant_is_refused(named: t.Any, finding: str) -> None:
    with pytest.raises(_cluster.ClusterError) as caught:
        _cluster.named_real_servers(read(WEB), named, GROUPS, HOSTVARS)
    assert caught.value.findings == (f"lvs_servers: {finding}",)
