"""``python -m kflow_sci`` is the command ``kflow``."""

from __future__ import annotations

import sys

from kflow_sci.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
