# SPDX-License-Identifier: GPL-3.0-or-later
"""The keepalived.conf of a director from the inventory."""

from __future__ import annotations

import pathlib
import re
import textwrap
from typing import Any

import pytest
import yaml

from ansible_collections.lvs.ipvs.plugins.module_utils import _cluster, _keepalived

GROUPS = {
    "all": ["lb1", "lb2", "web1", "web2"],
    "directors": ["lb1", "lb2"],
    "web": ["web1", "web2"],
}
HOSTS: dict[str, dict[str, Any]] = {
    "lb1": {"lvs_address": "198.51.100.11", "lvs_address6": "2001:db8:b::11"},
    "lb2": {"lvs_address": "198.51.100.12", "lvs_address6": "2001:db8:b::12"},
    "web1": {"lvs_address": "198.51.100.21", "lvs_address6": "2001:db8:b::21"},
    "web2": {"lvs_address": "198.51.100.22", "lvs_address6": "2001:db8:b::22", "lvs_weight": 2},
}
INTERFACES = {
    "lo": ["127.0.0.1/8", "::1/128"],
    # On a master the virtual addresses are here too.
    "front": ["192.0.2.11/24", "192.0.2.10/32", "2001:db8:f::11/64"],
    "back": ["198.51.100.11/24", "2001:db8:b::11/64"],
}
WEB: dict[str, Any] = {
    "name": "web",
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 80,
    "real_servers": [{"group": "web"}],
    "health_check": {"tcp": {}},
}
WEB6 = {**WEB, "name": "web6", "address": "2001:db8:f::10"}
#: Not keepalived's, but for its address.
PLAIN = {key: value for key, value in {**WEB, "name": "plain", "port": 81}.items() if key != "health_check"}


def configuration(
    services: list[dict[str, Any]],
    host: str = "lb1",
    hosts: dict[str, dict[str, Any]] | None = None,
    groups: dict[str, list[str]] | None = None,
    interfaces: dict[str, list[str]] | None = None,
    **options: Any,
) -> _keepalived.Configuration:
    """HOSTS with the differences in hosts."""
    told = {name: {**HOSTS.get(name, {}), **(hosts or {}).get(name, {})} for name in {*HOSTS, *(hosts or {})}}
    groups = {**GROUPS, **(groups or {})}
    cluster = _cluster.services(services, groups, told)
    return _keepalived.configuration(cluster, host, groups, told, interfaces or INTERFACES, options)


def block(text: str, head: str) -> str:
    """The lines of one block, without its head and its indentation."""
    found = re.search(rf"^( *){re.escape(head)} {{\n((?:\1 .*\n|\1#.*\n)*)\1}}\n", text, re.MULTILINE)
    assert found, text
    return textwrap.dedent(found[2])


def ids(one: _keepalived.Configuration) -> tuple[int, int]:
    """The virtual router id, and the id of connection sync."""
    found = re.search(r"virtual_router_id (\d+)", one.text)
    assert found
    return int(found[1]), one.sync_daemons[0]["id"]


def findings(*args: Any, **options: Any) -> list[str]:
    with pytest.raises(_cluster.ClusterError) as caught:
        configuration(*args, **options)
    return list(caught.value.findings)


# -- the whole -------------------------------------------------------------------------------------------------


def test_two_directors_and_a_checked_service() -> None:
    assert configuration([WEB]).text == textwrap.dedent("""\
        #start dfc0a52cee2c8317
        global_defs {
            router_id lb1
            vrrp_version 3
            vrrp_garp_master_repeat 5
            vrrp_garp_master_delay 5
            vrrp_higher_prio_send_advert true
            enable_script_security
            script_user lvs-script
        }
        track_file hold {
            file /run/keepalived.hold
            weight 0
            init_file 0
        }
        vrrp_instance lvs_ipv4 {
            state BACKUP
            interface back
            virtual_router_id 134
            priority 200
            advert_int 0.2
            nopreempt
            unicast_src_ip 198.51.100.11
            unicast_peer {
                198.51.100.12
            }
            check_unicast_src
            track_interface {
                front
            }
            track_file {
                hold
            }
            virtual_ipaddress {
                169.254.0.134/32 dev lo scope host
            }
            virtual_ipaddress_excluded {
                192.0.2.10/32 dev front
            }
        }
        # web
        #ipvs -A -t 192.0.2.10:80 -s wlc
        #ipvs -a -t 192.0.2.10:80 -r 198.51.100.21:80 -m -w 1
        #ipvs -a -t 192.0.2.10:80 -r 198.51.100.22:80 -m -w 2
        virtual_server 192.0.2.10 80 {
            protocol TCP
            lvs_sched wlc
            lvs_method NAT
            delay_loop 2
            connect_timeout 2
            retry 1
            delay_before_retry 0.5
            real_server 198.51.100.21 80 {
                weight 1
                TCP_CHECK {
                }
            }
            real_server 198.51.100.22 80 {
                weight 2
                TCP_CHECK {
                }
            }
        }
        """)


