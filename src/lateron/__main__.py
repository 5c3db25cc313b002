"""``python -m lateron`` is the command ``lateron``."""

from __future__ import annotations

import sys

from lateron.cli import main

if __name__ == "__main__":
    sys.exit(main())
