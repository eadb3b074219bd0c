# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that makes the network of a real server, without a network."""

from __future__ import annotations

import importlib.util
import json
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
MASQUERADE = {"addresses": ["198.51.100.21"], "gateway": "198.51.100.11", "table": 4780, "priority": 4700}
LINKS = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "front", "addr_info": [{"local": "192.0.2.21", "prefixlen": 24}]},
    {"ifname": "back", "addr_info": [{"local": "198.51.100.21", "prefixlen": 24}]},
    {"ifname": "down"},
]
ROUTES = [Route(4780, "198.51.100.0/24", "back"), Route(4780, "default", "back", "198.51.100.11")]
RULES = [Rule(4700, "198.51.100.21", 4780)]


def test_the_table_holds_the_network_of_the_address_and_the_way_to_the_director_only() -> None:
    assert program.wanted(MASQUERADE, LINKS) == (ROUTES, RULES)


def test_two_addresses_share_the_routes() -> None:
    links = [*LINKS, {"ifname": "other", "addr_info": [{"local": "203.0.113.5", "prefixlen": 25}]}]
    routes, rules = program.wanted({**MASQUERADE, "addresses": ["203.0.113.5", "198.51.100.21"]}, links)
    assert routes == [Route(4780, "203.0.113.0/25", "other"), *ROUTES]
    assert [rule.source for rule in rules] == ["203.0.113.5", "198.51.100.21"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"addresses": ["198.51.100.99"]}, "address 198.51.100.99: no interface of this host has it"),
        ({"gateway": "203.0.113.1"}, "gateway 203.0.113.1: is not on the network of 198.51.100.21"),
        ({"gateway": "198.51.100.21"}, "gateway 198.51.100.21: is this host's own address"),
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
                "rule add priority 4700 from 198.51.100.21 table 4780 protocol 76",
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
    assert program.plan((routes, rules), (ROUTES, RULES), 76) == steps


def test_rules_of_others_are_not_ours() -> None:
    told = [
        {"priority": 0, "src": "all", "table": "255"},
        {"priority": 4700, "src": "198.51.100.21", "table": "4780", "protocol": "76"},
        {"priority": 4701, "src": "198.51.100.21", "table": "4780", "protocol": "77"},
    ]
    assert program.parse_rules(told, 76) == RULES


class FakeIp:
    """ip(8) on a host that has the addresses and no route of ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
        self.batches: list[tuple[str, str]] = []
        self.fails = fails
        monkeypatch.setattr(program.subprocess, "run", self)

    def __call__(self, command: list[str], **given: t.Any) -> t.Any:
        if "-batch" in command:
            self.batches.append((command[1], given["input"]))
            return program.subprocess.CompletedProcess(command, 1 if self.fails else 0, "", self.fails)
        told = LINKS if command[4] == "addr" else []
        return program.subprocess.CompletedProcess(command, 0, json.dumps(told), "")


CONFIGURATION = {
    "protocol": 76,
    "masquerade": {"ipv4": MASQUERADE, "ipv6": {**MASQUERADE, "addresses": [], "gateway": ""}},
}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(program.sys, "argv", ["program", *arguments])
    return t.cast(int, program.main())


def test_a_run_takes_its_steps_in_one_process_a_family_and_tells_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ip = FakeIp(monkeypatch)
    file = tmp_path / "configuration.json"
    file.write_text(json.dumps(CONFIGURATION), encoding="utf-8")
    assert run(monkeypatch, str(file)) == 0
    ((family, batch),) = ip.batches
    assert family == "-4"
    assert capsys.readouterr().out == "".join(f"ip -4 {line}\n" for line in batch.splitlines())
    assert len(batch.splitlines()) == 3


def test_check_mode_tells_the_same_steps_and_takes_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ip = FakeIp(monkeypatch)
    assert run(monkeypatch, "--check", json.dumps(CONFIGURATION)) == 0
    assert ip.batches == []
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("wait", [0, 0.1])
def test_a_problem_is_one_line_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wait: float
) -> None:
    FakeIp(monkeypatch)
    missing = {**CONFIGURATION, "masquerade": {"ipv4": {**MASQUERADE, "addresses": ["198.51.100.9"]}}}
    assert run(monkeypatch, "--wait", str(wait), json.dumps(missing)) == 1
    assert capsys.readouterr().err == "lvs-ipvs-real-server: address 198.51.100.9: no interface of this host has it\n"


def test_what_ip_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    FakeIp(monkeypatch, "RTNETLINK answers: Operation not permitted")
    assert run(monkeypatch, json.dumps(CONFIGURATION)) == 1
    assert "Operation not permitted" in capsys.readouterr().err


def test_an_address_may_come_late_at_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter([program.Problem("not yet"), program.Problem("not yet"), []])

    def converge(configuration: t.Any, check: bool) -> list[str]:
        outcome = next(late)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(program, "converge", converge)
    monkeypatch.setattr(program.time, "sleep", lambda seconds: None)
    assert run(monkeypatch, "--wait", "60", json.dumps(CONFIGURATION)) == 0
