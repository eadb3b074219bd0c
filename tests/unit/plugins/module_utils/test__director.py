# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _director

GROUPS = {"all": ["lb1", "lb2", "web1", "web2"], "directors": ["lb1", "lb2"], "web": ["web1", "web2"]}
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "lb1": {"lvs_address": "198.51.100.11"},
    "lb2": {"lvs_address": "198.51.100.12"},
    "web1": {"lvs_address": "198.51.100.21", "lvs_address6": "2001:db8:b::21"},
    "web2": {"lvs_address": "198.51.100.22", "lvs_address6": "2001:db8:b::22"},
}
WEB = {"name": "web", "protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": [{"group": "web"}]}
WISHES = _director.Wishes("lb1", "", False, False, 0, {})
SETTINGS = (
    "conntrack",
    "conn_reuse_mode",
    "expire_nodest_conn",
    "expire_quiescent_template",
    "sloppy_tcp",
    "backup_only",
)
#: As a host of the lab tells it.
LINES = [
    "kernel 6.1.0-50-cloud-amd64",
    *(f"/proc/sys/net/ipv4/vs/{name}:0" for name in SETTINGS),
    "/sys/class/net/front/mtu:1500",
    "/sys/class/net/back/mtu:1500",
    "/sys/class/net/lo/mtu:65536",
    "network default via 10.0.2.2 dev mgmt ",
    "network 192.0.2.0/24 dev front proto kernel scope link src 192.0.2.11 ",
    "route 198.51.100.21 dev back src 198.51.100.11 uid 0 \\    cache ",
    "route 198.51.100.22 dev back src 198.51.100.11 uid 0 \\    cache ",
    "route local 198.51.100.11 dev lo src 198.51.100.11 uid 0 \\    cache <local> ",
    "route 2001:db8:b::21 from :: dev back proto kernel src 2001:db8:b::11 metric 256 pref medium",
    "route 203.0.113.9 via 10.0.2.2 dev mgmt src 10.0.2.11 uid 0 \\    cache ",
    "route 203.0.113.8 via inet6 fe80::1 dev mgmt src 10.0.2.11 uid 0 \\    cache ",
    "something else dev null",
]


def web(**changes: t.Any) -> dict[str, t.Any]:
    return {**WEB, **changes}


def director(
    *declared: dict[str, t.Any],
    host: str = "lb1",
    lines: t.Sequence[str] = LINES,
    groups: t.Any = None,
    **wishes: t.Any,
) -> _director.Director:
    cluster = _cluster.services(list(declared), groups or GROUPS, HOSTVARS)
    return _director.director(
        cluster, host, (groups or GROUPS)["directors"], WISHES._replace(**wishes), _director.parse_told(lines)
    )


def without(*settings: str) -> list[str]:
    return [line for line in LINES if not line.startswith(tuple(f"/proc/sys/net/ipv4/vs/{name}:" for name in settings))]


# -- what a host tells --


def test_what_a_host_tells_is_understood() -> None:
    told = _director.parse_told(LINES)
    assert told.kernel == (6, 1)
    assert told.settings == set(SETTINGS)
    assert told.mtu == {"front": 1500, "back": 1500, "lo": 65536}
    assert told.vip_interface == "front"
    assert told.symbols == set()
    assert told.routes == {
        "198.51.100.21": ("back", "", False),
        "198.51.100.22": ("back", "", False),
        "198.51.100.11": ("lo", "", True),
        "2001:db8:b::21": ("back", "", False),
        "203.0.113.9": ("mgmt", "10.0.2.2", False),
        "203.0.113.8": ("mgmt", "fe80::1", False),
    }


