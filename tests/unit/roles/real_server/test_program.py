# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that makes the network of a real server, without a network."""

from __future__ import annotations

import importlib.util
import json
import re
import typing as t
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[4] / "roles" / "real_server" / "files" / "lvs-ipvs-real-server.py"
SPEC = importlib.util.spec_from_file_location("lvs_ipvs_real_server", FILE)
assert SPEC
assert SPEC.loader
program = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(program)

Route, Rule = program.Route, program.Rule
MASQUERADE = {
    "addresses": {"198.51.100.21": ["tcp 80", "udp 5000-5009"]},
    "gateway": "198.51.100.11",
    "table": 4780,
    "priority": 4700,
}
LINKS: list[dict[str, t.Any]] = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "front", "addr_info": [{"local": "192.0.2.21", "prefixlen": 24}]},
    {
        "ifname": "back",
        "addr_info": [
            {"local": "198.51.100.21", "prefixlen": 24},
            {"local": "2001:db8:b::21", "prefixlen": 64},
        ],
    },
    {"ifname": "down"},
]
ROUTES = [Route(4780, "198.51.100.0/24", "back"), Route(4780, "default", "back", "198.51.100.11")]
GATEWAY = "real_server_gateway, lvs_gateway or the director's address: "
RULES = [
    *(
        Rule(4701, "198.51.100.21", 4780, only)
        for only in ("ipproto 6 sport 80", "ipproto 17 sport 5000-5009", "ipproto 1 dport 768-1023")
    ),
    Rule(32768, "198.51.100.21", 4780),
]
WHOLE = [Rule(4700, "198.51.100.21", 4780)]


def test_the_table_holds_the_network_of_the_address_and_the_way_to_the_director_only() -> None:
    assert program.wanted(MASQUERADE, LINKS) == (ROUTES, RULES)


def test_two_addresses_share_the_routes() -> None:
    links = [*LINKS, {"ifname": "other", "addr_info": [{"local": "203.0.113.5", "prefixlen": 25}]}]
    routes, rules = program.wanted({**MASQUERADE, "addresses": {"203.0.113.5": [], "198.51.100.21": []}}, links)
    assert routes == [Route(4780, "203.0.113.0/25", "other"), *ROUTES]
    assert [rule.source for rule in rules] == ["203.0.113.5", "198.51.100.21"]


@pytest.mark.parametrize("ports", [[], ["tcp 80", "tcp 65535"], ["sctp 65000-65535"]])
def test_a_service_of_every_port_takes_the_whole_address_and_so_does_the_port_that_no_rule_can_name(
    ports: list[str],
) -> None:
    assert program.wanted({**MASQUERADE, "addresses": {"198.51.100.21": ports}}, LINKS) == (ROUTES, WHOLE)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"addresses": {"198.51.100.99": []}},
            "lvs_address or lvs_address6: no interface of this host has 198.51.100.99",
        ),
        ({"gateway": "203.0.113.1"}, f"{GATEWAY}203.0.113.1 is not on the network of 198.51.100.21"),
        ({"gateway": "198.51.100.21"}, f"{GATEWAY}198.51.100.21 is this host's own address"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(program.Problem) as caught:
        program.wanted({**MASQUERADE, **change}, LINKS)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("routes", "rules", "steps"),
    [
        (ROUTES, RULES, []),
        (
            [],
            [],
            [
                "route replace 198.51.100.0/24 dev back table 4780 proto 76",
                "route replace default via 198.51.100.11 dev back table 4780 proto 76",
                "rule add priority 4701 from 198.51.100.21 ipproto 6 sport 80 table 4780 protocol 76",
                "rule add priority 4701 from 198.51.100.21 ipproto 17 sport 5000-5009 table 4780 protocol 76",
                "rule add priority 4701 from 198.51.100.21 ipproto 1 dport 768-1023 table 4780 protocol 76",
                "rule add priority 32768 from 198.51.100.21 table 4780 protocol 76",
            ],
        ),
        # As an earlier version of the role left it: what is new comes first.
        (
            ROUTES,
            WHOLE,
            [
                *(f"rule add {rule} protocol 76" for rule in RULES),
                "rule del priority 4700 from 198.51.100.21 table 4780 protocol 76",
            ],
        ),
        (
            [ROUTES[0], Route(4780, "default", "back", "198.51.100.12")],
            RULES,
            ["route replace default via 198.51.100.11 dev back table 4780 proto 76"],
        ),
        (
            [*ROUTES, Route(4781, "default", "front", "192.0.2.1")],
            [*RULES, Rule(9, "198.51.100.7", 4781)],
            [
                "rule del priority 9 from 198.51.100.7 table 4781 protocol 76",
                "route del default via 192.0.2.1 dev front table 4781 proto 76",
            ],
        ),
    ],
)
def test_only_what_differs_is_done_and_a_rule_never_points_to_an_incomplete_table(
    routes: list[t.Any], rules: list[t.Any], steps: list[str]
) -> None:
    planned = program.Steps()
    program.plan_routes((routes, rules), (ROUTES, RULES), 76, "ip -4", planned)
    assert planned.make + planned.take == [f"ip -4 {step}" for step in steps]


