"""``python -m ullage_collector``: the same as the command ``ullage-collector``."""

from ullage_collector.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
