# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running lab needs of the caches it came from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from unittest import mock

import pytest

from ansible_collections.lvs.ipvs.tests.lab._lab import lab


def test_the_way_into_a_running_lab_outlives_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    image = tmp_path / "image"
    image.mkdir()
    (image / "key").write_text("secret\n")
    (image / "key").chmod(0o600)
    here = lab.Lab()
    here.machine = mock.Mock()
    here.state.mkdir(parents=True)

    with here._started(image, "tcg", memory=tmp_path, share=True, disk=""):
        shutil.rmtree(image)
    (named,) = re.findall('IdentityFile "(.*)"', (here.state / "ssh_config").read_text())
    assert Path(named).read_text() == "secret\n"
    assert Path(named).stat().st_mode & 0o777 == 0o600
