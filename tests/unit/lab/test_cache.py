# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's cache: an entry is whole or it is made anew."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.lvs.ipvs.tests.lab._lab import cache


class Builder:
    """Makes an entry of one file, and counts."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls = 0
        self.error = error

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "root.img").write_text("made")
        if self.error:
            raise self.error


@pytest.fixture
def entry(tmp_path):
    return tmp_path / "images" / "key"


@pytest.fixture
def made(entry):
    return cache.ensure(entry, Builder())


def test_made_once(entry):
    build = Builder()
    assert cache.ensure(entry, build) == cache.ensure(entry, build) == entry
    assert build.calls == 1
    assert (entry / "root.img").read_text() == "made"


def truncated(entry: Path) -> None:
    (entry / "root.img").write_text("m")


def lacking(entry: Path) -> None:
    (entry / "root.img").unlink()


def unsealed(entry: Path) -> None:
    (entry / cache.MANIFEST).unlink()


def garbled(entry: Path) -> None:
    (entry / cache.MANIFEST).write_text('{"root.img":')


@pytest.mark.parametrize("damage", [truncated, lacking, unsealed, garbled])
def test_damaged_is_made_anew(made, damage):
    damage(made)
    assert not cache.complete(made)
    build = Builder()
    cache.ensure(made, build)
    assert build.calls == 1
    assert cache.complete(made)


@pytest.mark.parametrize("error", [RuntimeError("no mirror"), KeyboardInterrupt()])
def test_failure_leaves_nothing(entry, error):
    with pytest.raises(type(error)):
        cache.ensure(entry, Builder(error))
    assert [path.name for path in entry.parent.iterdir()] == ["key.lock"]


def test_left_overs_of_a_killed_builder_do_not_get_in(entry):
    building = entry.with_name("key.building")
    building.mkdir(parents=True)
    (building / "half").write_text("")
    cache.ensure(entry, Builder())
    assert not (entry / "half").exists()
    assert not building.exists()


def test_unused_entries_go_when_another_is_made(made):
    other = made.with_name("other")
    cache.ensure(other, Builder())
    assert made.exists()
    long_ago = time.time() - cache.KEEP_SECONDS - 1
    os.utime(made / cache.MANIFEST, (long_ago, long_ago))
    os.utime(other / cache.MANIFEST, (long_ago, long_ago))
    cache.ensure(other, Builder())  # asked for: used again
    cache.ensure(made.with_name("third"), Builder())
    assert not made.exists()
    assert other.exists()


def test_digest_keeps_parts_apart():
    assert cache.digest("ab", "c") != cache.digest("a", "bc")


def test_tree_digest_sees_names_contents_and_modes(tmp_path):
    file = tmp_path / "a"
    file.write_text("1")
    seen = {cache.tree_digest(tmp_path)}
    file.write_text("2")
    seen.add(cache.tree_digest(tmp_path))
    file.chmod(0o755)
    seen.add(cache.tree_digest(tmp_path))
    file.rename(tmp_path / "b")
    seen.add(cache.tree_digest(tmp_path))
    assert len(seen) == 4


def test_run_folder_differs_by_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    one, two = (cache.run_folder(tmp_path / name) for name in ("one", "two"))
    assert one != two
    assert one.parent == two.parent == Path("/c/lvs.ipvs-lab/run")