@pytest.mark.parametrize(
    ("routes", "interface"),
    [
        # The orders are those of ip(8): tests/kernel/test_virtual_address.py asks it.
        (
            [
                "default via 10.0.2.2 dev mgmt",
                "10.0.0.0/24 dev front scope link",
                "10.0.0.0/16 dev b",
                "10.0.0.0/8 dev c",
            ],
            "front",
        ),
        (
            [
                "2001:db8:f::10 dev lo proto kernel metric 256 pref medium",
                "2001:db8:f::/64 dev front proto kernel metric 256 pref medium",
                "2001:db8::/32 dev back metric 1024 pref medium",
                "default via fe80::2 dev mgmt metric 1024 pref medium",
            ],
            "front",
        ),
        (["192.0.2.0/24 dev front metric 100", "192.0.2.0/24 dev back metric 200"], "front"),
        (["default via 10.0.2.2 dev mgmt"], None),
        (["default via fe80::2 dev mgmt metric 1024 pref medium"], None),
        (["unreachable 192.0.2.0/24", "unreachable 2001:db8:f::/64 dev lo metric 1024 pref medium"], None),
        (["2001:db8:f::10 dev lo proto kernel metric 256 pref medium", "192.0.2.10 dev lo scope link"], None),
    ],
)
def test_virtual_addresses_go_by_the_narrowest_network(routes: list[str], interface: str | None) -> None:
    assert _director.parse_told(f"network {route} " for route in routes).vip_interface == interface


# -- sysctls --

ALWAYS = {"conntrack": 0, "conn_reuse_mode": 1, "expire_nodest_conn": 1, "sloppy_tcp": 0}


def of_ipvs(**settings: int) -> dict[str, t.Any]:
    return {f"net.ipv4.vs.{name}": value for name, value in settings.items()}


@pytest.mark.parametrize(
    ("service", "wishes", "more"),
    [
        (web(), {}, {"net.ipv4.ip_forward": 1}),
        (web(address="2001:db8:f::10"), {}, {"net.ipv6.conf.all.forwarding": 1}),
        (web(forwarding="direct"), {}, {}),
        (web(forwarding="tunnel"), {}, {}),
        (web(forwarding="direct", persistence_timeout=60), {}, of_ipvs(expire_quiescent_template=1)),
        (web(forwarding="direct"), {"conntrack": True, "sloppy_tcp": True}, of_ipvs(conntrack=1, sloppy_tcp=1)),
        (
            web(forwarding="direct"),
            {"sysctls": {"net.ipv4.vs.conntrack": 1, "a.b": 2}},
            {**of_ipvs(conntrack=1), "a.b": 2},
        ),
    ],
)
def test_sysctls_follow_the_cluster_and_the_user(
    service: dict[str, t.Any], wishes: dict[str, t.Any], more: dict[str, t.Any]
) -> None:
    made = director(service, **wishes)
    assert made.sysctls == {**of_ipvs(**ALWAYS), **more}
    assert made.findings == []


@pytest.mark.parametrize(
    ("kernel", "conntrack", "mode"), [("5.8.0", True, 0), ("5.8.0", False, 1), ("5.9.0", True, 1), ("6.12.1", True, 1)]
)
def test_connections_are_reused_as_the_kernel_does_it_best(kernel: str, conntrack: bool, mode: int) -> None:
    lines = [f"kernel {kernel}", *LINES[1:]]
    assert director(web(), lines=lines, conntrack=conntrack).sysctls["net.ipv4.vs.conn_reuse_mode"] == mode


def test_what_the_kernel_lacks_is_left_out_unless_the_user_wants_it() -> None:
    lines = without("conntrack", "expire_nodest_conn", "sloppy_tcp")
    made = director(web(forwarding="direct"), lines=lines)
    assert made.sysctls == of_ipvs(conn_reuse_mode=1)
    assert made.findings == []
    wishes: dict[str, t.Any] = {
        "conntrack": True,
        "sloppy_tcp": True,
        "sysctls": {"net.ipv4.vs.nonsense": 1, "net.nonsense": 1},
    }
    assert director(web(), lines=lines, **wishes).findings == [
        "director_conntrack: the kernel of lb1 has no sysctl net.ipv4.vs.conntrack",
        "director_sloppy_tcp: the kernel of lb1 has no sysctl net.ipv4.vs.sloppy_tcp",
        "director_sysctls[net.ipv4.vs.nonsense]: the kernel of lb1 has no sysctl net.ipv4.vs.nonsense",
    ]


