"""A directory as readable text: one line for each party, then the revoked keys."""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Final

from ..codes import Code
from ..errors import IdentityError, ParameterError
from ..params.params import MAX_COHORT
from .entries import NAME, Entry, Rules
from .files import wrong_size

_HEX_KEY: Final = "([0-9a-f]{64})"
_ENTRY: Final = re.compile(rf"(0|[1-9][0-9]{{0,5}}) +{_HEX_KEY} +({NAME.pattern})")
_DIRECTORY_HEADER: Final = "secagg directory v1"
_LONGEST_ENTRY: Final = len(f"{MAX_COHORT - 1} {'0' * 64} {'n' * 64}\n")
_LONGEST_REVOKED: Final = len("0" * 64 + "\n")
_COMMENTS: Final = 2**20  # bytes for comments, the header and the like
LARGEST_DIRECTORY: Final = MAX_COHORT * (_LONGEST_ENTRY + _LONGEST_REVOKED) + _COMMENTS


def text_of(entries: Iterable[Entry], revoked: Iterable[bytes]) -> bytes:
    """Returns entries and revoked keys as ASCII text; equal ones have the same text."""
    lines = [_DIRECTORY_HEADER, "# index, verify key, name"]
    lines += [
        f"{index} {entry.verify_key.hex()} {entry.name}" for index, entry in enumerate(entries)
    ]
    lines += ["revoked", *sorted(key.hex() for key in revoked), "end"]
    return ("\n".join(lines) + "\n").encode()


def parse(data: bytes | str) -> tuple[tuple[Entry, ...], frozenset[bytes]]:
    """Reads entries and revoked keys, and checks each with its line.

    Raises:
        IdentityError, ParameterError: as for `Directory.decode`.
    """
    text = _text(data)
    lines = _lines(text)
    header = next(lines)
    if header != _DIRECTORY_HEADER.encode():
        other = header.startswith(b"secagg directory v")
        code = Code.VERSION if other else Code.FOREIGN_FILE
        raise IdentityError(f"line 1: must be '{_DIRECTORY_HEADER}'", code)
    entries: list[Entry] = []
    revoked: set[bytes] = set()
    rules, section = Rules(), "entries"
    number, last = 1, text.count(b"\n") + 1
    for number, raw in enumerate(lines, 2):
        if not raw or raw.startswith(b"#"):
            continue
        line = raw.decode("ascii", "replace")
        try:
            if section == "entries" and line == "revoked":
                section = "revoked"
            elif section == "revoked" and line == "end":
                section = "end"
            elif section == "entries":
                entry = _read_entry(line, len(entries))
                rules.pin(entry.name, entry.verify_key)
                entries.append(entry)
            elif section == "revoked":
                key = _read_key(line)
                rules.revoke(key)
                revoked.add(key)
            else:
                raise ParameterError("nothing may follow 'end'", Code.SYNTAX)
        except ParameterError as error:
            if number == last and section != "end":  # half a line
                break
            raise IdentityError(f"line {number}: {error}", error.code) from None
    if section != "end":
        raise IdentityError(
            f"line {number}: 'end' is missing, so the file may be cut short; restore "
            "it from a copy",
            Code.CORRUPT,
        )
    return tuple(entries), frozenset(revoked)


def _text(data: bytes | str) -> bytes:
    """Returns a directory's text without the mark at the beginning that editors of Windows put."""
    if not isinstance(data, bytes | str):
        raise ParameterError(
            f"a directory is decoded from bytes or text, not {type(data).__name__}", Code.ARGUMENT
        )
    text = data.encode(errors="replace") if isinstance(data, str) else data
    if text and (wrong := wrong_size(len(text), LARGEST_DIRECTORY)):
        raise IdentityError(wrong.reason, wrong.code)
    return text.removeprefix(codecs.BOM_UTF8)


def _lines(text: bytes) -> Iterator[bytes]:
    """Yields the lines without blanks at their ends, one at a time: a list would be far larger."""
    start, end = 0, 0
    while end >= 0:
        end = text.find(b"\n", start)
        yield text[start : end if end >= 0 else None].rstrip(b" \t\r")
        start = end + 1


def _read_entry(line: str, index: int) -> Entry:
    found = _ENTRY.fullmatch(line)
    if found is None:
        raise ParameterError(
            "an entry must be an index, a verify key of 64 hexadecimal digits (lower case) and a "
            "name",
            Code.SYNTAX,
        )
    if int(found[1]) != index:
        raise ParameterError(
            f"the index must be {index}, not {found[1]}: entries stand in order", Code.SYNTAX
        )
    return Entry(found[3], bytes.fromhex(found[2]))


def _read_key(line: str) -> bytes:
    if not re.fullmatch(_HEX_KEY, line):
        raise ParameterError(
            "after 'revoked' there must be a key of 64 hexadecimal digits (lower case) or 'end'",
            Code.SYNTAX,
        )
    return bytes.fromhex(line)
