# Copyright (c) 2026, the lvs.ipvs authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given

from ansible_collections.lvs.ipvs.plugins.filter.ipvsadm import FilterModule
from ansible_collections.lvs.ipvs.plugins.module_utils import _adopt, _cluster, _options
from ansible_collections.lvs.ipvs.plugins.module_utils._model import Table
from tests.unit import tables


def declared_again(words: t.Any) -> Table:
    """What the directors get of a declaration that was written to a file."""
    read = yaml.safe_load(yaml.safe_dump(words, sort_keys=False))
    cluster = _cluster.services(read, {"all": ["lb1"], "directors": ["lb1"]}, {"lb1": {}})
    return _options.parse_services(_cluster.director_services(cluster))


@given(tables.tables())
def test_the_declaration_makes_the_same_table(table: Table) -> None:
    assert declared_again(_adopt.services(table)) == table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 198.51.100.21 -m\n"
            "-a -t 192.0.2.10:80 -r 198.51.100.22:8080 -m -w 0",
            {
                "protocol": "tcp",
                "address": "192.0.2.10",
                "port": 80,
                "scheduler": "rr",
                "forwarding": "masquerade",
                "real_servers": [
                    {"address": "198.51.100.21"},
                    {"address": "198.51.100.22", "port": 8080, "weight": 0},
                ],
            },
        ),
        (
            "-A -f 7 -6 -s sh -p 60 -M 64 -b sh-port\n-a -f 7 -6 -r 2001:db8::1 -g -x 9 -y 3",
            {
                "fwmark": 7,
                "family": "ipv6",
                "scheduler": "sh",
                "scheduler_flags": ["sh-port"],
                "persistence_timeout": 60,
                "persistence_netmask": 64,
                "forwarding": "direct",
                "real_servers": [{"address": "2001:db8::1", "upper_threshold": 9, "lower_threshold": 3}],
            },
        ),
        (
            "-A -u 192.0.2.10:53 -o\n-a -u 192.0.2.10:53 -r 198.51.100.21 -i --tun-type gue --tun-port 6080 --tun-csum\n"
            "-a -u 192.0.2.10:53 -r 198.51.100.22 -m",
            {
                "protocol": "udp",
                "address": "192.0.2.10",
                "port": 53,
                "scheduler": "wlc",
                "one_packet": True,
                "real_servers": [
                    {
                        "address": "198.51.100.21",
                        "forwarding": "tunnel",
                        "tunnel": {"type": "gue", "port": 6080, "checksum": "csum"},
                    },
                    {"address": "198.51.100.22"},
                ],
            },
        ),
        (
            "-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 198.51.100.21 -i --tun-type gre --tun-nocsum",
            {
                "protocol": "tcp",
                "address": "192.0.2.10",
                "port": 80,
                "scheduler": "wlc",
                "forwarding": "tunnel",
                "tunnel": {"type": "gre", "port": 0, "checksum": "none"},
                "real_servers": [{"address": "198.51.100.21"}],
            },
        ),
        (
            "-A -t 192.0.2.10:80",
            {"protocol": "tcp", "address": "192.0.2.10", "port": 80, "scheduler": "wlc", "real_servers": []},
        ),
    ],
)
def test_what_goes_without_saying_is_left_out(text: str, words: dict[str, t.Any]) -> None:
    filters = FilterModule().filters()
    services = filters["from_ipvsadm"](text)
    assert filters["adopted_services"](services) == [words]
    assert declared_again([words]) == _options.parse_services(services)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"services\[0\].port: is required"):
        FilterModule().filters()["adopted_services"]([{"protocol": "tcp", "address": "192.0.2.10"}])