def test_before_ipvs_is_loaded_nothing_is_left_out() -> None:
    made = director(web(forwarding="direct"), lines=without(*SETTINGS), conntrack=True)
    assert made.sysctls == of_ipvs(**{**ALWAYS, "conntrack": 1})
    assert made.findings == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("abc", "abc"),
    ],
)
def test_a_name_is_read_as_by_sysctl(name: str, path: str) -> None:
    """The middle two are the example of sysctl.d(5)."""
    assert _director.sysctl_path(name) == path
    made = director(web(forwarding="direct"), sysctls={name: 1})
    assert made.sysctl_files == [f"/proc/sys/{path}"]
    assert f"{path}=1" in made.sysctls_to_set
    lines = [*LINES, f"/proc/sys/{path}:1"]
    assert f"{path}=1" not in director(web(forwarding="direct"), lines=lines, sysctls={name: 1}).sysctls_to_set


def test_the_user_has_the_last_word_however_it_is_spelled() -> None:
    sysctls = director(web(), sysctls={"net/ipv4/vs/conntrack": 1}).sysctls
    assert sysctls["net/ipv4/vs/conntrack"] == 1
    assert "net.ipv4.vs.conntrack" not in sysctls
    assert director(web(), sysctls={"net/ipv4/vs/nonsense": 1}).findings == [
        "director_sysctls[net/ipv4/vs/nonsense]: the kernel of lb1 has no sysctl net.ipv4.vs.nonsense"
    ]


def test_only_what_differs_is_set() -> None:
    made = director(web(), sysctls={"net.ipv4.vs.sync_threshold": "3 50"})
    assert made.sysctls_to_set == [
        "net/ipv4/ip_forward=1",
        "net/ipv4/vs/conn_reuse_mode=1",
        "net/ipv4/vs/expire_nodest_conn=1",
        "net/ipv4/vs/sync_threshold=3 50",
    ]
    right = ["ip_forward:1", "vs/conn_reuse_mode:1", "vs/expire_nodest_conn:1", "vs/sync_threshold:3\t50"]
    lines = [*LINES, *(f"/proc/sys/net/ipv4/{told}" for told in right)]
    assert director(web(), lines=lines, sysctls={"net.ipv4.vs.sync_threshold": "3 50"}).sysctls_to_set == []


@pytest.mark.parametrize("name", ["drop_entry", "drop_packet", "secure_tcp", "am_droprate"])
@pytest.mark.parametrize(("want", "have"), [(1, 2), (2, 1), (1, 0), (0, 2), (3, 2), (1, 3)])
def test_a_defence_that_the_kernel_has_put_to_work_is_left_at_work(name: str, want: int, have: int) -> None:
    told = _director.parse_told([f"/proc/sys/net/ipv4/vs/{name}:{have}"])
    same = name != "am_droprate" and {want, have} == {1, 2}
    to_set = [] if same else [f"net/ipv4/vs/{name}={want}"]
    assert _director.sysctls_to_set({f"net.ipv4.vs.{name}": want}, told) == to_set


# -- guards --


def test_the_interface_of_the_virtual_addresses() -> None:
    assert director(web()).vip_interface == "front"
    assert director(web(), host="lb2").vip_interface == "lo"
    assert director(web(), vip_interface="back").vip_interface == "back"
    assert director(web(), vip_interface="eth9").findings == ["director_vip_interface: lb1 has no interface 'eth9'"]
    nowhere = [line for line in LINES if not line.startswith("network")]
    assert director(web(), lines=nowhere).findings == [
        "director_vip_interface: no network of lb1 holds 192.0.2.10: name the interface"
    ]
    assert director(web(), lines=nowhere, vip_holder="").findings == []


def test_one_address_has_one_manager() -> None:
    checked = web(name="checked", port=81, health_check={"tcp": {}})
    (found,) = director(web(), checked).findings
    assert found.startswith("director_vip_holder: 192.0.2.10 would have two managers, lb1 and keepalived")
    assert director(web(), checked, vip_holder="").findings == []


