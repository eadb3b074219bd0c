# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks over simulated directors: what a run costs that changes nothing, and what only reads."""

from __future__ import annotations

from pathlib import Path

import yaml

from .fleet import ROOT, Fleet, played, services

#: Of the promise: a converged director costs no more.
CALLS = 10


def test_a_converged_director_costs_few_calls_whatever_it_has() -> None:
    fleet = Fleet(1)
    (host,) = fleet.names
    costs = {}
    for count in (1, 4000):
        fleet.declare(lvs_services=services(count, 1))
        assert played(fleet, "site").recap[host]["changed"]
        again = played(fleet, "site")
        assert not again.recap[host]["changed"], again.output
        assert fleet.enter(host, "ipvsadm", "-Sn").count("-A ") == count
        costs[count] = again.calls[host]
    assert costs[1] == costs[4000]
    assert 0 < costs[1] <= CALLS


def test_what_drifted_is_told_shown_and_adopted(tmp_path: Path) -> None:
    fleet = Fleet(1)
    (host,) = fleet.names
    fleet.declare(lvs_services=services(2))
    played(fleet, "site")
    fleet.enter(host, "ipvsadm", "-e", "-t", "192.0.0.1:80", "-r", "198.18.0.1:80", "-m", "-w", "7")
    drift = "tcp 192.0.0.1:80 (tcp 192.0.0.1:80): real server 198.18.0.1:80: weight: is 7, is to be 1"
    verified = fleet.play("verify")
    assert verified.recap[host]["failed"]
    assert f"{host}: {drift}" in verified.output

    page = tmp_path / "status.html"
    shown = played(fleet, "status", "-e", f"status_page={page}")
    assert "7 of 1" in shown.output
    assert drift in page.read_text()
    assert shown.calls[host] == 2
    assert not shown.recap[host]["changed"]

    # Adopted, it is as it should be.
    file = ROOT / "adopted.yml"
    played(fleet, "adopt", "-e", f"adopt_file={file}")
    before = fleet.enter(host, "ipvsadm", "-Sn")
    # One that is down has left the same behind.
    rules, of_rules = ROOT / "ipvsadm.rules", ROOT / "of_rules.yml"
    rules.write_text(before)
    played(fleet, "adopt", "-e", f"adopt_rules={rules}", "-e", f"adopt_file={of_rules}")
    assert yaml.safe_load(of_rules.read_text())["lvs_services"] == yaml.safe_load(file.read_text())["lvs_services"]
    fleet.declare(**yaml.safe_load(file.read_text()))
    again = played(fleet, "site")
    assert not again.recap[host]["changed"], again.output
    assert fleet.enter(host, "ipvsadm", "-Sn") == before
    assert "-w 7" in before
