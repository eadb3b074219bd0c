# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line."""

from __future__ import annotations

import pytest

from ansible_collections.lvs.ipvs.tests.lab._lab import cache, cli, lab, report


@pytest.mark.parametrize(
    ("line", "host", "words"),
    [
        ("exec lb1 -- ipvsadm -Ln", "lb1", ["ipvsadm", "-Ln"]),
        ("exec client -- sh -c true -- x", "client", ["sh", "-c", "true", "--", "x"]),
        ("exec lb1", "lb1", []),
        ("exec vm -- date", "vm", ["date"]),
    ],
)
def test_exec_takes_the_rest_as_it_stands(line, host, words):
    chosen = cli.parser().parse_args(line.split())
    assert chosen.host == host
    assert cli.remote_words(chosen.words) == words


@pytest.mark.parametrize("line", ["", "exec lb9 -- true", "reboot vm", "reboot", "kill", "up --now"])
def test_nonsense_is_refused(line, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args(line.split())
    assert ended.value.code == 2
    assert "usage: lab" in capsys.readouterr().err


def test_missing_programs_are_named_all_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(lab, "PROGRAMS", {"lab-no-such-a": "package-a", "lab-no-such-b": "package-b", "sh": "dash"})
    monkeypatch.setattr(lab, "SYSTEM_PATH", "/bin")
    monkeypatch.setattr(lab, "KEYRING", (tmp_path / "none", "keyring"))
    with pytest.raises(report.LabError, match=r"apt-get install --no-install-recommends package-a package-b keyring$"):
        lab.need_programs()


def test_what_the_lab_needs_is_what_make_system_installs(checkout):
    listed = {line.split()[0] for line in (checkout / "requirements" / "system.txt").read_text().splitlines() if line}
    assert {*lab.PROGRAMS.values(), *lab.ROOTLESS.values(), lab.KEYRING[1]} <= listed


def test_a_stopped_lab_leaves_no_disk_behind(monkeypatch, tmp_path, checkout):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    disk = cache.run_folder(checkout) / "disk.qcow2"
    disk.parent.mkdir(parents=True)
    disk.touch()
    assert cli.main(["down"]) == 0
    assert not disk.exists()


def test_commands_on_a_stopped_lab_say_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out == "not running\n"
    for line in (["exec", "lb1", "--", "true"], ["kill", "lb1"], ["reboot", "lb1", "lb2"]):
        assert cli.main(line) == 1
        assert capsys.readouterr().err == "lab: the lab is not running: `lab up` starts it\n"
