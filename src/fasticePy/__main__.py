"""`python -m fasticePy` is the `fasticepy` command."""

from __future__ import annotations

import sys

from fasticePy.cli import main

if __name__ == "__main__":
    sys.exit(main())
