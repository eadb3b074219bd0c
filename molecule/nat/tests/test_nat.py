# SPDX-License-Identifier: GPL-3.0-or-later
"""The textbook cluster: http by masquerading. The tests build on one another, in this order."""

from __future__ import annotations

import typing as t
from collections import Counter
from pathlib import Path

import pytest
from lvs_testing import (
    CLIENT,
    FILES,
    NOBODY,
    VIP,
    client_seen,
    counters,
    declared,
    do,
    host,
    inventory_without,
    ipvsadm,
    requests_through,
    site,
    watched,
)

DIRECTORS = ("lb1", "lb2")
SERVERS = {"web1": "198.51.100.21", "web2": "198.51.100.22", "web3": "198.51.100.23"}


def table(scheduler: str, *servers: str) -> list[str]:
    """The table as ipvsadm saves it."""
    real_servers = [f"-a -t {VIP}:80 -r {SERVERS[server]}:80 -m -w 1" for server in servers or SERVERS]
    return sorted([f"-A -t {VIP}:80 -s {scheduler}", *real_servers])


def counter(server: str) -> str:
    return f"TCP {VIP}:80 -> {SERVERS[server]}:80"


def with_scheduler(scheduler: str) -> list[dict[str, t.Any]]:
    return [{**service, "scheduler": scheduler} for service in declared()]


@pytest.mark.parametrize("director", DIRECTORS)
def test_each_director_has_the_table(director: str) -> None:
    assert ipvsadm(director) == table("lc")


def test_one_director_holds_the_virtual_address() -> None:
    held = {director: do(director, f"ip -o addr show to {VIP}").split() for director in DIRECTORS}
    assert held["lb1"][1:4] == ["front", "inet", f"{VIP}/32"]
    assert held["lb2"] == []


def test_there_are_the_files_that_check_mode_does_not_leave() -> None:
    assert {"/etc/sysctl.d/90-lvs.ipvs.conf", "/var/lib/lvs.ipvs"} < set(do("lb1", FILES).splitlines())
    assert {"/etc/lvs-ipvs-real-server.json", "/usr/local/sbin/lvs-ipvs-real-server"} < set(
        do("web1", FILES).splitlines()
    )


def test_all_servers_answer_under_lc_and_see_the_client() -> None:
    answers = requests_through("client", VIP, 30)
    assert set(answers) == set(SERVERS), answers
    assert client_seen("client", VIP) == CLIENT


def test_replies_leave_through_the_director_and_management_as_before() -> None:
    service, ssh = (f"from {SERVERS['web1']} ipproto tcp sport {port} dport 40000" for port in (80, 22))
    client, neighbour, other, management = do(
        "web1",
        f"ip -o route get {CLIENT} {service}; ip -o route get {SERVERS['web2']} {service};"
        f" ip -o route get 203.0.113.9 {ssh}; ip -o route show default",
    ).splitlines()
    assert "via 198.51.100.11 dev back" in client
    assert "dev mgmt" in other
    assert "via" not in neighbour
    assert "dev back" in neighbour
    assert "dev mgmt" in management


def test_a_new_scheduler_is_one_step_and_the_counters_go_on() -> None:
    before = counters("lb1")
    run = site(with_scheduler("rr"), limit="lb1")
    assert len(run.steps("lb1")) == 1, run.steps("lb1")
    assert (ipvsadm("lb1"), ipvsadm("lb2")) == (table("rr"), table("lc"))
    after = counters("lb1")
    assert after == before
    assert after[counter("web1")].connections > 0


def test_requests_spread_evenly_under_rr() -> None:
    assert requests_through("client", VIP, 30) == {"web1": 10, "web2": 10, "web3": 10}


def test_a_stopped_web_server_is_not_hidden() -> None:
    do("web3", "systemctl stop nginx")
    try:
        answers = requests_through("client", VIP, 30)
    finally:
        do("web3", "systemctl start nginx")
    assert answers == {"web1": 10, "web2": 10, NOBODY: 10}
    assert ipvsadm("lb1") == table("rr")
    assert requests_through("client", VIP, 30) == {"web1": 10, "web2": 10, "web3": 10}


