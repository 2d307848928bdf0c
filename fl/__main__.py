"""Runs `python -m secagg.fl`; see `secagg.fl.cli`."""

import sys

from .cli import main

sys.exit(main())
