# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs that came to no end leave behind is taken up by the next one, and nothing is taken up twice. The role is the real one,
in namespaces of its own; of systemd and keepalived there is as much as it can see."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

#: One service. Its settings are those of the drop-in when they were last read, and "broken" keeps it from hearing anything.
SYSTEMCTL = r"""#!/bin/sh
cd "$WORLD" || exit
dropin=/etc/systemd/system/keepalived.service.d/lvs.ipvs.conf
each() { sed -n "s/^$1=-//p" loaded | while read -r command; do $command; done; }
case $1 in start|reload|restart|crash) echo "$1" >>said; ls var/lib/lvs.ipvs/drains.d >drained; [ ! -e broken ] || [ "$1" = crash ] || exit 1 ;; esac
case $1 in
    is-active) [ -e pid ] && echo active || echo inactive ;;
    is-enabled) [ ! -e enabled ] || exec echo enabled; echo disabled; exit 1 ;;
    enable) touch enabled ;;
    daemon-reload) cp $dropin loaded ;;
    show) case $* in
        *--value*) cat pid 2>/dev/null || echo 0 ;;
        *NeedDaemonReload*) cmp -s $dropin loaded && echo NeedDaemonReload=no || echo NeedDaemonReload=yes ;;
        *) echo LoadState=loaded; echo "ActiveState=$(systemctl is-active)" ;;
        esac ;;
    start|restart|crash)
        [ ! -e pid ] || kill "$(cat pid)"
        each ExecStartPre
        bash -c 'exec -a "$1" sleep 600' - "$(sed -n 's/^ExecStart=\(..*\) .*/\1/p' loaded)" >/dev/null 2>&1 &
        echo $! >pid ;;
    reload) each ExecReload ;;
esac
"""
DPKG_QUERY = "#!/bin/sh\nprintf 'installed %s\\n' ipvsadm keepalived\n"
#: What the role changes, and none of this machine's.
FOLDERS = ("/etc/keepalived", "/etc/systemd", "/run", "/usr/local/sbin", "/var/lib")

PLAY = """
- hosts: lb1
  gather_facts: false
  roles: [lvs.ipvs.keepalived]
"""
INVENTORY = f"""
all:
  vars: {{keepalived_script_user: root, keepalived_interface: lo}}
directors:
  hosts: {{lb1: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}}}
"""


class World:
    def __init__(self, folder: pathlib.Path, checkout: pathlib.Path) -> None:
        self.folder = folder
        programs = {
            "systemctl": SYSTEMCTL,
            "dpkg-query": DPKG_QUERY,
            "keepalived": "#!/bin/sh\n",
            "ipvsadm": '#!/bin/sh\necho "$@" >>"$WORLD/table"\n',
        }
        (folder / "bin").mkdir()
        for name, text in programs.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        mounts = ""
        for path in FOLDERS:
            (folder / path[1:]).mkdir(parents=True)
            mounts += f"mount --bind {folder}{path} {path} && "
        self.within = ["unshare", "--map-root-user", "--mount", "--net", "sh", "-c", f'{mounts}exec "$@"', "-"]
        (folder / "play.yml").write_text(PLAY)
        (folder / "hosts.yml").write_text(INVENTORY)
        self.environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(checkout / "ansible.cfg"),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "WORLD": str(folder),
        }

    def call(self, *words: str) -> str:
        done = subprocess.run(
            [*self.within, *words], capture_output=True, text=True, check=False, cwd=self.folder, env=self.environment
        )
        return done.stdout + done.stderr

    def site(self, services: list[dict[str, Any]], *words: str, broken: bool = False) -> tuple[list[str], str]:
        """What keepalived was told by a run of the role, and what Ansible had to say."""
        (self.folder / "said").write_text("")
        if broken:
            (self.folder / "broken").touch()
        told = json.dumps({"lvs_services": services})
        output = self.call("ansible-playbook", "-i", "hosts.yml", "play.yml", "-e", told, *words)
        assert ("failed=1" if broken else "failed=0") in output, output
        (self.folder / "broken").unlink(missing_ok=True)
        return (self.folder / "said").read_text().split(), output

    def crash(self) -> None:
        """As systemd has it: started again, by the settings that systemd knows."""
        self.call("systemctl", "crash")


