# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.connection_info: the filters and counts are those of test__connections.py, here is what the module adds."""

from __future__ import annotations

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _info

TEXT = """\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP CB007105 E47E C000020A 0050 C6336415 1F90 ESTABLISHED     899
TCP CB007106 E47A C000020A 0050 C6336416 1F90 FIN_WAIT        59
TCP CB007100 0000 C000020A 0050 C6336415 1F90 ASSURED          59
"""
FIRST = {
    "service": {"protocol": "tcp", "address": "192.0.2.10", "port": 80},
    "client": {"address": "203.0.113.5", "port": 58494},
    "real_server": {"address": "198.51.100.21", "port": 8080},
    "state": "ESTABLISHED",
    "expires_in": 899,
    "template": False,
    "persistence_engine": "",
    "persistence_data": "",
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "ip_vs_conn"
    path.write_text(TEXT)
    monkeypatch.setattr(_info, "CONNECTIONS", str(path))
    return path


@pytest.mark.parametrize("check", [False, True])
def test_all_are_counted_and_none_is_listed(run, kernel, file, check):
    result = run("connection_info", check=check)
    assert (result["connection_count"], result["template_count"]) == (2, 1)
    assert result["states"] == {"ESTABLISHED": 1, "FIN_WAIT": 1}
    assert [service["address"] for service in result["services"]] == ["192.0.2.10"]
    assert "connections" not in result
    assert "omitted_count" not in result
    assert kernel.opened == 0


@pytest.mark.parametrize(("limit", "number", "omitted"), [(1, 1, 2), (2, 2, 1), (3, 3, 0), (100, 3, 0)])
def test_a_list_says_how_many_it_leaves_out(run, file, limit, number, omitted):
    result = run("connection_info", limit=limit)
    assert result["connections"][0] == FIRST
    assert (len(result["connections"]), result["omitted_count"]) == (number, omitted)
    assert result["connection_count"] == 2


def test_what_is_left_out_by_a_filter_is_not_omitted(run, file):
    result = run("connection_info", limit=1, client="203.0.113.5", service={"port": 80}, states=["ESTABLISHED"])
    assert result["connections"] == [FIRST]
    assert (result["connection_count"], result["template_count"], result["omitted_count"]) == (1, 0, 0)


def test_without_ip_vs_there_are_none(run, file):
    file.unlink()
    result = run("connection_info", limit=5)
    assert (result["connection_count"], result["services"], result["connections"]) == (0, [], [])


def test_what_a_client_sent_may_be_any_bytes(run, file):
    file.write_bytes(b"UDP CB007105 0000 C000020A 13C4 C6336415 13C4 NONE             59 sip \xff\xfe@x\n")
    assert run("connection_info", limit=1)["connections"][0]["persistence_data"] == r"\xff\xfe@x"


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"limit": -1}, "limit: -1 is not an integer from 0"),
        ({"client": "x"}, "client: 'x' is not an IPv4 or IPv6 address"),
        ({"real_server": {"port": 70000}}, "real_server.port: 70000 is not"),
        ({"states": ["OPEN"]}, "value of states must be one or more of"),
    ],
)
def test_bad_options(run, file, given, finding):
    assert run("connection_info", **given)["msg"].startswith(finding)


def test_a_line_that_is_not_understood(run, file):
    file.write_text("TCP CB007105\n")
    assert "has a line that is not understood: 'TCP CB007105" in run("connection_info")["msg"]