def test_the_other_director_differs_in_its_own_things_only() -> None:
    here = configuration([WEB, WEB6]).text
    there = configuration(
        [WEB, WEB6],
        "lb2",
        interfaces={"front": ["192.0.2.12/24", "2001:db8:f::12/64"], "back": ["198.51.100.12/24", "2001:db8:b::12/64"]},
    ).text
    differing = {(a, b) for a, b in zip(here.splitlines(), there.splitlines(), strict=True) if a != b}
    assert differing == {
        ("    router_id lb1", "    router_id lb2"),
        ("    priority 200", "    priority 190"),
        ("    unicast_src_ip 198.51.100.11", "    unicast_src_ip 198.51.100.12"),
        ("        198.51.100.12", "        198.51.100.11"),
        ("    unicast_src_ip 2001:db8:b::11", "    unicast_src_ip 2001:db8:b::12"),
        ("        2001:db8:b::12", "        2001:db8:b::11"),
    }


def test_a_service_of_the_modules_is_not_written_but_its_address_moves() -> None:
    text = configuration([{**PLAIN, "address": "192.0.2.20"}]).text
    assert "virtual_server" not in text
    assert block(text, "virtual_ipaddress_excluded") == "192.0.2.20/32 dev front\n"


def test_the_defaults_are_those_of_the_role(checkout: pathlib.Path) -> None:
    defaults = yaml.safe_load((checkout / "roles" / "keepalived" / "defaults" / "main.yml").read_text())
    ours = _keepalived.Options()._asdict()
    assert {f"keepalived_{option}": list(value) if value == () else value for option, value in ours.items()} == {
        option: value for option, value in defaults.items() if option != "keepalived_packages"
    }


def test_text_is_what_it_says() -> None:
    """As a command line gives it (-e keepalived_preempt=false), and templates before ansible-core 2.19."""
    words: dict[str, Any] = {"preempt": "false", "unicast": "no", "sync": "False", "priority": "7", "garp_refresh": "0"}
    values: dict[str, Any] = {"preempt": False, "unicast": False, "sync": False, "priority": 7, "garp_refresh": 0}
    pace: dict[str, Any] = {"advert_interval": "0.5", "garp_interval": "0.0"}
    assert configuration([WEB], **words, **pace) == configuration([WEB], **values, advert_interval=0.5)
    # The directors are of one mind in whichever form it is said.
    hosts = {"lb2": {"keepalived_unicast": "no", "keepalived_advert_interval": "0.50"}}
    assert configuration([WEB], hosts=hosts, **words, **pace)
    assert findings([WEB], preempt="perhaps", priority="many", advert_interval="inf") == [
        "keepalived_preempt: 'perhaps' is not a boolean",
        "keepalived_priority: 'many' is not a number",
        "keepalived_advert_interval: 'inf' is not a number",
    ]


# -- VRRP ------------------------------------------------------------------------------------------------------


def test_two_families_are_two_instances_that_move_together() -> None:
    text = configuration([WEB, WEB6]).text
    assert block(text, "vrrp_sync_group lvs") == (
        "group {\n    lvs_ipv4\n    lvs_ipv6\n}\ntrack_interface {\n    front\n}\ntrack_file {\n    hold\n}\n"
    )
    six = block(text, "vrrp_instance lvs_ipv6")
    assert "unicast_src_ip 2001:db8:b::11\nunicast_peer {\n    2001:db8:b::12\n}\n" in six
    assert "virtual_ipaddress {\n    fe80::200:5eff:fe00:286/128 dev back\n}\n" in six
    assert "virtual_ipaddress_excluded {\n    2001:db8:f::10/128 dev front\n}\n" in six
    assert "track_interface" not in block(text, "vrrp_instance lvs_ipv4")


def test_what_is_advertised_does_not_change_with_the_services() -> None:
    """A director drops adverts whose list of addresses is not its own: two masters, until both have the same list."""
    before, after = (configuration(services).text for services in ([WEB], [{**WEB, "address": "192.0.2.20"}, PLAIN]))
    for head in ("virtual_ipaddress",):
        assert block(before, head) == block(after, head)
    assert block(before, "virtual_ipaddress_excluded") != block(after, "virtual_ipaddress_excluded")


def test_addresses_that_move_too() -> None:
    text = configuration(
        [WEB],
        hosts={"lb1": {"lvs_gateway": "198.51.100.1"}},
        addresses=["192.0.2.20/24", {"address": "203.0.113.1", "interface": "vlan7"}, "192.0.2.10"],
    ).text
    assert block(text, "virtual_ipaddress_excluded") == (
        "198.51.100.1/32 dev back\n192.0.2.10/32 dev front\n192.0.2.20/24 dev front\n203.0.113.1/32 dev vlan7\n"
    )
    assert block(text, "track_interface") == "front\nvlan7\n"


