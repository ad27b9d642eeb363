"""Makes ``python -m mitogen`` run the command line; everything it does is in :mod:`mitogen.cli`."""

from __future__ import annotations

import sys

import mitogen.cli

if __name__ == "__main__":
    sys.exit(mitogen.cli.main())
