"""Who is who across rounds: a party's long-lived `Identity` and the `Directory` that pins all.

A verify key counts only because it is pinned: bring keys into a directory over a channel that the
server does not control, and compare fingerprints.
"""

import base64
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, NoReturn

from .errors import IdentityError, LocalProtocolError, ParameterError
from .files import PRIVATE, PUBLIC, read_file, write_file
from .params import MAX_COHORT
from .primitives import seal, sign
from .primitives.agreement import WeakKeyError
from .primitives.passphrase import MODERATE, SALT_BYTES, Cost, derive
from .secret import Secret

_HEADER: Final = "secagg identity v1\n"
_HEX_KEY: Final = "([0-9a-f]{64})"
_FILE: Final = re.compile(
    f"{_HEADER}verify key: {_HEX_KEY}\n"
    f"(?:secret seed: {_HEX_KEY}\n"
    "|argon2id passes: ([1-9][0-9]{0,8})\nargon2id memory KiB: ([1-9][0-9]{0,8})\n"
    "salt: ([0-9a-f]{32})\nsealed seed: ([0-9a-f]{96})\n)"
)
_LARGEST_IDENTITY: Final = 1024
_LARGEST_DIRECTORY: Final = 2**25
_MEND: Final = "restore it from a copy, or make a new identity and have it pinned"


def fingerprint(verify_key: bytes) -> str:
    """A verify key for people to compare: 160 bits of its SHA-256, in groups of four letters."""
    letters = base64.b32encode(hashlib.sha256(verify_key).digest()[:20]).decode()
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))


@lru_cache(maxsize=MAX_COHORT)
def _strong(key: bytes) -> bool:
    try:
        sign.check_verify_key(key)
    except WeakKeyError:
        return False
    return True


# ---- identities ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stored:
    """What an identity's file says: the seed, or the sealed seed and how to open it."""

    verify_key: bytes
    seed: Secret | None
    cost: Cost
    salt: bytes
    sealed: bytes

    @property
    def preamble(self) -> str:
        """Everything before the seed; what is sealed is bound to it."""
        text = f"{_HEADER}verify key: {self.verify_key.hex()}\n"
        if self.seed is None:
            text += (
                f"argon2id passes: {self.cost.passes}\nargon2id memory KiB: {self.cost.memory}\n"
                f"salt: {self.salt.hex()}\n"
            )
        return text

    def encode(self) -> Secret:
        last = f"sealed seed: {self.sealed.hex()}\n"
        if self.seed is not None:
            last = f"secret seed: {self.seed.expose().hex()}\n"
        return Secret((self.preamble + last).encode())


# The functions below that hold a bare secret raise nothing: a crash reporter prints the locals
# of every frame that an exception goes through.


def _parse(content: Secret) -> _Stored | str:
    """The file's content, or why there is none."""
    text = content.expose().decode("utf-8", "replace")
    found = _FILE.fullmatch(text)
    if found is None:
        if not text.startswith("secagg identity v"):
            return "not an identity of secagg"
        if not text.startswith(_HEADER):
            return "of another version than v1; use the secagg that wrote it"
        return f"truncated or altered; {_MEND}"
    key, seed, passes, memory, salt, sealed = found.groups()
    if seed is not None:
        return _Stored(bytes.fromhex(key), Secret(bytes.fromhex(seed)), MODERATE, b"", b"")
    cost = Cost(int(passes), int(memory))
    if not cost.allowed:
        return f"its argon2id would take too long or too much memory; {_MEND}"
    return _Stored(bytes.fromhex(key), None, cost, bytes.fromhex(salt), bytes.fromhex(sealed))


def _phrase(passphrase: str | None) -> Secret | str | None:
    """The passphrase's bytes in Unicode's composed form, or why it is none."""
    if passphrase is None:
        return None
    if not isinstance(passphrase, str) or not passphrase:
        return "a passphrase is a text and not empty"
    try:
        return Secret(unicodedata.normalize("NFC", passphrase).encode())
    except UnicodeEncodeError:
        return "a passphrase is Unicode without lone surrogates"


def _seal(seed: Secret, stored: _Stored, phrase: Secret) -> bytes | None:
    key = derive(phrase.expose(), stored.salt, stored.cost)
    return key and seal.seal(key, seed.expose(), stored.preamble.encode())