def test_gateways_of_both_families() -> None:
    gateways = ["198.51.100.1", {"address": "2001:db8:b::1", "interface": "vlan7"}]
    text = configuration([WEB], hosts={"lb1": {"lvs_gateway": gateways}}).text
    assert "2001:db8:b::1/128 dev vlan7" in block(text, "vrrp_instance lvs_ipv6")


@pytest.mark.parametrize("order", [1, -1])
def test_an_address_is_in_the_narrowest_network_that_holds_it(order: int) -> None:
    wide = {"management": ["192.0.2.5/16", "2001:db8::5/32"]}
    interfaces = dict([*INTERFACES.items(), *wide.items()][::order])
    text = configuration([WEB, WEB6], interfaces=interfaces).text
    assert block(text, "virtual_ipaddress_excluded") == "192.0.2.10/32 dev front\n"
    assert "2001:db8:f::10/128 dev front\n" in text


def test_named_interfaces() -> None:
    text = configuration([WEB], interface="bond0", vrrp_interface="vlan9", sync_interface="vlan8").text
    assert "192.0.2.10/32 dev bond0" in text
    assert "    interface vlan9\n" in text
    assert configuration([WEB], sync_interface="vlan8").sync_daemons[0]["interface"] == "vlan8"


def test_multicast() -> None:
    text = configuration([WEB], unicast=False).text
    instance = block(text, "vrrp_instance lvs_ipv4")
    assert "interface front\n" in instance
    assert "unicast" not in instance
    # By itself an instance's interface is watched, and twice is an error.
    assert "track_interface" not in instance


def test_a_single_director_has_no_peers_and_nobody_to_tell_of_connections() -> None:
    one = configuration([WEB], groups={"directors": ["lb1"]})
    text = one.text
    assert "unicast" not in text
    assert one.sync_daemons == []
    assert "192.0.2.10/32 dev front" in text


def test_three_directors() -> None:
    hosts = {"lb3": {"lvs_address": "198.51.100.13"}}
    groups = {"all": [*GROUPS["all"], "lb3"], "directors": ["lb1", "lb2", "lb3"]}
    one = configuration([WEB], hosts=hosts, groups=groups)
    assert block(one.text, "unicast_peer") == "198.51.100.12\n198.51.100.13\n"
    # The third changes neither the ids nor the priorities of the others.
    assert ids(one) == ids(configuration([WEB]))


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["nopreempt", "priority 200", "advert_int 0.2"]),
        ({"preempt": True}, ["priority 200"]),
        ({"preempt": True, "preempt_delay": 30}, ["preempt_delay 30"]),
        ({"priority": 7, "advert_interval": 0.05}, ["priority 7", "advert_int 0.05"]),
    ],
)
def test_who_is_the_master(options: dict[str, Any], lines: list[str]) -> None:
    instance = block(configuration([WEB], **options).text, "vrrp_instance lvs_ipv4").splitlines()
    assert set(lines) <= set(instance)
    assert ("nopreempt" in instance) != bool(options.get("preempt"))


def test_version_2_with_a_password() -> None:
    result = configuration([WEB, WEB6], vrrp_version=2, advert_interval=1, auth_password="pass wrd")
    assert "vrrp_version 2\n" in result.text
    assert block(result.text, "authentication") == 'auth_type PASS\nauth_pass "pass wrd"\n'
    six = block(result.text, "vrrp_instance lvs_ipv6")
    assert "version 3\n" in six
    assert "authentication" not in six
    assert result.credentials


def test_tracking() -> None:
    result = configuration(
        [WEB],
        hold_file="/run/hold",
        track_interfaces=["mgmt", {"name": "front", "weight": -10}],
        track_processes=[{"name": "bird", "process": "bird", "quorum": 2, "delay": 0.5, "weight": -20}],
        track_scripts=[{"name": "uplink", "command": "/usr/bin/ping -c1 192.0.2.1", "interval": 5, "fall": 2, "user": "nobody"}],
        track_files=[{"name": "load", "path": "/run/load", "weight": 1, "reverse": True}],
        notify={"master": "/usr/bin/page master", "any": {"command": ["/usr/bin/log", "a b"], "user": "nobody"}},
    )  # fmt: skip
    text = result.text
    assert block(text, "vrrp_script uplink") == (
        'script "/usr/bin/ping -c1 192.0.2.1"\ninterval 5\nfall 2\nuser nobody\nweight 0\n'
    )
    assert block(text, "vrrp_track_process bird") == "process bird\nquorum 2\ndelay 0.5\nweight -20\n"
    assert block(text, "track_file hold") == "file /run/hold\nweight 0\ninit_file 0\n"
    assert block(text, "track_file load") == "file /run/load\nweight 1 reverse\ninit_file 0\n"
    instance = block(text, "vrrp_instance lvs_ipv4")
    assert block(instance, "track_interface") == "front weight -10\nmgmt\n"
    assert block(instance, "track_script") == "uplink\n"
    assert block(instance, "track_process") == "bird\n"
    assert block(instance, "track_file") == "hold\nload\n"
    assert 'notify_master "/usr/bin/page master"\n' in instance
    assert "notify \"/usr/bin/log 'a b'\" nobody\n" in instance
    assert (result.credentials, result.secret) == (False, True)


