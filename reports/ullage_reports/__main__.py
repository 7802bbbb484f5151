"""``python -m ullage_reports`` is ``ullage-report``."""

import sys

from ullage_reports.cli import main

sys.exit(main())