def _unseal(stored: _Stored, phrase: Secret) -> Secret | str:
    key = derive(phrase.expose(), stored.salt, stored.cost)
    if key is None:
        return _no_memory(stored.cost)
    seed = seal.unseal(key, stored.sealed, stored.preamble.encode())
    return "the passphrase is wrong, or the file altered" if seed is None else Secret(seed)


def _no_memory(cost: Cost) -> str:
    return f"the passphrase needs {cost.memory} KiB of memory, which are not to be had"


class Identity:
    """The long-lived Ed25519 key (RFC 8032) of one party. Neither printed, copied nor pickled.

    Args:
        seed: 32 secret bytes, from now on the identity's; `generate` draws and `load` reads them.

    Raises:
        ParameterError: the seed has another length.
    """

    __slots__ = ("_seed", "_verify_key")

    def __init__(self, seed: Secret) -> None:
        self._verify_key = b""  # a refused one has a repr as well
        if not isinstance(seed, Secret) or len(seed.expose()) != sign.SEED_BYTES:
            raise ParameterError(f"the seed of an identity is a Secret of {sign.SEED_BYTES} bytes")
        self._seed = seed
        self._verify_key = sign.verify_key(seed.expose())

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> "Identity":
        """A new identity, from 32 bytes of `random`."""
        return cls(Secret(random(sign.SEED_BYTES)))

    @property
    def verify_key(self) -> bytes:
        """The public half, 32 bytes, for others to pin."""
        return self._verify_key

    @property
    def fingerprint(self) -> str:
        """The verify key for people to compare (`fingerprint`)."""
        return fingerprint(self._verify_key)

    def sign(self, message: bytes) -> bytes:
        """A signature of 64 bytes, the same for the same message.

        Raises:
            LocalProtocolError: the identity was wiped.
            ParameterError: the message is not bytes.
        """
        if not isinstance(message, bytes):
            raise ParameterError(f"what is signed is bytes, not {type(message).__name__}")
        if self._seed == Secret(b""):
            raise LocalProtocolError("this identity was wiped")
        return sign.sign(self._seed.expose(), message)

    def wipe(self) -> None:
        """Overwrites the seed; the identity signs nothing any more."""
        self._seed.wipe()

    def save(
        self,
        path: str | os.PathLike[str],
        passphrase: str | None = None,
        *,
        overwrite: bool = False,
        _cost: Cost = MODERATE,
    ) -> None:
        """Writes the identity to a file that only its owner may read, whole or not at all.

        Args:
            path: where.
            passphrase: seals the seed under a key that Argon2id makes of it. Without one,
                whoever reads the file is this party.
            overwrite: replace what is there. The former key is then lost.

        Raises:
            IdentityError: the file exists, or cannot be written.
            LocalProtocolError: the identity was wiped.
            ParameterError: the passphrase is empty or no text.
        """
        phrase = _phrase(passphrase)
        del passphrase
        if isinstance(phrase, str):
            raise ParameterError(phrase)
        if self._seed == Secret(b""):
            raise LocalProtocolError("this identity was wiped")
        stored = _Stored(self._verify_key, self._seed, _cost, b"", b"")
        if phrase is not None:
            stored = _Stored(self._verify_key, None, _cost, os.urandom(SALT_BYTES), b"")
            sealed = _seal(self._seed, stored, phrase)
            if sealed is None:
                raise IdentityError(_no_memory(_cost))
            stored = _Stored(self._verify_key, None, _cost, stored.salt, sealed)
        write_file(Path(path), stored.encode(), PRIVATE, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str], passphrase: str | None = None) -> "Identity":
        """Reads what `save` wrote.

        Args:
            path: where.
            passphrase: the one it was saved with; None if there was none.

        Raises:
            IdentityError: the file is unreadable, readable by others, another user's, altered,
                truncated; or the passphrase is wrong, missing, or not asked for.
            ParameterError: the passphrase is empty or no text.
        """
        phrase = _phrase(passphrase)
        del passphrase
        if isinstance(phrase, str):
            raise ParameterError(phrase)
        stored = _read(path)
        if stored.seed is not None:
            if phrase is not None:
                raise IdentityError(
                    f"{path}: not protected by a passphrase; load it without one, if that is so"
                )
            return _matching(path, stored.verify_key, stored.seed)
        if phrase is None:
            raise IdentityError(f"{path}: protected by a passphrase; give it")
        seed = _unseal(stored, phrase)
        if isinstance(seed, str):
            raise IdentityError(f"{path}: {seed}")
        return _matching(path, stored.verify_key, seed)

    @staticmethod
    def stored_verify_key(path: str | os.PathLike[str]) -> bytes:
        """The verify key that a file names, without its passphrase.

        It is checked against the seed where that is in clear; otherwise by `load`.

        Raises:
            IdentityError: as `load`.
        """
        stored = _read(path)
        if stored.seed is not None:
            _matching(path, stored.verify_key, stored.seed)
        return stored.verify_key

    def __repr__(self) -> str:
        return f"<Identity {self.fingerprint}>"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("an Identity is neither copied nor pickled")

    __reduce_ex__ = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse


