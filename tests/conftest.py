"""For every test: in CI hypothesis tries the same examples each time, so that a red run says something changed. How long an
example takes is never judged: the machine may be busy."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("ci", UNTIMED, derandomize=True)
settings.register_profile("search", UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "search")
