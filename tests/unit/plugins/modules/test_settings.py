# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands beside the table: lvs.ipvs.timeouts, sync_daemon and zero_counters, and what table_info says of it."""

from __future__ import annotations

import json

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _capabilities, _settings
from ansible_collections.lvs.ipvs.plugins.module_utils import _model as model
from ansible_collections.lvs.ipvs.plugins.module_utils._model import (
    Connections,
    Counters,
    ServiceCounters,
    Statistics,
    Timeouts,
)
from ansible_collections.lvs.ipvs.plugins.module_utils._plan import daemons_after

MASTER = {"role": "master", "interface": "eth1", "id": 1}
BACKUP = {"role": "backup", "interface": "eth2", "id": 2}
SERVICE = {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": [{"address": "198.51.100.21"}]}
KEY = {option: SERVICE[option] for option in ("protocol", "address", "port")}


@pytest.fixture
def host(kernel, monkeypatch):
    """A kernel with two interfaces, and what it was told."""
    monkeypatch.setattr(_settings, "Kernel", kernel.open)
    state: dict = {"timeouts": Timeouts(900, 120, 300), "daemons": {}}

    def set_timeouts(timeouts):
        kernel.done.append("set timeouts")
        state["timeouts"] = timeouts

    def apply_daemons(steps):
        kernel.done.extend(map(str, steps))
        state["daemons"] = daemons_after(state["daemons"], steps)

    kernel.timeouts = lambda: state["timeouts"]
    kernel.set_timeouts = set_timeouts
    kernel.sync_daemons = lambda: state["daemons"]
    kernel.apply_daemons = apply_daemons
    kernel.interface_mtu = {"eth1": 1500, "eth2": 9000}.get
    kernel.zero = lambda key=None: kernel.done.append(f"zero {key}")
    return kernel


# -- timeouts ------------------------------------------------------------------------------------


def test_timeouts(run, host):
    expected = {
        "changed": True,
        "steps": ["set timeouts tcp 600, udp 60"],
        "step_count": 1,
        "timeouts": {"tcp": 600, "tcpfin": 120, "udp": 60},
        "diff": {"before": "tcp: 900\ntcpfin: 120\nudp: 300\n", "after": "tcp: 600\ntcpfin: 120\nudp: 60\n"},
    }
    for check in (True, False):
        assert host.done == []
        result = run("timeouts", check=check, diff=True, tcp=600, tcpfin=120, udp=60)
        assert result.pop("invocation")
        assert result == expected
    again = run("timeouts", tcp=600, udp=60)
    assert (again["changed"], again["steps"], "diff" in again) == (False, [], False)
    assert host.done == ["set timeouts"]


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({}, "one of the following is required: tcp, tcpfin, udp"),
        ({"tcp": 0}, "tcp: 0 is not a timeout"),
        ({"udp": 2147484}, "udp: 2147484 is not an integer from 1 to 2147483"),
    ],
)
def test_bad_timeouts(run, host, given, finding):
    assert run("timeouts", **given)["msg"].startswith(finding)
    assert host.done == []


# -- sync_daemon ---------------------------------------------------------------------------------


def settle(run, host, steps, **given):
    """In check mode, then in earnest, then again: the same report, then the change, then none."""
    before = dict(host.sync_daemons())
    host.done.clear()
    checked = run("sync_daemon", check=True, diff=True, **given)
    assert host.done == []
    assert host.sync_daemons() == before
    result = run("sync_daemon", diff=True, **given)
    assert result == checked
    assert (result["changed"], result["steps"], result["step_count"]) == (bool(steps), steps, len(steps))
    assert host.done == steps
    assert (result["diff"]["before"] != result["diff"]["after"]) == bool(steps)
    again = run("sync_daemon", **given)
    assert (again["changed"], again["steps"], "diff" in again) == (False, [], False)
    assert host.done == steps
    return result