def test_text_of_the_users_own_may_hold_anything() -> None:
    assert not configuration([WEB]).secret
    assert configuration([WEB], extra_config="virtual_server 192.0.2.99 80 {}\n").secret


def test_what_is_global() -> None:
    text = configuration(
        [WEB],
        garp_repeat=2,
        garp_delay=0,
        garp_refresh=60,
        garp_interval=0.01,
        realtime_priority=50,
        script_user="checks",
        tls={"certificate": "/etc/ssl/c.pem", "password": "x y"},
        extra_config="static_routes {\n}\n\n",
    ).text
    told = block(text, "global_defs")
    for line in (
        "vrrp_garp_master_repeat 2",
        "vrrp_garp_master_delay 0",
        "vrrp_garp_master_refresh 60",
        "vrrp_garp_interval 0.01",
        "vrrp_gna_interval 0.01",
        "vrrp_rt_priority 50",
        "vrrp_rlimit_rttime 4294967294",
        "vrrp_no_swap",
        "script_user checks",
    ):
        assert f"{line}\n" in told
    assert block(text, "SSL") == 'certificate /etc/ssl/c.pem\npassword "x y"\n'
    assert text.endswith("}\nstatic_routes {\n}\n")


# -- connection sync -------------------------------------------------------------------------------------------


def test_connection_sync() -> None:
    one = configuration(
        [WEB],
        sync_id=7,
        sync_maximum_length=1400,
        sync_multicast_port=8849,
        sync_multicast_ttl=2,
        sync_multicast_group="ff02::81",
    )
    options = {"maximum_length": 1400, "multicast_port": 8849, "multicast_ttl": 2, "multicast_group": "ff02::81"}
    told = {"interface": "back", "id": 7, **options}
    assert one.sync_daemons == [{"role": "master", **told}, {"role": "backup", **told}]
    assert "sync" not in one.text
    # The kernel has no shorter buffer for what comes.
    short = configuration([WEB], sync_maximum_length=100).sync_daemons
    assert [daemon.get("maximum_length") for daemon in short] == [100, None]


@pytest.mark.parametrize("services", [[WEB], [{"fwmark": 7, "real_servers": [{"group": "web"}]}]])
def test_every_director_sends_and_receives(services: list[dict[str, Any]]) -> None:
    told = {"interface": "back", "id": 40}
    assert configuration(services).sync_daemons == [{"role": "master", **told}, {"role": "backup", **told}]


def test_a_director_that_serves_as_well_is_told_whether_it_is_the_backup() -> None:
    """Its net.ipv4.vs.backup_only lets its table rest while it has a daemon that receives."""
    groups = {"web": ["web1", "lb1"]}
    one = configuration(
        [{**WEB, "forwarding": "direct"}], groups=groups, sync_maximum_length=1400, sync_multicast_group="ff02::81"
    )
    assert one.sync_daemons == []
    assert "    lvs_sync_daemon back inst lvs_ipv4 id 40 maxlen 1400 group ff02::81\n" in one.text
    # It is known at a restart only.
    assert one.restart != configuration([{**WEB, "forwarding": "direct"}], groups=groups).restart
    for services, host in (([{**WEB, "forwarding": "direct"}], "lb2"), ([WEB], "lb1")):
        networks = {"back": ["198.51.100.11/24", "198.51.100.12/24"], "front": ["192.0.2.11/24"]}
        other = configuration(services, host, groups=groups, interfaces=networks)
        assert len(other.sync_daemons) == 2
        assert "lvs_sync_daemon" not in other.text


def test_no_sync() -> None:
    assert configuration([WEB], sync=False).sync_daemons == []


def test_the_kernel_syncs_no_real_servers_of_another_family() -> None:
    mixed = {**WEB, "forwarding": "tunnel", "real_servers": [{"address": "2001:db8:b::21"}]}
    assert [finding.split(",")[0] for finding in findings([mixed])] == [
        "lvs_services[0] (web).real_servers: 2001:db8:b::21 is not of the service's family"
    ]
    assert configuration([mixed], sync=False)


# -- ids -------------------------------------------------------------------------------------------------------


def test_ids_are_of_the_names_and_of_nothing_else() -> None:
    """Another run on another machine, with another Python, must find the same: pinned."""
    one = configuration([WEB])
    assert ids(one) == (134, 40)
    networks = ["192.0.2.12/24", "2001:db8:f::12/64", "198.51.100.12/24", "2001:db8:b::12/64"]
    other = configuration([WEB6, PLAIN], "lb2", interfaces={"x": networks})
    assert ids(other) == (134, 40)