def test_keepalived_that_runs_has_the_addresses() -> None:
    runs = [*LINES, "keepalived runs"]
    (found,) = director(web(), lines=runs).findings
    assert found.startswith(
        "director_vip_holder: lb1 runs keepalived, which moves the addresses, and lb1 would have them, too"
    )
    assert director(web(), lines=runs, vip_holder="").findings == []


def test_a_host_that_was_not_asked_yet_is_judged_by_the_declaration() -> None:
    assert director(web(), lines=[], vip_interface="eth9").findings == []
    assert director(web(), lines=[], conn_tab_bits=99).findings == [
        "director_conn_tab_bits: 99 is neither 0 nor from 8 to 27"
    ]
    checked = web(name="checked", port=81, health_check={"tcp": {}})
    assert len(director(checked, lines=[]).findings) == 1


def test_what_keepalived_owns_is_let_go_of() -> None:
    checked = web(name="checked", port=81, health_check={"tcp": {}}, scheduler="rr", lvs_weight=None)
    del checked["lvs_weight"]
    (released,) = director(web(), checked, vip_holder="").released
    assert (released["port"], released["scheduler"], len(released["real_servers"])) == (81, "rr", 2)
    assert not {"name", "health_check"} & set(released)


def remote(address: str, **changes: t.Any) -> dict[str, t.Any]:
    return web(real_servers=[{"address": address}], **changes)


def test_direct_forwarding_reaches_only_the_link() -> None:
    (found,) = director(remote("203.0.113.9", forwarding="direct")).findings
    assert found.startswith(
        "lvs_services (web).real_servers: the real server 203.0.113.9 is behind the router 10.0.2.2, as lb1 sees it"
    )
    for forwarding in ("masquerade", "tunnel"):
        assert director(remote("203.0.113.9", forwarding=forwarding)).findings == []
    # What the host does not tell is not refused.
    assert director(remote("203.0.113.1", forwarding="direct")).findings == []


@pytest.mark.parametrize(
    ("address", "vip", "tunnel", "least"),
    [
        ("198.51.100.21", "192.0.2.10", {"type": "ipip"}, 576 + 20),
        ("2001:db8:b::21", "2001:db8:f::10", {"type": "ipip"}, 1280 + 40),
        ("198.51.100.21", "2001:db8:f::10", {"type": "ipip"}, 1280 + 20),
        ("198.51.100.21", "192.0.2.10", {"type": "gue", "port": 6080}, 576 + 32),
        ("198.51.100.21", "192.0.2.10", {"type": "gue", "port": 6080, "checksum": "remcsum"}, 576 + 40),
        ("198.51.100.21", "192.0.2.10", {"type": "gre"}, 576 + 24),
        ("198.51.100.21", "192.0.2.10", {"type": "gre", "checksum": "csum"}, 576 + 28),
    ],
)
def test_a_tunnel_needs_room(address: str, vip: str, tunnel: dict[str, t.Any], least: int) -> None:
    def findings(mtu: int) -> list[str]:
        lines = [line.replace("back/mtu:1500", f"back/mtu:{mtu}") for line in LINES]
        service = web(address=vip, real_servers=[{"address": address}], forwarding="tunnel", tunnel=tunnel)
        return director(service, lines=lines).findings

    assert findings(least) == []
    (found,) = findings(least - 1)
    assert f"{address} is reached by back of lb1, whose MTU of {least - 1} leaves " in found


BOTH = {**GROUPS, "web": ["web1", "lb1"]}


def test_a_director_that_serves_as_well_heeds_the_other() -> None:
    quiet: dict[str, t.Any] = {"vip_holder": "", "groups": BOTH}
    made = director(web(forwarding="direct"), **quiet)
    assert made.findings == []
    assert made.sysctls["net.ipv4.vs.backup_only"] == 1
    # Who does not serve, or is masqueraded to, is in no circle; nor is who is alone.
    assert "net.ipv4.vs.backup_only" not in director(web(forwarding="direct"), host="lb2", **quiet).sysctls
    assert "net.ipv4.vs.backup_only" not in director(web(), **quiet).sysctls
    alone = {**BOTH, "directors": ["lb1"]}
    assert "net.ipv4.vs.backup_only" not in director(web(forwarding="direct"), groups=alone).sysctls