def test_another_gateway_waits_with_what_is_taken_off_where_replies_go_by_one_already() -> None:
    former = [ROUTES[0], Route(4780, "default", "back", "198.51.100.12")]
    planned = program.Steps()
    program.plan_routes((former, []), (ROUTES, RULES), 76, "ip -4", planned)
    assert planned.take == ["ip -4 route replace default via 198.51.100.11 dev back table 4780 proto 76"]
    assert planned.make == [f"ip -4 rule add {rule} protocol 76" for rule in RULES]


def test_rules_of_others_are_not_ours() -> None:
    ours = {"priority": 4701, "src": "198.51.100.21", "table": "4780", "protocol": "76"}
    told = [
        {"priority": 0, "src": "all", "table": "255"},
        {"priority": 4700, "src": "198.51.100.21", "table": "4780", "protocol": "76"},
        {"priority": 4701, "src": "198.51.100.21", "table": "4780", "protocol": "77"},
        {**ours, "ipproto": "ipproto-6", "sport": 80},
        {**ours, "ipproto": "ipproto-17", "sport_start": 5000, "sport_end": 5009},
        {**ours, "ipproto": "ipproto-1", "dport_start": 768, "dport_end": 1023},
        {**ours, "priority": 32768},
    ]
    assert program.parse_rules(told, 76) == [*WHOLE, *RULES]


MASQUERADE6 = {**MASQUERADE, "addresses": {}, "gateway": ""}
CONFIGURATION = {
    "mark": 76,
    "masquerade": {"ipv4": MASQUERADE, "ipv6": MASQUERADE6},
    "direct": [],
    "tunnel": [],
    "mtu": 0,
}


