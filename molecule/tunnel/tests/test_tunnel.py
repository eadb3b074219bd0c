# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of tunnel, with full-size segments both ways; then one service that changes its method."""

from __future__ import annotations

import re
import subprocess
import typing as t

import pytest
from lvs_testing import CHECKOUT, CLIENT, CLIENT6, VIP, client_seen, do, ipvsadm, requests_through, site, url, watched

SERVERS = {"web1": "21", "web2": "22", "web3": "23"}
#: How each virtual address is reached: the way its real servers are written, and the words of ipvsadm.
FOUR, SIX = "198.51.100.{}:80", "[2001:db8:b::{}]:80"
TUNNELS = {
    "192.0.2.31": (FOUR, "--tun-type ipip"),
    "192.0.2.32": (FOUR, "--tun-type gue --tun-port 6080 --tun-csum"),
    "192.0.2.33": (FOUR, "--tun-type gre --tun-csum"),
    "192.0.2.34": (SIX, "--tun-type ipip"),
    "2001:db8:f::31": (SIX, "--tun-type ipip"),
    "2001:db8:f::32": (SIX, "--tun-type gue --tun-port 6080 --tun-nocsum"),
    "2001:db8:f::33": (SIX, "--tun-type gre --tun-nocsum"),
    "2001:db8:f::34": (FOUR, "--tun-type ipip"),
}
#: What the role makes of a real server, told by tools that are none of ours.
SERVER = """
ip -o address show group 76 | sed 's/^[0-9]*: //; s/ *\\\\.*//' | sort
ip fou show | sort
nft list tables
nft list table inet lvs_ipvs_real_server 2>/dev/null
sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce net.ipv4.conf.all.rp_filter net.ipv4.conf.back.rp_filter
ip rule; ip -6 rule
ip route get 192.0.2.100; ip -6 route get 2001:db8:f::100; ip -6 route get 2001:db8:b::11
"""


@pytest.mark.parametrize("director", ["lb1", "lb2"])
def test_each_director_has_the_table(director: str) -> None:
    expected = []
    for address, (server, words) in TUNNELS.items():
        service = f"-t {f'[{address}]' if ':' in address else address}:80"
        expected.append(f"-A {service} -s rr")
        expected += [f"-a {service} -r {server.format(octet)} -i -w 1 {words}" for octet in SERVERS.values()]
    assert ipvsadm(director) == sorted(expected)


@pytest.mark.parametrize("address", TUNNELS)
def test_requests_spread_and_servers_see_the_client(address: str) -> None:
    # web1 and web2 filter reverse paths.
    assert requests_through("client", address, 6) == {"web1": 2, "web2": 2, "web3": 2}
    assert client_seen("client", address) == (CLIENT6 if ":" in address else CLIENT)


def test_full_size_transfers_pass_both_ways_where_nobody_hears_of_the_mtu() -> None:
    each = [f"'{url(address)}'" for address in TUNNELS]
    told = do(
        "client",
        # Packets as they are on the wire, and what tells of a smaller MTU is lost, as firewalls lose it.
        "ethtool -K front tso off gso off gro off >/dev/null; nft 'table inet deaf { chain in { type filter hook input priority 0;"
        " icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; } }'; head -c 900000 /dev/zero > /tmp/900k;"
        + "".join(
            f"curl -s --max-time 60 -o /dev/null -w '%{{http_code}} %{{size_upload}}\\n' --data-binary @/tmp/900k {address};"
            for address in each
        )
        + "nft delete table inet deaf; ethtool -K front tso on gso on gro on >/dev/null;"
        + "".join(
            f"curl -s --max-time 60 -o /dev/null -w '%{{http_code}} %{{size_download}}\\n' {url(address, 80, '/10M')};"
            for address in TUNNELS
        ),
    )
    assert told.splitlines() == ["200 900000"] * len(TUNNELS) + ["200 10485760"] * len(TUNNELS)


#: Sends a ping within GUE to web1, as a director would, and tells whether there was an answer. Not every kernel that takes
#: packets out of GUE has tunnel devices that put them in.
PING = f"""
import socket, struct
def with_sum(data, at):
    total = sum(struct.unpack(f"!{{len(data) // 2}}H", data))
    total = (total >> 16) + (total & 65535)
    return data[:at] + struct.pack("!H", ~(total + (total >> 16)) & 65535) + data[at + 2:]
ping = with_sum(struct.pack("!BBHHH", 8, 0, 0, 77, 1) + b"hello!", 2)
ends = socket.inet_aton("{CLIENT}") + socket.inet_aton("192.0.2.32")
packet = with_sum(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(ping), 1, 0, 64, 1, 0) + ends, 10) + ping
answers = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
answers.settimeout(3)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes([0, 4, 0, 0]) + packet, ("198.51.100.21", 6080))
try:
    print(answers.recvfrom(200)[1][0])
except TimeoutError:
    print("nobody")
"""
#: The client sends what a director would send: a device for each kind of tunnel, and the address that is asked through it.
FORGED = {
    "192.0.2.31": "type ipip remote 198.51.100.21 local 192.0.2.100",
    "192.0.2.33": "type gre ocsum remote 198.51.100.21 local 192.0.2.100",
    "192.0.2.34": "type ip6tnl mode any encaplimit none remote 2001:db8:b::21 local 2001:db8:f::100",
    "2001:db8:f::33": "type ip6gre encaplimit none remote 2001:db8:b::21 local 2001:db8:f::100",
    "2001:db8:f::34": "type sit remote 198.51.100.21 local 192.0.2.100",
}


