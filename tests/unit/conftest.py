# SPDX-License-Identifier: GPL-3.0-or-later
"""What every unit test may use."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

# Few and quick, and the same in each run, so that what fails was changed: `make kernel-soak` looks for what is new.
# A busy machine knows no deadline.
settings.register_profile(
    "unit", max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def checkout() -> pathlib.Path:
    """The folder that holds galaxy.yml."""
    return CHECKOUT


def ansible_playbook(folder: pathlib.Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run in a folder, with the collection of this checkout and none of the user's settings for what it says."""
    return subprocess.run(
        [pathlib.Path(sys.executable).parent / "ansible-playbook", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={
            **os.environ,
            "PWD": str(folder),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".venv/collections"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_FORCE_COLOR": "0",  # which is stronger than ANSIBLE_NOCOLOR
            **environment,
        },
    )
