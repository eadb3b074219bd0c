# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's image: what goes into it, and when it is another one."""

from __future__ import annotations

import pytest

from ansible_collections.lvs.ipvs.tests.lab._lab import image, report

DEBIAN = """\
Google cloud-sdk http://packages.example/apt
Debian stable-updates http://mirror.example/debian/
Debian bookworm-security http://mirror.example/debian-security/
Debian bookworm http://mirror.example/debian/
"""
UBUNTU = "Ubuntu noble http://archive.example/ubuntu/\nUbuntu noble-updates http://archive.example/ubuntu/\n"


@pytest.mark.parametrize(
    ("targets", "found"),
    [(DEBIAN, "http://mirror.example/debian/"), (UBUNTU, None), ("", None), ("Debian  http://no.codename/\n", None)],
)
def test_mirror_is_this_machines_own(targets, found):
    assert image.pick_mirror(targets) == found


def test_mirror_can_be_chosen(monkeypatch):
    monkeypatch.setenv("LAB_MIRROR", "http://mine.example/debian")
    assert image.mirror() == "http://mine.example/debian"


def test_packages_without_comments():
    assert image.packages("# head\n\nnginx-light\ncurl  # to look\n") == ["nginx-light", "curl"]


def test_suites(monkeypatch):
    monkeypatch.delenv("LAB_SUITE", raising=False)
    default = image.key()
    assert image.suite() == "bookworm"
    monkeypatch.setenv("LAB_SUITE", "trixie")
    assert image.key() != default
    monkeypatch.setenv("LAB_SUITE", "sid")
    with pytest.raises(report.LabError, match="LAB_SUITE=sid: choose one of bookworm, trixie"):
        image.suite()


def test_key_follows_the_recipe_and_not_the_place(monkeypatch, tmp_path):
    recipe = tmp_path / "image"
    recipe.mkdir()
    (recipe / "packages.txt").write_text("curl\n")
    monkeypatch.setattr(image, "_RECIPE", recipe)
    before = image.key()
    monkeypatch.setattr(image, "_RECIPE", recipe.rename(tmp_path / "moved"))
    assert image.key() == before
    (tmp_path / "moved" / "packages.txt").write_text("curl\nsocat\n")
    assert image.key() != before