def test_only_directors_are_heard() -> None:
    forge = "modprobe -a ipip ip_gre ip6_tunnel ip6_gre sit; ip route replace 198.51.100.21 via 192.0.2.21;"
    forge += "ip route replace 2001:db8:b::21 via 2001:db8:f::21;"
    for number, (address, words) in enumerate(FORGED.items()):
        source = CLIENT6 if ":" in address else CLIENT
        forge += f"ip link add forged{number} {words}; ip link set forged{number} up;"
        forge += f"ip route replace {address} dev forged{number} src {source};"
    ask = "".join(
        f"echo {address} $(curl -s --connect-timeout 3 '{url(address)}' || echo nobody) &" for address in FORGED
    )
    ask += f"echo GUE $(python3 - <<'END'\n{PING}\nEND\n) & wait"
    everything = [*FORGED, "GUE"]

    def answers() -> dict[str, str]:
        return dict(line.split() for line in do("client", ask).splitlines())

    do("client", forge)
    try:
        assert answers() == dict.fromkeys(everything, "nobody")
        # Nothing else is in the way.
        do("web1", "nft delete table inet lvs_ipvs_real_server")
        assert answers() == {**dict.fromkeys(FORGED, "web1"), "GUE": "192.0.2.32"}
    finally:
        do("web1", "systemctl restart lvs-ipvs-real-server")
    assert answers() == dict.fromkeys(everything, "nobody")
    do("client", "".join(f"ip link del forged{number};" for number in range(len(FORGED))))


def test_a_boot_brings_all_of_it_back() -> None:
    before = do("web1", SERVER)
    for part in (
        "lvs-ipip ",
        "lvs-sit ",
        "lvs-ip6tnl ",
        "lvs-gre ",
        "lvs-ip6gre ",
        "port 6080 gue -6",
        "size set 1440",
    ):
        assert part in before
    # Nothing begins from a virtual address.
    assert re.findall(r" src (\S+)", before) == ["192.0.2.21", "2001:db8:f::21", "2001:db8:b::21"]
    subprocess.run([CHECKOUT / "tests" / "lab" / "lab", "reboot", "web1"], check=True)
    do("web1", "systemctl is-system-running --wait || true")
    assert do("web1", "systemctl --failed --quiet") == ""
    assert do("web1", SERVER) == before
    assert requests_through("client", "192.0.2.31", 3) == {"web1": 1, "web2": 1, "web3": 1}


def test_a_second_start_touches_nothing() -> None:
    assert watched("web1", "systemctl restart lvs-ipvs-real-server") == ""


def test_rules_come_back_when_the_firewall_of_the_host_forgets_them() -> None:
    unit = "systemctl start lvs-ipvs-real-server"
    told = do(
        "web1",
        f"systemctl start nftables; systemctl restart nftables; {unit}; nft list tables;"
        # The unit follows by a job of its own.
        " echo reloaded; systemctl reload nftables; timeout 60 sh -c 'until nft list table inet lvs_ipvs_real_server; do sleep 0.2;"
        " done' >/dev/null 2>&1; nft list tables;"
        f" systemctl stop nftables; nft list tables; echo stopped; {unit}; nft list tables",
    )
    table = "table inet lvs_ipvs_real_server"
    both = ["table inet filter", table]
    assert told.splitlines() == [*both, "reloaded", *both, "stopped", table]


BY = {"masquerade": "-m", "direct": "-g", "tunnel": "-i"}


def clean(server: str) -> list[str]:
    """What is left of each method on a real server."""
    told = do(server, SERVER)
    signs = {
        "masquerade": "lookup 4780",
        "direct": "lvs-vip ",
        "tunnel": "lvs-ipip ",
        "other tunnels": "lvs-gre",
        "GUE": "port 6080",
        "rules": "lvs_ipvs_real_server",
        "sysctls": "arp_ignore = 1",
    }
    return [method for method, sign in signs.items() if sign in told]


@pytest.mark.parametrize(
    ("method", "signs"),
    [
        ("masquerade", ["masquerade"]),
        ("direct", ["direct", "sysctls"]),
        ("tunnel", ["tunnel", "rules", "sysctls"]),
    ],
)
def test_one_word_changes_the_method_and_leaves_nothing_of_the_former(method: str, signs: list[str]) -> None:
    service: dict[str, t.Any] = {"name": "web", "protocol": "tcp", "address": VIP, "port": 80, "scheduler": "rr"}
    # Those of the inventory go: more than a run removes unless it is said.
    site([{**service, "forwarding": method, "real_servers": [{"group": "web"}]}], director_purge_limit=100)
    words = BY[method] + " -w 1" + (" --tun-type ipip" if method == "tunnel" else "")
    for director in ("lb1", "lb2"):
        assert ipvsadm(director) == sorted(
            [
                f"-A -t {VIP}:80 -s rr",
                *(f"-a -t {VIP}:80 -r {FOUR.format(octet)} {words}" for octet in SERVERS.values()),
            ]
        )
    assert requests_through("client", VIP, 6) == {"web1": 2, "web2": 2, "web3": 2}
    assert client_seen("client", VIP) == CLIENT
    assert {server: clean(server) for server in SERVERS} == dict.fromkeys(SERVERS, signs)
    assert (
        do("web1", "sysctl -n net.ipv4.conf.all.arp_ignore net.ipv4.conf.back.rp_filter").split()
        == {
            "masquerade": ["0", "2"],
            "direct": ["1", "2"],
            "tunnel": ["1", "0"],
        }[method]
    )