def test_a_second_run_repairs_what_others_changed_by_the_fewest_steps() -> None:
    service = f"-t {VIP}:80"
    do(
        "lb1",
        f"ipvsadm -e {service} -r {SERVERS['web1']}:80 -m -w 9 && ipvsadm -d {service} -r {SERVERS['web2']}:80"
        f" && ip addr del {VIP}/32 dev front && sysctl -q net.ipv4.ip_forward=0"
        " && ipvsadm -A -t 192.0.2.99:99 -s wrr && ipvsadm -a -t 192.0.2.99:99 -r 198.51.100.99 -m"
        # Root reads both at boot.
        " && chmod 666 /etc/modprobe.d/lvs.ipvs.conf && chown nobody /etc/sysctl.d/90-lvs.ipvs.conf",
    )
    program = "/usr/local/sbin/lvs-ipvs-real-server"
    do(
        "web2",
        f"ip rule del from {SERVERS['web2']} sport 80 && ip route add 203.0.113.0/24 dev back table 4780 && chmod 777 {program}",
    )
    checked = site(with_scheduler("rr"), check=True)
    run = site(with_scheduler("rr"))
    for director, number in (("lb1", 2), ("lb2", 1)):
        assert checked.steps(director) == run.steps(director)
        assert len(run.steps(director)) == number, run.steps(director)
    assert checked.changed() == run.changed() == {"lb1": 5, "lb2": 1, "web2": 2}
    files = "/etc/modprobe.d/lvs.ipvs.conf /etc/sysctl.d/90-lvs.ipvs.conf"
    assert do("lb1", f"stat --format='%a %U:%G' {files}").splitlines() == ["644 root:root"] * 2
    # What others made stays.
    others = ["-A -t 192.0.2.99:99 -s wrr", "-a -t 192.0.2.99:99 -r 198.51.100.99:99 -m -w 1"]
    assert ipvsadm("lb1") == sorted([*table("rr"), *others])
    left = do(
        "web2", f"ip route show table 4780; stat -c %a {program}; ip route flush table 4780 to root 203.0.113.0/24"
    )
    assert "203.0.113.0/24" in left
    assert left.endswith("755\n")
    do("lb1", "ipvsadm -D -t 192.0.2.99:99")
    assert requests_through("client", VIP, 30) == {"web1": 10, "web2": 10, "web3": 10}


def test_a_server_that_leaves_its_group_is_removed_by_one_step(tmp_path: Path) -> None:
    before = counters("lb1")
    run = site(with_scheduler("rr"), inventory=inventory_without(tmp_path, "web", "web2"))
    for director in DIRECTORS:
        assert len(run.steps(director)) == 1, run.steps(director)
        assert ipvsadm(director) == table("rr", "web1", "web3")
    after = counters("lb1")
    for server in ("web1", "web3"):
        assert after[counter(server)] == before[counter(server)]
        assert after[counter(server)].connections > 0
    assert requests_through("client", VIP, 30) == {"web1": 15, "web3": 15}
    # And of the host itself goes what made it a real server.
    left = do("web2", "ip rule; ip route show table all; find /etc /usr/local -name 'lvs-ipvs*'")
    assert SERVERS["web2"] + " lookup" not in left
    assert "4780" not in left
    assert "lvs-ipvs" not in left


def test_a_server_that_comes_back_serves_again() -> None:
    run = site(with_scheduler("rr"))
    assert {director: len(run.steps(director)) for director in DIRECTORS} == {"lb1": 1, "lb2": 1}
    answers = requests_through("client", VIP, 30)
    assert answers == Counter({"web1": 10, "web2": 10, "web3": 10})


def test_a_wrong_inventory_changes_nothing() -> None:
    wrong = [{**declared()[0], "scheduler": "wlc"}, {**declared()[0], "port": 81, "real_servers": [{"group": "wbe"}]}]
    with pytest.raises(AssertionError, match=r'lvs_services\[1\].*\.real_servers\[0\]\.group: there is no group "wbe"'):
        site(wrong)
    assert ipvsadm("lb1") == table("rr")


def test_a_virtual_address_that_another_host_has_is_not_taken() -> None:
    taken = {**declared()[0], "name": "taken", "address": CLIENT}
    with pytest.raises(AssertionError, match=rf"{CLIENT} is in use: \S+ answers for it on the link of front"):
        site([*with_scheduler("rr"), taken], limit="lb1")
    assert do("lb1", f"ip -o addr show to {CLIENT}") == ""
    site(with_scheduler("rr"), limit="lb1")
    assert ipvsadm("lb1") == table("rr")


def test_the_unit_makes_the_network_at_boot_and_drops_nothing() -> None:
    web1 = host("web1")
    assert web1.service("lvs-ipvs-real-server").is_enabled
    do(
        "web1",
        "ip rule flush protocol 76 && ip route flush table 4780 && systemctl restart lvs-ipvs-real-server",
    )
    assert requests_through("client", VIP, 3) == {"web1": 1, "web2": 1, "web3": 1}
    # Neither a stop nor a start touches what is right.
    assert watched("web1", "systemctl stop lvs-ipvs-real-server; systemctl start lvs-ipvs-real-server") == ""
