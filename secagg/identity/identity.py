"""Identities: the long-lived signing key of a party, and the file that stores it."""

import base64
import codecs
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from ..codes import Code
from ..errors import IdentityError, LocalProtocolError, ParameterError
from ..files import AnyPath, as_path
from ..permissions import SECRET
from ..primitives import seal, sign
from ..primitives.passphrase import MODERATE, SALT_BYTES, Cost, derive
from ..primitives.secret import Secret, draw
from ..tracebacks import keeps_no_locals
from .files import Fault, read_file, write_file, wrong_size
from .purposes import Purpose, signed_bytes

_HEADER: Final = "secagg identity v1\n"
_HEX_KEY: Final = "([0-9a-f]{64})"
_SPACE: Final = re.compile(rb"(?:[ \t\r\n]|\\r|\\n)+")  # the last two: as letters
_BEGIN: Final = b"secagg identity v"
_OTHER_VERSION: Final = re.compile(_BEGIN + rb"(?!1 )[0-9]+ ")
_WORDS: Final = re.compile(  # of a file, with a space between them
    f"{_HEADER.strip()} verify key: {_HEX_KEY} "
    f"(?:secret seed: {_HEX_KEY}"
    "|argon2id passes: ([1-9][0-9]{0,8}) argon2id memory KiB: ([1-9][0-9]{0,8}) "
    "salt: ([0-9a-f]{32}) sealed seed: ([0-9a-f]{96}))"
)
LARGEST_IDENTITY: Final = 1024
_REMEDY: Final = "restore it from a copy, or make a new identity and have it pinned"


def grouped(digest: bytes) -> str:
    """Returns the first 160 bits of a digest in base32, in groups of four letters."""
    letters = base64.b32encode(digest[:20]).decode()
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def fingerprint(verify_key: bytes) -> str:
    """Returns a short text of a verify key that people can compare: `grouped`, of its SHA-256."""
    return grouped(hashlib.sha256(verify_key).digest())


@dataclass(frozen=True, slots=True)
class _Stored:
    """Content of an identity's file: the seed, or the sealed seed and how to open it."""

    verify_key: bytes
    seed: Secret | None
    cost: Cost
    salt: bytes
    sealed: bytes

    @property
    def preamble(self) -> str:
        """The text before the seed; it is the associated data of a sealed seed."""
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


# The functions below that hold a secret as plain bytes or text return a fault instead of raising
# it: a crash reporter prints the local variables of every frame that an exception passes.


def _words(content: Secret) -> bytes:
    """Returns a file's content with one space between words, and none around them."""
    return _SPACE.sub(b" ", content.expose().removeprefix(codecs.BOM_UTF8)).strip(b" ")


@keeps_no_locals
def says_identity(content: Secret) -> bool:
    """Returns whether a text, or its beginning, is that of an identity, of whatever version."""
    return bool(content) and _words(content).startswith(_BEGIN)


def _parse(content: Secret) -> _Stored | Fault:
    """Parses the content of a file, or returns why it cannot.

    White space may be any between words, and around them, also a line end that was written as two
    letters: editors and secret stores change the ends of lines, and the verify key proves that
    nothing else was changed.
    """
    text = _words(content)
    found = _WORDS.fullmatch(text.decode("utf-8", "replace"))
    if found is None:
        if not text.startswith(_BEGIN):
            return Fault("this is not an identity of secagg", Code.FOREIGN_FILE)
        if _OTHER_VERSION.match(text + b" "):
            return Fault(
                "the identity has another version than v1; use the secagg that wrote it",
                Code.VERSION,
            )
        return Fault(f"the identity is truncated or altered; {_REMEDY}", Code.CORRUPT)
    key, seed, passes, memory, salt, sealed = found.groups()
    if seed is not None:
        return _Stored(bytes.fromhex(key), Secret(bytes.fromhex(seed)), MODERATE, b"", b"")
    cost = Cost(int(passes), int(memory))
    if not cost.allowed:
        return Fault(
            f"the identity asks for Argon2id with {cost.passes} passes over {cost.memory} KiB; "
            "allowed are 1 to 16 passes over 8 to 1048576 KiB; restore it from a copy",
            Code.LIMIT,
        )
    return _Stored(bytes.fromhex(key), None, cost, bytes.fromhex(salt), bytes.fromhex(sealed))


def _phrase(passphrase: str | None) -> Secret | None:
    """Encodes a passphrase in Unicode's composed form (NFC).

    Raises:
        ParameterError: it is empty or not a text.
    """
    reason = "a passphrase must be a text that is not empty; leave it out for no passphrase"
    try:
        if passphrase is None:
            return None
        if isinstance(passphrase, str) and passphrase:
            return Secret(unicodedata.normalize("NFC", passphrase).encode())
    except UnicodeEncodeError:
        reason = "a passphrase must be Unicode text without lone surrogates"
    del passphrase
    raise ParameterError(reason, Code.PASSPHRASE)


