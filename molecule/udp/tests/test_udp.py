# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS, lines of syslog that are scheduled one by one, and SCTP, each with real clients."""

from __future__ import annotations

from collections import Counter

from lvs_testing import CLIENT, counters, do, ipvsadm

VIP = "192.0.2.15"
SERVERS = {"web1": "198.51.100.21", "web2": "198.51.100.22", "web3": "198.51.100.23"}

LINES = """
import socket
log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
log.connect(("192.0.2.15", 514))
for number in range(30):
    log.send(b"line %d" % number)
print(log.getsockname()[1])
"""
TALK = """
import socket
for _ in range(6):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as talk:
        talk.settimeout(10)
        talk.bind(("192.0.2.100", 0))
        talk.connect(("192.0.2.15", 7))
        print(talk.recv(100).decode(), end="")
"""


def python(program: str) -> str:
    return do("client", f"python3 - <<'END'\n{program}\nEND")


def test_the_table() -> None:
    table = set(ipvsadm("lb1"))
    for service, flags in ((f"-u {VIP}:53", ""), (f"-u {VIP}:514", " -o"), (f"--sctp-service {VIP}:7", "")):
        port = service.rpartition(":")[2]
        assert f"-A {service} -s rr{flags}" in table
        assert {f"-a {service} -r {address}:{port} -m -w 1" for address in SERVERS.values()} <= table


def test_dns_is_answered_by_all_servers() -> None:
    # Each question comes from a port of its own, and so is a connection of its own.
    asked = "; ".join(f"dig +short +tries=1 +time=5 @{VIP} who.lab txt" for _ in range(6))
    assert Counter(do("client", asked).replace('"', "").split()) == dict.fromkeys(SERVERS, 2)
    assert f"from {CLIENT}" in do("web1", "cat /var/log/dns.log")


def test_one_packet_services_spread_the_packets_of_one_client() -> None:
    port = python(LINES).strip()
    for server, address in SERVERS.items():
        heard = do(server, "cat /var/log/hear").splitlines()
        assert len(heard) == 10, (server, heard)
        assert {tuple(line.split()[:2]) for line in heard} == {(CLIENT, port)}
        assert counters("lb1")[f"UDP {VIP}:514 -> {address}:514"].packets_in == 10


def test_sctp() -> None:
    told = python(TALK).splitlines()
    assert Counter(told) == {f"{server} {CLIENT}": 2 for server in SERVERS}
