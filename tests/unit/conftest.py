# SPDX-License-Identifier: GPL-3.0-or-later
"""What every unit test may use."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import HealthCheck, settings

# Few and quick, and the same in each run, so that what fails was changed: `make kernel-soak` looks for what is new.
# A busy machine knows no deadline.
settings.register_profile(
    "unit", max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


@pytest.fixture(scope="session")
def checkout() -> pathlib.Path:
    """The folder that holds galaxy.yml."""
    return pathlib.Path(__file__).resolve().parents[2]
