"""For every test: in CI hypothesis tries the same examples each time, so that a red run says something changed."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
settings.register_profile("search", print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "search")
