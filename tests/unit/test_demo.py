# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo tells the truth: a web server that stays silent ends it with its name."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json

import pytest

INVENTORY = {
    "directors": {"hosts": ["lb1", "lb2"]},
    "web": {"hosts": ["web1", "web2", "web3"]},
    "clients": {"hosts": ["client"]},
    "_meta": {
        "hostvars": {
            "lb1": {
                "lvs_services": [
                    {"protocol": "udp", "address": "192.0.2.53", "port": 53},
                    {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "real_servers": [{"group": "web"}]},
                ]
            },
            "web1": {},
            "web2": {"lvs_weight": 3},
            "web3": {"lvs_weight": 0},
        }
    },
}


@pytest.fixture
def demo(checkout, monkeypatch):
    """The demo with a lab that only speaks: (set the client's answers, the demo itself)."""
    loader = importlib.machinery.SourceFileLoader("demo", str(checkout / "tests" / "demo" / "demo"))
    spec = importlib.util.spec_from_loader("demo", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)

    def with_answers(*answers):
        def read(*command):
            if command[0] == "ansible-inventory":
                return json.dumps(INVENTORY)
            return "".join(f"{answer}\n" for answer in answers) if "client" in command else "IP Virtual Server\n"

        monkeypatch.setattr(module, "read", read)
        monkeypatch.setattr(module, "run", lambda *command: None)
        return module.main

    return with_answers


def test_all_answer(demo, capsys):
    demo("web1", "web2", "web2")()
    text = capsys.readouterr().out
    assert "http://192.0.2.10/" in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("  web")] == ["1", "2"]
    assert "It works" in text


def test_a_silent_web_server_is_named(demo):
    with pytest.raises(SystemExit, match="web2 answered no request"):
        demo("web1", "web1")()


def test_a_request_without_answer_is_counted(demo):
    with pytest.raises(SystemExit, match="1 of 60 requests had no answer"):
        demo("web1", "", "web2")()
