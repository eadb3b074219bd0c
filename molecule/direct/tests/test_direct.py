# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct forwarding: real servers answer for the virtual addresses, and only the director tells of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from lvs_testing import (
    CHECKOUT,
    CLIENT,
    CLIENT6,
    FILES,
    INVENTORY,
    VIP,
    VIP6,
    Site,
    begin,
    client_seen,
    do,
    inventory_of,
    inventory_without,
    ipvsadm,
    requests_through,
    site,
    url,
    watched,
)

SERVERS = {"web1": "21", "web2": "22", "web3": "23"}
SHOP = "192.0.2.15"
SERVICES = CHECKOUT / "molecule" / "direct" / "services" / "group_vars" / "all" / "lvs.yml"
#: What the role makes of a real server, told by tools that are none of ours.
SERVER = """
ip -o address show | grep -E 'lvs-|192[.]0[.]2[.]1[05]|:10/128' | sed 's/^[0-9]*: //; s/ *\\\\.*//'
sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce net.ipv4.conf.back.rp_filter
ip rule | grep -c 4780
"""
SERVER += FILES.replace(";", " -type f | sort")
AS_BEFORE = [f"net.ipv4.conf.{name} = 0" for name in ("all.arp_ignore", "all.arp_announce", "back.rp_filter")]


@pytest.mark.parametrize("director", ["lb1", "lb2"])
def test_each_director_has_the_table(director: str) -> None:
    four, six = f"-t {VIP}:80", f"-t [{VIP6}]:80"
    assert ipvsadm(director) == sorted(
        [
            *(f"-A {service} -s rr" for service in (four, six, f"-t {VIP}:81")),
            *(f"-a {four} -r 198.51.100.{octet}:80 -g -w 1" for octet in SERVERS.values()),
            *(f"-a {six} -r [2001:db8:b::{octet}]:80 -g -w 1" for octet in SERVERS.values()),
            *(f"-a -t {VIP}:81 -r 198.51.100.{octet}:8080 -m -w 1" for octet in SERVERS.values()),
            "-A -f 7 -s rr -p 300",
            *(f"-a -f 7 -r 198.51.100.{octet}:0 -g -w 1" for octet in SERVERS.values()),
        ]
    )


@pytest.mark.parametrize(("address", "port", "client"), [(VIP, 80, CLIENT), (VIP6, 80, CLIENT6), (VIP, 81, CLIENT)])
def test_requests_spread_and_servers_see_the_client(address: str, port: int, client: str) -> None:
    # web1 and web2 filter reverse paths.
    assert requests_through("client", address, 30, port) == {"web1": 10, "web2": 10, "web3": 10}
    assert client_seen("client", address, port) == client


def test_a_client_has_one_server_for_all_ports_of_a_mark() -> None:
    told = do("client", "; ".join(f"curl -s --max-time 5 '{url(SHOP, port)}'" for port in (80, 8080))).split()
    assert len(told) == 2
    assert len(set(told)) == 1
    assert told[0] in SERVERS


def test_a_download_comes_whole() -> None:
    for address in (VIP, VIP6):
        told = do("client", f"curl -s --max-time 60 -o /dev/null -w '%{{size_download}}' '{url(address, 80, '/10M')}'")
        assert told == str(10 * 1024 * 1024)


def test_only_the_director_tells_of_the_addresses() -> None:
    told = do(
        "client",
        f"arping -b -c 3 -w 3 -I front {VIP}; ip neigh flush dev front; ping -c 1 -W 2 {VIP6}; ip -6 neigh show {VIP6}",
    )
    # lb1 has .11 on front.
    assert set(re.findall(r"\[(\S+)\]|lladdr (\S+)", told.lower())) == {
        ("02:00:00:00:02:0b", ""),
        ("", "02:00:00:00:02:0b"),
    }


def test_real_servers_begin_nothing_from_the_addresses() -> None:
    told = do("web1", f"ip route get {CLIENT}; ip -6 route get {CLIENT6}; ip -6 route get 2001:db8:b::11")
    assert re.findall(r" src (\S+)", told) == ["192.0.2.21", "2001:db8:f::21", "2001:db8:b::21"]


def test_sysctls_are_as_they_have_to_be_and_no_stricter_than_before() -> None:
    names = " ".join(
        f"net.ipv4.conf.{name}" for name in ("all.arp_ignore", "all.arp_announce", "all.rp_filter", "back.rp_filter")
    )
    sysctls = {server: [int(line) for line in do(server, f"sysctl -n {names}").split()] for server in SERVERS}
    assert sysctls == {"web1": [1, 2, 1, 2], "web2": [1, 2, 0, 2], "web3": [1, 2, 0, 0]}


