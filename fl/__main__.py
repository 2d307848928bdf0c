"""Runs `python -m secagg.fl`; see `secagg.fl.command.cli`."""

import sys

from .command.cli import main

sys.exit(main())
