"""For every test: in CI hypothesis tries the same examples each time, so that a red run says something changed. How long an
example takes is never judged: the machine may be busy."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("ci", UNTIMED, derandomize=True)
settings.register_profile("search", UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "search")


@pytest.fixture(autouse=True)
def warnings_are_heard() -> Iterator[None]:
    """A command that was run in this process has set how much is said; the next test hears warnings again."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    yield
    root.setLevel(logging.WARNING)