@pytest.mark.parametrize("what", ["router_id", "sync_id"])
def test_ids_are_in_range_and_spread(what: str) -> None:
    numbers = [_keepalived.derived_id(what, f"cluster{n}") for n in range(5000)]
    assert set(numbers) == set(range(1, 256))


def test_a_named_cluster() -> None:
    hosts = {"lb1": {"lvs_cluster": "berlin"}, "lb2": {"lvs_cluster": "berlin"}}
    one = configuration([WEB], hosts=hosts)
    assert ids(one) == tuple(_keepalived.derived_id(what, "berlin") for what in ("router_id", "sync_id"))
    assert ids(one) != ids(configuration([WEB]))


FLEET_GROUPS = {"all": ["lb1", "lb2", "lb3", "lb4"], "directors": ["lb1", "lb2", "lb3", "lb4"]}


def fleet(first: str, second: str) -> dict[str, dict[str, Any]]:
    return {
        "lb1": {"lvs_cluster": first},
        "lb2": {"lvs_cluster": first},
        "lb3": {"lvs_cluster": second, "lvs_address": "198.51.100.13"},
        "lb4": {"lvs_cluster": second, "lvs_address": "198.51.100.14"},
    }


def colliding(what: str, other: str) -> tuple[str, str]:
    """Two names with one id, which do not share the other one."""
    seen: dict[int, str] = {}
    for number in range(5000):
        name = f"c{number}"
        first = seen.setdefault(_keepalived.derived_id(what, name), name)
        if first != name and _keepalived.derived_id(other, first) != _keepalived.derived_id(other, name):
            return first, name
    raise AssertionError("no collision among 5000 names")


def test_directors_of_another_cluster_are_no_peers() -> None:
    text = configuration([WEB], hosts=fleet("a", "b"), groups=FLEET_GROUPS).text
    assert block(text, "unicast_peer") == "198.51.100.12\n"


@pytest.mark.parametrize(("what", "other"), [("router_id", "sync_id"), ("sync_id", "router_id")])
def test_two_clusters_with_one_id_are_refused(what: str, other: str) -> None:
    first, second = colliding(what, other)
    hosts = fleet(first, second)
    number = _keepalived.derived_id(what, first)
    assert findings([WEB], hosts=hosts, groups=FLEET_GROUPS) == [
        f"keepalived_{what}: is {number} for the cluster {first} and for the cluster {second}: set it for one of them"
    ]
    # The way out that the message names.
    for name in ("lb3", "lb4"):
        hosts[name][f"keepalived_{what}"] = number % 255 + 1
    assert configuration([WEB], hosts=hosts, groups=FLEET_GROUPS)


def test_a_director_that_alone_says_something_else_is_refused() -> None:
    differs = "keepalived_router_id: differs between the directors lb1 and lb2"
    hosts = {"lb1": {"keepalived_router_id": 9, "keepalived_unicast": "yes", "keepalived_priority": 150}}
    (finding,) = findings([WEB], hosts=hosts, router_id=9, priority=150)
    assert finding.startswith(differs)
    # What a play says for all of them is of no host.
    assert configuration([WEB], router_id=9)


def test_directors_that_do_not_agree_are_refused() -> None:
    assert findings([WEB], hosts={"lb2": {"keepalived_router_id": 9, "keepalived_advert_interval": 1.0}}) == [
        "keepalived_router_id: differs between the directors lb1 and lb2: as a group variable of all of them it cannot",
        "keepalived_advert_interval: differs between the directors lb1 and lb2:"
        " as a group variable of all of them it cannot",
    ]


# -- services --------------------------------------------------------------------------------------------------


