"""Directories: the pinned verify keys of a cohort, which say who is who across rounds.

A verify key is trusted only because it is pinned. Bring keys into a directory over a channel that
the server does not control, and compare fingerprints: of each key (`secagg.Identity.fingerprint`)
when it is pinned, of the whole directory (`Directory.fingerprint`) before the first round.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final

from ..codes import Code
from ..errors import IdentityError, ParameterError
from ..files import AnyPath, as_path
from ..machine.wire import u32
from ..numeric import brief
from ..params.checks import whole
from ..params.params import MAX_COHORT
from ..permissions import PINS
from ..primitives import sign
from ..primitives.agreement import WeakKeyError
from ..primitives.labels import Label, hash_parts
from ..primitives.secret import Secret
from ..tracebacks import keeps_no_locals
from .files import read_file, write_file, wrong_size
from .identity import grouped

_HEX_KEY: Final = "([0-9a-f]{64})"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ENTRY: Final = re.compile(rf"(0|[1-9][0-9]{{0,5}}) +{_HEX_KEY} +({NAME.pattern})")
_DIRECTORY_HEADER: Final = "secagg directory v1"
_LONGEST_ENTRY: Final = len(f"{MAX_COHORT - 1} {'0' * 64} {'n' * 64}\n")
_LONGEST_REVOKED: Final = len("0" * 64 + "\n")
_COMMENTS: Final = 2**20  # bytes for comments, the header and the like
LARGEST_DIRECTORY: Final = MAX_COHORT * (_LONGEST_ENTRY + _LONGEST_REVOKED) + _COMMENTS


@lru_cache(maxsize=2 * MAX_COHORT)  # a full directory: pinned and revoked keys
def _is_strong(key: bytes) -> bool:
    try:
        sign.check_verify_key(key)
    except WeakKeyError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Entry:
    """One pinned party.

    Attributes:
        name: 1..64 ASCII letters, digits and ._@-; the first is a letter or a digit.
        verify_key: 32 bytes.
    """

    name: str
    verify_key: bytes


class _Rules:
    """The rules of one directory, checked line by line: nothing is there twice or is revoked."""

    def __init__(self) -> None:
        self.count = 0
        self._names: set[str] = set()
        self._pinned: set[bytes] = set()
        self._revoked: set[bytes] = set()

    def revoke(self, key: bytes) -> None:
        _check_key("a revoked key", key)
        if key in self._revoked:
            raise ParameterError(f"the key {_short(key)} is revoked twice", Code.DUPLICATE_KEY)
        if key in self._pinned:
            raise ParameterError(
                f"the revoked key {_short(key)} is pinned as well", Code.REVOKED_KEY
            )
        if len(self._revoked) == MAX_COHORT:
            raise ParameterError(
                f"a directory has at most {MAX_COHORT} revoked keys: leave out those of parties "
                "that have left for good",
                Code.LIMIT,
            )
        self._revoked.add(key)

    def pin(self, name: str, key: bytes) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ParameterError(
                "a name has 1 to 64 ASCII letters, digits and ._@-, and begins with a letter or "
                f"a digit; this one is {str(name)[:80]!r}",
                Code.ARGUMENT,
            )
        if name.lower() in self._names:
            raise ParameterError(
                f"two parties are called {name}: names must differ in more than upper and lower "
                "case",
                Code.DUPLICATE_NAME,
            )
        _check_key(f"the key of {name}", key)
        if key in self._revoked:
            raise ParameterError(
                f"the key of {name} is revoked: make a new identity", Code.REVOKED_KEY
            )
        if key in self._pinned:
            raise ParameterError(f"the key of {name} is pinned twice", Code.DUPLICATE_KEY)
        if self.count == MAX_COHORT:
            raise ParameterError(f"a directory has at most {MAX_COHORT} entries", Code.LIMIT)
        self.count += 1
        self._names.add(name.lower())
        self._pinned.add(key)


def _check_key(what: str, key: object) -> None:
    if not isinstance(key, bytes) or not _is_strong(key):
        raise ParameterError(
            f"{what} is not an Ed25519 verify key: it is malformed, or of low order",
            Code.WEAK_KEY,
        )


def _short(key: bytes) -> str:
    """Returns the beginning of a verify key, enough to find it in a file."""
    return f"{key[:8].hex()}..."


@dataclass(frozen=True, slots=True)
class Directory:
    """The verify keys that one party trusts, by index in the cohort. Immutable.

    All parties of a round need the same verify keys in the same order: the keys are hashed into
    the transcript, so parties with different keys do not complete a round together. Names and
    revoked keys are not hashed: each party may have its own.

    Attributes:
        entries: party i is entries[i]; at most 65,536.
        revoked: keys that must never be pinned again; at most 65,536.

    Raises:
        ParameterError: a name or a key is malformed, weak, revoked or there twice; or there are
            too many.
    """

    entries: tuple[Entry, ...] = ()
    revoked: frozenset[bytes] = frozenset()
    _index: dict[bytes, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    _whole: "Directory | None" = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        rules = _Rules()
        for key in self.revoked:
            rules.revoke(key)
        for index, entry in enumerate(self.entries):
            rules.pin(entry.name, entry.verify_key)
            self._index[entry.verify_key] = index

    @classmethod
    def of(cls, entries: Iterable[tuple[str, bytes]], revoked: Iterable[bytes] = ()) -> "Directory":
        """Makes a directory from pairs (name, verify key) in index order.

        Raises:
            ParameterError: as for the class.
        """
        return cls(tuple(Entry(name, key) for name, key in entries), frozenset(revoked))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fingerprint(self) -> str:
        """A short text that people compare: it differs where the keys or their order differ.

        Names and revoked keys do not matter to it, as they do not matter to a round.
        """
        return grouped(hash_parts(Label.DIRECTORY, u32(len(self)), b"".join(self._index)))

    @property
    def verify_keys(self) -> tuple[bytes, ...]:
        """The keys in index order."""
        return tuple(self._index)

    def index_of(self, verify_key: bytes) -> int:
        """Returns the index of the party with this key.

        Raises:
            ParameterError: no party has it.
        """
        index = self._index.get(verify_key)
        if index is None:
            raise ParameterError(
                "this verify key is not in the directory: pin it first", Code.UNKNOWN_NAME
            )
        return index

    # -- the cohort of one round --

    def select(self, indices: Iterable[int]) -> "Directory":
        """Returns the directory of one round's cohort, out of all parties that are pinned here.

        Who is not in it costs the round nothing: neither work nor waiting. The i-th of the indices
        has the index i in the cohort. All sites need the same indices; revoked keys go along.

        Args:
            indices: of the members of the cohort in this directory, ascending, each once.

        Raises:
            ParameterError: there are none, they are no ascending integers, or this directory has
                no such index.
        """
        if not isinstance(indices, Iterable):
            raise ParameterError(
                f"indices must be some integers, not {type(indices).__name__}", Code.ARGUMENT
            )
        chosen = [whole("an index of a member", index) for index in indices]
        if not chosen or chosen[0] < 0 or any(low >= high for low, high in pairwise(chosen)):
            raise ParameterError(
                "the indices of a cohort are ascending from 0, at least one and each once, as all "
                f"sites count its members in this order, not {brief(chosen)}",
                Code.ARGUMENT,
            )
        if chosen[-1] >= len(self):
            raise ParameterError(
                f"the cohort has the member {brief(chosen[-1])} of the directory, and the "
                f"directory has {len(self)} parties here: one side lacks a change of the members; "
                "compare `python -m secagg identity fingerprint FILE` of the directories",
                Code.WRONG_DIRECTORY,
            )
        selected = Directory(tuple(self.entries[index] for index in chosen), self.revoked)
        object.__setattr__(selected, "_whole", self.whole)
        return selected

    @property
    def whole(self) -> "Directory":
        """The directory from which this one was selected; itself if it was not.

        Its fingerprint is the one that sites compare, as it is that of a file.
        """
        return self if self._whole is None else self._whole

    # -- changes between rounds --

    def _find(self, name: str) -> int:
        for index, entry in enumerate(self.entries):
            if entry.name == name:
                return index
        raise ParameterError(
            f"no party in the directory is called {str(name)[:80]!r}", Code.UNKNOWN_NAME
        )

    def join(self, name: str, verify_key: bytes) -> "Directory":
        """Returns a directory with one more party, at the next index.

        Raises:
            ParameterError: the name or the key is malformed, weak, revoked or there already.
        """
        return Directory((*self.entries, Entry(name, verify_key)), self.revoked)

    def leave(self, name: str) -> "Directory":
        """Returns a directory without this party; its key may be pinned again later.

        The index of each party after it becomes smaller by one.

        Raises:
            ParameterError: no party has the name.
        """
        at = self._find(name)
        return Directory(self.entries[:at] + self.entries[at + 1 :], self.revoked)

    def rotate(self, name: str, verify_key: bytes) -> "Directory":
        """Returns a directory with a new key for this party; the old key is revoked.

        The party keeps its index.

        Raises:
            ParameterError: no party has the name, or the key is malformed, weak, revoked or
                pinned already.
        """
        at = self._find(name)
        old = self.entries[at].verify_key
        entries = (*self.entries[:at], Entry(name, verify_key), *self.entries[at + 1 :])
        return Directory(entries, self.revoked | {old})

    def revoke(self, name: str) -> "Directory":
        """Returns a directory without this party, whose key is revoked.

        The index of each party after it becomes smaller by one.

        Raises:
            ParameterError: no party has the name.
        """
        left = self.leave(name)
        return Directory(left.entries, self.revoked | {self.entries[self._find(name)].verify_key})

    # -- the file --

    def encode(self) -> bytes:
        """Returns the directory as readable ASCII text; equal directories have the same text."""
        lines = [_DIRECTORY_HEADER, "# index, verify key, name"]
        lines += [
            f"{index} {entry.verify_key.hex()} {entry.name}"
            for index, entry in enumerate(self.entries)
        ]
        lines += ["revoked", *sorted(key.hex() for key in self.revoked), "end"]
        return ("\n".join(lines) + "\n").encode()

    @classmethod
    @keeps_no_locals  # it may be an identity, by mistake
    def decode(cls, data: bytes | str) -> "Directory":
        """Reads what `encode` returned, or a person wrote.

        It may have empty lines and # comments, blanks at the ends of lines, and other ends of lines
        (CRLF, none behind the last one).

        Args:
            data: the text, up to the size of the largest directory with a megabyte of comments.

        Raises:
            IdentityError: the text is something else (the message names the line), or too long.
            ParameterError: the data is neither bytes nor text.
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
        rules, section = _Rules(), "entries"
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
        del rules  # as large as what it checked; the constructor makes its own
        return cls(tuple(entries), frozenset(revoked))

    def save(self, path: AnyPath, *, overwrite: bool = True) -> None:
        """Writes the directory to a file, as a whole.

        Raises:
            IdentityError: the file cannot be written, other users could replace it, or it exists
                and `overwrite` is False.
        """
        write_file(as_path(path), Secret(self.encode()), PINS, overwrite=overwrite)

    @classmethod
    @keeps_no_locals
    def load(cls, path: AnyPath) -> "Directory":
        """Reads what `save` or a person wrote.

        Raises:
            IdentityError: the file cannot be read, other users may change or replace it, or its
                content is not that of a directory; the message names the line.
        """
        content = read_file(as_path(path), LARGEST_DIRECTORY, PINS).expose()
        try:
            return cls.decode(content)
        except IdentityError as error:
            raise IdentityError(f"{as_path(path)}: {error}", error.code) from None


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
