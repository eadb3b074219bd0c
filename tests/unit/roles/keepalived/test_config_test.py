# SPDX-License-Identifier: GPL-3.0-or-later
"""keepalived's own opinion on what we write: ``keepalived --config-test`` over every option.

It needs neither root nor IPVS, and exits non-zero at the first thing it has to say.
"""

from __future__ import annotations

import pathlib
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import (
    _cluster,
    _health_check,
    _keepalived,
    _model,
    _options,
)
from tests.data import services

GROUPS = {"all": ["lb1", "lb2", "web1", "web2"], "directors": ["lb1", "lb2"], "web": ["web1", "web2"]}
HOSTS: dict[str, dict[str, Any]] = {
    "lb1": {"lvs_address": "198.51.100.11", "lvs_address6": "2001:db8:b::11", "lvs_gateway": "198.51.100.1"},
    "lb2": {"lvs_address": "198.51.100.12", "lvs_address6": "2001:db8:b::12"},
    "web1": {"lvs_address": "198.51.100.21", "lvs_address6": "2001:db8:b::21"},
    "web2": {"lvs_address": "198.51.100.22", "lvs_address6": "2001:db8:b::22", "lvs_weight": 0},
}
INTERFACES = {"front": ["192.0.2.11/24", "2001:db8:f::11/64"], "back": ["198.51.100.11/24", "2001:db8:b::11/64"]}
#: A host without these interfaces may test too.
ANYWHERE = "global_defs {\n    dynamic_interfaces\n}\n"

WEB: dict[str, Any] = {
    "name": "web",
    "protocol": "tcp",
    "address": "192.0.2.10",
    "port": 80,
    "real_servers": [{"group": "web"}],
    "health_check": {"tcp": {}},
}


def text_of(declared: list[dict[str, Any]], **options: Any) -> str:
    cluster = _cluster.services(declared, GROUPS, HOSTS)
    told = {"script_user": "nobody", "hold_file": "/run/hold", "extra_config": ANYWHERE, **options}
    return _keepalived.configuration(cluster, "lb1", GROUPS, HOSTS, INTERFACES, told).text


