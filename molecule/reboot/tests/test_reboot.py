# SPDX-License-Identifier: GPL-3.0-or-later
"""A power cycle of a director and of a real server: no Ansible runs, and all is as it was."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from lvs_testing import CHECKOUT, INVENTORY, VIP, do, url

#: All that the kernel forgets, each told by a tool that is none of ours.
DIRECTOR = """
ipvsadm -Sn | sort
ipvsadm -Ln --thresholds | awk '/->/ {print $2, $3, $4}' | sort
ipvsadm -L --timeout
ipvsadm -L --daemon
sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.vs
ip -o address show dev front | sed 's/^[0-9]*: //; s/ *\\\\.*//' | sort
nft list ruleset
"""
SERVER = "ip rule; ip -6 rule; ip route show table 4780; ip -6 route show table 4780 | sed 's/ metric.*//'"
#: Asks until somebody answers, and tells what came of each question.
ASK = (
    f"for try in $(seq 200); do curl -s -o /dev/null --connect-timeout 1 --max-time 5 "
    f"-w '%{{exitcode}} %{{http_code}} %{{errormsg}}\\n' '{url(VIP, 81)}' && break; done"
)


def reboot(name: str) -> None:
    subprocess.run([CHECKOUT / "tests" / "lab" / "lab", "reboot", name], check=True)
    # Until all units have had their turn; "degraded" is told apart below.
    do(name, "systemctl is-system-running --wait || true")


def sync_daemons(state: str) -> None:
    """As the role keepalived has them run, which this inventory does not use."""
    daemons = [{"role": role, "interface": "back", "id": 7} for role in ("master", "backup")]
    options = {"daemons": daemons, "state": state, "record": "/var/lib/lvs.ipvs/sync_daemons.json"}
    subprocess.run(
        ["ansible", f"--inventory={INVENTORY}", "lb1", "-m", "lvs.ipvs.sync_daemon", "-a", json.dumps(options)],
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
        check=True,
    )


def test_a_director_comes_back_as_it_was() -> None:
    sync_daemons("present")
    before = do("lb1", DIRECTOR)
    for part in (
        "-A -f 7 -6 -s rr -p 300",
        "198.51.100.21:80 100 50",
        "600 120 60",
        "net.ipv4.vs.conntrack = 1",
        f"inet {VIP}/32",
        "8000-8010",
        "master sync daemon (mcast=back, syncid=7",
        "backup sync daemon (mcast=back, syncid=7",
    ):
        assert part in before
    with ThreadPoolExecutor() as threads:
        subprocess.run([CHECKOUT / "tests" / "lab" / "lab", "kill", "lb1"], check=True)
        asking = threads.submit(do, "client", ASK)
        reboot("lb1")
        told = asking.result().splitlines()
    # Who is asked before it is ready does not answer, rather than with a refusal; who answers serves.
    *silent, last = told
    assert last.split()[:2] == ["0", "200"]
    assert not [line for line in silent if "refused" in line or "reset" in line], told
    assert do("lb1", "systemctl --failed --quiet; systemctl is-active lvs-ipvs").split() == ["active"]
    assert do("lb1", DIRECTOR) == before
    sync_daemons("absent")


def test_neither_stop_nor_restart_touches_the_table() -> None:
    before = do("lb1", DIRECTOR)
    *_before, cursor = do("lb1", "journalctl -u lvs-ipvs -n 1 --show-cursor -o cat").split()
    journal = do(
        "lb1",
        "systemctl restart lvs-ipvs; systemctl stop lvs-ipvs; journalctl --sync;"
        f" journalctl -u lvs-ipvs --after-cursor='{cursor}' -o short",
    )
    # What the unit's program says, without what systemd says of the unit.
    told = [line.partition("]: ")[2] for line in journal.splitlines() if " systemd[1]: " not in line]
    # It found nothing to do, but for the rules that are loaded as one change whatever there was before.
    assert told == ["load /etc/lvs-ipvs-marks.nft"], journal
    assert do("lb1", DIRECTOR) == before


def test_a_unit_that_fails_says_why() -> None:
    told = do(
        "lb2",
        "cp /var/lib/lvs.ipvs/table.json /tmp; echo broken >/var/lib/lvs.ipvs/table.json; systemctl restart lvs-ipvs;"
        "cp /tmp/table.json /var/lib/lvs.ipvs/; systemctl --failed --plain --no-legend; journalctl -u lvs-ipvs -o cat;"
        "systemctl restart lvs-ipvs",
    )
    assert "lvs-ipvs.service loaded failed failed" in told
    assert "table of /var/lib/lvs.ipvs/table.json: the record /var/lib/lvs.ipvs/table.json is damaged" in told


def test_a_real_server_comes_back_as_it_was() -> None:
    before = do("web1", SERVER)
    assert "198.51.100.21" in before
    reboot("web1")
    assert do("web1", SERVER) == before
    assert do("web1", "systemctl --failed --quiet") == ""
    asked = "; ".join(f"curl -s --max-time 5 '{url(VIP, 81)}'" for _ in range(3))
    assert sorted(do("client", asked).split()) == ["web1", "web2", "web3"]
