"""``python -m ullage_agent`` is ``ullage-agent``."""

import sys

from ullage_agent.cli import main

sys.exit(main())