def opinion(folder: pathlib.Path, text: str) -> str:
    """What keepalived has to say; nothing if it is content."""
    file = folder / "keepalived.conf"
    file.write_text(text)
    # As the role calls it; see there.
    call = ["env", "--ignore-signal=TERM", "keepalived", "--config-test", "--use-file", str(file)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    said = done.stderr + done.stdout
    return said if not done.returncode else said or f"exit status {done.returncode}"


HEALTH_CHECKS: dict[str, dict[str, Any]] = {
    "tcp": {"tcp": {}},
    "tcp, all": {
        "tcp": {
            "address": "198.51.100.99",
            "port": 8080,
            "source_address": "198.51.100.11",
            "source_interface": "back",
            "source_port": 4000,
            "fwmark": 7,
            "interval": 1,
            "timeout": 0.5,
            "retries": 0,
            "delay_before_retry": 0.25,
            "warmup": 0,
            "alpha": True,
            "log_all_failures": True,
        }
    },
    "http": {"http": {"path": "/a b?c=d&e=#f!", "status": [200, "300-399"], "host": "www.example.org", "version": 1.1}},
    "http, regex": {"http": {"regex": "a \"b\" 'c' \\d{2} ${x} #!", "regex_no_match": True, "version": "1.0C"}},
    "http, digest": {"http": {"digest": "9b3a0c85a887a256d6939da88aabd8cd"}},
    "https": {"https": {"host": "www.example.org", "port": 8443, "status": 204}},
    "https, no sni": {"https": {"host": "www.example.org", "sni": False}},
    "dns": {"dns": {"type": "AAAA", "name": "www.example.org", "port": 53}},
    "udp": {"udp": {"payload": "00 0a", "reply": "00 xX", "min_reply_length": 1, "max_reply_length": 65535}},
    "udp, some reply": {"udp": {"reply": True}},
    "ping": {"ping": {"timeout": 1, "source_address": "198.51.100.11"}},
    "smtp": {"smtp": {"helo": "lb.example.org"}},
    "script": {"script": {"command": ["/bin/echo", "{host}", "it's", 'a "b" \\c', "#!", "{", "}"], "user": "nobody"}},
    "script, dynamic": {"script": {"command": "/bin/true", "dynamic": True, "timeout": 3}},
    "file": {"file": {"path": "/run/lvs/{host}"}},
    "files": {"file": [{"path": "/run/a b", "weight": -1}, {"path": "/run/a_b", "weight": 2}]},
    "several": {"http": [{"path": "/a"}, {"path": "/b", "port": 81}], "tcp": {}, "ping": {}},
    "times": {"tcp": {}, "interval": 0.5, "timeout": 3600, "retries": 5, "delay_before_retry": 0, "warmup": 3.5},
    "no retries": {"tcp": {}, "file": {"path": "/run/f"}, "script": {"command": "/bin/true"}, "retries": 0},
    "flags": {"tcp": {}, "inhibit_on_failure": True, "alpha": True, "omega": True, "ha_suspend": True},
    "sorry": {"tcp": {}, "sorry_server": {"address": "198.51.100.9", "port": 8080}, "sorry_server_inhibit": True},
    "sorry, by a tunnel": {"tcp": {}, "sorry_server": {"address": "2001:db8::9", "forwarding": "tunnel"}},
    "quorum and scripts": {
        "tcp": {},
        "quorum": 1,
        "hysteresis": 0,
        "quorum_up": "/bin/echo up",
        "quorum_down": {"command": ["/bin/echo", "it's \"down\""], "user": "nobody"},
        "notify_up": "/bin/echo {host} {address} {port}",
        "notify_down": "/bin/echo down",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTH_CHECKS)
def test_health_checks(name: str, tmp_path: pathlib.Path) -> None:
    assert opinion(tmp_path, text_of([{**WEB, "health_check": HEALTH_CHECKS[name]}])) == ""


def test_every_option_of_a_check_is_among_them() -> None:
    told: dict[str, set[str]] = {}
    for check in HEALTH_CHECKS.values():
        for kind in check.keys() & _health_check.KINDS.keys():
            for one in check[kind] if isinstance(check[kind], list) else [check[kind]]:
                told.setdefault(kind, set()).update(one)
    assert {option for check in HEALTH_CHECKS.values() for option in check} == set(_health_check.OPTIONS)
    told["http"] |= told["https"]
    told["https"] |= told["http"]  # they share what they have in common
    for kind, spec in _health_check.KINDS.items():
        assert {*spec.options, *spec.special} - told["tcp"] <= told[kind], kind


@pytest.mark.parametrize("service", services.every_service({"ping": {}}), ids=lambda service: service["name"])
def test_services(service: dict[str, Any], tmp_path: pathlib.Path) -> None:
    assert opinion(tmp_path, text_of([service], sync=False, addresses=["192.0.2.10"])) == ""


def test_every_option_of_a_service_is_among_them() -> None:
    told = services.every_service({})
    assert {option for words in told for option in words} == {*_options.SERVICE_OPTIONS, *_cluster.CLUSTER_OPTIONS}
    servers = [server for words in told for server in words["real_servers"]]
    assert {option for words in servers for option in words} == set(_model.REAL_SERVER_OPTIONS)
    for option, values in (
        ("protocol", _model.PROTOCOLS),
        ("family", _model.FAMILIES),
        ("scheduler", _keepalived.SCHEDULERS),
    ):
        assert {words[option] for words in told if option in words} == set(values)
    assert {words.get("forwarding", _model.DEFAULT_FORWARDING) for words in told} == set(_model.FORWARDINGS)
    flags = {flag for words in told for flag in words.get("scheduler_flags", ())}
    assert flags == {*_model.PLAIN_FLAGS, *(flag for known in _model.SCHEDULER_FLAGS.values() for flag in known)}
    tunnels = [words["tunnel"] for words in told if "tunnel" in words]
    assert {(tunnel["type"], tunnel["checksum"]) for tunnel in tunnels} == {
        *(("gue", checksum) for checksum in _model.TUNNEL_CHECKSUMS),
        *(("gre", checksum) for checksum in ("none", "csum")),
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "multicast": {"unicast": False},
    "interfaces": {"interface": "bond0", "vrrp_interface": "vlan9", "sync_interface": "vlan8"},
    "addresses": {"addresses": ["192.0.2.20/24", {"address": "2001:db8:7::1", "interface": "vlan7"}]},
    "numbers": {"router_id": 255, "priority": 254, "advert_interval": 0.01, "preempt": True, "preempt_delay": 12.5},
    "version 2": {"vrrp_version": 2, "advert_interval": 1, "auth_password": "se cret"},
    "tracking": {
        "track_interfaces": ["mgmt", {"name": "front", "weight": -10}],
        "track_processes": [{"name": "bird", "process": "bird", "quorum": 2, "delay": 0.5, "weight": 20, "reverse": True}],
        "track_scripts": [{"name": "uplink", "command": ["/bin/echo", "it's"], "interval": 5, "timeout": 2, "rise": 2, "fall": 2, "user": "nobody", "weight": -5}],
        "track_files": [{"name": "load", "path": "/run/load", "weight": 1}],
    },
    "notify": {"notify": {"master": "/bin/echo a", "backup": "/bin/echo b", "fault": ["/bin/echo", "c d"], "stop": "/bin/echo", "any": {"command": "/bin/echo", "user": "nobody"}}},
    "gratuitous ARP": {"garp_repeat": 1, "garp_delay": 0, "garp_refresh": 60, "garp_interval": 0.001},
    "realtime": {"realtime_priority": 50},
    "no sync": {"sync": False},
    "sync": {"sync_id": 255, "sync_maximum_length": 65507, "sync_multicast_port": 65535, "sync_multicast_ttl": 255, "sync_multicast_group": "ff02::81"},
    "tls": {"tls": {"certificate": "/etc/c.pem", "key": "/etc/k.pem", "password": "pass phrase"}},
    "no hold": {"hold_file": ""},
}  # fmt: skip


@pytest.mark.parametrize(
    "declared", [[WEB], [WEB, {**WEB, "name": "six", "address": "2001:db8:f::10"}]], ids=["ipv4", "both"]
)
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_role(name: str, declared: list[dict[str, Any]], tmp_path: pathlib.Path) -> None:
    assert opinion(tmp_path, text_of(declared, **OPTIONS[name])) == ""


def test_who_is_drained_changes_nothing_about_it(tmp_path: pathlib.Path) -> None:
    mark = {"name": "mark", "fwmark": 7, "real_servers": [{"group": "web"}], "health_check": {"ping": {}}}
    cluster = _cluster.services([WEB, mark, {**WEB, "name": "six", "address": "2001:db8:f::10"}], GROUPS, HOSTS)
    told = {"script_user": "nobody", "hold_file": "/run/hold", "extra_config": ANYWHERE, "sync": False}
    for folder in (tmp_path / "drains.d", tmp_path / "drains d", tmp_path / "gone"):
        if folder.name != "gone":
            folder.mkdir()
            (folder / "198.51.100.21").write_text("-2147483647")
            (folder / "2001:db8:b::21").write_text("-1")
        text = _keepalived.configuration(cluster, "lb1", GROUPS, HOSTS, INTERFACES, told, str(folder)).text
        assert text.count("FILE_CHECK") == 6
        assert opinion(tmp_path, text) == ""


def test_every_option_of_the_role_is_among_them() -> None:
    told = {option for options in OPTIONS.values() for option in options}
    assert told | {"script_user", "extra_config"} == set(_keepalived.Options._fields)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("virtual_server 192.0.2.10 80 {\n    lvs_shed rr\n}\n", "Unknown keyword 'lvs_shed'"),
        ("virtual_server 192.0.2.10 80 {\n    lvs_sched lblcx\n}\n", "Invalid lvs_scheduler 'lblcx'"),
    ],
)
def test_keepalived_does_object(text: str, said: str, tmp_path: pathlib.Path) -> None:
    """The other tests could not fail if it never did."""
    assert said in opinion(tmp_path, text_of([WEB]) + text)


# Letters that mean something to one of keepalived's two parsers, to a shell, or to YAML.
AWKWARD = st.text(alphabet="ab19 '\"\\{}#!$@;~%&|<>()[]*?=:,^`é", min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(AWKWARD, max_size=4), regex=AWKWARD, path=AWKWARD, host=AWKWARD)
def test_awkward_texts(arguments: list[str], regex: str, path: str, host: str, tmp_path: pathlib.Path) -> None:
    def plain(text: str) -> str:
        text = text.replace('"', "").replace("\\", "")
        return "" if text.strip() in ("{", "}") else text

    check = {
        "script": {"command": ["/bin/echo", *arguments]},
        "http": {"path": "/" + plain(path), "host": plain(host) or "x", "regex": f"x|\\Q{regex}"},
    }
    assert opinion(tmp_path, text_of([{**WEB, "health_check": check}])) == ""
