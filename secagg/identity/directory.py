"""Directories: the pinned verify keys of a cohort, which say who is who across rounds.

A verify key is trusted only because it is pinned. Bring keys into a directory over a channel that
the server does not control, and compare fingerprints: of each key (`secagg.Identity.fingerprint`)
when it is pinned, of the whole directory (`Directory.fingerprint`) before the first round.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from ..codes import Code
from ..errors import IdentityError, ParameterError
from ..files import AnyPath, as_path
from ..machine.wire import u32
from ..numeric import brief
from ..params.checks import whole
from ..permissions import PINS
from ..primitives.labels import Label, hash_parts
from ..primitives.secret import Secret
from ..tracebacks import keeps_no_locals
from .directory_file import LARGEST_DIRECTORY, parse, text_of
from .entries import Entry, Rules
from .files import read_file, write_file
from .identity import grouped


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
        rules = Rules()
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
        return text_of(self.entries, self.revoked)

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
        return cls(*parse(data))

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