def test_sync_daemons_from_none_to_none(run, host):
    start = ["start sync daemon master on eth1", "start sync daemon backup on eth2"]
    result = settle(run, host, start, daemons=[MASTER, BACKUP])
    assert result["diff"] == {
        "before": "",
        "after": (
            "- role: master\n  interface: eth1\n  id: 1\n  maximum_length: 1472\n"
            "  multicast_group: 224.0.0.81\n  multicast_port: 8848\n  multicast_ttl: 1\n"
            "- role: backup\n  interface: eth2\n  id: 2\n  maximum_length: 8972\n"
            "  multicast_group: 224.0.0.81\n  multicast_port: 8848\n  multicast_ttl: 1\n"
        ),
    }
    changed = {**MASTER, "multicast_ttl": 5}
    restart = ["stop sync daemon master on eth1", "start sync daemon master on eth1"]
    settle(run, host, restart, daemons=[changed, BACKUP])
    settle(run, host, [], daemons=[BACKUP])
    settle(run, host, [], daemons=[])
    settle(run, host, ["stop sync daemon master on eth1"], daemons=[{"role": "master"}], state="absent")
    settle(run, host, [], daemons=[BACKUP], purge="all")
    settle(run, host, ["stop sync daemon backup on eth2"], daemons=[], purge="all")
    assert host.sync_daemons() == {}


def test_what_is_returned_is_what_the_module_accepts(run, host):
    settle(run, host, ["start sync daemon backup on eth2"], daemons=[BACKUP])
    daemons = run("table_info", gather=["sync_daemons"])["sync_daemons"]
    settle(run, host, [], daemons=daemons, purge="all")


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"daemons": [MASTER, BACKUP, MASTER]}, "daemons[2]: master is listed already, as daemons[0]"),
        ({"daemons": [MASTER, MASTER], "state": "absent"}, "daemons[1]: master is listed already, as daemons[0]"),
        ({"daemons": [BACKUP, {"role": "master"}]}, "daemons[1].interface: is required"),
        ({"daemons": [{**MASTER, "id": 256}]}, "daemons[0].id: 256 is not an integer from 0 to 255"),
        ({"daemons": [BACKUP, {**MASTER, "interface": "eth9"}]}, "daemons[1].interface: no interface 'eth9'"),
        ({"daemons": [{"role": "slave"}]}, "value of role must be one of: master, backup, got: slave"),
        ({"daemons": [{"interface": "eth1"}]}, "missing required arguments: role found in daemons"),
        ({"daemons": [], "state": "absent", "purge": "all"}, "purge: is for state present"),
    ],
)
def test_bad_sync_daemons(run, host, given, finding):
    assert run("sync_daemon", **given)["msg"].startswith(finding)
    assert host.done == []


def test_a_daemon_that_is_not_there_after_it_was_started(run, host):
    steps = [f"{action} sync daemon master on eth1" for action in ("stop", "start")]
    carry_out = host.apply_daemons
    host.apply_daemons = lambda told: None
    result = run("sync_daemon", daemons=[MASTER])
    assert result["msg"].startswith("the sync daemons are not as they were set: [] and not [{'role': 'master'")
    assert (result["changed"], result["steps"]) == (False, steps[1:])
    host.apply_daemons = carry_out
    run("sync_daemon", daemons=[MASTER])
    # The one that was there is gone.
    host.apply_daemons = lambda told: carry_out(told[:1])
    result = run("sync_daemon", daemons=[{**MASTER, "id": 7}])
    assert (result["changed"], result["steps"]) == (True, steps)


# -- zero_counters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "zeroed", "step"),
    [
        ({}, "zero None", "zero the counters of all services"),
        (KEY, "zero tcp 192.0.2.10:80", "zero the counters of service tcp 192.0.2.10:80"),
    ],
)
def test_counters_are_zeroed_each_time(run, host, given, zeroed, step):
    host.has(SERVICE)
    checked = run("zero_counters", check=True, **given)
    assert host.done == []
    assert run("zero_counters", **given) == checked
    assert run("zero_counters", **given) == checked
    assert (checked["changed"], checked["steps"], checked["step_count"]) == (True, [step], 1)
    assert host.done == [zeroed] * 2


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({**KEY, "port": 81}, "there is no virtual service tcp 192.0.2.10:81"),
        ({"fwmark": 7}, "there is no virtual service fwmark 7 ipv4"),
        ({"protocol": "tcp"}, "address: is required"),
        ({"family": "ipv6"}, "protocol: is required"),
    ],
)
def test_a_service_that_cannot_be_zeroed(run, host, check, given, finding):
    host.has(SERVICE)
    assert run("zero_counters", check=check, **given)["msg"].startswith(finding)
    assert host.done == []


# -- table_info ----------------------------------------------------------------------------------


