# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests say often: ask the hosts of the lab, send requests, run site.yml.

A command on a lab host costs a second or so under emulation: the helpers put much into each.
The table is always read by ipvsadm, never by the code under test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t
from collections import Counter
from pathlib import Path

import testinfra
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = CHECKOUT / "tests" / "lab"
INVENTORY = LAB / "inventory.yml"
VIP, VIP6 = "192.0.2.10", "2001:db8:f::10"
CLIENT, CLIENT6 = "192.0.2.100", "2001:db8:f::100"

#: Tells the files that the collection writes, by name.
FILES = "find /etc /usr/local /var/lib /run -name '*lvs?ipvs*';"

NOBODY = ""
"""Who answered a request that had no answer."""


def host(name: str) -> t.Any:
    """A host of the lab, as testinfra has it."""
    # The lab's ssh configuration shares one connection to each host.
    return testinfra.get_host(f"ssh://{name}?ssh_config={LAB / '.run' / 'ssh_config'}&controlpersist=0")


def do(name: str, command: str) -> str:
    """What a command on a host of the lab printed; it must succeed."""
    result = host(name).run(command)
    assert result.succeeded, f"{name}: {command}: exit status {result.rc}\n{result.stdout}{result.stderr}"
    return str(result.stdout)


_WATCH = """
folder=$(mktemp -d)
ip -oneline monitor link address route rule > $folder/ip & ip=$!
nft monitor > $folder/nft & nft=$!
told() { grep -q "$2" $folder/$1; }
look() {
  for try in $(seq 100); do
    printf '%s\\n' "link add seen$1 type dummy" "link del seen$1" "rule add from 203.0.113.$1 table 9" "rule del from 203.0.113.$1 table 9" \
      "address add 203.0.113.$1/32 dev lo" "address del 203.0.113.$1/32 dev lo" | ip -batch -
    nft "add table inet seen$1; delete table inet seen$1"
    if told ip ": seen$1:" && told ip "from 203.0.113.$1 " && told ip "inet 203.0.113.$1/" && told ip "local 203.0.113.$1 dev" \
      && told nft "table inet seen$1"; then return; fi
    sleep 0.1
  done
  echo "the monitors told of $(cat $folder/ip $folder/nft)" >&2
  exit 1
}
look 1
{ COMMAND; } > /dev/null
look 2
kill $ip $nft
cat $folder/ip $folder/nft | grep -vE 'seen[12]|203[.]0[.]113[.][12]|^# new generation' || true
"""


def watched(name: str, command: str) -> str:
    """What changed in the network of a host while a command ran: links, addresses, routes, rules and nftables, by their monitors.

    Both were seen to tell of each kind of change, before and after: nothing told is nothing changed.
    """
    return do(name, _WATCH.replace("COMMAND", command))


def ipvsadm(director: str) -> list[str]:
    """The table, each entry a line of ipvsadm-save text, sorted."""
    return sorted(line.strip() for line in do(director, "ipvsadm -Sn").splitlines())


class Counts(t.NamedTuple):
    """Counters since an entry is in the table."""

    connections: int
    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int


def counters(director: str) -> dict[str, Counts]:
    """The counters by entry, such as ``TCP 192.0.2.10:80`` and ``TCP 192.0.2.10:80 -> 198.51.100.21:80``."""
    # The kernel adds them up every two seconds.
    told = do(director, "sleep 2.5; ipvsadm -Ln --stats --exact")
    found: dict[str, Counts] = {}
    service = ""
    for line in told.splitlines():
        words = line.split()
        if len(words) != 7 or not words[2].isdigit():
            continue
        if words[0] != "->":
            service = name = f"{words[0]} {words[1]}"
        else:
            name = f"{service} -> {words[1]}"
        found[name] = Counts(*map(int, words[2:]))
    return found


def url(address: str, port: int = 80, path: str = "/") -> str:
    return f"http://{f'[{address}]' if ':' in address else address}:{port}{path}"