def virtual_server(**words: Any) -> list[str]:
    """The lines of a service that are not about its check and its real servers."""
    service = {**WEB, **words}
    if "fwmark" in words:
        for option in ("protocol", "address", "port"):
            del service[option]
    text = configuration([service], addresses=["192.0.2.10"]).text
    found = re.search(r"^(virtual_server .*) {\n((?: .*\n)*)}", text, re.MULTILINE)
    assert found
    lines = [line.strip() for line in found[2].split("    real_server")[0].splitlines()]
    return [found[1], *lines[: lines.index("delay_loop 2")]]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ({}, ["virtual_server 192.0.2.10 80", "protocol TCP", "lvs_sched wlc", "lvs_method NAT"]),
        ({"protocol": "sctp", "port": 132, "scheduler": "rr"}, ["virtual_server 192.0.2.10 132", "protocol SCTP", "lvs_sched rr", "lvs_method NAT"]),
        ({"protocol": "udp", "one_packet": True}, ["virtual_server 192.0.2.10 80", "protocol UDP", "lvs_sched wlc", "ops", "lvs_method NAT"]),
        (
            {"port": 0, "persistence_timeout": 60, "persistence_netmask": 24, "forwarding": "direct", "health_check": {"tcp": {"port": 22}}},
            ["virtual_server 192.0.2.10", "protocol TCP", "lvs_sched wlc", "lvs_method DR", "persistence_timeout 60", "persistence_granularity 255.255.255.0"],
        ),
        (
            {"protocol": "udp", "persistence_timeout": 60, "persistence_netmask": "255.0.255.0", "persistence_engine": "sip"},
            ["virtual_server 192.0.2.10 80", "protocol UDP", "lvs_sched wlc", "lvs_method NAT", "persistence_timeout 60",
             "persistence_granularity 255.0.255.0", "persistence_engine sip"],
        ),
        (
            {"scheduler": "sh", "scheduler_flags": ["sh-port", "flag-3", "flag-1"]},
            ["virtual_server 192.0.2.10 80", "protocol TCP", "lvs_sched sh", "sh-fallback", "sh-port", "flag-3", "lvs_method NAT"],
        ),
        ({"scheduler": "mh", "scheduler_flags": ["mh-port"]}, ["virtual_server 192.0.2.10 80", "protocol TCP", "lvs_sched mh", "mh-port", "lvs_method NAT"]),
        ({"forwarding": "tunnel"}, ["virtual_server 192.0.2.10 80", "protocol TCP", "lvs_sched wlc", "lvs_method TUN type ipip"]),
        (
            {"forwarding": "tunnel", "tunnel": {"type": "gue", "port": 6080, "checksum": "remcsum"}},
            ["virtual_server 192.0.2.10 80", "protocol TCP", "lvs_sched wlc", "lvs_method TUN type gue port 6080 remcsum"],
        ),
        (
            {"forwarding": "tunnel", "tunnel": {"type": "gre"}},
            ["virtual_server 192.0.2.10 80", "protocol TCP", "lvs_sched wlc", "lvs_method TUN type gre nocsum"],
        ),
        (
            {"fwmark": 7, "health_check": {"ping": {}}},
            ["virtual_server fwmark 7", "ip_family inet", "lvs_sched wlc", "lvs_method NAT"],
        ),
        (
            {"fwmark": 7, "family": "ipv6", "persistence_timeout": 9, "persistence_netmask": 64, "health_check": {"ping": {}}},
            ["virtual_server fwmark 7", "ip_family inet6", "lvs_sched wlc", "lvs_method NAT", "persistence_timeout 9", "persistence_granularity 64"],
        ),
    ],
)  # fmt: skip
def test_every_word_of_a_service(words: dict[str, Any], lines: list[str]) -> None:
    assert virtual_server(**words) == lines


def test_every_word_of_a_real_server() -> None:
    servers = [
        {"address": "198.51.100.31", "port": 8080, "weight": 0, "upper_threshold": 9, "lower_threshold": 3},
        {"address": "2001:db8:b::32", "forwarding": "tunnel", "tunnel": {"type": "gue", "port": 6080}},
    ]
    text = configuration([{**WEB, "real_servers": servers}], sync=False).text
    assert block(text, "real_server 198.51.100.31 8080").startswith("weight 0\nuthreshold 9\nlthreshold 3\nTCP_CHECK")
    assert block(text, "real_server 2001:db8:b::32 80").startswith(
        "weight 1\nlvs_method TUN type gue port 6080 nocsum\nTCP_CHECK"
    )


def test_real_servers_of_a_mark_keep_their_port_by_masquerade_only() -> None:
    mark = {"fwmark": 7, "real_servers": [{"address": "198.51.100.31", "port": 8080}], "health_check": {"tcp": {}}}
    assert "real_server 198.51.100.31 8080 {" in configuration([mark]).text
    assert findings([{**mark, "forwarding": "direct"}]) == [
        "lvs_services[0].real_servers (host 198.51.100.31).port: 8080:"
        " forwarding direct leaves a fwmark service's ports as they are"
    ]


def test_watched_files_are_declared_before_they_are_used() -> None:
    text = configuration([{**WEB, "health_check": {"file": {"path": "/run/lvs/{host}"}}}]).text
    for host in ("web1", "web2"):
        assert block(text, f"track_file /run/lvs/{host}") == f"file /run/lvs/{host}\nweight 0\n"
        assert text.index(f"track_file /run/lvs/{host} {{") < text.index(f"track_file /run/lvs/{host}\n")


