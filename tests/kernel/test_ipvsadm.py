# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of ipvsadm-save, with the real ipvsadm(8) at both ends of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from ansible_collections.lvs.ipvs.plugins.filter.ipvsadm import from_ipvsadm, to_ipvsadm
from ansible_collections.lvs.ipvs.plugins.module_utils import _ipvsadm

from . import words
from .words import Words, normal, seen

Apply = Callable[..., dict[str, Any]]
Ipvsadm = Callable[..., str]
Table = Callable[[], tuple[list[str], list[str]]]
Module = Callable[..., dict[str, Any]]


def as_saved(service: Words) -> Words:
    """A service without thresholds, and without the third flag of a scheduler that has names for the two beside it."""
    servers = [
        {option: word for option, word in server.items() if not option.endswith("_threshold")}
        for server in service["real_servers"]
    ]
    flags = service.get("scheduler_flags", [])
    if service["scheduler"] in words.FLAGS and len(flags) > 1:
        flags = [flag for flag in flags if flag != "flag-3"]
    return {**service, "scheduler_flags": flags, "real_servers": servers}


def written_better(line: str) -> str:
    """A line of ipvsadm-save, with two faults mended for which ipvsadm-restore refuses it."""
    line = line.replace("-f -1", "-f 4294967295")
    return f"{line}flag-3" if line.endswith(" -b ") else line


@given(services=words.tables())
def test_there_and_back(services: list[Words], ipvsadm: Ipvsadm, table: Table, netns: Callable[[], None]) -> None:
    netns()
    # Our text makes the same table.
    ipvsadm("-R", stdin=to_ipvsadm(services))
    saved, thresholds = table()
    assert (saved, thresholds) == seen(normal(services))
    # What ipvsadm saves of it is read as what it is of, but for what is not in it.
    read = from_ipvsadm("\n".join(saved))
    assert normal(read) == normal(list(map(as_saved, services)))
    # And both write the same.
    assert sorted(to_ipvsadm(read).splitlines()) == sorted(map(written_better, saved))


def test_what_table_info_returns_is_restored(module: Module, apply: Apply, ipvsadm: Ipvsadm) -> None:
    server: Words = {"address": "198.51.100.21", "upper_threshold": 9, "lower_threshold": 5, "weight": 0}
    apply([{"fwmark": 7, "scheduler": "sh", "scheduler_flags": ["sh-port", "flag-3"], "real_servers": [server]}])
    services = module("table_info")["services"]
    ipvsadm("-C")
    ipvsadm("-R", stdin=to_ipvsadm(services))
    assert module("table_info")["services"] == services


# Lines that people write, and what the defaults of ipvsadm make of them.
LINES = {
    "names of services": "-A -t 192.0.2.10:http\n-a -t 192.0.2.10:http -r 198.51.100.21:http -m\n",
    "long options": "--add-service --tcp-service 192.0.2.10:80 --scheduler rr --persistent 60 --netmask 255.255.255.0\n"
    "--add-server --tcp-service 192.0.2.10:80 --real-server 198.51.100.21 --masquerading --weight 3\n",
    "long options with =": "--add-service --udp-service=192.0.2.10:80 --scheduler=rr --ops\n",
    "several in a word": "-At 192.0.2.10:80 -srr -p60\n-at 192.0.2.10:80 -r 198.51.100.21:8080 -mw3 -x=9 -y5\n",
    "the defaults": "-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 198.51.100.21\n",
    "the default of -p": "-A -t 192.0.2.10:80 -p\n-A -t 192.0.2.10:81 -p -s rr\n",
    "a port that cannot be another": "-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 198.51.100.21:8080 -g\n"
    "-a -t 192.0.2.10:80 -r 198.51.100.22:8080 -i\n",
    "marks": "-A -f 7 -s rr\n-A -f 7 -6\n-a -f 7 -r 198.51.100.21:8080 -g\n-a -f 7 -6 -r [2001:db8:b::21]:0 -i\n",
    "IPv6": "-A -t [2001:db8:f::10]:443 -p 60 -M 64\n-A -u 2001:db8:f::10 -p\n"
    "-a -t [2001:db8:f::10]:443 -r [2001:db8:b::21]:8443 -m\n-a -t [2001:db8:f::10]:443 -r 198.51.100.21 -i\n",
    "tunnels": "-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 198.51.100.21 -i --tun-type gue --tun-port 6080 --tun-remcsum\n"
    "-a -t 192.0.2.10:80 -r 198.51.100.22 --tun-csum --tun-type=gre -i\n"
    "-a -t 192.0.2.10:80 -r 198.51.100.23 -i --tun-type gre\n",
    "flags": "-A -t 192.0.2.10:80 -s sh -b sh-port,sh-fallback\n-A -t 192.0.2.10:81 -b flag-1,flag-3\n-A -f 9 -s mh -b flag-2\n",
    "the program's name": "ipvsadm -A -t 192.0.2.10:80\n\n   ipvsadm -A -t 192.0.2.10:81   \n",
    "sip": "-A -u 192.0.2.10:5060 -p 60 --pe sip -o\n",
}


@pytest.mark.parametrize("name", LINES)
def test_both_read_the_same(name: str, module: Module, ipvsadm: Ipvsadm) -> None:
    ipvsadm("-R", stdin=LINES[name])
    assert from_ipvsadm(LINES[name]) == module("table_info")["services"]


# What ipvsadm refuses, is refused: each is one line behind a service and a real server that are there.
REFUSED = [
    "-A -t 192.0.2.10:80",
    "-A",
    "-A -t",
    "-A -t 192.0.2.10:81 -w 1",
    "-A -t 192.0.2.10:81 -t 192.0.2.10:82",
    "-A -t 192.0.2.10:81 rr",
    "-A -t 192.0.2.10:81 --schedule rr",
    "-A -t 192.0.2.10:81 -o",
    "-A -t 192.0.2.10:81 -o=1",
    "-A -t 192.0.2.10:81 -b sh-port",
    "-A -t 192.0.2.10:0",
    "-A -t 192.0.2.10:65536",
    "-A -t 192.0.2.10:81 -p 0",
    "-A -t 192.0.2.10:81 -p 2678401",
    "-A -t [2001:db8:f::10]",
    "-A -t 81",
    "-A -f 0",
    "-A -t 192.0.2.10:81 -6",
    "-t 192.0.2.10:81 -A",
    "-a -t 192.0.2.10:81 -r 198.51.100.21",
    "-a -t 192.0.2.10:80",
    "-a -t 192.0.2.10:80 -r 198.51.100.21:80 -m",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -m -g",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -s rr",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -m --tun-type ipip",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -i --tun-type gue",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -i --tun-port 6080",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -i --tun-type gre --tun-csum --tun-nocsum",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -w -1",
    "-a -t 192.0.2.10:80 -r 198.51.100.22 -y 5",
    "-a -t 192.0.2.10:80 -r [2001:db8:b::21]:80 -m",
]


@pytest.mark.parametrize("line", REFUSED)
def test_both_refuse_the_same(line: str, ipvsadm: Ipvsadm) -> None:
    text = f"-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r 198.51.100.21:80 -m\n{line}\n"
    with pytest.raises(_ipvsadm.InvalidText, match="^line 3: "):
        _ipvsadm.parse_text(text, lambda _name, _protocol: None)
    with pytest.raises(RuntimeError, match="ipvsadm -R"):
        ipvsadm("-R", stdin=text)