def test_table_info_reads_what_it_is_asked_for(run, host, monkeypatch):
    host.has(SERVICE)
    ((key, entry),) = host.read().items()
    statistics = Statistics(Counters(1, 2, 3, 4, 5), Counters(6, 7, 8, 9, 10))
    servers = {server: (Connections(11, 12, 13), statistics) for server in entry.real_servers}
    host.counters = lambda: {key: ServiceCounters(statistics, servers)}
    capabilities = _capabilities.Capabilities("6.1", ["rr"], ["sip"], {"conntrack": 0})
    monkeypatch.setattr(_capabilities, "read", lambda: capabilities)

    always = {"version", "connection_table_size"}
    result = run("table_info")
    assert result.keys() - {"invocation", "changed"} == {*always, "services", "timeouts", "sync_daemons"}
    assert result["timeouts"] == {"tcp": 900, "tcpfin": 120, "udp": 300}

    result = run("table_info", gather=["counters", "capabilities"])
    assert result.keys() - {"invocation", "changed"} == {*always, "counters", "capabilities"}
    numbers = {
        "total": {"connections": 1, "packets_in": 2, "packets_out": 3, "bytes_in": 4, "bytes_out": 5},
        "per_second": {"connections": 6, "packets_in": 7, "packets_out": 8, "bytes_in": 9, "bytes_out": 10},
    }
    connections = {"active_connections": 11, "inactive_connections": 12, "persistent_connections": 13}
    server = {"address": "198.51.100.21", "port": 80, **connections, **numbers}
    assert result["counters"] == [{**KEY, **numbers, "real_servers": [server]}]
    assert result["capabilities"] == capabilities._asdict()

    assert run("table_info", gather=[]).keys() - {"invocation", "changed"} == always
    assert run("table_info", gather=["connections"])["msg"].startswith("value of gather must be one or more of")


# -- records -------------------------------------------------------------------------------------


def test_timeouts_are_recorded_but_in_check_mode(run, host, tmp_path):
    record = tmp_path / "state" / "timeouts.json"
    run("timeouts", check=True, tcp=600, record=str(record))
    assert list(tmp_path.iterdir()) == []
    run("timeouts", tcp=600, record=str(record))
    assert json.loads(record.read_text()) == {"tcp": 600}
    # What was given before stays, also where nothing is to be changed.
    host.set_timeouts(Timeouts(600, 120, 30))
    assert not run("timeouts", udp=30, record=str(record))["changed"]
    assert json.loads(record.read_text()) == {"tcp": 600, "udp": 30}


@pytest.mark.parametrize("theirs", [0, 2592000])
def test_a_timeout_of_others_that_no_option_says_keeps_no_boot_from_the_rest(run, host, tmp_path, theirs):
    """An IPVS that was built without UDP has 0; ipvsadm takes 31 days."""
    host.set_timeouts(Timeouts(900, 120, theirs))
    record = tmp_path / "timeouts.json"
    run("timeouts", tcp=600, record=str(record))
    assert model.timeouts(json.loads(record.read_text()), host.timeouts()) == Timeouts(600, 120, theirs)


def test_sync_daemons_are_recorded_as_long_as_they_are_wanted(run, host, tmp_path):
    record = tmp_path / "daemons.json"

    def roles():
        return [daemon["role"] for daemon in json.loads(record.read_text())["daemons"]]

    run("sync_daemon", check=True, daemons=[MASTER], record=str(record))
    assert not record.exists()
    run("sync_daemon", daemons=[MASTER], record=str(record))
    assert json.loads(record.read_text())["daemons"][0]["interface"] == "eth1"
    run("sync_daemon", daemons=[BACKUP], record=str(record))
    assert roles() == ["master", "backup"]
    run("sync_daemon", daemons=[{"role": "master"}], state="absent", record=str(record))
    assert roles() == ["backup"]
    run("sync_daemon", daemons=[MASTER], purge="all", record=str(record))
    assert roles() == ["master"]


def test_a_daemon_of_others_is_not_recorded(run, host, tmp_path):
    record = tmp_path / "daemons.json"
    run("sync_daemon", daemons=[MASTER])
    run("sync_daemon", daemons=[BACKUP], record=str(record))
    assert [daemon["role"] for daemon in json.loads(record.read_text())["daemons"]] == ["backup"]