@pytest.fixture
def world(tmp_path: pathlib.Path, checkout: pathlib.Path) -> Iterator[World]:
    made = World(tmp_path, checkout)
    yield made
    if (tmp_path / "pid").exists():
        made.call("sh", "-c", "kill $(cat pid)")


def web(port: int, check: bool = True, **server: Any) -> dict[str, Any]:
    service: dict[str, Any] = {"protocol": "tcp", "address": "192.0.2.10", "port": port}
    service["real_servers"] = [{"address": "198.51.100.21", **server}]
    return {**service, "health_check": {"tcp": {}}} if check else service


def test_a_run_takes_up_what_another_left_and_nothing_twice(world: World) -> None:
    one, two = [web(80)], [web(80), web(81)]
    released, limited = [web(80), web(81, check=False)], [web(80, upper_threshold=9), web(81, check=False)]
    assert world.site(one)[0] == ["start"]
    # Files are written, and then it ends.
    assert world.site(two, broken=True)[0] == ["reload"]
    assert world.site(two)[0] == ["reload"]
    # keepalived has it no more in the file only: a reload would take it out of the kernel.
    world.site(released, broken=True)
    output = world.site(released)[1]
    assert re.search(r"\[.*Have the checker of keepalived replaced.*\] \*+\nchanged", output), output
    assert world.site(limited, broken=True)[0] == ["restart"]
    assert world.site(limited)[0] == ["restart"]

    # What it took up by itself it is not told again.
    assert world.site(released, broken=True)[0] == ["restart"]
    world.crash()
    told, output = world.site(released)
    assert (told, "changed=0" in output) == ([], True), output

    # systemd does not read its settings again by itself.
    dropin = world.folder / "etc/systemd/system/keepalived.service.d/lvs.ipvs.conf"
    wanted = dropin.read_text()
    dropin.write_text(wanted.replace(" --release-vips", ""))
    world.call("systemctl", "daemon-reload")
    world.crash()
    dropin.write_text(wanted)
    world.crash()
    assert world.site(released)[0] == ["restart"]


def test_a_drain_ends_when_keepalived_has_the_server_no_more(world: World) -> None:
    both, one = web(80), web(80)
    both["real_servers"] = [*one["real_servers"], {"address": "198.51.100.22"}]
    world.site([both])
    drains = world.folder / "var/lib/lvs.ipvs/drains.d"
    for server in both["real_servers"]:
        (drains / server["address"]).write_text("-1")
    assert world.site([one])[0] == ["reload"]
    assert (world.folder / "drained").read_text().split() == ["198.51.100.21", "198.51.100.22"]
    assert [path.name for path in drains.iterdir()] == ["198.51.100.21"]


def test_no_service_is_taken_before_another_comes_in_its_place(world: World) -> None:
    def removed() -> list[str]:
        return [line for line in (world.folder / "table").read_text().splitlines() if line.startswith("-D ")]

    world.site([web(80)])
    # Whoever is told nothing still has it.
    assert world.site([web(81)], "--tags", "keepalived_run")[0] == []
    assert removed() == []
    assert world.site([web(81)])[0] == ["reload"]
    assert removed() == ["-D -t 192.0.2.10:80"]
    # Nor does one that does not run take up anything.
    world.call("sh", "-c", "kill $(cat pid); rm pid")
    assert world.site([web(82)], "--tags", "keepalived_configure")[0] == []
    assert removed() == ["-D -t 192.0.2.10:80"]
    assert world.site([web(82)], "--tags", "keepalived_run")[0] == ["start"]
    assert removed() == ["-D -t 192.0.2.10:80", "-D -t 192.0.2.10:81"]