def _read(path: str | os.PathLike[str]) -> _Stored:
    stored = _parse(read_file(Path(path), _LARGEST_IDENTITY, private=True))
    if isinstance(stored, str):
        raise IdentityError(f"{path}: {stored}")
    return stored


def _matching(path: str | os.PathLike[str], verify_key: bytes, seed: Secret) -> Identity:
    identity = Identity(seed)
    if identity.verify_key != verify_key:
        raise IdentityError(f"{path}: the verify key is not that of the seed; {_MEND}")
    return identity


# ---- directories --------------------------------------------------------------------------

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ENTRY: Final = re.compile(rf"(0|[1-9][0-9]{{0,5}}) +{_HEX_KEY} +({_NAME.pattern})")
_DIRECTORY_HEADER: Final = "secagg directory v1"


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
            raise ParameterError("a key is revoked twice")
        if key in self._pinned:
            raise ParameterError("a revoked key is pinned")
        self._revoked.add(key)

    def pin(self, name: str, key: bytes) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ParameterError(
                "a name has 1 to 64 letters, digits and ._@- of ASCII, and begins with one of "
                "the first two"
            )
        if name.lower() in self._names:
            raise ParameterError(f"two parties are called {name}")
        _check_key(f"the key of {name}", key)
        if key in self._revoked:
            raise ParameterError(f"the key of {name} is revoked")
        if key in self._pinned:
            raise ParameterError(f"the key of {name} is pinned twice")
        if self.count == MAX_COHORT:
            raise ParameterError(f"a directory has at most {MAX_COHORT} entries")
        self.count += 1
        self._names.add(name.lower())
        self._pinned.add(key)


def _check_key(what: str, key: object) -> None:
    if not isinstance(key, bytes) or not _strong(key):
        raise ParameterError(f"{what} is no Ed25519 verify key: malformed, or of low order")


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
            raise ParameterError("this verify key is not in the directory")
        return index

    def encode(self) -> bytes:
        """What the transcript binds: the keys in index order, 32 bytes each."""
        return b"".join(self._index)

    # -- changes between rounds --

    def _find(self, name: str) -> int:
        for index, entry in enumerate(self.entries):
            if entry.name == name:
                return index
        raise ParameterError("nobody in the directory has this name")

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
            raise IdentityError(f"line 1: must be '{_DIRECTORY_HEADER}'")
        if lines.pop() != b"":
            raise IdentityError(f"line {len(lines) + 1}: cut short")
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
                    raise ParameterError("nothing may follow 'end'")
            except ParameterError as error:
                raise IdentityError(f"line {number}: {error}") from None
        if section != "end":
            raise IdentityError(f"line {len(lines) + 1}: 'end' is missing; cut short?")
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
            raise IdentityError(f"{path}: {error}") from None


def _read_entry(line: str, index: int) -> Entry:
    found = _ENTRY.fullmatch(line)
    if found is None:
        raise ParameterError(
            "must be an index, a verify key of 64 hexadecimal digits (lower case) and a name"
        )
    if int(found[1]) != index:
        raise ParameterError(f"the next index is {index}, not {found[1]}")
    return Entry(found[3], bytes.fromhex(found[2]))


def _read_key(line: str) -> bytes:
    if not re.fullmatch(_HEX_KEY, line):
        raise ParameterError("must be a key of 64 hexadecimal digits (lower case), or 'end'")
    return bytes.fromhex(line)