def _seal(seed: Secret, stored: _Stored, phrase: Secret) -> bytes | None:
    key = derive(phrase.expose(), stored.salt, stored.cost)
    return key and seal.seal(key, seed.expose(), stored.preamble.encode())


def _unseal(stored: _Stored, phrase: Secret) -> Secret | Fault:
    """Opens a sealed seed; the associated data is the preamble as `save` writes it."""
    key = derive(phrase.expose(), stored.salt, stored.cost)
    if key is None:
        return Fault(_no_memory(stored.cost), Code.LIMIT)
    seed = seal.unseal(key, stored.sealed, stored.preamble.encode())
    if seed is None:
        return Fault("the passphrase is wrong, or the identity was altered", Code.WRONG_KEY)
    return Secret(seed)


def _no_memory(cost: Cost) -> str:
    return (
        f"Argon2id needs {cost.memory} KiB of memory for the passphrase, and the system did not "
        "give them"
    )


class Identity:
    """The long-lived Ed25519 key (RFC 8032) of one party. It is never printed, copied or pickled.

    Args:
        seed: 32 secret bytes, which the identity now owns and wipes; `generate` draws them and
            `load` reads them.

    Raises:
        ParameterError: the seed is not a `Secret` of 32 bytes.
    """

    __slots__ = ("_seed", "_verify_key")

    @keeps_no_locals
    def __init__(self, seed: Secret) -> None:
        self._verify_key = b""  # `__repr__` must work after a refusal, too
        if not isinstance(seed, Secret) or not seed or len(seed.expose()) != sign.SEED_BYTES:
            raise ParameterError(
                f"the seed of an identity must be a Secret of {sign.SEED_BYTES} bytes; "
                "Identity.generate makes one",
                Code.ARGUMENT,
            )
        self._seed = seed
        self._verify_key = sign.verify_key(seed.expose())

    @classmethod
    @keeps_no_locals
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> "Identity":
        """Makes a new identity from 32 bytes of `random`."""
        return cls(Secret(draw(random, sign.SEED_BYTES)))

    @property
    def verify_key(self) -> bytes:
        """The public key, 32 bytes, which other parties pin."""
        return self._verify_key

    @property
    def fingerprint(self) -> str:
        """A short text of the verify key that people can compare."""
        return fingerprint(self._verify_key)

    @keeps_no_locals
    def sign(self, message: bytes) -> bytes:
        """Signs a message of the application: 64 bytes, the same for the same message.

        What is signed is a fixed text and the message; `verify` checks it. Such a signature never
        passes for one of the protocol, so it is safe to sign what others choose.

        Raises:
            LocalProtocolError: the identity was wiped.
            ParameterError: the message is not bytes.
        """
        return self._sign(Purpose.APPLICATION, message)

    @staticmethod
    def verify(verify_key: bytes, message: bytes, signature: bytes) -> bool:
        """Returns whether `sign` of the identity with this verify key made the signature.

        Args:
            verify_key: 32 bytes, as pinned in a `Directory`, which refuses weak keys.
            message: what was signed.
            signature: 64 bytes; False for another length.

        Raises:
            ParameterError: one of them is not bytes.
        """
        for name, value in (("verify_key", verify_key), ("signature", signature)):
            if not isinstance(value, bytes):
                raise ParameterError(
                    f"{name} must be bytes, not {type(value).__name__}", Code.ARGUMENT
                )
        return sign.verify(verify_key, signed_bytes(Purpose.APPLICATION, message), signature)

    def _sign(self, purpose: Purpose, message: bytes) -> bytes:
        text = signed_bytes(purpose, message)
        self.require_usable()
        return sign.sign(self._seed.expose(), text)

    def require_usable(self) -> None:
        """Raises LocalProtocolError if the identity was wiped."""
        if not self._seed:
            raise LocalProtocolError("this identity was wiped; load it again", Code.WIPED)

    def wipe(self) -> None:
        """Overwrites the seed; from then on the identity signs nothing."""
        self._seed.wipe()

    @keeps_no_locals
    def save(
        self,
        path: AnyPath,
        passphrase: str | None = None,
        *,
        overwrite: bool = False,
        _cost: Cost = MODERATE,
    ) -> None:
        """Writes the identity, as a whole, to a file that only its owner may read.

        Args:
            path: name of the file.
            passphrase: seals the seed under a key that Argon2id derives from it. Without one,
                anybody who can read the file can sign as this party.
            overwrite: replace a file that exists. The key in it is then lost.

        Raises:
            IdentityError: the file exists, or cannot be written.
            LocalProtocolError: the identity was wiped.
            ParameterError: the passphrase is empty or not a text.
        """
        write_file(as_path(path), self._stored(passphrase, _cost), SECRET, overwrite=overwrite)

    @classmethod
    @keeps_no_locals
    def load(cls, path: AnyPath, passphrase: str | None = None) -> "Identity":
        """Reads the file that `save` wrote.

        Other ends of lines are accepted (CRLF, none at the end), as is other white space.

        Args:
            path: name of the file.
            passphrase: the one that it was saved with; None if there was none.

        Raises:
            IdentityError: the file cannot be read, other users may read it, it belongs to
                another user, or is altered or truncated; or the passphrase is wrong, missing, or
                given though the file has none.
            ParameterError: the passphrase is empty or not a text.
        """
        phrase = _phrase(passphrase)
        del passphrase
        found = _open(_parse(_read(path)), phrase)
        if isinstance(found, Fault):
            raise IdentityError(f"{as_path(path)}: {found.reason}", found.code)
        return found

    @keeps_no_locals
    def encode(self, passphrase: str | None = None, *, _cost: Cost = MODERATE) -> bytes:
        """Returns what `save` writes to a file, for a store of secrets: ASCII text of a few lines.

        Without a passphrase, anybody who can read it can sign as this party; these bytes and all
        copies of them cannot be wiped.

        Args:
            passphrase: as for `save`.

        Raises:
            IdentityError: the system did not give the memory that the passphrase needs.
            LocalProtocolError: the identity was wiped.
            ParameterError: the passphrase is empty or not a text.
        """
        return self._stored(passphrase, _cost).expose()

    @classmethod
    @keeps_no_locals
    def decode(cls, data: bytes | bytearray | str, passphrase: str | None = None) -> "Identity":
        """Reads what `encode` returned, or the content of a file that `save` wrote.

        This is for a store of secrets, an environment variable or a pipe. The library cannot check
        who else can read it. White space may differ, as for `load`. Python can wipe neither
        bytes, text nor the environment: a `bytearray` can be overwritten afterwards.

        Args:
            data: the content, up to 1,024 bytes.
            passphrase: the one that it was encoded with; None if there was none.

        Raises:
            IdentityError: it is altered or truncated; or the passphrase is wrong, missing, or
                given though there is none.
            ParameterError: the data is neither bytes nor text; or the passphrase is empty or not a
                text.
        """
        phrase = _phrase(passphrase)
        del passphrase
        if not isinstance(data, bytes | bytearray | str):
            raise ParameterError(
                f"an identity is decoded from bytes or text, not {type(data).__name__}",
                Code.ARGUMENT,
            )
        if isinstance(data, str):
            data = data.encode(errors="replace")  # the environment may hold half characters
        found = wrong_size(len(data), LARGEST_IDENTITY) or _open(_parse(Secret(data)), phrase)
        del data
        if isinstance(found, Fault):
            raise IdentityError(found.reason, found.code)
        return found

    def _stored(self, passphrase: str | None, cost: Cost) -> Secret:
        """Returns the content of the file; `save` and `encode` say what it raises."""
        phrase = _phrase(passphrase)
        del passphrase
        self.require_usable()
        if phrase is None:
            return _Stored(self._verify_key, self._seed, cost, b"", b"").encode()
        stored = _Stored(self._verify_key, None, cost, os.urandom(SALT_BYTES), b"")
        sealed = _seal(self._seed, stored, phrase)
        if sealed is None:
            raise IdentityError(_no_memory(cost), Code.LIMIT)
        return replace(stored, sealed=sealed).encode()

    @staticmethod
    @keeps_no_locals
    def stored_verify_key(path: AnyPath) -> bytes:
        """Returns the verify key that a file states; needs no passphrase.

        It is checked against the seed if that is not sealed; otherwise only `load` checks it.

        Raises:
            IdentityError: as for `load`.
        """
        stored = _parse(_read(path))
        found = stored if isinstance(stored, Fault) or stored.seed is None else _open(stored, None)
        if isinstance(found, Fault):
            raise IdentityError(f"{as_path(path)}: {found.reason}", found.code)
        return found.verify_key

    def __repr__(self) -> str:
        return f"<Identity {self.fingerprint}>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("an Identity is neither copied nor pickled: use encode and decode")


