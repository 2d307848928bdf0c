"""Writes the vectors, or compares what is there with what would be written."""

import argparse
import sys

from .files import DIRECTORY, differing, files

parser = argparse.ArgumentParser(prog="python -m wire_v1", description=__doc__)
parser.add_argument("--check", action="store_true", help="write nothing; code 1 if files differ")
wanted, check = files(), parser.parse_args().check
if not check:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, content in wanted.items():
        (DIRECTORY / name).write_bytes(content.encode("ascii"))
wrong = differing(DIRECTORY, wanted)
if wrong:
    sys.exit("not as the reference model makes them: " + ", ".join(wrong))