def test_a_director_that_serves_as_well_is_refused_where_that_cannot_be() -> None:
    (found,) = director(web(forwarding="direct"), vip_holder="", groups=BOTH, lines=without("backup_only")).findings
    assert "lb1 is a director and a real server, and its kernel has no net.ipv4.vs.backup_only" in found
    (found,) = director(web(forwarding="direct"), groups=BOTH).findings
    assert (
        "lb1 is a director and a real server, and net.ipv4.vs.backup_only heeds only directors with a backup" in found
    )


def test_sctp_and_the_size_of_the_table() -> None:
    sctp = web(protocol="sctp")
    tcp_only = [*LINES, "symbol ip_vs_protocol_tcp"]
    assert director(sctp, lines=[*tcp_only, "symbol ip_vs_protocol_sctp"]).findings == director(sctp).findings == []
    assert director(sctp, lines=tcp_only).findings == [
        "lvs_services (web).protocol: the kernel of lb1 has IPVS without SCTP"
    ]
    assert director(web(), lines=tcp_only).findings == []
    assert director(web(), conn_tab_bits=20).findings == []
    assert director(web(), conn_tab_bits=7).findings == ["director_conn_tab_bits: 7 is neither 0 nor from 8 to 27"]


def test_a_kernel_without_ipvs_is_refused() -> None:
    (found,) = director(web(), host="lb2", lines=[*without(*SETTINGS), "no module ip_vs"]).findings
    assert found.startswith(
        "lvs_services: the kernel of lb2 (6.1) has no IPVS: ip_vs is neither loaded, nor is there a mod"
    )


# -- marks --


def test_rules_mark_what_the_services_say() -> None:
    mark4 = {"protocol": "tcp", "address": "192.0.2.10", "ports": [443, 80, "8000-8010"]}
    mark6 = {"protocol": "udp", "address": "2001:db8:f::10"}
    made = director(
        {"name": "shop", "fwmark": 7, "mark": [mark4], "real_servers": []},
        {"name": "six", "fwmark": 8, "family": "ipv6", "mark": [mark6], "real_servers": []},
    )
    assert made.marks.endswith(
        "table inet lvs_ipvs\n"
        "delete table inet lvs_ipvs\n"
        "table inet lvs_ipvs {\n"
        "\tchain prerouting {\n"
        "\t\ttype filter hook prerouting priority mangle; policy accept;\n"
        "\t\tip daddr 192.0.2.10 tcp dport { 80, 443, 8000-8010 } meta mark set 7\n"
        "\t\tip6 daddr 2001:db8:f::10 meta l4proto udp meta mark set 8\n"
        "\t}\n"
        "}\n"
    )


def test_an_example_of_what_is_marked_is_of_tcp_if_there_is_any() -> None:
    dns = {"protocol": "udp", "address": "192.0.2.10", "ports": [53]}
    shop = {"protocol": "tcp", "address": "192.0.2.11", "ports": ["8000-8010", 443]}
    every = {"protocol": "sctp", "address": "2001:db8:f::10"}
    made = director(
        {"name": "shop", "fwmark": 7, "mark": [dns, shop], "real_servers": []},
        {"name": "six", "fwmark": 7, "family": "ipv6", "mark": [every], "real_servers": []},
        {"name": "by something else", "fwmark": 8, "real_servers": []},
        web(),
    )
    assert made.marked == [
        {"fwmark": 7, "protocol": "tcp", "address": "192.0.2.11", "port": 443},
        {"fwmark": 7, "protocol": "sctp", "address": "2001:db8:f::10", "port": 0},
    ]


def test_without_marks_there_is_no_table() -> None:
    assert director(web()).marks == ""


def test_routes_are_asked_of_who_is_sent_packets_as_they_came() -> None:
    assert director(web()).reached == []
    both = director(web(forwarding="direct"), web(name="other", port=81, forwarding="tunnel"))
    assert both.reached == ["198.51.100.21", "198.51.100.22"]