@keeps_no_locals
def sign_digest(identity: Identity, digest: bytes) -> bytes:
    """Signs a digest of the protocol (32 bytes); not for applications.

    Raises:
        LocalProtocolError: the identity was wiped.
    """
    return identity._sign(Purpose.PROTOCOL, digest)


def _read(path: AnyPath) -> Secret:
    return read_file(as_path(path), LARGEST_IDENTITY, SECRET)


def _open(stored: _Stored | Fault, phrase: Secret | None) -> Identity | Fault:
    """Makes the identity from what was stored, or returns why it cannot."""
    if isinstance(stored, Fault):
        return stored
    seed = stored.seed
    if seed is not None and phrase is not None:
        return Fault(
            "the identity has no passphrase, though one was given; if this is expected, load it "
            "without a passphrase",
            Code.PASSPHRASE,
        )
    if seed is None:
        if phrase is None:
            return Fault(
                "the identity is protected by a passphrase, and none was given", Code.PASSPHRASE
            )
        opened = _unseal(stored, phrase)
        if isinstance(opened, Fault):
            return opened
        seed = opened
    identity = Identity(seed)
    if identity.verify_key != stored.verify_key:
        return Fault(f"the verify key does not belong to the seed; {_REMEDY}", Code.CORRUPT)
    return identity
