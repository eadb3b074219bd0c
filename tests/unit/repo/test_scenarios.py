# SPDX-License-Identifier: GPL-3.0-or-later
"""`make molecule` runs every scenario of molecule/."""

from __future__ import annotations

import subprocess


def test_each_scenario_is_run_once(checkout):
    listed = subprocess.run([checkout / "tests/tools/scenarios", "--list"], capture_output=True, text=True, check=True)
    there = {path.parent.name for path in checkout.glob("molecule/*/molecule.yml")} - {"default"}
    assert sorted(listed.stdout.split()) == sorted(there)
