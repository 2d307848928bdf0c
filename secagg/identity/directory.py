"""The pinned verify keys of a cohort: who is who across rounds.

A verify key counts only because it is pinned: bring keys into a directory over a channel that the
server does not control, and compare fingerprints (`secagg.Identity.fingerprint`).
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..codes import Code
from ..errors import IdentityError, ParameterError
from ..params.params import MAX_COHORT
from ..primitives import sign
from ..primitives.agreement import WeakKeyError
from ..primitives.secret import Secret
from .files import PUBLIC, read_file, write_file

_HEX_KEY: Final = "([0-9a-f]{64})"
_LARGEST_DIRECTORY: Final = 2**25
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ENTRY: Final = re.compile(rf"(0|[1-9][0-9]{{0,5}}) +{_HEX_KEY} +({_NAME.pattern})")
_DIRECTORY_HEADER: Final = "secagg directory v1"


@lru_cache(maxsize=MAX_COHORT)
def _strong(key: bytes) -> bool:
    try:
        sign.check_verify_key(key)
    except WeakKeyError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Entry:
    """One pinned party.

    Attributes:
        name: 1..64 letters, digits and ._@-, of ASCII; the first a letter or digit.
        verify_key: 32 bytes.
    """

    name: str
    verify_key: bytes


class _Rules:
    """What may stand together in one directory, asked line by line."""

    def __init__(self) -> None:
        self.count = 0
        self._names: set[str] = set()
        self._pinned: set[bytes] = set()
        self._revoked: set[bytes] = set()

    def revoke(self, key: bytes) -> None:
        _check_key("a revoked key", key)
        if key in self._revoked:
            raise ParameterError("a key is revoked twice", Code.DUPLICATE_KEY)
        if key in self._pinned:
            raise ParameterError("a revoked key is pinned", Code.REVOKED_KEY)
        self._revoked.add(key)

    def pin(self, name: str, key: bytes) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ParameterError(
                "a name has 1 to 64 letters, digits and ._@- of ASCII, and begins with one of "
                "the first two",
                Code.ARGUMENT,
            )
        if name.lower() in self._names:
            raise ParameterError(f"two parties are called {name}", Code.DUPLICATE_NAME)
        _check_key(f"the key of {name}", key)
        if key in self._revoked:
            raise ParameterError(f"the key of {name} is revoked", Code.REVOKED_KEY)
        if key in self._pinned:
            raise ParameterError(f"the key of {name} is pinned twice", Code.DUPLICATE_KEY)
        if self.count == MAX_COHORT:
            raise ParameterError(f"a directory has at most {MAX_COHORT} entries", Code.LIMIT)
        self.count += 1
        self._names.add(name.lower())
        self._pinned.add(key)


def _check_key(what: str, key: object) -> None:
    if not isinstance(key, bytes) or not _strong(key):
        raise ParameterError(
            f"{what} is no Ed25519 verify key: malformed, or of low order", Code.WEAK_KEY
        )


@dataclass(frozen=True, slots=True)
class Directory:
    """The verify keys that one party trusts, by index in the cohort. Immutable.

    All parties of a round need the same entries in the same order: they are hashed into the
    transcript, so parties that differ do not complete a round together. Names and revoked keys
    are everybody's own affair.

    Attributes:
        entries: party i is entries[i]; at most 65,536.
        revoked: keys that are never pinned again.

    Raises:
        ParameterError: names or keys that are malformed, weak, revoked or there twice; or too
            many entries.
    """

    entries: tuple[Entry, ...] = ()
    revoked: frozenset[bytes] = frozenset()
    _index: dict[bytes, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        rules = _Rules()
        for key in self.revoked:
            rules.revoke(key)
        for index, entry in enumerate(self.entries):
            rules.pin(entry.name, entry.verify_key)
            self._index[entry.verify_key] = index

    @classmethod
    def of(cls, entries: Iterable[tuple[str, bytes]], revoked: Iterable[bytes] = ()) -> "Directory":
        """A directory of (name, verify key) in index order.

        Raises:
            ParameterError: as the class.
        """
        return cls(tuple(Entry(name, key) for name, key in entries), frozenset(revoked))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def verify_keys(self) -> tuple[bytes, ...]:
        """The keys in index order."""
        return tuple(self._index)

    def index_of(self, verify_key: bytes) -> int:
        """The index of the party with this key.

        Raises:
            ParameterError: nobody has it.
        """
        index = self._index.get(verify_key)
        if index is None:
            raise ParameterError("this verify key is not in the directory", Code.UNKNOWN_NAME)
        return index

    def encode(self) -> bytes:
        """What the transcript binds: the keys in index order, 32 bytes each."""
        return b"".join(self._index)

    # -- changes between rounds --

    def _find(self, name: str) -> int:
        for index, entry in enumerate(self.entries):
            if entry.name == name:
                return index
        raise ParameterError("nobody in the directory has this name", Code.UNKNOWN_NAME)

    def join(self, name: str, verify_key: bytes) -> "Directory":
        """With one more party, at the next index.

        Raises:
            ParameterError: the name or the key is not acceptable.
        """
        return Directory((*self.entries, Entry(name, verify_key)), self.revoked)

    def leave(self, name: str) -> "Directory":
        """Without a party; those behind it move up by one index. Its key may come back.

        Raises:
            ParameterError: nobody has the name.
        """
        at = self._find(name)
        return Directory(self.entries[:at] + self.entries[at + 1 :], self.revoked)

    def rotate(self, name: str, verify_key: bytes) -> "Directory":
        """With a new key for a party, which keeps its index; the old key is revoked.

        Raises:
            ParameterError: nobody has the name, or the key is not acceptable.
        """
        at = self._find(name)
        old = self.entries[at].verify_key
        entries = (*self.entries[:at], Entry(name, verify_key), *self.entries[at + 1 :])
        return Directory(entries, self.revoked | {old})

    def revoke(self, name: str) -> "Directory":
        """Without a party, whose key is revoked; those behind it move up by one index.

        Raises:
            ParameterError: nobody has the name.
        """
        left = self.leave(name)
        return Directory(left.entries, self.revoked | {self.entries[self._find(name)].verify_key})

    # -- the file --

    def to_text(self) -> str:
        """The directory as a readable text, the same for equal directories."""
        lines = [_DIRECTORY_HEADER, "# index, verify key, name"]
        lines += [
            f"{index} {entry.verify_key.hex()} {entry.name}"
            for index, entry in enumerate(self.entries)
        ]
        lines += ["revoked", *sorted(key.hex() for key in self.revoked), "end"]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: bytes) -> "Directory":
        """Reads the text that `to_text` gives, in which empty lines and # comments may stand.

        Raises:
            IdentityError: anything else; the message names the line.
        """
        lines = text.split(b"\n")
        if lines[0] != _DIRECTORY_HEADER.encode():
            other = lines[0].startswith(b"secagg directory v")
            code = Code.VERSION if other else Code.FOREIGN_FILE
            raise IdentityError(f"line 1: must be '{_DIRECTORY_HEADER}'", code)
        if lines.pop() != b"":
            raise IdentityError(f"line {len(lines) + 1}: cut short", Code.CORRUPT)
        entries: list[Entry] = []
        revoked: set[bytes] = set()
        rules, section = _Rules(), "entries"
        for number, raw in enumerate(lines[1:], 2):
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
                raise IdentityError(f"line {number}: {error}", error.code) from None
        if section != "end":
            raise IdentityError(
                f"line {len(lines) + 1}: 'end' is missing; cut short?", Code.CORRUPT
            )
        return cls(tuple(entries), frozenset(revoked))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        """Writes the directory to a file, whole or not at all.

        Raises:
            IdentityError: the file cannot be written, or exists and `overwrite` is False.
        """
        write_file(Path(path), Secret(self.to_text().encode()), PUBLIC, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Directory":
        """Reads what `save` or a person wrote.

        Raises:
            IdentityError: the file is unreadable, everybody may change it, or there is anything
                in it that must not be; the message names the line.
        """
        content = read_file(Path(path), _LARGEST_DIRECTORY, private=False).expose()
        try:
            return cls.from_text(content)
        except IdentityError as error:
            raise IdentityError(f"{path}: {error}", error.code) from None


def _read_entry(line: str, index: int) -> Entry:
    found = _ENTRY.fullmatch(line)
    if found is None:
        raise ParameterError(
            "must be an index, a verify key of 64 hexadecimal digits (lower case) and a name",
            Code.SYNTAX,
        )
    if int(found[1]) != index:
        raise ParameterError(f"the next index is {index}, not {found[1]}", Code.SYNTAX)
    return Entry(found[3], bytes.fromhex(found[2]))


def _read_key(line: str) -> bytes:
    if not re.fullmatch(_HEX_KEY, line):
        raise ParameterError(
            "must be a key of 64 hexadecimal digits (lower case), or 'end'", Code.SYNTAX
        )
    return bytes.fromhex(line)