@pytest.mark.parametrize(
    ("check", "trusting"),
    [
        ({"tcp": {}}, True),
        ({"script": {"command": "/c"}, "ping": {"alpha": False}}, True),
        ({"tcp": {}, "alpha": True}, False),
        ({"tcp": {"alpha": False}, "alpha": True}, True),
        ({"tcp": {}, "ping": {"alpha": "yes"}}, False),
        ({"tcp": {}, "file": {"path": "/f"}}, False),
    ],
)
def test_what_a_start_may_find_in_the_kernel(check: dict[str, Any], trusting: bool) -> None:
    """keepalived adds no server that it takes to be ill, and does not remove one that is there all the same."""
    lines = configuration([{**WEB, "health_check": check}]).text.splitlines()
    notes = [line.removeprefix("#ipvs ") for line in lines if line.startswith("#ipvs ")]
    servers = ["-a -t 192.0.2.10:80 -r 198.51.100.21:80 -m -w 1", "-a -t 192.0.2.10:80 -r 198.51.100.22:80 -m -w 2"]
    assert notes == ["-A -t 192.0.2.10:80 -s wlc", *(servers if trusting else [])]


# -- what a restart is for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "restart"),
    [
        ({"services": [WEB, {**WEB, "name": "more", "port": 8080}]}, False),
        ({"services": [{**WEB, "scheduler": "rr", "health_check": {"ping": {}}}]}, False),
        ({"advert_interval": 1.0, "priority": 3, "hold_file": "/x", "garp_refresh": 5, "extra_config": "# a\n"}, False),
        ({"sync": False}, False),
        ({"sync_maximum_length": 1400}, False),
        ({"services": [{**WEB, "real_servers": [{"group": "web", "upper_threshold": 5}]}]}, True),
        ({"extra_config": "net_namespace blue\n"}, True),
    ],
)
def test_what_needs_a_restart(change: dict[str, Any], restart: bool) -> None:
    services = change.pop("services", [WEB])
    one, other = configuration(services, **change), configuration([WEB])
    assert (one.restart != other.restart) == restart
    for each in (one, other):
        assert each.text.splitlines()[0] == f"#start {each.restart}"


# -- what is let go of -----------------------------------------------------------------------------------------


def test_what_keepalived_lets_go_of_is_somebody_elses_or_nobodys() -> None:
    services = [WEB, {**WEB, "name": "more", "port": 81}, {**WEB6, "port": 82}, {**WEB, "name": "last", "port": 83}]
    services[1]["scheduler"] = "sh"
    check = {"tcp": {"port": 80}}
    mark = {"name": "mark", "fwmark": 3000000000, "real_servers": WEB["real_servers"], "health_check": check}
    had = configuration([*services, mark]).text.splitlines()

    def left(declared: list[dict[str, Any]], had: list[str]) -> _keepalived.Left:
        return _keepalived.left(_cluster.services(declared, GROUPS, HOSTS), had)

    assert left([*services, mark], had) == ([], [])
    assert left([], []) == ([], [])
    gone = [{key: value for key, value in service.items() if key != "health_check"} for service in (services[1], mark)]
    assert left([WEB, *gone, {**PLAIN, "port": 99}], had) == (
        ["-t 192.0.2.10:81", "-f 3000000000"],
        ["-t [2001:db8:f::10]:82", "-t 192.0.2.10:83"],
    )


