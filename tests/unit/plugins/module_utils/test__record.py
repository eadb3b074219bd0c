# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what was last applied: a file that is whole, or is not there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pathlib
import re
import stat
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.lvs.ipvs.plugins.module_utils import _options as options
from ansible_collections.lvs.ipvs.plugins.module_utils import _record
from ansible_collections.lvs.ipvs.plugins.module_utils._record import (
    UnreadableRecord,
    locked_record,
    read_record,
    write_record,
)
from tests.unit import tables

# The folder is made for one example and used by all.
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    return tmp_path / "table.json"


def test_there_is_none_yet(path):
    assert read_record(str(path)) == {}
    assert read_record(str(path / "below" / "nothing")) == {}


@one_folder
@given(st.dictionaries(st.text(max_size=5), st.lists(st.integers() | st.text(max_size=5)), max_size=3))
def test_what_is_written_is_read(path, record):
    write_record(str(path), record)
    assert read_record(str(path)) == record


@one_folder
@given(tables.tables())
def test_a_table_survives(path, table):
    write_record(str(path), {"services": options.format_services(table)})
    assert options.parse_services(read_record(str(path))["services"]) == table


def test_it_is_text_for_people_and_the_same_for_the_same(path):
    write_record(str(path), {"b": [1], "a": {"d": 1, "c": 2}})
    text = path.read_text()
    assert text.splitlines()[0] == "{"
    assert text.endswith("}\n")
    write_record(str(path), {"a": {"c": 2, "d": 1}, "b": [1]})
    assert path.read_text() == text


def test_it_is_for_its_owner_whoever_could_read_the_last_one(path):
    path.write_text("{}")
    path.chmod(0o666)
    write_record(str(path), {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_may_stand_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked_record("table.json"):
        write_record("table.json", {"services": []})
    assert read_record("table.json") == {"services": []}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is damaged (Expecting value"),
        (b"{", "is damaged ("),
        (b'{"services": []}}', "is damaged (Extra data"),
        (b"\xff\xfe", "is damaged ("),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'"services"', "is not a JSON object"),
    ],
)
def test_what_cannot_be_used_is_not_guessed_at(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(UnreadableRecord) as caught:
        read_record(str(path))
    assert str(caught.value).startswith(f"the record {path} {reason}")
    assert str(caught.value).endswith(": mend it, or remove it to own nothing")


def test_what_cannot_be_opened_is_an_error_of_its_own(path):
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        read_record(str(path))


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_record_that_cannot_be_written_leaves_the_last_one_and_nothing_else(path, monkeypatch, failing):
    write_record(str(path), {"services": []})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        write_record(str(path), {"services": [1]})
    assert read_record(str(path)) == {"services": []}
    assert os.listdir(path.parent) == [path.name]


def test_no_one_reads_half_a_record(path, monkeypatch):
    """It is on the disk as a whole before it takes the place of the last one."""
    write_record(str(path), {"services": [1]})
    replace = os.replace

    def look(temporary, target):
        assert json.loads(pathlib.Path(temporary).read_text()) == {"services": [2]}
        assert read_record(str(path)) == {"services": [1]}
        assert os.path.dirname(temporary) == os.path.dirname(target)
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", look)
    write_record(str(path), {"services": [2]})
    assert read_record(str(path)) == {"services": [2]}


# -- the lock ------------------------------------------------------------------------------------


def is_locked(path: pathlib.Path) -> bool:
    with open(f"{path}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_the_lock_makes_its_folder_and_ends_with_its_block(tmp_path):
    path = tmp_path / "state" / "of" / "table.json"
    with locked_record(str(path)):
        assert is_locked(path)
        assert not path.exists()
    assert not is_locked(path)
    with pytest.raises(ZeroDivisionError), locked_record(str(path)):
        raise ZeroDivisionError
    assert not is_locked(path)


def test_other_records_are_not_locked(tmp_path):
    with locked_record(str(tmp_path / "table.json")), locked_record(str(tmp_path / "addresses.json")):
        pass


def test_nobody_else_can_open_what_is_locked(path):
    lock = pathlib.Path(f"{path}.lock")
    lock.touch(mode=0o644)
    with locked_record(str(path)):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    lock.unlink()
    with locked_record(str(path)):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_a_lock_is_no_way_to_another_file(path, tmp_path):
    other = tmp_path / "other"
    other.touch(mode=0o644)
    pathlib.Path(f"{path}.lock").symlink_to(other)
    with pytest.raises(OSError, match="symbolic link"), locked_record(str(path)):
        pass
    assert stat.S_IMODE(other.stat().st_mode) == 0o644


def test_who_holds_it_for_ever_is_named(path, monkeypatch):
    monkeypatch.setattr(_record, "PATIENCE", 0.1)
    with locked_record(str(path)):
        with pytest.raises(TimeoutError) as caught, locked_record(str(path)):
            pass
        # A sandbox may not tell who.
        who = rf"(process {os.getpid()} \(.*\)|another process)"
        begin = re.escape(f"the lock {path}.lock was not to be had for 0.1 seconds: ")
        assert re.fullmatch(rf"{begin}{who} holds it; end that if it hangs, and run again", str(caught.value))
        assert is_locked(path)
    assert not is_locked(path)


def test_another_run_waits_its_turn(path):
    turns = []
    trying = threading.Event()

    def another_run():
        trying.set()
        with locked_record(str(path)):
            turns.append("another")

    with locked_record(str(path)):
        other = threading.Thread(target=another_run)
        other.start()
        assert trying.wait(10)
        # It can get no further, however long this takes.
        other.join(0.05)
        assert other.is_alive()
        turns.append("one")
    other.join(10)
    assert turns == ["one", "another"]