def test_the_unit_makes_it_again_and_touches_nothing_that_is_right() -> None:
    before = do("web1", SERVER)
    # As after a boot, but for what the file in /run remembers.
    do(
        "web1",
        "ip link del lvs-vip; rm /run/lvs-ipvs-real-server.json; sysctl -q net.ipv4.conf.all.arp_ignore=0"
        " net.ipv4.conf.all.arp_announce=0 net.ipv4.conf.back.rp_filter=0; systemctl restart lvs-ipvs-real-server",
    )
    assert do("web1", SERVER) == before
    assert requests_through("client", VIP, 3) == {"web1": 1, "web2": 1, "web3": 1}
    assert watched("web1", "systemctl restart lvs-ipvs-real-server") == ""


def test_what_a_host_cannot_be_is_refused_with_its_name_and_the_option(tmp_path: Path) -> None:
    text = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
    web = text["all"]["children"]["web"]["hosts"]
    web["web1"]["lvs_address"] = "198.51.100.99"
    web["web2"]["real_server_gateway"] = "203.0.113.1"
    services = yaml.safe_load(SERVICES.read_text(encoding="utf-8"))["lvs_services"]
    tunneled = {
        "name": "tunneled",
        "protocol": "tcp",
        "address": "192.0.2.32",
        "port": 80,
        "forwarding": "tunnel",
        "tunnel": {"type": "gue", "port": 6080},
        "real_servers": [{"address": "198.51.100.23"}],
    }
    # A kernel without modules.
    do("web3", "mv /lib/modules/$(uname -r) /lib/modules/hidden")
    try:
        run = begin("site", inventory=inventory_of(tmp_path, text), lvs_services=[*services, tunneled])
        told, errors = run.communicate()
    finally:
        do("web3", "mv /lib/modules/hidden /lib/modules/$(uname -r)")
    assert run.returncode != 0, errors
    refused = Site(json.loads(told[told.find("{") :]))
    messages = {name: result["msg"] for name, task, result in refused.tasks if result.get("failed")}
    assert {name: " ".join(message.split()) for name, message in messages.items()} == {
        "web1": "web1: lvs_address or lvs_address6: no interface of this host has 198.51.100.99",
        "web2": "web2: real_server_gateway, lvs_gateway or the director's address: 203.0.113.1 is not on the network of 198.51.100.22",
        "web3": "web3: lvs_services (tunneled).tunnel.type: gue needs the kernel module fou, which this kernel "
        f"({do('web3', 'uname -r').strip()}) does not have",
    }
    assert refused.changed() == {}
    assert requests_through("client", VIP, 3) == {"web1": 1, "web2": 1, "web3": 1}


def test_who_does_not_answer_gets_weight_once_it_does() -> None:
    services = yaml.safe_load(SERVICES.read_text(encoding="utf-8"))["lvs_services"]
    server = "-a -t 192.0.2.10:80 -r 198.51.100.21:80 -g -w"
    # As one that is new.
    do("lb1", f"ipvsadm {server.replace('-a', '-e')} 0")
    do("web1", "systemctl stop nginx")
    run = site(services, limit="lb1")
    (told,) = [result["msg"] for _name, task, result in run.tasks if "Say which real servers" in task]
    assert told[:-1] == [
        "web (tcp 192.0.2.10:80): real server web1 (198.51.100.21:80): stays at weight 0: connection refused"
    ]
    assert f"{server} 0" in ipvsadm("lb1")
    do("web1", "systemctl start nginx")
    site(services, limit="lb1")
    assert f"{server} 1" in ipvsadm("lb1")


def test_what_leaves_the_inventory_leaves_the_hosts(tmp_path: Path) -> None:
    # Of others, and like ours.
    do("web2", f"ip link add lvs-theirs type dummy; ip address add {SHOP}/32 dev lo")
    services = yaml.safe_load(SERVICES.read_text(encoding="utf-8"))["lvs_services"]
    masqueraded = [
        service for service in services if service["forwarding"] == "masquerade" or service["name"] == "web6"
    ]
    site(masqueraded, inventory=inventory_without(tmp_path, "web", "web3"))
    assert requests_through("client", VIP, 4, 81) == {"web1": 2, "web2": 2}
    assert requests_through("client", VIP6, 4) == {"web1": 2, "web2": 2}
    # IPv6 is still direct.
    address, *sysctls = do("web1", SERVER).splitlines()[:4]
    assert address.startswith(f"lvs-vip    inet6 {VIP6}/128 ")
    # What is masqueraded needs it loose, too.
    assert sysctls == [*AS_BEFORE[:2], "net.ipv4.conf.back.rp_filter = 2"]
    # The host that serves nothing has nothing.
    assert do("web3", SERVER).splitlines() == [*AS_BEFORE, "0"]
    assert do("web3", "ip -br link").count("lvs-") == 0
    assert f"{SHOP}/32 scope global lo" in do(
        "web2", "ip -d link show lvs-theirs; ip address show lo; ip link del lvs-theirs"
    )