# -- what is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        ({"advert_interval": 0.001}, "keepalived_advert_interval: 0.001 is not a number of seconds from 0.01 to 40.95"),
        ({"advert_interval": 41}, "keepalived_advert_interval: 41 is not a number of seconds from 0.01 to 40.95"),
        ({"vrrp_version": 2, "advert_interval": 1.5}, "keepalived_advert_interval: VRRP version 2 counts whole seconds"),
        ({"vrrp_version": 4}, "keepalived_vrrp_version: 4 is not 2 or 3"),
        ({"auth_password": "x"}, "keepalived_auth_password: only version 2 of VRRP has a password"),
        ({"vrrp_version": 2, "advert_interval": 1, "auth_password": "123456789"}, "keepalived_auth_password: VRRP sends the first eight"),
        ({"preempt_delay": 1}, "keepalived_preempt_delay: has no effect without keepalived_preempt"),
        ({"router_id": 256}, "keepalived_router_id: 256 is not an integer from 0 to 255"),
        ({"priority": 255}, "keepalived_priority: 255 is not an integer from 0 to 254"),
        ({"sync_id": -1}, "keepalived_sync_id: -1 is not an integer from 0 to 255"),
        ({"sync_multicast_group": "192.0.2.1"}, "keepalived_sync_multicast_group: '192.0.2.1' is not an IPv4 or IPv6 multicast address"),
        ({"sync_maximum_length": 65508}, "keepalived_sync_maximum_length: 65508 is not an integer from 0 to 65507"),
        ({"realtime_priority": 100}, "keepalived_realtime_priority: 100 is not an integer from 0 to 99"),
        ({"script_user": "lvs-script adm"}, "keepalived_script_user: 'lvs-script adm' is not the name of one user"),
        ({"addresses": ["192.0.2.300"]}, "keepalived_addresses[0]: '192.0.2.300' is not an IPv4 or IPv6 address"),
        ({"addresses": ["192.0.2.20/33"]}, "keepalived_addresses[0]: '33' is not an integer from 1 to 32"),
        ({"addresses": ["203.0.113.1"]}, "keepalived_addresses[0]: no interface of lb1 is in the network of 203.0.113.1"),
        ({"addresses": [{"adress": "x"}]}, "keepalived_addresses[0].adress: there is no such option here"),
        ({"interface": "no way"}, "lvs_services: 'no way' is not the name of an interface"),
        ({"interface": ".."}, "lvs_services: '..' is not the name of an interface"),
        ({"interface": "a;b"}, "lvs_services: 'a;b' is not the name of an interface that keepalived can read"),
        ({"track_interfaces": [{"name": "a", "weight": 254}]}, "keepalived_track_interfaces[0].weight: 254 is not an integer"),
        ({"track_scripts": [{"name": "a b", "command": "/x"}]}, "keepalived_track_scripts[0].name: 'a b' is not a name"),
        ({"track_scripts": [{"name": "a"}]}, "keepalived_track_scripts[0].command: is required"),
        ({"track_scripts": [{"name": "a", "command": "/x"}] * 2}, "keepalived_track_scripts[1].name: is the name of keepalived_track_scripts[0]"),
        ({"track_processes": [{"name": "a", "process": "x", "quorum": 0}]}, "keepalived_track_processes[0].quorum: 0 is not an integer"),
        ({"notify": {"master": "page"}}, "keepalived_notify.master: does not begin with an absolute path"),
        ({"notify": {"slave": "/x"}}, "keepalived_notify.slave: there is no such option here"),
        ({"tls": {"cert": "/x"}}, "keepalived_tls.cert: there is no such option here"),
        ({"script_user": "a:b"}, "keepalived_script_user: 'a:b' is not 'USER' or 'USER GROUP'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(options: dict[str, Any], finding: str) -> None:
    found = findings([WEB], **options)
    assert [one for one in found if one.startswith(finding)], found


@pytest.mark.parametrize(
    ("words", "finding"),
    [
        ({"health_check": {"http": {"status": 42}}}, "lvs_services[0] (web).health_check.http.status: 42 is not a status"),
        ({"health_check": {"http": [{}, {"sni": 1}]}}, "lvs_services[0] (web).health_check.http[1].sni: there is no such"),
        ({"health_check": {}}, "lvs_services[0] (web).health_check: names no check"),
        ({"real_servers": []}, "lvs_services[0] (web).real_servers: keepalived cannot hold a service without one"),
        ({"scheduler": "lblcx"}, "lvs_services[0] (web).scheduler: keepalived does not know 'lblcx'"),
        ({"protocol": "udp", "persistence_engine": "sip"}, "lvs_services[0] (web).persistence_engine: has no effect"),
    ],
)  # fmt: skip
def test_a_wrong_service_is_named(words: dict[str, Any], finding: str) -> None:
    assert findings([{**WEB, **words}])[0].startswith(finding)


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = {**WEB, "name": "other", "port": 81, "health_check": {"tcp": {"port": 0}}}
    assert len(findings([{**WEB, "health_check": {}}, wrong], router_id=300, preempt_delay=3)) == 4


@pytest.mark.parametrize(
    ("case", "finding"),
    [
        ({"host": "web1"}, 'groups: web1 is not in the group "directors"'),
        ({"hosts": {"lb2": {"lvs_address": None}}}, "host lb2: lvs_address: is needed for unicast VRRP"),
        ({"interfaces": {"eth0": ["192.0.2.11/24"]}}, "host lb1: 198.51.100.11 is its lvs_address, but no interface has it"),
        ({"hosts": {"lb1": {"lvs_gateway": "203.0.113.1"}}}, "lvs_gateway: no interface of lb1 is in the network of 203.0.113.1"),
    ],
)  # fmt: skip
def test_a_wrong_inventory_is_named(case: dict[str, Any], finding: str) -> None:
    found = findings([WEB], **case)
    assert [one for one in found if one.startswith(finding)], found


def test_virtual_addresses_of_ipv6_need_addresses_of_the_directors() -> None:
    found = findings([WEB6], hosts={"lb2": {"lvs_address6": None}})
    assert found[0].startswith("host lb2: lvs_address6: is needed for unicast VRRP")
    assert configuration([WEB6], hosts={"lb2": {"lvs_address6": None}}, unicast=False)


def test_interfaces_as_ip_shows_them() -> None:
    shown: list[dict[str, Any]] = [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
        {"ifname": "front", "addr_info": [{"local": "192.0.2.11", "prefixlen": 24}, {"local": "fe80::1", "prefixlen": 64}]},
        {"ifname": "idle", "addr_info": []},
        {"ifname": "tun0", "addr_info": [{"prefixlen": 0}]},
        {},
    ]  # fmt: skip
    assert _keepalived.interfaces_of(shown) == {
        "lo": ["127.0.0.1/8"],
        "front": ["192.0.2.11/24", "fe80::1/64"],
        "idle": [],
        "tun0": [],
    }