def requests_through(client: str, address: str, number: int, port: int = 80, timeout: float = 5) -> Counter[str]:
    """Who answered how many requests, each on a connection of its own; NOBODY for those without answer."""
    # One curl for all: it asks once for each number of the range.
    every = url(address, port, f"/?[1-{number}]")
    result = host(client).run(f"curl -s --max-time {timeout} -H 'Connection: close' '{every}'")
    answers = Counter(result.stdout.split())
    answers[NOBODY] = number - sum(answers.values())
    return +answers


def client_seen(client: str, address: str, port: int = 80) -> str:
    """The client's address as the web server saw it."""
    told = do(client, f"curl -s --max-time 5 -D - -o /dev/null '{url(address, port)}'")
    found = re.search(r"^X-Client: (\S+) ", told, re.M)
    assert found, told
    return found.group(1)


class Site:
    """What a run of a playbook told."""

    def __init__(self, told: dict[str, t.Any]) -> None:
        self.stats: dict[str, dict[str, int]] = told["stats"]
        self.tasks: list[tuple[str, str, dict[str, t.Any]]] = [
            (name, task["task"]["name"], result)
            for play in told["plays"]
            for task in play["tasks"]
            for name, result in task["hosts"].items()
        ]

    def changed(self) -> dict[str, int]:
        return {name: stats["changed"] for name, stats in self.stats.items() if stats["changed"]}

    def steps(self, director: str) -> list[str]:
        """The messages that the kernel of a director got for its table."""
        return [
            step
            for name, task, result in self.tasks
            if name == director and task.endswith("Apply the services")
            for step in result["steps"]
        ]


def begin(
    playbook: str, inventory: Path = INVENTORY, limit: str = "", check: bool = False, **variables: t.Any
) -> subprocess.Popen[str]:
    """Start a playbook of the collection as a user does, with changes to the inventory."""
    return subprocess.Popen(
        [
            "ansible-playbook",
            f"--inventory={inventory}",
            f"--extra-vars={json.dumps(variables)}",
            *([f"--limit={limit}"] if limit else []),
            *(["--check"] if check else []),
            f"lvs.ipvs.{playbook}",
        ],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(run: subprocess.Popen[str]) -> Site:
    """What a playbook told that was started; it must succeed."""
    told, errors = run.communicate()
    # Warnings may come before.
    told = told[told.find("{") :]
    assert run.returncode == 0, f"exit status {run.returncode}\n{_failures(told)}\n{errors}"
    return Site(json.loads(told))


def site(services: t.Any = None, **options: t.Any) -> Site:
    """Run site.yml, with the options of begin()."""
    if services is not None:
        options["lvs_services"] = services
    return end(begin("site", **options))


def _failures(told: str) -> str:
    try:
        tasks = Site(json.loads(told)).tasks
    except ValueError:
        return told
    return "\n".join(
        f"{name}: {task}: {one.get('msg')}"
        for name, task, result in tasks
        for one in (result, *result.get("results", []))
        if one.get("failed")
    )


def declared() -> list[dict[str, t.Any]]:
    """The services of the lab's own inventory."""
    text = (LAB / "group_vars" / "all" / "lvs.yml").read_text(encoding="utf-8")
    return t.cast("list[dict[str, t.Any]]", yaml.safe_load(text)["lvs_services"])


def inventory_without(folder: Path, group: str, name: str) -> Path:
    """The lab's inventory with a host no longer in a group, in a folder of its own."""
    inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
    variables = inventory["all"]["children"][group]["hosts"].pop(name)
    inventory["all"].setdefault("hosts", {})[name] = variables
    return inventory_of(folder, inventory)


def inventory_of(folder: Path, inventory: dict[str, t.Any]) -> Path:
    """The lab's inventory, changed, in a folder of its own."""
    # What it finds beside itself.
    for beside in ("group_vars", ".run"):
        (folder / beside).symlink_to(LAB / beside)
    changed = folder / "inventory.yml"
    changed.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    return changed
