# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters from_ipvsadm and to_ipvsadm, as templates call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display

from ansible_collections.lvs.ipvs.plugins.filter.ipvsadm import FilterModule

TEXT = "-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 198.51.100.21:8080 -m -w 3 -x 5\n"
SERVICES = [
    {
        "protocol": "tcp",
        "address": "192.0.2.10",
        "port": 80,
        "scheduler": "rr",
        "real_servers": [{"address": "198.51.100.21", "port": 8080, "weight": 3, "upper_threshold": 5}],
    }
]
from_ipvsadm, to_ipvsadm = (FilterModule().filters()[name] for name in ("from_ipvsadm", "to_ipvsadm"))


def test_there_and_back():
    assert to_ipvsadm(SERVICES) == TEXT
    (service,) = from_ipvsadm(TEXT)
    assert service["scheduler"] == "rr"
    assert to_ipvsadm([service]) == TEXT


def test_names_of_services_are_those_of_this_machine():
    assert from_ipvsadm(TEXT.replace(":80 ", ":http ")) == from_ipvsadm(TEXT)
    with pytest.raises(AnsibleFilterError, match="^line 1: port: 'nosuchservice' is neither"):
        from_ipvsadm("-A -t 192.0.2.10:nosuchservice")


def test_all_wrong_lines_are_one_error():
    with pytest.raises(AnsibleFilterError, match="line 1: (.|\n)*line 2: "):
        from_ipvsadm("-C\n-A\n")


def test_what_is_no_text_is_refused():
    with pytest.raises(AnsibleFilterError, match="takes the text of ipvsadm-save, not a list"):
        from_ipvsadm([TEXT])


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        ({"protocol": "99"}, r"services\[0\].protocol: '99' is not one of"),
        ({"name": "web"}, r"services\[0\].name: there is no such option"),
        ({"real_servers": [{"address": "198.51.100.21", "forwarding": "localnode"}]}, r"real_servers\[0\].forwarding"),
    ],
)
def test_what_has_no_words_is_an_error(wrong, finding):
    with pytest.raises(AnsibleFilterError, match=finding):
        to_ipvsadm([{**SERVICES[0], **wrong}])


def test_a_weight_that_not_all_take_is_a_warning(monkeypatch):
    warnings = []
    monkeypatch.setattr(Display, "warning", lambda self, text: warnings.append(text))
    assert to_ipvsadm(SERVICES) == TEXT
    assert warnings == []
    heavy = [{**SERVICES[0], "real_servers": [{"address": "198.51.100.21", "weight": 70000}]}]
    assert "-w 70000\n" in to_ipvsadm(heavy)
    assert ["weight 70000" in warning for warning in warnings] == [True]


def test_ansible_finds_them():
    """With its lazy and tagged values too."""
    call = ["ansible", "localhost", "-m", "ansible.builtin.debug", "-e", json.dumps({"services": SERVICES})]
    template = "msg={{ services | lvs.ipvs.to_ipvsadm | lvs.ipvs.from_ipvsadm | lvs.ipvs.to_ipvsadm | split }}"
    collections = next(path for path in sys.path if Path(path, "ansible_collections", "lvs", "ipvs").exists())
    run = subprocess.run(
        [Path(sys.executable).parent / call[0], *call[1:], "-a", template],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout.partition(" => ")[2])["msg"] == TEXT.split()