class FakeHost:
    """A host that does what it is told: its commands, its sysctls and its files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.fails = ""
        #: What was done, in order.
        self.done: list[str] = []
        self.links: list[dict[str, t.Any]] = [{**link, "mtu": 1500, "group": "0"} for link in LINKS]
        self.routes: list[dict[str, t.Any]] = []
        self.ports: list[dict[str, t.Any]] = []
        self.rules = ""
        self.lacks: set[str] = set()
        self.sysctl("all/arp_ignore", 0)
        self.sysctl("all/arp_announce", 0)
        for name in ("all", "front", "back"):
            self.sysctl(f"{name}/rp_filter", 0)
        (folder / "modules").mkdir()
        (folder / "sys/net/ipv6").mkdir()
        monkeypatch.setattr(program, "SYSCTLS", folder / "sys")
        monkeypatch.setattr(program, "MODULES", folder / "modules")
        monkeypatch.setattr(program, "FILE", folder / "state.json")
        monkeypatch.setattr(program, "LOCKS", folder / "locks")
        monkeypatch.setattr(program.subprocess, "run", self)

    def sysctl(self, name: str, value: int | None = None) -> int:
        path = self.folder / "sys/net/ipv4/conf" / name
        if value is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n", encoding="ascii")
        return int(path.read_text(encoding="ascii"))

    def has(self, name: str, kind: str, *addresses: str, **data: t.Any) -> None:
        """Give it a device of ours."""
        self.sysctl(f"{name}/rp_filter", 2)
        told = [
            {"family": "inet6", "local": address, "prefixlen": 128, "scope": "0", "deprecated": True}
            if ":" in address
            else {"family": "inet", "local": address, "prefixlen": 32, "scope": "254"}
            for address in addresses
        ]
        # As the kernel adds to a sit device.
        told.append({"family": "inet6", "local": "::198.51.100.21", "prefixlen": 96, "scope": "0"})
        info = {"info_kind": kind, "info_data": data}
        self.links.append({"ifname": name, "group": "76", "flags": ["UP"], "linkinfo": info, "addr_info": told})

    def __call__(self, command: list[str], **given: t.Any) -> t.Any:
        code, told = 0, ""
        if "-batch" in command:
            code = 1 if self.fails else 0
            tool = " ".join(command[: command.index("-batch")])
            self.done += [f"{tool} {line}" for line in given["input"].splitlines()]
        elif command[0] == "ip":
            asked = {"-d": self.links, "fou": self.ports, "route": self.routes if command[3] == "-4" else []}
            told = json.dumps(next((asked[word] for word in command if word in asked), []))
        elif command[0] == "modprobe" and "--dry-run" in command:
            code = int(command[-1] in self.lacks)
        elif command[:2] == ["nft", "list"]:
            code, told = (0, self.rules) if self.rules else (1, "")
        elif command[0] == "unshare":
            code, told = (1, "") if "Error: " in self.fails else (0, shown(given["input"]))
        elif command == ["nft", "-f", "-"]:
            self.done.append(f"nft {given['input']}")
        elif command[0] != "udevadm":
            self.done.append(" ".join(command))
        return program.subprocess.CompletedProcess(command, code, told, self.fails)


def shown(rules: str) -> str:
    """As nft tells a table: a rule to the line, and what a chain is for on one."""
    rules = rules.rpartition("table inet")[2]
    rules = (
        re.sub(r"(?<!filter)(?<!mangle); ", "\n", rules).replace("{ type", "{\ntype").replace("accept\n", "accept;\n")
    )
    return f"table inet{rules}".replace("ver { chain", "ver {\nchain")


@pytest.fixture(name="host")
def _host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(program.sys, "argv", ["program", *arguments])
    return t.cast(int, program.main())


def test_a_run_takes_its_steps_and_tells_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, host: FakeHost
) -> None:
    file = tmp_path / "configuration.json"
    file.write_text(json.dumps(CONFIGURATION), encoding="utf-8")
    assert run(monkeypatch, str(file)) == 0
    assert len(host.done) == len(ROUTES) + len(RULES)
    assert capsys.readouterr().out.splitlines() == host.done


def test_check_mode_tells_the_same_steps_and_takes_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: FakeHost
) -> None:
    assert run(monkeypatch, "--check", json.dumps(configuration(direct=[WEB]))) == 0
    assert host.done == []
    assert host.sysctl("all/arp_ignore") == 0
    assert not program.FILE.exists()
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_a_run_waits_for_another_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: FakeHost
) -> None:
    monkeypatch.setattr(program, "PATIENCE", 0.2)
    with program.alone():
        assert run(monkeypatch, json.dumps(CONFIGURATION)) == 1
    assert capsys.readouterr().err == (
        f"lvs-ipvs-real-server: another run has kept {host.folder}/locks/lock for 0.2 seconds\n"
    )
    assert host.done == []
    # Who could open it could lock it.
    assert (host.folder / "locks").stat().st_mode & 0o777 == 0o700
    assert run(monkeypatch, json.dumps(CONFIGURATION)) == 0


@pytest.mark.parametrize("wait", [0, 0.1])
@pytest.mark.usefixtures("host")
def test_a_problem_is_one_line_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wait: float
) -> None:
    missing = {**CONFIGURATION, "masquerade": {"ipv4": {**MASQUERADE, "addresses": {"198.51.100.9": []}}}}
    assert run(monkeypatch, "--wait", str(wait), json.dumps(missing)) == 1
    assert capsys.readouterr().err == (
        "lvs-ipvs-real-server: lvs_address or lvs_address6: no interface of this host has 198.51.100.9\n"
    )


def test_what_ip_says_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: FakeHost
) -> None:
    host.fails = "RTNETLINK answers: Operation not permitted"
    assert run(monkeypatch, json.dumps(CONFIGURATION)) == 1
    assert "Operation not permitted" in capsys.readouterr().err


def test_an_address_may_come_late_at_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter([program.Problem("not yet"), program.Problem("not yet"), []])

    def converge(*given: t.Any) -> list[str]:
        outcome = next(late)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(program, "converge", converge)
    monkeypatch.setattr(program.time, "sleep", lambda seconds: None)
    assert run(monkeypatch, "--wait", "60", json.dumps(CONFIGURATION)) == 0


# -- direct ----------------------------------------------------------------------------------------------

WEB = {
    "name": "web",
    "family": "ipv4",
    "addresses": ["192.0.2.10"],
    "server_address": "198.51.100.21",
    "directors": ["198.51.100.12", "198.51.100.11"],
    "tunnel": None,
}
WEB6 = {
    **WEB,
    "name": "web6",
    "family": "ipv6",
    "addresses": ["2001:db8:f::10"],
    "server_address": "2001:db8:b::21",
    "directors": ["2001:db8:b::11"],
}


def configuration(**parts: t.Any) -> dict[str, t.Any]:
    """Nothing but what is said."""
    return {**CONFIGURATION, "masquerade": {"ipv4": MASQUERADE6, "ipv6": MASQUERADE6}, **parts}


def arp(ignore: int, announce: int) -> list[str]:
    """The commands, in either direction."""
    return [f"sysctl --write net/ipv4/conf/all/{name}" for name in (f"arp_ignore={ignore}", f"arp_announce={announce}")]


def test_arp_is_told_before_the_first_address_is_there(host: FakeHost) -> None:
    steps = program.converge(configuration(direct=[WEB, WEB6]))
    assert steps == [
        *arp(1, 2),
        "ip link add lvs-vip group 76 type dummy",
        "ip link set lvs-vip addrgenmode none",
        "sysctl --write net/ipv4/conf/lvs-vip/rp_filter=2",
        "ip link set lvs-vip up",
        "ip address replace 192.0.2.10/32 dev lvs-vip scope host",
        "ip address replace 2001:db8:f::10/128 dev lvs-vip nodad preferred_lft 0",
    ]


@pytest.fixture(name="lvs_vip", autouse=True)
def _lvs_vip(host: FakeHost) -> None:
    """A device has sysctls once it is there; the fake cannot tell when."""
    for name in ("lvs-vip", "lvs-ipip", "lvs-gre", "lvs-sit", "lvs-ip6tnl", "lvs-ip6gre", "lvs-ipip2", "lvs-gre2"):
        host.sysctl(f"{name}/rp_filter", 0)


def test_a_host_without_ipv6_is_not_asked_for_it(host: FakeHost) -> None:
    (program.SYSCTLS / "net/ipv6").rmdir()
    assert not [step for step in program.converge(configuration(direct=[WEB])) if "addrgenmode" in step]


def test_ipv6_alone_leaves_arp_as_it_is(host: FakeHost) -> None:
    assert not [step for step in program.converge(configuration(direct=[WEB6])) if "arp" in step]


def test_what_is_right_is_left_alone_and_what_is_more_too(host: FakeHost) -> None:
    host.sysctl("all/arp_ignore", 2)
    host.sysctl("all/arp_announce", 2)
    host.has("lvs-vip", "dummy", "192.0.2.10")
    assert program.converge(configuration(direct=[WEB])) == []
    assert not program.FILE.exists()


@pytest.mark.parametrize(
    ("everywhere", "there", "then"), [(0, 0, 0), (0, 1, 2), (1, 0, 2), (1, 1, 2), (1, 2, 2), (2, 1, 1)]
)
def test_a_strict_reverse_path_filter_becomes_loose_and_comes_back(
    host: FakeHost, everywhere: int, there: int, then: int
) -> None:
    host.sysctl("all/rp_filter", everywhere)
    host.sysctl("back/rp_filter", there)
    program.converge(configuration(direct=[WEB]))
    assert (host.sysctl("all/rp_filter"), host.sysctl("back/rp_filter")) == (everywhere, then)
    program.converge(configuration())
    assert host.sysctl("back/rp_filter") == there


@pytest.mark.parametrize(("ports", "then"), [(["tcp 80"], 2), ([], 1)])
def test_it_is_loose_for_what_answers_a_packet_without_ports(host: FakeHost, ports: list[str], then: int) -> None:
    host.sysctl("back/rp_filter", 1)
    wanted = {**MASQUERADE, "addresses": {"198.51.100.21": ports}}
    program.converge(configuration(masquerade={"ipv4": wanted, "ipv6": MASQUERADE6}))
    assert host.sysctl("back/rp_filter") == then
    program.converge(configuration())
    assert host.sysctl("back/rp_filter") == 1


def test_sysctls_come_back_unless_another_has_set_them_since(host: FakeHost) -> None:
    program.converge(configuration(direct=[WEB]))
    assert (host.sysctl("all/arp_ignore"), host.sysctl("all/arp_announce")) == (1, 2)
    host.sysctl("all/arp_announce", 1)
    assert program.converge(configuration()) == [arp(0, 0)[0]]
    assert (host.sysctl("all/arp_ignore"), host.sysctl("all/arp_announce")) == (0, 1)
    assert not program.FILE.exists()


def test_a_sysctl_that_was_put_right_again_goes_back_to_what_it_first_was(host: FakeHost) -> None:
    host.sysctl("all/arp_announce", 1)
    for dummy in range(2):
        program.converge(configuration(direct=[WEB]))
        host.sysctl("all/arp_announce", 0)
    program.converge(configuration(direct=[WEB]))
    program.converge(configuration())
    assert host.sysctl("all/arp_announce") == 1


def test_what_is_not_wanted_goes_the_other_way_round_and_others_have_theirs(host: FakeHost) -> None:
    program.converge(configuration(direct=[WEB]))
    host.has("lvs-vip", "dummy", "192.0.2.10")
    host.links.append({"ifname": "dummy0", "group": "76", "linkinfo": {"info_kind": "dummy"}, "addr_info": []})
    host.links.append({"ifname": "lvs-theirs", "group": "0", "linkinfo": {"info_kind": "dummy"}, "addr_info": []})
    assert program.converge(configuration()) == ["ip link del lvs-vip", *arp(0, 0)]


def test_an_address_goes_and_the_device_stays_for_the_others(host: FakeHost) -> None:
    program.converge(configuration(direct=[WEB]))
    host.has("lvs-vip", "dummy", "192.0.2.10", "192.0.2.11")
    assert program.converge(configuration(direct=[WEB])) == ["ip address del 192.0.2.11/32 dev lvs-vip"]


def test_what_is_kept_is_told_and_stays(host: FakeHost) -> None:
    program.converge(configuration(direct=[WEB]))
    host.has("lvs-vip", "dummy", "192.0.2.10")
    told = program.converge(configuration(), keep=True)
    assert told == [f"kept: {step}" for step in ("ip link del lvs-vip", *arp(0, 0))]
    assert host.sysctl("all/arp_ignore") == 1
    # It is not forgotten either.
    assert program.converge(configuration())[1:] == arp(0, 0)


def test_a_module_that_the_kernel_lacks_is_named_with_the_option(host: FakeHost) -> None:
    host.lacks = {"dummy"}
    with pytest.raises(
        program.Problem, match=r"lvs_services \(web\)\.forwarding: direct needs the kernel module dummy, "
    ):
        program.converge(configuration(direct=[WEB]))
    (program.MODULES / "dummy").mkdir()
    assert program.converge(configuration(direct=[WEB]), check=True)


# -- tunnel ----------------------------------------------------------------------------------------------


def tunnel(service: dict[str, t.Any], kind: str, overhead: int = 20, **more: t.Any) -> dict[str, t.Any]:
    words = {"type": kind, "port": 6080 if kind == "gue" else 0, "checksum": "none", "overhead": overhead}
    return {**service, "tunnel": {**words, **more}}


@pytest.mark.parametrize(
    ("service", "server", "kind", "device"),
    [
        (WEB, "198.51.100.21", "ipip", "lvs-ipip group 76 type ipip local 198.51.100.21"),
        (WEB6, "198.51.100.21", "ipip", "lvs-sit group 76 type sit local 198.51.100.21"),
        (
            WEB,
            "2001:db8:b::21",
            "ipip",
            "lvs-ip6tnl group 76 type ip6tnl mode any local 2001:db8:b::21",
        ),
        (
            WEB6,
            "2001:db8:b::21",
            "gue",
            "lvs-ip6tnl group 76 type ip6tnl mode any local 2001:db8:b::21",
        ),
        (WEB, "198.51.100.21", "gue", "lvs-ipip group 76 type ipip local 198.51.100.21"),
        (WEB6, "198.51.100.21", "gre", "lvs-gre group 76 type gre local 198.51.100.21"),
        (WEB, "2001:db8:b::21", "gre", "lvs-ip6gre group 76 type ip6gre local 2001:db8:b::21"),
    ],
)
def test_each_tunnel_has_its_device(
    host: FakeHost, service: dict[str, t.Any], server: str, kind: str, device: str
) -> None:
    steps = program.converge(configuration(tunnel=[{**tunnel(service, kind), "server_address": server}]))
    assert [step for step in steps if step.startswith("ip link add")] == [f"ip link add {device}"]
    name = device.split()[0]
    (address,) = service["addresses"]
    added = next(step for step in steps if step.startswith(f"ip address replace {address}/"))
    assert f" dev {name} " in added
    ports = {"198.51.100.21": "6080 local 198.51.100.21", "2001:db8:b::21": "6080 -6 local 2001:db8:b::21"}
    assert [step for step in steps if " fou " in step] == (
        [f"ip fou add port {ports[server]} gue"] if kind == "gue" else []
    )


NFT = (
    "table inet lvs_ipvs_real_server; delete table inet lvs_ipvs_real_server; table inet lvs_ipvs_real_server {"
    " chain arriving { type filter hook input priority filter; policy accept;"
    " ip daddr 198.51.100.21 meta l4proto 4 ip saddr != { 198.51.100.11, 198.51.100.12 } drop;"
    " ip daddr 198.51.100.21 udp dport 6080 ip saddr != { 198.51.100.11, 198.51.100.12 } drop;"
    " }; chain leaving { type filter hook output priority mangle; policy accept;"
    " ip saddr { 192.0.2.10 } tcp flags & (syn | ack) == (syn | ack) tcp option maxseg size set 1428; }; }"
)


def test_only_directors_are_heard_and_clients_are_told_the_size_before_the_device_is_there(host: FakeHost) -> None:
    steps = program.converge(configuration(tunnel=[tunnel(WEB, "gue", 32)]))
    assert f"nft {NFT}" in host.done
    assert steps.index(f"nft {program.shlex.quote(NFT)}") < steps.index("ip fou add port 6080 local 198.51.100.21 gue")
    assert steps.index("ip fou add port 6080 local 198.51.100.21 gue") < next(
        number for number, step in enumerate(steps) if step.startswith("ip link add")
    )


def test_rules_that_are_right_are_left_alone(host: FakeHost) -> None:
    host.rules = shown(NFT)
    host.ports = [{"port": 6080, "gue": None, "family": "inet", "local": "198.51.100.21"}]
    (program.MODULES / "fou").mkdir()
    host.has("lvs-ipip", "ipip", "192.0.2.10", local="198.51.100.21")
    host.sysctl("all/arp_ignore", 1)
    host.sysctl("all/arp_announce", 2)
    assert program.converge(configuration(tunnel=[tunnel(WEB, "gue", 32)])) == []
    # A port that was there before is not ours to close.
    gone = program.converge(configuration())
    assert gone == ["ip link del lvs-ipip", "nft delete table inet lvs_ipvs_real_server"]


def test_a_device_that_is_not_up_yet_is_finished_first(host: FakeHost) -> None:
    host.has("lvs-ipip", "ipip", local="198.51.100.21")
    host.links[-1]["flags"] = []
    host.sysctl("lvs-ipip/rp_filter", 0)
    wanted = [
        "ip link set lvs-ipip addrgenmode none",
        "sysctl --write net/ipv4/conf/lvs-ipip/rp_filter=2",
        "ip link set lvs-ipip up",
    ]
    steps = program.converge(configuration(tunnel=[tunnel(WEB, "ipip")]), check=True)
    assert steps[-4:-1] == wanted
    host.sysctl("lvs-ipip/rp_filter", 2)
    steps = program.converge(configuration(tunnel=[tunnel(WEB, "ipip")]), check=True)
    assert steps[-2:-1] == [wanted[2]]
    assert wanted[1] not in steps


def test_gue_by_ipv6_alone_takes_both_modules(host: FakeHost) -> None:
    program.converge(configuration(tunnel=[tunnel(WEB6, "gue", 52)]))
    assert [step for step in host.done if step.startswith("modprobe")] == ["modprobe fou", "modprobe fou6"]


def test_a_port_of_ours_is_closed_between_the_device_and_the_rules(host: FakeHost) -> None:
    program.converge(configuration(tunnel=[tunnel(WEB, "gue", 32)]))
    assert "modprobe fou" in host.done
    host.rules = shown(NFT)
    host.ports = [{"port": 6080, "gue": None, "family": "inet", "local": "198.51.100.21"}]
    (program.MODULES / "fou").mkdir()
    host.has("lvs-ipip", "ipip", "192.0.2.10", local="198.51.100.21")
    assert program.converge(configuration()) == [
        "ip link del lvs-ipip",
        "ip fou del port 6080 local 198.51.100.21",
        "nft delete table inet lvs_ipvs_real_server",
        *arp(0, 0),
    ]
    assert not program.FILE.exists()


def test_rules_that_only_become_fewer_wait_for_the_devices(host: FakeHost) -> None:
    host.rules = shown(NFT)
    told = program.converge(configuration(tunnel=[{**tunnel(WEB, "ipip", 32)}]), keep=True)
    assert [step[:9] for step in told if "nft" in step] == ["kept: nft"]


def test_rules_serve_the_old_way_and_the_new_until_the_directors_are_done(host: FakeHost) -> None:
    host.rules = shown(NFT)
    wanted = tunnel({**WEB, "directors": ["198.51.100.11", "198.51.100.13"]}, "ipip", 20)
    program.converge(configuration(tunnel=[wanted]), keep=True)
    (both,) = [step for step in host.done if step.startswith("nft ")]
    # A director that is gone by the inventory may still send; by the old way as well, and clients have to leave it room.
    assert both == "nft " + NFT.replace(
        "meta l4proto 4 ip saddr != { 198.51.100.11, 198.51.100.12 }",
        "meta l4proto 4 ip saddr != { 198.51.100.11, 198.51.100.12, 198.51.100.13 }",
    ).replace(
        "chain leaving { type filter hook output priority mangle; policy accept;",
        "chain leaving { type filter hook output priority mangle; policy accept;"
        " ip saddr { 192.0.2.10 } tcp flags & (syn | ack) == (syn | ack) tcp option maxseg size set 1440;",
    )
    host.rules = shown(both[4:])
    host.done.clear()
    # Another run has nothing to do until then.
    program.converge(configuration(tunnel=[wanted]), keep=True)
    assert not [step for step in host.done if step.startswith("nft ")]
    program.converge(configuration(tunnel=[wanted]))
    (then,) = [step for step in host.done if step.startswith("nft ")]
    assert "6080" not in then
    assert "198.51.100.12" not in then
    assert "1428" not in then


def test_the_smallest_room_of_an_address_is_told(host: FakeHost) -> None:
    wide, narrow = tunnel(WEB, "ipip"), tunnel({**WEB, "name": "other"}, "gre", 24)
    rules = program.firewall([wide, narrow], host.links, 0)
    assert "ip saddr { 192.0.2.10 } tcp flags & (syn | ack) == (syn | ack) tcp option maxseg size set 1436;" in rules
    assert rules.count("maxseg") == 1
    assert "size set 1320;" in program.firewall([tunnel(WEB6, "ipip", 20)], host.links, 1400)


@pytest.mark.parametrize("keep", [True, False])
def test_another_checksum_is_refused_while_the_device_is_there(host: FakeHost, keep: bool) -> None:
    """Whoever changes first, directors and real server, what is sent until the other has is lost."""
    host.has("lvs-gre", "gre", "192.0.2.10", local="198.51.100.21")
    with pytest.raises(
        program.Problem,
        match=r"lvs_services \(web\)\.tunnel\.checksum: lvs-gre takes packets without at 198\.51\.100\.21, and no host takes both:",
    ):
        program.converge(configuration(tunnel=[tunnel(WEB, "gre", 28, checksum="csum")]), keep=keep)
    assert host.done == []


def test_two_checksums_at_one_address_are_refused() -> None:
    services = [tunnel(WEB, "gre"), tunnel({**WEB, "name": "other"}, "gre", checksum="csum")]
    with pytest.raises(program.Problem, match=r"lvs_services \(other\)\.tunnel\.checksum: web has another"):
        program.by_device(services)


def test_rules_that_the_kernel_cannot_have_are_told_before_the_first_change(host: FakeHost) -> None:
    host.fails = (
        "/dev/stdin:1:7-9: Error: Could not process rule: Operation not supported\ntable inet\n^^^^\nError: and so on\n"
    )
    with pytest.raises(
        program.Problem,
        match=r"^forwarding: tunnel needs rules that nft does not take here: Error: Could not process rule: Operation not supported$",
    ):
        program.converge(configuration(tunnel=[tunnel(WEB, "ipip")]))
    assert host.done == []


def test_a_second_end_gets_a_second_device(host: FakeHost) -> None:
    other = {**tunnel(WEB, "ipip"), "server_address": "192.0.2.21"}
    steps = program.converge(configuration(tunnel=[tunnel(WEB, "ipip"), other]))
    assert [step.split()[3] for step in steps if " link add" in step] == ["lvs-ipip", "lvs-ipip2"]


@pytest.mark.parametrize(("kind", "module"), [("gue", "fou"), ("gre", "ip_gre"), ("ipip", "ipip")])
def test_a_module_for_a_tunnel_is_named_with_the_option(host: FakeHost, kind: str, module: str) -> None:
    host.lacks = {module}
    with pytest.raises(
        program.Problem, match=rf"lvs_services \(web\)\.tunnel\.type: {kind} needs the kernel module {module}, "
    ):
        program.converge(configuration(tunnel=[tunnel(WEB, kind)]))
    assert host.done == []


def test_a_tunnel_that_no_director_can_begin_is_refused(host: FakeHost) -> None:
    with pytest.raises(
        program.Problem,
        match=r"\(web\)\.forwarding: the tunnel ends at 2001:db8:b::21, and no director has an lvs_address6",
    ):
        program.converge(
            configuration(tunnel=[{**tunnel(WEB, "ipip"), "server_address": "2001:db8:b::21", "directors": []}])
        )
