# SPDX-License-Identifier: GPL-3.0-or-later
"""lvs.ipvs.restore_unit: the files it writes, and that what it writes runs without Ansible."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import types

import pytest

from ansible_collections.lvs.ipvs.plugins.module_utils import _restore_unit

RECORD = "/var/lib/lvs.ipvs/table.json"
HOME = "/root"
ADDRESSES = "/var/lib/lvs.ipvs/addresses.json"


@pytest.fixture
def files(tmp_path):
    return {"unit": str(tmp_path / "units" / "lvs-ipvs.service"), "program": str(tmp_path / "lib" / "restore.pyz")}


def test_a_second_run_writes_nothing(run, files, tmp_path):
    steps = [f"write {files['program']}", f"write {files['unit']}"]
    for check in (True, False):
        assert list(tmp_path.iterdir()) == []
        result = run("restore_unit", check=check, diff=True, table=RECORD, addresses=ADDRESSES, **files)
        assert (result["changed"], result["steps"], result["step_count"]) == (True, steps, 2)
    program, unit = result["diff"]
    assert program["before"] == unit["before"] == ""
    assert program["after"].startswith("sha256 ")
    text = (tmp_path / "units" / "lvs-ipvs.service").read_text()
    assert unit["after"] == text
    command = f"ExecStart={sys.executable} -I {files['program']} --table {RECORD} --addresses {ADDRESSES}\n"
    assert command in text
    assert "\nReadWritePaths=-/var/lib/lvs.ipvs\nRuntimeDirectory=lvs.ipvs\nRuntimeDirectoryMode=0700\n" in text
    assert "ExecStop" not in text
    again = run("restore_unit", diff=True, table=RECORD, addresses=ADDRESSES, **files)
    assert (again["changed"], again["steps"], again["diff"]) == (False, [], [])


def test_what_differs_is_written_and_nothing_else(run, files, tmp_path):
    run("restore_unit", table=RECORD, **files)
    more = run("restore_unit", diff=True, table=RECORD, timeouts="/run/timeouts.json", **files)
    assert more["steps"] == [f"write {files['unit']}"]
    assert f"--timeouts /run/timeouts.json --table {RECORD}\n" in more["diff"][0]["after"]
    assert "\nReadWritePaths=-/run -/var/lib/lvs.ipvs\n" in more["diff"][0]["after"]
    program = tmp_path / "lib" / "restore.pyz"
    program.chmod(0o666)
    mended = run("restore_unit", table=RECORD, timeouts="/run/timeouts.json", **files)
    assert mended["steps"] == [f"write {program}"]
    assert stat.S_IMODE(program.stat().st_mode) == 0o644
    assert [path.name for path in program.parent.iterdir()] == ["restore.pyz"]


def test_a_record_in_roots_home_can_be_read_and_its_folder_be_written(run, files, tmp_path):
    run("restore_unit", table=f"{HOME}/lvs/table.json", nftables=f"{HOME}/marks.nft", **files)
    text = (tmp_path / "units" / "lvs-ipvs.service").read_text()
    assert "\nProtectHome=read-only\n" in text
    assert f"\nReadWritePaths=-{HOME}/lvs\n" in text


def test_rules_outlive_a_start_and_a_reload_of_the_hosts_own_firewall(run, files, tmp_path):
    drop_in = tmp_path / "units" / "nftables.service.d" / "lvs-ipvs.service.conf"
    assert run("restore_unit", nftables="/etc/marks.nft", **files)["steps"][-1] == f"write {drop_in}"
    loads = "/usr/sbin/nft --file /etc/marks.nft\n"
    assert drop_in.read_text().endswith(f"[Service]\nExecStartPost=-{loads}ExecReload=-{loads}")
    assert not run("restore_unit", nftables="/etc/marks.nft", **files)["changed"]
    assert run("restore_unit", table=RECORD, **files)["steps"] == [f"write {files['unit']}", f"remove {drop_in}"]
    run("restore_unit", nftables="/etc/marks.nft", **files)
    assert run("restore_unit", state="absent", **files)["steps"][-1] == f"remove {drop_in}"
    assert not drop_in.exists()


def test_a_file_that_somebody_else_owns_is_written_anew(run, files, tmp_path, monkeypatch):
    """Root runs it at boot."""
    run("restore_unit", table=RECORD, **files)
    program = files["program"]
    fstat = os.fstat

    def given_away(handle):
        there = fstat(handle)
        if there.st_ino != os.stat(program).st_ino:
            return there
        own = {name: getattr(there, name) for name in ("st_mode", "st_uid", "st_gid", "st_size", "st_blksize")}
        return types.SimpleNamespace(**{**own, "st_uid": 65534})

    monkeypatch.setattr(os, "fstat", given_away)
    assert run("restore_unit", check=True, table=RECORD, **files)["steps"] == [f"write {program}"]


def test_absent(run, files, tmp_path):
    run("restore_unit", table=RECORD, **files)
    steps = [f"remove {files['unit']}", f"remove {files['program']}"]
    assert run("restore_unit", check=True, state="absent", **files)["steps"] == steps
    assert run("restore_unit", state="absent", **files)["steps"] == steps
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not run("restore_unit", state="absent", **files)["changed"]


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({}, "nothing to restore is named: one of nftables, timeouts, table, drains"),
        ({"table": "table.json"}, "table: 'table.json' is not an absolute path"),
        ({"table": "/var/lib/100%"}, "table: '/var/lib/100%' is not an absolute path of plain letters"),
        ({"table": RECORD, "addresses": "/a b"}, "addresses: '/a b' is not an absolute path of plain letters"),
        ({"table": f"{HOME}/table.json"}, f"table: '{HOME}/table.json' has to be in a folder of its own"),
        ({"drains": "/drains.json"}, "missing parameter(s) required by 'drains': table"),
    ],
)
def test_bad_input_writes_nothing(run, files, tmp_path, given, finding):
    assert run("restore_unit", **given, **files)["msg"].startswith(finding)
    assert list(tmp_path.iterdir()) == []


def test_the_same_library_makes_the_same_program():
    assert _restore_unit.program() == _restore_unit.program()


@pytest.fixture
def restore(tmp_path):
    """Run the program in a python that has no Ansible and nothing of this checkout."""
    program = tmp_path / "restore.pyz"
    program.write_bytes(_restore_unit.program())
    start = (
        "import runpy, sys; sys.modules['ansible'] = None; sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )

    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-I", "-c", start, str(program), *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_what_was_never_recorded_is_nothing_to_restore(restore, tmp_path):
    names = ("nftables", "timeouts", "table", "drains", "sync-daemons", "addresses")
    done = restore(*(word for name in names for word in (f"--{name}", tmp_path / name)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["restore.pyz"]


def test_a_damaged_record_fails_and_keeps_the_addresses_away(restore, tmp_path):
    (tmp_path / "table").write_text("{")
    owned = {"addresses": [{"interface": "lo", "address": "nonsense", "source": True}], "dummies": []}
    (tmp_path / "addresses").write_text(json.dumps(owned))
    done = restore("--table", tmp_path / "table", "--addresses", tmp_path / "addresses")
    assert done.returncode == 1
    assert done.stdout == ""
    # The addresses would fail, too, if they had been looked at.
    first, second = done.stderr.splitlines()
    assert first.startswith(f"table of {tmp_path / 'table'}: the record {tmp_path / 'table'} is damaged")
    assert second == "the virtual addresses are left out, for the table is not what it has to be"


def test_a_part_that_fails_is_told_and_the_others_are_restored(restore, tmp_path):
    (tmp_path / "daemons").write_text('{"daemons": [{"role": "master"}]}')
    (tmp_path / "table").write_text('{"services": []}')
    (tmp_path / "addresses").write_text('{"addresses": 1}')
    done = restore(
        *("--table", tmp_path / "table", "--sync-daemons", tmp_path / "daemons"),
        *("--addresses", tmp_path / "addresses"),
    )
    assert done.returncode == 1
    daemons, addresses = done.stderr.splitlines()
    assert daemons.startswith(f"sync daemons of {tmp_path / 'daemons'}: ")
    assert "daemons[0].interface: is required" in daemons
    assert addresses.startswith(f"addresses of {tmp_path / 'addresses'}: record: is not a record of virtual addresses")


def test_rules_are_loaded_by_nft(restore, tmp_path, monkeypatch):
    # It fails where the rules say so.
    nft = tmp_path / "bin" / "nft"
    nft.parent.mkdir()
    nft.write_text('#!/bin/sh\necho "$*" >>"$0.log"\ngrep -q wrong "$2" && echo "no such rule" >&2 && exit 1\nexit 0\n')
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nft.parent}:/usr/bin:/bin")
    rules = tmp_path / "marks.nft"
    rules.write_text("right")
    done = restore("--nftables", rules)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"load {rules}\n", "")
    rules.write_text("wrong")
    done = restore("--nftables", rules)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"nftables of {rules}: nft --file {rules}: no such rule\n"
    assert (tmp_path / "bin" / "nft.log").read_text() == f"--file {rules}\n" * 2
