# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.table_info: what the kernel holds, in the words that lvs.ipvs.table takes."""

from __future__ import annotations

import pytest

WEB = {
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 80,
    "scheduler": "sh",
    "scheduler_flags": ["sh-port"],
    "persistence_timeout": 300,
    "persistence_netmask": 24,
    "persistence_engine": "sip",
    "one_packet": False,
    "real_servers": [
        {
            "address": "198.51.100.21",
            "port": 80,
            "weight": 0,
            "forwarding": "tunnel",
            "tunnel": {"type": "gue", "port": 6080, "checksum": "csum"},
            "upper_threshold": 9,
            "lower_threshold": 5,
        },
    ],
}
MARK = {
    "fwmark": 7,
    "family": "ipv6",
    "scheduler": "wlc",
    "scheduler_flags": [],
    "persistence_timeout": 0,
    "persistence_netmask": 128,
    "persistence_engine": "",
    "one_packet": True,
    "real_servers": [],
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("there", [[], [WEB], [WEB, MARK]])
def test_the_table_with_every_option_in_a_fixed_order(run, kernel, there, check):
    kernel.has(*reversed(there))
    result = run("table_info", check=check, gather=["services"])
    assert result.pop("invocation")
    assert result == {"services": there, "version": "1.2.1", "connection_table_size": 4096}
    assert kernel.applied == 0


def test_what_is_returned_is_what_the_table_accepts(run, kernel):
    kernel.has(WEB, MARK)
    services = run("table_info", gather=["services"])["services"]
    assert not run("table", services=services, purge="all")["changed"]
    kernel.has()
    assert run("table", services=services)["step_count"] == 3
    assert run("table_info", gather=["services"])["services"] == services


def test_it_has_no_option_of_the_table(run, kernel):
    result = run("table_info", services=[])
    assert "module: services. Supported parameters include:" in result["msg"]
    assert kernel.opened == 0
