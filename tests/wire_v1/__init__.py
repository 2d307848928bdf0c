"""The test vectors of the wire format v1, made by the reference model and not by the library.

    python -m wire_v1            in tests/: writes tests/vectors/v1
    python -m wire_v1 --check    compares instead, and says which files differ

Nothing here is random: the files come out the same byte for byte, in every run.
"""

from .files import DIRECTORY, differing, files

__all__ = ["DIRECTORY", "differing", "files"]
